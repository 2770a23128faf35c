"""How often something may be said."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rxws.core.seldom import Seldom


@given(st.lists(st.floats(0, 1.5), max_size=50))
def test_one_in_each_span(gaps):
    """Two that are admitted are a whole span apart, and who waits for a span is admitted."""
    seldom, now, admitted = Seldom(1.0), 0.0, []
    for gap in gaps:
        now += gap
        if seldom.admits(now):
            admitted.append(now)
        assert now - admitted[-1] < 1.0
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(admitted))
    assert seldom.take_refused() == len(gaps) - len(admitted)
    assert seldom.take_refused() == 0


def test_another_clock_starts_over():
    """A clock that is behind is that of another event loop, whose time is its own."""
    seldom = Seldom(1.0)
    assert [seldom.admits(now) for now in (100, 100.5, 3, 3.5, 4)] == [
        True,
        False,
        True,
        False,
        True,
    ]
