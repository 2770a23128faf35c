"""Functions and coroutine functions as consumers."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest

import rxws
from rxws import Overflow
from tests.virtual import Log, connected, drained, turns, virtual


@virtual
async def test_a_function_is_called_with_every_message() -> None:
    """A plain function gets each message from its addition on, in the midst of the delivery."""
    async with connected() as (ws, peer):
        seen: list[int] = []
        peer.deliver(0)
        ws.add_handler(seen.append)
        peer.deliver(1, 2)
        assert seen == [1, 2]


@virtual
async def test_a_coroutine_function_runs_one_at_a_time() -> None:
    """A coroutine handler is never run twice at once, and gets the messages in order."""
    async with connected() as (ws, peer):
        running, most, seen = 0, 0, []

        async def handle(number: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0 if number % 2 else 0.5)
            seen.append(number)
            running -= 1

        ws.add_handler(handle)
        peer.deliver(*range(10))
        await asyncio.sleep(1)
        peer.deliver(*range(10, 20))
        await asyncio.sleep(60)
        assert seen == list(range(20))
        assert most == 1


class Callable_:  # noqa: N801 -- not typing's
    """An object that is called like a coroutine function."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.seen.append(message)

    async def method(self, message: Any) -> None:
        await self(message)


@virtual
async def test_what_counts_as_a_coroutine_function() -> None:
    """Callable objects, bound methods and partials of coroutine functions are awaited."""
    async with connected() as (ws, peer):
        first, second, third = Callable_(), Callable_(), Callable_()
        ws.add_handler(first)
        ws.add_handler(second.method)
        ws.add_handler(functools.partial(third.method))
        peer.deliver(1)
        await turns()
        assert first.seen == second.seen == third.seen == [1]


@virtual
async def test_what_is_no_function() -> None:
    """Anything that can't be called is refused where it is added."""
    async with connected() as (ws, _):
        with pytest.raises(TypeError, match="function"):
            ws.add_handler(1)
        assert ws.stats().streams == 0


@virtual
async def test_each_has_its_own_buffer() -> None:
    """A handler that takes for ever delays neither another handler nor a stream."""
    async with connected() as (ws, peer):
        stuck, quick = [], []

        async def get_stuck(message: Any) -> None:
            stuck.append(message)
            await asyncio.Event().wait()

        async def be_quick(message: Any) -> None:
            await asyncio.sleep(0)
            quick.append(message)

        ws.add_handler(get_stuck)
        ws.add_handler(be_quick)
        stream = ws.stream_filter()
        peer.deliver(*range(5))
        await turns(20)
        assert (stuck, quick) == ([0], [0, 1, 2, 3, 4])
        assert [await anext(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert ws.stats().backlog == 4


# -- ending --------------------------------------------------------------------------------------


@virtual
async def test_dispose() -> None:
    """Disposed, a handler finishes what it has begun, and what waits is discarded."""
    async with connected() as (ws, peer):
        begun, finished, called = [], [], []

        async def handle(message: Any) -> None:
            begun.append(message)
            await asyncio.sleep(1)
            finished.append(message)

        subscriptions = [ws.add_handler(handle), ws.add_handler(called.append)]
        peer.deliver(1, 2)
        await turns()
        for subscription in subscriptions:
            subscription.dispose()
            subscription.dispose()
        peer.deliver(3)
        await asyncio.sleep(60)
        assert (begun, finished, called) == ([1], [1], [1, 2])
        assert ws.stats().streams == 0


@virtual
async def test_remove_handler() -> None:
    """``remove_handler`` ends all that was added of one function, and nothing else."""
    async with connected() as (ws, peer):
        removed, kept = Callable_(), []
        ws.add_handler(removed.method)
        ws.add_handler(removed.method)
        ws.add_handler(kept.append)
        peer.deliver(1)
        await turns()
        assert removed.seen == [1, 1]
        ws.remove_handler(removed.method)  # another bound method, equal to the first
        ws.remove_handler(removed.method)
        ws.remove_handler(print)
        peer.deliver(2)
        await turns()
        assert (removed.seen, kept) == ([1, 1], [1, 2])
        assert ws.stats().streams == 1


@virtual
async def test_added_twice_and_one_disposed() -> None:
    """The same function added twice is called twice; disposing one leaves the other."""
    async with connected() as (ws, peer):
        seen: list[int] = []
        first, second = ws.add_handler(seen.append), ws.add_handler(seen.append)
        peer.deliver(1)
        first.dispose()
        peer.deliver(2)
        second.dispose()
        peer.deliver(3)
        assert seen == [1, 1, 2]


@virtual
async def test_disposed_in_the_midst_of_a_delivery() -> None:
    """A handler that another consumer disposes does not get the message being delivered."""
    async with connected() as (ws, peer):
        plain: list[int] = []
        coroutine = Callable_()
        ends: list[Any] = []
        ws.add_handler(lambda _: [end.dispose() for end in ends])
        ends += [ws.add_handler(plain.append), ws.add_handler(coroutine)]
        peer.deliver(1)
        await turns()
        assert (plain, coroutine.seen) == ([], [])


@virtual
async def test_disposed_from_inside() -> None:
    """A handler that disposes itself is done after the message it is handling."""
    async with connected() as (ws, peer):
        plain, awaited = [], []

        def once(message: Any) -> None:
            plain.append(message)
            ws.remove_handler(once)

        async def once_too(message: Any) -> None:
            awaited.append(message)
            ws.remove_handler(once_too)
            await asyncio.sleep(0)

        ws.add_handler(once)
        ws.add_handler(once_too)
        peer.deliver(1, 2, 3)
        await turns()
        assert (plain, awaited) == ([1], [1])


@virtual
async def test_added_from_inside() -> None:
    """A handler that is added while a message is delivered begins with the next."""
    async with connected() as (ws, peer):
        late: list[int] = []
        ws.add_handler(lambda message: ws.add_handler(late.append) if message == 1 else None)
        peer.deliver(1, 2)
        assert late == [2]


@virtual
async def test_disposed_by_a_thread_while_it_blocks() -> None:
    """Disposing a handler in another thread lets the socket go on, on the loop's own thread."""
    async with connected() as (ws, peer):
        threads: set[int] = set()
        numbers: list[int] = []

        async def stuck(_: Any) -> None:
            await asyncio.sleep(1)

        def note(number: int) -> None:
            numbers.append(number)
            threads.add(threading.get_ident())

        ws.events.subscribe(lambda _: threads.add(threading.get_ident()))
        ws.add_handler(note)
        blocking = ws.add_handler(stuck, capacity=2, overflow=Overflow.BLOCK)
        dropping = ws.add_handler(stuck, capacity=1, overflow=Overflow.DROP_NEWEST)
        peer.deliver(*range(5))
        await turns()
        assert peer.last.paused
        await asyncio.to_thread(blocking.dispose)
        await asyncio.to_thread(dropping.dispose)
        await turns()
        assert not peer.last.paused
        assert numbers == list(range(5))
        assert threads == {threading.get_ident()}


# -- the end of the websocket --------------------------------------------------------------------


@virtual
async def test_exit_lets_them_finish() -> None:
    """What waits in a handler when ``exit`` is called is handled, and ``exit`` waits for it."""
    seen = []

    async def handle(message: int) -> None:
        await asyncio.sleep(0.1)
        seen.append(message)

    async with connected() as (ws, peer):
        ws.add_handler(handle)
        peer.deliver(*range(5))
    assert seen == list(range(5))


@virtual
async def test_exit_bounds_them() -> None:
    """A handler that takes longer than ``exit_timeout`` is cancelled, and leaves no task."""
    cancelled = []

    async def handle(message: int) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(message)
            raise

    async with connected(exit_timeout=3) as (ws, peer):
        ws.add_handler(handle)
        peer.deliver(1, 2)
        await turns()
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began == pytest.approx(3)
    assert cancelled == [1]
    assert len(asyncio.all_tasks()) == 1


# -- at the bound --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overflow", "handled", "dropped"),
    [
        (Overflow.ERROR, [0, 1, 2, 3], 1),
        (Overflow.DROP_OLDEST, [0, 7, 8, 9], 6),
        (Overflow.DROP_NEWEST, [0, 1, 2, 3], 6),
        (Overflow.LATEST, [0, 9], 8),
        (Overflow.BLOCK, list(range(10)), 0),
    ],
)
@virtual
async def test_at_the_bound(overflow: Overflow, handled: list[int], dropped: int) -> None:
    """A handler that is busy with the first of ten messages handles what its buffer kept."""
    async with connected() as (ws, peer):
        seen, events = [], Log()

        async def handle(message: int) -> None:
            seen.append(message)
            await asyncio.sleep(1)

        ws.events.subscribe(events)
        ws.add_handler(handle, capacity=3, overflow=overflow)
        peer.deliver(0)
        await turns()
        peer.deliver(*range(1, 10))
        await asyncio.sleep(60)
        assert seen == handled
        assert ws.stats().dropped == dropped
        totals = [e.dropped for e in events.items if isinstance(e, rxws.Overflowed)]
        assert totals[-1:] == ([dropped] if dropped else [])
        failed = [e for e in events.items if isinstance(e, rxws.ConsumerFailed)]
        if overflow is Overflow.ERROR:
            assert failed[0].consumer is handle
            assert isinstance(failed[0].error, rxws.BufferOverflow)
        assert len(failed) == (overflow is Overflow.ERROR)
        assert ws.stats().streams == (overflow is not Overflow.ERROR)


@virtual
async def test_at_the_bound_alone() -> None:
    """A handler that overflows costs the others nothing."""
    async with connected() as (ws, peer):
        stream, plain = ws.stream_filter(), []

        async def stuck(_: Any) -> None:
            await asyncio.sleep(3600)

        ws.add_handler(stuck, capacity=1)
        ws.add_handler(plain.append)
        peer.deliver(*range(10))
        await ws.exit()
        assert await drained(stream) == plain == list(range(10))
