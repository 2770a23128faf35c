"""Connections that the server ends with a Close frame: every code, and broken frames (F12-F18)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

import rxws
from rxws.options import resolve
from rxws.testing import Server, Session
from tests.virtual import Log, Peer, connected, until, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=60)
REFUSALS = [1002, 1003, 1007, 1008, 1009, 1010]


def close_frame(body: bytes) -> bytes:
    """Return the bytes of a Close frame of a server."""
    return bytes([0x88, len(body)]) + body


def seeded(peer: Peer, seed: int, **options: Any) -> rxws.ReactiveWebSocket[Any]:
    """Return a websocket on a fake transport that draws its delays from a seed."""
    checked, rotate_on = resolve({"transport": peer, **options}, random=random.Random(seed).random)
    return rxws.ReactiveWebSocket("ws://fake", checked, rotate_on)


async def pause_after(ws: rxws.ReactiveWebSocket[Any], peer: Peer, code: int) -> float:
    """Let the server close the connection; return the seconds until the next dial."""
    loop = asyncio.get_running_loop()
    closed = loop.time()
    peer.last.lose(code)
    await until(ws, rxws.Connected)
    return peer.dials[-1].time - closed


@pytest.mark.parametrize(
    ("wire", "code", "reason"),
    [
        (struct.pack(">H", 1000) + b"bye", 1000, "bye"),
        (struct.pack(">H", 1001), 1001, ""),
        (b"", 1005, ""),
    ],
)
async def test_f12_an_orderly_close_has_not_ended_the_stream(
    wire: bytes, code: int, reason: str
) -> None:
    """A close with 1000, 1001 or no code is reconnected, in one gap that says how it ended."""
    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK)
        gapped = ws.stream_filter().with_gaps()
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        async with ws:
            first = await server.connection(1)
            await first.send("1")
            await server.wait(lambda: ws.stats().messages == 1)
            first.write_bytes(close_frame(wire))
            second = await server.connection(2)
            await second.send("2")
            await server.wait(lambda: ws.stats().messages == 2)
        before, gap, after = [item async for item in gapped]
        assert (before, after) == (1, 2)
        assert isinstance(gap, rxws.Gap)
        assert (gap.epoch, gap.planned, gap.filled) == (1, False, False)
        assert str(code) in gap.reason
        assert rxws.Disconnected(1, code, reason) in events


@virtual
async def test_f13_a_restarting_server_is_back_within_the_first_step() -> None:
    """After 1011 and 1012 the dials are spread over the first step of the backoff."""
    pauses = []
    for seed in range(40):
        peer = Peer()
        async with seeded(peer, seed) as ws:
            await asyncio.sleep(20)
            pauses.append(await pause_after(ws, peer, 1012 if seed % 2 else 1011))
    assert all(0 <= pause <= 1 for pause in pauses)
    assert min(pauses) < 0.2
    assert max(pauses) > 0.8


@virtual
async def test_f13_a_server_that_says_later_is_left_alone_for_longer() -> None:
    """After 1013 at least the second step of the backoff is waited, however stable it was."""
    peer = Peer()
    async with seeded(peer, 1) as ws:
        for _ in range(20):
            await asyncio.sleep(20)
            assert 2 <= await pause_after(ws, peer, 1013) <= 3
        # It is not stable any more: the jitter on top grows, as ever.
        pauses = [await pause_after(ws, peer, 1013) for _ in range(20)]
        assert all(2 <= pause <= 62 for pause in pauses)
        assert max(pauses) > 10


@pytest.mark.parametrize("code", REFUSALS)
def test_f14_a_refusal_is_retried_and_the_third_in_a_row_is_fatal(code: int) -> None:
    """The first two are retried by a growing backoff; the third is told to everybody, once."""

    @virtual
    async def run() -> None:
        async with connected() as (ws, peer):
            log = Log()
            ws.subscribe(log)
            await pause_after(ws, peer, code)
            await pause_after(ws, peer, code)
            assert ws.state is rxws.State.OPEN
            peer.last.lose(code, "not like this")
            await until(ws, rxws.Closed)
            (error,) = log.ends
            assert isinstance(error, rxws.ConnectionLost)
            assert (error.code, error.reason) == (code, "not like this")
            assert any("3 times in a row" in note for note in error.__notes__)
            await asyncio.sleep(1000)
            assert len(peer.dials) == 3

    run()


@virtual
async def test_f14_refusals_are_counted_until_a_connection_is_stable() -> None:
    """Other ends between two refusals don't make them fewer; a stable connection does."""
    async with connected() as (ws, peer):
        for _ in range(5):
            await pause_after(ws, peer, 1008)
            await pause_after(ws, peer, 1008)
            await asyncio.sleep(11)
        await pause_after(ws, peer, 1008)
        await pause_after(ws, peer, 1011)
        await pause_after(ws, peer, 1009)
        await pause_after(ws, peer, 1000)
        peer.last.lose(1002)
        await until(ws, rxws.Closed)


@virtual
async def test_f14_a_refusal_does_not_reset_the_backoff() -> None:
    """With a refusal after each connect, the delays grow as they do after failed dials."""
    peer = Peer()
    checked, _ = resolve({"transport": peer, "retry": bool}, random=lambda: 1.0)
    async with rxws.ReactiveWebSocket("ws://fake", checked, None) as ws:
        pauses = [await pause_after(ws, peer, 1008) for _ in range(8)]
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])


@virtual
async def test_f14_retry_has_the_last_word_about_refusals() -> None:
    """With ``retry=`` a refusal can be retried for ever, or be fatal at once."""
    async with connected(retry=lambda error: error.code == 1008) as (ws, peer):
        for _ in range(10):
            await pause_after(ws, peer, 1008)
        peer.last.lose(1003)
        await until(ws, rxws.Closed)


@virtual
async def test_f14_a_refusal_while_opening_counts_too() -> None:
    """A server that ends each connection with 1008 during ``on_open`` is given up as well."""
    peer = Peer()

    async def on_open(opening: rxws.Opening) -> None:
        peer.last.lose(1008, "bad key")
        await opening.recv()

    with pytest.raises(rxws.ConnectError, match="1008 bad key"):
        await rxws.connect("ws://fake", transport=peer, on_open=on_open)
    assert len(peer.dials) == 3


async def test_f14_what_we_refuse_counts_as_what_the_server_refuses() -> None:
    """Messages larger than ``max_size`` end the connection with 1009: the third time for good."""

    async def script(session: Session) -> None:
        await session.send("x" * 2000)

    async with Server(script) as server:
        ws = rxws.connect(server.url, parse=None, max_size=1000, backoff=QUICK)
        log = Log()
        ws.subscribe(log)
        with contextlib.suppress(rxws.RxwsError):  # it may be over before it is entered
            await ws
        await server.wait(lambda: log.ends)
        (error,) = log.ends
        assert isinstance(error, rxws.ConnectionLost)
        assert error.sent == 1009
        assert len(server.dials) == 3
        assert log.items == []


@pytest.mark.parametrize("code", [3000, 4000, 4401, 4500, 4999])
@pytest.mark.parametrize("goes_on", [True, False])
def test_f15_codes_of_applications_are_judged_by_retry(*, code: int, goes_on: bool) -> None:
    """By default they are retried; ``retry=`` is given code and reason, and may end it."""

    @virtual
    async def run() -> None:
        asked: list[tuple[int | None, str]] = []

        def retry(error: Exception) -> bool:
            assert isinstance(error, rxws.ConnectionLost)
            asked.append((error.code, error.reason))
            return False

        options: dict[str, Any] = {} if goes_on else {"retry": retry}
        async with connected(**options) as (ws, peer):
            for _ in range(4 if goes_on else 0):
                await pause_after(ws, peer, code)
            peer.last.lose(code, "listenKeyExpired")
            await until(ws, rxws.Disconnected if goes_on else rxws.Closed)
        assert asked == ([] if goes_on else [(code, "listenKeyExpired")])

    run()


async def stay_silent(session: Session) -> None:
    """Send nothing any more."""


async def stream_on(session: Session) -> None:
    """Send messages as if the Close frame had not been sent."""
    while True:
        session.write_bytes(b"\x81\x01\x37")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("then", [stay_silent, stream_on])
async def test_f16_a_socket_held_after_the_close_frame_is_cut(then: Callable[..., Any]) -> None:
    """The Close frame is the end, though the server holds the socket: it is aborted soon after."""
    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK, heartbeat=None)
        got: list[Any] = []
        ws.subscribe(got.append)
        async with ws:
            connection = ws.present_ws
            session = await server.connection(1)
            session.stall()  # it reads nothing, so it does not answer our Close frame either
            session.write_bytes(b"\x81\x01\x31" + close_frame(struct.pack(">H", 1000)))
            going_on = asyncio.create_task(then(session))
            try:
                await server.connection(2)  # within 5 s; a bare client takes 20, or for ever
            finally:
                going_on.cancel()
                await asyncio.wait([going_on])
            assert connection.transport.is_closing()
            assert connection.state.name == "CLOSED"
        assert got == [1]


BROKEN = [
    pytest.param(struct.pack(">H", 999), 1002, id="999"),
    pytest.param(struct.pack(">H", 1006), 1002, id="1006 on the wire"),
    pytest.param(b"\x03", 1002, id="one byte"),
    pytest.param(struct.pack(">H", 1000) + b"\xff\xfe", 1007, id="reason that is no UTF-8"),
]


@pytest.mark.parametrize(("body", "sent"), BROKEN)
async def test_f17_a_broken_close_frame_is_against_the_protocol(body: bytes, sent: int) -> None:
    """It is reconnected, has no code of the server's, and the third in a row is fatal."""

    async def script(session: Session) -> None:
        await session.send("1")
        session.write_bytes(close_frame(body))

    async with Server(script) as server:
        ws = rxws.connect(server.url, backoff=QUICK)
        log, events = Log(), Log()
        ws.subscribe(log)
        ws.events.subscribe(events)
        with contextlib.suppress(rxws.RxwsError):
            await ws
        await server.wait(lambda: log.ends)
        (error,) = log.ends
        assert isinstance(error, rxws.ConnectionLost)
        assert (error.code, error.sent) == (None, sent)
        assert log.items == [1, 1, 1]
        assert [e.code for e in events.items if isinstance(e, rxws.Disconnected)] == [None] * 3


async def test_f18_a_close_inside_a_message_is_a_close() -> None:
    """A Close frame between fragments is that of the server; the message before it is dropped."""

    async def script(session: Session) -> None:
        if session.number < 6:
            session.write_bytes(b"\x01\x01[" + close_frame(struct.pack(">H", 1000)))
        else:
            await session.send("2")

    async with Server(script) as server:
        ws = rxws.connect(server.url, backoff=QUICK)
        log, events = Log(), Log()
        ws.subscribe(log)
        ws.events.subscribe(events)
        async with ws:
            await server.wait(lambda: log.items)
        assert log.items == [2]
        lost = [e for e in events.items if isinstance(e, rxws.Disconnected)]
        assert [(event.code, event.reason) for event in lost] == [(1000, "")] * 5
