"""The events: the state first, then everything, in order, for everybody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from tests.virtual import COMPLETED, Log, Peer, connected, fatal, turns, until, virtual


def kinds(log: Log) -> list[str]:
    """Name the types of the events."""
    return [type(event).__name__ for event in log.items]


@virtual
async def test_a_whole_life() -> None:
    """From the first dial to the end every event comes once, in order, and then completion."""
    peer, log = Peer(), Log()
    ws = rxws.connect("ws://fake", transport=peer)
    ws.events.subscribe(log)
    assert log.items == []
    peer.refuse()
    async with ws:
        peer.last.lose(1001, "away")
        await peer.link(2)
        await turns()
        ws.rotate("why not")
        await peer.link(3)
        await asyncio.sleep(10)
    retry_in = log.items[1].retry_in
    assert [event for event in log.items if not isinstance(event, rxws.Gap | rxws.Rotated)] == [
        rxws.Connecting(1, 1),
        rxws.ConnectFailed(1, 1, log.items[1].error, retry_in),
        rxws.Connecting(1, 2),
        rxws.Connected(1),
        rxws.Disconnected(1, 1001, "away"),
        rxws.Connecting(2, 1),
        rxws.Connected(2),
        rxws.Rotating(2, "why not"),
        rxws.Connecting(3, 1),
        rxws.Connected(3),
        rxws.Closed(None),
    ]
    assert kinds(log).count("Gap") == kinds(log).count("Rotated") == 1
    assert log.ends == [COMPLETED]
    times = [event.monotonic for event in log.items]
    assert times == sorted(times) and times[2] == pytest.approx(retry_in)


@pytest.mark.parametrize(
    ("stage", "first"),
    [
        ("dialling", rxws.Connecting(1, 1)),
        ("waiting", rxws.ConnectFailed),
        ("open", rxws.Connected(1)),
        ("parse failed", rxws.Connected(1)),
        ("rotating", rxws.Rotating(1, "x")),
        ("rotated", rxws.Connected(2)),
        ("rotation failed", rxws.Connected(1)),
        ("lost", rxws.Disconnected(1, None, "")),
        ("reconnecting", rxws.Connecting(2, 1)),
        ("exited", rxws.Closed(None)),
        ("failed", rxws.Closed),
    ],
)
@virtual
async def test_a_newcomer_is_told_the_state(stage: str, first: Any) -> None:
    """A new observer is first given the event that says the current state, and only that."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer, backoff=rxws.Backoff(initial=1e5, maximum=1e5))
    if stage in ("dialling", "waiting"):
        peer.refuse()
        ws.start()
        await turns(1 if stage == "dialling" else 10)
    else:
        await ws
    if stage == "parse failed":
        peer.last.deliver("{")
    elif stage in ("rotating", "rotated", "rotation failed"):
        if stage == "rotation failed":
            peer.refuse()
        ws.rotate("x")
        if stage != "rotating":
            await asyncio.sleep(10)
    elif stage in ("lost", "reconnecting"):
        peer.last.lose()
        if stage == "reconnecting":
            peer.hold()
            await until(ws, rxws.Connecting)
    elif stage == "failed":
        await peer.fail(ws)
    elif stage == "exited":
        await ws.exit()
    log = Log()
    ws.events.subscribe(log)
    assert len(log.items) == 1
    assert log.items[0] == first or type(log.items[0]) is first
    assert log.ends == ([COMPLETED] if stage in ("exited", "failed") else [])
    await ws.exit()


@virtual
async def test_a_failure_is_the_last_event() -> None:
    """A failure for good ends the events with a ``Closed`` that carries it, and completion."""
    async with connected() as (ws, peer):
        error, log = fatal(), Log()
        ws.events.subscribe(log)
        await peer.fail(ws, error)
        assert log.items[-1] == rxws.Closed(error)
        assert log.ends == [COMPLETED]


@virtual
async def test_the_same_order_for_everybody() -> None:
    """An event that an observer causes comes after the one it was told, for every observer."""
    async with connected() as (ws, peer):
        first, second = Log(), Log()

        def cause_more(event: rxws.Event) -> None:
            if event == rxws.Connected(2):
                peer.last.deliver("{")
                ws.rotate("again")

        ws.events.subscribe(first)
        ws.events.subscribe(cause_more)
        ws.events.subscribe(second)
        peer.last.lose()
        await asyncio.sleep(100)
        assert kinds(first).count("Rotated") == 1
        assert kinds(first).index("Connected", 1) < kinds(first).index("ParseFailed")
        assert first.items == second.items


@virtual
async def test_subscribed_by_an_observer() -> None:
    """Who subscribes while an event is told is given it as the state, and all after it."""
    async with connected() as (ws, peer):
        late = Log()

        def subscribe(event: rxws.Event) -> None:
            if isinstance(event, rxws.Disconnected):
                ws.events.subscribe(late)

        ws.events.subscribe(subscribe)
        peer.last.lose(1012)
        await peer.link(2)
        await turns()
        assert [kind for kind in kinds(late) if kind != "Gap"] == [
            *("Disconnected", "Connecting", "Connected")
        ]


@virtual
async def test_disposed() -> None:
    """A disposed observer of the events is told nothing more, the others are."""
    async with connected() as (ws, peer):
        first, second = Log(), Log()
        subscription = ws.events.subscribe(first)
        ws.events.subscribe(second)
        subscription.dispose()
        peer.last.deliver("{")
        assert (kinds(first), kinds(second)) == (["Connected"], ["Connected", "ParseFailed"])


@virtual
async def test_an_observer_that_raises(loop_errors: list[dict[str, Any]]) -> None:
    """What an observer of events raises goes to the loop's handler; it and the others go on."""
    async with connected() as (ws, peer):
        seen, log = [], Log()

        def fail(event: rxws.Event) -> None:
            seen.append(event)
            raise ZeroDivisionError

        ws.events.subscribe(fail)
        ws.events.subscribe(log)
        peer.last.deliver("{")
        assert seen == log.items
        assert kinds(log) == ["Connected", "ParseFailed"]
        assert [type(report["exception"]) for report in loop_errors] == [ZeroDivisionError] * 2
    assert log.ends == [COMPLETED]


@virtual
async def test_what_cannot_be_parsed() -> None:
    """A message that can't be parsed is an event, with the message; the stream goes on."""
    async with connected() as (ws, peer):
        log, events = Log(), Log()
        ws.subscribe(log)
        ws.events.subscribe(events)
        peer.last.deliver("1", "{", "2")
        assert log.items == [1, 2]
        [_, failed] = events.items
        assert isinstance(failed, rxws.ParseFailed)
        assert failed.raw == "{"
        assert isinstance(failed.error, ValueError)
