"""A stream: the messages that pass a filter, to observe or to iterate."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from reactivex import Observable, abc

from ..core.buffer import DEFAULT_CAPACITY, Buffer, Overflow
from ..core.events import Gap
from ..core.filters import Matcher
from .fanout import Fanout
from .hub import Hub

__all__ = ["Stream"]

_T_co = TypeVar("_T_co", covariant=True)


class Stream(Observable[_T_co]):
    """The messages that pass a filter: an Observable, and an async iterator.

    Made by ``ReactiveWebSocket.stream_filter``. From then on it collects for iteration; the
    first ``subscribe`` or ``pipe`` of a stream that was never iterated ends that. Each observer
    gets every message from its subscription on, and nothing of what came before. A stream that
    nobody holds or observes costs nothing.

    When the websocket exits, observers complete, and the iteration gives what it holds and
    stops; when it fails for good, both end with the error instead. One coroutine iterates a
    stream at a time. ``break`` leaves it collecting while it is held: `close` it, or leave
    by ``async with``.
    """

    def __init__(
        self,
        hub: Hub[Any],
        matcher: Matcher,
        *,
        capacity: int | None = DEFAULT_CAPACITY,
        overflow: Overflow = Overflow.ERROR,
        gaps: bool = False,
    ) -> None:
        super().__init__()
        self._capacity = capacity
        self._overflow = overflow
        self._iterated = False
        self._fanout: Fanout[Any] = Fanout(hub, matcher, gaps=gaps)
        self._fanout.owner = weakref.ref(self)
        self._fanout.collect(capacity, overflow)

    def buffered(
        self, *, capacity: int | None = DEFAULT_CAPACITY, overflow: Overflow = Overflow.ERROR
    ) -> Self:
        """Set the bound of the iteration, and what happens at it.

        What waits already is kept, of more than ``DROP_OLDEST`` and ``LATEST`` have room for the
        newest.

        Args:
            capacity: items that wait at most; ``None`` for any number.
            overflow: what happens to one more.

        Returns:
            This stream.
        """
        buffer: Buffer[Any] = Buffer(capacity, overflow)  # refuses what makes no sense
        self._capacity, self._overflow = capacity, overflow
        if self._fanout.mailbox is not None:
            self._fanout.mailbox.rebind(buffer)
        return self

    def with_gaps(self) -> Stream[_T_co | Gap]:
        """A stream like this one that also gives a ``Gap`` wherever messages may be missing.

        It collects from now on, with the bound of this one; this one goes on as it is.
        """
        fanout = self._fanout
        return Stream(
            fanout.hub,
            fanout.matcher,
            capacity=self._capacity,
            overflow=self._overflow,
            gaps=True,
        )

    async def close(self) -> None:
        """End this stream: observers complete, the iteration stops, what waits is discarded.

        Idempotent, never waits, and wakes a waiting reader.
        """
        self._fanout.stop_collecting()
        self._fanout.on_end(None)

    aclose = close

    if not TYPE_CHECKING:  # type checkers see the overloads of Observable.pipe

        def pipe(self, *operators: Callable[[Any], Any]) -> Any:
            """As ``Observable.pipe``; ends the collecting of a stream that was never iterated."""
            self._observed()
            return super().pipe(*operators)

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[Any],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        subscription = self._fanout.add(observer)
        self._observed()
        return subscription

    def _observed(self) -> None:
        if not self._iterated and self._fanout.mailbox is not None:
            self._fanout.stop_collecting()

    def __aiter__(self) -> Self:
        self._iterated = True
        mailbox = self._fanout.mailbox
        if mailbox is None or mailbox.is_spent:
            self._fanout.collect(self._capacity, self._overflow)
        return self

    async def __anext__(self) -> _T_co:
        mailbox = self._fanout.mailbox
        if mailbox is None or not self._iterated:
            mailbox = self.__aiter__()._fanout.mailbox
            assert mailbox is not None
        message: _T_co = await mailbox.get()
        return message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        fanout = getattr(self, "_fanout", None)
        if fanout is not None and fanout.mailbox is not None:
            # Not now: a finalizer can run in the midst of a change to the very same tables.
            fanout.hub.abandon(fanout.stop_collecting)
