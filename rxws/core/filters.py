"""Filters: what users write to say which messages they want, and what it compiles to.

``compile_filters`` turns filters into a ``Matcher``: alternatives, of which one has to match,
each made of values that have to be equal and of conditions that have to hold. The matcher judges
a message by itself, one alternative after the other; a ``Router`` takes many matchers apart to
judge a message by all of them at once.
"""

from __future__ import annotations

import dataclasses
import reprlib
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from .errors import FilterError
from .where import FUNCTIONS, Condition, Equal, OneOf, Satisfies, check_function, indexable

__all__ = ["MISSING", "Alternative", "Filters", "Matcher", "Path", "compile_filters", "lookup"]

V = TypeVar("V")

_EXPANSION = 256
"""How many combinations of the values of its ``one_of`` a mapping may be looked up under."""


# Keys are Any, not Hashable: a mapping's key type is invariant, so that a ``dict[str, str]`` would
# not be accepted.
Filters: TypeAlias = Sequence[Mapping[Any, Any]] | Callable[[Any], bool] | None
"""A list of mappings, a predicate, or, for everything, ``None`` or an empty list."""

MISSING: Final[Any] = object()
"""What ``Path.find`` returns where a message has nothing."""


class Path:
    """Where in a message a value is found.

    An int (not a bool) indexes a list or a tuple, from the end if it is negative; on a mapping
    every part is a key. Nothing else is looked into. Without parts it is the message itself.

    Attributes:
        parts: keys and indexes, outermost first.
        find: the value at the path in a message, or ``MISSING``. Never raises an ``Exception``: a
            mapping that fails to look a key up does not have it.
    """

    __slots__ = ("_identity", "find", "parts")

    find: Callable[[Any], Any]

    def __init__(self, parts: tuple[Hashable, ...]) -> None:
        self.parts = parts
        # 1, 1.0 and True are the same key, but only 1 is an index.
        steps = tuple((part, type(part) is not bool and isinstance(part, int)) for part in parts)
        self._identity = steps
        self.find = _finder(steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        return f"Path({self.parts!r})"


def _get(container: Any, part: Any, index: bool) -> Any:  # noqa: FBT001 (called per message)
    """One step of a path; ``index`` tells whether ``part`` may index a list."""
    try:
        if isinstance(container, dict):
            return container.get(part, MISSING)
        if isinstance(container, (list, tuple)):
            if index and -len(container) <= part < len(container):
                return container[part]
        elif isinstance(container, Mapping):
            return container.get(part, MISSING)
    except Exception:  # a key that this container cannot be asked for is a key that it lacks
        return MISSING
    return MISSING


def _finder(steps: tuple[tuple[Any, bool], ...]) -> Callable[[Any], Any]:
    """A function that follows ``steps``."""
    if len(steps) == 1:
        return _find_one(*steps[0])
    if len(steps) == 2:
        return _find_two(*steps[0], *steps[1])

    def find(message: Any) -> Any:
        for part, index in steps:
            message = _get(message, part, index)
            if message is MISSING:
                break
        return message

    return find


# The common paths, without a call where the message is made of plain dicts.


def _find_one(part: Any, index: bool) -> Callable[[Any], Any]:  # noqa: FBT001
    def find(message: Any) -> Any:
        if type(message) is dict:
            try:
                return message.get(part, MISSING)
            except Exception:
                return MISSING
        return _get(message, part, index)

    return find


def _find_two(
    part: Any,
    index: bool,  # noqa: FBT001
    inner: Any,
    inner_index: bool,  # noqa: FBT001
) -> Callable[[Any], Any]:
    def find(message: Any) -> Any:
        if type(message) is dict:
            try:
                value = message.get(part, MISSING)
                if type(value) is dict:
                    return value.get(inner, MISSING)
            except Exception:
                return MISSING
        else:
            value = _get(message, part, index)
        return _get(value, inner, inner_index)

    return find


def lookup(paths: tuple[Path, ...], table: Mapping[Any, V]) -> Callable[[Any], V | None]:
    """A function from a message to what ``table`` has for its values at ``paths``.

    The keys of the table are tuples of values, or the values themselves if there is one path. The
    function raises where a value is unhashable. A missing value needs no care: the table has
    nothing for ``MISSING``.
    """
    get = table.get
    if not paths:
        return lambda _message: get(())
    path, *others = paths
    first = path.find
    if len(others) == 1:
        second = others[0].find
        return lambda message: get((first(message), second(message)))
    if others:
        finds = [path.find for path in paths]
        return lambda message: get(tuple([find(message) for find in finds]))
    if len(path.parts) != 1:
        return lambda message: get(first(message))
    part = path.parts[0]

    def find_top(message: Any) -> V | None:  # by far the most common, without a further call
        return get(message.get(part, MISSING) if type(message) is dict else first(message))

    return find_top


_MESSAGE = Path(())


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Alternative:
    """One mapping of a filter: matches when everything in it does.

    Attributes:
        equal: values that have to be equal, at most one for a path, all of them fit for looking up
            in a hash table.
        conditions: all else that is asked, in the order in which it was written.
    """

    equal: tuple[tuple[Path, Any], ...]
    conditions: tuple[tuple[Path, Condition], ...]

    def __repr__(self) -> str:
        items = [f"{_shown_key(path)}: {_show(value)}" for path, value in self.equal]
        for path, condition in self.conditions:
            value = condition.expected if isinstance(condition, Equal) else condition
            items.append(f"{_shown_key(path)}: {_show(value)}")
        return "{" + ", ".join(items) + "}"

    def matches(self, message: Any) -> bool:
        """Whether ``message`` matches; what a comparison or condition raises is raised."""
        for path, expected in self.equal:
            value = path.find(message)
            if value is MISSING or not value == expected:  # noqa: SIM201 (!= may differ)
                return False
        for path, condition in self.conditions:
            value = path.find(message)
            if value is MISSING or not condition.test(value):
                return False
        return True

    def split(self) -> tuple[dict[Path, tuple[Any, ...]], list[tuple[Path, Condition]]]:
        """What can be looked up, as the values allowed at each path; and what has to be tested.

        A ``one_of`` can be looked up under each of its values, as long as not too many combinations
        arise. Where no value is allowed, nothing matches.
        """
        wanted = {path: (value,) for path, value in self.equal}
        rest: list[tuple[Path, Condition]] = []
        room = _EXPANSION
        for path, condition in self.conditions:
            values = condition.index if isinstance(condition, OneOf) else None
            if values is None or path in wanted or len(values) > room:
                rest.append((path, condition))
            else:
                wanted[path] = tuple(values)
                room //= len(values) or 1
        return wanted, rest


class Matcher:
    """Compiled filters. Immutable, but for having reported an error.

    Attributes:
        alternatives: a message matches when one of these does.
    """

    __slots__ = ("_on_error", "_reported", "alternatives")

    def __init__(
        self,
        alternatives: tuple[Alternative, ...],
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        self.alternatives = alternatives
        self._on_error = on_error
        self._reported = False

    def __repr__(self) -> str:
        match self.alternatives:
            case [Alternative(conditions=[(path, Satisfies(function))])] if path is _MESSAGE:
                return f"Matcher({_show(function)})"
        return f"Matcher([{', '.join(map(repr, self.alternatives))}])"

    def matches(self, message: Any) -> bool:
        """Whether ``message`` passes.

        A comparison, condition or predicate that raises an ``Exception`` does not match; the first
        one is given to ``on_error``.
        """
        for alternative in self.alternatives:
            try:
                if alternative.matches(message):
                    return True
            except Exception as error:
                if not self._reported:
                    self._reported = True
                    if self._on_error is not None:
                        self._on_error(error)
        return False


def compile_filters(
    filters: Filters, on_error: Callable[[Exception], object] | None = None
) -> Matcher:
    """Check and compile ``filters``; later changes of the mappings have no effect.

    Args:
        filters: ``None`` or an empty list for everything; a list or tuple of mappings, of which
            one has to match; or a predicate. In a mapping a key that is a tuple is a path, and a
            value is a condition or has to be equal.
        on_error: called by ``Matcher.matches`` with the first exception that a comparison,
            condition or predicate raises; ``None`` ignores them.

    Raises:
        FilterError: ``filters`` is anything else; its text says what to write instead.
    """
    alternatives: tuple[Alternative, ...]
    if filters is None:
        alternatives = (Alternative((), ()),)
    elif isinstance(filters, (list, tuple)):
        alternatives = tuple(_alternative(at, item) for at, item in enumerate(filters)) or (
            Alternative((), ()),
        )
    elif isinstance(filters, Mapping):
        raise FilterError(f"filters is a list of mappings: wrap it in a list, [{_show(filters)}]")
    elif _is_condition(filters):
        raise FilterError(
            "filters is a list of mappings, and a condition is a value in one: "
            f'write [{{"key": {_called(filters)}}}]'
        )
    else:
        predicate = check_function(filters, "filters is None, a list of mappings, or")
        alternatives = (Alternative((), ((_MESSAGE, Satisfies(predicate)),)),)
    return Matcher(alternatives, on_error)


def _alternative(at: int, mapping: object) -> Alternative:
    if not isinstance(mapping, Mapping):
        advice = "; a predicate is given alone, not in a list" if callable(mapping) else ""
        raise FilterError(
            f"filters[{at}] is {_show(mapping)}, a {type(mapping).__name__}; every item of the "
            f"list has to be a mapping from keys to values{advice}"
        )
    equal: dict[Path, Any] = {}
    conditions: list[tuple[Path, Condition]] = []
    for key, value in mapping.items():
        path = _path(at, key)
        if isinstance(value, Condition):
            conditions.append((path, value))
            continue
        if _is_condition(value):
            raise FilterError(
                f"filters[{at}][{_show(key)}] is a condition that was not called: "
                f"write {_called(value)}"
            )
        if isinstance(value, (types.FunctionType, types.MethodType)):
            raise FilterError(
                f"filters[{at}][{_show(key)}] is a function, which no value of a message equals: "
                f"write where.satisfies({value.__name__})"
            )
        # The keys "a" and ("a",) are one path: both have to hold, but one can be looked up.
        if path not in equal and indexable(value):
            equal[path] = value
        else:
            conditions.append((path, Equal(_copied(value))))
    return Alternative(tuple(equal.items()), tuple(conditions))


def _path(at: int, key: Any) -> Path:
    if key == () and isinstance(key, tuple):
        raise FilterError(
            f"filters[{at}] has an empty path as a key; a path is a tuple of at least one key or "
            "index, and a test of the whole message is a predicate"
        )
    path = Path(key if isinstance(key, tuple) else (key,))
    try:
        hash(path)
    except TypeError as error:
        raise FilterError(f"filters[{at}] has the key {_show(key)}, which is unhashable") from error
    return path


def _copied(value: Any) -> Any:
    """``value`` with its own lists, dicts and sets, so that the user can change those given."""
    kind = type(value)
    if kind is list or kind is tuple:
        return kind(_copied(each) for each in value)
    if kind is dict:
        return {key: _copied(each) for key, each in value.items()}
    if kind is set or kind is bytearray:
        return kind(value)
    return value


def _is_condition(value: object) -> bool:
    """Whether ``value`` is a condition, or what makes one."""
    if isinstance(value, types.FunctionType):
        return value in FUNCTIONS
    return isinstance(value, Condition) or (
        isinstance(value, type) and issubclass(value, Condition)
    )


def _called(value: Any) -> str:
    if isinstance(value, Condition):
        return repr(value)
    name = getattr(value, "_name", None) or value.__name__
    return f"where.{name}()" if name == "exists" else f"where.{name}(...)"


def _shown_key(path: Path) -> str:
    return _show(path.parts[0] if len(path.parts) == 1 else path.parts)


def _show(value: object) -> str:
    return reprlib.repr(value)
