"""What a buffer does at its bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.core.buffer import DEFAULT_CAPACITY, Buffer, Overflow, Put

capacities = st.integers(1, 6)
# True: put the next number; False: take one out, if there is one.
work = st.lists(st.booleans(), max_size=60)

LOSSY = [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.LATEST]


def drive(buffer: Buffer[int], puts: list[bool]) -> tuple[list[int], list[Put]]:
    """What was taken out in the end, and what became of each number that was put in."""
    taken: list[int] = []
    told: list[Put] = []
    for put in puts:
        if put:
            told.append(buffer.put(len(told)))
        elif buffer.items:
            taken.append(buffer.items.popleft())
    return taken + list(buffer.items), told


@pytest.mark.parametrize("overflow", LOSSY)
@given(capacity=capacities, puts=work)
def test_a_dropping_buffer_counts_exactly(overflow, capacity, puts):
    """What is delivered and what is dropped add up to what was put, and the order is kept."""
    buffer: Buffer[int] = Buffer(capacity, overflow)
    delivered, told = drive(buffer, puts)
    assert len(delivered) + buffer.dropped == len(told)
    assert told.count(Put.DROPPED) == buffer.dropped
    assert set(told) <= {Put.HELD, Put.DROPPED}
    assert delivered == sorted(set(delivered))


@given(capacity=capacities, puts=work)
def test_drop_newest_keeps_exactly_what_it_says_it_holds(capacity, puts):
    """With DROP_NEWEST an item is delivered when, and only when, it was not reported dropped."""
    delivered, told = drive(Buffer(capacity, Overflow.DROP_NEWEST), puts)
    assert delivered == [item for item, put in enumerate(told) if put is Put.HELD]


@given(capacity=capacities, count=st.integers(0, 30))
def test_what_is_left_of_a_burst(capacity, count):
    """Of a burst DROP_OLDEST keeps the end, DROP_NEWEST the beginning, LATEST the last."""
    kept = {}
    for overflow in LOSSY:
        buffer: Buffer[int] = Buffer(capacity, overflow)
        kept[overflow] = drive(buffer, [True] * count)[0]
    burst = list(range(count))
    assert kept[Overflow.DROP_OLDEST] == burst[-capacity:]
    assert kept[Overflow.DROP_NEWEST] == burst[:capacity]
    assert kept[Overflow.LATEST] == burst[-1:]


@given(capacity=capacities, puts=work)
def test_an_overflowing_buffer_gives_what_it_held_before(capacity, puts):
    """With ERROR everything before the first refused item is delivered, and nothing after it."""
    buffer: Buffer[int] = Buffer(capacity, Overflow.ERROR)
    delivered, told = drive(buffer, puts)
    taken = told.index(Put.REFUSED) if Put.REFUSED in told else len(told)
    assert delivered == list(range(taken))
    assert told == [Put.HELD] * taken + [Put.REFUSED] * (len(told) - taken)
    assert buffer.overflowed == (taken < len(told))


def test_room_after_an_overflow_is_no_room():
    """Once overflowed, a buffer that was emptied still takes nothing."""
    buffer: Buffer[int] = Buffer(1)
    assert [buffer.put(1), buffer.put(2)] == [Put.HELD, Put.REFUSED]
    buffer.items.clear()
    assert buffer.put(3) is Put.REFUSED
    assert not buffer.items


@given(capacity=capacities, puts=work)
def test_a_blocking_buffer_loses_nothing(capacity, puts):
    """With BLOCK all is delivered, and who fills the last place or more is told to pause."""
    buffer: Buffer[int] = Buffer(capacity, Overflow.BLOCK)
    waiting = 0
    expected: list[Put] = []
    for put in puts:
        waiting = waiting + 1 if put else max(waiting - 1, 0)
        if put:
            expected.append(Put.FULL if waiting >= capacity else Put.HELD)
    delivered, told = drive(buffer, puts)
    assert told == expected
    assert delivered == list(range(len(told)))
    assert buffer.dropped == 0
    assert not buffer.overflowed


@pytest.mark.parametrize("overflow", [o for o in Overflow if o is not Overflow.LATEST])
def test_no_bound(overflow):
    """Without a capacity everything is held, by whatever strategy."""
    buffer: Buffer[int] = Buffer(None, overflow)
    assert {buffer.put(item) for item in range(5000)} == {Put.HELD}
    assert list(buffer.items) == list(range(5000))
    assert buffer.has_room


@pytest.mark.parametrize("capacity", [None, 1, 50])
def test_latest_is_a_capacity_of_one(capacity):
    """LATEST holds one item, whatever capacity is given."""
    buffer: Buffer[int] = Buffer(capacity, Overflow.LATEST)
    assert [buffer.put(1), buffer.put(2)] == [Put.HELD, Put.DROPPED]
    assert list(buffer.items) == [2]


@pytest.mark.parametrize("overflow", Overflow)
def test_room(overflow):
    """There is room until the capacity is reached, and again once something was taken."""
    buffer: Buffer[int] = Buffer(2 if overflow is not Overflow.LATEST else 1, overflow)
    while len(buffer.items) < buffer.capacity:
        assert buffer.has_room
        buffer.put(0)
    assert not buffer.has_room
    buffer.items.popleft()
    assert buffer.has_room


def test_the_default():
    """By default a buffer holds 1,000 items, and one more is an error."""
    buffer: Buffer[int] = Buffer()
    told = [buffer.put(item) for item in range(DEFAULT_CAPACITY + 1)]
    assert DEFAULT_CAPACITY == 1000
    assert told == [Put.HELD] * 1000 + [Put.REFUSED]


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "10"])
def test_a_capacity_that_makes_no_sense(capacity):
    """A capacity is a whole number from 1, or None."""
    with pytest.raises(ValueError, match="capacity"):
        Buffer(capacity)


@pytest.mark.parametrize("overflow", ["block", None, Overflow])
def test_a_strategy_that_is_none(overflow):
    """A strategy is a member of Overflow, not its name."""
    with pytest.raises(TypeError, match="overflow"):
        Buffer(10, overflow)
