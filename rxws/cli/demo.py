"""``rxws demo``: one connection, several streams, rotations, and the proof that none lost anything.

The feed comes from another process of this machine. Each of its messages has a number, and its
server keeps a log of what it sent.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import operator
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import rxws
from rxws.cli.consumers import Consumer, Verdict, attach, expect, judge
from rxws.cli.screen import Lines, make_screen
from rxws.cli.telling import counted, describe
from rxws.testing import FeedLog, ServerProcess

__all__ = ["DemoOptions", "run_demo"]

_STUCK = 5.0
"""Seconds without any message after which we no longer wait for the last ones."""


@dataclasses.dataclass(frozen=True)
class DemoOptions:
    """How to show it.

    Attributes:
        seconds: how long.
        rotate: seconds from one rotation to the next.
        rate: messages a second.
    """

    seconds: float = 12.0
    rotate: float = 3.0
    rate: float = 500.0

    @property
    def overlap(self) -> float:
        """Seconds for which two connections are open in a rotation."""
        return min(0.5, self.rotate / 4)

    @property
    def rotates(self) -> bool:
        """Whether there is time for a rotation."""
        return self.seconds >= self.rotate + self.overlap + 1.0


async def run_demo(options: DemoOptions) -> int:
    """Show it; returns the exit code."""
    try:
        async with ServerProcess(rate=options.rate) as server:
            with make_screen() as screen:
                return await _Demo(options, server, screen).run()
    except ConnectionError as error:
        if isinstance(error, BrokenPipeError):
            raise  # of our own output
        print(f"rxws: the feed of the demo ended: {error}", file=sys.stderr)
    except rxws.RxwsError as error:
        print(f"rxws: {error}", file=sys.stderr)
    return 1


class _Demo:
    def __init__(self, options: DemoOptions, server: ServerProcess, screen: Lines) -> None:
        self._options = options
        self._server = server
        self._screen = screen
        self._told: deque[str] = deque()
        self._epoch = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._ws: rxws.ReactiveWebSocket[Any] = rxws.connect(
            server.url,
            key=lambda message: message["n"],
            rotate_on=rxws.every(options.rotate),
            handover=rxws.MakeBeforeBreak(overlap=options.overlap),
            proxy=None,
        )
        self._consumers: list[Consumer] = []
        self._began = 0.0

    async def run(self) -> int:
        options = self._options
        events = self._ws.events.subscribe(self._on_event)
        self._consumers = attach(self._ws, self._spawn)
        self._screen.say(
            f"one connection to {self._server.url}, {counted(len(self._consumers), 'stream')}, "
            f"{options.rate:g} messages a second, a rotation every {options.rotate:g} s"
        )
        try:
            async with self._ws:
                self._began = time.monotonic()
                try:
                    await self._show_for(options.seconds)
                except asyncio.CancelledError:
                    self._screen.say("interrupted")  # a second time it ends without a summary
                seconds = time.monotonic() - self._began
                log = await self._server.pause()
                await self._receive_all(log)
                self._show()
                stats = self._ws.stats()
            await asyncio.gather(*self._tasks)  # the iterations, which end with the websocket
        finally:
            events.dispose()
        return await self._sum_up(log, stats, seconds)

    def _spawn(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    # While it runs

    def _on_event(self, event: rxws.Event) -> None:
        # Printed by _show: an observer of events is no place to find out that nobody reads.
        match event:
            case rxws.Connected(epoch) if self._epoch == 0:
                self._epoch = epoch
            case rxws.Connected():
                return
            case rxws.Rotated(new=new):
                self._epoch = new
                self._told.append(self._rotation(event))
                return
            case _:
                pass
        text = describe(event, str)
        if text is not None:
            self._told.append(text)

    def _rotation(self, event: rxws.Rotated) -> str:
        return (
            f"rotation {self._ws.stats().rotations}: connection {event.old} -> {event.new}, "
            f"overlap {event.overlap:.1f} s, {counted(event.duplicates, 'duplicate')} removed, "
            f"{self._missing()} lost"
        )

    def _missing(self) -> int:
        """How many of the numbers up to the last have not come; every number is to come."""
        numbers = self._consumers[0].numbers
        return numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0

    async def _show_for(self, seconds: float) -> None:
        end = self._began + seconds
        while (left := end - time.monotonic()) > 0:
            self._show()
            await asyncio.sleep(min(left, self._screen.interval))

    def _show(self) -> None:
        while self._told:
            self._screen.say(self._told.popleft())
        self._screen.show(self._table, self._status())

    def _status(self) -> str:
        stats, seconds = self._ws.stats(), time.monotonic() - self._began
        count = len(self._consumers[0].numbers)
        return (
            f"{seconds:4.1f} s  {count} messages  connection {self._epoch} "
            f"{self._ws.state.value}  {counted(stats.rotations, 'rotation')}  "
            f"{stats.duplicates} duplicates removed  {self._missing()} lost"
        )

    def _table(self) -> list[str]:
        rows = [f"{'stream':<22}{'by':<15}{'messages':>9}   now"]
        rows += [
            f"{each.name:<22}{each.kind:<15}{len(each.numbers):>9}   {each.shows}"
            for each in self._consumers
        ]
        return ["", *rows, ""]

    async def _receive_all(self, log: FeedLog) -> None:
        """Wait for what the server has sent, for as long as something comes."""
        received, sent = self._consumers[0].numbers, _sent(log)
        count, since, shown = len(received), time.monotonic(), time.monotonic()
        while sent and not (received and received[-1] >= sent[-1]):
            await asyncio.sleep(0.01)
            now = time.monotonic()
            if len(received) > count:
                count, since = len(received), now
            elif now - since > _STUCK:
                break
            if now - shown > self._screen.interval:
                shown = now
                self._show()

    # At the end

    async def _sum_up(self, log: FeedLog, stats: rxws.Stats, seconds: float) -> int:
        self._screen.settle()
        sent = _sent(log)
        began = time.monotonic()
        for number in expect(self._consumers, sent):
            await asyncio.sleep(0)
            if time.monotonic() - began > 1:
                began = time.monotonic()
                self._screen.say(f"checked {number - sent.start} of {len(sent)} messages")
        verdicts = [judge(each.expected, each.numbers) for each in self._consumers]
        for line in self._summary(sent, stats, seconds, verdicts):
            self._screen.say(line)
        missed = self._options.rotates and stats.rotations == 0
        return 1 if any(verdicts) or missed else 0

    def _summary(
        self, sent: range, stats: rxws.Stats, seconds: float, verdicts: list[Verdict]
    ) -> Iterator[str]:
        numbers = f"numbers {sent[0]} to {sent[-1]}" if sent else "nothing was sent"
        yield ""
        yield f"after {seconds:.1f} s, compared with the server's own log ({numbers}):"
        total = functools.reduce(operator.or_, verdicts)
        yield (
            f"messages {len(self._consumers[0].numbers)} of {len(sent)}, "
            f"streams {len(verdicts)}, rotations {stats.rotations}, {total}"
        )
        equal = sum(not verdict for verdict in verdicts)
        yield (
            f"{equal} of {len(verdicts)} streams equal the filter of everything that was sent; "
            f"{counted(stats.duplicates, 'duplicate')} removed"
        )
        for consumer, verdict in zip(self._consumers, verdicts, strict=True):
            if verdict:
                yield (
                    f"  {consumer.name} by {consumer.kind}: {verdict}, "
                    f"not asked for {len(verdict.uncalled_for)}"
                )


def _sent(log: FeedLog) -> range:
    """The numbers from the first that we were sent to the last that there are."""
    ours = [numbers for numbers in log.connections.values() if numbers]
    return range(min(numbers.start for numbers in ours), log.numbers.stop) if ours else range(0)
