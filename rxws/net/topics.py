"""Subscriptions at the server, told to every connection that they concern."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import ConnectionLost
from ..core.ledger import Ledger
from ..streams.multiplex import Topic
from .connection import Connection
from .pool import Pool
from .sending import Parcel
from .transport import Raw

__all__ = ["Topics"]


class Topics:
    """Keeps the ledger of topics, and sends what follows from its changes.

    Args:
        pool: the connections.
        payload: makes the payload of a message.
        on_error: told of a topic and why a message of it could not be sent on a connection that
            goes on. One that was lost needs no report: the next is subscribed anew.
    """

    def __init__(
        self,
        pool: Pool[Any],
        payload: Callable[[Any], Raw],
        on_error: Callable[[Topic, Exception], None] | None = None,
    ) -> None:
        self._pool = pool
        self._payload = payload
        self._on_error = on_error
        self.ledger: Ledger[Topic] = Ledger()
        self._joining: dict[tuple[int, Topic], Parcel] = {}
        self._leaving: dict[Parcel, Parcel] = {}

    def subscription(self, topic: Topic) -> Raw:
        """The payload that subscribes to ``topic``."""
        return self._payload(topic.subscribe())

    def join(self, topic: Topic, subscription: Raw) -> None:
        """Subscribe to ``topic`` on every connection, those to come included."""
        for connection in self._pool.of(self.ledger.join(topic)):
            self._subscribe(connection, topic, subscription)

    def leave(self, topic: Topic) -> None:
        """Unsubscribe from ``topic`` where it was subscribed to."""
        epochs = self.ledger.leave(topic)
        if epochs:
            raw = self._payload(topic.unsubscribe())
            for connection in self._pool.of(epochs):
                self._unsubscribe(connection, topic, raw)

    def _subscribe(self, connection: Connection[Any], topic: Topic, raw: Raw) -> None:
        key = connection.epoch, topic

        def over() -> bool:
            """Forget the parcel; returns whether it was what the ledger stands for."""
            is_newest = self._joining.get(key) is parcel
            if is_newest:
                del self._joining[key]
            return is_newest

        def sent(_: int | None) -> None:
            over()
            self._leaving.pop(parcel, None)

        def failed(error: Exception) -> None:
            if over():
                self.ledger.failed(topic, connection.epoch)
            unsubscription = self._leaving.pop(parcel, None)
            if unsubscription is not None:
                unsubscription.done()  # there is nothing to take back: it is skipped
            self._report(topic, error)

        parcel = Parcel(raw, keep=False, on_error=failed, on_sent=sent)
        self._joining[key] = parcel
        connection.lane.post(parcel)

    def _unsubscribe(self, connection: Connection[Any], topic: Topic, raw: Raw) -> None:
        parcel = Parcel(raw, keep=False, on_error=lambda error: self._report(topic, error))
        subscription = self._joining.pop((connection.epoch, topic), None)
        if subscription is not None:  # still on its way out, with this one behind it
            self._leaving[subscription] = parcel
        connection.lane.post(parcel)

    def _report(self, topic: Topic, error: Exception) -> None:
        if self._on_error is not None and not isinstance(error, ConnectionLost):
            self._on_error(topic, error)
