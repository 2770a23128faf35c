"""From nothing to a connection that is ready: open, ``on_open`` done, subscriptions sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from ..core.errors import ConnectError
from ..core.filters import Matcher, compile_filters
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
        async with _bounded(
            options.ready_timeout, "ready_timeout", "on_open and subscribe"
        ) as bound:
            await self._greet(connection, bound)
        if connection.loss is not None:
            raise connection.loss
        self._topics.ledger.opened(epoch)
        return connection

    async def _greet(self, connection: Connection[_T], bound: asyncio.Timeout) -> None:
        options = self._options
        if options.on_open is not None:
            await options.on_open(Opening(connection, options.payload))
        if options.answer is None:
            connection.end_opening()
        awaited: list[Matcher] = []
        is_first = True
        for message in self._subscriptions(connection.epoch):
            if options.pace is not None and not is_first:
                await _pause(1 / options.pace, bound)
            is_first = False
            if options.answer is not None and (filters := options.answer(message)) is not None:
                awaited.append(compile_filters(filters))
            await connection.link.send(options.payload(message))
        while awaited:
            message = await connection.next_while_opening()
            answered = next((one for one in awaited if one.matches(message)), None)
            if answered is not None:
                awaited.remove(answered)
        connection.end_opening()

    def _subscriptions(self, epoch: int) -> Iterator[Any]:
        """What is to be sent on a new connection: also what is joined meanwhile."""
        yield from self._options.subscribe
        while (topic := self._topics.ledger.missing(epoch)) is not None:
            yield topic.subscribe()


async def _pause(seconds: float, bound: asyncio.Timeout) -> None:
    """Wait; what the user asked to be slow takes nothing of the time that there is for it."""
    deadline = bound.when()
    assert deadline is not None
    bound.reschedule(deadline + seconds)
    await asyncio.sleep(seconds)


@asynccontextmanager
async def _bounded(seconds: float, option: str, what: str) -> AsyncIterator[asyncio.Timeout]:
    """Bound what is inside; when that is too short, the error names the option to change."""
    bound = asyncio.timeout(seconds)
    try:
        async with bound:
            yield bound
    except TimeoutError as error:
        if not bound.expired():
            raise
        # Who was stopped by this may have said how far it had come.
        notes = "".join(f": {note}" for note in getattr(error.__cause__, "__notes__", ()))
        text = f"{what} took longer than {option}={seconds:g} s{notes}"
        raise ConnectError(text, cause=error) from error
