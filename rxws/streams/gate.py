"""Backpressure: consumers that must not lose anything shut the gate, the socket is not read."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Gate"]

_emitting = threading.local()


class Gate:
    """Shut while at least one buffer with ``Overflow.BLOCK`` is full.

    Args:
        on_change: called with whether it is shut now, on each change.
    """

    def __init__(self, on_change: Callable[[bool], None]) -> None:
        self._on_change = on_change
        self._holders: set[int] = set()

    @property
    def is_shut(self) -> bool:
        """Whether the source must not be read."""
        return bool(self._holders)

    def shut(self, holder: object) -> None:
        """``holder`` has no room. Idempotent."""
        was_shut = self.is_shut
        self._holders.add(id(holder))
        if not was_shut:
            self._on_change(True)

    def open(self, holder: object) -> None:
        """``holder`` has room again, or is gone. Idempotent."""
        was_shut = self.is_shut
        self._holders.discard(id(holder))
        if was_shut and not self.is_shut:
            self._on_change(False)

    def __enter__(self) -> None:
        """What is emitted until ``__exit__`` comes from the source behind this gate."""
        _emitting.gate = self

    def __exit__(self, *_: object) -> None:
        _emitting.gate = None

    @staticmethod
    def of_this_emission() -> Gate | None:
        """The gate before the source whose item is being delivered on this thread, if any.

        This is how an iterator behind any number of operators finds the socket to pause.
        """
        gate: Gate | None = getattr(_emitting, "gate", None)
        return gate
