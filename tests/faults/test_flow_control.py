"""Section E of the faults: consumers that are slower than their feed, and floods.

Rows that are tested elsewhere, in part or whole:

F42: here, and tests/net/test_backpressure.py::test_a_stalled_consumer_delays_nobody
F43: here, and tests/net/test_backpressure.py::test_drops_are_counted_exactly
F44: tests/streams/test_overflow.py::test_exact (every policy, to the message),
     ::test_announced_once_a_second_at_most (an episode is a second, and the first drop after a
     pause is told at once), ::test_the_default_is_a_thousand_and_an_error
F45: here. Capacities are in messages; the bound in bytes is what follows from ``max_size``.
F46: here
F47: here, tests/net/test_backpressure.py::test_heartbeat_spares_a_connection_that_we_do_not_read
     and tests/streams/test_overflow.py::test_block_does_not_kill_the_connection
F48: here, and tests/net/test_backpressure.py::test_a_flood_leaves_the_loop_its_turns,
     tests/faults/test_security.py::test_s01_a_large_read_is_handed_on_in_slices
F49: here, and tests/net/test_backpressure.py::test_exit_of_a_blocked_websocket_is_orderly
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import tracemalloc
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import rxws
from rxws import Overflow
from rxws.testing import Server
from tests.faults.continuity import QUICK, Feed, Seen, feeding, give, now, number_of, whole
from tests.virtual import connected, drained, turns, virtual

MIB = 2**20


@virtual
async def test_f42_a_consumer_that_never_reads() -> None:
    """For an hour a stream is not read: the connection lives, and another gets every message."""
    async with connected() as (ws, peer):
        forgotten = ws.stream_filter()
        seen = Seen(ws)
        async with feeding(Feed(peer, 1)) as feed:
            await asyncio.sleep(3600.5)
        assert len(peer.links) == 1
        whole(seen.numbers, 0, feed.last)
        assert feed.last >= 3599
        assert ws.stats().dropped == 1  # it overflowed, and costs nothing since
        assert [await anext(forgotten) for _ in range(1000)] == seen.items[:1000]
        with pytest.raises(rxws.BufferOverflow):
            await anext(forgotten)


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.LATEST])
@pytest.mark.parametrize("kind", ["handler", "iterator"])
def test_f43_a_consumer_slower_than_the_feed(kind: str, overflow: Overflow) -> None:
    """Of 1,000 a second a consumer takes 20: what it got and what was dropped is what was sent."""

    @virtual
    async def run() -> None:
        got: list[int] = []
        told: dict[Any, int] = {}

        async def slow(message: Any) -> None:
            got.append(message["n"])
            await asyncio.sleep(0.05)

        async with connected() as (ws, peer):
            ws.events.subscribe(
                lambda e: (
                    told.update({e.stream: e.dropped}) if isinstance(e, rxws.Overflowed) else None
                )
            )
            consumer: Any
            reading: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if kind == "handler":
                consumer = slow
                reading.set_result(None)
                ws.add_handler(slow, capacity=100, overflow=overflow)
            else:
                consumer = ws.stream_filter().buffered(capacity=100, overflow=overflow)

                async def read() -> None:
                    async for message in consumer:
                        await slow(message)

                reading = asyncio.ensure_future(read())
                await turns()
            async with feeding(Feed(peer, 1000)) as feed:
                await asyncio.sleep(2.0005)
            await asyncio.sleep(100 * 0.05 + 2)
            assert ws.stats().reconnects == 0
            sent, dropped = feed.last + 1, ws.stats().dropped
            assert sent > 1500
            assert len(got) + dropped == sent
            assert got == sorted(set(got))
            assert told == {consumer: dropped}
        await reading

    run()


async def test_f45_memory_is_bounded_by_capacity_times_size() -> None:
    """Of 40 messages of a mebibyte, a stream that keeps 3 costs the memory of 3."""
    count = 0

    def take(_: Any) -> None:
        nonlocal count
        count += 1

    async with Server() as server:
        ws = rxws.connect(server.url, parse=None, max_size=None)
        kept = ws.stream_filter().buffered(capacity=3, overflow=Overflow.DROP_OLDEST)
        async with ws:
            ws.subscribe(take)
            session = await server.connection(1)
            tracemalloc.start()
            try:
                for number in range(40):
                    await session.send(f"{number} ".ljust(MIB))
                await server.wait(lambda: count == 40)
                used, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert [int(raw.split()[0]) async for raw in kept] == [37, 38, 39]
    assert used < (3 + 2) * MIB


@virtual
async def test_f46_one_slow_consumer_among_99_fast_ones() -> None:
    """Beside one that never reads, 99 get every message in the moment in which it arrives."""
    late: list[float] = []
    got = [0] * 99

    async def read(index: int, stream: Any) -> None:
        async for message in stream:
            got[index] += 1
            late.append(now() - sent[message["n"]])

    async with connected() as (ws, peer):
        slow = ws.stream_filter().buffered(capacity=10, overflow=Overflow.DROP_OLDEST)
        readers = [asyncio.create_task(read(n, ws.stream_filter())) for n in range(99)]
        await turns()
        sent: list[float] = []
        for number in range(50):
            sent.append(now())
            give(peer.last, number)
            await asyncio.sleep(0.01)
    await asyncio.gather(*readers)
    assert got == [50] * 99
    assert max(late) == 0
    assert [message["n"] for message in await drained(slow)] == list(range(40, 50))


async def test_f47_a_blocking_consumer_is_kicked() -> None:
    """Where the server drops us as too slow, a blocked reader gets what arrived, then the gap."""
    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK)
        slow = ws.stream_filter().buffered(capacity=5, overflow=Overflow.BLOCK).with_gaps()
        seen = Seen(ws)
        async with ws:
            first = await server.connection(1)
            raws = [f'{{"n":{n}}}'.ljust(1000) for n in range(20_000)]
            sending = asyncio.create_task(first.send_all(raws))
            await server.wait(lambda: ws.stats().backlog > 0)
            first.abort()
            with contextlib.suppress(ConnectionClosed):
                await sending
            got: list[Any] = []
            async for item in slow:
                got.append("gap" if isinstance(item, rxws.Gap) else item["n"])
                if got[-1] == "gap":
                    await (await server.connection(2)).send('{"n":-1}')
                if got[-1] == -1:
                    break
            assert ws.stats().dropped == 0
        assert got == [*range(len(got) - 2), "gap", -1]
        assert seen.line == got
        assert ws.stats().gaps == 1


async def test_f48_a_burst_of_tiny_frames() -> None:
    """While 300,000 frames of 3 bytes are read, the loop gets its turns, hundreds of times.

    Measured in time of the processor, so that it does not matter who else uses that.
    """
    total, count = 300_000, 0
    turns: list[tuple[float, int]] = []

    def take(_: Any) -> None:
        nonlocal count
        count += 1

    async with Server() as server, rxws.connect(server.url, parse=None) as ws:
        ws.subscribe(take)
        session = await server.connection(1)
        session.write_bytes(b"\x81\x011" * total)
        while count < total:
            turns.append((time.process_time(), count))
            await asyncio.sleep(0)
        turns.append((time.process_time(), count))
        assert ws.stats().reconnects == 0
    longest = max(after - before for (before, _), (after, _) in itertools.pairwise(turns))
    most = max(after - before for (_, before), (_, after) in itertools.pairwise(turns))
    assert longest < (turns[-1][0] - turns[0][0]) / 3
    assert most <= 512


@pytest.mark.parametrize("megabytes", [0.2, 20])
async def test_f49_exit_with_much_that_is_unread(megabytes: float) -> None:
    """Exit reads on, so that the closing handshake is completed, however much is in its way."""
    async with Server() as server:
        ws = rxws.connect(server.url, exit_timeout=60)
        blocked = ws.stream_filter().buffered(capacity=1, overflow=Overflow.BLOCK)
        async with ws:
            session = await server.connection(1)
            raws = [f'{{"n":{n}}}'.ljust(10_000) for n in range(int(megabytes * 100))]
            sending = asyncio.create_task(session.send_all(raws))
            await server.wait(lambda: ws.stats().backlog > 0)
        assert await session.wait_closed() == (1000, "")
        with contextlib.suppress(ConnectionClosed):
            await sending
        assert [message["n"] async for message in blocked] == [0]


@virtual
async def test_f49_exit_with_a_full_queue_and_a_peer_that_does_not_close() -> None:
    """With everything full on both sides, exit takes ``exit_timeout``, not more."""
    async with connected(exit_timeout=2) as (ws, peer):
        peer.last.answer_close = False
        ws.stream_filter().buffered(capacity=1, overflow=Overflow.BLOCK)
        blocked = ws.stream_filter().buffered(capacity=1, overflow=Overflow.BLOCK)
        give(peer.last, *range(10_000))
        assert peer.last.queued > 9000
        began = now()
        await ws.exit()
        assert now() - began <= 2
        assert [number_of(message) for message in await drained(blocked)] == [0]
