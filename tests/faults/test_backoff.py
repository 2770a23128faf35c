"""How attempts follow one another when they fail, and when they stop (F82-F84, F88, F91b)."""

from __future__ import annotations

import asyncio
import collections
import gc
import itertools
import logging
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

import rxws
from rxws.options import resolve
from rxws.testing import FakeLink, Server
from tests.virtual import Log, Peer, connected, turns, until, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=60)


def seeded(peer: Any, seed: int, **options: Any) -> rxws.ReactiveWebSocket[Any]:
    """Return a websocket on a fake transport that draws its delays from a seed."""
    checked, rotate_on = resolve({"transport": peer, **options}, random=random.Random(seed).random)
    return rxws.ReactiveWebSocket("ws://fake", checked, rotate_on)


@pytest.mark.parametrize("code", [None, 1000, 1011, 1012])
def test_f82_a_flapping_server_is_dialled_less_and_less(code: int | None) -> None:
    """A server that accepts and then ends each connection sees 20 dials in a minute at most."""

    async def minute(seed: int) -> list[float]:
        peer = Peer()
        ws = seeded(peer, seed)

        def lose(event: rxws.Event) -> None:
            if isinstance(event, rxws.Connected):
                asyncio.get_running_loop().call_later(0.5, peer.last.lose, code)

        ws.events.subscribe(lose)
        began = asyncio.get_running_loop().time()
        async with ws:
            await asyncio.sleep(60 - (asyncio.get_running_loop().time() - began))
            return [dial.time - began for dial in peer.dials]

    @virtual
    async def run() -> None:
        minutes = [await minute(seed) for seed in range(20)]
        assert max(map(len, minutes)) <= 20
        pauses = [[b - a for a, b in itertools.pairwise(dials)] for dials in minutes]
        first, fifth = (sum(each[n] for each in pauses) / len(pauses) for n in (0, 4))
        assert fifth > 4 * first

    run()


@pytest.mark.parametrize("refusals", [0, 2])
def test_f83_clients_that_lose_their_server_together_come_back_apart(refusals: int) -> None:
    """No tenth of a second sees more than 15 % of the dials of 200 clients, try after try."""

    @virtual
    async def run() -> None:
        peer = Peer()
        async with AsyncExitStack() as stack:
            for seed in range(200):
                await stack.enter_async_context(seeded(peer, seed))
            await asyncio.sleep(20)
            lost = asyncio.get_running_loop().time()
            peer.dials.clear()
            peer.refuse(times=200 * refusals)  # while the server needs its time
            for link in peer.links[:200]:
                link.lose(1012)
            await asyncio.sleep(100)
            assert len(peer.open_links) == 200
            assert len(peer.dials) == 200 * (1 + refusals)
            tenths = collections.Counter(int((dial.time - lost) * 10) for dial in peer.dials)
            assert max(tenths.values()) <= 0.15 * len(peer.dials)

    run()


@virtual
async def test_f84_exhausted_retries_are_told_once_after_what_is_buffered() -> None:
    """Iterators give what they hold, then raise; observers get one error; sends raise."""
    async with connected(backoff=rxws.Backoff(attempts=5)) as (ws, peer):
        log, events = Log(), Log()
        ws.subscribe(log)
        ws.events.subscribe(events)
        stream = ws.stream_filter()
        peer.deliver(1, 2, 3)
        waiting = asyncio.ensure_future(ws.request({"id": 1}, [{"id": 1}], timeout=500))
        await turns()
        peer.refuse(times=10)
        peer.last.lose(1011)
        queued = asyncio.ensure_future(ws.send("later"))
        await until(ws, rxws.Closed)

        (error,) = log.ends
        assert isinstance(error, rxws.RetriesExhausted)
        assert error.attempts == 5
        assert isinstance(error.last, rxws.ConnectError)
        assert log.items == [1, 2, 3]
        assert [await anext(stream) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(rxws.RetriesExhausted):
            await anext(stream)
        with pytest.raises(rxws.RxwsError):
            await ws.send("x")
        with pytest.raises(rxws.RxwsError):
            await queued
        with pytest.raises(rxws.RxwsError):
            await waiting
        late = Log()
        ws.subscribe(late)
        assert (late.items, late.ends) == ([], [error])
        closed = [event for event in events.items if isinstance(event, rxws.Closed)]
        assert closed == [rxws.Closed(error)]
        dials = len(peer.dials)
        await asyncio.sleep(1000)
        assert len(peer.dials) == dials == 5


async def test_f88_a_key_that_is_revoked_stops_it() -> None:
    """A 401 while reconnecting is the end: one error to everybody, and no further dial."""
    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK)
        log, events = Log(), Log()
        ws.subscribe(log)
        ws.events.subscribe(events)
        async with ws:
            server.answer(401)
            (await server.connection(1)).abort()
            await server.wait(lambda: log.ends)
            (error,) = log.ends
            assert isinstance(error, rxws.ConnectError)
            assert "401" in str(error)
            assert not error.retryable
            with pytest.raises(rxws.RxwsError):
                await ws.send("x")
            assert isinstance(events.items[-1], rxws.Closed)
            failed = [e for e in events.items if isinstance(e, rxws.ConnectFailed)]
            assert [event.retry_in for event in failed] == [None]
        assert len(server.dials) == 2


@virtual
async def test_f88_nothing_is_dialled_after_a_fatal_error() -> None:
    """However long one waits after an error that retrying can't mend, there is no other attempt."""
    async with connected() as (ws, peer):
        await peer.fail(ws)
        await asyncio.sleep(100_000)
        assert len(peer.dials) == 2


class Wall:
    """A transport that only refuses, and remembers nothing but how often."""

    def __init__(self) -> None:
        self.dials = 0
        self._awaited = 0
        self._reached = asyncio.Event()

    async def reach(self, dials: int) -> None:
        """Wait for so many dials."""
        self._awaited = dials
        self._reached.clear()
        await self._reached.wait()

    async def connect(self, url: str, options: Mapping[str, Any]) -> FakeLink:
        """Refuse."""
        self.dials += 1
        if self.dials == self._awaited:
            self._reached.set()
        await asyncio.sleep(0)
        raise rxws.ConnectError("refused by the wall")


@virtual
async def test_f91b_thousands_of_failures_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """The delay neither overflows nor exceeds its maximum, and nothing piles up."""
    caplog.set_level(logging.CRITICAL, "rxws")  # pytest would keep every record
    wall = Wall()
    ws = seeded(wall, 1)
    longest = 0.0

    def look(event: rxws.Event) -> None:
        nonlocal longest
        if isinstance(event, rxws.ConnectFailed):
            assert event.retry_in is not None
            longest = max(longest, event.retry_in)

    ws.events.subscribe(look)
    ws.start()

    async def objects(dials: int) -> int:
        await wall.reach(dials)
        gc.collect()
        return len(gc.get_objects())

    before = await objects(500)
    after = await objects(4000)
    assert 50 < longest <= 60
    assert after - before < 200
    await ws.exit()
