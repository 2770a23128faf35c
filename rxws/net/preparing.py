"""From nothing to a connection that is ready: open, ``on_open`` done, subscriptions sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from ..core.errors import ConnectError
from ..core.texts import said
from ..streams.isolation import FAULTS, is_cancelled
from .connection import Connection, Opening
from .dialer import Dialer
from .options import Options
from .topics import Topics
from .transport import Link

__all__ = ["Preparer"]

_T = TypeVar("_T")


class Preparer(Generic[_T]):
    """Makes connections ready, each step within its time.

    Args:
        dialer: opens links.
        options: of the websocket.
        topics: what a new connection has to be subscribed to.
        adopt: makes a connection of an open link, and owns it from then on.
    """

    def __init__(
        self,
        dialer: Dialer,
        options: Options,
        topics: Topics,
        adopt: Callable[[int, Link], Connection[_T]],
    ) -> None:
        self._dialer = dialer
        self._options = options
        self._topics = topics
        self._adopt = adopt

    async def prepare(self, epoch: int) -> Connection[_T]:
        """The connection ``epoch``, ready.

        Raises:
            ConnectError: it could not be opened, or ended meanwhile, or a function of the user
                raised.
        """
        try:
            return await self._prepare(epoch)
        except ConnectError:
            raise
        except FAULTS as error:
            if is_cancelled(error):
                raise
            raise ConnectError(f"could not connect: {said(error)}", cause=error) from error

    async def _prepare(self, epoch: int) -> Connection[_T]:
        options = self._options
        async with _bounded(options.open_timeout, "open_timeout", "source and handshake"):
            link = await self._dialer.open()
        connection = self._adopt(epoch, link)
        async with _bounded(options.ready_timeout, "ready_timeout", "on_open and subscribe"):
            await self._greet(connection)
        if connection.loss is not None:
            raise connection.loss
        self._topics.ledger.opened(epoch)
        return connection

    async def _greet(self, connection: Connection[_T]) -> None:
        options = self._options
        if options.on_open is not None:
            await options.on_open(Opening(connection, options.payload))
        connection.end_opening()
        for message in options.subscribe:
            await connection.link.send(options.payload(message))
        while (topic := self._topics.ledger.missing(connection.epoch)) is not None:
            await connection.link.send(self._topics.subscription(topic))


@asynccontextmanager
async def _bounded(seconds: float, option: str, what: str) -> AsyncIterator[None]:
    """Bound what is inside; when that is too short, the error names the option to change."""
    bound = asyncio.timeout(seconds)
    try:
        async with bound:
            yield
    except TimeoutError as error:
        if not bound.expired():
            raise
        text = f"{what} took longer than {option}={seconds:g} s"
        raise ConnectError(text, cause=error) from error
