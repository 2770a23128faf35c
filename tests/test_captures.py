"""The reader of the recorded sessions."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.captures import load, read


def test_read_takes_each_kind_of_line():
    """Text, bytes, and what the client sent are told apart and kept in order."""
    capture = read(
        [
            "wss://feed.example/ws <-> 1.5\n",
            'wss://feed.example/ws <- 2.0: {"sub": "a: b"}\n',
            '3.0: {"text": "a \x0b b"}\n',
            "4.0: b'\\x1f\\x8b\\n'\n",
        ]
    )
    assert capture.url == "wss://feed.example/ws"
    assert capture.sent == ['{"sub": "a: b"}']
    assert capture.received == ['{"text": "a \x0b b"}', b"\x1f\x8b\n"]


def test_read_refuses_other_lines():
    """A line that is none of a recording raises instead of being left out."""
    with pytest.raises(ValueError, match="line 1 is not"):
        read(["something else\n"])


@pytest.mark.parametrize(
    ("name", "received"),
    [("binance_futures", 1_535), ("coinbase", 9_946), ("huobi", 362), ("kraken", 4_321)],
)
@pytest.mark.usefixtures("captures")
def test_load_gives_every_message(name: str, received: int):
    """Each recording has as many messages as its description says, all of them JSON."""
    capture = load(name)
    assert len(capture.received) == received
    for raw in capture.received:
        json.loads(gzip.decompress(raw) if isinstance(raw, bytes) else raw)
