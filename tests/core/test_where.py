"""Conditions, one by one."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from decimal import Decimal

import pytest

from rxws import where
from rxws.core import where as core_where
from rxws.core.errors import FilterError

CASES = [
    (where.one_of("a", "b"), ["a", "b"], ["c", "ab", None, ["a"]]),
    (where.one_of(1, None), [1, 1.0, True, Decimal(1), None], [0, 2, "1"]),
    (where.one_of([1], {"x": 1}), [[1], {"x": 1}], [[], {}, 1, (1,)]),
    (where.one_of(frozenset({1}), b"a"), [{1}, bytearray(b"a")], [set(), "a"]),
    (where.one_of(math.nan), [], [math.nan, 0]),
    (where.one_of(), [], [None, 0, ()]),
    (where.exists(), [None, 0, "", [], math.nan], []),
    (where.gt(5), [5.1, math.inf, 10**30], [5, 4, math.nan]),
    (where.ge(5), [5, 6], [4.9, math.nan]),
    (where.lt(5), [4, -math.inf], [5, 6, math.nan]),
    (where.le(5), [5, 4], [5.1, math.nan]),
    (where.gt("b"), ["c", "ba"], ["a", "b"]),
    (where.between(1, 2), [1, 1.5, 2], [0.9, 2.1, math.nan]),
    (where.between(2, 1), [], [1, 1.5, 2]),
    (where.matches("b+"), ["b", "abbc"], ["", "ac", b"b", 5, None, ["b"]]),
    (where.matches("^a$"), ["a"], ["ba", "ab"]),
    (where.matches(re.compile("B", re.IGNORECASE)), ["abc"], ["ac"]),
    (where.satisfies(lambda v: v % 2), [1, 3], [0, 2]),
    (where.satisfies(functools.partial(isinstance, 5)), [int], [str]),
]


@pytest.mark.parametrize(("condition", "yes", "no"), CASES, ids=[repr(case[0]) for case in CASES])
def test_a_condition_judges_a_present_value(condition, yes, no):
    """Each condition accepts exactly the values that it says."""
    assert [value for value in yes if not condition.test(value)] == []
    assert [value for value in no if condition.test(value)] == []


@pytest.mark.parametrize("condition", [where.gt(5), where.le(5), where.between(1, 2)])
def test_a_comparison_that_makes_no_sense_raises(condition):
    """A condition does not hide that a value cannot be compared: its caller has to tell."""
    with pytest.raises(TypeError):
        condition.test("5")


REPRS = {
    "where.one_of('a', 1)": where.one_of("a", 1),
    "where.exists()": where.exists(),
    "where.gt(1)": where.gt(1),
    "where.ge(1.5)": where.ge(1.5),
    "where.lt('x')": where.lt("x"),
    "where.le(None)": where.le(None),
    "where.between(1, 2)": where.between(1, 2),
    "where.matches('^a')": where.matches("^a"),
    "where.matches(re.compile('a', re.IGNORECASE))": where.matches(re.compile("a", re.IGNORECASE)),
    "where.satisfies(<built-in function callable>)": where.satisfies(callable),
}


@pytest.mark.parametrize("text", REPRS)
def test_the_repr_is_what_was_written(text):
    """A condition shows itself as the call that made it."""
    assert repr(REPRS[text]) == text


def test_conditions_are_equal_when_they_ask_the_same():
    """Conditions compare and hash by their kind and by what they were given."""
    assert where.gt(1) == where.gt(1.0)
    assert where.gt(1) != where.ge(1)
    assert where.matches("a") == where.matches(re.compile("a"))
    assert where.one_of(1, 2) != where.one_of(2, 3)
    assert len({where.exists(), where.exists(), where.gt(1), where.gt(1), where.lt(1)}) == 3


def test_a_condition_on_something_unhashable_is_unhashable_but_works():
    """Hashing needs hashable values, comparing and testing do not."""
    condition = where.one_of([1])
    assert condition == where.one_of([1]) and condition.test([1])
    with pytest.raises(TypeError):
        hash(condition)


@pytest.mark.parametrize("condition", [where.gt(1), where.one_of(1), where.exists()])
def test_conditions_are_immutable(condition):
    """Neither what a condition was given nor anything else can be set on it."""
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        condition.bound = 2


async def _coroutine_function(value):
    return value


class _CoroutineCall:
    async def __call__(self, value):
        return value


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: where.matches("("), "not a regular expression"),
        (lambda: where.matches(b"a"), "as a str"),
        (lambda: where.matches(re.compile(b"a")), "as a str"),
        (lambda: where.matches(5), "as a str"),
        (lambda: where.satisfies(5), "function of one value"),
        (lambda: where.satisfies(_coroutine_function), "coroutine function"),
        (lambda: where.satisfies(_CoroutineCall()), "coroutine function"),
    ],
)
def test_a_malformed_condition_is_refused_where_it_is_made(make, text):
    """What cannot be a condition raises a FilterError at once, which says what is wrong."""
    with pytest.raises(FilterError, match=text):
        make()


def test_the_public_index_has_the_functions_and_the_type():
    """``rxws.where`` offers the ten names of the contract and nothing else."""
    functions = {"one_of", "exists", "gt", "ge", "lt", "le", "between", "matches", "satisfies"}
    assert set(where.__all__) == functions | {"Condition"}
    assert {getattr(where, name) for name in functions} == core_where.FUNCTIONS
    assert all(isinstance(condition, where.Condition) for condition, _, _ in CASES)
