"""Requests and their replies, however many are in flight and in whatever order they come."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

import rxws
from tests.virtual import Log, Peer, connected, turns, until, virtual


@virtual
async def test_a_thousand_in_flight() -> None:
    """A thousand requests answered out of order get each its own reply; the streams get all."""
    async with connected() as (ws, peer):
        log = Log()
        ws.subscribe(log)
        requests = [
            asyncio.ensure_future(ws.request({"id": n}, [{"reply to": n}])) for n in range(1000)
        ]
        await turns()
        assert [message["id"] for message in peer.sent(1)] == list(range(1000))
        order = list(range(1000))
        random.Random(7).shuffle(order)
        for number in order:
            peer.deliver({"reply to": number, "x": number * 2}, {"e": "trade"})
        replies = await asyncio.gather(*requests)
        assert [reply["x"] for reply in replies] == [n * 2 for n in range(1000)]
        assert len(log.items) == 2000


@virtual
async def test_a_reply_within_the_sending() -> None:
    """A reply that comes before ``send`` has returned is not missed."""
    async with connected() as (ws, peer):
        write = peer.last.write

        def answer(raw: Any) -> bool:
            written = write(raw)
            peer.deliver({"reply": 1})
            return written

        peer.last.write = answer  # type: ignore[method-assign]
        assert await ws.request("ask", [{"reply": 1}]) == {"reply": 1}


@virtual
async def test_the_first_reply_counts() -> None:
    """Of several messages that match the first is the reply; one may answer two requests."""
    async with connected() as (ws, peer):
        requests = [asyncio.ensure_future(ws.request("ask", [{"reply": 1}])) for _ in range(2)]
        await turns()
        peer.deliver({"reply": 2}, {"reply": 1, "n": 1}, {"reply": 1, "n": 2})
        assert [reply["n"] for reply in await asyncio.gather(*requests)] == [1, 1]


@virtual
async def test_no_reply_in_time() -> None:
    """After ``timeout`` it raises ``RequestTimeout``, and what comes then is nobody's reply."""
    async with connected() as (ws, peer):
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(rxws.RequestTimeout) as caught:
            await ws.request("ask", [{"reply": 1}], timeout=3)
        assert (loop.time() - began, caught.value.timeout) == (3, 3)
        with pytest.raises(rxws.RequestTimeout):
            await ws.request("ask", [{"reply": 1}])
        assert loop.time() - began == 13  # the default is 10
        peer.deliver({"reply": 1})
        assert len(ws._driver.intake.replies) == 0


@virtual
async def test_cancelled() -> None:
    """A cancelled request is forgotten."""
    async with connected() as (ws, peer):
        request = asyncio.ensure_future(ws.request("ask", [{"reply": 1}]))
        await turns()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert len(ws._driver.intake.replies) == 0
        peer.deliver({"reply": 1})


@virtual
async def test_the_connection_ends_before_the_reply() -> None:
    """A request whose connection is lost fails at once, and is not sent again."""
    async with connected() as (ws, peer):
        request = asyncio.ensure_future(ws.request("ask", [{"reply": 1}]))
        await turns()
        peer.last.lose(1012, "restart")
        with pytest.raises(rxws.ConnectionLost) as caught:
            await request
        error = caught.value
        assert (error.code, error.reason, error.delivery) == (
            1012,
            "restart",
            rxws.Delivery.UNKNOWN,
        )
        await peer.link(2)
        await turns()
        assert peer.links[1].sent == []


@virtual
async def test_asked_while_disconnected() -> None:
    """A request made while there is no connection is sent on the next, and answered there."""
    async with connected() as (ws, peer):
        peer.last.lose()
        await until(ws, rxws.Disconnected)
        request = asyncio.ensure_future(ws.request("ask", [{"reply": 1}]))
        await peer.link(2)
        await turns()
        assert peer.links[1].sent == ["ask"]
        peer.deliver({"reply": 1})
        assert await request == {"reply": 1}


@pytest.mark.parametrize("asked", ["open", "disconnected"])
@virtual
async def test_exit_before_the_reply(asked: str) -> None:
    """``exit`` fails the requests in flight and those that wait; nothing is left unretrieved."""
    async with connected() as (ws, peer):
        if asked == "disconnected":
            peer.hold()
            peer.last.lose()
            await until(ws, rxws.Disconnected)
        request = asyncio.ensure_future(ws.request("ask", [{"reply": 1}]))
        await turns()
        await ws.exit()
        with pytest.raises(rxws.ClosedError):
            await request
        del request
        gc.collect()
        with pytest.raises(rxws.ClosedError):
            await ws.request("ask", [{"reply": 1}])
        assert len(ws._driver.intake.replies) == 0


@virtual
async def test_a_predicate_that_raises() -> None:
    """A predicate that can't judge a message does not match it; the request goes on waiting."""
    async with connected() as (ws, peer):
        request = asyncio.ensure_future(ws.request("ask", lambda m: m["reply"] == 1))
        await turns()
        peer.deliver({"e": "trade"}, [1], {"reply": 1})
        assert await request == {"reply": 1}


@virtual
async def test_malformed() -> None:
    """A malformed filter and a message that can't be sent raise before anything is sent."""
    async with connected() as (ws, peer):
        with pytest.raises(rxws.FilterError):
            await ws.request("ask", [1])
        with pytest.raises(TypeError):
            await ws.request(object(), [{"reply": 1}])
        assert peer.last.sent == []
        assert len(ws._driver.intake.replies) == 0


@virtual
async def test_across_a_rotation() -> None:
    """A request in flight on the old connection is answered there while it drains."""
    async with connected(handover=rxws.MakeBeforeBreak(overlap=1, drain=5)) as (ws, peer):
        peer.links[0].answer_close = False
        request = asyncio.ensure_future(ws.request("ask", [{"reply": 1}]))
        await turns()
        ws.rotate()
        await peer.link(2)
        await asyncio.sleep(2)
        assert peer.links[0].closed is None
        peer.links[0].deliver('{"reply":1}')
        assert await request == {"reply": 1}
        await turns()
        assert peer.links[0].closed == (1000, "")


@virtual
async def test_before_it_is_entered() -> None:
    """A request made before the websocket is entered is sent once it is, and answered."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer)
    request = asyncio.ensure_future(ws.request("ask", [{"reply": 1}]))
    await turns()
    async with ws:
        assert peer.last.sent == ["ask"]
        peer.deliver({"reply": 1})
        assert await request == {"reply": 1}


@virtual
async def test_the_connection_ends_as_soon_as_it_was_sent() -> None:
    """A connection lost in the very step in which a held up request left fails it at once."""
    async with connected() as (ws, peer):
        peer.last.stall()
        request = asyncio.ensure_future(ws.request("ask", [{"reply": 1}]))
        await turns()
        peer.last.unstall()
        asyncio.get_running_loop().call_soon(peer.last.lose)
        with pytest.raises(rxws.ConnectionLost):
            await request
        assert peer.links[0].sent == ["ask"]


@virtual
async def test_asked_before_it_is_entered_and_lost() -> None:
    """A request that was queued before the first connection fails when that is lost."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer)
    request = asyncio.ensure_future(ws.request("ask", [{"reply": 1}]))
    await turns()
    async with ws:
        assert peer.last.sent == ["ask"]
        peer.last.lose()
        with pytest.raises(rxws.ConnectionLost):
            await request


@virtual
async def test_a_predicate_that_raises_is_reported() -> None:
    """A reply's predicate that raises is reported once as an event, which names it."""
    async with connected() as (ws, peer):
        events = Log()
        ws.events.subscribe(events)

        def is_reply(message: Any) -> bool:
            return message["reply"] == 1

        request = asyncio.ensure_future(ws.request("ask", is_reply))
        await turns()
        peer.deliver({}, {}, {"reply": 1})
        await request
        [failed] = [event for event in events.items if isinstance(event, rxws.ConsumerFailed)]
        assert (failed.consumer, type(failed.error)) == (is_reply, KeyError)
