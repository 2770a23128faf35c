"""The market is repeatable, and frames and logs are what they say."""

from __future__ import annotations

import collections
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from rxws.testing import FeedLog, Market
from rxws.testing.feed import frame


def test_the_market_is_numbered_and_repeatable() -> None:
    """``n`` grows by one over all, ``t`` by one per symbol, and every market is the same."""
    events = [json.loads(Market()(n)) for n in range(1, 2001)]
    assert [event["n"] for event in events] == list(range(1, 2001))
    trades = collections.defaultdict(list)
    for event in events:
        if event["e"] == "trade":
            assert list(event) == ["e", "s", "p", "q", "t", "n"]
            assert float(event["p"]) > 0 < float(event["q"])
            trades[event["s"]].append(event["t"])
        else:
            assert event["e"] == "quote" and float(event["b"]) < float(event["a"])
    assert len(trades) == 5
    assert all(numbers == list(range(1, 301)) for numbers in trades.values())
    assert Market()(1234) == Market()(1234)


def test_a_market_has_the_symbols_it_is_given() -> None:
    """Names of one's own work; none at all is an error."""
    market = Market(["A", "B"])
    assert [json.loads(market(n))["s"] for n in (1, 2, 3)] == ["A", "B", "A"]
    with pytest.raises(ValueError, match="symbol"):
        Market([])


@settings(max_examples=50)
@given(st.text(max_size=300) | st.binary(max_size=300))
def test_frames_are_those_of_websockets(raw: str | bytes) -> None:
    """The bytes of a message equal what websockets makes of it."""
    opcode, data = (Opcode.TEXT, raw.encode()) if isinstance(raw, str) else (Opcode.BINARY, raw)
    assert frame(raw) == Frame(opcode, data).serialize(mask=False)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_of_every_length_class_are_those_of_websockets(size: int) -> None:
    """The three ways to write a length begin where they should."""
    assert frame(b"x" * size) == Frame(Opcode.BINARY, b"x" * size).serialize(mask=False)


@pytest.mark.parametrize(
    "log",
    [
        FeedLog(range(1, 1), {}),
        FeedLog(range(1, 11), {1: range(1, 1), 2: range(3, 11), 3: range(5, 6)}),
    ],
)
def test_a_log_survives_json(log: FeedLog) -> None:
    """``from_json`` undoes ``to_json``, empty ranges included."""
    assert FeedLog.from_json(json.loads(json.dumps(log.to_json()))) == log
