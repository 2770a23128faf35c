"""Carries out what the lifecycle decides: owns every connection, timer and task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..core import steps as s
from ..core.errors import ClosedError, ConnectError
from ..core.events import Closed, Event, ParseFailed
from ..core.machine import Machine
from ..core.steps import Phase
from ..core.texts import said
from ..core.verdicts import Verdict
from ..streams.hub import Hub
from ..streams.tasks import Tasks
from .connection import Connection
from .dialer import Dialer
from .draining import LOOK
from .intake import Intake
from .options import Options
from .pool import Pool
from .preparing import Preparer
from .retrying import Retrying
from .sender import Sender
from .takeover import Takeover
from .timers import Timers
from .topics import Topics
from .transport import Link
from .watcher import Watcher

__all__ = ["Driver"]

_T = TypeVar("_T")


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
        self.on_torn: Callable[[], None] = lambda: None
        self._options = options
        self._preparer: Preparer[_T] = Preparer(dialer, options, self.topics, self._adopt)
        self._redactor = options.redactor
        self._retrying = Retrying(options, lambda error: hub.report(options.retry, error))
        self._hub = hub
        self._announce = announce
        self._watcher = watcher
        self._tasks = Tasks(lambda error: hub.report(None, error))
        self.sender = Sender(options.send_timeout, lambda error: hub.report(None, error))
        plan = options.handover.plan
        self.machine = Machine(
            options.backoff,
            options.random,
            overlap=plan.overlap,
            drain=plan.drain,
            quiet=LOOK,
            breaks_first=plan.breaks_first,
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
        self.takeover: Takeover[_T] = Takeover(
            options,
            self.machine,
            self.pool,
            self.intake,
            self.sender,
            topics=self.topics,
            tasks=self._tasks,
            announce=announce,
            watcher=watcher,
        )
        self._timers = Timers(self._elapsed)
        self._steps: deque[s.Step] = deque()
        self._handling = False
        self._postponed: str | None = None
        self._opened: asyncio.Future[None] | None = None
        self._open_error: Exception | None = None
        self.ending: asyncio.Task[None] | None = None
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
                if self.intake.is_mending and isinstance(step, s.Signal):
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
            case s.GoLive(epoch) if epoch in self.pool:
                self.takeover.go_live(self.pool[epoch], effect)
                self._tell_opened(None)
            case s.Hold(epoch) if epoch in self.pool:
                assert self.machine.live is not None
                self.takeover.hold(self.pool[epoch], self.pool[self.machine.live])
                if self.intake.handover.full:  # by what it brought while it was prepared
                    self.feed(s.Full())
            case s.Drain(old, new) if old in self.pool:
                self.takeover.drain(self.pool[old], self.pool.get(new))
            case s.Splice():
                self.takeover.splice(effect)
            case s.Forget(epoch):
                self._forget(epoch)
            case s.Shutdown():
                self._end_consumers(None)
                self.ending = self._tasks.spawn(self._end_connections(), "exit")
            case s.End(error):
                self._end(error if isinstance(error, Exception) else None)

    def _now(self) -> float:
        assert self.loop is not None
        return self.loop.time()

    def _elapsed(self, timer: s.Timer, seconds: float) -> None:
        if timer is s.Timer.STABLE:
            self._retrying.stable()
        over: s.Timer | None = timer
        if timer in (s.Timer.QUIET, s.Timer.DRAIN):
            over = self.takeover.is_over(timer)
        if over is None:
            self._timers.start(timer, seconds)
        else:
            self.feed(s.Elapsed(over))

    # Connecting

    async def _connect(self, epoch: int) -> None:
        try:
            await self._preparer.prepare(epoch)
        except asyncio.CancelledError:
            is_ours = epoch in self._dials  # else it was given up
            self._abandon(epoch)
            if is_ours:
                self.feed(s.Failed(epoch, ConnectError("cancelled"), retryable=True))
            raise
        except ConnectError as error:
            self._abandon(epoch)
            verdict = self._retrying.judge(error, counts=self.machine.depends_on(epoch))
            clean = self._redactor.exception(error)
            self.feed(s.Failed(epoch, clean, verdict.retryable, verdict.least))
        except (KeyboardInterrupt, SystemExit):
            raise  # the end of the program
        except BaseException as error:  # nobody knows what that means: not tried again
            self._abandon(epoch)
            text = f"could not connect: {said(error)}"
            self.feed(s.Failed(epoch, ConnectError(text, cause=error), retryable=False))
            raise
        else:
            if self._dials.pop(epoch, None) is None or epoch not in self.pool:
                return  # it was given up, and did not heed that
            self.pool[epoch].ready_at = self._now()
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
            on_suspected=self._suspected,
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
            self.intake.discard()
            connection.abort()

    # Losing

    def _suspected(self, connection: Connection[_T], is_suspected: bool) -> None:  # noqa: FBT001
        epoch = connection.epoch
        if not is_suspected:
            self.feed(s.Recovered(epoch))
        elif not self.intake.is_mending:
            self.feed(s.Suspected(epoch, "no sign of life"))

    def _lost(self, connection: Connection[_T]) -> None:
        epoch, loss = connection.epoch, connection.loss
        assert loss is not None
        if connection.is_torn:
            self.on_torn()
            return
        if epoch in self._dials or self.pool.remove(epoch) is None:
            return  # a dial finds out by itself; what was forgotten concerns nobody
        is_live = epoch == self.machine.live
        verdict = Verdict(retryable=True)
        if not connection.closing:
            verdict = self._retrying.judge(loss, counts=self.machine.depends_on(epoch))
        self._redactor.exception(loss)
        if is_live or self.machine.phase is Phase.DRAINING:
            self.intake.breaks.ended(connection, self.machine.planned)
        self._part(connection)
        connection.abort()  # what `recv` raised may have left the socket open
        retryable, least = verdict.retryable, verdict.least
        self.feed(s.Lost(epoch, connection.code, connection.reason, loss, retryable, least))

    def _part(self, connection: Connection[_T]) -> None:
        """Nothing more goes out on a connection, or is expected of it."""
        epoch = connection.epoch
        self.topics.ledger.closed(epoch)
        self.intake.replies.lost(epoch, connection.code, connection.reason)
        self.sender.detach(connection)
        self._watcher.on_gone(epoch)

    def _forget(self, epoch: int) -> None:
        dial = self._dials.pop(epoch, None)
        if dial is not None:
            dial.cancel()
        connection = self.pool.remove(epoch)
        if connection is not None:
            if self.machine.planned is not None:
                self.intake.breaks.ended(connection, self.machine.planned)
            self._part(connection)
            connection.abort()
        live = self.pool.get(self.machine.live)
        if self.machine.phase is Phase.OPEN and live is not None:
            if epoch > live.epoch:
                self.intake.discard()
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
            if self.ending is not None:
                # Cancelling who waits does not stop what ends.
                await asyncio.wait([self.ending])
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
        try:
            if closes:
                await asyncio.wait(closes, timeout=timeout)
            self._abort_all()
            await self._hub.tasks.settle(max(deadline - self._now(), 0), but=self._exit_callers)
        finally:  # at once, where the whole loop is being cancelled
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
        self._tell_opened(error or ClosedError("exited before a connection was live"))
        self._announce(Closed(error))

    def _tell_opened(self, error: Exception | None) -> None:
        if self._opened is not None and not self._opened.done():
            self._open_error = error
            self._opened.set_result(None)
