"""What the end of a connection means, in words."""

from __future__ import annotations

import contextlib
import dataclasses

from ..core.redact import escape_control
from ..core.texts import said
from .adopted import sent_code

__all__ = ["FAILURES", "broken_off", "how_it_ended", "tidy"]

FAILURES = frozenset({1002, 1003, 1007, 1009, 1011})
"""Codes by which one side says that it can't go on with the other (RFC 6455, 7.4.1)."""


def broken_off(error: BaseException | None) -> bool:
    """Whether this side broke the connection off, because of what it received.

    Then a Close frame of the peer only answers ours: it has not ended in the orderly way, and
    what broke it is lost.
    """
    return sent_code(error) in FAILURES


def how_it_ended(error: BaseException | None) -> str:
    """What ended a connection, out of what its ``recv`` raised."""
    if error is None:
        return "ended"
    cause = error.__cause__
    sent = getattr(error, "sent", None)
    if broken_off(error):
        limit = getattr(cause, "max_size", None)
        hint = "" if limit is None else f" (max_size={limit}: raise it, or None for no limit)"
        return f"broken off with {sent_code(error)}: {getattr(sent, 'reason', '')}{hint}"
    if sent is None and getattr(error, "rcvd", ...) is None and cause is not None:
        return said(cause)  # "no close frame received or sent" says less
    return said(error)


def tidy(error: BaseException | None) -> None:
    """Escape the control characters of a Close frame in the exception that carries it."""
    for name in ("rcvd", "sent"):
        frame = getattr(error, name, None)
        reason = getattr(frame, "reason", None)
        if isinstance(reason, str) and reason != escape_control(reason):
            with contextlib.suppress(TypeError, AttributeError):  # of another library
                tidied = dataclasses.replace(frame, reason=escape_control(reason))  # type: ignore[type-var]
                setattr(error, name, tidied)
