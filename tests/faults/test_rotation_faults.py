"""Planned replacement under skew, storms and awkward feeds (section G: F62-F66, F72-F76).

The rest of section G: test_overlap.py (F67-F69, F77-F80) and test_modes.py (F70, F71, F81). What
other files show already:

=====  ============================================================================================
F62    over sockets, 2,000 a second: test_rotation.py, test_rotations_under_load_lose_and_double_...
F63    F64, F65: as a model of server and network, thousands of trials, naive ways shown to fail:
       core/test_handover.py and core/model.py
F66    over sockets: test_rotation.py, test_successor_that_is_refused_costs_nothing; not answered:
       test_ready.py, test_successor_that_is_not_answered_does_not_take_over
F72    over sockets: test_rotation.py, test_signals_at_once_are_one_rotation and
       test_never_more_than_two_sockets
F73    F74, F75: the alignment itself: core/test_handover.py
=====  ============================================================================================
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from typing import Any

import pytest

import rxws
from rxws.testing import FakeLink
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
    part_of,
    whole,
)
from tests.virtual import Peer, connected, turns, virtual

IDENTITIES = {"key": {"key": number_of}, "sequence": {"sequence": number_of}, "bytes": {}}


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("answers", [True, False])
@virtual
async def test_f62_the_output_is_never_silent_for_longer_than_50_ms(
    *, identity: str, answers: bool
) -> None:
    """Of 1,000 a second, through ten rotations, also where the old one never answers our Close."""
    handover = rxws.MakeBeforeBreak(overlap=0.2, drain=2)
    async with connected(**IDENTITIES[identity], handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        peer.answer_close = peer.last.answer_close = answers
        async with feeding(Feed(peer, 1000)) as feed:
            await asyncio.sleep(1)
            for count in range(1, 11):
                ws.rotate()
                await becomes(lambda count=count: ws.stats().rotations == count)
            last = feed.last
            await asyncio.sleep(0.1)
        for link in peer.links:
            link.answer_close = True
        whole(seen.numbers, 0, seen.numbers[-1])
        assert seen.numbers[-1] >= last
        silences = [b - a for a, b in itertools.pairwise(seen.moments)]
        assert max(silences) <= 0.05
        assert not seen.gaps


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skew", [0.02, 0.8])
@virtual
async def test_f65_a_skew_below_the_overlap_costs_nothing(
    *, identity: str, seed: int, skew: float
) -> None:
    """Each connection lags by up to 20 ms (F63) or 800 ms (F64), anew each moment: 0/0/0."""
    rng = random.Random(seed)
    typical: dict[FakeLink, float] = {}

    def lag(link: FakeLink) -> float:
        return typical.setdefault(link, rng.uniform(0, skew / 2)) + rng.uniform(0, skew / 2)

    handover = rxws.MakeBeforeBreak(overlap=1, drain=2)
    async with connected(**IDENTITIES[identity], handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        async with feeding(Feed(peer, 100, lag)) as feed:
            await asyncio.sleep(1)
            for _ in range(4):
                ws.rotate()
                await asyncio.sleep(rng.uniform(4, 5))
            last = feed.last
            await asyncio.sleep(2)
        whole(seen.numbers, 0, seen.numbers[-1])
        assert seen.numbers[-1] >= last
        assert ws.stats().rotations == 4
        assert not seen.gaps


# -- F66: the successor does not get ready -------------------------------------------------------


async def no_login(opening: Any) -> None:
    """Wait for an answer that never comes, but on the first connection."""
    if opening.connection.number > 1:
        await asyncio.Event().wait()


async def failing_login(opening: Any) -> None:
    """Fail, but on the first connection."""
    if opening.connection.number > 1:
        raise ValueError("no login")


@pytest.mark.parametrize("how", ["refused", "no handshake", "no login", "a login that raises"])
@virtual
async def test_f66_a_successor_that_never_gets_ready(how: str) -> None:
    """The old connection brings everything; each try is an event, later than the one before."""
    options: dict[str, Any] = {"key": number_of, "open_timeout": 1, "ready_timeout": 1}
    if how == "no login":
        options["on_open"] = no_login
    if how == "a login that raises":
        options["on_open"] = failing_login
    backoff = rxws.Backoff(initial=0.5, maximum=30, stable=60)
    async with connected(**options, backoff=backoff) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        async with feeding(Feed(peer, 20)) as feed:
            if how == "refused":
                peer.refuse(times=1000)
            if how == "no handshake":
                peer.hold()
            ws.rotate()
            await asyncio.sleep(120)
            last = feed.last
        whole(seen.numbers, 0, last)
        failed = seen.of(rxws.RotationFailed)
        assert len(failed) >= 5
        assert len(peer.dials) <= 25
        assert max(event.retry_in for event in failed) > 4
        assert first.is_open and len(peer.open_links) <= 2
        assert not seen.gaps
        assert not seen.of(rxws.Disconnected)
        peer.release()


@virtual
async def test_f66_a_rotation_that_succeeds_after_five_refusals() -> None:
    """The sixth try takes over, and nothing was lost."""
    async with connected(key=number_of, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        async with feeding(Feed(peer, 100)) as feed:
            await asyncio.sleep(1)
            peer.refuse(times=5)
            ws.rotate()
            await asyncio.sleep(10)
            last = feed.last
        whole(seen.numbers, 0, last)
        assert len(seen.of(rxws.RotationFailed)) == 5
        assert [(event.old, event.new) for event in seen.of(rxws.Rotated)] == [(1, 2)]
        assert len(peer.open_links) == 1


# -- F72: signals --------------------------------------------------------------------------------


@virtual
async def test_f72_a_storm_in_every_phase_is_one_rotation() -> None:
    """A hundred signals at once, in the dial, the overlap and the drain: two sockets, one event."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=5)
    async with connected(key=number_of, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        first.answer_close = False
        peer.hold()

        async def storm() -> None:
            for _ in range(100):
                ws.rotate("storm")
            await turns()
            assert len(peer.open_links) <= 2

        await storm()
        await storm()
        peer.release()
        await link_of(peer, 2)
        await storm()
        await becomes(lambda: first.closed is not None)
        await storm()
        first.lose(1000)
        await asyncio.sleep(10)
        assert len(seen.of(rxws.Rotating)) == len(seen.of(rxws.Rotated)) == 1
        assert len(peer.dials) == 2
        await storm()  # what is over is over: this is another
        assert len(peer.dials) == 3


@virtual
async def test_f72_signals_while_reconnecting_are_dropped() -> None:
    """Without a live connection there is nothing to rotate, then and afterwards."""
    async with connected(key=number_of, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        peer.hold()
        peer.last.lose(error=ConnectionResetError())
        await turns()
        for _ in range(100):
            ws.rotate()
        await becomes(lambda: len(peer.dials) == 2)
        for _ in range(100):
            ws.rotate()
        peer.release()
        await becomes(lambda: ws.state is rxws.State.OPEN)
        await asyncio.sleep(60)
        assert not seen.of(rxws.Rotating)
        assert len(peer.dials) == 2


@virtual
async def test_f72_a_signal_that_fires_for_ever() -> None:
    """A signal that emits all the time rotates one after the other, with two sockets at most."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    peer = Peer()
    options: dict[str, Any] = {"transport": peer, "handover": handover, "key": number_of}
    async with rxws.connect("ws://fake", rotate_on=rxws.every(0.01), **options) as ws:
        seen = Seen(ws)
        most = 0
        async with feeding(Feed(peer, 100)) as feed:
            for _ in range(300):
                await asyncio.sleep(0.1)
                most = max(most, len(peer.open_links))
            last = feed.last
        assert most == 2
        assert 10 <= len(peer.dials) <= 32
        whole(seen.numbers, 0, last)


# -- F73: what differs on each connection --------------------------------------------------------


@virtual
async def test_f73_payloads_with_a_field_of_their_connection() -> None:
    """Without a key nothing matches: it comes twice rather than not at all, and is told."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    async with connected(handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        first = peer.links[0]
        for number in range(10):
            await asyncio.sleep(0.05)
            for link in (first, second):
                link.deliver(json.dumps({"n": number, "connection": link.number}))
        await becomes(lambda: ws.stats().rotations == 1)
        assert set(seen.numbers) == set(range(10))
        assert len(seen.numbers) == 20
        assert [event.matched for event in seen.of(rxws.Rotated)] == [False]


@virtual
async def test_f73_a_key_sees_through_it() -> None:
    """With a key that leaves the field of the connection out, each message comes once."""
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    async with connected(key=number_of, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        ws.rotate()
        second = await link_of(peer, 2)
        await turns()
        for number in range(10):
            await asyncio.sleep(0.05)
            for link in (peer.links[0], second):
                link.deliver(json.dumps({"n": number, "connection": link.number}))
        await becomes(lambda: ws.stats().rotations == 1)
        whole(seen.numbers, 0, 9)
        assert [event.matched for event in seen.of(rxws.Rotated)] == [True]


# -- F74: payloads that repeat -------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(2))
@virtual
async def test_f74_payloads_that_repeat_are_never_lost(*, share: float, seed: int) -> None:
    """Connections in step: the rotations deliver exactly what was sent, by the bytes alone."""
    rng = random.Random(seed)
    sent: list[int] = []

    def make(number: int) -> str:
        sent.append(-1 if rng.random() < share else number)
        return json.dumps({"n": sent[-1]})

    handover = rxws.MakeBeforeBreak(overlap=0.5, drain=1)
    async with connected(handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        async with feeding(Feed(peer, 100, make=make)):
            for _ in range(4):
                await asyncio.sleep(2)
                ws.rotate()
            await asyncio.sleep(2)
            await turns()
        assert ws.stats().rotations == 4
        assert seen.numbers == sent
        ambiguous = [event.ambiguous for event in seen.of(rxws.Rotated)]
        assert share < 1 or any(ambiguous)


# -- F75: another interleave ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"partition": part_of}, {"key": lambda m: (m["p"], m["n"])}])
@virtual
async def test_f75_topics_that_interleave_differently(options: dict[str, Any]) -> None:
    """Ten topics, each with its own delay on each connection: every topic comes out whole."""
    topics = "abcdefghij"
    rng = random.Random(7)
    handover = rxws.MakeBeforeBreak(overlap=1, drain=1)
    async with connected(**options, handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        lags: dict[tuple[FakeLink, str], float] = {}
        tasks: list[asyncio.Task[None]] = []

        async def topic(part: str) -> None:
            loop = asyncio.get_running_loop()
            for number in range(300):
                await asyncio.sleep(0.05)
                for link in peer.links:
                    if link.is_open:
                        lag = lags.setdefault((link, part), rng.uniform(0, 0.4))
                        loop.call_later(lag, give_one, link, number, part)

        def give_one(link: FakeLink, number: int, part: str) -> None:
            give(link, number, part=part)

        tasks.extend(asyncio.create_task(topic(part)) for part in topics)
        for _ in range(3):
            await asyncio.sleep(2)
            ws.rotate()
            await asyncio.sleep(2)
        await asyncio.gather(*tasks)
        await asyncio.sleep(1)
        for part in topics:
            whole(seen.numbers_in(part), 0, 299)
        assert ws.stats().rotations == 3


# -- F76: a quiet feed ---------------------------------------------------------------------------


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("messages", [0, 1])
@virtual
async def test_f76_a_quiet_feed_does_not_hold_a_rotation_up(
    *, identity: str, messages: int
) -> None:
    """Without a message in the overlap the rotation ends with it, without gap or duplicate."""
    handover = rxws.MakeBeforeBreak(overlap=2, drain=2)
    async with connected(**IDENTITIES[identity], handover=handover, backoff=QUICK) as (ws, peer):
        seen = Seen(ws)
        first = peer.last
        give(first, *range(messages))
        for count in range(1, 4):
            await asyncio.sleep(30)
            began = now()
            ws.rotate()
            await becomes(lambda count=count: ws.stats().rotations == count)
            assert now() - began <= 2.2
            give(peer.last, messages + count - 1)
        whole(seen.numbers, 0, messages + 2)
        assert not seen.gaps
