"""Reading a connection by its documented ``recv``, and pushing what comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from .transport import Raw, Receiver

__all__ = ["Reader"]

_SLICE_MESSAGES = 256
_SLICE_SECONDS = 0.002
"""A slice of a burst, before the loop gets its turn: consumers can keep up, nothing starves."""


class Reader:
    """Hands over message after message until ``recv`` raises.

    Args:
        recv: gives the next message; raises when the connection has ended.
        ended: from what ``recv`` raised to the code and reason of the peer's Close frame.
    """

    def __init__(
        self,
        recv: Callable[[], Awaitable[Raw]],
        ended: Callable[[BaseException], tuple[int | None, str]],
    ) -> None:
        self._recv = recv
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._discard = False
        self._cancelled = False
        self._receiver: Receiver | None = None
        self._is_torn = False

    def start(self, receiver: Receiver) -> None:
        """Begin to read."""
        self._receiver = receiver
        self._is_torn = False
        loop = asyncio.get_running_loop()
        self._task = asyncio.Task(self._run(receiver), loop=loop, name="rxws reader")
        # Of what ends the whole loop, KeyboardInterrupt say, the loop tells by itself.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def pause(self) -> None:
        """Read no further message until `resume`."""
        if not self._discard:
            self._may_read.clear()

    def resume(self) -> None:
        """Undo `pause`."""
        self._may_read.set()

    def discard(self) -> None:
        """Read on whatever happens, as the closing handshake needs it, and hand over nothing."""
        self.drop()
        if self._is_torn and self._receiver is not None:
            self.start(self._receiver)

    def drop(self) -> None:
        """Hand over nothing more."""
        self._discard = True
        self._may_read.set()

    async def finished(self) -> None:
        """Wait until the last message and the end were handed over."""
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task])

    def cancel(self) -> None:
        """Stop reading a connection that can't be made to end."""
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()

    async def _run(self, receiver: Receiver) -> None:
        try:
            error = await self._read(receiver)
        except Exception as fault:  # of a receiver: the connection can't go on, but not in silence
            asyncio.get_running_loop().call_exception_handler(
                {"message": "rxws: a message could not be handed over", "exception": fault}
            )
            error = fault
        except BaseException as fault:
            # Not the connection ended, but the program: its loop is cancelled, or a handler
            # raised KeyboardInterrupt. Who closes it may need it to be read.
            self._is_torn = not self._cancelled
            receiver.lost(None, "", fault if self._is_torn else None)
            raise
        code, reason = self._ended(error)
        receiver.lost(code, reason, error)

    async def _read(self, receiver: Receiver) -> Exception:
        recv, clock = self._recv, time.monotonic
        count, began = 0, clock()
        while True:
            if not self._may_read.is_set():
                await self._may_read.wait()
            try:
                raw = await recv()
            except Exception as error:  # whatever a connection raises is its end
                return error
            if self._discard:
                continue
            receiver.received(raw)
            count += 1
            if count >= _SLICE_MESSAGES or clock() - began > _SLICE_SECONDS:
                await asyncio.sleep(0)
                count, began = 0, clock()
