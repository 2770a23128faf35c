"""The way to the event loop, from other threads and from finalizers."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

__all__ = ["leave_behind", "on_loop", "running_loop", "soon"]

_left_behind: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


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
    """Do ``work`` on ``loop``, not at once; never, when the loop has ended or was left behind."""
    if loop is not None and not loop.is_closed() and loop not in _left_behind:
        loop.call_soon_threadsafe(work)


def leave_behind(loop: asyncio.AbstractEventLoop) -> None:
    """``loop`` is that of the parent process: nothing is done on it in this one.

    To wake it would write to a socket that both processes share.
    """
    _left_behind.add(loop)
