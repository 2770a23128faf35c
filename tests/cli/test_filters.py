"""``--where``: what was typed, and which messages it matches."""

from __future__ import annotations

import json

import pytest

from rxws.cli.filters import Term, predicate


@pytest.mark.parametrize(
    ("typed", "path", "value"),
    [
        ("s=BTC", ("s",), "BTC"),
        ("n=5", ("n",), 5),
        ('n="5"', ("n",), "5"),
        ("n=05", ("n",), "05"),
        ("ok=true", ("ok",), True),
        ("ok=True", ("ok",), "True"),
        ("x=null", ("x",), None),
        ("x=", ("x",), ""),
        ("x=a=b", ("x",), "a=b"),
        ("x=NaN", ("x",), "NaN"),
        ("x=[1,2]", ("x",), [1, 2]),
        ("x=" + "[" * 100_000, ("x",), "[" * 100_000),
        ("data.0.symbol=XBTUSD", ("data", "0", "symbol"), "XBTUSD"),
        ("p=1.5", ("p",), 1.5),
        ("url=ws://host", ("url",), "ws://host"),
    ],
)
def test_what_was_typed_is_read(typed: str, path: tuple[str, ...], value: object) -> None:
    """Dots part the path, the first ``=`` ends it, and the value is JSON where it can be."""
    term = Term.parse(typed)
    assert (term.path, term.value, type(term.value)) == (path, value, type(value))


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("trade", "no '='"),
        ("=trade", "no path"),
        ("a..b=1", "empty part"),
        (".a=1", "empty part"),
        ("a.=1", "empty part"),
    ],
)
def test_a_malformed_term_is_refused(typed: str, why: str) -> None:
    """What is no PATH=VALUE is refused, and the error says why."""
    with pytest.raises(ValueError, match=why):
        Term.parse(typed)


@pytest.mark.parametrize(
    ("typed", "message", "matches"),
    [
        ("e=trade", {"e": "trade", "s": "BTC"}, True),
        ("e=trade", {"e": "quote"}, False),
        ("e=trade", {}, False),
        ("x=null", {"x": None}, True),
        ("x=null", {}, False),
        ("a.b=1", {"a": {"b": 1}}, True),
        ("a.b=1", {"a.b": 1}, False),
        ("a.b=1", {"a": 1}, False),
        ("0=x", ["x"], True),
        ("-1=x", ["y", "x"], True),
        ("2=x", ["x"], False),
        ("-2=x", ["x"], False),
        ("0=x", {"0": "x"}, True),
        ("00=x", ["x"], False),
        ("00=x", {"00": "x"}, True),
        ("data.0.s=A", {"data": [{"s": "A"}]}, True),
        ("data.0.s=A", {"data": {"0": {"s": "A"}}}, True),
        ("x=[1]", {"x": [1]}, True),
        ("e=trade", "trade", False),
        ("e=trade", None, False),
        ("0=t", "trade", False),
    ],
)
def test_a_term_looks_into_mappings_and_lists(
    typed: str, message: object, *, matches: bool
) -> None:
    """A part of a path is a key of a mapping, or an index into a list if it is a number."""
    assert Term.parse(typed).matches(json.loads(json.dumps(message))) is matches


def test_terms_are_joined_by_and_alternatives_by_or() -> None:
    """A message passes when all terms of one alternative match, and everything passes without."""
    passes = predicate([[Term.parse("e=trade"), Term.parse("s=BTC")], [Term.parse("e=quote")]])
    assert passes is not None
    assert passes({"e": "trade", "s": "BTC"})
    assert passes({"e": "quote", "s": "ETH"})
    assert not passes({"e": "trade", "s": "ETH"})
    assert predicate([]) is None
