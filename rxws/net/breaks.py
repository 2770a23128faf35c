"""Breaks in the feed: declared as gaps, filled where the user knows how."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterable, Callable
from typing import Any, Generic, TypeVar

from ..core.events import ConsumerFailed, Event, Gap
from ..core.handover import Handover
from ..streams.isolation import FAULTS, is_cancelled
from ..streams.tasks import Tasks
from .connection import Connection
from .options import Options
from .outflow import Outflow

__all__ = ["Breaks"]

_T = TypeVar("_T")


class Breaks(Generic[_T]):
    """Knows where the feed broke off, and what to do when it goes on.

    Args:
        options: of the websocket.
        outflow: delivers the gaps, and what fills them.
        handover: says what of the filling was delivered already.
        tasks: owner of the filling.
        announce: tells events.
        resume: delivers what a connection brought meanwhile.

    Attributes:
        gaps: declared so far.
        filling: whether live messages have to wait for a filling.
        overlapped: whether the old connection was still open when the new one was ready.
    """

    def __init__(
        self,
        options: Options,
        outflow: Outflow[_T],
        handover: Handover[_T],
        *,
        tasks: Tasks,
        announce: Callable[[Event], None],
        resume: Callable[[Connection[_T]], None],
    ) -> None:
        self.gaps = 0
        self.filling = False
        self.overlapped = False
        self._options = options
        self._outflow = outflow
        self._handover = handover
        self._tasks = tasks
        self._announce = announce
        self._resume = resume
        self._gap: Gap | None = None
        self._orderly = False
        self._connection: Connection[_T] | None = None
        self._task: asyncio.Task[None] | None = None

    def ended(self, connection: Connection[_T]) -> None:
        """A connection ended: remember since when messages may be missing."""
        if self.filling and connection is self._connection:
            self.cancel()
            self._go_on([], filled=False)
        if self._gap is not None and self._gap.epoch > connection.epoch:
            self._orderly = connection.code is not None
            return  # its successor ended before it: that is where the feed breaks off
        age = asyncio.get_running_loop().time() - connection.last_message
        since = time.time() - age
        reason = str(connection.loss) if connection.loss is not None else "closed"
        self._orderly = connection.code is not None
        self._gap = Gap(connection.epoch, reason, planned=False, since=since, until=since)

    def is_gap(self, brought_twice: int) -> bool:
        """Whether the end of the old connection, while the new one was open, lost messages.

        It did not when it ended with a Close frame, or when the new one brought something that
        the old one had brought too: then nothing lies between them.
        """
        return not (self._orderly and self.overlapped) and brought_twice == 0

    def declare(self) -> None:
        """The feed goes on after a gap that nothing fills."""
        self._tell(filled=False)

    def mend(self, connection: Connection[_T]) -> None:
        """The feed goes on with ``connection``: fill the gap first, where the user knows how."""
        if self._options.resync is None:
            self._tell(filled=False)
            self._resume(connection)
            return
        self.filling = True
        self._connection = connection
        self._task = self._tasks.spawn(self._fill(), "resync")

    async def _fill(self) -> None:
        messages: list[_T] = []
        filled = False
        try:
            async with asyncio.timeout(self._options.resync_timeout):
                messages = await self._ask()
            filled = True
        except FAULTS as error:
            if is_cancelled(error):
                raise
            self._announce(ConsumerFailed(self._options.resync, error))
        self._go_on(messages, filled=filled)

    async def _ask(self) -> list[_T]:
        assert self._options.resync is not None and self._gap is not None
        found: Any = await self._options.resync(dataclasses.replace(self._gap, until=time.time()))
        if isinstance(found, AsyncIterable):
            return [message async for message in found]
        return list(found)

    def _go_on(self, messages: list[_T], *, filled: bool) -> None:
        self.filling = False
        self._task = None
        connection, self._connection = self._connection, None
        assert connection is not None
        self._tell(filled=filled)
        now = asyncio.get_running_loop().time()
        self._outflow.emit_all(
            message for message in messages if self._handover.admit_filling(message, now)
        )
        self._resume(connection)

    def _tell(self, *, filled: bool) -> None:
        gap, self._gap = self._gap, None
        if gap is not None:
            self.gaps += 1
            gap = dataclasses.replace(gap, until=time.time(), filled=filled)
            self._announce(gap)
            self._outflow.emit_gap(gap)

    def cancel(self) -> None:
        """Stop filling."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
