"""Section I of the faults: sends without a connection, into a dead one, and of what can't be sent.

Rows that are tested elsewhere, in part or whole:

F92: here, and tests/net/test_sending.py::test_policies_while_no_connection_is_live,
     ::test_sent_during_a_reconnect_arrives_once_in_order, ::test_exit_ends_what_waits
F93: here, and test_cancelled.py::test_f53_an_abort_while_a_send_is_blocked_is_no_success,
     test_liveness.py::test_f32_stalled_peer_while_the_client_sends
F94: here, and tests/net/test_sending.py::test_concurrent_senders_keep_their_order
F95: here, and tests/net/test_sending.py::test_bad_message_concerns_its_sender_only,
     test_parsing.py::test_f109_lone_surrogates_are_not_sent
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
from collections.abc import Iterable
from typing import Any, TypeAlias

import pytest

import rxws
from rxws.testing import Server
from tests.faults.continuity import QUICK, Seen, becomes, now
from tests.virtual import Peer, connected, turns, until, virtual


class Turns:
    """Counts how often something is scheduled on the running loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        loop = asyncio.get_running_loop()
        for name in ("call_soon", "call_at"):
            monkeypatch.setattr(loop, name, self._counting(getattr(loop, name)))

    def _counting(self, schedule: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return schedule(*args, **kwargs)

        return counted


@pytest.mark.parametrize("state", ["connecting", "reconnecting"])
@virtual
async def test_f92_without_a_connection(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A send waits for a connection for ``send_timeout``, idle; then it never is sent."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer, send_timeout=500, open_timeout=1000)
    if state == "reconnecting":
        await ws
        peer.hold()
        peer.last.lose()
        await becomes(lambda: len(peer.dials) == 2)
    else:
        peer.hold()
        ws.start()
        await becomes(lambda: len(peer.dials) == 1)
    scheduled = Turns(monkeypatch)
    began = now()
    with pytest.raises(rxws.SendTimeout) as caught:
        await ws.send("late")
    assert now() - began == pytest.approx(500)
    assert caught.value.delivery is rxws.Delivery.NOT_SENT
    assert scheduled.count < 100
    peer.release()
    assert await ws.send("next") is rxws.Delivery.SENT
    assert peer.last.sent == ["next"]
    await ws.exit()


@pytest.mark.parametrize("policy", [None, rxws.Drop(), rxws.Fail(), rxws.ThisConnection()])
@pytest.mark.parametrize("end", ["exit", "fatal"])
@virtual
async def test_f92_after_the_end(end: str, policy: Any) -> None:
    """After an exit, and after what is fatal, which is the cause then, a send raises at once."""
    async with connected() as (ws, peer):
        if end == "exit":
            await ws.exit()
        else:
            await peer.fail(ws)
        began = now()
        with pytest.raises(rxws.ClosedError) as caught:
            await ws.send("too late", policy)
        assert now() == began
        if end == "fatal":
            assert isinstance(caught.value.__cause__, rxws.ConnectError)


@virtual
async def test_f93_a_peer_that_stops_reading() -> None:
    """What was begun to be written is unknown, what waits behind was not sent; each in its time."""
    async with connected(send_timeout=5, heartbeat=None) as (ws, peer):
        peer.last.stall()
        took: list[float] = []

        async def send(number: int) -> None:
            began = now()
            try:
                await ws.send(number)
            finally:
                took.append(now() - began)

        sends = []
        for number in range(3):
            sends.append(asyncio.ensure_future(send(number)))
            await asyncio.sleep(0.01)
        errors = await asyncio.gather(*sends, return_exceptions=True)
        assert took == pytest.approx([5, 5, 5])
        assert all(isinstance(error, rxws.SendTimeout) for error in errors)
        # When the time of the first is over, the second is begun.
        found = [error.delivery for error in errors if isinstance(error, rxws.SendTimeout)]
        assert found == [rxws.Delivery.UNKNOWN, rxws.Delivery.UNKNOWN, rxws.Delivery.NOT_SENT]
        await asyncio.sleep(10)
        peer.last.unstall()
        await ws.send(3)
        assert peer.sent(1) == [3]
        assert ws.stats().reconnects == 0


@virtual
async def test_f93_exit_while_a_peer_reads_nothing() -> None:
    """Exit takes ``exit_timeout``; what is being written is unknown, what waits was not sent."""
    async with connected(exit_timeout=2, heartbeat=None) as (ws, peer):
        peer.last.stall()
        writing = asyncio.ensure_future(ws.send("writing"))
        waiting = asyncio.ensure_future(ws.send("waiting"))
        await turns()
        began = now()
        await ws.exit()
        assert now() - began <= 2
        with pytest.raises(rxws.ConnectionLost) as caught:
            await writing
        assert caught.value.delivery is rxws.Delivery.UNKNOWN
        with pytest.raises(rxws.ClosedError, match="before the message was sent"):
            await waiting
        assert peer.last.sent == []


async def send_for_ever(ws: rxws.ReactiveWebSocket[Any]) -> None:
    """Send until sending fails."""
    while True:
        await ws.send("x" * 500_000)


async def test_f93_a_real_peer_that_stops_reading() -> None:
    """Over a socket too: the kernel takes some, then one is unknown after its time; exit ends."""
    async with Server() as server:
        ws = await rxws.connect(server.url, send_timeout=0.5, exit_timeout=0.5, heartbeat=None)
        session = await server.connection(1)
        session.stall()
        with pytest.raises(rxws.SendTimeout) as caught:
            await asyncio.wait_for(send_for_ever(ws), 30)
        assert caught.value.delivery is rxws.Delivery.UNKNOWN
        assert ws.stats().reconnects == 0
        async with asyncio.timeout(30):
            await ws.exit()
        assert server.accepted == 1


async def test_f93_what_may_have_left_is_never_sent_again() -> None:
    """After a reset, what the kernel took and what was being written is not sent again, ever.

    What was queued behind is sent once, on the next connection; so nothing comes twice, and what
    is missing was reported as sent or as unknown.
    """
    async with Server() as server:
        ws = await rxws.connect(server.url, send_timeout=60, heartbeat=None, backoff=QUICK)
        first = await server.connection(1)
        transport = ws.present_ws.transport
        first.stall()
        sends = [
            asyncio.ensure_future(ws.send(f"{number} ".ljust(500_000))) for number in range(40)
        ]
        await server.wait(lambda: transport.get_write_buffer_size() > 100_000)
        first.abort()
        outcome = await asyncio.gather(*sends, return_exceptions=True)
        await ws.send("last")
        second = await server.connection(2)
        await server.wait(lambda: "last" in second.received)
        came = [str(raw).split()[0] for each in server.sessions for raw in each.received]
        assert came[-1] == "last"
        numbers = [int(name) for name in came[:-1]]
        assert numbers == sorted(set(numbers))
        # One was being written; what had waited behind it follows.
        (unknown,) = [n for n, result in enumerate(outcome) if result is not rxws.Delivery.SENT]
        error = outcome[unknown]
        assert isinstance(error, rxws.ConnectionLost)
        assert error.delivery is rxws.Delivery.UNKNOWN
        assert numbers == list(range(unknown + 1, 40))
        await ws.exit()


async def test_f93_requests_that_were_sent_are_unknown() -> None:
    """Requests whose connection is reset before the reply raise, as unknown; none is repeated."""
    async with Server() as server, rxws.connect(server.url, backoff=QUICK) as ws:
        requests = [
            asyncio.ensure_future(ws.request({"id": n}, reply=[{"id": n}], timeout=60))
            for n in range(20)
        ]
        first = await server.connection(1)
        await server.wait(lambda: len(first.received) == 20)
        first.abort()
        outcome = await asyncio.gather(*requests, return_exceptions=True)
        lost = [error for error in outcome if isinstance(error, rxws.ConnectionLost)]
        assert [error.delivery for error in lost] == [rxws.Delivery.UNKNOWN] * 20
        await ws.send("last")
        second = await server.connection(2)
        await server.wait(lambda: second.received)
        assert second.received == ["last"]


Pair: TypeAlias = tuple[int, int]
"""A sender and the number of its message."""


class Senders:
    """Twenty at once, each of which sends its numbered messages one after the other."""

    def __init__(self, ws: rxws.ReactiveWebSocket[Any], server: Server) -> None:
        self.going = True
        self.sent: set[Pair] = set()
        self.unknown: set[Pair] = set()
        self._ws = ws
        self._server = server

    async def run(self) -> None:
        """Let them send until they are stopped."""
        await asyncio.gather(*(self._run(name) for name in range(20)))

    async def _run(self, name: int) -> None:
        for number in itertools.count():
            if not self.going:
                return
            if number % 10 == name % 10:
                await asyncio.sleep(0.005)
            try:
                delivery = await self._ws.send([name, number])
            except rxws.ConnectionLost as error:
                delivery = error.delivery
            (self.sent if delivery is rxws.Delivery.SENT else self.unknown).add((name, number))
            assert delivery in (rxws.Delivery.SENT, rxws.Delivery.UNKNOWN)

    @property
    def received(self) -> list[Pair]:
        """What the server has got, on the first connection, then on the second."""
        raws = [raw for session in self._server.sessions for raw in session.received]
        return [(name, number) for name, number in map(json.loads, raws)]


def by_sender(pairs: Iterable[Pair]) -> dict[int, list[int]]:
    """Return the numbers of each sender."""
    found: dict[int, list[int]] = collections.defaultdict(list)
    for name, number in pairs:
        found[name].append(number)
    return found


async def test_f94_twenty_senders_through_a_rotation() -> None:
    """What 20 send while connections are rotated arrives whole, and each one's in its order."""
    handover = rxws.MakeBeforeBreak(overlap=0.05)
    async with Server() as server:
        async with rxws.connect(server.url, backoff=QUICK, handover=handover) as ws:
            senders = Senders(ws, server)
            running = asyncio.create_task(senders.run())
            for number in (1, 2, 3):
                session = await server.connection(number)
                while len(session.received) <= 200:
                    await session.next_message()
                await becomes(lambda before=number - 1: ws.stats().rotations == before)
                if number < 3:
                    ws.rotate()
            senders.going = False
            await running
            await server.wait(lambda: len(senders.received) == len(senders.sent))
        assert senders.unknown == set()
        assert set(senders.received) == senders.sent
        for numbers in by_sender(senders.received).values():
            assert numbers == list(range(len(numbers)))


async def test_f94_twenty_senders_through_a_reconnect() -> None:
    """After a reset none comes twice or out of order, and only what had left is missing."""
    async with Server() as server, rxws.connect(server.url, backoff=QUICK) as ws:
        senders = Senders(ws, server)
        running = asyncio.create_task(senders.run())
        first = await server.connection(1)
        await server.wait(lambda: len(first.received) > 200)
        first.abort()
        second = await server.connection(2)
        await server.wait(lambda: len(second.received) > 200)
        senders.going = False
        await running
        await ws.send([99, 0])
        await server.wait(lambda: second.received[-1] == "[99,0]")
        received = senders.received[:-1]
        assert all(numbers == sorted(set(numbers)) for numbers in by_sender(received).values())
        attempted = senders.sent | senders.unknown
        assert set(received) <= attempted
        # Of each, what is missing lies before all that came by the second connection.
        began = by_sender(received[len(first.received) :])
        lost = attempted - set(received)
        assert [pair for pair in lost if pair[1] > min(began[pair[0]], default=pair[1])] == []


async def test_f95_what_cannot_be_sent_concerns_its_sender_only() -> None:
    """What can't be serialized or would be sent in parts is refused, and the connection lives."""

    def broken(message: Any) -> str:
        if message == {"bad": True}:
            raise OverflowError("not this")
        return json.dumps(message)

    def parts() -> Any:
        yield "begun"
        raise RuntimeError("in the midst of it")

    async def later() -> Any:
        yield "begun"
        raise RuntimeError("in the midst of it")

    async with Server() as server, rxws.connect(server.url, serialize=broken) as ws:
        session = await server.connection(1)
        with pytest.raises(OverflowError):
            await ws.send({"bad": True})
        asynchronous: Any = later()
        for iterable in (parts(), iter(["a", "b"]), asynchronous):
            with pytest.raises(TypeError):
                await ws.send(iterable)
        await asynchronous.aclose()
        for message in ({"good": True}, ["a", "b"], "text", b"bytes"):
            assert await ws.send(message) is rxws.Delivery.SENT
        await server.wait(lambda: len(session.received) == 4)
        assert session.received == ['{"good": true}', '["a", "b"]', "text", b"bytes"]
        assert ws.stats().reconnects == 0


async def test_f95_too_large_for_the_server() -> None:
    """A message that the server refuses with 1009 costs the connection, is not repeated, and told.

    What a server takes nobody can know before: the limit of a client is for what it receives.
    """
    async with Server(max_size=1000) as server:
        ws = rxws.connect(server.url, backoff=QUICK)
        seen = Seen(ws)
        async with ws:
            assert await ws.send("x" * 2000) is rxws.Delivery.SENT
            second = await server.connection(2)
            await server.wait(lambda: ws.state is rxws.State.OPEN)
            assert await ws.send("x" * 900) is rxws.Delivery.SENT
            await server.wait(lambda: second.received)
        assert second.received == ["x" * 900]
        assert [event.code for event in seen.of(rxws.Disconnected)] == [1009]
        assert "1009" in seen.gaps[0].reason


@virtual
async def test_f95_an_item_that_cannot_be_sent_is_reported(
    loop_errors: list[dict[str, Any]],
) -> None:
    """Given to ``on_next``, it is reported, and what follows is sent."""
    async with connected() as (ws, peer):
        ws.on_next("before")
        ws.on_next({1, 2})
        ws.on_next("after")
        ws.on_completed()
        await until(ws, rxws.Closed)
        assert peer.last.sent == ["before", "after"]
    assert [type(report["exception"]) for report in loop_errors] == [TypeError]
