"""From ``source`` to an open link."""

from __future__ import annotations

import inspect
import logging
from typing import Any

from ..core.errors import ConnectError
from ..core.texts import said
from .adopted import adopt
from .handshake import listeners
from .options import Options, Source
from .transport import Link
from .websockets_transport import explain

__all__ = ["Dialer"]

_log = logging.getLogger("rxws")


class Dialer:
    """Opens links; ``source`` is asked anew for each.

    Args:
        source: a URL, or what returns one or an open connection.
        options: of the websocket; its redactor is told every secret of a URL or a header.
    """

    def __init__(self, source: Source, options: Options) -> None:
        if not isinstance(source, str) and not callable(source):
            raise TypeError(
                f"source is a {type(source).__name__}: give a URL, or a function or coroutine "
                "function that returns a URL or an open connection"
            )
        self._source = source
        self._options = options
        self._warned = False

    async def open(self) -> Link:
        """Open one link; the caller bounds the time.

        Raises:
            ConnectError: with whether another attempt makes sense.
        """
        try:
            headers = self._options.headers()
            self._options.redactor.learn(value for _, value in headers)
        except (TypeError, ValueError) as error:
            raise ConnectError(said(error), cause=error, retryable=False) from error
        found = await self._ask()
        if not isinstance(found, str):
            path = getattr(getattr(found, "request", None), "path", None)
            if isinstance(path, str):
                self._options.redactor.learn_url(path, made=True)
            return adopt(found)
        self._options.redactor.learn_url(found, made=not isinstance(self._source, str))
        self._warn_of_listeners(found, [name for name, _ in headers])
        return await self._options.transport.connect(found, self._options.extra)

    def _warn_of_listeners(self, url: str, headers: list[str]) -> None:
        host = listeners(url, headers)
        if host and not self._warned:
            self._warned = True
            host = self._options.redactor.text(host)
            _log.warning("credentials go to %s in clear text: connect by wss://", host)

    async def _ask(self) -> Any:
        if isinstance(self._source, str):
            return self._source
        try:
            found = self._source()
            return await found if inspect.isawaitable(found) else found
        except Exception as error:
            # It may have opened a connection itself, and have been refused for good.
            raise explain(error, f"source raised {type(error).__name__}: {said(error)}") from error
