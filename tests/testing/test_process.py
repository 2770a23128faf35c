"""The feed server in a process of its own: its log is exact, and it ends with its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import pytest
from websockets.asyncio.client import ClientConnection, connect

from rxws.testing import FeedLog, Market, ServerProcess, serve


async def test_every_connection_gets_what_the_log_says() -> None:
    """Two connections get the same events in the same order, exactly those of the log."""
    heard: dict[int, list[str]] = {1: [], 2: []}

    async def read(number: int, client: ClientConnection) -> None:
        async for raw in client:
            heard[number].append(str(raw))

    async def wait_for(first: int, second: int) -> None:
        async with asyncio.timeout(120):
            while len(heard[1]) < first or len(heard[2]) < second:
                await asyncio.wait(readers, timeout=0.01)

    async with (
        ServerProcess(rate=2000) as server,
        connect(server.url, proxy=None, max_queue=None) as one,
        connect(server.url, proxy=None, max_queue=None) as two,
    ):
        readers = [asyncio.create_task(read(1, one)), asyncio.create_task(read(2, two))]
        await wait_for(500, 500)
        log = await server.pause()
        assert log == await server.log() and set(log.connections) == {1, 2}
        await wait_for(len(log.connections[1]), len(log.connections[2]))
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        market = Market()
        for number, numbers in log.connections.items():
            assert heard[number] == [market(n) for n in numbers]
        assert log.numbers.start == 1 and log.numbers[-1] == log.connections[1][-1]


async def test_a_client_can_ask_for_the_log() -> None:
    """``{"op": "log"}`` over the websocket is answered with the log and the same id."""
    async with (
        ServerProcess(rate=1000, paused=True, symbols=["A"]) as server,
        connect(server.url, proxy=None, max_queue=None) as client,
    ):
        assert await server.log() == FeedLog(range(1, 1), {1: range(1, 1)})
        await client.send("not json")
        await client.send("[]")
        await client.send('{"op":"log","id":"x"}')
        reply = json.loads(await client.recv())
        assert (reply["op"], reply["id"], reply["numbers"]) == ("log", "x", None)
        await server.resume()
        assert json.loads(await client.recv())["n"] == 1


async def test_the_block_ends_the_process() -> None:
    """Afterwards the process is gone, and questions are errors."""
    server = ServerProcess()
    assert server.pid is None
    with pytest.raises(ConnectionError):
        await server.log()
    async with server:
        pid = server.pid
        assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionError):
        await server.log()


async def test_a_killed_process_is_noticed() -> None:
    """A question to a process that died raises, and leaving the block is quiet."""

    async def ask_on() -> None:
        while True:
            await server.log()

    async with ServerProcess() as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ConnectionError):
            await ask_on()


async def test_a_process_that_cannot_listen_is_an_error() -> None:
    """A port that is taken is a RuntimeError at the start; nothing is left."""
    async with ServerProcess(paused=True) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match="listened"):
            await ServerProcess(port=port).__aenter__()


async def test_the_process_ends_with_its_standard_input() -> None:
    """Closed at once, the input ends it with exit code 0 after its first line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rxws.testing.serve",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(b'nonsense\n{"op":"pause","id":1}\n')
    first, reply = out.splitlines()
    assert json.loads(first)["url"].startswith("ws://127.0.0.1:")
    assert json.loads(reply)["id"] == 1
    assert b"not a command: 'nonsense'" in err and process.returncode == 0


PARENT = """
import asyncio, os, rxws.testing

async def main():
    async with rxws.testing.ServerProcess():
        print("serving", flush=True)
        os.kill(os.getpid(), 9)

asyncio.run(main())
"""


async def test_the_process_does_not_outlive_a_parent_that_was_killed() -> None:
    """The standard error that both processes share comes to its end: nobody holds it any more."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await parent.communicate()
    assert (out, err, parent.returncode) == (b"serving\n", b"", -9)


async def test_a_cancelled_end_leaves_no_process() -> None:
    """A process that would not end is killed when the wait for it is cancelled."""
    async with asyncio.timeout(120):
        server = await ServerProcess(paused=True).__aenter__()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        ending = asyncio.create_task(server.__aexit__(None, None, None))
        await asyncio.wait({ending}, timeout=0.05)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_wrong_rate_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a line that says why."""
    with pytest.raises(SystemExit) as caught:
        serve.main(["--rate", "0"])
    assert caught.value.code == 2
    assert "--rate must be positive" in capsys.readouterr().err
