"""An event loop whose time is virtual: tests of hours that take milliseconds."""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["DeadlockError", "VirtualTimeLoop", "run_virtual"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Real seconds without anything to do after which the loop believes that no thread is about to
# wake it; and while something that the loop itself started runs in a thread.
_PATIENCE = 0.5
_PATIENCE_WITH_THREADS = 60.0
# The loop gives timers that are closer than this to the present as due.
_RESOLUTION = 1e-9


class DeadlockError(RuntimeError):
    """Every task waits for something that nobody is going to do."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps to the next timer when nothing is ready.

    ``asyncio.sleep``, timeouts and ``call_later`` take no real time, happen in their order and
    at their exact moment. Where nothing is ready and no timer is set, which would be a hang,
    it raises a `DeadlockError` that says what each task waits for.

    Threads may use ``call_soon_threadsafe``; while something runs in ``run_in_executor`` or
    ``asyncio.to_thread`` the clock stands still. The loop does not know of other threads, nor
    of the network, and jumps ahead of what they are about to do: use fakes instead of sockets.
    """

    def __init__(self) -> None:
        self._virtual_time = 0.0
        self._moments: list[float] = []
        self._threads = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._virtual_time

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As of any loop; ``when`` is on the virtual clock."""
        handle = super().call_at(when, callback, *args, context=context)
        if 0 < when - self._virtual_time < _RESOLUTION:
            # It is due at once, and who waits for a moment just ahead has to find it reached.
            self._virtual_time = when
        heapq.heappush(self._moments, when)
        return handle

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As of any loop; the clock stands still until ``func`` is done."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """As of any loop; the clock stands still meanwhile."""
        self._threads += 1
        try:
            await super().shutdown_default_executor(*args, **options)
        finally:
            self._threads -= 1

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def _idle(self, timeout: float | None) -> float:
        """Move the clock by ``timeout``, or return for how many real seconds to wait instead."""
        if self._threads:
            return _PATIENCE_WITH_THREADS
        if timeout is None:
            return _PATIENCE
        now = self._virtual_time + timeout
        # (when - time) + time need not be when: take the moment itself, so that code which
        # compares the clock with its own deadline finds it reached.
        while self._moments and self._moments[0] < now - _RESOLUTION:
            heapq.heappop(self._moments)
        if self._moments and self._moments[0] <= now + _RESOLUTION:
            now = self._moments[0]
        self._virtual_time = max(now, self._virtual_time)
        return 0

    def _deadlock(self) -> DeadlockError:
        tasks = sorted(_where(task) for task in asyncio.all_tasks(self))
        return DeadlockError(
            "nothing is ready, no timer is set and no thread woke the loop; waiting for ever:"
            + "".join(f"\n  {line}" for line in tasks or ["(no task)"])
        )


class _Selector(selectors.DefaultSelector):
    """Looks at the file descriptors without waiting, as long as there is virtual time to spend."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        patience = self._loop._idle(timeout)
        if not patience:
            return []
        events = super().select(patience)
        if not events:
            raise self._loop._deadlock()
        return events


def _where(task: asyncio.Task[Any]) -> str:
    """Return the name of ``task`` and the line where its outermost coroutine waits."""
    name = getattr(task.get_coro(), "__qualname__", "?")
    frames = task.get_stack()
    if not frames:
        return f"{task.get_name()}: {name}"
    return f"{task.get_name()}: {name} at {frames[-1].f_code.co_filename}:{frames[-1].f_lineno}"


def run_virtual(
    main: Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]],
    *,
    debug: bool | None = None,
) -> T:
    """Run a coroutine, or a coroutine function without parameters, on a `VirtualTimeLoop`.

    As ``asyncio.run``: it returns the result, and ends what is left of tasks, asynchronous
    generators and threads.

    Parameters:
        debug: asyncio's debug mode; ``None`` leaves it to the interpreter.

    Raises:
        DeadlockError: when it would hang.
    """
    with asyncio.Runner(debug=debug, loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main() if callable(main) else main)
