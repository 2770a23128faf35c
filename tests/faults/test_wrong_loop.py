"""Use from other threads and on other event loops: refused at once, or made for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import rxws
from rxws.testing import Server
from tests.virtual import COMPLETED, Log


async def test_f61_another_loop_is_refused_at_once() -> None:
    """What is not made for other threads raises there, says what is, and harms nothing."""
    async with Server() as server, rxws.connect(server.url) as ws:
        uses: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "send": lambda: ws.send("x"),
            "request": lambda: ws.request("x", []),
            "exit": ws.exit,
            "aclose": ws.aclose,
            "open": ws._open,
            "enter": ws.__aenter__,
        }
        raised: dict[str, str] = {}

        async def elsewhere() -> None:
            for name, use in uses.items():
                try:
                    await use()
                except RuntimeError as error:
                    raised[name] = str(error)
            with pytest.raises(RuntimeError, match="another event loop"):
                ws.start()

        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
        assert set(raised) == set(uses)
        assert all("send_threadsafe" in text for text in raised.values())
        assert ws.state is rxws.State.OPEN
        await ws.send("still here")
        session = await server.connection(1)
        await server.wait(lambda: session.received == ["still here"])


async def test_f61_an_opening_elsewhere_is_refused() -> None:
    """An ``Opening`` that is used on another event loop raises at once."""
    raised: list[str] = []

    async def on_open(opening: rxws.Opening) -> None:
        async def elsewhere() -> None:
            for use in (opening.send("x"), opening.recv()):
                with pytest.raises(RuntimeError) as caught:
                    await use
                raised.append(str(caught.value))

        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))

    async with Server() as server, rxws.connect(server.url, on_open=on_open):
        assert len(raised) == 2
        assert all("another" in text or "belongs to the event loop" in text for text in raised)
        assert (await server.connection(1)).received == []


async def test_f61_threads_may_subscribe_dispose_and_send() -> None:
    """``subscribe``, ``dispose``, ``rotate``, ``on_next``, ``send_threadsafe`` work in a thread."""
    async with Server() as server, rxws.connect(server.url) as ws:
        got: list[Any] = []
        subscribed, dispose = threading.Event(), threading.Event()

        def elsewhere() -> Any:
            subscription = ws.subscribe(got.append)
            subscribed.set()
            assert dispose.wait(30)
            subscription.dispose()
            delivery = ws.send_threadsafe("1").result(30)
            ws.on_next("2")
            ws.rotate("from a thread")
            return delivery

        working = asyncio.ensure_future(asyncio.to_thread(elsewhere))
        await asyncio.to_thread(subscribed.wait, 30)
        session = await server.connection(1)
        await session.send("1")
        await server.wait(lambda: got == [1])
        dispose.set()
        assert await working is rxws.Delivery.SENT
        await session.send("2")
        await server.wait(lambda: session.received == ["1", "2"])
        await server.connection(2)
        assert got == [1]
        old = ws
    with pytest.raises(rxws.ClosedError):
        old.rotate()


def test_f61_a_loop_that_has_ended() -> None:
    """After its loop has ended a websocket refuses every use at once, and warns of nothing."""

    async def main() -> rxws.ReactiveWebSocket[Any]:
        async with Server() as server, rxws.connect(server.url) as ws:
            return ws

    ws = asyncio.run(main())
    with pytest.raises(rxws.ClosedError):
        ws.send_threadsafe("x")
    with pytest.raises(rxws.ClosedError):
        ws.rotate()
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(ws.send("x"))
    ws.on_next("x")
    done = Log()
    ws.subscribe(done)
    assert done.ends == [COMPLETED]
