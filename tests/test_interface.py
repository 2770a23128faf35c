"""The abstract class: what subclasses written for the older library count on, and more."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import itertools
import json
import logging
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
import websockets

import rxws
from rxws.testing import Market, Server, Session
from tests.virtual import Peer, drained, turns, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=0.5)
SWIFT = rxws.MakeBeforeBreak(overlap=0.3, drain=30)

LEGACY = {
    "stream_filter",
    "add_handler",
    "present_ws",
    "send",
    "exit",
    "wait_enter_handing_ws",
    "_create_ws",
    "_when2create_new_ws",
    "_parse_raw_data",
}


class Feed(rxws.AsyncWebsocketStreamInterface):
    """The least that a subclass writes; its connections are those of a `Peer`."""

    def __init__(self, **options: Any) -> None:
        self.peer = Peer()
        self.events: list[rxws.Event] = []
        super().__init__(**{"transport": self.peer, **options})
        self.rxws_socket.events.subscribe(self.events.append)

    async def _create_ws(self) -> Any:
        return "ws://fake/"

    async def _when2create_new_ws(self) -> Any:
        await asyncio.Event().wait()

    async def _parse_raw_data(self, raw_data: Any) -> Any:
        return json.loads(raw_data)

    def happened(self, kind: type[rxws.Event]) -> list[Any]:
        """Return the events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]


class RealFeed(Feed):
    """One that opens its connections itself, as the older library asked for."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        defaults = {"transport": "websockets", "backoff": QUICK, "exit_timeout": 30}
        super().__init__(**defaults | options)

    async def _create_ws(self) -> Any:
        return await websockets.connect(self.url)


# -- Construction ---------------------------------------------------------------------------------


def test_outside_a_loop() -> None:
    """Constructing one where no loop runs says what to do instead."""
    with pytest.raises(RuntimeError, match="construct Feed inside a running event loop"):
        Feed()


@virtual
async def test_abstract_methods() -> None:
    """A subclass that lacks one of the three methods can't be constructed."""

    class Half(rxws.AsyncWebsocketStreamInterface):
        async def _create_ws(self) -> Any: ...

    with pytest.raises(TypeError, match=r"_parse_raw_data.*_when2create_new_ws"):
        Half()  # type: ignore[abstract]


@pytest.mark.parametrize("eager", [False, True])
@virtual
async def test_attributes_set_after_the_constructor(*, eager: bool) -> None:
    """``_create_ws`` waits for the subclass's constructor, even where tasks start eagerly."""
    if eager:
        if sys.version_info < (3, 12):
            pytest.skip("eager tasks came with Python 3.12")
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

    class Late(Feed):
        def __init__(self) -> None:
            super().__init__()
            self.key = "abc"

        async def _create_ws(self) -> Any:
            return f"ws://fake/{self.key}"

    feed = Late()
    await feed.wait_enter_handing_ws()
    assert [dial.url for dial in feed.peer.dials] == ["ws://fake/abc"]
    await feed.exit()


@virtual
async def test_options() -> None:
    """Options are those of ``connect``: unknown ones and ``parse`` are refused at once."""
    with pytest.raises(TypeError, match="did you mean 'backoff'"):
        Feed(transport="websockets", backof=QUICK)
    with pytest.raises(TypeError, match="_parse_raw_data"):
        Feed(parse=json.loads)
    with pytest.raises(TypeError, match="rotate_on=20"):
        Feed(rotate_on=20)
    feed = Feed(subscribe=["hello"], additional_headers={"X-Key": "1"})
    await feed.wait_enter_handing_ws()
    assert feed.peer.last.sent == ["hello"]
    assert feed.peer.last.options == {"additional_headers": {"X-Key": "1"}}
    await feed.exit()


@virtual
async def test_names_share_one_prefix() -> None:
    """Beside the older names, whatever is on the class or an instance has our prefix."""
    names = set(vars(rxws.AsyncWebsocketStreamInterface)) - LEGACY
    assert {n for n in names if not n.startswith(("rxws_", "_rxws_", "__", "_abc_"))} == set()
    feed = Feed()
    assert {n for n in vars(feed) if not n.startswith("_rxws_")} == {"peer", "events"}
    await feed.exit()


@virtual
async def test_subclass_may_use_any_name() -> None:
    """A subclass that takes every name of a ReactiveWebSocket and its parts for itself works."""
    taken = {
        name
        for thing in (rxws.ReactiveWebSocket, rxws.Stream, rx.Observable)
        for name in dir(thing)
        if not name.startswith("__")
    } - LEGACY
    taken |= {"_exiting", "_handlers", "_wsq", "_ws_manager_task", "session", "loop", "options"}

    class Greedy(Feed):
        def __init__(self) -> None:
            super().__init__()
            for name in taken - {"peer", "events"}:
                setattr(self, name, "mine")

    for name in taken - {"events"}:
        setattr(Greedy, name, "mine")
    feed = Greedy()
    stream = feed.stream_filter()
    await feed.wait_enter_handing_ws()
    feed.peer.deliver({"n": 1})
    assert await anext(stream) == {"n": 1}
    feed.rxws_socket.rotate()
    await feed.wait_enter_handing_ws()
    await feed.exit()
    assert {getattr(feed, name) for name in taken - {"events"}} == {"mine"}


# -- Messages -------------------------------------------------------------------------------------


@virtual
async def test_streams() -> None:
    """Streams give what passes their filters, to ``async for`` and to operators, until closed."""
    feed = Feed()
    everything = feed.stream_filter()
    trades = feed.stream_filter(_filters=[{"e": "trade"}, {"a": 1, "b": 2}])
    observed: list[Any] = []
    feed.stream_filter([{"e": "trade"}]).pipe(rx.operators.map(lambda m: m["n"])).subscribe(
        observed.append
    )
    await feed.wait_enter_handing_ws()
    messages = [{"e": "trade", "n": 1}, {"e": "quote"}, {"b": 2, "a": 1, "c": 3}, {"a": 1}]
    feed.peer.deliver(*messages)
    assert [await anext(everything) for _ in messages] == messages
    assert [await anext(trades) for _ in range(2)] == [messages[0], messages[2]]
    reading = asyncio.ensure_future(anext(trades, "closed"))
    await turns()
    await trades.close()
    assert await reading == "closed"
    assert observed == [1]
    await feed.exit()
    assert await drained(everything) == []


@virtual
async def test_hundreds_may_wait() -> None:
    """A stream that is read late has kept what came, where the older library had closed it."""
    feed = Feed()
    stream = feed.stream_filter()
    await feed.wait_enter_handing_ws()
    feed.peer.deliver(*range(1000))
    await turns()
    await feed.exit()
    assert await drained(stream) == list(range(1000))


@virtual
async def test_each_consumer_has_its_own_copy() -> None:
    """What a stream, an observer or a handler does to a message, no other one sees."""
    message = {"e": "depth", "bids": [["1.0", "2"]]}
    feed = Feed()
    given: list[Any] = []

    def spoil(message: Any) -> None:
        given.append(message)
        message["bids"][0].append("spoilt")
        message["e"] = "spoilt"

    async def spoil_later(message: Any) -> None:
        spoil(message)

    feed.add_handler(spoil)
    feed.add_handler(spoil_later)
    streams = [feed.stream_filter([{"e": "depth"}]) for _ in range(2)]
    feed.rxws_socket.subscribe(spoil)
    last = feed.stream_filter()
    await feed.wait_enter_handing_ws()
    feed.peer.deliver(message)
    await turns()
    for stream in streams:
        received = await anext(stream)
        assert received == message
        spoil(received)
    assert await anext(last) == message
    assert len({id(m) for m in given}) == len({id(m["bids"]) for m in given}) == 5
    await feed.exit()


@virtual
async def test_each_observer_of_one_stream_has_its_own_copy() -> None:
    """The observers of one stream, its iteration and those of one subscription share nothing."""
    message = {"e": "depth", "bids": [["1.0", "2"]]}
    feed = Feed()
    given: list[Any] = []

    def spoil(message: Any) -> None:
        given.append(json.loads(json.dumps(message)))
        message["bids"][0].append("spoilt")
        kept.append(message["bids"])

    kept: list[Any] = []
    stream = feed.stream_filter([{"e": "depth"}])
    reading = asyncio.ensure_future(anext(stream))
    await feed.wait_enter_handing_ws()
    await turns()
    subscription = feed.rxws_socket.multiplex("+", "-", [{"e": "depth"}])
    for source in (stream, stream, subscription, subscription):
        source.subscribe(spoil)
    feed.peer.deliver(message)
    received = await reading
    assert [*given, received] == [message] * 5
    assert len({id(bids) for bids in [*kept, received["bids"]]}) == 5
    await feed.exit()


async def test_consumers_that_raise(loop_errors: list[Any]) -> None:
    """A handler or observer that raises harms nobody and stays; it is reported."""

    def fail(message: Any) -> None:
        raise ValueError(message)

    async def fail_later(message: Any) -> None:
        raise KeyError(message)

    async with Server() as server:
        feed = RealFeed(server.url)
        feed.add_handler(fail)
        feed.add_handler(fail_later)
        stream = feed.stream_filter()
        await server.connection(1)
        server.broadcast("1")
        server.broadcast("2")
        assert [await anext(stream), await anext(stream)] == [1, 2]
        await feed.exit()
    failed = [type(event.error) for event in feed.happened(rxws.ConsumerFailed)]
    assert sorted(failed, key=str) == [KeyError] * 2 + [ValueError] * 2
    assert len(loop_errors) == 4


@virtual
async def test_handlers_are_a_set() -> None:
    """Adding a handler again, equal is enough, changes nothing; its disposal ends it."""

    class Counter:
        def __init__(self) -> None:
            self.messages: list[Any] = []

        def handle(self, message: Any) -> None:
            self.messages.append(message)

    feed, counter = Feed(), Counter()
    first = feed.add_handler(counter.handle)
    again = feed.add_handler(counter.handle)
    await feed.wait_enter_handing_ws()
    feed.peer.deliver(1)
    await turns()
    again.dispose()
    feed.peer.deliver(2)
    await turns()
    feed.add_handler(counter.handle)
    first.dispose()
    feed.peer.deliver(3)
    await turns()
    assert counter.messages == [1, 3]
    await feed.exit()


@virtual
async def test_handler_that_overflowed_can_be_added_again() -> None:
    """A coroutine handler unsubscribed for its backlog is not taken for one still there."""
    may_go = asyncio.Event()
    handled: list[Any] = []

    async def handle(message: Any) -> None:
        await may_go.wait()
        handled.append(message)

    feed = Feed()
    feed.add_handler(handle)
    await feed.wait_enter_handing_ws()
    feed.peer.deliver(*range(1002))
    await turns()
    feed.peer.deliver(*range(1002))
    await turns()
    [failure] = feed.happened(rxws.ConsumerFailed)
    assert isinstance(failure.error, rxws.BufferOverflow)
    feed.add_handler(handle)
    may_go.set()
    feed.peer.deliver("again")
    await turns(3000)
    assert handled.count("again") == 1
    assert [n for n in handled if n != "again"] == list(range(len(handled) - 1))
    await feed.exit()


@virtual
async def test_messages_that_can_not_be_parsed() -> None:
    """What ``_parse_raw_data`` raises is an event, and the stream goes on without it."""
    feed = Feed()
    stream = feed.stream_filter()
    await feed.wait_enter_handing_ws()
    feed.peer.last.deliver("1", "{", "2")
    assert [await anext(stream), await anext(stream)] == [1, 2]
    assert [event.raw for event in feed.happened(rxws.ParseFailed)] == ["{"]
    await feed.exit()


def _decorated(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any) -> Any:
        return method(*args)

    return call


@pytest.mark.parametrize(
    "parse",
    [
        pytest.param(_decorated(Feed._parse_raw_data), id="returns a coroutine"),
        pytest.param(lambda _, raw: json.loads(raw), id="plain function"),
    ],
)
@virtual
async def test_parsing_by_other_kinds_of_functions(parse: Any) -> None:
    """``_parse_raw_data`` may be decorated, or no coroutine function at all."""
    kind = type("Kind", (Feed,), {"_parse_raw_data": parse})
    feed = kind()
    assert not inspect.iscoroutinefunction(feed._parse_raw_data)
    stream = feed.stream_filter()
    await feed.wait_enter_handing_ws()
    feed.peer.deliver([1], [2])
    assert [await anext(stream), await anext(stream)] == [[1], [2]]
    await feed.exit()


# -- Connections ----------------------------------------------------------------------------------


@virtual
async def test_create_ws_that_raises_is_tried_again() -> None:
    """Whatever ``_create_ws`` raises costs one attempt, and the delays between them grow."""

    class Shaky(Feed):
        times: list[float] = []  # noqa: RUF012 - there is one instance

        async def _create_ws(self) -> Any:
            self.times.append(asyncio.get_running_loop().time())
            if len(self.times) < 6:
                raise KeyError("listenKey")
            return await super()._create_ws()

    random.seed(1)
    feed = Shaky()
    await feed.wait_enter_handing_ws()
    delays = [after - before for before, after in itertools.pairwise(feed.times)]
    assert len(delays) == 5
    assert all(0 <= delay <= 2**n for n, delay in enumerate(delays))
    assert [type(e.error.cause) for e in feed.happened(rxws.ConnectFailed)] == [KeyError] * 5
    await feed.exit()


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_reconnects_after_a_close(code: int) -> None:
    """A server that closes, cleanly too, has not ended the streams."""
    async with Server() as server:
        feed = RealFeed(server.url)
        stream = feed.stream_filter()
        first = await server.connection(1)
        await first.send("1")
        assert await anext(stream) == 1
        assert isinstance(feed.present_ws, websockets.ClientConnection)
        await first.close(code)
        second = await server.connection(2)
        await second.send("2")
        assert await anext(stream) == 2
        await feed.exit()
        assert feed.present_ws is None
        assert await second.wait_closed() == (1000, "")


@pytest.mark.parametrize("itself", [True, False], ids=["opens it itself", "returns a URL"])
async def test_refused_for_good(*, itself: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A 401 reaches every iterator as the error that it is, and the log."""

    class Refused(RealFeed):
        async def _create_ws(self) -> Any:
            return await super()._create_ws() if itself else self.url

    async with Server() as server:
        server.answer(*[401] * 9)
        feed = Refused(server.url)
        streams = [feed.stream_filter(), feed.stream_filter([{"e": "trade"}])]
        waiting = asyncio.ensure_future(feed.wait_enter_handing_ws())
        for stream in streams:
            with pytest.raises(rxws.ConnectError, match="401"):
                await anext(stream)
        with pytest.raises(rxws.ClosedError):
            await waiting
        with pytest.raises(rxws.ClosedError):
            await feed.send("too late")
        assert len(server.dials) == 1
        await feed.exit()
    assert [r.levelno for r in caplog.records if "Closed(" in r.getMessage()] == [logging.ERROR]


async def test_retry_overrides_what_is_fatal() -> None:
    """With ``retry`` a refusal counts as a passing one."""
    async with Server() as server:
        server.answer(401, 403)
        feed = RealFeed(server.url, retry=lambda _: True)
        await feed.wait_enter_handing_ws()
        assert len(server.dials) == 3
        await feed.exit()


# -- Replacing the connection ---------------------------------------------------------------------


class Watching(Feed):
    """One that notes the life of each run of ``_when2create_new_ws``, and ends it on command."""

    def __init__(self, **options: Any) -> None:
        self.runs: list[asyncio.Future[Any]] = []
        self.notes: list[str] = []
        self.begun = asyncio.Event()
        super().__init__(**options)

    async def _when2create_new_ws(self) -> Any:
        run = asyncio.get_running_loop().create_future()
        self.runs.append(run)
        self.begun.set()
        number = len(self.runs)
        self.notes.append(f"{number} begins on {self.present_ws.number}")
        try:
            await run
        except asyncio.CancelledError:
            if not run.cancelled() or asyncio.current_task().cancelling():  # type: ignore[union-attr]
                self.notes.append(f"{number} cancelled")
            raise
        self.notes.append(f"{number} done")

    async def running(self, number: int) -> asyncio.Future[Any]:
        """Wait for the ``number``-th run."""
        while len(self.runs) < number:
            self.begun.clear()
            await self.begun.wait()
        return self.runs[number - 1]


@virtual
async def test_new_connection_is_used_before_the_old_one_ends() -> None:
    """A run begins on the open successor, and sends there, while the old one still delivers."""

    class Subscribing(Watching):
        async def _when2create_new_ws(self) -> Any:
            await self.send("by send")
            await self.present_ws.send("by present_ws")
            await super()._when2create_new_ws()

    feed = Subscribing()
    stream = feed.stream_filter()
    run = await feed.running(1)
    await asyncio.sleep(100)
    run.set_result(None)
    await feed.running(2)
    old, new = feed.peer.links
    assert old.is_open
    assert feed.present_ws is new
    assert old.sent == new.sent == ["by send", "by present_ws"]
    old.deliver('"old"')
    assert await anext(stream) == "old"
    new.deliver('"old"', '"new"')
    await asyncio.sleep(10)
    assert old.closed == (1000, "")
    assert await anext(stream) == "new"
    assert feed.notes == ["1 begins on 1", "1 done", "2 begins on 2"]
    await feed.exit()
    assert feed.notes[3:] == ["2 cancelled"]


@pytest.mark.parametrize(
    "end",
    [
        lambda run: run.set_exception(ValueError("of the subclass")),
        lambda run: run.cancel(),
    ],
    ids=["raises", "awaits something cancelled"],
)
@virtual
async def test_run_that_raises_rotates(end: Callable[[asyncio.Future[Any]], Any]) -> None:
    """Whatever ends a run, the connection is replaced; what it raised is an event."""
    feed = Watching()
    run = await feed.running(1)
    await asyncio.sleep(100)
    end(run)
    await feed.running(2)
    [failed] = feed.happened(rxws.SignalFailed)
    assert isinstance(failed.error, ValueError | asyncio.CancelledError)
    assert feed.happened(rxws.Gap) == []
    await feed.exit()


@pytest.mark.parametrize("seed", range(3))
@virtual
async def test_run_that_raises_at_once_makes_no_storm(seed: int) -> None:
    """Runs that end at once are slowed: a few connections in ten seconds, one a minute later on."""

    class Broken(Feed):
        async def _when2create_new_ws(self) -> Any:
            raise TypeError("Passing coroutines is forbidden, use tasks explicitly.")

    random.seed(seed)
    feed = Broken()
    await asyncio.sleep(10)
    assert 2 <= len(feed.peer.dials) <= 7
    await asyncio.sleep(3600 - 10)
    before = len(feed.peer.dials)
    await asyncio.sleep(3600)
    assert 60 <= len(feed.peer.dials) - before <= 180
    assert len(feed.happened(rxws.SignalFailed)) == len(feed.peer.links)
    assert len(feed.peer.open_links) <= 2
    await feed.exit()


@virtual
async def test_delays_start_over() -> None:
    """A run that ends on a connection that has become stable rotates at once."""
    feed = Watching(backoff=rxws.Backoff(initial=1000, maximum=1000, stable=10))
    random.seed(1)
    for number, lasting in enumerate([11, 9, 11], 1):
        run = await feed.running(number)
        await asyncio.sleep(lasting)
        now = asyncio.get_running_loop().time()
        run.set_result(None)
        await feed.running(number + 1)
        delayed = asyncio.get_running_loop().time() - now
        assert delayed > 10 if lasting < 10 else delayed < 1
    await feed.exit()


@virtual
async def test_run_ends_with_its_connection() -> None:
    """A run is cancelled when its connection is lost, and another begins on the next one."""
    feed = Watching()
    await feed.running(1)
    feed.peer.last.lose()
    await feed.running(2)
    assert feed.notes == ["1 begins on 1", "1 cancelled", "2 begins on 2"]
    await feed.exit()


@virtual
async def test_run_that_swallows_its_cancellation() -> None:
    """A run that returns when it is cancelled asked for nothing: it costs later runs no delay."""

    class Swallowing(Watching):
        async def _when2create_new_ws(self) -> Any:
            with contextlib.suppress(asyncio.CancelledError):
                await super()._when2create_new_ws()

    feed = Swallowing(backoff=rxws.Backoff(initial=1, maximum=10_000, factor=10, stable=50))
    random.seed(1)
    for number in range(1, 6):
        await feed.running(number)
        feed.peer.last.lose()
    run = await feed.running(6)
    began = asyncio.get_running_loop().time()
    run.set_result(None)
    await feed.running(7)
    assert asyncio.get_running_loop().time() - began <= 1.1
    assert feed.happened(rxws.Rotating)[0].epoch == 6
    await feed.exit()


@virtual
async def test_successor_that_is_lost_during_the_overlap() -> None:
    """The connection that comes in its place has a run of its own, and can be replaced too."""
    feed = Watching()
    run = await feed.running(1)
    await asyncio.sleep(100)
    run.set_result(None)
    await feed.running(2)
    feed.peer.last.lose()
    await turns()
    assert feed.present_ws is feed.peer.links[0]
    run = await feed.running(3)
    await asyncio.sleep(100)
    run.set_result(None)
    await feed.running(4)
    assert feed.notes[2:] == [
        "2 begins on 2",
        "2 cancelled",
        "3 begins on 3",
        "3 done",
        "4 begins on 4",
    ]
    await feed.exit()


@virtual
async def test_rotate_on_combines() -> None:
    """``rotate_on`` and ``_when2create_new_ws`` both rotate; the first one of them counts."""
    feed = Watching(rotate_on=lambda ws: rxws.on_message(ws, [{"e": "listenKeyExpired"}]))
    await feed.running(1)
    await asyncio.sleep(100)
    feed.peer.deliver({"e": "listenKeyExpired"})
    run = await feed.running(2)
    await asyncio.sleep(100)
    assert len(feed.peer.links) == 2
    run.set_result(None)
    await feed.running(3)
    await asyncio.sleep(100)
    assert feed.notes == [
        "1 begins on 1",
        "1 cancelled",
        "2 begins on 2",
        "2 done",
        "3 begins on 3",
    ]
    await feed.exit()


def _raise(_: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "rotate_on",
    [rx.throw(ZeroDivisionError()), _raise, lambda _: "no Observable"],
    ids=["fails", "raises", "is none"],
)
@virtual
async def test_rotate_on_that_fails_leaves_the_run(rotate_on: Any) -> None:
    """An additional signal that fails is an event, and ``_when2create_new_ws`` still counts."""
    feed = Watching(rotate_on=rotate_on)
    run = await feed.running(1)
    await asyncio.sleep(100)
    assert len(feed.happened(rxws.SignalFailed)) == 1
    run.set_result(None)
    await feed.running(2)
    assert feed.notes == ["1 begins on 1", "1 done", "2 begins on 2"]
    await feed.exit()


class Recipe(Feed):
    """The recipe of the older README, written for today's Python."""

    async def _when2create_new_ws(self) -> Any:
        async with self.stream_filter([{"e": "listenKeyExpired"}]) as expired:
            try:
                async with asyncio.timeout(20 * 3600):
                    await anext(expired)
            except TimeoutError:
                pass


@virtual
async def test_rotation_every_so_many_hours_or_on_a_message() -> None:
    """A connection is replaced after 20 hours or on the message, whichever comes first."""
    feed = Recipe(heartbeat=None)
    await asyncio.sleep(19 * 3600)
    assert len(feed.peer.dials) == 1
    await asyncio.sleep(2 * 3600)
    assert len(feed.peer.dials) == 2
    await asyncio.sleep(3600)
    feed.peer.deliver({"e": "listenKeyExpired"})
    await asyncio.sleep(3600)
    assert len(feed.peer.dials) == 3
    await asyncio.sleep(17 * 3600)
    assert len(feed.peer.dials) == 3
    await asyncio.sleep(3 * 3600)
    assert len(feed.peer.dials) == 4
    assert feed.rxws_socket.stats().streams == 1
    await feed.exit()
    assert feed.happened(rxws.SignalFailed) == []


async def test_run_that_subscribes_and_answers_pings() -> None:
    """``_when2create_new_ws`` may subscribe on each connection, and answer its pings."""

    class Answering(RealFeed):
        async def _when2create_new_ws(self) -> Any:
            await self.send({"sub": "trades"})
            pings = self.stream_filter([{"op": "ping"}])
            try:
                async for message in pings:
                    await self.present_ws.send(json.dumps({"op": "pong", "ts": message["ts"]}))
                    if message["ts"] == 2:
                        return
            finally:
                await pings.close()

    async def script(session: Session) -> None:
        assert json.loads(await session.next_message()) == {"sub": "trades"}
        for ts in (1, 2):
            await session.send(json.dumps({"op": "ping", "ts": ts, "on": session.number}))
            assert json.loads(await session.next_message()) == {"op": "pong", "ts": ts}

    async with Server(script) as server:
        feed = Answering(server.url, handover=SWIFT)
        third = await server.connection(3)
        await server.wait(lambda: third.received)
        await feed.exit()


async def test_rotations_lose_nothing() -> None:
    """A numbered feed is received whole and in order through replacements of the connection."""

    class Rotating(RealFeed):
        async def _when2create_new_ws(self) -> Any:
            await asyncio.sleep(0.2)

    async with Server() as server:
        feed = Rotating(server.url, handover=SWIFT, backoff=rxws.Backoff(initial=0, stable=0.1))
        stream = feed.stream_filter().buffered(capacity=None)
        await server.connection(1)
        await feed.wait_enter_handing_ws()
        numbers = server.feed(500, Market())
        await server.connection(5)
        numbers.stop()
        last = server.log.numbers[-1]
        received = []
        async for message in stream:
            received.append(message["n"])
            if message["n"] == last:
                break
        await feed.exit()
    assert received == list(range(1, last + 1))
    assert feed.rxws_socket.stats().rotations >= 3
    assert feed.happened(rxws.Gap) == []


# -- wait_enter_handing_ws ------------------------------------------------------------------------


@virtual
async def test_wait_enter_handing_ws() -> None:
    """It waits for the first connection, then always for the next one, which is then in use."""
    feed = Feed()
    assert feed.present_ws is None
    await feed.wait_enter_handing_ws()
    assert feed.present_ws is feed.peer.links[0]
    waiting = [asyncio.ensure_future(feed.wait_enter_handing_ws()) for _ in range(2)]
    await asyncio.sleep(100)
    assert not any(task.done() for task in waiting)
    waiting.pop().cancel()
    feed.rxws_socket.rotate()
    await waiting.pop()
    assert feed.present_ws is feed.peer.links[1]
    await asyncio.sleep(100)
    feed.peer.last.lose()
    await turns()
    assert feed.present_ws is None
    await feed.wait_enter_handing_ws()
    assert feed.present_ws is feed.peer.links[2]
    await feed.exit()


@virtual
async def test_wait_enter_handing_ws_ends_with_exit() -> None:
    """It raises where there will be no further connection, instead of waiting for ever."""
    feed = Feed()
    await feed.wait_enter_handing_ws()
    waiting = asyncio.ensure_future(feed.wait_enter_handing_ws())
    await turns()
    await feed.exit()
    with pytest.raises(rxws.ClosedError):
        await waiting
    with pytest.raises(rxws.ClosedError):
        await feed.wait_enter_handing_ws()


# -- exit -----------------------------------------------------------------------------------------


@virtual
async def test_exit_at_once() -> None:
    """One that exits before the loop had a turn never connects, and its streams end."""
    feed = Feed()
    stream = feed.stream_filter()
    await feed.exit()
    await feed.exit()
    assert await drained(stream) == []
    await turns()
    assert feed.peer.dials == []
    assert [type(event) for event in feed.events] == [rxws.Closed]


@virtual
async def test_exit_while_connecting() -> None:
    """The attempt under way is cancelled in ``_create_ws``, and streams end."""
    cancelled = []

    class Slow(Feed):
        async def _create_ws(self) -> Any:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

    feed = Slow(open_timeout=7200.0)
    stream = feed.stream_filter()
    sending = asyncio.ensure_future(feed.send("never"))
    await asyncio.sleep(1)
    await feed.exit()
    assert cancelled == [True]
    assert await drained(stream) == []
    with pytest.raises(rxws.ClosedError):
        await sending


@virtual
async def test_exit_while_waiting_for_the_next_attempt() -> None:
    """One that is backing off exits at once."""
    feed = Feed(backoff=rxws.Backoff(initial=1000, maximum=1000))
    feed.peer.refuse(times=3)
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    await feed.exit()
    assert asyncio.get_running_loop().time() - began < 0.1


@virtual
async def test_exit_during_a_rotation() -> None:
    """Both connections are closed, each run is cancelled, and no task is left."""
    feed = Watching()
    run = await feed.running(1)
    await asyncio.sleep(100)
    run.set_result(None)
    await feed.running(2)
    assert len(feed.peer.open_links) == 2
    await feed.exit()
    assert feed.peer.open_links == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_exit_by_several_at_once() -> None:
    """Callers that end it together all return, also through a task as subclasses do it."""

    class Cautious(Watching):
        async def exit(self) -> None:
            task = asyncio.create_task(super().exit())
            await asyncio.sleep(0)
            await task

    feed = Cautious()
    await feed.running(1)
    await asyncio.gather(*[feed.exit() for _ in range(3)])
    await feed.exit()
    assert len(feed.happened(rxws.Closed)) == 1
    assert feed.notes == ["1 begins on 1", "1 cancelled"]


@virtual
async def test_exit_from_a_handler() -> None:
    """A handler may end what calls it."""
    feed = Feed()

    async def handle(_: Any) -> None:
        await feed.exit()
        done.set()

    done = asyncio.Event()
    feed.add_handler(handle)
    await feed.wait_enter_handing_ws()
    feed.peer.deliver(1)
    await done.wait()
    assert feed.peer.open_links == []


@virtual
async def test_exit_from_the_run() -> None:
    """``_when2create_new_ws`` may end it all, and goes on after that."""
    done = asyncio.Event()

    class Leaving(Feed):
        async def _when2create_new_ws(self) -> Any:
            await asyncio.sleep(100)
            await self.exit()
            await asyncio.sleep(1)
            done.set()

    feed = Leaving()
    await done.wait()
    await turns()
    assert feed.peer.open_links == []
    assert len(feed.peer.dials) == 1
    await feed.exit()


@virtual
async def test_exit_cancels_the_run_before_its_streams_end() -> None:
    """A run that reads a stream is cancelled on exit, and does not go on as if that had ended."""
    ends: list[str] = []

    class Reading(Feed):
        async def _when2create_new_ws(self) -> Any:
            try:
                async for _ in self.stream_filter():
                    pass
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise
            ends.append("ended")

    feed = Reading()
    await feed.wait_enter_handing_ws()
    await turns()
    await feed.exit()
    assert ends == ["cancelled"]


@pytest.mark.parametrize("stable", [0.0, 1000.0])
@virtual
async def test_run_that_ends_with_its_streams(stable: float) -> None:
    """A run that the end of its streams ends, when the socket beneath exits, asks for nothing."""

    class Reading(Feed):
        async def _when2create_new_ws(self) -> Any:
            await anext(self.stream_filter())

    feed = Reading(backoff=rxws.Backoff(stable=stable))
    feed.peer.answer_close = False
    await feed.wait_enter_handing_ws()
    await asyncio.sleep(100)
    await feed.rxws_socket.exit()
    assert feed.happened(rxws.SignalFailed) == []
    assert isinstance(feed.events[-1], rxws.Closed)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_run_that_can_not_be_cancelled() -> None:
    """A run that swallows its cancellation delays the exit for a moment only."""
    stop = asyncio.Event()

    class Stubborn(Feed):
        async def _when2create_new_ws(self) -> Any:
            while not stop.is_set():
                try:
                    await stop.wait()
                except asyncio.CancelledError:
                    continue

    feed = Stubborn()
    await feed.wait_enter_handing_ws()
    await turns()
    began = asyncio.get_running_loop().time()
    await feed.exit()
    assert asyncio.get_running_loop().time() - began < 2
    stop.set()
    await turns()


@virtual
async def test_created_again_after_exit() -> None:
    """Instances come and go without leaving anything to each other."""
    for _ in range(3):
        feed = Feed()
        stream = feed.stream_filter()
        await feed.wait_enter_handing_ws()
        feed.peer.deliver(1)
        assert await anext(stream) == 1
        await feed.exit()
    assert asyncio.all_tasks() == {asyncio.current_task()}
