"""What a websocket has done so far."""

from __future__ import annotations

import dataclasses

__all__ = ["Stats"]


@dataclasses.dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of what a websocket has done so far.

    Attributes:
        messages, bytes: received, and the size of their payloads.
        duplicates: removed because another connection had brought them.
        dropped: for which a consumer had no room.
        rotations: planned replacements of the connection that were completed.
        reconnects: replacements after a loss.
        gaps: declared.
        streams: consumers that messages are delivered to now.
        backlog: items that wait in their buffers now.
    """

    messages: int
    bytes: int
    duplicates: int
    dropped: int
    rotations: int
    reconnects: int
    gaps: int
    streams: int
    backlog: int
