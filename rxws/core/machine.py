"""The lifecycle of a websocket that outlives its connections: one table, no I/O.

The machine is told what happened (a step) and answers with what to do (effects); a shell
carries the effects out and reports what came of them. The rules:

* At most two connections exist, and one at rest: a successor is dialled only while there is
  no other successor and no predecessor.
* A rotation never costs the live connection: what fails on the way is the successor.
* Signals to rotate are merged into the rotation under way, and dropped while none is live.
* Delays start over only after a connection was live for ``Backoff.stable`` seconds.
* ``exit`` is answered in every phase, and nothing happens after the end.

A pair of phase and step that the table does not have changes nothing: it comes too late.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TypeAlias

from .backoff import Backoff, Delays
from .errors import RetriesExhausted
from .events import (
    Connected,
    ConnectFailed,
    Connecting,
    Disconnected,
    Rotating,
    RotationFailed,
    State,
)
from .steps import (
    Announce,
    Dial,
    Drain,
    Effect,
    Elapsed,
    End,
    Ended,
    Exit,
    Failed,
    Forget,
    Full,
    GoLive,
    Hold,
    Lost,
    Ready,
    Shutdown,
    Signal,
    Splice,
    Start,
    StartTimer,
    Step,
    StopTimer,
    Timer,
)

__all__ = ["TABLE", "Machine", "Phase"]


class Phase(enum.Enum):
    """Where the lifecycle is."""

    IDLE = "idle"
    DIALING = "dialing"
    WAITING = "waiting"
    OPEN = "open"
    DIALING_NEXT = "dialing next"
    OVERLAPPING = "overlapping"
    DRAINING = "draining"
    CLOSING = "closing"
    CLOSED = "closed"


class Machine:
    """The lifecycle.

    Args:
        backoff: delays between attempts, and how many.
        random: gives numbers from 0 up to 1, uniformly.
        overlap: seconds during which predecessor and successor are both live on a rotation.
        drain: seconds that a closing predecessor is read for at most.
        quiet: seconds of silence after which a closing predecessor counts as drained.

    Attributes:
        phase: where it is.
        live: epoch of the live connection, ``None`` when there is none.
        next: epoch of the connection that is on its way, ``None`` when there is none.
    """

    def __init__(
        self,
        backoff: Backoff,
        random: Callable[[], float],
        *,
        overlap: float,
        drain: float,
        quiet: float,
    ) -> None:
        self.phase = Phase.IDLE
        self.live: int | None = None
        self.next: int | None = None
        self._backoff = backoff
        self._delays = Delays(backoff, random)
        self._rotation_delays = Delays(backoff, random)
        self._overlap = overlap
        self._drain = drain
        self._quiet = quiet
        self._epochs = 0  # connections that were ready so far
        self._lost: int | None = None
        self._successor_lost: Lost | None = None
        self._attempt = 0  # dials in a row for the connection on its way
        self._unstable = 0  # dials in a row since a connection was last stable
        self._reason = ""

    @property
    def state(self) -> State:
        """What users are told of the phase."""
        match self.phase:
            case Phase.CLOSING | Phase.CLOSED:
                return State.CLOSED
            case Phase.OPEN:
                return State.OPEN
            case Phase.DIALING_NEXT | Phase.OVERLAPPING | Phase.DRAINING:
                return State.ROTATING
            case _:
                return State.RECONNECTING if self._epochs else State.CONNECTING

    def handle(self, step: Step) -> list[Effect]:
        """Change the phase by what happened, and say what to do now, in order."""
        row = TABLE.get((self.phase, type(step)))
        return row(self, step) if row is not None else []

    # Connecting

    def _start(self, _: Start) -> list[Effect]:
        self.phase = Phase.DIALING
        return self._dial()

    def _dial(self) -> list[Effect]:
        self.next = self._epochs + 1
        self._attempt += 1
        self._unstable += 1
        return [Announce(Connecting(self.next, self._attempt)), Dial(self.next, self._attempt)]

    def _connected(self, ready: Ready) -> list[Effect]:
        if ready.epoch != self.next:
            return [Forget(ready.epoch)]
        self.phase = Phase.OPEN
        self._adopt(ready.epoch)
        after, self._lost = self._lost, None
        return [
            Announce(Connected(ready.epoch)),
            GoLive(ready.epoch, after),
            StartTimer(Timer.STABLE, self._backoff.stable),
        ]

    def _adopt(self, epoch: int) -> None:
        self._epochs = self.live = epoch
        self.next = None
        self._attempt = 0

    def _failed(self, failed: Failed) -> list[Effect]:
        if failed.epoch != self.next:
            return []
        attempt = self._attempt
        if not failed.retryable:
            error = failed.error
        elif self._exhausted():
            error = RetriesExhausted(self._unstable, failed.error)
        else:
            delay = self._delays.next(failed.retry_after)
            self.phase = Phase.WAITING
            failure = ConnectFailed(failed.epoch, attempt, failed.error, delay)
            return [Announce(failure), StartTimer(Timer.RETRY, delay)]
        failure = ConnectFailed(failed.epoch, attempt, failed.error, None)
        return [Announce(failure), *self._give_up(error)]

    def _exhausted(self) -> bool:
        attempts = self._backoff.attempts
        return attempts is not None and self._unstable >= attempts

    def _give_up(self, error: BaseException) -> list[Effect]:
        self.phase = Phase.CLOSED
        self.live = self.next = None
        return [*(StopTimer(timer) for timer in Timer), End(error)]

    def _retry(self, elapsed: Elapsed) -> list[Effect]:
        if elapsed.timer is not Timer.RETRY:
            return []
        self.phase = Phase.DIALING
        return self._dial()

    # Live

    def _lost_live(self, lost: Lost) -> list[Effect]:
        if lost.epoch != self.live:
            return []
        effects = self._disconnected(lost)
        self._attempt = 0
        if not lost.retryable:
            return [*effects, *self._give_up(lost.error)]
        if self._exhausted():
            return [*effects, *self._give_up(RetriesExhausted(self._unstable, lost.error))]
        self.phase = Phase.WAITING
        return [*effects, StartTimer(Timer.RETRY, self._delays.next())]

    def _disconnected(self, lost: Lost) -> list[Effect]:
        self._lost, self.live = self.live, None
        return [
            Announce(Disconnected(lost.epoch, lost.code, lost.reason)),
            StopTimer(Timer.STABLE),
            StopTimer(Timer.ROTATE),
        ]

    def _elapsed_open(self, elapsed: Elapsed) -> list[Effect]:
        if elapsed.timer is Timer.ROTATE and self._attempt:
            self.phase = Phase.DIALING_NEXT
            return self._dial_next()
        return self._elapsed_stable(elapsed)

    def _elapsed_stable(self, elapsed: Elapsed) -> list[Effect]:
        if elapsed.timer is Timer.STABLE:
            self._delays.restart()
            self._unstable = 0
        return []

    # Rotating

    def _rotate(self, signal: Signal) -> list[Effect]:
        if self._attempt:  # a rotation failed and waits for its retry: this one is merged into it
            return []
        assert self.live is not None
        self.phase = Phase.DIALING_NEXT
        self._reason = signal.reason
        return [Announce(Rotating(self.live, signal.reason)), *self._dial_next()]

    def _dial_next(self) -> list[Effect]:
        self.next = self._epochs + 1
        self._attempt += 1
        return [Announce(Connecting(self.next, self._attempt)), Dial(self.next, self._attempt)]

    def _next_ready(self, ready: Ready) -> list[Effect]:
        if ready.epoch != self.next:
            return [Forget(ready.epoch)]
        self.phase = Phase.OVERLAPPING
        self._epochs = ready.epoch  # counted even if it never takes over: no epoch is used twice
        return [
            Announce(Connected(ready.epoch)),
            Hold(ready.epoch),
            StartTimer(Timer.OVERLAP, self._overlap),
        ]

    def _next_failed(self, failed: Failed) -> list[Effect]:
        if failed.epoch != self.next:
            return []
        return self._rotation_failed(failed.epoch, failed.error, failed.retry_after)

    def _rotation_failed(
        self, epoch: int, error: BaseException, retry_after: float | None
    ) -> list[Effect]:
        self.phase = Phase.OPEN
        self.next = None
        delay = self._rotation_delays.next(retry_after)
        return [
            Announce(RotationFailed(epoch, error, delay)),
            StartTimer(Timer.ROTATE, delay),
        ]

    def _lost_while_dialing_next(self, lost: Lost) -> list[Effect]:
        if lost.epoch != self.live:
            return []
        effects = self._disconnected(lost)
        if not lost.retryable:
            assert self.next is not None
            return [*effects, Forget(self.next), *self._give_up(lost.error)]
        # The successor that is being dialled becomes the connection: no dial is wasted.
        self.phase = Phase.DIALING
        self._unstable += 1
        return effects

    def _overlap_over(self, elapsed: Elapsed) -> list[Effect]:
        if elapsed.timer is not Timer.OVERLAP:
            return self._elapsed_stable(elapsed)
        assert self.live is not None and self.next is not None
        self.phase = Phase.DRAINING
        return [
            Drain(self.live, self.next),
            StartTimer(Timer.DRAIN, self._drain),
            StartTimer(Timer.QUIET, self._quiet),
        ]

    def _drained(self, elapsed: Elapsed) -> list[Effect]:
        if elapsed.timer in (Timer.DRAIN, Timer.QUIET):
            return self._splice()
        return self._elapsed_stable(elapsed)

    def _hold_full(self, _: Full) -> list[Effect]:
        return self._splice(early=True)

    def _splice(self, *, early: bool = False, old_lost: bool = False) -> list[Effect]:
        assert self.live is not None and self.next is not None
        old, new = self.live, self.next
        self.phase = Phase.OPEN
        self._adopt(new)
        self._rotation_delays.restart()
        effects: list[Effect] = [
            StopTimer(Timer.OVERLAP),
            StopTimer(Timer.DRAIN),
            StopTimer(Timer.QUIET),
            Splice(old, new, self._reason, early, old_lost),
        ]
        if not old_lost:
            effects.append(Forget(old))
        lost, self._successor_lost = self._successor_lost, None
        return effects if lost is None else [*effects, *self._lost_live(lost)]

    def _lost_while_overlapping(self, lost: Lost) -> list[Effect]:
        if lost.epoch == self.live:
            return self._splice(old_lost=True)
        if lost.epoch != self.next:
            return []
        return [
            StopTimer(Timer.OVERLAP),
            Forget(lost.epoch),
            *self._rotation_failed(lost.epoch, lost.error, None),
        ]

    def _lost_while_draining(self, lost: Lost) -> list[Effect]:
        if lost.epoch == self.live:
            return self._splice(old_lost=True)
        if lost.epoch != self.next:
            return []
        # The predecessor still brings what it has; then the successor takes over, and is lost.
        self._successor_lost = self._successor_lost or lost
        return []

    # The end

    def _exit_idle(self, _: Exit) -> list[Effect]:
        self.phase = Phase.CLOSED
        return [End(None)]

    def _exit(self, _: Exit) -> list[Effect]:
        self.phase = Phase.CLOSING
        return [*(StopTimer(timer) for timer in Timer), Shutdown()]

    def _ready_too_late(self, ready: Ready) -> list[Effect]:
        return [Forget(ready.epoch)]

    def _ended(self, _: Ended) -> list[Effect]:
        self.phase = Phase.CLOSED
        self.live = self.next = None
        return [End(None)]


_Row: TypeAlias = Callable[..., list[Effect]]

TABLE: Mapping[tuple[Phase, type[Step]], _Row] = {
    (Phase.IDLE, Start): Machine._start,
    (Phase.IDLE, Exit): Machine._exit_idle,
    (Phase.DIALING, Ready): Machine._connected,
    (Phase.DIALING, Failed): Machine._failed,
    (Phase.DIALING, Exit): Machine._exit,
    (Phase.WAITING, Elapsed): Machine._retry,
    (Phase.WAITING, Exit): Machine._exit,
    (Phase.OPEN, Lost): Machine._lost_live,
    (Phase.OPEN, Signal): Machine._rotate,
    (Phase.OPEN, Elapsed): Machine._elapsed_open,
    (Phase.OPEN, Exit): Machine._exit,
    (Phase.DIALING_NEXT, Ready): Machine._next_ready,
    (Phase.DIALING_NEXT, Failed): Machine._next_failed,
    (Phase.DIALING_NEXT, Lost): Machine._lost_while_dialing_next,
    (Phase.DIALING_NEXT, Elapsed): Machine._elapsed_stable,
    (Phase.DIALING_NEXT, Exit): Machine._exit,
    (Phase.OVERLAPPING, Elapsed): Machine._overlap_over,
    (Phase.OVERLAPPING, Full): Machine._hold_full,
    (Phase.OVERLAPPING, Lost): Machine._lost_while_overlapping,
    (Phase.OVERLAPPING, Exit): Machine._exit,
    (Phase.DRAINING, Elapsed): Machine._drained,
    (Phase.DRAINING, Full): Machine._hold_full,
    (Phase.DRAINING, Lost): Machine._lost_while_draining,
    (Phase.DRAINING, Exit): Machine._exit,
    (Phase.CLOSING, Ready): Machine._ready_too_late,
    (Phase.CLOSING, Ended): Machine._ended,
    (Phase.CLOSED, Ready): Machine._ready_too_late,
}
"""Every transition: what each phase does with each step that concerns it."""
