"""One filter's messages to any number of observers and one reader."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reactivex import abc
from reactivex.disposable import Disposable

from ..core.buffer import Buffer, Overflow
from ..core.events import Gap
from ..core.filters import Matcher
from ..core.router import Registration
from .hub import Consumer, Hub
from .isolation import FAULTS
from .iteration import Mailbox

__all__ = ["Fanout"]

_T = TypeVar("_T")


class Fanout(Generic[_T]):
    """The observers of one filter, and the mailbox of its reader, as one consumer of the hub.

    It does not hold the stream that it belongs to, so that a stream which nobody holds is
    collected; the fan-out then lives on for as long as it has observers.

    Args:
        hub: what it consumes from, only while somebody waits for messages.
        matcher: what passes.
        gaps: whether a ``Gap`` passes too.
    """

    def __init__(self, hub: Hub[_T], matcher: Matcher, *, gaps: bool = False) -> None:
        self.hub = hub
        self.matcher = matcher
        self.gaps = gaps
        self.mailbox: Mailbox[_T] | None = None
        self.observers: tuple[abc.ObserverBase[_T], ...] = ()
        self.ended = False
        self.error: Exception | None = None
        self.owner: weakref.ref[Any] | None = None
        self._registration: Registration[Consumer[_T]] | None = None

    @property
    def face(self) -> Any:
        owner = self.owner() if self.owner is not None else None
        return self if owner is None else owner

    @property
    def backlog(self) -> int:
        return 0 if self.mailbox is None else len(self.mailbox.buffer.items)

    def __repr__(self) -> str:
        return f"<stream of {self.matcher!r}>"

    def on_message(self, message: _T) -> None:
        copy = self.hub.copy
        if copy is not None and not isinstance(message, Gap):
            self._give_copies(message, copy)
            return
        if self.mailbox is not None:
            self.mailbox.put(message)
        for observer in self.observers:
            try:
                observer.on_next(message)
            except FAULTS as error:
                self.hub.report(self.face, error)

    def _give_copies(self, message: _T, copy: Callable[[_T], _T]) -> None:
        """To each receiver its own: the last is given ``message``, which nobody could change."""
        mailbox, observers = self.mailbox, self.observers
        if mailbox is not None:
            mailbox.put(copy(message) if observers else message)
        last = len(observers) - 1
        for at, observer in enumerate(observers):
            try:
                observer.on_next(message if at == last else copy(message))
            except FAULTS as error:
                self.hub.report(self.face, error)

    def on_end(self, error: Exception | None) -> None:
        with self.hub.lock:
            self.ended = True
            self.error = error
            observers, self.observers = self.observers, ()
            self._unregister()
        if self.mailbox is not None:
            self.mailbox.finish(error)
        for observer in observers:
            self._tell_end(observer)

    def _tell_end(self, observer: abc.ObserverBase[_T]) -> None:
        try:
            if self.error is None:
                observer.on_completed()
            else:
                observer.on_error(self.error)
        except FAULTS as fault:
            if fault is not self.error:  # an observer without on_error re-raises what it is told
                self.hub.report(self.face, fault)

    # Registered while somebody waits for messages, and only then

    def register(self) -> None:
        if self._registration is None and not self.ended:
            self._registration = self.hub.add(self.matcher, self, gaps=self.gaps)

    def _unregister(self) -> None:
        registration, self._registration = self._registration, None
        if registration is not None:
            self.hub.remove(registration)
            self.hub.forget_drops(self)

    def unregister_if_idle(self) -> None:
        collecting = self.mailbox is not None and not self.mailbox.buffer.overflowed
        if not self.observers and not collecting:
            self._unregister()

    def add(self, observer: abc.ObserverBase[_T]) -> abc.DisposableBase:
        with self.hub.lock:
            if not self.ended:
                self.observers = (*self.observers, observer)
                self.register()
                return Disposable(lambda: self.remove(observer))
        self._tell_end(observer)
        return Disposable()

    def remove(self, observer: abc.ObserverBase[_T]) -> None:
        with self.hub.lock:
            self.observers = tuple(o for o in self.observers if o is not observer)
            self.unregister_if_idle()

    def collect(self, capacity: int | None, overflow: Overflow) -> None:
        self.mailbox = Mailbox(
            Buffer(capacity, overflow),
            on_dropped=lambda dropped: self.hub.count_drop(self, dropped),
            on_refused=self._refused,
            gate=self.hub.gate,
        )
        if self.ended:
            self.mailbox.finish(self.error)
        self.register()

    def _refused(self) -> None:
        assert self.mailbox is not None
        self.hub.count_drop(self, self.mailbox.buffer.dropped)
        with self.hub.lock:
            self.unregister_if_idle()

    def stop_collecting(self) -> None:
        mailbox, self.mailbox = self.mailbox, None
        if mailbox is not None:
            mailbox.discard()
        with self.hub.lock:
            self.unregister_if_idle()
