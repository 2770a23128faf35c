"""The default transport: with its link the only module that imports ``websockets``."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import ssl
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus, InvalidURI, SecurityError
from websockets.http11 import Response
from websockets.proxy import get_proxy

from ..core.errors import ConnectError
from ..core.redact import MASK, Redactor, escape_control
from ..core.texts import said
from ..core.verdicts import retry_after
from .addresses import Lookups, open_socket
from .handshake import RedirectGuard, is_public, origin_of, proxies
from .transport import Link
from .websockets_link import GuardedConnection, WebsocketsLink

__all__ = ["WebsocketsTransport", "explain", "known_options"]

_HEADERS = ("> %s: %s", "< %s: %s")  # how the library logs them
_FATAL_STATUS = frozenset({401, 403, 404})
_CLOSE_SECONDS = 2.0  # for a closing handshake that the user began
_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305, 5
_TO_THE_ADDRESS = frozenset({"host", "port", "family", "happy_eyeballs_delay"})
_LEFT_TO_THE_LOOP = frozenset(
    {"sock", "local_addr", "proto", "flags", "interleave", "all_errors", "unix"}
)


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
        if msg in _HEADERS and not is_public(str(args[0])):
            args = (args[0], MASK)
        text = str(msg) % args if args else str(msg)
        error = sys.exc_info()[1] if options.get("exc_info") else None
        if error is not None:
            options["exc_info"] = self._redactor.exception(error)
        self.logger.log(level, "%s", self._redactor.text(text), **options)


class WebsocketsTransport:
    """Opens connections with ``websockets.connect``.

    Compression is negotiated as the library does it by default: what is read is handed on in
    slices, see `Slicer`, so that what a message inflates to is bounded by its own ``max_size``
    and by 16 MiB for all that come at once.

    Args:
        redactor: takes secrets out of what the library logs; told of those of proxies.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._log = _RedactedLog(redactor)
        self._lookups = Lookups()

    async def connect(self, url: str, options: Mapping[str, Any]) -> Link:
        """Open one connection; see `Transport.connect`."""
        guard = RedirectGuard(url)
        for proxy in proxies(options.get("proxy", True)):
            self._redactor.learn_url(proxy)
        given = {
            "ping_interval": None,
            "open_timeout": None,
            "close_timeout": _CLOSE_SECONDS,
            "logger": self._log,
            **options,
        }
        try:
            # A wrapper is documented; the annotation knows classes only.
            make: Any = functools.partial(GuardedConnection, guard)
            connecting = _Connect(url, create_connection=make, **given)
            connecting.lookups = self._lookups
            connection = await connecting
        except asyncio.CancelledError as error:
            if guard.heard:
                # For whoever bounds the time, and says so.
                error.add_note(f"the server answered but did not finish ({guard.heard} bytes)")
            raise
        except (OSError, EOFError, websockets.WebSocketException) as error:
            raise _explain(error, guard) from error  # before ValueError: a bad certificate is both
        except (ImportError, TypeError, ValueError) as error:
            raise ConnectError(
                f"invalid option: {said(error)}", cause=error, retryable=False
            ) from error
        return WebsocketsLink(cast("GuardedConnection", connection))


class _Connect(websockets.connect):
    """Opens TCP connections as rxws does, where the library would leave that to the loop."""

    lookups: Lookups

    async def open_tcp_connection(self) -> ClientConnection:
        given = self.create_connection_kwargs
        if given.keys() & _LEFT_TO_THE_LOOP or self._has_proxy():
            return await super().open_tcp_connection()
        addresses = await self.lookups.find(
            given.get("host") or self.ws_uri.host,
            given.get("port") or self.ws_uri.port,
            given.get("family") or 0,
        )
        delay = given.get("happy_eyeballs_delay")
        sock = await open_socket(addresses, _NEXT_ADDRESS_SECONDS if delay is None else delay)
        others = {name: value for name, value in given.items() if name not in _TO_THE_ADDRESS}
        self.create_connection_kwargs = {**others, "sock": sock}
        try:
            return await super().open_tcp_connection()
        except (TypeError, ValueError) as error:
            if not isinstance(error, OSError):  # of an option: nobody has taken the socket
                sock.close()
            raise
        finally:
            self.create_connection_kwargs = given  # a redirect opens the next one

    def _has_proxy(self) -> bool:
        proxy = get_proxy(self.ws_uri) if self.proxy is True else self.proxy
        return proxy is not None


def _explain(error: Exception, guard: RedirectGuard) -> ConnectError:
    if guard.refused is not None:
        origin = origin_of(guard.refused, guard.url)
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
            retry_after=_asked_for(response),
        )
    fatal = isinstance(error, ssl.SSLCertVerificationError | InvalidURI) or (
        isinstance(error, SecurityError) and "non-secure URI" in str(error)  # not: "10 redirects"
    )
    return ConnectError(text, cause=error, retryable=not fatal)


def _asked_for(response: Response) -> float | None:
    """Seconds that the answer asks us to wait, if it does."""
    asked = response.headers.get_all("Retry-After")
    return retry_after(asked[0], time.time()) if asked else None
