"""Walks through the life of a websocket in virtual time: what may be done, what was promised.

Who walks decides what is done next: chance (``test_stress``), or hypothesis (``test_stateful``).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import rxws
from tests.peers import Peer
from tests.virtual import COMPLETED, turns

EXIT = 1.0
"""The ``exit_timeout`` of every walk."""

EXPECTED = (LookupError, rxws.RxwsError)
"""What may be reported: what a consumer of ours raised, and sends that were not possible."""

HANDOVER = rxws.MakeBeforeBreak(overlap=0.3, drain=0.3, window=2.0)

MOST_LINKS = 2


class Seen:
    """What one consumer saw, and where in what the first consumer saw it began and ended."""

    def __init__(self, walk: Walk, passes: Callable[[Any], bool] = lambda _: True) -> None:
        self.walk = walk
        self.passes = passes
        self.items: list[Any] = []
        self.ends: list[Any] = []
        self.begin = len(walk.reference)
        self.end: int | None = None
        self.may_lag = False

    def on_next(self, message: Any) -> None:
        assert not self.ends, "an item after the end"
        assert self.end is None, "an item after the disposal"
        self.items.append(message["n"])

    def on_error(self, error: Exception) -> None:
        self.ends.append(error)

    def on_completed(self) -> None:
        self.ends.append(COMPLETED)

    def stop(self) -> None:
        """Nothing more is expected."""
        self.end = len(self.walk.reference)

    def check(self) -> None:
        """Every consumer sees every message that it asked for, in the one order."""
        wanted = self.walk.reference[self.begin : self.end]
        expected = [message["n"] for message in wanted if self.passes(message)]
        if self.may_lag:
            expected = expected[: len(self.items)]
        assert self.items == expected
        assert self.ends in ([], [COMPLETED])


class Walk:
    """One websocket, its peer, its consumers, and all that may be done.

    Args:
        chance: decides the details of what is done.
        peer: the other side.
        options: of the websocket; messages are told apart by ``key`` unless they say otherwise.
    """

    def __init__(self, chance: random.Random, peer: Peer, **options: Any) -> None:
        self.random = chance
        self.peer = peer
        settings = {
            "handover": HANDOVER,
            "backoff": rxws.Backoff(initial=0.2, maximum=0.5),
            "exit_timeout": EXIT,
            "heartbeat": None,
        } | options
        if "sequence" not in settings:
            settings["key"] = lambda message: message["n"]
        self.ws: rxws.ReactiveWebSocket[Any] = rxws.connect(
            "ws://fake", transport=self.peer, **settings
        )
        self.reference: list[Any] = []
        self.places: list[Any] = []
        self.events: list[rxws.Event] = []
        self.consumers: list[Seen] = []
        self.disposables: list[tuple[Any, Seen]] = []
        self.readers: list[tuple[asyncio.Task[None], Any]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.sent: list[int] = []
        self.topics: list[Any] = []
        self.count = 0
        self.depth = 0
        self.ws.subscribe(self._saw)
        self.gapped = self.ws.stream_filter().with_gaps()
        self.gapped.subscribe(self.places.append)
        self.ws.events.subscribe(self._happened)

    def interruption(self, likelihood: float) -> Callable[[], None] | None:
        """Return what is to be done right now, in the midst of a delivery or an event."""
        return None

    def _interrupt(self, likelihood: float) -> None:
        action = None if self.depth else self.interruption(likelihood)
        if action is not None:
            self.depth += 1
            try:
                action()
            finally:
                self.depth -= 1

    def _saw(self, message: Any) -> None:
        self.reference.append(message)
        self._interrupt(0.08)

    def _happened(self, event: rxws.Event) -> None:
        assert not any(isinstance(e, rxws.Closed) for e in self.events), "an event after Closed"
        self.events.append(event)
        self.peer.look()
        self._interrupt(0.15)

    # What may be done, from anywhere

    def inside(self) -> list[Callable[[], None]]:
        """Return the actions that may be taken in the midst of a delivery."""
        return [
            self.subscribe,
            self.subscribe_filtered,
            self.dispose,
            self.post,
            self.send,
            self.rotate,
            self.request,
            self.join,
            self.leave,
            self.handle,
            self.raise_error,
        ]

    def subscribe(self) -> None:
        seen = Seen(self)
        self.disposables.append((self.ws.subscribe(seen), seen))
        self.consumers.append(seen)

    def subscribe_filtered(self) -> None:
        even = self.random.random() < 0.5
        seen = Seen(self, lambda message: message.get("even") is even)
        stream = self.ws.stream_filter([{"even": even}])
        self.disposables.append((stream.subscribe(seen), seen))
        self.consumers.append(seen)

    def handle(self) -> None:
        seen = Seen(self)
        pause = self.random.choice([0.0, 0.0, 0.001])

        async def handler(message: Any) -> None:
            await asyncio.sleep(pause)
            seen.items.append(message["n"])

        self.ws.add_handler(handler, capacity=None)
        seen.may_lag = True
        self.consumers.append(seen)

    def raise_error(self) -> None:
        fails = [True]

        def raising(_: Any) -> None:
            if fails:
                fails.pop()
                raise LookupError

        self.ws.add_handler(raising)

    def dispose(self) -> None:
        if self.disposables:
            at = self.random.randrange(len(self.disposables))
            disposable, seen = self.disposables.pop(at)
            disposable.dispose()
            # In the midst of a delivery it may have been, or not have been, its turn already.
            seen.stop()
            if self.depth:
                seen.may_lag = True

    def post(self) -> None:
        self.ws.on_next(self.numbered())

    def send(self) -> None:
        async def send() -> None:
            await self.ws.send(self.numbered())

        self.spawn(send())

    def numbered(self) -> Any:
        self.count += 1
        self.sent.append(self.count)
        return {"sent": self.count}

    def request(self) -> None:
        self.count += 1
        number = self.count

        async def ask() -> None:
            reply = await self.ws.request({"ask": number}, [{"reply": number}], timeout=5)
            assert reply["reply"] == number

        self.spawn(ask())

    def join(self) -> None:
        self.count += 1
        topic = self.ws.multiplex({"join": self.count}, {"part": self.count}, [{"even": True}])
        seen = Seen(self, lambda message: message.get("even") is True)
        self.topics.append((topic.subscribe(seen), seen))
        self.consumers.append(seen)

    def leave(self) -> None:
        if self.topics:
            disposable, seen = self.topics.pop()
            disposable.dispose()
            seen.stop()
            if self.depth:
                seen.may_lag = True

    def rotate(self) -> None:
        self.ws.rotate()

    def feed(self) -> None:
        self.peer.feed(self.random.choice([1, 2, 5, 40]))

    def read(self, overflow: rxws.Overflow = rxws.Overflow.ERROR, capacity: int = 10_000) -> None:
        seen = Seen(self)
        seen.may_lag = True
        stream = self.ws.stream_filter().buffered(capacity=capacity, overflow=overflow)
        pause = self.random.choice([0.0, 0.002, 0.02])

        async def read() -> None:
            async for message in stream:
                seen.items.append(message["n"])
                await asyncio.sleep(pause)

        self.consumers.append(seen)
        self.readers.append((self.spawn(read()), stream))

    def read_blocking(self) -> None:
        self.read(rxws.Overflow.BLOCK, self.random.choice([1, 2, 7]))

    def stop_reading(self) -> None:
        if self.readers:
            task, stream = self.readers.pop(self.random.randrange(len(self.readers)))
            if self.random.random() < 0.5:
                task.cancel()
            self.spawn(stream.close())

    def lose(self) -> None:
        if self.peer.alive:
            code = self.random.choice([None, 1000, 1001, 1011])
            self.random.choice(self.peer.alive).lose(code)

    def stall(self) -> None:
        """Let the other side take nothing for a while."""
        if self.peer.alive:
            link = self.random.choice(self.peer.alive)
            link.stall()
            asyncio.get_running_loop().call_later(self.random.uniform(0, 3), link.unstall)

    def refuse(self) -> None:
        self.peer.refuse(times=self.random.randrange(1, 3))

    def hold_dials(self) -> None:
        self.peer.hold()
        loop = asyncio.get_running_loop()
        loop.call_later(self.random.uniform(0, 0.5), self.peer.release)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    async def leave_all(self) -> None:
        """Exit, several times at once, some of them cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        exits = [loop.create_task(self.ws.exit()) for _ in range(3)]
        await asyncio.sleep(0)
        exits[1].cancel()
        await asyncio.gather(*exits, return_exceptions=True)
        assert loop.time() - began <= EXIT + 0.5
        results = await asyncio.wait_for(
            asyncio.gather(*self.tasks, return_exceptions=True), timeout=1_000
        )
        expected = rxws.RxwsError | asyncio.CancelledError | None
        assert all(isinstance(result, expected) for result in results), results
        await turns()
        left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert not left

    # What was promised

    def check_state(self) -> None:
        """The state is what the events say."""
        state, live = rxws.State.CONNECTING, False
        for event in self.events:
            match event:
                case rxws.Connected():
                    state = rxws.State.ROTATING if live else rxws.State.OPEN
                    live = True
                case rxws.Rotating():
                    state = rxws.State.ROTATING
                case rxws.Connecting() if live:
                    state = rxws.State.ROTATING
                case rxws.Rotated() | rxws.RotationFailed():
                    state, live = rxws.State.OPEN, True
                case rxws.Disconnected():
                    state, live = rxws.State.RECONNECTING, False
                case rxws.Closed():
                    state = rxws.State.CLOSED
                case _:
                    pass
        assert self.ws.state is state

    def check_settled(self) -> None:
        """After a long rest it is open, on one connection, and has sent all that was queued."""
        assert self.ws.state is rxws.State.OPEN
        assert len(self.peer.alive) == 1
        assert self.ws.present_ws is self.peer.alive[0]

    def check(self) -> None:
        """Nothing was lost, doubled or reordered outside of a gap, for anybody."""
        closed = [event for event in self.events if isinstance(event, rxws.Closed)]
        assert closed == [self.events[-1]]
        assert self.peer.most_open <= MOST_LINKS
        assert not self.peer.alive
        self.check_feed()
        for seen in self.consumers:
            seen.check()
        self.check_sends()
        self.check_topics()

    def check_feed(self) -> None:
        gaps = [item for item in self.places if isinstance(item, rxws.Gap)]
        told = [event for event in self.events if isinstance(event, rxws.Gap)]
        # One that was being filled when the streams ended is an event only.
        assert len(told) - 1 <= len(gaps) <= len(told) == self.ws.stats().gaps
        assert len({gap.epoch for gap in gaps}) == len(gaps), "a break was told twice"
        numbers = [m["n"] for m in self.reference if isinstance(m["n"], int)]
        assert numbers == sorted(set(numbers)), "doubled or out of order"
        assert [i for i in self.places if not isinstance(i, rxws.Gap)] == self.reference
        last, gap_since = None, True  # what came before the first connection is nobody's loss
        for item in self.places:
            if isinstance(item, rxws.Gap):
                gap_since = True
            elif isinstance(item["n"], int):
                if last is not None and item["n"] != last + 1:
                    assert gap_since, f"{last} to {item['n']} without a gap"
                last, gap_since = item["n"], False

    def check_sends(self) -> None:
        arrived = [message["sent"] for message in self.peer.received if "sent" in message]
        assert len(arrived) == len(set(arrived)), "sent twice"
        assert arrived == sorted(arrived), "sent out of order"
        assert set(arrived) <= set(self.sent)

    def check_topics(self) -> None:
        """No connection is told of a topic twice, nor of the end of one that it did not know."""
        for link in self.peer.links:
            known: set[int] = set()
            for raw in link.sent:
                message = json.loads(raw)
                if "join" in message:
                    assert message["join"] not in known
                    known.add(message["join"])
                elif "part" in message:
                    known.remove(message["part"])
