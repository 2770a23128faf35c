"""Consumers, where a connection is replaced or lost in the midst of it (section J: F96-F105).

What consumers may do on one connection is shown elsewhere; here are the same rows across
takeovers and gaps.

=====  ============================================================================================
F96    streams/test_isolation.py: test_a_consumer_that_raises, and those behind it
F97    streams/test_isolation.py: test_an_operator_that_raises
F98    streams/test_isolation.py: test_subscribing_, test_disposing_, test_sending_, test_rotating_
       and test_exiting_from_inside, test_one_order_for_everybody
F99    streams/test_handlers.py: test_added_from_inside, test_disposed_in_the_midst_of_a_delivery;
       streams/test_stream.py: test_disposed_gets_no_more, test_an_observer_gets_nothing_from_before
F100   streams/test_stream.py: test_too_late_after_exit, test_too_late_after_failure
F101   streams/test_handlers.py: test_at_the_bound, test_a_coroutine_function_runs_one_at_a_time;
       net/test_backpressure.py: test_a_stalled_consumer_delays_nobody
F102   streams/test_stream.py: test_exit_lets_the_held_be_read, test_failure_comes_after_the_held
F103   streams/test_iteration.py: test_break_inside_async_with_leaves_nothing_subscribed,
       test_dropping_it_unsubscribes; streams/test_stream.py: test_forgotten_by_its_reader
F104   streams/test_iteration.py: test_aclose_wakes_a_waiting_reader,
       test_a_second_reader_is_refused; streams/test_stream.py: test_close_ends_one_stream
F105   streams/test_stream.py: test_messages_are_shared (documented as read-only);
       test_interface.py: copies for the abstract class
=====  ============================================================================================
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from tests.faults.continuity import QUICK, Seen, give, link_of, number_of
from tests.virtual import COMPLETED, Log, Peer, connected, drained, fatal, turns, virtual

HANDOVER = rxws.MakeBeforeBreak(overlap=1, drain=1)


async def replaced(ws: rxws.ReactiveWebSocket[Any], peer: Peer, *, lost: bool) -> None:
    """Deliver 1 and 2, replace the connection by a rotation or after a loss, and bring 3 and 4."""
    first = peer.last
    give(first, 1, 2)
    if lost:
        first.lose(error=ConnectionResetError())
        second = await link_of(peer, 2)
        await turns()
        give(second, 3, 4)
    else:
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, 1, 2, 3, 4)  # held, and released in one step
        await asyncio.sleep(5)


@pytest.mark.parametrize("lost", [False, True])
@virtual
async def test_f96_one_that_raises_through_a_takeover(
    *, lost: bool, loop_errors: list[dict[str, Any]]
) -> None:
    """The second of three raises at every item, gaps too: it stays, nobody else misses anything."""
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        told: list[Any] = []

        def raises(item: Any) -> None:
            told.append(item)
            raise ValueError("no")

        first = Seen(ws)
        ws.stream_filter().with_gaps().subscribe(raises)
        third = Seen(ws)
        await replaced(ws, peer, lost=lost)
        assert first.line == third.line == ([1, 2, "gap", 3, 4] if lost else [1, 2, 3, 4])
        assert told == first.items
        assert len(first.of(rxws.ConsumerFailed)) == len(loop_errors) == len(told)
        assert len(peer.links) == 2


@pytest.mark.parametrize("lost", [False, True])
@virtual
async def test_f97_an_operator_that_raises_through_a_takeover(
    *, lost: bool, loop_errors: list[dict[str, Any]]
) -> None:
    """It ends its own chain alone, in the midst of what a takeover releases."""
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        got: list[int] = []

        def fails_at_three(item: Any) -> bool:
            if not isinstance(item, rxws.Gap) and item["n"] == 3:
                raise ValueError("no")
            return True

        first = Seen(ws)
        chain = ws.stream_filter().with_gaps().pipe(rxws.operators.to_async_iterator())
        ws.pipe(ops.map(fails_at_three)).subscribe(got.append)
        third = Seen(ws)
        await replaced(ws, peer, lost=lost)
        assert len(got) == 2
        assert first.items == third.items
        assert first.numbers == [1, 2, 3, 4]
        assert loop_errors
        await ws.exit()
        assert await drained(chain) == first.items


@pytest.mark.parametrize("what", ["rotate", "subscribe", "send", "lose"])
@virtual
async def test_f98_what_is_done_at_a_gap_comes_behind_it(what: str) -> None:
    """Who acts on a gap in the midst of its delivery changes the order for nobody."""
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        late: list[Any] = []
        done: list[Any] = []

        def act(item: Any) -> None:
            if not isinstance(item, rxws.Gap) or done:
                return
            done.append(item)
            if what == "rotate":
                ws.rotate()
            if what == "subscribe":
                ws.subscribe(late.append)
            if what == "send":
                ws.on_next({"n": 0})
            if what == "lose":
                peer.last.lose(error=ConnectionResetError())

        first = Seen(ws)
        ws.stream_filter().with_gaps().subscribe(act)
        third = Seen(ws)
        await replaced(ws, peer, lost=True)
        await asyncio.sleep(10)
        assert first.items == third.items
        assert first.line[:3] == [1, 2, "gap"]
        assert len(done) == 1
        if what == "lose":
            assert first.line == [1, 2, "gap", "gap"]
        else:
            assert first.line == [1, 2, "gap", 3, 4]
        assert [item["n"] for item in late] == ([3, 4] if what == "subscribe" else [])
        assert ws.stats().rotations == (what == "rotate")


@virtual
async def test_f99_coming_and_going_while_a_takeover_releases_what_was_held() -> None:
    """Who is subscribed at a held message begins with the next; who is disposed gets no more."""
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        leaving: Any = Log()
        coming: Any = Log()
        staying: Any = Log()
        disposables: list[Any] = []

        def act(message: Any) -> None:
            if message["n"] == 3:
                disposables[0].dispose()
                ws.subscribe(coming)

        ws.subscribe(act)
        disposables.append(ws.subscribe(leaving))
        ws.subscribe(staying)
        await replaced(ws, peer, lost=False)
        assert [item["n"] for item in leaving.items] == [1, 2]
        assert [item["n"] for item in coming.items] == [4]
        assert [item["n"] for item in staying.items] == [1, 2, 3, 4]


@pytest.mark.parametrize("failed", [False, True])
@virtual
async def test_f100_too_late_for_gaps_as_well(*, failed: bool) -> None:
    """After the end a stream with gaps gives its observers that end at once, and no old gap."""
    error = fatal()
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        stream = ws.stream_filter().with_gaps()
        held = stream.subscribe(lambda _: None, lambda _: None)
        await replaced(ws, peer, lost=True)
        if failed:
            await peer.fail(ws, error)
        else:
            await ws.exit()
        late: Any = Log()
        stream.subscribe(late)
        assert late.items == []
        assert late.ends == [error if failed else COMPLETED]
        held.dispose()


@virtual
async def test_f101_a_slow_handler_through_a_takeover() -> None:
    """A coroutine handler that is behind gets all that was held, one at a time and in order."""
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        handled: list[int] = []
        running = 0

        async def handler(message: Any) -> None:
            nonlocal running
            running += 1
            assert running == 1
            await asyncio.sleep(3)
            handled.append(message["n"])
            running -= 1

        ws.add_handler(handler)
        await replaced(ws, peer, lost=False)
        assert len(handled) < 4
        await asyncio.sleep(20)
        assert handled == [1, 2, 3, 4]


@pytest.mark.parametrize("failed", [False, True])
@virtual
async def test_f102_gaps_that_are_held_come_before_the_end(*, failed: bool) -> None:
    """What an iteration holds, the gaps at their places, is given before it stops or raises."""
    error = fatal()
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        stream = ws.stream_filter().with_gaps()
        seen = Seen(ws)
        await replaced(ws, peer, lost=True)
        if failed:
            await peer.fail(ws, error)
        else:
            await ws.exit()
        items: list[Any] = []
        raised: Exception | None = None
        try:
            async for item in stream:
                items.append(item)  # noqa: PERF401 (those before an error count)
        except rxws.ConnectError as caught:
            raised = caught
        assert items == seen.items
        assert seen.line[:5] == [1, 2, "gap", 3, 4]
        assert raised is (error if failed else None)


@virtual
async def test_f103_a_break_at_a_gap_is_no_end() -> None:
    """After ``break`` at a gap a stream that is held goes on behind it."""
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        stream: Any
        async with ws.stream_filter().with_gaps() as stream:
            await replaced(ws, peer, lost=True)
            before: list[int] = []
            async for item in stream:
                if isinstance(item, rxws.Gap):
                    break
                before.append(item["n"])
            assert before == [1, 2]
            assert (await anext(stream))["n"] == 3
            assert (await anext(stream))["n"] == 4


@virtual
async def test_f104_closing_while_a_rotation_waits_for_its_reader() -> None:
    """Closing a full stream that blocks a takeover lets that go on; what it held is discarded."""
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        stream = ws.stream_filter().buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        await replaced(ws, peer, lost=False)
        assert len(seen.numbers) < 4
        await stream.close()
        await asyncio.sleep(10)
        assert seen.numbers == [1, 2, 3, 4]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert ws.stats().rotations == 1


@virtual
async def test_f105_one_that_changes_what_it_is_given_harms_no_comparison() -> None:
    """Identities are taken when a message arrives: what a consumer does to it comes later."""
    async with connected(key=number_of, handover=HANDOVER, backoff=QUICK) as (ws, peer):
        numbers: list[int] = []

        def changes(message: Any) -> None:
            numbers.append(message["n"])
            message["n"] = "changed"

        ws.subscribe(changes)
        await replaced(ws, peer, lost=False)
        assert numbers == [1, 2, 3, 4]
        assert ws.stats().duplicates == 2
