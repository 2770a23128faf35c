"""The same life on other event loops, with other task factories, in asyncio's debug mode."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import rxws
from rxws.testing import Server, Session

try:
    import uvloop
except ImportError:  # for Windows there is none
    uvloop = None
else:
    # The first one opens a pipe that libuv keeps for the whole process.
    uvloop.new_event_loop().close()

HANDOVER = rxws.MakeBeforeBreak(overlap=0.1)
QUICK = rxws.Backoff(initial=0.01, maximum=0.05)
EXIT = 30.0


def plain() -> asyncio.AbstractEventLoop:
    """Return asyncio's own event loop."""
    return asyncio.new_event_loop()


def debugging() -> asyncio.AbstractEventLoop:
    """Return one in debug mode, where calls from a wrong thread raise."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


def eager() -> asyncio.AbstractEventLoop:
    """Return one whose tasks begin to run as they are made."""
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def uv() -> asyncio.AbstractEventLoop:
    """Return uvloop's."""
    if uvloop is None:
        pytest.skip("uvloop is not installed: it is in the extra `fast`")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


each_loop = pytest.mark.parametrize("factory", [plain, debugging, eager, uv])


def run(factory: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Awaitable[None]]):
    """Run a test on a loop of its own."""

    async def whole() -> None:
        await main()

    loop = factory()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(whole())


@each_loop
def test_a_whole_life(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Rotation, loss, reconnect and exit go the same way on every event loop."""

    async def answer(session: Session, message: str | bytes) -> None:
        await session.send(message)

    async def main() -> None:
        events: list[str] = []
        got: list[int] = []
        handled: list[int] = []

        async def handle(message: Any) -> None:
            await asyncio.sleep(0)
            handled.append(message["n"])

        async with Server(on_message=answer) as server:
            ws = rxws.connect(server.url, handover=HANDOVER, backoff=QUICK, exit_timeout=EXIT)
            ws.events.subscribe(lambda event: events.append(type(event).__name__))
            ws.subscribe(lambda message: got.append(message["n"]))
            ws.add_handler(handle)
            stream = ws.stream_filter([{"even": True}])
            async with ws:
                for number in range(10):
                    message = {"n": number, "even": number % 2 == 0}
                    assert await ws.request(message, [{"n": number}], timeout=30) == message
                ws.rotate()
                await server.wait(lambda: "Rotated" in events)
                (await server.connection(2)).abort()
                await server.connection(3)
                await server.wait(lambda: events.count("Connected") == 3)
                await ws.send({"n": 10, "even": True})
                await server.wait(lambda: handled[-1:] == [10])
            closed = [await session.wait_closed() for session in server.sessions]
        assert [message["n"] async for message in stream] == [0, 2, 4, 6, 8, 10]
        assert got == handled == list(range(11))
        assert events[-1] == "Closed"
        assert closed == [(1000, ""), (None, ""), (1000, "")]

    run(factory, main)


@each_loop
def test_a_rotating_feed(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A feed that goes on while it is rotated arrives whole and in order on every event loop."""

    async def main() -> None:
        got: list[int] = []
        async with Server() as server:
            ws = rxws.connect(
                server.url, handover=HANDOVER, key=lambda m: m["n"], exit_timeout=EXIT
            )
            ws.subscribe(lambda message: got.append(message["n"]))
            async with ws:
                server.feed(500, lambda n: json.dumps({"n": n}))
                for rotations in range(1, 4):
                    ws.rotate()
                    await server.wait(lambda: ws.stats().rotations == rotations)  # noqa: B023
                enough = got[-1] + 100
                await server.wait(lambda: got[-1] >= enough)
        assert got == list(range(got[0], got[-1] + 1))

    run(factory, main)


@each_loop
def test_exit_from_anywhere(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Exit while dialling, from a handler, and twice at once is the same on every event loop."""

    async def main() -> None:
        async with Server() as server:
            ws = rxws.connect(server.url, exit_timeout=EXIT)
            ws.start()
            await asyncio.gather(ws.exit(), ws.exit())
            ws = await rxws.connect(server.url, exit_timeout=EXIT)
            called = asyncio.get_running_loop().create_future()

            async def leave(message: Any) -> None:
                await ws.exit()
                called.set_result(None)

            ws.add_handler(leave)
            session = server.sessions[-1]
            await session.send("1")
            await called
            assert ws.state is rxws.State.CLOSED
            assert await session.wait_closed() == (1000, "")
            await server.wait(lambda: not server.connections)

    run(factory, main)
