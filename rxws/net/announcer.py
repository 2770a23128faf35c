"""Events on their way out: stamped, their secrets taken out, logged, told."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time

from ..core.events import (
    Closed,
    ConnectFailed,
    ConsumerFailed,
    Disconnected,
    Event,
    Gap,
    Overflowed,
    ParseFailed,
    RotationFailed,
    SignalFailed,
    stamped,
)
from ..core.redact import Redactor
from ..streams.events import EventSource

__all__ = ["Announcer"]

_log = logging.getLogger("rxws")

_WARNINGS = (
    ConnectFailed
    | ConsumerFailed
    | Disconnected
    | Gap
    | Overflowed
    | ParseFailed
    | RotationFailed
    | SignalFailed
)


class Announcer:
    """Tells events to their observers and to the log.

    Args:
        redactor: takes the secrets out.
        events: tells the observers.
    """

    def __init__(self, redactor: Redactor, events: EventSource) -> None:
        self._redactor = redactor
        self._events = events

    def announce(self, event: Event) -> None:
        """Tell an event. Its times are set here."""
        try:
            now = asyncio.get_running_loop().time()
        except RuntimeError:
            now = time.monotonic()
        error = getattr(event, "error", None)
        if isinstance(error, BaseException):
            clean = self._redactor.exception(error)
            if clean is not error:
                event = dataclasses.replace(event, error=clean)  # type: ignore[call-arg]
        event = stamped(event, now, time.time())
        level = self._level(event)
        if _log.isEnabledFor(level):
            _log.log(level, "%s", self._redactor.text(self._text(event)))
        self._events.emit(event)

    def _level(self, event: Event) -> int:
        if isinstance(event, Closed) and event.error is not None:
            return logging.ERROR
        return logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO

    def _text(self, event: Event) -> str:
        if isinstance(event, ParseFailed):  # a payload is for DEBUG only
            return f"ParseFailed({len(event.raw)} long, error={event.error!r})"
        try:
            return repr(event)
        except Exception as error:  # of what the user made
            return f"{type(event).__name__}(...), whose repr raised {type(error).__name__}"
