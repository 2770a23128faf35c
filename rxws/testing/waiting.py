"""Waiting for something to become true, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["News"]

T = TypeVar("T")

_LOOK_AGAIN = 0.01


class News:
    """Wakes those who wait for a condition whenever something happened."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        """Let everybody who waits look at their condition again."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, predicate: Callable[[], T], timeout: float, what: str) -> T:
        """Return the first true result of ``predicate``.

        It is called now, after every `tell`, and every 10 ms besides, so that it may look at
        things that tell nobody.

        Raises:
            TimeoutError: naming ``what``, after ``timeout`` seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            result = predicate()
            if result:
                return result
            left = deadline - loop.time()
            if left <= 0:
                raise TimeoutError(f"{what}: not within {timeout:g} s")
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait({waiter}, timeout=min(left, _LOOK_AGAIN))
            finally:
                self._waiters.discard(waiter)
