"""What rxws asks of a transport: one connection's open, receive, send, close.

A transport pushes: it hands every whole message to a `Receiver` as it arrives, in order, on
the event loop. Anything that satisfies these protocols can be given as ``transport=``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

__all__ = ["Link", "Raw", "Receiver", "Transport"]

Raw: TypeAlias = str | bytes
"""The payload of one message: ``str`` of a text frame, ``bytes`` of a binary one."""


class Receiver(Protocol):
    """The side of rxws that a link reports to. Every method is called on the event loop."""

    def received(self, raw: Raw) -> None:
        """One whole message arrived."""

    def lost(self, code: int | None, reason: str, error: BaseException | None) -> None:
        """The connection ended, by whomever; called once, after the last message.

        ``code`` and ``reason`` are those of the peer's Close frame, ``None`` and ``""``
        without one; ``error`` is what ended it otherwise.
        """


class Link(Protocol):
    """One open connection.

    A link may have an attribute ``unfinished: tuple[float, int] | None`` too: when the frame began
    that is on its way, on the event loop's clock, and how many bytes of it came since. By it a
    peer is noticed that sends a frame drop by drop.
    """

    @property
    def connection(self) -> Any:
        """The connection object of the library beneath."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether a message can be written now."""
        ...

    @property
    def last_received(self) -> float:
        """When the last byte arrived, on the event loop's clock."""
        ...

    def start(self, receiver: Receiver) -> None:
        """Begin to hand over messages. What arrived before is handed over first."""

    def write(self, raw: Raw) -> bool:
        """Write without waiting. ``False``, and nothing written, where that can't be done now."""
        ...

    async def send(self, raw: Raw) -> None:
        """Write, waiting while the peer is slower than we are.

        Raises:
            ConnectionLost: with what is known of the delivery.
        """

    async def ping(self) -> None:
        """Send a ping. A pong counts as received bytes; nobody waits for it here."""

    def pause(self) -> None:
        """Stop handing over, and soon stop reading the socket."""

    def resume(self) -> None:
        """Undo `pause`."""

    async def close(self, code: int = 1000, reason: str = "", *, discard: bool = False) -> None:
        """End the connection in the orderly way; returns when it has ended.

        What it still brings is handed over, unless it is paused; with ``discard`` it is read to
        its end even then, and what it brings is thrown away. Whoever calls bounds the wait, and
        calls `abort` when it takes too long.
        """

    def abort(self) -> None:
        """End the connection at once. Idempotent."""


@runtime_checkable
class Transport(Protocol):
    """Opens connections."""

    async def connect(self, url: str, options: Mapping[str, Any]) -> Link:
        """Open one connection; ``options`` are those of ``rxws.connect`` that rxws does not know.

        Bounded by the caller. When cancelled, nothing is left open.

        Raises:
            ConnectError: with whether another attempt makes sense.
        """
        ...
