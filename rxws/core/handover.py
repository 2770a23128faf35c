"""What a rotation delivers, and in which order: drain and splice.

The predecessor O is emitted while the successor N is held. When O has ended, what N holds
and O did not bring is emitted, and N is live. Two messages are the same when they have the
same number in the same partition, else the same key; those that have neither are compared by
their bytes, in the order they came.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from .alignment import Alignment
from .naming import Identify, Name, naming
from .numbering import FILLING, Hole, Numbering, Repeats

__all__ = ["Handover", "Held", "Spliced"]

_T = TypeVar("_T")

_FEW = 1000  # held messages that are not worth a look through all


@dataclasses.dataclass(slots=True, eq=False)
class Held(Generic[_T]):
    """A message of the successor, until it takes over.

    Attributes:
        message: itself.
        digest: hash of its bytes.
        name: what else tells it from others.
        brought: whether the predecessor brought it too.
        settled: whether it was compared already, and is new.
        restarts: whether its connection's numbers start again with it.
    """

    message: _T
    digest: int
    name: Name
    brought: bool = False
    settled: bool = False
    restarts: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Spliced(Generic[_T]):
    """What a splice came to.

    Attributes:
        held: what O did not bring, in order, for `Handover.admit_held`.
        duplicates: how many it did bring.
        matched: whether both sides could be aligned.
        ambiguous: whether the alignment by bytes may be one of several that fit.
        touched: whether both are known to have brought a message: nothing lies between them.
        holes: what neither brought, where both were delivered at once.
    """

    held: Sequence[Held[_T]]
    duplicates: int = 0
    matched: bool = True
    ambiguous: bool = False
    touched: bool = False
    holes: Sequence[Hole] = ()


class Handover(Generic[_T]):
    """Decides for each message whether it is emitted, held or a duplicate.

    A message with an identity is a duplicate when another connection brought one with the same
    identity within the last ``window`` seconds; so also after a reconnect. Of those without,
    the bytes of O and N are aligned when N takes over, per partition.

    Args:
        key: from a message to its identity; ``None``: no message has one.
        sequence: from a message to its number, which comes before the key; ``None`` likewise.
        partition: from a message to the feed within which order holds; ``None``: one feed.
        window: seconds for which what was emitted is remembered; and, whatever it is, while
            something is held that may repeat it.
        overlap: seconds by which one connection may bring a message later than another.
        hold: messages that are held at most; of twice as many that were emitted the identities
            are remembered.

    Attributes:
        named: what tells a message from others.
        duplicates: messages removed so far.
        held: messages of the successor that its predecessor did not bring so far.
        touched: whether the successor has brought something that its predecessor brought.
        last: identity of the last message that had one; ``None``: none had.
    """

    def __init__(
        self,
        *,
        key: Identify | None = None,
        sequence: Identify | None = None,
        partition: Identify | None = None,
        window: float,
        overlap: float,
        hold: int,
    ) -> None:
        self.named = naming(key, sequence, partition)
        self._is_partitioned = partition is not None
        self._window = window
        self._overlap = overlap
        self._limit = hold
        self._memory = 2 * hold  # O may be ahead of a full hold
        self.duplicates = 0
        self.forget()
        self._hold_nothing()

    def forget(self) -> None:
        """Compare with nothing that was before: a snapshot starts it all again."""
        self._seen: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        self._forget_at = 0.0  # when the first of those grows too old
        self._alignment = Alignment(self._window, self._overlap, self._memory)
        self._numbering = Numbering(self._window, self._memory)
        self.last: Hashable | None = None

    def discard(self) -> None:
        """Throw away what is held: the successor failed."""
        self._numbering.lost(self._successor)
        self._hold_nothing()

    def _hold_nothing(self) -> None:
        self._held: list[Held[_T]] = []
        self._brought = 0  # of those
        self._unmatched: dict[Hashable, deque[Held[_T]]] = {}
        self._first: int | None = None  # of the numbers that the successor brought
        self._successor = 0
        self._matched = 0
        self.held = 0
        self.touched = False

    @property
    def full(self) -> bool:
        """Whether the hold takes no more."""
        return self.held >= self._limit

    @property
    def is_numbered(self) -> bool:
        """Whether numbers will tell what a break has cost."""
        return bool(self._numbering)

    @property
    def caught_up(self) -> bool:
        """Whether numbers prove that the successor has all that its predecessor may still bring.

        Of partitions they never do: the predecessor may still bring the first of a new one.
        """
        return self._first is not None and self._numbering.reaches(self._first)

    def has_touched(self) -> bool:
        """`touched`, found out for messages without an identity: takes as long as they are many."""
        if not self.touched and self._held:
            self.touched = self._alignment.touches(
                (held.name.partition, held.digest)
                for held in self._held
                if held.name.identity is None
            )
        return self.touched

    # The live connection

    def admit(self, epoch: int, message: _T, raw: str | bytes, now: float) -> bool | Hole:
        """Whether a message of the live connection ``epoch`` is emitted; remembers it.

        A `Hole` says yes, and what is missing before it.
        """
        return self._admit(epoch, self.named(message), hash(raw), now)

    def admit_held(self, epoch: int, held: Held[_T], now: float) -> bool | Hole:
        """Likewise for a message that waited until ``epoch`` was live."""
        if not held.settled:
            return self._admit(epoch, held.name, held.digest, now)
        number = held.name.number
        if number is None:
            return True
        self.last = number
        admit = self._numbering.restart if held.restarts else self._numbering.admit_held
        verdict = admit(epoch, held.name.partition, number, held.digest, now)
        self.duplicates += verdict is False
        return verdict

    def described(self, message: _T, raw: str | bytes) -> Held[_T]:
        """A message with all that tells it from others."""
        return Held(message, hash(raw), self.named(message))

    def admit_early(
        self, epoch: int, held: Held[_T], now: float, *, successor: bool
    ) -> bool | Hole:
        """Whether nobody brought a message yet, where O and N are delivered at once.

        What has no identity is held, if it is the successor's.
        """
        name = held.name
        if name.identity is None:
            if not successor:
                return bool(self._admit(epoch, name, held.digest, now))
            self._keep(held)
            return False
        verdict: bool | Hole
        if name.number is not None:
            numbering, partition, number = self._numbering, name.partition, name.number
            admit = numbering.restart if held.restarts else numbering.admit_early
            verdict = admit(epoch, partition, number, held.digest, now)
        else:
            verdict = self._admit_key(epoch, name.key, now)
        if verdict is not False:
            self.last = name.number if name.key is None else name.key
        else:
            self._match()
        return verdict

    def broken(self, epoch: int) -> None:
        """Before ``epoch`` the feed broke off; it may have started again meanwhile."""
        self._alignment.forget()
        self._numbering.broken(epoch)

    def admit_filling(self, name: Name, now: float) -> bool:
        """Whether a message that fills a gap was not delivered yet.

        Without an identity there is nothing to compare by, and it is.
        """
        if name.number is not None:
            return self._numbering.admit_filling(name.partition, name.number, now)
        return name.key is None or self._admit_key(FILLING, name.key, now)

    # The successor

    def hold(self, epoch: int, message: _T, raw: str | bytes, now: float, *, new: bool) -> None:
        """Keep a message of the successor; ``new``: there is nothing to compare it with."""
        held = self.described(message, raw)
        name = held.name
        self._successor = epoch
        if not new:
            if self._first is None and not self._is_partitioned:
                self._first = name.number
            if self._is_repetition(epoch, held, now):
                self._match()
                return
            if name.identity is not None:
                self._unmatched.setdefault(name.identity, deque()).append(held)
        self._keep(held)

    def release(self) -> list[Held[_T]]:
        """Hand out what is held, for `admit_held`: no predecessor lives any more."""
        held = [one for one in self._held if not one.brought]
        for one in held:
            if one.name.number is not None:
                self._numbering.comes_again(self._successor, one.name.partition)
        self._hold_nothing()
        return held

    def splice(self, epoch: int, now: float) -> Spliced[_T]:
        """N takes over: sort what it holds into new messages and duplicates."""
        unnamed = [held for held in self._held if held.name.identity is None]
        payloads = [(held.name.partition, held.digest) for held in unnamed]
        aligned = self._alignment.splice(payloads, now)
        for held, brought in zip(unnamed, aligned.brought, strict=True):
            held.settled = True
            if brought:
                held.brought = True
                self._match()
        spliced = Spliced(
            [one for one in self._held if not one.brought],
            self._matched,
            aligned.matched,
            aligned.ambiguous,
            self.touched,
            self._numbering.settle(epoch, now),
        )
        self._hold_nothing()
        return spliced

    def _keep(self, held: Held[_T]) -> None:
        self._held.append(held)
        self.held += 1

    def _match(self) -> None:
        self.duplicates += 1
        self._matched += 1
        self.touched = True

    def _is_repetition(self, epoch: int, held: Held[_T], now: float) -> bool:
        name = held.name
        if name.number is not None:
            repeats = self._numbering.hold(epoch, name.partition, name.number, held.digest, now)
            held.restarts = repeats is Repeats.RESTARTS
            held.settled = repeats is not Repeats.YES
            return not held.settled
        if name.key is None:
            return False
        self._forget_old_keys(now)
        known = self._seen.get(name.key)
        return known is not None and known[0] != epoch

    # One message

    def _admit(self, epoch: int, name: Name, digest: int, now: float) -> bool | Hole:
        if self._unmatched:
            self._find_held(name.identity)
        verdict: bool | Hole
        if name.number is not None:
            self.last = name.number
            verdict = self._numbering.admit(epoch, name.partition, name.number, digest, now)
        elif name.key is not None:
            self.last = name.key
            verdict = self._admit_key(epoch, name.key, now)
        else:
            keep = bool(self._held)
            verdict = self._alignment.admit(name.partition, digest, now, keep=keep)
        if verdict is False:
            self.duplicates += 1
        return verdict

    def _find_held(self, identity: Hashable | None) -> None:
        """The predecessor brings something: the successor may hold it already."""
        waiting = self._unmatched.get(identity)
        if waiting is None:
            return
        waiting.popleft().brought = True
        if not waiting:
            del self._unmatched[identity]
        self.held -= 1
        self._match()
        self._brought += 1
        if self._brought > max(len(self._held) // 2, _FEW):
            self._held = [one for one in self._held if not one.brought]
            self._brought = 0

    def _admit_key(self, epoch: int, key: Hashable, now: float) -> bool:
        seen = self._seen
        if now > self._forget_at or len(seen) >= self._memory:
            self._forget_old_keys(now)
        if not seen:
            self._forget_at = now + self._window
        known = seen.get(key)
        if known is not None:
            # Nothing repeats what filled a gap, not even another filling.
            if known[0] != epoch or epoch == FILLING:
                return False
            seen.move_to_end(key)
        seen[key] = (epoch, now)
        return True

    def _forget_old_keys(self, now: float) -> None:
        seen = self._seen
        oldest = -math.inf if self._held else now - self._window
        while seen:
            moment = seen[next(iter(seen))][1]
            if len(seen) < self._memory and moment >= oldest:
                self._forget_at = moment + self._window
                break
            seen.popitem(last=False)
