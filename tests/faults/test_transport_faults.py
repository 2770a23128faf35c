"""Section A of the faults: connections that break off after the handshake, or fall silent.

F11 is in test_handshakes.py. A fault can't be lossless; so what is compared with the server's log
is this: what came before the fault was delivered, nothing came twice or out of order, and between
two numbers that don't follow one another there is one `Gap`, and there only.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rxws
from rxws.testing import FakeLink, Relay, Server, Session
from rxws.testing.feed import frame
from tests.faults.continuity import (
    QUICK,
    Feed,
    Seen,
    becomes,
    feeding,
    give,
    now,
    number_of,
    whole,
)
from tests.faults.test_handshakes import certified
from tests.virtual import connected, turns, virtual

HALF = b"\x82\x7e\x03\xe8" + b"x" * 100  # 100 bytes of a frame of 1,000
FRAGMENT = b'\x01\x05{"n":'  # the first half of a message, in a frame that is whole


def messages(first: int, last: int) -> list[str]:
    """Return numbered messages."""
    return [f'{{"n":{number}}}' for number in range(first, last + 1)]


def is_half_read(ws: rxws.ReactiveWebSocket[Any]) -> bool:
    """Return whether a part of a frame has arrived."""
    link: Any = next(iter(ws._driver.pool)).link
    return link.unfinished is not None


async def broken_off(
    server: Server,
    end: Callable[[Session], None],
    before_end: bytes = b"",
    **options: Any,
) -> Seen:
    """Let a connection end in the midst of a feed; return what was seen of it and of the next."""
    ws = rxws.connect(server.url, backoff=QUICK, **options)
    seen = Seen(ws)
    async with ws:
        first = await server.connection(1)
        await first.send_all(messages(1, 50))
        await server.wait(lambda: len(seen.numbers) == 50)
        if before_end:
            first.write_bytes(before_end)
            await server.wait(lambda: is_half_read(ws) or before_end is FRAGMENT)
        end(first)
        second = await server.connection(2)
        await second.send_all(messages(101, 150))
        await server.wait(lambda: len(seen.numbers) == 100)
    assert seen.line == [*range(1, 51), "gap", *range(101, 151)]
    assert [gap.epoch for gap in seen.gaps] == [1]
    assert seen.of(rxws.Disconnected) == [rxws.Disconnected(1, None, "")]
    assert seen.of(rxws.ParseFailed) == []
    return seen


async def test_f01_reset_while_idle() -> None:
    """After a RST all that came before was delivered, and one gap says that it was a reset."""
    async with Server() as server:
        seen = await broken_off(server, Session.abort)
    assert "reset" in seen.gaps[0].reason.lower()


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), EOFError("end"), None])
def test_f01_the_next_dial_is_within_the_first_step_of_the_backoff(
    error: Exception | None,
) -> None:
    """However a stable connection breaks off, the next is dialled within a second, by default."""

    @virtual
    async def run() -> None:
        async with connected() as (_, peer):
            await asyncio.sleep(60)
            lost = now()
            peer.last.lose(error=error)
            await peer.link(2)
            assert peer.dials[1].time - lost <= 1

    run()


async def test_f02_reset_in_the_midst_of_a_frame() -> None:
    """A RST after a tenth of a frame: no part of it is ever a message."""
    async with Server() as server:
        seen = await broken_off(server, Session.abort, HALF)
    assert "reset" in seen.gaps[0].reason.lower()


async def test_f03_end_without_a_close_frame() -> None:
    """A FIN alone is no orderly end: it has no code, and the gap says so."""
    async with Server() as server:
        seen = await broken_off(server, Session.kick)
    assert "end of stream" in seen.gaps[0].reason


@pytest.mark.parametrize("part", [HALF, FRAGMENT], ids=["frame", "message"])
async def test_f04_end_in_the_midst_of_a_message(part: bytes) -> None:
    """A FIN within a frame, or between the frames of a message: no part of it is a message."""
    async with Server() as server:
        seen = await broken_off(server, Session.kick, part)
    assert "stream" in seen.gaps[0].reason


@pytest.mark.parametrize("size", [200, 10_000])
async def test_f05_closed_with_bytes_of_ours_unread(size: int) -> None:
    """A server closes and has not read all: what could be read of it is delivered, then a gap.

    The socket that it closes is reset: what the RST destroys nobody can read.
    """
    read = 0
    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK, parse=lambda raw: {"n": int(raw.split()[0])})
        seen = Seen(ws)
        async with ws:
            take = ws.present_ws.data_received

            def note(data: bytes) -> None:
                nonlocal read
                read += len(data)
                take(data)

            ws.present_ws.data_received = note
            first = await server.connection(1)
            first.stall()
            for _ in range(20):
                await ws.send("unread")
            frames = [frame(f"{number} ".ljust(size)) for number in range(1, 501)]
            for each in frames:
                first.write_bytes(each)
            first.write_bytes(b"\x88\x02\x03\xe8")
            first.kick()
            second = await server.connection(2)
            await second.send("1001")
            await server.wait(lambda: 1001 in seen.numbers)
    before = min(read // len(frames[0]), 500)
    assert seen.line == [*range(1, before + 1), "gap", 1001]
    (lost,) = seen.of(rxws.Disconnected)
    has_close = read > len(b"".join(frames))
    assert lost.code == (1000 if has_close else None)


@virtual
async def test_f05_nothing_is_sent_on_a_connection_that_is_being_closed() -> None:
    """Once a rotation has decided to close the old connection, nothing is sent on it any more."""
    async with connected() as (ws, peer):
        first, at_close = peer.last, []
        close = first.close

        async def noting(*args: Any, **kwargs: Any) -> None:
            at_close.append(len(first.sent))
            await close(*args, **kwargs)

        first.close = noting  # type: ignore[method-assign]
        first.answer_close = False
        ws.rotate()
        sent = 0
        while ws.stats().rotations == 0:
            await ws.send(sent)
            sent += 1
            await asyncio.sleep(0.01)
        assert at_close == [len(first.sent)]
        assert [*peer.sent(1), *peer.sent(2)] == list(range(sent))


async def test_f06_no_consumer_keeps_the_socket_from_being_read() -> None:
    """Though two consumers stand still, not more is unread than one read: a RST destroys no more.

    What waits between the socket and the observers is one read, and what the queue of the
    connection holds: 16 messages, by default.
    """
    size, unread, most, largest = 10_000, 0, 0, 0
    never = asyncio.Event()

    async def stuck(_: Any) -> None:
        await never.wait()

    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK, heartbeat=None)
        seen = Seen(ws)
        forgotten = ws.stream_filter()
        ws.add_handler(stuck)
        async with ws:
            connection = ws.present_ws
            take = connection.data_received

            def note(data: bytes) -> None:
                nonlocal unread, most, largest
                unread += len(data)
                most, largest = max(most, unread), max(largest, len(data))
                take(data)

            def handed_on(_: Any) -> None:
                nonlocal unread
                unread -= size + 4

            connection.data_received = note
            ws.subscribe(handed_on)
            first = await server.connection(1)
            await first.send_all([f'{{"n":{n}}}'.ljust(size) for n in range(1, 501)])
            await server.wait(lambda: len(seen.numbers) == 500)
            first.abort()
            second = await server.connection(2)
            await second.send('{"n":1001}')
            await server.wait(lambda: len(seen.numbers) == 501)
        assert seen.line == [*range(1, 501), "gap", 1001]
        assert most <= largest + 17 * (size + 4)
        await forgotten.close()
        never.set()


async def test_f07_tls_that_ends_without_its_goodbye(tmp_path: Path) -> None:
    """TLS that is cut off without close_notify is no orderly end: no code, and a gap."""
    certificate = certified(tmp_path)
    async with Server(ssl=certificate.server) as server, Relay(server.url) as relay:
        ws = rxws.connect(relay.url, backoff=QUICK, ssl=certificate.client)
        seen = Seen(ws)
        async with ws:
            first = await server.connection(1)
            await first.send_all(messages(1, 50))
            await server.wait(lambda: len(seen.numbers) == 50)
            relay.cut()
            second = await server.connection(2)
            await second.send_all(messages(101, 150))
            await server.wait(lambda: len(seen.numbers) == 100)
        assert seen.line == [*range(1, 51), "gap", *range(101, 151)]
        assert seen.of(rxws.Disconnected) == [rxws.Disconnected(1, None, "")]


async def test_f08_a_blackhole_shorter_than_the_heartbeat_loses_nothing() -> None:
    """A stall that is over before the connection counts as dead costs no message and no gap."""
    heartbeat = rxws.Heartbeat(interval=1.0, timeout=1.0)
    async with Server() as server, Relay(server.url) as relay:
        ws = rxws.connect(relay.url, heartbeat=heartbeat, backoff=QUICK, key=number_of)
        seen = Seen(ws)
        async with ws:
            feed = server.feed(200)
            await server.wait(lambda: len(seen.numbers) >= 100)
            relay.stall()
            await asyncio.sleep(1.2)
            relay.heal()
            stalled = server.log.numbers[-1]
            await server.wait(lambda: seen.numbers[-1] >= stalled + 100)
            feed.stop()
            last = server.log.numbers[-1]
            await server.wait(lambda: seen.numbers[-1] == last)
            assert ws.stats().reconnects == 0
        whole(seen.numbers, 1, last)
        assert seen.gaps == []


@pytest.mark.parametrize("by", ["key", "sequence"])
async def test_f08_a_blackhole_that_heals_while_the_connection_is_suspected(by: str) -> None:
    """A connection that recovers beside its successor is spliced with it: 0 lost, 0 doubled."""
    heartbeat = rxws.Heartbeat(interval=0.2, timeout=5.0)
    identity: dict[str, Any] = {by: number_of}
    async with Server() as server, Relay(server.url) as relay:
        urls = itertools.chain([relay.url], itertools.repeat(server.url))
        ws = rxws.connect(
            lambda: next(urls),
            heartbeat=heartbeat,
            backoff=QUICK,
            handover=rxws.MakeBeforeBreak(overlap=0.2),
            **identity,
        )
        seen = Seen(ws)
        async with ws:
            server.feed(200)
            await server.wait(lambda: len(seen.numbers) >= 100)
            relay.stall()
            await server.wait(lambda: rxws.Connected(2) in seen.events)
            before = len(seen.numbers)
            relay.heal()
            await server.wait(lambda: ws.stats().rotations == 1)
            assert len(seen.numbers) > before
            last = server.log.numbers[-1]
            await server.wait(lambda: seen.numbers[-1] >= last)
            assert ws.stats().reconnects == 0
        whole(seen.numbers, 1, seen.numbers[-1])
        assert seen.gaps == []
        assert server.accepted == 2


class Hole:
    """A packet blackhole on one connection: what is sent into it comes out when it heals."""

    def __init__(self, link: FakeLink) -> None:
        self._link = link
        self._deliver = link.deliver
        self._inside: list[Any] = []
        link.deliver = lambda *raws: self._inside.extend(raws)  # type: ignore[method-assign]
        link.answer_pings = link.answer_close = False

    def heal(self) -> None:
        """Let out what is inside."""
        self._link.deliver = self._deliver  # type: ignore[method-assign]
        self._link.answer_pings = self._link.answer_close = True
        self._link.deliver(*self._inside)


@pytest.mark.parametrize("by", ["key", "sequence", "bytes"])
@pytest.mark.parametrize(
    ("outage", "rate"),
    [(5, 2), (9.5, 2), (12, 20), (14.9, 2), (15.2, 2), (17, 2), (17, 50), (19.5, 2)],
)
def test_f08_blackholes_of_every_length_that_heal(outage: float, by: str, rate: float) -> None:
    """At the defaults, a blackhole of less than 20 s loses, doubles and reorders nothing."""

    @virtual
    async def run() -> None:
        identity: dict[str, Any] = {} if by == "bytes" else {by: number_of}
        async with connected(**identity) as (ws, peer):
            seen = Seen(ws)
            async with feeding(Feed(peer, rate)) as feed:
                await asyncio.sleep(12.001)
                hole = Hole(peer.last)
                await asyncio.sleep(outage)
                assert len(peer.links) == (1 if outage < 15 else 2)
                hole.heal()
                await asyncio.sleep(15)
            whole(seen.numbers, 0, feed.last)
            assert seen.gaps == []
            assert ws.stats().reconnects == 0
            assert len(peer.open_links) == 1

    run()


async def test_f09_half_open_for_ever() -> None:
    """Of a connection that swallows everything, what is missing is in one gap, to the number."""
    heartbeat = rxws.Heartbeat(interval=0.3, timeout=0.5)
    async with Server() as server, Relay(server.url) as relay:
        urls = itertools.chain([relay.url], itertools.repeat(server.url))
        ws = rxws.connect(
            lambda: next(urls), heartbeat=heartbeat, backoff=QUICK, sequence=number_of
        )
        seen = Seen(ws)
        async with ws:
            server.feed(200)
            await server.wait(lambda: len(seen.numbers) >= 100)
            relay.stall()
            await server.wait(lambda: seen.gaps)
            last = server.log.numbers[-1]
            await server.wait(lambda: seen.numbers[-1] >= last)
        (gap,) = seen.gaps
        at = seen.line.index("gap")
        before, after = seen.line[:at], seen.line[at + 1 :]
        whole(before, 1, before[-1])
        whole(after, after[0], after[-1])
        assert gap.missing == range(before[-1] + 1, after[0])
        assert after[0] == server.log.connections[2].start
        assert "no sign of life" in gap.reason


@virtual
async def test_f09_recovery_takes_no_longer_than_the_detection() -> None:
    """At the defaults a feed goes on within 21 s, of which nothing after the suspicion is lost."""
    async with connected(sequence=number_of) as (ws, peer):
        seen = Seen(ws)
        async with feeding(Feed(peer, 50)) as feed:
            await asyncio.sleep(12.001)
            Hole(peer.last)
            began = now()
            await becomes(lambda: bool(seen.gaps))
            assert now() - began <= 21
            opened = peer.dials[1].time - began
            await asyncio.sleep(5)
        (gap,) = seen.gaps
        assert gap.missing is not None
        assert len(gap.missing) <= opened * 50 + 1
        missing = set(range(feed.last + 1)) - set(seen.numbers)
        assert missing == set(gap.missing)
        assert len(seen.numbers) + len(missing) == feed.last + 1
        assert seen.numbers == sorted(seen.numbers)
        assert ws.stats().reconnects == 1


async def test_f10_a_server_that_restarts() -> None:
    """However many dials a restart takes, there is one gap, and every subscription is renewed."""
    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK, subscribe=["all"])
        seen = Seen(ws)
        async with ws:
            topic = ws.multiplex("topic", "not topic").subscribe(lambda _: None)
            first = await server.connection(1)
            await server.wait(lambda: len(first.received) == 2)
            await first.send_all(messages(1, 50))
            await server.wait(lambda: len(seen.numbers) == 50)
            await server.stop(abort=True)
            await server.wait(lambda: len(seen.of(rxws.ConnectFailed)) >= 3)
            await server.start()
            second = await server.connection(2)
            await server.wait(lambda: len(second.received) == 2)
            await second.send_all(messages(101, 150))
            await server.wait(lambda: len(seen.numbers) == 100)
            topic.dispose()
        assert first.received[:2] == second.received[:2] == ["all", "topic"]
        assert seen.line == [*range(1, 51), "gap", *range(101, 151)]
        assert len(seen.of(rxws.Disconnected)) == 1


@virtual
async def test_f10_a_server_that_is_back_is_found_within_the_maximum_of_the_backoff() -> None:
    """A listener that was gone for 3 s is dialled again within a second, where that is the cap."""
    backoff = rxws.Backoff(initial=0.1, maximum=1.0)
    async with connected(backoff=backoff) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1)
        peer.refuse(times=1000)
        peer.last.lose()
        await asyncio.sleep(3)
        peer._refusals.clear()
        back = now()
        await peer.link(2)
        assert now() - back <= 1.01
        await turns()
        give(peer.last, 2)
        assert seen.line == [1, "gap", 2]
        assert len(seen.of(rxws.ConnectFailed)) >= 3
