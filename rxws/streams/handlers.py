"""Coroutine functions as consumers: one message at a time, in order, each with its buffer."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from ..core.buffer import Buffer, Overflow, Put
from ..core.errors import BufferOverflow
from ..core.events import ConsumerFailed
from ..core.router import Registration
from .hub import Consumer, Hub

__all__ = ["Handlers", "is_coroutine_function"]

_T = TypeVar("_T")


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calling ``function`` makes a coroutine; looks into partials and callables."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - its kind is asked, not its presence
    )


class _Worker(Generic[_T]):
    """Feeds one coroutine function from its buffer; its task lives while there is work."""

    def __init__(
        self,
        hub: Hub[_T],
        handler: Callable[[_T], Awaitable[Any]],
        buffer: Buffer[_T],
        on_overflow: Callable[[], None],
    ) -> None:
        self.face = handler
        self._hub = hub
        self._handler = handler
        self._buffer = buffer
        self._on_overflow = on_overflow
        self._task: asyncio.Task[None] | None = None
        self._registration: Registration[Consumer[_T]] | None = None
        self._over = False

    def start(self) -> None:
        self._registration = self._hub.add(None, self)

    @property
    def backlog(self) -> int:
        return len(self._buffer.items)

    def on_message(self, message: _T) -> None:
        if self._over:  # in the midst of the delivery of this message
            return
        match self._buffer.put(message):
            case Put.FULL:
                self._hub.gate.shut(self)
            case Put.DROPPED:
                self._hub.count_drop(self, self._buffer.dropped)
            case Put.REFUSED:
                self._overflowed()
            case Put.HELD:
                pass
        if self._task is None and self._buffer.items:
            self._task = self._hub.tasks.spawn(self._work(), "handler")

    def _overflowed(self) -> None:
        self._hub.count_drop(self, 1)
        assert self._buffer.capacity is not None
        error = BufferOverflow(self._buffer.capacity, "a handler")
        self._unregister()
        self._on_overflow()
        self._hub.announce(ConsumerFailed(self._handler, error))

    async def _work(self) -> None:
        items = self._buffer.items
        try:
            while items:
                message = items.popleft()
                if len(items) <= (self._buffer.capacity or 0) // 2:
                    self._hub.gate.open(self)
                try:
                    await self._handler(message)
                except Exception as error:
                    self._hub.report(self._handler, error)
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    self._hub.report(self._handler, error)  # its own, of something it awaited
        finally:
            self._task = None
            self._hub.gate.open(self)

    def on_end(self, error: Exception | None) -> None:
        """What waits is still handled, as long as the exit allows."""

    def _unregister(self) -> None:
        self._over = True
        if self._registration is not None:
            self._hub.remove(self._registration)
            self._hub.forget_drops(self)

    def dispose(self) -> None:
        """The message being handled is finished; what waits is discarded."""
        self._unregister()
        self._buffer.items.clear()
        self._hub.gate.open(self)


class _Function(Generic[_T]):
    """A plain function, called with each message in the midst of its delivery."""

    backlog = 0

    def __init__(self, hub: Hub[_T], handler: Callable[[_T], Any]) -> None:
        self.face = handler
        self.on_message = handler  # no call in between on the path of a message
        self._hub = hub
        self._registration = hub.add(None, self)

    def dispose(self) -> None:
        """It is not called any more, not even with the message being delivered."""
        self.on_message = _ignore
        self._hub.remove(self._registration)

    def on_end(self, error: Exception | None) -> None:
        """A function learns nothing of the end; the events tell."""


def _ignore(_: Any) -> None:
    pass


class Handlers(Generic[_T]):
    """The handlers of one websocket.

    Args:
        hub: what they consume from.
    """

    def __init__(self, hub: Hub[_T]) -> None:
        self._hub = hub
        self._added: list[tuple[Callable[..., Any], Callable[[], None]]] = []

    def __contains__(self, handler: object) -> bool:
        """Whether it was added, and neither disposed nor unsubscribed by its overflow."""
        return any(added == handler for added, _ in self._added)

    def add(
        self, handler: Callable[[_T], Any], capacity: int | None, overflow: Overflow
    ) -> Callable[[], None]:
        """Call ``handler`` with every message from now on; returns what ends that."""
        if not callable(handler):
            raise TypeError(f"add_handler({handler!r}): a function or coroutine function is needed")
        buffer: Buffer[_T] = Buffer(capacity, overflow)

        def forget() -> None:
            # By identity: handlers that are equal are not the same subscription.
            self._added[:] = [other for other in self._added if other is not entry]

        if is_coroutine_function(handler):
            worker = _Worker(self._hub, handler, buffer, forget)
            worker.start()
            end = worker.dispose
        else:
            end = _Function(self._hub, handler).dispose
        entry = (handler, end)
        self._added.append(entry)

        def dispose() -> None:
            forget()
            end()

        return dispose

    def remove(self, handler: Callable[..., Any]) -> None:
        """End all that `add` began for ``handler``; nothing where there is none."""
        ends = [end for added, end in self._added if added == handler]
        self._added[:] = [entry for entry in self._added if entry[0] != handler]
        for end in ends:
            end()
