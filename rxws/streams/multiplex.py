"""A subscription at the server, shared by its observers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from ..core.filters import Matcher
from .fanout import Fanout
from .hub import Hub

__all__ = ["Multiplex", "Topic"]

_T = TypeVar("_T")


class Topic:
    """What is sent to the server for one subscription.

    Args:
        subscribe, unsubscribe: a message, or a function without parameters that makes one.

    Attributes:
        owner: the Observable of its messages.
    """

    def __init__(self, subscribe: Any, unsubscribe: Any) -> None:
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self.owner: weakref.ref[Any] | None = None

    @property
    def face(self) -> Any:
        """What users know this topic as."""
        owner = self.owner() if self.owner is not None else None
        return self if owner is None else owner

    def subscribe(self) -> Any:
        """The message that subscribes."""
        return self._subscribe() if callable(self._subscribe) else self._subscribe

    def unsubscribe(self) -> Any:
        """The message that unsubscribes."""
        return self._unsubscribe() if callable(self._unsubscribe) else self._unsubscribe


class Multiplex(Observable[_T], Generic[_T]):
    """The messages of one topic: subscribed to at the server while it has observers.

    Args:
        hub: what the messages come from.
        matcher: which of them belong to the topic.
        topic: what to send.
        join: called for the first observer; what it raises is that observer's error.
        leave: called after the last one, unless everything has ended.
    """

    def __init__(
        self,
        hub: Hub[_T],
        matcher: Matcher,
        topic: Topic,
        join: Callable[[Topic, Callable[[], bool]], None],
        leave: Callable[[Topic, Callable[[], bool]], None],
    ) -> None:
        super().__init__()
        self._hub = hub
        self._fanout: Fanout[_T] = Fanout(hub, matcher)
        self._topic = topic
        self._fanout.owner = topic.owner = weakref.ref(self)
        self._join = join
        self._leave = leave

    def __repr__(self) -> str:
        return f"<multiplex of {self._fanout.matcher!r}>"

    def _is_wanted(self) -> bool:
        return bool(self._fanout.observers)

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[_T],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        with self._hub.lock:
            is_first = not self._fanout.observers
            subscription = self._fanout.add(observer)
            if is_first and not self._fanout.ended:
                try:
                    self._join(self._topic, self._is_wanted)
                except Exception:
                    subscription.dispose()
                    raise  # Observable.subscribe gives it to the observer

        def dispose() -> None:
            with self._hub.lock:
                had_observers = bool(self._fanout.observers)
                subscription.dispose()
                if had_observers and not self._fanout.observers and not self._fanout.ended:
                    self._leave(self._topic, self._is_wanted)

        return Disposable(dispose)
