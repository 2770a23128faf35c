"""Turns the signals of ``rotate_on`` into rotations, for each connection anew."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable

from .core.errors import ClosedError
from .core.events import Event, SignalFailed
from .streams.isolation import FAULTS

__all__ = ["Rotations", "any_of", "signal_of"]

_W = TypeVar("_W")


def signal_of(
    rotate_on: Observable[Any] | Callable[[_W], Observable[Any]] | None, ws: _W
) -> Callable[[], Observable[Any]] | None:
    """What gives the signal for a new connection of ``ws``; ``None`` when there is none.

    Raises:
        TypeError: ``rotate_on`` is neither an Observable nor a function.
    """
    if rotate_on is None:
        return None
    if isinstance(rotate_on, Observable):
        return lambda: rotate_on
    if not callable(rotate_on):
        raise TypeError(
            f"rotate_on={rotate_on!r}: an Observable is needed, or a function of the "
            "websocket that returns one; for a period use rxws.every(seconds)"
        )
    return lambda: rotate_on(ws)


def any_of(
    signals: Iterable[Callable[[], Observable[Any]]], failed: Callable[[Exception], None]
) -> Observable[Any]:
    """Emit what any of the signals emits; one that fails takes none of the others with it.

    Args:
        signals: each gives an Observable to subscribe to.
        failed: called with the error of each that fails, now or later.
    """

    def subscribe(
        observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        subscriptions = CompositeDisposable()
        for signal in signals:
            try:
                subscriptions.add(signal().subscribe(observer.on_next, failed))
            except Exception as error:  # a function of the user, or what is no Observable
                failed(error)
        return subscriptions

    return Observable(subscribe)


class Rotations:
    """Subscribes the signal once for each connection; its first item asks for a rotation.

    Args:
        signal: gives the Observable for a new connection; ``None``: nobody asks.
        rotate: begins a rotation, with the reason.
        announce: tells events.
    """

    def __init__(
        self,
        signal: Callable[[], Observable[Any]] | None,
        rotate: Callable[[str], None],
        announce: Callable[[Event], None],
    ) -> None:
        self._signal = signal
        self._rotate = rotate
        self._announce = announce
        self._subscriptions: dict[int, abc.DisposableBase] = {}
        self._newest = 0
        self._live = 0
        self._early: set[int] = set()

    def on_outlet(self, epoch: int) -> None:
        """A new connection is in use: listen for its signal."""
        if self._signal is None or epoch <= self._newest:
            return
        self._newest = epoch
        try:
            subscription = self._signal().subscribe(lambda _: self._signalled(epoch), self._failed)
        except Exception as error:  # the user's function, or an Observable that can't start
            self._failed(error)
            return
        if epoch in self._early or epoch == self._live:
            subscription.dispose()  # it signalled at once
        else:
            self._subscriptions[epoch] = subscription

    def _signalled(self, epoch: int) -> None:
        self._end(epoch)
        if epoch == self._live:
            self._ask()
        else:
            self._early.add(epoch)  # its rotation begins when it is live

    def _ask(self) -> None:
        with contextlib.suppress(ClosedError):  # a signal of the end, that of a stream say
            self._rotate("signal")

    def _failed(self, error: BaseException) -> None:
        self._announce(SignalFailed(error))

    def on_live(self, epoch: int) -> None:
        """A connection took over."""
        self._live = epoch
        if epoch in self._early:
            self._early.discard(epoch)
            self._ask()

    def on_gone(self, epoch: int) -> None:
        """A connection has ended: its signal says nothing more."""
        self._early.discard(epoch)
        self._end(epoch)

    def _end(self, epoch: int) -> None:
        subscription = self._subscriptions.pop(epoch, None)
        if subscription is not None:
            try:
                subscription.dispose()
            except FAULTS as error:  # the user's
                self._failed(error)
