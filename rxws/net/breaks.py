"""Breaks in the feed: declared as gaps, filled where the user knows how."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Generic, TypeVar

from ..core.events import ConsumerFailed, Event, Gap
from ..core.filling import Filling
from ..core.handover import Handover
from ..core.numbering import Hole
from ..streams.isolation import FAULTS, is_cancelled
from .connection import Connection
from .options import Options

__all__ = ["Breaks"]

_T = TypeVar("_T")

_SLICE = 256  # messages compared between two turns of the loop
_ENDS = 8  # connections whose end is remembered: numbers may show later what it has cost


class Breaks(Generic[_T]):
    """Knows where the feed broke off, and how that is filled.

    Args:
        options: of the websocket.
        handover: says what was delivered already.
        announce: tells events.

    Attributes:
        gaps: declared so far.
        overlapped: whether the old connection was still open when the new one was ready.
    """

    def __init__(
        self,
        options: Options,
        handover: Handover[_T],
        announce: Callable[[Event], None],
    ) -> None:
        self.gaps = 0
        self.overlapped = False
        self._options = options
        self._handover = handover
        self._announce = announce
        self._ended: dict[int, Gap] = {}
        self._orderly: dict[int, bool] = {}

    def ended(self, connection: Connection[_T], planned: str | None = None) -> None:
        """A connection ended, by our doing if ``planned`` says why: remember since when."""
        epoch = connection.epoch
        since = _wall_time(connection.last_message)
        self._ended[epoch] = Gap(
            epoch,
            planned or str(connection.loss or "it was not read to its end"),
            planned=planned is not None,
            since=since,
            until=since,
            last=self._handover.last,
        )
        self._orderly[epoch] = connection.code is not None
        for old in [known for known in self._ended if known <= epoch - _ENDS]:
            del self._ended[old], self._orderly[old]

    def is_gap(self, old: int, *, lost: bool, heard: bool, early: bool) -> bool:
        """Whether something may be missing between ``old`` and its successor.

        They brought nothing in common. Then nothing is missing when the old one was read to its
        end while the new one was open, or, where it gave no end in time, was heard of since.
        """
        if lost:
            return not (self._orderly[old] and self.overlapped)
        return early or not heard

    def gap_after(self, epoch: int) -> Gap:
        """The gap between a connection that ended and one that is ready now."""
        return dataclasses.replace(self._ended[epoch], until=time.time())

    def gap_at(self, hole: Hole, connection: Connection[_T]) -> Gap:
        """The gap that the numbers of ``connection`` show."""
        before = self._ended.get(hole.epoch)
        if hole.missing is None:
            reason = f"the numbers start again with {hole.first} after {hole.last}"
        elif hole.missing.stop - hole.missing.start == 1:
            reason = f"number {hole.missing.start} is missing"
        else:
            reason = f"numbers {hole.missing.start} to {hole.missing.stop - 1} are missing"
        if before is None:
            before = Gap(
                connection.epoch,
                "on one connection",
                planned=False,
                since=_wall_time(connection.before_last),
                until=_wall_time(connection.last_message),
            )
        else:
            before = dataclasses.replace(before, until=_wall_time(connection.ready_at))
        return dataclasses.replace(
            before,
            reason=f"{reason}: {before.reason}",
            partition=hole.partition,
            missing=hole.missing,
            last=hole.last,
        )

    def tell(self, gap: Gap) -> None:
        """Announce a gap, once it is known whether it was filled."""
        self.gaps += 1
        self._announce(gap)

    async def fill(self, gap: Gap, hole: Hole | None, now: float) -> tuple[list[_T], bool]:
        """What ``resync`` brings that was not delivered, and whether it is all that is missing.

        ``now`` is when the filling began, on the clock by which messages are remembered: nothing
        is forgotten because it takes long.
        """
        messages: list[_T] = []
        filling = Filling(self._handover, hole)
        try:
            async with asyncio.timeout(self._options.resync_timeout):
                for index, message in enumerate(await self._ask(gap)):
                    if index % _SLICE == _SLICE - 1:
                        await asyncio.sleep(0)
                    if filling.takes(message, now):
                        messages.append(message)
        except FAULTS as error:
            if is_cancelled(error):
                raise
            self._announce(ConsumerFailed(self._options.resync, error))
            return messages, False
        return messages, filling.is_complete

    async def _ask(self, gap: Gap) -> Iterable[_T]:
        assert self._options.resync is not None
        found: Any = await self._options.resync(gap)
        if isinstance(found, AsyncIterable):
            return [message async for message in found]
        return list(found)


def _wall_time(moment: float) -> float:
    """A moment of the event loop's clock as seconds since 1970."""
    return time.time() - (asyncio.get_running_loop().time() - moment)
