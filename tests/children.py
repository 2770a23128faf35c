"""Programs that run beside a test, in a process of their own, and do what they are told.

Both ways a line is JSON. A child's first line is its greeting; then a line of its input is a
command with an ``id`` and a line of its output the answer with the same ``id``, or its ``error``.
A child ends when its input does, so that it can't outlive whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Child", "answer_commands"]

_ROOT = Path(__file__).resolve().parents[1]
_TO_START = 60.0
_TO_END = 10.0


class Child:
    """Runs ``python -m MODULE`` with some arguments; leaving the block ends it.

    Attributes:
        greeting: what it said first.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self.greeting: dict[str, Any] = {}
        self._command = ("-m", module, *arguments)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            start_new_session=True,  # an interrupt from the keyboard is ours
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_TO_START):
                line = await process.stdout.readline()
            self.greeting = json.loads(line)
        except BaseException:
            await self._end()
            raise
        self._reader = asyncio.create_task(self._read(process.stdout), name="a child's output")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    async def ask(self, op: str, **details: Any) -> dict[str, Any]:
        """Give a command, and return the answer.

        Raises:
            RuntimeError: it failed.
            ConnectionError: the process has ended.
        """
        process = self._process
        if process is None or process.stdin is None or self._reader is None or self._reader.done():
            raise ConnectionError("the process is not running")
        number = next(self._ids)
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            command = {"op": op, "id": number, **details}
            process.stdin.write(json.dumps(command).encode() + b"\n")
            await process.stdin.drain()
            answer = await reply
        finally:
            del self._replies[number]
        if "error" in answer:
            raise RuntimeError(f"{op} failed: {answer['error']}")
        return answer

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        try:
            while line := await stdout.readline():
                answer = json.loads(line)
                reply = self._replies.get(answer["id"])
                if reply is not None and not reply.done():
                    reply.set_result(answer)
        finally:
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(ConnectionError("the process has ended"))

    async def _end(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TO_END):
                    await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            if self._reader is not None:
                self._reader.cancel()
                await asyncio.wait({self._reader})
            await process.stdout.read()  # the pipe closes at its end


async def answer_commands(
    greeting: dict[str, Any], obey: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
) -> None:
    """Be a child: greet, and answer commands, also several at a time, until the input ends.

    Args:
        obey: returns the answer to a command.
    """
    lines: asyncio.Queue[str] = asyncio.Queue()
    arguments = (asyncio.get_running_loop(), lines)
    threading.Thread(target=_read_lines, args=arguments, daemon=True).start()
    _say(greeting)
    async with asyncio.TaskGroup() as tasks:
        while line := await lines.get():
            tasks.create_task(_answer(json.loads(line), obey))


async def _answer(
    command: dict[str, Any], obey: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
) -> None:
    try:
        answer = await obey(command)
    except Exception as error:
        answer = {"error": repr(error)}
    _say({"id": command["id"], **answer})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _read_lines(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str]) -> None:
    """Hand over the lines of standard input, at its end an empty one; runs in a thread."""
    rest = b""
    while chunk := os.read(0, 65_536):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            loop.call_soon_threadsafe(lines.put_nowait, line.decode())
    loop.call_soon_threadsafe(lines.put_nowait, "")
