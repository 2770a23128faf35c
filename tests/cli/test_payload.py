"""Messages as lines: valid JSON that says what was received, digit by digit."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.cli.payload import has_constants, json_line, raw_line, read_any, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ('{"a":1}', b'{"a":1}\n'),
        (' {"a" : [1,\r\n\t2] }\n', b'{"a":[1,2]}\n'),
        ('{"p": 64250.10, "x": 1e400}', b'{"p":64250.10,"x":1e400}\n'),
        ('{"n": 123456789012345678901}', b'{"n":123456789012345678901}\n'),
        ('{"a": "b  c\\n \\" d"}', b'{"a":"b  c\\n \\" d"}\n'),
        ('{"a":1,"a":2}', b'{"a":1,"a":2}\n'),
        ('["\u20ac","\\ud800"]', b'["\xe2\x82\xac","\\ud800"]\n'),
        ('"\x9b31m\u2028\x7f"', b'"\\u009b31m\\u2028\\u007f"\n'),
        ('[NaN, -Infinity, "NaN  Infinity"]', b'[null,null,"NaN  Infinity"]\n'),
        ("null", b"null\n"),
        (b'{"a": "\xc3\xa9"}', '{"a":"é"}\n'.encode()),
        ('{"a":1}'.encode("utf-16"), b'{"a":1}\n'),
    ],
)
def test_a_line_is_the_message_in_its_own_words(raw: str | bytes, line: bytes) -> None:
    """Only white space between values goes, and what would not be one line of JSON is escaped."""
    assert json_line(read_json(raw)) == line
    json.loads(line, parse_constant=pytest.fail)


@given(value=VALUES, indent=st.sampled_from([None, 0, 3]), ascii_only=st.booleans())
def test_any_json_becomes_one_line_of_the_same_value(
    value: object, indent: int | None, *, ascii_only: bool
) -> None:
    """However a value was written, its line has no line break and is the same value."""
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    try:
        raw.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate, which no text message can hold
    line = json_line(read_json(raw)).decode()
    assert json.loads(line) == value
    assert len(line.splitlines()) == 1
    assert line.endswith("\n")


@pytest.mark.parametrize(
    ("raw", "constants"),
    [("[NaN]", True), ('{"a":-Infinity}', True), ('["NaN \\" Infinity"]', False), ("[1]", False)],
)
def test_constants_are_found_outside_strings(raw: str, *, constants: bool) -> None:
    """NaN and Infinity count where they are values."""
    assert has_constants(read_json(raw)) is constants


@pytest.mark.parametrize(
    "raw", ["", "pong", '{"a":', "[" * 100_000, b"\xff\xfe\xfd", gzip.compress(b"{}"), "[1]]"]
)
def test_what_is_not_json_is_refused_or_taken_as_nothing(raw: str | bytes) -> None:
    """Where JSON is needed it is a ValueError, and where it is not, there is no value."""
    with pytest.raises(ValueError):  # noqa: PT011 -- its text is of the standard library
        read_json(raw)
    assert read_any(raw).value is None


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("pong", b"pong\n"),
        (' {"a" : 1}', b' {"a" : 1}\n'),
        ("\u20ac", b"\xe2\x82\xac\n"),
        (b"bytes", b"bytes\n"),
        (b"\xff\x00", base64.b64encode(b"\xff\x00") + b"\n"),
    ],
)
def test_raw_is_what_came(raw: str | bytes, line: bytes) -> None:
    """A raw line is the message as it came, in base64 when it is no text."""
    assert raw_line(read_any(raw)) == line
