"""What a process holds: TCP connections at any instant, descriptors, memory."""

from __future__ import annotations

import asyncio
import heapq
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["CountingLoop", "descriptors", "resident"]

_STATM = Path("/proc/self/statm")
_DESCRIPTORS = Path("/proc/self/fd")


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that knows how many TCP connections its clients have, and the most ever.

    One counts from when it is made until its protocol hears that it is lost, in which step the
    socket is closed too: no look in between can miss one.

    Attributes:
        open_now, most_open: connections now, and at most since `reset_most`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open_now = self.most_open = 0
        self._scheduled: list[asyncio.TimerHandle]

    @property
    def timers(self) -> int:
        """How many timers are set; those that were cancelled are let go of, which it puts off."""
        left = []
        for handle in self._scheduled:
            if handle.cancelled():
                handle._scheduled = False
            else:
                left.append(handle)
        heapq.heapify(left)
        self._scheduled, self._timer_cancelled_count = left, 0
        return len(left)

    def reset_most(self) -> None:
        """Forget the past."""
        self.most_open = self.open_now

    async def create_connection(
        self, protocol_factory: Callable[[], Any], *args: Any, **options: Any
    ) -> Any:
        """As of any loop, but counted."""
        return await super().create_connection(
            lambda: self._counted(protocol_factory()), *args, **options
        )

    def _counted(self, protocol: Any) -> Any:
        made, lost = protocol.connection_made, protocol.connection_lost

        def connection_made(transport: asyncio.BaseTransport) -> None:
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
            made(transport)

        def connection_lost(error: Exception | None) -> None:
            self.open_now -= 1
            lost(error)

        protocol.connection_made = connection_made
        protocol.connection_lost = connection_lost
        return protocol


def descriptors() -> int:
    """Return how many descriptors this process has open; 0 where nobody can say."""
    return len(os.listdir(_DESCRIPTORS)) if _DESCRIPTORS.is_dir() else 0  # noqa: PTH208 -- brief


def resident() -> float:
    """Return the memory of this process in MB: now, or its peak where only that is known."""
    if _STATM.exists():
        return int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
