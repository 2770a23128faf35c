"""Signals: plain Observables that say when to rotate, each on its own clock."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from typing import Any

import pytest
import reactivex
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from tests.virtual import COMPLETED, Log, Peer, connected, turns, until, virtual


class Timed(Log):
    """Writes down the moment of each item too."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_next(self, item: Any) -> None:
        super().on_next(item)
        self.times.append(round(asyncio.get_running_loop().time(), 6))


# -- every ---------------------------------------------------------------------------------------


@virtual
async def test_every() -> None:
    """``every`` emits 0, 1, 2 after exactly so many seconds each, until it is disposed."""
    log = Timed()
    subscription = rxws.every(2.5).subscribe(log)
    await asyncio.sleep(10)
    subscription.dispose()
    await asyncio.sleep(100)
    assert log.items == [0, 1, 2, 3]
    assert log.times == [2.5, 5, 7.5, 10]


@virtual
async def test_every_does_not_drift() -> None:
    """A thousand intervals later it is as punctual as at first, whatever observers take."""
    log = Timed()
    subscription = rxws.every(0.1).subscribe(log)
    await asyncio.sleep(100.05)
    subscription.dispose()
    assert log.times[-1] == 100
    assert len(log.items) == 1000


@virtual
async def test_every_disposed_by_its_observer() -> None:
    """Disposed from within its own item it emits no other, and leaves no timer."""
    log = Log()
    rxws.every(1).pipe(ops.take(1)).subscribe(log)
    await asyncio.sleep(10)
    assert (log.items, log.ends) == ([0], [COMPLETED])


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
@virtual
async def test_no_time_at_all(seconds: float) -> None:
    """A period that is not more than 0 is refused where it is given."""
    with pytest.raises(ValueError, match="seconds"):
        rxws.every(seconds)
    with pytest.raises(ValueError, match="seconds"):
        rxws.on_silence(reactivex.never(), seconds)


# -- on_message ----------------------------------------------------------------------------------


@virtual
async def test_on_message() -> None:
    """``on_message`` emits the messages that match, and ends with the websocket."""
    async with connected() as (ws, peer):
        log = Log()
        rxws.on_message(ws, [{"e": "expired"}]).subscribe(log)
        peer.deliver({"e": "trade"}, {"e": "expired"}, 1)
        assert log.items == [{"e": "expired"}]
        with pytest.raises(rxws.FilterError):
            rxws.on_message(ws, [1])
    assert log.ends == [COMPLETED]


def fail(_: Any) -> bool:
    """Judge nothing."""
    raise ZeroDivisionError


@virtual
async def test_on_message_with_a_predicate_that_raises() -> None:
    """What a predicate raises is one event of the websocket; nothing is collected meanwhile."""
    async with connected() as (ws, peer):
        events, log = Log(), Log()
        ws.events.subscribe(events)
        signal = rxws.on_message(ws, fail)
        assert ws.stats().streams == 0
        signal.subscribe(log)
        peer.deliver(1, 2)
        assert (log.items, ws.stats().backlog) == ([], 0)
        failed = [event for event in events.items if isinstance(event, rxws.ConsumerFailed)]
        assert [type(event.error) for event in failed] == [ZeroDivisionError]


@virtual
async def test_on_message_of_any_observable() -> None:
    """It filters any Observable, and tells the event loop once of a predicate that raises."""
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    source: Subject[int] = Subject()
    small, none = Log(), Log()
    rxws.on_message(source, lambda n: n < 2).subscribe(small)
    rxws.on_message(source, fail).subscribe(none)
    for n in range(4):
        source.on_next(n)
    assert (small.items, none.items) == ([0, 1], [])
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]


def test_a_predicate_that_raises_outside_of_a_loop(caplog: pytest.LogCaptureFixture) -> None:
    """Where no loop runs, ``stream_filter`` logs once what a predicate raises."""
    log = Log()
    reactivex.of(1, 2).pipe(rxws.operators.stream_filter(fail)).subscribe(log)
    assert (log.items, log.ends) == ([], [COMPLETED])
    [record] = caplog.records
    assert record.name == "rxws"
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError


# -- on_silence ----------------------------------------------------------------------------------


@virtual
async def test_on_silence() -> None:
    """``on_silence`` counts from its subscription, then from each message, then from itself."""
    source: Subject[int] = Subject()
    log = Timed()
    await asyncio.sleep(5)
    subscription = rxws.on_silence(source, 10).subscribe(log)
    await asyncio.sleep(9)
    source.on_next(1)  # at 14
    await asyncio.sleep(9)
    source.on_next(2)  # at 23
    await asyncio.sleep(25)  # until 48
    source.on_next(3)
    await asyncio.sleep(11)
    subscription.dispose()
    await asyncio.sleep(100)
    assert log.times == [33, 43, 58]
    assert log.items == [10, 10, 10]
    assert source.observers == []


@virtual
async def test_on_silence_ends_with_its_source() -> None:
    """When the websocket ends or fails the signal does too, and leaves no timer."""
    async with connected() as (ws, peer):
        log = Log()
        rxws.on_silence(ws, 10).subscribe(log)
        await peer.fail(ws)
        assert [type(end) for end in log.ends] == [rxws.ConnectError]
        late = Log()
        rxws.on_silence(ws, 10).subscribe(late)
        await asyncio.sleep(100)
        assert (late.items, [type(end) for end in late.ends]) == ([], [rxws.ConnectError])


# -- from_coroutine ------------------------------------------------------------------------------


@virtual
async def test_from_coroutine() -> None:
    """It emits the result of the coroutine when that is done, and completes."""

    async def wait() -> str:
        await asyncio.sleep(7)
        return "done"

    log = Timed()
    rxws.from_coroutine(wait).subscribe(log)
    await asyncio.sleep(10)
    assert (log.items, log.times, log.ends) == (["done"], [7], [COMPLETED])


@virtual
async def test_from_coroutine_that_raises() -> None:
    """What the coroutine raises is the error of the Observable; so when making it raises."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    def fail_at_once() -> Any:
        raise ZeroDivisionError

    for function in (fail, fail_at_once):
        log = Log()
        rxws.from_coroutine(function).subscribe(log)
        await asyncio.sleep(2)
        assert (log.items, [type(end) for end in log.ends]) == ([], [ZeroDivisionError])


@virtual
async def test_from_coroutine_runs_one_for_each_subscription() -> None:
    """Each subscription runs a coroutine of its own; disposing one cancels that alone."""
    begun, cancelled = 0, 0

    async def wait() -> None:
        nonlocal begun, cancelled
        begun += 1
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    signal = rxws.from_coroutine(wait)
    first, second = Log(), Log()
    subscription = signal.subscribe(first)
    signal.subscribe(second)
    await asyncio.sleep(1)
    subscription.dispose()
    await asyncio.sleep(100)
    assert (begun, cancelled) == (2, 1)
    assert (first.ends, second.ends) == ([], [COMPLETED])


@virtual
async def test_from_coroutine_that_is_cancelled_from_within() -> None:
    """A cancellation that is the coroutine's own is its error; that of the disposal is none."""

    async def wait() -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, future.cancel)
        await future

    log, disposed = Log(), Log()
    rxws.from_coroutine(wait).subscribe(log)
    subscription = rxws.from_coroutine(wait).subscribe(disposed)
    await asyncio.sleep(0.5)
    subscription.dispose()
    await asyncio.sleep(1)
    assert [type(end) for end in log.ends] == [concurrent.futures.CancelledError]
    assert (log.items, disposed.items, disposed.ends) == ([], [], [])


@virtual
async def test_from_coroutine_is_held() -> None:
    """A coroutine that waits for what nobody else holds is not collected in the midst of it."""
    ended: list[bool] = []

    async def wait() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    rxws.from_coroutine(wait).subscribe(Log())
    await turns()
    gc.collect()
    assert ended == []
    [task] = asyncio.all_tasks() - {asyncio.current_task()}
    task.cancel()
    await turns()


# -- all of them ---------------------------------------------------------------------------------


@virtual
async def test_they_combine() -> None:
    """``reactivex.merge`` of signals emits whichever comes, and disposing it disposes all."""
    async with connected() as (ws, peer):

        async def wait() -> str:
            await asyncio.sleep(3)
            return "coroutine"

        log = Timed()
        began = asyncio.get_running_loop().time()
        subscription = reactivex.merge(
            rxws.every(5).pipe(ops.map(lambda _: "period")),
            rxws.on_message(ws, [{"e": "expired"}]).pipe(ops.map(lambda _: "message")),
            rxws.on_silence(ws, 4).pipe(ops.map(lambda _: "silence")),
            rxws.from_coroutine(wait),
        ).subscribe(log)
        await asyncio.sleep(2)
        peer.deliver({"e": "expired"})
        await asyncio.sleep(4.5)
        subscription.dispose()
        await asyncio.sleep(100)
        assert log.items == ["message", "coroutine", "period", "silence"]
        assert [when - began for when in log.times] == pytest.approx([2, 3, 5, 6])
        assert ws.stats().streams == 0


@virtual
async def test_no_threads() -> None:
    """No signal starts a thread."""
    before = threading.active_count()
    async with connected() as (ws, _):
        for signal in (rxws.every(1), rxws.on_silence(ws, 1), rxws.on_message(ws)):
            subscription = signal.subscribe(Log())
            await asyncio.sleep(5)
            assert threading.active_count() == before
            subscription.dispose()


# -- rotate_on -----------------------------------------------------------------------------------


@virtual
async def test_rotate_on_a_period() -> None:
    """``rotate_on=every(...)`` rotates each connection so long after it went into use."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    async with connected(rotate_on=rxws.every(100), handover=handover) as (ws, peer):
        await asyncio.sleep(350)
        assert ws.stats().rotations == 3
        assert len(peer.links) == 4
        assert len(peer.open_links) == 1


@virtual
async def test_rotate_on_a_function() -> None:
    """A function of the websocket is called for each connection, its signal's first item counts."""
    made: list[Subject[int]] = []

    def signal(ws: rxws.ReactiveWebSocket[Any]) -> Subject[int]:
        assert isinstance(ws, rxws.ReactiveWebSocket)
        made.append(Subject())
        return made[-1]

    async with connected(rotate_on=signal) as (ws, peer):
        assert len(made) == 1
        made[0].on_next(1)
        made[0].on_next(2)
        assert made[0].observers == []
        await asyncio.sleep(10)
        assert (len(made), len(peer.links), ws.stats().rotations) == (2, 2, 1)
        peer.last.lose()  # a reconnect is a new connection too
        await until(ws, rxws.Disconnected)
        await peer.link(3)
        await turns()
        assert len(made) == 3
        assert made[1].observers == []
    assert made[2].observers == []


@virtual
async def test_rotate_on_a_message_or_a_period() -> None:
    """Signals merged over the websocket itself rotate on whichever comes first."""

    def signal(ws: rxws.ReactiveWebSocket[Any]) -> reactivex.Observable[Any]:
        return reactivex.merge(rxws.every(1000), rxws.on_message(ws, [{"e": "expired"}]))

    async with connected(rotate_on=signal) as (ws, peer):
        await asyncio.sleep(10)
        peer.deliver({"e": "expired"})
        await asyncio.sleep(10)
        assert ws.stats().rotations == 1
        await asyncio.sleep(1000)
        assert ws.stats().rotations == 2


@pytest.mark.parametrize("kind", ["error", "raises", "not observable"])
@virtual
async def test_a_signal_that_fails(kind: str) -> None:
    """A signal that ends with an error, or can't begin, is an event and costs no connection."""

    def signal(_: Any) -> Any:
        if kind == "raises":
            raise ZeroDivisionError
        return reactivex.throw(ZeroDivisionError()) if kind == "error" else 5

    peer, events = Peer(), Log()
    ws = rxws.connect("ws://fake", transport=peer, rotate_on=signal)
    ws.events.subscribe(events)
    async with ws:
        log = Log()
        ws.subscribe(log)
        await asyncio.sleep(100)
        peer.deliver(1)
        assert log.items == [1]
        [failed] = [event for event in events.items if isinstance(event, rxws.SignalFailed)]
        assert isinstance(
            failed.error, AttributeError if kind == "not observable" else ZeroDivisionError
        )
        assert len(peer.links) == 1


@virtual
async def test_what_is_no_signal() -> None:
    """Something that is neither an Observable nor a function is refused, with a hint."""
    with pytest.raises(TypeError, match="every"):
        rxws.connect("ws://fake", rotate_on=5, transport=Peer())
