"""What a rotation delivers: by identity, by number, and by bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.core.handover import Handover, Spliced
from rxws.core.naming import Name
from rxws.core.numbering import Hole

OLD, NEW, NEWEST = 1, 2, 3


def handover(window: float = 10.0, hold: int = 1000, **options: Any) -> Handover[Any]:
    """What decides, with these identities."""
    return Handover(window=window, overlap=2.0, hold=hold, **options)


def keyed(window: float = 10.0, hold: int = 1000) -> Handover[Any]:
    """By key: that of a mapping with one, none for anything else."""
    return handover(window, hold, key=lambda message: message["key"])


def numbered(window: float = 10.0, hold: int = 1000) -> Handover[Any]:
    """By number, which is the key of a mapping."""
    return handover(window, hold, sequence=lambda message: message["key"])


def by_bytes(
    partition: Callable[[Any], Any] | None = None, window: float = 10.0, hold: int = 1000
) -> Handover[Any]:
    """Without any identity."""
    return handover(window, hold, partition=partition)


def brought(decides: Handover[Any], epoch: int, messages: Sequence[Any], now: float = 0.0) -> Any:
    """Which of the messages of a live connection are emitted; each is its own payload."""
    return [m for m in messages if decides.admit(epoch, m, str(m), now)]


def hold(
    decides: Handover[Any], messages: Sequence[Any], now: float = 0.0, epoch: int = NEW
) -> None:
    """Let the successor bring messages; each is its own payload."""
    for message in messages:
        decides.hold(epoch, message, str(message), now, new=False)


def spliced(decides: Handover[Any], now: float = 0.0, epoch: int = NEW) -> tuple[Any, Spliced[Any]]:
    """What the successor that takes over adds to the output, and what the splice came to."""
    found = decides.splice(epoch, now)
    return [one.message for one in found.held if decides.admit_held(epoch, one, now)], found


def keys(*names: Any) -> list[dict[str, Any]]:
    """Messages with these keys."""
    return [{"key": name} for name in names]


# By identity


@pytest.mark.parametrize("make", [keyed, numbered])
def test_the_successor_brings_again_what_its_predecessor_brought(make):
    """What both brought is emitted once, where the predecessor brought it, and counted."""
    decides = make()
    assert brought(decides, OLD, keys(1, 2, 3)) == keys(1, 2, 3)
    hold(decides, keys(2, 3, 4, 5))
    assert decides.held == 2
    output, found = spliced(decides, 1.0)
    assert output == keys(4, 5)
    assert (found.duplicates, found.matched, found.touched, found.holes) == (2, True, True, [])
    assert brought(decides, NEW, keys(6, 7), 2.0) == keys(6, 7)
    assert (decides.duplicates, decides.held) == (2, 0)


@pytest.mark.parametrize("make", [keyed, numbered])
def test_the_predecessor_brings_what_its_successor_holds(make):
    """Whichever brings it first, the predecessor's is emitted, and the successor's never."""
    decides = make()
    hold(decides, keys(1, 2, 3))
    assert not decides.touched
    assert brought(decides, OLD, keys(1, 2)) == keys(1, 2)
    assert (decides.held, decides.touched) == (1, True)
    output, found = spliced(decides)
    assert (output, found.duplicates) == (keys(3), 2)


@pytest.mark.parametrize("make", [keyed, numbered])
def test_a_successor_that_lags_is_compared_after_it_took_over(make):
    """What the predecessor had brought is a duplicate also when its successor brings it later."""
    decides = make()
    brought(decides, OLD, keys(1, 2, 3, 4))
    hold(decides, keys(2))
    assert spliced(decides)[0] == []
    assert brought(decides, NEW, keys(3, 4, 5), 9.0) == keys(5)
    assert decides.duplicates == 3


def test_a_connection_may_repeat_itself():
    """A key that comes twice on one connection is two messages, held or not."""
    decides = keyed()
    assert brought(decides, OLD, keys(1, 1)) == keys(1, 1)
    hold(decides, keys(2, 2))
    assert spliced(decides)[0] == keys(2, 2)
    assert brought(decides, NEW, keys(2)) == keys(2)
    assert decides.duplicates == 0


def test_of_what_is_held_twice_one_is_brought_at_a_time():
    """A number that the predecessor brought once may be held again: then that starts again."""
    decides = numbered()
    brought(decides, OLD, keys(4))
    hold(decides, keys(5, 6, 5, 6))
    brought(decides, OLD, keys(5, 6))
    output, found = spliced(decides)
    assert (output, found.duplicates) == (keys(5, 6), 2)


def test_an_identity_is_remembered_after_a_reconnect():
    """What a lost connection brought is a duplicate on the next, and so on the one after that."""
    decides = keyed()
    brought(decides, OLD, keys(1, 2))
    decides.broken(NEW)
    assert brought(decides, NEW, keys(2, 3)) == keys(3)
    decides.broken(NEWEST)
    assert brought(decides, NEWEST, keys(1, 2, 3, 4)) == keys(4)


def test_an_identity_is_forgotten_after_the_window():
    """A duplicate is one to the last moment of the window, and a new message after it."""
    decides = keyed(window=10.0)
    brought(decides, OLD, keys(1, 2), 0.0)
    assert brought(decides, NEW, keys(1), 10.0) == []
    assert brought(decides, NEW, keys(2), 10.001) == keys(2)


def test_a_repetition_renews_an_identity():
    """The window of an identity begins when it was emitted last; that of another does not."""
    decides = keyed(window=10.0)
    brought(decides, OLD, keys(1, 2), 0.0)
    brought(decides, OLD, keys(1), 8.0)
    assert brought(decides, NEW, keys(1, 2), 15.0) == keys(2)


@pytest.mark.parametrize("make", [keyed, numbered, by_bytes])
def test_a_rotation_longer_than_the_window(make):
    """What the successor holds is compared even when it was brought before the window."""
    decides = make(window=1.0)
    brought(decides, OLD, keys(1), 0.0)
    for number in range(2, 50):
        hold(decides, keys(number), float(number))
        brought(decides, OLD, keys(number), float(number))
    output, found = spliced(decides, 60.0)
    assert (output, found.duplicates, found.matched) == ([], 48, True)


def test_the_hold_is_full_at_its_bound():
    """A hold is full with as many messages as were allowed, and takes more all the same."""
    decides = keyed(hold=2)
    hold(decides, keys(1))
    assert not decides.full
    hold(decides, keys(2, 3))
    assert decides.full
    assert spliced(decides)[0] == keys(1, 2, 3)
    assert not decides.full


@pytest.mark.parametrize("make", [keyed, numbered])
def test_what_is_brought_makes_room(make):
    """What the predecessor has brought, before or after, takes no room in the hold."""
    decides = make(hold=2)
    brought(decides, OLD, keys(1, 2, 3))
    hold(decides, keys(1, 2, 3, 4, 5))
    assert decides.full
    brought(decides, OLD, keys(4))
    assert not decides.full


@pytest.mark.parametrize("make", [keyed, numbered])
def test_a_successor_that_failed_leaves_nothing(make):
    """What was discarded is neither delivered nor remembered."""
    decides = make()
    hold(decides, keys(1, 2))
    decides.discard()
    output, found = spliced(decides)
    assert (output, found.duplicates, found.touched) == ([], 0, False)
    assert brought(decides, OLD, keys(1)) == keys(1)
    assert decides.duplicates == 0


def test_what_waits_for_a_lost_predecessor_is_handed_out():
    """Without a predecessor all that it did not bring is handed out, in order, once."""
    decides = keyed()
    brought(decides, OLD, keys(1))
    hold(decides, keys(1, 2, 3))
    brought(decides, OLD, keys(2))
    assert [held.message for held in decides.release()] == keys(3)
    assert decides.release() == []


def test_what_is_compared_with_nothing():
    """While no connection is live all is held, and compared when it is admitted."""
    decides = keyed()
    brought(decides, OLD, keys(1, 2))
    for message in keys(2, 3):
        decides.hold(NEW, message, "", 1.0, new=True)
    assert (decides.held, decides.touched) == (2, False)
    assert [decides.admit_held(NEW, held, 1.0) for held in decides.release()] == [False, True]


def test_a_snapshot_starts_it_all_again():
    """What was forgotten is delivered again."""
    decides = keyed()
    brought(decides, OLD, keys(1, 2))
    decides.forget()
    assert brought(decides, NEW, keys(1, 2)) == keys(1, 2)


def test_the_identity_of_what_was_admitted_last():
    """It is the key or the number of the last message that was emitted and has one."""
    decides = handover(key=lambda m: m.get("key"), sequence=lambda m: m.get("n"))
    assert decides.last is None
    brought(decides, OLD, [{"key": "a"}])
    assert decides.last == "a"
    brought(decides, OLD, [{"n": 7, "key": "b"}])
    assert decides.last == 7


# By number


def test_a_hole_is_told_with_the_message_after_it():
    """Numbers that are missing are known before the next message, by their connection."""
    decides = numbered()
    brought(decides, OLD, keys(1, 2))
    hole = decides.admit(OLD, {"key": 5}, "5", 0.0)
    assert hole == Hole(None, range(3, 5), last=2, epoch=OLD, first=5)
    assert decides.is_numbered


def test_a_hole_behind_the_seam():
    """What neither connection brought is missing after the splice, and what follows is not."""
    decides = numbered()
    brought(decides, OLD, keys(1, 2))
    hold(decides, keys(5, 6))
    found = decides.splice(NEW, 0.0)
    verdicts = [decides.admit_held(NEW, one, 0.0) for one in found.held]
    assert verdicts == [Hole(None, range(3, 5), last=2, epoch=OLD, first=5), True]


def test_a_successor_that_has_caught_up():
    """The numbers prove it where the predecessor's next is the successor's first, or later."""
    decides = numbered()
    assert not decides.caught_up
    brought(decides, OLD, keys(1, 2))
    hold(decides, keys(4))
    assert not decides.caught_up
    brought(decides, OLD, keys(3))
    assert decides.caught_up
    decides.discard()
    assert not decides.caught_up


def test_partitions_never_prove_that_a_successor_has_caught_up():
    """The predecessor may be about to bring the first message of a partition unheard of."""
    decides = handover(sequence=lambda m: m[1], partition=lambda m: m[0])
    brought(decides, OLD, [("a", 1)])
    hold(decides, [("a", 1)])
    assert not decides.caught_up


def test_a_successor_whose_numbers_start_again():
    """What it holds from there on is new, even where the numbers are those of before."""
    decides = numbered()
    brought(decides, OLD, keys(1, 2, 3))
    hold(decides, keys(3, 4, 1, 2))
    found = decides.splice(NEW, 0.0)
    verdicts = [decides.admit_held(NEW, one, 0.0) for one in found.held]
    assert verdicts == [True, Hole(None, None, last=4, epoch=NEW, first=1), True]
    assert brought(decides, NEW, keys(3, 4, 5)) == keys(3, 4, 5)


def test_both_start_again_during_the_overlap():
    """Whichever does so first, each message is delivered once."""
    decides = numbered()
    brought(decides, OLD, keys(7, 8, 9))
    hold(decides, keys(8, 9, 1))  # the successor first
    assert brought(decides, OLD, keys(1, 2, 3)) == keys(1, 2, 3)
    hold(decides, keys(2, 3, 4))
    assert spliced(decides)[0] == keys(4)
    hold(decides, keys(3, 4), epoch=NEWEST)
    assert brought(decides, NEW, keys(1, 2)) == keys(1, 2)  # the predecessor first
    hold(decides, keys(1, 2, 3), epoch=NEWEST)
    assert spliced(decides, epoch=NEWEST)[0] == keys(3)


# Both delivered at once


def early(decides: Handover[Any], epoch: int, messages: Sequence[Any]) -> list[Any]:
    """Which are delivered at once."""
    return [
        message
        for message in messages
        if decides.admit_early(
            epoch, decides.described(message, str(message)), 0.0, successor=epoch == NEW
        )
    ]


@pytest.mark.parametrize("make", [keyed, numbered])
def test_whichever_comes_first_is_delivered(make):
    """Of two connections each message is delivered once, wherever it came first."""
    decides = make()
    brought(decides, OLD, keys(1, 2))
    assert early(decides, NEW, keys(2, 3, 4)) == keys(3, 4)
    assert early(decides, OLD, keys(3, 4, 5)) == keys(5)
    assert spliced(decides)[0] == []
    assert brought(decides, NEW, keys(5, 6)) == keys(6)
    assert decides.duplicates == 4


def test_what_has_no_identity_waits_for_the_splice():
    """Delivered at once is only what can be compared; the rest is held and aligned."""
    decides = handover(key=lambda m: m if isinstance(m, int) else None)
    assert early(decides, OLD, [1, "a", "b"]) == [1, "a", "b"]
    assert early(decides, NEW, [1, "b", 2, "c"]) == [2]
    assert decides.held == 2
    output, found = spliced(decides)
    assert (output, found.matched) == (["c"], True)


def test_holes_stay_open_until_the_splice():
    """What one connection has not brought the other may; what neither did is told at the end."""
    decides = numbered()
    brought(decides, OLD, keys(1))
    assert early(decides, NEW, keys(4, 6)) == keys(4, 6)
    assert early(decides, OLD, keys(2, 3, 4)) == keys(2, 3)
    output, found = spliced(decides)
    assert output == []
    assert found.holes == [Hole(None, range(5, 6), last=4, epoch=NEW, first=6)]


def test_a_successor_that_was_delivered_and_failed():
    """Its predecessor goes on as if it had not been, and repeats nothing of it."""
    decides = numbered()
    brought(decides, OLD, keys(1, 2))
    assert early(decides, NEW, keys(5, 6)) == keys(5, 6)
    decides.discard()
    assert brought(decides, OLD, keys(3, 4, 5, 6, 7)) == keys(3, 4, 7)


# Messages without an identity


def nameless(message: Any) -> Any:
    """A key for numbers; all the ways not to give one for the rest."""
    if message == "none":
        return None
    if message == "unhashable":
        return [message]
    if message == "raises":
        raise LookupError(message)
    return message


@pytest.mark.parametrize("message", ["none", "unhashable", "raises"])
def test_a_message_without_an_identity_is_compared_by_its_bytes(message):
    """Of equal payloads as many are removed as both brought, in order, and never a later one."""
    decides = handover(key=nameless)
    assert brought(decides, OLD, [1, message, 2, message, 3]) == [1, message, 2, message, 3]
    hold(decides, [2, message, 3, 4, message])
    output, found = spliced(decides, 1.0)
    assert (output, found.duplicates, found.matched) == ([4], 4, True)
    later = [5, message, message, 6, message]
    assert brought(decides, NEW, later, 2.0) == later


def test_two_messages_with_equal_bytes_and_two_identities():
    """Where there are identities, the bytes do not matter."""
    decides = keyed()
    assert decides.admit(OLD, {"key": 1}, "same", 0.0)
    assert decides.admit(NEW, {"key": 2}, "same", 0.0)
    assert not decides.admit(NEW, {"key": 1}, "other", 0.0)


def test_heartbeats_pass_after_a_takeover():
    """A payload that repeats for ever, without a key, is not taken for one of the predecessor."""
    decides = handover(key=nameless)
    brought(decides, OLD, ["none"] * 20)
    hold(decides, ["none"] * 3)
    output, found = spliced(decides)
    assert (output, found.duplicates, found.ambiguous) == ([], 3, True)
    assert len(brought(decides, NEW, ["none"] * 20, 1.0)) == 20


# What tells messages apart


def number(message: Any) -> Any:
    """The number of a message, if it has one."""
    return message.get("n")


def symbol(message: Any) -> Any:
    """The name of the feed of a message; raises where there is none."""
    return message["s"]


@pytest.mark.parametrize(
    ("options", "message", "name", "identity"),
    [
        ((None, number, symbol), {"n": 1, "s": "x"}, ("x", 1, None), ("x", 1)),
        ((None, number, symbol), {"s": "x"}, ("x", None, None), None),
        ((None, number, symbol), {}, (None, None, None), None),
        ((None, number, None), {"n": 0}, (None, 0, None), (None, 0)),
        ((None, number, None), {"n": True}, (None, None, None), None),
        ((None, number, None), {"n": "1"}, (None, None, None), None),
        ((symbol, number, None), {"n": 1, "s": "x"}, (None, 1, None), (None, 1)),
        ((symbol, number, None), {"s": "x"}, (None, None, "x"), "x"),
        ((None, None, symbol), {"s": "x"}, ("x", None, None), None),
        ((None, None, None), {"s": "x"}, (None, None, None), None),
    ],
)
def test_the_name_of_a_message(options, message, name, identity):
    """The number within its partition comes first, then the key; a number is a whole one."""
    key, sequence, partition = options
    decides = handover(key=key, sequence=sequence, partition=partition)
    assert decides.named(message) == Name(*name)
    assert decides.named(message).identity == identity


def test_numbers_are_those_of_their_partition():
    """Equal numbers in two partitions are two messages, without partitions they are one."""
    one, other = {"n": 1, "s": "x"}, {"n": 1, "s": "y"}
    for partition, emitted in ((symbol, [other]), (None, [])):
        decides = handover(sequence=number, partition=partition)
        brought(decides, OLD, [one])
        assert brought(decides, NEW, [one, other]) == emitted


# By bytes


@pytest.mark.parametrize(
    ("old", "held", "fresh", "matched", "later"),
    [
        ("abc", "bcd", "d", True, ("efg", "efg")),  # the successor is ahead
        ("abc", "abc", "", True, ("def", "def")),  # both are as far
        ("abcdef", "bc", "", True, ("defgh", "gh")),  # the successor is behind
        ("abcdef", "bc", "", True, ("dxef", "xef")),  # and goes on differently
        ("abcdefg", "bc", "", True, ("dxfg", "xfg")),
        ("abc", "xyz", "xyz", False, ("abc", "abc")),  # nothing in common
        ("abc", "", "", True, ("cde", "de")),  # the successor brought nothing yet
        ("abc", "", "", True, ("xc", "xc")),
        ("", "abc", "abc", True, ("def", "def")),  # the predecessor brought nothing
        ("hhhh", "hh", "", True, ("hh", "hh")),  # repeated payloads
        ("habhab", "hab", "", True, ("hab", "hab")),
        ("abc", "wbcd", "wd", True, ("e", "e")),  # a greeting of the successor's own
        ("wabc", "wbcd", "wd", True, ("e", "e")),  # that was the predecessor's too
    ],
)
def test_a_takeover_by_bytes(old, held, fresh, matched, later):
    """Payloads that both brought at the seam are delivered once, and the rest is delivered."""
    decides = by_bytes()
    assert brought(decides, OLD, old) == list(old)
    hold(decides, held)
    output, found = spliced(decides, 1.0)
    assert (output, found.duplicates, found.matched) == (
        list(fresh),
        len(held) - len(fresh),
        matched,
    )
    comes, emitted = later
    assert "".join(brought(decides, NEW, comes, 2.0)) == emitted
    assert decides.duplicates == len(held) - len(fresh) + len(comes) - len(emitted)


def test_each_partition_is_aligned_by_itself():
    """The order of the feeds among each other may differ on the two connections."""
    decides = by_bytes(partition=lambda message: message[0])
    brought(decides, OLD, ["a1", "b1", "a2", "b2", "a3"])
    hold(decides, ["b1", "a2", "b2", "c1", "a3", "b3"])
    output, found = spliced(decides)
    assert (output, found.duplicates, found.matched) == (["c1", "b3"], 4, True)


def test_one_partition_that_is_behind_delays_no_other():
    """What is expected of one feed is not expected of another."""
    decides = by_bytes(partition=lambda message: message[0])
    brought(decides, OLD, ["a1", "b1", "a2", "b2"])
    hold(decides, ["a1", "b1", "b2"])
    assert spliced(decides)[0] == []
    assert brought(decides, NEW, ["b3", "a2", "a3"]) == ["b3", "a3"]


@pytest.mark.parametrize("held", [["a1", "b9"], ["b9", "a1"]])
def test_one_partition_that_does_not_match_is_told(held):
    """A single feed without an alignment makes the whole not matched."""
    decides = by_bytes(partition=lambda message: message[0])
    brought(decides, OLD, ["a1", "b1"])
    hold(decides, held)
    output, found = spliced(decides)
    assert (output, found.duplicates, found.matched) == (["b9"], 1, False)


@pytest.mark.parametrize("partition", [lambda message: message["no"], lambda message: [message]])
def test_a_partition_that_fails_is_the_rest(partition):
    """Where the partition raises or is unhashable, the message belongs to the rest."""
    decides = by_bytes(partition=partition)
    assert brought(decides, OLD, "abc") == list("abc")
    hold(decides, "bcd")
    assert spliced(decides)[0] == ["d"]


def test_one_rotation_after_the_other():
    """What the predecessor brought for its successor too is known at the rotation after."""
    decides = by_bytes()
    brought(decides, OLD, "abcde")
    hold(decides, "bc")
    spliced(decides)
    assert brought(decides, NEW, "defg") == list("fg")
    hold(decides, "efgh")
    output, found = spliced(decides)
    assert (output, found.duplicates, found.matched) == (["h"], 3, True)


def test_what_was_expected_of_a_lost_connection_is_not_expected_of_the_next():
    """After a reconnect nothing is removed because the lost connection had been behind."""
    decides = by_bytes()
    brought(decides, OLD, "abcd")
    hold(decides, "bc")
    spliced(decides)
    decides.broken(NEWEST)
    assert brought(decides, NEWEST, "def") == list("def")


@given(st.lists(st.sampled_from("ab"), max_size=30), st.data())
def test_a_successor_in_step_loses_no_repeated_payload(feed, data):
    """When both connections are as far, even payloads that repeat are delivered exactly once."""
    start = data.draw(st.integers(0, len(feed)))
    middle = data.draw(st.integers(start, len(feed)))
    decides = by_bytes()
    output = brought(decides, OLD, feed[:middle])
    if start == middle:  # nothing says where the successor belongs
        return
    hold(decides, feed[start:middle])
    output += spliced(decides)[0]
    output += brought(decides, NEW, feed[middle:])
    assert output == feed


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 3))
def test_rotations_one_after_the_other(lengths, overlap):
    """Over many rotations by bytes, with any overlap from one message, the feed stays whole."""
    ends = [*itertools.accumulate(lengths)]
    feed = range(ends[-1])
    decides = by_bytes()
    output: list[int] = []
    start = 0
    for epoch, end in enumerate(ends, start=1):
        output += brought(decides, epoch, feed[start:end])
        start = max(end - 1 - overlap, start)
        hold(decides, feed[start:end])
        output += spliced(decides)[0]
        start = end
    assert output == [*feed]


# What is remembered


def remembered(decides: Handover[Any]) -> int:
    """How many identities and payloads are known."""
    numbering, alignment = decides._numbering, decides._alignment
    open_ends = len(numbering._open) + len(numbering._positions)
    return len(decides._seen) + len(numbering._feeds) + open_ends + len(alignment._tail)


@pytest.mark.parametrize("make", [keyed, by_bytes])
def test_memory_is_bounded_by_count(make):
    """Of very many messages within the window the last twice as many as are held are known."""
    decides = make(hold=10)
    assert len(brought(decides, OLD, keys(*range(1000)))) == 1000
    assert remembered(decides) == 20
    hold(decides, keys(*range(981, 991)))
    assert spliced(decides)[0] == []


@pytest.mark.parametrize("make", [keyed, by_bytes])
def test_memory_is_bounded_by_time(make):
    """Nothing is kept that is older than the window."""
    decides = make(window=5.0)
    for second in range(100):
        brought(decides, OLD, keys(second), float(second))
    assert remembered(decides) == 6


@pytest.mark.parametrize("is_early", [False, True])
def test_hostile_partitions_take_no_more_room_than_others(is_early):
    """A hundred thousand partitions, numbered or not, leave no more than the memory allows."""
    decides = handover(
        hold=500, sequence=lambda m: m[1], partition=lambda m: m[0], key=lambda m: m[0]
    )
    for one in range(100_000):
        message = (one, one % 3 or None)
        if is_early:
            early(decides, one % 2 + 1, [message])
        else:
            decides.admit(OLD, message, "", 0.0)
    assert remembered(decides) <= 6 * 1000
    decides.splice(NEW, 0.0)
    assert remembered(decides) <= 4 * 1000


def test_what_was_brought_is_not_kept():
    """A successor that is far ahead for long leaves nothing that its predecessor has brought."""
    decides = keyed(hold=100)
    for one in range(0, 100_000, 50):
        hold(decides, keys(*range(one, one + 50)))
        brought(decides, OLD, keys(*range(one, one + 50)))
        assert len(decides._held) <= 2100
    assert decides.held == 0


# What it costs


class Counted:
    """A key that counts how often it is compared or hashed."""

    looks = 0

    def __init__(self, key: int) -> None:
        self.key = key

    def __hash__(self) -> int:
        type(self).looks += 1
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        type(self).looks += 1
        return isinstance(other, Counted) and self.key == other.key


@pytest.mark.parametrize("ahead", [0, 400])
def test_a_message_costs_the_same_however_much_is_held(ahead):
    """Neither to admit a message nor to hold one, what is held or remembered is looked through."""
    looked = []
    for size in (500, 5000):
        decides: Handover[Any] = handover(hold=10_000, key=lambda one: one)
        keys_of_old = [Counted(one) for one in range(size)]
        keys_of_new = [Counted(one) for one in range(ahead, size + ahead)]
        Counted.looks = 0
        for old, new in zip(keys_of_old, keys_of_new, strict=True):
            decides.hold(NEW, new, "", 0.0, new=False)
            decides.admit(OLD, old, "", 0.0)
        for held in decides.splice(NEW, 0.0).held:
            decides.admit_held(NEW, held, 0.0)
        looked.append(Counted.looks / size)
    assert looked[1] <= looked[0] * 1.5
    assert looked[1] < 25
