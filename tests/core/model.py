"""A model of servers and connections, in virtual time, to check what a rotation delivers.

Two nodes send the events of one feed, each event at a moment of its own; each connection is to
one of them and lags as it likes. Nothing here knows of asyncio: a trial is a list of moments.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from rxws.core.handover import Handover, Held, Spliced
from rxws.core.numbering import Hole

QUIET = 0.04  # seconds of silence after which a predecessor counts as drained


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """An event of a feed; ``fed`` counts the events of its partition, whatever its number."""

    partition: int
    fed: int
    number: int
    payload: str
    at: float


class Cut(enum.Enum):
    """When the predecessor is lost, without an end, and with what is on its way."""

    NEVER = enum.auto()
    BEFORE = enum.auto()  # its successor is ready
    AFTER = enum.auto()


@dataclasses.dataclass(slots=True, kw_only=True)
class Settings:
    """What a trial draws from.

    Attributes:
        skew: seconds by which the nodes send one event apart, at most.
        lag, jitter: seconds on the way, at most.
        overlap: seconds from the successor's readiness to the predecessor's close.
        partitions: at most so many.
        repeated: how probable it is that an event has one of two payloads, not its own.
        rotations: at most so many in a row, and at least one unless it is 0.
        quiet: whether silence while it drains ends the predecessor's time.
        greeting: whether a successor may begin with a payload of its own.
        restart: whether the numbers of each partition start again somewhere.
        cut: whether the predecessor of the last rotation is lost.
    """

    skew: float = 1.0
    lag: float = 0.3
    jitter: float = 0.03
    overlap: float = 1.0
    partitions: int = 4
    repeated: float = 0.0
    rotations: int = 2
    quiet: bool = False
    greeting: bool = False
    restart: bool = False
    cut: Cut = Cut.NEVER


def key_of(message: Message) -> tuple[int, int]:
    """The identity of a message."""
    return message.partition, message.fed


class Outcome:
    """What a trial came to.

    Attributes:
        lost: the events that were not delivered.
        doubled: how many were delivered again.
        reordered: how many came after a later one of their partition.
        holes: what the numbers have shown.
        spliced: what the splices came to.
        is_gap: whether a break is declared that no numbers tell of.
    """

    def __init__(self, events: Iterable[Message], delivery: Delivery, *, is_gap: bool) -> None:
        self.doubled = self.reordered = 0
        self.holes = [one for one in delivery.output if isinstance(one, Hole)]
        self.spliced = delivery.spliced
        self.is_gap = is_gap
        seen: set[tuple[int, int]] = set()
        last: dict[int, int] = {}
        for message in delivery.output:
            if isinstance(message, Hole) or message.fed < 0:
                continue
            self.doubled += key_of(message) in seen
            if message.fed >= last.get(message.partition, 0):
                last[message.partition] = message.fed
            elif key_of(message) not in seen:
                self.reordered += 1
            seen.add(key_of(message))
        self.lost = [event for event in events if key_of(event) not in seen]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Lost, doubled, out of order."""
        return len(self.lost), self.doubled, self.reordered


# What is tried


class Delivery:
    """Stands between the connections and the consumers; this one does as the way in does.

    Args:
        by: ``key``, ``sequence``, ``bytes`` or ``bytes alone``, which knows no partitions.
        early: whether both connections are delivered at once.
    """

    def __init__(
        self, *, by: str, overlap: float = 1.0, window: float = 10.0, early: bool = False
    ) -> None:
        alone = by in {"bytes alone", "sequence alone"}
        self.handover: Handover[Message] = Handover(
            key=key_of if by == "key" else None,
            sequence=(lambda message: message.number) if by.startswith("sequence") else None,
            partition=None if alone else lambda message: message.partition,
            window=window,
            overlap=overlap,
            hold=10_000,
        )
        self.output: list[Message | Hole] = []
        self.spliced: list[Spliced[Message]] = []
        self._delivers_both = early
        self._is_early = False

    def live(self, epoch: int, message: Message, now: float) -> None:
        """The live connection brought a message."""
        if self._is_early:
            held = self.handover.described(message, message.payload)
            self.emit(self.handover.admit_early(epoch, held, now, successor=False), message)
        else:
            self.emit(self.handover.admit(epoch, message, message.payload, now), message)

    def successor(self, epoch: int, message: Message, now: float, *, alone: bool) -> None:
        """The successor brought one; ``alone``: nothing is live."""
        if self._is_early:
            held = self.handover.described(message, message.payload)
            self.emit(self.handover.admit_early(epoch, held, now, successor=True), message)
        else:
            self.handover.hold(epoch, message, message.payload, now, new=alone)

    def ready(self, epoch: int, now: float) -> None:
        """The successor is ready, and something is live."""
        self._is_early = self._delivers_both
        if self._is_early:
            for held in self.handover.release():
                verdict = self.handover.admit_early(epoch, held, now, successor=True)
                self.emit(verdict, held.message)

    def splice(self, epoch: int, now: float) -> None:
        """The predecessor has ended, and the successor takes over."""
        spliced = self.handover.splice(epoch, now)
        self._is_early = False
        self.spliced.append(spliced)
        self.output.extend(spliced.holes)
        self._emit_held(epoch, spliced.held, now)

    def begin(self, epoch: int, now: float) -> None:
        """A connection is live after a break."""
        held = self.handover.release()
        self.handover.broken(epoch)
        self._emit_held(epoch, held, now)

    def _emit_held(self, epoch: int, waited: Iterable[Held[Message]], now: float) -> None:
        for held in waited:
            self.emit(self.handover.admit_held(epoch, held, now), held.message)

    def emit(self, verdict: bool | Hole, message: Message) -> None:  # noqa: FBT001
        """Deliver a message, unless it is a duplicate, after its hole."""
        if isinstance(verdict, Hole):
            self.output.append(verdict)
        if verdict is not False:
            self.output.append(message)


class SwitchAtOnce(Delivery):
    """Naive: what the new connection brings counts from its readiness, and the old one is left."""

    _live = 1

    def live(self, epoch: int, message: Message, now: float) -> None:
        if epoch == self._live:
            self.output.append(message)

    def successor(self, epoch: int, message: Message, now: float, *, alone: bool) -> None:
        self.live(epoch, message, now)

    def ready(self, epoch: int, now: float) -> None:
        self._live = epoch


class Whichever(Delivery):
    """Naive: whatever comes first, by key, is delivered, for ever."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._seen: set[Any] = set()

    def identity(self, message: Message) -> Any:
        """What is compared."""
        return key_of(message)

    def live(self, epoch: int, message: Message, now: float) -> None:
        if self.identity(message) not in self._seen:
            self._seen.add(self.identity(message))
            self.output.append(message)

    def successor(self, epoch: int, message: Message, now: float, *, alone: bool) -> None:
        self.live(epoch, message, now)


class PayloadSet(Whichever):
    """Naive: no payload is delivered twice."""

    def identity(self, message: Message) -> Any:
        return message.payload


class PayloadCount(Delivery):
    """Naive: as many of a payload are held back as the predecessor brought since it was known."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._brought: Counter[str] = Counter()
        self._waiting: list[Message] = []

    def live(self, epoch: int, message: Message, now: float) -> None:
        self._brought[message.payload] += 1
        self.output.append(message)

    def successor(self, epoch: int, message: Message, now: float, *, alone: bool) -> None:
        self._waiting.append(message)

    def splice(self, epoch: int, now: float) -> None:
        for message in self._waiting:
            if self._brought[message.payload]:
                self._brought[message.payload] -= 1
            else:
                self.output.append(message)
        self._waiting.clear()


class Forgetful(Delivery):
    """Naive: once the successor has taken over it is compared with nothing."""

    def splice(self, epoch: int, now: float) -> None:
        super().splice(epoch, now)
        self.handover.forget()


# Servers


def drawn_events(random: Random, settings: Settings) -> list[Message]:
    """The events of a trial, in the order in which they happened."""
    span = (settings.overlap + 1.0) * settings.rotations + 2 * settings.skew + 1.0
    events: list[Message] = []
    for partition in range(random.randint(1, settings.partitions)):
        rate = random.choice((0.3, 2.0, 40.0 / span, 80.0 / span))
        number = first = random.choice((0, 1, 1, 7, 1000))
        restart = random.uniform(0.2, 0.8) * span if settings.restart else span
        moment = random.expovariate(rate) if random.random() < 0.7 else 0.0
        fed = 0
        while moment < span:
            if moment >= restart and number > first + 4:
                restart = span
                number = random.choice((0, 1, first, first + fed // 2))
            repeats = random.random() < settings.repeated
            payload = f"{partition}:{random.choice('ab') if repeats else fed}"
            events.append(Message(partition, fed, number, payload, moment))
            fed += 1
            number += 1
            moment += random.expovariate(rate)
    events.sort(key=lambda event: event.at)
    return events


def sent_by_node(
    random: Random, events: Sequence[Message], skew: float
) -> list[tuple[float, Message]]:
    """When a node sends each event: within ``skew`` after it happened, in order per partition."""
    usual: dict[int, float] = {}
    last: dict[int, float] = {}
    sent: list[tuple[float, Message]] = []
    for event in events:
        delay = usual.setdefault(event.partition, random.uniform(0, skew))
        if random.random() < 0.1:
            delay = random.uniform(0, skew)
        moment = max(event.at + delay, last.get(event.partition, 0.0))
        last[event.partition] = moment
        sent.append((moment, event))
    sent.sort(key=lambda one: one[0])
    return sent


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """A message on its way."""

    sent: float
    at: float
    message: Message


# Trials


class Trial:
    """One connection after the other over one feed.

    Args:
        seed: of all that is drawn.
        settings: what from.
        delivery: what is tried.
    """

    def __init__(self, seed: int, settings: Settings, delivery: Delivery) -> None:
        self.random = Random(seed)
        self.settings = settings
        self.delivery = delivery
        self.events = drawn_events(self.random, settings)
        self._nodes = [sent_by_node(self.random, self.events, settings.skew) for _ in range(2)]
        self._is_gap = False
        self.begun: set[int] = set()  # partitions that had when the last predecessor ended

    def run(self) -> Outcome:
        """Rotate so often, then bring all that there is."""
        live = self._connect(-1.0)
        rotations = self.random.randint(min(1, self.settings.rotations), self.settings.rotations)
        now, epoch = 0.0, 0
        for epoch in range(1, rotations + 1):
            now += self.random.uniform(0.5, 1.0)
            successor = self._connect(now)
            ready = now + self.random.uniform(0, 0.2)
            cut = self.settings.cut if epoch == rotations else Cut.NEVER
            if cut is Cut.BEFORE:
                now = self._break(epoch, live, successor, ready)
            else:
                now = self._rotate(epoch, live, successor, ready, is_cut=cut is Cut.AFTER)
            live = [arrival for arrival in successor if arrival.at > now]
        for arrival in live:
            self._brought(epoch + 1, arrival)
        return Outcome(self.events, self.delivery, is_gap=self._is_gap)

    def _connect(self, since: float) -> list[Arrival]:
        settings, random = self.settings, self.random
        lag = random.uniform(0, settings.lag)
        found: list[Arrival] = []
        arrived = since + lag
        if since > 0 and settings.greeting and random.random() < 0.5:
            found.append(Arrival(since, arrived, Message(0, -1, -1, "greeting", since)))
        for moment, event in random.choice(self._nodes):
            if moment >= since:
                arrived = max(arrived, moment + lag + random.uniform(0, settings.jitter))
                found.append(Arrival(moment, arrived, event))
        return found

    def _break(
        self, epoch: int, live: list[Arrival], successor: list[Arrival], ready: float
    ) -> float:
        """The old connection is lost before there is another; returns when that is live."""
        lost_at = ready - self.random.uniform(0, 0.5)
        for arrival, is_old in _merged(live, successor):
            if arrival.at > ready:
                break
            if not is_old:
                is_alone = arrival.at > lost_at
                self._held(epoch, arrival, alone=is_alone)
            elif arrival.at <= lost_at:
                self._brought(epoch, arrival)
        self._note_begun()
        self._is_gap = not self.delivery.handover.is_numbered
        self.delivery.begin(epoch + 1, ready)
        return ready

    def _rotate(  # noqa: C901 (one moment after the other)
        self,
        epoch: int,
        live: list[Arrival],
        successor: list[Arrival],
        ready: float,
        *,
        is_cut: bool,
    ) -> float:
        """The old connection overlaps with the new one; returns when that has taken over."""
        close = ready + self.settings.overlap
        ends = _last_before(live, close)
        if is_cut:
            ends = close = self.random.uniform(ready, ends)
        heard, ticked, is_ready = 0.0, ready, False
        for arrival, is_old in _merged(live, successor):
            if not is_ready and arrival.at > ready:
                is_ready = True
                self.delivery.ready(epoch + 1, ready)
            while is_ready and ticked + QUIET < min(arrival.at, ends):
                ticked += QUIET
                if ticked < close and self.delivery.handover.caught_up:
                    close = ticked
                    ends = _last_before(live, close)
                elif self._is_quiet(ticked - max(close, heard)):
                    return self._spliced(epoch, ticked, lost=False)
            if arrival.at > ends:
                break
            if not is_old:
                self._held(epoch, arrival, alone=False)
            elif arrival.sent < close or is_cut:
                self._brought(epoch, arrival)
                heard = arrival.at
        if not is_ready:
            self.delivery.ready(epoch + 1, ready)
        return self._spliced(epoch, ends, lost=is_cut)

    def _is_quiet(self, seconds: float) -> bool:
        is_over = self.settings.quiet and seconds >= QUIET
        return is_over and bool(self.delivery.handover.held)

    def _spliced(self, epoch: int, now: float, *, lost: bool) -> float:
        handover = self.delivery.handover
        self._note_begun()
        self.delivery.splice(epoch + 1, now)
        if lost:
            self._is_gap = not (handover.is_numbered or self.delivery.spliced[-1].touched)
        return now

    def _note_begun(self) -> None:
        output = self.delivery.output
        self.begun = {one.partition for one in output if isinstance(one, Message)}

    def _held(self, epoch: int, arrival: Arrival, *, alone: bool) -> None:
        self.delivery.successor(epoch + 1, arrival.message, arrival.at, alone=alone)

    def _brought(self, epoch: int, arrival: Arrival) -> None:
        self.delivery.live(epoch, arrival.message, arrival.at)


def _last_before(live: list[Arrival], close: float) -> float:
    """When the last message arrives that was sent before the close."""
    return max([close, *(arrival.at for arrival in live if arrival.sent < close)])


def _merged(live: list[Arrival], successor: list[Arrival]) -> list[tuple[Arrival, bool]]:
    """What both bring, in the order of its coming."""
    both = [(arrival, True) for arrival in live] + [(arrival, False) for arrival in successor]
    both.sort(key=lambda one: one[0].at)
    return both
