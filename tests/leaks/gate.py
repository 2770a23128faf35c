"""What there is before and after: descriptors, tasks, threads, timers, objects, memory."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import gc
import threading
import time
from collections.abc import Awaitable, Callable

from tests.counting import CountingLoop, descriptors, resident

__all__ = ["Gate", "Holdings", "settled"]

_PATIENCE = 60.0


@dataclasses.dataclass(frozen=True)
class Holdings:
    """What a process holds, after a collection of garbage."""

    descriptors: int
    tasks: int
    threads: int
    timers: int
    objects: int
    memory: float

    @classmethod
    def now(cls) -> Holdings:
        """Look."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        timers = loop.timers
        gc.collect()
        return cls(
            descriptors=descriptors(),
            tasks=len(asyncio.all_tasks()),
            threads=threading.active_count(),
            timers=timers,
            objects=len(gc.get_objects()),
            memory=resident(),
        )


class Gate:
    """Compares what a process holds before and after much was done.

    Args:
        objects: how many objects more there may be after.
        memory: by how many MB it may grow.

    Attributes:
        notes: figures, in words.
        wrong: what is not as promised, in words.
    """

    def __init__(self, *, objects: int, memory: float) -> None:
        self._objects = objects
        self._memory = memory
        self._before: Holdings | None = None
        self._kinds: collections.Counter[str] = collections.Counter()
        self._began = time.monotonic()
        self.notes: list[str] = []
        self.wrong: list[str] = []

    def begin(self) -> None:
        """Look for the first time, when what is needed once is there."""
        self._kinds = _kinds()
        self._before = Holdings.now()
        self._began = time.monotonic()

    def end(self, what: str) -> None:
        """Look again, and compare."""
        before, after = self._before, Holdings.now()
        assert before is not None
        took = time.monotonic() - self._began
        for name in ("descriptors", "tasks", "threads", "timers"):
            was, now = getattr(before, name), getattr(after, name)
            if now > was:
                self.wrong.append(f"{was} {name} before, {now} after")
        more = after.objects - before.objects
        if more > self._objects:
            which = (_kinds() - self._kinds).most_common(5)
            self.wrong.append(f"{more} objects more: {which}")
        grown = after.memory - before.memory
        if grown > self._memory:
            self.wrong.append(f"memory grew by {grown:.1f} MB")
        self.notes.append(
            f"{what} in {took:.1f} s: descriptors {after.descriptors - before.descriptors:+}, "
            f"tasks {after.tasks - before.tasks:+}, threads {after.threads - before.threads:+}, "
            f"timers {after.timers - before.timers:+}, objects {more:+}, memory {grown:+.1f} MB"
        )

    def check(self, *, holds: bool, what: str) -> None:
        """Note what is wrong unless it holds."""
        if not holds:
            self.wrong.append(what)


def _kinds() -> collections.Counter[str]:
    return collections.Counter(type(each).__qualname__ for each in gc.get_objects())


async def settled(look: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until ``look`` says so, for as long as it may take any machine."""
    until = time.monotonic() + _PATIENCE
    while not await look():
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(0.01)
    return True
