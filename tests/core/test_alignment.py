"""Where two recordings of one feed touch, found by the bytes alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws.core.alignment import Alignment, align

# Where a beginning lies at an end


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


# What is remembered of a feed


def alignment(window: float = 10.0, skew: float = 2.0, memory: int = 1000) -> Alignment:
    """What aligns, knowing nothing yet."""
    return Alignment(window, skew, memory)


def brought(aligns: Alignment, payloads: str, now: float = 0.0) -> str:
    """Which payloads of the live connection are new, all of one partition."""
    return "".join(one for one in payloads if aligns.admit(None, ord(one), now, keep=False))


def taken_over(aligns: Alignment, payloads: str, now: float = 0.0) -> tuple[str, bool, bool]:
    """Which of a successor's payloads are new, whether it matched, whether that is ambiguous."""
    found = aligns.splice([(None, ord(one)) for one in payloads], now)
    new = [one for one, was in zip(payloads, found.brought, strict=True) if not was]
    return "".join(new), found.matched, found.ambiguous


@pytest.mark.parametrize(
    ("old", "new", "fresh", "is_ambiguous"),
    [
        ("abc", "bcd", "d", False),
        ("aab", "abc", "c", False),  # a payload that came once says where it belongs
        ("abab", "abx", "x", True),
        ("hhh", "h", "", True),
        ("ahh", "hx", "x", True),
        ("habhab", "xhab", "x", True),
        ("abc", "xyz", "xyz", False),
    ],
)
def test_what_is_ambiguous(old, new, fresh, is_ambiguous):
    """An alignment is, that rests on payloads alone that came more than once."""
    aligns = alignment()
    brought(aligns, old)
    assert taken_over(aligns, new) == (fresh, fresh != "xyz", is_ambiguous)


def test_a_successor_that_brings_its_first_payload_late():
    """Where it held nothing, its first payload may be the predecessor's last, and what follows."""
    aligns = alignment()
    brought(aligns, "abcd")
    assert taken_over(aligns, "") == ("", True, False)
    assert brought(aligns, "bcde", 1.0) == "e"


@pytest.mark.parametrize(
    ("old", "moment", "late", "new"),
    [
        ("abcb", 1.0, "b", "b"),  # a payload that repeats is no evidence
        ("abbc", 1.0, "c", "c"),  # nor is any, in a feed where one does
        ("abc", 1.0, "xc", "xc"),  # nor a second one
        ("abc", 2.5, "c", "c"),  # nor one that is too late
    ],
)
def test_a_late_payload_that_is_new_all_the_same(old, moment, late, new):
    """One payload is little evidence: rather twice than never."""
    aligns = alignment(skew=2.0)
    brought(aligns, old)
    taken_over(aligns, "")
    assert brought(aligns, late, moment) == new


def test_a_partition_that_is_late_alone():
    """What one partition has aligned already leaves another to be aligned later."""
    aligns = alignment()
    for partition, digest in [("a", 1), ("b", 2), ("a", 3)]:
        aligns.admit(partition, digest, 0.0, keep=False)
    assert aligns.splice([("a", 3)], 0.0).brought == [True]
    assert not aligns.admit("b", 2, 0.5, keep=False)
    assert aligns.admit("b", 4, 0.5, keep=False)


def test_after_a_break_nothing_is_expected():
    """What the lost connection had brought too early is not missed on the next."""
    aligns = alignment()
    brought(aligns, "abcd")
    taken_over(aligns, "ab")
    aligns.forget()
    assert brought(aligns, "cd") == "cd"


def test_payloads_are_bounded():
    """In count always, and in time unless something is held that may repeat them."""
    aligns = alignment(window=1.0, memory=10)
    for second in range(100):
        aligns.admit(None, second, second / 10, keep=second > 50)
        assert len(aligns._tail) <= 10
    aligns.admit(None, 0, 20.0, keep=True)
    assert len(aligns._tail) == 10
    aligns.admit(None, 0, 20.0, keep=False)
    assert len(aligns._tail) == 2
