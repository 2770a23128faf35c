"""The relay does to real connections what it is told, loses nothing else, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import rxws
from rxws.testing import (
    Bandwidth,
    Latency,
    LimitData,
    Relay,
    ResetPeer,
    Server,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

PATIENCE = 20.0
"""Seconds in which what must happen happens, also on a loaded machine."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back, and end when the client ends."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


@contextlib.asynccontextmanager
async def relayed(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = echo,
    **options: Any,
) -> AsyncIterator[Relay]:
    """Give a relay before a plain TCP server."""
    tasks = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server, asyncio.timeout(2 * PATIENCE):
        port = server.sockets[0].getsockname()[1]
        async with Relay(f"tcp://127.0.0.1:{port}", **options) as relay:
            yield relay
        # By a timer, which comes when what was accepted has been taken up: then it may close.
        await asyncio.sleep(1e-6)
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE)


@contextlib.asynccontextmanager
async def client(relay: Relay) -> AsyncIterator[Streams]:
    """Give a plain TCP connection through the relay."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def time() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


async def nothing(reader: asyncio.StreamReader) -> None:
    """Make sure that nothing is there, nor comes within a moment."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            pytest.fail(f"arrived: {await reader.read(1)!r}")


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Return everything until the end, or until a reset."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while more := await reader.read(65_536):
            data += more
    return bytes(data)


async def until_reset(reader: asyncio.StreamReader) -> None:
    """Read until the connection is reset."""
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1_000_000)


# -- as it is --------------------------------------------------------------------------------------


async def test_bytes_pass_as_they_are_both_ways() -> None:
    """Megabytes come back equal, and the half that the client ended does not end the other."""
    data = bytes(range(256)) * 20_000
    async with relayed() as relay, client(relay) as (reader, writer):
        writer.write(data)
        writer.write_eof()
        assert await to_the_end(reader) == data
        await relay.wait(lambda: not relay.connections, PATIENCE)
        assert relay.accepted == 1


def test_the_url_is_the_servers_with_another_place() -> None:
    """Scheme, user, path and query stay; a port is known, or asked for."""
    for url, through in {
        "ws://user:pw@example.com/a/b?c=d": "ws://user:pw@127.0.0.1:0/a/b?c=d",
        "wss://example.com": "wss://127.0.0.1:0",
        "tcp://[::1]:9": "tcp://127.0.0.1:0",
    }.items():
        assert Relay(url).url == through
    for wrong in ("tcp://example.com", "example.com", "/path"):
        with pytest.raises(ValueError, match="missing"):
            Relay(wrong)


async def test_path_and_messages_go_through() -> None:
    """A websocket through the relay reaches the server as without."""
    async with Server() as server, Relay(server.url + "/a?x=1") as relay:
        async with rxws.connect(relay.url) as ws:
            session = await server.connection(1)
            assert session.path == "/a?x=1" and len(relay.connections) == 1
            await ws.send({"n": 1})
            assert await session.next_message(PATIENCE) == '{"n":1}'
        await relay.wait(lambda: not relay.connections, PATIENCE)


async def test_a_server_that_is_not_there_is_a_reset() -> None:
    """What can't be reached ends the connection, and not the relay."""
    async with Server() as server, Relay(server.url) as relay:
        await server.stop()
        for _ in range(2):
            async with client(relay) as (reader, _):
                with pytest.raises(ConnectionResetError):
                    await reader.read(1)
        await server.start()
        async with rxws.connect(relay.url):
            assert relay.accepted == 3


# -- toxics ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stream", "least"), [("upstream", 0.1), ("both", 0.2)])
async def test_latency_of_one_way_or_both(stream: Any, least: float) -> None:
    """An echo takes the latency of each way that has one; a new connection has it too."""
    async with relayed() as relay, client(relay) as (reader, writer):
        relay.add(Latency(0.1), stream=stream)
        async with client(relay) as (reader2, writer2):
            for r, w in ((reader, writer), (reader2, writer2)):
                start = time()
                w.write(b"x")
                assert await r.readexactly(1) == b"x"
                assert time() - start > 0.95 * least


async def test_bandwidth_takes_its_time() -> None:
    """20 kB at 100 kB/s are not there before 0.2 s, and then are."""
    async with relayed() as relay, client(relay) as (reader, writer):
        relay.add(Bandwidth(100_000), stream="downstream")
        start = time()
        writer.write(b"x" * 20_000)
        await reader.readexactly(20_000)
        assert time() - start > 0.19


async def test_a_sender_feels_a_relay_that_stands_still() -> None:
    """Behind a narrow relay TCP's own flow control holds the sender, and nothing is lost."""
    sent = 0
    size = 2**26

    async def source(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < size:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with relayed(source) as relay:
        narrow = relay.add(Bandwidth(1000))
        async with client(relay) as (reader, _):
            before = -1
            while sent > before or not sent:
                before = sent
                await asyncio.sleep(0.3)
            assert sent < size
            relay.remove(narrow)
            assert len(await to_the_end(reader)) == size


async def test_a_slow_close_is_late_but_the_bytes_are_not() -> None:
    """The client has the answer at once, and the end after the delay."""
    async with relayed() as relay, client(relay) as (reader, writer):
        relay.add(SlowClose(0.3), stream="downstream")
        start = time()
        writer.write(b"x")
        writer.write_eof()
        assert await reader.readexactly(1) == b"x"
        assert await reader.read() == b"" and time() - start > 0.29


async def test_a_timeout_ends_without_a_byte() -> None:
    """Nothing comes back, and after the timeout both sides see the end."""
    async with relayed() as relay, client(relay) as (reader, writer):
        start = time()
        relay.add(Timeout(0.3))
        writer.write(b"x")
        assert await to_the_end(reader) == b"" and time() - start > 0.29


@pytest.mark.parametrize("timeout", [0.0, 0.2])
async def test_a_reset_by_the_peer_is_one_at_the_client(timeout: float) -> None:
    """``ResetPeer`` gives a ConnectionResetError, to open connections and to new ones."""
    async with relayed() as relay, client(relay) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        relay.add(ResetPeer(timeout))
        await until_reset(reader)
        start = time()
        async with client(relay) as (reader2, _):
            await until_reset(reader2)
            assert time() - start > 0.95 * timeout


async def test_slices_are_the_same_bytes() -> None:
    """What is sent in slices arrives equal, in more reads than one."""
    data = bytes(range(256)) * 40
    async with relayed() as relay, client(relay) as (reader, writer):
        relay.add(Slicer(1000, size_variation=500, delay=0.001))
        writer.write(data)
        writer.write_eof()
        reads = []
        while part := await reader.read(65_536):
            reads.append(part)
        assert b"".join(reads) == data and len(reads) > 1


@pytest.mark.parametrize("limit", [1, 1000, 200_000])
async def test_a_limit_cuts_after_exactly_so_many_bytes(limit: int) -> None:
    """The client gets ``bytes`` bytes and the end; a new connection has its own count."""

    async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1_000_000)
        await reader.read()

    async with relayed(source) as relay:
        relay.add(LimitData(limit), stream="downstream")
        for _ in range(2):
            async with client(relay) as (reader, _):
                assert await reader.read() == b"x" * limit


async def test_toxics_work_together_in_their_order() -> None:
    """Sliced, slow and late bytes are the same bytes, up to the limit."""
    data = bytes(range(250)) * 40
    async with relayed(seed=7) as relay, client(relay) as (reader, writer):
        toxics: list[Toxic] = [
            Slicer(100, size_variation=50),
            Latency(0.02, jitter=0.02),
            Bandwidth(1_000_000),
            LimitData(9_999),
        ]
        for toxic in toxics:
            relay.add(toxic, stream="downstream")
        assert relay.toxics == toxics
        writer.write(data)
        assert await reader.read() == data[:9_999]


@pytest.mark.parametrize(
    "toxic", [Latency(1000), Bandwidth(1), Slicer(1, delay=1000), Timeout(1000), Timeout()]
)
async def test_what_a_toxic_holds_arrives_when_it_is_removed(toxic: Toxic) -> None:
    """Bytes that would have taken for ever are there, and the connection is as before."""
    data = b"0123456789" * 1000
    async with relayed() as relay, client(relay) as (reader, writer):
        assert relay.add(toxic) is toxic
        writer.write(data)
        with pytest.raises(TimeoutError):
            # What it may have got by then it leaves for the next.
            await asyncio.wait_for(reader.readexactly(100), 0.1)
        relay.remove(toxic)
        writer.write(data)
        writer.write_eof()
        assert await to_the_end(reader) == data * 2
        with pytest.raises(ValueError, match="not at work"):
            relay.remove(toxic)


async def test_clearing_takes_out_all() -> None:
    """Several toxics, the same one twice among them, are gone at once."""
    async with relayed() as relay, client(relay) as (reader, writer):
        relay.add(Latency(1000), stream="upstream")
        relay.add(Timeout())
        relay.add(Latency(1000), stream="downstream")
        relay.add(Latency(1000), stream="upstream")
        writer.write(b"x")
        await nothing(reader)
        relay.clear()
        assert await reader.readexactly(1) == b"x" and relay.toxics == []
        with pytest.raises(ValueError, match="unknown stream"):
            relay.add(Timeout(), stream="sideways")  # type: ignore[arg-type]


# -- at once ---------------------------------------------------------------------------------------


async def test_a_stall_that_heals_loses_nothing() -> None:
    """1000 numbered messages, sent before, in and after a stall, arrive on one connection."""
    async with Server() as server, Relay(server.url) as relay:
        async with rxws.connect(relay.url) as ws:
            await server.connection(1)
            seen: list[int] = []
            ws.subscribe(seen.append)
            for number in range(1000):
                if number == 200:
                    await server.wait(lambda: len(seen) == 200, PATIENCE)
                    relay.stall()
                    relay.stall()
                server.broadcast(str(number))
                if number == 800:
                    await asyncio.sleep(0.1)
                    assert seen == list(range(200))
                    relay.heal()
                    relay.heal()
            await server.wait(lambda: len(seen) == 1000, PATIENCE)
            assert seen == list(range(1000))
            assert server.accepted == relay.accepted == 1


async def test_a_new_connection_stalls_too() -> None:
    """In a stall a connection is accepted, but nobody answers; healed, it goes on."""
    async with relayed() as relay:
        relay.stall()
        async with client(relay) as (reader, writer):
            writer.write(b"x")
            await nothing(reader)
            relay.heal()
            assert await reader.readexactly(1) == b"x"


async def test_a_cut_is_a_bare_end_of_one_connection_or_of_all() -> None:
    """Both sides see EOF; a connection that was not meant goes on."""
    async with relayed() as relay, client(relay) as one, client(relay) as two:
        for reader, writer in (one, two):
            writer.write(b"x")
            await reader.readexactly(1)
        first, second = relay.connections
        assert (first.number, second.number) == (1, 2)
        first.cut()
        assert not first.is_open and relay.connections == [second]
        assert await one[0].read() == b""
        two[1].write(b"y")
        assert await two[0].readexactly(1) == b"y"
        relay.cut()
        assert relay.connections == [] and await two[0].read() == b""


async def test_a_reset_is_a_reset_of_one_connection_or_of_all() -> None:
    """The client sees a ConnectionResetError."""
    async with relayed() as relay, client(relay) as one, client(relay) as two:
        for reader, writer in (one, two):
            writer.write(b"x")
            await reader.readexactly(1)
        relay.connections[1].reset()
        with pytest.raises(ConnectionResetError):
            await two[0].read(1)
        relay.reset()
        with pytest.raises(ConnectionResetError):
            await one[0].read(1)
        await relay.wait(lambda: relay.accepted == 2 and not relay.connections, PATIENCE)


async def test_a_reset_of_one_side_resets_the_other() -> None:
    """The relay tells the client of a reset by the server as one."""
    async with Server() as server, Relay(server.url) as relay, client(relay) as (reader, writer):
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b"101" in await reader.readline()
        (await server.connection(1)).abort()
        await until_reset(reader)


@pytest.mark.parametrize("end", [Relay.cut, Relay.reset])
async def test_a_websocket_survives_the_relays_faults(end: Callable[[Relay], None]) -> None:
    """A websocket sees the end as a lost connection, and comes back through the same relay."""
    async with Server() as server, Relay(server.url) as relay:
        backoff = rxws.Backoff(initial=0.01, maximum=0.01)
        async with rxws.connect(relay.url, backoff=backoff) as ws:
            events: list[rxws.Event] = []
            ws.events.subscribe(events.append)
            seen: list[int] = []
            ws.subscribe(seen.append)
            await server.connection(1)
            end(relay)
            await server.connection(2, PATIENCE)
            server.broadcast("1")
            await server.wait(lambda: seen == [1], PATIENCE)
            lost = [event for event in events if isinstance(event, rxws.Disconnected)]
            assert [event.code for event in lost] == [None]


async def test_down_refuses_new_connections_only() -> None:
    """The port refuses until ``up``, the same port, and an open connection stays."""
    async with relayed() as relay, client(relay) as (reader, writer):
        url = relay.url
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        for _ in range(2):
            await relay.down()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        for _ in range(2):
            await relay.up()
        assert relay.url == url
        async with client(relay) as (reader2, writer2):
            writer2.write(b"z")
            assert await reader2.readexactly(1) == b"z"


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "toxics", [[], [Timeout()], [Latency(1000)], [Bandwidth(1)], [SlowClose(1000), Timeout(1000)]]
)
async def test_leaving_ends_everything_at_once(toxics: list[Toxic]) -> None:
    """Connections open, full, half-closed, stalled, cut and just made leave nothing behind."""
    async with contextlib.AsyncExitStack() as stack:
        async with relayed() as relay:
            for toxic in toxics:
                relay.add(toxic)
            clients = [await stack.enter_async_context(client(relay)) for _ in range(4)]
            for _, writer in clients[:2]:
                writer.write(b"x" * 5_000_000)
            clients[1][1].write_eof()
            await relay.wait(lambda: len(relay.connections) == 4, PATIENCE)
            relay.connections[2].cut()
            await stack.enter_async_context(client(relay))
        assert relay.connections == []
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", relay.port)
        for _, writer in clients:
            # They have more to say than anybody takes.
            writer.transport.abort()


async def test_a_cancelled_block_leaves_nothing_behind() -> None:
    """Wherever it is cancelled, also as it begins and while it dials, the relay is gone."""

    async def run(url: str) -> None:
        async with Relay(url) as relay:
            relay.add(Latency(0.001))
            async with client(relay) as (reader, writer):
                while True:
                    writer.write(b"x" * 1000)
                    await reader.readexactly(1000)

    async with relayed() as relay:
        for step in range(60):
            task = asyncio.create_task(run(relay.url))
            for _ in range(step):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
