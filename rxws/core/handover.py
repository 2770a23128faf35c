"""What a rotation delivers, and in which order: drain and splice.

The predecessor O is emitted while the successor N is held. When O has ended, what N holds
and O did not bring is emitted, and N is live. Two messages are the same when they have the
same identity; a message without one is compared by its bytes, in the order it came.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

__all__ = [
    "Handover",
    "Identify",
    "MakeBeforeBreak",
    "Spliced",
    "align",
    "identify_by",
]

_T = TypeVar("_T")

Identify: TypeAlias = Callable[[Any], Hashable | None]
"""From a message to its identity; ``None`` or an exception: compare it by its bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class MakeBeforeBreak:
    """Open the new connection first, overlap, then close the old one: the default.

    Attributes:
        overlap: seconds during which both connections are live. At least the largest
            difference between the moments at which the server's nodes send one event.
        window: seconds for which identities are remembered.
        drain: seconds that the old connection is still read for after we closed it.
        hold: messages of the new connection that are held at most; when there are more, it
            takes over early. Nothing is dropped.
    """

    overlap: float = 2.0
    window: float = 10.0
    drain: float = 2.0
    hold: int = 100_000

    def __post_init__(self) -> None:
        for name in ("overlap", "window", "drain"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"MakeBeforeBreak({name}={value!r}): seconds, 0 or more, are needed"
                )
        if self.hold < 1:
            raise ValueError(f"MakeBeforeBreak(hold={self.hold!r}): at least 1 message is needed")


def identify_by(
    key: Callable[[Any], Hashable] | None,
    sequence: Callable[[Any], int | None] | None,
    partition: Callable[[Any], Hashable] | None,
) -> Identify | None:
    """The identity that the options ``key``, ``sequence`` and ``partition`` describe, if any."""
    if key is not None:
        return key
    if sequence is None:
        return None
    if partition is None:
        return sequence

    def numbered(message: Any) -> Hashable | None:
        number = sequence(message)
        return None if number is None else (partition(message), number)

    return numbered


@dataclasses.dataclass(frozen=True, slots=True)
class Spliced(Generic[_T]):
    """What a splice came to.

    Attributes:
        messages: held messages that O did not bring, in order.
        duplicates: how many it did bring.
        matched: whether both sides could be aligned.
    """

    messages: Sequence[_T]
    duplicates: int
    matched: bool


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
    failure = [0] * len(new)
    length = 0
    for index in range(1, len(new)):
        while length and new[index] != new[length]:
            length = failure[length - 1]
        if new[index] == new[length]:
            length += 1
        failure[index] = length
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


class Handover(Generic[_T]):
    """Decides for each message whether it is emitted, held or a duplicate.

    A message with an identity is a duplicate when another connection brought one with the same
    identity within the last ``window`` seconds; so also after a reconnect. Of those without,
    the bytes of O and N are aligned when N takes over, per partition.

    Args:
        identify: from a message to its identity; ``None``: no message has one.
        partition: from a message to the feed within which order holds; ``None``: one feed.
        window: seconds for which what was emitted is remembered; and, whatever it is, while
            something is held that may repeat it.
        hold: messages that are held at most; of twice as many that were emitted the identities
            are remembered.

    Attributes:
        duplicates: messages removed so far.
        held: what the successor brought so far, with its bytes.
    """

    def __init__(
        self,
        identify: Identify | None,
        partition: Callable[[Any], Hashable] | None,
        window: float,
        hold: int,
    ) -> None:
        self._identify = identify
        self._partition = partition
        self._window = window
        self._limit = hold
        self._memory = 2 * hold  # O may be ahead of a full hold
        self._seen: OrderedDict[Hashable, tuple[int | None, float]] = OrderedDict()
        self._tail: deque[tuple[float, Hashable, int]] = deque(maxlen=self._memory)
        self._expected: dict[Hashable, deque[int]] = {}
        self.held: list[tuple[_T, str | bytes]] = []
        self.duplicates = 0

    @property
    def full(self) -> bool:
        """Whether the hold takes no more."""
        return len(self.held) >= self._limit

    def admit(self, epoch: int, message: _T, raw: str | bytes, now: float) -> bool:
        """Whether a message of the live connection ``epoch`` is to be emitted; remembers it."""
        identity = self._identity(message)
        if identity is None:
            return self._admit_bytes(self._part(message), hash(raw), now)
        return self._admit_identity(epoch, identity, now)

    def admit_filling(self, message: _T, now: float) -> bool:
        """Whether a message that fills a gap was not delivered yet.

        Without an identity there is nothing to compare by, and it is.
        """
        identity = self._identity(message)
        return identity is None or self._admit_identity(None, identity, now)

    def hold(self, message: _T, raw: str | bytes) -> None:
        """Keep a message of the successor."""
        self.held.append((message, raw))

    def discard(self) -> None:
        """Throw away what is held: the successor failed."""
        self.held.clear()

    def release(self) -> list[tuple[_T, str | bytes]]:
        """Hand out what is held, unchecked: there was no predecessor to compare with."""
        held, self.held = self.held, []
        self._expected.clear()
        return held

    def splice(self, new: int, now: float) -> Spliced[_T]:
        """N takes over: sort what it holds into new messages and duplicates."""
        held = [(message, raw, self._identity(message)) for message, raw in self.held]
        unnamed = [(self._part(m), hash(raw)) for m, raw, identity in held if identity is None]
        verdicts, matched = self._align(unnamed)
        self._tail.clear()
        self._tail.extend((now, part, digest) for part, digest in unnamed)
        brought = iter(verdicts)
        fresh: list[_T] = []
        for message, _, identity in held:
            if identity is not None:
                is_new = self._admit_identity(new, identity, now)
            else:
                is_new = not next(brought)
                self.duplicates += not is_new
            if is_new:
                fresh.append(message)
        self.held = []
        return Spliced(fresh, len(held) - len(fresh), matched)

    # By identity

    def _identity(self, message: _T) -> Hashable | None:
        if self._identify is None:
            return None
        try:
            identity = self._identify(message)
            hash(identity)
        except Exception:  # documented: compared by its bytes then
            return None
        return identity

    def _admit_identity(self, epoch: int | None, identity: Hashable, now: float) -> bool:
        seen = self._seen
        oldest = -math.inf if self.held else now - self._window
        while seen:
            first = next(iter(seen))
            if len(seen) < self._memory and seen[first][1] >= oldest:
                break
            del seen[first]
        known = seen.get(identity)
        # What fills a gap is of no connection, and none repeats it.
        if known is not None and (epoch is None or known[0] != epoch):
            self.duplicates += 1
            return False
        seen[identity] = (epoch, now)
        seen.move_to_end(identity)
        return True

    # By bytes

    def _part(self, message: _T) -> Hashable:
        if self._partition is None:
            return None
        try:
            part = self._partition(message)
            hash(part)
        except Exception:  # documented as for an identity: it belongs to the rest
            return None
        return part

    def _admit_bytes(self, part: Hashable, digest: int, now: float) -> bool:
        tail = self._tail
        tail.append((now, part, digest))
        while not self.held and tail[0][0] < now - self._window:
            tail.popleft()
        if self._is_expected(part, digest):
            self.duplicates += 1
            return False
        return True

    def _is_expected(self, part: Hashable, digest: int) -> bool:
        """Whether N goes on with what O has brought already."""
        expected = self._expected.get(part)
        if expected is None:
            return False
        as_expected = expected.popleft() == digest
        if not as_expected or not expected:
            del self._expected[part]
        return as_expected

    def _align(self, unnamed: Sequence[tuple[Hashable, int]]) -> tuple[list[bool], bool]:
        """For each of what N holds, whether O brought it; and whether every part was aligned."""
        old: dict[Hashable, list[int]] = {}
        for _, part, digest in self._tail:
            old.setdefault(part, []).append(digest)
        new: dict[Hashable, list[int]] = {}
        for part, digest in unnamed:
            new.setdefault(part, []).append(digest)
        matched = True
        self._expected.clear()
        verdicts: dict[Hashable, Iterator[bool]] = {}
        for part, digests in new.items():
            before = old.get(part, [])
            # A greeting or the answer to a subscription is N's own: what O never brought.
            brought = set(before)
            own = next((i for i, d in enumerate(digests) if d in brought), len(digests))
            count, rest = align(before, digests[own:])
            if rest:
                self._expected[part] = deque(before[-rest:])
            matched = matched and (count > 0 or not before)
            fresh = len(digests) - own - count
            verdicts[part] = iter([False] * own + [True] * count + [False] * fresh)
        return [next(verdicts[part]) for part, _ in unnamed], matched
