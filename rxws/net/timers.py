"""The timers of the lifecycle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..core.steps import Timer

__all__ = ["Timers"]


class Timers:
    """At most one running timer of each kind, on the running loop.

    Args:
        on_elapsed: called with a timer, and the seconds it ran, when they are over.
    """

    def __init__(self, on_elapsed: Callable[[Timer, float], None]) -> None:
        self._on_elapsed = on_elapsed
        self._handles: dict[Timer, asyncio.TimerHandle] = {}

    def start(self, timer: Timer, seconds: float) -> None:
        """Run a timer; one of its kind that runs is forgotten."""
        self.stop(timer)
        loop = asyncio.get_running_loop()
        self._handles[timer] = loop.call_later(seconds, self._elapsed, timer, seconds)

    def stop(self, timer: Timer) -> None:
        """Forget a timer, if it runs."""
        handle = self._handles.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def _elapsed(self, timer: Timer, seconds: float) -> None:
        del self._handles[timer]
        self._on_elapsed(timer, seconds)
