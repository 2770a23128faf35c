"""The way in: what connections bring, admitted, held or spliced, and given to the hub."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Generic, TypeVar

from ..core.events import ConsumerFailed, Event
from ..core.handover import Handover, Spliced, identify_by
from ..core.machine import Machine
from ..streams.hub import Hub
from ..streams.replies import Replies
from ..streams.tasks import Tasks
from .breaks import Breaks
from .connection import Connection
from .options import Options
from .outflow import Outflow
from .pool import Pool
from .transport import Raw

__all__ = ["Intake"]

_T = TypeVar("_T")


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
        on_mended: called when what was held during the filling of a gap is delivered.

    Attributes:
        replies: the requests in flight.
        handover: decides what is emitted, what is held, and what is a duplicate.
        breaks: declares gaps, and has them filled.
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
        self.replies: Replies[_T] = Replies(
            lambda filters, error: announce(ConsumerFailed(filters, error)), hub.copy
        )
        self.handover: Handover[_T] = Handover(
            identify_by(options.key, options.sequence, options.partition),
            options.partition,
            options.handover.window,
            options.handover.hold,
        )
        self.outflow: Outflow[_T] = Outflow(
            hub,
            tasks,
            on_busy=lambda: pool.pause("outflow"),
            on_idle=lambda: pool.resume("outflow"),
        )
        self.breaks: Breaks[_T] = Breaks(
            options,
            self.outflow,
            self.handover,
            tasks=tasks,
            announce=announce,
            resume=self._mended,
        )
        self._stopped_at = math.inf
        self._stopped = 0.0
        self._machine = machine
        self._hub = hub
        self._on_full = on_full
        self._on_mended = on_mended

    def received(self, connection: Connection[_T], message: _T, raw: Raw) -> None:
        """A connection brought a message: emit it, hold it, or drop what was there before."""
        if self.replies:
            self.replies.offer(message)
        epoch = connection.epoch
        if epoch == self._machine.live and not self.breaks.filling:
            if self.handover.admit(epoch, message, raw, self._lived(connection.last_message)):
                self.outflow.emit(message)
        elif epoch in (self._machine.next, self._machine.live):
            self.handover.hold(message, raw)
            if self.handover.full:
                self._on_full()
            if self.handover.full:  # nobody could take over yet
                connection.pause("hold")

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

    def begin(self, connection: Connection[_T], *, after_loss: bool) -> None:
        """A connection is live, and there was none just before."""
        if after_loss:
            self.breaks.mend(connection)
        else:
            self._deliver_held(connection)

    def _mended(self, connection: Connection[_T]) -> None:
        self._deliver_held(connection)
        self._on_mended()

    def _deliver_held(self, connection: Connection[_T]) -> None:
        now = self._lived(_now())
        self.outflow.emit_all(
            message
            for message, raw in self.handover.release()
            if self.handover.admit(connection.epoch, message, raw, now)
        )
        connection.resume("hold")

    def splice(self, new: int, *, old_lost: bool) -> Spliced[_T]:
        """The successor takes over: emit what it holds and the predecessor did not bring."""
        spliced = self.handover.splice(new, self._lived(_now()))
        if old_lost and self.breaks.is_gap(spliced.duplicates):
            self.breaks.declare()
        self.outflow.emit_all(spliced.messages)
        return spliced

    def end(self, error: Exception | None) -> None:
        """Nothing follows: tell those who wait."""
        self.breaks.cancel()
        self.outflow.flush()
        self.replies.end(error)
        self._hub.end(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
