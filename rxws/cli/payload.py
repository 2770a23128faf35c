"""A message as it came, and as a line of output."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NamedTuple

__all__ = ["Payload", "has_constants", "json_line", "raw_line", "read_any", "read_json"]

# Within valid JSON: a string, white space between values, or what only Python takes for JSON.
_TOKEN = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\n\r]+|-?Infinity|NaN')
# Strings may hold these: some terminals obey them, and some tools take them for the end of a line.
_CONTROL = re.compile("[\x7f-\x9f\u2028\u2029]")
_NOT_YET_A_LINE = re.compile("[ \t\n\r\x7f-\x9f\u2028\u2029]|NaN|Infinity")


class Payload(NamedTuple):
    """A message as it came, and what it says.

    Attributes:
        raw: as it came.
        text: likewise, decoded; ``""`` where that is impossible.
        value: read as JSON; ``None``, in which no path finds anything, for what is not.
    """

    raw: str | bytes
    text: str
    value: Any


def read_json(raw: str | bytes) -> Payload:
    """Read a message that has to be JSON.

    Raises:
        ValueError: it is not.
    """
    text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw))
    try:
        return Payload(raw, text, json.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_any(raw: str | bytes) -> Payload:
    """Read a message that may be anything."""
    try:
        return read_json(raw)
    except ValueError:
        return Payload(raw, "", None)


def json_line(payload: Payload) -> bytes:
    """The message as one line of JSON: its own text, without white space between the values."""
    text = payload.text
    if _NOT_YET_A_LINE.search(text):
        text = _TOKEN.sub(_tidy, text)
    return text.encode() + b"\n"


def _tidy(token: re.Match[str]) -> str:
    string = token[1]
    if string is not None:
        return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", string)
    return "" if token.group().isspace() else "null"


def has_constants(payload: Payload) -> bool:
    """Whether `json_line` replaces a NaN or an Infinity."""
    text = payload.text
    if "NaN" not in text and "Infinity" not in text:
        return False
    return any(match[1] is None and not match.group().isspace() for match in _TOKEN.finditer(text))


def raw_line(payload: Payload) -> bytes:
    """The message as it came and a line feed; in base64 when it is binary and not UTF-8."""
    raw = payload.raw
    if isinstance(raw, str):
        return raw.encode() + b"\n"
    try:
        raw.decode()
    except UnicodeDecodeError:
        raw = base64.b64encode(raw)
    return raw + b"\n"
