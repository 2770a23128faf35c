"""Tests in virtual time, on a websocket whose peer is the test: no sockets, no waiting."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import rxws
from rxws.testing import FakeLink, FakeTransport, run_virtual

COMPLETED = "completed"


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine function a test on a loop of virtual time; it may ask for fixtures."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(lambda: test(*args, **kwargs))

    return run


class Peer(FakeTransport):
    """A fake transport that speaks JSON on the newest connection."""

    @property
    def last(self) -> FakeLink:
        """The newest connection."""
        return self.links[-1]

    def deliver(self, *messages: Any) -> None:
        """Let messages arrive, all in one step of the loop."""
        self.last.deliver(*[json.dumps(message) for message in messages])

    def sent(self, number: int) -> list[Any]:
        """Return what was sent on connection ``number``, counting from 1."""
        return [json.loads(raw) for raw in self.links[number - 1].sent]

    async def fail(self, ws: rxws.ReactiveWebSocket[Any], error: Exception | None = None) -> None:
        """Let the connection break and the next dial end everything; returns after that."""
        self.refuse(error or fatal())
        self.last.lose()
        await until(ws, rxws.Closed)


class Log:
    """An observer that writes down what it is told, and how it ended."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.ends: list[Any] = []

    def on_next(self, item: Any) -> None:
        assert not self.ends
        self.items.append(item)

    def on_error(self, error: Exception) -> None:
        self.ends.append(error)

    def on_completed(self) -> None:
        self.ends.append(COMPLETED)


def fatal() -> rxws.ConnectError:
    """Return an error that retrying can't mend."""
    return rxws.ConnectError("refused for good", retryable=False)


@asynccontextmanager
async def connected(
    **options: Any,
) -> AsyncIterator[tuple[rxws.ReactiveWebSocket[Any], Peer]]:
    """Enter a websocket on a `Peer`, which is given too."""
    peer = Peer()
    async with rxws.connect("ws://fake", transport=peer, **options) as ws:
        yield ws, peer


async def until(ws: rxws.ReactiveWebSocket[Any], kind: type[rxws.Event]) -> None:
    """Wait for an event; the one that says the current state counts."""
    async with ws.events.pipe(rxws.to_async_iterator(capacity=None)) as events:
        async for event in events:
            if isinstance(event, kind):
                return


async def turns(count: int = 10) -> None:
    """Let everything run that is ready, and what that makes ready; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


async def drained(iterator: Any) -> list[Any]:
    """Return what an async iterator gives until it stops."""
    return [item async for item in iterator]
