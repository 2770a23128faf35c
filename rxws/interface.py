"""The abstract class of the older library AsyncWebsocketStreamInterface, on a `ReactiveWebSocket`.

Subclasses bring methods and attributes of any names, so the websocket is a part of the object
and not its base, and whatever is not of the older interface begins with ``rxws_`` or ``_rxws_``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, Unpack

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from .core.backoff import Delays
from .core.errors import ClosedError, Delivery
from .core.events import Closed, Connected, Event, SignalFailed, State
from .core.filters import Filters
from .net.transport import Raw
from .options import ConnectOptions, resolve
from .rotation import any_of, signal_of
from .streams.copying import copied
from .streams.stream import Stream
from .websocket import ReactiveWebSocket

__all__ = ["AsyncWebsocketStreamInterface"]

_log = logging.getLogger("rxws")


class AsyncWebsocketStreamInterface(metaclass=ABCMeta):
    """A websocket whose subclass says how to connect, when to replace, and how to parse.

    Constructing it inside a running event loop starts it: it connects, reconnects with backoff,
    and hands over to a new connection whenever `_when2create_new_ws` is done, until `exit`.
    ``_create_ws`` is first called after the constructor has returned, so a subclass may call
    ``super().__init__()`` before or after it sets its attributes.

    Every stream and every handler receives a copy of its own of each message.

    Args:
        **options: those of `rxws.connect` but ``parse``, which is ``_parse_raw_data`` here.
            ``rotate_on`` rotates in addition to ``_when2create_new_ws``. Those of the transport
            count where ``_create_ws`` returns a URL.

    Raises:
        RuntimeError: no event loop is running.
        TypeError, ValueError: an option is unknown or makes no sense.
    """

    def __init__(self, **options: Unpack[ConnectOptions]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"construct {type(self).__name__} inside a running event loop, in a coroutine: "
                "constructing it starts it"
            ) from None
        if "parse" in options:
            raise TypeError("parse is the method _parse_raw_data here")
        checked, rotate_on = resolve(
            {**options, "parse": self._rxws_parse}, sends_move_at_ready=True
        )
        self._rxws_socket: ReactiveWebSocket[Any] = ReactiveWebSocket(
            self._rxws_source, checked, self._rxws_signal, copied
        )
        self._rxws_rotate_on = signal_of(rotate_on, self._rxws_socket)
        self._rxws_stable = checked.backoff.stable
        self._rxws_delays = Delays(checked.backoff, checked.random)
        self._rxws_runs: set[asyncio.Task[None]] = set()
        self._rxws_exiting: set[asyncio.Task[Any] | None] = set()
        self._rxws_entering: set[asyncio.Future[None]] = set()
        self._rxws_closed: Closed | None = None
        self._rxws_socket.events.subscribe(self._rxws_happened)
        # Not at once, not even under an eager task factory: the subclass is not ready yet.
        self._rxws_starting = loop.call_soon(self._rxws_socket.start)

    # To be written by the subclass

    @abstractmethod
    async def _create_ws(self) -> Any:
        """Open a connection; called anew for each.

        Returns:
            An open connection of ``websockets`` or of the same shape, or a URL.

        Raises:
            Exception: whatever it raises is retried with ``backoff``, unless it says that a
                handshake was refused for good or ``retry`` says otherwise.
        """

    @abstractmethod
    async def _when2create_new_ws(self) -> Any:
        """Return or raise when it is time for a new connection.

        Run once for each connection, as soon as that is open, with `present_ws` and `send`
        already on it: what it subscribes to is there before the old connection ends. It is
        cancelled when its connection ends. What it raises is a ``SignalFailed`` event too. When it
        is done sooner than ``backoff.stable`` seconds after its beginning, the next delay of
        ``backoff`` is waited for first.
        """

    @abstractmethod
    async def _parse_raw_data(self, raw_data: Any) -> Any:
        """Make a message of the ``str`` of a text frame or the ``bytes`` of a binary one.

        What raises is a ``ParseFailed`` event, and the streams go on without it.
        """

    # For users

    @property
    def rxws_socket(self) -> ReactiveWebSocket[Any]:
        """The `ReactiveWebSocket` beneath: an Observable, with ``events``, ``stats`` and so on."""
        return self._rxws_socket

    @property
    def present_ws(self) -> Any:
        """The connection in use, as `_create_ws` returned it; ``None`` while there is none."""
        return self._rxws_socket.present_ws

    def stream_filter(self, _filters: Filters = None) -> Stream[Any]:
        """A stream of copies of the messages that pass, as `ReactiveWebSocket.stream_filter`.

        Args:
            _filters: ``None`` or an empty list for everything, or a list of mappings, of which
                one has to match with all its items.

        Raises:
            FilterError: the filters are malformed.
        """
        return self._rxws_socket.stream_filter(_filters)

    def add_handler(
        self, function_or_coroutine_function: Callable[[Any], Any]
    ) -> abc.DisposableBase:
        """Call a function or coroutine function with a copy of each message from now on.

        What it raises harms nobody. One that was added already is not added again. A coroutine
        function is run for one message at a time, as `ReactiveWebSocket.add_handler` has it; for
        another bound or overflow strategy, use that of `rxws_socket`.

        Returns:
            What ends it when disposed.
        """
        socket, handler = self._rxws_socket, function_or_coroutine_function
        if handler not in socket._handlers:
            return socket.add_handler(handler)
        return Disposable(lambda: socket.remove_handler(handler))

    async def send(self, msg: Any) -> Delivery:
        """Send a message on the connection in use, or on the next, within ``send_timeout``.

        ``str`` and ``bytes`` are sent as they are, anything else through ``serialize``.

        Raises:
            SendTimeout, ConnectionLost, BufferOverflow, ClosedError: as
                `ReactiveWebSocket.send`.
        """
        return await self._rxws_socket.send(msg)

    async def wait_enter_handing_ws(self) -> None:
        """Wait until a new connection is in use: the first, or else the next one.

        `present_ws` and `send` are on it then.

        Raises:
            ClosedError: there will be none, because this has exited or failed for good.
        """
        if self._rxws_closed is not None:
            raise ClosedError from self._rxws_closed.error
        waiter = asyncio.get_running_loop().create_future()
        self._rxws_entering.add(waiter)
        try:
            await waiter
        finally:
            self._rxws_entering.discard(waiter)
        if self._rxws_closed is not None:
            raise ClosedError from self._rxws_closed.error

    async def exit(self) -> None:
        """End in the orderly way, within ``exit_timeout``; idempotent, at any time.

        Streams end after what they hold, the connection closes with 1000, and no task is left.
        """
        self._rxws_starting.cancel()
        caller = asyncio.current_task()
        self._rxws_exiting.add(caller)
        for run in list(self._rxws_runs):  # before its streams end
            self._rxws_stop(run)
        try:
            await self._rxws_socket.exit()
        finally:
            self._rxws_exiting.discard(caller)

    # From the methods of the subclass to what a ReactiveWebSocket takes. They are looked up at each
    # call, as a subclass may replace them on the instance.

    async def _rxws_source(self) -> Any:
        return await self._create_ws()

    async def _rxws_parse(self, raw: Raw) -> Any:
        message = self._parse_raw_data(raw)
        return await message if inspect.isawaitable(message) else message

    def _rxws_signal(self, _: ReactiveWebSocket[Any]) -> Observable[Any]:
        signals = [self._rxws_done]
        if self._rxws_rotate_on is not None:
            signals.append(self._rxws_rotate_on)
        return any_of(signals, self._rxws_signal_failed)

    def _rxws_signal_failed(self, error: BaseException) -> None:
        if self._rxws_socket.state is State.CLOSED:
            _log.debug("_when2create_new_ws failed at the end: %s", type(error).__name__)
        else:
            self._rxws_socket._hub.announce(SignalFailed(error))

    def _rxws_done(self) -> Observable[None]:
        """Emit when it is time to replace the connection that is being subscribed for."""

        def subscribe(
            observer: abc.ObserverBase[None], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            run = self._rxws_socket._driver.spawn(self._rxws_run(), "_when2create_new_ws")

            def done(run: asyncio.Task[None]) -> None:
                self._rxws_runs.discard(run)
                if not run.cancelled() and run.exception() is None:
                    observer.on_next(None)

            self._rxws_runs.add(run)
            run.add_done_callback(done)
            return Disposable(lambda: self._rxws_stop(run))

        return Observable(subscribe)

    def _rxws_stop(self, run: asyncio.Task[None]) -> None:
        if run not in self._rxws_exiting:  # one that calls exit itself may go on after that
            run.cancel()

    async def _rxws_run(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        began = loop.time()
        try:
            await self._when2create_new_ws()
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            self._rxws_signal_failed(error)  # its own, of something that it awaited
        except Exception as error:
            self._rxws_signal_failed(error)
        if task.cancelling() or self._rxws_socket.state is State.CLOSED:
            return
        if loop.time() - began >= self._rxws_stable:
            self._rxws_delays.restart()
        else:
            await asyncio.sleep(self._rxws_delays.next())

    def _rxws_happened(self, event: Event) -> None:
        if isinstance(event, Closed):
            self._rxws_closed = event
        elif not isinstance(event, Connected):
            return
        for waiter in self._rxws_entering:
            if not waiter.done():
                waiter.set_result(None)
