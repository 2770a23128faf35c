"""The judge of the soak finds what is wrong, and a short soak finds nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rxws
from tests.counting import CountingLoop
from tests.soak.__main__ import main
from tests.soak.feed import PARTITIONS, last_numbers, make
from tests.soak.oracle import Line, judge
from tests.soak.spans import Spans

GAP = "a gap"


def gap(partition: Any = None, missing: range | None = None) -> rxws.Gap:
    """Return a gap, in all partitions unless one is named."""
    return rxws.Gap(1, GAP, planned=False, since=0, until=0, partition=partition, missing=missing)


def line(name: str, *items: Any, told: bool = False) -> Line:
    """Return the line of a consumer that saw ``items``: numbers of partition "a", pairs, gaps."""
    result = Line(name, told=told)
    for item in items:
        if isinstance(item, rxws.Gap):
            if told:
                result.gap(item)
        else:
            result.message(*(item if isinstance(item, tuple) else ("a", item)))
    return result


def findings(*items: Any, sent: dict[str, int] | None = None) -> list[str]:
    """Return what is found where all consumers saw the same."""
    lines = [line("one", *items), line("told", *items, told=True)]
    return judge(lines, lines[0].last if sent is None else sent)


@pytest.mark.parametrize(
    "items",
    [
        (1, 2, 3),
        (7, 8, 9),
        (1, gap(), 2),
        (1, gap(), 4),
        (1, gap("a", range(2, 4)), 4),
        (1, ("b", 1), 2, gap(), ("b", 3), 5),
        (1, gap(), 3, gap(), 5),
        (1, ("b", 1), gap("a", range(2, 3)), gap("b", range(2, 4)), ("b", 4), 3),
    ],
    ids=str,
)
def test_what_is_as_promised_is_not_found(items: tuple[Any, ...]):
    """Whole numbers, and missing ones at the place of one gap that speaks of them, are right."""
    assert findings(*items) == []


@pytest.mark.parametrize(
    ("items", "finding"),
    [
        ((1, 2, 4), "lost a: 3 to 3, in no gap"),
        ((1, gap(), 2, 4), "lost a: 3 to 3, in no gap"),
        ((1, 2, 4, gap(), 5), "lost a: 3 to 3, in no gap"),
        ((1, gap("b"), 3), "lost a: 2 to 2, in no gap"),
        ((1, gap("a", range(2, 3)), 4), "lost a: 2 to 3, in no gap"),
        ((1, ("b", 1), gap(), 2, ("b", 2), 5), "lost a: 3 to 4, in no gap"),
        ((1, gap(), gap(), 4), "lost a: 2 to 3, in 2 gaps"),
        ((1, gap("a", range(2, 4)), gap(), 4), "lost a: 2 to 3, in 2 gaps"),
        ((1, gap("a", range(2, 4)), 2, 3, 4), "was told of what is not missing"),
        ((1, 2, 2, 3), "doubled: a: 2 again, after 2"),
        ((1, 2, 3, 1), "doubled: a: 1 again, after 3"),
        ((1, gap(), 3, 2), "out of order: a: 2 late, after 3"),
        ((5, 4), "out of order: a: 4 late, after 5"),
    ],
    ids=str,
)
def test_what_is_wrong_is_found(items: tuple[Any, ...], finding: str):
    """A loss outside of a gap, one in two gaps, a double and a late message are found."""
    assert any(finding in found for found in findings(*items)), findings(*items)


def test_what_is_missing_at_the_end_is_found():
    """The last messages may be lost too, with nothing after them."""
    assert any("lost a: 3 to 4, in no gap" in found for found in findings(1, 2, sent={"a": 4}))
    assert findings(1, 2, gap(), sent={"a": 4}) == []


def test_what_one_consumer_alone_misses_is_found():
    """All see the same, whoever they are, from the first message to the last."""
    told = line("told", 1, 2, gap(), 4, told=True)
    sent = {"a": 4}
    assert judge([told, line("other", 1, 2, 4)], sent) == []
    assert judge([told, line("other", 1, 2)], sent) != []
    assert judge([told, line("other", 2, 4)], sent) != []
    assert "told alone lost a: 3 to 3" in judge([told, line("other", 1, 2, 3, 4)], sent)
    assert "other alone lost a: 2 to 2" in judge([told, line("other", 1, 3, 4)], sent)


def test_gaps_at_different_places_are_found():
    """Every consumer is told of a gap at the same place."""
    items = [1, ("b", 1), gap(), ("b", 2), 3]
    moved = [1, gap(), ("b", 1), ("b", 2), 3]
    lines = [line(str(n), *what, told=True) for n, what in enumerate((items, moved))]
    assert judge(lines, lines[0].last) == ["1 and 0 were told of gaps at different places"]


def test_a_slow_consumer_may_miss_but_not_disorder():
    """Who is promised less than everything still sees nothing twice and nothing late."""
    whole = line("whole", 1, 2, 3, told=True)
    assert judge([whole], {"a": 3}, [line("slow", 1, 3)]) == []
    assert judge([whole], {"a": 3}, [line("slow", 1, 3, 3)]) != []


@given(data=st.data())
def test_no_change_of_what_was_seen_goes_unnoticed(data: st.DataObject):
    """Any one message taken out, doubled, or moved makes a whole run a wrong one."""
    numbers = list(range(1, data.draw(st.integers(4, 30))))
    place = data.draw(st.integers(1, len(numbers) - 2))
    match data.draw(st.sampled_from(["take out", "double", "move"])):
        case "take out":
            del numbers[place]
        case "double":
            again = data.draw(st.integers(place, len(numbers)))
            numbers.insert(again, numbers[place])
        case _:
            number = numbers.pop(place)
            places = [p for p in range(len(numbers) + 1) if p != place]
            numbers.insert(data.draw(st.sampled_from(places)), number)
    assert findings(*numbers, sent={"a": max(numbers)})


def test_the_feed_counts_by_partition():
    """What was sent in each partition is known from how much was sent in all."""
    assert last_numbers(0) == dict.fromkeys(PARTITIONS, 0)
    seen = dict.fromkeys(PARTITIONS, 0)
    for n in range(1, 18):
        message = json.loads(make(n))
        assert message["q"] == seen[message["p"]] + 1
        seen[message["p"]] = message["q"]
        assert last_numbers(n) == seen


def test_spans_know_their_quantiles():
    """A quantile is right within the width of its bin, and the longest exactly."""
    spans = Spans()
    for milliseconds in range(1, 101):
        spans.add(milliseconds / 1000)
    assert spans.quantile(0.5) == pytest.approx(0.05, rel=0.06)
    assert spans.quantile(0.99) == pytest.approx(0.099, rel=0.06)
    assert spans.quantile(1) == spans.longest == 0.1
    assert Spans().quantile(0.5) == 0


def test_a_loop_that_counts_its_connections():
    """What clients open is counted while it is open, and the most at any instant is kept."""

    async def open_three() -> tuple[int, int, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            for together in (1, 3):
                pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(together)]
                now = loop.open_now
                for _, writer in pairs:
                    writer.close()
                    await writer.wait_closed()
        return now, loop.most_open, loop.open_now

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        assert runner.run(open_three()) == (3, 3, 0)


@pytest.mark.parametrize("identity", ["key", "sequence", "bytes"])
def test_l7_a_short_soak_is_as_promised(
    identity: str, loop_errors: list[Any], capsys: pytest.CaptureFixture[str]
):
    """With rotations and faults for a moment, nothing is lost, doubled or out of order."""
    arguments = ["--seconds=2", "--rate=500", "--rotate=0.6", "--overlap=0.3", "--every=0.5"]
    assert main([*arguments, f"--identity={identity}"]) == 0, capsys.readouterr().out
