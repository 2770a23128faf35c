"""Gaps that are filled: every way in which ``resync`` can go, and fail (section H: F89).

Over sockets: test_rotation.py, test_resync_fills_the_gap and test_resync_that_fails_leaves_the_gap;
a long filling and readers that keep up: test_batches.py; what belongs into a gap, as a table:
core/test_handover.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
    now,
    number_of,
    part_of,
    rows,
    whole,
)
from tests.virtual import connected, turns, virtual


@pytest.mark.parametrize(
    ("brings", "line", "filled"),
    [
        ([3, 4], [1, 2, "gap", 3, 4, 5, 6], True),
        ([1, 2, 3, 4, 5, 6], [1, 2, "gap", 3, 4, 5, 6], True),
        ([4], [1, 2, "gap", 4, 5, 6], False),
        ([3, 3, 3], [1, 2, "gap", 3, 5, 6], False),
        ([3, 4, 4, 3], [1, 2, "gap", 3, 4, 5, 6], True),
        ([], [1, 2, "gap", 5, 6], False),
        ([1, 2], [1, 2, "gap", 5, 6], False),
    ],
)
@virtual
async def test_f89_with_numbers_a_gap_is_filled_if_all_of_them_came(
    brings: list[int], line: list[Any], *, filled: bool
) -> None:
    """Completely, partly, or not at all; what was delivered already is not delivered again."""
    async with connected(sequence=number_of, resync=bringing(brings), backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        give(second, 5)
        give(second, 6)
        await asyncio.sleep(5)
        assert seen.line == line
        (gap,) = seen.gaps
        assert (gap.filled, gap.missing, gap.last, gap.epoch) == (filled, range(3, 5), 2, 1)
        assert ws.stats().gaps == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"key": number_of}, [1, 2, "gap", 3, 4, 5, 6, 7]),
        ({}, [1, 2, "gap", 1, 2, 3, 4, 5, 5, 6, 7]),
    ],
)
@virtual
async def test_f89_what_was_delivered_is_not_delivered_again(
    options: dict[str, Any], line: list[Any]
) -> None:
    """With a key neither what was before the gap comes twice nor what waits behind it."""
    async with connected(**options, resync=bringing([1, 2, 3, 4, 5]), backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        give(second, 5, 6)
        await asyncio.sleep(5)
        give(second, 7)
        assert seen.line == line
        assert [gap.filled for gap in seen.gaps] == [True]


@virtual
async def test_f89_live_messages_wait_until_it_is_filled() -> None:
    """Nothing is delivered while the filling is fetched; then everything is, in order."""
    async with connected(key=number_of, resync=bringing([3, 4], 10), backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        for number in range(5, 100):
            give(second, number)
            await asyncio.sleep(0.05)
        assert seen.line == [1, 2]
        await asyncio.sleep(10)
        assert seen.line == [1, 2, "gap", *range(3, 100)]


@virtual
async def test_f89_what_waits_is_bounded() -> None:
    """Beyond ``hold`` messages the socket is not read; all of them come in the end."""
    handover = rxws.MakeBeforeBreak(hold=50)
    options = {"key": number_of, "handover": handover, "resync": bringing([3], 25)}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        for number in range(4, 500):
            give(second, number)
        assert second.paused
        assert second.queued >= 400
        await asyncio.sleep(40)
        assert not second.paused
        whole(seen.numbers, 1, 499)
        assert second.is_open  # it was not read for so long: no sign of death


class Trouble(Exception):
    """What the user's function raises."""


async def raising(gap: rxws.Gap) -> list[Any]:
    """Raise after a while."""
    await asyncio.sleep(1)
    raise Trouble


async def hanging(gap: rxws.Gap) -> list[Any]:
    """Never return."""
    await asyncio.Event().wait()
    return []


async def no_rows(gap: rxws.Gap) -> Any:
    """Return what can't be iterated."""
    return 5


async def broken_pages(gap: rxws.Gap) -> AsyncIterator[Any]:
    """Give pages, of which the second fails."""

    async def pages() -> AsyncIterator[Any]:
        yield {"n": 3}
        raise Trouble

    return pages()


@pytest.mark.parametrize(
    ("resync", "error", "seconds"),
    [
        (raising, Trouble, 1),
        (hanging, TimeoutError, 5),
        (no_rows, TypeError, 0),
        (broken_pages, Trouble, 0),
    ],
)
@virtual
async def test_f89_one_that_fails_leaves_the_gap_and_the_stream_goes_on(
    resync: Any, error: type[Exception], seconds: float
) -> None:
    """It is an event; the gap stays unfilled, after ``resync_timeout`` at the latest."""
    options = {"sequence": number_of, "resync": resync, "resync_timeout": 5}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        began = now()
        give(second, 5, 6)
        await becomes(lambda: 6 in seen.numbers)
        assert now() - began == pytest.approx(seconds, abs=0.1)
        assert seen.line == [1, 2, "gap", 5, 6]
        assert [gap.filled for gap in seen.gaps] == [False]
        (failed,) = seen.of(rxws.ConsumerFailed)
        assert isinstance(failed.error, error)
        second = await broken(peer, 7)  # the next gap is asked for again
        give(second, 9)
        await asyncio.sleep(10)
        assert len(seen.gaps) == 2


@virtual
async def test_f89_an_async_generator_of_pages() -> None:
    """What an asynchronous iterable gives is delivered as a list would be."""

    async def resync(gap: rxws.Gap) -> AsyncIterator[Any]:
        assert gap.missing is not None
        return pages(gap.missing)

    async def pages(missing: range) -> AsyncIterator[Any]:
        for number in missing:
            await asyncio.sleep(0.1)
            yield {"n": number}

    async with connected(sequence=number_of, resync=resync, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        give(second, 12)
        await asyncio.sleep(5)
        assert seen.line == [1, 2, "gap", *range(3, 13)]
        assert [gap.filled for gap in seen.gaps] == [True]


@virtual
async def test_f89_a_hundred_thousand_rows_come_in_slices() -> None:
    """A reader that keeps up does not overflow, and others get their turns meanwhile."""
    last = 100_002
    turns_taken = 0

    async def resync(gap: rxws.Gap) -> list[dict[str, int]]:
        return rows(range(3, last))

    async with connected(sequence=number_of, resync=resync, backoff=QUICK) as (ws, peer):
        read: list[int] = []
        stream = ws.stream_filter()

        async def reader() -> None:
            async for message in stream:
                read.append(message["n"])  # noqa: PERF401 (looked at meanwhile)

        async def other() -> None:
            nonlocal turns_taken
            while True:
                turns_taken += 1
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(reader())]
        await turns()
        second = await broken(peer, 1, 2)
        tasks.append(asyncio.create_task(other()))
        give(second, last)
        while not read or read[-1] < last:  # noqa: ASYNC110 (no time has to pass)
            await asyncio.sleep(0)
        tasks[1].cancel()
        whole(read, 1, last)
        assert turns_taken > 400
        assert ws.stats().dropped == 0
        await ws.exit()
        await asyncio.wait(tasks)


@virtual
async def test_f89_a_gap_behind_a_gap_that_is_being_filled() -> None:
    """Two gaps in what waits are filled one after the other, each at its place."""
    asked: list[range | None] = []

    async def resync(gap: rxws.Gap) -> list[dict[str, int]]:
        asked.append(gap.missing)
        await asyncio.sleep(5)
        return rows(gap.missing or ())

    async with connected(sequence=number_of, resync=resync, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        second = await broken(peer, 1, 2)
        give(second, 5, 6, 9, 10)
        await asyncio.sleep(1)
        assert asked == [range(3, 5)]
        await asyncio.sleep(20)
        assert seen.line == [1, 2, "gap", 3, 4, 5, 6, "gap", 7, 8, 9, 10]
        assert asked == [range(3, 5), range(7, 9)]
        assert [gap.filled for gap in seen.gaps] == [True, True]


@virtual
async def test_f89_partitions_are_filled_one_by_one() -> None:
    """A filling for one partition does not count for another, and is put before its message."""

    async def resync(gap: rxws.Gap) -> list[dict[str, Any]]:
        return [{"p": gap.partition, "n": n} for n in gap.missing or ()]

    options = {"sequence": number_of, "partition": part_of, "resync": resync}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        for part in "abc":
            give(peer.last, 1, part=part)
        second = await broken(peer)
        give(second, 2, part="c")
        give(second, 3, part="a")
        give(second, 4, part="b")
        await asyncio.sleep(1)
        shown = [
            item.partition if isinstance(item, rxws.Gap) else f"{item['p']}{item['n']}"
            for item in seen.items[3:]
        ]
        assert shown == ["c2", "a", "a2", "a3", "b", "b2", "b3", "b4"]
        assert [gap.filled for gap in seen.gaps] == [True, True]
