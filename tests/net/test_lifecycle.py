"""From connect to exit, against a real server on the loopback interface."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

import rxws
from rxws.testing import Reset, Server, Session, Silent
from tests.virtual import Peer, connected, turns, until, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=0.5)


def kinds(events: list[rxws.Event]) -> list[str]:
    """Name the types of events, in order."""
    return [type(event).__name__ for event in events]


async def test_entered_is_open() -> None:
    """Inside ``async with`` the first connection is live, and after it all is closed with 1000."""
    async with Server() as server:
        async with rxws.connect(server.url) as ws:
            assert ws.state is rxws.State.OPEN
            assert ws.present_ws.request.path == "/"
            session = await server.connection(1)
        assert ws.state is rxws.State.CLOSED
        assert ws.present_ws is None
        assert await session.wait_closed() == (1000, "")


async def test_awaited_is_open() -> None:
    """``await connect(...)`` gives a live websocket, which ``aclose`` ends."""
    async with Server() as server:
        ws = await rxws.connect(server.url)
        assert ws.state is rxws.State.OPEN
        await ws.aclose()
        assert ws.state is rxws.State.CLOSED


async def test_retries_until_the_server_is_there() -> None:
    """A connection that is refused is tried again until the server accepts."""
    async with Server() as server:
        await server.stop()
        events: list[rxws.Event] = []
        ws = rxws.connect(server.url, backoff=QUICK)
        ws.events.subscribe(events.append)
        entering = asyncio.ensure_future(ws)
        await server.wait(lambda: kinds(events).count("ConnectFailed") >= 2)
        await server.start()
        await entering
        await ws.exit()
    failed = [event for event in events if isinstance(event, rxws.ConnectFailed)]
    assert [event.attempt for event in failed] == list(range(1, len(failed) + 1))
    assert kinds(events)[-2:] == ["Connected", "Closed"]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_fatal_status_is_raised_at_once(status: int) -> None:
    """A handshake that retrying can't mend raises, tells every consumer, and leaves nothing."""
    async with Server() as server:
        server.answer(status)
        ws = rxws.connect(server.url)
        errors: list[Exception] = []
        ws.subscribe(print, errors.append)
        stream = ws.stream_filter()
        with pytest.raises(rxws.ConnectError) as caught:
            async with ws:
                pytest.fail("entered")
        assert not caught.value.retryable
        assert str(status) in str(caught.value)
        assert errors == [caught.value]
        with pytest.raises(rxws.ConnectError):
            await anext(stream)
        assert len(server.dials) == 1
        with pytest.raises(rxws.ClosedError):
            await ws.send("x")


@pytest.mark.parametrize("answer", [500, 502, 503, 429, 418, Reset()])
async def test_passing_refusals_are_retried(answer: Any) -> None:
    """A handshake that may succeed next time is tried again."""
    async with Server() as server:
        server.answer(answer)
        async with rxws.connect(server.url, backoff=QUICK):
            assert len(server.dials) == 2


async def test_retry_overrides() -> None:
    """``retry=`` decides in place of the default, and is given the error with its cause."""
    async with Server() as server:
        server.answer(404, 500)
        asked: list[Any] = []

        def retry(error: Exception) -> bool:
            asked.append(error)
            return error.cause.response.status_code == 404

        with pytest.raises(rxws.ConnectError, match="500"):
            await rxws.connect(server.url, backoff=QUICK, retry=retry)
        assert len(asked) == 2


async def test_attempts_bound_the_dials() -> None:
    """After ``attempts`` dials in a row, RetriesExhausted says how many and what was last."""
    async with Server() as server:
        await server.stop()
        backoff = rxws.Backoff(initial=0.01, maximum=0.02, attempts=3)
        with pytest.raises(rxws.RetriesExhausted) as caught:
            await rxws.connect(server.url, backoff=backoff)
        assert caught.value.attempts == 3
        assert isinstance(caught.value.last, rxws.ConnectError)


async def test_silent_handshake_is_bounded() -> None:
    """A server that never answers the handshake costs ``open_timeout``, then it is retried."""
    async with Server() as server:
        server.answer(Silent())
        events: list[rxws.Event] = []
        ws = rxws.connect(server.url, open_timeout=0.5, backoff=QUICK)
        ws.events.subscribe(events.append)
        async with ws:
            pass
        failed = [event for event in events if isinstance(event, rxws.ConnectFailed)]
        assert "open_timeout=0.5" in str(failed[0].error)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 1013, 4000])
async def test_every_close_is_reconnected(code: int) -> None:
    """Whatever the server closes with has not ended our stream: it goes on, after one gap."""
    async with Server() as server:
        got: list[Any] = []
        ws = rxws.connect(server.url, backoff=QUICK)
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        gapped = ws.stream_filter().with_gaps()
        ws.subscribe(got.append)
        async with ws:
            first = await server.connection(1)
            await first.send("1")
            await server.wait(lambda: got == [1])
            if code == 1006:
                first.kick()
            else:
                await first.close(code, "bye")
            second = await server.connection(2)
            await second.send("2")
            await server.wait(lambda: got == [1, 2])
            assert ws.stats().reconnects == ws.stats().gaps == 1
        items = [item async for item in gapped]
        assert [items[0], items[2]] == [1, 2]
        assert isinstance(items[1], rxws.Gap)
        assert items[1].epoch == 1
        assert items[1].since <= items[1].until
        lost = next(event for event in events if isinstance(event, rxws.Disconnected))
        assert lost == rxws.Disconnected(
            1, None if code == 1006 else code, "" if code == 1006 else "bye"
        )


@virtual
async def test_flapping_server_is_not_stormed() -> None:
    """A server that accepts and closes at once is dialled at most 20 times in its first minute."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer)

    def close(event: rxws.Event) -> None:
        if isinstance(event, rxws.Connected):
            asyncio.get_running_loop().call_soon(peer.last.lose, 1000)

    ws.events.subscribe(close)
    async with ws:
        await asyncio.sleep(60)
        dials = [dial.time for dial in peer.dials]
    assert 5 <= len(dials) <= 20


@virtual
async def test_stable_connection_starts_the_delays_over() -> None:
    """A connection that was open for ``stable`` seconds makes the dials in a row count anew."""
    async with connected(backoff=rxws.Backoff(attempts=2, stable=10)) as (ws, peer):
        for number in range(1, 6):
            await peer.link(number, timeout=100)
            await asyncio.sleep(11)
            peer.last.lose(1011)
        await peer.link(6, timeout=100)
        for _ in range(2):
            peer.last.lose(1011)
            await until(ws, rxws.Disconnected)
            await asyncio.sleep(5)
        assert ws.state is rxws.State.CLOSED


async def test_on_open_speaks_before_anything_else() -> None:
    """``on_open`` logs in, then ``subscribe`` is sent, then what was queued; streams see all."""

    async def answer(session: Session, message: str | bytes) -> None:
        if message == '{"login":1}':
            await session.send('{"ok":1}')

    async def on_open(opening: rxws.Opening) -> None:
        assert opening.connection.state.name == "OPEN"
        await opening.send({"login": 1})
        assert await opening.recv() == {"ok": 1}

    async with Server(on_message=answer) as server:
        got: list[Any] = []
        ws = rxws.connect(server.url, on_open=on_open, subscribe=[{"sub": 1}, "two"], backoff=QUICK)
        ws.subscribe(got.append)
        assert await ws.send("queued") is rxws.Delivery.QUEUED
        async with ws:
            session = await server.connection(1)
            await server.wait(lambda: len(session.received) == 4)
            assert session.received == ['{"login":1}', '{"sub":1}', "two", "queued"]
            await session.close(1011)
            session = await server.connection(2)
            await server.wait(lambda: len(session.received) == 3)
            assert session.received == ['{"login":1}', '{"sub":1}', "two"]
            await server.wait(lambda: len(got) == 2)
        assert got == [{"ok": 1}, {"ok": 1}]


async def test_on_open_that_raises_is_a_failed_connection() -> None:
    """An ``on_open`` that raises makes the connection count as failed, and it is closed."""
    calls = 0

    async def on_open(opening: rxws.Opening) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise PermissionError("refused")

    async with Server() as server:
        ws = rxws.connect(server.url, on_open=on_open, backoff=QUICK)
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        async with ws:
            assert kinds(events) == ["Connecting", "ConnectFailed", "Connecting", "Connected"]
            await server.wait(lambda: len(server.connections) == 1)


async def test_on_open_that_waits_for_ever_is_bounded() -> None:
    """An ``on_open`` that waits for an answer that never comes costs ``ready_timeout``."""

    async def on_open(opening: rxws.Opening) -> None:
        await opening.recv()

    async with Server() as server:
        backoff = rxws.Backoff(initial=0.01, maximum=0.01, attempts=2)
        with pytest.raises(rxws.RetriesExhausted, match=r"ready_timeout=0\.05"):
            await rxws.connect(server.url, on_open=on_open, ready_timeout=0.05, backoff=backoff)


async def test_exit_before_start_is_the_end() -> None:
    """A websocket that exits before it is entered completes its consumers, and can't be entered."""
    ws = rxws.connect("ws://127.0.0.1:9/")
    done: list[str] = []
    ws.subscribe(print, on_completed=lambda: done.append("observer"))
    ws.events.subscribe(print, on_completed=lambda: done.append("events"))
    stream = ws.stream_filter()
    await ws.exit()
    await ws.exit()
    assert done == ["observer", "events"]
    assert [m async for m in stream] == []
    assert ws.state is rxws.State.CLOSED
    with pytest.raises(rxws.ClosedError):
        await ws


@pytest.mark.parametrize("moment", ["dialing", "waiting", "open", "rotating", "overlapping"])
async def test_exit_at_any_moment(moment: str) -> None:
    """Exit ends every phase, with one Closed, twice and from two tasks, and leaves no socket."""
    async with Server() as server:
        events: list[rxws.Event] = []
        ws = rxws.connect(
            server.url,
            open_timeout=3600,
            exit_timeout=5.0,
            handover=rxws.MakeBeforeBreak(overlap=3600),
            backoff=rxws.Backoff(initial=3600, maximum=3600),
        )
        ws.events.subscribe(events.append)
        if moment == "dialing":
            server.answer(Silent())
        elif moment == "waiting":
            await server.stop()
        ws.start()
        if moment == "dialing":
            await server.wait(lambda: len(server.dials) == 1)
        elif moment == "waiting":
            await server.wait(lambda: "ConnectFailed" in kinds(events))
        else:
            await ws
            if moment == "rotating":
                server.answer(Silent())
            if moment != "open":
                ws.rotate()
                await server.wait(lambda: len(server.dials) == 2)
            if moment == "overlapping":
                await server.connection(2)
        await asyncio.gather(ws.exit(), ws.exit())
        await ws.exit()
        assert kinds(events).count("Closed") == 1
        assert kinds(events)[-1] == "Closed"
        await server.wait(lambda: not server.connections)


@pytest.mark.parametrize("moment", ["dialing", "waiting", "open", "rotating", "overlapping"])
@virtual
async def test_exit_takes_its_time_at_most(moment: str) -> None:
    """Exit ends every phase within ``exit_timeout``, against peers that answer no close."""
    peer = Peer(answer_close=False)
    ws = rxws.connect(
        "ws://fake",
        transport=peer,
        open_timeout=3600,
        exit_timeout=1.0,
        handover=rxws.MakeBeforeBreak(overlap=3600),
        backoff=rxws.Backoff(initial=3600, maximum=3600),
    )
    if moment == "dialing":
        peer.hold()
    elif moment == "waiting":
        peer.refuse()
    ws.start()
    if moment in ("open", "rotating", "overlapping"):
        await ws
        if moment == "rotating":
            peer.hold()
        if moment != "open":
            ws.rotate()
    await turns()
    assert len(peer.dials) == (2 if moment in ("rotating", "overlapping") else 1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(ws.exit(), ws.exit())
    assert loop.time() - began <= 1.0
    assert ws.state is rxws.State.CLOSED
    assert peer.open_links == []


async def test_exit_from_a_handler() -> None:
    """A coroutine handler may exit the websocket it is called by, and goes on to its end."""
    async with Server() as server:
        after: list[str] = []
        ws = rxws.connect(server.url)

        async def handler(message: Any) -> None:
            await ws.exit()
            after.append("done")

        ws.add_handler(handler)
        async with ws:
            await (await server.connection(1)).send("1")
            await server.wait(lambda: after == ["done"])


@virtual
async def test_exit_goes_on_when_its_caller_is_cancelled() -> None:
    """Cancelling who waits for exit does not stop the end, nor make it longer."""
    peer = Peer(answer_close=False)
    ws = await rxws.connect("ws://fake", transport=peer, exit_timeout=5.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    leaving = asyncio.create_task(ws.exit())
    await asyncio.sleep(1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert not peer.last.aborted
    await ws.exit()
    assert peer.last.aborted
    assert loop.time() - began <= 5.0


async def test_exit_is_bounded_against_a_peer_that_stopped_reading() -> None:
    """A peer that neither reads nor answers is aborted, though what was sent to it waits."""
    async with Server() as server:
        ws = await rxws.connect(server.url, exit_timeout=0.5, send_timeout=0.5)
        (await server.connection(1)).stall()
        with pytest.raises(rxws.SendTimeout) as caught:
            await send_for_ever(ws)
        assert caught.value.delivery is rxws.Delivery.UNKNOWN
        async with asyncio.timeout(30):
            await ws.exit()


@virtual
async def test_exit_costs_its_time_against_a_peer_that_stopped_reading() -> None:
    """A send to a peer that takes nothing costs ``send_timeout``, and the exit ``exit_timeout``."""
    peer = Peer()
    loop = asyncio.get_running_loop()
    ws = await rxws.connect("ws://fake", transport=peer, exit_timeout=2.0, send_timeout=5.0)
    peer.last.stall()
    began = loop.time()
    with pytest.raises(rxws.SendTimeout) as caught:
        await send_for_ever(ws)
    assert caught.value.delivery is rxws.Delivery.UNKNOWN
    assert loop.time() - began == 5.0
    await ws.exit()
    assert loop.time() - began <= 7.0


async def send_for_ever(ws: rxws.ReactiveWebSocket[Any]) -> None:
    """Send until sending fails."""
    while True:
        await ws.send("x" * 100_000)


async def test_cancelled_connect_leaves_nothing() -> None:
    """A connect that is cancelled at any moment leaves no task and no socket."""
    async with Server() as server:
        for step in range(40):
            entering = asyncio.ensure_future(rxws.connect(server.url, exit_timeout=5.0))
            for _ in range(step):
                await asyncio.sleep(0)
            entering.cancel()
            try:
                ws = await entering
            except asyncio.CancelledError:
                pass
            else:
                await ws.exit()
        await server.wait(lambda: not server.connections)


async def test_parse_error_is_an_event_and_the_stream_goes_on() -> None:
    """What can't be parsed is told with its payload; the messages around it arrive."""
    async with Server() as server:
        got: list[Any] = []
        events: list[rxws.Event] = []
        ws = rxws.connect(server.url)
        ws.subscribe(got.append)
        ws.events.subscribe(events.append)
        async with ws:
            session = await server.connection(1)
            nested = "[" * 100_000
            await session.send_all(["1", "no json", nested, "", "2"])
            await server.wait(lambda: got == [1, 2])
        failed = [event for event in events if isinstance(event, rxws.ParseFailed)]
        assert [event.raw for event in failed] == ["no json", nested, ""]


async def test_coroutine_parser_keeps_the_order() -> None:
    """A coroutine function as ``parse`` delivers every message in the order of arrival."""

    async def parse(raw: str | bytes) -> Any:
        value = json.loads(raw)
        await asyncio.sleep(0.001 if value % 7 == 0 else 0)
        return value

    async with Server() as server:
        got: list[int] = []
        ws = rxws.connect(server.url, parse=parse)
        ws.subscribe(got.append)
        async with ws:
            session = await server.connection(1)
            await session.send_all([str(n) for n in range(1000)])
            await server.wait(lambda: len(got) == 1000)
        assert got == list(range(1000))


async def test_raw_messages() -> None:
    """``parse=None`` passes text as str and binary frames as bytes."""
    async with Server() as server, rxws.connect(server.url, parse=None) as ws:
        stream = ws.stream_filter()
        session = await server.connection(1)
        await session.send("text")
        await session.send(b"\x00\xff")
        assert await anext(stream) == "text"
        assert await anext(stream) == b"\x00\xff"
        assert ws.stats().bytes == 6


async def test_dead_peer_is_noticed_by_its_silence() -> None:
    """A peer that stopped reading and writing is replaced."""
    async with Server() as server:
        heartbeat = rxws.Heartbeat(interval=0.2, timeout=0.2)
        async with rxws.connect(server.url, heartbeat=heartbeat, backoff=QUICK) as ws:
            (await server.connection(1)).stall()
            await server.connection(2)
            await server.wait(lambda: ws.stats().reconnects >= 1)


@virtual
async def test_dead_peer_is_noticed_in_time() -> None:
    """A peer that answers no ping is given up after interval and timeout, and replaced."""
    heartbeat = rxws.Heartbeat(interval=10, timeout=4)
    async with connected(heartbeat=heartbeat, backoff=rxws.Backoff(initial=0)) as (ws, peer):
        began = asyncio.get_running_loop().time()
        peer.last.answer_pings = False
        await until(ws, rxws.Disconnected)
        assert asyncio.get_running_loop().time() - began == pytest.approx(14)
        await until(ws, rxws.Connected)
        assert (peer.links[0].pings, ws.stats().reconnects) == (1, 1)


async def test_quiet_peer_that_answers_pings_lives() -> None:
    """A peer that sends nothing but pongs is alive: it is pinged again and again."""
    async with Server() as server:
        heartbeat = rxws.Heartbeat(interval=0.05, timeout=60)
        async with rxws.connect(server.url, heartbeat=heartbeat) as ws:
            protocol = (await server.connection(1)).connection.protocol
            frames: list[Opcode] = []
            receive = protocol.recv_frame

            def look(frame: Frame) -> None:
                frames.append(frame.opcode)
                receive(frame)

            protocol.recv_frame = look  # type: ignore[method-assign]
            # Without a sign of life, nothing would follow the first one for a minute.
            await server.wait(lambda: frames.count(Opcode.PING) >= 3)
            assert ws.stats().reconnects == 0


@virtual
async def test_quiet_peer_that_answers_pings_lives_on() -> None:
    """A peer that sends nothing but pongs for an hour is not replaced."""
    async with connected(heartbeat=rxws.Heartbeat(interval=5, timeout=2)) as (_, peer):
        await asyncio.sleep(3600)
        assert len(peer.links) == 1
        assert peer.last.pings > 500


async def test_zombie_is_replaced_after_silence() -> None:
    """With ``silence=``, a peer that only answers pings counts as dead."""
    async with Server() as server, rxws.connect(server.url, silence=0.1, backoff=QUICK):
        await server.connection(2)


async def test_cold_observable_connects_on_subscription() -> None:
    """``observe`` connects for each subscription, and exits on its disposal."""
    async with Server() as server:
        source = rxws.observe(server.url)
        got: list[Any] = []
        first = source.subscribe(got.append)
        second = source.subscribe(got.append)
        await server.connection(2)
        server.broadcast("1")
        await server.wait(lambda: got == [1, 1])
        first.dispose()
        await server.wait(lambda: len(server.connections) == 1)
        second.dispose()
        await server.wait(lambda: not server.connections)
        await server.wait(lambda: len(asyncio.all_tasks()) <= 2)


async def test_cold_observable_emits_what_is_fatal() -> None:
    """What ends a cold websocket for good is the error of its subscription."""
    async with Server() as server:
        server.answer(404)
        errors: list[Exception] = []
        rxws.observe(server.url).subscribe(print, errors.append)
        await server.wait(lambda: len(errors) == 1)
        assert isinstance(errors[0], rxws.ConnectError)


async def test_error_of_a_long_payload_keeps_its_type() -> None:
    """The error of a long payload that can't be parsed is the parser's own."""
    async with Server() as server:
        events: list[Any] = []
        ws = rxws.connect(server.url)
        ws.events.subscribe(events.append)
        async with ws:
            await (await server.connection(1)).send("https://a.example/?b=c " * 2000)
            await server.wait(lambda: any(isinstance(e, rxws.ParseFailed) for e in events))
        failed = next(e for e in events if isinstance(e, rxws.ParseFailed))
        assert isinstance(failed.error, json.JSONDecodeError)
        assert len(repr(failed)) < 1000


@virtual
async def test_loss_in_the_midst_of_the_news() -> None:
    """A connection that an observer of its Connected event ends is replaced as any other."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer)
    ws.events.subscribe(lambda event: peer.last.lose(1000) if event == rxws.Connected(1) else None)
    async with ws:
        assert len(peer.links) == 2
        assert ws.state is rxws.State.OPEN
