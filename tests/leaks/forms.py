"""What is done again and again, and what it may leave: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import rxws
from rxws.testing import FakeTransport
from tests.children import Child
from tests.counting import CountingLoop
from tests.leaks.gate import Gate, settled

__all__ = ["FORMS"]

_OBJECTS = 200
_ONE = 1
_TWO = 2
_AT_ONCE = rxws.Backoff(initial=0.0005, maximum=0.0005, stable=1000)


class _Happened:
    """Counts the events of each kind, and wakes who waits for a number of them."""

    def __init__(self, ws: rxws.ReactiveWebSocket[Any]) -> None:
        self._counts: dict[type[rxws.Event], int] = {}
        self._waiting: asyncio.Future[None] | None = None
        self._wanted: tuple[type[rxws.Event], int] = (rxws.Closed, 0)
        ws.events.subscribe(self._count)

    def _count(self, event: rxws.Event) -> None:
        kind = type(event)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        wanted, count = self._wanted
        waiting = self._waiting
        if waiting is not None and not waiting.done() and self._counts.get(wanted, 0) >= count:
            waiting.set_result(None)

    async def reaches(self, kind: type[rxws.Event], count: int) -> None:
        """Wait until there were so many of a kind."""
        if self._counts.get(kind, 0) < count:
            self._wanted = kind, count
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting


async def _none_open(child: Child) -> bool:
    return (await child.ask("open"))["open"] == 0


def _loop() -> CountingLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    return loop


async def reconnects(scale: float, _: random.Random) -> Gate:
    """10,000 connections that the server ends, in turn cleanly, by RST, and with 1011."""
    count, first = max(int(10_000 * scale), 30), max(int(500 * scale), 10)
    gate = Gate(objects=_OBJECTS, memory=8)
    async with Child("tests.leaks.peer") as peer:
        url = peer.greeting["url"] + "/ends"
        ws = rxws.connect(url, subscribe=["end me"], backoff=_AT_ONCE)
        happened = _Happened(ws)
        async with ws:
            await happened.reaches(rxws.Connected, first)
            gate.begin()
            await happened.reaches(rxws.Connected, first + count)
            gate.end(f"{count:,} reconnects")
        gate.check(holds=_loop().open_now == 0, what="a socket is left open")
        gate.check(holds=_loop().most_open <= _TWO, what=f"{_loop().most_open} sockets at once")
        gate.check(holds=await settled(lambda: _none_open(peer)), what="the server has one still")
    return gate


async def rotations(scale: float, _: random.Random) -> Gate:
    """1,000 rotations, with at most two connections at any instant and one at rest."""
    count, first = max(int(1_000 * scale), 10), max(int(100 * scale), 5)
    gate = Gate(objects=_OBJECTS, memory=8)
    loop = _loop()
    async with Child("tests.leaks.peer") as peer:
        url = peer.greeting["url"] + "/stays"
        handover = rxws.MakeBeforeBreak(overlap=0.0)
        ws = rxws.connect(url, subscribe=["let me"], handover=handover)
        happened = _Happened(ws)
        async with ws:
            for number in range(first + count):
                if number == first:
                    gate.begin()
                    loop.reset_most()
                ws.rotate()
                await happened.reaches(rxws.Rotated, number + 1)

            async def is_at_rest() -> bool:
                return loop.open_now == _ONE

            gate.check(holds=await settled(is_at_rest), what=f"{loop.open_now} open at rest")
            gate.end(f"{count:,} rotations, at most {loop.most_open} sockets")
            gate.check(holds=loop.most_open <= _TWO, what=f"{loop.most_open} sockets at once")
        gate.check(holds=loop.open_now == 0, what="a socket is left open")
        gate.check(holds=await settled(lambda: _none_open(peer)), what="the server has one still")
    return gate


async def subscriptions(scale: float, _: random.Random) -> Gate:
    """10,000 times subscribed and disposed, and iterated and left."""
    count, first = max(int(10_000 * scale), 50), max(int(500 * scale), 20)
    gate = Gate(objects=_OBJECTS, memory=4)
    transport = FakeTransport()
    async with rxws.connect("ws://fake", transport=transport, heartbeat=None) as ws:
        streams = ws.stats().streams
        for number in range(first + count):
            if number == first:
                gate.begin()
            raw = json.dumps({"n": number, "even": number % _TWO == 0})
            observed = ws.subscribe(lambda _: None)
            filtered = ws.stream_filter([{"even": True}]).subscribe(lambda _: None)
            handled = ws.add_handler(_handle)
            transport.links[0].deliver(raw)
            observed.dispose()
            filtered.dispose()
            handled.dispose()
            async with ws.stream_filter([{"n": number}]) as stream:
                transport.links[0].deliver(raw)
                async for _message in stream:
                    break
            dropped = ws.stream_filter()
            transport.links[0].deliver(raw)
            async for _message in dropped:
                break
            del dropped  # a stream that nobody holds costs nothing
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        transport.links[0].deliver("{}")
        left = ws.stats().streams - streams
        gate.check(holds=left == 0, what=f"{left} streams are left")
        gate.check(holds=ws.stats().backlog == 0, what=f"{ws.stats().backlog} messages wait")
        gate.end(f"{count:,} observers, handlers and iterators")
    return gate


async def _handle(message: Any) -> None:
    await asyncio.sleep(0)


async def cancellations(scale: float, rng: random.Random) -> Gate:
    """1,000 connects and exits that are cancelled at any moment."""
    count, first = max(int(1_000 * scale), 20), max(int(100 * scale), 5)
    gate = Gate(objects=_OBJECTS, memory=8)
    async with Child("tests.leaks.peer") as peer:
        url = peer.greeting["url"] + "/stays"
        for number in range(first + count):
            if number == first:
                gate.begin()
            await _cancelled(rxws.connect(url, subscribe=["let me"]), rng)
        gate.check(holds=await settled(lambda: _none_open(peer)), what="the server has one still")
        gate.check(holds=_loop().open_now == 0, what=f"{_loop().open_now} sockets are left open")
        gate.end(f"{count:,} cancelled connects and exits")
    return gate


async def _cancelled(ws: rxws.ReactiveWebSocket[Any], rng: random.Random) -> None:
    closed = _Happened(ws)
    opening = asyncio.ensure_future(_opened(ws))
    if rng.random() < 0.5:
        await _wait_a_moment(rng)
        opening.cancel()
        await asyncio.wait({opening})
    else:
        await opening
        leaving = asyncio.create_task(ws.exit())
        await _wait_a_moment(rng)
        leaving.cancel()
        await asyncio.wait({leaving})
    # Also what was cancelled goes on to its end.
    await ws.exit()
    await closed.reaches(rxws.Closed, 1)


async def _opened(ws: rxws.ReactiveWebSocket[Any]) -> None:
    with contextlib.suppress(rxws.ClosedError):
        await ws


async def _wait_a_moment(rng: random.Random) -> None:
    """Wait for some steps of the loop, or for as long as a handshake takes."""
    if rng.random() < 0.5:
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(rng.uniform(0, 0.004))


FORMS: dict[str, Callable[[float, random.Random], Awaitable[Gate]]] = {
    form.__name__: form for form in (reconnects, rotations, subscriptions, cancellations)
}
"""Each is given the part of its whole number that is wanted, and chance."""
