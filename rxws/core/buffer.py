"""A bounded buffer, and what happens at its bound."""

from __future__ import annotations

import enum
from collections import deque
from typing import Generic, TypeVar

__all__ = ["DEFAULT_CAPACITY", "Buffer", "Overflow", "Put"]

_T = TypeVar("_T")

DEFAULT_CAPACITY = 1000
"""Items that a buffer holds when nothing else was said."""


class Overflow(enum.Enum):
    """What a buffer does with an item that it has no room for."""

    ERROR = "error"
    """It takes no more; the consumer gets what is held, then ``BufferOverflow``."""

    DROP_OLDEST = "drop oldest"
    """The item that waited longest makes room."""

    DROP_NEWEST = "drop newest"
    """The new item is dropped."""

    LATEST = "latest"
    """Only the newest item is held: a capacity of 1."""

    BLOCK = "block"
    """The source stops reading the socket until there is room: nothing is lost."""


class Put(enum.Enum):
    """What became of an item that was put into a `Buffer`."""

    HELD = "held"
    DROPPED = "dropped"
    """It is held and an older one was dropped, or it was dropped itself."""
    REFUSED = "refused"
    """The buffer overflowed and takes nothing more."""
    FULL = "full"
    """It is held, and the source must pause now."""


class Buffer(Generic[_T]):
    """Items that wait for their consumer.

    Args:
        capacity: items held at most; ``None`` for any number.
        overflow: what happens to one more.

    Attributes:
        items: what waits, oldest first.
        dropped: items dropped so far.
        overflowed: whether an item was refused; for ever after none is taken.
    """

    __slots__ = ("capacity", "dropped", "items", "overflow", "overflowed")

    def __init__(
        self, capacity: int | None = DEFAULT_CAPACITY, overflow: Overflow = Overflow.ERROR
    ) -> None:
        if not isinstance(overflow, Overflow):
            raise TypeError(f"overflow={overflow!r}: give a member of rxws.Overflow")
        if capacity is not None and (not isinstance(capacity, int) or capacity < 1):
            raise ValueError(f"capacity={capacity!r}: a whole number from 1, or None for no bound")
        self.capacity = 1 if overflow is Overflow.LATEST else capacity
        self.overflow = overflow
        self.items: deque[_T] = deque()
        self.dropped = 0
        self.overflowed = False

    def put(self, item: _T) -> Put:
        """Take one item, or do what the overflow strategy says."""
        if self.overflowed:
            return Put.REFUSED
        items = self.items
        capacity = self.capacity
        if capacity is None or len(items) < capacity:
            items.append(item)
            if self.overflow is Overflow.BLOCK and len(items) == capacity:
                return Put.FULL
            return Put.HELD
        match self.overflow:
            case Overflow.DROP_OLDEST | Overflow.LATEST:
                items.popleft()
                items.append(item)
                self.dropped += 1
                return Put.DROPPED
            case Overflow.DROP_NEWEST:
                self.dropped += 1
                return Put.DROPPED
            case Overflow.BLOCK:
                # The source is paused, but some sources hand over what they had in hand.
                items.append(item)
                return Put.FULL
            case Overflow.ERROR:
                self.overflowed = True
                self.dropped += 1
                return Put.REFUSED

    @property
    def has_room(self) -> bool:
        """Whether one more item would be taken without loss."""
        return self.capacity is None or len(self.items) < self.capacity
