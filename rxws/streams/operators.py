"""Operators of ours, on any Observable. None starts a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable
from reactivex import operators as ops

from ..core.filters import Filters, compile_filters

__all__ = ["stream_filter"]

_T = TypeVar("_T")


def stream_filter(filters: Filters = None) -> Callable[[Observable[_T]], Observable[_T]]:
    """Let the items pass that ``ReactiveWebSocket.stream_filter`` would let pass.

    It subscribes to the source when it is subscribed to, holds nothing, and hands on completion
    and errors.

    Args:
        filters: ``None`` or an empty list for everything, a list of mappings of which one has to
            match, or a predicate.

    Raises:
        FilterError: the filters are malformed; raised here, not when subscribed.
    """
    return ops.filter(compile_filters(filters).matches)
