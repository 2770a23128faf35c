"""What of a filling belongs into its gap."""

from __future__ import annotations

from typing import Any

from rxws.core.filling import Filling
from rxws.core.handover import Handover
from rxws.core.numbering import Hole

OLD, NEW = 1, 2


def keyed() -> Handover[Any]:
    """By a key, which is the message itself; ``None`` has none."""
    return Handover(key=lambda message: message, window=10.0, overlap=2.0, hold=100)


def numbered() -> Handover[Any]:
    """By a partition and a number, which the message consists of."""
    return Handover(
        sequence=lambda message: message[1],
        partition=lambda message: message[0],
        window=10.0,
        overlap=2.0,
        hold=100,
    )


def brought(handover: Handover[Any], epoch: int, *messages: Any) -> list[Any]:
    """The verdicts on what a live connection brings."""
    return [handover.admit(epoch, message, str(message), 0.0) for message in messages]


def taken(filling: Filling[Any], *messages: Any) -> list[Any]:
    """Which of these the filling takes."""
    return [message for message in messages if filling.takes(message, 0.0)]


def test_a_filling_brings_only_what_was_not_delivered():
    """What either connection brought is not delivered again by the filling, nor after it."""
    handover = keyed()
    brought(handover, OLD, 1, 2)
    filling: Filling[Any] = Filling(handover, None)
    assert taken(filling, 2, 3, 4, 4) == [3, 4]
    assert filling.is_complete
    assert brought(handover, NEW, 4, 5) == [False, True]


def test_a_second_filling_repeats_nothing_of_the_first():
    """The fillings of two gaps may overlap."""
    handover = keyed()
    assert taken(Filling(handover, None), 1, 2) == [1, 2]
    assert taken(Filling(handover, None), 1, 2, 3) == [3]


def test_a_filling_without_identities_is_delivered():
    """Where there is nothing to compare by, a filling is delivered whole."""
    handover: Handover[Any] = Handover(window=10.0, overlap=2.0, hold=100)
    brought(handover, OLD, "a", "b")
    assert taken(Filling(handover, None), "a", "a") == ["a", "a"]


def test_a_hole_takes_what_is_missing():
    """Each missing number once, in any order, and nothing that was delivered or waits behind."""
    handover = numbered()
    (_, hole) = brought(handover, OLD, ("p", 2), ("p", 6))
    assert isinstance(hole, Hole)
    filling: Filling[Any] = Filling(handover, hole)
    assert taken(filling, ("p", 4), ("p", 2), ("p", 3), ("p", 4), ("p", 6), ("p", 7)) == [
        ("p", 4),
        ("p", 3),
    ]
    assert not filling.is_complete
    assert taken(filling, ("p", 5)) == [("p", 5)]
    assert filling.is_complete
    assert brought(handover, OLD, ("p", 7)) == [True]


def test_a_hole_of_one_partition_is_none_of_another():
    """What a filling brings of other partitions comes by itself, or has a gap of its own."""
    handover = numbered()
    brought(handover, OLD, ("q", 1))
    (_, hole) = brought(handover, OLD, ("p", 2), ("p", 4))
    assert isinstance(hole, Hole)
    assert taken(Filling(handover, hole), ("q", 1), ("q", 2), ("p", 3)) == [("p", 3)]
    assert brought(handover, OLD, ("q", 2)) == [True]


def test_a_filling_brings_a_partition_unheard_of():
    """What nobody has brought yet of a partition is taken, and is a repetition afterwards."""
    handover = numbered()
    (_, hole) = brought(handover, OLD, ("p", 2), ("p", 4))
    assert isinstance(hole, Hole)
    assert taken(Filling(handover, hole), ("new", 1), ("new", 2)) == [("new", 1), ("new", 2)]
    assert brought(handover, OLD, ("new", 2), ("new", 3)) == [False, True]


def test_the_beginning_of_numbers_that_start_again():
    """Of a new feed all is missing that comes before the first number that was brought."""
    handover = numbered()
    (*_, hole) = brought(handover, OLD, ("p", 7), ("p", 8), ("p", 3))
    assert isinstance(hole, Hole)
    filling: Filling[Any] = Filling(handover, hole)
    assert taken(filling, ("p", 1), ("p", 2), ("p", 3)) == [("p", 1), ("p", 2)]
    assert filling.is_complete
