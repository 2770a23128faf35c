"""``--where PATH=VALUE``: from what was typed to a predicate of messages."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Self

__all__ = ["Term", "predicate"]

_INDEX = re.compile(r"0|-?[1-9][0-9]*")

_MISSING: Any = object()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


@dataclasses.dataclass(frozen=True)
class Term:
    """One ``PATH=VALUE``.

    Attributes:
        path: its parts, outermost first.
        value: what has to be there.
    """

    path: tuple[str, ...]
    value: Any

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what was typed: dots part the path, the value is JSON where it can be, else text.

        Raises:
            ValueError: saying what is wrong with it.
        """
        path, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"argument --where: {text!r} is no PATH=VALUE, it has no '='")
        if not path:
            raise ValueError(f"argument --where: {text!r} has no path before its '='")
        parts = tuple(path.split("."))
        if not all(parts):
            raise ValueError(f"argument --where: the path of {text!r} has an empty part")
        return cls(parts, _value(value))

    def matches(self, message: Any) -> bool:
        """Whether the message has that value at that path."""
        for part in self.path:
            message = _step(message, part)
        return bool(message == self.value)


def _value(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return text


def _step(container: Any, part: str) -> Any:
    """What is at one part of a path: of a mapping by its key, of a list by its index."""
    if isinstance(container, dict):
        return container.get(part, _MISSING)
    if isinstance(container, list) and _INDEX.fullmatch(part):
        index = int(part)
        if -len(container) <= index < len(container):
            return container[index]
    return _MISSING


def predicate(alternatives: Sequence[Sequence[Term]]) -> Callable[[Any], bool] | None:
    """Whether all terms of any of the alternatives match; ``None``: without any, everything."""
    if not alternatives:
        return None
    return lambda message: any(
        all(term.matches(message) for term in terms) for terms in alternatives
    )
