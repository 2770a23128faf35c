"""The connections that live: two at most, one at rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from .connection import Connection

__all__ = ["Pool"]

_T = TypeVar("_T")


class Pool(Generic[_T]):
    """Connections by their epoch, and what all of them received, those that ended included."""

    def __init__(self) -> None:
        self._alive: dict[int, Connection[_T]] = {}
        self._pauses: set[str] = set()
        self._messages = 0
        self._bytes = 0

    def __iter__(self) -> Iterator[Connection[_T]]:
        return iter(list(self._alive.values()))

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._alive

    def __getitem__(self, epoch: int) -> Connection[_T]:
        return self._alive[epoch]

    def get(self, epoch: int | None) -> Connection[_T] | None:
        """The connection ``epoch``, if it lives."""
        return None if epoch is None else self._alive.get(epoch)

    def of(self, epochs: Iterable[int]) -> list[Connection[_T]]:
        """Those of the connections ``epochs`` that live."""
        return [self._alive[epoch] for epoch in epochs if epoch in self._alive]

    def add(self, connection: Connection[_T]) -> None:
        """A connection lives; it is not read while the others are not."""
        self._alive[connection.epoch] = connection
        for why in self._pauses:
            connection.pause(why)

    def remove(self, epoch: int) -> Connection[_T] | None:
        """The connection ``epoch`` lives no more; returns it, if it did until now."""
        connection = self._alive.pop(epoch, None)
        if connection is not None:
            self._messages += connection.messages
            self._bytes += connection.bytes
        return connection

    @property
    def messages(self) -> int:
        """Messages received so far."""
        return self._messages + sum(connection.messages for connection in self)

    @property
    def bytes(self) -> int:
        """Payload bytes received so far."""
        return self._bytes + sum(connection.bytes for connection in self)

    def pause(self, why: str) -> None:
        """Read none of them, until `resume` is called for the same reason."""
        self._pauses.add(why)
        for connection in self:
            connection.pause(why)

    def resume(self, why: str) -> None:
        """Undo one `pause`."""
        self._pauses.discard(why)
        for connection in self:
            connection.resume(why)
