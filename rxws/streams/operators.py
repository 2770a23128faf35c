"""Operators of ours, on any Observable. None starts a thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable
from reactivex import operators as ops

from ..core.filters import Filters, compile_filters
from .threads import running_loop

__all__ = ["stream_filter"]

_T = TypeVar("_T")

_log = logging.getLogger("rxws")


def stream_filter(filters: Filters = None) -> Callable[[Observable[_T]], Observable[_T]]:
    """Let the items pass that ``ReactiveWebSocket.stream_filter`` would let pass.

    It subscribes to the source when it is subscribed to, holds nothing, and hands on completion
    and errors. A condition or predicate that raises does not match; the first time, what it raised
    goes to the event loop's exception handler, or is logged where no loop runs.

    Args:
        filters: ``None`` or an empty list for everything, a list of mappings of which one has to
            match, or a predicate.

    Raises:
        FilterError: the filters are malformed; raised here, not when subscribed.
    """
    return ops.filter(compile_filters(filters, _filter_failed).matches)


def _filter_failed(error: Exception) -> None:
    loop = running_loop()
    if loop is None:
        _log.error("a filter raised", exc_info=error)
    else:
        loop.call_exception_handler({"message": "rxws: a filter raised", "exception": error})
