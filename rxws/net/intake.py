"""The way in: what connections bring, admitted, held or spliced, and given to the hub."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Generic, TypeAlias, TypeVar

from ..core.events import ConsumerFailed, Event, Gap, Reset
from ..core.handover import Handover, Held, Spliced
from ..core.machine import Machine
from ..core.numbering import Hole
from ..streams.hub import Hub
from ..streams.replies import Replies
from ..streams.tasks import Tasks
from .breaks import Breaks
from .connection import Connection
from .options import Options
from .outflow import Outflow, Work
from .pool import Pool
from .transport import Raw

__all__ = ["Intake"]

_T = TypeVar("_T")

_Received: TypeAlias = tuple[Connection[_T], _T, Raw]
_Mending: TypeAlias = tuple[Gap, Hole | None, list[_T]]
"""A gap, what numbers say of it, and the message right behind it, if that was admitted."""


class Intake(Generic[_T]):
    """The path of a message, from its connection to the consumers.

    Args:
        options: of the websocket.
        machine: knows which connection is live, and which is on its way.
        hub: delivers messages.
        pool: the connections, which are not read while a long batch goes out.
        tasks: owner of what fills gaps, and of what hands out long batches.
        announce: tells events.
        on_full: called when the hold is full.
        on_mended: called when a gap was filled, or could not be.

    Attributes:
        replies: the requests in flight.
        handover: decides what is emitted, what is held, and what is a duplicate.
        breaks: knows where the feed broke off.
        outflow: what waits on its way to the hub.
        is_mending: whether a gap is being filled.
        is_partitioned: whether order holds within partitions only.
    """

    def __init__(
        self,
        options: Options,
        machine: Machine,
        hub: Hub[_T],
        pool: Pool[_T],
        *,
        tasks: Tasks,
        announce: Callable[[Event], None],
        on_full: Callable[[], None],
        on_mended: Callable[[], None],
    ) -> None:
        self._plan = options.handover.plan
        self.replies: Replies[_T] = Replies(
            lambda filters, error: announce(ConsumerFailed(filters, error)), hub.copy
        )
        self.handover: Handover[_T] = Handover(
            key=options.key,
            sequence=options.sequence,
            partition=options.partition,
            window=self._plan.window,
            overlap=self._plan.overlap,
            hold=self._plan.hold,
        )
        self.outflow = Outflow(
            tasks,
            limit=self._plan.hold,
            on_busy=lambda: pool.pause("outflow"),
            on_idle=lambda: pool.resume("outflow"),
        )
        self.breaks: Breaks[_T] = Breaks(options, self.handover, announce)
        self.is_mending = False
        self._may_mend = options.resync is not None
        self.is_partitioned = options.partition is not None
        self._delivered_too: int | None = None  # a successor whose messages are not held
        self._stopped_at = math.inf
        self._stopped = 0.0
        self._machine = machine
        self._hub = hub
        self._tasks = tasks
        self._announce = announce
        self._on_full = on_full
        self._on_mended = on_mended
        self._mending: tuple[_Mending[_T], asyncio.Task[None]] | None = None

    # Messages

    def received(self, connection: Connection[_T], message: _T, raw: Raw) -> None:
        """A connection brought a message: emit it, hold it, or drop what was there before."""
        if self.replies:
            self.replies.offer(message)
        if connection.epoch == self._machine.live:
            if self.outflow.is_busy:
                self.outflow.do([(self._take, (connection, message, raw))])
            else:
                self._take((connection, message, raw))
        elif connection.epoch == self._machine.next:
            self._take_from_successor(connection, message, raw)

    def _take(self, received: _Received[_T]) -> None:
        connection, message, raw = received
        verdict = self._judged(connection, message, raw)
        if verdict is True:
            self._hub.emit(message)
        elif verdict:
            self._deliver_after(verdict, connection, message)

    def _judged(self, connection: Connection[_T], message: _T, raw: Raw) -> bool | Hole:
        now = self._lived(connection.last_message)
        if self._delivered_too is None:
            return self.handover.admit(connection.epoch, message, raw, now)
        described = self.handover.described(message, raw)
        is_successor = connection.epoch == self._delivered_too
        return self.handover.admit_early(connection.epoch, described, now, successor=is_successor)

    def _take_from_successor(self, successor: Connection[_T], message: _T, raw: Raw) -> None:
        if self._delivered_too is not None:
            self.outflow.do([(self._take, (successor, message, raw))])
            self._bound_hold(successor)
            return
        is_new = self._plan.resets or self._machine.live is None
        now = self._lived(successor.last_message)
        self.handover.hold(successor.epoch, message, raw, now, new=is_new)
        self._bound_hold(successor)

    def _bound_hold(self, successor: Connection[_T]) -> None:
        if self.handover.full:
            self._on_full()
        if self.handover.full:  # nobody could take over yet
            successor.pause("hold")

    def _take_held(self, waited: tuple[Connection[_T], Held[_T]]) -> None:
        connection, held = waited
        verdict = self.handover.admit_held(connection.epoch, held, self._lived(_now()))
        if verdict is True:
            self._hub.emit(held.message)
        elif verdict:
            self._deliver_after(verdict, connection, held.message)

    def _hand_over(self, connection: Connection[_T], held: Iterable[Held[_T]]) -> None:
        self.outflow.do([(self._take_held, (connection, one)) for one in held])
        connection.resume("hold")

    # Time

    def pause(self) -> None:
        """Reading stops: what is remembered grows no older until it goes on."""
        self._stopped_at = _now()
        self.outflow.pause()

    def resume(self) -> None:
        """Reading goes on."""
        self._stopped += _now() - self._stopped_at
        self._stopped_at = math.inf
        self.outflow.resume()

    def _lived(self, moment: float) -> float:
        return min(moment, self._stopped_at) - self._stopped

    # Connections

    def begin(self, connection: Connection[_T], after: int | None) -> None:
        """A connection is live, and there is none beside it; ``after`` was before."""
        self.outflow.settle(self._settled)
        held = self.handover.release()
        if after is not None:
            self.handover.broken(connection.epoch)
            if self._plan.resets:
                self._reset(connection.epoch)
            if not self.handover.is_numbered:  # else its numbers will tell
                self._break_off(after)
        self._hand_over(connection, held)

    def discard(self) -> None:
        """The successor failed: what it brought, and was not delivered, goes with it."""
        if self._delivered_too is not None:
            self.outflow.settle(self._settled)
        self.handover.discard()
        self._delivered_too = None

    def overlap(self, successor: Connection[_T], *, old_is_open: bool) -> None:
        """The successor is ready: what it brings is held, or delivered too."""
        self.breaks.overlapped = old_is_open
        if self._plan.holds:
            return
        self._delivered_too = successor.epoch
        successor.resume("hold")
        now = self._lived(_now())
        for held in self.handover.release():
            verdict = self.handover.admit_early(successor.epoch, held, now, successor=True)
            self.outflow.do(self._delivery(successor, held.message, verdict=verdict))

    def splice(
        self, old: int, new: Connection[_T], *, lost: bool, heard: bool, early: bool
    ) -> Spliced[_T]:
        """The successor takes over: emit what it holds and the predecessor did not bring.

        ``lost`` and ``heard`` are about the predecessor: whether it ended, and whether anything
        arrived on it after its successor was ready. ``early``: a full hold forced it.
        """
        self.outflow.settle(self._settled)
        self._delivered_too = None
        if self._plan.resets:
            spliced = Spliced(self.handover.release())
            self._reset(new.epoch)
            if lost and self.breaks.is_gap(old, lost=lost, heard=heard, early=early):
                self._break_off(old)
        else:
            spliced = self.handover.splice(new.epoch, self._lived(_now()))
            if not self._is_whole(spliced, new) and self.breaks.is_gap(
                old, lost=lost, heard=heard, early=early
            ):
                self._break_off(old)
        for hole in spliced.holes:
            self.outflow.do([(self._mend, (self.breaks.gap_at(hole, new), hole, []))])
        self._hand_over(new, spliced.held)
        return spliced

    def _settled(self, work: Work) -> list[Work]:
        """What becomes of a message that still waits when another connection takes over."""
        deliver, item = work
        if deliver == self._take:
            connection, message, raw = item
            verdict = self._judged(connection, message, raw)
        elif deliver == self._take_held:
            connection, held = item
            message = held.message
            verdict = self.handover.admit_held(connection.epoch, held, self._lived(_now()))
        else:
            return [work]
        return self._delivery(connection, message, verdict=verdict)

    def _delivery(
        self, connection: Connection[_T], message: _T, *, verdict: bool | Hole
    ) -> list[Work]:
        """What is to be done with a message that was judged."""
        if isinstance(verdict, Hole):
            gap = self.breaks.gap_at(verdict, connection)
            return [(self._mend, (gap, verdict, [message]))]
        return [(self._hub.emit, message)] if verdict else []

    def _is_whole(self, spliced: Spliced[_T], new: Connection[_T]) -> bool:
        """Whether nothing can be missing between the two, or numbers will tell."""
        if self.handover.is_numbered:
            return True
        # What both brought in one partition says nothing of another, before the overlap is over.
        has_overlapped = _now() - new.ready_at >= self._plan.overlap
        return spliced.touched and (not self.is_partitioned or has_overlapped)

    def _break_off(self, epoch: int) -> None:
        self.outflow.do([(self._mend, (self.breaks.gap_after(epoch), None, []))])

    def _reset(self, epoch: int) -> None:
        self.handover.forget()
        # In its place: what was before may still be on its way.
        self.outflow.do([(self._announce, Reset(epoch))])

    # Gaps

    def _deliver_after(self, hole: Hole, connection: Connection[_T], message: _T) -> None:
        self._mend((self.breaks.gap_at(hole, connection), hole, [message]))

    def _mend(self, mending: _Mending[_T]) -> None:
        """Declare a gap; where the user knows how, fill it first, while all else waits."""
        if not self._may_mend:
            self._declare(mending)
            return
        self.is_mending = True
        self.outflow.stall()
        self._mending = mending, self._tasks.spawn(self._fill(mending), "resync")

    async def _fill(self, mending: _Mending[_T]) -> None:
        gap, hole, behind = mending
        messages: list[_T] = []
        filled = False
        try:
            messages, filled = await self.breaks.fill(gap, hole, self._lived(_now()))
        finally:  # whatever ``resync`` raises, what waits goes on
            if self._mending is not None:
                self._mending = None
                self._declare((dataclasses.replace(gap, filled=filled), hole, []))
                self.outflow.go_on([(self._hub.emit, one) for one in (*messages, *behind)])
                self.is_mending = False
                self._on_mended()

    def _declare(self, mending: _Mending[_T]) -> None:
        gap, _, behind = mending
        self.breaks.tell(gap)
        self._hub.emit_gap(gap)
        for message in behind:
            self._hub.emit(message)

    def end(self, error: Exception | None) -> None:
        """Nothing follows: tell those who wait."""
        self._may_mend = False
        if self._mending is not None:
            (mending, task), self._mending = self._mending, None
            task.cancel()
            self._declare(mending)
        self.outflow.flush()
        self.replies.end(error)
        self._hub.end(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
