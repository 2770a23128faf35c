"""Subscriptions and numbers across reconnects (section H: F85-F87, F90).

The other rows of section H: F82-F84, F88 and F91b in test_backoff.py, F89 in test_resync.py. What
other files show already:

=====  ============================================================================================
F85    few subscriptions, and what pace leaves of ready_timeout: test_ready.py,
       test_subscriptions_are_paced and test_pace_leaves_the_rest_its_time
F86    answers in any order, delivered too: test_ready.py,
       test_ready_when_every_subscription_is_answered
F87    test_multiplex.py: test_joined_while_disconnected, test_left_while_disconnected,
       test_no_stale_subscription, test_no_stale_unsubscription; all orders: core/test_ledger.py
F90    numbers that start again, as a table: core/test_handover.py
=====  ============================================================================================

F91 (10,000 reconnects) runs for minutes: it is with the other long tests; here are a thousand,
in virtual time.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
from typing import Any

import pytest

import rxws
from rxws.testing import FakeLink
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
from tests.virtual import Peer, connected, turns, until, virtual


def stamps(link: FakeLink) -> list[float]:
    """Let a connection note when something is sent on it."""
    moments: list[float] = []
    send = link.send

    async def noted(raw: Any) -> None:
        moments.append(now())
        await send(raw)

    link.send = noted  # type: ignore[method-assign]
    return moments


class Noting(Peer):
    """A peer that notes when something is sent on each connection."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[list[float]] = []

    async def connect(self, url: str, options: Any) -> FakeLink:
        link = await super().connect(url, options)
        self.moments.append(stamps(link))
        return link


# -- F85 -----------------------------------------------------------------------------------------


@virtual
async def test_f85_a_thousand_subscriptions_are_replayed_at_their_pace() -> None:
    """In their order, none twice, never faster than ``pace``, without running into a timeout."""
    peer = Noting()
    wanted = [{"sub": n} for n in range(500)]
    options: dict[str, Any] = {"transport": peer, "subscribe": wanted, "pace": 1 / 0.3}
    async with rxws.connect("ws://fake", **options, backoff=QUICK) as ws:
        topics = [{"sub": n} for n in range(500, 1000)]
        for topic in topics:
            ws.multiplex(topic, {"unsub": topic["sub"]}).subscribe(lambda _: None)
        await turns()
        peer.last.lose(error=ConnectionResetError())
        await until(ws, rxws.Disconnected)
        await becomes(lambda: len(peer.links) == 2, 1000)
        await until(ws, rxws.Connected)
        assert peer.sent(2) == wanted + topics
        moments = peer.moments[1]
        assert len(moments) == 1000
        pauses = [b - a for a, b in itertools.pairwise(moments)]
        assert min(pauses) >= 0.3 - 1e-6


@virtual
async def test_f85_a_rotation_is_paced_as_well() -> None:
    """The successor is subscribed at the pace; meanwhile the old connection goes on."""
    peer = Noting()
    options: dict[str, Any] = {"subscribe": [{"sub": n} for n in range(100)], "pace": 10}
    async with rxws.connect("ws://fake", transport=peer, key=number_of, **options) as ws:
        seen = Seen(ws)
        ws.rotate()
        await link_of(peer, 2)
        for number in range(80):
            await asyncio.sleep(0.1)
            give(peer.links[0], number)
        assert seen.numbers == list(range(80))
        assert ws.stats().rotations == 0
        await becomes(lambda: ws.stats().rotations == 1)
        assert min(b - a for a, b in itertools.pairwise(peer.moments[1])) >= 0.1 - 1e-6


# -- F86 -----------------------------------------------------------------------------------------


def answer(message: Any) -> Any:
    """Return the filters of the answer to a subscription."""
    return [{"ack": message["sub"]}]


@virtual
async def test_f86_messages_and_answers_in_any_order() -> None:
    """Data before its answer, answers out of order, twice, unasked: all delivered, once ready."""
    peer = Peer()
    wanted = [{"sub": n} for n in range(3)]
    options: dict[str, Any] = {"transport": peer, "subscribe": wanted, "answer": answer}
    ws = rxws.connect("ws://fake", **options, backoff=QUICK)
    items: list[Any] = []
    ws.subscribe(items.append)
    opening = asyncio.create_task(ws.__aenter__())
    link = await link_of(peer, 1)
    arrived = [
        {"n": 1, "of": 2},
        {"ack": 2},
        {"ack": 2},
        {"n": 2, "of": 0},
        {"ack": 99},
        {"ack": 0},
        {"n": 3, "of": 1},
    ]
    for message in arrived:
        await turns()
        link.deliver(json.dumps(message))
    await turns()
    assert not opening.done()  # one answer is missing, however often another came
    link.deliver('{"ack":1}')
    await opening
    assert items == [*arrived, {"ack": 1}]
    link.deliver('{"ack":1}')
    assert ws.state is rxws.State.OPEN
    await ws.exit()


@virtual
async def test_f86_on_a_successor_nothing_of_it_is_lost() -> None:
    """What comes between the answers of a successor is held, and delivered at the takeover."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    options: dict[str, Any] = {"subscribe": [{"sub": 0}, {"sub": 1}], "answer": answer}
    peer = Peer()
    options |= {"key": lambda m: m.get("n"), "handover": handover}
    ws: rxws.ReactiveWebSocket[Any] = rxws.connect("ws://fake", transport=peer, **options)
    entering = asyncio.create_task(ws.__aenter__())
    first = await link_of(peer, 1)
    await turns()
    first.deliver('{"ack":1}', '{"ack":0}')
    await entering
    numbers: list[int] = []
    ws.subscribe(lambda m: numbers.append(m["n"]) if "n" in m else None)
    give(first, 1)
    ws.rotate()
    second = await link_of(peer, 2)
    await turns()
    give(second, 1, 2)
    second.deliver('{"ack":0}')
    give(second, 3)
    second.deliver('{"ack":1}')
    give(second, 4)
    await asyncio.sleep(10)
    assert numbers == [1, 2, 3, 4]
    assert ws.stats().rotations == 1
    await ws.exit()


# -- F87 -----------------------------------------------------------------------------------------


@virtual
async def test_f87_changes_while_disconnected_are_what_the_next_is_told() -> None:
    """Joined, left, left and joined again, joined and left: each is there once, or not at all."""

    def topic(ws: rxws.ReactiveWebSocket[Any], name: str) -> Any:
        return ws.multiplex({"sub": name}, {"unsub": name}).subscribe(lambda _: None)

    async with connected(backoff=QUICK) as (ws, peer):
        kept, left, again = (topic(ws, name) for name in ("kept", "left", "again"))
        await turns()
        peer.hold()
        peer.last.lose(error=ConnectionResetError())
        await turns()
        left.dispose()
        again.dispose()
        again = topic(ws, "again")
        topic(ws, "new")
        topic(ws, "gone").dispose()
        await asyncio.sleep(1)
        peer.release()
        await until(ws, rxws.Connected)
        await turns()
        sent = [message["sub"] for message in peer.sent(2)]
        assert sorted(sent) == ["again", "kept", "new"]
        kept.dispose()
        again.dispose()
        assert peer.sent(2)[3:] == [{"unsub": "kept"}, {"unsub": "again"}]


# -- F90 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
@virtual
async def test_f90_a_server_that_restarted_its_log(first: int) -> None:
    """Numbers that start again after a loss are a gap and a new feed, not duplicates."""
    async with connected(sequence=number_of, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 500, 501)
        peer.last.lose(error=ConnectionResetError())
        second = await link_of(peer, 2)
        await turns()
        give(second, first, first + 1, first + 2)
        give(second, first + 4)
        assert seen.line == [500, 501, "gap", first, first + 1, first + 2, "gap", first + 4]
        again, hole = seen.gaps
        assert (again.missing, again.last, again.epoch) == (None, 501, 1)
        assert "start again" in again.reason
        assert hole.missing == range(first + 3, first + 4)
        assert ws.stats().duplicates == 0


@virtual
async def test_f90_soon_after_its_start_as_well() -> None:
    """A feed that begins anew with numbers that were delivered just before, but other content."""

    def send(link: FakeLink, run: str, *numbers: int) -> None:
        link.deliver(*[json.dumps({"n": number, "run": run}) for number in numbers])

    async with connected(sequence=number_of, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        send(peer.last, "a", 1, 2, 3)
        peer.last.lose(1012)
        second = await link_of(peer, 2)
        await turns()
        send(second, "b", 1, 2, 3, 4)
        assert [item["run"] for item in seen.items if not isinstance(item, rxws.Gap)] == [
            *"aaa",
            *"bbbb",
        ]
        assert seen.line == [1, 2, 3, "gap", 1, 2, 3, 4]


@virtual
async def test_f90_a_replay_is_no_restart() -> None:
    """A server that begins a little earlier, as replays do, brings duplicates: no gap."""
    async with connected(sequence=number_of, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, *range(100, 110))
        peer.last.lose(error=ConnectionResetError())
        second = await link_of(peer, 2)
        await turns()
        give(second, *range(105, 115))
        assert seen.line == list(range(100, 115))
        assert ws.stats().duplicates == 5
        assert not seen.gaps


@virtual
async def test_f90_one_partition_alone() -> None:
    """Where one partition starts again, the others are not concerned."""
    options: dict[str, Any] = {"sequence": number_of, "partition": part_of}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 500, part="a")
        give(peer.last, 500, part="b")
        peer.last.lose(error=ConnectionResetError())
        second = await link_of(peer, 2)
        await turns()
        give(second, 1, part="a")
        give(second, 501, part="b")
        assert [(gap.partition, gap.missing) for gap in seen.gaps] == [("a", None)]
        assert seen.numbers_in("b") == [500, 501]


# -- F91 -----------------------------------------------------------------------------------------


@virtual
async def test_f91_a_thousand_reconnects_leave_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Clean, abortive and by 1011, in turn: no task, and no more objects than after the first."""
    caplog.set_level(logging.CRITICAL, "rxws")  # pytest keeps every record
    ends: list[tuple[int | None, Exception | None]] = [
        (1000, None),
        (None, ConnectionResetError()),
        (1011, None),
    ]
    backoff = rxws.Backoff(initial=0.01, maximum=0.01, stable=0.001)
    async with connected(key=number_of, backoff=backoff) as (ws, peer):
        ws.subscribe(lambda _: None)

        async def reconnected(number: int) -> None:
            code, error = ends[number % 3]
            peer.last.lose(code, error=error)
            peer.links.clear()
            peer.dials.clear()
            await becomes(lambda: bool(peer.links) and ws.state is rxws.State.OPEN)
            give(peer.last, number)
            await asyncio.sleep(0.01)

        for number in range(50):
            await reconnected(number)
        gc.collect()
        tasks, objects = len(asyncio.all_tasks()), len(gc.get_objects())
        for number in range(50, 1000):
            await reconnected(number)
        await asyncio.sleep(20)  # what the window remembers goes with time
        give(peer.last, -1)
        gc.collect()
        assert len(asyncio.all_tasks()) == tasks
        assert len(gc.get_objects()) - objects <= 200
        assert ws.stats().reconnects == 1000
