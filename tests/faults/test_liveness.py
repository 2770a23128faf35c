"""Section D of the faults: peers that are dead or half dead, and loops that are blocked.

Not here: a real packet blackhole (F31) and a suspended machine (F41) need a machine of their own.
Of the one the kernel's guard is tested, of the other a process that is stopped. The clock that
goes on during a suspension (CLOCK_BOOTTIME) has no timers in asyncio: a rotation that became due
while the machine slept comes as much later as it slept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rxws
from rxws.core.seldom import Seldom
from rxws.net import heart
from rxws.streams.tasks import Tasks
from rxws.testing import Server, ServerProcess, Session
from rxws.testing.waiting import News
from tests.virtual import connected, turns, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=0.5)
ROOT = str(Path(__file__).resolve().parents[2])


def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()


async def becomes(condition: Callable[[], bool], timeout: float) -> None:
    """Wait until a condition is true."""
    await News().wait(condition, timeout, "what is waited for")


def block(seconds: float) -> None:
    """Let virtual time pass as a callback that does not return does: without a turn of the loop."""
    asyncio.get_running_loop()._virtual_time += seconds


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Collect the warnings of a blocked loop."""
    monkeypatch.setattr(heart, "_warnings", Seldom(1.0))
    caplog.set_level(logging.WARNING, "rxws")
    return lambda: [r.getMessage() for r in caplog.records if "loop was blocked" in r.getMessage()]


@virtual
async def test_f30_half_open_peer_is_replaced_within_22_seconds() -> None:
    """At the defaults, a peer that falls silent is aborted, not closed, and replaced in 22 s."""
    async with connected(backoff=rxws.Backoff(initial=0.1)) as (_, peer):
        first = peer.last
        first.answer_pings = first.answer_close = False
        began = now()
        await becomes(lambda: not first.is_open, 60)
        assert 19 <= now() - began <= 22
        assert first.aborted
        assert first.closed is None
        await peer.link(2)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux")
@pytest.mark.parametrize(
    ("heartbeat", "milliseconds"),
    [(rxws.Heartbeat(), 40_000), (rxws.Heartbeat(1.0, 2.5), 7_000), (None, 0)],
)
async def test_f31_the_kernel_is_a_second_guard(
    heartbeat: rxws.Heartbeat | None, milliseconds: int
) -> None:
    """TCP_USER_TIMEOUT is twice the heartbeat, and untouched where there is none."""
    async with Server() as server, rxws.connect(server.url, heartbeat=heartbeat) as ws:
        sock = ws.present_ws.transport.get_extra_info("socket")
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert found == milliseconds


async def send_for_ever(ws: rxws.ReactiveWebSocket[Any]) -> None:
    """Send until sending fails."""
    async with asyncio.timeout(10):
        while True:
            await ws.send("x" * 100_000, rxws.ThisConnection())


async def test_f32_stalled_peer_while_the_client_sends() -> None:
    """Blocked sends neither hide a dead peer, nor keep anybody waiting, nor hold up the exit."""
    heartbeat = rxws.Heartbeat(interval=0.3, timeout=0.3)
    async with Server() as server:
        ws = await rxws.connect(
            server.url, heartbeat=heartbeat, send_timeout=0.5, exit_timeout=0.5, backoff=QUICK
        )
        for number in (1, 2):
            (await server.connection(number, timeout=10)).stall()
            with pytest.raises((rxws.SendTimeout, rxws.ConnectionLost)):
                await send_for_ever(ws)
        (await server.connection(3, timeout=10)).stall()
        async with asyncio.timeout(10):
            await ws.exit()


@virtual
async def test_f33_data_is_life_without_pongs() -> None:
    """A peer that never answers pings, but sends data, lives; while it sends it is not pinged."""
    async with connected() as (ws, peer):
        peer.last.answer_pings = False
        for number in range(300):
            peer.deliver(number)
            await asyncio.sleep(1)
        assert (ws.stats().reconnects, peer.last.pings) == (0, 0)


async def test_f33_any_pong_is_life() -> None:
    """A pong that answers nothing that was asked counts as a byte that arrived."""
    async with Server() as server, rxws.connect(server.url, heartbeat=None) as ws:
        session = await server.connection(1)
        link = next(iter(ws._driver.pool)).link
        before = link.last_received
        session.write_bytes(b"\x8a\x05wrong")
        await server.wait(lambda: link.last_received > before)
        assert link.unfinished is None


@virtual
async def test_f34_zombie_is_replaced_where_silence_is_bounded() -> None:
    """A peer that only answers pings lives for ever, but with ``silence=`` for so long only."""
    async with connected() as (ws, peer):
        await asyncio.sleep(3600)
        assert ws.stats().reconnects == 0
        assert peer.last.pings > 300
    async with connected(silence=30.0, backoff=rxws.Backoff(initial=0.1)) as (ws, peer):
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        began = now()
        await peer.link(2, timeout=60)
        assert 30 <= now() - began <= 31
        await turns()
        gaps = [event for event in events if isinstance(event, rxws.Gap)]
        assert [(gap.epoch, "silent" in gap.reason) for gap in gaps] == [(1, True)]


async def drip(link: Any, rate: float, seconds: float, each: float = 1.0) -> None:
    """Let bytes of one frame arrive, at most ``rate`` a second, until it ends or is given up."""
    began, size = now(), 0.0
    while now() - began < seconds and link.is_open:
        size += rate * each
        link.last_received, link.unfinished = now(), (began, int(size))
        await asyncio.sleep(each)
    link.unfinished = None


@virtual
async def test_f35_a_frame_that_drips_is_no_life() -> None:
    """A frame of which one byte a second comes ends its connection after 30 s."""
    async with connected(backoff=rxws.Backoff(initial=0.1)) as (ws, peer):
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        began = now()
        await drip(peer.last, 1, 3600)
        assert 29 <= now() - began <= 32
        await peer.link(2)
        await turns()
        gaps = [event for event in events if isinstance(event, rxws.Gap)]
        assert ["too slowly" in gap.reason for gap in gaps] == [True]


@virtual
async def test_f35_a_head_start_does_not_count_for_ever() -> None:
    """A frame that came fast at first and then drips ends its connection too."""
    async with connected(backoff=rxws.Backoff(initial=0.1)) as (_, peer):
        link, began = peer.last, now()
        size = 900_000
        while link.is_open and now() - began < 3600:
            size += 1
            link.last_received, link.unfinished = now(), (began, size)
            await asyncio.sleep(1)
        assert 58 <= now() - began <= 64


async def test_f35_a_real_frame_that_drips() -> None:
    """Over a socket too: a frame that comes byte by byte gets the connection replaced."""

    async def script(session: Session) -> None:
        session.write_bytes(b"\x82\x7e\x03\xe8")  # of 1,000 bytes
        while True:
            await asyncio.sleep(0.05)
            session.write_bytes(b"x")

    heartbeat = rxws.Heartbeat(interval=0.5, timeout=0.5)
    async with Server(scripts=[script, wait]) as server:
        async with rxws.connect(server.url, heartbeat=heartbeat, backoff=QUICK):
            await server.connection(2, timeout=20)


async def wait(session: Session) -> None:
    """Do nothing on a connection."""


@pytest.mark.parametrize(("rate", "seconds"), [(25_000, 42), (1000, 1049)])
def test_f36_a_large_frame_on_a_slow_link_survives(rate: float, seconds: float) -> None:
    """1 MiB in one frame survives at 25 kB/s, and even at 1 kB/s."""

    @virtual
    async def run() -> None:
        async with connected() as (ws, peer):
            await drip(peer.last, rate, seconds)
            peer.deliver("large")
            assert ws.stats().reconnects == 0

    run()


@virtual
async def test_f36_many_frames_are_judged_one_by_one() -> None:
    """Frames that are small and slow, each in its time, are no drip."""
    async with connected() as (ws, peer):
        for _ in range(20):
            await drip(peer.last, 1, 25)
            peer.deliver("small")
        assert ws.stats().reconnects == 0


@virtual
async def test_f37_a_blocked_loop_is_warned_of(warnings: Any) -> None:
    """Who blocks the loop for 5 s is told so in the log, with the duration, and loses nothing."""
    got: list[int] = []
    async with connected() as (ws, peer):
        ws.subscribe(got.append)
        await asyncio.sleep(2.5)
        assert warnings() == []
        block(5)
        peer.deliver(*range(10_000))
        await asyncio.sleep(5)
        assert ws.stats().reconnects == 0
    assert got == list(range(10_000))
    assert len(warnings()) == 1
    assert 3.9 <= float(warnings()[0].split("for ")[1].split(" s")[0]) <= 5.1


@virtual
async def test_f37_the_warnings_are_few(warnings: Any) -> None:
    """However many connections a blocked loop has, it is warned of once a second at most."""
    async with connected() as _, connected() as _, connected() as _:
        await asyncio.sleep(0.5)
        for _ in range(10):
            block(2)
            await turns()
    assert 5 <= len(warnings()) <= 10


async def test_f37_nothing_is_lost_behind_a_blocked_loop() -> None:
    """A handler that blocks the loop for a while costs no message of a feed of 2,000 a second."""
    got: list[int] = []

    def take(message: Any) -> None:
        got.append(message["n"])
        if len(got) == 100:
            time.sleep(1.5)

    async with ServerProcess(rate=2000) as server:
        async with rxws.connect(server.url) as ws:
            ws.subscribe(take)
            await becomes(lambda: len(got) >= 4000, 30)
            sent = (await server.pause()).connections[1]
            await becomes(lambda: got[-1] >= sent[-1], 10)
    assert got == list(range(got[0], sent[-1] + 1))


class SocketLink(asyncio.Protocol):
    """A link over one end of a pair of sockets; the other end is the kernel's and the test's."""

    def __init__(self, other: socket.socket) -> None:
        self.connection = None
        self.last_received = now()
        self.pings = 0
        self._other = other
        self.answers = True

    def data_received(self, data: bytes) -> None:
        self.last_received = now()

    async def ping(self) -> None:
        self.pings += 1
        if self.answers:
            self._other.send(b"pong")  # it is in the kernel
        block(3)  # and the loop looks only when the timeout is over, too


@virtual
async def test_f38_a_pong_behind_a_blocked_loop_counts(warnings: Any) -> None:
    """A loop that was blocked for longer than the timeout finds the pong: 100 times of 100."""
    ours, other = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, link = await loop.connect_accepted_socket(lambda: SocketLink(other), ours)
    deaths: list[str] = []
    suspicions: list[bool] = []
    errors: list[Exception] = []
    watch = heart.Heart(
        link,
        rxws.Heartbeat(interval=1, timeout=1),
        None,
        last_message=now,
        is_reading=lambda: True,
        tasks=Tasks(errors.append),
        on_dead=deaths.append,
        on_suspected=suspicions.append,
    )
    while link.pings < 100:
        await asyncio.sleep(0.5)
        assert deaths == []
    link.answers = False
    await asyncio.sleep(10)
    assert deaths == ["no sign of life"]
    watch.stop()
    transport.close()
    other.close()
    await turns()
    assert errors == []


@virtual
async def test_f39_the_cause_of_being_kicked_is_named(warnings: Any) -> None:
    """Who is dropped by the server after having blocked the loop has a gap, and the reason."""
    async with connected(backoff=rxws.Backoff(initial=0.1)) as (ws, peer):
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        block(15)
        peer.last.lose()
        await peer.link(2)
        await turns()
        assert [event.epoch for event in events if isinstance(event, rxws.Gap)] == [1]
    assert len(warnings()) == 1
    assert 14 <= float(warnings()[0].split("for ")[1].split(" s")[0]) <= 15


@pytest.mark.parametrize("years", [-1, 1])
def test_f40_the_wall_clock_does_not_matter(years: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that jumps by a year ends nothing, and rotates nothing."""
    real = time.time

    @virtual
    async def run() -> None:
        async with connected(rotate_on=rxws.every(3600), silence=300.0) as (ws, peer):
            for minute in range(60):
                jump = years * 365 * 86400 * (minute % 2)
                monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
                peer.deliver("x")
                await asyncio.sleep(59.9)
                assert len(peer.links) == 1
            await asyncio.sleep(3601 - now())
            assert len(peer.links) == 2
            await asyncio.sleep(10)
            assert (ws.stats().rotations, ws.stats().reconnects) == (1, 0)

    run()


STOPPED = """
import asyncio, sys, rxws

async def main():
    backoff = rxws.Backoff(initial=0.02, maximum=0.1)
    async with rxws.connect(sys.argv[1], backoff=backoff):
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes can't be stopped here")
async def test_f41_a_process_that_was_stopped_finds_out() -> None:
    """A process that is continued, and was dropped meanwhile, connects again without delay."""
    async with Server() as server:
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            STOPPED,
            server.url,
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        try:
            session = await server.connection(1, timeout=20)
            client.send_signal(signal.SIGSTOP)
            session.abort()
            await session.wait_closed()
            await asyncio.sleep(0.5)
            assert len(server.sessions) == 1
            client.send_signal(signal.SIGCONT)
            # The defaults of the heartbeat would take ten times as long as a slow machine here.
            await server.connection(2, timeout=10)
        finally:
            client.kill()
            await client.wait()
