"""Backpressure: consumers that must not lose anything shut the gate, the socket is not read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from .threads import on_loop, running_loop

__all__ = ["Gate"]

_emitting = threading.local()


class Gate:
    """Shut while at least one buffer with ``Overflow.BLOCK`` is full.

    Args:
        on_change: called with whether it is shut now, on each change, on the event loop.

    Attributes:
        loop: on which it was shut; ``None`` before.
    """

    def __init__(self, on_change: Callable[[bool], None]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._on_change = on_change
        self._holders: set[int] = set()
        self._outer: Gate | None = None

    @property
    def is_shut(self) -> bool:
        """Whether the source must not be read."""
        return bool(self._holders)

    def shut(self, holder: object) -> None:
        """``holder`` has no room. Idempotent."""
        was_shut = self.is_shut
        self._holders.add(id(holder))
        if not was_shut:
            self.loop = running_loop()
            self._on_change(True)

    def open(self, holder: object) -> None:
        """``holder`` has room again, or is gone. Idempotent; may be called from any thread."""
        if id(holder) in self._holders:
            on_loop(self.loop, lambda: self._open(holder))

    def _open(self, holder: object) -> None:
        was_shut = self.is_shut
        self._holders.discard(id(holder))
        if was_shut and not self.is_shut:
            self._on_change(False)

    def __enter__(self) -> None:
        """What is emitted until ``__exit__`` comes from the source behind this gate."""
        self._outer = Gate.of_this_emission()
        _emitting.gate = self

    def __exit__(self, *_: object) -> None:
        _emitting.gate, self._outer = self._outer, None

    @staticmethod
    def of_this_emission() -> Gate | None:
        """The gate before the source whose item is being delivered on this thread, if any.

        This is how an iterator behind any number of operators finds the socket to pause.
        """
        gate: Gate | None = getattr(_emitting, "gate", None)
        return gate
