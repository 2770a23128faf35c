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
    SUSPECT = "suspect"
    DEAD = "dead"
    SILENT = "silent"
    DRIPPING = "dripping"


_FRAME_PATIENCE = 1.5  # times the whole heartbeat: 30 s by default
_TRUST = 0.5  # of the timeout: who has not answered a ping by then may be dead
_LEAST_RATE = 100.0  # bytes a second; whatever carries a websocket is faster


class Liveness:
    """Judges one connection by the moments of its last byte and its last message.

    Any byte is a sign of life: behind a large frame on a slow link no pong can come. But a
    frame that comes in drop by drop would keep a connection alive for ever. So where one is on
    its way for 1.5 times the heartbeat, at least 100 bytes a second of it have to come in each
    such span.

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
        self._frame: tuple[float, float, int] | None = None  # began, judged at, bytes by then

    def excuse(self, now: float) -> None:
        """What was before ``now`` counts no more: we were not reading then."""
        self._since = now
        self._pinged = None
        self._frame = None

    def judge(
        self,
        now: float,
        last_byte: float,
        last_message: float,
        unfinished: tuple[float, int] | None = None,
    ) -> tuple[Verdict, float]:
        """The verdict, and in how many seconds to look again (0 or less: at once).

        A ping is asked for once; who asks again before a byte came is told to wait, then to
        suspect, then that it is dead.

        Args:
            now: of the clock.
            last_byte, last_message: when they came.
            unfinished: when the frame began that is on its way, and how many bytes of it came
                since; ``None`` while there is none, or where nobody knows.
        """
        again = math.inf
        if self._silence is not None:
            left = max(last_message, self._since) + self._silence - now
            if left <= 0:
                return Verdict.SILENT, 0.0
            again = left
        if self._heartbeat is None:
            return Verdict.WAIT, again
        left = self._left_for_frame(now, unfinished)
        if left <= 0:
            return Verdict.DRIPPING, 0.0
        again = min(left, again)
        last_byte = max(last_byte, self._since)
        if self._pinged is not None and last_byte < self._pinged:
            return self._without_answer(self._pinged, now, again)
        self._pinged = None
        left = last_byte + self._heartbeat.interval - now
        if left > 0:
            return Verdict.WAIT, min(left, again)
        self._pinged = now
        return Verdict.PING, min(_TRUST * self._heartbeat.timeout, again)

    def _without_answer(self, pinged: float, now: float, again: float) -> tuple[Verdict, float]:
        assert self._heartbeat is not None
        left = pinged + self._heartbeat.timeout - now
        if left <= 0:
            return Verdict.DEAD, 0.0
        trusted = pinged + _TRUST * self._heartbeat.timeout - now
        if trusted <= 0:
            return Verdict.SUSPECT, min(left, again)
        return Verdict.WAIT, min(trusted, again)

    def _left_for_frame(self, now: float, unfinished: tuple[float, int] | None) -> float:
        """For how many seconds more the frame on its way is not to be judged."""
        assert self._heartbeat is not None
        patience = _FRAME_PATIENCE * (self._heartbeat.interval + self._heartbeat.timeout)
        if unfinished is None:
            self._frame = None
            return math.inf
        began, size = unfinished
        if self._frame is None or self._frame[0] != began:
            self._frame = began, max(began, self._since), 0
        _, since, before = self._frame
        if now - since < patience:
            return since + patience - now
        if size - before < _LEAST_RATE * (now - since):
            return 0.0
        self._frame = began, now, size
        return patience
