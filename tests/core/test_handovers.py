"""The ways to hand over, as options."""

from __future__ import annotations

import math

import pytest

from rxws.core.handovers import Exclusive, FirstArrival, MakeBeforeBreak, Plan, Replace


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (MakeBeforeBreak, "overlap"),
        (MakeBeforeBreak, "window"),
        (MakeBeforeBreak, "drain"),
        (FirstArrival, "overlap"),
        (FirstArrival, "window"),
        (Exclusive, "drain"),
        (Replace, "drain"),
    ],
)
@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "2"])
def test_spans_are_finite_seconds_from_0(kind, name, value):
    """A span that makes no sense is told by the mode's and its own name."""
    with pytest.raises(ValueError, match=rf"{kind.__name__}\({name}="):
        kind(**{name: value})


def test_at_least_one_message_is_held():
    """A hold of nothing can't be asked for."""
    with pytest.raises(ValueError, match="hold=0"):
        MakeBeforeBreak(hold=0)


def test_a_handover_at_the_edge():
    """No overlap, no memory and a single held message can be asked for."""
    assert MakeBeforeBreak(overlap=0, window=0, drain=0, hold=1).plan == Plan(
        overlap=0, window=0, drain=0, hold=1
    )


@pytest.mark.parametrize(
    ("mode", "plan"),
    [
        (MakeBeforeBreak(), Plan(overlap=2.0, drain=2.0, window=10.0, hold=100_000)),
        (FirstArrival(), Plan(overlap=2.0, drain=2.0, window=10.0, holds=False)),
        (Exclusive(drain=1.0), Plan(drain=1.0, breaks_first=True)),
        (Replace(drain=1.0), Plan(drain=1.0, resets=True)),
    ],
)
def test_what_a_mode_comes_to(mode, plan):
    """Each mode differs from the default in one thing."""
    assert mode.plan == plan
