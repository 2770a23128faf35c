"""What of a filling belongs into its gap."""

from __future__ import annotations

from typing import Generic, TypeVar

from .handover import Handover
from .numbering import Hole

__all__ = ["Filling"]

_T = TypeVar("_T")


class Filling(Generic[_T]):
    """Judges what was fetched to fill one gap.

    Args:
        handover: says what was delivered already.
        hole: what is known to be missing; ``None``: nothing is known of it.
    """

    def __init__(self, handover: Handover[_T], hole: Hole | None) -> None:
        self._handover = handover
        self._hole = hole
        self._brought: set[int] = set()

    def takes(self, message: _T, now: float) -> bool:
        """Whether a message was not delivered yet, and does not wait behind the gap."""
        name = self._handover.named(message)
        hole = self._hole
        if hole is None or name.number is None or name.partition != hole.partition:
            return self._handover.admit_filling(name, now)
        if name.number in self._brought or not hole.lacks(name.number):
            return False
        self._brought.add(name.number)
        return True

    @property
    def is_complete(self) -> bool:
        """Whether nothing that is known to be missing is missing still."""
        if self._hole is None or self._hole.missing is None:
            return True
        missing = self._hole.missing
        return len(self._brought) == missing.stop - missing.start
