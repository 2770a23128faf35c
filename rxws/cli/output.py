"""Lines for standard output, whose reader may be slow, or gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import stat
import sys
import threading
from types import TracebackType
from typing import Self

__all__ = ["Output"]

_LIMIT = 2**20
"""Bytes that wait at most, before whoever writes has to."""

_GRACE = 1.0
"""Seconds that a reader who is slow has for what waits, when we have to go."""


class Output:
    """Standard output, written to by a thread, at once and in order.

    A write to a full pipe blocks; if that were done by the event loop, it would answer no ping
    meanwhile and lose the connection. The thread is left behind where a reader takes nothing any
    more, so it writes to the descriptor: the end of the interpreter must not wait for a lock of
    ``sys.stdout`` that it holds.

    Use it as ``async with``; leaving the block waits until everything is written, for a short
    time only when the block was cancelled.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._changed = asyncio.Condition()
        self._waiting: list[bytes] = []
        self._size = 0
        self._busy = False
        self._chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._descriptor = _descriptor()
        self._watched = False
        self._thread = threading.Thread(target=self._write_chunks, name="output", daemon=True)

    async def __aenter__(self) -> Self:
        sys.stdout.flush()
        self._thread.start()
        self._watch_for_hangup()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if exc is None else _GRACE):
                    await self._drained()
        finally:
            self._chunks.put(None)
            if self._watched:
                assert self._descriptor is not None
                self._loop.remove_reader(self._descriptor)
            if not self._busy or self._failure.done():
                self._thread.join()
            self._failure.cancel()

    async def failed(self) -> None:
        """Wait until nothing can be written any more, and raise why.

        Raises:
            BrokenPipeError: nobody reads the pipe any more.
            OSError: something else, such as a full disk.
        """
        await asyncio.shield(self._failure)

    async def write(self, line: bytes) -> None:
        """Write a line, now; waits while the reader is much slower."""
        self._waiting.append(line)
        self._size += len(line)
        if not self._busy:
            self._hand_over()
        if self._size >= _LIMIT:
            async with self._changed:
                await self._changed.wait_for(lambda: self._size < _LIMIT)

    async def _drained(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._busy or self._failure.done())

    def _hand_over(self) -> None:
        chunk = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._busy = True
        self._chunks.put(chunk)
