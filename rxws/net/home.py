"""Where a websocket lives: one event loop of one process; and what happens when that ends."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reactivex import Observable

from ..core import steps as s
from ..core.errors import ClosedError, ForkedError
from ..core.events import Closed, Event
from ..core.steps import Phase
from ..streams.threads import leave_behind, on_loop
from .driver import Driver
from .forking import in_child

__all__ = ["Home"]

_T = TypeVar("_T")

_TURNS = 10  # of a loop that ends: for who was cancelled with us to exit, for sockets to close


class Home(Generic[_T]):
    """Keeps a websocket to the loop that it was started on, and ends it when that ends.

    ``asyncio.run`` cancels every task at its end. A websocket that nobody exits then is aborted
    with a ResourceWarning, and leaves nothing that would warn beside it.

    Args:
        driver: of the websocket.
        events: of the websocket.
        exit_timeout: seconds that an orderly end takes at most.
        face: gives what users know the websocket as.
    """

    def __init__(
        self,
        driver: Driver[_T],
        events: Observable[Event],
        exit_timeout: float,
        face: Callable[[], object],
    ) -> None:
        self.is_forked = False
        self._driver = driver
        self._events = events
        self._timeout = exit_timeout
        self._face = face
        self._visitor: asyncio.Task[Any] | None = None
        self._over: asyncio.Future[None] | None = None
        self._torn: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Start the driver, on the running loop. Idempotent."""
        self.check()
        self._driver.start()
        if self._over is None:
            loop = asyncio.get_running_loop()
            self._over = loop.create_future()
            self._torn = loop.create_future()
            self._driver.on_torn = self._tear
            self._driver.spawn(self._watch(self._over, self._torn), "home")
            self._events.subscribe(self._heard)
            in_child(self)

    def entered(self) -> None:
        """The running task is in an ``async with`` from now on, which will exit it."""
        self._visitor = asyncio.current_task()

    def check(self) -> None:
        """Refuse whoever calls from elsewhere.

        Raises:
            ForkedError: this process is a child of the one that the websocket lives in.
            RuntimeError: another event loop runs here.
        """
        self.check_process()
        loop = self._driver.loop
        if loop is not None and loop is not asyncio.get_running_loop():
            raise RuntimeError(
                "this websocket belongs to another event loop; from other threads only "
                "subscribe, dispose, rotate, on_next and send_threadsafe may be used"
            )

    def check_process(self) -> None:
        """Refuse a child of the process that the websocket lives in.

        Raises:
            ForkedError: this is one.
        """
        if self.is_forked:
            raise ForkedError

    def on_loop(self, work: Callable[[], None]) -> None:
        """Do ``work`` on the loop of the websocket, from any thread."""
        self.check_process()
        on_loop(self._driver.loop, work)

    def sending_loop(self) -> asyncio.AbstractEventLoop:
        """The loop, for other threads.

        Raises:
            ForkedError: as `check`.
            ClosedError: the loop has ended.
            RuntimeError: it was not started.
        """
        self.check_process()
        loop = self._driver.loop
        if loop is None:
            raise RuntimeError("enter the websocket before other threads send on it")
        if loop.is_closed():
            raise ClosedError
        return loop

    def after_fork(self) -> None:
        """In the child nothing goes on: whatever still happens there comes too late."""
        self.is_forked = True
        self._driver.machine.phase = Phase.CLOSED
        assert self._driver.loop is not None
        leave_behind(self._driver.loop)

    def _heard(self, event: Event) -> None:
        if isinstance(event, Closed) and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _tear(self) -> None:
        if self._torn is not None and not self._torn.done():
            self._torn.set_result(None)

    async def _watch(self, over: asyncio.Future[None], torn: asyncio.Future[None]) -> None:
        try:
            await asyncio.wait([over, torn], return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                # What ends a whole program was raised in a handler, and yet the loop goes on.
                await self._driver.exit()
        except asyncio.CancelledError:
            if not over.done() and not self.is_forked:
                await self._end_with_the_loop(over)
            raise

    async def _end_with_the_loop(self, over: asyncio.Future[None]) -> None:
        driver = self._driver
        shown = repr(self._face())
        for _ in range(_TURNS):
            if driver.ending is not None or over.done():
                break
            await asyncio.sleep(0)
        if self._visitor is not None and driver.ending is None:
            # It was cancelled too, and may have more to leave than our block.
            waits = [over, self._visitor]
            await asyncio.wait(waits, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        is_unclosed = driver.machine.phase not in (Phase.CLOSING, Phase.CLOSED)
        driver.feed(s.Exit())
        if driver.ending is not None:
            if is_unclosed:
                await asyncio.sleep(0)
                driver.ending.cancel()
            await asyncio.wait([driver.ending])  # over at once where it was cancelled with us
        driver.feed(s.Ended())  # for one that was cancelled, or interrupted, before it began
        await driver.exit()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if is_unclosed:
            self._warn(shown)

    def _warn(self, shown: str) -> None:
        text = f"unclosed {shown}: leave it by `async with`, or `await ws.exit()`"
        try:
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self._face())
        except ResourceWarning as warning:  # made an error; but there is nobody to raise it to
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"rxws: {text}", "exception": warning}
            )
