"""From ``source`` to an open link."""

from __future__ import annotations

import inspect
from typing import Any

from ..core.errors import ConnectError
from ..core.redact import Redactor
from .adopted import adopt
from .options import Options, Source
from .transport import Link, Transport

__all__ = ["Dialer"]


class Dialer:
    """Opens links; ``source`` is asked anew for each.

    Args:
        source: a URL, or what returns one or an open connection.
        transport: what opens a URL.
        options: of the websocket.
        redactor: told of every secret that a URL or a header holds.
    """

    def __init__(
        self, source: Source, transport: Transport, options: Options, redactor: Redactor
    ) -> None:
        if not isinstance(source, str) and not callable(source):
            raise TypeError(
                f"source is a {type(source).__name__}: give a URL, or a function or coroutine "
                "function that returns a URL or an open connection"
            )
        self._source = source
        self._transport = transport
        self._options = options
        self._redactor = redactor

    async def open(self) -> Link:
        """Open one link; the caller bounds the time.

        Raises:
            ConnectError: with whether another attempt makes sense.
        """
        try:
            self._redactor.learn(value for _, value in self._options.headers())
        except (TypeError, ValueError) as error:
            raise ConnectError(str(error), cause=error, retryable=False) from error
        found = await self._ask()
        if not isinstance(found, str):
            return adopt(found)
        self._redactor.learn_url(found, made=not isinstance(self._source, str))
        return await self._transport.connect(found, self._options.extra)

    async def _ask(self) -> Any:
        if isinstance(self._source, str):
            return self._source
        try:
            found = self._source()
            return await found if inspect.isawaitable(found) else found
        except Exception as error:
            text = f"source raised {type(error).__name__}: {error}"
            raise ConnectError(text, cause=error) from error
