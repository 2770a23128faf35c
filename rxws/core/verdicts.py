"""May another attempt be made after an error, and after at least how long?

Most errors pass by themselves, and the backoff alone says when to try again. Three kinds ask
for more:

* Refusals: a Close frame, the server's or our own, that says that one side can't stand what the
  other sends (1002, 1003, 1007, 1008, 1009, 1010). That may pass (1008 is used for rate limits
  too), but not for ever: after three in a row, without a connection between them that was
  stable, retrying can't mend it.
* 1013 (try again later): the server asks for more than the shortest of waits.
* ``Retry-After``: it says for how long.

Nothing here reads a clock: the present is an argument, and dates are a matter of wall-clock time.
"""

from __future__ import annotations

import calendar
import dataclasses
import email.utils

from .backoff import Backoff
from .errors import ConnectError, ConnectionLost

__all__ = ["Verdict", "Verdicts", "retry_after"]

_REFUSALS = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
_MOST_REFUSALS = 3
_TRY_AGAIN_LATER = 1013
_LONGEST_RETRY_AFTER = 600.0  # seconds; a server that asks for more is asked again all the same


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What an error means for the next attempt.

    Attributes:
        retryable: whether there should be one.
        least: seconds to wait before it, the jitter not counted; ``None`` for no such wait.
    """

    retryable: bool
    least: float | None = None


class Verdicts:
    """Judges what costs one websocket its connections, in order.

    Args:
        backoff: its second step is the least wait after a 1013.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._second_step = backoff.bound(1)
        self._refusals = 0

    def judge(
        self, error: BaseException, *, word: bool | None = None, counts: bool = True
    ) -> Verdict:
        """The verdict on a failed attempt, or on the loss of a connection.

        Args:
            error: what happened; it gets a note where it was one refusal too many.
            word: what the user says of another attempt, which settles it; ``None`` for nothing.
            counts: whether a refusal is counted; those of successors are not.
        """
        if isinstance(error, ConnectError):
            lost = error.cause
            retryable, least = error.retryable, error.retry_after
        else:
            lost = error
            retryable, least = True, None
        if isinstance(lost, ConnectionLost):
            if lost.code == _TRY_AGAIN_LATER:
                least = max(least or 0.0, self._second_step)
            if counts and {lost.code, lost.sent} & _REFUSALS:
                self._refusals += 1
                if self._refusals >= _MOST_REFUSALS and word is None:
                    retryable = False
                    error.add_note(
                        f"refused {self._refusals} times in a row, without a stable connection "
                        "between; retry= may allow more"
                    )
        return Verdict(retryable if word is None else word, least)

    def stable(self) -> None:
        """A connection was live for ``Backoff.stable`` seconds: what was before is forgotten."""
        self._refusals = 0


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3), at most ten minutes.

    Args:
        value: a number of seconds, or a date in any of the three forms of HTTP; ``None``, or
            anything else, is no header.
        now: seconds of wall-clock time since 1970.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        date = email.utils.parsedate_tz(text)
        if date is None:
            return None
        try:
            # Dates of HTTP are in UTC, also in the form that doesn't say so.
            seconds = calendar.timegm((*date[:6], 0, 1, 0)) - (date[9] or 0) - now
        except (ValueError, OverflowError):  # the 40th of a month, say
            return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
