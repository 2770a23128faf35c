"""Signals: plain Observables that say when to rotate, to combine with ``reactivex.merge``.

Each does its work on the event loop that it is subscribed on, with no thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from ..core.filters import Filters
from .operators import stream_filter

__all__ = ["every", "from_coroutine", "on_message", "on_silence"]

_T = TypeVar("_T")

_running: set[asyncio.Task[Any]] = set()
"""The coroutines of signals: an event loop alone does not hold a task."""


def every(seconds: float) -> Observable[int]:
    """Emit 0, 1, 2 and so on, one each ``seconds``; the first after ``seconds``.

    Subscribed, it needs a running event loop. Disposing it stops the timer.

    Raises:
        ValueError: ``seconds`` is not more than 0.
    """
    _check(seconds)

    def subscribe(
        observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        count = 0
        timer: asyncio.TimerHandle

        def tick() -> None:
            nonlocal due, count, timer
            due += seconds
            timer = loop.call_at(due, tick)
            count += 1
            observer.on_next(count - 1)

        timer = loop.call_at(due, tick)
        return Disposable(lambda: timer.cancel())  # noqa: PLW0108 (the timer of that moment)

    return Observable(subscribe)


def on_message(ws: Observable[_T], filters: Filters = None) -> Observable[_T]:
    """Emit the messages of ``ws`` that pass ``filters``.

    A condition or predicate that raises does not match, and is reported once: as an event of
    ``ws``, or as `rxws.operators.stream_filter` does where that is some other Observable.

    Raises:
        FilterError: the filters are malformed.
    """
    made_by = getattr(ws, "stream_filter", None)
    if made_by is None:
        return ws.pipe(stream_filter(filters))
    messages: Observable[_T] = made_by(filters).pipe()  # from then on it collects nothing
    return messages


def on_silence(ws: Observable[Any], seconds: float) -> Observable[float]:
    """Emit the length of the silence, whenever ``ws`` emitted nothing for ``seconds``.

    The silence is counted from the subscription, then from the last message, and after it was
    told once, from there. Subscribed, it needs a running event loop.

    Raises:
        ValueError: ``seconds`` is not more than 0.
    """
    _check(seconds)

    def subscribe(
        observer: abc.ObserverBase[float], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        loop = asyncio.get_running_loop()
        last = loop.time()
        timer: asyncio.TimerHandle

        def heard(_: Any) -> None:
            nonlocal last
            last = loop.time()  # the timer looks; it is not set anew for each message

        def look() -> None:
            nonlocal timer, last
            now = loop.time()
            silence = now - last
            if silence < seconds:
                timer = loop.call_at(last + seconds, look)
                return
            last = now
            timer = loop.call_at(now + seconds, look)
            observer.on_next(silence)

        timer = loop.call_at(last + seconds, look)
        heard_from = ws.subscribe(heard, observer.on_error, observer.on_completed)

        def dispose() -> None:
            timer.cancel()
            heard_from.dispose()

        return Disposable(dispose)

    return Observable(subscribe)


def from_coroutine(function: Callable[[], Coroutine[Any, Any, _T]]) -> Observable[_T]:
    """Emit the result of the coroutine that ``function()`` makes, and complete.

    Each subscription runs one of its own, as a task; disposing the subscription cancels it.
    What the coroutine raises is the error of the Observable; a cancellation that does not come
    from the disposal is a ``concurrent.futures.CancelledError``.
    """

    def subscribe(
        observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        task = asyncio.get_running_loop().create_task(_run(), name="rxws signal")

        disposed = False

        def done(task: asyncio.Task[_T]) -> None:
            _running.discard(task)
            if task.cancelled():
                if not disposed:
                    observer.on_error(CancelledError("the coroutine of this signal was cancelled"))
                return
            error = task.exception()
            if error is None:
                observer.on_next(task.result())
                observer.on_completed()
            elif isinstance(error, Exception):
                observer.on_error(error)

        _running.add(task)
        task.add_done_callback(done)

        def cancel() -> None:
            nonlocal disposed
            disposed = True
            task.cancel()

        return Disposable(cancel)

    async def _run() -> _T:
        return await function()

    return Observable(subscribe)


def _check(seconds: float) -> None:
    if not seconds > 0:
        raise ValueError(f"{seconds!r}: seconds, more than 0, are needed")
