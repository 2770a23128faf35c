"""A numbered feed: events one after another at a rate, and the log of what was sent to whom."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rxws.net.transport import Raw

__all__ = ["SYMBOLS", "Feed", "FeedLog", "Market", "frame"]

SYMBOLS: Mapping[str, float] = {
    "BTCUSDT": 64250.0,
    "ETHUSDT": 3480.0,
    "SOLUSDT": 152.0,
    "BNBUSDT": 585.0,
    "XRPUSDT": 12.5,
}
"""The symbols of a `Market` and the price around which each moves."""

# Messages that became due while the loop was busy are sent in batches of this many, so that
# connections are served in between.
_BATCH = 1_000
# The shortest sleep: above 1,000 messages a second, several are sent at a time.
_TICK = 0.001


class Market:
    """Made-up trades and quotes, repeatable: the ``n``-th event is the same for everybody.

    Called with a number from 1 on, it returns the JSON of one event::

        {"e":"trade","s":"BTCUSDT","p":"64250.10","q":"0.015","t":7,"n":31}
        {"e":"quote","s":"BTCUSDT","b":"64250.00","B":"0.310","a":"64250.20","A":"0.105","n":46}

    ``n`` is the number of the event; ``t`` grows by one with each trade of its symbol. Three of
    four events of a symbol are trades.

    Parameters:
        symbols: their names, served in turn.
    """

    def __init__(self, symbols: Sequence[str] = tuple(SYMBOLS)) -> None:
        if not symbols:
            raise ValueError("a market needs at least one symbol")
        self._symbols = tuple((name, SYMBOLS.get(name, 100.0)) for name in symbols)

    def __call__(self, n: int) -> str:
        turn, index = divmod(n - 1, len(self._symbols))
        symbol, middle = self._symbols[index]
        cycle, place = divmod(turn, 4)
        price = middle * (1 + 0.002 * math.sin(turn / 50)) + (n * 7919 % 21 - 10) / 100
        quantity = (n * 104_729 % 997 + 1) / 1000
        if place < 3:
            return (
                f'{{"e":"trade","s":"{symbol}","p":"{price:.2f}","q":"{quantity:.3f}",'
                f'"t":{3 * cycle + place + 1},"n":{n}}}'
            )
        return (
            f'{{"e":"quote","s":"{symbol}","b":"{price - 0.1:.2f}","B":"{quantity:.3f}",'
            f'"a":"{price + 0.1:.2f}","A":"{quantity / 2:.3f}","n":{n}}}'
        )


@dataclasses.dataclass(frozen=True)
class FeedLog:
    """Which numbers a feed has sent.

    Attributes:
        numbers: all of them, also those that nobody was connected for.
        connections: for each connection, by its number, those that were written to it; they
            follow one another without a hole. What the network did with them, no log can say.
    """

    numbers: range
    connections: Mapping[int, range]

    def to_json(self) -> dict[str, Any]:
        """Return it as data for JSON: ``[first, last]`` for each range, ``None`` if empty."""
        return {
            "numbers": _ends(self.numbers),
            "connections": {str(number): _ends(r) for number, r in self.connections.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FeedLog:
        """Undo `to_json`."""
        return cls(
            _range(data["numbers"]),
            {int(number): _range(ends) for number, ends in data["connections"].items()},
        )


def _ends(numbers: range) -> list[int] | None:
    return [numbers[0], numbers[-1]] if numbers else None


def _range(ends: Sequence[int] | None) -> range:
    return range(ends[0], ends[1] + 1) if ends else range(1, 1)


class Feed:
    """Sends numbered messages at a rate; made by `Server.feed`.

    The schedule is kept on the event loop's clock: what became due while the loop was busy is
    sent afterwards, so that the rate holds. Above 1,000 a second, several are sent at a time.
    """

    def __init__(
        self,
        rate: float,
        make: Callable[[int], Raw],
        emit: Callable[[Sequence[Raw]], None],
        next_number: Callable[[], int],
    ) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be positive, not {rate!r}")
        self._rate = rate
        self._make = make
        self._emit = emit
        self._next_number = next_number
        self._going = asyncio.Event()
        self._since = 0.0
        self._sent = 0
        self._stopped = False
        self.task: asyncio.Task[None] | None = None
        self.resume()

    @property
    def active(self) -> bool:
        """Whether it was neither stopped nor failed."""
        return not self._stopped and self.task is not None and not self.task.done()

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return not self._going.is_set()

    def pause(self) -> None:
        """Send nothing, from now until `resume`; no number is skipped."""
        self._going.clear()

    def resume(self) -> None:
        """Go on, with the next number and at the same rate."""
        if self.paused:
            self._since, self._sent = asyncio.get_running_loop().time(), 0
            self._going.set()

    def stop(self) -> None:
        """Send nothing any more. Idempotent."""
        self.pause()
        self._stopped = True
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Send, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._going.wait()
            due = int((loop.time() - self._since) * self._rate) + 1 - self._sent
            if due > 0:
                first, count = self._next_number(), min(due, _BATCH)
                self._emit([self._make(n) for n in range(first, first + count)])
                self._sent += count
            if due > _BATCH:
                await asyncio.sleep(0)
            else:
                wait = self._since + self._sent / self._rate - loop.time()
                await asyncio.sleep(max(wait, _TICK))


def frame(raw: Raw) -> bytes:
    """Return the bytes of one whole, unmasked websocket message (RFC 6455, section 5.2)."""
    data, opcode = (raw.encode(), 0x81) if isinstance(raw, str) else (raw, 0x82)
    size = len(data)
    if size < 126:
        return bytes((opcode, size)) + data
    if size < 65_536:
        return bytes((opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((opcode, 127)) + size.to_bytes(8, "big") + data
