"""Thousands of rotations over a model of servers: what is lost, doubled and out of order.

Each trial is drawn from a number, its seed, which the message of a failure names.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from .model import (
    Cut,
    Delivery,
    Forgetful,
    Message,
    Outcome,
    PayloadCount,
    PayloadSet,
    Settings,
    SwitchAtOnce,
    Trial,
    Whichever,
)

MANY = 4000
TRIALS = 1000
FEW = 300


def trials(
    number: int,
    by: str,
    kind: type[Delivery] = Delivery,
    *,
    early: bool = False,
    margin: float = 0.0,
    **options: Any,
) -> Iterator[tuple[int, Trial, Outcome]]:
    """Run so many; ``margin``: seconds of overlap more than the nodes differ."""
    for seed in range(number):
        random = Random(-seed - 1)
        skew = random.choice((0.0, 0.02, 0.3, 1.0))
        drawn = Settings(
            skew=skew,
            lag=random.choice((0.0, 0.02, 0.3)),
            overlap=skew + margin + random.choice((0.01, 0.5)),
        )
        for name, value in options.items():
            setattr(drawn, name, value)
        trial = Trial(seed, drawn, kind(by=by, overlap=drawn.overlap, early=early))
        yield seed, trial, trial.run()


def failed(number: int, by: str, kind: type[Delivery] = Delivery, **options: Any) -> list[int]:
    """The share of trials that lost, doubled and reordered something, in percent."""
    found = [0, 0, 0]
    for _, _, outcome in trials(number, by, kind, **options):
        for index, count in enumerate(outcome.counts):
            found[index] += count > 0
    return [100 * count // number for count in found]


# What holds


@pytest.mark.parametrize(
    ("by", "options"),
    [
        ("key", {}),
        ("sequence", {}),
        ("sequence alone", {"partitions": 1}),  # may end the overlap as soon as it has caught up
        ("key", {"quiet": True, "margin": 0.35}),
        ("sequence", {"quiet": True, "margin": 0.35}),
        ("key", {"repeated": 0.9}),
    ],
)
def test_a_rotation_costs_nothing(by, options):
    """With an identity, and an overlap of at least the skew of the nodes, it is 0, 0 and 0."""
    number = TRIALS if options else MANY
    for seed, trial, outcome in trials(number, by, **options):
        assert outcome.counts == (0, 0, 0), (seed, trial.settings)
        assert not outcome.holes, (seed, trial.settings)


@pytest.mark.parametrize("by", ["key", "sequence"])
def test_first_arrival_loses_and_doubles_nothing(by):
    """Delivered at once, both connections together bring everything once, in another order."""
    reordered = 0
    for seed, trial, outcome in trials(TRIALS, by, early=True):
        assert outcome.counts[:2] == (0, 0), (seed, trial.settings)
        assert not outcome.holes, (seed, trial.settings)
        reordered += outcome.reordered > 0
    assert reordered


@pytest.mark.parametrize(("by", "partitions"), [("bytes", 4), ("bytes alone", 1)])
def test_distinct_payloads_need_no_identity(by, partitions):
    """Where the overlap leaves time for what both bring, the bytes alone cost nothing either."""
    for seed, trial, outcome in trials(TRIALS, by, margin=1.35, partitions=partitions):
        assert outcome.counts == (0, 0, 0), (seed, trial.settings)
        assert not any(spliced.ambiguous for spliced in outcome.spliced), seed


@pytest.mark.parametrize("options", [{}, {"greeting": True}])
def test_distinct_payloads_are_never_lost(options):
    """An overlap that is too short for the bytes doubles messages; it loses and reorders none."""
    doubled = 0
    for seed, trial, outcome in trials(TRIALS, "bytes", **options):
        assert (outcome.lost, outcome.reordered) == ([], 0), (seed, trial.settings)
        doubled += outcome.doubled > 0
    assert doubled < TRIALS // 20


@pytest.mark.parametrize(
    ("repeated", "most"), [(0.3, 1), (0.9, 5), (1.0, 8)], ids=["30 %", "90 %", "100 %"]
)
def test_repeated_payloads_without_an_identity(repeated, most):
    """They fail in a few percent of trials, of which nearly all are reported as ambiguous."""
    bad = unreported = 0
    for _, _, outcome in trials(TRIALS, "bytes", margin=1.35, repeated=repeated):
        is_reported = any(one.ambiguous or not one.matched for one in outcome.spliced)
        bad += any(outcome.counts)
        unreported += any(outcome.counts) and not is_reported
    assert bad <= TRIALS * most // 100
    assert unreported <= TRIALS // 200


# What is naive


@pytest.mark.parametrize(
    ("kind", "by", "options", "fails"),
    [
        (SwitchAtOnce, "key", {}, (20, 10, 0)),
        (Whichever, "key", {}, (0, 0, 10)),
        (PayloadSet, "key", {"repeated": 0.3}, (70, 0, 0)),
        (PayloadCount, "key", {"repeated": 0.3}, (5, 20, 0)),
        (Forgetful, "key", {}, (0, 20, 0)),
    ],
    ids=["switch at once", "first arrival", "set of payloads", "count of payloads", "no memory"],
)
def test_a_naive_rotation_fails(kind, by, options, fails):
    """What others do loses, doubles or reorders in at least so many percent of the trials."""
    found = failed(FEW, by, kind, **options)
    assert all(share >= least for share, least in zip(found, fails, strict=True)), found


@pytest.mark.parametrize("by", ["key", "sequence"])
def test_an_overlap_shorter_than_the_skew_loses(by):
    """Where the nodes differ by a second, an overlap of a tenth loses in many trials."""
    lost, doubled, _ = failed(FEW, by, skew=1.0, overlap=0.1)
    assert lost > 10
    assert doubled == 0


# What a fault costs


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
@pytest.mark.parametrize("by", ["key", "bytes alone"])
def test_what_a_lost_predecessor_takes_is_in_a_gap(by, cut):
    """Without numbers the gap is declared unless the two have brought something in common."""
    lost = whole = 0
    for seed, trial, outcome in trials(TRIALS, by, cut=cut, partitions=1, margin=0.35):
        lost += bool(outcome.lost)
        whole += not outcome.is_gap
        assert not outcome.lost or outcome.is_gap, (seed, trial.settings)
        assert not outcome.reordered, (seed, trial.settings)
    assert lost
    assert cut is Cut.BEFORE or whole


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
@pytest.mark.parametrize("by", ["sequence", "sequence alone"])
def test_what_a_lost_predecessor_takes_is_known_by_its_numbers(by, cut):
    """What is missing between two messages of a feed is exactly what its holes say."""
    lost = 0
    partitions = 4 if by == "sequence" else 1
    for seed, trial, outcome in trials(TRIALS, by, cut=cut, partitions=partitions):
        delivered = {m.partition: m.fed for m in trial.delivery.output if isinstance(m, Message)}
        known = [
            message
            for message in outcome.lost
            if message.partition in trial.begun  # else nobody knew of that feed
            and message.fed < delivered[message.partition]  # else it has not gone on
        ]
        lost += bool(known)
        for message in known:
            partition = message.partition if by == "sequence" else None
            told = [hole for hole in outcome.holes if hole.partition == partition]
            assert any(one.missing is None or message.number in one.missing for one in told), seed
        numbers = {(m.partition if by == "sequence" else None, m.number) for m in outcome.lost}
        for hole in outcome.holes:
            if hole.missing is not None:
                assert {(hole.partition, number) for number in hole.missing} <= numbers, seed
        assert not outcome.reordered, (seed, trial.settings)
        # Servers that start again begin with 0 or 1: these may come again, in a gap.
        assert not outcome.doubled or any(hole.missing is None for hole in outcome.holes), seed
    assert lost


# Numbers that start again


def test_numbers_that_start_again_where_nothing_rotates():
    """A feed whose numbers fall is a new one: all of it is delivered, after one hole."""
    restarted = 0
    for seed, trial, outcome in trials(FEW, "sequence", restart=True, rotations=0):
        assert outcome.counts == (0, 0, 0), (seed, trial.settings)
        last = {event.partition: -1 for event in trial.events}
        for event in trial.events:
            restarted += event.number < last[event.partition]
            last[event.partition] = event.number
        assert all(hole.missing is None for hole in outcome.holes), seed
        restarted -= len(outcome.holes)
        assert restarted == 0, seed


def test_numbers_that_start_again_during_a_rotation():
    """Even within an overlap, and on either connection first, nearly nothing fails."""
    lost, doubled, reordered = failed(TRIALS, "sequence", restart=True)
    assert (lost <= 4, doubled <= 2, reordered) == (True, True, 0)
