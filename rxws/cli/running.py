"""Running a command until it is done, or until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["run"]


def run(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a command in an event loop of its own.

    SIGINT and SIGTERM cancel it, so that it ends in the orderly way.

    Returns:
        The command's exit code; after a signal, 128 and its number.
    """
    return asyncio.run(_until_signalled(work))


async def _until_signalled(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    received = 0

    def end(number: int) -> None:
        nonlocal received
        received = received or number
        assert task is not None
        task.cancel()

    # Neither on Windows nor in a thread; there an interrupt is a KeyboardInterrupt.
    with contextlib.suppress(RuntimeError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end, number)
    try:
        code = await work()
    except asyncio.CancelledError:
        if not received:
            raise
        code = 0
    return 128 + received if received else code
