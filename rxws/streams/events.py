"""The hot Observable of events, which tells a newcomer the current state first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from ..core.events import (
    Closed,
    Connected,
    ConnectFailed,
    Connecting,
    Disconnected,
    Event,
    Rotated,
    Rotating,
    RotationFailed,
)
from .isolation import FAULTS

__all__ = ["EventSource"]


class EventSource(Observable[Event]):
    """Events in the order they happened, for every observer.

    Args:
        on_error: called with an observer that raised, and with what; the others go on.
    """

    def __init__(self, on_error: Callable[[object, BaseException], None]) -> None:
        super().__init__()
        self._on_error = on_error
        self._lock = threading.RLock()
        self._observers: tuple[abc.ObserverBase[Event], ...] = ()
        self._pending: deque[Event] = deque()
        self._emitting = False
        self._current: Event | None = None
        self._live: Connected | None = None
        self._successor: Connected | None = None

    def emit(self, event: Event) -> None:
        """Tell every observer, after what is being told already."""
        self._pending.append(event)
        if self._emitting:
            return
        self._emitting = True
        try:
            while self._pending:
                self._tell(self._pending.popleft())
        finally:
            self._emitting = False

    def _tell(self, event: Event) -> None:
        self._remember(event)
        with self._lock:
            observers = self._observers
            if isinstance(event, Closed):
                self._observers = ()
        for observer in observers:
            self._call(observer, event)

    def _remember(self, event: Event) -> None:
        """Keep what says the current state: Connected while open, however that came about."""
        match event:
            case Connected() if self._live is not None:
                self._successor = event
            case Connected():
                self._live = self._current = event
            case Rotated():
                self._live = self._current = self._successor
            case RotationFailed():
                self._current = self._live
            case Disconnected():
                self._live, self._current = None, event
            case Connecting() | ConnectFailed() if self._live is None:
                self._current = event
            case Rotating() | Closed():
                self._current = event
            case _:
                pass

    def _call(self, observer: abc.ObserverBase[Event], event: Event) -> None:
        try:
            observer.on_next(event)
            if isinstance(event, Closed):
                observer.on_completed()
        except FAULTS as error:
            self._on_error(observer, error)

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[Event],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        with self._lock:
            current = self._current
            if not isinstance(current, Closed):
                self._observers = (*self._observers, observer)
        if current is not None:
            self._call(observer, current)

        def dispose() -> None:
            with self._lock:
                self._observers = tuple(o for o in self._observers if o is not observer)

        return Disposable(dispose)
