"""How often something may be said."""

from __future__ import annotations

__all__ = ["Seldom"]


class Seldom:
    """Admits one of all that comes within a span of time.

    Args:
        seconds: the span.

    Attributes:
        refused: how many were not admitted since the last one that was.
    """

    def __init__(self, seconds: float) -> None:
        self.refused = 0
        self._seconds = seconds
        self._last: float | None = None

    def admits(self, now: float) -> bool:
        """Whether this one is to be said; ``now`` on a monotonic clock, of any event loop."""
        if self._last is not None and 0 <= now - self._last < self._seconds:
            self.refused += 1
            return False
        self._last = now
        return True

    def take_refused(self) -> int:
        """How many were refused until now; they are counted no more."""
        refused, self.refused = self.refused, 0
        return refused
