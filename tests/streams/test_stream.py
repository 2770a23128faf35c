"""A stream: what it collects, what its observers get, how it ends, and what it costs."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import reactivex
from reactivex import operators as ops

import rxws
from tests.virtual import COMPLETED, Log, Peer, connected, drained, fatal, turns, virtual

# -- two faces -----------------------------------------------------------------------------------


@virtual
async def test_is_an_observable_and_an_async_iterator() -> None:
    """A stream can be given wherever an Observable or an async iterator is asked for."""
    async with connected() as (ws, _):
        stream = ws.stream_filter()
        assert isinstance(stream, reactivex.Observable)
        assert isinstance(stream, AsyncIterator)


@virtual
async def test_collects_from_its_creation() -> None:
    """What arrives between the making of a stream and the first ``async for`` is not missed."""
    async with connected() as (ws, peer):
        peer.deliver(0)
        stream = ws.stream_filter()
        peer.deliver(1, 2)
        await asyncio.sleep(3600)
        peer.deliver(3)
    assert await drained(stream) == [1, 2, 3]


@virtual
async def test_collects_before_the_websocket_is_entered() -> None:
    """A stream made before the first connection misses nothing of it."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer)
    stream = ws.stream_filter()
    async with ws:
        peer.deliver(1, 2)
    assert await drained(stream) == [1, 2]


@pytest.mark.parametrize("face", ["subscribe", "pipe"])
@virtual
async def test_the_first_observer_ends_the_collecting(face: str) -> None:
    """A stream that was never iterated stops collecting when it is subscribed or piped."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        peer.deliver(1)
        assert ws.stats().backlog == 1
        log = Log()
        if face == "pipe":
            stream.pipe(ops.map(str)).subscribe(log)
        else:
            stream.subscribe(log)
        peer.deliver(2)
        assert ws.stats().backlog == 0
        assert log.items == (["2"] if face == "pipe" else [2])


@virtual
async def test_iterated_after_it_was_observed() -> None:
    """Iterating a stream that gave up collecting collects from then on."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        stream.subscribe(Log())
        peer.deliver(1)
        iterator = aiter(stream)
        peer.deliver(2)
        assert await anext(iterator) == 2


@virtual
async def test_once_iterated_it_goes_on_collecting_beside_observers() -> None:
    """An observer of a stream that is being iterated takes nothing from the iteration."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        peer.deliver(1)
        assert await anext(stream) == 1
        peer.deliver(2)
        log = Log()
        stream.subscribe(log)
        peer.deliver(3)
        assert [await anext(stream), await anext(stream)] == [2, 3]
        assert log.items == [3]


@virtual
async def test_only_what_passes_the_filter() -> None:
    """Observers and iteration get the messages that match, in the order of their arrival."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter([{"e": "trade"}])
        other = ws.stream_filter([{"e": "trade"}])
        log = Log()
        other.subscribe(log)
        peer.deliver({"e": "trade", "n": 1}, {"e": "depth"}, [1], "x", None, {"e": "trade", "n": 2})
    assert await drained(stream) == log.items == [{"e": "trade", "n": 1}, {"e": "trade", "n": 2}]


@virtual
async def test_messages_are_shared() -> None:
    """Every consumer is given one and the same object."""
    async with connected() as (ws, peer):
        first, second = Log(), Log()
        ws.subscribe(first)
        ws.stream_filter([{"a": 1}]).subscribe(second)
        peer.deliver({"a": 1})
        assert first.items[0] is second.items[0]


@virtual
async def test_a_malformed_filter_is_refused_where_it_is_given() -> None:
    """A filter that makes no sense raises at once, and registers nothing."""
    async with connected() as (ws, _):
        for make in (ws.stream_filter, lambda f: ws.multiplex("a", "b", f)):
            with pytest.raises(rxws.FilterError):
                make([1])
        assert ws.stats().streams == 0


# -- observers -----------------------------------------------------------------------------------


@virtual
async def test_the_bound_concerns_the_iteration_only() -> None:
    """Observers of a stream get everything while its iteration overflows."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=2)
        iterator = aiter(stream)
        log = Log()
        stream.subscribe(log)
        peer.deliver(*range(10))
        assert log.items == list(range(10))
        with pytest.raises(rxws.BufferOverflow):
            await drained(iterator)
        peer.deliver(10)
        assert log.items == list(range(11))


@virtual
async def test_an_observer_gets_nothing_from_before() -> None:
    """A stream is hot: each observer begins with the next message."""
    async with connected() as (ws, peer):
        stream, first, second = ws.stream_filter(), Log(), Log()
        stream.subscribe(first)
        peer.deliver(1)
        stream.subscribe(second)
        peer.deliver(2)
        assert (first.items, second.items) == ([1, 2], [2])


@virtual
async def test_disposed_gets_no_more() -> None:
    """A disposed observer is left alone, and those who stay are not."""
    async with connected() as (ws, peer):
        stream, first, second = ws.stream_filter(), Log(), Log()
        subscription = stream.subscribe(first)
        stream.subscribe(second)
        peer.deliver(1)
        subscription.dispose()
        subscription.dispose()
        peer.deliver(2)
    assert (first.items, second.items) == ([1], [1, 2])
    assert (first.ends, second.ends) == ([], [COMPLETED])


@virtual
async def test_an_observer_of_a_thread() -> None:
    """Subscribing and disposing in another thread works, and the items come on the loop's."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter([{"a": 1}])
        seen: list[int] = []
        for source in (ws, stream):
            seen.clear()
            subscription = await asyncio.to_thread(
                source.subscribe, lambda _: seen.append(threading.get_ident())
            )
            peer.deliver({"a": 1})
            assert seen == [threading.get_ident()]
            await asyncio.to_thread(subscription.dispose)
            peer.deliver({"a": 1})
            assert len(seen) == 1
        assert ws.stats().streams == 0


@virtual
async def test_subscribed_and_disposed_by_threads_during_the_feed() -> None:
    """Threads that come and go while messages are delivered disturb nobody."""
    async with connected() as (ws, peer):
        log = Log()
        ws.subscribe(log)

        def come_and_go(name: int) -> None:
            for _ in range(50):
                ws.stream_filter([{"n": name}]).subscribe(Log()).dispose()
                ws.subscribe(Log()).dispose()

        threads = [asyncio.ensure_future(asyncio.to_thread(come_and_go, n)) for n in range(4)]
        count = 0
        while not all(thread.done() for thread in threads):
            peer.deliver({"n": count % 4})
            count += 1
            await asyncio.sleep(0)
        await asyncio.gather(*threads)
        assert len(log.items) == count
        gc.collect()
        assert ws.stats().streams == 1


# -- ends ----------------------------------------------------------------------------------------


@virtual
async def test_exit_lets_the_held_be_read() -> None:
    """After ``exit`` observers have completed, and the iteration gives what it holds and stops."""
    log = Log()
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        ws.stream_filter().subscribe(log)
        peer.deliver(1, 2)
        await ws.exit()
        assert log.ends == [COMPLETED]
    assert await drained(stream) == [1, 2]
    assert await drained(stream) == []


@virtual
async def test_exit_wakes_a_waiting_reader() -> None:
    """A reader that waits when the websocket exits stops."""
    async with connected() as (ws, _):
        reader = asyncio.ensure_future(drained(ws.stream_filter()))
        await turns()
        await ws.exit()
        assert await reader == []


@virtual
async def test_failure_comes_after_the_held() -> None:
    """When everything fails for good, the iteration gives what it holds, then raises the error."""
    async with connected() as (ws, peer):
        error, log = fatal(), Log()
        stream = ws.stream_filter()
        ws.stream_filter().subscribe(log)
        peer.deliver(1, 2)
        await peer.fail(ws, error)
        assert log.ends == [error]
        items = []
        with pytest.raises(rxws.ConnectError) as caught:  # noqa: PT012 -- items come first
            async for item in stream:
                items.append(item)  # noqa: PERF401
        assert (items, caught.value) == ([1, 2], error)
        with pytest.raises(rxws.ConnectError):
            await drained(stream)


@virtual
async def test_too_late_after_exit() -> None:
    """After ``exit`` new observers complete at once, and new iterations stop at once."""
    async with connected() as (ws, _):
        early = ws.stream_filter()
        early.subscribe(Log())
        await ws.exit()
        for source in (
            ws,
            early,
            ws.stream_filter(),
            ws.multiplex("a", "b"),
            ws.stream_filter().with_gaps(),
        ):
            log = Log()
            source.subscribe(log)
            assert (log.items, log.ends) == ([], [COMPLETED])
        assert await drained(early) == await drained(ws.stream_filter()) == []
        ws.add_handler(print).dispose()


@virtual
async def test_too_late_after_failure() -> None:
    """After a failure for good new observers get the error, and new iterations raise it."""
    async with connected() as (ws, peer):
        error = fatal()
        early = ws.stream_filter()
        early.subscribe(Log())
        await peer.fail(ws, error)
        for source in (ws, early, ws.stream_filter(), ws.multiplex("a", "b")):
            log = Log()
            source.subscribe(log)
            assert (log.items, log.ends) == ([], [error])
        for stream in (early, ws.stream_filter()):
            with pytest.raises(rxws.ConnectError):
                await anext(stream)


@virtual
async def test_close_ends_one_stream() -> None:
    """``close`` completes the observers, stops the iteration, discards; others do not notice."""
    async with connected() as (ws, peer):
        stream, log, other = ws.stream_filter(), Log(), Log()
        aiter(stream)
        stream.subscribe(log)
        ws.subscribe(other)
        peer.deliver(1)
        await stream.close()
        await stream.close()
        peer.deliver(2)
        assert (log.items, log.ends) == ([1], [COMPLETED])
        assert await drained(stream) == []
        late = Log()
        stream.subscribe(late)
        assert late.ends == [COMPLETED]
        assert other.items == [1, 2]
        assert ws.stats().streams == 1


@virtual
async def test_close_wakes_a_waiting_reader() -> None:
    """A reader that waits when its stream is closed stops, without an error."""
    async with connected() as (ws, _):
        stream = ws.stream_filter()
        reader = asyncio.ensure_future(drained(stream))
        await turns()
        await stream.aclose()
        assert await reader == []


@virtual
async def test_close_by_its_own_reader_and_its_own_observer() -> None:
    """Closing a stream from within its iteration, or during its delivery, ends it cleanly."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        peer.deliver(1, 2)
        items = []
        async for item in stream:
            items.append(item)
            await stream.close()
        assert items == [1]

        observed, log = ws.stream_filter(), Log()

        def close(item: Any) -> None:
            with pytest.raises(StopIteration):
                observed.close().send(None)  # it never waits

        observed.subscribe(close)
        observed.subscribe(log)
        peer.deliver(3)
        assert log.ends == [COMPLETED]
        assert ws.stats().streams == 0


@virtual
async def test_left_by_async_with() -> None:
    """``async with`` closes the stream, however it is left."""
    async with connected() as (ws, peer):
        async with ws.stream_filter() as stream:
            peer.deliver(1, 2)
            async for _ in stream:
                break
        assert ws.stats().streams == 0
        with pytest.raises(ZeroDivisionError):
            async with ws.stream_filter():
                1 / 0  # noqa: B018
        assert ws.stats().streams == 0


@virtual
async def test_break_and_go_on() -> None:
    """After ``break`` a stream that is held goes on collecting, for the next ``async for``."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        peer.deliver(1, 2, 3)
        async for item in stream:
            assert item == 1
            break
        peer.deliver(4)
        async for item in stream:
            assert item == 2
            break
    assert await drained(stream) == [3, 4]


# -- costs ---------------------------------------------------------------------------------------


@virtual
async def test_forgotten_costs_nothing() -> None:
    """A stream that nobody holds or observes is gone, without a message having to come."""
    async with connected() as (ws, peer):
        streams = [ws.stream_filter([{"n": n}]) for n in range(500)]
        peer.deliver({"n": 7})
        assert (ws.stats().streams, ws.stats().backlog) == (500, 1)
        del streams
        gc.collect()
        assert (ws.stats().streams, ws.stats().backlog) == (0, 0)


@virtual
async def test_forgotten_is_not_asked() -> None:
    """The next message after a stream was forgotten is not even compared with its filter."""
    async with connected() as (ws, peer):
        asked: list[Any] = []
        stream = ws.stream_filter(asked.append)
        peer.deliver(1)
        del stream
        gc.collect()
        peer.deliver(2)
        assert asked == [1]


@virtual
async def test_forgotten_by_its_reader() -> None:
    """A stream that only its ``async for`` held is gone after the ``break``."""
    async with connected() as (ws, peer):
        peer.last.pause()
        peer.deliver(1)
        asyncio.get_running_loop().call_soon(peer.last.resume)
        async for _ in ws.stream_filter():
            break
        gc.collect()
        assert ws.stats().streams == 0


@virtual
async def test_forgotten_but_observed() -> None:
    """An observer goes on when the stream, or what was piped from it, is forgotten."""
    async with connected() as (ws, peer):
        log, piped = Log(), Log()
        ws.stream_filter().subscribe(log)
        subscription = ws.stream_filter().pipe(ops.map(str)).subscribe(piped)
        gc.collect()
        peer.deliver(1)
        assert (log.items, piped.items) == ([1], ["1"])
        subscription.dispose()
        assert ws.stats().streams == 1


@virtual
async def test_unobserved_costs_nothing() -> None:
    """A stream that was observed, and is no more, is not delivered to, while it is held."""
    async with connected() as (ws, peer):
        streams = [ws.stream_filter() for _ in range(100)]
        for subscription in [stream.subscribe(Log()) for stream in streams]:
            subscription.dispose()
        assert ws.stats().streams == 0
        log = Log()
        streams[0].subscribe(log)
        peer.deliver(1)
        assert log.items == [1]


@virtual
async def test_forgotten_while_it_blocks_the_socket() -> None:
    """A forgotten stream that had stopped the reading with ``BLOCK`` lets it go on."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter().buffered(capacity=2, overflow=rxws.Overflow.BLOCK)
        log = Log()
        ws.subscribe(log)
        peer.deliver(1, 2, 3)
        assert log.items == [1, 2]
        del stream
        gc.collect()
        await turns()
        assert log.items == [1, 2, 3]


@virtual
async def test_closed_while_it_blocks_the_socket() -> None:
    """A stream that had stopped the reading lets it go on when closed, or only observed."""
    for end in ("close", "subscribe", "buffered"):
        async with connected() as (ws, peer):
            stream = ws.stream_filter().buffered(capacity=2, overflow=rxws.Overflow.BLOCK)
            log = Log()
            ws.subscribe(log)
            peer.deliver(1, 2, 3)
            assert log.items == [1, 2]
            if end == "close":
                await stream.close()
            elif end == "subscribe":
                stream.subscribe(Log())
            else:
                stream.buffered(capacity=10, overflow=rxws.Overflow.BLOCK)
            await turns()
            assert log.items == [1, 2, 3], end


# -- bounds --------------------------------------------------------------------------------------


@virtual
async def test_buffered_returns_the_stream() -> None:
    """``buffered`` returns the stream itself and keeps what waits."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        peer.deliver(1)
        assert stream.buffered(capacity=2, overflow=rxws.Overflow.DROP_OLDEST) is stream
        peer.deliver(2, 3)
    assert await drained(stream) == [2, 3]


@virtual
async def test_buffered_keeps_what_waits_after_the_end() -> None:
    """What an ended stream holds can still be read after its bound was changed."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        peer.deliver(1, 2)
    stream.buffered(capacity=None)
    assert await drained(stream) == [1, 2]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": -1}, ValueError),
        ({"capacity": 1.5}, ValueError),
        ({"overflow": "error"}, TypeError),
    ],
)
@virtual
async def test_a_senseless_bound_is_refused(options: dict[str, Any], error: type) -> None:
    """Every place that takes a bound refuses one that makes no sense, and changes nothing."""
    async with connected() as (ws, peer):
        stream = ws.stream_filter()
        peer.deliver(1)
        with pytest.raises(error):
            stream.buffered(**options)
        with pytest.raises(error):
            ws.add_handler(print, **options)
        with pytest.raises(error):
            ws.pipe(rxws.to_async_iterator(**options))
        assert ws.stats().streams == 1
    assert await drained(stream) == [1]


# -- gaps ----------------------------------------------------------------------------------------


@virtual
async def test_a_gap_is_an_item_at_its_place() -> None:
    """``with_gaps`` gives the ``Gap`` exactly between the messages around it, others do not."""
    async with connected() as (ws, peer):
        plain = ws.stream_filter([{"a": 1}])
        gaps = plain.with_gaps()
        events, log = Log(), Log()
        ws.events.pipe(ops.filter(lambda event: isinstance(event, rxws.Gap))).subscribe(events)
        gaps.pipe().subscribe(log)
        gaps = plain.with_gaps().buffered(capacity=3)
        peer.deliver({"a": 1})
        peer.last.lose()
        await peer.link(2)
        peer.deliver({"a": 1}, {"b": 2})
        await turns()
    [gap] = events.items
    assert (gap.epoch, gap.planned, gap.filled) == (1, False, False)
    assert await drained(gaps) == log.items == [{"a": 1}, gap, {"a": 1}]
    assert await drained(plain) == [{"a": 1}, {"a": 1}]


@virtual
async def test_a_gap_where_there_is_no_room() -> None:
    """A gap is not lost, and ends nothing, when a ``BLOCK`` iteration behind operators is full."""
    async with connected() as (ws, peer):
        iteration = (
            ws.stream_filter()
            .with_gaps()
            .pipe(
                ops.map(lambda item: item),
                rxws.to_async_iterator(capacity=2, overflow=rxws.Overflow.BLOCK),
            )
        )
        peer.deliver(1, 2)
        peer.last.lose()
        peer.last.resume()
        await peer.link(2)
        await turns()
        peer.deliver(3)
        async with iteration:
            items = [await anext(iteration) for _ in range(4)]
        assert [item if isinstance(item, int) else type(item) for item in items] == [
            *(1, 2, rxws.Gap, 3)
        ]


@virtual
async def test_shows_its_filter_once_it_is_gone() -> None:
    """A failure under a stream that nobody holds names its filter."""
    async with connected() as (ws, peer):
        events: list[Any] = []
        ws.events.subscribe(events.append)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        def fail(_: Any) -> None:
            raise ZeroDivisionError

        ws.stream_filter([{"e": "trade", ("a", 0): rxws.where.gt(1)}]).subscribe(fail)
        gc.collect()
        peer.deliver({"e": "trade", "a": [2]})
        [failed] = [event for event in events if isinstance(event, rxws.ConsumerFailed)]
        assert "[{'e': 'trade', ('a', 0): where.gt(1)}]" in repr(failed.consumer)
