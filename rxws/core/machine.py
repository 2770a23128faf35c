"""The lifecycle of a websocket that outlives its connections: one table, no I/O.

The machine is told what happened (a step) and answers with what to do (effects); a shell
carries the effects out and reports what came of them. The rules:

* At most two connections exist, and one at rest: a successor is dialled only while there is
  no other successor and no predecessor.
* A rotation never costs the live connection: what fails on the way is the successor. Only
  where the server allows no second connection the live one is closed first.
* A live connection that may be dead is kept while a successor is opened: if it recovers they
  overlap as in a rotation, if it dies the successor takes over.
* Signals to rotate are merged into the rotation under way, and dropped while none is live.
* Delays start over only after a connection was live for ``Backoff.stable`` seconds.
* ``exit`` is answered in every phase, and nothing happens after the end.

A pair of phase and step that the table does not have changes nothing: it comes too late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from . import steps as s
from .backoff import Backoff
from .events import (
    Connected,
    ConnectFailed,
    Connecting,
    Disconnected,
    Rotating,
    RotationFailed,
    State,
)
from .patience import Patience
from .steps import Phase, Timer

__all__ = ["TABLE", "Machine"]

_OF_THE_LIVE = (Timer.STABLE, Timer.SETTLE, Timer.ROTATE)  # over when there is no live connection


class Machine:
    """The lifecycle.

    Args:
        backoff: delays between attempts, and how many.
        random: gives numbers from 0 up to 1, uniformly.
        overlap: seconds during which predecessor and successor are both live on a rotation.
        drain: seconds that a closing predecessor is read for at most.
        quiet: seconds of silence after which a predecessor counts as drained.
        breaks_first: whether a predecessor is closed before its successor is dialled.

    Attributes:
        phase: where it is.
        live: epoch of the live connection, ``None`` when there is none.
        next: epoch of the connection that is on its way, ``None`` when there is none.
        planned: why we end the live connection before there is another, or did; else ``None``.
        is_suspected: whether the live connection may be dead.
    """

    def __init__(
        self,
        backoff: Backoff,
        random: Callable[[], float],
        *,
        overlap: float,
        drain: float,
        quiet: float,
        breaks_first: bool = False,
    ) -> None:
        self.phase = Phase.IDLE
        self.live: int | None = None
        self.next: int | None = None
        self.planned: str | None = None
        self.is_suspected = False
        self._backoff = backoff
        self._patience = Patience(backoff, random)
        self._overlap = overlap
        self._drain = drain
        self._quiet = quiet
        self._breaks_first = breaks_first
        self._epochs = 0  # connections that were ready so far
        self._lost: int | None = None
        self._successor_lost: s.Lost | None = None
        self._reason = ""
        self._is_newborn = False  # the live connection was opened just now

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
            case _ if self.planned is not None:
                return State.ROTATING
            case _:
                return State.RECONNECTING if self._epochs else State.CONNECTING

    def handle(self, step: s.Step) -> list[s.Effect]:
        """Change the phase by what happened, and say what to do now, in order."""
        row = TABLE.get((self.phase, type(step)))
        return row(self, step) if row is not None else []

    def depends_on(self, epoch: int) -> bool:
        """Whether this is the one connection, or dial, whose end now would cost us the feed."""
        match self.phase:
            case Phase.OPEN | Phase.DIALING_NEXT:
                return epoch == self.live
            case Phase.DIALING | Phase.DRAINING:
                return epoch == self.next
            case _:
                return False

    # Connecting

    def _start(self, _: s.Start) -> list[s.Effect]:
        self.phase = Phase.DIALING
        return self._dial()

    def _dial(self) -> list[s.Effect]:
        self.next = self._epochs + 1
        attempt = self._patience.dial(successor=self.live is not None)
        return [s.Announce(Connecting(self.next, attempt)), s.Dial(self.next, attempt)]

    def _connected(self, ready: s.Ready) -> list[s.Effect]:
        if ready.epoch != self.next:
            return [s.Forget(ready.epoch)]
        planned, self.planned = self.planned, None
        self.phase = Phase.OPEN
        self._adopt(ready.epoch)
        after, self._lost = self._lost, None
        effects: list[s.Effect] = [
            s.Announce(Connected(ready.epoch)),
            s.GoLive(ready.epoch, after, planned),
            s.StartTimer(Timer.STABLE, self._backoff.stable),
        ]
        if self._breaks_first:
            self._is_newborn = True
            effects.append(s.StartTimer(Timer.SETTLE, self._backoff.initial))
        return effects

    def _adopt(self, epoch: int) -> None:
        self._epochs = self.live = epoch
        self.next = None
        self._patience.arrived()

    def _failed(self, failed: s.Failed) -> list[s.Effect]:
        if failed.epoch != self.next:
            return []
        attempt, wait = self._patience.attempt, self._patience.after(failed)
        retry_in = None if isinstance(wait, BaseException) else wait
        failure = ConnectFailed(failed.epoch, attempt, failed.error, retry_in)
        return [s.Announce(failure), *self._wait(wait)]

    def _wait(self, wait: float | BaseException) -> list[s.Effect]:
        if isinstance(wait, BaseException):
            self.phase = Phase.CLOSED
            self.live = self.next = self.planned = None
            return [*(s.StopTimer(timer) for timer in Timer), s.End(wait)]
        self.phase = Phase.WAITING
        return [s.StartTimer(Timer.RETRY, wait)]

    def _retry(self, elapsed: s.Elapsed) -> list[s.Effect]:
        if elapsed.timer is not Timer.RETRY:
            return []
        self.phase = Phase.DIALING
        return self._dial()

    # Live

    def _lost_live(self, lost: s.Lost) -> list[s.Effect]:
        if lost.epoch != self.live:
            return []
        return [*self._disconnected(lost), *self._wait(self._patience.after(lost))]

    def _disconnected(self, lost: s.Lost) -> list[s.Effect]:
        self._lost, self.live = self.live, None
        self.is_suspected = False
        told = s.Announce(Disconnected(lost.epoch, lost.code, lost.reason))
        return [told, *(s.StopTimer(timer) for timer in _OF_THE_LIVE)]

    def _elapsed_open(self, elapsed: s.Elapsed) -> list[s.Effect]:
        if elapsed.timer is Timer.ROTATE and self._patience.attempt:
            self.phase = Phase.DIALING_NEXT
            return self._dial()
        return self._elapsed_stable(elapsed)

    def _elapsed_stable(self, elapsed: s.Elapsed) -> list[s.Effect]:
        if elapsed.timer is Timer.SETTLE:
            self._is_newborn = False
        if elapsed.timer is Timer.STABLE:
            self._patience.stable()
        return []

    # Rotating

    def _rotate(self, signal: s.Signal) -> list[s.Effect]:
        if self._patience.attempt:  # a rotation waits for its retry: this one is merged into it
            return []
        assert self.live is not None
        self._reason = signal.reason
        rotating = s.Announce(Rotating(self.live, signal.reason))
        if self._breaks_first:
            self.phase = Phase.PARTING
            self.planned = signal.reason
            return [rotating, s.Drain(self.live, None), s.StartTimer(Timer.DRAIN, self._drain)]
        self.phase = Phase.DIALING_NEXT
        return [rotating, *self._dial()]

    def _suspect(self, suspected: s.Suspected) -> list[s.Effect]:
        if suspected.epoch != self.live or self._breaks_first:
            return []
        self.is_suspected = True
        return self._rotate(s.Signal(suspected.reason)) if self.phase is Phase.OPEN else []

    def _recover(self, recovered: s.Recovered) -> list[s.Effect]:
        if recovered.epoch != self.live or not self.is_suspected:
            return []
        self.is_suspected = False
        return self._overlap_begins() if self.phase is Phase.OVERLAPPING else []

    def _overlap_begins(self) -> list[s.Effect]:
        return [
            s.StartTimer(Timer.OVERLAP, self._overlap),
            s.StartTimer(Timer.QUIET, self._quiet),
        ]

    def _next_ready(self, ready: s.Ready) -> list[s.Effect]:
        if ready.epoch != self.next:
            return [s.Forget(ready.epoch)]
        self.phase = Phase.OVERLAPPING
        self._epochs = ready.epoch  # counted even if it never takes over: no epoch is used twice
        effects: list[s.Effect] = [s.Announce(Connected(ready.epoch)), s.Hold(ready.epoch)]
        # A predecessor that may be dead is waited for: it recovers, or is lost.
        return effects if self.is_suspected else [*effects, *self._overlap_begins()]

    def _next_failed(self, end: s.Failed | s.Lost) -> list[s.Effect]:
        if end.epoch != self.next:
            return []
        self.phase = Phase.OPEN
        self.next = None
        delay = self._patience.after_rotation(end)
        return [
            s.Announce(RotationFailed(end.epoch, end.error, delay)),
            s.StartTimer(Timer.ROTATE, delay),
        ]

    def _lost_while_dialing_next(self, lost: s.Lost) -> list[s.Effect]:
        if lost.epoch != self.live:
            return []
        effects = self._disconnected(lost)
        if not lost.retryable:
            assert self.next is not None
            return [*effects, s.Forget(self.next), *self._wait(lost.error)]
        # The successor that is being dialled becomes the connection: no dial is wasted.
        self.phase = Phase.DIALING
        self._patience.promoted()
        return effects

    def _overlap_over(self, elapsed: s.Elapsed) -> list[s.Effect]:
        if elapsed.timer is Timer.QUIET:
            return self._splice()
        if elapsed.timer is not Timer.OVERLAP:
            return self._elapsed_stable(elapsed)
        assert self.live is not None and self.next is not None
        self.phase = Phase.DRAINING
        return [
            s.StopTimer(Timer.OVERLAP),  # it may have ended early
            s.Drain(self.live, self.next),
            s.StartTimer(Timer.DRAIN, self._drain),
            s.StartTimer(Timer.QUIET, self._quiet),
        ]

    def _drained(self, elapsed: s.Elapsed) -> list[s.Effect]:
        if elapsed.timer in (Timer.DRAIN, Timer.QUIET):
            return self._splice()
        return self._elapsed_stable(elapsed)

    def _hold_full(self, _: s.Full) -> list[s.Effect]:
        return self._splice(early=True)

    def _splice(self, *, early: bool = False, old_lost: bool = False) -> list[s.Effect]:
        assert self.live is not None and self.next is not None
        old, new = self.live, self.next
        self.phase = Phase.OPEN
        self._adopt(new)
        unplanned, self.is_suspected = self.is_suspected and old_lost, False
        effects: list[s.Effect] = [
            *(s.StopTimer(timer) for timer in (Timer.OVERLAP, Timer.DRAIN, Timer.QUIET)),
            s.Splice(old, new, self._reason, early, unplanned),
        ]
        if not old_lost:
            effects.append(s.Forget(old))
        lost, self._successor_lost = self._successor_lost, None
        return effects if lost is None else [*effects, *self._lost_live(lost)]

    def _lost_while_overlapping(self, lost: s.Lost) -> list[s.Effect]:
        if lost.epoch == self.live:
            told = s.Announce(Disconnected(lost.epoch, lost.code, lost.reason))
            return [told, *self._splice(old_lost=True)]
        if lost.epoch != self.next:
            return []
        return [
            s.StopTimer(Timer.OVERLAP),
            s.StopTimer(Timer.QUIET),
            s.Forget(lost.epoch),
            *self._next_failed(lost),
        ]

    def _lost_while_draining(self, lost: s.Lost) -> list[s.Effect]:
        if lost.epoch == self.live:
            return self._splice(old_lost=True)
        if lost.epoch != self.next:
            return []
        # The predecessor still brings what it has; then the successor takes over, and is lost.
        self._successor_lost = self._successor_lost or lost
        return []

    # Rotating where only one connection is allowed

    def _parting_over(self, elapsed: s.Elapsed) -> list[s.Effect]:
        if elapsed.timer is not Timer.DRAIN:
            return self._elapsed_stable(elapsed)
        assert self.live is not None
        return [s.Forget(self.live), *self._parted()]

    def _lost_while_parting(self, lost: s.Lost) -> list[s.Effect]:
        return self._parted() if lost.epoch == self.live else []

    def _parted(self) -> list[s.Effect]:
        self._lost, self.live = self.live, None
        effects = [s.StopTimer(timer) for timer in (Timer.DRAIN, *_OF_THE_LIVE)]
        delay = self._patience.after_parting(is_newborn=self._is_newborn)
        if delay is not None:
            return [*effects, *self._wait(delay)]
        self.phase = Phase.DIALING
        return [*effects, *self._dial()]

    # The end

    def _exit(self, _: s.Exit) -> list[s.Effect]:
        self.phase = Phase.CLOSING
        self.planned = None
        return [*(s.StopTimer(timer) for timer in Timer), s.Shutdown()]

    def _ready_too_late(self, ready: s.Ready) -> list[s.Effect]:
        return [s.Forget(ready.epoch)]

    def _ended(self, _: s.Ended | s.Exit) -> list[s.Effect]:
        self.phase = Phase.CLOSED
        self.live = self.next = None
        return [s.End(None)]


_Row: TypeAlias = Callable[..., list[s.Effect]]

TABLE: Mapping[tuple[Phase, type[s.Step]], _Row] = {
    (Phase.IDLE, s.Start): Machine._start,
    (Phase.IDLE, s.Exit): Machine._ended,
    (Phase.DIALING, s.Ready): Machine._connected,
    (Phase.DIALING, s.Failed): Machine._failed,
    (Phase.DIALING, s.Exit): Machine._exit,
    (Phase.WAITING, s.Elapsed): Machine._retry,
    (Phase.WAITING, s.Exit): Machine._exit,
    (Phase.OPEN, s.Lost): Machine._lost_live,
    (Phase.OPEN, s.Signal): Machine._rotate,
    (Phase.OPEN, s.Suspected): Machine._suspect,
    (Phase.OPEN, s.Recovered): Machine._recover,
    (Phase.OPEN, s.Elapsed): Machine._elapsed_open,
    (Phase.OPEN, s.Exit): Machine._exit,
    (Phase.DIALING_NEXT, s.Ready): Machine._next_ready,
    (Phase.DIALING_NEXT, s.Failed): Machine._next_failed,
    (Phase.DIALING_NEXT, s.Lost): Machine._lost_while_dialing_next,
    (Phase.DIALING_NEXT, s.Suspected): Machine._suspect,
    (Phase.DIALING_NEXT, s.Recovered): Machine._recover,
    (Phase.DIALING_NEXT, s.Elapsed): Machine._elapsed_stable,
    (Phase.DIALING_NEXT, s.Exit): Machine._exit,
    (Phase.OVERLAPPING, s.Elapsed): Machine._overlap_over,
    (Phase.OVERLAPPING, s.Recovered): Machine._recover,
    (Phase.OVERLAPPING, s.Full): Machine._hold_full,
    (Phase.OVERLAPPING, s.Lost): Machine._lost_while_overlapping,
    (Phase.OVERLAPPING, s.Exit): Machine._exit,
    (Phase.DRAINING, s.Elapsed): Machine._drained,
    (Phase.DRAINING, s.Full): Machine._hold_full,
    (Phase.DRAINING, s.Lost): Machine._lost_while_draining,
    (Phase.DRAINING, s.Exit): Machine._exit,
    (Phase.PARTING, s.Lost): Machine._lost_while_parting,
    (Phase.PARTING, s.Elapsed): Machine._parting_over,
    (Phase.PARTING, s.Exit): Machine._exit,
    (Phase.CLOSING, s.Ready): Machine._ready_too_late,
    (Phase.CLOSING, s.Ended): Machine._ended,
    (Phase.CLOSED, s.Ready): Machine._ready_too_late,
}
"""Every transition: what each phase does with each step that concerns it."""
