"""What waits while a gap is filled, and what users' functions may do to that."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import rxws
from tests.virtual import Peer, connected, turns, virtual

QUICK = rxws.Backoff(initial=0.1, maximum=0.1)


def key_of(message: Any) -> Any:
    """Return the key of a message."""
    return message.get("k")


def rows(*keys: int) -> list[dict[str, int]]:
    """Messages with these keys."""
    return [{"k": key} for key in keys]


def line(ws: rxws.ReactiveWebSocket[Any]) -> list[Any]:
    """Collect keys, and the names of gaps and resets, in the order in which they come."""
    seen: list[Any] = []

    def told(event: Any) -> None:
        if isinstance(event, rxws.Gap | rxws.Reset):
            seen.append(type(event).__name__)

    ws.subscribe(lambda message: seen.append(key_of(message)))
    ws.events.subscribe(told)
    return seen


class OddError(BaseException):
    """Nothing that a library expects."""


@virtual
async def test_a_filling_after_a_long_pause_repeats_nothing() -> None:
    """What was delivered just before the loss is a duplicate, although reading stood still."""

    async def resync(_: rxws.Gap) -> Any:
        return rows(1, 2, 3, 4, 5)

    options: dict[str, Any] = {"key": key_of, "resync": resync, "heartbeat": None}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = line(ws)
        unread = ws.stream_filter([{"x": 1}]).buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        peer.deliver({"x": 1}, {"x": 1})
        await asyncio.sleep(60)
        await unread.close()
        await turns()
        peer.deliver(*rows(1, 2, 3))
        peer.last.lose()
        await asyncio.sleep(1)
        assert seen == [None, None, 1, 2, 3, "Gap", 4, 5]


@virtual
async def test_a_snapshot_that_comes_while_an_older_one_waits() -> None:
    """Each snapshot is delivered whole, behind its own reset, however long a filling takes."""
    fillings = iter([5.0, 0.0])

    async def resync(_: rxws.Gap) -> Any:
        await asyncio.sleep(next(fillings))
        return []

    options: dict[str, Any] = {"key": key_of, "resync": resync, "handover": rxws.Replace()}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = line(ws)
        for snapshot in ((0,), (1, 2, 3), (1, 2, 3, 4)):
            peer.deliver(*rows(*snapshot))
            if len(peer.links) < 3:
                peer.last.lose()
                await asyncio.sleep(1)
        await asyncio.sleep(10)
        assert seen == [0, "Reset", "Gap", 1, 2, 3, "Reset", "Gap", 1, 2, 3, 4]


@virtual
async def test_a_connection_gets_ready_although_nothing_is_read() -> None:
    """A batch that waits for a BLOCK consumer does not keep on_open of the next from reading."""
    greeted = 0

    async def on_open(opening: rxws.Opening) -> None:
        nonlocal greeted
        if len(peer.links) > 1:
            await opening.recv()
        greeted += 1

    peer = Peer()
    options: dict[str, Any] = {"on_open": on_open, "heartbeat": None}
    async with rxws.connect("ws://fake", transport=peer, backoff=QUICK, **options) as ws:
        unread = ws.stream_filter([{"x": 1}]).buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        ws.rotate()
        second = await peer.link(2)
        second.deliver(*[json.dumps({"x": 1, "i": number}) for number in range(600)])
        await asyncio.sleep(6)
        peer.last.lose()
        third = await peer.link(3)
        third.deliver('{"x": 0}')
        await asyncio.sleep(1)
        assert greeted == 3
        assert ws.state is rxws.State.OPEN
        await unread.close()


@pytest.mark.parametrize("cancels", [False, True])
@virtual
async def test_a_resync_that_ends_as_nobody_expects(*, cancels: bool) -> None:
    """Whatever it raises, the gap is told once, what waited goes on, and so do rotations."""

    async def resync(_: rxws.Gap) -> Any:
        if not cancels:
            raise OddError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async with connected(resync=resync, backoff=QUICK) as (ws, peer):
        seen = line(ws)
        peer.deliver(*rows(0))
        peer.last.lose()
        await asyncio.sleep(1)
        peer.deliver(*rows(1))
        await asyncio.sleep(1)
        assert seen == [0, "Gap", 1]
        ws.rotate()
        await asyncio.sleep(5)
        assert ws.stats().rotations == 1


@virtual
async def test_a_resync_that_swallows_its_cancellation() -> None:
    """At the exit its gap is told once, unfilled, whatever it brings later."""

    async def resync(_: rxws.Gap) -> Any:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return rows(9)
        return []

    async with connected(resync=resync, backoff=QUICK) as (ws, peer):
        seen = line(ws)
        peer.deliver(*rows(0))
        peer.last.lose()
        await asyncio.sleep(1)
    await asyncio.sleep(1)
    assert seen == [0, "Gap"]
    assert ws.stats().gaps == 1


@virtual
async def test_a_successor_that_dies_while_what_it_brought_waits() -> None:
    """Delivered at once, what both bring is delivered once also where a filling held it up."""
    number = {"sequence": key_of, "handover": rxws.FirstArrival(overlap=5)}

    async def resync(_: rxws.Gap) -> Any:
        await asyncio.sleep(1)
        return rows(51)

    async with connected(**number, resync=resync, backoff=QUICK) as (ws, peer):
        seen = line(ws)
        old = peer.last
        peer.deliver(*rows(50))
        ws.rotate()
        new = await peer.link(2)
        await turns()
        old.deliver(*map(json.dumps, rows(51, 52, 53)))
        new.deliver(*map(json.dumps, rows(56, 57)))
        new.lose()
        await asyncio.sleep(0.01)
        old.deliver(*map(json.dumps, rows(54, 55, 56, 57, 58)))
        await asyncio.sleep(3)
        numbers = [item for item in seen if item != "Gap"]
        assert sorted(numbers) == list(range(50, 59))


@virtual
async def test_an_on_open_that_raises_what_nobody_expects() -> None:
    """Entering ends with an error that says what it was, at once."""

    async def on_open(_: rxws.Opening) -> None:
        raise OddError("odd")

    with pytest.raises(rxws.ConnectError, match="odd"):
        await rxws.connect("ws://fake", transport=Peer(), on_open=on_open)


@pytest.mark.parametrize("name", ["key", "sequence", "partition", "retry", "answer", "serialize"])
def test_functions_that_must_not_wait(name: str) -> None:
    """A coroutine function is refused where nobody could await it."""

    async def function(_: Any) -> Any:
        return 1

    options: Any = {name: function}
    with pytest.raises(TypeError, match=f"{name}=.*plain function"):
        rxws.connect("ws://fake", **options)
