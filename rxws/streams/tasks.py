"""An owner for tasks: none is fired and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

__all__ = ["Tasks"]

_AFTER_CANCEL = 0.25  # seconds that a cancelled task is waited for


class Tasks:
    """The tasks of one owner, strongly referenced until they are done.

    Args:
        on_error: called with the exception of a task that nobody awaits.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` as a task of this owner."""
        # Never eagerly: who spawns a task notes it before it runs.
        task: asyncio.Task[Any] = asyncio.Task(
            work, loop=asyncio.get_running_loop(), name=f"rxws {name}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                self._on_error(error)

    async def settle(
        self, timeout: float, *, but: Collection[asyncio.Task[Any]] = frozenset()
    ) -> None:
        """Wait until every task is done, except the calling one; cancel what takes longer.

        Args:
            timeout: seconds before the others are cancelled; a cancelled task that goes on all
                the same is waited for briefly, and then left to the loop.
            but: tasks that are not waited for.
        """
        if (others := self._others(but)) and timeout > 0:
            await asyncio.wait(others, timeout=timeout)
        if others := self._others(but):
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=_AFTER_CANCEL)

    def _others(self, but: Collection[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
        current = asyncio.current_task()
        return {t for t in self._tasks if t is not current and t not in but and not t.done()}
