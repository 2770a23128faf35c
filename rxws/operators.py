"""Operators for any Observable: ``from rxws import operators``."""

from __future__ import annotations

from .streams.iteration import to_async_iterator
from .streams.operators import stream_filter

__all__ = ["stream_filter", "to_async_iterator"]
