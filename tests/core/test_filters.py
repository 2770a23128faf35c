"""What filters mean, by the matcher that judges one message at a time."""

from __future__ import annotations

import collections
import math
import types
from collections.abc import Mapping
from decimal import Decimal

import pytest

from rxws import where
from rxws.core import filters as core_filters
from rxws.core.errors import FilterError


class Plain(Mapping):
    """A mapping that is no dict, and that raises what it is told on lookup."""

    def __init__(self, data, error=None):
        self._data = data
        self._error = error

    def __getitem__(self, key):
        if self._error is not None:
            raise self._error
        return self._data[key]

    def __iter__(self):
        return iter(self._data)

    def __len__(self):
        return len(self._data)


class Touchy:
    """Cannot be compared."""

    __hash__ = None

    def __eq__(self, other):
        raise ValueError("touchy")


TRADE = {"e": "trade", "s": "BTCUSDT", "p": 100, "n": None, "data": {"s": "X", "l": [1, {"y": 2}]}}
ARRAY = [5, "x", "trade", {"s": "BTC"}]
OTHERS = [None, 5, "trade", b"trade", object(), {1}]  # neither mappings nor lists

CASES = {
    "nothing asked": [
        (None, [TRADE, ARRAY, *OTHERS], []),
        ([], [TRADE, ARRAY, *OTHERS], []),
        ((), [TRADE, ARRAY, *OTHERS], []),
        ([{}], [TRADE, ARRAY, *OTHERS], []),
        ([{"e": "nothing"}, {}], [TRADE, ARRAY, *OTHERS], []),
    ],
    "all of a mapping, any of a list": [
        ([{"e": "trade", "s": "BTCUSDT"}], [TRADE], [{"e": "trade"}, {"e": "trade", "s": "Y"}]),
        ([{"e": "x"}, {"s": "BTCUSDT"}], [TRADE, {"e": "x"}], [{"e": "y"}, {}]),
        (({"e": "x"}, {"e": "y"}), [{"e": "x"}, {"e": "y"}], [{"e": "z"}]),
    ],
    "equality": [
        ([{"n": None}], [TRADE], [{}, {"n": 0}, {"n": False}]),
        ([{"a": 1}], [{"a": True}, {"a": 1.0}, {"a": Decimal(1)}], [{"a": "1"}, {"a": [1]}]),
        ([{"a": math.nan}], [], [{"a": math.nan}, {"a": 1}, {}]),
        ([{"a": [1, 2]}], [{"a": [1, 2]}], [{"a": [1]}, {"a": (1, 2)}, {"a": 1}]),
        ([{"a": {"b": 1}}], [{"a": {"b": 1}}], [{"a": {"b": 1, "c": 2}}]),
        ([{"a": b"x"}], [{"a": bytearray(b"x")}], [{"a": "x"}]),
        ([{"a": Touchy()}], [], [{"a": 1}, {}]),
        ([{None: 1, 0: 2}], [{None: 1, 0: 2}], [{None: 1}, {0: 2}]),
    ],
    "paths": [
        ([{("data", "s"): "X"}], [TRADE], [{"data": "X"}, {"s": "X"}, {"data": None}, {}]),
        ([{("e",): "trade"}], [TRADE], [{("e",): "trade"}]),
        ([{(("a", "b"),): 1}], [{("a", "b"): 1}], [{"a": {"b": 1}}]),
        ([{("data", "l", 1, "y"): 2}], [TRADE], [{"data": {"l": [1]}}]),
        ([{("data", "l", -1, "y"): 2}], [TRADE], [{"data": {"l": []}}]),
        ([{"e": "trade", ("e",): "trade"}], [TRADE], []),
        ([{"e": "trade", ("e",): "other"}], [], [TRADE, {"e": "other"}]),
    ],
    "indexes": [
        ([{2: "trade"}], [ARRAY, tuple(ARRAY), {2: "trade"}], [["trade"], ["a", "b"], TRADE]),
        ([{-2: "trade"}], [ARRAY, {-2: "trade"}], [["trade"], []]),
        ([{(3, "s"): "BTC"}], [ARRAY], [[{"s": "BTC"}]]),
        ([{10**30: 1}], [{10**30: 1}], [[1]]),
        ([{True: 1}], [{True: 1}, {1: 1}], [[0, 1]]),
        ([{1.0: 1}], [{1: 1}], [[0, 1]]),
        ([{"1": 1}], [{"1": 1}], [[0, 1]]),
        ([{0: "t"}], [["t"]], ["trade", "t"]),
        ([{("e", 0): "t"}], [{"e": ["t"]}], [TRADE, {"e": b"t"}]),
        ([{0: 116}], [], [b"trade", bytearray(b"t")]),
    ],
    "mappings of all kinds": [
        (
            [{"e": 1}],
            [
                types.MappingProxyType({"e": 1}),
                collections.OrderedDict(e=1),
                collections.ChainMap({}, {"e": 1}),
                Plain({"e": 1}),
            ],
            [Plain({}), Plain({"e": 1}, RuntimeError("no")), collections.defaultdict(lambda: 1)],
        ),
        ([{("d", "e"): 1}], [{"d": Plain({"e": 1})}], [{"d": Plain({"e": 1}, TypeError("no"))}]),
    ],
    "messages that hold no values": [
        ([{"e": where.exists()}], [TRADE], OTHERS),
        ([{0: where.exists()}], [ARRAY], OTHERS),
        (lambda m: isinstance(m, str), ["trade"], [TRADE, ARRAY]),
    ],
    "conditions": [
        ([{"p": where.gt(99)}], [TRADE], [{"p": 99}, {}, {"p": "abc"}]),
        ([{"n": where.exists()}], [TRADE], [{}]),
        ([{"zz": where.satisfies(lambda _: True)}], [], [TRADE]),
        ([{("data", "l", 0): where.one_of(1, 2)}], [TRADE], [{"data": {"l": [3]}}]),
        ([{"e": where.matches("^t"), "p": where.between(1, 100)}], [TRADE], [{"e": "trade"}]),
        ([{"p": where.satisfies(lambda v: v["x"])}, {"e": "trade"}], [TRADE], [{"p": 1}]),
    ],
    "predicates": [
        (lambda m: m, [TRADE, 1], [{}, None, 0]),
        (lambda m: m["s"] == "BTCUSDT", [TRADE], [None, {}, ARRAY]),
        (callable, [len], [TRADE]),
        (bool, [TRADE], [{}]),
    ],
}


@pytest.mark.parametrize(
    ("filters", "yes", "no"),
    [
        pytest.param(*case, id=f"{rule}-{at}")
        for rule, cases in CASES.items()
        for at, case in enumerate(cases)
    ],
)
def test_filters_pass_exactly_what_they_ask_for(filters, yes, no):
    """Each rule of the filters lets the right messages pass and no others."""
    matcher = core_filters.compile_filters(filters)
    assert [message for message in yes if not matcher.matches(message)] == []
    assert [message for message in no if matcher.matches(message)] == []


async def _coroutine_function(_message):
    return True


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"e": "trade"}, r"wrap it in a list, \[\{'e': 'trade'\}\]"),
        (types.MappingProxyType({}), "wrap it in a list"),
        ("trade", "list of mappings, or a function"),
        (b"trade", "list of mappings, or a function"),
        (5, "list of mappings, or a function"),
        ({1}, "list of mappings, or a function"),
        (iter([{}]), "list of mappings, or a function"),
        ([{}, "trade"], r"filters\[1\] is 'trade', a str"),
        ([None], r"filters\[0\] is None"),
        ([[{}]], r"filters\[0\] is \[\{\}\], a list"),
        ([callable], "a predicate is given alone"),
        ([{(): 1}], r"filters\[0\] has an empty path"),
        ([Plain({"a": 1}), Plain({})], None),
        ([{"a": where.exists}], r"filters\[0\]\['a'\].*write where.exists\(\)"),
        ([{"a": where.gt}], r"write where.gt\(...\)"),
        ([{"a": type(where.gt(1))}], r"write where.gt\(...\)"),
        ([{"a": lambda v: v > 1}], "where.satisfies"),
        (where.exists, r"\[\{\"key\": where.exists\(\)\}\]"),
        (where.gt(5), r"\[\{\"key\": where.gt\(5\)\}\]"),
        (type(where.gt(1)), r"where.gt\(...\)"),
        (_coroutine_function, "coroutine function"),
    ],
)
def test_malformed_filters_are_refused_with_advice(filters, text):
    """What is no filter raises a FilterError at once, whose text says what to write instead."""
    if text is None:  # unusual, but fine
        core_filters.compile_filters(filters)
        return
    with pytest.raises(FilterError, match=text) as caught:
        core_filters.compile_filters(filters)
    assert isinstance(caught.value, ValueError)


def test_an_unhashable_key_is_refused():
    """A mapping of its own kind whose key cannot be hashed is no filter."""

    class Pairs(Plain):
        def items(self):
            return [(["a"], 1)]

    with pytest.raises(FilterError, match="unhashable"):
        core_filters.compile_filters([Pairs({})])


def test_later_changes_of_the_filters_have_no_effect():
    """The compiled filters are a copy, down to the lists and dicts among the values."""
    filters = [{"a": [1, {"b": (2, [3])}], "c": {4}, "d": bytearray(b"e")}]
    message = {"a": [1, {"b": (2, [3])}], "c": {4}, "d": bytearray(b"e")}
    matcher = core_filters.compile_filters(filters)
    filters[0]["a"][1]["b"][1].append(5)
    filters[0]["c"].add(6)
    filters[0]["d"].append(7)
    filters[0]["g"] = 1
    filters.append({})
    assert matcher.matches(message) and not matcher.matches({})


@pytest.mark.parametrize(
    "filters",
    [
        [{"a": where.gt(5)}],
        [{"a": Touchy()}],
        [{"a": where.satisfies(lambda v: v + 1)}, {"a": where.lt(0)}],
        lambda m: m["a"] > 5,
    ],
)
def test_what_raises_does_not_match_and_is_reported_once(filters):
    """However often a filter raises, the message does not match and one error is reported."""
    errors = []
    matcher = core_filters.compile_filters(filters, errors.append)
    assert not any(matcher.matches({"a": "x"}) for _ in range(5))
    assert len(errors) == 1 and isinstance(errors[0], (TypeError, ValueError))


def test_a_mapping_that_raises_does_not_spoil_the_others():
    """When one mapping of a list raises, the ones after it still can match."""
    errors = []
    matcher = core_filters.compile_filters([{"a": where.gt(5)}, {"a": "x"}], errors.append)
    assert matcher.matches({"a": "x"})
    assert len(errors) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_propagates(error):
    """An interrupt inside a predicate, condition, comparison or lookup is not swallowed."""

    def interrupt(*_):
        raise error

    interrupting = type("Interrupting", (), {"__eq__": interrupt, "__hash__": None})
    for filters, message in [
        (interrupt, {}),
        ([{"a": where.satisfies(interrupt)}], {"a": 1}),
        ([{"a": 1}], {"a": interrupting()}),
        ([{"a": 1}], Plain({}, error())),
    ]:
        with pytest.raises(error):
            core_filters.compile_filters(filters).matches(message)


def test_a_lookup_leaves_the_message_alone():
    """Looking a missing key up in a defaultdict does not create it."""
    message = collections.defaultdict(list)
    assert not core_filters.compile_filters([{"a": []}, {("b", 0): 1}]).matches(message)
    assert message == {}


def test_an_alternative_tells_what_can_be_looked_up():
    """Equal values and small ``one_of`` can be looked up, all else is left to be tested."""
    (alternative,) = core_filters.compile_filters(
        [
            {
                "a": 1,
                "b": where.one_of("x", "y", "x"),
                "c": where.one_of(*range(1000)),
                "d": [1],
                "e": where.gt(1),
                "f": math.nan,
                "g": where.one_of([]),
            }
        ]
    ).alternatives
    wanted, rest = alternative.split()
    assert {path.parts: set(values) for path, values in wanted.items()} == {
        ("a",): {1},
        ("b",): {"x", "y"},
    }
    assert [path.parts for path, _ in rest] == [("c",), ("d",), ("e",), ("f",), ("g",)]


def test_the_combinations_to_look_up_are_bounded():
    """Several ``one_of`` in one mapping do not multiply without limit."""
    mapping = {key: where.one_of(*range(10)) for key in "abcdef"}
    (alternative,) = core_filters.compile_filters([mapping]).alternatives
    wanted, rest = alternative.split()
    assert math.prod(map(len, wanted.values())) <= 256
    assert len(wanted) + len(rest) == 6 and wanted and rest
