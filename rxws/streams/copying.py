"""Copies of messages, for consumers that may change what they are given."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any, TypeVar

__all__ = ["copied"]

_T = TypeVar("_T")

_ATOMS: frozenset[type] = frozenset({str, int, float, bool, type(None), bytes, complex, Decimal})
"""Types whose values can't be changed: they are shared. Their subclasses may be anything."""


def copied(message: _T) -> _T:
    """A copy of ``message`` that shares nothing with it that can be changed.

    Dicts and lists, as they come out of JSON, are copied here, several times faster than
    ``copy.deepcopy`` does; keys are shared. Whatever else is in them is left to
    ``copy.deepcopy``. A part that occurs twice in a message becomes two parts.

    Raises:
        Exception: whatever an object in the message raises when it is copied.
    """
    try:
        result: _T = _copied(message)
    except RecursionError:  # a cycle, or deeper than the stack
        result = _unwound(message)
    return result


def _copied(part: Any) -> Any:
    kind = type(part)
    if kind is dict:
        return {key: v if type(v) in _ATOMS else _copied(v) for key, v in part.items()}
    if kind is list:
        return [v if type(v) in _ATOMS else _copied(v) for v in part]
    return part if kind in _ATOMS else copy.deepcopy(part)


def _unwound(message: Any) -> Any:
    """The same without recursion; every part is copied once, however often it occurs."""
    copies: dict[int, Any] = {}
    waiting: list[Any] = []

    def begun(part: Any) -> Any:
        kind = type(part)
        if kind is not dict and kind is not list:
            return part if kind in _ATOMS else copy.deepcopy(part)
        if id(part) not in copies:
            copies[id(part)] = kind()
            waiting.append(part)
        return copies[id(part)]

    result = begun(message)
    while waiting:
        part = waiting.pop()
        target = copies[id(part)]
        if type(part) is dict:
            target.update((key, begun(value)) for key, value in part.items())
        else:
            target.extend(map(begun, part))
    return result
