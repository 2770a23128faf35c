"""What leaves: once, in order, and with a report of what became of it."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
import reactivex as rx

import rxws
from rxws.testing import Server, Session
from tests.virtual import connected, turns, until, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=0.5)


async def test_sent_is_what_arrives() -> None:
    """Text and bytes arrive as they are, anything else serialized; each is reported as sent."""
    async with Server() as server, rxws.connect(server.url) as ws:
        for message in ("text", b"\x00", bytearray(b"\x01"), {"a": [1, None]}, [1], 5, None):
            assert await ws.send(message) is rxws.Delivery.SENT
        session = await server.connection(1)
        await server.wait(lambda: len(session.received) == 7)
        assert session.received == ["text", b"\x00", b"\x01", '{"a":[1,null]}', "[1]", "5", "null"]


async def test_queued_before_the_first_open_arrives_once_in_order() -> None:
    """What was sent before the websocket was entered arrives first, in order, once."""
    async with Server() as server:
        ws = rxws.connect(server.url)
        for n in range(50):
            assert await ws.send(n) is rxws.Delivery.QUEUED
            ws.on_next(1000 + n)
        async with ws:
            await ws.send("last")
            session = await server.connection(1)
            await server.wait(lambda: len(session.received) == 101)
        expected = [str(m) for n in range(50) for m in (n, 1000 + n)]
        assert session.received == [*expected, "last"]


async def test_sent_during_a_reconnect_arrives_once_in_order() -> None:
    """What is sent while no connection is live waits for one, and keeps its order."""
    async with Server() as server, rxws.connect(server.url, backoff=QUICK) as ws:
        session = await server.connection(1)
        await server.stop(abort=True)
        await server.wait(lambda: ws.state is rxws.State.RECONNECTING)
        sends = [asyncio.create_task(ws.send(n)) for n in range(20)]
        ws.on_next("item")
        await asyncio.sleep(0)
        await server.start()
        assert set(await asyncio.gather(*sends)) == {rxws.Delivery.SENT}
        session = server.connections[-1]
        await server.wait(lambda: len(session.received) == 21)
        assert [r for r in session.received if r != "item"] == [str(n) for n in range(20)]


async def test_policies_while_no_connection_is_live() -> None:
    """Without a connection, Drop forgets, Fail and ThisConnection raise, Keep has a bound."""
    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK)
        assert await ws.send("1", rxws.Drop()) is rxws.Delivery.NOT_SENT
        for policy in (rxws.Fail(), rxws.ThisConnection()):
            with pytest.raises(rxws.ConnectionLost) as caught:
                await ws.send("2", policy)
            assert caught.value.delivery is rxws.Delivery.NOT_SENT
        await ws.send("3", rxws.Keep(capacity=1))
        with pytest.raises(rxws.BufferOverflow):
            await ws.send("4", rxws.Keep(capacity=1))
        async with ws:
            for policy in (rxws.Drop(), rxws.Fail(), rxws.ThisConnection(), rxws.Keep()):
                assert await ws.send("5", policy) is rxws.Delivery.SENT
            session = await server.connection(1)
            await server.wait(lambda: len(session.received) == 5)
        assert session.received == ["3", "5", "5", "5", "5"]


@virtual
async def test_waiting_for_a_connection_is_bounded() -> None:
    """A send that finds no connection within send_timeout was not sent, and never is."""
    async with connected(backoff=QUICK, send_timeout=5.0) as (ws, peer):
        peer.hold()
        peer.last.lose()
        with pytest.raises(rxws.SendTimeout) as caught:
            await ws.send("late")
        assert caught.value.delivery is rxws.Delivery.NOT_SENT
        peer.release()
        await ws.send("next")
        assert peer.last.sent == ["next"]


async def test_cancelled_while_waiting_is_withdrawn() -> None:
    """A send that is cancelled while it waits for a connection is not sent later."""
    async with Server() as server, rxws.connect(server.url, backoff=QUICK) as ws:
        await server.stop(abort=True)
        await server.wait(lambda: ws.state is rxws.State.RECONNECTING)
        sending = asyncio.create_task(ws.send("withdrawn"))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await server.start()
        await ws.send("next")
        session = server.connections[-1]
        await server.wait(lambda: bool(session.received))
        assert session.received == ["next"]


async def test_bad_message_concerns_its_sender_only() -> None:
    """What can't be serialized raises where it was sent; the connection lives."""
    async with Server() as server, rxws.connect(server.url) as ws:
        for message in (object(), {1, 2}, (n for n in range(2))):
            with pytest.raises(TypeError):
                await ws.send(message)
        assert await ws.send("fine") is rxws.Delivery.SENT
        assert ws.stats().reconnects == 0


async def test_concurrent_senders_keep_their_order() -> None:
    """Twenty senders at once: all arrives, and each sender's messages in its order."""

    async def sender(ws: Any, name: int) -> None:
        for n in range(200):
            await ws.send([name, n])

    async with Server() as server, rxws.connect(server.url) as ws:
        await asyncio.gather(*(sender(ws, name) for name in range(20)))
        session = await server.connection(1)
        await server.wait(lambda: len(session.received) == 4000)
        got = [json.loads(raw) for raw in session.received]
        for name in range(20):
            assert [n for who, n in got if who == name] == list(range(200))


async def test_large_burst_against_a_slow_reader_keeps_its_order() -> None:
    """More than the write buffer takes, sent at once, arrives whole and in order."""
    async with Server() as server, rxws.connect(server.url) as ws:
        session = await server.connection(1)
        session.stall()
        sends = [asyncio.create_task(ws.send(f"{n} " + "x" * 50_000)) for n in range(200)]
        await asyncio.sleep(0.05)
        session.unstall()
        await asyncio.gather(*sends)
        await server.wait(lambda: len(session.received) == 200)
        assert [int(str(raw).split()[0]) for raw in session.received] == list(range(200))


async def test_a_source_is_pumped_out() -> None:
    """``source.subscribe(ws)`` sends every item, and completion exits after all was sent."""
    async with Server() as server:
        ws = await rxws.connect(server.url)
        session = await server.connection(1)
        rx.from_iterable(range(5000)).subscribe(ws)
        await session.wait_closed()
        assert session.received == [str(n) for n in range(5000)]
        await ws.exit()


@virtual
async def test_completion_waits_for_all_that_was_given() -> None:
    """Completed during a reconnect, it exits after all was sent, though the last was withdrawn."""
    async with connected() as (ws, peer):
        peer.last.lose()
        await until(ws, rxws.Disconnected)
        ws.on_next("a")
        ws.on_next("b")
        sending = asyncio.create_task(ws.send("c"))
        await turns()
        sending.cancel()
        await turns()
        ws.on_completed()
        await until(ws, rxws.Closed)
        assert [link.sent for link in peer.links] == [[], ["a", "b"]]


@virtual
async def test_completion_that_cannot_be_sent_is_bounded() -> None:
    """Completed while nothing can be sent, it exits after ``send_timeout``."""
    async with connected(send_timeout=5, heartbeat=None) as (ws, peer):
        peer.last.stall()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        began = loop.time()
        for n in range(200):
            ws.on_next(n)
        ws.on_completed()
        await until(ws, rxws.Closed)
        assert 5 <= loop.time() - began < 8


async def test_a_source_that_completed_before_the_open_is_sent_whole() -> None:
    """A source that is pumped before the websocket is entered is sent, and then ends it."""
    async with Server() as server:
        ws = rxws.connect(server.url)
        rx.of("a", "b").subscribe(ws)
        async with ws:
            session = await server.connection(1)
            assert await session.wait_closed() == (1000, "")
            assert session.received == ["a", "b"]


async def test_other_threads_send_by_send_threadsafe() -> None:
    """``send_threadsafe`` sends from another thread; ``send`` refuses there, at once."""
    async with Server() as server, rxws.connect(server.url) as ws:
        outcome: list[Any] = []

        def work() -> None:
            outcome.append(ws.send_threadsafe({"from": "thread"}).result(30))
            ws.on_next("item")
            try:
                asyncio.run(ws.send("no"))
            except RuntimeError as error:
                outcome.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        session = await server.connection(1)
        await server.wait(lambda: len(session.received) == 2 and len(outcome) == 2)
        thread.join()
        assert session.received == ['{"from":"thread"}', "item"]
        assert outcome[0] is rxws.Delivery.SENT
        assert "another event loop" in outcome[1]


async def test_a_thousand_requests_answered_out_of_order() -> None:
    """A thousand requests in flight, answered in another order: each gets its own reply."""
    waiting: list[int] = []

    async def answer(session: Session, message: str | bytes) -> None:
        waiting.append(json.loads(message)["id"])
        if len(waiting) == 1000:
            order = sorted(waiting, key=lambda n: (n * 7919) % 1000)
            await session.send_all([json.dumps({"id": n, "result": n * n}) for n in order])

    async with Server(on_message=answer) as server, rxws.connect(server.url) as ws:
        replies = await asyncio.gather(
            *(ws.request({"id": n}, reply=[{"id": n}], timeout=120) for n in range(1000))
        )
        assert [reply["result"] for reply in replies] == [n * n for n in range(1000)]


async def test_request_is_bounded_and_told_of_a_loss() -> None:
    """A request without reply times out; one whose connection ends is told so at once."""
    async with Server() as server, rxws.connect(server.url, backoff=QUICK) as ws:
        with pytest.raises(rxws.RequestTimeout):
            await ws.request("?", reply=[{"id": 1}], timeout=0.05)
        request = asyncio.create_task(ws.request("?", reply=[{"id": 1}], timeout=30))
        session = await server.connection(1)
        await server.wait(lambda: len(session.received) == 2)
        session.abort()
        with pytest.raises(rxws.ConnectionLost):
            await request
        with pytest.raises(rxws.FilterError):
            await ws.request("?", reply="id")  # type: ignore[arg-type]


async def test_exit_ends_what_waits() -> None:
    """Sends and requests that wait when the websocket exits raise instead of waiting on."""
    async with Server() as server:
        ws = await rxws.connect(server.url, backoff=QUICK)
        await server.stop(abort=True)
        await server.wait(lambda: ws.state is rxws.State.RECONNECTING)
        waiting = [
            asyncio.create_task(ws.send("never")),
            asyncio.create_task(ws.request("never", reply=None)),
        ]
        await asyncio.sleep(0)
        await ws.exit()
        outcome = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in outcome] == [rxws.ClosedError, rxws.ClosedError]
        with pytest.raises(rxws.ClosedError):
            await ws.send("after")


async def test_multiplex_survives_reconnect_and_rotation() -> None:
    """One subscription for two observers, again on each new connection, ended once at the end."""
    async with Server() as server:
        ws = rxws.connect(
            server.url, backoff=QUICK, handover=rxws.MakeBeforeBreak(overlap=0.05, drain=30)
        )
        book = ws.multiplex({"sub": "book"}, {"unsub": "book"}, [{"topic": "book"}])
        async with ws:
            first = await server.connection(1)
            got: list[Any] = []
            one = book.subscribe(got.append)
            two = book.subscribe(got.append)
            await server.wait(lambda: len(first.received) == 1)
            server.broadcast('{"topic":"book"}')
            server.broadcast('{"topic":"other"}')
            await server.wait(lambda: len(got) == 2)
            first.abort()
            second = await server.connection(2)
            await server.wait(lambda: second.received == ['{"sub":"book"}'])
            ws.rotate()
            third = await server.connection(3)
            await server.wait(lambda: third.received == ['{"sub":"book"}'])
            await server.wait(lambda: ws.state is rxws.State.OPEN)
            one.dispose()
            two.dispose()
            two.dispose()
            await server.wait(lambda: len(third.received) == 2)
            assert third.received == ['{"sub":"book"}', '{"unsub":"book"}']
            assert first.received == second.received == ['{"sub":"book"}']


async def test_no_stale_unsubscription_on_a_new_socket() -> None:
    """Observers that leave while there is no connection cost no message on the next one."""
    async with Server() as server, rxws.connect(server.url, backoff=QUICK) as ws:
        first = await server.connection(1)
        subscription = ws.multiplex("sub", "unsub").subscribe(print)
        await server.wait(lambda: first.received == ["sub"])
        await server.stop(abort=True)
        await server.wait(lambda: ws.state is rxws.State.RECONNECTING)
        subscription.dispose()
        other = ws.multiplex(lambda: "other", lambda: "not other").subscribe(print)
        await server.start()
        await ws.send("marker")
        second = server.connections[-1]
        await server.wait(lambda: "marker" in second.received)
        assert second.received == ["other", "marker"]
        other.dispose()


async def test_exit_ends_what_waits_behind_a_slow_reader() -> None:
    """Sends that wait behind a peer that does not read end with the exit, each with its report."""
    async with Server() as server:
        ws = await rxws.connect(server.url, exit_timeout=0.2, send_timeout=3600)
        (await server.connection(1)).stall()
        sends = [asyncio.create_task(ws.send("x" * 1_000_000)) for _ in range(20)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            await ws.exit()
            outcome = await asyncio.gather(*sends, return_exceptions=True)
        errors = [result for result in outcome if result is not rxws.Delivery.SENT]
        assert errors
        assert all(isinstance(e, rxws.ClosedError | rxws.ConnectionLost) for e in errors)
