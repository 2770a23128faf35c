"""Exit in every state, and from every callback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from tests.virtual import COMPLETED, Log, Peer, drained, turns, until, virtual

EXIT = 1.0
LATE = 0.25
"""Seconds that a cancelled task may go on, after ``exit_timeout``."""

HANDOVER = rxws.MakeBeforeBreak(overlap=5.0, drain=5.0)


async def _nothing(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    """Leave it as it is: not started."""


async def _dialing(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    peer.hold()
    ws.start()
    await turns()
    assert (ws.state, len(peer.dials), peer.links) == (rxws.State.CONNECTING, 1, [])


async def _waiting(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    peer.refuse()
    ws.start()
    await until(ws, rxws.ConnectFailed)


async def _open(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    await ws
    assert ws.state is rxws.State.OPEN


async def _reconnecting(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    await ws
    peer.last.lose(1011)
    assert ws.state is rxws.State.RECONNECTING


async def _dialing_next(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    await ws
    peer.hold()
    ws.rotate()
    await turns()
    assert (ws.state, len(peer.dials), len(peer.links)) == (rxws.State.ROTATING, 2, 1)


async def _overlapping(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    await ws
    ws.rotate()
    await peer.link(2)
    await asyncio.sleep(1)
    assert (ws.state, len(peer.open_links)) == (rxws.State.ROTATING, 2)


async def _draining(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    await ws
    peer.last.answer_close = False
    ws.rotate()
    await asyncio.sleep(6)
    assert (ws.state, peer.links[0].closed) == (rxws.State.ROTATING, (1000, ""))


async def _filling(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    await ws
    peer.last.lose(1011)
    await peer.link(2, timeout=100)
    await asyncio.sleep(1)
    assert ws.state is rxws.State.OPEN


STATES = {
    "before start": _nothing,
    "dialing": _dialing,
    "backoff": _waiting,
    "open": _open,
    "reconnecting": _reconnecting,
    "dialing next": _dialing_next,
    "overlap": _overlapping,
    "draining": _draining,
    "filling": _filling,
}


async def _fill(gap: rxws.Gap) -> list[Any]:
    await asyncio.sleep(20)
    return []


def _websocket(peer: Peer, **options: Any) -> rxws.ReactiveWebSocket[Any]:
    return rxws.connect(
        "ws://fake",
        transport=peer,
        exit_timeout=EXIT,
        handover=HANDOVER,
        **options,
    )


@pytest.mark.parametrize("peer_is", ["polite", "deaf"])
@pytest.mark.parametrize("how", ["once", "twice", "two tasks", "cancelled"])
@pytest.mark.parametrize("state", STATES)
@virtual
async def test_f60_exit_in_every_state(state: str, how: str, peer_is: str) -> None:
    """In every state exit takes ``exit_timeout`` at most, tells the end once, leaves nothing."""
    loop = asyncio.get_running_loop()
    peer = Peer(answer_close=peer_is == "polite")
    ws = _websocket(peer, resync=_fill)
    observer, events = Log(), Log()
    ws.subscribe(observer)
    ws.events.subscribe(events)
    stream = ws.stream_filter()
    reading = asyncio.ensure_future(drained(stream))
    await STATES[state](ws, peer)
    began = loop.time()
    if how == "twice":
        await ws.exit()
        await ws.exit()
    elif how == "two tasks":
        await asyncio.gather(ws.exit(), ws.exit())
    elif how == "cancelled":
        leaving = asyncio.ensure_future(ws.exit())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        await ws.exit()
    else:
        await ws.exit()
    assert loop.time() - began <= EXIT + 1e-6
    assert await reading == []
    assert observer.ends == events.ends == [COMPLETED]
    assert [event for event in events.items if isinstance(event, rxws.Closed)] == [
        rxws.Closed(None)
    ]
    assert isinstance(events.items[-1], rxws.Closed)
    assert ws.state is rxws.State.CLOSED
    await turns()
    assert peer.open_links == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def _in_handler(ws: Any, leave: Callable[..., Coroutine[Any, Any, None]]) -> None:
    ws.add_handler(leave)


def _in_observer(ws: Any, leave: Callable[..., Coroutine[Any, Any, None]]) -> None:
    ws.subscribe(lambda _: KEPT.append(asyncio.ensure_future(leave())))


def _in_event_observer(ws: Any, leave: Callable[..., Coroutine[Any, Any, None]]) -> None:
    connected = ws.events.pipe(ops.filter(lambda event: isinstance(event, rxws.Connected)))
    connected.subscribe(lambda _: KEPT.append(asyncio.ensure_future(leave())))


KEPT: list[asyncio.Future[None]] = []
CALLBACKS: dict[str, Any] = {
    "handler": _in_handler,
    "observer": _in_observer,
    "event observer": _in_event_observer,
    "on_open": "on_open",
    "resync": "resync",
    "parse": "parse",
    "source": "source",
}


@pytest.mark.parametrize("callback", CALLBACKS)
@virtual
async def test_f60_exit_from_every_callback(callback: str) -> None:
    """Called by a user's function the end is the same, and within the same time."""
    loop = asyncio.get_running_loop()
    peer = Peer(answer_close=False)
    began: list[float] = []
    left: list[float] = []

    async def leave(*_: Any) -> Any:
        if not began:
            began.append(loop.time())
            try:
                await ws.exit()
            finally:  # what prepares a connection is cancelled in the end
                left.append(loop.time())
        return [] if callback == "resync" else "ws://fake"

    option = CALLBACKS[callback]
    options = {option: leave} if option in ("on_open", "resync", "parse") else {}
    source: Any = leave if option == "source" else "ws://fake"
    ws: rxws.ReactiveWebSocket[Any] = rxws.connect(
        source, transport=peer, exit_timeout=EXIT, handover=HANDOVER, **options
    )
    if callable(option):
        option(ws, leave)
    observer, events = Log(), Log()
    ws.subscribe(observer)
    ws.events.subscribe(events)
    ws.start()
    if callback in ("handler", "observer", "parse"):
        (await peer.link(1)).deliver("1")
    if callback == "resync":
        await until(ws, rxws.Connected)
        peer.last.lose(1011)
    await until(ws, rxws.Closed)
    await turns()
    await asyncio.gather(*KEPT)
    KEPT.clear()
    assert events.items[-1].monotonic - began[0] <= EXIT + LATE
    assert left and left[0] - began[0] <= EXIT + LATE
    assert observer.ends == events.ends == [COMPLETED]
    assert sum(isinstance(event, rxws.Closed) for event in events.items) == 1
    await asyncio.sleep(LATE)
    assert peer.open_links == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
