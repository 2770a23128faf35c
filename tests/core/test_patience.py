"""How long one keeps trying: dials counted, delays drawn, both started over when they should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.core.backoff import Backoff
from rxws.core.errors import RetriesExhausted
from rxws.core.patience import Patience
from rxws.core.steps import Failed, Lost

ERROR = OSError("unreachable")
BACKOFF = Backoff(initial=2.0, maximum=8.0, factor=2.0)


def failed(**more: Any) -> Failed:
    """A dial that failed."""
    return Failed(1, ERROR, **{"retryable": True, **more})


def lost(**more: Any) -> Lost:
    """A connection that ended."""
    return Lost(1, 1011, "", ERROR, **more)


def patience(backoff: Backoff = BACKOFF) -> Patience:
    """One that draws the middle of each delay."""
    return Patience(backoff, lambda: 0.5)


ENDS: list[tuple[Failed | Lost, float | BaseException]] = [
    (failed(), 1.0),
    (failed(retry_after=30.0), 31.0),
    (failed(retry_after=0.0), 1.0),
    (failed(retryable=False), ERROR),
    (failed(retryable=False, retry_after=30.0), ERROR),
    (lost(), 1.0),
    (lost(retry_after=4.0), 5.0),
    (lost(retryable=False), ERROR),
]


@pytest.mark.parametrize(("end", "wait"), ENDS)
def test_the_wait_after_an_end(end, wait):
    """A delay on top of what the server asked for; none when retrying can't mend the error."""
    made = patience()
    made.dial(successor=False)
    assert made.after(end) == wait


@pytest.mark.parametrize("make", [failed, lost])
def test_delays_grow_to_their_maximum(make):
    """Each wait is drawn from a longer span than the one before."""
    made = patience()
    assert [made.after(make()) for _ in range(5)] == [1.0, 2.0, 4.0, 4.0, 4.0]
    made.stable()
    assert made.after(make()) == 1.0


def test_rotations_have_delays_of_their_own():
    """Failed rotations and failed dials don't make each other wait."""
    made = patience()
    rotations = [made.after_rotation(failed()) for _ in range(3)]
    dials = [made.after(failed()) for _ in range(2)]
    assert (rotations, dials) == ([1.0, 2.0, 4.0], [1.0, 2.0])
    assert made.after_rotation(failed(retryable=False, retry_after=9.0)) == 13.0
    made.stable()
    assert made.after_rotation(lost()) == 4.0


OVER: dict[str, Callable[[Patience], object]] = {
    "a connection is live": lambda made: made.arrived(),
    "the old one was lost": lambda made: made.after(lost()),
    "it was lost and the dial goes on": lambda made: made.promoted(),
}


@pytest.mark.parametrize("over", OVER)
def test_a_rotation_that_is_over_lends_nothing_to_the_next(over):
    """The delays of rotations start over, however the one before came to its end."""
    made = patience()
    made.after_rotation(failed())
    made.after_rotation(failed())
    OVER[over](made)
    assert made.after_rotation(failed()) == 1.0


def test_attempts_are_numbered_until_a_connection_is_there():
    """Dials in a row count from 1; a failed rotation goes on counting, also when it is promoted."""
    made = patience()
    assert made.attempt == 0
    assert [made.dial(successor=False) for _ in range(3)] == [1, 2, 3]
    made.arrived()
    assert made.attempt == 0
    assert made.dial(successor=True) == 1
    made.after_rotation(failed())
    assert made.dial(successor=True) == 2
    made.promoted()
    made.after(failed())
    assert made.dial(successor=False) == 3
    made.arrived()
    made.dial(successor=True)
    made.after(lost())
    assert made.attempt == 0


@pytest.mark.parametrize("attempts", [1, 2, 5])
@pytest.mark.parametrize("make", [failed, lost])
def test_attempts_run_out(make, attempts):
    """The last of them is followed by an error that counts them and holds their last error."""
    made = patience(Backoff(attempts=attempts))
    for _ in range(attempts - 1):
        made.dial(successor=False)
        assert isinstance(made.after(make()), float)
    made.dial(successor=False)
    error = made.after(make())
    assert isinstance(error, RetriesExhausted)
    assert (error.attempts, error.last) == (attempts, ERROR)


ATTEMPTS: list[tuple[str, int | None]] = [
    ("d", 1),
    ("ddd", 3),
    ("ss", None),  # rotations may fail any number of times
    ("dsp", 2),
    ("ddd.", None),
    ("dd.d", 1),
    ("dP", None),  # what we end ourselves is no failure
    ("dPd", 1),
    ("ddPd", 2),
    ("dPdPdPd", 1),
    ("d.Pd", 1),
    ("d.PPd", 1),
]


@pytest.mark.parametrize(("steps", "count"), ATTEMPTS)
def test_what_counts_as_an_attempt(steps, count):
    """Dials without a live connection count, and promoted ones, until one is stable.

    d: dial, s: dial for a successor, p: it is promoted, P: planned end, .: stable.
    """
    made = patience(Backoff(attempts=1))
    for step in steps:
        match step:
            case "d" | "s":
                made.dial(successor=step == "s")
            case "p":
                made.promoted()
            case "P":
                made.after_parting(is_newborn=False)
            case ".":
                made.stable()
    error = made.after(failed())
    assert getattr(error, "attempts", None) == count


def test_a_planned_end_is_waited_after_only_if_the_connection_was_newborn():
    """At once after a connection that lasted; by the growing delays in a chain of newborns."""
    made = patience()
    assert made.after_parting(is_newborn=False) is None
    assert [made.after_parting(is_newborn=True) for _ in range(3)] == [1.0, 2.0, 4.0]
    assert made.after_parting(is_newborn=False) is None
    assert made.after(failed()) == 4.0


@given(st.lists(st.sampled_from("dspP.afr"), max_size=40), st.sampled_from([None, 1, 3]))
def test_whatever_happens_waits_are_bounded(steps, attempts):
    """No wait is negative or longer than the maximum, and nothing but attempts can run out."""
    made = patience(Backoff(initial=2, maximum=8, attempts=attempts))
    happen: dict[str, Callable[[], Any]] = {
        "d": lambda: made.dial(successor=False),
        "s": lambda: made.dial(successor=True),
        "p": made.promoted,
        "P": lambda: made.after_parting(is_newborn=True),
        ".": made.stable,
        "a": made.arrived,
        "f": lambda: made.after(failed()),
        "r": lambda: made.after_rotation(failed()),
    }
    for step in steps:
        wait = happen[step]()
        if isinstance(wait, RetriesExhausted):
            assert attempts is not None
        elif step in "Pfr":
            assert 0 <= wait <= 8
