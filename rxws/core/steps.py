"""The words of the lifecycle: the steps that it is told of, the effects that it asks for."""

from __future__ import annotations

import dataclasses
import enum
from typing import TypeAlias

from .events import Event

__all__ = [
    "Announce",
    "Dial",
    "Drain",
    "Effect",
    "Elapsed",
    "End",
    "Ended",
    "Exit",
    "Failed",
    "Forget",
    "Full",
    "GoLive",
    "Hold",
    "Lost",
    "Phase",
    "Ready",
    "Recovered",
    "Shutdown",
    "Signal",
    "Splice",
    "Start",
    "StartTimer",
    "Step",
    "StopTimer",
    "Suspected",
    "Timer",
]


class Phase(enum.Enum):
    """Where the lifecycle is."""

    IDLE = "idle"
    DIALING = "dialing"
    WAITING = "waiting"
    OPEN = "open"
    DIALING_NEXT = "dialing next"
    OVERLAPPING = "overlapping"
    DRAINING = "draining"
    PARTING = "parting"
    CLOSING = "closing"
    CLOSED = "closed"


class Timer(enum.Enum):
    """What a span of time is waited for."""

    RETRY = "retry"
    ROTATE = "rotate"
    STABLE = "stable"
    OVERLAP = "overlap"
    DRAIN = "drain"
    QUIET = "quiet"
    SETTLE = "settle"


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """The user asks for the connection."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """The connection that was dialled is open and prepared."""

    epoch: int


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """A dial failed, or the connection could not be prepared."""

    epoch: int
    error: BaseException
    retryable: bool
    retry_after: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """A connection that was ready ended."""

    epoch: int
    code: int | None
    reason: str
    error: BaseException
    retryable: bool = True
    retry_after: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """Something asks for a rotation."""

    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Suspected:
    """Nothing arrived on a connection for so long that it may be dead."""

    epoch: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Recovered:
    """Something arrived on a connection that was suspected."""

    epoch: int


@dataclasses.dataclass(frozen=True, slots=True)
class Full:
    """The hold is full."""


@dataclasses.dataclass(frozen=True, slots=True)
class Elapsed:
    """The span of a timer is over."""

    timer: Timer


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """The user asks for the end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """What `Shutdown` asked for is done."""


Step: TypeAlias = (
    Start | Ready | Failed | Lost | Signal | Suspected | Recovered | Full | Elapsed | Exit | Ended
)


@dataclasses.dataclass(frozen=True, slots=True)
class Announce:
    """Tell those who watch the events."""

    event: Event


@dataclasses.dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection and prepare it; answer with `Ready` or `Failed`."""

    epoch: int
    attempt: int


@dataclasses.dataclass(frozen=True, slots=True)
class GoLive:
    """Deliver what this connection brings.

    ``after`` is the one that ended before, if any; ``planned`` why we ended it ourselves, if so.
    """

    epoch: int
    after: int | None
    planned: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """Keep what the successor brings until it takes over."""

    epoch: int


@dataclasses.dataclass(frozen=True, slots=True)
class Drain:
    """Close the predecessor while it is still read; send on the successor, if there is one."""

    old: int
    new: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Splice:
    """Deliver what was held and the predecessor did not bring; the successor is live.

    ``early``: a full hold forced it. ``unplanned``: only the death of the predecessor did.
    """

    old: int
    new: int
    reason: str
    early: bool
    unplanned: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Forget:
    """Close this connection, or its dial, at once, and throw away what was held of it."""

    epoch: int


@dataclasses.dataclass(frozen=True, slots=True)
class StartTimer:
    """Answer with `Elapsed` after so many seconds."""

    timer: Timer
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class StopTimer:
    """Forget a timer, if it runs."""

    timer: Timer


@dataclasses.dataclass(frozen=True, slots=True)
class Shutdown:
    """End every connection in the orderly way; answer with `Ended`."""


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """Nothing follows. ``error`` is ``None`` after an exit."""

    error: BaseException | None


Effect: TypeAlias = (
    Announce
    | Dial
    | GoLive
    | Hold
    | Drain
    | Splice
    | Forget
    | StartTimer
    | StopTimer
    | Shutdown
    | End
)
