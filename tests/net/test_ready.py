"""When a new connection is ready: subscribed at its pace, and answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import rxws
from tests.virtual import Peer, connected, turns, virtual

PATIENT = rxws.Backoff(initial=1.0, maximum=1.0)


def ids(*numbers: int) -> list[dict[str, Any]]:
    """Subscriptions with an identity each."""
    return [{"op": "subscribe", "id": number} for number in numbers]


def answer_to(sent: Any) -> Any:
    """The filters of an answer."""
    return [{"result": rxws.where.exists(), "id": sent["id"]}]


def now() -> float:
    """The time of the loop."""
    return asyncio.get_running_loop().time()


@virtual
async def test_subscriptions_are_paced() -> None:
    """Of the subscriptions at most so many a second are sent, however long that takes."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer, subscribe=ids(*range(100)), pace=4.0)
    topics = [ws.multiplex(lambda n=n: {"id": n}, dict, [{"n": n}]) for n in range(100, 140)]
    for topic in topics:
        topic.subscribe()
    began = now()
    async with ws:
        assert now() - began == pytest.approx(139 / 4)
        assert [message["id"] for message in peer.sent(1)] == list(range(140))


@virtual
async def test_pace_leaves_the_rest_its_time() -> None:
    """What takes longer than ready_timeout without the pace fails, paced or not."""

    async def never(_: rxws.Opening) -> None:
        await asyncio.Event().wait()

    began = now()
    options: dict[str, Any] = {"backoff": rxws.Backoff(attempts=1, initial=0)}
    with pytest.raises(rxws.RetriesExhausted, match="ready_timeout=3"):
        await rxws.connect(
            "ws://fake", transport=Peer(), on_open=never, pace=1, ready_timeout=3, **options
        )
    assert now() - began == pytest.approx(3)


@virtual
async def test_ready_when_every_subscription_is_answered() -> None:
    """A connection is live only after all answers came, in any order; they are delivered too."""
    peer, got = Peer(), []
    ws = rxws.connect("ws://fake", transport=peer, subscribe=ids(1, 2, 3), answer=answer_to)
    ws.subscribe(got.append)
    entering = asyncio.ensure_future(ws.__aenter__())
    link = await peer.link(1)
    await turns()
    for number in (3, 1):
        link.deliver(json.dumps({"result": None, "id": number}))
    link.deliver('{"result":null,"id":3}', '{"e":"trade"}')
    await asyncio.sleep(5)
    assert ws.state is rxws.State.CONNECTING
    link.deliver('{"result":null,"id":2}')
    await entering
    assert [message.get("id") for message in got] == [3, 1, 3, None, 2]
    await ws.exit()


@virtual
async def test_subscription_that_needs_no_answer() -> None:
    """Where the function gives None, nothing is awaited for that message."""
    options: dict[str, Any] = {"subscribe": [{"op": "login"}], "answer": lambda _: None}
    async with connected(**options) as (ws, _):
        assert ws.state is rxws.State.OPEN


@virtual
async def test_successor_that_is_not_answered_does_not_take_over() -> None:
    """Without an answer the old connection goes on, an event says so, and it is tried again."""
    peer = Peer()
    ws = rxws.connect(
        "ws://fake",
        transport=peer,
        subscribe=ids(1),
        answer=answer_to,
        ready_timeout=2,
        backoff=PATIENT,
    )
    events: list[Any] = []
    got: list[Any] = []
    ws.events.subscribe(events.append)
    ws.subscribe(lambda message: got.append(message.get("n")))
    entering = asyncio.ensure_future(ws.__aenter__())
    (await peer.link(1)).deliver('{"result":null,"id":1}')
    await entering
    ws.rotate()
    await peer.link(2)
    peer.links[0].deliver('{"n":1}')
    await asyncio.sleep(2.5)
    assert any(isinstance(event, rxws.RotationFailed) for event in events)
    peer.links[0].deliver('{"n":2}')
    (await peer.link(3)).deliver('{"result":null,"id":1}', '{"n":2}', '{"n":3}')
    await asyncio.sleep(10)
    assert ws.stats().rotations == 1
    assert ws.stats().gaps == 0
    assert [number for number in got if number is not None] == [1, 2, 3]
    await ws.exit()


@virtual
async def test_filters_of_an_answer_that_make_no_sense() -> None:
    """Malformed filters fail the attempt, and the error says what is wrong."""
    options: dict[str, Any] = {"backoff": rxws.Backoff(attempts=1)}
    with pytest.raises(rxws.RetriesExhausted, match="filters"):
        await rxws.connect(
            "ws://fake",
            transport=Peer(),
            subscribe=ids(1),
            answer=lambda _: "no filters",
            **options,
        )


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), "3", True])
def test_pace_that_makes_no_sense(wrong: Any) -> None:
    """A pace that is no positive number is refused where it is given."""
    with pytest.raises((TypeError, ValueError), match="pace"):
        rxws.connect("ws://fake", pace=wrong)
