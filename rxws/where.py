"""Conditions for filters: ``stream_filter([{"e": "trade", "p": where.gt(100)}])``."""

from __future__ import annotations

from .core.where import (
    Condition,
    between,
    exists,
    ge,
    gt,
    le,
    lt,
    matches,
    one_of,
    satisfies,
)

__all__ = [
    "Condition",
    "between",
    "exists",
    "ge",
    "gt",
    "le",
    "lt",
    "matches",
    "one_of",
    "satisfies",
]
