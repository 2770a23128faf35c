"""Which subscriptions are wanted, and on which connections they were made."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Ledger"]

_K = TypeVar("_K")


class Ledger(Generic[_K]):
    """Answers where to subscribe and where to unsubscribe, so that no connection is told twice.

    Topics are whatever tells one subscription from another; a connection is named by its epoch.
    While it is being prepared, `missing` hands out its topics one by one; from `opened` to
    `closed` it is told of every change.
    """

    def __init__(self) -> None:
        self._wanted: dict[_K, None] = {}
        self._made: dict[int, set[_K]] = {}
        self._open: set[int] = set()

    def join(self, topic: _K) -> list[int]:
        """``topic`` is wanted from now on: the connections to subscribe on."""
        self._wanted[topic] = None
        epochs = [epoch for epoch in sorted(self._open) if topic not in self._made[epoch]]
        for epoch in epochs:
            self._made[epoch].add(topic)
        return epochs

    def leave(self, topic: _K) -> list[int]:
        """``topic`` is wanted no more: the connections to unsubscribe on."""
        self._wanted.pop(topic, None)
        epochs = [epoch for epoch in sorted(self._made) if topic in self._made[epoch]]
        for epoch in epochs:
            self._made[epoch].remove(topic)
        return epochs

    def missing(self, epoch: int) -> _K | None:
        """The next topic to subscribe to on a connection being prepared; counts as made."""
        made = self._made.setdefault(epoch, set())
        for topic in self._wanted:
            if topic not in made:
                made.add(topic)
                return topic
        return None

    def failed(self, topic: _K, epoch: int) -> None:
        """``topic`` was not subscribed to after all, on a connection that was to. Idempotent."""
        made = self._made.get(epoch)
        if made is not None:
            made.discard(topic)

    def opened(self, epoch: int) -> None:
        """A connection is prepared."""
        self._made.setdefault(epoch, set())
        self._open.add(epoch)

    def closed(self, epoch: int) -> None:
        """A connection takes nothing more. Idempotent."""
        self._made.pop(epoch, None)
        self._open.discard(epoch)
