"""How long one keeps trying: dials are counted, and the delays between them drawn."""

from __future__ import annotations

from collections.abc import Callable

from .backoff import Backoff, Delays
from .errors import RetriesExhausted
from .steps import Failed, Lost

__all__ = ["Patience"]


class Patience:
    """Counts the dials of one websocket, and says when there is another, if any.

    Dials while there is no live connection are bounded by ``Backoff.attempts`` and spaced by
    its delays; both start over only after a connection was stable. Rotations are spaced by
    delays of their own, and may fail any number of times.

    Args:
        backoff: delays between attempts, and how many.
        random: gives numbers from 0 up to 1, uniformly.

    Attributes:
        attempt: dials in a row for the connection on its way, 0 when none was made.
    """

    def __init__(self, backoff: Backoff, random: Callable[[], float]) -> None:
        self.attempt = 0
        self._attempts = backoff.attempts
        self._unstable = 0  # dials in a row since a connection was last stable
        self._delays = Delays(backoff, random)
        self._rotation_delays = Delays(backoff, random)

    def dial(self, *, successor: bool) -> int:
        """A dial is made, for the successor of a live connection or not; returns its number."""
        self.attempt += 1
        if not successor:
            self._unstable += 1
        return self.attempt

    def promoted(self) -> None:
        """The live connection was lost: the dial of its successor counts as one of the row."""
        self._unstable += 1
        self._rotation_delays.restart()

    def arrived(self) -> None:
        """A connection is live, and no other on its way."""
        self.attempt = 0
        self._rotation_delays.restart()

    def after(self, end: Failed | Lost) -> float | BaseException:
        """Seconds until the next dial, now that there is no connection; or why there is none."""
        if isinstance(end, Lost):
            self.arrived()  # what waited for its retry is called off
        if not end.retryable:
            return end.error
        if self._attempts is not None and self._unstable >= self._attempts:
            return RetriesExhausted(self._unstable, end.error)
        return self._delays.next(end.retry_after)

    def after_parting(self, *, is_newborn: bool) -> float | None:
        """Seconds until the next dial, after we ended the connection; ``None`` for at once.

        That is no failure, and no reason to wait. But an endless chain of connections that are
        ended right after they were opened is.
        """
        self._unstable = max(self._unstable - 1, 0)
        return self._delays.next() if is_newborn else None

    def after_rotation(self, end: Failed | Lost) -> float:
        """Seconds until the next dial for a rotation, now that one failed."""
        return self._rotation_delays.next(end.retry_after)

    def stable(self) -> None:
        """A connection was live for ``Backoff.stable`` seconds: delays and attempts start over."""
        self._delays.restart()
        self._unstable = 0
