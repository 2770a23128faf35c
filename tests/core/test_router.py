"""The router: the same answers as asking every filter, without asking every filter."""

from __future__ import annotations

import contextlib
import gc
import math
import sys
import threading
import weakref
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws import where
from rxws.core import filters as core_filters
from rxws.core.errors import FilterError
from rxws.core.router import Router


class Touchy:
    """Cannot be compared."""

    __hash__ = None

    def __eq__(self, other):
        raise ValueError("touchy")

    def __repr__(self):
        return "Touchy()"


# The oracle: what filters mean, written without any of the code under test.

ABSENT = object()


def look(message, key):
    """Return what a message has at a key or path, or ``ABSENT``."""
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(message, dict):
            message = message.get(part, ABSENT)
        elif isinstance(message, (list, tuple)) and type(part) is int:
            try:
                message = message[part]
            except IndexError:
                return ABSENT
        else:
            return ABSENT
    return message


def passes(filters, message):
    """Whether a message passes; ``filters`` may have pairs (condition, function) as values."""
    if filters is None or filters == []:
        return True
    if callable(filters):
        try:
            return bool(filters(message))
        except Exception:
            return False
    return any(passes_mapping(mapping, message) for mapping in filters)


def passes_mapping(mapping, message):
    """Whether a message passes one mapping; what raises does not."""
    try:
        for key, (wanted, function) in mapping.items():
            value = look(message, key)
            if value is ABSENT:
                return False
            if not (function(value) if function else value == wanted):
                return False
    except Exception:
        return False
    return True


def written(filters):
    """Filters as a user writes them, from those of the oracle."""
    if isinstance(filters, list):
        return [{key: wanted for key, (wanted, _) in mapping.items()} for mapping in filters]
    return filters


NUMBERS = [0, 1, 2, -1, True, False, 1.0, 1.5, math.inf, math.nan, float("nan"), Decimal(1), 10**20]
HASHABLE = [*NUMBERS, None, "", "a", "b", "ab", b"a", (), (1,), (math.nan,), frozenset({1})]
UNHASHABLE = [[], [1], ["a"], {}, {"a": 1}, {1}, ([1],), bytearray(b"a"), Touchy()]

values = st.sampled_from(HASHABLE) | st.sampled_from(UNHASHABLE)
parts = st.sampled_from(["a", "b", 0, 1, -1, True, 1.0, None, "0"])
messages = st.recursive(
    values,
    lambda inner: (
        st.dictionaries(parts, inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b"]), inner, min_size=1)
        | st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


def odd(value):
    """Raise for what has no remainder."""
    return value % 2


def small(value):
    """Accept a few values of several types."""
    return value in (1, "a", None)


CONDITIONS = st.one_of(
    st.lists(values, max_size=4).map(
        lambda vs: (where.one_of(*vs), lambda x: any(x == v for v in vs))
    ),
    st.just((where.exists(), lambda _: True)),
    values.map(lambda b: (where.gt(b), lambda x: x > b)),
    values.map(lambda b: (where.ge(b), lambda x: x >= b)),
    values.map(lambda b: (where.lt(b), lambda x: x < b)),
    values.map(lambda b: (where.le(b), lambda x: x <= b)),
    st.tuples(values, values).map(lambda b: (where.between(*b), lambda x: b[0] <= x <= b[1])),
    st.sampled_from(["a", "b$", ""]).map(
        lambda t: (where.matches(t), lambda x: isinstance(x, str) and t.strip("$") in x)
    ),
    st.sampled_from([odd, small]).map(lambda f: (where.satisfies(f), f)),
)


def is_mapping(message):
    """Never raise."""
    return isinstance(message, dict)


def first_item(message):
    """Raise for what has no first item."""
    return message[0]


keys = parts | st.lists(parts, min_size=1, max_size=3).map(tuple)
wanted = values.map(lambda v: (v, None)) | CONDITIONS
mappings = st.dictionaries(keys, wanted, max_size=3)
filters_ = st.one_of(
    st.none(),
    st.lists(mappings, max_size=3),
    st.lists(st.dictionaries(st.sampled_from(["a", "b"]), wanted, min_size=1), min_size=1),
    st.sampled_from([is_mapping, first_item]),
)


def operations(filters, messages):
    """Make sequences of additions, removals and messages."""
    return st.lists(
        st.one_of(
            st.tuples(st.just("add"), filters),
            st.tuples(st.just("add"), filters),
            st.tuples(st.just("remove"), st.integers(0, 30)),
            st.tuples(st.just("match"), messages),
            st.tuples(st.just("match"), messages),
        ),
        max_size=40,
    )


# So small a world that the same filters and the same messages meet again and again.
small_mappings = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.sampled_from(
        [
            (1, None),
            (2, None),
            ([1], None),
            (where.gt(1), lambda x: x > 1),
            (where.le(1), lambda x: x <= 1),
            (where.one_of(1, 2), lambda x: x in (1, 2)),
            (where.satisfies(small), small),
        ]
    ),
)
small_filters = st.none() | st.lists(small_mappings, max_size=2) | st.just(is_mapping)
small_messages = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([1, 2, [1]]))


def is_empty(router):
    """Whether nothing is left of what was registered."""
    return len(router) == 0 and not router._groups and not router._checks and not router._merged


def check_against_oracle(operations):
    """Carry operations out on a router, comparing each match with asking every filter."""
    router = Router()
    registered = []
    for operation, argument in operations:
        if operation == "add":
            target = (len(registered), argument)
            registered.append((router.add(written(argument), target), target))
        elif operation == "remove":
            if argument < len(registered):
                registration, _ = registered.pop(argument)
                router.remove(registration)
        else:
            expected = [target for _, target in registered if passes(target[1], argument)]
            alone = [t for r, t in registered if r.matcher.matches(argument)]
            # By identity: the targets hold values that cannot be compared.
            assert list(map(id, router.match(argument))) == list(map(id, expected))
            assert list(map(id, alone)) == list(map(id, expected))
        assert len(router) == len(registered)
    assert list(map(id, router.targets())) == [id(target) for _, target in registered]
    for registration, _ in registered:
        router.remove(registration)
    assert is_empty(router)


@settings(deadline=None, max_examples=300)
@given(operations(filters_, messages))
def test_the_router_agrees_with_asking_every_filter(operations):
    """Whatever is added, removed and matched: the targets are those whose filters pass."""
    check_against_oracle(operations)


@settings(deadline=None, max_examples=300)
@given(operations(small_filters, small_messages))
def test_the_router_agrees_where_everything_meets_again(operations):
    """Nothing that the router keeps from one message to the next outlives a change."""
    check_against_oracle(operations)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["gt", "ge", "lt", "le"]), st.sampled_from(NUMBERS))), values
)
def test_sorted_bounds_agree_with_comparing(bounds, value):
    """Many bounds on one key, sorted or not, give what comparing with each of them gives."""
    compare = {
        "gt": lambda bound: value > bound,
        "ge": lambda bound: value >= bound,
        "lt": lambda bound: value < bound,
        "le": lambda bound: value <= bound,
    }
    router = Router()
    expected = []
    for at, (name, bound) in enumerate(bounds):
        router.add([{"p": getattr(where, name)(bound)}], at)
        with contextlib.suppress(Exception):
            if compare[name](bound):
                expected.append(at)
    assert list(router.match({"p": value})) == expected


def test_targets_come_in_the_order_of_registration():
    """Whatever the kinds of the filters, targets come in the order in which they were added."""
    router = Router()
    kinds = [[{"a": 1}], None, lambda _: True, [{"a": where.gt(0)}], [{"b": 2}], [{"a": 1, "b": 2}]]
    for at, filters in enumerate(kinds * 2):
        router.add(filters, at)
    assert list(router.match({"a": 1, "b": 2})) == list(range(12))


def test_a_target_comes_once_although_several_of_its_mappings_match():
    """A message that matches a registration in many ways is delivered to it once."""
    router = Router()
    router.add([{"a": 1}, {"a": 1}, {"b": 2}, {}, {"a": where.gt(0)}, {"a": where.one_of(1, 2)}], 0)
    router.add([{"a": where.one_of(1.0, 1, 2)}], 1)
    assert list(router.match({"a": 1, "b": 2})) == [0, 1]


def test_two_ways_to_write_a_key_are_two_demands():
    """What is asked of ``"a"`` and of ``("a",)`` in one mapping has to hold both."""
    router = Router()
    router.add([{"a": 1, ("a",): where.one_of(1, 2)}], "both")
    router.add([{"a": where.one_of(1, 2), ("a",): where.one_of(2, 3)}], "two")
    assert [list(router.match({"a": value})) for value in (1, 2, 3)] == [["both"], ["two"], []]


def test_a_target_may_be_registered_twice_and_be_unhashable():
    """Registrations count, not targets: one that is added twice comes twice."""
    router = Router()
    target = []
    first = router.add(None, target)
    router.add([{"a": 1}], target)
    assert list(router.match({"a": 1})) == [target, target]
    router.remove(first)
    assert list(router.match({"a": 1})) == [target]


def test_removing_is_idempotent_and_strangers_are_left_alone():
    """A registration is removed once, and one of another router not at all."""
    router, other = Router(), Router()
    registration = router.add([{"a": 1}], "x")
    kept = router.add([{"a": 1}], "y")
    stranger = other.add([{"a": 1}], "z")
    for gone in (registration, registration, stranger):
        router.remove(gone)
    assert list(router.match({"a": 1})) == ["y"] == router.targets()
    assert list(other.match({"a": 1})) == ["z"]
    router.remove(kept)
    assert is_empty(router)


def test_removing_leaves_nothing_beside_what_stays():
    """Tables and branches hold nothing for targets that are gone, while others stay."""
    router = Router()
    router.add([{"a": 1, "p": where.gt(1)}], "stays")
    gone = [
        router.add(filters, "goes")
        for filters in (
            [{"a": (1,)}],
            [{"a": 2}],
            [{"a": 1}, {"a": 1, "p": where.gt(2)}, {"a": 1, "q": where.gt(2)}],
        )
    ]
    for registration in gone:
        router.remove(registration)
    (group,) = router._groups.values()
    (node,) = group.table.values()
    (branch,) = node.branches.values()
    assert not group.exotic and not node.registrations
    assert len(branch.children) == 1 == len(router._checks)


def test_malformed_filters_leave_nothing_behind():
    """Filters that are refused register nothing."""
    router = Router()
    with pytest.raises(FilterError):
        router.add({"a": 1}, "x")
    assert is_empty(router)


def test_compiled_filters_can_be_added():
    """A matcher is as good as the filters that it was compiled from, any number of times."""
    router = Router()
    matcher = core_filters.compile_filters([{"a": 1}])
    router.add(matcher, "x")
    router.add(matcher, "y")
    assert list(router.match({"a": 1})) == ["x", "y"]


def test_results_are_snapshots():
    """Targets may be added and removed while a result is used; the result does not change."""
    router = Router()
    registrations = [router.add([{"a": 1}], at) for at in range(3)]
    seen = []
    for target in router.match({"a": 1}):
        seen.append(target)
        router.remove(registrations[target])
        router.add([{"a": 1}], target + 10)
    assert seen == [0, 1, 2]
    assert list(router.match({"a": 1})) == [10, 11, 12]


def test_a_predicate_may_change_the_router():
    """Adding and removing from inside a predicate is allowed while a message is matched."""
    router = Router()
    victim = router.add([{"a": 1}], "victim")

    def predicate(_message):
        router.remove(victim)
        router.add([{"a": 1}], "new")
        return True

    registration = router.add(predicate, "changing")
    assert "changing" in router.match({"a": 1})
    router.remove(registration)
    assert list(router.match({"a": 1})) == ["new"]


@pytest.mark.parametrize("exists", [[{"a": where.exists()}], [{"a": where.exists(), "b": 1}]])
def test_presence_is_enough_for_exists(exists):
    """A key that is there matches ``exists`` whatever its value, an unhashable one included."""
    router = Router()
    router.add(exists, "x")
    for value in (None, [1], math.nan, Touchy()):
        assert list(router.match({"a": value, "b": 1})) == ["x"]
    assert not router.match({"b": 1})


# How much work is done, by counting it.


class Counted:
    """A value that counts how often it is compared."""

    compared = 0

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        Counted.compared += 1
        return self.value == getattr(other, "value", other)

    def __hash__(self):
        return hash(self.value)


class CountedList(list):
    """An unhashable value that counts how often it is compared."""

    compared = 0

    def __eq__(self, other):
        CountedList.compared += 1
        return list.__eq__(self, other)

    __hash__ = None


def calls(function, *args):
    """The result of a call, and how many functions, of Python and of C, were called by it."""
    count = 0

    def profile(_frame, event, _arg):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        result = function(*args)
    finally:
        sys.setprofile(before)
    return result, count


def test_streams_that_do_not_match_are_not_looked_at():
    """Of 10,000 values that streams wait for, a message is compared with hardly any."""
    router = Router()
    for at in range(10_000):
        router.add([{"s": Counted(f"S{at}")}], at)
    Counted.compared = 0
    assert list(router.match({"s": Counted("S5000")})) == [5000]
    assert not router.match({"s": Counted("other")})
    assert Counted.compared <= 2


def test_conditions_are_tested_only_where_the_rest_is_equal():
    """Of 10,000 streams with a condition, only the condition of the matching symbol is tested."""
    tested = []
    router = Router()
    for at in range(10_000):
        condition = where.satisfies(lambda _, at=at: tested.append(at) or True)
        router.add([{"s": f"S{at}", "p": condition}], at)
    assert list(router.match({"s": "S7", "p": 1})) == [7]
    assert tested == [7]


@pytest.mark.parametrize(
    "mapping",
    [
        lambda at: {"s": f"S{at}"},
        lambda at: {("data", 0, "s"): f"S{at}"},
        lambda at: {"e": "trade", "s": f"S{at}"},
        lambda at: {"s": where.one_of(f"S{at}", f"T{at}")},
        lambda at: {"s": f"S{at}", "p": where.gt(1)},
        lambda at: {"s": "S1", "p": where.gt(at)},
        lambda at: {"s": "S1", "p": where.le(1.5 - at)},
    ],
)
def test_the_work_does_not_grow_with_the_number_of_streams(mapping):
    """A message that one or two streams want costs as many calls among 2,000 as among 20."""
    message = {"e": "trade", "s": "S1", "p": 1.5, "data": [{"s": "S1"}]}
    counts = []
    for size in (20, 2_000):
        router = Router()
        for at in range(size):
            router.add([mapping(at)], at)
        router.match(message)  # renews what was cached
        result, count = calls(router.match, message)
        assert 0 < len(result) <= 2 or "p" in mapping(0)
        counts.append(count)
    assert counts[0] == counts[1]


def test_an_unhashable_value_is_compared_only_with_what_could_equal_it():
    """A list under a key is compared with lists that are waited for, not with 10,000 strings."""
    router = Router()
    for at in range(10_000):
        router.add([{"s": f"S{at}"}], at)
        router.add([{"s": f"S{at}", "e": at}], at)
    router.add([{"s": ["x"]}], "list")
    router.add([{"s": (1,)}], "tuple")
    CountedList.compared = 0
    assert list(router.match({"s": CountedList("x"), "e": 1})) == ["list"]
    assert CountedList.compared <= 2


def test_a_condition_that_many_share_is_tested_once():
    """Equal conditions on one value are tested once a message, in whatever company they are."""
    tested = []

    def test(value):
        tested.append(value)
        return True

    router = Router()
    for at in range(100):
        router.add([{"s": "X", "p": where.satisfies(test)}], at)
        router.add([{"s": "X", "q": where.gt(at), "p": where.satisfies(test)}], at)
        router.add([{"p": where.satisfies(test)}], at)
    assert len(router.match({"s": "X", "p": 1, "q": 50})) == 250
    assert tested == [1]


def test_a_predicate_that_many_share_is_called_once():
    """One function given by many streams is called once a message."""
    called = []
    router = Router()
    for at in range(100):
        router.add(called.append, ("no", at))
    assert not router.match("x")
    assert called == ["x"]


def test_missing_keys_are_extracted_once_for_all():
    """Streams with conditions on the same missing key cost no test at all."""
    router = Router()
    for at in range(1000):
        router.add([{"p": where.satisfies(lambda value, at=at: value > at)}], at)
    router.match({})
    _, count = calls(router.match, {})
    assert count < 20


def test_many_targets_of_one_kind_are_cheap_to_add_and_remove():
    """Adding and removing costs the same calls however many wait for the same."""
    router = Router()
    first = router.add([{"s": "X"}], 0)
    _, early_add = calls(router.add, [{"s": "X"}], 1)
    for at in range(2, 5_000):
        router.add([{"s": "X"}], at)
    _, late_add = calls(router.add, [{"s": "X"}], 5_000)
    _, late_remove = calls(router.remove, first)
    assert early_add == late_add
    assert late_remove < 20
    assert list(router.match({"s": "X"})) == list(range(1, 5_001))


# Errors.


def test_an_error_is_reported_once_for_each_registration():
    """Each registration whose condition raises is reported once, also those that come later."""
    reports = []
    router = Router(lambda target, error: reports.append((target, type(error))))
    router.add([{"p": where.gt(5)}], 0)
    router.add([{"p": where.gt(5)}], 1)
    router.add([{"p": where.gt(5), "q": where.lt(1)}], 2)
    router.add([{"p": Touchy()}, {"p": where.lt(0)}], 3)
    router.add([{"p": "x"}], 4)
    for _ in range(3):
        assert list(router.match({"p": "x", "q": 0})) == [4]
    assert sorted(reports, key=str) == [
        (0, TypeError),
        (1, TypeError),
        (2, TypeError),
        (3, ValueError),
    ]
    router.add([{"p": where.gt(5)}], 5)
    router.match({"p": "x"})
    router.match({"p": "x"})
    assert reports[4:] == [(5, TypeError)]


def test_a_predicate_that_raises_is_reported_for_all_who_share_it():
    """A shared predicate that raises matches nobody and is reported for each registration."""
    reports = []
    router = Router(lambda target, error: reports.append((target, type(error))))

    def predicate(message):
        return message["x"]

    for at in range(3):
        router.add(predicate, at)
    assert not router.match({}) and not router.match({})
    assert sorted(reports) == [(at, KeyError) for at in range(3)]
    assert list(router.match({"x": 1})) == [0, 1, 2]


def test_an_error_in_comparing_an_unhashable_value_is_reported():
    """A value of a message that cannot even be compared matches nothing and is reported."""
    reports = []
    router = Router(lambda target, error: reports.append((target, type(error))))
    router.add([{"p": (1,)}], "exotic")
    router.add([{"p": "x"}], "plain")
    assert not router.match({"p": Touchy()}) and not router.match({"p": Touchy()})
    assert reports == [("exotic", ValueError)]


def test_errors_without_a_callback_are_ignored():
    """A router without ``on_error`` takes what raises as no match."""
    router = Router()
    router.add(lambda _: 1 / 0, "x")
    assert not router.match({})


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_propagates(error):
    """An interrupt in a predicate or a comparison leaves ``match``, and the router works on."""

    def interrupt(*_):
        raise error

    router = Router()
    router.add([{"a": 1}], "x")
    router.add([{"a": (1,)}], "y")
    bad = router.add(interrupt, "z")
    with pytest.raises(error):
        router.match({"a": 1})
    router.remove(bad)
    with pytest.raises(error):
        router.match({"a": type("Interrupting", (), {"__eq__": interrupt, "__hash__": None})()})
    assert list(router.match({"a": 1})) == ["x"]


def test_a_value_that_stops_being_hashable_registers_nothing():
    """When a value fails in the table, ``add`` raises and what it had registered is gone."""

    class Failing:
        failing = False

        def __hash__(self):
            if Failing.failing:
                raise RuntimeError("no hash today")
            return 1

        __eq__ = object.__eq__

    matcher = core_filters.compile_filters([{"a": 1}, {"a": Failing()}])
    router = Router()
    Failing.failing = True
    with pytest.raises(RuntimeError, match="no hash"):
        router.add(matcher, "x")
    assert is_empty(router)


# Life and threads.


def test_an_error_leaves_no_garbage_behind():
    """A condition that raises leaves nothing that only the garbage collector could free."""
    router = Router(lambda *_: None)
    router.add(lambda _: 1 / 0, "x")
    router.add([{"a": where.gt("")}], "y")
    router.add([{"a": (1,)}], "z")
    gc.collect()
    gc.disable()
    try:
        router.match({"a": 1})
        router.match({"a": Touchy()})
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_removed_target_is_not_kept_alive():
    """After its removal the router holds no reference to a target, cached results included."""

    class Target:
        pass

    router = Router()
    router.add(None, "all")
    router.add([{"a": where.gt(0)}], "gt")
    target = Target()
    reference = weakref.ref(target)
    registration = router.add([{"a": 1}, {"b": where.gt(1)}, {"a": where.one_of(1, 2)}], target)
    assert target in router.match({"a": 1, "b": 2})
    router.remove(registration)
    del target, registration
    assert reference() is None


def test_a_finalizer_may_remove_a_target_at_any_moment():
    """Garbage that is collected in the middle of adding or matching removes its target safely."""
    router = Router()

    class Owner:
        def __init__(self, at):
            self.me = self  # only the garbage collector will find it
            self.registration = router.add([{"a": at % 3, "p": where.gt(0)}, {"b": 1}], at)

        def __del__(self):
            router.remove(self.registration)

    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(1)
    try:
        for at in range(500):
            Owner(at)
            router.match({"a": at % 3, "p": 1, "b": 1})
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert is_empty(router)


def test_a_change_in_the_middle_of_a_change_waits_for_its_end():
    """What a hash function removes or adds while another target is added happens right after."""
    router = Router()
    victim = router.add([{"a": "v"}], "victim")

    class Meddling:
        meddled = False

        def __hash__(self):
            if sys._getframe(1).f_code.co_name == "node" and not Meddling.meddled:
                Meddling.meddled = True
                router.remove(victim)
                router.add([{"a": "n"}], "new")
            return 1

        __eq__ = object.__eq__

    value = Meddling()
    router.add([{"a": value}], "meddling")
    assert Meddling.meddled
    assert router.targets() == ["meddling", "new"]
    assert list(router.match({"a": value})) == ["meddling"]
    assert list(router.match({"a": "n"})) == ["new"] and not router.match({"a": "v"})


def test_other_threads_may_add_and_remove_during_matching():
    """While threads add and remove, each match gives all steady targets and no torn result."""
    router = Router()
    for at in range(10):
        router.add([{"s": "X"}], at)
    stop = threading.Event()
    failures = []

    def churn(name):
        try:
            while not stop.is_set():
                kept = [
                    router.add([{"s": "X"}, {"s": "X", "p": where.gt(at)}, {name: 1}], object())
                    for at in range(5)
                ]
                for registration in kept:
                    router.remove(registration)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(name,)) for name in ("u", "v")]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for _ in range(2_000):
            result = list(router.match({"s": "X", "p": 9, "u": 1, "v": 1}))
            assert [target for target in result if isinstance(target, int)] == list(range(10))
            assert len(set(result)) == len(result)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert not failures
    assert len(router) == 10 and len(router._groups) == 1 and not router._checks
