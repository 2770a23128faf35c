"""The websocket that outlives its connections, as its users see it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from .core.buffer import DEFAULT_CAPACITY, Overflow
from .core.errors import ClosedError, Delivery, RequestTimeout
from .core.events import Event, State
from .core.filters import Filters, compile_filters
from .core.policy import Keep, SendPolicy
from .core.redact import redact_url
from .core.stats import Stats
from .net.announcer import Announcer
from .net.dialer import Dialer
from .net.driver import Driver
from .net.home import Home
from .net.options import Options, Source
from .rotation import Rotations, signal_of
from .streams.events import EventSource
from .streams.handlers import Handlers
from .streams.hub import Hub, ObserverConsumer
from .streams.multiplex import Multiplex, Topic
from .streams.stream import Stream
from .streams.threads import running_loop

__all__ = ["ReactiveWebSocket"]

_T = TypeVar("_T")


class ReactiveWebSocket(Observable[_T], abc.ObserverBase[Any]):
    """A websocket that outlives its connections: a hot Observable of messages, and an observer.

    Made by `connect`. It belongs to the event loop on which it is entered or awaited; before
    that it can be subscribed to, streams can be made, sends queued. Messages are shared among
    the consumers and are to be treated as read-only.

    An observer gets every message from its subscription on, completion when the websocket
    exits, and an error when it fails for good. One that raises harms nobody else: what it
    raised goes to the event loop's exception handler and to `events`, and it stays subscribed.
    """

    def __init__(
        self,
        source: Source,
        options: Options,
        rotate_on: Observable[Any] | Callable[[ReactiveWebSocket[_T]], Observable[Any]] | None,
        copy: Callable[[_T], _T] | None = None,
    ) -> None:
        super().__init__()
        self._options = options
        redactor = options.redactor
        if isinstance(source, str):
            redactor.learn_url(source)
        self._shown = redact_url(source) if isinstance(source, str) else "made by a function"
        self._events = EventSource(self._event_observer_failed)
        announce = Announcer(redactor, self._events).announce
        self._hub: Hub[_T] = Hub(announce, self._on_gate, copy, redactor.exception)
        self._handlers: Handlers[_T] = Handlers(self._hub)
        self._driver: Driver[_T] = Driver(
            Dialer(source, options),
            options,
            self._hub,
            announce,
            Rotations(signal_of(rotate_on, self), self.rotate, announce),
        )
        self._home: Home[_T] = Home(self._driver, self._events, options.exit_timeout, lambda: self)
        self._completed = False

    def __repr__(self) -> str:
        return f"<ReactiveWebSocket {self._shown} {self.state.value}>"

    # Consuming

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[_T],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        self._home.check_process()
        registration = self._hub.add(None, ObserverConsumer(observer))
        return Disposable(lambda: self._hub.remove(registration))

    def stream_filter(self, filters: Filters = None) -> Stream[_T]:
        """A stream of the messages that pass ``filters``; it collects from now on.

        Args:
            filters: ``None`` or an empty list for everything; a list of mappings, of which one
                has to match with all its items; or a predicate. A tuple as a key is a path,
                an integer in it indexes a list; a value may be a condition of `rxws.where`.

        Raises:
            FilterError: the filters are malformed.
        """
        return Stream(self._hub, compile_filters(filters))

    def add_handler(
        self,
        f: Callable[[_T], Any],
        capacity: int | None = DEFAULT_CAPACITY,
        overflow: Overflow = Overflow.ERROR,
    ) -> abc.DisposableBase:
        """Call ``f`` with every message from now on.

        A plain function is called in the midst of the delivery. A coroutine function runs for
        one message at a time, in order, and delays nobody: what comes meanwhile waits in a
        buffer of its own. On exit, what waits is still handled as far as ``exit_timeout``
        allows.

        Args:
            f: function or coroutine function of one message.
            capacity: messages that wait for a coroutine function at most; ``None`` for any number.
            overflow: what happens to one more. With ``ERROR`` the handler is unsubscribed, and
                ``events`` has a ``ConsumerFailed``.

        Returns:
            What ends it when disposed: nothing more is handled, but what has begun is finished.
        """
        return Disposable(self._handlers.add(f, capacity, overflow))

    def remove_handler(self, f: Callable[[_T], Any]) -> None:
        """Dispose all that ``add_handler(f)`` returned; nothing where there is none."""
        self._handlers.remove(f)

    def multiplex(
        self, subscribe: Any, unsubscribe: Any, filters: Filters = None
    ) -> Observable[_T]:
        """A subscription at the server, made while somebody observes it.

        ``subscribe`` is sent for the first observer and again on every new connection,
        ``unsubscribe`` after the last one. It is never sent on a connection that was not
        subscribed on.

        Args:
            subscribe, unsubscribe: messages as for `send`, or functions without parameters that
                make them anew each time.
            filters: which messages belong to the subscription, as in `stream_filter`.

        Raises:
            FilterError: the filters are malformed.
        """
        topic = Topic(subscribe, unsubscribe)
        return Multiplex(self._hub, compile_filters(filters), topic, self._join, self._leave)

    # From other threads they take effect later, when the opposite may have come first.

    def _join(self, topic: Topic, is_wanted: Callable[[], bool]) -> None:
        topics = self._driver.topics
        subscription = topics.subscription(topic)  # raises to the observer
        self._home.on_loop(lambda: topics.join(topic, subscription) if is_wanted() else None)

    def _leave(self, topic: Topic, is_wanted: Callable[[], bool]) -> None:
        if not self._home.is_forked:  # a finalizer may run this in the child
            self._home.on_loop(lambda: None if is_wanted() else self._driver.topics.leave(topic))

    @property
    def events(self) -> Observable[Event]:
        """What happens to the websocket, hot; a new observer is first given the current state.

        Completes after ``Closed``.
        """
        return self._events

    @property
    def state(self) -> State:
        """Where the websocket is in its life."""
        return self._driver.machine.state

    @property
    def present_ws(self) -> Any:
        """The live connection's own object (``websockets``' ``ClientConnection``), or ``None``."""
        outlet = self._driver.sender.outlet
        return None if outlet is None else outlet.link.connection

    def stats(self) -> Stats:
        """What was done so far."""
        driver, hub = self._driver, self._hub
        return Stats(
            messages=driver.pool.messages,
            bytes=driver.pool.bytes,
            duplicates=driver.intake.handover.duplicates,
            dropped=hub.dropped,
            rotations=driver.takeover.rotations,
            reconnects=driver.takeover.reconnects,
            gaps=driver.intake.breaks.gaps,
            streams=len(hub),
            backlog=hub.backlog,
        )

    # Sending

    async def send(self, message: Any, policy: SendPolicy | None = None) -> Delivery:
        """Send a message: ``str`` as text, ``bytes`` as binary, anything else serialized.

        Nothing is ever sent twice. Cancelled while the message waits for a connection, it is
        withdrawn; while it is being written, its delivery is unknown.

        Args:
            message: what to send.
            policy: what to do while no connection is live. ``None`` is `Keep`: it waits for one,
                within ``send_timeout``, in the order of sending. Before the websocket is
                entered it is queued, and this returns at once.

        Returns:
            ``SENT``: the transport took it; there is no receipt. ``QUEUED``, before the
            websocket is entered. ``NOT_SENT``, with `Drop` and no connection.

        Raises:
            SendTimeout: not sent within ``send_timeout``, with what is known of the delivery.
            ConnectionLost: likewise, when the connection was lost meanwhile or there is none.
            BufferOverflow: more messages wait than `Keep` has capacity for.
            ClosedError: the websocket has exited.
        """
        self._home.check()
        raw = self._options.payload(message)
        return await self._driver.sender.send(raw, Keep() if policy is None else policy)

    def send_threadsafe(
        self, message: Any, policy: SendPolicy | None = None
    ) -> concurrent.futures.Future[Delivery]:
        """As `send`, from any thread. The websocket has to be entered.

        Returns:
            A future of what `send` returns or raises.
        """
        loop = self._home.sending_loop()
        return asyncio.run_coroutine_threadsafe(self.send(message, policy), loop)

    async def request(self, message: Any, reply: Filters, timeout: float = 10) -> _T:
        """Send a message, and return the first one that comes and passes ``reply``.

        The reply is looked for from before the message is sent. The streams get it too.

        Args:
            message: as for `send`; it waits for a connection if there is none.
            reply: filters as in `stream_filter`.
            timeout: seconds, for everything together. The sending is bounded by
                ``send_timeout`` besides.

        Raises:
            RequestTimeout: no reply within ``timeout``.
            SendTimeout: not sent within ``send_timeout``.
            ConnectionLost: the connection that the request was sent on ended before the reply.
            FilterError: ``reply`` is malformed.
            ClosedError: the websocket has exited.
        """
        self._home.check()
        raw = self._options.payload(message)
        replies = self._driver.intake.replies
        pending = replies.expect(reply)
        bound = asyncio.timeout(timeout)
        try:
            async with bound:
                await self._driver.sender.send(raw, Keep(), on_sent=pending.sent_on)
                return await pending.future
        except TimeoutError:
            if bound.expired():
                raise RequestTimeout(timeout) from None
            raise
        finally:
            replies.forget(pending)
            pending.future.cancel()

    # As an observer

    def on_next(self, value: Any) -> None:
        """Send an item; queued while there is no connection. From any thread.

        What can't be sent is reported as `ReactiveWebSocket` reports a failing consumer, not
        raised: it would harm the other observers of the source.
        """
        self._home.on_loop(lambda: self._post(value))

    def _post(self, value: Any) -> None:
        if self._completed:
            return
        try:
            self._driver.sender.post(self._options.payload(value))
        except Exception as error:
            self._hub.report(self, error)

    def on_completed(self) -> None:
        """Exit, after what was given before was sent. From any thread."""
        self._home.on_loop(self._complete)

    def on_error(self, error: Exception) -> None:
        """The source that was sent failed: report it, then as `on_completed`."""
        self._home.on_loop(lambda: self._hub.report(self, error))
        self.on_completed()

    def _complete(self) -> None:
        if not self._completed:
            self._completed = True
            if self._driver.loop is not None:
                self._driver.spawn(self._exit_when_sent(), "completion")

    async def _exit_when_sent(self) -> None:
        try:
            await self._driver.sender.flushed()
        finally:
            await self.exit()

    # Living

    def rotate(self, reason: str = "") -> None:
        """Ask for a planned replacement of the connection, now. From any thread.

        It is merged into one that is under way, and dropped while no connection is live.

        Raises:
            ClosedError: the websocket has exited.
        """
        if self.state is State.CLOSED and not self._home.is_forked:
            raise ClosedError
        shown = self._options.redactor.text(reason)
        self._home.on_loop(lambda: self._driver.rotate(shown))

    def start(self) -> None:
        """Begin to connect on the running loop, without waiting. Idempotent."""
        self._home.start()
        if self._completed:
            self._driver.spawn(self._exit_when_sent(), "completion")

    async def _open(self) -> Self:
        self.start()
        try:
            await self._driver.opened()
        except BaseException:
            await self.exit()
            raise
        return self

    def __await__(self) -> Generator[Any, None, Self]:  # type: ignore[override]
        """Connect; returns this websocket when its first connection is live.

        Raises:
            ConnectError: retrying can't mend it, or ``backoff`` allows no more.
            ClosedError: exited meanwhile, or before.
        """
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        self._home.entered()
        return await self._open()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.exit()

    async def exit(self) -> None:
        """End in the orderly way, within ``exit_timeout``; idempotent, from anywhere.

        Every observer completes, every iterator gives what it holds and stops, the sockets
        close with 1000, and no task is left. Cancelling this does not stop the end. A websocket
        that is open when its event loop ends is aborted, with a ResourceWarning. In a forked
        child this does nothing: the connection is the parent's.
        """
        if not self._home.is_forked:
            self._home.check()
            await self._driver.exit()

    aclose = exit

    # Threads and loops

    def _on_gate(self, shut: bool) -> None:  # noqa: FBT001 (called back)
        pool, intake = self._driver.pool, self._driver.intake
        if shut:
            intake.pause()
            pool.pause("consumer")
        else:
            intake.resume()
            pool.resume("consumer")

    def _event_observer_failed(self, observer: object, error: BaseException) -> None:
        loop, clean = running_loop(), self._options.redactor.exception(error)
        if loop is None:  # it subscribed after the end, outside of any loop: its own to handle
            raise error
        # Not as an event: the same observer would be told, and fail again.
        report = {"message": "rxws: an observer of events raised", "exception": clean}
        loop.call_exception_handler(report)
