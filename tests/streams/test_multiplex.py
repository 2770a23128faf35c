"""Subscriptions at the server: made once, again on each new connection, never ended too late."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from rxws.net.topics import Topics
from tests.virtual import COMPLETED, Log, Peer, connected, drained, turns, until, virtual

SUB, UNSUB = {"sub": "a"}, {"unsub": "a"}
MINE = [{"topic": "a"}]


def topic(ws: rxws.ReactiveWebSocket[Any]) -> Any:
    """Return the Observable of one subscription."""
    return ws.multiplex(SUB, UNSUB, MINE)


async def reconnected(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> None:
    """Lose the connection, and return when another is live."""
    number = len(peer.links)
    peer.last.lose()
    await until(ws, rxws.Disconnected)
    await peer.link(number + 1, timeout=1000)
    await turns()


# -- observers -----------------------------------------------------------------------------------


@virtual
async def test_two_observers_cost_one_subscription() -> None:
    """``subscribe`` is sent for the first observer, ``unsubscribe`` after the last."""
    async with connected() as (ws, peer):
        source, first, second = topic(ws), Log(), Log()
        assert peer.sent(1) == []
        ends = [source.subscribe(first), source.subscribe(second)]
        assert peer.sent(1) == [SUB]
        peer.deliver({"topic": "a"}, {"topic": "b"})
        ends[0].dispose()
        ends[0].dispose()
        assert peer.sent(1) == [SUB]
        peer.deliver({"topic": "a"})
        ends[1].dispose()
        assert peer.sent(1) == [SUB, UNSUB]
        assert (len(first.items), len(second.items)) == (1, 2)
        assert ws.stats().streams == 0


@virtual
async def test_subscribed_again() -> None:
    """After its last observer has left, a new one subscribes at the server again."""
    async with connected() as (ws, peer):
        source = topic(ws)
        for _ in range(3):
            source.subscribe(Log()).dispose()
        assert peer.sent(1) == [SUB, UNSUB] * 3


@virtual
async def test_an_operator_that_has_enough() -> None:
    """``take`` unsubscribes at the server in the midst of the delivery that completes it."""
    async with connected() as (ws, peer):
        log = Log()
        topic(ws).pipe(ops.take(1)).subscribe(log)
        peer.deliver({"topic": "a"}, {"topic": "a"})
        assert (len(log.items), log.ends) == (1, [COMPLETED])
        assert peer.sent(1) == [SUB, UNSUB]


@virtual
async def test_messages_made_anew() -> None:
    """Functions are called for each message that they make."""
    async with connected() as (ws, peer):
        numbers = itertools.count(1)
        source = ws.multiplex(
            lambda: {"sub": "a", "id": next(numbers)},
            lambda: {"unsub": "a", "id": next(numbers)},
        )
        subscription = source.subscribe(Log())
        source.subscribe(Log()).dispose()
        await reconnected(ws, peer)
        subscription.dispose()
        assert peer.sent(1) == [{"sub": "a", "id": 1}]
        assert peer.sent(2) == [{"sub": "a", "id": 2}, {"unsub": "a", "id": 3}]


@virtual
async def test_a_message_that_cannot_be_made() -> None:
    """What making or serializing ``subscribe`` raises is the error of that observer alone."""
    async with connected() as (ws, peer):

        def fail() -> Any:
            raise ZeroDivisionError

        for bad, error in ((fail, ZeroDivisionError), ({"sub": object()}, TypeError)):
            log = Log()
            ws.multiplex(bad, UNSUB).subscribe(log)
            assert [type(end) for end in log.ends] == [error]
        assert peer.sent(1) == []
        assert ws.stats().streams == 0


@virtual
async def test_the_reply_to_the_subscription_is_not_missed() -> None:
    """An answer that comes within the sending of ``subscribe`` reaches the observer."""
    async with connected() as (ws, peer):
        write = peer.last.write

        def answer(raw: Any) -> bool:
            written = write(raw)
            peer.deliver({"topic": "a", "snapshot": 1})
            return written

        peer.last.write = answer  # type: ignore[method-assign]
        log = Log()
        topic(ws).subscribe(log)
        assert log.items == [{"topic": "a", "snapshot": 1}]


@virtual
async def test_iterated() -> None:
    """Through ``to_async_iterator`` a subscription lasts as long as the iteration."""
    async with connected() as (ws, peer):
        async with topic(ws).pipe(rxws.to_async_iterator()) as iteration:
            assert peer.sent(1) == [SUB]
            peer.deliver({"topic": "a"})
            async for message in iteration:
                assert message == {"topic": "a"}
                break
        assert peer.sent(1) == [SUB, UNSUB]


@virtual
async def test_subscribed_by_a_thread() -> None:
    """Observers may come and go in other threads; the messages are sent on the loop."""
    async with connected() as (ws, peer):
        source, log = topic(ws), Log()
        subscription = await asyncio.to_thread(source.subscribe, log)
        await turns()
        assert peer.sent(1) == [SUB]
        await asyncio.to_thread(subscription.dispose)
        await turns()
        assert peer.sent(1) == [SUB, UNSUB]


# -- connections ---------------------------------------------------------------------------------


@virtual
async def test_again_on_each_new_connection() -> None:
    """After a reconnect everything that is observed is subscribed once, in the old order."""
    async with connected(subscribe=["hello"]) as (ws, peer):
        logs = [Log(), Log(), Log()]
        names = ("x", "y", "z")
        ends = [
            ws.multiplex({"sub": name}, {"unsub": name}, [{"topic": name}]).subscribe(log)
            for name, log in zip(names, logs, strict=True)
        ]
        ends[1].dispose()
        for number in (2, 3):
            await reconnected(ws, peer)
            assert peer.links[number - 1].sent == ["hello", '{"sub":"x"}', '{"sub":"z"}']
            peer.deliver(*[{"topic": name} for name in names])
        assert [len(log.items) for log in logs] == [2, 0, 2]
        assert [log.ends for log in logs] == [[], [], []]


@virtual
async def test_observed_before_the_first_connection() -> None:
    """A subscription that is wanted before the websocket is entered is made once it is open."""
    peer, log = Peer(), Log()
    ws = rxws.connect("ws://fake", transport=peer)
    topic(ws).subscribe(log)
    ws.multiplex({"sub": "b"}, {"unsub": "b"}).subscribe(Log()).dispose()
    async with ws:
        assert peer.sent(1) == [SUB]
        peer.deliver({"topic": "a"})
        assert log.items == [{"topic": "a"}]


@virtual
async def test_left_while_disconnected() -> None:
    """Who leaves while there is no connection is not subscribed again, nor unsubscribed."""
    async with connected() as (ws, peer):
        subscription = topic(ws).subscribe(Log())
        peer.last.lose()
        await until(ws, rxws.Disconnected)
        subscription.dispose()
        await peer.link(2)
        await turns()
        assert (peer.sent(1), peer.sent(2)) == ([SUB], [])


@virtual
async def test_joined_while_disconnected() -> None:
    """Who comes while there is no connection is subscribed once, on the next."""
    async with connected() as (ws, peer):
        source = topic(ws)
        peer.last.lose()
        await until(ws, rxws.Disconnected)
        source.subscribe(Log()).dispose()
        source.subscribe(Log())
        await peer.link(2)
        await turns()
        assert peer.sent(2) == [SUB]


@pytest.mark.parametrize("stays", [True, False])
@virtual
async def test_joined_and_left_while_connecting(*, stays: bool) -> None:
    """Coming and going while a connection is being prepared ends in what was wanted last."""

    async def on_open(opening: rxws.Opening) -> None:
        await opening.send("hello")
        await opening.recv()

    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer, on_open=on_open)
    ws.start()
    link = await peer.link(1)
    await turns()
    source = topic(ws)
    subscription = source.subscribe(Log())
    if not stays:
        subscription.dispose()
    assert link.sent == ["hello"]
    peer.deliver("hello yourself")
    await until(ws, rxws.Connected)
    assert peer.last.sent == ["hello", *(['{"sub":"a"}'] if stays else [])]
    await ws.exit()


@virtual
async def test_left_while_it_is_being_subscribed() -> None:
    """Who leaves while ``subscribe`` is held up on its way out is unsubscribed after it."""
    async with connected() as (ws, peer):
        peer.last.stall()
        topic(ws).subscribe(Log()).dispose()
        topic(ws).subscribe(Log())
        await turns()
        peer.last.unstall()
        await turns()
        assert peer.sent(1) == [SUB, UNSUB, SUB]


@virtual
async def test_no_stale_unsubscription() -> None:
    """An unsubscription that a lost connection did not take never reaches the next one."""
    async with connected() as (ws, peer):
        subscription = topic(ws).subscribe(Log())
        peer.last.stall()
        subscription.dispose()
        await turns()
        peer.last.lose()
        await until(ws, rxws.Disconnected)
        await peer.link(2)
        await turns()
        assert (peer.sent(1), peer.sent(2)) == ([SUB], [])


@virtual
async def test_no_stale_subscription() -> None:
    """A subscription that a lost connection did not take is made once on the next."""
    async with connected() as (ws, peer):
        peer.last.stall()
        topic(ws).subscribe(Log())
        await turns()
        peer.last.lose()
        await until(ws, rxws.Disconnected)
        await peer.link(2)
        await turns()
        assert (peer.sent(1), peer.sent(2)) == ([], [SUB])


@virtual
async def test_across_a_rotation() -> None:
    """The new connection is subscribed before it takes over; changes meanwhile go to both."""
    handover = rxws.MakeBeforeBreak(overlap=5, drain=1)
    async with connected(handover=handover, key=lambda m: m["n"]) as (ws, peer):
        log = Log()
        staying = topic(ws).subscribe(log)
        leaving = ws.multiplex({"sub": "b"}, {"unsub": "b"}).subscribe(Log())
        ws.rotate()
        second = await peer.link(2)
        await asyncio.sleep(1)
        assert peer.sent(2) == [SUB, {"sub": "b"}]
        leaving.dispose()
        ws.multiplex({"sub": "c"}, {"unsub": "c"}).subscribe(Log())
        assert [peer.sent(n)[2:] for n in (1, 2)] == [[{"unsub": "b"}, {"sub": "c"}]] * 2
        for link in peer.links:
            link.deliver('{"topic":"a","n":1}')
        await asyncio.sleep(10)
        assert second.is_open and not peer.links[0].is_open
        staying.dispose()
        assert peer.sent(2)[-1] == UNSUB
        assert peer.sent(1)[-1] == {"sub": "c"}
        assert [message["n"] for message in log.items] == [1]


# -- sending that fails --------------------------------------------------------------------------


def topics_of(ws: rxws.ReactiveWebSocket[Any], peer: Peer) -> tuple[Topics, list[Any]]:
    """Make topics that are told to the connections of ``ws``, and the list of their failures."""
    failures: list[Any] = []
    driver = ws._driver
    driver.topics = Topics(
        driver.pool,
        json.dumps,
        lambda topic, error: failures.append((topic.face, type(error))),
    )
    driver.topics.ledger.opened(peer.last.number)
    return driver.topics, failures


@virtual
async def test_a_subscription_that_is_not_sent_in_time() -> None:
    """One that a congested connection does not take is reported, and never taken back alone."""
    async with connected(send_timeout=5, heartbeat=None) as (ws, peer):
        _, failures = topics_of(ws, peer)
        peer.last.stall()
        source = topic(ws)
        subscription = source.subscribe(Log())
        await asyncio.sleep(6)
        assert failures == [(source, rxws.SendTimeout)]
        peer.last.unstall()
        subscription.dispose()
        await turns()
        assert peer.sent(1) == []
        source.subscribe(Log())
        assert peer.sent(1) == [SUB]


@virtual
async def test_a_subscription_that_failed_with_others_behind_it() -> None:
    """The unsubscription that waits behind one that fails is not sent; what follows them is."""
    async with connected(send_timeout=5, heartbeat=None) as (ws, peer):
        topics, failures = topics_of(ws, peer)
        peer.last.stall()
        source = topic(ws)
        source.subscribe(Log()).dispose()
        again = source.subscribe(Log())
        await asyncio.sleep(6)
        assert failures == [(source, rxws.SendTimeout)]
        peer.last.unstall()
        await turns()
        assert peer.sent(1) == [SUB]
        again.dispose()
        assert peer.sent(1) == [SUB, UNSUB]
        assert (topics._joining, topics._leaving) == ({}, {})


@virtual
async def test_a_subscription_that_was_lost_with_its_connection() -> None:
    """A loss is no failure of the subscription: the next connection is subscribed, unreported."""
    async with connected(heartbeat=None) as (ws, peer):
        topics, failures = topics_of(ws, peer)
        peer.last.stall()
        topic(ws).subscribe(Log())
        await turns()
        peer.last.lose()
        await turns()
        assert (failures, topics._joining, topics._leaving) == ([], {}, {})


@virtual
async def test_an_observer_that_raises_is_told_by_its_subscription() -> None:
    """``ConsumerFailed`` names what ``multiplex`` returned, which shows its filter."""
    async with connected() as (ws, peer):
        events: list[Any] = []
        ws.events.subscribe(events.append)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        def fail(_: Any) -> None:
            raise ZeroDivisionError

        source = topic(ws)
        source.subscribe(fail)
        peer.deliver({"topic": "a"})
        [failed] = [event for event in events if isinstance(event, rxws.ConsumerFailed)]
        assert failed.consumer is source
        assert "{'topic': 'a'}" in repr(source)


# -- the end -------------------------------------------------------------------------------------


@virtual
async def test_the_end_of_the_websocket() -> None:
    """On ``exit`` the observers complete; nothing is sent for them any more."""
    async with connected() as (ws, peer):
        first, second = Log(), Log()
        subscription = topic(ws).subscribe(first)
        iteration = topic(ws).pipe(rxws.to_async_iterator())
        ws.multiplex("x", "y").subscribe(second)
        peer.deliver({"topic": "a"})
        await ws.exit()
        subscription.dispose()
        assert first.ends == second.ends == [COMPLETED]
        assert await drained(iteration) == [{"topic": "a"}]
        assert peer.last.sent == ['{"sub":"a"}', '{"sub":"a"}', "x"]
