"""What the consumers saw against what the server sent: pure, message by message.

A feed has partitions; in each the numbers grow by one. A `Line` is what one consumer saw, judged
as it comes and kept in a few words, however long it gets. `judge` compares the lines with each
other, with what was sent, and with the gaps that were declared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Jump", "Line", "judge"]

_MOST = 20  # findings of a kind that are written out


@dataclasses.dataclass(frozen=True)
class Jump:
    """A consumer was given ``before`` right after ``after``, and nothing of what is between."""

    partition: Hashable
    after: int
    before: int

    def __str__(self) -> str:
        missing = self.missing
        return f"{self.partition}: {missing.start} to {missing.stop - 1}"

    @property
    def missing(self) -> range:
        """The numbers in between."""
        return range(self.after + 1, self.before)


@dataclasses.dataclass(frozen=True)
class Placed:
    """A gap, and where a consumer was told of it: the last number of each partition before."""

    gap: Any
    last: Mapping[Hashable, int]

    def holds(self, jump: Jump) -> bool:
        """Whether the jump is at this very place, and is what the gap speaks of."""
        gap = self.gap
        return (
            self.last.get(jump.partition) == jump.after
            and gap.partition in (None, jump.partition)
            and (gap.missing is None or gap.missing == jump.missing)
        )


class Line:
    """What one consumer saw.

    Args:
        name: of the consumer.
        told: whether it is given the gaps too.

    Attributes:
        count: messages.
        first, last: the numbers, by partition, with which it began and ended.
        jumps: where numbers are missing.
        places: the gaps and where they came, for one that is told of them.
        doubled, disordered: what came twice or late, at most a few of each kind.
    """

    def __init__(self, name: str, *, told: bool = False) -> None:
        self.name = name
        self.told = told
        self.count = 0
        self.lost = 0
        self.wrong = 0
        self.first: dict[Hashable, int] = {}
        self.last: dict[Hashable, int] = {}
        self.jumps: list[Jump] = []
        self.places: list[Placed] = []
        self.doubled: list[str] = []
        self.disordered: list[str] = []

    def message(self, partition: Hashable, number: int) -> None:
        """Take the next message."""
        last = self.last.get(partition)
        if last is None:
            self.first[partition] = number
        elif number != last + 1:
            if number <= last:
                self._backwards(partition, number, last)
                return
            jump = Jump(partition, last, number)
            self.jumps.append(jump)
            self.lost += len(jump.missing)
        self.last[partition] = number
        self.count += 1

    def gap(self, gap: Any) -> None:
        """Take the next gap."""
        self.places.append(Placed(gap, dict(self.last)))

    def _backwards(self, partition: Hashable, number: int, last: int) -> None:
        self.wrong += 1
        skipped = number < self.first[partition] or any(
            jump.partition == partition and number in jump.missing for jump in self.jumps
        )
        kind, kept = ("late", self.disordered) if skipped else ("again", self.doubled)
        if len(kept) < _MOST:
            kept.append(f"{partition}: {number} {kind}, after {last}")


def judge(
    lines: Sequence[Line], sent: Mapping[Hashable, int], partial: Iterable[Line] = ()
) -> list[str]:
    """Return what is wrong, in words; nothing when all is as promised.

    Args:
        lines: those of consumers that are promised everything from the same moment on. The
            first is what the others are compared with; at least one must be told of gaps.
        sent: the last number of each partition that the server has sent.
        partial: those that may miss what overflowed, or saw only a while: they need be in order.
    """
    reference = lines[0]
    found = [finding for line in (*lines, *partial) for finding in _backwards(line)]
    for line in lines[1:]:
        found += _differences(line, reference)
    told = [line for line in lines if line.told]
    if not told:
        raise ValueError("no line is told of gaps")
    for line in told:
        found += _unexplained(line, sent)
    for line in told[1:]:
        if _where(line) != _where(told[0]):
            found.append(f"{line.name} and {told[0].name} were told of gaps at different places")
    return found


def _backwards(line: Line) -> list[str]:
    found = [f"{line.name} doubled: {what}" for what in line.doubled]
    return found + [f"{line.name} out of order: {what}" for what in line.disordered]


def _differences(line: Line, reference: Line) -> list[str]:
    """Return how a line differs from the reference: both were promised the same."""
    found = []
    if line.first != reference.first:
        found.append(f"{line.name} began at {line.first}, {reference.name} at {reference.first}")
    if line.last != reference.last:
        found.append(f"{line.name} ended at {line.last}, {reference.name} at {reference.last}")
    alone = set(line.jumps) ^ set(reference.jumps)
    for jump in sorted(alone, key=str)[:_MOST]:
        name = line.name if jump in line.jumps else reference.name
        found.append(f"{name} alone lost {jump}")
    return found


def _unexplained(line: Line, sent: Mapping[Hashable, int]) -> list[str]:
    """Return the missing ranges that are not in exactly one gap, and gaps that are made up."""
    found = []
    explained: set[int] = set()
    for jump in _with_ends(line, sent):
        holders = [index for index, place in enumerate(line.places) if place.holds(jump)]
        explained.update(holders)
        if not holders:
            found.append(f"{line.name} lost {jump}, in no gap")
        elif len(holders) > 1 and not _broke_again([line.places[index].gap for index in holders]):
            reasons = "; ".join(str(line.places[index].gap.reason) for index in holders)
            found.append(f"{line.name} lost {jump}, in {len(holders)} gaps: {reasons}")
    for index, place in enumerate(line.places):
        # Without numbers nobody can know whether something is missing; with them it is known.
        if place.gap.missing is not None and index not in explained:
            found.append(f"{line.name} was told of what is not missing: {place.gap}")
    return found[:_MOST]


def _broke_again(gaps: Sequence[Any]) -> bool:
    """Whether the feed broke again before anything came: nobody knows which break cost what."""
    epochs = {gap.epoch for gap in gaps}
    return len(epochs) == len(gaps) and all(gap.missing is None for gap in gaps)


def _with_ends(line: Line, sent: Mapping[Hashable, int]) -> list[Jump]:
    """Return the jumps of a line, that to the end of what was sent included."""
    ends = [
        Jump(partition, line.last.get(partition, 0), last + 1)
        for partition, last in sent.items()
        if line.last.get(partition, 0) < last
    ]
    return [*line.jumps, *ends]


def _where(line: Line) -> list[tuple[Any, Mapping[Hashable, int]]]:
    return [(place.gap, place.last) for place in line.places]
