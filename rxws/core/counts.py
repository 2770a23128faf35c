"""What is known of a feed whose messages are numbered."""

from __future__ import annotations

import dataclasses
import enum
import heapq
from collections.abc import Hashable

__all__ = ["Ahead", "Feed", "Hole", "Position", "Repeats"]


@dataclasses.dataclass(frozen=True, slots=True)
class Hole:
    """Numbers that are missing before a message.

    Attributes:
        partition: the feed.
        missing: its missing numbers; ``None`` where the numbers start again.
        last: the number before.
        epoch: the connection that brought that one.
        first: the number after.
    """

    partition: Hashable
    missing: range | None
    last: int
    epoch: int
    first: int

    def lacks(self, number: int) -> bool:
        """Whether a number of this partition may be missing here."""
        return number < self.first and (self.missing is None or number in self.missing)


class Repeats(enum.Enum):
    """What a number is to those that were delivered."""

    NO = enum.auto()
    YES = enum.auto()
    RESTARTS = enum.auto()  # its connection counts anew


class Feed:
    """What was delivered of one feed, since its numbers started."""

    __slots__ = ("ahead", "before", "began", "digests", "epoch", "floor", "last", "marks")

    def __init__(self, epoch: int, number: int, now: float, before: Feed | None = None) -> None:
        self.last = number
        self.epoch = epoch  # of the connection that brought `last`
        self.marks = [(now, number)]
        self.began = now
        self.floor: int | None = None  # what is below was not delivered, and may still come
        self.ahead: Ahead | None = None
        self.digests: dict[int, int] | None = None  # where it is one before
        self.before = before  # another connection may still count as before
        if before is not None:
            before.before = before.ahead = None


class Ahead:
    """What was delivered beyond a hole that may still be closed, and by which connection."""

    __slots__ = ("by", "order")

    def __init__(self) -> None:
        self.by: dict[int, int] = {}
        self.order: list[int] = []

    def add(self, number: int, epoch: int) -> bool:
        if number in self.by:
            return False
        self.by[number] = epoch
        heapq.heappush(self.order, number)
        return True

    def __len__(self) -> int:
        return len(self.order)

    @property
    def lowest(self) -> int:
        return self.order[0]

    def pop(self) -> tuple[int, int]:
        number = heapq.heappop(self.order)
        return number, self.by.pop(number)


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """How far a connection is that may not have brought the last number itself."""

    feed: Feed
    number: int
    has_left: bool = False  # it started again, and none of that was delivered yet
