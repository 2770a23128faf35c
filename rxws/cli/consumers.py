"""The consumers of the demo: each a different way to use one connection."""

from __future__ import annotations

import dataclasses
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reactivex import operators as ops

import rxws
from rxws import where
from rxws.testing import Market

__all__ = ["Consumer", "Verdict", "attach", "expect", "judge"]

_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT")


@dataclasses.dataclass(eq=False)
class Consumer:
    """One consumer, what it was given, and what it should have been.

    Attributes:
        name: what it gets.
        kind: how it gets that.
        wanted: whether it is to get a message; what its filter says, said without a filter.
        numbers: of the messages that it was given, in order.
        shows: what it found out so far.
        expected: the numbers that it should have been given.
    """

    name: str
    kind: str
    wanted: Callable[[Any], bool]
    numbers: array[int] = dataclasses.field(default_factory=lambda: array("Q"))
    shows: str = ""
    expected: array[int] = dataclasses.field(default_factory=lambda: array("Q"))

    def note(self, message: Any) -> None:
        """Remember that the message was given to it."""
        self.numbers.append(message["n"])
        self.shows = f"number {message['n']}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How what was received differs from what was expected, as numbers of messages.

    Attributes:
        lost: expected, and not received.
        duplicated: received more than once.
        out_of_order: received after a higher one.
        uncalled_for: received, and not expected.
    """

    lost: frozenset[int] = frozenset()
    duplicated: frozenset[int] = frozenset()
    out_of_order: frozenset[int] = frozenset()
    uncalled_for: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return bool(self.lost or self.duplicated or self.out_of_order or self.uncalled_for)

    def __or__(self, other: Verdict) -> Verdict:
        """What differs in either."""
        return Verdict(
            self.lost | other.lost,
            self.duplicated | other.duplicated,
            self.out_of_order | other.out_of_order,
            self.uncalled_for | other.uncalled_for,
        )

    def __str__(self) -> str:
        return (
            f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, "
            f"out of order {len(self.out_of_order)}"
        )


def judge(expected: Sequence[int], received: Sequence[int]) -> Verdict:
    """Compare the numbers that a consumer was given with those that it should have been."""
    if expected == received:
        return Verdict()
    wanted: frozenset[int] = frozenset(expected)
    given: set[int] = set()
    duplicated: set[int] = set()
    late: set[int] = set()
    highest = 0
    for number in received:
        if number in given:
            duplicated.add(number)
        elif number < highest:
            late.add(number)
        given.add(number)
        highest = max(highest, number)
    return Verdict(
        wanted - given, frozenset(duplicated), frozenset(late), frozenset(given - wanted)
    )


def expect(consumers: list[Consumer], numbers: range) -> Iterator[int]:
    """Find out what each consumer should have been given of the messages with these numbers.

    It asks each for each message, as slowly as that is, and gives the number of each thousandth.
    """
    market = Market()
    for number in numbers:
        message = json.loads(market(number))
        for consumer in consumers:
            if consumer.wanted(message):
                consumer.expected.append(number)
        if number % 1000 == 0:
            yield number


def attach(ws: rxws.ReactiveWebSocket[Any], spawn: Callable[[Any], Any]) -> list[Consumer]:
    """Let everybody consume; ``spawn`` starts a task. The first of them gets everything."""
    return [
        _everything(ws),
        *(_trades(ws, symbol) for symbol in _SYMBOLS),
        _quotes(ws, spawn),
        _large_trades(ws),
        _handled(ws),
    ]


def _everything(ws: rxws.ReactiveWebSocket[Any]) -> Consumer:
    consumer = Consumer("everything", "observer", lambda _: True)
    ws.subscribe(consumer.note)
    return consumer


@dataclasses.dataclass(frozen=True)
class _Traded:
    price: float = 0.0
    volume: float = 0.0

    def plus(self, trade: Any) -> _Traded:
        return _Traded(float(trade["p"]), self.volume + float(trade["q"]))


def _trades(ws: rxws.ReactiveWebSocket[Any], symbol: str) -> Consumer:
    """The trades of one symbol, through a pipeline that sums them up."""
    consumer = Consumer(
        f"trades of {symbol}",
        "pipeline",
        lambda message: bool(message["e"] == "trade" and message["s"] == symbol),
    )

    def show(traded: _Traded) -> None:
        consumer.shows = f"last {traded.price:.2f}, volume {traded.volume:.1f}"

    trades = ws.stream_filter([{"e": "trade", "s": symbol}])
    trades.pipe(
        ops.do_action(consumer.note),
        ops.scan(_Traded.plus, _Traded()),
    ).subscribe(show)
    return consumer


def _quotes(ws: rxws.ReactiveWebSocket[Any], spawn: Callable[[Any], Any]) -> Consumer:
    """The quotes of all symbols, by ``async for``."""
    consumer = Consumer("quotes", "async for", lambda message: bool(message["e"] == "quote"))
    quotes = ws.stream_filter([{"e": "quote"}]).buffered(overflow=rxws.Overflow.BLOCK)

    async def read() -> None:
        async for quote in quotes:
            consumer.note(quote)
            consumer.shows = f"{quote['s']} {quote['b']} to {quote['a']}"

    spawn(read())
    return consumer


def _large_trades(ws: rxws.ReactiveWebSocket[Any]) -> Consumer:
    """Large trades of two symbols, by conditions."""
    two = ("BTCUSDT", "ETHUSDT")
    consumer = Consumer(
        "large trades of two",
        "rxws.where",
        lambda m: bool(m["e"] == "trade" and m["s"] in two and float(m["q"]) >= 0.9),
    )
    large = where.satisfies(lambda quantity: float(quantity) >= 0.9)

    def show(trade: Any) -> None:
        consumer.note(trade)
        consumer.shows = f"{trade['s']} {trade['q']} at {trade['p']}"

    ws.stream_filter([{"e": "trade", ("s",): where.one_of(*two), ("q",): large}]).subscribe(show)
    return consumer


def _handled(ws: rxws.ReactiveWebSocket[Any]) -> Consumer:
    """Everything again, by a coroutine function."""
    consumer = Consumer("everything again", "async handler", lambda _: True)

    async def handle(message: Any) -> None:
        consumer.note(message)

    ws.add_handler(handle, overflow=rxws.Overflow.BLOCK)
    return consumer
