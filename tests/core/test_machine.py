"""The lifecycle: each row of its table, and random walks that nothing may lead astray."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws.core import events as e
from rxws.core import steps as s
from rxws.core.backoff import Backoff
from rxws.core.errors import RetriesExhausted
from rxws.core.machine import TABLE, Machine, Phase
from rxws.core.steps import Timer

ERROR = OSError("unreachable")
BACKOFF = Backoff(initial=2.0, maximum=8.0, factor=2.0, stable=10.0)

START, EXIT, ENDED, FULL = s.Start(), s.Exit(), s.Ended(), s.Full()
ROTATE = s.Signal("daily")


def machine(backoff: Backoff = BACKOFF, draw: Callable[[], float] = lambda: 0.5) -> Machine:
    """A machine with round numbers."""
    return Machine(backoff, draw, overlap=3.0, drain=4.0, quiet=0.5)


def run(
    steps: Sequence[s.Step], backoff: Backoff = BACKOFF
) -> tuple[Machine, list[list[s.Effect]]]:
    """A machine after these steps, and the effects of each of them."""
    made = machine(backoff)
    return made, [made.handle(step) for step in steps]


def last(steps: Sequence[s.Step], backoff: Backoff = BACKOFF) -> list[s.Effect]:
    """The effects of the last of these steps."""
    return run(steps, backoff)[1][-1]


def failed(epoch: int, **more: Any) -> s.Failed:
    """A dial that failed."""
    return s.Failed(epoch, ERROR, **{"retryable": True, **more})


def lost(epoch: int, **more: Any) -> s.Lost:
    """A connection that ended."""
    return s.Lost(epoch, 1011, "oops", ERROR, **more)


def elapsed(timer: Timer) -> s.Elapsed:
    """A timer that ran off."""
    return s.Elapsed(timer)


def dial(epoch: int, attempt: int) -> list[s.Effect]:
    """The effects of a dial."""
    return [s.Announce(e.Connecting(epoch, attempt)), s.Dial(epoch, attempt)]


def timer(which: Timer, seconds: float) -> s.StartTimer:
    """The start of a timer."""
    return s.StartTimer(which, seconds)


def live(epoch: int, after: int | None = None) -> list[s.Effect]:
    """The effects of going live without a predecessor."""
    return [
        s.Announce(e.Connected(epoch)),
        s.GoLive(epoch, after),
        timer(Timer.STABLE, 10.0),
    ]


def disconnected(epoch: int) -> list[s.Effect]:
    """The effects of a loss, whatever follows."""
    return [
        s.Announce(e.Disconnected(epoch, 1011, "oops")),
        s.StopTimer(Timer.STABLE),
        s.StopTimer(Timer.ROTATE),
    ]


def spliced(*, early: bool = False, old_lost: bool = False) -> list[s.Effect]:
    """The effects of taking over."""
    stops = [s.StopTimer(t) for t in (Timer.OVERLAP, Timer.DRAIN, Timer.QUIET)]
    forget = [] if old_lost else [s.Forget(1)]
    return [*stops, s.Splice(1, 2, "daily", early, old_lost), *forget]


def ended(error: BaseException | None) -> list[s.Effect]:
    """The effects of the end without an exit."""
    return [*(s.StopTimer(t) for t in Timer), s.End(error)]


SHUTDOWN: list[s.Effect] = [*(s.StopTimer(t) for t in Timer), s.Shutdown()]

PATHS: dict[Phase, list[s.Step]] = {Phase.IDLE: [], Phase.DIALING: [START]}
PATHS[Phase.WAITING] = [START, failed(1)]
PATHS[Phase.OPEN] = [START, s.Ready(1)]
PATHS[Phase.DIALING_NEXT] = [*PATHS[Phase.OPEN], ROTATE]
PATHS[Phase.OVERLAPPING] = [*PATHS[Phase.DIALING_NEXT], s.Ready(2)]
PATHS[Phase.DRAINING] = [*PATHS[Phase.OVERLAPPING], elapsed(Timer.OVERLAP)]
PATHS[Phase.CLOSING] = [*PATHS[Phase.OPEN], EXIT]
PATHS[Phase.CLOSED] = [*PATHS[Phase.CLOSING], ENDED]

ROWS: list[tuple[Phase, s.Step, Phase, list[s.Effect]]] = [
    (Phase.IDLE, START, Phase.DIALING, dial(1, 1)),
    (Phase.IDLE, EXIT, Phase.CLOSED, [s.End(None)]),
    (Phase.DIALING, s.Ready(1), Phase.OPEN, live(1)),
    (Phase.DIALING, s.Ready(7), Phase.DIALING, [s.Forget(7)]),
    (
        Phase.DIALING,
        failed(1),
        Phase.WAITING,
        [s.Announce(e.ConnectFailed(1, 1, ERROR, 1.0)), timer(Timer.RETRY, 1.0)],
    ),
    (
        Phase.DIALING,
        failed(1, retry_after=30.0),
        Phase.WAITING,
        [s.Announce(e.ConnectFailed(1, 1, ERROR, 31.0)), timer(Timer.RETRY, 31.0)],
    ),
    (
        Phase.DIALING,
        failed(1, retryable=False),
        Phase.CLOSED,
        [s.Announce(e.ConnectFailed(1, 1, ERROR, None)), *ended(ERROR)],
    ),
    (Phase.DIALING, failed(7), Phase.DIALING, []),
    (Phase.DIALING, EXIT, Phase.CLOSING, SHUTDOWN),
    (Phase.WAITING, elapsed(Timer.RETRY), Phase.DIALING, dial(1, 2)),
    (Phase.WAITING, elapsed(Timer.STABLE), Phase.WAITING, []),
    (Phase.WAITING, EXIT, Phase.CLOSING, SHUTDOWN),
    (Phase.OPEN, lost(1), Phase.WAITING, [*disconnected(1), timer(Timer.RETRY, 1.0)]),
    (Phase.OPEN, lost(1, retryable=False), Phase.CLOSED, [*disconnected(1), *ended(ERROR)]),
    (Phase.OPEN, lost(7), Phase.OPEN, []),
    (Phase.OPEN, ROTATE, Phase.DIALING_NEXT, [s.Announce(e.Rotating(1, "daily")), *dial(2, 1)]),
    (Phase.OPEN, elapsed(Timer.STABLE), Phase.OPEN, []),
    (Phase.OPEN, elapsed(Timer.ROTATE), Phase.OPEN, []),
    (Phase.OPEN, elapsed(Timer.QUIET), Phase.OPEN, []),
    (Phase.OPEN, EXIT, Phase.CLOSING, SHUTDOWN),
    (
        Phase.DIALING_NEXT,
        s.Ready(2),
        Phase.OVERLAPPING,
        [s.Announce(e.Connected(2)), s.Hold(2), timer(Timer.OVERLAP, 3.0)],
    ),
    (Phase.DIALING_NEXT, s.Ready(1), Phase.DIALING_NEXT, [s.Forget(1)]),
    (
        Phase.DIALING_NEXT,
        failed(2),
        Phase.OPEN,
        [s.Announce(e.RotationFailed(2, ERROR, 1.0)), timer(Timer.ROTATE, 1.0)],
    ),
    (
        Phase.DIALING_NEXT,
        failed(2, retryable=False, retry_after=9.0),
        Phase.OPEN,
        [s.Announce(e.RotationFailed(2, ERROR, 10.0)), timer(Timer.ROTATE, 10.0)],
    ),
    (Phase.DIALING_NEXT, failed(1), Phase.DIALING_NEXT, []),
    (Phase.DIALING_NEXT, lost(1), Phase.DIALING, disconnected(1)),
    (
        Phase.DIALING_NEXT,
        lost(1, retryable=False),
        Phase.CLOSED,
        [*disconnected(1), s.Forget(2), *ended(ERROR)],
    ),
    (Phase.DIALING_NEXT, lost(7), Phase.DIALING_NEXT, []),
    (Phase.DIALING_NEXT, elapsed(Timer.STABLE), Phase.DIALING_NEXT, []),
    (Phase.DIALING_NEXT, EXIT, Phase.CLOSING, SHUTDOWN),
    (
        Phase.OVERLAPPING,
        elapsed(Timer.OVERLAP),
        Phase.DRAINING,
        [s.Drain(1, 2), timer(Timer.DRAIN, 4.0), timer(Timer.QUIET, 0.5)],
    ),
    (Phase.OVERLAPPING, elapsed(Timer.STABLE), Phase.OVERLAPPING, []),
    (Phase.OVERLAPPING, FULL, Phase.OPEN, spliced(early=True)),
    (Phase.OVERLAPPING, lost(1), Phase.OPEN, spliced(old_lost=True)),
    (Phase.OVERLAPPING, lost(1, retryable=False), Phase.OPEN, spliced(old_lost=True)),
    (
        Phase.OVERLAPPING,
        lost(2),
        Phase.OPEN,
        [
            s.StopTimer(Timer.OVERLAP),
            s.Forget(2),
            s.Announce(e.RotationFailed(2, ERROR, 1.0)),
            timer(Timer.ROTATE, 1.0),
        ],
    ),
    (Phase.OVERLAPPING, lost(7), Phase.OVERLAPPING, []),
    (Phase.OVERLAPPING, EXIT, Phase.CLOSING, SHUTDOWN),
    (Phase.DRAINING, elapsed(Timer.DRAIN), Phase.OPEN, spliced()),
    (Phase.DRAINING, elapsed(Timer.QUIET), Phase.OPEN, spliced()),
    (Phase.DRAINING, elapsed(Timer.OVERLAP), Phase.DRAINING, []),
    (Phase.DRAINING, FULL, Phase.OPEN, spliced(early=True)),
    (Phase.DRAINING, lost(1), Phase.OPEN, spliced(old_lost=True)),
    (Phase.DRAINING, lost(2), Phase.DRAINING, []),
    (Phase.DRAINING, lost(7), Phase.DRAINING, []),
    (Phase.DRAINING, EXIT, Phase.CLOSING, SHUTDOWN),
    (Phase.CLOSING, s.Ready(2), Phase.CLOSING, [s.Forget(2)]),
    (Phase.CLOSING, ENDED, Phase.CLOSED, [s.End(None)]),
    (Phase.CLOSED, s.Ready(2), Phase.CLOSED, [s.Forget(2)]),
]


@pytest.mark.parametrize(
    ("before", "step", "after", "effects"),
    ROWS,
    ids=[f"{row[0].value}-{row[1]!r}"[:60] for row in ROWS],
)
def test_a_row_of_the_table(before, step, after, effects):
    """In each phase each step leads to the phase and asks for the effects that it should."""
    made, _ = run(PATHS[before])
    assert made.phase is before
    assert made.handle(step) == effects
    assert made.phase is after


def test_every_row_of_the_table_is_tested():
    """The rows above are those of the table, no more and no less."""
    assert {(before, type(step)) for before, step, _, _ in ROWS} == set(TABLE)


STEPS: list[s.Step] = [START, s.Ready(1), failed(1), lost(1), ROTATE, FULL, EXIT, ENDED]
LATE = [
    (phase, step)
    for phase in Phase
    for step in [*STEPS, *map(elapsed, Timer)]
    if (phase, type(step)) not in TABLE
]


@pytest.mark.parametrize(("phase", "step"), LATE, ids=[f"{p.value}-{t!r}"[:60] for p, t in LATE])
def test_what_comes_too_late_changes_nothing(phase, step):
    """A step that its phase has no row for has no effects, and leaves everything as it was."""
    made, _ = run(PATHS[phase])
    before = dict(vars(made))
    assert made.handle(step) == []
    assert vars(made) == before


STATES = {
    Phase.IDLE: e.State.CONNECTING,
    Phase.DIALING: e.State.CONNECTING,
    Phase.WAITING: e.State.CONNECTING,
    Phase.OPEN: e.State.OPEN,
    Phase.DIALING_NEXT: e.State.ROTATING,
    Phase.OVERLAPPING: e.State.ROTATING,
    Phase.DRAINING: e.State.ROTATING,
    Phase.CLOSING: e.State.CLOSED,
    Phase.CLOSED: e.State.CLOSED,
}


@pytest.mark.parametrize("phase", Phase)
def test_the_state_says_what_the_phase_means(phase):
    """Users are told of each phase by the state that names it."""
    assert run(PATHS[phase])[0].state is STATES[phase]


@pytest.mark.parametrize("more", [[], [elapsed(Timer.RETRY)]])
def test_after_a_first_connection_the_state_is_reconnecting(more):
    """While there is no connection any more, the state is not the one from before the first."""
    assert run([*PATHS[Phase.OPEN], lost(1), *more])[0].state is e.State.RECONNECTING


# Corner cases


def test_a_successor_that_was_ready_keeps_its_epoch_for_itself():
    """After a successor was lost before it took over, the next one has an epoch of its own."""
    steps = [*PATHS[Phase.OVERLAPPING], lost(2), elapsed(Timer.ROTATE)]
    assert last(steps) == dial(3, 2)


def test_a_dial_that_failed_gives_its_epoch_to_the_next():
    """Epochs count connections, not dials."""
    assert last([*PATHS[Phase.DIALING_NEXT], failed(2), elapsed(Timer.ROTATE)]) == dial(2, 2)


def test_a_rotation_that_waits_for_its_retry_takes_further_signals_in():
    """A signal after a failed rotation starts no second one, and no earlier one."""
    made, _ = run([*PATHS[Phase.DIALING_NEXT], failed(2)])
    assert made.handle(s.Signal("again")) == []
    assert made.handle(elapsed(Timer.ROTATE)) == dial(2, 2)
    made.handle(s.Ready(2))
    assert s.Splice(1, 2, "daily", early=True, old_lost=False) in made.handle(FULL)


def test_after_a_rotation_the_next_signal_starts_another():
    """A rotation that is done hides no later signal."""
    steps = [*PATHS[Phase.DRAINING], elapsed(Timer.QUIET), s.Signal("more")]
    assert last(steps) == [s.Announce(e.Rotating(2, "more")), *dial(3, 1)]


def test_delays_of_failed_rotations_grow_and_start_over_after_one_that_succeeds():
    """Retries of a rotation are spaced like those of a connection."""
    made, _ = run(PATHS[Phase.OPEN])
    seconds = []
    for _ in range(4):
        made.handle(ROTATE if made.next is None and not seconds else elapsed(Timer.ROTATE))
        seconds.append(made.handle(failed(2))[-1].seconds)
    made.handle(elapsed(Timer.ROTATE))
    made.handle(s.Ready(2))
    made.handle(FULL)
    made.handle(ROTATE)
    seconds.append(made.handle(failed(3))[-1].seconds)
    assert seconds == [1.0, 2.0, 4.0, 4.0, 1.0]


def test_a_lost_connection_makes_a_failed_rotation_needless():
    """Once the old connection is lost, the retry of its rotation is called off."""
    made, effects = run([*PATHS[Phase.DIALING_NEXT], failed(2), lost(1)])
    assert s.StopTimer(Timer.ROTATE) in effects[-1]
    assert made.handle(elapsed(Timer.RETRY)) == dial(2, 1)


def test_a_dial_under_way_serves_when_the_old_connection_is_lost():
    """The successor goes live at once, and is told after which connection."""
    made, _ = run([*PATHS[Phase.DIALING_NEXT], lost(1)])
    assert made.handle(s.Ready(2)) == live(2, after=1)


def test_who_is_lost_last_is_the_one_before_the_gap():
    """When both connections of a rotation are lost, the gap lies after the successor."""
    made, _ = run([*PATHS[Phase.OVERLAPPING], lost(1), lost(2), elapsed(Timer.RETRY)])
    assert made.handle(s.Ready(3)) == live(3, after=2)


def test_a_successor_lost_while_draining_is_the_one_before_the_gap():
    """What the successor held is delivered before the gap that its loss leaves."""
    made, effects = run([*PATHS[Phase.DRAINING], lost(2), lost(1)])
    assert effects[-1] == [
        *spliced(old_lost=True),
        *disconnected(2),
        timer(Timer.RETRY, 1.0),
    ]
    made.handle(elapsed(Timer.RETRY))
    assert made.handle(s.Ready(3)) == live(3, after=2)


@pytest.mark.parametrize(
    ("step", "early"), [(elapsed(Timer.DRAIN), False), (elapsed(Timer.QUIET), False), (FULL, True)]
)
def test_a_predecessor_is_drained_although_its_successor_is_lost(step, early):
    """A closing connection is read to its end before the loss of its successor takes effect."""
    made, effects = run([*PATHS[Phase.DRAINING], lost(2), step])
    assert made.phase is Phase.WAITING
    assert effects[-1] == [*spliced(early=early), *disconnected(2), timer(Timer.RETRY, 1.0)]


def test_a_successor_that_may_not_be_replaced_ends_all_after_the_drain():
    """A loss that retrying can't mend ends everything, once what was held is delivered."""
    made, effects = run([*PATHS[Phase.DRAINING], lost(2, retryable=False), elapsed(Timer.DRAIN)])
    assert made.phase is Phase.CLOSED
    assert effects[-1] == [*spliced(), *disconnected(2), *ended(ERROR)]


@pytest.mark.parametrize("phase", [Phase.DIALING, Phase.DIALING_NEXT])
def test_what_a_dial_comes_to_after_an_exit(phase):
    """A dial that ends after the exit brings no connection and no event."""
    made, _ = run([*PATHS[phase], EXIT])
    epoch = made.next
    assert made.handle(failed(epoch)) == []
    assert made.handle(s.Ready(epoch)) == [s.Forget(epoch)]
    assert made.handle(ENDED) == [s.End(None)]
    assert made.handle(s.Ready(epoch)) == [s.Forget(epoch)]
    assert made.live is made.next is None


# Backoff


def test_delays_start_over_only_after_a_stable_connection():
    """A connection that merely opens does not shorten the next delay; a stable one does."""
    made, _ = run([START])
    seconds = []
    for epoch in (1, 2, 3):
        made.handle(s.Ready(epoch))
        seconds.append(made.handle(lost(epoch))[-1].seconds)
        made.handle(elapsed(Timer.RETRY))
    made.handle(s.Ready(4))
    made.handle(elapsed(Timer.STABLE))
    seconds.append(made.handle(lost(4))[-1].seconds)
    assert seconds == [1.0, 2.0, 4.0, 1.0]


@pytest.mark.parametrize("phase", [Phase.DIALING_NEXT, Phase.OVERLAPPING, Phase.DRAINING])
def test_a_connection_gets_stable_during_a_rotation_too(phase):
    """The moment of being stable counts in each phase that has a live connection."""
    unstable = [START, failed(1), elapsed(Timer.RETRY), *PATHS[phase][1:]]
    made, _ = run([*unstable, elapsed(Timer.STABLE)])
    made.handle(ENDED if made.next is None else s.Ready(2))
    made.handle(FULL)
    assert made.handle(lost(2))[-1] == timer(Timer.RETRY, 1.0)


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_bound_the_dials_in_a_row(attempts):
    """So many dials fail, then comes the end, which counts them and holds the last error."""
    made = machine(Backoff(initial=1, attempts=attempts))
    made.handle(START)
    for _ in range(attempts - 1):
        assert isinstance(made.handle(failed(1))[-1], s.StartTimer)
        made.handle(elapsed(Timer.RETRY))
    announced, *_, end = made.handle(failed(1))
    assert announced == s.Announce(e.ConnectFailed(1, attempts, ERROR, None))
    assert isinstance(end.error, RetriesExhausted)
    assert (end.error.attempts, end.error.last) == (attempts, ERROR)
    assert made.phase is Phase.CLOSED


def test_connections_that_do_not_last_count_as_attempts():
    """A server that accepts and closes exhausts the attempts as one that refuses."""
    made, effects = run(
        [START, s.Ready(1), lost(1), elapsed(Timer.RETRY), s.Ready(2), lost(2)],
        Backoff(attempts=2),
    )
    assert effects[-1][-1].error.attempts == 2
    assert made.phase is Phase.CLOSED


def test_a_stable_connection_gives_all_attempts_back():
    """After a stable connection the attempts are counted from the first."""
    backoff = Backoff(attempts=2)
    steps = [START, failed(1), elapsed(Timer.RETRY), s.Ready(1), elapsed(Timer.STABLE), lost(1)]
    made, _ = run([*steps, elapsed(Timer.RETRY), failed(2)], backoff)
    assert made.phase is Phase.WAITING
    made.handle(elapsed(Timer.RETRY))
    assert made.handle(failed(2))[-1].error.attempts == 2


def test_failed_rotations_exhaust_nothing():
    """A rotation may fail any number of times: the live connection is worth more."""
    made, _ = run(PATHS[Phase.OPEN], Backoff(attempts=1))
    made.handle(ROTATE)
    for _ in range(10):
        made.handle(failed(2, retryable=False))
        assert made.phase is Phase.OPEN
        made.handle(elapsed(Timer.ROTATE))
    assert (made.phase, made.live) == (Phase.DIALING_NEXT, 1)


# Random walks


class Shell:
    """Carries out the effects of one machine in thought, and holds what must always be so."""

    def __init__(self, attempts: int | None, choose: Callable[[Sequence[Any]], Any]) -> None:
        self.choose = choose
        self.backoff = Backoff(initial=1.0, maximum=20.0, attempts=attempts, stable=10.0)
        self.machine = machine(self.backoff, self.draw)
        self.drawn = 0.0
        self.dials: set[int] = set()
        self.connections: set[int] = set()
        self.opened: list[int] = []
        self.timers: dict[Timer, float] = {}
        self.live: int | None = None
        self.lost: int | None = None
        self.rotating = False
        self.shutting = False
        self.owed: s.Lost | None = None
        self.ends: list[BaseException | None] = []
        self.delays = 0  # since a connection was stable
        self.unstable = 0  # dials since then
        self.rows: set[tuple[Phase, type[s.Step]]] = set()

    def draw(self) -> float:
        self.drawn = self.choose([0.0, 0.25, 0.999])
        return self.drawn

    def steps(self) -> list[s.Step]:
        """What may happen now: what is under way comes to something, in any order; and more."""
        found: list[s.Step] = [ROTATE, ROTATE]
        for epoch in sorted(self.dials):
            found += [s.Ready(epoch)] * 4
            found += [failed(epoch), failed(epoch, retry_after=7.0)]
            found.append(failed(epoch, retryable=False))
        for epoch in sorted(self.connections):
            found += [lost(epoch), lost(epoch, retryable=False)]
        found += [elapsed(t) for t in Timer if t in self.timers] * 2
        if self.machine.next in self.connections:
            found.append(FULL)
        gone = {*range(max(self.opened, default=0) + 2)} - self.dials - self.connections
        for epoch in sorted(gone):
            found += [s.Ready(epoch), failed(epoch), lost(epoch)][: 1 + epoch % 3]
        stopped = {Timer.RETRY, Timer.ROTATE, Timer.OVERLAP, Timer.DRAIN} - {*self.timers}
        found += [elapsed(t) for t in Timer if t in stopped][:2]
        if self.shutting and not self.ends:
            found += [ENDED] * 3
        return [*found, START, EXIT]

    def step(self) -> None:
        self.feed(self.choose(self.steps()))

    def feed(self, step: s.Step) -> None:
        before = (self.machine.phase, self.live, bool(self.ends))
        self.rows.add((self.machine.phase, type(step)))
        stale = self.happens(step)
        effects = self.machine.handle(step)
        for effect in effects:
            self.carry_out(effect, step)
        self.check(step, effects, before, stale=stale)

    def happens(self, step: s.Step) -> bool:
        """What a step means for the world; whether it concerns nothing that there is."""
        match step:
            case s.Ready(epoch) | s.Failed(epoch):
                if epoch not in self.dials:
                    return True
                self.dials.remove(epoch)
                if isinstance(step, s.Ready):
                    self.connections.add(epoch)
                    self.opened.append(epoch)
            case s.Lost(epoch):
                if epoch not in self.connections:
                    return True
                self.loses(epoch)
            case s.Elapsed(which):
                if self.timers.pop(which, None) is None:
                    return True
                if which is Timer.STABLE:
                    self.delays = self.unstable = 0
            case s.Ended():
                self.dials.clear()
                self.connections.clear()
                self.live = None
        return False

    def loses(self, epoch: int) -> None:
        self.connections.remove(epoch)
        if self.shutting and epoch == self.live:
            self.live = None  # of no further interest
        elif epoch == self.live and self.machine.phase is Phase.DIALING_NEXT:
            self.unstable += 1  # the dial under way becomes one of the row

    def carry_out(self, effect: s.Effect, step: s.Step) -> None:
        assert not self.ends or isinstance(effect, s.Forget), "nothing follows the end"
        match effect:
            case s.Dial(epoch):
                assert epoch not in self.dials | self.connections
                assert epoch not in self.opened, "an epoch is that of one connection"
                self.dials.add(epoch)
                self.unstable += self.live is None
            case s.Forget(epoch):
                assert epoch != self.live, "nothing but its loss costs the live connection"
                self.dials.discard(epoch)
                self.connections.discard(epoch)
            case s.StartTimer(which, seconds):
                self.timers[which] = seconds
                self.check_delay(which, seconds, step)
            case s.StopTimer(which):
                self.timers.pop(which, None)
            case s.Shutdown():
                assert not self.shutting
                self.shutting = True
            case s.End(error):
                self.ends.append(error)
            case s.Announce(event):
                self.announce(event)
            case _:
                self.hand_over(effect)

    def hand_over(self, effect: s.Effect) -> None:
        match effect:
            case s.GoLive(epoch, after):
                assert self.connections == {epoch}
                assert after == self.lost
                self.live, self.lost = epoch, None
            case s.Hold(epoch):
                assert self.connections == {epoch, self.live}
            case s.Drain(old, new):
                assert (old, {old, new}) == (self.live, self.connections)
            case s.Splice(old, new, _, _, old_lost):
                assert old == self.live
                assert old_lost == (old not in self.connections)
                self.live = new
                self.rotating = False

    def announce(self, event: e.Event) -> None:
        match event:
            case e.Rotating(epoch):
                assert not self.rotating, "signals during a rotation are merged into it"
                assert epoch == self.live
                self.rotating = True
            case e.RotationFailed():
                assert self.live in self.connections
                assert self.rotating
            case e.Disconnected(epoch):
                assert epoch == self.live
                self.live, self.lost = None, epoch
                self.rotating = False

    def check_delay(self, which: Timer, seconds: float, step: s.Step) -> None:
        asked = (step.retry_after if isinstance(step, s.Failed) else None) or 0.0
        if which is Timer.RETRY:
            assert seconds == asked + self.drawn * self.backoff.bound(self.delays)
            self.delays += 1
        elif which is Timer.ROTATE:
            assert asked <= seconds <= asked + self.backoff.maximum

    def check(
        self,
        step: s.Step,
        effects: list[s.Effect],
        before: tuple[Phase, int | None, bool],
        *,
        stale: bool,
    ) -> None:
        phase, live, was_over = before
        now = self.machine.phase
        both = len(self.dials) + len(self.connections)
        assert both <= 2
        if now in (Phase.IDLE, Phase.WAITING, Phase.CLOSED):
            assert both == 0
        elif now in (Phase.DIALING, Phase.OPEN):
            assert both == 1
        if now not in (Phase.CLOSING, Phase.CLOSED):
            assert self.machine.live == self.live
            assert self.live is None or self.live in self.connections
        assert self.opened == [*range(1, len(self.opened) + 1)]
        if stale:
            assert (now, self.live) == (phase, live)
            assert [x for x in effects if not isinstance(x, s.Forget)] == []
        self.check_timers(now)
        cause = step
        if phase is Phase.DRAINING and isinstance(step, s.Lost) and not stale and now is phase:
            self.owed = self.owed or step  # takes effect when the predecessor is drained
        elif now is not Phase.DRAINING and self.owed is not None:
            cause, self.owed = self.owed, None
        self.check_end(cause, effects, phase, was_over=was_over, stale=stale)

    def check_timers(self, now: Phase) -> None:
        wanted = {
            Phase.WAITING: {Timer.RETRY},
            Phase.OVERLAPPING: {Timer.OVERLAP},
            Phase.DRAINING: {Timer.DRAIN, Timer.QUIET},
        }.get(now, set())
        rest = {Timer.STABLE} if self.live is not None else set()
        if now is Phase.OPEN:
            rest |= {Timer.ROTATE}
        if now is not Phase.CLOSING:
            assert wanted <= {*self.timers} <= wanted | rest
        else:
            assert not self.timers
        if now is Phase.OPEN:
            assert self.rotating == (Timer.ROTATE in self.timers)

    def check_end(
        self,
        step: s.Step,
        effects: list[s.Effect],
        phase: Phase,
        *,
        was_over: bool,
        stale: bool,
    ) -> None:
        assert (self.machine.phase is Phase.CLOSED) == bool(self.ends)
        assert len(self.ends) <= 1
        if isinstance(step, s.Exit) and phase not in (Phase.CLOSING, Phase.CLOSED):
            assert any(isinstance(effect, s.Shutdown | s.End) for effect in effects)
        attempts = self.backoff.attempts
        lost_live = isinstance(step, s.Lost) and self.live is None
        missed = isinstance(step, s.Failed) and phase is Phase.DIALING
        if stale or was_over or self.shutting or not (lost_live or missed):
            return
        exhausted = attempts is not None and self.unstable >= attempts
        if not step.retryable:
            assert self.ends == [ERROR]
        elif exhausted and self.machine.phase is not Phase.DIALING:
            assert isinstance(self.ends[0], RetriesExhausted)
            assert self.ends[0].attempts == self.unstable
        else:
            assert not self.ends

    def leave(self) -> None:
        """Exit, and look at what is left."""
        self.feed(EXIT)
        if not self.ends:
            self.feed(ENDED)
        assert len(self.ends) == 1
        assert not self.dials | self.connections
        assert not self.timers
        for step in [*STEPS, *map(elapsed, Timer)]:
            self.feed(step)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([None, 1, 3]), st.integers(1, 60))
def test_a_random_walk(data, attempts, length):
    """Whatever happens in whatever order, every rule of the lifecycle holds at every moment."""
    shell = Shell(attempts, lambda options: data.draw(st.sampled_from(options)))
    shell.feed(START)
    for _ in range(length):
        shell.step()
    shell.leave()


def patient(seed: int) -> Callable[[Sequence[Any]], Any]:
    """Chooses by chance, but seldom what ends the walk."""
    rng = random.Random(seed)

    def choose(options: Sequence[Any]) -> Any:
        if rng.random() < 0.9:
            options = [o for o in options if o != EXIT and getattr(o, "retryable", True)]
        return rng.choice(options)

    return choose


def test_many_long_random_walks_take_every_row():
    """The rules hold on long walks as well, which leave out no row of the table."""
    rows: set[tuple[Phase, type[s.Step]]] = set()
    for seed in range(300):
        shell = Shell((None, 4)[seed % 2], patient(seed))
        for _ in range(100):
            shell.step()
        shell.leave()
        rows |= shell.rows
    assert set(TABLE) <= rows
