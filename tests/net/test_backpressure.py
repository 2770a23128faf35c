"""Slow consumers and floods on a real socket."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from rxws.testing import Server

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=0.5)


async def test_block_loses_nothing_and_bounds_what_waits() -> None:
    """A reader that is slow with BLOCK gets every message, and the server feels it."""
    total = 3000
    async with Server() as server:
        ws = rxws.connect(server.url)
        slow = ws.stream_filter().buffered(capacity=10, overflow=rxws.Overflow.BLOCK)
        async with ws:
            session = await server.connection(1)
            sending = asyncio.create_task(
                session.send_all([f'{{"n":{n},"pad":"{"x" * 1000}"}}' for n in range(total)])
            )
            got = []
            async for message in slow:
                got.append(message["n"])
                assert ws.stats().backlog <= 12
                if len(got) % 100 == 0:
                    await asyncio.sleep(0)
                if len(got) == total:
                    break
            await sending
        assert got == list(range(total))


async def test_block_reaches_the_socket_through_operators() -> None:
    """A blocked iterator behind operators stops the reading of the socket it comes from."""
    async with Server() as server, rxws.connect(server.url) as ws:
        session = await server.connection(1)
        iteration = ws.pipe(
            ops.filter(lambda m: m % 2 == 0),
            ops.map(lambda m: -m),
            rxws.to_async_iterator(capacity=5, overflow=rxws.Overflow.BLOCK),
        )
        async with iteration:
            sending = asyncio.create_task(session.send_all([str(n) for n in range(20_000)]))
            got = [await anext(iteration) for _ in range(100)]
            assert ws.stats().messages < 5_000
            got += [await anext(iteration) for _ in range(9_900)]
        await sending
        assert got == [-n for n in range(0, 20_000, 2)]


async def test_heartbeat_spares_a_connection_that_we_do_not_read() -> None:
    """While a blocked consumer keeps us from reading, our heartbeat kills nothing."""
    heartbeat = rxws.Heartbeat(interval=0.5, timeout=3.0)
    async with Server() as server, rxws.connect(server.url, heartbeat=heartbeat) as ws:
        session = await server.connection(1)
        stream = ws.stream_filter().buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        sending = asyncio.create_task(session.send_all([str(n) for n in range(1000)]))
        await server.wait(lambda: ws.stats().backlog > 0)
        await asyncio.sleep(4.0)
        assert ws.stats().reconnects == 0
        assert [await anext(stream) for _ in range(1000)] == list(range(1000))
        await sending


async def test_closing_a_blocked_stream_lets_the_others_go_on() -> None:
    """When the consumer that blocks is closed, reading goes on for everybody else."""
    async with Server() as server, rxws.connect(server.url) as ws:
        session = await server.connection(1)
        got: list[Any] = []
        ws.subscribe(got.append)
        blocked = ws.stream_filter().buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        sending = asyncio.create_task(session.send_all([str(n) for n in range(500)]))
        await server.wait(lambda: len(got) > 0)
        assert len(got) < 20
        await blocked.close()
        await server.wait(lambda: len(got) == 500)
        await sending


async def test_dropping_a_blocked_stream_lets_the_others_go_on() -> None:
    """A blocked stream that is forgotten does not stop the others for ever."""
    async with Server() as server, rxws.connect(server.url) as ws:
        session = await server.connection(1)
        got: list[Any] = []
        ws.subscribe(got.append)
        blocked = ws.stream_filter().buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        sending = asyncio.create_task(session.send_all([str(n) for n in range(500)]))
        await server.wait(lambda: ws.stats().backlog > 0)
        del blocked
        await server.wait(lambda: len(got) == 500)
        await sending


async def test_exit_of_a_blocked_websocket_is_orderly() -> None:
    """Exit reads on to the end although a consumer blocks, and closes with 1000."""
    async with Server() as server:
        ws = rxws.connect(server.url)
        blocked = ws.stream_filter().buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        async with ws:
            session = await server.connection(1)
            sending = asyncio.create_task(session.send_all(["x" * 2, *["1"] * 5000]))
            await server.wait(lambda: ws.stats().backlog > 0)
        assert await session.wait_closed() == (1000, "")
        await asyncio.gather(sending, return_exceptions=True)
        assert len([m async for m in blocked]) >= 1


async def test_a_stalled_consumer_delays_nobody() -> None:
    """A coroutine handler that never ends, and an iterator nobody reads, delay no other."""
    never = asyncio.Event()

    async def stuck(message: Any) -> None:
        await never.wait()

    async with Server() as server:
        ws = rxws.connect(server.url)
        forgotten = ws.stream_filter()
        got: list[int] = []
        read: list[int] = []
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        ws.add_handler(stuck)
        ws.subscribe(got.append)

        async def reader() -> None:
            async for message in ws.stream_filter():
                read.append(message)  # noqa: PERF401 (looked at meanwhile)

        async with ws:
            reading = asyncio.create_task(reader())
            await asyncio.sleep(0)
            session = await server.connection(1)
            await session.send_all([str(n) for n in range(5000)])
            await server.wait(lambda: len(got) == len(read) == 5000)
            never.set()
        await reading
        assert got == read == list(range(5000))
        with pytest.raises(rxws.BufferOverflow):
            async for _ in forgotten:
                pass
        failed = [event for event in events if isinstance(event, rxws.ConsumerFailed)]
        assert [event.consumer for event in failed] == [stuck]
        assert isinstance(failed[0].error, rxws.BufferOverflow)


async def test_drops_are_counted_exactly() -> None:
    """Delivered plus dropped is what was sent, and the last event tells the whole count."""
    async with Server() as server:
        ws = rxws.connect(server.url)
        events: list[Any] = []
        ws.events.subscribe(events.append)
        newest = ws.stream_filter().buffered(capacity=7, overflow=rxws.Overflow.DROP_NEWEST)
        oldest = ws.stream_filter().buffered(capacity=7, overflow=rxws.Overflow.DROP_OLDEST)
        latest = ws.stream_filter().buffered(overflow=rxws.Overflow.LATEST)
        done: list[Any] = []
        ws.subscribe(done.append)
        async with ws:
            session = await server.connection(1)
            await session.send_all([str(n) for n in range(500)])
            await server.wait(lambda: len(done) == 500)
            assert ws.stats().dropped == 493 + 493 + 499
        assert [m async for m in newest] == list(range(7))
        assert [m async for m in oldest] == list(range(493, 500))
        assert [m async for m in latest] == [499]
        last = {id(e.stream): e.dropped for e in events if isinstance(e, rxws.Overflowed)}
        assert last == {id(newest): 493, id(oldest): 493, id(latest): 499}


async def test_a_flood_leaves_the_loop_its_turns() -> None:
    """While a burst of tiny messages is read, other work on the loop gets its turns."""
    async with Server() as server, rxws.connect(server.url) as ws:
        session = await server.connection(1)
        got: list[Any] = []
        turns: list[int] = []
        ws.subscribe(got.append)

        async def other() -> None:
            while len(got) < 50_000:
                turns.append(len(got))
                await asyncio.sleep(0)

        working = asyncio.create_task(other())
        await session.send_all(["1"] * 50_000)
        await working
        assert max(b - a for a, b in itertools.pairwise(turns)) <= 600
