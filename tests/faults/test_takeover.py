"""What can befall a takeover (section G: F77-F80).

What other files show already:

=====  ============================================================================================
F77    test_rotation.py, test_full_hold_takes_over_early
F78    test_rotation.py, test_old_connection_that_does_not_answer_our_close and ..._costs_the_drain;
       how long the output is silent then: test_rotation_faults.py, test_f62
F79    test_multiplex.py, test_across_a_rotation and test_joined_and_left_while_connecting; all
       orders: core/test_ledger.py
F80    test_rotation.py, test_reply_to_a_request_made_before_the_rotation and
       test_sends_move_to_the_new_connection
=====  ============================================================================================
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import rxws
from tests.faults.continuity import (
    QUICK,
    Seen,
    becomes,
    give,
    link_of,
    number_of,
    second_of,
    whole,
)
from tests.virtual import connected, turns, until, virtual

LONG = rxws.MakeBeforeBreak(overlap=5, drain=2)


# -- F77: a full hold ----------------------------------------------------------------------------


@virtual
async def test_f77_a_backlog_that_comes_before_the_successor_is_ready() -> None:
    """More than the hold takes, brought during ``on_open``: not read on, and nothing is lost."""
    login = asyncio.Event()
    login.set()
    handover = rxws.MakeBeforeBreak(overlap=30, drain=1, hold=50)

    async def on_open(opening: Any) -> None:
        await login.wait()

    options = {"key": number_of, "handover": handover, "on_open": on_open}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        give(first, *range(10))
        login.clear()
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, *range(500))
        assert second.paused and second.queued >= 400
        login.set()
        await becomes(lambda: ws.stats().rotations == 1)
        await becomes(lambda: not second.paused)
        give(second, 500)
        await asyncio.sleep(1)
        whole(seen.numbers, 0, 500)
        assert not seen.gaps
        (rotated,) = seen.of(rxws.Rotated)
        assert rotated.early
        assert not first.is_open


@virtual
async def test_f77_a_full_hold_while_the_old_one_closes() -> None:
    """A hold that fills up during the drain ends that at once; each message comes once."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=60, hold=50)
    async with connected(sequence=number_of, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        first.answer_close = False
        give(first, 1)
        second = await second_of(ws, peer)
        give(second, 1)
        await becomes(lambda: first.closed is not None)
        give(second, *range(2, 60))
        give(first, 2)  # too late: the successor has taken over
        give(second, 60)
        await turns()
        whole(seen.numbers, 1, 60)
        assert [rotated.early for rotated in seen.of(rxws.Rotated)] == [True]


# -- F79: subscriptions --------------------------------------------------------------------------


@virtual
async def test_f79_no_ghost_after_a_successor_that_failed() -> None:
    """What was joined and left while a successor came and died is what the next one is told."""
    async with connected(handover=LONG, backoff=QUICK, key=number_of) as (ws, peer):
        kept = ws.multiplex({"sub": "a"}, {"unsub": "a"}).subscribe(lambda _: None)
        left = ws.multiplex({"sub": "b"}, {"unsub": "b"}).subscribe(lambda _: None)
        second = await second_of(ws, peer)
        assert peer.sent(2) == [{"sub": "a"}, {"sub": "b"}]
        left.dispose()
        joined = ws.multiplex({"sub": "c"}, {"unsub": "c"}).subscribe(lambda _: None)
        await turns()
        assert peer.sent(1)[-2:] == peer.sent(2)[-2:] == [{"unsub": "b"}, {"sub": "c"}]
        second.lose(error=ConnectionResetError())
        await link_of(peer, 3)
        await becomes(lambda: ws.stats().rotations == 1)
        assert peer.sent(3) == [{"sub": "a"}, {"sub": "c"}]
        before = peer.sent(1)
        kept.dispose()
        joined.dispose()
        await turns()
        assert peer.sent(3)[2:] == [{"unsub": "a"}, {"unsub": "c"}]
        assert peer.sent(1) == before


@virtual
async def test_f79_nothing_is_sent_to_one_that_is_closing() -> None:
    """Once the old connection is closing, what is joined or left concerns the new one alone."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=30)
    async with connected(handover=handover, key=number_of) as (ws, peer):
        first = peer.last
        first.answer_close = False
        left = ws.multiplex({"sub": "a"}, {"unsub": "a"}).subscribe(lambda _: None)
        await second_of(ws, peer)
        await becomes(lambda: first.closed is not None)
        left.dispose()
        ws.multiplex({"sub": "b"}, {"unsub": "b"}).subscribe(lambda _: None)
        await turns()
        assert peer.sent(1) == [{"sub": "a"}]
        assert peer.sent(2) == [{"sub": "a"}, {"unsub": "a"}, {"sub": "b"}]


# -- F80: requests in flight ---------------------------------------------------------------------


@virtual
async def test_f80_a_reply_that_never_comes_delays_the_close_by_half_the_drain() -> None:
    """A request without a reply ends with its connection, and the rotation in its time."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=4)
    async with connected(handover=handover, key=number_of) as (ws, peer):
        loop = asyncio.get_running_loop()
        first = peer.last
        request = asyncio.create_task(ws.request({"id": 1}, reply=[{"id": 1}], timeout=60))
        await turns()
        began = loop.time()
        second = await second_of(ws, peer)
        await becomes(lambda: first.closed is not None)
        assert loop.time() - began == pytest.approx(3, abs=0.1)
        with pytest.raises(rxws.ConnectionLost):
            await request
        await until(ws, rxws.Connected)
        assert loop.time() - began <= 5 + 0.1
        await ws.send("later")
        assert peer.links[0].sent == ['{"id":1}']
        assert second.sent == ["later"]


@virtual
async def test_f80_a_request_made_while_the_old_one_closes_goes_to_the_new_one() -> None:
    """Each request is sent once, where the sends are; its reply is taken from there."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=30)
    async with connected(handover=handover, key=number_of) as (ws, peer):
        first = peer.last
        first.answer_close = False
        second = await second_of(ws, peer)
        await becomes(lambda: first.closed is not None)
        request = asyncio.create_task(ws.request({"id": 2}, reply=[{"id": 2}]))
        await turns()
        second.deliver(json.dumps({"id": 2, "n": 5}))
        assert (await request)["n"] == 5
        assert (first.sent, second.sent) == ([], ['{"id":2}'])
