"""What the tests of continuity share: a numbered feed in virtual time, and what came out of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

import rxws
from rxws.testing import FakeLink
from tests.virtual import Peer, turns

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=60)

_E = TypeVar("_E", bound=rxws.Event)


def number_of(message: Any) -> int:
    """Return the number of a message: for ``key=`` and ``sequence=``."""
    number: int = message["n"]
    return number


def part_of(message: Any) -> str:
    """Return the partition of a message: for ``partition=``."""
    part: str = message["p"]
    return part


def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()


def give(link: FakeLink, *numbers: int, part: str | None = None) -> None:
    """Let numbered messages arrive on a connection."""
    more = {} if part is None else {"p": part}
    link.deliver(*[json.dumps({**more, "n": number}) for number in numbers])


async def becomes(condition: Callable[[], bool], timeout: float = 100.0) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 (whatever it looks at, it tells nobody)
            await asyncio.sleep(0.01)


async def link_of(peer: Peer, number: int) -> FakeLink:
    """Wait for the ``number``-th connection, counting from 1."""
    await becomes(lambda: len(peer.links) >= number)
    return peer.links[number - 1]


class Seen:
    """What a websocket told from now on: messages and gaps as they came, and events."""

    def __init__(self, ws: rxws.ReactiveWebSocket[Any]) -> None:
        self.items: list[Any] = []
        self.events: list[rxws.Event] = []
        self.moments: list[float] = []
        ws.stream_filter().with_gaps().subscribe(self._note)
        ws.events.subscribe(self.events.append)

    def _note(self, item: Any) -> None:
        self.items.append(item)
        self.moments.append(now())

    @property
    def line(self) -> list[Any]:
        """The numbers, with ``"gap"`` where there was one."""
        return ["gap" if isinstance(item, rxws.Gap) else item["n"] for item in self.items]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the messages."""
        return [item["n"] for item in self.items if not isinstance(item, rxws.Gap)]

    def numbers_in(self, part: str) -> list[int]:
        """The numbers of one partition."""
        return [
            item["n"] for item in self.items if not isinstance(item, rxws.Gap) and item["p"] == part
        ]

    @property
    def gaps(self) -> list[rxws.Gap]:
        """The gaps in the stream; they have to be those of the events."""
        gaps = [item for item in self.items if isinstance(item, rxws.Gap)]
        assert gaps == self.of(rxws.Gap)
        return gaps

    def of(self, kind: type[_E]) -> list[_E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def whole(numbers: list[int], first: int, last: int) -> None:
    """Fail unless the numbers are all from first to last: none lost, doubled or out of order."""
    assert numbers == list(range(first, last + 1))


class Feed:
    """Sends numbered messages to every open connection, each with a lag of its own.

    Attributes:
        last: the number that was sent last, counting from 0.
        muted: connections that are sent nothing.
    """

    def __init__(
        self,
        peer: Peer,
        rate: float,
        lag: Callable[[FakeLink], float] = lambda _: 0.0,
        make: Callable[[int], str] = lambda number: json.dumps({"n": number}),
    ) -> None:
        self.last = -1
        self.muted: set[FakeLink] = set()
        self._peer = peer
        self._rate = rate
        self._lag = lag
        self._make = make
        self._due: dict[FakeLink, float] = {}
        self._on_their_way: dict[FakeLink, deque[str]] = {}
        self._stalled: dict[FakeLink, list[str]] = {}

    def stall(self, link: FakeLink) -> None:
        """Let nothing arrive on a connection, nor leave it, until `heal`."""
        self._stalled[link] = []
        link.answer_pings = link.answer_close = False

    def heal(self, link: FakeLink) -> None:
        """Let all arrive that was held up."""
        link.answer_pings = link.answer_close = True
        link.deliver(*self._stalled.pop(link))
        if link.closed is not None:
            link.lose(*link.closed)

    async def run(self) -> None:
        """Send until cancelled."""
        for number in itertools.count():
            await asyncio.sleep(1 / self._rate)
            self.last = number
            raw = self._make(number)
            for link in self._peer.links:
                if link not in self.muted and link.is_open:
                    self._send(link, raw)

    def _send(self, link: FakeLink, raw: str) -> None:
        lag = self._lag(link)
        if link in self._stalled:
            self._stalled[link].append(raw)
            return
        if not lag and link not in self._due:
            link.deliver(raw)
            return
        # Nothing overtakes on one connection, nor do timers of one moment.
        due = max(now() + lag, self._due.get(link, 0.0))
        self._due[link] = due
        on_its_way = self._on_their_way.setdefault(link, deque())
        on_its_way.append(raw)
        asyncio.get_running_loop().call_at(due, lambda: link.deliver(on_its_way.popleft()))


@contextlib.asynccontextmanager
async def feeding(feed: Feed) -> AsyncIterator[Feed]:
    """Let a feed run inside."""
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def rows(numbers: Iterable[int]) -> list[dict[str, int]]:
    """Return numbered messages."""
    return [{"n": number} for number in numbers]


def bringing(numbers: Iterable[int], seconds: float = 1.0) -> Callable[[rxws.Gap], Awaitable[Any]]:
    """Return a ``resync`` that brings these, after a while."""

    async def resync(gap: rxws.Gap) -> list[dict[str, int]]:
        await asyncio.sleep(seconds)
        return rows(numbers)

    return resync


async def broken(peer: Peer, *before: int) -> FakeLink:
    """Deliver this, lose the connection, and return the next one when it is live."""
    give(peer.last, *before)
    number = len(peer.links)
    peer.last.lose(error=ConnectionResetError())
    link = await link_of(peer, number + 1)
    await turns()
    return link


async def second_of(ws: rxws.ReactiveWebSocket[Any], peer: Any) -> FakeLink:
    """Rotate, and return the successor once it is ready."""
    ws.rotate()
    link: FakeLink = await link_of(peer, 2)
    await turns()
    return link
