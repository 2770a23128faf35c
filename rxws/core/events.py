"""What happened: the items of ``ReactiveWebSocket.events``.

Every event is frozen. Two events are equal when they say the same, whenever they happened:
the times do not take part in the comparison.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Hashable
from typing import Any, TypeVar

__all__ = [
    "Closed",
    "ConnectFailed",
    "Connected",
    "Connecting",
    "ConsumerFailed",
    "Disconnected",
    "Event",
    "Gap",
    "Overflowed",
    "ParseFailed",
    "Reset",
    "Rotated",
    "Rotating",
    "RotationFailed",
    "SignalFailed",
    "State",
    "stamped",
]

_SAMPLE = 200  # characters of a payload that a repr shows


class State(enum.Enum):
    """The states of a ``ReactiveWebSocket`` that its users can tell apart."""

    CONNECTING = "connecting"
    """No connection has been live yet."""

    OPEN = "open"
    """One connection is live."""

    ROTATING = "rotating"
    """A successor is on its way, as planned; the connection before it is live, or was."""

    RECONNECTING = "reconnecting"
    """The connection was lost; another is on its way."""

    CLOSED = "closed"
    """Exited, or failed for good. Nothing follows."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    monotonic: float = dataclasses.field(default=0.0, compare=False, repr=False)
    time: float = dataclasses.field(default=0.0, compare=False, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Event(_Times):
    """Base of all events.

    Attributes:
        monotonic: when, in seconds of the event loop's clock; for differences.
        time: when, in seconds since 1970; for labels.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Connecting(Event):
    """A connection is being opened. ``epoch`` counts connections, ``attempt`` dials, from 1."""

    epoch: int
    attempt: int


@dataclasses.dataclass(frozen=True, slots=True)
class Connected(Event):
    """A connection is ready: open, ``on_open`` done, subscriptions sent."""

    epoch: int


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectFailed(Event):
    """An attempt failed. ``retry_in`` is in seconds, ``None`` when there will be no other."""

    epoch: int
    attempt: int
    error: BaseException
    retry_in: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """The live connection ended, not by our doing. ``code`` is ``None`` without a Close frame."""

    epoch: int
    code: int | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rotating(Event):
    """A planned replacement of the connection ``epoch`` began."""

    epoch: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rotated(Event):
    """The connection ``new`` took over from ``old``.

    Attributes:
        overlap: seconds during which both were open and read.
        duplicates: held messages of the new connection that the old one had brought.
        matched: whether what both brought could be aligned; ``False`` means that some
            messages may have been delivered twice.
        early: whether a full hold forced the takeover.
        ambiguous: whether payloads repeat so that more than one alignment of the bytes fits; a
            ``key`` or a ``sequence`` would tell them apart.
    """

    old: int
    new: int
    reason: str
    overlap: float
    duplicates: int
    matched: bool
    early: bool
    ambiguous: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class RotationFailed(Event):
    """The successor ``epoch`` could not be made ready; the old connection goes on."""

    epoch: int
    error: BaseException
    retry_in: float


@dataclasses.dataclass(frozen=True, slots=True)
class Reset(Event):
    """A snapshot feed starts again from its snapshot on connection ``epoch``."""

    epoch: int


@dataclasses.dataclass(frozen=True, slots=True)
class Gap(Event):
    """Messages may be missing here; also an item of a stream made with ``with_gaps()``.

    Attributes:
        epoch: of the connection that ended.
        reason: why, in words.
        planned: whether we ended it ourselves.
        since, until: seconds since 1970: the last message before, the next connection's readiness.
        partition: the feed that it concerns; ``None`` when all.
        missing: the numbers that are missing, where ``sequence`` tells; else ``None``.
        filled: whether ``resync`` has brought what was missing.
        last: number or key of the last message before it that had one; ``None``: none had.
    """

    epoch: int
    reason: str
    planned: bool
    since: float
    until: float
    partition: Hashable = None
    missing: range | None = None
    filled: bool = False
    last: Hashable = None


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class ParseFailed(Event):
    """A message could not be parsed; the stream goes on without it."""

    raw: str | bytes
    error: BaseException

    def __repr__(self) -> str:
        sample = self.raw if len(self.raw) <= _SAMPLE else self.raw[:_SAMPLE]
        more = "" if sample is self.raw else f"... ({len(self.raw)} long)"
        error = repr(self.error)
        if len(error) > _SAMPLE:  # that of a UnicodeDecodeError has all of the payload
            error = f"{error[:_SAMPLE]}..."
        return f"ParseFailed(raw={sample!r}{more}, error={error})"


@dataclasses.dataclass(frozen=True, slots=True)
class ConsumerFailed(Event):
    """An observer, handler, condition or predicate raised; the others are not concerned."""

    consumer: Any
    error: BaseException


@dataclasses.dataclass(frozen=True, slots=True)
class SignalFailed(Event):
    """A rotation signal ended with an error."""

    error: BaseException


@dataclasses.dataclass(frozen=True, slots=True)
class Overflowed(Event):
    """A stream or handler drops messages; ``dropped`` counts all of them so far."""

    stream: Any
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True)
class Closed(Event):
    """The last event: ``error`` is ``None`` after ``exit``, else what ended it for good."""

    error: BaseException | None


_E = TypeVar("_E", bound=Event)


def stamped(event: _E, monotonic: float, time: float) -> _E:
    """``event`` with its times set: the core has no clock, so its callers stamp what it says."""
    return dataclasses.replace(event, monotonic=monotonic, time=time)
