"""When a predecessor that is being closed has brought all that it will."""

from __future__ import annotations

import asyncio
from typing import Any

from ..core.steps import Timer
from .connection import Connection
from .intake import Intake

__all__ = ["Draining"]


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

    async def close(self, old: Connection[Any]) -> None:
        """Close a predecessor, after the replies to what was asked on it have come."""
        if replies := self._intake.replies.on(old.epoch):
            await asyncio.wait(replies, timeout=self._seconds / 2)
        await old.close(discard=False)

    def goes_on(self, old: Connection[Any], timer: Timer, seconds: float) -> bool:
        """Whether a timer of the drain that is over has to run again."""
        if timer is Timer.QUIET:
            return not self._is_quiet(old, seconds)
        if timer is Timer.DRAIN:
            # It was not read, or what came in time is not parsed yet.
            return old.is_paused or old.stop_receiving()
        return False

    def _is_quiet(self, old: Connection[Any], seconds: float) -> bool:
        """Whether the successor holds something while the predecessor brings nothing."""
        waited_for = self._intake.replies.on(old.epoch)
        return bool(self._intake.handover.held) and not waited_for and old.quiet_for(seconds)
