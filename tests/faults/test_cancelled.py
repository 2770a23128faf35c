"""Cancelled in the midst of it: connecting, iterating, sending, exiting."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from typing import Any

import pytest

import rxws
from rxws.testing import Server
from tests.virtual import connected, turns, virtual

CONNECTS = 200
CANCELS = 1000
EXIT = 1.0


async def test_f50_connects_cancelled_at_random() -> None:
    """A connect that is cancelled at any point, or by a timeout, leaves nothing anywhere."""
    chance = random.Random(50)
    cancelled = 0
    async with Server() as server:
        for number in range(CONNECTS):
            ws = rxws.connect(server.url, exit_timeout=5)
            if number % 2:
                entering = asyncio.ensure_future(ws)
                for _ in range(chance.randrange(30)):
                    await asyncio.sleep(0)
                entering.cancel()
            else:
                entering = asyncio.ensure_future(asyncio.wait_for(ws, chance.uniform(0, 0.004)))
            try:
                await entering
            except (asyncio.CancelledError, TimeoutError):
                cancelled += 1
            else:
                await ws.exit()
        await server.wait(lambda: not server.connections)
        left = [task.get_name() for task in asyncio.all_tasks() if "rxws" in task.get_name()]
    assert cancelled > CONNECTS / 10
    assert left == []


@virtual
async def test_f51_iterations_cancelled_at_random() -> None:
    """Cancelling the wait for the next item, at any point, loses none and keeps their order."""
    chance = random.Random(51)
    async with connected() as (ws, peer):
        streams: list[Any] = [
            ws.stream_filter().buffered(capacity=None),
            ws.pipe(rxws.to_async_iterator(capacity=None)),
        ]
        got: list[list[int]] = [[], []]
        sent = cancels = 0
        while cancels < CANCELS:
            waits = [asyncio.ensure_future(anext(stream)) for stream in streams]
            for wait in chance.sample([*waits, None, None], 4):
                if wait is not None:
                    wait.cancel()
                elif chance.random() < 0.5:
                    sent += 1
                    peer.deliver(sent)
                await turns(chance.randrange(3))
            for number, wait in enumerate(waits):
                try:
                    got[number].append(await wait)
                except asyncio.CancelledError:
                    cancels += 1
        rest = [
            [await anext(stream) for _ in range(sent - len(before))]
            for stream, before in zip(streams, got, strict=True)
        ]
        for stream in streams:
            await stream.close()
    whole = [before + after for before, after in zip(got, rest, strict=True)]
    assert whole == [list(range(1, sent + 1))] * 2


@virtual
async def test_f52_a_send_cancelled_while_it_is_written_is_never_repeated() -> None:
    """A send that is cancelled while blocked leaves once, or not at all; one behind it never."""
    async with connected(send_timeout=5) as (ws, peer):
        peer.last.stall()
        writing = asyncio.ensure_future(ws.send({"first": 1}))
        await turns()
        waiting = asyncio.ensure_future(ws.send({"second": 2}))
        await turns()
        writing.cancel()
        waiting.cancel()
        for each in (writing, waiting):
            with pytest.raises(asyncio.CancelledError):
                await each
        peer.last.unstall()
        await turns()
        assert peer.sent(1) == [{"first": 1}]
        peer.last.stall()
        lost = asyncio.ensure_future(ws.send({"third": 3}))
        await turns()
        lost.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lost
        peer.last.lose(1011)
        await peer.link(2, timeout=100)
        await ws.send({"fourth": 4})
        assert peer.sent(2) == [{"fourth": 4}]


async def test_f53_an_abort_while_a_send_is_blocked_is_no_success() -> None:
    """A send that is blocked when the connection is aborted raises, and says ``UNKNOWN``."""
    async with Server() as server:
        ws = await rxws.connect(server.url, exit_timeout=5, send_timeout=60)
        (await server.connection(1)).stall()
        transport = ws.present_ws.transport
        sends = [asyncio.ensure_future(ws.send(b"x" * 1_000_000)) for _ in range(30)]
        await server.wait(lambda: transport.get_write_buffer_size() > 100_000)
        blocked = [send for send in sends if not send.done()]
        transport.abort()
        first = (await asyncio.gather(blocked[0], return_exceptions=True))[0]
        assert isinstance(first, rxws.ConnectionLost)
        assert first.delivery is rxws.Delivery.UNKNOWN
        for send in blocked:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)
        await ws.exit()


@virtual
async def test_f54_cancelling_the_wait_for_exit_does_not_stop_it() -> None:
    """An exit goes on without who waited for it, for ``exit_timeout``; others may join it."""
    async with connected(exit_timeout=EXIT, heartbeat=None) as (ws, peer):
        loop = asyncio.get_running_loop()
        closed: list[float] = []
        ws.events.subscribe(
            lambda event: closed.append(loop.time()) if isinstance(event, rxws.Closed) else None
        )
        peer.last.stall()
        began = loop.time()
        for _ in range(5):
            leaving = asyncio.ensure_future(ws.exit())
            await asyncio.sleep(EXIT / 10)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ws.exit(), EXIT / 10)
        await asyncio.gather(ws.exit(), ws.exit())
        assert closed == [pytest.approx(began + EXIT)]
        assert loop.time() == pytest.approx(began + EXIT)
        assert peer.last.aborted


@virtual
async def test_f103_a_broken_loop_holds_little_and_nothing_once_dropped() -> None:
    """After ``break`` an iteration stays bounded while it is held, and is gone when it is not."""
    async with connected() as (ws, peer):
        iteration = ws.pipe(rxws.to_async_iterator(capacity=10, overflow=rxws.Overflow.LATEST))
        stream = ws.stream_filter().buffered(capacity=10, overflow=rxws.Overflow.DROP_OLDEST)
        peer.deliver(*range(5))
        async for _ in iteration:
            break
        async for _ in stream:
            break
        peer.deliver(*range(100))
        assert ws.stats().backlog == 10
        assert ws.stats().streams == 2
        kept = [iteration]
        del iteration
        with pytest.warns(ResourceWarning, match="async with"):
            kept.clear()  # the only reference
        assert ws.stats().streams == 1
        del stream
        gc.collect()
        assert (ws.stats().streams, ws.stats().backlog) == (0, 0)


@virtual
async def test_f103_an_iteration_whose_source_has_ended_is_no_leak() -> None:
    """Dropping an iteration that its websocket has ended warns of nothing."""
    async with connected() as (ws, _):
        iteration = ws.pipe(rxws.to_async_iterator())
    del iteration
    gc.collect()
