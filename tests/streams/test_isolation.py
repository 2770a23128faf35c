"""Nothing that one consumer does harms another, the connection, or the order."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest
from reactivex import Observer
from reactivex import operators as ops

import rxws
from rxws import where
from rxws.core.filters import compile_filters
from rxws.streams.fanout import Fanout
from rxws.streams.hub import Hub
from tests.virtual import COMPLETED, Log, connected, drained, turns, virtual

Attach = Callable[[rxws.ReactiveWebSocket[Any], Callable[[Any], Any]], Any]


def observe(ws: rxws.ReactiveWebSocket[Any], function: Callable[[Any], Any]) -> Any:
    """Attach as an observer of everything."""
    return ws.subscribe(function)


def observe_stream(ws: rxws.ReactiveWebSocket[Any], function: Callable[[Any], Any]) -> Any:
    """Attach as an observer of a stream."""
    return ws.stream_filter().subscribe(function)


def observe_multiplex(ws: rxws.ReactiveWebSocket[Any], function: Callable[[Any], Any]) -> Any:
    """Attach as an observer of a subscription at the server."""
    return ws.multiplex({"sub": 1}, {"unsub": 1}).subscribe(function)


def handle(ws: rxws.ReactiveWebSocket[Any], function: Callable[[Any], Any]) -> Any:
    """Attach as a handler."""
    return ws.add_handler(function)


def handle_awaiting(ws: rxws.ReactiveWebSocket[Any], function: Callable[[Any], Any]) -> Any:
    """Attach as a coroutine handler."""

    async def handler(message: Any) -> None:
        await asyncio.sleep(0)
        function(message)

    return ws.add_handler(handler)


SYNCHRONOUS = [observe, observe_stream, observe_multiplex, handle]
EVERYWHERE = [*SYNCHRONOUS, handle_awaiting]


class Others:
    """Consumers of every kind, before and after the one under test; they get everything."""

    def __init__(self, ws: rxws.ReactiveWebSocket[Any]) -> None:
        self.ws = ws
        self.logs: list[Log] = []
        self.lists: list[list[Any]] = []
        self.streams: list[Any] = []

    def attach(self) -> None:
        """Attach one of each kind."""
        ws = self.ws
        for source in (ws, ws.stream_filter(), ws.stream_filter(lambda _: True), ws.pipe()):
            self.logs.append(Log())
            source.subscribe(self.logs[-1])
        for attach in (handle, handle_awaiting):
            self.lists.append([])
            attach(ws, self.lists[-1].append)
        self.streams += [
            ws.stream_filter(),
            ws.pipe(ops.map(lambda m: m), rxws.to_async_iterator()),
        ]

    async def got(self) -> list[Any]:
        """End the websocket; return what everybody got, which has to be the same."""
        await self.ws.exit()
        everything = [log.items for log in self.logs] + self.lists
        everything += [await drained(stream) for stream in self.streams]
        assert all(items == everything[0] for items in everything)
        assert all(log.ends == [COMPLETED] for log in self.logs)
        return everything[0]


# -- raising -------------------------------------------------------------------------------------


@pytest.mark.parametrize("attach", EVERYWHERE)
@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
@virtual
async def test_a_consumer_that_raises(
    attach: Attach, error: type[BaseException], loop_errors: list[dict[str, Any]]
) -> None:
    """Who raises stays subscribed, nobody else notices, and it is reported in both places."""
    async with connected() as (ws, peer):
        others, events, seen = Others(ws), Log(), []

        def fail(message: Any) -> None:
            seen.append(message)
            raise error("planned")

        ws.events.subscribe(events)
        others.attach()
        attach(ws, fail)
        others.attach()
        peer.deliver(1, 2, 3)
        await turns()
        assert seen == [1, 2, 3]
        assert [type(report["exception"]) for report in loop_errors] == [error] * 3
        failed = [event for event in events.items if isinstance(event, rxws.ConsumerFailed)]
        assert [type(event.error) for event in failed] == [error] * 3
        assert ws.state is rxws.State.OPEN
        assert peer.last.is_open
        assert await others.got() == [1, 2, 3]


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """An exception that can't be changed."""

    text: str


class Silent(Exception):
    """An exception that can't say what it is."""

    def __repr__(self) -> str:
        raise asyncio.CancelledError


class Nameless:
    """A consumer that can't say what it is."""

    def __call__(self, _: Any) -> None:
        raise Silent

    def __getattr__(self, name: str) -> Any:
        if name == "__qualname__":
            raise asyncio.CancelledError
        raise AttributeError(name)

    def __repr__(self) -> str:
        raise asyncio.CancelledError


@virtual
async def test_exceptions_that_cannot_be_handled(
    loop_errors: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """No exception or consumer is so odd that reporting it keeps messages from the others."""

    def fail(_: Any) -> None:
        raise Frozen("wss://me:pass@feed.example/")

    def refuse(_: logging.LogRecord) -> bool:
        raise Silent

    async with connected() as (ws, peer):
        others, events = Others(ws), Log()
        ws.events.subscribe(events)
        others.attach()
        ws.add_handler(fail)
        ws.add_handler(Nameless())
        others.attach()
        peer.deliver(1)
        await turns()
        logging.getLogger("rxws").addFilter(refuse)
        try:
            peer.deliver(2)
            await turns()
        finally:
            logging.getLogger("rxws").removeFilter(refuse)
        failed = [event for event in events.items if isinstance(event, rxws.ConsumerFailed)]
        assert len(failed) == 4
        assert await others.got() == [1, 2]
    assert sum("logging" in report["message"] for report in loop_errors) == 2
    assert not any("pass" in repr(report["exception"]) for report in loop_errors)
    assert "pass" not in caplog.text


@virtual
async def test_the_report_shows_no_secret(loop_errors: list[dict[str, Any]]) -> None:
    """The loop's handler and the observers of events are told one clean exception."""
    error = ZeroDivisionError("wss://me:pass@feed.example/")

    def fail(_: Any) -> None:
        raise error

    async with connected() as (ws, peer):
        events = Log()
        ws.events.subscribe(events)
        ws.add_handler(fail)
        peer.deliver(1)
        await turns()
        (failed,) = (event for event in events.items if isinstance(event, rxws.ConsumerFailed))
    (report,) = loop_errors
    assert report["exception"] is failed.error
    assert str(failed.error) == "ZeroDivisionError: wss://***@feed.example/"
    assert error.args == ("wss://me:pass@feed.example/",)


@virtual
async def test_the_report_names_the_consumer(loop_errors: list[dict[str, Any]]) -> None:
    """The event and the report name the function, the stream or the observer that raised."""
    async with connected() as (ws, peer):
        events = Log()
        ws.events.subscribe(events)

        def fail(_: Any) -> None:
            raise ZeroDivisionError

        async def fail_too(_: Any) -> None:
            raise ZeroDivisionError

        stream = ws.stream_filter()
        stream.subscribe(fail)
        ws.add_handler(fail)
        ws.add_handler(fail_too)
        peer.deliver(1)
        await turns()
        failed = [
            event.consumer for event in events.items if isinstance(event, rxws.ConsumerFailed)
        ]
        assert failed == [stream, fail, fail_too]
        assert [report["consumer"] for report in loop_errors] == failed
        assert all("raised" in report["message"] for report in loop_errors)


@virtual
async def test_an_operator_that_raises(loop_errors: list[dict[str, Any]]) -> None:
    """An operator's exception goes to its observer's ``on_error``, and is reported without one."""
    async with connected() as (ws, peer):
        others, told = Others(ws), Log()
        others.attach()
        ws.pipe(ops.map(lambda n: 1 // n)).subscribe(told)
        ws.pipe(ops.map(lambda n: 1 // n)).subscribe(lambda _: None)
        others.attach()
        peer.deliver(1, 0, 2)
        assert (told.items, [type(end) for end in told.ends]) == ([1], [ZeroDivisionError])
        assert [type(report["exception"]) for report in loop_errors] == [ZeroDivisionError]
        assert await others.got() == [1, 0, 2]


@pytest.mark.parametrize(
    "filters",
    [
        lambda message: 1 // message["n"] == 1,
        [{"n": where.satisfies(lambda n: 1 // n == 1)}],
        [{"n": where.gt("text")}, {"n": where.satisfies(lambda n: 1 // n == 1)}],
    ],
)
@virtual
async def test_a_condition_that_raises(filters: Any) -> None:
    """A predicate or condition that raises does not match, and is reported once as an event."""
    async with connected() as (ws, peer):
        others, events, log = Others(ws), Log(), Log()
        ws.events.subscribe(events)
        others.attach()
        stream = ws.stream_filter(filters)
        stream.subscribe(log)
        others.attach()
        messages = [{"n": n} for n in (0, 1, 0, 1, 0)]
        peer.deliver(*messages)
        assert log.items == [{"n": 1}, {"n": 1}]
        [failed] = [event for event in events.items if isinstance(event, rxws.ConsumerFailed)]
        assert failed.consumer is stream
        assert await others.got() == messages


@virtual
async def test_an_observer_that_raises_at_the_end(loop_errors: list[dict[str, Any]]) -> None:
    """What ``on_completed`` raises is reported, and everybody else is completed."""
    async with connected() as (ws, peer):
        others = Others(ws)
        others.attach()

        def fail() -> None:
            raise ZeroDivisionError

        ws.subscribe(on_completed=fail)
        ws.stream_filter().subscribe(on_completed=fail)
        others.attach()
        peer.deliver(1)
        assert await others.got() == [1]
        assert [type(report["exception"]) for report in loop_errors] == [ZeroDivisionError] * 2


@virtual
async def test_an_observer_without_on_error(loop_errors: list[dict[str, Any]]) -> None:
    """A failure for good is no fault of an observer that has no ``on_error``."""
    async with connected() as (ws, peer):
        log = Log()
        ws.subscribe(lambda _: None)
        ws.stream_filter().subscribe(lambda _: None)
        ws.subscribe(log)
        await peer.fail(ws)
        assert [type(end) for end in log.ends] == [rxws.ConnectError]
        assert loop_errors == []


@virtual
async def test_system_exit_passes() -> None:
    """``SystemExit`` in a consumer is not held up on its way out of the program."""
    async with connected() as (ws, peer):

        def leave(_: Any) -> None:
            raise SystemExit(3)

        ws.subscribe(leave)
        with pytest.raises(SystemExit):
            peer.deliver(1)


# -- slow and forgotten --------------------------------------------------------------------------


@virtual
async def test_slow_cancelled_and_forgotten_consumers() -> None:
    """Readers and handlers that stall, are cancelled or are forgotten cost the others nothing."""
    async with connected() as (ws, peer):
        others = Others(ws)
        others.attach()

        async def stall(_: Any) -> None:
            await asyncio.Event().wait()

        ws.add_handler(stall, capacity=2)
        ws.add_handler(stall, capacity=2, overflow=rxws.Overflow.DROP_OLDEST)
        ws.stream_filter()
        unread = ws.stream_filter().buffered(capacity=1)
        readers = [asyncio.ensure_future(anext(ws.stream_filter())) for _ in range(20)]
        await turns()
        others.attach()
        for number in range(100):
            peer.deliver(number)
            if number < len(readers):
                readers[number].cancel()
            await asyncio.sleep(0)
        gc.collect()
        assert await others.got() == list(range(100))
        with pytest.raises(rxws.BufferOverflow):
            await drained(unread)
        results = await asyncio.gather(*readers, return_exceptions=True)
        assert all(r in (0, 1) or isinstance(r, asyncio.CancelledError) for r in results)


# -- from the inside -----------------------------------------------------------------------------


@pytest.mark.parametrize("attach", EVERYWHERE)
@virtual
async def test_subscribing_from_inside(attach: Attach) -> None:
    """Who subscribes another consumer while it is called disturbs nobody; that begins next."""
    async with connected() as (ws, peer):
        others, late = Others(ws), []

        def subscribe(message: int) -> None:
            if message == 1:
                for attach_too in SYNCHRONOUS:
                    late.append([])
                    attach_too(ws, late[-1].append)

        others.attach()
        attach(ws, subscribe)
        others.attach()
        peer.deliver(1)
        await turns()
        peer.deliver(2)
        assert late == [[2]] * len(SYNCHRONOUS)
        assert await others.got() == [1, 2]


@pytest.mark.parametrize("attach", EVERYWHERE)
@virtual
async def test_disposing_from_inside(attach: Attach) -> None:
    """Who disposes itself and others while it is called ends those, and nobody else."""
    async with connected() as (ws, peer):
        others = Others(ws)
        logs = [Log() for _ in range(4)]
        ends: list[Any] = []

        def dispose(_: Any) -> None:
            for end in ends:
                end.dispose()

        others.attach()
        ends += [ws.subscribe(logs[0]), ws.stream_filter().subscribe(logs[1])]
        ends.append(attach(ws, dispose))
        ends += [ws.subscribe(logs[2]), ws.stream_filter().subscribe(logs[3])]
        others.attach()
        peer.deliver(1)
        await turns()
        peer.deliver(2)
        at_once = attach is not handle_awaiting
        assert [log.items for log in logs] == [[1], [1], *([[], []] if at_once else [[1], [1]])]
        assert await others.got() == [1, 2]


@pytest.mark.parametrize("attach", EVERYWHERE)
@virtual
async def test_sending_from_inside(attach: Attach) -> None:
    """Who sends while it is called, even with an answer at once, does not change the order."""
    async with connected() as (ws, peer):
        others = Others(ws)
        tasks = []

        def send(message: int) -> None:
            if message < 3:
                ws.on_next({"answer": message})
                tasks.append(asyncio.ensure_future(ws.send({"to": message})))
                peer.deliver(message + 1)

        others.attach()
        attach(ws, send)
        others.attach()
        peer.deliver(1)
        await turns(20)
        await asyncio.gather(*tasks)
        sent = [message for message in peer.sent(1) if "sub" not in message]
        assert sorted(sent, key=str) == [{"answer": 1}, {"answer": 2}, {"to": 1}, {"to": 2}]
        assert await others.got() == [1, 2, 3]


@pytest.mark.parametrize("attach", EVERYWHERE)
@virtual
async def test_rotating_from_inside(attach: Attach) -> None:
    """Who rotates while it is called gets one rotation, and nobody misses or doubles anything."""
    async with connected(key=lambda message: message) as (ws, peer):
        others = Others(ws)
        others.attach()
        attach(ws, lambda message: ws.rotate() if message < 5 else None)
        others.attach()
        peer.deliver(*range(5))
        await peer.link(2)
        await asyncio.sleep(1)
        for link in peer.links:
            link.deliver("5", "6")
        await asyncio.sleep(10)
        peer.deliver(7)
        assert (ws.stats().rotations, len(peer.links)) == (1, 2)
        assert await others.got() == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("attach", EVERYWHERE)
@virtual
async def test_exiting_from_inside(attach: Attach) -> None:
    """Who exits while it is called ends everything for everybody after the same message."""
    async with connected() as (ws, peer):
        others = Others(ws)
        tasks = []

        def leave(_: Any) -> None:
            tasks.append(asyncio.ensure_future(ws.exit()))

        others.attach()
        attach(ws, leave)
        others.attach()
        peer.deliver(1)
        await turns(20)
        peer.deliver(2)
        await asyncio.gather(*tasks)
        assert await others.got() == [1]


@pytest.mark.parametrize("kind", ["handler", "reader"])
@virtual
async def test_exit_awaited_by_a_handler_and_by_a_reader(kind: str) -> None:
    """A coroutine handler, and a reader in its loop, may await ``exit`` themselves."""
    loop = asyncio.get_running_loop()
    async with connected() as (ws, peer):
        left = asyncio.Event()

        async def leave(_: Any) -> None:
            await ws.exit()
            left.set()

        async def read() -> None:
            async for message in ws.stream_filter():
                await leave(message)

        if kind == "handler":
            ws.add_handler(leave)
        else:
            reader = asyncio.ensure_future(read())
            await turns()
        began = loop.time()
        peer.deliver(1)
        await left.wait()
        assert loop.time() - began < 1
        assert ws.state is rxws.State.CLOSED
        if kind == "reader":
            await reader


@virtual
async def test_one_order_for_everybody() -> None:
    """Every consumer sees what consumers cause in one and the same order, however deep."""
    async with connected() as (ws, peer):
        others = Others(ws)
        counter = itertools.count(10)

        def cause_more(message: int) -> None:
            if message < 3 or message in (11, 13):
                peer.deliver(next(counter), next(counter))

        others.attach()
        for attach in (observe, observe_stream, handle):
            attach(ws, cause_more)
            others.attach()
        peer.deliver(1, 2)
        await turns(20)
        got = await others.got()
        assert got[:2] == [1, 2]
        assert sorted(got[2:]) == list(range(10, 10 + len(got) - 2))
        assert got[2:] == sorted(got[2:])


@virtual
async def test_one_order_for_what_a_consumer_emits() -> None:
    """A hub that is made to emit in the midst of a delivery, messages and gaps, finishes that."""
    hub: Hub[Any] = Hub(lambda _: None, lambda _: None)
    logs = [Log(), Log()]
    gap = rxws.Gap(1, "planned", planned=True, since=0.0, until=1.0)

    def cause_more(message: Any) -> None:
        if message == 1:
            hub.emit(2)
            hub.emit_gap(gap)
            hub.emit(3)
        elif message is gap:
            hub.emit(4)

    for log in (logs[0], None, logs[1]):
        fanout: Fanout[Any] = Fanout(hub, compile_filters(None), gaps=True)
        observer = Observer(cause_more) if log is None else Observer(log.on_next)
        fanout.add(observer)
    hub.emit(1)
    hub.emit_gap(gap)
    hub.emit(5)
    assert logs[0].items == logs[1].items == [1, 2, gap, 3, 4, gap, 4, 5]
