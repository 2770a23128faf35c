"""A program as users write them: mypy and pyright check its types, nobody runs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, assert_never, assert_type

import reactivex as rx
import websockets
from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase

import rxws
from rxws import operators, where

URL = "wss://feed.example/ws"


def show(*values: object) -> None:
    """Take anything."""


class Trade:
    """A message of the user's own type."""

    symbol: str = ""
    price: float = 0.0
    number: int = 0


def parse(raw: str | bytes) -> Trade:
    """Parse with a function."""
    return Trade()


async def parse_slowly(raw: str | bytes) -> Trade:
    """Parse with a coroutine function."""
    return Trade()


async def what_parse_makes_is_the_type() -> None:
    """The type of the messages follows from ``parse``, and goes on into everything."""
    assert_type(rxws.connect(URL), rxws.ReactiveWebSocket[Any])
    assert_type(rxws.connect(URL, parse=json.loads), rxws.ReactiveWebSocket[Any])
    assert_type(rxws.connect(URL, parse=None), rxws.ReactiveWebSocket[str | bytes])
    assert_type(rxws.connect(URL, parse=parse), rxws.ReactiveWebSocket[Trade])
    assert_type(rxws.connect(URL, parse=parse_slowly), rxws.ReactiveWebSocket[Trade])
    assert_type(rxws.observe(URL, parse=parse), Observable[Trade])
    assert_type(rxws.observe(URL, parse=parse_slowly), Observable[Trade])
    assert_type(rxws.observe(URL, parse=None), Observable[str | bytes])
    assert_type(rxws.observe(URL), Observable[Any])

    async with rxws.connect(URL, parse=parse) as ws:
        assert_type(ws, rxws.ReactiveWebSocket[Trade])
    ws = await rxws.connect(URL, parse=parse)
    assert_type(ws, rxws.ReactiveWebSocket[Trade])
    assert_type(ws.state, rxws.State)
    await ws.exit()
    await ws.aclose()


# Sources


def make_url() -> str:
    """Make a URL."""
    return URL


async def make_url_slowly() -> str:
    """Make a URL, with a key that is fetched anew for each connection."""
    return URL


async def open_connection() -> websockets.ClientConnection:
    """Open a connection of websockets."""
    return await websockets.connect(URL)


def a_source_is_a_url_or_a_function() -> None:
    """What gives a URL or an open connection is a source, each with the same types."""
    assert_type(rxws.connect(make_url, parse=parse), rxws.ReactiveWebSocket[Trade])
    assert_type(rxws.connect(make_url_slowly, parse=parse), rxws.ReactiveWebSocket[Trade])
    assert_type(rxws.connect(open_connection, parse=parse), rxws.ReactiveWebSocket[Trade])
    assert_type(rxws.connect(lambda: URL, parse=parse), rxws.ReactiveWebSocket[Trade])


# Options


async def on_open(opening: rxws.Opening) -> None:
    """Log in before the connection goes live."""
    await opening.send({"op": "login"})
    answer = await opening.recv()
    show(answer["ok"], opening.connection)


async def snapshot(gap: rxws.Gap) -> list[Trade]:
    """Fill a gap."""
    show(gap.epoch, gap.reason, gap.planned, gap.until - gap.since, gap.partition, gap.filled)
    return [Trade() for _ in gap.missing or ()]


async def pages(gap: rxws.Gap) -> AsyncIterator[Trade]:
    """Fill a gap page by page."""

    async def fetch() -> AsyncIterator[Trade]:
        yield Trade()

    return fetch()


def worth_another_attempt(error: Exception) -> bool:
    """Judge an error."""
    if isinstance(error, rxws.ConnectError):
        assert_type(error.retryable, bool)
        assert_type(error.retry_after, float | None)
        assert_type(error.cause, BaseException | None)
        return error.retryable
    return isinstance(error, rxws.ConnectionLost) and error.code != 4001


def dumps(message: object) -> bytes:
    """Serialize, as orjson does."""
    return json.dumps(message).encode()


def number_of(trade: Trade) -> int:
    """Tell one message from another."""
    return trade.number


def options() -> rxws.ReactiveWebSocket[Trade]:
    """All options of rxws, and some of the transport's, as they are written."""
    rxws.connect(URL, parse=parse, key=number_of, resync=pages)
    for mode in (rxws.FirstArrival(overlap=1.0), rxws.Exclusive(drain=1.0), rxws.Replace()):
        rxws.connect(URL, handover=mode)
    return rxws.connect(
        URL,
        parse=parse,
        serialize=dumps,
        rotate_on=rxws.every(20 * 3600),
        handover=rxws.MakeBeforeBreak(overlap=1.0, window=5.0, drain=1.0, hold=10_000),
        backoff=rxws.Backoff(initial=0.5, maximum=30, factor=2, attempts=None, stable=10),
        on_open=on_open,
        subscribe=[{"op": "subscribe", "args": ["trade"]}, "ping", b"\x00"],
        pace=3,
        answer=lambda sent: [{"id": sent["id"]}] if isinstance(sent, dict) else None,
        resync=snapshot,
        key=lambda trade: trade.number,
        sequence=lambda trade: trade.number,
        partition=lambda trade: trade.symbol,
        open_timeout=5,
        ready_timeout=5,
        send_timeout=5,
        resync_timeout=5,
        exit_timeout=1,
        retry=worth_another_attempt,
        heartbeat=rxws.Heartbeat(interval=5, timeout=5),
        silence=None,
        transport="websockets",
        additional_headers={"X-Key": "secret"},
        proxy=None,
        max_size=2**20,
        compression=None,
        subprotocols=["v1"],
    )


# Rotation


async def until_maintenance() -> int:
    """Wait until it is time."""
    await asyncio.sleep(3600)
    return 1


def signals(ws: rxws.ReactiveWebSocket[Any]) -> Observable[Any]:
    """Make the signal of ``rotate_on`` from four of them."""
    hours = rxws.every(3600)
    assert_type(hours, Observable[int])
    assert_type(rxws.on_message(ws, [{"e": "listenKeyExpired"}]), Observable[Any])
    assert_type(rxws.on_silence(ws, 5), Observable[float])
    assert_type(rxws.from_coroutine(until_maintenance), Observable[int])
    return rx.merge(
        hours,
        rxws.from_coroutine(until_maintenance),
        rxws.on_message(ws, [{"e": "listenKeyExpired"}]).pipe(ops.map(lambda _: 0)),
        rxws.on_silence(ws, 5).pipe(ops.map(int)),
    )


def typed_signals(ws: rxws.ReactiveWebSocket[Trade]) -> Observable[Trade]:
    """Make the signal of a websocket whose messages have a type."""
    return rxws.on_message(ws, lambda trade: trade.price == 0)


async def rotate() -> None:
    """Rotate on a signal, and at will."""
    rxws.connect(URL, rotate_on=signals)
    rxws.connect(URL, rotate_on=lambda _: rx.merge(rxws.every(60), rxws.every(90)))
    rxws.connect(URL, rotate_on=rx.never())
    rxws.connect(URL, rotate_on=None)
    async with rxws.connect(URL, parse=parse, rotate_on=typed_signals) as ws:
        ws.rotate()
        ws.rotate("because I can")


# Consuming


def price_of(trade: Trade) -> float:
    """Take the price; mypy infers no lambda within ``pipe``."""
    return trade.price


def is_move(pair: tuple[float, float]) -> bool:
    """Tell whether the price has changed."""
    return pair[0] != pair[1]


def observe(ws: rxws.ReactiveWebSocket[Trade]) -> None:
    """Observe everything, a stream, and a pipeline of each."""
    assert_type(ws.subscribe(show), DisposableBase)
    assert_type(ws.pipe(ops.map(price_of)), Observable[float])
    stream = ws.stream_filter()
    assert_type(stream, rxws.Stream[Trade])
    moves = stream.pipe(ops.map(price_of), ops.pairwise(), ops.filter(is_move))
    assert_type(moves, Observable[tuple[float, float]])
    moves.subscribe(lambda pair: show(pair[1] - pair[0])).dispose()
    stream.subscribe(lambda trade: show(trade.price), show, lambda: show("completed"))


def filters(ws: rxws.ReactiveWebSocket[Any]) -> None:
    """Every form of filter is accepted."""
    symbols: dict[str, str] = {"s": "BTCUSDT"}
    ws.stream_filter(None)
    ws.stream_filter([])
    ws.stream_filter([symbols])
    ws.stream_filter(({"e": "trade"}, {2: "trade", ("data", 0, "symbol"): "XBTUSD"}))
    ws.stream_filter([{"s": where.one_of("BTCUSDT", "ETHUSDT"), "id": where.exists()}])
    ws.stream_filter([{"p": where.gt(1), "q": where.ge(1), "a": where.lt(1), "b": where.le(1)}])
    ws.stream_filter([{"p": where.between(1, 2), "s": where.matches("^BTC")}])
    ws.stream_filter([{"p": where.satisfies(lambda price: price > 1)}])
    ws.stream_filter(lambda message: len(message) > 3)
    condition: where.Condition = where.gt(1)
    assert_type(condition.test(2), bool)


async def iterate(ws: rxws.ReactiveWebSocket[Trade]) -> None:
    """Iterate over streams, with their gaps too, and over pipelines."""
    async with ws.stream_filter([{"e": "trade"}]) as trades:
        assert_type(trades, rxws.Stream[Trade])
        async for trade in trades:
            assert_type(trade, Trade)
            break
    stream = ws.stream_filter().buffered(capacity=None, overflow=rxws.Overflow.BLOCK)
    assert_type(stream, rxws.Stream[Trade])
    assert_type(await anext(stream), Trade)

    with_gaps = stream.with_gaps()
    assert_type(with_gaps, rxws.Stream[Trade | rxws.Gap])
    async for item in with_gaps:
        if isinstance(item, rxws.Gap):
            show("missing since", item.since)
        else:
            assert_type(item, Trade)
    await stream.close()
    await stream.aclose()

    pipeline = ws.pipe(ops.map(number_of), rxws.to_async_iterator(capacity=10))
    async with pipeline as numbers:
        async for number in numbers:
            assert_type(number, int)
    iteration = ws.stream_filter().pipe(
        ops.map(number_of), operators.to_async_iterator(overflow=rxws.Overflow.DROP_OLDEST)
    )
    assert_type(await anext(iteration), int)
    await iteration.aclose()


async def save(trade: Trade) -> None:
    """Handle a message slowly."""
    await asyncio.sleep(0.001)


def handle(ws: rxws.ReactiveWebSocket[Trade]) -> None:
    """Handle with functions and coroutine functions."""
    assert_type(ws.add_handler(save, capacity=10, overflow=rxws.Overflow.LATEST), DisposableBase)
    ws.add_handler(lambda trade: show(trade.price)).dispose()
    ws.add_handler(show)
    ws.remove_handler(save)


def operate(source: Observable[Trade]) -> None:
    """Use the operators on any Observable, and on the websocket's events."""
    assert_type(source.pipe(operators.stream_filter([{"e": "trade"}])), Observable[Trade])
    assert_type(
        source.pipe(operators.stream_filter(), ops.map(number_of), ops.scan(max)), Observable[int]
    )


# Sending


async def send(ws: rxws.ReactiveWebSocket[Trade]) -> None:
    """Send, ask, subscribe at the server, pump an Observable out."""
    assert_type(await ws.send({"op": "hello"}), rxws.Delivery)
    await ws.send("hello", rxws.Keep(capacity=10))
    await ws.send(b"hello", policy=rxws.Drop())
    await ws.send(["hello"], policy=rxws.Fail())
    await ws.send(("hello", 1), policy=rxws.ThisConnection())
    sent = ws.send_threadsafe([1, 2], rxws.Drop())
    assert_type(sent.result(), rxws.Delivery)

    assert_type(await ws.request({"id": 7}, reply=[{"id": 7}], timeout=1), Trade)
    book = ws.multiplex({"sub": "book"}, lambda: {"unsub": "book"}, [{"topic": "book"}])
    assert_type(book, Observable[Trade])
    book.subscribe(show).dispose()

    rx.of(1, 2, 3).subscribe(ws)
    ws.on_next({"op": "hello"})
    ws.on_completed()


async def errors(ws: rxws.ReactiveWebSocket[Trade]) -> None:
    """Errors carry their data."""
    try:
        await ws.send("hello")
    except (rxws.SendTimeout, rxws.ConnectionLost) as error:
        assert_type(error.delivery, rxws.Delivery)
    except rxws.RequestTimeout as error:
        assert_type(error.timeout, float)
    except rxws.BufferOverflow as error:
        assert_type(error.capacity, int)
    except rxws.RetriesExhausted as error:
        assert_type(error.attempts, int)
    except (rxws.ConnectError, rxws.ClosedError, rxws.FilterError) as error:
        show(error)
    except rxws.RxwsError:
        pass


# Watching


def about_connections(event: rxws.Event) -> str | None:
    """Match events by their type and the places of their fields."""
    assert_type(event.time, float)
    assert_type(event.monotonic, float)
    match event:
        case rxws.Connecting(epoch, attempt):
            return f"dial {attempt} of connection {epoch}"
        case rxws.Connected(epoch) | rxws.Reset(epoch):
            return f"connection {epoch}"
        case rxws.Disconnected(epoch, code=1001 | 1012 as code):
            return f"{epoch} restarts: {code}"
        case rxws.Disconnected(epoch, code, reason):
            assert_type(code, int | None)
            return f"{epoch} ended: {code} {reason}"
        case rxws.Rotating(epoch, reason):
            return f"{epoch}: {reason}"
        case rxws.Closed(None):
            return "exited"
        case rxws.Closed(error):
            return f"failed: {error}"
        case _:
            return None


def about_takeovers(event: rxws.Event) -> str | None:
    """Match events by the names of their fields."""
    match event:
        case rxws.Rotated(old, new, overlap=overlap, duplicates=duplicates, matched=True):
            return f"{old} -> {new}: {overlap:.1f} s, {duplicates} duplicates"
        case rxws.Rotated(early=early):
            assert_type(early, bool)
            return "not aligned"
        case rxws.RotationFailed(error=error, retry_in=seconds):
            assert_type(seconds, float)
            return str(error)
        case rxws.ConnectFailed(attempt=attempt, error=error, retry_in=None):
            return f"gave up at {attempt}: {error}"
        case rxws.ConnectFailed(retry_in=seconds):
            return f"again in {seconds} s"
        case rxws.Gap(missing=range() as missing):
            return f"{len(missing)} missing"
        case rxws.Gap(since=since, until=until):
            return f"{until - since:.1f} s missing"
        case _:
            return None


def about_consumers(event: rxws.Event) -> str | None:
    """Match what went wrong in the user's own functions."""
    match event:
        case rxws.ParseFailed(raw, error):
            assert_type(raw, str | bytes)
            return str(error)
        case rxws.ConsumerFailed(consumer, error):
            return f"{consumer}: {error}"
        case rxws.SignalFailed(error):
            return str(error)
        case rxws.Overflowed(stream, dropped):
            return f"{stream} dropped {dropped}"
        case _:
            return None


def watch(ws: rxws.ReactiveWebSocket[Trade]) -> None:
    """Watch the websocket live."""
    assert_type(ws.events, Observable[rxws.Event])
    for describe in (about_connections, about_takeovers, about_consumers):
        texts = ws.events.pipe(ops.map(describe))
        assert_type(texts, Observable[str | None])
        texts.subscribe(show)
    stats = ws.stats()
    assert_type(stats, rxws.Stats)
    assert_type(stats.messages + stats.bytes + stats.duplicates + stats.dropped, int)
    assert_type(stats.rotations + stats.reconnects + stats.gaps, int)
    assert_type(stats.streams + stats.backlog, int)


def in_words(state: rxws.State) -> str:
    """The states are a closed set."""
    match state:
        case rxws.State.CONNECTING | rxws.State.RECONNECTING:
            return "not there"
        case rxws.State.OPEN | rxws.State.ROTATING:
            return "live"
        case rxws.State.CLOSED:
            return "over"
        case _:
            assert_never(state)


# Extending


class Feed(rxws.AsyncWebsocketStreamInterface):
    """A subclass with narrower types than those of the abstract class."""

    def __init__(self, symbols: Iterable[str]) -> None:
        super().__init__(key=number_of, backoff=rxws.Backoff(maximum=5), exit_timeout=1)
        self.symbols = list(symbols)

    async def _create_ws(self) -> websockets.ClientConnection:
        return await websockets.connect(URL)

    async def _when2create_new_ws(self) -> None:
        await self.wait_enter_handing_ws()
        await self.send({"subscribe": self.symbols})
        await asyncio.sleep(20 * 3600)

    async def _parse_raw_data(self, raw_data: str | bytes) -> Trade:
        return parse(raw_data)


async def use_the_feed() -> None:
    """The names of the older library, and the websocket beneath."""
    feed = Feed(["BTCUSDT"])
    async with feed.stream_filter([{"e": "trade"}]) as trades:
        assert_type(trades, rxws.Stream[Any])
        async for trade in trades:
            show(trade)
    assert_type(feed.add_handler(save), DisposableBase)
    assert_type(feed.rxws_socket, rxws.ReactiveWebSocket[Any])
    show(feed.present_ws)
    await feed.exit()


class Wire:
    """A connection of the user's own."""

    def __init__(self) -> None:
        self.receiver: rxws.Receiver | None = None

    @property
    def connection(self) -> Wire:
        """There is nothing beneath."""
        return self

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return True

    @property
    def last_received(self) -> float:
        """When the last byte arrived."""
        return 0.0

    def start(self, receiver: rxws.Receiver) -> None:
        """Begin."""
        self.receiver = receiver
        receiver.received("{}")
        receiver.lost(1000, "", None)

    def write(self, raw: str | bytes) -> bool:
        """Write without waiting."""
        return False

    async def send(self, raw: str | bytes) -> None:
        """Write."""

    async def ping(self) -> None:
        """Ping."""

    def pause(self) -> None:
        """Hold back."""

    def resume(self) -> None:
        """Go on."""

    async def close(self, code: int = 1000, reason: str = "", *, discard: bool = False) -> None:
        """End in the orderly way."""

    def abort(self) -> None:
        """End at once."""


class Wires:
    """A transport of the user's own."""

    async def connect(self, url: str, options: Mapping[str, Any]) -> Wire:
        """Open a connection."""
        return Wire()


def bring_a_transport() -> None:
    """An object of the right shape is a transport; there is nothing to inherit from."""
    transport: rxws.Transport = Wires()
    link: rxws.Link = Wire()
    show(link)
    assert_type(rxws.connect(URL, parse=parse, transport=transport), rxws.ReactiveWebSocket[Trade])
    rxws.connect(URL, transport=Wires())
