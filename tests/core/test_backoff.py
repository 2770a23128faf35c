"""How long is waited between attempts."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.core.backoff import Backoff, Delays

seconds = st.floats(0, 1e6) | st.integers(0, 1000)
backoffs = st.builds(
    Backoff, initial=seconds, maximum=seconds, factor=st.floats(1, 100) | st.integers(1, 100)
)


@pytest.mark.parametrize(
    ("backoff", "bounds"),
    [
        (Backoff(), [1, 2, 4, 8, 16, 32, 60, 60]),
        (Backoff(initial=5, maximum=5), [5, 5, 5]),
        (Backoff(initial=0.5, maximum=4, factor=3), [0.5, 1.5, 4, 4]),
        (Backoff(initial=7, maximum=3), [3, 3]),
        (Backoff(initial=2, factor=1), [2, 2, 2]),
        (Backoff(initial=0), [0, 0, 0]),
        (Backoff(maximum=0), [0, 0]),
    ],
)
def test_the_bound_grows_from_initial_to_maximum(backoff, bounds):
    """The bound is multiplied by the factor each time, and never exceeds the maximum."""
    assert [backoff.bound(taken) for taken in range(len(bounds))] == bounds


@given(backoffs, st.integers(0, 10**6))
def test_a_bound_is_finite_and_never_shrinks(backoff, taken):
    """After any number of failures the bound is between the one before and the maximum."""
    assert 0 <= backoff.bound(taken) <= backoff.bound(taken + 1) <= backoff.maximum


@given(backoffs, st.lists(st.floats(0, 1, exclude_max=True), max_size=30))
def test_a_delay_is_drawn_between_zero_and_its_bound(backoff, drawn):
    """Each delay is the drawn part of its bound, the first one included."""
    delays = Delays(backoff, iter(drawn).__next__)
    for taken, part in enumerate(drawn):
        assert delays.next() == part * backoff.bound(taken) <= backoff.bound(taken)


def test_delays_spread_over_their_whole_range():
    """Full jitter is uniform: the delays of many clients fill every tenth of the range."""
    found = [Delays(Backoff(initial=10), random.Random(seed).random).next() for seed in range(500)]
    assert {math.floor(delay) for delay in found} == set(range(10))


def test_what_a_server_asks_for_is_the_least():
    """The jitter comes on top of the seconds that a server asked for, and grows all the same."""
    delays = Delays(Backoff(initial=2), lambda: 0.5)
    assert [delays.next(30.0), delays.next(0.0), delays.next()] == [31.0, 2.0, 4.0]


def test_delays_start_over():
    """After a restart the first bound holds again."""
    delays = Delays(Backoff(), lambda: 0.5)
    assert [delays.next(), delays.next()] == [0.5, 1.0]
    delays.restart()
    assert delays.next() == 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"initial": -1},
        {"maximum": math.inf},
        {"factor": math.nan},
        {"stable": -0.1},
        {"initial": "1"},
        {"stable": None},
        {"factor": 0.5},
        {"attempts": 0},
        {"attempts": -3},
    ],
)
def test_a_backoff_that_makes_no_sense(options):
    """A delay that is no finite number from 0, that shrinks, or no attempt at all is refused."""
    name = next(iter(options))
    with pytest.raises(ValueError, match=name):
        Backoff(**options)


@pytest.mark.parametrize("options", [{"attempts": 1}, {"initial": 0, "maximum": 0, "stable": 0}])
def test_a_backoff_at_the_edge(options):
    """One attempt, and no delay at all, can be asked for."""
    assert {name: getattr(Backoff(**options), name) for name in options} == options
