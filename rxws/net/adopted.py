"""A connection that ``source`` opened itself, as a link.

Of it only what such connections document is used: ``recv``, ``send``, ``close``, and where
they exist ``ping``, ``transport.abort()`` and the Close frame of the exception.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..core.errors import ConnectError, ConnectionLost, Delivery
from .forking import cut_off, in_child
from .reading import Reader
from .transport import Raw, Receiver

__all__ = ["AdoptedLink", "adopt", "close_frame", "lost_while_sending", "sent_code"]


def adopt(connection: Any) -> AdoptedLink:
    """A link over an open connection.

    Raises:
        ConnectError: what ``source`` returned is neither a URL nor a connection.
    """
    missing = [n for n in ("recv", "send", "close") if not callable(getattr(connection, n, None))]
    if missing:
        raise ConnectError(
            f"source returned a {type(connection).__name__} without {', '.join(missing)}: "
            "return a URL or an open connection",
            retryable=False,
        )
    return AdoptedLink(connection)


def close_frame(error: BaseException) -> tuple[int | None, str]:
    """Code and reason of the peer's Close frame out of a ``ConnectionClosed``."""
    received = getattr(error, "rcvd", None)
    code = getattr(received, "code", None)
    return (None, "") if code is None else (int(code), str(getattr(received, "reason", "")))


def sent_code(error: BaseException | None) -> int | None:
    """Code of our Close frame out of a ``ConnectionClosed``, where it was the first of the two."""
    if getattr(error, "rcvd", None) is not None and getattr(error, "rcvd_then_sent", True):
        return None
    code = getattr(getattr(error, "sent", None), "code", None)
    return code if isinstance(code, int) else None


def lost_while_sending(error: BaseException) -> ConnectionLost:
    """What a connection that ended in the midst of a send means for who sent."""
    code, reason = close_frame(error)
    return ConnectionLost("the connection ended while sending", code=code, reason=reason)


class AdoptedLink:
    """A `Link` over somebody else's connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.last_received = asyncio.get_running_loop().time()
        self._reader = Reader(self._recv, self._close_frame)
        self._ended = False
        self._closed_with: int | None = None
        in_child(self)

    def after_fork(self) -> None:
        """Nothing reaches the parent's connection from here."""
        transport = getattr(self.connection, "transport", None)
        cut_off(transport if hasattr(transport, "get_extra_info") else None)

    @property
    def is_open(self) -> bool:
        """Whether it was not seen to end, and does not say that it is closing."""
        state = getattr(self.connection, "state", None)
        return not self._ended and getattr(state, "name", "OPEN") == "OPEN"

    def _close_frame(self, error: BaseException) -> tuple[int | None, str]:
        code, reason = close_frame(error)
        if code is None and not self._ended:
            # A connection that does not tell: what we closed, and nobody aborted, ended orderly.
            return self._closed_with, ""
        return code, reason

    async def _recv(self) -> Raw:
        raw: Raw = await self.connection.recv()
        self.last_received = asyncio.get_running_loop().time()
        return raw

    def start(self, receiver: Receiver) -> None:
        """Begin to hand over messages."""
        self._reader.start(receiver)

    def write(self, raw: Raw) -> bool:
        """Such connections can't be written to without waiting."""
        return False

    async def send(self, raw: Raw) -> None:
        """Write, waiting while the peer is slower than we are."""
        if not self.is_open:
            raise ConnectionLost("the connection is closed", delivery=Delivery.NOT_SENT)
        try:
            await self.connection.send(raw)
        except (TypeError, ValueError):
            raise  # of the message, not of the connection
        except Exception as error:
            raise lost_while_sending(error) from error

    async def ping(self) -> None:
        """Send a ping, where the connection can; its pong counts as a sign of life."""
        ping = getattr(self.connection, "ping", None)
        if ping is None:
            return
        pong = await ping()
        if isinstance(pong, asyncio.Future):
            pong.add_done_callback(self._ponged)

    def _ponged(self, pong: asyncio.Future[Any]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self.last_received = pong.get_loop().time()

    def pause(self) -> None:
        """Stop reading; the connection's own queue then fills, and it pauses the socket."""
        self._reader.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self._reader.resume()

    async def close(self, code: int = 1000, reason: str = "", *, discard: bool = False) -> None:
        """Close in the orderly way; see `Link.close`."""
        if discard:
            self._reader.discard()
        self._closed_with = code
        await self.connection.close(code, reason)
        await self._reader.finished()
        self._ended = True

    def abort(self) -> None:
        """End it at once; a connection that offers no way to is left to its own timeouts."""
        self._ended = True
        self._reader.drop()
        abort = getattr(getattr(self.connection, "transport", None), "abort", None)
        if abort is not None:
            abort()
        else:
            self._reader.cancel()
