"""Subscriptions at the server, told to every connection that they concern."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.ledger import Ledger
from ..streams.multiplex import Topic
from .pool import Pool
from .sending import Parcel
from .transport import Raw

__all__ = ["Topics"]


class Topics:
    """Keeps the ledger of topics, and sends what follows from its changes.

    Args:
        pool: the connections.
        payload: makes the payload of a message.
    """

    def __init__(self, pool: Pool[Any], payload: Callable[[Any], Raw]) -> None:
        self._pool = pool
        self._payload = payload
        self.ledger: Ledger[Topic] = Ledger()

    def subscription(self, topic: Topic) -> Raw:
        """The payload that subscribes to ``topic``."""
        return self._payload(topic.subscribe())

    def join(self, topic: Topic, subscription: Raw) -> None:
        """Subscribe to ``topic`` on every connection, those to come included."""
        self._post(self.ledger.join(topic), subscription)

    def leave(self, topic: Topic) -> None:
        """Unsubscribe from ``topic`` where it was subscribed to."""
        epochs = self.ledger.leave(topic)
        if epochs:
            self._post(epochs, self._payload(topic.unsubscribe()))

    def _post(self, epochs: list[int], raw: Raw) -> None:
        for connection in self._pool.of(epochs):
            connection.lane.post(Parcel(raw, keep=False))
