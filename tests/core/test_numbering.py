"""Numbers of a feed: what is missing, what is a repetition, and what starts again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.core.numbering import Hole, Numbering, Repeats

OLD, NEW = 1, 2


def numbering(window: float = 10.0, memory: int = 1000) -> Numbering:
    """What judges, knowing nothing yet."""
    return Numbering(window, memory)


def admitted(judge: Numbering, epoch: int, numbers: Any, now: float = 0.0, digest: int = 0) -> Any:
    """The verdicts on what a live connection brings, of one partition."""
    return [judge.admit(epoch, "p", number, digest, now) for number in numbers]


def by_definition(epoch: int, numbers: list[int]) -> list[bool | Hole]:
    """What one connection alone comes to."""
    verdicts: list[bool | Hole] = []
    for last, number in zip([None, *numbers], numbers, strict=False):
        if last is None or number in {last, last + 1}:
            verdicts.append(True)
        else:
            missing = range(last + 1, number) if number > last else None
            verdicts.append(Hole("p", missing, last, epoch, number))
    return verdicts


@given(st.lists(st.integers(-5, 12), max_size=30))
def test_one_connection(numbers):
    """All is delivered, and where numbers are skipped or fall after a hole that says so."""
    assert admitted(numbering(), OLD, numbers) == by_definition(OLD, numbers)


@given(st.integers(2, 30), st.integers(1, 30), st.integers(2, 45), st.integers(0, 15))
def test_another_connection_that_goes_on(first, length, start, more):
    """What the one before brought is a repetition, what follows is new, what is between a hole."""
    judge = numbering()
    last = first + length - 1
    admitted(judge, OLD, range(first, last + 1))
    start = max(start, first)
    stop = max(start, last) + 1 + more
    verdicts = admitted(judge, NEW, range(start, stop), 5.0)
    for number, verdict in zip(range(start, stop), verdicts, strict=True):
        if number <= last:
            assert verdict is False
        elif number == start > last + 1:
            assert verdict == Hole("p", range(last + 1, start), last, OLD, start)
        else:
            assert verdict is True


@given(st.sets(st.integers(1, 25)), st.sets(st.integers(1, 25)), st.randoms(use_true_random=False))
def test_two_connections_delivered_at_once(old, new, random):
    """Of two that skip what they like, each number is delivered once, and the rest is a hole."""
    judge = numbering()
    admitted(judge, OLD, [0])
    waiting = {OLD: sorted(old), NEW: sorted(new)}
    delivered = []
    while any(waiting.values()):
        epoch = random.choice([one for one in waiting if waiting[one]])
        number = waiting[epoch].pop(0)
        verdict = judge.admit_early(epoch, "p", number, 0, 0.0)
        assert isinstance(verdict, bool)
        if verdict:
            delivered.append(number)
    assert sorted(delivered) == sorted(old | new)
    missing = [number for hole in judge.settle(NEW, 0.0) for number in hole.missing or ()]
    assert missing == sorted(set(range(1, max(old | new | {0}))) - old - new)
    assert admitted(judge, NEW, range(max(new | {0}) + 1, 30))[-1] is True


@given(st.sets(st.integers(1, 12)), st.integers(1, 12), st.integers(0, 12))
def test_a_connection_that_was_ahead_and_failed(new, start, holes):
    """The one that goes on delivers what is not delivered yet, and tells what it skips itself."""
    judge = numbering()
    admitted(judge, OLD, [0])
    for number in sorted(new):
        judge.admit_early(NEW, "p", number, 0, 0.0)
    judge.lost(NEW)
    brought = [number for number in range(1, 40) if not start <= number < start + holes]
    verdicts = dict(zip(brought, admitted(judge, OLD, brought), strict=True))
    assert {number for number, verdict in verdicts.items() if verdict} == set(brought) - new
    told = [one.missing for one in verdicts.values() if isinstance(one, Hole)]
    missing = [number for numbers in told for number in numbers or ()]
    assert missing == sorted(set(range(1, 40)) - set(brought) - new)


def test_a_partition_that_both_begin_at_once():
    """What the other connection brings from before the first number is delivered too."""
    judge = numbering()
    assert [judge.admit_early(NEW, "p", number, 0, 0.0) for number in (5, 6)] == [True, True]
    verdicts = [judge.admit_early(OLD, "p", number, 0, 0.0) for number in (3, 4, 5, 6, 7)]
    assert verdicts == [True, True, False, False, True]
    assert judge.settle(NEW, 0.0) == []
    assert admitted(judge, NEW, [7, 8]) == [False, True]


def test_each_partition_has_its_own_numbers():
    """Numbers of one partition say nothing of those of another."""
    judge = numbering()
    verdicts = [judge.admit(OLD, part, n, 0, 0.0) for part, n in [("a", 1), ("b", 7), ("a", 2)]]
    assert verdicts == [True, True, True]
    assert judge.admit(OLD, "b", 9, 0, 0.0) == Hole("b", range(8, 9), 7, OLD, 9)


# Starting again


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("digest", [0, 1])
def test_small_numbers_after_a_break_are_a_new_feed(first, digest):
    """A server that counts from 0 or 1 after a reconnect has started again, whatever it sends."""
    judge = numbering()
    admitted(judge, OLD, range(10))
    judge.broken(NEW)
    verdicts = admitted(judge, NEW, range(first, 12), 1.0, digest)
    assert verdicts == [Hole("p", None, 9, OLD, first), *[True] * (11 - first)]


@pytest.mark.parametrize(("digest", "is_new"), [(0, False), (1, True)])
def test_larger_numbers_after_a_break(digest, is_new):
    """They repeat what was delivered where the payload is the same, and are a new feed if not."""
    judge = numbering()
    admitted(judge, OLD, range(100, 110))
    judge.broken(NEW)
    verdicts = admitted(judge, NEW, [105, 106, 111], 1.0, digest)
    if is_new:
        restart = Hole("p", None, 109, OLD, 105)
        assert verdicts == [restart, True, Hole("p", range(107, 111), 106, NEW, 111)]
    else:
        assert verdicts == [False, False, Hole("p", range(110, 111), 109, OLD, 111)]


def test_numbers_from_before_the_window_are_a_new_feed():
    """What is older than the window is known to nobody."""
    judge = numbering(window=10.0)
    for second in range(100):
        admitted(judge, OLD, [second], float(second))
    assert admitted(judge, NEW, [95], 99.0) == [False]
    judge = numbering(window=10.0)
    for second in range(100):
        admitted(judge, OLD, [second], float(second))
    assert admitted(judge, NEW, [80, 81], 99.0) == [Hole("p", None, 99, OLD, 80), True]


def test_a_connection_that_lags_and_starts_again():
    """Its numbers fall: no repetition, though the numbers were delivered within the window."""
    judge = numbering()
    admitted(judge, OLD, range(10))
    assert admitted(judge, NEW, [7, 8], 1.0) == [False, False]
    assert admitted(judge, NEW, [3, 4], 1.0) == [Hole("p", None, 9, OLD, 3), True]


def test_another_connection_still_counts_as_before():
    """What came before the numbers fell is a repetition still, and so is what came after."""
    judge = numbering()
    for number in (7, 8, 9):
        judge.admit(OLD, "p", number, number, 0.0)
    judge.admit(OLD, "p", 1, 101, 0.0)
    judge.admit(OLD, "p", 2, 102, 0.0)
    found = [judge.hold(NEW, "p", number, number, 0.0) for number in (8, 9)]
    found += [judge.hold(NEW, "p", number, 100 + number, 0.0) for number in (1, 2, 3)]
    assert found == [Repeats.YES] * 4 + [Repeats.NO]


def test_the_filling_of_another_gap():
    """It brings a partition unheard of, and nothing of those whose own numbers will tell."""
    judge = numbering()
    admitted(judge, OLD, [1, 2])
    assert not judge.admit_filling("p", 5, 0.0)
    assert [judge.admit_filling("q", number, 0.0) for number in (5, 6, 6, 4)] == [
        True,
        True,
        False,
        True,
    ]
    verdicts = [judge.admit(OLD, "q", number, 0, 0.0) for number in (4, 5, 6, 7)]
    assert verdicts == [False, False, False, True]


# What is remembered


def test_partitions_are_bounded():
    """Of too many partitions those are forgotten first that were quiet for longest."""
    judge = numbering(window=1.0, memory=10)
    for one in range(1000):
        now = one / 4
        judge.admit(OLD, "busy", one, 0, now)
        judge.admit(OLD, one, 1, 0, now)
    assert len(judge._feeds) == 10
    assert judge.admit(OLD, "busy", 1001, 0, 250.0) == Hole(
        "busy", range(1000, 1001), 999, OLD, 1001
    )


def test_what_is_ahead_is_bounded():
    """Numbers that leave a hole each are told early, before they take too much room."""
    judge = numbering(memory=10)
    judge.admit(OLD, "p", 0, 0, 0.0)
    holes = [judge.admit_early(NEW, "p", number, 0, 0.0) for number in range(2, 2000, 2)]
    feed = judge._feeds["p"]
    assert feed.ahead is not None
    assert len(feed.ahead) == 10
    assert sum(isinstance(hole, Hole) for hole in holes) == 999 - 10
    assert len(judge.settle(NEW, 0.0)) == 10


def test_what_was_delivered_when_takes_little_room():
    """However long a feed lives, a few moments are remembered of it."""
    judge = numbering(window=1.0)
    for one in range(10_000):
        judge.admit(OLD, "p", one, 0, one / 100)
    assert len(judge._feeds["p"].marks) <= 12
    assert len(judge._digests) <= 16_384
