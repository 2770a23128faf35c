"""Other ways to hand over: both at once (F64), a new key (F71), a snapshot (F81)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import rxws
from tests.faults.continuity import (
    QUICK,
    Feed,
    Seen,
    becomes,
    feeding,
    give,
    link_of,
    now,
    number_of,
    whole,
)
from tests.virtual import Peer, connected, turns, virtual

# -- FirstArrival --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"key": number_of}, {"sequence": number_of}])
@virtual
async def test_f64_first_arrival_loses_and_doubles_nothing(options: dict[str, Any]) -> None:
    """Whichever connection is first, each message comes once, without waiting for the other."""
    handover = rxws.FirstArrival(overlap=1)
    async with connected(**options, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        # The connections take turns at being ahead.
        feed = Feed(peer, 100, lambda link: (link.number + int(now() * 2)) % 2 * 0.3)
        async with feeding(feed):
            await asyncio.sleep(1)
            for _ in range(5):
                ws.rotate()
                await asyncio.sleep(4)
            last = feed.last
            await asyncio.sleep(1)
        assert ws.stats().rotations == 5
        assert len(set(seen.numbers)) == len(seen.numbers)
        assert set(seen.numbers) >= set(range(last + 1))
        assert not seen.gaps


@virtual
async def test_f64_first_arrival_does_not_wait() -> None:
    """What the new connection brings first is delivered at once, while the old one lives."""
    async with connected(key=number_of, handover=rxws.FirstArrival(overlap=60)) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        give(first, 1)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, 3)
        assert seen.line == [1, 3]
        give(first, 2, 3)
        give(second, 2)
        assert seen.line == [1, 3, 2]
        assert ws.stats().duplicates == 2


@virtual
async def test_f67_first_arrival_numbers_say_what_both_did_not_bring() -> None:
    """Holes that neither connection closed are gaps, exactly, and told once."""
    handover = rxws.FirstArrival(overlap=5)
    async with connected(sequence=number_of, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        give(first, 1, 2)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, 6, 7)
        give(first, 4)
        first.lose(error=ConnectionResetError())
        give(second, 8)
        await turns()
        missing = sorted(number for gap in seen.gaps for number in gap.missing or ())
        assert missing == [3, 5]
        assert sorted(seen.numbers) == [1, 2, 4, 6, 7, 8]


@virtual
async def test_f68_first_arrival_successor_dies() -> None:
    """What it had delivered was delivered: the old connection does not bring it again."""
    handover = rxws.FirstArrival(overlap=5)
    async with connected(sequence=number_of, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        give(first, 1)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, 2, 4)
        second.lose(error=ConnectionResetError())
        give(first, 2, 3, 4, 5)
        await turns()
        assert sorted(seen.numbers) == [1, 2, 3, 4, 5]
        assert not seen.gaps


# -- A key that expires: F71 ---------------------------------------------------------------------


class Keys:
    """A factory of URLs, each with a new key."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def __call__(self) -> str:
        self.urls.append(f"ws://fake/key{len(self.urls) + 1}")
        return self.urls[-1]


def expiry(ws: rxws.ReactiveWebSocket[Any]) -> Any:
    """Return the signal: a message that says that the key has expired."""
    return rxws.on_message(ws, [{"e": "listenKeyExpired"}])


@pytest.mark.parametrize(
    ("options", "gaps"),
    [
        ({"sequence": number_of}, [(False, range(3, 5))]),
        ({"key": number_of, "handover": rxws.Exclusive()}, [(True, None)]),
    ],
)
@virtual
async def test_f71_a_key_that_expires(options: dict[str, Any], gaps: list[Any]) -> None:
    """The new connection has a new URL; what the muted one did not bring lies in one gap."""
    keys, peer = Keys(), Peer()
    async with rxws.connect(keys, transport=peer, rotate_on=expiry, backoff=QUICK, **options) as ws:
        seen = Seen(ws)
        first = peer.last
        give(first, 1, 2)
        first.deliver('{"e":"listenKeyExpired","n":null}')
        second = await link_of(peer, 2)
        await turns()
        give(second, 5, 6)
        await becomes(lambda: ws.stats().rotations == 1)
        give(second, 7)
        await turns()
        assert (
            [dial.url for dial in peer.dials] == keys.urls == ["ws://fake/key1", "ws://fake/key2"]
        )
        assert seen.line == [1, 2, None, "gap", 5, 6, 7]
        assert [(gap.planned, gap.missing) for gap in seen.gaps] == gaps
        assert not first.is_open


@virtual
async def test_f71_a_muted_connection_holds_nothing_up_for_longer_than_the_overlap() -> None:
    """What the new connection brings comes within the overlap, though the old one says no more."""
    peer = Peer()
    handover = rxws.MakeBeforeBreak(overlap=2, drain=2)
    async with rxws.connect(
        Keys(), transport=peer, rotate_on=expiry, key=number_of, handover=handover
    ) as ws:
        seen = Seen(ws)
        give(peer.last, 1, 2)
        peer.last.deliver('{"e":"listenKeyExpired","n":0}')
        second = await link_of(peer, 2)
        await turns()
        began = now()
        give(second, 5)
        await becomes(lambda: seen.numbers[-1] == 5)
        assert now() - began <= 2.2


# -- Replace: F81 --------------------------------------------------------------------------------


@virtual
async def test_f81_a_snapshot_feed_starts_over() -> None:
    """The old one delivers to its end; then ``Reset``, then the new one from its snapshot."""
    options = {"handover": rxws.Replace(drain=2), "key": number_of}
    async with connected(**options, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        line: list[Any] = []
        ws.subscribe(lambda message: line.append(message["n"]))
        ws.events.subscribe(
            lambda event: line.append("reset") if isinstance(event, rxws.Reset) else None
        )
        first = peer.last
        first.answer_close = False
        give(first, 100, 1, 2)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        give(second, 100, 2, 3)
        give(first, 3)
        assert line == [100, 1, 2, 3]
        first.lose(1000)
        give(second, 4)
        await turns()
        assert line == [100, 1, 2, 3, "reset", 100, 2, 3, 4]
        assert [reset.epoch for reset in seen.of(rxws.Reset)] == [2]
        assert not seen.gaps
        assert ws.stats().duplicates == 0


@virtual
async def test_f81_after_a_loss_likewise() -> None:
    """After a loss there is a ``Reset`` too, before the snapshot, and the one gap of a break."""
    async with connected(handover=rxws.Replace(), key=number_of, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        give(peer.last, 100, 1)
        peer.last.lose(error=ConnectionResetError())
        second = await link_of(peer, 2)
        await turns()
        give(second, 100, 1, 2)
        assert seen.line == [100, 1, "gap", 100, 1, 2]
        assert [reset.epoch for reset in seen.of(rxws.Reset)] == [2]
        kinds = [type(event) for event in seen.events]
        assert kinds.index(rxws.Reset) < kinds.index(rxws.Gap)


@virtual
async def test_f81_numbers_that_start_again_are_no_gap_after_a_reset() -> None:
    """With `Replace` nothing is compared with what was before the snapshot, numbers neither."""
    async with connected(handover=rxws.Replace(drain=1), sequence=number_of, backoff=QUICK) as (
        ws,
        peer,
    ):
        seen = Seen(ws)
        give(peer.last, 100, 101)
        ws.rotate()
        second = await link_of(peer, 2)
        await becomes(lambda: ws.stats().rotations == 1)
        give(second, 5, 6, 9)
        assert seen.line == [100, 101, 5, 6, "gap", 9]
        assert [gap.missing for gap in seen.gaps] == [range(7, 9)]


@virtual
async def test_f81_a_successor_that_dies_is_no_reset() -> None:
    """Only a connection that takes over starts the feed again."""
    slow = rxws.Backoff(initial=5)  # slower than what looks for the second failure
    async with connected(handover=rxws.Replace(drain=5), key=number_of, backoff=slow) as (
        ws,
        peer,
    ):
        seen = Seen(ws)
        peer.refuse(times=2)
        give(peer.last, 1)
        ws.rotate()
        await becomes(lambda: len(seen.of(rxws.RotationFailed)) == 2)
        give(peer.links[0], 2)
        assert not seen.of(rxws.Reset)
        second = await link_of(peer, 2)
        await becomes(lambda: ws.stats().rotations == 1)
        second.deliver(json.dumps({"n": 100}))
        await turns()
        assert len(seen.of(rxws.Reset)) == 1
        assert seen.numbers == [1, 2, 100]
        whole(seen.numbers[:2], 1, 2)
