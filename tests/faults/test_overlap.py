"""Connections that die while two overlap (section G: F67-F69); F77-F80 are in test_takeover.py.

What other files show already:

=====  ============================================================================================
F67    before the successor is ready, over sockets: test_rotation.py, test_loss_while_the_successor_
       is_dialled; as a table: core/test_machine.py
F68    over a whole feed: test_rotation.py, test_successor_lost_during_the_overlap
=====  ============================================================================================
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from rxws.testing import Server
from tests.faults.continuity import (
    QUICK,
    Feed,
    Seen,
    becomes,
    feeding,
    give,
    link_of,
    number_of,
    part_of,
    second_of,
    whole,
)
from tests.virtual import connected, turns, virtual

LONG = rxws.MakeBeforeBreak(overlap=5, drain=2)


# -- F67: the old connection dies ----------------------------------------------------------------


@virtual
async def test_f67_old_one_dies_before_its_successor_is_ready() -> None:
    """The dial under way becomes the connection, after one gap and without a second dial."""
    async with connected(key=number_of, handover=LONG, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        peer.hold()
        ws.rotate("why")
        await turns()
        peer.last.lose(error=ConnectionResetError())
        await turns()
        assert ws.state is rxws.State.RECONNECTING
        peer.release()
        await becomes(lambda: ws.state is rxws.State.OPEN)
        give(peer.last, 5, 6)
        await asyncio.sleep(10)
        assert len(peer.dials) == 2
        assert seen.line == [1, 2, "gap", 5, 6]
        (gap,) = seen.gaps
        assert (gap.epoch, gap.planned, gap.last, gap.filled) == (1, False, 2, False)
        assert len(seen.of(rxws.Disconnected)) == 1
        assert (ws.stats().reconnects, ws.stats().rotations) == (1, 0)


@virtual
async def test_f67_old_one_dies_before_its_successor_has_brought_anything_in_common() -> None:
    """With keys there is one gap, before all that the successor brings."""
    async with connected(key=number_of, handover=LONG, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        second = await second_of(ws, peer)
        give(second, 5, 6)
        peer.links[0].lose(error=ConnectionResetError())
        give(second, 7)
        await turns()
        assert seen.line == [1, 2, "gap", 5, 6, 7]
        assert [(gap.epoch, gap.planned, gap.last) for gap in seen.gaps] == [(1, False, 2)]
        assert len(seen.of(rxws.Disconnected)) == 1
        assert len(peer.dials) == 2


@virtual
async def test_f67_old_one_dies_after_both_brought_the_same() -> None:
    """Once the successor has touched what the old one brought nothing is missing, and no gap."""
    async with connected(key=number_of, handover=LONG, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        second = await second_of(ws, peer)
        give(second, 2, 3, 4)
        give(peer.links[0], 3)
        peer.links[0].lose(error=ConnectionResetError())
        give(second, 5)
        await turns()
        assert seen.line == [1, 2, 3, 4, 5]
        assert ws.stats().reconnects == ws.stats().gaps == 0
        assert len(seen.of(rxws.Rotated)) == 1


@pytest.mark.parametrize(
    ("held", "line", "missing"),
    [
        ([3, 4], [1, 2, 3, 4], []),
        ([2, 3], [1, 2, 3], []),
        ([5, 6], [1, 2, "gap", 5, 6], [range(3, 5)]),
        ([], [1, 2], []),
    ],
)
@virtual
async def test_f67_numbers_decide(held: list[int], line: list[Any], missing: list[range]) -> None:
    """With numbers there is a gap exactly where they show one, with what is missing."""
    async with connected(sequence=number_of, handover=LONG, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        second = await second_of(ws, peer)
        give(second, *held)
        peer.links[0].lose(error=ConnectionResetError())
        await turns()
        assert seen.line == line
        assert [gap.missing for gap in seen.gaps] == missing


@pytest.mark.parametrize("moment", [0.0, 0.5, 0.9, 1.2, 2.0])
@virtual
async def test_f67_under_load_only_what_is_in_the_gap_is_missing(moment: float) -> None:
    """Whenever the old connection dies, what is missing is the ``missing`` of one gap at most."""
    handover = rxws.MakeBeforeBreak(overlap=3, drain=1)
    async with connected(sequence=number_of, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        lags = [0.3, 0.8]  # the successor is later
        async with feeding(Feed(peer, 100, lambda link: lags[min(link.number, 2) - 1])) as feed:
            await asyncio.sleep(2)
            peer.hold()
            ws.rotate()
            await asyncio.sleep(0.5)
            asyncio.get_running_loop().call_later(0.5, peer.release)
            await asyncio.sleep(moment)
            peer.links[0].lose(error=ConnectionResetError())
            await asyncio.sleep(5)
            last = feed.last
            await asyncio.sleep(2)
        missing = [number for gap in seen.gaps for number in gap.missing or ()]
        assert len(seen.gaps) <= 1
        assert len(peer.dials) == 2
        whole(sorted(seen.numbers + missing), 0, max(seen.numbers))
        assert seen.numbers == sorted(set(seen.numbers))
        assert max(seen.numbers) >= last


# -- F68: the successor dies ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"key": number_of}, {"sequence": number_of}, {}])
@virtual
async def test_f68_successor_dies(options: dict[str, Any]) -> None:
    """What it held goes with it; the old connection stays, and brings all itself."""
    async with connected(**options, handover=LONG, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        give(first, 1, 2)
        second = await second_of(ws, peer)
        give(second, 2, 3, 4, 5)
        give(first, 3)
        peer.refuse(times=3)
        second.lose(error=ConnectionResetError())
        give(first, 4, 5, 6)
        await turns()
        assert first.is_open and first.closed is None
        assert seen.line == [1, 2, 3, 4, 5, 6]
        assert not seen.of(rxws.Disconnected)
        assert [failed.epoch for failed in seen.of(rxws.RotationFailed)] == [2]
        third = await link_of(peer, 3)  # it is tried again
        for link in (first, third):
            give(link, 7, 8)
        await asyncio.sleep(10)
        give(third, 9)
        assert seen.line == list(range(1, 10))
        assert ws.stats().rotations == 1
        assert ws.stats().reconnects == 0


@virtual
async def test_f68_successor_dies_while_the_old_one_is_closing() -> None:
    """The old one is read to its end, then what was held comes, then the gap of the successor."""
    async with connected(sequence=number_of, handover=LONG, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        first.answer_close = False
        give(first, 1, 2)
        second = await second_of(ws, peer)
        give(second, 2, 3)
        give(first, 3)
        await becomes(lambda: first.closed is not None)
        give(second, 4, 5)
        second.lose(error=ConnectionResetError())
        give(first, 4)
        first.lose(1000)
        third = await link_of(peer, 3)
        await turns()
        give(third, 8)
        await turns()
        assert seen.line == [1, 2, 3, 4, 5, "gap", 8]
        (gap,) = seen.gaps
        assert (gap.epoch, gap.missing, gap.last) == (2, range(6, 8), 5)
        assert len(seen.of(rxws.Disconnected)) == 1


# -- F69: both die -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize("pause", [False, True])
@virtual
async def test_f69_each_missing_range_in_one_gap(
    *, order: tuple[int, int], closing: bool, pause: bool
) -> None:
    """When both die, whatever is missing lies in exactly one gap, and what was held is kept."""
    async with connected(sequence=number_of, handover=LONG, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        second = await second_of(ws, peer)
        links = [peer.links[0], second]
        links[0].answer_close = False
        give(second, 5, 6)
        if closing:
            await becomes(lambda: links[0].closed is not None)
            give(second, 7)
        peer.hold()
        links[order[0]].lose(error=ConnectionResetError())
        if pause:
            await turns()
        links[order[1]].lose(error=ConnectionResetError())
        await turns()
        peer.release()
        await becomes(lambda: len(peer.links) > 2 and ws.state is rxws.State.OPEN)
        give(peer.last, 10, 11)
        await asyncio.sleep(10)
        missing = [number for gap in seen.gaps for number in gap.missing or ()]
        whole(sorted({*seen.numbers, *missing}), 1, 11)
        assert len(seen.numbers) + len(missing) == 11  # nothing twice
        is_held_delivered = closing or order == (0, 1)
        held = [5, 6, *([7] if closing else [])]
        assert seen.line == [1, 2, *(["gap", *held] if is_held_delivered else []), "gap", 10, 11]
        assert len({gap.missing for gap in seen.gaps}) == len(seen.gaps)


@virtual
async def test_f69_with_keys_one_gap_for_each_break() -> None:
    """Without numbers each of two breaks is one gap; where the first loses nothing, one in all."""
    async with connected(key=number_of, handover=LONG, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        second = await second_of(ws, peer)
        give(second, 2, 3)
        for link in list(peer.links):
            link.lose(error=ConnectionResetError())
        third = await link_of(peer, 3)
        await turns()
        give(third, 6)
        await turns()
        assert seen.line == [1, 2, 3, "gap", 6]
        assert [(gap.epoch, gap.last) for gap in seen.gaps] == [(2, 3)]
        assert len(seen.of(rxws.Disconnected)) == 2


async def test_f69_over_sockets() -> None:
    """Both sockets reset in one moment: the feed goes on, and the gaps say what is missing."""
    async with Server() as server:
        handover = rxws.MakeBeforeBreak(overlap=30)
        ws = rxws.connect(server.url, sequence=number_of, handover=handover, backoff=QUICK)
        seen = Seen(ws)
        feed = server.feed(rate=500)
        async with ws:
            await server.wait(lambda: seen.numbers)
            ws.rotate()
            await server.wait(lambda: seen.of(rxws.Connected)[1:])
            for session in list(server.connections):
                session.abort()
            await server.wait(lambda: len(server.dials) >= 3 and ws.state is rxws.State.OPEN)
            at = server.log.numbers[-1]
            await server.wait(lambda: seen.numbers[-1] > at)
            feed.stop()
            await server.wait(lambda: seen.numbers[-1] == server.log.numbers[-1])
        missing = [number for gap in seen.gaps for number in gap.missing or ()]
        assert seen.numbers == sorted(set(seen.numbers))
        whole(sorted(seen.numbers + missing), seen.numbers[0], seen.numbers[-1])


# -- The early end of the overlap ----------------------------------------------------------------


@virtual
async def test_f67_the_overlap_ends_early_once_numbers_prove_that_it_may() -> None:
    """The old connection is closed as soon as the new one has all that it may still bring."""
    handover = rxws.MakeBeforeBreak(overlap=60, drain=2)
    async with connected(sequence=number_of, handover=handover) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        await asyncio.sleep(5)
        give(first, 1)
        second = await second_of(ws, peer)
        await asyncio.sleep(1)
        assert first.closed is None  # nothing is known of the new one yet
        give(second, 2)
        await asyncio.sleep(1)
        assert first.closed == (1000, "")
        assert seen.line == [1, 2]
        assert not seen.gaps


@virtual
async def test_f67_a_hole_of_the_successor_keeps_the_old_one() -> None:
    """Where the new connection begins behind a hole, the old one may fill it to the last moment."""
    handover = rxws.MakeBeforeBreak(overlap=60, drain=2)
    options = {"sequence": number_of, "partition": part_of, "handover": handover}
    async with connected(**options) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        await asyncio.sleep(5)
        give(first, 1, part="a")
        give(first, 7, part="b")
        second = await second_of(ws, peer)
        give(second, 2, part="a")
        give(second, 9, part="b")
        await asyncio.sleep(30)
        assert first.closed is None
        give(first, 8, part="b")
        await asyncio.sleep(60)
        assert ws.stats().rotations == 1
        assert (seen.numbers_in("a"), seen.numbers_in("b")) == ([1, 2], [7, 8, 9])
        assert not seen.gaps
