"""The default transport: the only module that imports ``websockets``."""

from __future__ import annotations

import asyncio
import email.utils
import inspect
import logging
import ssl
import sys
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any, cast

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import (
    ConnectionClosed,
    InvalidStatus,
    InvalidURI,
    SecurityError,
)

from ..core.errors import ConnectError, ConnectionLost, Delivery
from ..core.redact import Redactor, escape_control
from ..core.texts import said
from .adopted import close_frame, lost_while_sending
from .reading import Reader
from .transport import Link, Raw, Receiver

__all__ = ["WebsocketsTransport", "explain", "known_options"]

_FATAL_STATUS = frozenset({401, 403, 404})
_LONGEST_RETRY_AFTER = 600.0  # seconds; a server that asks for more is asked again all the same
_HANG_UP_SECONDS = 2.0  # for the server to close the socket after the closing handshake
_LONGEST_HEAD = 65_536  # bytes of a handshake's answer that are looked at


def known_options() -> frozenset[str]:
    """The names that the transport's connect takes, those of the event loop's included."""
    of_connect = inspect.signature(websockets.connect.__init__).parameters
    of_loop = inspect.signature(asyncio.AbstractEventLoop.create_connection).parameters
    theirs = {"self", "uri", "kwargs", "protocol_factory", "create_connection"}
    return frozenset({*of_connect, *of_loop} - theirs)


class _RedactedLog(logging.LoggerAdapter[logging.Logger]):
    """The library logs URLs and headers at DEBUG: their secrets are taken out before."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(logging.getLogger("rxws.websockets"))
        self._redactor = redactor

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        if not self.isEnabledFor(level):
            return
        text = str(msg) % args if args else str(msg)
        error = sys.exc_info()[1] if options.get("exc_info") else None
        if error is not None:
            options["exc_info"] = self._redactor.exception(error)
        self.logger.log(level, "%s", self._redactor.text(text), **options)


class WebsocketsTransport:
    """Opens connections with ``websockets.connect``.

    Args:
        redactor: takes secrets out of what the library logs.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._log = _RedactedLog(redactor)

    async def connect(self, url: str, options: Mapping[str, Any]) -> Link:
        """Open one connection; see `Transport.connect`."""
        guard = _RedirectGuard(url)
        given = {
            "ping_interval": None,
            "open_timeout": None,
            "close_timeout": _HANG_UP_SECONDS,
            "logger": self._log,
            **options,
        }
        try:
            make: Any = guard.make  # a wrapper is documented; the annotation knows classes only
            connection = await websockets.connect(url, create_connection=make, **given)
        except (OSError, EOFError, websockets.WebSocketException) as error:
            raise guard.explain(error) from error  # before ValueError: a bad certificate is both
        except (ImportError, TypeError, ValueError) as error:
            raise ConnectError(
                f"invalid option: {said(error)}", cause=error, retryable=False
            ) from error
        return WebsocketsLink(cast("_Connection", connection))


class _RedirectGuard:
    """Keeps a redirect from taking our headers to another origin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._origin = _origin(url)
        self.refused: str | None = None

    def make(self, *args: Any, **kwargs: Any) -> ClientConnection:
        return _Connection(self, *args, **kwargs)

    def allows(self, head: bytes) -> bool:
        """Whether the answer of the handshake may be followed; remembers where it may not."""
        lines = head.decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/1.1 3"):
            return True
        for line in lines[1:]:
            name, _, value = line.partition(":")
            target = value.strip()
            if name.strip().lower() == "location" and _origin(target, self.url) != self._origin:
                self.refused = target
                return False
        return True

    def explain(self, error: Exception) -> ConnectError:
        """What a failed connect means: whether another attempt makes sense, and when."""
        if self.refused is not None:
            origin = _origin(self.refused, self.url)
            where = "an invalid URL" if origin is None else "{}://{}:{}".format(*origin)
            text = f"the server redirects to another origin, {where}; connect there directly"
            return ConnectError(escape_control(text), cause=error, retryable=False)
        return explain(error, f"could not connect: {said(error)}")


def explain(error: Exception, text: str) -> ConnectError:
    """What a failed handshake means: whether another attempt makes sense, and when.

    Args:
        error: of ``websockets``, of the network, or any other.
        text: of the error that is returned.
    """
    text = escape_control(text)
    if isinstance(error, InvalidStatus):
        response = error.response
        return ConnectError(
            text,
            cause=error,
            retryable=response.status_code not in _FATAL_STATUS,
            retry_after=_retry_after(response.headers.get("Retry-After")),
        )
    fatal = isinstance(error, ssl.SSLCertVerificationError | InvalidURI | SecurityError)
    return ConnectError(text, cause=error, retryable=not fatal)


def _origin(url: str, base: str = "") -> tuple[str, str, int] | None:
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, url))
        port = parts.port
    except ValueError:
        return None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return scheme, parts.hostname or "", port or {"ws": 80, "wss": 443}.get(scheme, 0)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3): a number of them, or a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        seconds = float(value)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


class _Connection(ClientConnection):
    """Adds to the library's connection what asyncio tells its protocol anyway."""

    def __init__(self, guard: _RedirectGuard, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.last_received = self.loop.time()
        self.congested = False
        self.raw_transport: asyncio.Transport | None = None
        self._guard = guard
        self._head = b""
        self._cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw_transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.last_received = self.loop.time()
        if self.response is None:
            self._head += data
            if b"\r\n\r\n" not in self._head and len(self._head) < _LONGEST_HEAD:
                return
            data, self._head = self._head, b""
            if not self._guard.allows(data.partition(b"\r\n\r\n")[0]):
                assert self.raw_transport is not None
                self.raw_transport.abort()
                return
        super().data_received(data)
        if self._cut is None and self.response is not None and self.protocol.close_expected():
            # Both have said goodbye: a peer that holds the socket all the same is cut off.
            assert self.raw_transport is not None
            self._cut = self.loop.call_later(_HANG_UP_SECONDS, self.raw_transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        if self._head:
            data, self._head = self._head, b""
            super().data_received(data)
        super().eof_received()

    def pause_writing(self) -> None:
        self.congested = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self.congested = False
        super().resume_writing()


class WebsocketsLink:
    """A `Link` over a connection that we opened."""

    def __init__(self, connection: _Connection) -> None:
        self.connection: ClientConnection = connection
        self._own = connection
        self._reader = Reader(connection.recv, close_frame)

    @property
    def is_open(self) -> bool:
        """Whether a message can be written now."""
        return self._own.state is websockets.State.OPEN

    @property
    def last_received(self) -> float:
        """When the last byte arrived, on the event loop's clock."""
        return self._own.last_received

    def start(self, receiver: Receiver) -> None:
        """Begin to hand over messages."""
        self._reader.start(receiver)

    def write(self, raw: Raw) -> bool:
        """Write without waiting, unless the write buffer is above its limit already."""
        if self._own.congested or not self.is_open:
            return False
        # The documented way to write without waiting, to one connection as to many.
        try:
            websockets.broadcast([self._own], raw, raise_exceptions=True)
        except ExceptionGroup:  # the user is in the midst of a fragmented message: wait for it
            return False
        return True

    async def send(self, raw: Raw) -> None:
        """Write, waiting while the peer is slower than we are."""
        if not self.is_open:
            raise ConnectionLost("the connection is closed", delivery=Delivery.NOT_SENT)
        try:
            await self._own.send(raw)
        except ConnectionClosed as error:
            raise lost_while_sending(error) from error

    async def ping(self) -> None:
        """Send a ping."""
        await self._own.ping()

    def pause(self) -> None:
        """Stop reading; when the library's queue is full, it pauses the socket."""
        self._reader.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self._reader.resume()

    async def close(self, code: int = 1000, reason: str = "", *, discard: bool = False) -> None:
        """Close in the orderly way; see `Link.close`."""
        if discard:
            self._reader.discard()
        await self._own.close(code, reason)
        await self._reader.finished()

    def abort(self) -> None:
        """End it at once."""
        self._reader.discard()
        if self._own.raw_transport is not None:
            self._own.raw_transport.abort()
