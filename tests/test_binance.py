"""Subclasses of the older library, written by others and unmodified, on ours.

``BinanceAsyncWebsocket`` 3.0.3 from PyPI holds two. They get their listen key from a fake exchange
over HTTP, and their messages from a fake feed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import types
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import rxws
from rxws.testing import Market, Server

# The package is of 2021: one class passes a coroutine where today's Python wants a task, and so
# leaves it behind, never awaited.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'sleep' was never awaited")

KEY_PATHS = {"BinanceWs": "/api/v3/userDataStream", "BinanceFapiAsyncWs": "/fapi/v1/listenKey"}
PACKAGE = "BinanceAsyncWebsocket"
REPLACED = "AsyncWebsocketStreamInterface"


class Hurried(rxws.AsyncWebsocketStreamInterface):
    """Ours, with other defaults: the subclasses have no options to pass on."""

    def __init__(self) -> None:
        super().__init__(
            handover=rxws.MakeBeforeBreak(overlap=0.05, drain=30),
            backoff=rxws.Backoff(initial=0.2, maximum=6.0, stable=1.0),
        )


class Exchange:
    """A REST interface that hands out listen keys, and the feed that knows them."""

    def __init__(self, feed: Server, url: str) -> None:
        self.feed = feed
        self.url = url
        self.keys: list[str] = []
        self.requests: list[tuple[str, str | None]] = []
        self.failures = 0

    def redirect(self, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Point a subclass here; its addresses are class attributes, meant to be set."""
        monkeypatch.setattr(kind, "restful_baseurl", self.url)
        monkeypatch.setattr(kind, "ws_baseurl", self.feed.url)


@asynccontextmanager
async def running_exchange() -> AsyncIterator[Exchange]:
    """Run a fake exchange on the loopback interface."""
    web = pytest.importorskip("aiohttp.web")
    async with Server() as feed:

        async def listen_key(request: Any) -> Any:
            exchange.requests.append((request.path, request.headers.get("X-MBX-APIKEY")))
            if exchange.failures:
                exchange.failures -= 1
                return web.json_response({"code": -1003, "msg": "Too many requests"}, status=429)
            exchange.keys.append(f"listenkey{len(exchange.keys) + 1}")
            return web.json_response({"listenKey": exchange.keys[-1]})

        app = web.Application()
        for path in KEY_PATHS.values():
            app.router.add_post(path, listen_key)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0]
            exchange = Exchange(feed, f"http://{host}:{port}")
            yield exchange
        finally:
            await runner.cleanup()


@pytest.fixture(params=[rxws.AsyncWebsocketStreamInterface, Hurried], ids=["defaults", "hurried"])
def base(request: pytest.FixtureRequest) -> Any:
    """Return what the package is given for the abstract class."""
    return request.param


@pytest.fixture
def package(base: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import the package as it is, where the older library is ours."""
    logger = pytest.importorskip("loguru").logger
    logger.disable(PACKAGE)  # it would write to standard error
    ours = types.ModuleType(REPLACED)
    ours.AsyncWebsocketStreamInterface = base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, REPLACED, ours)
    imported = {name for name in sys.modules if name.partition(".")[0] == PACKAGE}
    for name in imported:
        monkeypatch.delitem(sys.modules, name)
    try:
        found = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise
        pytest.skip(f"{PACKAGE} is not installed: pip install --no-deps {PACKAGE}==3.0.3")
    # The module uses asyncio, but imports it only when it is run as a program.
    fapi = sys.modules[f"{PACKAGE}.BinanceFapiAsyncWs"]
    monkeypatch.setattr(fapi, "asyncio", asyncio, raising=False)
    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    logger.enable(PACKAGE)


@asynccontextmanager
async def used(
    package: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Any, Exchange]]:
    """Run one of the subclasses on a fake exchange, and end it."""
    async with running_exchange() as exchange:
        kind = getattr(package, name)
        exchange.redirect(kind, monkeypatch)
        client = kind("the api key")
        try:
            yield client, exchange
        finally:
            await client.exit()
            # They renew their listen keys in tasks that they never end.
            for task in asyncio.all_tasks():
                if getattr(task.get_coro(), "__qualname__", "").startswith(f"{name}._"):
                    task.cancel()


each_subclass = pytest.mark.parametrize("name", list(KEY_PATHS))
hurried = pytest.mark.parametrize("base", [Hurried], ids=["hurried"])


@each_subclass
async def test_messages(package: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams and handlers of an unmodified subclass get what the exchange sends to its key."""
    async with used(package, name, monkeypatch) as (client, exchange):
        everything = client.stream_filter()
        reports = client.stream_filter([{"e": "executionReport"}])
        handled: list[Any] = []
        client.add_handler(handled.append)
        session = await exchange.feed.connection(1)
        assert exchange.requests[0] == (KEY_PATHS[name], "the api key")
        assert session.path == f"/ws/{exchange.keys[0]}"
        messages = [{"e": "executionReport", "i": 1}, {"e": "balanceUpdate"}, {"i": 2}]
        for message in messages:
            exchange.feed.broadcast(json.dumps(message))
        assert [await anext(everything) for _ in messages] == messages
        assert await anext(reports) == messages[0]
        assert handled == messages
        await client.send('{"method":"LIST_SUBSCRIPTIONS"}')
        received = await exchange.feed.wait(
            lambda: [raw for session in exchange.feed.sessions for raw in session.received]
        )
        assert received == ['{"method":"LIST_SUBSCRIPTIONS"}']
        assert client.present_ws is not None
    assert [message async for message in everything] == []


@hurried
@each_subclass
async def test_reconnects_with_a_new_key(
    package: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the exchange closed the connection, and refused a key twice, the stream goes on."""
    async with used(package, name, monkeypatch) as (client, exchange):
        stream = client.stream_filter([{"e": "trade"}])
        await exchange.feed.connection(1)
        exchange.failures = 2
        for session in exchange.feed.connections:
            await session.close(1000)
        first = asyncio.ensure_future(anext(stream))
        while not first.done():
            exchange.feed.broadcast('{"e":"trade"}')
            await asyncio.sleep(0.02)
        assert first.result() == {"e": "trade"}
        assert exchange.failures == 0
        paths = [session.path for session in exchange.feed.sessions]
        assert paths == [f"/ws/{key}" for key in exchange.keys[: len(paths)]]
        assert len(paths) >= 2


@hurried
async def test_orders(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods that a subclass adds, and ``create_instance``, work as they are."""
    async with used(package, "BinanceWs", monkeypatch) as (_, exchange):
        client = await package.BinanceWs.create_instance("another key")
        orders = client.order_stream()
        await exchange.feed.connection(2)
        exchange.feed.broadcast('{"e":"outboundAccountPosition"}')
        exchange.feed.broadcast('{"e":"executionReport","i":1}')
        assert await anext(orders) == {"e": "executionReport", "i": 1}
        await client.exit()
        assert client.session.closed
        assert [order async for order in orders] == []


@hurried
async def test_rotation_loses_nothing(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``BinanceWs`` receives a numbered feed whole and in order while connections are replaced."""
    async with used(package, "BinanceWs", monkeypatch) as (client, exchange):
        stream = client.stream_filter().buffered(capacity=None)
        await client.wait_enter_handing_ws()
        numbers = exchange.feed.feed(500, Market())
        for _ in range(2):
            client.rxws_socket.rotate()
            await client.wait_enter_handing_ws()
            await asyncio.sleep(0.3)
        numbers.stop()
        last = exchange.feed.log.numbers[-1]
        received = []
        async for message in stream:
            received.append(message["n"])
            if message["n"] == last:
                break
        assert received == list(range(1, last + 1))
        assert client.rxws_socket.stats().rotations == 2
        assert exchange.feed.sessions[2].path == "/ws/listenkey3"


async def test_run_that_raises_at_once(
    package: Any, base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On today's Python one subclass's run raises at once: no storm, and every message arrives."""
    async with used(package, "BinanceFapiAsyncWs", monkeypatch) as (client, exchange):
        events: list[rxws.Event] = []
        client.rxws_socket.events.subscribe(events.append)
        stream = client.stream_filter().buffered(capacity=None)
        await client.wait_enter_handing_ws()
        numbers = exchange.feed.feed(200, Market())
        await asyncio.sleep(3.0)
        numbers.stop()
        # Unslowed, there would be a connection each 0.1 s (each 2 s with the default overlap).
        assert exchange.feed.accepted <= (10 if base is Hurried else 4)
        last = exchange.feed.log.numbers[-1]
        received = []
        async for message in stream:
            received.append(message["n"])
            if message["n"] == last:
                break
        assert received == list(range(1, last + 1))
        errors = [event.error for event in events if isinstance(event, rxws.SignalFailed)]
        assert {type(error) for error in errors} == {TypeError}
        assert not [event for event in events if isinstance(event, rxws.Gap)]
