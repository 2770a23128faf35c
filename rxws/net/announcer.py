"""Events on their way out: stamped, their secrets taken out, logged, told."""

from __future__ import annotations

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
from ..core.seldom import Seldom
from ..core.texts import said
from ..streams.events import EventSource
from ..streams.isolation import FAULTS
from ..streams.threads import running_loop

__all__ = ["Announcer"]

_log = logging.getLogger("rxws")

_SAMPLE = 200  # bytes of a payload, and characters of what its parser said, in the log

_WARNINGS = (
    ConnectFailed | ConsumerFailed | Disconnected | Gap | Overflowed | RotationFailed | SignalFailed
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
        self._parse_failures = Seldom(1.0)

    def announce(self, event: Event) -> None:
        """Tell an event. Its times are set here.

        Neither what users put into it nor their log handlers make this raise.
        """
        loop = running_loop()
        now = time.monotonic() if loop is None else loop.time()
        error = getattr(event, "error", None)
        # What a parser's error carries is the payload, which its event holds anyway.
        is_kept = isinstance(event, ParseFailed) and self._redactor.is_discreet(event.error)
        if isinstance(error, BaseException) and not is_kept:
            clean = self._redactor.exception(error)
            if clean is not error:
                event = dataclasses.replace(event, error=clean)  # type: ignore[call-arg]
        event = stamped(event, now, time.time())
        try:
            self._write(event)
        except FAULTS as fault:  # a filter or a handler of the log that the user made
            if loop is not None:
                clean = self._redactor.exception(fault)
                loop.call_exception_handler({"message": "rxws: logging raised", "exception": clean})
        self._events.emit(event)

    def _write(self, event: Event) -> None:
        if isinstance(event, ParseFailed):
            self._write_parse_failure(event)
            return
        level = self._level(event)
        if _log.isEnabledFor(level):
            _log.log(level, "%s", self._redactor.text(self._text(event)))

    def _write_parse_failure(self, event: ParseFailed) -> None:
        """One line a second at most, however many there are; the payload is for DEBUG only."""
        if not _log.isEnabledFor(logging.WARNING) or not self._parse_failures.admits(
            event.monotonic
        ):
            return
        more = self._parse_failures.take_refused()
        since = f", and {more} more before" if more else ""
        error = self._redactor.text(f"{type(event.error).__name__}: {said(event.error)}")
        size = len(event.raw)
        _log.warning("ParseFailed(%d long, error=%s)%s", size, error[:_SAMPLE], since)
        if _log.isEnabledFor(logging.DEBUG):
            raw = event.raw
            text = raw if isinstance(raw, str) else bytes(raw[:10_000]).decode(errors="replace")
            sample = self._redactor.text(text).encode(errors="replace")[:_SAMPLE]
            _log.debug("payload that can't be parsed: %s", sample.decode(errors="ignore"))

    def _level(self, event: Event) -> int:
        if isinstance(event, Closed) and event.error is not None:
            return logging.ERROR
        return logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO

    def _text(self, event: Event) -> str:
        try:
            return repr(event)
        except FAULTS as error:  # of what the user made
            return f"{type(event).__name__}(...), whose repr raised {type(error).__name__}"
