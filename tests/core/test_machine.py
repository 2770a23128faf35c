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
from rxws.core.backoff import Backoff, Delays
from rxws.core.errors import RetriesExhausted
from rxws.core.machine import TABLE, Machine
from rxws.core.patience import Patience
from rxws.core.steps import Phase, Timer

ERROR = OSError("unreachable")
BACKOFF = Backoff(initial=2.0, maximum=8.0, factor=2.0, stable=10.0)

START, EXIT, ENDED, FULL = s.Start(), s.Exit(), s.Ended(), s.Full()
ROTATE = s.Signal("daily")
SUSPECT, RECOVER = s.Suspected(1, "silent"), s.Recovered(1)


def machine(
    backoff: Backoff = BACKOFF,
    draw: Callable[[], float] = lambda: 0.5,
    *,
    breaks_first: bool = False,
) -> Machine:
    """A machine with round numbers."""
    return Machine(backoff, draw, overlap=3.0, drain=4.0, quiet=0.5, breaks_first=breaks_first)


def run(
    steps: Sequence[s.Step], backoff: Backoff = BACKOFF, *, breaks_first: bool = False
) -> tuple[Machine, list[list[s.Effect]]]:
    """A machine after these steps, and the effects of each of them."""
    made = machine(backoff, breaks_first=breaks_first)
    return made, [made.handle(step) for step in steps]


def last(
    steps: Sequence[s.Step], backoff: Backoff = BACKOFF, *, breaks_first: bool = False
) -> list[s.Effect]:
    """The effects of the last of these steps."""
    return run(steps, backoff, breaks_first=breaks_first)[1][-1]


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


def told(epoch: int) -> s.Effect:
    """What is told of a connection that was lost."""
    return s.Announce(e.Disconnected(epoch, 1011, "oops"))


OF_THE_LIVE: list[s.Effect] = [
    s.StopTimer(Timer.STABLE),
    s.StopTimer(Timer.SETTLE),
    s.StopTimer(Timer.ROTATE),
]


def disconnected(epoch: int) -> list[s.Effect]:
    """The effects of a loss, whatever follows."""
    return [told(epoch), *OF_THE_LIVE]


def overlap() -> list[s.Effect]:
    """The effects of the beginning of an overlap."""
    return [timer(Timer.OVERLAP, 3.0), timer(Timer.QUIET, 0.5)]


def spliced(
    reason: str = "daily", *, early: bool = False, old_lost: bool = False, unplanned: bool = False
) -> list[s.Effect]:
    """The effects of taking over."""
    stops = [s.StopTimer(t) for t in (Timer.OVERLAP, Timer.DRAIN, Timer.QUIET)]
    forget = [] if old_lost else [s.Forget(1)]
    return [*stops, s.Splice(1, 2, reason, early, unplanned), *forget]


def without_successor(seconds: float) -> list[s.Effect]:
    """The effects of the loss of a successor that was ready."""
    return [
        s.StopTimer(Timer.OVERLAP),
        s.StopTimer(Timer.QUIET),
        s.Forget(2),
        s.Announce(e.RotationFailed(2, ERROR, seconds)),
        timer(Timer.ROTATE, seconds),
    ]


def ended(error: BaseException | None) -> list[s.Effect]:
    """The effects of the end without an exit."""
    return [*(s.StopTimer(t) for t in Timer), s.End(error)]


SHUTDOWN: list[s.Effect] = [*(s.StopTimer(t) for t in Timer), s.Shutdown()]

PARTED: list[s.Effect] = [s.StopTimer(Timer.DRAIN), *OF_THE_LIVE]

PATHS: dict[Phase, list[s.Step]] = {Phase.IDLE: [], Phase.DIALING: [START]}
PATHS[Phase.WAITING] = [START, failed(1)]
PATHS[Phase.OPEN] = [START, s.Ready(1)]
PATHS[Phase.DIALING_NEXT] = [*PATHS[Phase.OPEN], ROTATE]
PATHS[Phase.OVERLAPPING] = [*PATHS[Phase.DIALING_NEXT], s.Ready(2)]
PATHS[Phase.DRAINING] = [*PATHS[Phase.OVERLAPPING], elapsed(Timer.OVERLAP)]
PATHS[Phase.CLOSING] = [*PATHS[Phase.OPEN], EXIT]
PATHS[Phase.CLOSED] = [*PATHS[Phase.CLOSING], ENDED]
"""How each phase is reached where a successor is opened before the predecessor is closed."""

SUSPECTED: dict[Phase, list[s.Step]] = {Phase.DIALING_NEXT: [*PATHS[Phase.OPEN], SUSPECT]}
SUSPECTED[Phase.OPEN] = [*SUSPECTED[Phase.DIALING_NEXT], failed(2)]
SUSPECTED[Phase.OVERLAPPING] = [*SUSPECTED[Phase.DIALING_NEXT], s.Ready(2)]
"""How each phase is reached in which the live connection may be dead."""

EXCLUSIVE = {phase: PATHS[phase] for phase in (Phase.DIALING, Phase.OPEN)}
EXCLUSIVE[Phase.PARTING] = [*PATHS[Phase.OPEN], ROTATE]
EXCLUSIVE[Phase.WAITING] = [*EXCLUSIVE[Phase.PARTING], lost(1)]
"""How phases are reached where only one connection is allowed; it was opened just now."""

SETTLED = {Phase.OPEN: [*PATHS[Phase.OPEN], elapsed(Timer.SETTLE)]}
SETTLED[Phase.PARTING] = [*SETTLED[Phase.OPEN], ROTATE]
SETTLED[Phase.DIALING] = [*SETTLED[Phase.PARTING], lost(1)]
"""Likewise, but the connection is no newborn."""

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
    (
        Phase.OPEN,
        lost(1, retry_after=6.0),
        Phase.WAITING,
        [*disconnected(1), timer(Timer.RETRY, 7.0)],
    ),
    (Phase.OPEN, lost(7), Phase.OPEN, []),
    (Phase.OPEN, SUSPECT, Phase.DIALING_NEXT, [s.Announce(e.Rotating(1, "silent")), *dial(2, 1)]),
    (Phase.OPEN, s.Suspected(7, "silent"), Phase.OPEN, []),
    (Phase.OPEN, RECOVER, Phase.OPEN, []),
    (Phase.OPEN, ROTATE, Phase.DIALING_NEXT, [s.Announce(e.Rotating(1, "daily")), *dial(2, 1)]),
    (Phase.OPEN, elapsed(Timer.STABLE), Phase.OPEN, []),
    (Phase.OPEN, elapsed(Timer.ROTATE), Phase.OPEN, []),
    (Phase.OPEN, elapsed(Timer.QUIET), Phase.OPEN, []),
    (Phase.OPEN, EXIT, Phase.CLOSING, SHUTDOWN),
    (
        Phase.DIALING_NEXT,
        s.Ready(2),
        Phase.OVERLAPPING,
        [s.Announce(e.Connected(2)), s.Hold(2), *overlap()],
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
    (Phase.DIALING_NEXT, SUSPECT, Phase.DIALING_NEXT, []),
    (Phase.DIALING_NEXT, RECOVER, Phase.DIALING_NEXT, []),
    (Phase.DIALING_NEXT, elapsed(Timer.STABLE), Phase.DIALING_NEXT, []),
    (Phase.DIALING_NEXT, EXIT, Phase.CLOSING, SHUTDOWN),
    (
        Phase.OVERLAPPING,
        elapsed(Timer.OVERLAP),
        Phase.DRAINING,
        [
            s.StopTimer(Timer.OVERLAP),
            s.Drain(1, 2),
            timer(Timer.DRAIN, 4.0),
            timer(Timer.QUIET, 0.5),
        ],
    ),
    (Phase.OVERLAPPING, elapsed(Timer.QUIET), Phase.OPEN, spliced()),
    (Phase.OVERLAPPING, elapsed(Timer.DRAIN), Phase.OVERLAPPING, []),
    (Phase.OVERLAPPING, elapsed(Timer.STABLE), Phase.OVERLAPPING, []),
    (Phase.OVERLAPPING, FULL, Phase.OPEN, spliced(early=True)),
    (Phase.OVERLAPPING, RECOVER, Phase.OVERLAPPING, []),
    (Phase.OVERLAPPING, lost(1), Phase.OPEN, [told(1), *spliced(old_lost=True)]),
    (
        Phase.OVERLAPPING,
        lost(1, retryable=False),
        Phase.OPEN,
        [told(1), *spliced(old_lost=True)],
    ),
    (Phase.OVERLAPPING, lost(2), Phase.OPEN, without_successor(1.0)),
    (Phase.OVERLAPPING, lost(2, retry_after=6.0), Phase.OPEN, without_successor(7.0)),
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


SUSPECTED_ROWS: list[tuple[Phase, s.Step, Phase, list[s.Effect]]] = [
    (Phase.OPEN, SUSPECT, Phase.OPEN, []),
    (Phase.OPEN, RECOVER, Phase.OPEN, []),
    (Phase.OPEN, elapsed(Timer.ROTATE), Phase.DIALING_NEXT, dial(2, 2)),
    (Phase.OPEN, lost(1), Phase.WAITING, [*disconnected(1), timer(Timer.RETRY, 1.0)]),
    (
        Phase.DIALING_NEXT,
        s.Ready(2),
        Phase.OVERLAPPING,
        [s.Announce(e.Connected(2)), s.Hold(2)],
    ),
    (Phase.DIALING_NEXT, RECOVER, Phase.DIALING_NEXT, []),
    (Phase.DIALING_NEXT, lost(1), Phase.DIALING, disconnected(1)),
    (
        Phase.DIALING_NEXT,
        failed(2),
        Phase.OPEN,
        [s.Announce(e.RotationFailed(2, ERROR, 1.0)), timer(Timer.ROTATE, 1.0)],
    ),
    (Phase.DIALING_NEXT, EXIT, Phase.CLOSING, SHUTDOWN),
    (Phase.OVERLAPPING, RECOVER, Phase.OVERLAPPING, overlap()),
    (Phase.OVERLAPPING, s.Recovered(2), Phase.OVERLAPPING, []),
    (
        Phase.OVERLAPPING,
        lost(1),
        Phase.OPEN,
        [told(1), *spliced("silent", old_lost=True, unplanned=True)],
    ),
    (Phase.OVERLAPPING, lost(2), Phase.OPEN, without_successor(1.0)),
    (Phase.OVERLAPPING, FULL, Phase.OPEN, spliced("silent", early=True)),
    (Phase.OVERLAPPING, elapsed(Timer.STABLE), Phase.OVERLAPPING, []),
    (Phase.OVERLAPPING, EXIT, Phase.CLOSING, SHUTDOWN),
]

EXCLUSIVE_ROWS: list[tuple[Phase, s.Step, Phase, list[s.Effect]]] = [
    (Phase.DIALING, s.Ready(1), Phase.OPEN, [*live(1), timer(Timer.SETTLE, 2.0)]),
    (
        Phase.OPEN,
        ROTATE,
        Phase.PARTING,
        [s.Announce(e.Rotating(1, "daily")), s.Drain(1, None), timer(Timer.DRAIN, 4.0)],
    ),
    (Phase.OPEN, SUSPECT, Phase.OPEN, []),
    (Phase.OPEN, RECOVER, Phase.OPEN, []),
    (Phase.OPEN, elapsed(Timer.SETTLE), Phase.OPEN, []),
    (Phase.OPEN, lost(1), Phase.WAITING, [*disconnected(1), timer(Timer.RETRY, 1.0)]),
    (Phase.PARTING, lost(1), Phase.WAITING, [*PARTED, timer(Timer.RETRY, 1.0)]),
    (
        Phase.PARTING,
        lost(1, retryable=False, retry_after=60.0),
        Phase.WAITING,
        [*PARTED, timer(Timer.RETRY, 1.0)],
    ),
    (Phase.PARTING, lost(7), Phase.PARTING, []),
    (
        Phase.PARTING,
        elapsed(Timer.DRAIN),
        Phase.WAITING,
        [s.Forget(1), *PARTED, timer(Timer.RETRY, 1.0)],
    ),
    (Phase.PARTING, elapsed(Timer.SETTLE), Phase.PARTING, []),
    (Phase.PARTING, elapsed(Timer.STABLE), Phase.PARTING, []),
    (Phase.PARTING, elapsed(Timer.QUIET), Phase.PARTING, []),
    (Phase.PARTING, EXIT, Phase.CLOSING, SHUTDOWN),
    (Phase.WAITING, elapsed(Timer.RETRY), Phase.DIALING, dial(2, 1)),
    (Phase.WAITING, elapsed(Timer.DRAIN), Phase.WAITING, []),
    (Phase.WAITING, EXIT, Phase.CLOSING, SHUTDOWN),
]

SETTLED_ROWS: list[tuple[Phase, s.Step, Phase, list[s.Effect]]] = [
    (Phase.PARTING, lost(1), Phase.DIALING, [*PARTED, *dial(2, 1)]),
    (
        Phase.PARTING,
        elapsed(Timer.DRAIN),
        Phase.DIALING,
        [s.Forget(1), *PARTED, *dial(2, 1)],
    ),
    (
        Phase.DIALING,
        s.Ready(2),
        Phase.OPEN,
        [
            s.Announce(e.Connected(2)),
            s.GoLive(2, 1, "daily"),
            timer(Timer.STABLE, 10.0),
            timer(Timer.SETTLE, 2.0),
        ],
    ),
    (
        Phase.DIALING,
        failed(2),
        Phase.WAITING,
        [s.Announce(e.ConnectFailed(2, 1, ERROR, 1.0)), timer(Timer.RETRY, 1.0)],
    ),
    (
        Phase.DIALING,
        failed(2, retryable=False),
        Phase.CLOSED,
        [s.Announce(e.ConnectFailed(2, 1, ERROR, None)), *ended(ERROR)],
    ),
    (Phase.DIALING, EXIT, Phase.CLOSING, SHUTDOWN),
]

SCENES = [
    ("", PATHS, ROWS),
    ("suspected", SUSPECTED, SUSPECTED_ROWS),
    ("exclusive", EXCLUSIVE, EXCLUSIVE_ROWS),
    ("settled", SETTLED, SETTLED_ROWS),
]


def at(scene: str, phase: Phase, backoff: Backoff = BACKOFF) -> Machine:
    """A machine that was led to a phase."""
    paths = {name: paths for name, paths, _ in SCENES}[scene]
    return run(paths[phase], backoff, breaks_first=scene in ("exclusive", "settled"))[0]


ALL_ROWS = [(scene, *row) for scene, _, rows in SCENES for row in rows]


@pytest.mark.parametrize(
    ("scene", "before", "step", "after", "effects"),
    ALL_ROWS,
    ids=[f"{row[0]} {row[1].value}-{row[2]!r}"[:60].strip() for row in ALL_ROWS],
)
def test_a_row_of_the_table(scene, before, step, after, effects):
    """In each phase each step leads to the phase and asks for the effects that it should."""
    made = at(scene, before)
    assert made.phase is before
    assert made.handle(step) == effects
    assert made.phase is after


def test_every_row_of_the_table_is_tested():
    """The rows above are those of the table, no more and no less."""
    assert {(before, type(step)) for _, before, step, _, _ in ALL_ROWS} == set(TABLE)


STEPS: list[s.Step] = [START, s.Ready(1), failed(1), lost(1), ROTATE, FULL, EXIT, ENDED]
STEPS += [SUSPECT, RECOVER, *map(elapsed, Timer)]
LATE = [
    (scene, phase, step)
    for scene, paths, _ in SCENES
    for phase in paths
    for step in STEPS
    if (phase, type(step)) not in TABLE
]


def inside(thing: object) -> dict[str, Any]:
    """All that a machine remembers."""
    return {
        name: inside(value) if isinstance(value, Patience | Delays) else value
        for name, value in vars(thing).items()
    }


@pytest.mark.parametrize(
    ("scene", "phase", "step"),
    LATE,
    ids=[f"{scene} {p.value}-{t!r}"[:60].strip() for scene, p, t in LATE],
)
def test_what_comes_too_late_changes_nothing(scene, phase, step):
    """A step that its phase has no row for has no effects, and leaves everything as it was."""
    made = at(scene, phase)
    before = inside(made)
    assert made.handle(step) == []
    assert inside(made) == before


def test_every_phase_is_looked_at():
    """Together the scenes above visit every phase: no pair of phase and step is left out."""
    assert {phase for _, paths, _ in SCENES for phase in paths} == set(Phase)


@pytest.mark.parametrize(
    ("scene", "phase"), [(scene, phase) for scene, paths, _ in SCENES for phase in paths]
)
def test_what_costs_us_the_feed(scene, phase):
    """The end of one connection, or dial, would: the live one's, unless a successor is ready."""
    wanted = {
        Phase.DIALING: 2 if scene == "settled" else 1,
        Phase.OPEN: 1,
        Phase.DIALING_NEXT: 1,
        Phase.DRAINING: 2,
    }
    made = at(scene, phase)
    assert [epoch for epoch in range(4) if made.depends_on(epoch)] == (
        [wanted[phase]] if phase in wanted else []
    )


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


@pytest.mark.parametrize("phase", STATES)
def test_the_state_says_what_the_phase_means(phase):
    """Users are told of each phase by the state that names it."""
    assert at("", phase).state is STATES[phase]


@pytest.mark.parametrize(
    ("scene", "phase"),
    [
        ("suspected", Phase.DIALING_NEXT),
        ("suspected", Phase.OVERLAPPING),
        ("exclusive", Phase.PARTING),
        ("exclusive", Phase.WAITING),
        ("settled", Phase.DIALING),
    ],
)
def test_a_rotation_of_any_kind_is_one(scene, phase):
    """The state is rotating from the signal on, also while there is no connection on purpose."""
    assert at(scene, phase).state is e.State.ROTATING


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
    assert s.Splice(1, 2, "daily", early=True, unplanned=False) in made.handle(FULL)


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


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.DIALING_NEXT])
def test_delays_of_failed_rotations_start_over_after_a_loss(phase):
    """What went wrong on the way to replace a connection that is gone is of the past."""
    made, _ = run([*PATHS[Phase.DIALING_NEXT], failed(2), elapsed(Timer.ROTATE), failed(2)])
    if phase is Phase.DIALING_NEXT:
        made.handle(elapsed(Timer.ROTATE))
    made.handle(lost(1))
    made.handle(elapsed(Timer.RETRY))
    made.handle(s.Ready(2))
    made.handle(ROTATE)
    assert made.handle(failed(3))[-1] == timer(Timer.ROTATE, 1.0)


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
    made, effects = run([*PATHS[Phase.DRAINING], lost(2, retry_after=6.0), lost(1)])
    assert effects[-1] == [
        *spliced(old_lost=True),
        *disconnected(2),
        timer(Timer.RETRY, 7.0),
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


# Suspicion


def test_a_suspect_that_recovers_overlaps_as_in_a_rotation():
    """After its recovery all goes on as if it had never been suspected."""
    made = at("suspected", Phase.OVERLAPPING)
    made.handle(RECOVER)
    assert made.handle(RECOVER) == []
    made.handle(elapsed(Timer.OVERLAP))
    assert made.handle(elapsed(Timer.QUIET)) == spliced("silent")
    assert not made.is_suspected


def test_a_suspect_that_recovers_and_then_dies_is_no_longer_waited_for():
    """Its death ends a rotation early; it is not what forced it."""
    made = at("suspected", Phase.OVERLAPPING)
    made.handle(RECOVER)
    assert made.handle(lost(1)) == [told(1), *spliced("silent", old_lost=True)]


def test_a_suspect_that_recovers_before_its_successor_is_ready():
    """The overlap begins as soon as there are two."""
    made = at("suspected", Phase.DIALING_NEXT)
    made.handle(RECOVER)
    assert made.handle(s.Ready(2))[2:] == overlap()


def test_a_suspicion_during_the_dial_of_a_rotation_counts():
    """A rotation for any reason waits for a predecessor that may be dead by then."""
    made = at("", Phase.DIALING_NEXT)
    made.handle(SUSPECT)
    assert made.is_suspected
    assert made.handle(s.Ready(2)) == [s.Announce(e.Connected(2)), s.Hold(2)]
    assert made.handle(lost(1)) == [told(1), *spliced(old_lost=True, unplanned=True)]


@pytest.mark.parametrize("recovers", [True, False])
def test_a_successor_that_is_lost_leaves_the_suspicion_as_it_is(*, recovers):
    """The next one that gets ready overlaps only if the predecessor has recovered meanwhile."""
    made = at("suspected", Phase.OVERLAPPING)
    made.handle(lost(2))
    assert made.is_suspected
    if recovers:
        made.handle(RECOVER)
    assert made.handle(elapsed(Timer.ROTATE)) == dial(3, 2)
    assert made.handle(s.Ready(3))[2:] == (overlap() if recovers else [])


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.DIALING_NEXT, Phase.OVERLAPPING])
@pytest.mark.parametrize("end", [lost(1), FULL])
def test_a_suspicion_ends_with_its_connection(phase, end):
    """Whoever follows a suspect is trusted until something is said against it."""
    made = at("suspected", phase)
    if end is FULL and phase is not Phase.OVERLAPPING:
        return
    made.handle(end)
    assert not made.is_suspected
    made.handle(elapsed(Timer.RETRY))
    made.handle(s.Ready(2))
    assert (made.phase, made.live) == (Phase.OPEN, 2)
    assert made.handle(s.Suspected(2, "again"))[0] == s.Announce(e.Rotating(2, "again"))
    assert made.handle(s.Ready(3))[2:] == []


# Where only one connection is allowed


def test_a_planned_end_is_told_until_there_is_a_connection():
    """However many dials it takes, the gap was planned; the one after it was not."""
    made = at("settled", Phase.DIALING)
    for _ in range(3):
        assert (made.planned, made.state) == ("daily", e.State.ROTATING)
        made.handle(failed(2))
        assert (made.planned, made.state) == ("daily", e.State.ROTATING)
        made.handle(elapsed(Timer.RETRY))
    assert s.GoLive(2, 1, "daily") in made.handle(s.Ready(2))
    assert made.planned is None
    made.handle(lost(2))
    assert made.state is e.State.RECONNECTING
    made.handle(elapsed(Timer.RETRY))
    assert s.GoLive(3, 2, None) in made.handle(s.Ready(3))


@pytest.mark.parametrize("phase", [Phase.PARTING, Phase.WAITING])
def test_nothing_is_planned_after_an_exit(phase):
    """An exit in the midst of a rotation takes its place."""
    made = at("exclusive", phase)
    made.handle(EXIT)
    assert (made.planned, made.state) == (None, e.State.CLOSED)
    assert made.handle(lost(1)) == made.handle(elapsed(Timer.DRAIN)) == []
    assert made.handle(ENDED) == [s.End(None)]


def test_signals_while_parting_are_merged():
    """A second signal neither parts again nor changes the reason."""
    made = at("settled", Phase.PARTING)
    assert made.handle(s.Signal("again")) == []
    made.handle(lost(1))
    assert made.handle(s.Signal("again")) == []
    assert s.GoLive(2, 1, "daily") in made.handle(s.Ready(2))


def test_who_settles_while_parting_has_settled():
    """The successor is dialled at once if its predecessor was live for long enough by then."""
    made = at("exclusive", Phase.PARTING)
    made.handle(elapsed(Timer.SETTLE))
    assert made.handle(lost(1)) == [*PARTED, *dial(2, 1)]


def test_a_newborn_stays_one_though_its_predecessor_had_settled():
    """Each connection has to settle anew, after a rotation as after a loss."""
    for end in (ROTATE, lost(1)):
        made = at("settled", Phase.OPEN)
        made.handle(end)
        made.handle(lost(1) if end is ROTATE else elapsed(Timer.RETRY))
        made.handle(s.Ready(2))
        made.handle(ROTATE)
        made.handle(lost(2))
        assert made.phase is Phase.WAITING


def test_a_chain_of_newborns_is_dialled_less_and_less():
    """A server that asks each connection to go at once is not stormed; attempts never run out."""
    made, _ = run([START], Backoff(initial=2, maximum=8, attempts=2), breaks_first=True)
    seconds = []
    for epoch in range(1, 6):
        made.handle(s.Ready(epoch))
        made.handle(ROTATE)
        seconds.append(made.handle(lost(epoch))[-1].seconds)
        made.handle(elapsed(Timer.RETRY))
    assert seconds == [1.0, 2.0, 4.0, 4.0, 4.0]


def test_attempts_are_counted_from_a_planned_end_on():
    """So many dials fail after it, as at the start, though the connection was not yet stable."""
    made = at("settled", Phase.DIALING, Backoff(attempts=2))
    assert made.handle(failed(2))[-1] == timer(Timer.RETRY, 0.5)
    made.handle(elapsed(Timer.RETRY))
    announced, *_, end = made.handle(failed(2))
    assert announced == s.Announce(e.ConnectFailed(2, 2, ERROR, None))
    assert isinstance(end.error, RetriesExhausted)
    assert end.error.attempts == 2
    assert (made.planned, made.state) == (None, e.State.CLOSED)


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

    def __init__(
        self,
        attempts: int | None,
        choose: Callable[[Sequence[Any]], Any],
        *,
        breaks_first: bool = False,
    ) -> None:
        self.choose = choose
        self.breaks_first = breaks_first
        self.backoff = Backoff(initial=1.0, maximum=20.0, attempts=attempts, stable=10.0)
        self.machine = machine(self.backoff, self.draw, breaks_first=breaks_first)
        self.drawn = 0.0
        self.dials: set[int] = set()
        self.connections: set[int] = set()
        self.opened: list[int] = []
        self.timers: dict[Timer, float] = {}
        self.proving: set[Timer] = set()  # what the live connection has to last for still
        self.live: int | None = None
        self.lost: int | None = None
        self.told: int | None = None
        self.rotating = ""
        self.parting = self.parted = self.suspected = False
        self.planned: str | None = None
        self.shutting = False
        self.owed: s.Lost | None = None
        self.ends: list[BaseException | None] = []
        self.delays = 0  # since a connection was stable
        self.rotation_delays = 0  # since a rotation was over
        self.unstable = 0  # dials since a connection was stable, but for those that we parted from
        self.before = Phase.IDLE
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
            found += [lost(epoch), lost(epoch, retryable=False), lost(epoch, retry_after=7.0)]
            found += [s.Suspected(epoch, "silent"), s.Recovered(epoch)]
        found += [elapsed(t) for t in Timer if t in self.timers] * 2
        if self.machine.next in self.connections:
            found.append(FULL)
        gone = {*range(max(self.opened, default=0) + 2)} - self.dials - self.connections
        for epoch in sorted(gone):
            found += [s.Ready(epoch), failed(epoch), lost(epoch)][: 1 + epoch % 3]
            found += [s.Recovered(epoch), s.Suspected(epoch, "late")][: epoch % 3]
        stopped = {*Timer} - {*self.timers} - {Timer.STABLE, Timer.QUIET, Timer.SETTLE}
        found += [elapsed(t) for t in Timer if t in stopped][:2]
        if self.shutting and not self.ends:
            found += [ENDED] * 3
        return [*found, START, EXIT]

    def step(self) -> None:
        self.feed(self.choose(self.steps()))

    def feed(self, step: s.Step) -> None:
        self.before = self.machine.phase
        before = (self.live, bool(self.ends))
        self.rows.add((self.before, type(step)))
        matters = isinstance(step, s.Failed | s.Lost) and self.machine.depends_on(step.epoch)
        was_newborn = Timer.SETTLE in self.proving
        self.parted = False
        stale = self.happens(step)
        effects = self.machine.handle(step)
        for effect in effects:
            self.carry_out(effect, step)
        if self.parted:
            assert self.machine.phase is (Phase.WAITING if was_newborn else Phase.DIALING)
        self.check_cost(step, matters=matters, stale=stale)
        self.check(step, effects, before, stale=stale)

    def happens(self, step: s.Step) -> bool:  # noqa: C901 (a case for each step)
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
            case s.Suspected() | s.Recovered():
                return self.doubts(step)
            case s.Elapsed(which):
                if self.timers.pop(which, None) is None:
                    return True
                self.proving.discard(which)
                if which is Timer.STABLE:
                    self.delays = self.unstable = 0
            case s.Ended():
                self.dials.clear()
                self.connections.clear()
                self.live = None
        return False

    def doubts(self, step: s.Suspected | s.Recovered) -> bool:
        if step.epoch != self.live or self.breaks_first:
            return True
        if isinstance(step, s.Recovered):
            self.suspected = False
        elif self.before in (Phase.OPEN, Phase.DIALING_NEXT):
            self.suspected = True
        return False

    def loses(self, epoch: int) -> None:
        self.connections.remove(epoch)
        if self.shutting and epoch == self.live:
            self.live = None  # of no further interest
        elif epoch == self.live and self.parting:
            self.parts()
        elif epoch == self.live and self.machine.phase is Phase.DIALING_NEXT:
            self.unstable += 1  # the dial under way becomes one of the row

    def parts(self) -> None:
        self.live, self.lost = None, self.live
        self.parting, self.parted = False, True
        self.unstable = max(self.unstable - 1, 0)
        self.proving.clear()

    def carry_out(self, effect: s.Effect, step: s.Step) -> None:
        assert not self.ends or isinstance(effect, s.Forget), "nothing follows the end"
        match effect:
            case s.Dial(epoch):
                assert epoch not in self.dials | self.connections
                assert epoch not in self.opened, "an epoch is that of one connection"
                self.dials.add(epoch)
                self.unstable += self.live is None
            case s.Forget(epoch):
                self.dials.discard(epoch)
                self.connections.discard(epoch)
                if self.parting and step == elapsed(Timer.DRAIN):
                    self.parts()
                assert epoch != self.live, "nothing but its loss costs the live connection"
            case s.StartTimer(which, seconds):
                self.timers[which] = seconds
                self.check_delay(which, seconds, step)
            case s.StopTimer(which):
                self.timers.pop(which, None)
            case s.Shutdown():
                assert not self.shutting
                self.shutting = True
                self.planned = None
            case s.End(error):
                self.ends.append(error)
                self.planned = None
            case s.Announce(event):
                self.announce(event)
            case _:
                self.hand_over(effect)

    def hand_over(self, effect: s.Effect) -> None:
        match effect:
            case s.GoLive(epoch, after, planned):
                assert self.connections == {epoch}
                assert (after, planned) == (self.lost, self.planned)
                self.live, self.lost, self.planned, self.rotating = epoch, None, None, ""
                self.proving = {Timer.STABLE, *([Timer.SETTLE] if self.breaks_first else [])}
            case s.Hold(epoch):
                assert self.connections == {epoch, self.live}
            case s.Drain(old, None):
                assert self.breaks_first
                assert self.connections == {old} == {self.live}
                self.parting, self.planned = True, self.rotating
            case s.Drain(old, new):
                assert (old, {old, new}) == (self.live, self.connections)
                assert not self.suspected
            case s.Splice(old, new, reason, _, unplanned):
                assert (old, reason) == (self.live, self.rotating)
                was_lost = old not in self.connections
                assert unplanned == (was_lost and self.suspected)
                assert self.told == (old if was_lost and self.before is Phase.OVERLAPPING else None)
                self.live, self.told, self.rotating, self.suspected = new, None, "", False
                self.rotation_delays = 0

    def announce(self, event: e.Event) -> None:
        match event:
            case e.Rotating(epoch, reason):
                assert not self.rotating, "signals during a rotation are merged into it"
                assert epoch == self.live
                self.rotating = reason
            case e.RotationFailed():
                assert self.live in self.connections
                assert self.rotating
            case e.Disconnected(epoch) if self.before is Phase.OVERLAPPING:
                assert epoch == self.live
                self.told = epoch
            case e.Disconnected(epoch):
                assert epoch == self.live
                self.live, self.lost = None, epoch
                self.rotating, self.suspected = "", False
                self.rotation_delays = 0
                self.proving.clear()

    def check_delay(self, which: Timer, seconds: float, step: s.Step) -> None:
        end = self.owed or (step if isinstance(step, s.Failed | s.Lost) else None)
        asked = (end.retry_after if end is not None and not self.parted else None) or 0.0
        if which is Timer.RETRY:
            assert seconds == asked + self.drawn * self.backoff.bound(self.delays)
            self.delays += 1
        elif which is Timer.ROTATE:
            assert seconds == asked + self.drawn * self.backoff.bound(self.rotation_delays)
            self.rotation_delays += 1

    def check_cost(self, step: s.Step, *, matters: bool, stale: bool) -> None:
        """Hold that the machine knew which end costs us the feed."""
        if stale or self.shutting or self.parted or self.owed is not None:
            return
        if isinstance(step, s.Failed | s.Lost):
            draining = self.machine.phase is Phase.DRAINING and step.epoch == self.machine.next
            assert matters == (self.live is None or draining)

    def check(
        self,
        step: s.Step,
        effects: list[s.Effect],
        before: tuple[int | None, bool],
        *,
        stale: bool,
    ) -> None:
        live, was_over = before
        now = self.machine.phase
        both = len(self.dials) + len(self.connections)
        assert both <= 2
        if now in (Phase.IDLE, Phase.WAITING, Phase.CLOSED):
            assert both == 0
        elif now in (Phase.DIALING, Phase.OPEN, Phase.PARTING):
            assert both == 1
        elif now in (Phase.DIALING_NEXT, Phase.OVERLAPPING):
            assert both == 2
        if now not in (Phase.CLOSING, Phase.CLOSED):
            assert self.machine.live == self.live
            assert self.live is None or self.live in self.connections
            assert self.machine.is_suspected == self.suspected
        assert self.machine.planned == self.planned
        assert self.opened == [*range(1, len(self.opened) + 1)]
        if stale:
            assert (now, self.live) == (self.before, live)
            assert [x for x in effects if not isinstance(x, s.Forget)] == []
        self.check_timers(now)
        self.check_state(now)
        cause = step
        is_draining = self.before is now is Phase.DRAINING
        if is_draining and isinstance(step, s.Lost) and not stale:
            self.owed = self.owed or step  # takes effect when the predecessor is drained
        elif now is not Phase.DRAINING and self.owed is not None:
            cause, self.owed = self.owed, None
        self.check_end(cause, effects, was_over=was_over, stale=stale)

    def check_timers(self, now: Phase) -> None:
        """Hold that every timer that matters runs, and no other."""
        wanted = {
            Phase.WAITING: {Timer.RETRY},
            Phase.OPEN: {Timer.ROTATE} if self.rotating else set(),
            Phase.OVERLAPPING: set() if self.suspected else {Timer.OVERLAP, Timer.QUIET},
            Phase.DRAINING: {Timer.DRAIN, Timer.QUIET},
            Phase.PARTING: {Timer.DRAIN},
        }.get(now, set())
        if now not in (Phase.CLOSING, Phase.CLOSED):
            wanted |= self.proving
        assert {*self.timers} == wanted

    def check_state(self, now: Phase) -> None:
        state = self.machine.state
        if self.shutting or self.ends:
            assert state is e.State.CLOSED
        elif self.planned is not None or (self.live is not None and now is not Phase.OPEN):
            assert state is e.State.ROTATING
        elif self.live is not None:
            assert state is e.State.OPEN
        else:
            assert state is (e.State.RECONNECTING if self.opened else e.State.CONNECTING)

    def check_end(
        self,
        step: s.Step,
        effects: list[s.Effect],
        *,
        was_over: bool,
        stale: bool,
    ) -> None:
        assert (self.machine.phase is Phase.CLOSED) == bool(self.ends)
        assert len(self.ends) <= 1
        if isinstance(step, s.Exit) and self.before not in (Phase.CLOSING, Phase.CLOSED):
            assert any(isinstance(effect, s.Shutdown | s.End) for effect in effects)
        attempts = self.backoff.attempts
        lost_live = isinstance(step, s.Lost) and self.live is None and not self.parted
        missed = isinstance(step, s.Failed) and self.before is Phase.DIALING
        if was_over or self.shutting or isinstance(step, s.Exit):
            return
        if stale or not (lost_live or missed):
            assert not self.ends
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
        for step in STEPS:
            self.feed(step)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([None, 1, 3]), st.booleans(), st.integers(1, 60))
def test_a_random_walk(data, attempts, breaks_first, length):
    """Whatever happens in whatever order, every rule of the lifecycle holds at every moment."""
    shell = Shell(
        attempts, lambda options: data.draw(st.sampled_from(options)), breaks_first=breaks_first
    )
    shell.feed(START)
    for _ in range(length):
        shell.step()
    shell.leave()


def patient(seed: int) -> Callable[[Sequence[Any]], Any]:
    """Chooses by chance, but seldom what ends the walk, and not too often what goes wrong."""
    rng = random.Random(seed)

    def choose(options: Sequence[Any]) -> Any:
        if rng.random() < 0.9:
            options = [o for o in options if o != EXIT and getattr(o, "retryable", True)]
        if rng.random() < 0.7:
            options = [o for o in options if not isinstance(o, s.Failed | s.Lost)]
        return rng.choice(options)

    return choose


PHASES = list(Phase)


def test_many_long_random_walks_take_every_row():
    """The rules hold on long walks as well, which leave out no row of the table."""
    rows: set[tuple[Phase, type[s.Step]]] = set()
    for seed in range(400):
        shell = Shell((None, 4)[seed % 2], patient(seed), breaks_first=seed % 3 > 1)
        last_phase = PHASES[seed % len(PHASES)]
        for taken in range(200):
            if taken >= 50 and shell.machine.phase is last_phase:
                break
            shell.step()
        shell.leave()
        rows |= shell.rows
    assert set(TABLE) <= rows
