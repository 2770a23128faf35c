"""Outgoing messages on one connection: each written once, in order."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable

from ..core.errors import ConnectionLost, Delivery, SendTimeout
from ..core.redact import Redactor
from ..streams.tasks import Tasks
from .transport import Link, Raw

__all__ = ["Lane", "Parcel", "Stage"]


class Stage(enum.Enum):
    """How far a parcel is."""

    WAITING = "waiting"
    WRITING = "writing"
    DONE = "done"


class Parcel:
    """One message on its way out.

    Args:
        raw: its payload.
        keep: whether it outlives a connection that did not take it.
        on_error: told of a failure that nobody waits for.
        on_sent: told of the epoch of its connection in the very step in which it was written.

    Attributes:
        stage: how far it is.
        epoch: of the connection that it was written to.
    """

    __slots__ = ("_future", "_on_error", "_on_sent", "_over", "epoch", "keep", "raw", "stage")

    def __init__(
        self,
        raw: Raw,
        *,
        keep: bool,
        on_error: Callable[[Exception], None] | None = None,
        on_sent: Callable[[int | None], None] | None = None,
    ) -> None:
        self.raw = raw
        self.keep = keep
        self.stage = Stage.WAITING
        self.epoch: int | None = None
        self._on_error = on_error
        self._on_sent = on_sent
        self._over: asyncio.Future[None] | None = None
        self._future: asyncio.Future[None] | None = None

    def done(self, error: Exception | None = None) -> None:
        """It was sent, or ``error`` says why not."""
        if self.stage is Stage.DONE:
            return
        self._end()
        if error is None and self._on_sent is not None:
            self._on_sent(self.epoch)
        if self._future is None:
            if error is not None and self._on_error is not None:
                self._on_error(error)
        elif not self._future.done():
            if error is None:
                self._future.set_result(None)
            else:
                self._future.set_exception(error)

    def _end(self) -> None:
        self.stage = Stage.DONE
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def over(self) -> None:
        """Wait until it was sent, failed or was withdrawn; beside whoever waits in `delivered`."""
        if self.stage is not Stage.DONE:
            self._over = self._over or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._over)

    async def delivered(self, timeout: float) -> None:
        """Wait until it was sent, for ``timeout`` seconds at most.

        When that is over, or the waiting is cancelled, a message that still waits here is
        withdrawn; one that is being written can't be.

        Raises:
            SendTimeout: with what is known of the delivery.
            ConnectionLost: likewise.
        """
        if self.stage is Stage.DONE:
            return
        self._future = asyncio.get_running_loop().create_future()
        bound = asyncio.timeout(timeout)
        try:
            async with bound:
                await self._future
        except TimeoutError:
            if not bound.expired():
                raise  # a SendTimeout that the lane set
            waiting = self.stage is Stage.WAITING
            raise SendTimeout(timeout, Delivery.NOT_SENT if waiting else Delivery.UNKNOWN) from None
        finally:
            if self.stage is Stage.WAITING:
                self._end()


class Lane:
    """The way out of one connection.

    Args:
        epoch: of the connection.
        link: where to.
        tasks: owner of the task that writes what can't be written at once.
        timeout: seconds that one message may take.
        redactor: takes secrets out of what the peer says.
    """

    def __init__(
        self, epoch: int, link: Link, tasks: Tasks, timeout: float, redactor: Redactor
    ) -> None:
        self._epoch = epoch
        self._link = link
        self._tasks = tasks
        self._timeout = timeout
        self._redactor = redactor
        self._waiting: deque[Parcel] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._ended = False

    def __len__(self) -> int:
        return len(self._waiting) + (self._flusher is not None)

    def try_write(self, raw: Raw) -> bool:
        """Write without waiting, where nothing waits already and the link can."""
        return self._flusher is None and not self._ended and self._link.write(raw)

    def post(self, parcel: Parcel) -> None:
        """Send a message after all that were posted before."""
        if self.try_write(parcel.raw):
            parcel.epoch = self._epoch
            parcel.done()
        elif self._ended and not parcel.keep:
            parcel.done(ConnectionLost("the connection has ended", delivery=Delivery.NOT_SENT))
        else:
            self._waiting.append(parcel)
            if self._flusher is None and not self._ended:
                self._flusher = self._tasks.spawn(self._flush(), "sender")

    async def _flush(self) -> None:
        try:
            while self._waiting and not self._ended:
                parcel = self._waiting.popleft()
                if parcel.stage is Stage.WAITING:
                    await self._send(parcel)
        finally:
            self._flusher = None

    async def _send(self, parcel: Parcel) -> None:
        parcel.stage = Stage.WRITING
        parcel.epoch = self._epoch
        try:
            if not self._link.write(parcel.raw):
                async with asyncio.timeout(self._timeout):
                    await self._link.send(parcel.raw)
        except TimeoutError:
            parcel.done(SendTimeout(self._timeout, Delivery.UNKNOWN))
        except ConnectionLost as error:
            if error.delivery is Delivery.NOT_SENT and parcel.keep:
                parcel.stage = Stage.WAITING
                self._waiting.appendleft(parcel)
                self._ended = True
            else:
                self._redactor.exception(error)
                parcel.done(error)
        except asyncio.CancelledError:
            parcel.done(ConnectionLost("exited while sending"))
            raise
        except Exception as error:  # of the message: too large, of a type that can't be sent
            parcel.done(error)
        else:
            # An abort lets a blocked write return as if all had left.
            lost = None if self._link.is_open else ConnectionLost("it ended while sending")
            parcel.done(lost)

    def withdraw(self) -> list[Parcel]:
        """Give up what waits and may as well be sent elsewhere; in order."""
        waiting, self._waiting = self._waiting, deque()
        self._waiting.extend(parcel for parcel in waiting if not parcel.keep)
        return [parcel for parcel in waiting if parcel.keep and parcel.stage is Stage.WAITING]

    def end(self) -> list[Parcel]:
        """The connection takes nothing more; returns what outlives it, in order."""
        self._ended = True
        waiting = [parcel for parcel in self._waiting if parcel.stage is Stage.WAITING]
        self._waiting.clear()
        kept = [parcel for parcel in waiting if parcel.keep]
        for parcel in waiting:
            if not parcel.keep:
                error = ConnectionLost("the connection has ended", delivery=Delivery.NOT_SENT)
                parcel.done(error)
        return kept
