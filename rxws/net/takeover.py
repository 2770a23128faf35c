"""One connection takes over from another: sends, messages and signals follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..core.events import Event, Rotated
from ..core.handover import Spliced
from ..core.machine import Machine
from ..core.steps import GoLive, Phase, Splice, Timer
from ..streams.tasks import Tasks
from .connection import Connection
from .draining import Draining
from .intake import Intake
from .options import Options
from .pool import Pool
from .sender import Sender
from .topics import Topics
from .watcher import Watcher

__all__ = ["Takeover"]

_T = TypeVar("_T")


class Takeover(Generic[_T]):
    """Carries out the effects that make a connection live, and end the one before.

    Args:
        options: of the websocket.
        machine: knows the phase.
        pool: the connections.
        intake: where their messages go.
        sender: sends on the one that is the outlet.
        topics: subscriptions.
        tasks: owner of the closing of predecessors.
        announce: tells events.
        watcher: told who is live.

    Attributes:
        rotations, reconnects: how often one took over as planned, and after a loss.
    """

    def __init__(
        self,
        options: Options,
        machine: Machine,
        pool: Pool[_T],
        intake: Intake[_T],
        sender: Sender,
        *,
        topics: Topics,
        tasks: Tasks,
        announce: Callable[[Event], None],
        watcher: Watcher,
    ) -> None:
        self.rotations = self.reconnects = 0
        self._machine = machine
        self._pool = pool
        self._intake = intake
        self._sender = sender
        self._topics = topics
        self._tasks = tasks
        self._announce = announce
        self._watcher = watcher
        self._draining = Draining(intake, options.handover.plan.drain)
        self._sends_move_at_ready = options.sends_move_at_ready
        self._successor: Connection[_T] | None = None

    def go_live(self, connection: Connection[_T], effect: GoLive) -> None:
        """Deliver what a connection brings; there is none beside it."""
        self._send_on(connection)
        self._intake.begin(connection, effect.after)
        if effect.after is not None and effect.planned is not None:
            self.rotations += 1
            self._rotated(effect.after, effect.epoch, effect.planned)
        else:
            self.reconnects += effect.after is not None
        self._watcher.on_live(connection.epoch)

    def hold(self, successor: Connection[_T], old: Connection[_T]) -> None:
        """Keep what the successor of ``old`` brings."""
        self._successor = successor
        self._intake.overlap(successor, old_is_open=old.link.is_open)
        if not self._machine.is_suspected:
            old.probe()  # whose answer shows that it brought all until now
        if self._sends_move_at_ready:
            self._send_on(successor)

    def drain(self, old: Connection[_T], new: Connection[_T] | None) -> None:
        """Close ``old`` while it is still read."""
        if new is not None:
            self._send_on(new)
        elif self._machine.phase is Phase.PARTING:
            self._sender.detach(old)  # sends wait for the next connection
        self._topics.ledger.closed(old.epoch)
        self._tasks.spawn(self._draining.close(old), f"drain {old.epoch}")

    def is_over(self, timer: Timer) -> Timer | None:
        """What of the predecessor's time is over, see `Draining.judged`."""
        assert self._machine.live is not None
        old = self._pool[self._machine.live]
        return self._draining.judged(old, self._machine.phase, timer)

    def splice(self, effect: Splice) -> None:
        """The successor is live, after what its predecessor did not bring."""
        successor, old = self._successor, self._pool.get(effect.old)
        assert successor is not None
        is_heard = old is not None and old.link.last_received > successor.ready_at
        if old is not None:
            self._intake.breaks.ended(old)
        if effect.new in self._pool:  # it may be lost by now
            self._send_on(successor)
        spliced = self._intake.splice(
            effect.old, successor, lost=old is None, heard=is_heard, early=effect.early
        )
        overlap = asyncio.get_running_loop().time() - successor.ready_at
        self.rotations += not effect.unplanned
        self.reconnects += effect.unplanned
        self._rotated(effect.old, effect.new, effect.reason, spliced, overlap, early=effect.early)
        if effect.new in self._pool:
            self._watcher.on_live(effect.new)

    def _send_on(self, connection: Connection[_T]) -> None:
        self._sender.attach(connection)
        self._watcher.on_outlet(connection.epoch)

    def _rotated(
        self,
        old: int,
        new: int,
        reason: str,
        spliced: Spliced[Any] | None = None,
        overlap: float = 0.0,
        *,
        early: bool = False,
    ) -> None:
        self._announce(
            Rotated(
                old,
                new,
                reason,
                overlap=overlap,
                duplicates=spliced.duplicates if spliced is not None else 0,
                matched=spliced is None or spliced.matched,
                early=early,
                ambiguous=spliced is not None and spliced.ambiguous,
            )
        )
