"""Many spans of time in little memory: their quantiles, and the longest."""

from __future__ import annotations

import math

__all__ = ["Spans"]

_SHORTEST = 1e-5
_FACTOR = 1.05  # of one bin to the next: quantiles are right within 5 %


class Spans:
    """A histogram of spans, in seconds, with bins that grow.

    Attributes:
        count, longest: of what was added.
    """

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._bins: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Add a span."""
        self.count += 1
        self.longest = max(self.longest, seconds)
        index = 0 if seconds <= _SHORTEST else math.ceil(math.log(seconds / _SHORTEST, _FACTOR))
        self._bins[index] = self._bins.get(index, 0) + 1

    def quantile(self, part: float) -> float:
        """Return what ``part`` of the spans are no longer than; 0 when there are none."""
        left = part * self.count
        for index in sorted(self._bins):
            left -= self._bins[index]
            if left <= 0:
                return min(_SHORTEST * _FACTOR**index, self.longest)
        return self.longest

    def __str__(self) -> str:
        figures = [f"{name} {self.quantile(part) * 1000:.1f}" for name, part in _QUANTILES]
        return f"{', '.join(figures)}, longest {self.longest * 1000:.1f} ms ({self.count:,})"


_QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
