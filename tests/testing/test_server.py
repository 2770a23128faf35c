"""The scripted server does what its scripts say, and ends in bounded time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    InvalidMessage,
    InvalidStatus,
)

from rxws.testing import Accept, Refuse, Reset, Server, Session, Silent


def connect(url: str, **options: Any) -> websockets_connect:
    """Return websockets' own client; it reads on when a test doesn't, or could not close."""
    return websockets_connect(url, proxy=None, compression=None, max_queue=None, **options)


class once(websockets_connect):  # noqa: N801 - used like connect
    """A client that follows no redirect."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def test_connections_are_counted_and_described() -> None:
    """Sessions have a number, a path and headers; those that ended are no longer live."""
    async with Server() as server:
        async with connect(server.url + "/a?x=1", additional_headers={"X-Key": "k"}):
            first = await server.connection(1)
            assert (first.number, first.path, first.headers["X-Key"]) == (1, "/a?x=1", "k")
            async with connect(server.url + "/b"):
                second = await server.connection(2)
                assert server.connections == [first, second]
            assert await second.wait_closed() == (1000, "")
            assert server.connections == [first] and first.closed is None
        await server.wait(lambda: not server.connections)
        assert server.accepted == 2 and [d.path for d in server.dials] == ["/a?x=1", "/b"]
        assert server.sessions == [first, second]


async def test_without_a_script_a_connection_stays_and_collects() -> None:
    """Messages are kept in ``received`` and returned one by one by ``next_message``."""
    async with Server() as server, connect(server.url) as client:
        session = await server.connection(1)
        await client.send("1")
        await client.send(b"2")
        assert [await session.next_message(), await session.next_message()] == ["1", b"2"]
        assert session.received == ["1", b"2"] and session.is_open
        with pytest.raises(TimeoutError, match="connection 1"):
            await session.next_message(timeout=0)
        await client.close()
        with pytest.raises(ConnectionClosed):
            await session.next_message()


async def test_a_script_talks_and_the_connection_outlives_it() -> None:
    """A script sends and receives; when it is done the connection stays open."""

    async def script(session: Session) -> None:
        await session.send("hello")
        await session.send(f"you said {await session.next_message()}")

    async with Server(script) as server, connect(server.url) as client:
        assert await client.recv() == "hello"
        await client.send("hi")
        assert await client.recv() == "you said hi"
        await client.send("more")
        await server.wait(lambda: server.sessions[0].received == ["hi", "more"])
        assert server.sessions[0].is_open


async def test_each_connection_has_its_script_and_the_last_repeats() -> None:
    """Of ``scripts`` the n-th goes with the n-th connection."""

    async def first(session: Session) -> None:
        await session.send("first")

    async def later(session: Session) -> None:
        await session.send("later")

    async with Server(scripts=[first, later]) as server:
        heard = []
        for _ in range(3):
            async with connect(server.url) as client:
                heard.append(await client.recv())
    assert heard == ["first", "later", "later"]
    with pytest.raises(ValueError, match="either"):
        Server(first, scripts=[later])


async def test_a_script_is_cancelled_when_its_connection_ends() -> None:
    """A script that waits for ever ends with its client."""
    ended = []

    async def script(session: Session) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(session.number)

    async with Server(script) as server:
        async with connect(server.url):
            await server.connection(1)
        await server.wait(lambda: ended == [1])


async def test_on_message_answers_plainly_or_as_a_coroutine() -> None:
    """The hook gets each message, in order; a coroutine function is awaited."""
    seen = []

    async def reply(session: Session, raw: Any) -> None:
        await session.send(raw * 2)

    async with Server(on_message=reply) as server, connect(server.url) as client:
        await client.send("ab")
        assert await client.recv() == "abab"
    keep = Server(on_message=lambda _, raw: seen.append(raw))
    async with keep as server, connect(server.url) as client:
        await client.send("1")
        await client.send("2")
        await server.wait(lambda: seen == ["1", "2"])


async def test_a_failing_script_closes_with_1011_and_raises_at_the_end() -> None:
    """What a script raises can't be missed: the block of the server raises it."""

    async def script(session: Session) -> None:
        assert await session.next_message() == "expected"

    with pytest.raises(AssertionError):  # noqa: PT012 - the block raises as it ends
        async with Server(script) as server, connect(server.url) as client:
            await client.send("unexpected")
            with pytest.raises(ConnectionClosedError) as caught:
                await client.recv()
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1011
            assert len(server.errors) == 1


async def test_several_failures_are_raised_together() -> None:
    """Two failures of ``on_message`` come as one group."""

    def fail(_: Session, raw: Any) -> None:
        raise KeyError(raw)

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block raises as it ends
        async with Server(on_message=fail) as server:
            for _ in range(2):
                async with connect(server.url) as client:
                    await client.send("x")
                    with pytest.raises(ConnectionClosedError):
                        await client.recv()
    assert [type(error) for error in caught.value.exceptions] == [KeyError, KeyError]


async def test_an_error_of_the_block_goes_before_that_of_a_script(
    loop_errors: list[dict[str, Any]],
) -> None:
    """The block's own error is raised; the script's goes to the loop's exception handler."""

    async def script(_: Session) -> None:
        raise KeyError

    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block raises as it ends
        async with Server(script) as server, connect(server.url):
            await server.wait(lambda: server.errors)
            raise ZeroDivisionError
    assert [type(report["exception"]) for report in loop_errors] == [KeyError]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 4001])
async def test_a_close_has_its_code_and_reason(code: int) -> None:
    """``close`` sends the Close frame asked for, and waits for the end."""
    async with Server() as server, connect(server.url) as client:
        session = await server.connection(1)
        await session.close(code, "why")
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, "why")
        assert not session.is_open and server.connections == []


async def test_an_abort_is_a_reset_and_a_kick_an_end_without_close() -> None:
    """The client sees a ConnectionResetError after ``abort``, and a bare EOF after ``kick``."""
    async with Server() as server:
        causes = []
        for number, end in enumerate((Session.abort, Session.kick), 1):
            async with connect(server.url) as client:
                session = await server.connection(number)
                end(session)
                with pytest.raises(ConnectionClosedError) as caught:
                    await client.recv()
                causes.append(caught.value.__cause__)
                assert await session.wait_closed() == (None, "")
        assert isinstance(causes[0], ConnectionResetError)
        assert not isinstance(causes[1], OSError)


async def test_raw_bytes_reach_the_client_as_they_are() -> None:
    """A frame with an illegal close code makes the client fail with 1002."""
    async with Server() as server, connect(server.url) as client:
        session = await server.connection(1)
        session.write_bytes(b"\x81\x02hi\x88\x02\x03\xe7")
        assert await client.recv() == "hi"
        with pytest.raises(ConnectionClosedError) as caught:
            await client.recv()
        assert caught.value.sent is not None and caught.value.sent.code == 1002


async def test_a_stalled_session_answers_nothing_until_it_goes_on() -> None:
    """Pings, broadcasts and sends wait for ``unstall``, and keep their order."""
    async with Server() as server, connect(server.url) as client:
        session = await server.connection(1)
        session.stall()
        pong = await client.ping()
        await client.send("unread")
        server.broadcast("1")
        server.broadcast("2")
        sending = asyncio.create_task(session.send("3"))
        done, _ = await asyncio.wait({asyncio.ensure_future(client.recv()), pong}, timeout=0.1)
        assert not done and not session.received and session.stalled
        session.unstall()
        await pong
        await sending
        assert await session.next_message() == "unread"
        # The first message went to the recv that was left waiting.
        assert [await client.recv(), await client.recv()] == ["2", "3"]


async def test_a_broadcast_reaches_every_open_connection() -> None:
    """Text stays text, bytes stay bytes, of every size class of frames."""
    messages = ["x", b"y", "é" * 100, b"z" * 70_000]
    async with Server() as server, connect(server.url) as one, connect(server.url) as two:
        await server.connection(2)
        for message in messages:
            server.broadcast(message)
        for client in (one, two):
            assert [await client.recv() for _ in messages] == messages


async def test_prepared_messages_arrive_whole_and_in_order() -> None:
    """``send_all`` is as fast as the client takes them, and loses nothing."""
    raws = [f'{{"n":{n}}}' for n in range(20_000)]
    async with Server() as server, connect(server.url) as client:
        session = await server.connection(1)
        sending = asyncio.create_task(session.send_all(raws))
        assert [await client.recv() for _ in raws] == raws
        await sending
        await client.close()
        with pytest.raises(ConnectionClosed):
            await session.send_all(raws)


async def test_compression_may_be_asked_for() -> None:
    """With options of websockets, such as compression, everything still arrives."""
    async with (
        Server(compression="deflate") as server,
        websockets_connect(server.url, proxy=None) as client,
    ):
        session = await server.connection(1)
        await session.send_all(["1", "2"])
        server.broadcast("3")
        assert [await client.recv() for _ in range(3)] == ["1", "2", "3"]
        assert "permessage-deflate" in str(client.response)


async def test_handshakes_are_answered_as_prepared() -> None:
    """Statuses with headers and body, a reset, and then connections again."""
    async with Server() as server:
        server.answer(401, Refuse(429, {"Retry-After": "7"}, "slow down"))
        server.answer(Refuse(302, {"Location": "ws://elsewhere/"}), Refuse(599), Reset(), Accept())
        answers = []
        for _ in range(4):
            with pytest.raises(InvalidStatus) as caught:
                await once(server.url, proxy=None)
            response = caught.value.response
            answers.append(response.status_code)
            if response.status_code == 429:
                assert response.headers["Retry-After"] == "7" and response.body == b"slow down"
            if response.status_code == 302:
                assert response.headers["Location"] == "ws://elsewhere/"
        assert answers == [401, 429, 302, 599]
        with pytest.raises((ConnectionResetError, InvalidMessage)):
            await connect(server.url)
        for _ in range(2):
            async with connect(server.url):
                pass
        assert len(server.dials) == 7 and server.accepted == 2


async def test_a_silent_handshake_is_never_answered() -> None:
    """The client times out, and neither it nor the server's end hangs."""
    async with Server() as server:
        server.answer(Silent(), Silent())
        with pytest.raises(TimeoutError):
            await connect(server.url, open_timeout=0.5)
        url = f"{server.url}/waiting"
        waiting = asyncio.ensure_future(connect(url, open_timeout=None).__aenter__())
        await server.wait(lambda: server.dials and server.dials[-1].path == "/waiting")
    with pytest.raises((ConnectionResetError, InvalidMessage)):
        await waiting


@pytest.mark.parametrize("abort", [False, True])
async def test_a_stopped_server_refuses_and_comes_back_on_its_port(*, abort: bool) -> None:
    """``stop`` ends connections with 1001, or by reset; the port refuses; ``start`` reopens it."""
    async with Server() as server:
        url = server.url
        async with connect(url) as client:
            await server.connection(1)
            await server.stop(abort=abort)
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert (caught.value.rcvd is None) is abort
        await server.stop()
        for _ in range(100):
            with pytest.raises(ConnectionRefusedError):
                await connect(url)
        await server.start()
        assert server.url == url
        with pytest.raises(RuntimeError, match="already"):
            await server.start()
        async with connect(url):
            assert (await server.connection(2)).number == 2


async def test_the_end_is_bounded_with_clients_that_do_not_read() -> None:
    """Clients that stall, with full buffers, and stalled sessions don't hold the server up."""
    async with asyncio.timeout(120):
        server = Server()
        async with server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            first = await server.connection(1)
            writer.transport.pause_reading()
            for _ in range(50):
                server.broadcast(b"x" * 1_000_000)
            sending = asyncio.create_task(first.send_all([b"x" * 1_000_000]))
            client = await connect(server.url)
            (await server.connection(2)).stall()
            before = time.monotonic()
        assert time.monotonic() - before < 60
        for ended in (sending, client.recv()):
            with pytest.raises(ConnectionClosedError):
                await ended
        writer.transport.abort()


async def test_a_feed_is_numbered_and_its_log_is_exact() -> None:
    """Each connection gets a run of numbers without a hole, exactly as the log says."""
    async with Server() as server:
        feed = server.feed(2000, str)
        async with connect(server.url) as one, connect(server.url) as two:
            await server.wait(lambda: all(len(s.fed) > 100 for s in server.sessions[:2]))
            await server.connection(2)
            await server.wait(lambda: len(server.sessions[1].fed) > 100)
            feed.pause()
            assert feed.paused
            log = server.log
            assert log.numbers == range(1, log.numbers.stop)
            for number, client in enumerate((one, two), 1):
                expected = log.connections[number]
                assert expected[-1] == log.numbers[-1]
                assert [int(await client.recv()) for _ in expected] == list(expected)
            feed.resume()
            assert int(await one.recv()) == log.numbers.stop
        with pytest.raises(RuntimeError, match="already"):
            server.feed(1)
        feed.stop()
        last = server.log.numbers.stop
        server.feed(1000, str)
        await server.wait(lambda: server.log.numbers.stop > last)


async def test_a_feed_goes_on_while_the_server_is_down() -> None:
    """What is sent while nobody can connect is in the log, and on no connection."""
    async with Server() as server:
        server.feed(1000)
        await server.stop()
        await server.wait(lambda: len(server.log.numbers) > 20)
        await server.start()
        async with connect(server.url) as client:
            await client.recv()
        assert server.log.connections[1].start > 20


async def test_a_stalled_session_is_fed_later_without_a_hole() -> None:
    """The log counts what was held only once it is sent."""
    async with Server() as server, connect(server.url) as client:
        session = await server.connection(1)
        session.stall()
        feed = server.feed(1000, str)
        await server.wait(lambda: len(server.log.numbers) > 20)
        assert not session.fed
        session.unstall()
        feed.stop()
        assert session.fed == server.log.numbers
        assert [int(await client.recv()) for _ in session.fed] == list(session.fed)


async def test_a_failing_feed_is_raised_at_the_end() -> None:
    """What ``make`` raises is not lost."""

    def make(n: int) -> str:
        raise KeyError(n)

    with pytest.raises(KeyError):  # noqa: PT012 - the block raises as it ends
        async with Server() as server:
            server.feed(100, make)
            await server.wait(lambda: server.errors)
    with pytest.raises(ValueError, match="rate"):
        async with Server() as server:
            server.feed(0)


async def test_waiting_is_bounded_and_says_for_what() -> None:
    """A condition that never comes true is a TimeoutError with its name."""
    async with Server() as server:
        with pytest.raises(TimeoutError, match=r"^rain: not within 0.02 s$"):
            await server.wait(lambda: False, 0.02, what="rain")
        with pytest.raises(TimeoutError, match="connection 3"):
            await server.connection(3, timeout=0)
