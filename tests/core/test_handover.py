"""What a rotation delivers: by identity, by bytes, and on two connections that lag at random."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws.core.handover import Handover, MakeBeforeBreak, Spliced, align, identify_by

OLD, NEW, NEWEST = 1, 2, 3


def keyed(window: float = 10.0, hold: int = 1000) -> Handover[Any]:
    """By key: that of a mapping with one, none for anything else."""
    return Handover(lambda message: message["key"], None, window, hold)


def by_bytes(
    partition: Callable[[Any], Any] | None = None, window: float = 10.0, hold: int = 1000
) -> Handover[Any]:
    """Without any identity."""
    return Handover(None, partition, window, hold)


def brought(handover: Handover[Any], epoch: int, messages: Sequence[Any], now: float = 0.0) -> Any:
    """Which of the messages of a live connection are emitted; each is its own payload."""
    return [m for m in messages if handover.admit(epoch, m, str(m), now)]


def hold(handover: Handover[Any], messages: Sequence[Any]) -> None:
    """Let the successor bring messages; each is its own payload."""
    for message in messages:
        handover.hold(message, str(message))


def keys(*names: Any) -> list[dict[str, Any]]:
    """Messages with these keys."""
    return [{"key": name} for name in names]


# Alignment


def aligned_by_definition(old: str, new: str) -> tuple[int, int]:
    """Tries every place."""
    places = [i for i in range(len(old)) if new and old[i:].startswith(new)]
    if places:
        return len(new), len(old) - places[-1] - len(new)
    ends = [n for n in range(1, len(new)) if old.endswith(new[:n])]
    return max(ends, default=0), 0


ALIGNMENTS = {
    ("", ""): (0, 0),
    ("abc", ""): (0, 0),
    ("", "abc"): (0, 0),
    ("abc", "bcd"): (2, 0),
    ("abc", "abc"): (3, 0),
    ("abcd", "bc"): (2, 1),
    ("abcd", "xbcd"): (0, 0),
    ("abcd", "bd"): (0, 0),
    ("aaaa", "aa"): (2, 0),
    ("aa", "aaaa"): (2, 0),
    ("abab", "ab"): (2, 0),
    ("ababx", "ab"): (2, 1),
    ("xaba", "abac"): (3, 0),
    ("aabaaab", "aabx"): (3, 0),
}


@pytest.mark.parametrize(("old", "new"), ALIGNMENTS, ids=lambda text: text or "-")
def test_where_a_beginning_lies_at_an_end(old, new):
    """The alignment is the last whole occurrence, else the longest end that is a beginning."""
    assert align(old, new) == ALIGNMENTS[old, new] == aligned_by_definition(old, new)


@settings(max_examples=500)
@given(st.text("ab", max_size=14), st.text("ab", max_size=8))
def test_an_alignment_of_repeated_payloads(old, new):
    """Payloads that repeat are aligned as trying every place finds."""
    assert align(old, new) == aligned_by_definition(old, new)


@settings(max_examples=500)
@given(st.data(), st.text("abc", max_size=12))
def test_an_alignment_that_there_is_is_found(data, old):
    """Where the beginning of the new lies in the old, it is found as trying every place finds."""
    start = data.draw(st.integers(0, len(old)))
    stop = data.draw(st.integers(start, len(old)))
    new = old[start:stop] + (data.draw(st.text("abc", max_size=5)) if stop == len(old) else "")
    assert align(old, new) == aligned_by_definition(old, new)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_an_alignment_of_distinct_payloads_is_the_truth(first, old_until, start, new_until):
    """Of a numbered feed it is exactly known what was brought and what is to be expected."""
    old, new = range(first, old_until), range(start, new_until)
    if not set(old) & set(new) or start < first:
        return
    assert align(old, new) == (len(set(old) & set(new)), max(old_until - max(new_until, first), 0))


def test_an_alignment_is_linear():
    """A hundred thousand equal payloads are aligned in a number of comparisons that is linear."""
    compared = 0

    class Payload:
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return isinstance(other, Payload)

    old, new = [Payload() for _ in range(20_000)], [Payload() for _ in range(5000)]
    assert align([*old, object()], [*new, object()]) == (0, 0)
    assert compared < 5 * 25_000


# By identity


def test_the_successor_brings_again_what_its_predecessor_brought():
    """What both brought is emitted once, where the predecessor brought it, and counted."""
    handover = keyed()
    assert brought(handover, OLD, keys(1, 2, 3)) == keys(1, 2, 3)
    hold(handover, keys(2, 3, 4, 5))
    assert handover.splice(NEW, 1.0) == Spliced(keys(4, 5), 2, matched=True)
    assert brought(handover, NEW, keys(6, 3, 7), 2.0) == keys(6, 7)
    assert handover.duplicates == 3
    assert handover.held == []


def test_a_connection_may_repeat_itself():
    """A key that comes twice on one connection is two messages, held or not."""
    handover = keyed()
    assert brought(handover, OLD, keys(1, 1)) == keys(1, 1)
    hold(handover, keys(2, 2))
    assert handover.splice(NEW, 0.0).messages == keys(2, 2)
    assert brought(handover, NEW, keys(2)) == keys(2)
    assert handover.duplicates == 0


def test_an_identity_is_remembered_after_a_reconnect():
    """What a lost connection brought is a duplicate on the next, and so on the one after that."""
    handover = keyed()
    brought(handover, OLD, keys(1, 2))
    assert brought(handover, NEW, keys(2, 3)) == keys(3)
    assert brought(handover, NEWEST, keys(1, 2, 3, 4)) == keys(4)


def test_an_identity_is_forgotten_after_the_window():
    """A duplicate is one to the last moment of the window, and a new message after it."""
    handover = keyed(window=10.0)
    brought(handover, OLD, keys(1, 2), 0.0)
    assert brought(handover, NEW, keys(1), 10.0) == []
    assert brought(handover, NEW, keys(2), 10.001) == keys(2)
    assert len(handover._seen) == 1


def test_a_repetition_renews_an_identity():
    """The window of an identity begins when it was emitted last; that of another does not."""
    handover = keyed(window=10.0)
    brought(handover, OLD, keys(1, 2), 0.0)
    brought(handover, OLD, keys(1), 8.0)
    assert brought(handover, NEW, keys(1, 2), 15.0) == keys(2)


@pytest.mark.parametrize("make", [keyed, by_bytes])
def test_a_rotation_longer_than_the_window(make):
    """What the successor holds is compared even when it was brought before the window."""
    handover = make(window=1.0)
    brought(handover, OLD, keys(1), 0.0)
    for number in range(2, 50):
        hold(handover, keys(number))
        brought(handover, OLD, keys(number), float(number))
    assert handover.splice(NEW, 60.0) == Spliced([], 48, matched=True)
    brought(handover, NEW, keys(50), 100.0)
    assert len(handover._seen) + len(handover._tail) == 1


@pytest.mark.parametrize("make", [keyed, by_bytes])
def test_memory_is_bounded_by_count(make):
    """Of very many messages within the window the last twice as many as are held are known."""
    handover = make(hold=10)
    assert len(brought(handover, OLD, keys(*range(1000)))) == 1000
    assert len(handover._seen) + len(handover._tail) == 20
    hold(handover, keys(*range(981, 991)))
    assert handover.full
    assert handover.splice(NEW, 0.0) == Spliced([], 10, matched=True)


@pytest.mark.parametrize("make", [keyed, by_bytes])
def test_memory_is_bounded_by_time(make):
    """Nothing is kept that is older than the window."""
    handover = make(window=5.0)
    for second in range(100):
        brought(handover, OLD, keys(second), float(second))
    assert len(handover._seen) + len(handover._tail) == 6


def test_the_hold_is_full_at_its_bound():
    """A hold is full with as many messages as were allowed, and takes more all the same."""
    handover = keyed(hold=2)
    hold(handover, keys(1))
    assert not handover.full
    hold(handover, keys(2, 3))
    assert handover.full
    assert handover.splice(NEW, 0.0).messages == keys(1, 2, 3)
    assert not handover.full


def test_a_successor_that_failed_leaves_nothing():
    """What was discarded is neither delivered nor remembered."""
    handover = keyed()
    hold(handover, keys(1, 2))
    handover.discard()
    assert handover.splice(NEW, 0.0) == Spliced([], 0, matched=True)
    assert brought(handover, OLD, keys(1)) == keys(1)
    assert handover.duplicates == 0


def test_what_is_released_is_handed_out_unchecked():
    """Without a predecessor all that was held is handed out, in order, with its payload, once."""
    handover = keyed()
    brought(handover, OLD, keys(1))
    hold(handover, keys(1, 2))
    assert handover.release() == [({"key": 1}, "{'key': 1}"), ({"key": 2}, "{'key': 2}")]
    assert handover.release() == []


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
    handover: Handover[Any] = Handover(nameless, None, 10.0, 100)
    assert brought(handover, OLD, [1, message, 2, message, 3]) == [1, message, 2, message, 3]
    hold(handover, [2, message, 3, 4, message])
    assert handover.splice(NEW, 1.0) == Spliced([4], 4, matched=True)
    later = [5, message, message, 6, message]
    assert brought(handover, NEW, later, 2.0) == later


def test_two_messages_with_equal_bytes_and_two_identities():
    """Where there are identities, the bytes do not matter."""
    handover = keyed()
    assert handover.admit(OLD, {"key": 1}, "same", 0.0)
    assert handover.admit(NEW, {"key": 2}, "same", 0.0)
    assert not handover.admit(NEW, {"key": 1}, "other", 0.0)


def test_heartbeats_pass_after_a_takeover():
    """A payload that repeats for ever, without a key, is not taken for one of the predecessor."""
    handover: Handover[Any] = Handover(nameless, None, 10.0, 100)
    brought(handover, OLD, ["none"] * 20)
    hold(handover, ["none"] * 3)
    assert handover.splice(NEW, 0.0) == Spliced([], 3, matched=True)
    assert len(brought(handover, NEW, ["none"] * 20, 1.0)) == 20


# Filling a gap


def test_a_filling_brings_only_what_was_not_delivered():
    """What either connection brought is not delivered again by the filling, nor after it."""
    handover = keyed()
    brought(handover, OLD, keys(1, 2), 0.0)
    assert [m for m in keys(2, 3, 4) if handover.admit_filling(m, 1.0)] == keys(3, 4)
    assert brought(handover, NEW, keys(4, 5), 2.0) == keys(5)
    assert handover.duplicates == 2


def test_a_second_filling_repeats_nothing_of_the_first():
    """The fillings of two gaps may overlap."""
    handover = keyed()
    assert [m for m in keys(1, 2, 2) if handover.admit_filling(m, 0.0)] == keys(1, 2)
    assert [m for m in keys(1, 2, 3) if handover.admit_filling(m, 1.0)] == keys(3)


@pytest.mark.parametrize("handover", [by_bytes(), keyed()])
def test_a_filling_without_identities_is_delivered(handover):
    """Where there is nothing to compare by, a filling is delivered whole."""
    brought(handover, OLD, ["a", "b"])
    assert handover.admit_filling("a", 0.0)
    assert handover.admit_filling("a", 0.0)
    assert handover.duplicates == 0


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
        ("abc", "", "", True, ("def", "def")),  # the successor brought nothing
        ("", "abc", "abc", True, ("def", "def")),  # the predecessor brought nothing
        ("hhhh", "hh", "", True, ("hh", "hh")),  # repeated payloads
        ("habhab", "hab", "", True, ("hab", "hab")),
        ("abc", "wbcd", "wd", True, ("e", "e")),  # a greeting of the successor's own
        ("wabc", "wbcd", "wbcd", False, ("e", "e")),  # that was the predecessor's too
    ],
)
def test_a_takeover_by_bytes(old, held, fresh, matched, later):
    """Payloads that both brought at the seam are delivered once, and the rest is delivered."""
    handover = by_bytes()
    assert brought(handover, OLD, old) == list(old)
    hold(handover, held)
    found = handover.splice(NEW, 1.0)
    assert found == Spliced(list(fresh), len(held) - len(fresh), matched)
    comes, emitted = later
    assert "".join(brought(handover, NEW, comes, 2.0)) == emitted
    assert handover.duplicates == len(held) - len(fresh) + len(comes) - len(emitted)


def test_each_partition_is_aligned_by_itself():
    """The order of the feeds among each other may differ on the two connections."""
    handover = by_bytes(partition=lambda message: message[0])
    brought(handover, OLD, ["a1", "b1", "a2", "b2", "a3"])
    hold(handover, ["b1", "a2", "b2", "c1", "a3", "b3"])
    assert handover.splice(NEW, 0.0) == Spliced(["c1", "b3"], 4, matched=True)


def test_one_partition_that_is_behind_delays_no_other():
    """What is expected of one feed is not expected of another."""
    handover = by_bytes(partition=lambda message: message[0])
    brought(handover, OLD, ["a1", "b1", "a2", "b2"])
    hold(handover, ["a1", "b1", "b2"])
    assert handover.splice(NEW, 0.0) == Spliced([], 3, matched=True)
    assert brought(handover, NEW, ["b3", "a2", "a3"]) == ["b3", "a3"]


@pytest.mark.parametrize("held", [["a1", "b9"], ["b9", "a1"]])
def test_one_partition_that_does_not_match_is_told(held):
    """A single feed without an alignment makes the whole not matched."""
    handover = by_bytes(partition=lambda message: message[0])
    brought(handover, OLD, ["a1", "b1"])
    hold(handover, held)
    assert handover.splice(NEW, 0.0) == Spliced(["b9"], 1, matched=False)


@pytest.mark.parametrize("partition", [lambda message: message["no"], lambda message: [message]])
def test_a_partition_that_fails_is_the_rest(partition):
    """Where the partition raises or is unhashable, the message belongs to the rest."""
    handover = by_bytes(partition=partition)
    assert brought(handover, OLD, "abc") == list("abc")
    hold(handover, "bcd")
    assert handover.splice(NEW, 0.0) == Spliced(["d"], 2, matched=True)


def test_one_rotation_after_the_other():
    """What the predecessor brought for its successor too is known at the rotation after."""
    handover = by_bytes()
    brought(handover, OLD, "abcde")
    hold(handover, "bc")
    handover.splice(NEW, 0.0)
    assert brought(handover, NEW, "defg") == list("fg")
    hold(handover, "efgh")
    assert handover.splice(NEWEST, 0.0) == Spliced(["h"], 3, matched=True)


def test_a_connection_is_aligned_with_its_predecessor_only():
    """What an earlier connection had brought, and the last one had not, is delivered again."""
    handover = by_bytes()
    brought(handover, OLD, "abcde")
    hold(handover, "de")
    handover.splice(NEW, 0.0)
    hold(handover, "abcd")
    assert handover.splice(NEWEST, 0.0) == Spliced(list("abc"), 1, matched=True)


def test_what_was_expected_of_a_lost_connection_is_not_expected_of_the_next():
    """After a reconnect nothing is removed because the lost connection had been behind."""
    handover = by_bytes()
    brought(handover, OLD, "abcd")
    hold(handover, "bc")
    handover.splice(NEW, 0.0)
    handover.release()
    assert brought(handover, NEWEST, "def") == list("def")


# The identity that the options describe


def number(message: Any) -> Any:
    """The number of a message, if it has one."""
    return message.get("n")


def symbol(message: Any) -> Any:
    """The name of the feed of a message; raises where there is none."""
    return message["s"]


@pytest.mark.parametrize(
    ("options", "message", "identity"),
    [
        ((lambda m: m["id"], number, symbol), {"id": 7, "n": 1, "s": "x"}, 7),
        ((None, number, None), {"n": 1, "s": "x"}, 1),
        ((None, number, symbol), {"n": 1, "s": "x"}, ("x", 1)),
        ((None, number, symbol), {"s": "x"}, None),
        ((None, number, symbol), {}, None),
        ((None, number, None), {"n": 0}, 0),
    ],
)
def test_the_identity_of_a_message(options, message, identity):
    """The key is the identity, else the number within its partition, else there is none."""
    identify = identify_by(*options)
    assert identify is not None
    assert identify(message) == identity


def test_without_key_and_sequence_there_is_no_identity():
    """A partition alone identifies nothing."""
    assert identify_by(None, None, None) is None
    assert identify_by(None, None, symbol) is None


def test_numbers_are_those_of_their_partition():
    """Equal numbers in two partitions are two messages, without partitions they are one."""
    one = {"n": 1, "s": "x"}
    for partition, emitted in ((symbol, [{"n": 1, "s": "y"}]), (None, [])):
        identify = identify_by(None, number, partition)
        handover: Handover[Any] = Handover(identify, partition, 10.0, 100)
        brought(handover, OLD, [one])
        assert brought(handover, NEW, [one, {"n": 1, "s": "y"}]) == emitted


# The options


@pytest.mark.parametrize(
    "options",
    [{"overlap": -1}, {"window": math.inf}, {"drain": math.nan}, {"drain": "2"}, {"hold": 0}],
)
def test_a_handover_that_makes_no_sense(options):
    """Spans are finite seconds from 0, and at least one message is held."""
    with pytest.raises(ValueError, match=next(iter(options))):
        MakeBeforeBreak(**options)


def test_a_handover_at_the_edge():
    """No overlap, no memory and a single held message can be asked for."""
    MakeBeforeBreak(overlap=0, window=0, drain=0, hold=1)


# Two connections that lag at random


def rotate(
    handover: Handover[Any], feeds: Sequence[Sequence[Any]], choose: Callable[[int, int], int]
) -> list[Any]:
    """Deliver feeds over a rotation; each connection interleaves them and lags as is chosen.

    The predecessor is drained: it brings each feed beyond where the successor begins. The
    successor has brought the first of each feed before it takes over, and brings all the rest.
    """
    output: list[Any] = []
    old = [0] * len(feeds)
    starts = [choose(0, len(feed) - 1) for feed in feeds]
    ends = [choose(start + 1, len(feed)) for start, feed in zip(starts, feeds, strict=True)]
    new = list(starts)

    def bring(positions: list[int], stops: Sequence[int], take: Callable[[Any], None]) -> bool:
        behind = [i for i, stop in enumerate(stops) if positions[i] < stop]
        if behind:
            feed = behind[choose(0, len(behind) - 1)]
            take(feeds[feed][positions[feed]])
            positions[feed] += 1
        return bool(behind)

    def emit(epoch: int) -> Callable[[Any], None]:
        return lambda message: output.extend(brought(handover, epoch, [message]))

    held = [choose(start + 1, len(feed)) for start, feed in zip(starts, feeds, strict=True)]
    moving = True
    while moving:
        if choose(0, 1):
            moving = bring(old, ends, emit(OLD)) or bring(new, held, lambda m: hold(handover, [m]))
        else:
            moving = bring(new, held, lambda m: hold(handover, [m])) or bring(old, ends, emit(OLD))
    output += handover.splice(NEW, 0.0).messages
    while bring(new, [len(feed) for feed in feeds], emit(NEW)):
        pass
    return output


FEEDS = st.lists(st.integers(1, 12), min_size=1, max_size=3).map(
    lambda lengths: [[f"{i}:{n}" for n in range(length)] for i, length in enumerate(lengths)]
)
MODES: dict[str, Callable[[], Handover[Any]]] = {
    "key": lambda: Handover(lambda m: m, None, 10.0, 100),
    "sequence and partition": lambda: Handover(
        identify_by(None, lambda m: int(m[2:]), lambda m: m[0]), lambda m: m[0], 10.0, 100
    ),
    "bytes and partition": lambda: by_bytes(lambda m: m[0]),
}


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=150, deadline=None)
@given(FEEDS, st.data())
def test_a_rotation_loses_doubles_and_reorders_nothing(mode, feeds, data):
    """However the two connections lag and interleave, every feed comes out as it is."""
    output = rotate(MODES[mode](), feeds, lambda low, high: data.draw(st.integers(low, high)))
    for i, feed in enumerate(feeds):
        assert [message for message in output if message[0] == str(i)] == feed


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 20), st.data())
def test_a_rotation_by_bytes_of_one_feed(length, data):
    """One feed of distinct payloads needs neither keys nor partitions."""
    feed = [str(n) for n in range(length)]
    output = rotate(by_bytes(), [feed], lambda low, high: data.draw(st.integers(low, high)))
    assert output == feed


@given(st.lists(st.sampled_from("ab"), max_size=30), st.data())
def test_a_successor_in_step_loses_no_repeated_payload(feed, data):
    """When both connections are as far, even payloads that repeat are delivered exactly once."""
    start = data.draw(st.integers(0, len(feed)))
    middle = data.draw(st.integers(start, len(feed)))
    handover = by_bytes()
    output = brought(handover, OLD, feed[:middle])
    hold(handover, feed[start:middle])
    output += handover.splice(NEW, 0.0).messages
    output += brought(handover, NEW, feed[middle:])
    assert output == feed


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 3))
def test_rotations_one_after_the_other(lengths, overlap):
    """Over many rotations by bytes, with any overlap from one message, the feed stays whole."""
    ends = [*itertools.accumulate(lengths)]
    feed = range(ends[-1])
    handover = by_bytes()
    output: list[int] = []
    start = 0
    for epoch, end in enumerate(ends, start=1):
        output += brought(handover, epoch, feed[start:end])
        start = max(end - 1 - overlap, start)
        hold(handover, feed[start:end])
        output += handover.splice(epoch + 1, 0.0).messages
        start = end
    assert output == [*feed]
