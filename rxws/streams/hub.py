"""The hot source: every message once, in one order, to each consumer that it concerns."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from reactivex import abc

from ..core.events import ConsumerFailed, Event, Gap, Overflowed
from ..core.filters import Filters, Matcher
from ..core.router import Registration, Router
from .gate import Gate
from .isolation import FAULTS
from .tasks import Tasks
from .threads import on_loop, running_loop, soon

__all__ = ["Consumer", "Hub", "ObserverConsumer"]

_T = TypeVar("_T")
_T_contra = TypeVar("_T_contra", contravariant=True)

_ANNOUNCE_EVERY = 1.0  # seconds between two Overflowed events of one consumer


class Consumer(Protocol[_T_contra]):
    """Something that messages are delivered to."""

    @property
    def face(self) -> Any:
        """What users know this consumer as: their function, their stream."""
        ...

    @property
    def backlog(self) -> int:
        """Items that wait in it."""
        ...

    # By position only, so that a function can be put in its place.
    def on_message(self, message: _T_contra, /) -> None:
        """Take a message. What it raises is reported, and harms nobody."""
        ...

    def on_end(self, error: Exception | None) -> None:
        """Nothing follows; ``error`` is ``None`` after an exit."""
        ...


class Hub(Generic[_T]):
    """Delivers messages to consumers, isolated from each other.

    Args:
        announce: told of every event.
        on_gate: called with whether reading must pause, on each change.
        copy: makes the copy that each consumer is given; ``None``: they share one object.
        redact: makes of what a consumer raised what may be shown of it; must not raise.

    Attributes:
        dropped: messages that consumers had no room for, in all.
    """

    def __init__(
        self,
        announce: Callable[[Event], None],
        on_gate: Callable[[bool], None],
        copy: Callable[[_T], _T] | None = None,
        redact: Callable[[BaseException], BaseException] = lambda error: error,
    ) -> None:
        self.lock = threading.RLock()
        self.gate = Gate(on_gate)
        self.tasks = Tasks(lambda error: self.report(None, error))
        self.announce = announce
        self.dropped = 0
        self.copy = copy
        self._redact = redact
        self._router: Router[Consumer[_T]] = Router(self._filter_failed)
        self._gap_consumers: dict[int, Consumer[Any]] = {}
        self._abandoned: deque[Callable[[], None]] = deque()
        self._pending: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._emitting = False
        self._ended = False
        self._error: Exception | None = None
        self._announcements: dict[int, _Announcement] = {}

    # Consumers

    def add(
        self, filters: Matcher | Filters, consumer: Consumer[_T], *, gaps: bool = False
    ) -> Registration[Consumer[_T]] | None:
        """Deliver to ``consumer`` from the next message on; returns what `remove` takes.

        After the end the consumer is told so at once, and ``None`` is returned. May be called
        from any thread.
        """
        with self.lock:
            if not self._ended:
                if gaps:
                    self._gap_consumers[id(consumer)] = consumer
                return self._router.add(filters, consumer)
        consumer.on_end(self._error)
        return None

    def remove(self, registration: Registration[Consumer[_T]] | None) -> None:
        """Deliver no more. Idempotent; may be called from any thread."""
        if registration is None:
            return
        with self.lock:
            self._router.remove(registration)
            self._gap_consumers.pop(id(registration.target), None)

    def abandon(self, release: Callable[[], None]) -> None:
        """Call ``release`` soon. For finalizers, which may run in the midst of anything."""
        self._abandoned.append(release)
        if self.gate.is_shut:  # no message comes before somebody makes room: perhaps this one
            soon(self.gate.loop, self._release_abandoned)

    def __len__(self) -> int:
        self._release_abandoned()
        return len(self._router)

    @property
    def backlog(self) -> int:
        """Items that wait in all consumers together."""
        return sum(consumer.backlog for consumer in self._router.targets())

    # Emission

    def emit(self, message: _T) -> None:
        """Deliver a message. From inside a consumer: after the one being delivered."""
        self._emit(self._deliver, message)

    def emit_gap(self, gap: Gap) -> None:
        """Deliver a gap to the consumers that want them, at its place among the messages."""
        self._emit(self._deliver_gap, gap)

    def _emit(self, deliver: Callable[[Any], None], item: Any) -> None:
        if self._emitting:
            self._pending.append((deliver, item))
            return
        self._emitting = True
        try:
            with self.gate:
                deliver(item)
                while self._pending:
                    deliver, item = self._pending.popleft()
                    deliver(item)
        finally:
            self._emitting = False

    def _deliver(self, message: _T) -> None:
        if self._abandoned:
            self._release_abandoned()
        copy = self.copy
        for consumer in self._router.match(message):
            try:
                consumer.on_message(message if copy is None else copy(message))
            except FAULTS as error:
                self.report(consumer.face, error)

    def _deliver_gap(self, gap: Gap) -> None:
        for consumer in list(self._gap_consumers.values()):
            try:
                consumer.on_message(gap)
            except FAULTS as error:
                self.report(consumer.face, error)

    def _release_abandoned(self) -> None:
        while self._abandoned:
            self._abandoned.popleft()()

    def end(self, error: Exception | None) -> None:
        """Tell every consumer that nothing follows."""
        with self.lock:
            if self._ended:
                return
            self._ended = True
            self._error = error
            consumers = self._router.targets()
            self._router = Router(self._filter_failed)
            self._gap_consumers.clear()
        for announcement in list(self._announcements.values()):
            announcement.flush()
        for consumer in consumers:
            try:
                consumer.on_end(error)
            except FAULTS as fault:
                if fault is not error:  # an observer without on_error re-raises what it is told
                    self.report(consumer.face, fault)

    # Reports

    def report(self, face: Any, error: BaseException) -> None:
        """A consumer failed: say so to the event loop's exception handler and to ``events``."""
        error = self._redact(error)
        loop = running_loop()
        if loop is not None:
            loop.call_exception_handler(
                {"message": f"rxws: {_name(face)} raised", "exception": error, "consumer": face}
            )
        self.announce(ConsumerFailed(face, error))

    def _filter_failed(self, consumer: Consumer[_T], error: Exception) -> None:
        self.announce(ConsumerFailed(consumer.face, error))

    def count_drop(self, consumer: Consumer[Any], dropped: int) -> None:
        """A consumer dropped a message; ``dropped`` so far. Announced once a second at most."""
        self.dropped += 1
        announcement = self._announcements.get(id(consumer))
        if announcement is None:
            announcement = _Announcement(self, consumer)
            self._announcements[id(consumer)] = announcement
        announcement.drop(dropped)

    def forget_drops(self, consumer: Consumer[Any]) -> None:
        """The consumer is gone: announce what was not yet, and no more. From any thread."""
        announcement = self._announcements.pop(id(consumer), None)
        if announcement is not None:
            on_loop(announcement.loop, announcement.flush)


class _Announcement:
    """The Overflowed events of one consumer: at once, then at most one each second."""

    def __init__(self, hub: Hub[Any], consumer: Consumer[Any]) -> None:
        self._hub = hub
        self._consumer = consumer
        self._dropped = 0
        self._announced = 0
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def drop(self, dropped: int) -> None:
        self._dropped = dropped
        if self._timer is None:
            self._announce()
            self._timer = self.loop.call_later(_ANNOUNCE_EVERY, self._elapsed)

    def _elapsed(self) -> None:
        self._timer = None
        if self._dropped > self._announced:
            self._announce()
            self._timer = self.loop.call_later(_ANNOUNCE_EVERY, self._elapsed)

    def _announce(self) -> None:
        self._announced = self._dropped
        self._hub.announce(Overflowed(self._consumer.face, self._dropped))

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._dropped > self._announced:
            self._announce()


def _name(face: Any) -> str:
    try:
        name = getattr(face, "__qualname__", None)
    except FAULTS:  # of what the user made
        name = None
    return name if isinstance(name, str) and name else type(face).__name__


class ObserverConsumer(Generic[_T]):
    """An observer of everything as a consumer."""

    backlog = 0

    def __init__(self, observer: abc.ObserverBase[_T]) -> None:
        self._observer = observer
        self.face = observer
        self.on_message = observer.on_next  # no call in between on the path of a message

    def on_end(self, error: Exception | None) -> None:
        """Complete the observer, or tell it what ended everything."""
        if error is None:
            self._observer.on_completed()
        else:
            self._observer.on_error(error)
