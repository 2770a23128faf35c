"""A connection that may be dead: a successor is opened beside it before it is given up.

It belongs to the rows F30, F67 and F68: what dies is the old connection, the new one, or neither.
A peer that stays silent is timed in test_liveness.py, test_f30.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import rxws
from tests.faults.continuity import (
    QUICK,
    Feed,
    Seen,
    becomes,
    feeding,
    give,
    link_of,
    now,
    number_of,
    whole,
)
from tests.virtual import Peer, connected, turns, virtual

HEART = rxws.Heartbeat(interval=10, timeout=10)
SUSPECTED = 15.0  # seconds: the interval and half of the timeout
DEAD = 20.0

KEYED = {"key": number_of, "backoff": QUICK}
NUMBERED = {"sequence": number_of, "backoff": QUICK}


def silence(peer: Peer) -> Any:
    """Let the newest connection answer nothing any more, and return it."""
    link = peer.last
    link.answer_pings = link.answer_close = False
    return link


@virtual
async def test_f30_a_successor_is_opened_before_the_death() -> None:
    """After the interval and half the timeout without a byte there is a second dial, not before."""
    async with connected(heartbeat=HEART, **KEYED) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1)
        first = silence(peer)
        began = now()
        await asyncio.sleep(SUSPECTED - 0.1)
        assert len(peer.dials) == 1
        second = await link_of(peer, 2)
        assert now() - began == pytest.approx(SUSPECTED, abs=0.1)
        await turns()
        assert first.is_open and first.closed is None
        assert ws.state is rxws.State.ROTATING
        assert [event.reason for event in seen.of(rxws.Rotating)] == ["no sign of life"]
        assert second.is_open


@pytest.mark.parametrize("options", [KEYED, NUMBERED, {"backoff": QUICK}])
@pytest.mark.parametrize("seconds", [9.0, 12.0, 16.0, 19.5])
@virtual
async def test_f30_a_stall_that_heals_loses_nothing(
    options: dict[str, Any], seconds: float
) -> None:
    """At the defaults, a connection held up for less than 20 s is spliced, without loss or gap."""
    async with connected(**options) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        async with feeding(Feed(peer, 100)) as feed:
            await asyncio.sleep(1)
            feed.stall(first)
            await asyncio.sleep(seconds)
            feed.heal(first)
            await asyncio.sleep(10)
            last = feed.last
            await asyncio.sleep(1)
        whole(seen.numbers, 0, seen.numbers[-1])
        assert seen.numbers[-1] >= last
        assert not seen.gaps
        assert not seen.of(rxws.Disconnected)
        assert ws.stats().reconnects == 0
        assert len(peer.dials) == 1 + (seconds > SUSPECTED)
        assert ws.stats().rotations == (seconds > SUSPECTED)


@pytest.mark.parametrize("options", [KEYED, NUMBERED])
@virtual
async def test_f30_a_death_after_suspicion_is_a_reconnect_in_one_gap(
    options: dict[str, Any],
) -> None:
    """The successor takes over when the suspected one is dead: one gap, told as a loss."""
    async with connected(heartbeat=HEART, **options) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        first = silence(peer)
        began = now()
        second = await link_of(peer, 2)
        await turns()
        give(second, 7, 8)
        assert seen.line == [1, 2]
        await becomes(lambda: ws.state is rxws.State.OPEN)
        assert now() - began == pytest.approx(DEAD, abs=0.2)
        give(second, 9)
        await asyncio.sleep(5)
        assert seen.line == [1, 2, "gap", 7, 8, 9]
        (gap,) = seen.gaps
        assert (gap.epoch, gap.planned, gap.last) == (1, False, 2)
        assert gap.missing == (range(3, 7) if "sequence" in options else None)
        assert [lost.epoch for lost in seen.of(rxws.Disconnected)] == [1]
        assert (ws.stats().reconnects, ws.stats().rotations) == (1, 0)
        assert len(peer.dials) == 2
        assert first.aborted and first.closed is None


@virtual
async def test_f30_one_that_recovers_before_its_successor_is_ready_goes_on() -> None:
    """Who recovers while the successor is dialled overlaps with it as in any rotation."""
    async with connected(heartbeat=HEART, **KEYED) as (ws, peer):
        seen = Seen(ws)
        first = silence(peer)
        peer.hold()
        await becomes(lambda: len(peer.dials) == 2)
        first.answer_pings = first.answer_close = True
        give(first, 1, 2)
        await asyncio.sleep(2)
        peer.release()
        second = await link_of(peer, 2)
        for link in (first, second):
            give(link, 3, 4)
        await becomes(lambda: ws.state is rxws.State.OPEN)
        give(second, 5)
        assert seen.line == [1, 2, 3, 4, 5]
        assert not first.is_open
        assert (ws.stats().rotations, ws.stats().reconnects) == (1, 0)


@pytest.mark.parametrize("recovers", [True, False])
@virtual
async def test_f30_a_successor_that_fails_leaves_the_suspected_one(*, recovers: bool) -> None:
    """A refused successor costs nothing where the old one recovers; else there is one reconnect."""
    async with connected(heartbeat=HEART, **KEYED) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1)
        first = silence(peer)
        peer.refuse(times=2)
        await becomes(lambda: len(seen.of(rxws.RotationFailed)) == 2)
        if recovers:
            first.answer_pings = first.answer_close = True
            give(first, 2)
            await asyncio.sleep(30)
            assert not seen.gaps and not seen.of(rxws.Disconnected)
        else:
            await becomes(lambda: bool(seen.of(rxws.Disconnected)))
            await becomes(lambda: ws.state is rxws.State.OPEN)
            give(peer.last, 3)
            assert seen.line == [1, "gap", 3]
            assert len(seen.gaps) == 1
            assert ws.stats().reconnects == 1
        await becomes(lambda: len(peer.open_links) == 1)


@virtual
async def test_f30_a_successor_that_dies_beside_a_suspected_one() -> None:
    """It is tried again; and when the suspected one dies there is one gap, whoever takes over."""
    async with connected(heartbeat=HEART, **NUMBERED) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        silence(peer)
        second = await link_of(peer, 2)
        await turns()
        give(second, 5)
        second.lose(error=ConnectionResetError())
        third = await link_of(peer, 3)
        await turns()
        give(third, 6)
        await becomes(lambda: ws.state is rxws.State.OPEN and bool(seen.of(rxws.Disconnected)))
        give(third, 7)
        assert seen.line == [1, 2, "gap", 6, 7]
        assert [gap.missing for gap in seen.gaps] == [range(3, 6)]
        assert ws.stats().reconnects == 1


@pytest.mark.parametrize("is_ready", [True, False])
@virtual
async def test_f30_exit_beside_a_suspected_one(*, is_ready: bool) -> None:
    """Exit ends both within ``exit_timeout``; what the successor held is not waited for."""
    async with connected(heartbeat=HEART, exit_timeout=2, **KEYED) as (ws, peer):
        seen = Seen(ws)
        first = silence(peer)
        if not is_ready:
            peer.hold()
        await becomes(lambda: len(peer.dials) == 2)
        await turns()
        began = now()
        await ws.exit()
        assert now() - began <= 2.1
        assert not peer.open_links and first.aborted
        assert len(seen.of(rxws.Closed)) == 1


@virtual
async def test_f30_a_rotation_asked_for_while_suspected_is_the_same_one() -> None:
    """A signal during the suspicion is merged into the rotation that it has begun."""
    async with connected(heartbeat=HEART, **KEYED) as (ws, peer):
        first = silence(peer)
        second = await link_of(peer, 2)
        await turns()
        ws.rotate("me too")
        await turns()
        first.answer_pings = first.answer_close = True
        for link in (first, second):
            give(link, 1)
        await asyncio.sleep(30)
        assert (ws.stats().rotations, len(peer.dials)) == (1, 2)


@virtual
async def test_f30_suspicion_in_the_midst_of_a_rotation() -> None:
    """One that falls silent while it overlaps is spliced as any other, in the same time."""
    handover = rxws.MakeBeforeBreak(overlap=20, drain=2)
    async with connected(heartbeat=HEART, handover=handover, **KEYED) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        give(first, 1)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, 1, 2)
        silence_of_first = first
        silence_of_first.answer_pings = silence_of_first.answer_close = False
        await becomes(lambda: ws.state is rxws.State.OPEN)
        give(second, 3)
        await asyncio.sleep(60)
        assert seen.line == [1, 2, 3]
        assert len(peer.dials) == 2
        assert not seen.gaps


@virtual
async def test_f30_no_second_connection_where_only_one_is_allowed() -> None:
    """With `Exclusive` a suspected connection gets no successor before it is dead."""
    async with connected(heartbeat=HEART, handover=rxws.Exclusive(), backoff=QUICK) as (ws, peer):
        began = now()
        silence(peer)
        await asyncio.sleep(DEAD - 0.5)
        assert len(peer.dials) == 1
        await link_of(peer, 2)
        assert now() - began == pytest.approx(DEAD, abs=1)
        await becomes(lambda: ws.state is rxws.State.OPEN)
        assert ws.stats().reconnects == 1


@pytest.mark.parametrize("handover", [rxws.FirstArrival(overlap=1), rxws.Replace()])
@pytest.mark.parametrize("recovers", [True, False])
@virtual
async def test_f30_suspicion_in_the_other_modes(
    *, handover: rxws.FirstArrival | rxws.Replace, recovers: bool
) -> None:
    """Whatever the mode, one that recovers loses nothing, and one that dies has one gap."""
    async with connected(heartbeat=HEART, handover=handover, **KEYED) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        give(first, 1)
        silence(peer)
        second = await link_of(peer, 2)
        await turns()
        give(second, 3)
        if recovers:
            first.answer_pings = first.answer_close = True
            give(first, 2, 3)
        await becomes(lambda: ws.state is rxws.State.OPEN)
        give(second, 4)
        await turns()
        assert sorted(set(seen.numbers)) == ([1, 2, 3, 4] if recovers else [1, 3, 4])
        is_snapshot = isinstance(handover, rxws.Replace)
        assert len(seen.of(rxws.Reset)) == is_snapshot
        assert len(seen.gaps) == (not recovers)
        assert ws.stats().reconnects == (not recovers)


@virtual
async def test_f30_sends_stay_on_the_suspected_one_until_another_is_live() -> None:
    """While it is suspected nothing is sent on the successor, and nothing is sent twice."""
    async with connected(heartbeat=HEART, **KEYED) as (ws, peer):
        silence(peer)
        second = await link_of(peer, 2)
        await turns()
        await ws.send({"a": 1})
        assert second.sent == []
        assert peer.sent(1) == [{"a": 1}]
        await becomes(lambda: ws.state is rxws.State.OPEN)
        await ws.send({"a": 2})
        assert [json.loads(raw) for raw in second.sent] == [{"a": 2}]
