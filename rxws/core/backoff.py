"""How long to wait between attempts: capped exponential growth with full jitter.

Full jitter (a delay drawn uniformly between 0 and the bound) spreads the clients that lost
the same server together best, as measured in "Exponential Backoff And Jitter" (AWS
Architecture Blog, 2015).
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable

__all__ = ["Backoff", "Delays"]


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """The delays between attempts to connect.

    Attributes:
        initial: bound of the first delay, in seconds.
        maximum: bound that no delay exceeds, in seconds.
        factor: by which the bound grows from one delay to the next.
        attempts: how many dials in a row may fail; ``None`` for any number.
        stable: seconds for which a connection must have been open before the delays start
            over. A mere open does not: a server that accepts and closes would be stormed.
    """

    initial: float = 1.0
    maximum: float = 60.0
    factor: float = 2.0
    attempts: int | None = None
    stable: float = 10.0

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "factor", "stable"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"Backoff({name}={value!r}): a finite number, 0 or more, is needed"
                )
        if self.factor < 1:
            raise ValueError(f"Backoff(factor={self.factor!r}): the delays must not shrink")
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(
                f"Backoff(attempts={self.attempts!r}): at least 1, or None for no bound"
            )

    def bound(self, taken: int) -> float:
        """The largest delay, in seconds, after ``taken`` earlier ones."""
        try:
            growth = float(self.factor) ** taken
        except OverflowError:  # after about 1,000 failures in a row
            growth = sys.float_info.max
        return min(self.initial * growth, self.maximum)


class Delays:
    """The delays drawn from one `Backoff`, in order.

    Args:
        backoff: the policy.
        random: gives numbers from 0 up to 1, uniformly.
    """

    def __init__(self, backoff: Backoff, random: Callable[[], float]) -> None:
        self.backoff = backoff
        self._random = random
        self._taken = 0

    def next(self, least: float | None = None) -> float:
        """The next delay in seconds; on top of ``least`` where a server asked for that much."""
        delay = self._random() * self.backoff.bound(self._taken)
        self._taken += 1
        return delay if least is None else least + delay

    def restart(self) -> None:
        """Start over from the first delay."""
        self._taken = 0
