"""The way to the event loop, from other threads and from finalizers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["on_loop", "running_loop", "soon"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs on this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def on_loop(loop: asyncio.AbstractEventLoop | None, work: Callable[[], None]) -> None:
    """Do ``work`` on ``loop``: at once where it runs on this thread, or where there is none."""
    if loop is None or loop is running_loop():
        work()
    else:
        soon(loop, work)


def soon(loop: asyncio.AbstractEventLoop | None, work: Callable[[], None]) -> None:
    """Do ``work`` on ``loop``, not at once; never, when the loop has ended."""
    if loop is not None and not loop.is_closed():
        loop.call_soon_threadsafe(work)
