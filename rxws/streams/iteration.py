"""From push to pull: a mailbox that a source fills and one coroutine reads."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase

from ..core.buffer import DEFAULT_CAPACITY, Buffer, Overflow, Put
from ..core.errors import BufferOverflow
from .gate import Gate

__all__ = ["AsyncIteration", "Mailbox", "to_async_iterator"]

_T = TypeVar("_T")


class Mailbox(Generic[_T]):
    """A bounded buffer with one reader, which is woken once per batch.

    Items may be put from any thread; they are read on one event loop.

    Args:
        buffer: what holds the items.
        on_dropped: called with the count of dropped items so far, at each drop.
        on_refused: called once, when the buffer overflowed and takes nothing more.
        gate: shut while a ``BLOCK`` buffer is full; ``None``: that of whatever is emitting.
    """

    def __init__(
        self,
        buffer: Buffer[_T],
        *,
        on_dropped: Callable[[int], None] | None = None,
        on_refused: Callable[[], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.buffer = buffer
        self._on_dropped = on_dropped
        self._on_refused = on_refused
        self._gate = gate
        self._shut: Gate | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._thread = 0
        self._ended = False
        self._error: Exception | None = None

    def put(self, item: _T) -> None:
        """Take an item, or do what the overflow strategy says."""
        if self._ended:
            return
        outcome = self.buffer.put(item)
        if outcome is not Put.HELD:
            self._no_room(outcome)
        if self._waiter is not None:
            self._wake()

    def _no_room(self, outcome: Put) -> None:
        if outcome is Put.FULL:
            gate = self._gate or Gate.of_this_emission()
            if gate is not None:
                self._shut = gate
                gate.shut(self)
            elif not self.buffer.has_room and len(self.buffer.items) > (self.buffer.capacity or 0):
                # No socket behind this source that could be paused.
                self.buffer.items.pop()
                self.buffer.overflowed = True
                outcome = Put.REFUSED
        if outcome is Put.DROPPED and self._on_dropped is not None:
            self._on_dropped(self.buffer.dropped)
        elif outcome is Put.REFUSED:
            self.finish(BufferOverflow(self.buffer.capacity or 0, "this iteration"))
            if self._on_refused is not None:
                self._on_refused()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        if threading.get_ident() == self._thread:
            _resolve(waiter)
        else:
            waiter.get_loop().call_soon_threadsafe(_resolve, waiter)

    def rebind(self, buffer: Buffer[_T]) -> None:
        """Go on with another buffer; what waits moves there, and the reader notices nothing."""
        waiting = self.buffer.items
        buffer.dropped = self.buffer.dropped
        self.buffer = buffer
        self._open_gate()
        if not self._ended and buffer.overflow in (Overflow.DROP_OLDEST, Overflow.LATEST):
            for item in waiting:
                self.put(item)
            return
        buffer.items.extend(waiting)  # all of it: the bound is for what comes from now on
        if not self._ended and buffer.overflow is Overflow.BLOCK and not buffer.has_room:
            self._no_room(Put.FULL)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is put."""
        return self._ended

    @property
    def is_spent(self) -> bool:
        """Whether it ended, and its reader has been told everything."""
        return self._ended and self._error is None and not self.buffer.items

    def finish(self, error: Exception | None = None) -> None:
        """Nothing more comes: the reader gets what is held, then ``error`` or the end."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def discard(self) -> None:
        """Throw away what is held, and end."""
        self.buffer.items.clear()
        self._error = None
        self.finish()
        self._open_gate()

    def _open_gate(self) -> None:
        if self._shut is not None:
            gate, self._shut = self._shut, None
            gate.open(self)

    async def get(self) -> _T:
        """The next item. Cancelling it loses none.

        Raises:
            StopAsyncIteration: after the last item.
            RuntimeError: another coroutine is waiting for one.
        """
        while not self.buffer.items:
            if self._ended:
                self._raise_end()
            if self._waiter is not None:
                raise RuntimeError(
                    "another coroutine iterates here already; give each a stream of its own"
                )
            self._thread = threading.get_ident()
            waiter = asyncio.get_running_loop().create_future()
            self._waiter = waiter
            if (
                self.buffer.items or self._ended
            ):  # put by another thread before it could see the waiter
                self._waiter = None
                continue
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None
        items = self.buffer.items
        item = items.popleft()
        # Half empty, not merely one less: pausing and resuming a socket for each item is slow.
        if self._shut is not None and len(items) <= (self.buffer.capacity or 0) // 2:
            self._open_gate()
        return item

    def _raise_end(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopAsyncIteration


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class AsyncIteration(Generic[_T]):
    """The items of an Observable for ``async for``; made by `to_async_iterator`.

    It is subscribed from the beginning. ``async with`` and `aclose` unsubscribe it, and so
    does dropping it.
    """

    def __init__(self, source: Observable[_T], capacity: int | None, overflow: Overflow) -> None:
        # The subscription must not refer to self: dropping self is to end it.
        mailbox: Mailbox[_T] = Mailbox(Buffer(capacity, overflow))
        self._mailbox = mailbox
        self._subscription: DisposableBase | None = None
        subscription = source.subscribe(mailbox.put, mailbox.finish, mailbox.finish)
        self._subscription = subscription

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        try:
            return await self._mailbox.get()
        finally:
            if self._mailbox.is_spent:
                self._dispose()

    async def aclose(self) -> None:
        """Unsubscribe and throw away what is held. Idempotent; wakes a waiting reader."""
        self._dispose()
        self._mailbox.discard()

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _dispose(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.dispose()

    def __del__(self) -> None:
        if getattr(self, "_subscription", None) is None:
            return
        has_ended = self._mailbox.has_ended
        self._dispose()
        self._mailbox.discard()
        if has_ended:  # by its source, so that there was nothing left to leave
            return
        warnings.warn(
            "an iteration was dropped while subscribed; leave it by `async with` or aclose()",
            ResourceWarning,
            stacklevel=2,
        )


def to_async_iterator(
    *, capacity: int | None = DEFAULT_CAPACITY, overflow: Overflow = Overflow.ERROR
) -> Callable[[Observable[_T]], AsyncIteration[_T]]:
    """An operator that turns any Observable into an async iterator.

    It subscribes when it is applied, so nothing that comes before the first ``async for`` is
    missed. Items that came before an error of the source are given first, then the error is
    raised from the iteration; completion ends it. Leave by ``async with`` or ``aclose()``:
    a ``break`` alone keeps it subscribed until it is dropped.

    Args:
        capacity: items that wait at most; ``None`` for any number.
        overflow: what happens to one more. ``BLOCK`` pauses the websocket that the item came
            from, through any number of operators that hand it on at once; where there is none,
            it is as ``ERROR``.

    Raises:
        BufferOverflow: from the iteration, after what was held, with ``Overflow.ERROR``.
    """

    def to_async_iterator_(source: Observable[_T]) -> AsyncIteration[_T]:
        return AsyncIteration(source, capacity, overflow)

    return to_async_iterator_
