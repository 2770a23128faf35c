"""The front door: ``connect``, and its cold form ``observe``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, Unpack, overload

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from .net.options import Source
from .net.transport import Raw
from .options import ConnectOptions, resolve
from .websocket import ReactiveWebSocket

__all__ = ["connect", "observe"]

_T = TypeVar("_T")


@overload
def connect(
    source: Source, *, parse: None, **options: Unpack[ConnectOptions]
) -> ReactiveWebSocket[Raw]: ...
@overload
def connect(
    source: Source,
    *,
    parse: Callable[[Any], Awaitable[_T]],
    **options: Unpack[ConnectOptions],
) -> ReactiveWebSocket[_T]: ...
@overload
def connect(
    source: Source, *, parse: Callable[[Any], _T], **options: Unpack[ConnectOptions]
) -> ReactiveWebSocket[_T]: ...
@overload
def connect(source: Source, **options: Unpack[ConnectOptions]) -> ReactiveWebSocket[Any]: ...
def connect(source: Source, **options: Any) -> ReactiveWebSocket[Any]:
    """A websocket that reconnects, rotates, and feeds any number of streams.

    Nothing happens until it is entered (``async with``) or awaited; both wait for the first
    live connection, retrying as ``backoff`` says.

    Args:
        source: a URL, or a function or coroutine function without parameters that returns a URL
            or an open connection (of ``websockets``, or of the same shape). It is called anew for
            every connection.
        parse: raw data (``str`` of a text frame, ``bytes`` of a binary one) to message, function
            or coroutine function; default ``json.loads``; ``None`` passes raw data through.
        serialize: what ``send`` does to anything but ``str`` and ``bytes``; default compact JSON.
        rotate_on: an Observable, or a function of the websocket that returns one; subscribed once
            for each connection, its first item asks for a rotation. ``None``: none are planned.
        handover: how a rotation hands over: a `MakeBeforeBreak`, `FirstArrival`, `Exclusive` or
            `Replace`.
        backoff: the delays between attempts, a `Backoff`.
        on_open: coroutine function called with an `Opening` for each new connection before it
            goes live. If it raises, the connection counts as failed.
        subscribe: messages to send on each new connection, after ``on_open`` and before
            anything queued.
        pace: how many messages a second are sent at most, of ``subscribe`` and of multiplexed
            subscriptions, on a new connection; that time does not count towards
            ``ready_timeout``. ``None``: as fast as they go.
        answer: function from such a message to the filters that its answer passes; the
            connection is ready when every answer has come. ``None``, as a function or as what it
            returns: no answer is awaited.
        resync: coroutine function called with a `Gap`; the (async) iterable of messages that it
            returns is delivered, without what was delivered before, ahead of the live messages
            that follow the gap. They wait meanwhile.
        key: function from message to a hashable identity; a message that another connection has
            brought with the same one is a duplicate, and removed. A message for which it gives
            ``None`` or raises is compared by its bytes.
        sequence: function from message to an ``int`` that grows by one: an identity, which comes
            before ``key``, and more: what is missing is told exactly, and nothing where nothing
            is. Numbers that start again are a new feed.
        partition: function from message to the hashable name of the feed that ``sequence`` counts
            in, and within which order holds. ``None``: one feed.
        open_timeout: seconds for ``source`` and the handshake (default 10). A name lookup can't
            be stopped: its thread stays until the system answers, at most one for each host
            name, and ``asyncio.run`` waits for it.
        ready_timeout: seconds for ``on_open`` and ``subscribe`` (default 10).
        send_timeout: seconds for a send, the waiting for a connection included (default 10).
        resync_timeout: seconds for ``resync`` (default 30).
        exit_timeout: seconds for the orderly end (default 2).
        retry: function from the `ConnectError` or `ConnectionLost` to whether another attempt
            makes sense. ``None``: after anything but HTTP 401, 403 and 404, an invalid URL or
            header name, an untrusted certificate, a redirect to another origin, and the third
            close in a row with 1002, 1003, 1007, 1008, 1009 or 1010 (either side's) without a
            stable connection between.
        heartbeat: a `Heartbeat`; ``None`` turns it off.
        silence: seconds without any message after which a connection counts as dead; ``None``
            for no such limit.
        transport: ``"websockets"``, or an object that satisfies `Transport`.
        **options: others are handed to the transport's own connect, under its own names:
            ``additional_headers``, ``ssl``, ``proxy`` (by default that of the environment, for
            ``ws://`` too; ``None`` for none), ``max_size`` (bytes of a message, 1 MiB by default;
            ``None`` for any number), ``compression``, ``subprotocols`` and so on.

    An interrupt (SIGINT) leaves the ``async with`` in the orderly way within ``exit_timeout``; a
    second one ends at once. For SIGTERM to do the same, where the platform has it::

        async def main():
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
            async with rxws.connect(URL) as ws:
                ...

        with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
            asyncio.run(main())

    Raises:
        TypeError, ValueError: an option is unknown or makes no sense.
    """
    checked, rotate_on = resolve(options)
    return ReactiveWebSocket(source, checked, rotate_on)


@overload
def observe(
    source: Source, *, parse: None, **options: Unpack[ConnectOptions]
) -> Observable[Raw]: ...
@overload
def observe(
    source: Source,
    *,
    parse: Callable[[Any], Awaitable[_T]],
    **options: Unpack[ConnectOptions],
) -> Observable[_T]: ...
@overload
def observe(
    source: Source, *, parse: Callable[[Any], _T], **options: Unpack[ConnectOptions]
) -> Observable[_T]: ...
@overload
def observe(source: Source, **options: Unpack[ConnectOptions]) -> Observable[Any]: ...
def observe(source: Source, **options: Any) -> Observable[Any]:
    """The cold form of `connect`: connects for each subscription, and exits on its disposal.

    Subscribed, it needs a running event loop. The messages are emitted until the subscription is
    disposed; what ends the websocket for good is emitted as an error. The orderly end goes on in
    the background for at most ``exit_timeout`` after the disposal.

    Args:
        source, **options: as for `connect`.

    Raises:
        TypeError, ValueError: an option is unknown or makes no sense.
    """
    checked, rotate_on = resolve(options)

    def subscribe(
        observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        ws: ReactiveWebSocket[Any] = ReactiveWebSocket(source, checked, rotate_on)
        subscription = ws.subscribe(observer)
        ws.start()

        def dispose() -> None:
            subscription.dispose()
            ws.on_completed()

        return Disposable(dispose)

    return Observable(subscribe)
