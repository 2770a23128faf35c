"""What happens while a gap is being filled (section H: F89); how that goes: test_resync.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from tests.faults.continuity import (
    QUICK,
    Seen,
    becomes,
    bringing,
    broken,
    give,
    link_of,
    now,
    number_of,
    rows,
)
from tests.virtual import connected, drained, turns, virtual


async def hanging(gap: rxws.Gap) -> list[Any]:
    """Never return."""
    await asyncio.Event().wait()
    return []


@pytest.mark.parametrize("options", [{"sequence": number_of}, {"key": number_of}])
@virtual
async def test_f89_the_connection_is_lost_while_a_gap_is_being_filled(
    options: dict[str, Any],
) -> None:
    """The filling goes on; what waited comes behind it, then the next gap, filled in turn."""
    answers = iter([rows(range(1, 5)), rows(range(1, 9))])

    async def resync(gap: rxws.Gap) -> list[dict[str, int]]:
        await asyncio.sleep(5)
        return next(answers)

    async with connected(**options, resync=resync, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        give(second, 5, 6)
        await asyncio.sleep(1)
        third = await broken(peer)
        give(third, 9, 10)
        await asyncio.sleep(20)
        assert seen.line == [1, 2, "gap", 3, 4, 5, 6, "gap", 7, 8, 9, 10]
        assert [(gap.epoch, gap.filled) for gap in seen.gaps] == [(1, True), (2, True)]


@virtual
async def test_f89_exit_while_a_gap_is_being_filled() -> None:
    """The gap is declared unfilled, what waited is delivered, and nothing hangs or follows."""
    async with connected(sequence=number_of, resync=hanging, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        reader = ws.stream_filter().with_gaps()
        second = await broken(peer, 1, 2)
        give(second, 5, 6)
        await asyncio.sleep(1)
        began = now()
        await ws.exit()
        assert now() - began <= 2
        assert seen.line == [1, 2, "gap", 5, 6]
        assert [gap.filled for gap in seen.gaps] == [False]
        assert await drained(reader) == seen.items
        assert not seen.of(rxws.ConsumerFailed)
        assert isinstance(seen.events[-1], rxws.Closed)


@virtual
async def test_f89_rotate_while_a_gap_is_being_filled() -> None:
    """The rotation begins when the gap is filled, once for all signals, and loses nothing."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    options = {"sequence": number_of, "resync": bringing([3, 4], 5), "handover": handover}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        give(second, 5)
        for _ in range(10):
            ws.rotate("now")
        await asyncio.sleep(4)
        assert len(peer.dials) == 2
        third = await link_of(peer, 3)
        assert seen.line == [1, 2, "gap", 3, 4, 5]
        for link in (second, third):
            give(link, 6)
        await becomes(lambda: ws.stats().rotations == 1)
        give(third, 7)
        await asyncio.sleep(30)
        assert seen.line == [1, 2, "gap", 3, 4, 5, 6, 7]
        assert len(peer.dials) == 3


@virtual
async def test_f89_a_gap_in_the_midst_of_a_rotation_is_filled() -> None:
    """A hole that only shows when the successor takes over is filled before what it held."""
    handover = rxws.MakeBeforeBreak(overlap=10, drain=1)
    options = {"sequence": number_of, "resync": bringing([3, 4], 1), "handover": handover}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 1, 2)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, 5, 6)
        peer.links[0].lose(error=ConnectionResetError())
        give(second, 7)
        await asyncio.sleep(5)
        assert seen.line == [1, 2, "gap", 3, 4, 5, 6, 7]
        assert [gap.filled for gap in seen.gaps] == [True]


@virtual
async def test_f89_resync_may_use_the_websocket() -> None:
    """It may ask on the very connection: the answer is not held up behind the gap."""
    websockets: list[rxws.ReactiveWebSocket[Any]] = []

    async def resync(gap: rxws.Gap) -> Any:
        answer: Any = await websockets[0].request({"id": 1}, reply=[{"id": 1}])
        return answer["rows"]

    async with connected(key=number_of, resync=resync, backoff=QUICK) as (ws, peer):
        websockets.append(ws)
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        give(second, 4)
        await becomes(lambda: second.sent != [])
        second.deliver('{"id":1,"n":0,"rows":[{"n":3}]}')
        await becomes(lambda: 0 in seen.numbers)
        assert seen.line == [1, 2, "gap", 3, 4, 0]
        assert [gap.filled for gap in seen.gaps] == [True]


@pytest.mark.parametrize("resync", [None, bringing([3])])
@virtual
async def test_f89_the_gap_is_at_the_same_place_for_every_consumer(resync: Any) -> None:
    """Two observers, an iterator and one behind operators see one order; others see no gap."""
    async with connected(key=number_of, resync=resync, backoff=QUICK) as (ws, peer):
        handled: list[Any] = []
        slow: list[Any] = []

        async def handler(message: Any) -> None:
            await asyncio.sleep(0.1)
            slow.append(message)

        ws.add_handler(handled.append)
        ws.add_handler(handler)
        plain = ws.stream_filter()
        stream = ws.stream_filter().with_gaps()
        piped = ws.stream_filter().with_gaps().pipe(rxws.to_async_iterator())
        first, other = Seen(ws), Seen(ws)
        second = await broken(peer, 1, 2)
        give(second, 4, 5)
        await asyncio.sleep(5)
        await ws.exit()
        numbers = [1, 2, 4, 5] if resync is None else [1, 2, 3, 4, 5]
        assert first.line == [1, 2, "gap", *numbers[2:]]
        assert first.items == other.items
        assert await drained(stream) == first.items
        assert await drained(piped) == first.items
        for items in (handled, slow, await drained(plain)):
            assert [item["n"] for item in items] == numbers
