"""What a consumer may raise without harm to anybody else."""

from __future__ import annotations

import asyncio

__all__ = ["FAULTS", "is_cancelled"]

FAULTS: tuple[type[BaseException], ...] = (Exception, asyncio.CancelledError)
"""Caught around each call of a synchronous consumer, and reported.

A `CancelledError` out of such a call is the consumer's own (of a future that it asked for its
result, say): there is no await in it through which our task could be cancelled. `SystemExit`
and `KeyboardInterrupt` pass.
"""


def is_cancelled(error: BaseException) -> bool:
    """Whether somebody cancels the running task: not a future that it awaited was cancelled."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)
