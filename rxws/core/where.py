"""Conditions: what a filter can ask of a value besides being equal.

A condition is the value of a key in a filter mapping: ``{"p": gt(100), "s": one_of("A", "B")}``.
It judges a value that is present; where the key is missing no condition matches. Conditions are
immutable, equal when they ask the same, and hashable when what they were given is.

``test`` may raise (``gt(5)`` on a str does): the filter that holds the condition then takes it as
"no match" and reports it.

A ``Choice`` puts many conditions to one value.
"""

from __future__ import annotations

import dataclasses
import inspect
import operator
import re
import reprlib
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar, cast

from .errors import FilterError

__all__ = [
    "FUNCTIONS",
    "Between",
    "Check",
    "Choice",
    "Condition",
    "Equal",
    "Exists",
    "Ge",
    "Gt",
    "Le",
    "Lt",
    "Matches",
    "OneOf",
    "Satisfies",
    "between",
    "check_function",
    "exists",
    "ge",
    "gt",
    "indexable",
    "le",
    "lt",
    "matches",
    "one_of",
    "satisfies",
]

N = TypeVar("N")


class Condition(ABC):
    """A test of one value of a message; made by the functions of ``rxws.where``."""

    __slots__: tuple[str, ...] = ()
    _name: ClassVar[str]

    @abstractmethod
    def test(self, value: Any) -> bool:
        """Whether ``value``, which is present, satisfies the condition; may raise."""

    def _arguments(self) -> tuple[Any, ...]:
        return tuple(getattr(self, slot) for slot in type(self).__slots__)

    def __repr__(self) -> str:
        return f"where.{self._name}({', '.join(map(repr, self._arguments()))})"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Equal(Condition):
    """The value equals ``expected``: what a plain value asks that no hash table can answer."""

    _name: ClassVar[str] = "equal"
    expected: Any

    def test(self, value: Any) -> bool:
        return bool(value == self.expected)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class OneOf(Condition):
    """The value equals one of ``values``.

    ``index`` holds the values as a set when all of them can be looked up, else ``None``.
    """

    _name: ClassVar[str] = "one_of"
    values: tuple[Any, ...]
    index: frozenset[Any] | None = dataclasses.field(init=False, compare=False)

    def __post_init__(self) -> None:
        index = frozenset(self.values) if all(map(indexable, self.values)) else None
        object.__setattr__(self, "index", index)

    def test(self, value: Any) -> bool:
        if self.index is not None and _hashable(value):
            return value in self.index
        # Not ``in``, which takes an object for equal to itself: NaN is not.
        return any(value == each for each in self.values)

    def _arguments(self) -> tuple[Any, ...]:
        return self.values


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Exists(Condition):
    """The value is present, whatever it is, ``None`` included."""

    _name: ClassVar[str] = "exists"

    def test(self, value: Any) -> bool:
        return True


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Gt(Condition):
    """The value is greater than ``bound``."""

    _name: ClassVar[str] = "gt"
    bound: Any

    def test(self, value: Any) -> bool:
        return bool(value > self.bound)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Ge(Condition):
    """The value is greater than ``bound`` or equal to it."""

    _name: ClassVar[str] = "ge"
    bound: Any

    def test(self, value: Any) -> bool:
        return bool(value >= self.bound)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Lt(Condition):
    """The value is less than ``bound``."""

    _name: ClassVar[str] = "lt"
    bound: Any

    def test(self, value: Any) -> bool:
        return bool(value < self.bound)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Le(Condition):
    """The value is less than ``bound`` or equal to it."""

    _name: ClassVar[str] = "le"
    bound: Any

    def test(self, value: Any) -> bool:
        return bool(value <= self.bound)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Between(Condition):
    """The value lies between ``low`` and ``high``, both included."""

    _name: ClassVar[str] = "between"
    low: Any
    high: Any

    def test(self, value: Any) -> bool:
        return bool(self.low <= value <= self.high)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Matches(Condition):
    """The value is a str in which ``pattern`` is found."""

    _name: ClassVar[str] = "matches"
    pattern: re.Pattern[str]

    def test(self, value: Any) -> bool:
        return isinstance(value, str) and self.pattern.search(value) is not None

    def _arguments(self) -> tuple[Any, ...]:
        # A pattern without flags of its own reads best as it was written.
        return (self.pattern.pattern if self.pattern.flags == re.UNICODE else self.pattern,)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Satisfies(Condition):
    """``function`` says yes to the value."""

    _name: ClassVar[str] = "satisfies"
    function: Callable[[Any], Any]

    def test(self, value: Any) -> bool:
        return bool(self.function(value))


def one_of(*values: Any) -> Condition:
    """The value equals one of ``values``; without any, nothing matches."""
    return OneOf(values)


def exists() -> Condition:
    """The key is present, whatever its value, ``None`` included."""
    return Exists()


def gt(bound: Any) -> Condition:
    """The value is greater than ``bound``."""
    return Gt(bound)


def ge(bound: Any) -> Condition:
    """The value is greater than ``bound`` or equal to it."""
    return Ge(bound)


def lt(bound: Any) -> Condition:
    """The value is less than ``bound``."""
    return Lt(bound)


def le(bound: Any) -> Condition:
    """The value is less than ``bound`` or equal to it."""
    return Le(bound)


def between(low: Any, high: Any) -> Condition:
    """``low <= value <= high``: both ends are included; nothing matches if ``low > high``."""
    return Between(low, high)


def matches(regex: str | re.Pattern[str]) -> Condition:
    """``regex`` is found anywhere in the value, as ``re.search`` does; only a str can match.

    Raises:
        FilterError: ``regex`` is neither a str nor a compiled pattern of str, or is malformed.
    """
    pattern = regex.pattern if isinstance(regex, re.Pattern) else regex
    if not isinstance(pattern, str):
        raise FilterError(f"matches() takes a regular expression as a str; this is {regex!r}")
    try:
        return Matches(re.compile(regex))
    except (re.error, RecursionError, OverflowError) as error:
        raise FilterError(f"matches({regex!r}) is not a regular expression: {error}") from error


def satisfies(function: Callable[[Any], Any]) -> Condition:
    """``function(value)`` is true; the function is plain, quick and has no effects.

    Raises:
        FilterError: ``function`` is not callable, or a coroutine function.
    """
    return Satisfies(check_function(function, "satisfies() takes"))


FUNCTIONS: frozenset[object] = frozenset(
    {one_of, exists, gt, ge, lt, le, between, matches, satisfies}
)
"""The functions that make conditions: to tell ``where.exists`` from ``where.exists()``."""


class Check:
    """A condition that many share: the same object for all who ask the same of the same value."""

    __slots__ = ("__weakref__", "condition", "test")

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        self.test = condition.test


_BOUNDS: dict[type[Condition], tuple[Callable[[list[Any], Any], int], bool]] = {
    # How a value is found among sorted bounds, and whether those before it hold or those after it.
    Gt: (bisect_left, True),
    Ge: (bisect_right, True),
    Lt: (bisect_right, False),
    Le: (bisect_left, False),
}


class Choice(Generic[N]):
    """Many conditions on one value, each with what follows if it holds. Immutable.

    Attributes:
        present: what follows from the presence of the value alone.
        tests: all other conditions, each with what follows from it.
    """

    __slots__ = ("_others", "_sides", "present", "tests")

    def __init__(self, checks: Iterable[tuple[Check, N]]) -> None:
        self.present: list[N] = []
        self.tests: list[tuple[Check, N]] = []
        self._others: list[tuple[Check, N]] = []  # than bounds that are numbers
        sides: dict[type[Condition], list[tuple[Any, N]]] = {}
        for check, follows in checks:
            condition = check.condition
            if isinstance(condition, Exists):
                self.present.append(follows)
                continue
            self.tests.append((check, follows))
            if isinstance(condition, (Gt, Ge, Lt, Le)) and _is_number(condition.bound):
                sides.setdefault(type(condition), []).append((condition.bound, follows))
            else:
                self._others.append((check, follows))
        self._sides: list[tuple[Callable[[list[Any], Any], int], bool, list[Any], list[N]]] = []
        for kind, side in sides.items():
            side.sort(key=operator.itemgetter(0))
            bounds = [bound for bound, _ in side]
            self._sides.append((*_BOUNDS[kind], bounds, [follows for _, follows in side]))

    def follow(
        self,
        value: Any,
        verdicts: dict[Check, bool],
        failed: Callable[[N, Exception], object],
    ) -> list[N]:
        """What follows from ``value``.

        Args:
            value: is present.
            verdicts: what was found so far, for other choices too; what is found is added.
            failed: called with what would have followed from a condition that raises, and the
                exception.
        """
        result = self.present.copy()
        tests = self.tests
        if self._sides and _is_number(value):
            tests = self._others
            for search, lower, bounds, follows in self._sides:
                at = search(bounds, value)
                result += follows[:at] if lower else follows[at:]
        for check, then in tests:
            verdict = verdicts.get(check)
            if verdict is None:
                try:
                    verdict = verdicts[check] = check.test(value)
                except Exception as error:  # not kept: with its traceback it would keep us alive
                    failed(then, error)
            if verdict:
                result.append(then)
        return result


def _is_number(value: Any) -> bool:
    """Whether ``value`` is one of those that have one order among them: no NaN, no Decimal."""
    return (type(value) is int or type(value) is float) and value == value  # noqa: PLR0124


def check_function(function: Any, taker: str) -> Callable[[Any], Any]:
    """``function``, or a ``FilterError`` that begins with ``taker`` if it is no plain function."""
    if not callable(function):
        raise FilterError(f"{taker} a function of one value; this is {reprlib.repr(function)}")
    call = type(function).__call__
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        raise FilterError(
            f"{taker} a plain function; the result of the coroutine function {function!r} "
            "would always be true"
        )
    return cast("Callable[[Any], Any]", function)


def indexable(value: Any) -> bool:
    """Whether looking ``value`` up in a hash table is the same as comparing with ``==``.

    Not so for what is unhashable, and for NaN: a table finds an object that is not even equal
    to itself.
    """
    try:
        return _hashable(value) and bool(value == value)  # noqa: PLR0124 (NaN)
    except Exception:  # it is raised again, and reported, where a message is compared with it
        return False


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except Exception:
        return False
    return True
