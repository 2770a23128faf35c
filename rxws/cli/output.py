"""Lines for standard output, whose reader may be slow, or gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import stat
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Output"]

_LIMIT = 2**20
"""Bytes that wait at most, before whoever writes has to."""

_GRACE = 1.0
"""Seconds that a slow reader has for what waits, when we were told to go."""


class Output:
    """Standard output, written to by a thread, at once and in order.

    A write to a full pipe blocks: if the event loop did that, it would answer no ping meanwhile
    and lose the connection. A reader who takes nothing any more must not keep us alive either:
    the thread is left behind then. That is why it writes to the descriptor, as the end of the
    interpreter must not meet a lock of ``sys.stdout`` that the thread holds.

    Leaving its ``async with`` waits until everything is written; only for a short time where the
    block was cancelled.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._room.set()
        self._idle.set()
        self._waiting: list[bytes] = []
        self._size = 0
        self._chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._descriptor = _descriptor()
        self._watched = False
        self._thread = threading.Thread(target=self._write_chunks, name="output", daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        if self._descriptor is not None and stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
            # Nothing can be read from this end of a pipe, but that the other one was closed.
            with contextlib.suppress(NotImplementedError):  # Windows
                self._loop.add_reader(self._descriptor, self._failed, BrokenPipeError())
                self._watched = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        cancelled = isinstance(exc, asyncio.CancelledError)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE if cancelled else None):
                    await self._idle.wait()
        finally:
            self._stop_watching()
            self._chunks.put(None)
            if self._idle.is_set():
                self._thread.join()

    async def failed(self) -> None:
        """Wait until nothing can be written any more, and raise why.

        Raises:
            BrokenPipeError: nobody reads the pipe any more.
            OSError: anything else, such as a full disk.
        """
        await asyncio.shield(self._failure)

    async def write(self, line: bytes) -> None:
        """Write a line, now; waits while the reader is much slower."""
        if self._failure.done():
            return
        self._waiting.append(line)
        self._size += len(line)
        if self._idle.is_set():
            self._idle.clear()
            self._hand_over()
        elif self._size >= _LIMIT:
            self._room.clear()
        await self._room.wait()

    def _hand_over(self) -> None:
        self._chunks.put(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0
        self._room.set()

    def _written(self) -> None:
        if self._waiting:
            self._hand_over()
        else:
            self._idle.set()

    def _failed(self, error: OSError) -> None:
        self._stop_watching()
        self._waiting.clear()
        self._room.set()
        self._idle.set()
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # a failure at the very end concerns nobody

    def _stop_watching(self) -> None:
        if self._watched and self._descriptor is not None:
            self._watched = False
            self._loop.remove_reader(self._descriptor)

    # In the thread

    def _write_chunks(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            try:
                self._write(chunk)
            except OSError as error:
                self._tell(self._failed, error)
                return
            self._tell(self._written)

    def _write(self, chunk: bytes) -> None:
        if self._descriptor is None:
            sys.stdout.write(chunk.decode())
            sys.stdout.flush()
            return
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _tell(self, function: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # left behind, we outlive the loop
            self._loop.call_soon_threadsafe(function, *arguments)


def _descriptor() -> int | None:
    """The descriptor of standard output; ``None`` where something else stands in for it."""
    sys.stdout.flush()
    try:
        return sys.stdout.fileno()
    except OSError:
        return None
