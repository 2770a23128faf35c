"""The ways in which a rotation may hand over from one connection to the next."""

from __future__ import annotations

import dataclasses
import math
from typing import TypeAlias

__all__ = ["Exclusive", "FirstArrival", "HandoverMode", "MakeBeforeBreak", "Plan", "Replace"]

_DRAIN = 2.0
_WINDOW = 10.0
_HOLD = 100_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a mode comes to, for those who carry it out.

    Attributes:
        overlap, drain, window, hold: as in `MakeBeforeBreak`.
        holds: whether what the new connection brings waits until it takes over.
        breaks_first: whether the old connection is closed before the new one is opened.
        resets: whether the new connection starts from a snapshot, so that nothing is compared.
    """

    overlap: float = 0.0
    drain: float = _DRAIN
    window: float = _WINDOW
    hold: int = _HOLD
    holds: bool = True
    breaks_first: bool = False
    resets: bool = False


def _check_seconds(mode: HandoverMode, *names: str) -> None:
    for name in names:
        value = getattr(mode, name)
        if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
            raise ValueError(
                f"{type(mode).__name__}({name}={value!r}): seconds, 0 or more, are needed"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class MakeBeforeBreak:
    """Open the new connection first, overlap, then close the old one: the default.

    What the new connection brings is held until the old one is drained; then the part that the
    old one did not bring is delivered.

    Attributes:
        overlap: seconds during which both connections are live. At least the largest
            difference between the moments at which the server's nodes send one event, and the
            time for which the old connection may lag behind.
        window: seconds for which identities are remembered.
        drain: seconds that the old connection is still read for after we closed it.
        hold: messages of the new connection that are held at most; when there are more, it
            takes over early. Nothing is dropped.
    """

    overlap: float = 2.0
    window: float = _WINDOW
    drain: float = _DRAIN
    hold: int = _HOLD

    def __post_init__(self) -> None:
        _check_seconds(self, "overlap", "window", "drain")
        if self.hold < 1:
            raise ValueError(f"MakeBeforeBreak(hold={self.hold!r}): at least 1 message is needed")

    @property
    def plan(self) -> Plan:
        """What it comes to."""
        return Plan(overlap=self.overlap, drain=self.drain, window=self.window, hold=self.hold)


@dataclasses.dataclass(frozen=True, slots=True)
class FirstArrival:
    """Deliver during the overlap whatever either connection brings first: the lowest delay.

    Duplicates are removed; the order may change. It needs identities, by ``key`` or
    ``sequence``: a message without one is delivered as `MakeBeforeBreak` would.

    Attributes:
        overlap: seconds during which both connections are live.
        window: seconds for which identities are remembered.
    """

    overlap: float = 2.0
    window: float = _WINDOW

    def __post_init__(self) -> None:
        _check_seconds(self, "overlap", "window")

    @property
    def plan(self) -> Plan:
        """What it comes to."""
        return Plan(overlap=self.overlap, window=self.window, holds=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Exclusive:
    """Close the old connection before the new one is opened: for servers that allow only one.

    What happens in between is missing: a planned `Gap`, for ``resync`` to fill.

    Attributes:
        drain: seconds that the old connection is still read for after we closed it.
    """

    drain: float = _DRAIN

    def __post_init__(self) -> None:
        _check_seconds(self, "drain")

    @property
    def plan(self) -> Plan:
        """What it comes to."""
        return Plan(drain=self.drain, breaks_first=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Replace:
    """Start over from the snapshot with which each connection of such a feed begins.

    The old connection delivers until it is drained; then there is a `Reset` event, and all that
    the new one brought, its snapshot first. Nothing is compared. After a loss likewise.

    Attributes:
        drain: seconds that the old connection is still read for after we closed it.
    """

    drain: float = _DRAIN

    def __post_init__(self) -> None:
        _check_seconds(self, "drain")

    @property
    def plan(self) -> Plan:
        """What it comes to."""
        return Plan(drain=self.drain, resets=True)


HandoverMode: TypeAlias = MakeBeforeBreak | FirstArrival | Exclusive | Replace
"""What ``handover=`` takes."""
