"""From push to pull: ``to_async_iterator`` on any Observable, and the reader's side of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Coroutine, Generator
from typing import Any

import pytest
import reactivex
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from rxws import Overflow
from tests.virtual import Log, connected, drained, turns, virtual


class Counted:
    """Awaits a coroutine and counts how often it is resumed."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.resumed = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self.coroutine.__await__()
        try:
            waits_for = next(inner)
            while True:
                value = yield waits_for
                self.resumed += 1
                waits_for = inner.send(value)
        except StopIteration as end:
            return end.value


async def run(awaitable: Any) -> Any:
    """Await something that is no coroutine, for a task."""
    return await awaitable


# -- any Observable ------------------------------------------------------------------------------


@virtual
async def test_subscribes_when_created() -> None:
    """What comes before the first ``async for`` is there."""
    source: Subject[int] = Subject()
    iteration = source.pipe(ops.map(lambda x: x * 10), rxws.to_async_iterator())
    source.on_next(1)
    source.on_next(2)
    source.on_completed()
    assert await drained(iteration) == [10, 20]


@virtual
async def test_a_source_that_emits_at_once() -> None:
    """A cold source that is done within its subscription is read to its end."""
    assert await drained(reactivex.of(1, 2, 3).pipe(rxws.to_async_iterator())) == [1, 2, 3]


@virtual
async def test_the_operator_is_in_the_operators_too() -> None:
    """``rxws.operators.to_async_iterator`` is the same function."""
    assert rxws.operators.to_async_iterator is rxws.to_async_iterator


@virtual
async def test_an_error_comes_after_the_items() -> None:
    """An error of the source is raised from the iteration, once, after what came before it."""
    source: Subject[int] = Subject()
    iteration = source.pipe(rxws.to_async_iterator())
    source.on_next(1)
    source.on_error(ZeroDivisionError("planned"))
    assert await anext(iteration) == 1
    with pytest.raises(ZeroDivisionError, match="planned"):
        await anext(iteration)
    assert await drained(iteration) == []


@virtual
async def test_an_error_wakes_a_waiting_reader() -> None:
    """A reader that waits when the source fails is told."""
    source: Subject[int] = Subject()
    reader = asyncio.ensure_future(drained(source.pipe(rxws.to_async_iterator())))
    await turns()
    source.on_error(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await reader


@virtual
async def test_a_source_that_fails_to_subscribe() -> None:
    """An Observable that raises when subscribed raises from the iteration."""

    def subscribe(observer: Any, scheduler: Any = None) -> Any:
        raise ZeroDivisionError

    iteration = reactivex.create(subscribe).pipe(rxws.to_async_iterator())
    with pytest.raises(ZeroDivisionError):
        await anext(iteration)


@virtual
async def test_break_inside_async_with_leaves_nothing_subscribed() -> None:
    """After ``async with`` the source has no observer, and nothing is held."""
    source: Subject[int] = Subject()
    async with source.pipe(rxws.to_async_iterator()) as iteration:
        source.on_next(1)
        source.on_next(2)
        async for item in iteration:
            assert item == 1
            break
        assert len(source.observers) == 1
    assert source.observers == []
    source.on_next(3)
    assert await drained(iteration) == []


@virtual
async def test_aclose_wakes_a_waiting_reader() -> None:
    """``aclose`` ends a pending ``anext``, is idempotent, and unsubscribes."""
    source: Subject[int] = Subject()
    iteration = source.pipe(rxws.to_async_iterator())
    reader = asyncio.ensure_future(drained(iteration))
    await turns()
    await iteration.aclose()
    await iteration.aclose()
    assert await reader == []
    assert source.observers == []


@virtual
async def test_dropping_it_unsubscribes() -> None:
    """A forgotten iteration is subscribed no more, and a ``ResourceWarning`` says so."""
    source: Subject[int] = Subject()
    iteration = source.pipe(rxws.to_async_iterator())
    source.on_next(1)
    with pytest.warns(ResourceWarning, match="aclose"):  # noqa: PT031 -- dropping takes two
        del iteration
        gc.collect()
    assert source.observers == []


@virtual
async def test_dropping_an_ended_one_is_silent() -> None:
    """After the end of the source nothing is left to warn of."""
    source: Subject[int] = Subject()
    iteration = source.pipe(rxws.to_async_iterator())
    source.on_next(1)
    source.on_completed()
    assert await drained(iteration) == [1]
    del iteration
    gc.collect()


@virtual
async def test_items_from_another_thread() -> None:
    """A source that emits on another thread is read on the loop, in order and whole."""
    source: Subject[int] = Subject()
    iteration = source.pipe(rxws.to_async_iterator(capacity=None))

    def emit() -> None:
        for number in range(1000):
            source.on_next(number)
        source.on_completed()

    reader = asyncio.ensure_future(drained(iteration))
    await turns()
    await asyncio.to_thread(emit)
    assert await reader == list(range(1000))


@virtual
async def test_no_threads() -> None:
    """Iterating an Observable starts no thread."""
    before = threading.active_count()
    source: Subject[int] = Subject()
    async with source.pipe(rxws.to_async_iterator()) as iteration:
        source.on_next(1)
        assert await anext(iteration) == 1
        assert threading.active_count() == before


# -- the reader ----------------------------------------------------------------------------------


@virtual
async def test_cancelled_five_hundred_times_misses_nothing() -> None:
    """A reader that is cancelled while it waits, before and after an item came, loses none."""
    async with connected() as (ws, peer):
        streams = [ws.stream_filter(), ws.pipe(rxws.to_async_iterator())]
        got: list[list[int]] = [[], []]
        for number in range(500):
            for stream, items in zip(streams, got, strict=True):
                reader = asyncio.ensure_future(anext(stream))
                await turns(number % 4)
                if number % 3:
                    peer.deliver(number * 2 + (stream is streams[1]))
                await turns(number % 2)
                reader.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    items.append(await reader)
        await ws.exit()
        expected = [n * 2 + odd for n in range(500) if n % 3 for odd in (0, 1)]
        for stream, items in zip(streams, got, strict=True):
            assert items + await drained(stream) == expected


@virtual
async def test_timeouts_miss_nothing() -> None:
    """Reading with ``asyncio.timeout`` around each item gives every item, however many expire."""
    async with connected() as (ws, peer):
        stream, got, expired = ws.stream_filter(), [], 0

        async def feed() -> None:
            for number in range(50):
                await asyncio.sleep(0.7)
                peer.deliver(number)

        feeder = asyncio.ensure_future(feed())
        while len(got) < 50:
            try:
                async with asyncio.timeout(0.5):
                    got.append(await anext(stream))
            except TimeoutError:
                expired += 1
        await feeder
        assert got == list(range(50))
        assert expired > 10


@pytest.mark.parametrize("kind", ["stream", "operator"])
@virtual
async def test_a_second_reader_is_refused(kind: str) -> None:
    """The second of two readers at once is told why, and the first goes on undisturbed."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter() if kind == "stream" else ws.pipe(rxws.to_async_iterator())
        first = asyncio.ensure_future(drained(stream))
        await turns()
        with pytest.raises(RuntimeError, match="another coroutine"):
            await anext(stream)
        peer.deliver(1, 2)
        await ws.exit()
        assert await first == [1, 2]


@pytest.mark.parametrize("kind", ["stream", "operator"])
@virtual
async def test_woken_once_per_batch(kind: str) -> None:
    """A reader that waits is resumed once for all messages that arrive in one step of the loop."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter() if kind == "stream" else ws.pipe(rxws.to_async_iterator())
        counted = Counted(drained(stream))
        reader = asyncio.ensure_future(run(counted))
        await turns()
        for batch in range(5):
            peer.deliver(*range(batch * 100, batch * 100 + 100))
            await turns()
        assert counted.resumed == 5
        await ws.exit()
        assert await reader == list(range(500))
        assert counted.resumed == 6


@virtual
async def test_a_failing_websocket_through_operators() -> None:
    """A failure for good is raised from an iteration behind operators, after the items."""
    async with connected() as (ws, peer):
        iteration = ws.pipe(ops.map(str), rxws.to_async_iterator())
        peer.deliver(1)
        await peer.fail(ws)
        assert await anext(iteration) == "1"
        with pytest.raises(rxws.ConnectError):
            await anext(iteration)


@virtual
async def test_an_operator_that_raises() -> None:
    """What an operator raises ends its own iteration with that error, and no other."""
    async with connected() as (ws, peer):
        failing = ws.pipe(ops.map(lambda n: 1 // n), rxws.to_async_iterator())
        other = ws.stream_filter()
        peer.deliver(1, 0, 1)
        assert await anext(failing) == 1
        with pytest.raises(ZeroDivisionError):
            await anext(failing)
        await ws.exit()
        assert await drained(other) == [1, 0, 1]


# -- bounds of an operator -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [
        (Overflow.DROP_OLDEST, [7, 8, 9]),
        (Overflow.DROP_NEWEST, [0, 1, 2]),
        (Overflow.LATEST, [9]),
    ],
)
@virtual
async def test_drops_at_the_bound(overflow: Overflow, kept: list[int]) -> None:
    """Of ten items that nobody read, exactly those are kept that the strategy says."""
    source: Subject[int] = Subject()
    iteration = source.pipe(rxws.to_async_iterator(capacity=3, overflow=overflow))
    for number in range(10):
        source.on_next(number)
    source.on_completed()
    assert await drained(iteration) == kept


@pytest.mark.parametrize("overflow", [Overflow.ERROR, Overflow.BLOCK])
@virtual
async def test_errors_at_the_bound(overflow: Overflow) -> None:
    """With ``ERROR``, and with ``BLOCK`` where no socket can be paused, it overflows."""
    source: Subject[int] = Subject()
    iteration = source.pipe(rxws.to_async_iterator(capacity=3, overflow=overflow))
    for number in range(10):
        source.on_next(number)
    items = []
    with pytest.raises(rxws.BufferOverflow) as caught:  # noqa: PT012 -- what came before counts
        async for item in iteration:
            items.append(item)  # noqa: PERF401
    assert items == [0, 1, 2]
    assert caught.value.capacity == 3
    assert source.observers == []


@virtual
async def test_exactly_full_is_no_overflow() -> None:
    """As many items as the capacity says fit."""
    for overflow in Overflow:
        if overflow is not Overflow.LATEST:
            source: Subject[int] = Subject()
            iteration = source.pipe(rxws.to_async_iterator(capacity=3, overflow=overflow))
            for number in range(3):
                source.on_next(number)
            source.on_completed()
            assert await drained(iteration) == [0, 1, 2]


@virtual
async def test_unbounded() -> None:
    """``capacity=None`` holds any number, with any strategy."""
    for overflow in (Overflow.ERROR, Overflow.BLOCK, Overflow.DROP_OLDEST):
        source: Subject[int] = Subject()
        iteration = source.pipe(rxws.to_async_iterator(capacity=None, overflow=overflow))
        for number in range(5000):
            source.on_next(number)
        source.on_completed()
        assert len(await drained(iteration)) == 5000


@virtual
async def test_block_finds_the_socket_through_operators() -> None:
    """``BLOCK`` behind operators pauses the websocket when full; nothing is lost."""
    async with connected() as (ws, peer):
        everything = ws.stream_filter().buffered(capacity=None)
        iteration = ws.pipe(
            ops.filter(lambda n: n % 2 == 0),
            ops.map(lambda n: n * 10),
            rxws.to_async_iterator(capacity=4, overflow=Overflow.BLOCK),
        )
        peer.deliver(*range(100))
        assert peer.last.paused
        assert ws.stats().messages == 7  # 0, 2, 4 and 6 fill it
        got = []
        async with iteration:
            for _ in range(50):
                got.append(await anext(iteration))
                assert len(iteration._mailbox.buffer.items) <= 4
        assert got == [n * 10 for n in range(0, 100, 2)]
        assert not peer.last.paused
        await ws.exit()
        assert await drained(everything) == list(range(100))


@virtual
async def test_block_is_undone_by_leaving() -> None:
    """An iteration that has stopped the socket lets it go on when it is left, or dropped."""
    for leave in ("async with", "drop"):
        async with connected() as (ws, peer):
            stream = ws.stream_filter()
            iteration = ws.pipe(rxws.to_async_iterator(capacity=2, overflow=Overflow.BLOCK))
            peer.deliver(1, 2, 3)
            assert peer.last.paused
            if leave == "async with":
                async with iteration:
                    pass
            else:
                with pytest.warns(ResourceWarning):  # noqa: PT031 -- dropping takes two
                    del iteration
                    gc.collect()
            await turns()
            assert not peer.last.paused
            await ws.exit()
            assert await drained(stream) == [1, 2, 3]


@virtual
async def test_block_of_two_websockets() -> None:
    """What one websocket delivers in the midst of another's delivery pauses only itself."""
    async with connected() as (outer, outer_peer), connected() as (inner, inner_peer):
        outer.subscribe(inner_peer.deliver)
        log = Log()
        inner.subscribe(log)
        bounded = rxws.to_async_iterator(capacity=3, overflow=Overflow.BLOCK)
        async with outer.pipe(bounded) as iteration:
            outer_peer.deliver(1, 2, 3, 4, 5)
            assert (inner_peer.last.paused, outer_peer.last.paused) == (False, True)
            assert log.items == [1, 2, 3]
            assert [await anext(iteration) for _ in range(5)] == [1, 2, 3, 4, 5]
