"""The public surface: the names that there are, and that each of them says what it is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

import pytest

import rxws
from rxws import where

CONTRACT = {
    "the front": "connect observe ReactiveWebSocket Stream State Stats Opening to_async_iterator",
    "options": "Backoff Heartbeat Exclusive FirstArrival MakeBeforeBreak Replace Overflow",
    "send": "Keep Drop Fail ThisConnection Delivery",
    "signals": "every on_message on_silence from_coroutine",
    "transports": "Transport Link Receiver",
    "the abstract class": "AsyncWebsocketStreamInterface",
    "modules": "operators where",
    "events": "Event Connecting Connected ConnectFailed Disconnected Rotating Rotated "
    "RotationFailed Reset Gap ParseFailed ConsumerFailed SignalFailed Overflowed Closed",
    "errors": "RxwsError ConnectError RetriesExhausted ConnectionLost BufferOverflow "
    "RequestTimeout SendTimeout ClosedError ForkedError FilterError",
}
CONDITIONS = "one_of exists gt ge lt le between matches satisfies"

each_module = pytest.mark.parametrize(
    "name", ["rxws", "rxws.operators", "rxws.where", "rxws.testing"]
)


def members(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield a function, or a class and the public methods and properties that we wrote."""
    if inspect.isroutine(value) or inspect.isclass(value):
        yield name, value
    if inspect.isclass(value):
        for base in value.__mro__:
            if base.__module__.partition(".")[0] == "rxws":
                for key, member in vars(base).items():
                    written = inspect.isroutine(member) or isinstance(member, property)
                    if written and not key.startswith("_"):
                        yield f"{name}.{key}", member


def descendants(cls: type) -> set[str]:
    """Return the names of the classes of the package that inherit from ``cls``."""
    return {
        name
        for each in cls.__subclasses__()
        if each.__module__.partition(".")[0] == "rxws"
        for name in {each.__name__} | descendants(each)
    }


def test_the_package_offers_the_contract():
    """``rxws.__all__`` has every name of the contract, and no other."""
    assert set(rxws.__all__) == set(" ".join(CONTRACT.values()).split())


def test_every_condition_is_offered():
    """``rxws.where`` has the conditions of the contract, and their class."""
    assert set(where.__all__) == {"Condition", *CONDITIONS.split()}


@pytest.mark.parametrize("base", [rxws.Event, rxws.RxwsError])
def test_every_event_and_error_is_offered(base: type):
    """An event or an error, wherever in the package it is defined, is imported from ``rxws``."""
    assert descendants(base) - set(rxws.__all__) == set()


@each_module
def test_all_is_sorted_and_exists(name: str):
    """``__all__`` is sorted, names nothing twice, and nothing that is not there."""
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(set(module.__all__))
    assert [each for each in module.__all__ if not hasattr(module, each)] == []


@each_module
def test_nothing_is_offered_by_accident(name: str):
    """What is reached by a public name is in ``__all__``, or a module."""
    module = importlib.import_module(name)
    reached = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and not inspect.ismodule(value)
    }
    assert reached - {"annotations", *module.__all__} == set()


@each_module
def test_everything_has_a_docstring(name: str):
    """Every public module, function, class, method and property says what it is."""
    module = importlib.import_module(name)
    silent = [
        f"{name}.{place}"
        for key in module.__all__
        for place, member in members(key, getattr(module, key))
        if not inspect.getdoc(member)
    ]
    assert module.__doc__
    assert silent == []
