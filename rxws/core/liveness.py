"""When a connection counts as dead: by received bytes, on a monotonic clock."""

from __future__ import annotations

import dataclasses
import enum
import math

__all__ = ["Heartbeat", "Liveness", "Verdict"]


@dataclasses.dataclass(frozen=True, slots=True)
class Heartbeat:
    """A protocol ping when nothing arrived for a while.

    Attributes:
        interval: seconds without a received byte after which a ping is sent.
        timeout: further seconds without a received byte after which the connection is dead.
    """

    interval: float = 10.0
    timeout: float = 10.0

    def __post_init__(self) -> None:
        for name in ("interval", "timeout"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise ValueError(f"Heartbeat({name}={value!r}): seconds, more than 0, are needed")


class Verdict(enum.Enum):
    """What a look at the clock says about a connection."""

    WAIT = "wait"
    PING = "ping"
    DEAD = "dead"
    SILENT = "silent"


class Liveness:
    """Judges one connection by the moments of its last byte and its last message.

    Args:
        heartbeat: ``None`` for no pings and no death without bytes.
        silence: seconds without a message that are death; ``None`` for no such limit.
        now: the clock, in seconds.
    """

    def __init__(self, heartbeat: Heartbeat | None, silence: float | None, now: float) -> None:
        self._heartbeat = heartbeat
        self._silence = silence
        self._since = now
        self._pinged: float | None = None

    def excuse(self, now: float) -> None:
        """What was before ``now`` counts no more: we were not reading then."""
        self._since = now
        self._pinged = None

    def judge(self, now: float, last_byte: float, last_message: float) -> tuple[Verdict, float]:
        """The verdict, and in how many seconds to look again (0 or less: at once).

        A ping is asked for once; who asks again before a byte came learns when death is due.
        """
        again = math.inf
        if self._silence is not None:
            left = max(last_message, self._since) + self._silence - now
            if left <= 0:
                return Verdict.SILENT, 0.0
            again = left
        if self._heartbeat is None:
            return Verdict.WAIT, again
        last_byte = max(last_byte, self._since)
        if self._pinged is not None and last_byte < self._pinged:
            left = self._pinged + self._heartbeat.timeout - now
            return (Verdict.DEAD, 0.0) if left <= 0 else (Verdict.WAIT, min(left, again))
        self._pinged = None
        left = last_byte + self._heartbeat.interval - now
        if left > 0:
            return Verdict.WAIT, min(left, again)
        self._pinged = now
        return Verdict.PING, min(self._heartbeat.timeout, again)
