"""One soak: the client, its rotations, the faults in turn, and what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable
from typing import Any

import rxws
from tests.children import Child
from tests.counting import CountingLoop, resident
from tests.soak.consumers import SLOW, Consumers
from tests.soak.faults import FAULTS
from tests.soak.feed import identity
from tests.soak.oracle import judge
from tests.soak.spans import Spans

__all__ = ["Result", "Settings", "Soak"]

_MOST_SOCKETS = 2
_MOST_GROWTH = 64.0  # MB, after the first third
_FAULT_EVERY = 5.0
_AFTERMATH = 1.0  # seconds in which what a fault did may still show
_SETTLE = 60.0  # seconds in which all that was sent has come, on any machine
_TICK = 0.005


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is asked for; see ``--help``."""

    seconds: float = 90.0
    rate: float = 2000.0
    rotate: float = 1.0
    overlap: float = 0.3
    seed: int = 0
    faults: bool = True
    identity: str = "key"
    every: float = _FAULT_EVERY


@dataclasses.dataclass
class Result:
    """What came of it.

    Attributes:
        wrong: what is not as promised, in words.
        notes: figures, in words.
    """

    wrong: list[str]
    notes: list[str]


class Soak:
    """One run.

    Args:
        settings: what is asked for.
        say: takes a line of progress about once a second.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._random = random.Random(settings.seed)
        self._world = Child(
            "tests.soak.world",
            f"--rate={settings.rate!r}",
            f"--nodes={2 if settings.faults else 0}",
            f"--seed={settings.seed}",
        )
        self._ws: rxws.ReactiveWebSocket[Any] = rxws.connect(
            self._next_url,
            handover=rxws.MakeBeforeBreak(overlap=settings.overlap, drain=1.0),
            heartbeat=rxws.Heartbeat(interval=0.5, timeout=1.0),
            backoff=rxws.Backoff(initial=0.05, maximum=0.5, stable=1.0),
            open_timeout=1.5,
            ready_timeout=1.5,
            **identity(settings.identity),
        )
        self._consumers = Consumers(self._ws)
        self._dials = 0
        self._fault = ""
        self._made = 0
        self._late, self._work = Spans(), Spans()
        self._unmatched = 0
        self._failures: list[str] = []
        self._began = 0.0

    async def run(self) -> Result:
        """Run, and judge."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        loop.set_exception_handler(self._reported)
        self._ws.events.subscribe(self._happened)
        self._consumers.start()
        async with self._world, self._ws:
            self._began = time.monotonic()
            await self._world.ask("resume")
            memory = await self._go_on()
            sent = (await self._world.ask("pause"))["sent"]
            await self._settle(sent)
            stats = self._ws.stats()
            await self._ws.exit()
            await self._consumers.ended()
        wrong = [*self._failures, *judge(self._consumers.lines, sent, self._consumers.partial)]
        if loop.most_open > _MOST_SOCKETS:
            wrong.append(f"{loop.most_open} sockets were open at once")
        if loop.open_now:
            wrong.append(f"{loop.open_now} sockets are left open")
        if memory > _MOST_GROWTH:
            wrong.append(f"memory grew by {memory:.1f} MB")
        return Result(wrong, self._notes(stats, sent, memory, loop.most_open))

    def _next_url(self) -> str:
        """Return the URL of one node after the other."""
        self._dials += 1
        urls: list[str] = self._world.greeting["urls"]
        return urls[self._dials % len(urls)]

    # While it runs

    async def _go_on(self) -> float:
        """Rotate and hurt for as long as asked; returns by how much the memory grew."""
        settings = self._settings
        # What a fault has cost shows by what comes after it.
        calm = min(settings.seconds / 4, 3.0)
        busy = [
            asyncio.create_task(self._rotate()),
            asyncio.create_task(self._tell()),
            asyncio.create_task(self._look()),
        ]
        hurting = asyncio.create_task(self._hurt(settings.seconds - calm))
        try:
            await asyncio.sleep(settings.seconds / 3)
            before = resident()
            await asyncio.sleep(self._began + settings.seconds - time.monotonic())
            await hurting
            await self._recovered()
            await asyncio.sleep(min(calm, _AFTERMATH))
        finally:
            for task in (*busy, hurting):
                task.cancel()
            await asyncio.wait([*busy, hurting])
        for task in busy:
            if not task.cancelled():
                task.result()
        return resident() - before

    async def _rotate(self) -> None:
        while self._settings.rotate:
            await asyncio.sleep(self._settings.rotate)
            self._ws.rotate("it is time")

    async def _hurt(self, seconds: float) -> None:
        """Make all the faults, in an order of chance, again and again."""
        until = self._began + seconds
        turn: list[str] = []
        while self._settings.faults:
            await asyncio.sleep(self._settings.every * self._random.uniform(0.5, 1))
            if time.monotonic() >= until:
                return
            if not turn:
                turn = [*FAULTS, *SLOW]
                self._random.shuffle(turn)
            await self._make(turn.pop(), self._random.getrandbits(32))

    async def _make(self, name: str, seed: int) -> None:
        self._made += 1
        self._fault = f"{name} ..."
        self._consumers.pulse.is_faulty(True)
        if name in SLOW:
            detail = await self._consumers.hurt(name, seed)
        else:
            detail = (await self._world.ask("hurt", name=name, seed=seed))["detail"]
        self._fault = f"{name} {detail}"
        await self._recovered()
        await asyncio.sleep(_AFTERMATH)
        self._consumers.pulse.is_faulty(False)

    async def _recovered(self) -> None:
        until = time.monotonic() + _SETTLE
        while self._ws.state not in (rxws.State.OPEN, rxws.State.ROTATING):
            if time.monotonic() >= until:
                self._failures.append(f"not open again after {self._fault}: {self._ws.state}")
                return
            await asyncio.sleep(0.01)

    async def _settle(self, sent: dict[str, int]) -> None:
        """Wait until all has come that was sent, and everybody has seen it."""
        observer = self._consumers.observer
        until = time.monotonic() + _SETTLE
        while observer.last != sent or not self._consumers.is_even:
            if time.monotonic() >= until:
                return  # the judge will say what is missing
            await asyncio.sleep(0.01)

    async def _look(self) -> None:
        """Measure how late this very loop is, and how much of that was work of this process."""
        while True:
            due, worked = time.monotonic() + _TICK, time.process_time()
            await asyncio.sleep(_TICK)
            late = max(time.monotonic() - due, 0.0)
            self._late.add(late)
            self._work.add(min(late, time.process_time() - worked))

    async def _tell(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(1)
            count, before = self._consumers.observer.count, count
            pulse, told, stats = self._consumers.pulse, self._consumers.told, self._ws.stats()
            silence, pulse.lately = pulse.lately, 0.0
            fault, self._fault = self._fault, self._fault if "..." in self._fault else ""
            self._say(
                f"{time.monotonic() - self._began:5.0f} s  {count - before:6,}/s {count:9,}  "
                f"rotations {stats.rotations:3}  gaps {len(told.places):3} ({told.lost:,} missing)"
                f"  wrong {sum(line.wrong for line in self._consumers.lines)}  "
                f"silence {silence * 1000:4.0f} ms  {self._ws.state.value}  {fault}"
            )

    def _happened(self, event: rxws.Event) -> None:
        match event:
            case rxws.Rotating():
                self._consumers.pulse.rotates(True)
            case rxws.Rotated():
                self._consumers.pulse.rotates(False)
                self._unmatched += not event.matched
            case rxws.RotationFailed() | rxws.Disconnected():
                self._consumers.pulse.rotates(False)
            case rxws.ConsumerFailed() if not isinstance(event.error, LookupError):
                self._failures.append(f"unexpected: {event!r}")
            case rxws.Closed() if event.error is not None:
                self._failures.append(f"ended for good: {event.error!r}")
            case _:
                pass

    def _reported(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), LookupError):
            self._failures.append(f"reported to the loop: {context}")

    # Afterwards

    def _notes(
        self, stats: rxws.Stats, sent: dict[str, int], memory: float, sockets: int
    ) -> list[str]:
        observer, told = self._consumers.observer, self._consumers.told
        pulse, consumers = self._consumers.pulse, len(self._consumers.lines)
        return [
            f"sent {sum(sent.values()):,}; delivered {observer.count:,}, to each of {consumers}",
            f"rotations {stats.rotations}, of which nothing matched {self._unmatched}",
            f"reconnects {stats.reconnects}, dials {self._dials}",
            f"faults {self._made}, gaps {len(told.places)} with {told.lost:,} missing",
            f"doubled or out of order {sum(line.wrong for line in self._consumers.lines)}",
            f"silence while rotating   {pulse.rotating}",
            f"silence otherwise        {pulse.calm}",
            f"silence with a fault on  {pulse.faulty}",
            f"  more than in the feed  {pulse.added}",
            f"from made to delivered   {pulse.delays}",
            f"lateness of this loop    {self._late}",
            f"  by work of its own     {self._work}",
            f"sockets at most {sockets}, memory {resident():.0f} MB, grown by {memory:.1f} MB",
        ]
