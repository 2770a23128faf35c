"""Large batches on their way to the consumers: in slices, so that those who read can keep up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from ..core.events import Gap
from ..streams.hub import Hub
from ..streams.tasks import Tasks

__all__ = ["Outflow"]

_T = TypeVar("_T")

_SLICE = 256  # messages between two turns of the loop; a buffer holds 1,000 by default


class Outflow(Generic[_T]):
    """Hands messages and gaps to the hub, in the order given.

    A batch that is longer than a slice goes out slice by slice; what is emitted meanwhile waits
    behind it, and nothing is read, so that it does not grow.

    Args:
        hub: delivers.
        tasks: owner of the task that hands out a long batch.
        on_busy: called when reading has to stop.
        on_idle: called when it may go on.
    """

    def __init__(
        self,
        hub: Hub[_T],
        tasks: Tasks,
        *,
        on_busy: Callable[[], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._tasks = tasks
        self._on_busy = on_busy
        self._on_idle = on_idle
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._may_emit = asyncio.Event()
        self._may_emit.set()

    def emit(self, message: _T) -> None:
        """Deliver a message."""
        if self._waiting:
            self._waiting.append((self._hub.emit, message))
        else:
            self._hub.emit(message)

    def emit_gap(self, gap: Gap) -> None:
        """Deliver a gap."""
        if self._waiting:
            self._waiting.append((self._hub.emit_gap, gap))
        else:
            self._hub.emit_gap(gap)

    def emit_all(self, messages: Iterable[_T]) -> None:
        """Deliver a batch; at once where a slice is enough."""
        batch = deque((self._hub.emit, message) for message in messages)
        if self._waiting:
            self._waiting.extend(batch)
            return
        for _ in range(min(_SLICE, len(batch))):
            deliver, message = batch.popleft()
            deliver(message)
        if batch:
            self._waiting.extend(batch)
            self._on_busy()
            self._tasks.spawn(self._hand_out(), "outflow")

    async def _hand_out(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)
            await self._may_emit.wait()
            for _ in range(min(_SLICE, len(self._waiting))):
                deliver, item = self._waiting[0]
                deliver(item)  # what it leads to waits behind the batch, so that is kept until now
                if self._waiting:
                    self._waiting.popleft()
                if not self._may_emit.is_set():
                    break
        self._on_idle()

    def pause(self) -> None:
        """A consumer that must not lose anything has no room."""
        self._may_emit.clear()

    def resume(self) -> None:
        """It has room again."""
        self._may_emit.set()

    def flush(self) -> None:
        """Hand out all that waits, at once: the end has come."""
        while self._waiting:
            deliver, item = self._waiting.popleft()
            deliver(item)
