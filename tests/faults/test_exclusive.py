"""Servers that allow one connection: break before make (section G: F70).

That a server which kicks the old connection when the new one opens costs no reconnect, over
sockets: test_rotation.py, test_old_connection_that_is_kicked_when_the_new_one_opens.
"""

from __future__ import annotations

import asyncio
import time

import pytest

import rxws
from rxws.testing import Server, Session
from tests.faults.continuity import (
    QUICK,
    Seen,
    becomes,
    give,
    link_of,
    now,
    number_of,
    part_of,
)
from tests.virtual import Peer, connected, turns, virtual


@virtual
async def test_f70_the_gap_of_an_exclusive_rotation_is_planned() -> None:
    """It says why, since when, until when, and after which message; and no loss is told."""
    handover = rxws.Exclusive(drain=1)
    async with connected(key=number_of, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        await asyncio.sleep(30)
        before = time.time()
        give(peer.last, 1)
        await asyncio.sleep(3)
        peer.hold()
        ws.rotate("why")
        await becomes(lambda: len(peer.dials) == 2)
        assert not peer.open_links
        await asyncio.sleep(5)
        peer.release()
        second = await link_of(peer, 2)
        await turns()
        give(second, 3)
        assert seen.line == [1, "gap", 3]
        (gap,) = seen.gaps
        assert (gap.epoch, gap.reason, gap.planned, gap.filled) == (1, "why", True, False)
        assert (gap.last, gap.missing, gap.partition) == (1, None, None)
        assert gap.since <= gap.until
        assert before - 60 <= gap.since
        assert not seen.of(rxws.Disconnected)
        assert len(seen.of(rxws.Rotated)) == 1
        assert (ws.stats().rotations, ws.stats().reconnects) == (1, 0)


@virtual
async def test_f70_what_comes_until_the_close_is_delivered() -> None:
    """The old connection is read to its end, before the new one is opened."""
    async with connected(key=number_of, handover=rxws.Exclusive(drain=5)) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        first.answer_close = False
        ws.rotate()
        await turns()
        assert first.closed == (1000, "")
        give(first, 1, 2)
        await asyncio.sleep(1)
        assert len(peer.dials) == 1
        give(first, 3)
        first.lose(1000)
        await turns()
        assert len(peer.dials) == 2
        assert seen.numbers == [1, 2, 3]


@virtual
async def test_f70_one_that_ignores_our_close_costs_the_drain() -> None:
    """After ``drain`` seconds it is aborted, and only then another is opened."""
    async with connected(key=number_of, handover=rxws.Exclusive(drain=5)) as (ws, peer):
        peer.last.answer_close = False
        began = now()
        ws.rotate()
        await becomes(lambda: len(peer.dials) == 2)
        assert now() - began == pytest.approx(5, abs=0.1)
        assert peer.links[0].aborted


@virtual
async def test_f70_resync_fills_the_planned_gap() -> None:
    """What ``resync`` brings comes before what the new connection brings, and nothing twice."""
    asked: list[rxws.Gap] = []

    async def resync(gap: rxws.Gap) -> list[dict[str, int]]:
        asked.append(gap)
        await asyncio.sleep(1)
        return [{"n": n} for n in range(1, 6)]

    options = {"sequence": number_of, "resync": resync, "handover": rxws.Exclusive(drain=1)}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, 5, 6)
        await asyncio.sleep(2)
        give(second, 7)
        assert seen.line == [1, 2, "gap", 3, 4, 5, 6, 7]
        assert [(gap.filled, gap.planned, gap.missing) for gap in seen.gaps] == [
            (True, True, range(3, 5))
        ]
        assert [gap.filled for gap in asked] == [False]


@virtual
async def test_f70_sends_wait_for_the_new_connection() -> None:
    """What is sent between the two connections leaves once, in order, on the new one."""
    async with connected(handover=rxws.Exclusive(drain=1), backoff=QUICK) as (ws, peer):
        peer.hold()
        await ws.send({"n": 0})
        ws.rotate()
        sends = [asyncio.create_task(ws.send({"n": n})) for n in (1, 2, 3)]
        await asyncio.sleep(1)
        peer.release()
        await link_of(peer, 2)
        assert await asyncio.gather(*sends) == [rxws.Delivery.SENT] * 3
        assert peer.sent(1) + peer.sent(2) == [{"n": n} for n in range(4)]
        assert peer.sent(2) == [{"n": n} for n in (1, 2, 3)]


@virtual
async def test_f70_storms_are_slowed() -> None:
    """Who rotates at each connect is slowed by the backoff, with one connection at a time."""
    backoff = rxws.Backoff(initial=0.5, maximum=30, stable=60)
    peer = Peer()
    options = {"transport": peer, "handover": rxws.Exclusive(drain=1), "backoff": backoff}
    async with rxws.connect("ws://fake", **options) as ws:
        ws.events.subscribe(
            lambda event: ws.rotate() if isinstance(event, rxws.Connected) else None
        )
        most = 0
        for _ in range(600):
            await asyncio.sleep(0.1)
            most = max(most, len(peer.open_links))
        assert most <= 1
        assert 2 <= len(peer.dials) <= 25


@virtual
async def test_f70_a_loss_while_it_is_closed_is_no_error() -> None:
    """An old connection that breaks off after we began to close it is still a planned end."""
    async with connected(key=number_of, handover=rxws.Exclusive(drain=5), backoff=QUICK) as (
        ws,
        peer,
    ):
        seen = Seen(ws)
        peer.last.answer_close = False
        ws.rotate()
        await turns()
        peer.last.lose(error=ConnectionResetError())
        second = await link_of(peer, 2)
        await turns()
        give(second, 1)
        assert [gap.planned for gap in seen.gaps] == [True]
        assert not seen.of(rxws.Disconnected)
        assert ws.stats().reconnects == 0


@virtual
async def test_f70_with_partitions_the_holes_are_told_one_by_one() -> None:
    """Each partition has its gap right before its first message behind it, and only if it has."""
    options = {"sequence": number_of, "partition": part_of, "handover": rxws.Exclusive(drain=1)}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        for part in "abc":
            give(peer.last, 1, 2, part=part)
        ws.rotate("why")
        second = await link_of(peer, 2)
        await turns()
        assert not seen.gaps  # nothing is known before a message says so
        give(second, 3, part="a")
        assert not seen.gaps
        give(second, 6, part="b")
        give(second, 7, part="b")
        await asyncio.sleep(100)
        give(second, 4, part="c")
        shown = [
            ("gap", item.partition, item.missing)
            if isinstance(item, rxws.Gap)
            else (item["p"], item["n"])
            for item in seen.items[6:]
        ]
        assert shown == [
            ("a", 3),
            ("gap", "b", range(3, 6)),
            ("b", 6),
            ("b", 7),
            ("gap", "c", range(3, 4)),
            ("c", 4),
        ]
        assert [(gap.epoch, gap.planned, gap.last) for gap in seen.gaps] == [(1, True, 2)] * 2


async def test_f70_a_server_that_refuses_a_second_connection() -> None:
    """Where a second connection is refused, `Exclusive` rotates without a refusal."""
    refused: list[int] = []

    async def script(session: Session) -> None:
        if len(server.connections) > 1:
            refused.append(session.number)
            await session.close(1008, "only one")

    async with Server(script) as server:
        handover = rxws.Exclusive(drain=30)
        ws = rxws.connect(server.url, key=number_of, handover=handover, backoff=QUICK)
        seen = Seen(ws)
        feed = server.feed(rate=500)
        async with ws:
            for count in range(1, 4):
                ws.rotate()
                await server.wait(lambda count=count: ws.stats().rotations == count)
            feed.stop()
        assert not refused
        assert [gap.planned for gap in seen.gaps] == [True] * 3
        assert seen.numbers == sorted(set(seen.numbers))
