"""The websocket as an observer: what is given to it is sent."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import reactivex
from reactivex import abc
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from tests.virtual import COMPLETED, Log, Peer, connected, turns, until, virtual


@virtual
async def test_pumps_an_observable_out() -> None:
    """``source.subscribe(ws)`` sends every item in order, and exits when the source completes."""
    async with connected() as (ws, peer):
        assert isinstance(ws, abc.ObserverBase)
        reactivex.from_iterable(range(100)).pipe(ops.map(lambda n: {"n": n})).subscribe(ws)
        await turns()
        assert [message["n"] for message in peer.sent(1)] == list(range(100))
        assert peer.last.closed == (1000, "")
        assert ws.state is rxws.State.CLOSED


@virtual
async def test_pumped_before_it_is_entered() -> None:
    """What was given before, and the completion, are carried out once it is open."""
    peer, log = Peer(), Log()
    ws = rxws.connect("ws://fake", transport=peer)
    ws.subscribe(log)
    reactivex.of("a", "b").subscribe(ws)
    assert log.ends == []
    async with ws:
        await turns()
        assert peer.last.sent == ["a", "b"]
    assert log.ends == [COMPLETED]


@virtual
async def test_given_while_disconnected() -> None:
    """Items given during a reconnect wait, and leave once and in order on the next connection."""
    async with connected() as (ws, peer):
        ws.on_next("before")
        peer.last.lose()
        await until(ws, rxws.Disconnected)
        for number in range(5):
            ws.on_next({"n": number})
        await peer.link(2)
        await turns()
        assert peer.links[0].sent == ["before"]
        assert peer.sent(2) == [{"n": number} for number in range(5)]


@virtual
async def test_completed_while_a_send_is_stuck() -> None:
    """Completion waits for what was given before, even when the peer is slow to take it."""
    async with connected() as (ws, peer):
        peer.last.stall()
        ws.on_next("last words")
        ws.on_completed()
        ws.on_next("too late")
        await asyncio.sleep(5)
        assert peer.last.closed is None
        peer.last.unstall()
        await turns()
        assert peer.last.sent == ["last words"]
        assert peer.last.closed == (1000, "")


@virtual
async def test_what_cannot_be_sent(loop_errors: list[dict[str, Any]]) -> None:
    """An item that can't be serialized is reported, and harms neither source nor connection."""
    async with connected() as (ws, peer):
        source: Subject[Any] = Subject()
        events, log = Log(), Log()
        ws.events.subscribe(events)
        source.subscribe(ws)
        source.subscribe(log)
        for item in ("a", object(), "b"):
            source.on_next(item)
        assert len(log.items) == 3
        assert peer.last.sent == ["a", "b"]
        [failed] = [event for event in events.items if isinstance(event, rxws.ConsumerFailed)]
        assert failed.consumer is ws
        assert isinstance(failed.error, TypeError)
        assert [type(report["exception"]) for report in loop_errors] == [TypeError]


@virtual
async def test_more_than_can_wait(loop_errors: list[dict[str, Any]]) -> None:
    """Of more items than may wait for a connection the first are kept, and the rest reported."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer)
    for number in range(1005):
        ws.on_next({"n": number})
    async with ws:
        assert [message["n"] for message in peer.sent(1)] == list(range(1000))
        assert [type(report["exception"]) for report in loop_errors] == [rxws.BufferOverflow] * 5


@virtual
async def test_given_by_a_thread() -> None:
    """A source that emits on another thread is sent on the loop's, in order."""
    async with connected() as (ws, peer):
        threads: set[int] = set()
        write = peer.last.write

        def note(raw: Any) -> bool:
            threads.add(threading.get_ident())
            return write(raw)

        peer.last.write = note  # type: ignore[method-assign]

        def emit() -> None:
            for number in range(100):
                ws.on_next({"n": number})
            ws.on_completed()

        await asyncio.to_thread(emit)
        await turns()
        assert [message["n"] for message in peer.sent(1)] == list(range(100))
        assert threads == {threading.get_ident()}
        assert ws.state is rxws.State.CLOSED


@virtual
async def test_a_websocket_into_another() -> None:
    """One websocket can be subscribed by another, and ends it when it exits."""
    async with connected() as (feed, feed_peer), connected() as (out, out_peer):
        feed.stream_filter([{"e": "trade"}]).subscribe(out)
        feed_peer.deliver({"e": "trade", "n": 1}, {"e": "depth"}, {"e": "trade", "n": 2})
        await feed.exit()
        await turns()
        assert [message["n"] for message in out_peer.sent(1)] == [1, 2]
        assert out.state is rxws.State.CLOSED


@pytest.mark.parametrize("method", ["on_next", "on_completed", "on_error"])
@virtual
async def test_too_late(method: str, loop_errors: list[dict[str, Any]]) -> None:
    """Given anything after the end, it raises nothing and sends nothing."""
    async with connected() as (ws, peer):
        await ws.exit()
        getattr(ws, method)(*([] if method == "on_completed" else [ZeroDivisionError()]))
        await turns()
        assert peer.last.sent == []
        assert len(peer.links) == 1


@virtual
async def test_completed_while_a_send_waits() -> None:
    """Completion does not take the outcome away from a ``send`` that is waiting for it."""
    async with connected() as (ws, peer):
        peer.last.stall()
        sending = asyncio.ensure_future(ws.send("x"))
        await turns()
        ws.on_completed()
        await turns()
        peer.last.unstall()
        assert await sending is rxws.Delivery.SENT
        assert peer.last.sent == ["x"]
