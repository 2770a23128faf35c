"""What is on its way to the consumers and has to wait: for a filling, or for its slice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from ..streams.tasks import Tasks

__all__ = ["Outflow", "Work"]

Work: TypeAlias = tuple[Callable[[Any], None], Any]
"""What to call when its turn comes, and with what."""

_SLICE = 256  # messages between two turns of the loop; a buffer holds 1,000 by default


class Outflow:
    """Does work in the order given.

    A batch that is longer than a slice is done slice by slice, so that those who read can keep
    up; what comes meanwhile waits behind it, and nothing is read, so that it does not grow.

    Args:
        tasks: owner of the task that does what waits.
        limit: what waits at most, while `stall` holds it up, before reading stops.
        on_busy: called when reading has to stop.
        on_idle: called when it may go on.

    Attributes:
        is_busy: whether something waits, so that what comes has to wait too.
    """

    def __init__(
        self,
        tasks: Tasks,
        *,
        limit: int,
        on_busy: Callable[[], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._tasks = tasks
        self._limit = limit
        self._on_busy = on_busy
        self._on_idle = on_idle
        self.is_busy = False
        self._waiting: deque[Work] = deque()
        self._is_stalled = False
        self._is_reading = True
        self._worker: asyncio.Task[None] | None = None
        self._may_emit = asyncio.Event()
        self._may_emit.set()

    def do(self, work: Sequence[Work]) -> None:
        """Do this after what waits; at once where nothing does and a slice is enough."""
        was_busy = self.is_busy
        self._waiting.extend(work)
        self.is_busy = bool(self._waiting) or self._is_stalled
        if not was_busy:
            self._do_slice()
        self._go_on()
        if self._is_stalled and len(self._waiting) >= self._limit:
            self._stop_reading()

    def stall(self) -> None:
        """Do nothing of what waits until `go_on`."""
        self._is_stalled = self.is_busy = True

    def go_on(self, first: Iterable[Work] = ()) -> None:
        """Go on, with this first."""
        self._is_stalled = False
        self._waiting.extendleft(reversed(list(first)))
        self.is_busy = bool(self._waiting)
        self._go_on()

    def settle(self, settled: Callable[[Work], list[Work]]) -> None:
        """Replace each piece of work that waits by what ``settled`` makes of it."""
        waiting, self._waiting = self._waiting, deque()
        for work in waiting:
            self._waiting.extend(settled(work))

    def flush(self) -> None:
        """Do all that waits, at once: the end has come."""
        self._is_stalled = False
        while self._waiting:
            deliver, item = self._waiting.popleft()
            deliver(item)
        self.is_busy = False

    def pause(self) -> None:
        """A consumer that must not lose anything has no room."""
        self._may_emit.clear()

    def resume(self) -> None:
        """It has room again."""
        self._may_emit.set()

    def _do_slice(self) -> None:
        for _ in range(_SLICE):
            if not self._waiting or self._is_stalled or not self._may_emit.is_set():
                break
            deliver, item = self._waiting.popleft()
            deliver(item)  # `is_busy` meanwhile: what it leads to waits behind the batch
        self.is_busy = bool(self._waiting) or self._is_stalled

    def _go_on(self) -> None:
        if not self._waiting or self._is_stalled:
            if self.is_busy or self._is_reading:
                return
            self._is_reading = True
            self._on_idle()
            return
        self._stop_reading()
        if self._worker is None:
            self._worker = self._tasks.spawn(self._work(), "outflow")

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._on_busy()

    async def _work(self) -> None:
        try:
            while self._waiting and not self._is_stalled:
                await asyncio.sleep(0)
                await self._may_emit.wait()
                self._do_slice()
        finally:
            self._worker = None
        self._go_on()
