"""When a predecessor has brought all that it will."""

from __future__ import annotations

import asyncio
from typing import Any

from ..core.steps import Phase, Timer
from .connection import Connection
from .intake import Intake

__all__ = ["LOOK", "Draining"]

LOOK = 0.01  # seconds between two looks at a predecessor
_QUIET = 0.04  # seconds without a message after which it counts as drained
_BUSY = 10  # messages that come usually in that time, where it says something before the close
_BLOCKED = 0.03  # seconds between two looks, where the event loop did not read in between


class Draining:
    """Closes predecessors, and says when their time is over.

    Args:
        intake: knows what is held, and which replies are waited for.
        seconds: that a closing predecessor is read for at most. Longer only while a consumer
            that must not lose anything keeps us from reading it.
    """

    def __init__(self, intake: Intake[Any], seconds: float) -> None:
        self._intake = intake
        self._seconds = seconds
        self._looked = 0.0
        self._blocked = 0.0

    async def close(self, old: Connection[Any]) -> None:
        """Close a predecessor, after the replies to what was asked on it have come."""
        self._blocked = old.blocked
        if replies := self._intake.replies.on(old.epoch):
            await asyncio.wait(replies, timeout=self._seconds / 2)
        await old.close(discard=False)

    def judged(self, old: Connection[Any], phase: Phase, timer: Timer) -> Timer | None:
        """What is over, now that a timer is; ``None``: it has to run again.

        The overlap is over early when numbers prove that the successor has all that the old one
        may bring still. A predecessor that fell silent is not waited for where the two have
        touched: then the successor has what follows. Before, it may lag behind, and bring what
        nobody else does. During the overlap, silence says something only of a busy one, and
        touching only where there is one order.
        """
        if timer is Timer.QUIET:
            is_quiet = self._is_quiet(old)
            if phase is Phase.OVERLAPPING:
                if self._intake.handover.caught_up:
                    return Timer.OVERLAP
                is_busy = old.interval < _QUIET / _BUSY
                is_quiet = is_quiet and is_busy and not self._intake.is_partitioned
            return timer if is_quiet else None
        if phase in (Phase.DRAINING, Phase.PARTING) and timer is Timer.DRAIN:
            blocked, self._blocked = old.blocked - self._blocked, old.blocked
            # It was hardly read meanwhile, or what came in time is not parsed yet.
            return None if blocked > self._seconds / 2 or old.stop_receiving() else timer
        return timer

    def _is_quiet(self, old: Connection[Any]) -> bool:
        """Whether the successor holds something while the predecessor brings nothing."""
        now = asyncio.get_running_loop().time()
        was_blocked, self._looked = now - self._looked > _BLOCKED, now
        handover = self._intake.handover
        return (
            handover.held > 0
            and not was_blocked
            and old.quiet_for(_QUIET)
            and not self._intake.replies.on(old.epoch)
            and handover.has_touched()
        )
