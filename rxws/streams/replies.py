"""Requests in flight: who waits for which reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from ..core.errors import ClosedError, ConnectionLost, Delivery
from ..core.filters import Filters
from ..core.router import Registration, Router

__all__ = ["Pending", "Replies"]

_T = TypeVar("_T")


class Pending(Generic[_T]):
    """One request: the future of its reply, and the connection that it was sent on."""

    def __init__(self, filters: Filters, future: asyncio.Future[_T]) -> None:
        self.filters = filters
        self.future = future
        self.epoch: int | None = None
        self.registration: Registration[Pending[_T]] | None = None

    def sent_on(self, epoch: int | None) -> None:
        """It was written to this connection."""
        self.epoch = epoch


class Replies(Generic[_T]):
    """Finds the request that a message answers: by an index, however many are in flight.

    Args:
        on_fault: told of filters of which something raised, which therefore did not match, and
            of the exception: once for each request.
        copy: makes the copy that each request is given; ``None``: it shares the message.
    """

    def __init__(
        self,
        on_fault: Callable[[Filters, Exception], None] | None = None,
        copy: Callable[[_T], _T] | None = None,
    ) -> None:
        self._copy = copy
        self._router: Router[Pending[_T]] = Router(
            None if on_fault is None else lambda pending, error: on_fault(pending.filters, error)
        )

    def __len__(self) -> int:
        return len(self._router)

    def expect(self, filters: Filters) -> Pending[_T]:
        """From now on, the first message that passes ``filters`` is the reply."""
        pending = Pending[_T](filters, asyncio.get_running_loop().create_future())
        pending.registration = self._router.add(filters, pending)
        return pending

    def forget(self, pending: Pending[_T]) -> None:
        """Nobody waits any more. Idempotent."""
        if pending.registration is not None:
            self._router.remove(pending.registration)

    def offer(self, message: _T) -> None:
        """A message arrived: give it to every request that it answers."""
        if not len(self._router):
            return
        for pending in self._router.match(message):
            self.forget(pending)
            if not pending.future.done():
                pending.future.set_result(message if self._copy is None else self._copy(message))

    def on(self, epoch: int) -> list[asyncio.Future[_T]]:
        """The replies that are waited for on a connection."""
        return [
            pending.future
            for pending in self._router.targets()
            if pending.epoch == epoch and not pending.future.done()
        ]

    def lost(self, epoch: int, code: int | None, reason: str) -> None:
        """A connection ended: no reply can come to what was sent on it."""
        for pending in self._router.targets():
            if pending.epoch == epoch:
                self._fail(
                    pending,
                    ConnectionLost(
                        "the connection ended before the reply",
                        code=code,
                        reason=reason,
                        delivery=Delivery.UNKNOWN,
                    ),
                )

    def end(self, error: Exception | None) -> None:
        """Nothing follows."""
        for pending in self._router.targets():
            self._fail(pending, error or ClosedError("exited before the reply"))

    def _fail(self, pending: Pending[_T], error: Exception) -> None:
        self.forget(pending)
        if not pending.future.done():
            pending.future.set_exception(error)
