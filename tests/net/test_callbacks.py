"""What the user's own functions may do to a connection: nothing but what they are asked for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import reactivex as rx
from reactivex.disposable import Disposable

import rxws
from rxws.testing import Server
from tests.virtual import Peer, connected, turns, until, virtual

QUICK = rxws.Backoff(initial=0.01, maximum=0.02, attempts=3)


async def cancelled_by_itself() -> None:
    """Await a future that was cancelled: the CancelledError is nobody else's."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("name", ["source", "on_open"])
@virtual
async def test_a_cancellation_of_its_own_is_a_failed_attempt(name: str) -> None:
    """A CancelledError that ``source`` or ``on_open`` awaited itself is retried as any failure."""
    calls = 0

    async def function(*_: Any) -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            await cancelled_by_itself()
        return "ws://fake"

    options: dict[str, Any] = {"on_open": function} if name == "on_open" else {}
    source = function if name == "source" else "ws://fake"
    async with asyncio.timeout(60):
        async with rxws.connect(source, transport=Peer(), backoff=QUICK, **options) as ws:
            assert ws.state is rxws.State.OPEN
    assert calls == 2


@virtual
async def test_a_cancellation_of_its_own_in_resync() -> None:
    """A CancelledError that ``resync`` awaited itself leaves the gap, and the stream goes on."""

    async def resync(_gap: rxws.Gap) -> list[Any]:
        await cancelled_by_itself()
        return []

    async with connected(resync=resync) as (ws, peer):
        stream = ws.stream_filter().with_gaps()
        peer.last.lose()
        (await peer.link(2)).deliver("1")
        gap = await anext(stream)
        assert not gap.filled
        assert await anext(stream) == 1


@virtual
async def test_a_cancellation_of_its_own_in_parse() -> None:
    """A CancelledError that ``parse`` awaited itself costs that message only."""

    async def parse(raw: str | bytes) -> Any:
        if raw == "bad":
            await cancelled_by_itself()
        return json.loads(raw)

    async with connected(parse=parse) as (ws, peer):
        got: list[Any] = []
        ws.subscribe(got.append)
        peer.last.deliver("1", "bad", "2")
        await turns()
        assert got == [1, 2]


class Stubborn(Exception):
    """An exception that can't even be asked what it says."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize("name", ["source", "on_open"])
@virtual
async def test_an_exception_that_cannot_be_asked(name: str) -> None:
    """An exception whose text raises is a failed attempt like any other."""

    async def function(*_: Any) -> str:
        raise Stubborn

    options: dict[str, Any] = {"on_open": function} if name == "on_open" else {}
    source = function if name == "source" else "ws://fake"
    with pytest.raises(rxws.RetriesExhausted, match="Stubborn"):
        await rxws.connect(source, transport=Peer(), backoff=QUICK, **options)


@virtual
async def test_a_signal_whose_disposal_raises() -> None:
    """A signal that can't be disposed is told, and the connection is replaced all the same."""

    def subscribe(_observer: Any, _scheduler: Any = None) -> Disposable:
        def dispose() -> None:
            raise OSError("stuck")

        return Disposable(dispose)

    async with connected(rotate_on=rx.create(subscribe)) as (ws, peer):
        events: list[Any] = []
        ws.events.subscribe(events.append)
        peer.last.lose()
        await peer.link(2)
        await until(ws, rxws.Connected)
        assert any(isinstance(e, rxws.SignalFailed) for e in events)


@virtual
async def test_what_retry_raises_is_told_and_the_default_stands(
    loop_errors: list[dict[str, Any]],
) -> None:
    """A ``retry`` that raises is reported, and the default decides."""

    def retry(_error: Exception) -> bool:
        raise LookupError("retry")

    async with connected(retry=retry) as (ws, peer):
        peer.last.lose()
        await peer.link(2)
        await until(ws, rxws.Connected)
    assert [type(report["exception"]) for report in loop_errors] == [LookupError]


@pytest.mark.parametrize("bad", [None, 5, [1, 2, object()]])
@virtual
async def test_what_resync_returns_is_checked(bad: Any) -> None:
    """A ``resync`` that returns no messages leaves the gap; one that does delivers what it has."""

    async def resync(_gap: rxws.Gap) -> Any:
        return bad

    async with connected(resync=resync) as (ws, peer):
        stream = ws.stream_filter().with_gaps()
        peer.last.lose()
        (await peer.link(2)).deliver('"live"')
        gap = await anext(stream)
        assert gap.filled == isinstance(bad, list)
        items = [await anext(stream) for _ in range(len(bad) + 1 if gap.filled else 1)]
        assert items[-1] == "live"


async def test_a_foreign_connection_that_tells_no_close_is_rotated_without_a_gap() -> None:
    """A connection with nothing but recv, send and close is replaced by plan, without a gap."""

    class Plain:
        def __init__(self) -> None:
            self._messages: asyncio.Queue[str | None] = asyncio.Queue()

        async def recv(self) -> str:
            message = await self._messages.get()
            if message is None:
                raise ConnectionError("over")
            return message

        async def send(self, message: str) -> None:
            await self._messages.put(message)

        async def close(self, code: int = 1000, reason: str = "") -> None:
            await self._messages.put(None)

    handover = rxws.MakeBeforeBreak(overlap=0.02, drain=30)
    async with Server() as server, rxws.connect(Plain, handover=handover) as ws:
        stream = ws.stream_filter()
        await ws.send({"echo": 1})
        assert await anext(stream) == {"echo": 1}
        ws.rotate()
        await server.wait(lambda: ws.stats().rotations == 1)
        assert ws.stats().gaps == 0


async def test_a_reader_that_is_disturbed_leaves_no_socket() -> None:
    """Who calls ``recv`` beside us ends that connection for us; its socket is closed."""
    async with Server() as server:
        async with rxws.connect(server.url, backoff=rxws.Backoff(initial=0.01)) as ws:
            stream = ws.stream_filter().buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
            session = await server.connection(1)
            await session.send("1")
            await server.wait(lambda: ws.stats().backlog > 0)
            beside = asyncio.create_task(ws.present_ws.recv())
            await asyncio.sleep(0)
            assert await anext(stream) == 1
            await server.connection(2)
            await server.wait(lambda: len(server.connections) == 1)
            await asyncio.gather(beside, return_exceptions=True)
