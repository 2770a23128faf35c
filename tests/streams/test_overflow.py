"""What happens at the bound of a stream and of a handler: exact counts, and who is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from rxws import Overflow
from tests.virtual import Log, Peer, connected, drained, turns, virtual


def overflows(ws: rxws.ReactiveWebSocket[Any]) -> list[tuple[float, Any, int]]:
    """Collect the moment, the consumer and the count of each ``Overflowed`` from now on."""
    seen: list[tuple[float, Any, int]] = []
    loop = asyncio.get_running_loop()

    def note(event: rxws.Event) -> None:
        if isinstance(event, rxws.Overflowed):
            seen.append((loop.time(), event.stream, event.dropped))

    ws.events.subscribe(note)
    return seen


async def read_all(stream: Any) -> list[Any]:
    """Return what the iteration gives; a ``BufferOverflow`` at its end is its last item."""
    items: list[Any] = []
    try:
        async for item in stream:
            items.append(item)  # noqa: PERF401 -- what came before the error counts
    except rxws.BufferOverflow as error:
        items.append(error.capacity)
    return items


# -- strategies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overflow", "capacity", "kept", "dropped"),
    [
        (Overflow.ERROR, 3, [0, 1, 2, 3], 1),  # the last 3 is the capacity that the error names
        (Overflow.DROP_OLDEST, 3, [7, 8, 9], 7),
        (Overflow.DROP_NEWEST, 3, [0, 1, 2], 7),
        (Overflow.LATEST, 1, [9], 9),
        (Overflow.LATEST, 1000, [9], 9),
        (Overflow.DROP_OLDEST, 10, list(range(10)), 0),
        (Overflow.ERROR, None, list(range(10)), 0),
    ],
)
@virtual
async def test_exact(
    overflow: Overflow, capacity: int | None, kept: list[int], dropped: int
) -> None:
    """Of ten messages that nobody read, the strategy's are kept, and the rest is counted."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=capacity, overflow=overflow)
        events = overflows(ws)
        peer.deliver(*range(10))
        assert ws.stats().dropped == dropped
        await ws.exit()
        assert [(source, count) for _, source, count in events][-1:] == (
            [(stream, dropped)] if dropped else []
        )
    assert await read_all(stream) == kept


@virtual
async def test_the_default_is_a_thousand_and_an_error() -> None:
    """A stream nobody reads holds 1,000 messages, and overflows at the next."""
    async with connected() as (ws, peer):
        stream, other = ws.stream_filter(), ws.stream_filter()
        peer.deliver(*range(1000))
        assert ws.stats().dropped == 0
        assert (await drained_now(other, 1000)) == list(range(1000))
        peer.deliver(1000)
        assert ws.stats().dropped == 1
        assert await read_all(stream) == [*range(1000), 1000]
        assert await anext(other) == 1000


async def drained_now(stream: Any, count: int) -> list[Any]:
    """Read ``count`` items."""
    return [await anext(stream) for _ in range(count)]


@virtual
async def test_an_overflowed_stream_costs_nothing_and_begins_again() -> None:
    """After ``ERROR`` nothing is delivered any more, until it is iterated anew."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=2)
        peer.deliver(*range(5))
        assert ws.stats().streams == 0
        assert await read_all(stream) == [0, 1, 2]
        reader = asyncio.ensure_future(anext(aiter(stream)))
        await turns()
        peer.deliver(5)
        assert await reader == 5


@virtual
async def test_the_error_wakes_nobody_too_early() -> None:
    """A reader that keeps up never meets the bound, however much arrives in all."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=10)
        reader = asyncio.ensure_future(drained(stream))
        for batch in range(100):
            await turns(2)
            peer.deliver(*range(batch * 10, batch * 10 + 10))
        await ws.exit()
        assert await reader == list(range(1000))
        assert ws.stats().dropped == 0


@virtual
async def test_one_overflow_concerns_nobody_else() -> None:
    """Streams with every strategy, side by side: each keeps to its own."""
    async with connected() as (ws, peer):
        streams = {
            overflow: ws.stream_filter().buffered(capacity=2, overflow=overflow)
            for overflow in (Overflow.ERROR, Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)
        }
        wide = ws.stream_filter().buffered(capacity=None)
        peer.deliver(*range(5))
        assert ws.stats().dropped == 1 + 3 + 3
        await ws.exit()
        assert await read_all(streams[Overflow.ERROR]) == [0, 1, 2]
        assert await read_all(streams[Overflow.DROP_OLDEST]) == [3, 4]
        assert await read_all(streams[Overflow.DROP_NEWEST]) == [0, 1]
        assert await read_all(wide) == [0, 1, 2, 3, 4]


# -- events --------------------------------------------------------------------------------------


@virtual
async def test_announced_once_a_second_at_most() -> None:
    """Drops are announced at once, then once a second, each time with the exact total."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=1, overflow=Overflow.DROP_OLDEST)
        events = overflows(ws)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(31):  # for three seconds
            peer.deliver(number)
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        times = [when - began for when, _, _ in events]
        assert times == pytest.approx([0.1, 1.1, 2.1, 3.1])
        assert [count for _, _, count in events] == [1, 10, 20, 30]
        assert {source for _, source, _ in events} == {stream}
        peer.deliver(31)
        assert [count for _, _, count in events][-1] == 31  # after a pause at once again


@pytest.mark.parametrize("end", ["exit", "close", "buffered"])
@virtual
async def test_the_total_is_announced_at_the_end(end: str) -> None:
    """What was not announced yet is, when the stream ends or is bounded anew."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=1, overflow=Overflow.DROP_OLDEST)
        events = overflows(ws)
        peer.deliver(*range(6))
        assert [count for _, _, count in events] == [1]
        if end == "exit":
            await ws.exit()
        elif end == "close":
            await stream.close()
        else:
            stream.buffered(capacity=1, overflow=Overflow.DROP_NEWEST)
            peer.deliver(6)
            await asyncio.sleep(2)
        assert [count for _, _, count in events][1:] == [6 if end == "buffered" else 5]


@virtual
async def test_streams_are_announced_one_by_one() -> None:
    """Each stream and each handler has its own announcements and totals."""
    async with connected() as (ws, peer):
        first = ws.stream_filter().buffered(capacity=1, overflow=Overflow.DROP_NEWEST)
        second = ws.stream_filter().buffered(capacity=3, overflow=Overflow.DROP_NEWEST)

        async def stuck(_: Any) -> None:
            await asyncio.sleep(3600)

        ws.add_handler(stuck, capacity=2, overflow=Overflow.DROP_NEWEST)
        events = overflows(ws)
        peer.deliver(*range(5))
        await asyncio.sleep(2)
        totals = {source: count for _, source, count in events}
        assert totals == {first: 4, second: 2, stuck: 3}
        assert ws.stats().dropped == 9


# -- a new bound ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [
        (Overflow.ERROR, [0, 1, 2, 3, 4, 2]),  # the last 2 is the capacity that the error names
        (Overflow.DROP_OLDEST, [4, 5]),
        (Overflow.DROP_NEWEST, [0, 1, 2, 3, 4]),
        (Overflow.LATEST, [5]),
        (Overflow.BLOCK, [0, 1, 2, 3, 4, 5]),
    ],
)
@virtual
async def test_more_waits_than_the_new_bound(overflow: Overflow, kept: list[int]) -> None:
    """A narrower bound is for what comes; only where the newest count, the oldest go."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        peer.deliver(*range(5))
        stream.buffered(capacity=2, overflow=overflow)
        assert peer.last.paused == (overflow is Overflow.BLOCK)
        peer.deliver(5)
        items: list[Any] = []
        for _ in range(len(kept)):
            try:
                items.append(await anext(stream))
            except rxws.BufferOverflow as error:
                items.append(error.capacity)
        assert items == kept
        assert not peer.last.paused


# -- block ---------------------------------------------------------------------------------------


@virtual
async def test_block_stops_the_reading() -> None:
    """With ``BLOCK`` the socket is read only as far as there is room, and nothing is lost."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=10, overflow=Overflow.BLOCK)
        log = Log()
        ws.subscribe(log)
        peer.deliver(*range(1000))
        assert (len(log.items), peer.last.queued) == (10, 990)
        got = []
        async for number in stream:
            got.append(number)
            assert ws.stats().backlog <= 10
            if number == 999:
                break
        assert got == log.items == list(range(1000))
        assert ws.stats().dropped == 0


@virtual
async def test_block_pauses_seldom() -> None:
    """The socket is resumed when half the room is free, not for each message."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=100, overflow=Overflow.BLOCK)
        resumed = 0
        resume = peer.last.resume

        def count() -> None:
            nonlocal resumed
            resumed += 1
            resume()

        peer.last.resume = count  # type: ignore[method-assign]
        peer.deliver(*range(1000))
        await drained_now(stream, 1000)
        assert 1000 / 100 - 1 <= resumed <= 1000 / 50


@virtual
async def test_block_of_several() -> None:
    """Two blocked consumers: the socket is read again when both have room."""
    async with connected() as (ws, peer):
        first = ws.stream_filter().buffered(capacity=2, overflow=Overflow.BLOCK)
        second = ws.stream_filter().buffered(capacity=2, overflow=Overflow.BLOCK)
        peer.deliver(1, 2, 3)
        assert peer.last.paused
        assert await drained_now(first, 2) == [1, 2]
        assert peer.last.paused
        assert await drained_now(second, 2) == [1, 2]
        assert not peer.last.paused
        assert await anext(first) == await anext(second) == 3


@virtual
async def test_block_does_not_kill_the_connection() -> None:
    """However long a consumer blocks, our heartbeat ends the connection neither then nor after."""
    heartbeat = rxws.Heartbeat(interval=5, timeout=5)
    async with connected(heartbeat=heartbeat) as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=2, overflow=Overflow.BLOCK)
        peer.deliver(*range(10))
        peer.last.answer_pings = False  # behind what is not read no pong is seen
        await asyncio.sleep(3600)
        assert ws.state is rxws.State.OPEN
        assert await drained_now(stream, 10) == list(range(10))
        peer.last.answer_pings = True
        await asyncio.sleep(3600)
        assert len(peer.links) == 1


@virtual
async def test_block_across_a_reconnect() -> None:
    """A new connection is not read either before there is room, and nothing is lost of it."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=2, overflow=Overflow.BLOCK)
        peer.deliver(1, 2)
        peer.last.lose()
        peer.last.resume()
        second = await peer.link(2)
        await turns()
        peer.deliver(3, 4, 5)
        assert second.paused
        assert await drained_now(stream, 5) == [1, 2, 3, 4, 5]
        assert not second.paused


@virtual
async def test_exit_while_blocked() -> None:
    """``exit`` is not held up by a consumer that blocks; it still gives what it holds."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=2, overflow=Overflow.BLOCK)
        peer.deliver(*range(10))
        began = asyncio.get_running_loop().time()
        await ws.exit()
        assert asyncio.get_running_loop().time() - began <= 2
    assert await drained(stream) == [0, 1]


@virtual
async def test_reading_while_blocked_before_it_was_entered() -> None:
    """A bound set before the websocket is entered holds from the first message on."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer)
    stream = ws.stream_filter().buffered(capacity=1, overflow=Overflow.BLOCK)
    async with ws:
        peer.deliver(1, 2, 3)
        assert peer.last.queued == 2
        assert await drained_now(stream, 3) == [1, 2, 3]
