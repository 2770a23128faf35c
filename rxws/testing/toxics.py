"""What a `Relay` can do to the bytes that pass through it, in the words of Toxiproxy.

The toxics themselves only say what is wanted. At work, in one direction of one connection, each is
a stage of a chain: it is fed bytes, and hands them on in their order, later or in other pieces.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

__all__ = [
    "CHUNK",
    "Bandwidth",
    "Direction",
    "Item",
    "Latency",
    "LimitData",
    "Line",
    "Mark",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "Stage",
    "Timeout",
    "Toxic",
    "stage",
]

Direction: TypeAlias = Literal["upstream", "downstream", "both"]
"""From the client to the server, from the server to the client, or both."""

CHUNK = 65_536
"""Bytes that are read at a time, and that most stages hold before the reading stops."""

# What a line may have in flight when it is long; and what a piece takes beside its bytes, so that
# the memory of very small ones is bounded too.
_IN_FLIGHT = 4 * 2**20
_OVERHEAD = 128
# A rate is kept by that many pieces a second.
_PIECES = 100


@dataclasses.dataclass(frozen=True)
class Latency:
    """Everything arrives later, in order; as much as before, up to 4 MiB under way.

    Parameters:
        latency: seconds.
        jitter: each piece takes up to so many seconds more or less than ``latency``.
    """

    latency: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.latency >= 0 and self.jitter >= 0)


@dataclasses.dataclass(frozen=True)
class Bandwidth:
    """No more gets through than ``rate`` bytes a second, evenly."""

    rate: float

    def __post_init__(self) -> None:
        _check(self, self.rate > 0)


@dataclasses.dataclass(frozen=True)
class SlowClose:
    """The end of what one side sends reaches the other ``delay`` seconds later."""

    delay: float

    def __post_init__(self) -> None:
        _check(self, self.delay >= 0)


@dataclasses.dataclass(frozen=True)
class Timeout:
    """Nothing gets through; after ``timeout`` seconds the connection ends, never when 0.

    Nothing is thrown away before that end: what waits arrives when the toxic is removed.
    """

    timeout: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.timeout >= 0)


@dataclasses.dataclass(frozen=True)
class ResetPeer:
    """After ``timeout`` seconds, with 0 at once, the connection is reset by RST, both ways."""

    timeout: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.timeout >= 0)


@dataclasses.dataclass(frozen=True)
class Slicer:
    """Everything arrives in small pieces, each a TCP segment of its own where TCP has the choice.

    Parameters:
        average_size: bytes of a piece.
        size_variation: up to so many bytes more or less; less than ``average_size``.
        delay: seconds from one piece to the next.
    """

    average_size: int
    size_variation: int = 0
    delay: float = 0.0

    def __post_init__(self) -> None:
        _check(self, 0 <= self.size_variation < self.average_size and self.delay >= 0)


@dataclasses.dataclass(frozen=True)
class LimitData:
    """After exactly ``bytes`` bytes of a connection in one direction, the connection ends."""

    bytes: int

    def __post_init__(self) -> None:
        _check(self, self.bytes >= 0)


Toxic: TypeAlias = Latency | Bandwidth | SlowClose | Timeout | ResetPeer | Slicer | LimitData
"""What `Relay.add` takes. Times count, for each connection, from when it and the toxic meet."""


def _check(toxic: object, sound: bool) -> None:  # noqa: FBT001 - reads as a condition
    if not sound:
        raise ValueError(f"out of range: {toxic}")


class Mark(enum.Enum):
    """What goes through a chain beside bytes."""

    EOF = "the sender has no more to say"
    CUT = "the connection ends here, both ways"


Item: TypeAlias = bytes | Mark


class Line(Protocol):
    """What a stage is part of."""

    def cut(self) -> None:
        """End the connection."""
        ...

    def reset(self) -> None:
        """End the connection by RST."""
        ...

    def changed(self) -> None:
        """Look again at whether a stage is full."""
        ...


_T = TypeVar("_T", bound=Toxic)


class Stage(Generic[_T]):
    """A toxic at work in one direction of one connection; this one hands on as it is fed.

    Attributes:
        emit: takes what the stage hands on.
    """

    limit = CHUNK

    def __init__(self, toxic: _T, line: Line, rng: random.Random) -> None:
        self.toxic = toxic
        self.emit: Callable[[Item], None]
        self._line = line
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._queue: collections.deque[tuple[float, Item]] = collections.deque()
        self._held = 0
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def shape(self, now: float, item: Item) -> Iterator[tuple[float, Item]]:
        """Give what becomes of an item that came ``now``, and when each piece is to go on."""
        yield now, item

    @property
    def full(self) -> bool:
        """Whether it should not be fed more."""
        return self._held >= self.limit

    def feed(self, item: Item) -> None:
        """Take what comes next."""
        if self._stopped:
            return
        for due, piece in self.shape(self._loop.time(), item):
            self._queue.append((due, piece))
            self._held += _cost(piece)
        if self._timer is None:
            self._run()

    def flush(self) -> None:
        """Hand on at once everything that is held."""
        self._end_timers()
        self._hand_on(math.inf)

    def stop(self) -> None:
        """Throw away what is held, and do nothing any more."""
        self._stopped = True
        self._end_timers()
        self._queue.clear()
        self._held = 0

    def _run(self) -> None:
        self._timer = None
        self._hand_on(self._loop.time())
        if self._queue and self._queue[0][0] < math.inf:
            self._timer = self._loop.call_at(self._queue[0][0], self._run)
        self._line.changed()

    def _hand_on(self, until: float) -> None:
        # What takes a piece may stop this stage.
        while self._queue and self._queue[0][0] <= until:
            _, item = self._queue.popleft()
            self._held -= _cost(item)
            self.emit(item)

    def _end_timers(self) -> None:
        for timer in (self._timer, self._deadline):
            if timer is not None:
                timer.cancel()
        self._timer = self._deadline = None


class _Latency(Stage[Latency]):
    limit = _IN_FLIGHT
    _last = 0.0

    def shape(self, now: float, item: Item) -> Iterator[tuple[float, Item]]:
        jitter = self._rng.uniform(-self.toxic.jitter, self.toxic.jitter)
        self._last = max(self._last, now + self.toxic.latency + jitter)
        yield self._last, item


class _Bandwidth(Stage[Bandwidth]):
    _free = 0.0

    def __init__(self, toxic: Bandwidth, line: Line, rng: random.Random) -> None:
        super().__init__(toxic, line, rng)
        # Enough for the next few pieces, or the rate of a fast line would be that of the timers.
        self.limit = max(CHUNK, int(4 * toxic.rate / _PIECES))

    def shape(self, now: float, item: Item) -> Iterator[tuple[float, Item]]:
        self._free = max(self._free, now)
        if isinstance(item, Mark):
            yield self._free, item
            return
        size = max(1, int(self.toxic.rate / _PIECES))
        for start in range(0, len(item), size):
            piece = item[start : start + size]
            self._free += len(piece) / self.toxic.rate
            yield self._free, piece


class _SlowClose(Stage[SlowClose]):
    def shape(self, now: float, item: Item) -> Iterator[tuple[float, Item]]:
        yield now + self.toxic.delay if isinstance(item, Mark) else now, item


class _Timeout(Stage[Timeout]):
    def __init__(self, toxic: Timeout, line: Line, rng: random.Random) -> None:
        super().__init__(toxic, line, rng)
        if toxic.timeout:
            self._deadline = self._loop.call_later(toxic.timeout, line.cut)

    @property
    def full(self) -> bool:
        return True

    def shape(self, now: float, item: Item) -> Iterator[tuple[float, Item]]:
        yield math.inf, item


class _ResetPeer(Stage[ResetPeer]):
    def __init__(self, toxic: ResetPeer, line: Line, rng: random.Random) -> None:
        super().__init__(toxic, line, rng)
        self._deadline = self._loop.call_later(toxic.timeout, line.reset)


class _Slicer(Stage[Slicer]):
    _next = 0.0

    def shape(self, now: float, item: Item) -> Iterator[tuple[float, Item]]:
        self._next = max(self._next, now)
        if isinstance(item, Mark):
            yield self._next, item
            return
        start = 0
        variation = self.toxic.size_variation
        while start < len(item):
            size = self.toxic.average_size + self._rng.randint(-variation, variation)
            yield self._next, item[start : start + size]
            self._next += self.toxic.delay
            start += size


class _LimitData(Stage[LimitData]):
    _done = 0

    def shape(self, now: float, item: Item) -> Iterator[tuple[float, Item]]:
        if isinstance(item, Mark):
            yield now, item
            return
        left = self.toxic.bytes - self._done
        self._done += len(item)
        if left > 0:
            yield now, item[:left]
        if self._done >= self.toxic.bytes:
            yield now, Mark.CUT


def stage(toxic: Toxic, line: Line, rng: random.Random) -> Stage[Any]:
    """Return the stage that does what ``toxic`` says, at work from now."""
    return _STAGES[type(toxic)](toxic, line, rng)


_STAGES: dict[type[Toxic], Callable[..., Stage[Any]]] = {
    Latency: _Latency,
    Bandwidth: _Bandwidth,
    SlowClose: _SlowClose,
    Timeout: _Timeout,
    ResetPeer: _ResetPeer,
    Slicer: _Slicer,
    LimitData: _LimitData,
}


def _cost(item: Item) -> int:
    return _OVERHEAD + (len(item) if isinstance(item, bytes) else 0)
