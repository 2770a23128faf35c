"""Planned replacement of the connection under load; what has to be timed, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import reactivex as rx
from reactivex import operators as ops

import rxws
from rxws.testing import FakeLink, Refuse, Server, Session, Silent
from tests.virtual import Peer, connected, turns, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=0.5)
# A drain ends with the answer to our Close, which on a busy machine has its time.
HANDOVER = rxws.MakeBeforeBreak(overlap=0.1, drain=30)


def check(numbers: list[int]) -> None:
    """Fail unless the numbers are consecutive: none lost, doubled or out of order."""
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


async def feed(peer: Peer, rate: float, deaf: set[FakeLink]) -> None:
    """Send numbered messages on every connection except the deaf ones, until cancelled."""
    for number in itertools.count():
        await asyncio.sleep(1 / rate)
        for link in peer.links:
            if link not in deaf:
                link.deliver(json.dumps({"n": number}))


async def rotated(ws: rxws.ReactiveWebSocket[Any], server: Server, times: int) -> None:
    """Rotate ``times`` times, one after the other."""
    for _ in range(times):
        done = ws.stats().rotations + 1
        ws.rotate()
        await server.wait(lambda done=done: ws.stats().rotations == done)


async def test_rotations_under_load_lose_and_double_nothing() -> None:
    """With a key, ten rotations of a feed of 2,000 a second lose, double and reorder nothing."""
    async with Server() as server:
        got: list[int] = []
        ws = rxws.connect(server.url, key=lambda m: m["n"], handover=HANDOVER)
        ws.subscribe(lambda m: got.append(m["n"]))
        feed = server.feed(rate=2000)
        async with ws:
            await rotated(ws, server, 10)
            assert ws.stats().gaps == 0
            feed.stop()
            last = server.log.numbers[-1]
            await server.wait(lambda: got[-1] == last)
        assert ws.stats().duplicates > 0
        check(got)


async def test_bytes_are_aligned_without_a_key() -> None:
    """Without identity the bytes of both connections are aligned: nothing lost, nothing twice."""
    async with Server() as server:
        got: list[int] = []
        events: list[Any] = []
        handover = rxws.MakeBeforeBreak(overlap=0.5, drain=30)
        ws = rxws.connect(server.url, handover=handover)
        ws.events.subscribe(events.append)
        ws.subscribe(lambda m: got.append(m["n"]))
        feed = server.feed(rate=1000)
        async with ws:
            await rotated(ws, server, 3)
            feed.stop()
            last = server.log.numbers[-1]
            await server.wait(lambda: got[-1] == last)
        check(got)
        assert [e.matched for e in events if isinstance(e, rxws.Rotated)] == [True] * 3


async def test_sequence_and_partition_are_an_identity() -> None:
    """With sequence and partition, each partition arrives whole and in order."""
    async with Server() as server:
        got: dict[str, list[int]] = {"a": [], "b": []}
        ws = rxws.connect(
            server.url,
            sequence=lambda m: m["i"],
            partition=lambda m: m["p"],
            handover=HANDOVER,
        )
        ws.subscribe(lambda m: got[m["p"]].append(m["i"]))
        feed = server.feed(rate=1000, make=lambda n: json.dumps({"p": "ab"[n % 2], "i": n // 2}))
        async with ws:
            await rotated(ws, server, 5)
            feed.stop()
        check(got["a"])
        check(got["b"])


async def test_never_more_than_two_sockets() -> None:
    """However often it is signalled, at most two sockets are open, and one at rest."""
    async with Server() as server:
        most = 0
        ws = rxws.connect(server.url, key=lambda m: m["n"], handover=HANDOVER)
        server.feed(rate=500)
        async with ws:
            for _ in range(100):
                ws.rotate("storm")
            while ws.stats().rotations < 3:
                most = max(most, len(server.connections))
                ws.rotate("storm")
                await asyncio.sleep(0.005)
            await server.wait(lambda: ws.state is rxws.State.OPEN)
            await server.wait(lambda: len(server.connections) == 1)
        assert most == 2
        assert len(server.dials) <= 6


async def test_signals_at_once_are_one_rotation() -> None:
    """A hundred signals at once are one rotation."""
    async with Server() as server, rxws.connect(server.url, handover=HANDOVER) as ws:
        for _ in range(100):
            ws.rotate()
        await server.wait(lambda: ws.stats().rotations == 1)
        await asyncio.sleep(0.2)
        assert len(server.dials) == 2


async def test_successor_that_is_refused_costs_nothing() -> None:
    """While the successor is refused the old connection goes on; no gap, and it is retried."""
    async with Server() as server:
        got: list[int] = []
        events: list[Any] = []
        ws = rxws.connect(server.url, key=lambda m: m["n"], handover=HANDOVER, backoff=QUICK)
        ws.events.subscribe(events.append)
        ws.subscribe(lambda m: got.append(m["n"]))
        feed = server.feed(rate=500)
        async with ws:
            server.answer(503, 401, Refuse(503, {"Retry-After": "0"}))
            await rotated(ws, server, 1)
            feed.stop()
        check(got)
        failed = [e for e in events if isinstance(e, rxws.RotationFailed)]
        assert len(failed) == 3
        assert not any(isinstance(e, rxws.Gap | rxws.Disconnected) for e in events)


async def test_loss_while_the_successor_is_dialled() -> None:
    """When the old connection dies before the successor is ready, that one takes its place."""
    async with Server() as server:
        events: list[Any] = []
        ws = rxws.connect(server.url, handover=HANDOVER, backoff=QUICK, open_timeout=0.5)
        ws.events.subscribe(events.append)
        async with ws:
            server.answer(Silent())
            ws.rotate()
            await server.wait(lambda: len(server.dials) == 2)
            (await server.connection(1)).abort()
            await server.wait(lambda: any(isinstance(e, rxws.Disconnected) for e in events))
            await server.wait(lambda: ws.state is rxws.State.OPEN)
            assert ws.stats().reconnects == 1
        assert sum(isinstance(e, rxws.Gap) for e in events) == 1


async def test_old_connection_that_is_kicked_when_the_new_one_opens() -> None:
    """A server that allows one connection and kicks the old one costs no reconnect."""

    async def script(session: Session) -> None:
        for other in server.connections:
            if other is not session:
                await other.close(1008, "replaced")

    async with Server(script) as server:
        got: list[int] = []
        ws = rxws.connect(server.url, key=lambda m: m["n"], handover=HANDOVER, backoff=QUICK)
        ws.subscribe(lambda m: got.append(m["n"]))
        feed = server.feed(rate=500)
        async with ws:
            await rotated(ws, server, 3)
            assert ws.stats().reconnects == 0
            feed.stop()
        assert got == sorted(set(got))


@virtual
async def test_successor_lost_during_the_overlap() -> None:
    """When the successor dies during the overlap, the old connection stays and it is retried."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    async with connected(key=lambda m: m["n"], handover=handover, backoff=QUICK) as (ws, peer):
        got: list[int] = []
        ws.subscribe(lambda m: got.append(m["n"]))
        feeding = asyncio.create_task(feed(peer, 100, set()))
        await asyncio.sleep(1)
        ws.rotate()
        second = await peer.link(2)
        await asyncio.sleep(0.5)
        second.lose(error=ConnectionResetError())
        await asyncio.sleep(0.5)
        assert peer.links[0].is_open
        await asyncio.sleep(10)
        feeding.cancel()
        assert len(peer.links) == 3
        assert ws.stats().rotations == 1
        assert ws.stats().reconnects == ws.stats().gaps == 0
    check(got)
    assert got[0] == 0
    assert len(got) > 1000


async def test_old_connection_that_does_not_answer_our_close() -> None:
    """A peer that ignores our Close does not hold up the rotation, and costs nothing else."""
    async with Server() as server:
        got: list[int] = []
        handover = rxws.MakeBeforeBreak(overlap=0.5, drain=0.5)
        ws = rxws.connect(server.url, key=lambda m: m["n"], handover=handover)
        ws.subscribe(lambda m: got.append(m["n"]))
        feed = server.feed(rate=200)
        async with ws:
            ws.rotate()
            await server.connection(2)
            (await server.connection(1)).stall()
            await server.wait(lambda: ws.stats().rotations == 1)
            feed.stop()
            await server.wait(lambda: got[-1] == server.log.numbers[-1])
        check(got)


@virtual
async def test_old_connection_that_does_not_answer_costs_the_drain() -> None:
    """A peer that ignores our Close costs ``drain`` seconds at most."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=2)
    async with connected(key=lambda m: m["n"], handover=handover) as (ws, peer):
        got: list[int] = []
        deaf: set[FakeLink] = set()
        ws.subscribe(lambda m: got.append(m["n"]))
        feeding = asyncio.create_task(feed(peer, 100, deaf))
        await asyncio.sleep(1)
        ws.rotate()
        await peer.link(2)
        await asyncio.sleep(0.5)
        deaf.add(peer.links[0])
        peer.links[0].answer_close = False
        await asyncio.sleep(2.6)
        assert ws.stats().rotations == 1
        assert peer.links[0].aborted
        feeding.cancel()
        await turns()
        check(got)
        assert len(got) > 400


@virtual
async def test_full_hold_takes_over_early() -> None:
    """When the hold is full the successor takes over early, says so, and drops nothing."""
    handover = rxws.MakeBeforeBreak(overlap=30, drain=1, hold=50)
    async with connected(key=lambda m: m["n"], handover=handover) as (ws, peer):
        got: list[int] = []
        events: list[Any] = []
        ws.events.subscribe(events.append)
        ws.subscribe(lambda m: got.append(m["n"]))
        deaf: set[Any] = set()
        feeding = asyncio.create_task(feed(peer, 100, deaf))
        await asyncio.sleep(1)
        ws.rotate()
        await asyncio.sleep(0.5)
        deaf.add(peer.links[0])  # only the new connection brings anything from here on
        await asyncio.sleep(1.5)
        feeding.cancel()
        await turns()
        assert ws.stats().rotations == 1
        check(got)
        assert len(got) > 250
        assert next(e for e in events if isinstance(e, rxws.Rotated)).early


async def test_rotate_on_is_subscribed_once_for_each_connection() -> None:
    """The signal is subscribed for each connection, and its first item alone rotates."""
    subscribed: list[int] = []

    def signal(ws: rxws.ReactiveWebSocket[Any]) -> rx.Observable[Any]:
        subscribed.append(1)
        return rx.merge(rxws.on_message(ws, [{"e": "expired"}]), rxws.every(3600), rx.never()).pipe(
            ops.flat_map(lambda item: rx.of(item, item))
        )

    async with Server() as server:
        ws = rxws.connect(server.url, rotate_on=signal, handover=HANDOVER)
        async with ws:
            for number in range(1, 4):
                session = await server.connection(number)
                await server.wait(lambda n=number: ws.stats().rotations == n - 1)
                await server.wait(lambda: ws.state is rxws.State.OPEN)
                await session.send('{"e":"expired"}')
            await server.wait(lambda: ws.stats().rotations == 3)
        assert len(subscribed) == 4
        assert len(server.dials) == 4


async def test_signal_that_fails_is_an_event() -> None:
    """A signal that ends with an error is told, and costs nothing else."""
    async with Server() as server:
        events: list[Any] = []
        ws = rxws.connect(server.url, rotate_on=rx.throw(ValueError("no")))
        ws.events.subscribe(events.append)
        async with ws:
            assert ws.state is rxws.State.OPEN
        failed = [e for e in events if isinstance(e, rxws.SignalFailed)]
        assert [str(e.error) for e in failed] == ["no"]
        assert len(server.dials) == 1


async def test_sends_move_to_the_new_connection() -> None:
    """Each send during a rotation arrives on exactly one connection, in order on each."""
    async with Server() as server, rxws.connect(server.url, handover=HANDOVER) as ws:
        sent = 0
        ws.rotate()
        while ws.stats().rotations < 1:
            assert await ws.send(sent) is rxws.Delivery.SENT
            sent += 1
            await asyncio.sleep(0.002)
        await ws.send("last")
        first, second = server.sessions
        await server.wait(lambda: "last" in second.received)
        received = [*first.received, *second.received]
        assert received == [*map(str, range(sent)), "last"]
        assert first.received


@virtual
async def test_reply_to_a_request_made_before_the_rotation() -> None:
    """A request made on the old connection is answered there, while it drains."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=5)
    async with connected(handover=handover) as (ws, peer):
        first = peer.last
        ws.rotate()
        second = await peer.link(2)
        await turns()
        request = asyncio.create_task(ws.request({"id": 1}, reply=[{"id": 1}]))
        await asyncio.sleep(3)
        await ws.send("by the new one")
        first.deliver('{"id":1,"by":1}')
        assert await request == {"id": 1, "by": 1}
        await asyncio.sleep(5)
        assert ws.stats().rotations == 1
        assert first.closed == (1000, "")
        request = asyncio.create_task(ws.request({"id": 2}, reply=[{"id": 2}]))
        await turns()
        second.deliver('{"id":2,"by":2}')
        assert (await request)["by"] == 2
        assert first.sent == ['{"id":1}']
        assert second.sent == ["by the new one", '{"id":2}']


async def test_resync_fills_the_gap() -> None:
    """After a loss, what ``resync`` brings is delivered before the live messages, without twins."""
    async with Server() as server:
        gaps: list[rxws.Gap] = []

        async def resync(gap: rxws.Gap) -> list[dict[str, int]]:
            gaps.append(gap)
            await asyncio.sleep(0.05)
            return [{"n": n} for n in range(3, 8)]

        ws = rxws.connect(server.url, key=lambda m: m["n"], resync=resync, backoff=QUICK)
        stream = ws.stream_filter().with_gaps()
        async with ws:
            first = await server.connection(1)
            for n in range(5):
                await first.send(json.dumps({"n": n}))
            await server.wait(lambda: ws.stats().messages == 5)
            first.abort()
            second = await server.connection(2)
            for n in range(6, 10):
                await second.send(json.dumps({"n": n}))
            await server.wait(lambda: ws.stats().backlog == 11)
        items = [item async for item in stream]
        at = next(i for i, item in enumerate(items) if isinstance(item, rxws.Gap))
        assert at == 5
        assert items[at].filled
        assert [item["n"] for item in items if not isinstance(item, rxws.Gap)] == list(range(10))
        assert len(gaps) == 1


async def test_resync_that_fails_leaves_the_gap() -> None:
    """A ``resync`` that raises leaves the gap unfilled, and the stream goes on."""
    async with Server() as server:

        async def resync(gap: rxws.Gap) -> list[Any]:
            raise OSError("no history")

        ws = rxws.connect(server.url, resync=resync, backoff=QUICK)
        stream = ws.stream_filter().with_gaps()
        async with ws:
            (await server.connection(1)).abort()
            await (await server.connection(2)).send("1")
            gap = await anext(stream)
            assert isinstance(gap, rxws.Gap)
            assert not gap.filled
            assert await anext(stream) == 1
