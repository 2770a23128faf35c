"""Where two recordings of one feed touch, found by the bytes alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Sequence

__all__ = ["Aligned", "Alignment", "align"]

_MOST_GREETINGS = 8  # messages that both may have been sent at their beginnings


def align(old: Sequence[Hashable], new: Sequence[Hashable]) -> tuple[int, int]:
    """Where the beginning of ``new`` lies at the end of ``old``.

    Where ``old`` has all of ``new``, its last occurrence counts: of several, it is the one by
    which the least is taken for a repetition. Else the longest end of ``old`` with which ``new``
    begins.

    Returns two counts: how many items of ``new`` ``old`` has brought, and how many items of
    ``old`` are still to be expected after ``new``. ``(0, 0)``: no alignment.

    Knuth, Morris and Pratt's prefix function (1977): linear in both lengths, however often a
    payload repeats.
    """
    if not new:
        return 0, 0
    failure = _borders(new)
    length = 0
    whole_until = 0  # just after the last place where old has all of new
    for index, item in enumerate(old):
        while length and (length == len(new) or item != new[length]):
            length = failure[length - 1]
        if item == new[length]:
            length += 1
        if length == len(new):
            whole_until = index + 1
    if whole_until:
        return len(new), len(old) - whole_until
    return length, 0


def _align_after_greeting(old: Sequence[int], new: Sequence[int]) -> tuple[int, int, int]:
    """How much of ``new`` is a greeting of its own; then as `align`, for what follows that.

    A greeting, or the answer to a subscription, is what ``old`` never brought, or brought at its
    own beginning: then what follows it says where ``new`` belongs.
    """
    known = set(old)
    starts = (start for start, digest in enumerate(new) if digest in known)
    own = len(new)
    for start in itertools.islice(starts, _MOST_GREETINGS):
        count, rest = align(old, new[start:])
        if count:
            return start, count, rest
        own = min(own, start)
    return own, 0, 0


def _borders(items: Sequence[Hashable]) -> list[int]:
    """For each beginning of ``items``, its longest proper beginning that is also its end."""
    failure = [0] * len(items)
    length = 0
    for index in range(1, len(items)):
        while length and items[index] != items[length]:
            length = failure[length - 1]
        if items[index] == items[length]:
            length += 1
        failure[index] = length
    return failure


@dataclasses.dataclass(frozen=True, slots=True)
class Aligned:
    """What an alignment came to.

    Attributes:
        brought: for each payload of the successor, whether the predecessor brought it.
        matched: whether each part of the feed was aligned.
        ambiguous: whether it rests on payloads alone that the predecessor brought repeatedly,
            so that another one may fit as well.
    """

    brought: Sequence[bool]
    matched: bool
    ambiguous: bool


class Alignment:
    """Remembers the end of a feed, and aligns the beginning of a successor with it.

    Payloads are given by their hashes, each with the partition within which order holds.

    Args:
        window: seconds for which payloads are remembered.
        skew: seconds by which one connection may bring a payload later than the other.
        memory: payloads that are remembered at most.
    """

    def __init__(self, window: float, skew: float, memory: int) -> None:
        self._window = window
        self._skew = skew
        self._tail: deque[tuple[float, Hashable, int]] = deque(maxlen=memory)
        self._expected: dict[Hashable, deque[int]] = {}
        self._open: dict[Hashable, list[tuple[float, int]]] = {}  # nothing was aligned with them
        self._open_until = 0.0

    def admit(self, partition: Hashable, digest: int, now: float, *, keep: bool) -> bool:
        """Whether a payload of the live connection is new; with ``keep`` all are remembered."""
        tail = self._tail
        tail.append((now, partition, digest))
        while not keep and tail[0][0] < now - self._window:
            tail.popleft()
        if self._open:
            self._align_late(partition, digest, now)
        return not (self._expected and self._is_expected(partition, digest))

    def touches(self, payloads: Iterable[tuple[Hashable, int]]) -> bool:
        """Whether one of these was brought already, of those that never repeat."""
        known = Counter((partition, digest) for _, partition, digest in self._tail)
        return any(count == known[one] == 1 for one, count in Counter(payloads).items())

    def splice(self, payloads: Sequence[tuple[Hashable, int]], now: float) -> Aligned:
        """A successor takes over that has brought these."""
        old: dict[Hashable, list[tuple[float, int]]] = {}
        for moment, partition, digest in self._tail:
            old.setdefault(partition, []).append((moment, digest))
        new: dict[Hashable, list[int]] = {}
        for partition, digest in payloads:
            new.setdefault(partition, []).append(digest)
        matched, ambiguous = True, False
        self._expected.clear()
        self._tail.clear()
        self._tail.extend((now, partition, digest) for partition, digest in payloads)
        verdicts = {}
        for partition, digests in new.items():
            before = [digest for _, digest in old.pop(partition, ())]
            own, count, rest = _align_after_greeting(before, digests)
            if rest:
                self._expected[partition] = deque(before[-rest:])
            matched = matched and (count > 0 or not before)
            if count and not ambiguous:
                times = Counter(before)
                ambiguous = all(times[digest] > 1 for digest in digests[own : own + count])
            fresh = len(digests) - own - count
            verdicts[partition] = iter([False] * own + [True] * count + [False] * fresh)
        # Where N has brought nothing yet, what it brings first may be what O brought last.
        self._open, self._open_until = old, now + self._skew
        brought = [next(verdicts[partition]) for partition, _ in payloads]
        return Aligned(brought, matched, ambiguous)

    def forget(self) -> None:
        """Nothing is expected: there is no predecessor that the next payload belongs to."""
        self._expected.clear()
        self._open.clear()

    def _align_late(self, partition: Hashable, digest: int, now: float) -> None:
        if now > self._open_until:
            self._open.clear()
            return
        before = self._open.pop(partition, [])
        index = next((i for i, (_, known) in enumerate(before) if known == digest), len(before))
        if index == len(before) or before[index][0] < now - self._skew:
            return
        # One payload is little evidence: only where nothing of this feed repeats.
        expected = [known for _, known in before]
        if len(set(expected)) == len(expected):
            self._expected[partition] = deque(expected[index:])

    def _is_expected(self, partition: Hashable, digest: int) -> bool:
        """Whether the successor goes on with what the predecessor has brought already."""
        expected = self._expected.get(partition)
        if expected is None:
            return False
        as_expected = expected.popleft() == digest
        if not as_expected or not expected:
            del self._expected[partition]
        return as_expected
