"""Large batches: what fills a gap, and what a rotation releases, reach those who keep up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import rxws
from tests.virtual import connected, turns, virtual


def ids(numbers: range) -> list[str]:
    """Return numbered messages."""
    return [json.dumps({"n": n}) for n in numbers]


async def reading(stream: rxws.Stream[Any], into: list[Any]) -> None:
    """Read a stream to its end."""
    async for message in stream:
        into.append(message)  # noqa: PERF401 (looked at meanwhile)


@virtual
async def test_a_long_filling_overflows_no_reader_that_keeps_up() -> None:
    """A filling of many times a buffer's capacity arrives whole, in order, before what is live."""

    async def resync(_gap: rxws.Gap) -> list[dict[str, int]]:
        return [{"n": n} for n in range(1, 5000)]

    async with connected(resync=resync, key=lambda m: m["n"]) as (ws, peer):
        got: list[Any] = []
        task = asyncio.ensure_future(reading(ws.stream_filter().with_gaps(), got))
        await turns()
        peer.deliver({"n": 0})
        peer.last.lose()
        second = await peer.link(2)
        second.deliver(*ids(range(4990, 7000)))
        await asyncio.sleep(5)
        second.deliver(*ids(range(7000, 7010)))
        await turns()
    await task
    assert isinstance(got[1], rxws.Gap)
    assert [item["n"] for item in got if not isinstance(item, rxws.Gap)] == list(range(7010))


@virtual
async def test_a_long_hold_overflows_no_reader_that_keeps_up() -> None:
    """What a rotation releases at once, many times a buffer's capacity, arrives whole."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    async with connected(key=lambda m: m["n"], handover=handover) as (ws, peer):
        got: list[Any] = []
        task = asyncio.ensure_future(reading(ws.stream_filter(), got))
        await turns()
        ws.rotate()
        second = await peer.link(2)
        await asyncio.sleep(0.5)
        second.deliver(*ids(range(5000)))
        await asyncio.sleep(3)
        second.deliver(*ids(range(5000, 5010)))
        await turns()
    await task
    assert [item["n"] for item in got] == list(range(5010))


@virtual
async def test_a_blocked_reader_bounds_what_a_rotation_brings() -> None:
    """With BLOCK a rotation puts no more into the buffer than a slice beyond its capacity."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    async with connected(key=lambda m: m["n"], handover=handover) as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=10, overflow=rxws.Overflow.BLOCK)
        peer.last.deliver(*ids(range(2000)))
        ws.rotate()
        second = await peer.link(2)
        second.deliver(*ids(range(1000, 4000)))
        await asyncio.sleep(30)
        assert ws.stats().backlog <= 10 + 256
        got = [(await anext(stream))["n"] for _ in range(2000)]
        await asyncio.sleep(5)
        while len(got) < 4000:
            got.append((await anext(stream))["n"])
        assert got == list(range(4000))


@virtual
async def test_a_drain_is_bounded_although_a_parser_is_slow() -> None:
    """A predecessor that sends on and never closes costs a bounded time, also a slow parser."""

    async def parse(raw: str | bytes) -> Any:
        await asyncio.sleep(0.02)
        return json.loads(raw)

    handover = rxws.MakeBeforeBreak(overlap=1, drain=2)
    async with connected(parse=parse, key=lambda m: m["n"], handover=handover) as (ws, peer):
        peer.last.answer_close = False
        ws.rotate()
        await peer.link(2)
        for n in range(1000):
            if ws.stats().rotations:
                break
            peer.links[0].deliver(*ids(range(10 * n, 10 * n + 10)))
            await asyncio.sleep(0.01)
        assert ws.stats().rotations == 1


@virtual
async def test_a_predecessor_that_was_not_read_is_read_to_its_end() -> None:
    """Where a BLOCK consumer held up the reading for the whole drain, that goes on after it."""
    handover = rxws.MakeBeforeBreak(overlap=0.1, drain=1)
    async with connected(key=lambda m: m["n"], handover=handover, heartbeat=None) as (ws, peer):
        got: list[int] = []
        ws.subscribe(lambda m: got.append(m["n"]))
        old = peer.last
        old.answer_close = False
        ws.rotate()
        new = await peer.link(2)
        unread = ws.stream_filter().buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        old.deliver(*ids(range(10)))
        new.deliver(*ids(range(20, 30)))
        await asyncio.sleep(2.09)  # the drain is looked at in 10 ms, for the second time
        await unread.close()
        await asyncio.sleep(0.02)
        old.deliver(*ids(range(10, 20)))  # what the sockets held meanwhile
        await asyncio.sleep(5)
        assert got == list(range(30))
