"""The numbered feed server in a process of its own, so that it takes no time from the client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rxws.testing.feed import SYMBOLS, FeedLog

__all__ = ["ServerProcess"]

_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 4.0
# The package need not be installed for a process that is started from a checkout.
_ROOT = str(Path(__file__).resolve().parents[2])


class ServerProcess:
    """A feed of made-up trades, see `Market`, served by a process of its own.

    ::

        async with ServerProcess(rate=2000) as server:
            ...connect to server.url...
            log = await server.pause()
            log.numbers             # range(1, 20001): what was sent in all
            log.connections[1]      # range(37, 20001): what was sent to the first connection

    Every connection is sent the same events in the same order. Leaving the block ends the
    process; so does the end of this process, however it comes.

    Parameters:
        rate: messages a second.
        symbols: of the market.
        port: where to listen; 0 is any free port.
        paused: whether it waits for `resume` before the first message.
    """

    def __init__(
        self,
        rate: float = 1000.0,
        *,
        symbols: Sequence[str] = tuple(SYMBOLS),
        port: int = 0,
        paused: bool = False,
    ) -> None:
        self.url = ""
        """Where to connect to; empty before it has started."""
        self._arguments = [f"--rate={rate!r}", f"--port={port}", f"--symbols={','.join(symbols)}"]
        if paused:
            self._arguments.append("--paused")
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(1)

    @property
    def pid(self) -> int | None:
        """The id of the process; ``None`` before it has started."""
        return self._process.pid if self._process is not None else None

    async def __aenter__(self) -> Self:
        path = os.environ.get("PYTHONPATH")
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rxws.testing.serve",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
            env={**os.environ, "PYTHONPATH": _ROOT + (os.pathsep + path if path else "")},
            # An interrupt from the keyboard is ours: the end of its input tells the server.
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(_START_TIMEOUT):
                line = await process.stdout.readline()
        except BaseException:
            await self._end()
            raise
        if not line:
            await self._end()
            raise RuntimeError("the server process ended before it listened")
        self.url = json.loads(line)["url"]
        self._reader = asyncio.create_task(self._read(process.stdout), name="server process")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    async def log(self) -> FeedLog:
        """Return which numbers were sent so far, in all and on each connection.

        Raises:
            ConnectionError: when the process has ended.
        """
        return await self._ask("log")

    async def pause(self) -> FeedLog:
        """Send nothing more, and return what was sent so far.

        Raises:
            ConnectionError: when the process has ended.
        """
        return await self._ask("pause")

    async def resume(self) -> FeedLog:
        """Go on with the next number, and return what was sent before.

        Raises:
            ConnectionError: when the process has ended.
        """
        return await self._ask("resume")

    async def _ask(self, op: str) -> FeedLog:
        process = self._process
        if process is None or process.stdin is None or self._reader is None or self._reader.done():
            raise ConnectionError("the server process is not running")
        number = next(self._ids)
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            process.stdin.write(json.dumps({"op": op, "id": number}).encode() + b"\n")
            await process.stdin.drain()
            return FeedLog.from_json(await reply)
        finally:
            del self._replies[number]

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        """Give every line of output to whoever asked for it."""
        try:
            while line := await stdout.readline():
                data = json.loads(line)
                reply = self._replies.get(data.get("id"))
                if reply is not None and not reply.done():
                    reply.set_result(data)
        finally:
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(ConnectionError("the server process has ended"))

    async def _end(self) -> None:
        """Let the process end, and wait for it; killed when it takes too long."""
        process, reader = self._process, self._reader
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT):
                    await process.wait()
        finally:
            # Also when cancelled: a killed process is gone at once.
            if process.returncode is None:
                process.kill()
                await process.wait()
            if reader is not None:
                reader.cancel()
                await asyncio.wait({reader})
            # Read to its end the pipe closes by itself.
            await process.stdout.read()
        if reader is not None and not reader.cancelled():
            reader.result()
