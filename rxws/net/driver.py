"""Carries out what the lifecycle decides: owns every connection, timer and task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..core import steps as s
from ..core.errors import ClosedError, ConnectError, RxwsError
from ..core.events import Closed, Event, ParseFailed, Rotated
from ..core.machine import Machine, Phase
from ..streams.hub import Hub
from ..streams.isolation import FAULTS
from ..streams.tasks import Tasks
from .connection import Connection
from .dialer import Dialer
from .draining import Draining
from .intake import Intake
from .options import Options
from .pool import Pool
from .preparing import Preparer
from .sender import Sender
from .timers import Timers
from .topics import Topics
from .transport import Link
from .watcher import Watcher

__all__ = ["Driver"]

_T = TypeVar("_T")

_QUIET = 0.04  # seconds without a message after which a closing predecessor counts as drained


class Driver(Generic[_T]):
    """The shell around one `Machine`.

    Args:
        dialer: opens links.
        options: of the websocket.
        hub: delivers messages.
        announce: tells events.
        watcher: asks for rotations.
    """

    def __init__(
        self,
        dialer: Dialer,
        options: Options,
        hub: Hub[_T],
        announce: Callable[[Event], None],
        watcher: Watcher,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.pool: Pool[_T] = Pool()
        self.topics = Topics(
            self.pool, options.payload, lambda topic, error: hub.report(topic.face, error)
        )
        self.rotations = self.reconnects = 0
        self._options = options
        self._preparer: Preparer[_T] = Preparer(dialer, options, self.topics, self._adopt)
        self._redactor = options.redactor
        self._hub = hub
        self._announce = announce
        self._watcher = watcher
        self._tasks = Tasks(lambda error: hub.report(None, error))
        self.sender = Sender(options.send_timeout, lambda error: hub.report(None, error))
        self.machine = Machine(
            options.backoff,
            options.random,
            overlap=options.handover.overlap,
            drain=options.handover.drain,
            quiet=_QUIET,
        )
        self.intake: Intake[_T] = Intake(
            options,
            self.machine,
            hub,
            self.pool,
            tasks=self._tasks,
            announce=announce,
            on_full=lambda: self.feed(s.Full()),
            on_mended=self._rotate_postponed,
        )
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._draining = Draining(self.intake, options.handover.drain)
        self._timers = Timers(self._elapsed)
        self._steps: deque[s.Step] = deque()
        self._handling = False
        self._overlapping_since = 0.0
        self._postponed: str | None = None
        self._opened: asyncio.Future[None] | None = None
        self._open_error: Exception | None = None
        self._ending: asyncio.Task[None] | None = None
        self._exit_callers: set[asyncio.Task[Any]] = set()

    # What users ask for

    def start(self) -> None:
        """Begin to connect, on the running loop. Idempotent.

        Raises:
            ClosedError: exited before.
        """
        if self.machine.phase in (Phase.CLOSING, Phase.CLOSED):
            raise ClosedError
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
            self._opened = self.loop.create_future()
            self.sender.started = True
            self.feed(s.Start())

    async def opened(self) -> None:
        """Wait until a connection is live for the first time.

        Raises:
            ConnectError: retrying can't mend it, or may not go on.
            ClosedError: exited before.
        """
        assert self._opened is not None
        await asyncio.shield(self._opened)
        if self._open_error is not None:
            raise self._open_error

    def spawn(self, work: Any, name: str) -> asyncio.Task[Any]:
        """Run a coroutine as a task of this websocket."""
        return self._tasks.spawn(work, name)

    def rotate(self, reason: str) -> None:
        """Ask for a rotation; while a gap is being filled, it begins after that."""
        self.feed(s.Signal(reason))

    def _rotate_postponed(self) -> None:
        if self._postponed is not None:
            reason, self._postponed = self._postponed, None
            self.feed(s.Signal(reason))

    # The machine

    def feed(self, step: s.Step) -> None:
        """Tell the machine what happened, and do what it says: one step after the other."""
        self._steps.append(step)
        if self._handling:
            return
        self._handling = True
        try:
            while self._steps:
                step = self._steps.popleft()
                if isinstance(step, s.Signal) and self.intake.breaks.filling:
                    self._postponed = step.reason
                    continue
                for effect in self.machine.handle(step):
                    self._carry_out(effect)
        finally:
            self._handling = False

    def _carry_out(self, effect: s.Effect) -> None:  # noqa: C901 (a case for each effect)
        match effect:
            case s.Announce(event):
                self._announce(event)
            case s.StartTimer(timer, seconds):
                self._timers.start(timer, seconds)
            case s.StopTimer(timer):
                self._timers.stop(timer)
            case s.Dial(epoch):
                self._dials[epoch] = self._tasks.spawn(self._connect(epoch), f"dial {epoch}")
            # What an observer of the event before did may have cost a connection already.
            case s.GoLive(epoch, after) if epoch in self.pool:
                self._go_live(self.pool[epoch], after)
            case s.Hold(epoch) if epoch in self.pool:
                self._hold(self.pool[epoch])
            case s.Drain(old, new) if old in self.pool and new in self.pool:
                self._drain(self.pool[old], self.pool[new])
            case s.Splice():
                self._splice(effect)
            case s.Forget(epoch):
                self._forget(epoch)
            case s.Shutdown():
                self._end_consumers(None)
                self._ending = self._tasks.spawn(self._end_connections(), "exit")
            case s.End(error):
                self._end(error if isinstance(error, Exception) else None)

    def _now(self) -> float:
        assert self.loop is not None
        return self.loop.time()

    def _elapsed(self, timer: s.Timer, seconds: float) -> None:
        is_draining = self.machine.phase is Phase.DRAINING
        if is_draining and self._draining.goes_on(self._predecessor, timer, seconds):
            self._timers.start(timer, seconds)
        else:
            self.feed(s.Elapsed(timer))

    @property
    def _predecessor(self) -> Connection[_T]:
        assert self.machine.live is not None
        return self.pool[self.machine.live]

    # Connecting

    async def _connect(self, epoch: int) -> None:
        try:
            await self._preparer.prepare(epoch)
        except asyncio.CancelledError:
            self._abandon(epoch)
            raise
        except ConnectError as error:
            self._abandon(epoch)
            retryable = self._may_retry(error, default=error.retryable)
            clean = self._redactor.exception(error)
            self.feed(s.Failed(epoch, clean, retryable, error.retry_after))
        else:
            del self._dials[epoch]
            self.feed(s.Ready(epoch))

    def _adopt(self, epoch: int, link: Link) -> Connection[_T]:
        connection: Connection[_T] = Connection(
            epoch,
            link,
            self._options,
            self._tasks,
            on_message=self.intake.received,
            on_unparsed=lambda raw, error: self._announce(ParseFailed(raw, error)),
            on_lost=self._lost,
        )
        self.pool.add(connection)
        link.start(connection)
        return connection

    def _abandon(self, epoch: int) -> None:
        """Give up a connection that did not get ready."""
        self._dials.pop(epoch, None)
        connection = self.pool.remove(epoch)
        if connection is not None:
            self._part(connection)
            self.intake.handover.discard()
            connection.abort()

    def _may_retry(self, error: RxwsError, *, default: bool) -> bool:
        if self._options.retry is None:
            return default
        try:
            return bool(self._options.retry(error))
        except FAULTS as fault:  # the user's function; the default stands in for it
            self._hub.report(self._options.retry, fault)
            return default

    # Losing

    def _lost(self, connection: Connection[_T]) -> None:
        epoch, loss = connection.epoch, connection.loss
        assert loss is not None
        if epoch in self._dials or self.pool.remove(epoch) is None:
            return  # a dial finds out by itself; what was forgotten concerns nobody
        retryable = connection.closing or self._may_retry(loss, default=True)
        self._redactor.exception(loss)
        if epoch == self.machine.live or self.machine.phase is Phase.DRAINING:
            self.intake.breaks.ended(connection)
        self._part(connection)
        connection.abort()  # what `recv` raised may have left the socket open
        self.feed(s.Lost(epoch, connection.code, connection.reason, loss, retryable))

    def _part(self, connection: Connection[_T]) -> None:
        """Nothing more goes out on a connection, or is expected of it."""
        epoch = connection.epoch
        self.topics.ledger.closed(epoch)
        self.intake.replies.lost(epoch, connection.code, connection.reason)
        self.sender.detach(connection)
        self._watcher.on_gone(epoch)

    # Taking over

    def _go_live(self, connection: Connection[_T], after: int | None) -> None:
        self._send_on(connection)
        self.reconnects += after is not None
        self.intake.begin(connection, after_loss=after is not None)
        assert self._opened is not None
        if not self._opened.done():
            self._opened.set_result(None)
        self._watcher.on_live(connection.epoch)

    def _send_on(self, connection: Connection[_T]) -> None:
        self.sender.attach(connection)
        self._watcher.on_outlet(connection.epoch)

    def _hold(self, successor: Connection[_T]) -> None:
        self._overlapping_since = self._now()
        self.intake.breaks.overlapped = self._predecessor.link.is_open
        if self._options.sends_move_at_ready:
            self._send_on(successor)
        if self.intake.handover.full:  # by what it brought while it was prepared
            self.feed(s.Full())

    def _drain(self, old: Connection[_T], new: Connection[_T]) -> None:
        self._send_on(new)
        self.topics.ledger.closed(old.epoch)
        self._tasks.spawn(self._draining.close(old), f"drain {old.epoch}")

    def _splice(self, effect: s.Splice) -> None:
        overlap = self._now() - self._overlapping_since
        new = self.pool.get(effect.new)  # it may be lost by now
        if new is not None:
            self._send_on(new)
        self.rotations += 1
        spliced = self.intake.splice(effect.new, old_lost=effect.old_lost)
        self._announce(
            Rotated(
                effect.old,
                effect.new,
                effect.reason,
                overlap=overlap,
                duplicates=spliced.duplicates,
                matched=spliced.matched,
                early=effect.early,
            )
        )
        if new is not None:
            new.resume("hold")
            self._watcher.on_live(effect.new)

    def _forget(self, epoch: int) -> None:
        dial = self._dials.pop(epoch, None)
        if dial is not None:
            dial.cancel()
        connection = self.pool.remove(epoch)
        if connection is not None:
            self._part(connection)
            connection.abort()
        live = self.pool.get(self.machine.live)
        if self.machine.phase is Phase.OPEN and live is not None:
            if not self.intake.breaks.filling and epoch > live.epoch:
                self.intake.handover.discard()
            if self.sender.outlet is None:
                self.sender.attach(live)

    # The end

    async def exit(self) -> None:
        """End everything in the orderly way, within ``exit_timeout``. Idempotent."""
        self.feed(s.Exit())
        if self.loop is None:
            return
        caller = asyncio.current_task()
        assert caller is not None
        self._exit_callers.add(caller)
        try:
            if self._ending is not None:
                # Cancelling who waits does not stop what ends.
                await asyncio.shield(self._ending)
            else:
                await self._hub.tasks.settle(self._options.exit_timeout, but=self._exit_callers)
            await self._tasks.settle(0, but=self._exit_callers)
        finally:
            self._exit_callers.discard(caller)

    def _end_consumers(self, error: Exception | None) -> None:
        self.sender.end(error)
        self.intake.end(error)

    async def _end_connections(self) -> None:
        timeout = self._options.exit_timeout
        deadline = self._now() + timeout
        for dial in self._dials.values():
            if dial not in self._exit_callers:
                dial.cancel()
        closes = [
            self._tasks.spawn(connection.close(discard=True), f"close {connection.epoch}")
            for connection in self.pool
        ]
        if closes:
            await asyncio.wait(closes, timeout=timeout)
        self._abort_all()
        await self._hub.tasks.settle(max(deadline - self._now(), 0), but=self._exit_callers)
        self.feed(s.Ended())

    def _abort_all(self) -> None:
        for connection in self.pool:
            self.pool.remove(connection.epoch)
            self._part(connection)
            connection.abort()

    def _end(self, error: Exception | None) -> None:
        self._end_consumers(error)
        for dial in self._dials.values():
            dial.cancel()
        self._abort_all()
        if self._opened is not None and not self._opened.done():
            self._open_error = error or ClosedError("exited before a connection was live")
            self._opened.set_result(None)
        self._announce(Closed(error))
