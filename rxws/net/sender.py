"""Where outgoing messages go: to the live connection, or by their policy while there is none."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from ..core.errors import BufferOverflow, ClosedError, ConnectionLost, Delivery
from ..core.policy import Drop, Fail, Keep, SendPolicy, ThisConnection
from .connection import Connection
from .sending import Parcel, Stage
from .transport import Raw

__all__ = ["Outbox", "Sender"]

_TIDY = 64  # parcels that are kept in mind at least before those that are done are looked for


class Outbox:
    """Messages that wait for a connection."""

    def __init__(self) -> None:
        self._parcels: deque[Parcel] = deque()

    def put(self, parcel: Parcel, capacity: int) -> None:
        """Queue a message.

        Raises:
            BufferOverflow: ``capacity`` messages wait already.
        """
        if len(self._parcels) >= capacity:
            self._parcels = deque(p for p in self._parcels if p.stage is Stage.WAITING)
        if len(self._parcels) >= capacity:
            raise BufferOverflow(capacity, "the queue of messages to send")
        self._parcels.append(parcel)

    def put_back(self, parcels: list[Parcel]) -> None:
        """Messages that a lost connection did not take go before all others."""
        self._parcels.extendleft(reversed(parcels))

    def take(self) -> list[Parcel]:
        """All that wait, in order."""
        parcels = [parcel for parcel in self._parcels if parcel.stage is Stage.WAITING]
        self._parcels.clear()
        return parcels


class Sender:
    """Sends on whichever connection is the outlet.

    Args:
        timeout: seconds that a message may take, the waiting for a connection included.
        on_error: told of messages that failed while nobody waited for them.

    Attributes:
        outlet: the connection that is sent on; ``None`` while there is none.
        started: whether a connection was asked for.
    """

    def __init__(self, timeout: float, on_error: Callable[[Exception], None]) -> None:
        self.outlet: Connection[Any] | None = None
        self.started = False
        self._timeout = timeout
        self._on_error = on_error
        self._outbox = Outbox()
        self._posted: list[Parcel] = []
        self._tidy_at = _TIDY
        self._closed: Exception | None = None

    async def send(
        self, raw: Raw, policy: SendPolicy, on_sent: Callable[[int | None], None] | None = None
    ) -> Delivery:
        """Send a message; returns what became of it.

        ``on_sent`` is told of the epoch of its connection in the step in which it is written.
        """
        self._check_open()
        if not isinstance(policy, Keep | Drop | Fail | ThisConnection):
            raise TypeError(f"policy={policy!r}: Keep(), Drop(), Fail() or ThisConnection()")
        outlet = self.outlet
        if outlet is None or not outlet.link.is_open:
            if isinstance(policy, Drop):
                return Delivery.NOT_SENT
            if not isinstance(policy, Keep):
                raise ConnectionLost("no connection is live now", delivery=Delivery.NOT_SENT)
        elif outlet.lane.try_write(raw):
            if on_sent is not None:
                on_sent(outlet.epoch)
            return Delivery.SENT
        parcel = Parcel(
            raw, keep=isinstance(policy, Keep), on_error=self._on_error, on_sent=on_sent
        )
        self._post(parcel, policy.capacity if isinstance(policy, Keep) else Keep().capacity)
        if not self.started:
            return Delivery.QUEUED
        await parcel.delivered(self._timeout)
        return Delivery.SENT

    def post(self, raw: Raw) -> None:
        """Send a message that nobody waits for; queued while there is no connection."""
        self._check_open()
        self._post(Parcel(raw, keep=True, on_error=self._on_error), Keep().capacity)

    def _post(self, parcel: Parcel, capacity: int) -> None:
        if self.outlet is None:
            self._outbox.put(parcel, capacity)
        elif len(self.outlet.lane) >= capacity:
            raise BufferOverflow(capacity, "the queue of messages to send")
        else:
            self.outlet.lane.post(parcel)
        self._note(parcel)

    def _note(self, parcel: Parcel) -> None:
        if parcel.stage is Stage.DONE:
            return
        if len(self._posted) >= self._tidy_at:  # what is done goes seldom, so that it costs little
            self._posted = [each for each in self._posted if each.stage is not Stage.DONE]
            self._tidy_at = 2 * len(self._posted) + _TIDY
        self._posted.append(parcel)

    async def flushed(self) -> None:
        """Wait until all that was sent so far has left, or failed; ``timeout`` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                for parcel in tuple(self._posted):
                    await parcel.over()

    def attach(self, connection: Connection[Any]) -> None:
        """Send on ``connection`` from now on, what waits first."""
        before, self.outlet = self.outlet, connection
        if before is not None and before is not connection:
            self._outbox.put_back(before.lane.withdraw())
        for parcel in self._outbox.take():
            connection.lane.post(parcel)

    def detach(self, connection: Connection[Any]) -> None:
        """``connection`` takes nothing more; what it did not take waits for the next."""
        kept = connection.lane.end()
        if self._closed is None:
            self._outbox.put_back(kept)
        else:
            self._refuse(kept)
        if self.outlet is connection:
            self.outlet = None
        elif self.outlet is not None:
            self.attach(self.outlet)

    def end(self, error: Exception | None) -> None:
        """Nothing is sent any more."""
        self._closed = error or ClosedError()
        self.outlet = None
        self._refuse(self._outbox.take())

    def _refuse(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            parcel.done(ClosedError("exited before the message was sent"))

    def _check_open(self) -> None:
        if self._closed is not None:
            raise ClosedError from (None if isinstance(self._closed, ClosedError) else self._closed)
