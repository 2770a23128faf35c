"""What one read of a socket brought, handed on slice by slice.

asyncio reads up to 256 KiB at a time and hands that over in one call. As frames of three bytes
that is 87,000 messages in one turn of the loop, and as compressed ones 250 MiB: the largest
ratio of deflate is about 1 : 1,032. In slices of 16 KiB no turn inflates more than 16 MiB, the
limits of the queue behind are heeded after each, and others get their turn between two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["Slicer"]

_SLICE = 16_384  # bytes


class Slicer:
    """Stands before a transport: nothing more is read until what was read is handed on.

    Who is given it as its transport may pause and resume reading as ever; all else that a
    transport can do is done by the transport itself.

    Args:
        transport: what is read.
        take: called with each slice.
    """

    def __init__(self, transport: asyncio.Transport, take: Callable[[bytes], None]) -> None:
        self._transport = transport
        self._take = take
        self._rest = b""
        self._afterwards: list[Callable[[], None]] = []
        self._next: asyncio.Handle | None = None
        self._paused = False
        self._held = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """Hand on no further slice."""
        self._paused = True
        self._regulate()

    def resume_reading(self) -> None:
        """Undo `pause_reading`; nothing is handed on from within."""
        self._paused = False
        self._regulate()

    def feed(self, data: bytes) -> None:
        """Hand on what was read: at once as far as one slice goes."""
        if self._rest:
            self._rest += data
            return
        self._rest = data
        self._hand_on()

    def finish(self, then: Callable[[], None]) -> None:
        """Call ``then`` after the last of what was read was handed on."""
        self._afterwards.append(then)
        self._regulate()

    def drop(self) -> None:
        """Hand on nothing more of what was read."""
        self._rest = b""
        self._regulate()

    def _hand_on(self) -> None:
        self._next = None
        data, self._rest = self._rest[:_SLICE], self._rest[_SLICE:]
        self._take(data)
        self._regulate()

    def _regulate(self) -> None:
        if self._next is not None and (self._paused or not self._rest):
            self._next.cancel()
            self._next = None
        if not self._rest:
            while self._afterwards:
                self._afterwards.pop(0)()
        elif not self._paused and self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._hand_on)
        hold = self._paused or bool(self._rest)
        if hold is not self._held and not self._transport.is_closing():
            self._held = hold
            (self._transport.pause_reading if hold else self._transport.resume_reading)()
