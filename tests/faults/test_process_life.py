"""A process that ends, is interrupted, or forks while a websocket is open in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rxws.testing import Server, Session

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 50
"""Seconds that a program may take on a slow machine."""

AGES = "300"
"""Seconds, as an ``exit_timeout``: longer than any program may take."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of POSIX")


@asynccontextmanager
async def started(name: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a program of `tests.faults.programs`; it ends with the block at the latest."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-X", "dev", "-m", "tests.faults.programs", name, *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LONGEST):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def opened(process: asyncio.subprocess.Process) -> None:
    """Wait until a program says that its websocket is open."""
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"


async def run(name: str, *arguments: str) -> Any:
    """Run a program to its end, and return what it found out; it complains of nothing."""
    async with started(name, *arguments) as process:
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    return json.loads(out)


async def feed(session: Session) -> None:
    """Send numbered messages, as fast as they are taken, for as long as it lasts."""
    number = 0
    while True:
        number += 1
        await session.send(json.dumps({"n": number}))
        await asyncio.sleep(0.001)


async def test_f55_a_loop_that_ends_first_is_warned_of_once() -> None:
    """A websocket that nobody exited gives one ResourceWarning with advice, and nothing else."""
    async with Server(feed) as server:
        found = await run("unclosed", server.url)
        await server.wait(lambda: not server.connections)
    assert len(found) == 7
    for name, each in found.items():
        assert (each["raised"], each["logged"]) == (None, []), name
        [warning] = each["warned"]
        assert warning.startswith("ResourceWarning: unclosed <ReactiveWebSocket "), name
        assert "async with" in warning, name
        assert "exit()" in warning, name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_f56_f57_a_signal_closes_with_1000(number: signal.Signals) -> None:
    """SIGINT by itself, and SIGTERM by the recipe, leave the block, which closes with 1000."""
    async with Server(feed) as server, started("interrupted", server.url, AGES) as process:
        await opened(process)
        process.send_signal(number)
        out, err = await process.communicate()
        assert (out, err, process.returncode) == (b"leaving\nleft\n", b"", 0)
        session = await server.connection(1)
        assert await session.wait_closed() == (1000, "")
        assert len(server.dials) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_f56_f57_a_signal_and_a_stalled_server(number: signal.Signals) -> None:
    """A server that no longer answers keeps an interrupted process for ``exit_timeout`` only."""
    async with Server(feed) as server, started("interrupted", server.url, "0.2") as process:
        await opened(process)
        (await server.connection(1)).stall()
        process.send_signal(number)
        out, err = await process.communicate()
        assert (out, err, process.returncode) == (b"leaving\nleft\n", b"", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_f56_f57_a_second_signal_ends_at_once(number: signal.Signals) -> None:
    """A second signal ends what would take ``exit_timeout`` at once, and leaves nothing."""
    async with Server(feed) as server, started("interrupted", server.url, AGES) as process:
        await opened(process)
        (await server.connection(1)).stall()
        process.send_signal(number)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"leaving\n"
        # Python raises KeyboardInterrupt between any two instructions: let it wait by then.
        await asyncio.sleep(0.5)
        process.send_signal(number)
        out, err = await process.communicate()
        assert (out, err, process.returncode) == (b"left\n", b"", 0)


async def test_f58_what_ends_a_program_passes_a_handler() -> None:
    """KeyboardInterrupt or SystemExit out of a user's function ends all, with 1000, for good."""
    async with Server(feed) as server:
        found = await run("ended_by_a_handler", server.url)
        await server.wait(lambda: not server.connections)
        assert len(server.dials) == len(found) == 6
        assert [session.closed for session in server.sessions] == [(1000, "")] * 6
    kinds = {"interrupted_coroutine_handler": "SystemExit", "interrupted_observer": "SystemExit"}
    for name, each in found.items():
        raised = kinds.get(name, "KeyboardInterrupt")
        assert each == {"raised": raised, "warned": [], "logged": []}, name


async def test_f58_a_loop_that_goes_on_after_an_interrupt() -> None:
    """Where the loop goes on after a handler was interrupted, the websocket ends with 1000."""
    async with Server(feed) as server:
        found = await run("goes_on_after_an_interrupt", server.url)
        session = await server.connection(1)
        assert await session.wait_closed() == (1000, "")
        assert len(server.dials) == 1
    assert found == {"raised": "KeyboardInterrupt", "events": ["Connecting", "Connected", "Closed"]}


@pytest.mark.parametrize("how", ["leaves at once", "exits", "returns", "collects", "runs on"])
async def test_f59_a_forked_child_is_inert(how: str) -> None:
    """A child can neither use, close, nor disturb the connection of its parent."""
    async with Server(feed) as server:
        found = await run("forked", server.url, how)
        session = await server.connection(1)
        assert await session.wait_closed() == (1000, "")
        assert session.received == ["goodbye of the parent"]
        assert len(server.dials) == 1
    uses = ("send", "request", "send_threadsafe", "on_next", "rotate", "start", "open", "subscribe")
    refused = dict.fromkeys(uses, "ForkedError")
    assert found == {"whole": True, "reconnects": 0, "status": 0, "child": refused}
