"""Who listens during a soak: those that are promised everything, and the slow ones."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import rxws
from tests.soak.oracle import Line
from tests.soak.spans import Spans

__all__ = ["SLOW", "Consumers", "Pulse"]

_PLENTY = 1_000_000  # no stall of the machine may overflow what is promised everything
_FEW = 50


class Pulse:
    """Measures the output: from one message to the next, and from the making to the delivery.

    Attributes:
        calm, rotating, faulty: the silences while nothing happened, during rotations, and with a
            fault on.
        added: in silences without faults, how much longer they were than in the feed itself.
        delays: from the making of a message to its delivery, without faults.
        rotates, is_faulty: what goes on.
    """

    def __init__(self) -> None:
        self.calm, self.rotating, self.faulty = Spans(), Spans(), Spans()
        self.added, self.delays = Spans(), Spans()
        self.lately = 0.0
        self._rotates = False
        self._rotated = False
        self._is_faulty = False
        self._last: float | None = None
        self._made = 0.0

    def rotates(self, now: bool) -> None:  # noqa: FBT001 -- a setter
        """Say whether a rotation is under way."""
        self._rotated |= self._rotates or now
        self._rotates = now

    def is_faulty(self, now: bool) -> None:  # noqa: FBT001 -- a setter
        """Say whether a fault is on; what began before counts as faulty, too."""
        self._is_faulty = now

    def beat(self, made: float) -> None:
        """Take note of a message that is being delivered."""
        now = time.monotonic()
        if self._last is not None:
            silence = now - self._last
            self.lately = max(self.lately, silence)
            if self._is_faulty:
                self.faulty.add(silence)
            else:
                kind = self.rotating if self._rotated or self._rotates else self.calm
                kind.add(silence)
                self.added.add(max(silence - (made - self._made), 0.0))
                self.delays.add(max(now - made, 0.0))
        self._rotated = self._rotates
        self._last, self._made = now, made


class Consumers:
    """An observer, an iterator, a coroutine handler, and two that are told of gaps.

    Args:
        ws: not entered yet.

    Attributes:
        lines: what they saw; the first is that of the observer.
        partial: what slow consumers saw, that came and went.
        pulse: of the observer.
        gaps, missing: how many the first that is told of them was told, and of how many numbers.
    """

    def __init__(self, ws: rxws.ReactiveWebSocket[Any]) -> None:
        self.ws = ws
        self.pulse = Pulse()
        self.partial: list[Line] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.observer = Line("the observer")
        self.handler = Line("the handler")
        self.iterator = Line("the iterator")
        self.told = Line("the observer of gaps", told=True)
        self.told_iterator = Line("the iterator of gaps", told=True)
        self.lines = [
            self.observer,
            self.handler,
            self.iterator,
            self.told,
            self.told_iterator,
        ]

    def start(self) -> None:
        """Subscribe them all."""
        see, beat = self.observer.message, self.pulse.beat

        def observe(message: Any) -> None:
            see(message["p"], message["q"])
            beat(message["t"])

        async def handle(message: Any) -> None:
            self.handler.message(message["p"], message["q"])

        self.ws.subscribe(observe)
        self.ws.add_handler(handle, capacity=_PLENTY)
        self.ws.stream_filter().with_gaps().subscribe(lambda item: _take(self.told, item))
        plain = self.ws.stream_filter().buffered(capacity=_PLENTY)
        told = self.ws.stream_filter().buffered(capacity=_PLENTY).with_gaps()
        self._tasks += [
            asyncio.create_task(_iterate(plain, self.iterator)),
            asyncio.create_task(_iterate(told, self.told_iterator)),
        ]

    async def ended(self) -> None:
        """Wait for the iterators, which end when the websocket has exited."""
        await asyncio.gather(*self._tasks)

    @property
    def is_even(self) -> bool:
        """Whether all have seen as much as the observer."""
        return len({line.count for line in self.lines}) == 1

    async def hurt(self, name: str, seed: int) -> str:
        """Be a slow or bad consumer for a while; returns what it was."""
        return await SLOW[name](self, random.Random(seed))

    async def read_slowly(self, overflow: rxws.Overflow, seconds: float, capacity: int) -> str:
        """Read a stream of one's own too slowly, then leave it."""
        line = Line(f"the reader with {overflow.name}")
        self.partial.append(line)
        until = time.monotonic() + seconds
        stream = self.ws.stream_filter().buffered(capacity=capacity, overflow=overflow)
        async with stream:
            with contextlib.suppress(rxws.BufferOverflow):
                async for message in stream:
                    line.message(message["p"], message["q"])
                    if time.monotonic() >= until:
                        break
                    await asyncio.sleep(0.01)
        return f"{line.count} read"


def _take(line: Line, item: Any) -> None:
    if isinstance(item, rxws.Gap):
        line.gap(item)
    else:
        line.message(item["p"], item["q"])


async def _iterate(stream: Any, line: Line) -> None:
    async for item in stream:
        _take(line, item)


def _slow_reader(overflow: rxws.Overflow, capacity: int) -> _Hurt:
    async def hurt(consumers: Consumers, rng: random.Random) -> str:
        return await consumers.read_slowly(overflow, rng.uniform(0.5, 2), capacity)

    return hurt


async def _unread(consumers: Consumers, rng: random.Random) -> str:
    """Hold a stream that stops the reading of the socket, and don't read it."""
    seconds = rng.uniform(0.2, 1.5)
    stream = consumers.ws.stream_filter().buffered(capacity=_FEW, overflow=rxws.Overflow.BLOCK)
    async with stream:
        await asyncio.sleep(seconds)
    return f"{seconds:.1f} s"


async def _block(_: Consumers, rng: random.Random) -> str:
    seconds = rng.uniform(0.1, 1.0)
    time.sleep(seconds)  # noqa: ASYNC251 -- what is to be survived
    return f"{seconds:.1f} s"


async def _raise(consumers: Consumers, _: random.Random) -> str:
    def fail(_: Any) -> None:
        raise LookupError("a bad observer")

    with consumers.ws.subscribe(fail):
        await asyncio.sleep(0.01)
    return ""


async def _cancel_reading(consumers: Consumers, rng: random.Random) -> str:
    """Cancel a reader in the midst of its waits: not one message may get lost by that."""
    line = Line("the cancelled reader")
    consumers.partial.append(line)
    cancelled = 0
    async with consumers.ws.stream_filter().buffered(capacity=_PLENTY) as stream:
        until = time.monotonic() + 1
        before = len(consumers.observer.jumps)
        while time.monotonic() < until:
            reading = asyncio.create_task(_iterate(stream, line))
            await asyncio.sleep(rng.uniform(0, 0.01))
            cancelled += reading.cancel()
            await asyncio.wait({reading})
    if not set(line.jumps) <= set(consumers.observer.jumps[before:]):
        line.disordered.append("lost by cancelling")
    return f"{cancelled} times"


_Hurt = Callable[[Consumers, random.Random], Awaitable[str]]

SLOW: dict[str, _Hurt] = {
    "slow reader (drop oldest)": _slow_reader(rxws.Overflow.DROP_OLDEST, _FEW),
    "slow reader (drop newest)": _slow_reader(rxws.Overflow.DROP_NEWEST, _FEW),
    "slow reader (latest)": _slow_reader(rxws.Overflow.LATEST, 1),
    "slow reader (error)": _slow_reader(rxws.Overflow.ERROR, _FEW),
    "slow reader (block)": _slow_reader(rxws.Overflow.BLOCK, _FEW),
    "unread stream (block)": _unread,
    "blocked loop": _block,
    "observer that raises": _raise,
    "reader that is cancelled": _cancel_reading,
}
"""By name; each returns a detail."""
