"""Copies of messages: equal to what ``copy.deepcopy`` makes, and nothing shared."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.streams.copying import copied

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    max_leaves=30,
)


def containers(message: Any) -> list[Any]:
    """Return every part of a message that can be changed."""
    if isinstance(message, dict):
        return [message, *(part for value in message.values() for part in containers(value))]
    if isinstance(message, list | tuple):
        own = [message] if isinstance(message, list) else []
        return own + [part for value in message for part in containers(value)]
    return []


@given(PLAIN)
def test_plain_messages(message: Any) -> None:
    """A copy of what JSON holds is equal, of the same text, and shares no container."""
    result = copied(message)
    assert result == message
    assert json.dumps(result) == json.dumps(message)
    assert not {id(part) for part in containers(message)} & {id(p) for p in containers(result)}


@pytest.mark.parametrize(
    "message",
    [
        ([1, [2]], {"a": (3, [4])}),
        {"at": dt.datetime(2026, 7, 1, tzinfo=dt.UTC), "price": Decimal("0.10")},
        {"set": {1, 2}, "bytes": b"\x00", "buffer": bytearray(b"\x01")},
        OrderedDict(a=[1], b=OrderedDict(c=[2])),
        {1: [1], (2, 3): [2], None: []},
        b"raw",
        "text",
        None,
    ],
    ids=repr,
)
def test_other_messages(message: Any) -> None:
    """What is not plain is copied as ``copy.deepcopy`` does, types included."""
    result = copied(message)
    assert result == message
    assert repr(result) == repr(copy.deepcopy(message))
    assert not {id(part) for part in containers(message)} & {id(p) for p in containers(result)}


def test_subclasses_may_hold_anything() -> None:
    """An instance of a subclass of ``str`` is copied too: it may have attributes."""

    class Symbol(str):
        __slots__ = ("tags",)
        tags: list[str]

    symbol = Symbol("BTCUSDT")
    symbol.tags = ["spot"]
    [result] = copied([symbol])
    assert type(result) is Symbol
    assert result.tags == ["spot"]
    assert result.tags is not symbol.tags


def test_deeper_than_the_stack() -> None:
    """A message nested a hundred thousand deep is copied, not refused."""
    message: list[Any] = []
    for _ in range(100_000):
        message = [{"next": message}]
    result: Any = copied(message)
    depth = 0
    while result:
        assert result is not message
        result, message = result[0]["next"], message[0]["next"]
        depth += 1
    assert depth == 100_000


def test_cycles() -> None:
    """A message that holds itself has a copy that holds itself."""
    message: dict[str, Any] = {"e": "loop", "tags": [{"a"}]}
    message["self"] = message
    result = copied(message)
    assert result is not message
    assert result["self"] is result
    assert result["tags"] == [{"a"}]
    assert result["tags"][0] is not message["tags"][0]


def test_what_cannot_be_copied_raises() -> None:
    """An object that refuses to be copied is no message to be shared in silence."""
    with pytest.raises(TypeError):
        copied({"generator": (n for n in [1])})
