"""The fake transport keeps the promises of the Transport, Link and Receiver protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from rxws.core.errors import ConnectError, ConnectionLost, Delivery
from rxws.net.transport import Raw, Transport
from rxws.testing import FakeLink, FakeTransport, run_virtual


class Log:
    """A receiver that writes down what it is told."""

    def __init__(self, on_message: Callable[[Raw], None] | None = None) -> None:
        self.messages: list[Raw] = []
        self.ends: list[tuple[int | None, str, BaseException | None]] = []
        self.on_message = on_message

    def received(self, raw: Raw) -> None:
        assert not self.ends
        self.messages.append(raw)
        if self.on_message is not None:
            self.on_message(raw)

    def lost(self, code: int | None, reason: str, error: BaseException | None) -> None:
        self.ends.append((code, reason, error))


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Make a coroutine function a test on a loop of virtual time."""

    @wraps(test)
    def run() -> None:
        run_virtual(test)

    del run.__wrapped__  # type: ignore[attr-defined]
    return run


async def opened(**options: Any) -> tuple[FakeLink, Log]:
    """Return a started link and its receiver."""
    link = await FakeTransport(**options).connect("ws://x", {})
    log = Log()
    link.start(log)
    return link, log


@virtual
async def test_the_fake_satisfies_the_protocol_of_a_transport() -> None:
    """``isinstance`` agrees that it is a Transport."""
    assert isinstance(FakeTransport(), Transport)


@virtual
async def test_dials_and_links_are_kept_in_order() -> None:
    """What was dialled, with its options and time, and the links are lists."""
    transport = FakeTransport()
    first = await transport.connect("ws://a", {"proxy": None})
    await asyncio.sleep(3)
    second = await transport.connect("ws://b", {})
    assert transport.links == [first, second] == transport.open_links
    assert [(d.url, dict(d.options), d.time) for d in transport.dials] == [
        ("ws://a", {"proxy": None}, 0),
        ("ws://b", {}, 3),
    ]
    assert (first.number, second.number) == (1, 2)


@virtual
async def test_refused_dials_raise_and_the_next_one_opens() -> None:
    """``refuse(error, times=2)`` raises that error twice, and makes no link."""
    transport = FakeTransport()
    error = ConnectError("no", retryable=False)
    transport.refuse(error, times=2)
    transport.refuse()
    for _ in range(2):
        with pytest.raises(ConnectError) as caught:
            await transport.connect("ws://x", {})
        assert caught.value is error
    with pytest.raises(ConnectError) as caught:
        await transport.connect("ws://x", {})
    assert caught.value.retryable
    assert (await transport.connect("ws://x", {})).is_open
    assert len(transport.dials) == 4 and len(transport.links) == 1


@virtual
async def test_held_dials_wait_for_the_release_and_leave_nothing_when_cancelled() -> None:
    """Between ``hold`` and ``release`` no dial is done, and a cancelled one makes no link."""
    transport = FakeTransport()
    transport.hold()
    waits = asyncio.create_task(transport.connect("ws://a", {}))
    cancelled = asyncio.create_task(transport.connect("ws://b", {}))
    await asyncio.sleep(100)
    assert len(transport.dials) == 2 and not transport.links
    cancelled.cancel()
    transport.release()
    link = await transport.link(1)
    assert await waits is link and transport.links == [link]
    assert (await transport.connect("ws://c", {})).is_open


@virtual
async def test_what_arrived_before_start_is_handed_over_first() -> None:
    """Messages, and the end, wait for ``start`` in their order."""
    link = await FakeTransport().connect("ws://x", {})
    link.deliver("1", b"2")
    link.lose(1001, "away")
    assert not link.is_open and link.queued == 2
    log = Log()
    link.start(log)
    assert log.messages == ["1", b"2"]
    assert log.ends == [(1001, "away", None)]


@virtual
async def test_a_paused_link_queues_and_keeps_the_end_behind_the_messages() -> None:
    """Nothing is handed over while paused; afterwards all of it is, and then the end."""
    link, log = await opened()
    link.deliver("1")
    link.pause()
    link.deliver("2")
    link.lose(error=ConnectionResetError())
    assert log.messages == ["1"] and not log.ends and link.paused
    link.resume()
    assert log.messages == ["1", "2"]
    assert [type(error) for _, _, error in log.ends] == [ConnectionResetError]


@virtual
async def test_a_pause_from_within_a_message_holds_the_next() -> None:
    """A receiver that pauses while it is handed messages is handed none of the rest."""
    link = await FakeTransport().connect("ws://x", {})
    log = Log(lambda _: link.pause())
    link.deliver("1", "2", "3")
    link.start(log)
    assert log.messages == ["1"]
    link.resume()
    assert log.messages == ["1", "2"]


@virtual
async def test_messages_delivered_from_within_a_message_keep_their_order() -> None:
    """What a receiver lets arrive is handed over after what had arrived before."""
    link = await FakeTransport().connect("ws://x", {})

    def echo(raw: Raw) -> None:
        if raw == "1":
            link.deliver("3")
            assert log.messages == ["1"]

    log = Log(echo)
    link.deliver("1", "2")
    link.start(log)
    assert log.messages == ["1", "2", "3"]


@virtual
async def test_the_end_is_told_once_however_often_it_comes() -> None:
    """``lose``, ``abort`` and ``close`` after one another call ``lost`` a single time."""
    link, log = await opened()
    link.lose(1011, "oops")
    link.lose(1000)
    link.abort()
    link.abort()
    await link.close()
    link.deliver("late")
    await asyncio.sleep(1)
    assert log.ends == [(1011, "oops", None)] and not log.messages and not link.aborted


@virtual
async def test_an_abort_ends_a_paused_link_without_what_it_held() -> None:
    """After ``abort`` no message is handed over, and the end is told from the loop."""
    link, log = await opened()
    link.pause()
    link.deliver("1")
    link.abort()
    assert not log.ends and not link.is_open and link.aborted
    await asyncio.sleep(0)
    assert not log.messages
    assert [(code, type(error)) for code, _, error in log.ends] == [(None, ConnectionAbortedError)]


@virtual
async def test_a_close_is_answered_after_what_is_still_arriving() -> None:
    """``close`` waits for what arrives to be read, a pause included, and tells the end last."""
    link, log = await opened()
    link.pause()
    link.deliver("1")
    closing = asyncio.create_task(link.close(1000, "bye"))
    await asyncio.sleep(0)
    link.deliver("2")
    await asyncio.sleep(1)
    assert not log.messages and not log.ends
    link.resume()
    await closing
    assert log.messages == ["1", "2"] and log.ends == [(1000, "bye", None)]
    assert link.closed == (1000, "bye")


@virtual
async def test_a_close_with_discard_throws_away_what_arrives() -> None:
    """With ``discard`` neither queued nor late messages are handed over."""
    link, log = await opened()
    link.pause()
    link.deliver("1")
    closing = asyncio.create_task(link.close(discard=True))
    await asyncio.sleep(0)
    link.deliver("2")
    await closing
    assert not log.messages and log.ends == [(1000, "", None)]


@virtual
async def test_an_unanswered_close_waits_for_the_peer_or_an_abort() -> None:
    """With ``answer_close=False`` the caller's bound decides, and ``abort`` frees it."""
    link, log = await opened(answer_close=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await link.close()
    assert not log.ends and not link.is_open and not link.write("late")
    link.deliver("still read")
    closing = asyncio.create_task(link.close(4000))
    await asyncio.sleep(1)
    link.abort()
    await closing
    assert log.messages == ["still read"] and len(log.ends) == 1
    assert link.closed == (1000, "")


@virtual
async def test_a_link_that_nobody_started_can_be_closed() -> None:
    """Neither ``close`` nor ``close`` after the peer's end waits for a receiver."""
    transport = FakeTransport()
    link = await transport.connect("ws://x", {})
    await link.close()
    link = await transport.connect("ws://x", {})
    link.deliver("1")
    link.lose(1001)
    await link.close()
    link = await transport.connect("ws://x", {})
    link.abort()
    await link.close()
    log = Log()
    link.start(log)
    assert len(log.ends) == 1


@virtual
async def test_a_link_is_started_once() -> None:
    """A second ``start`` is an error."""
    link, log = await opened()
    with pytest.raises(RuntimeError, match="started"):
        link.start(log)


@virtual
async def test_a_stalled_link_takes_nothing_until_it_moves_again() -> None:
    """``write`` gives ``False``; ``send`` and ``ping`` wait; later both are done."""
    link, _ = await opened()
    assert link.write("1")
    link.stalled = True
    assert not link.write("2") and link.is_open
    sending = asyncio.create_task(link.send("3"))
    pinging = asyncio.create_task(link.ping())
    await asyncio.sleep(100)
    assert link.sent == ["1"] and not link.pings
    link.unstall()
    await asyncio.gather(sending, pinging)
    assert link.sent == ["1", "3"] and link.pings == 1


@virtual
async def test_sends_tell_what_became_of_the_message() -> None:
    """Lost while it waited is UNKNOWN; on a link that had ended before it is NOT_SENT."""
    link, _ = await opened()
    link.stall()
    sending = asyncio.create_task(link.send("1"))
    await asyncio.sleep(0)
    link.lose(1012, "restart")
    with pytest.raises(ConnectionLost) as caught:
        await sending
    assert caught.value.delivery is Delivery.UNKNOWN
    assert (caught.value.code, caught.value.reason) == (1012, "restart")
    with pytest.raises(ConnectionLost) as caught:
        await link.send("2")
    assert caught.value.delivery is Delivery.NOT_SENT
    link.stall()
    await link.ping()
    assert not link.sent and not link.pings


@virtual
async def test_last_received_follows_messages_and_pongs_on_the_clock_of_the_loop() -> None:
    """A message and an answered ping count as bytes; an unanswered ping does not."""
    link, _ = await opened()
    await asyncio.sleep(5)
    link.deliver("1")
    assert link.last_received == 5
    await asyncio.sleep(5)
    await link.ping()
    assert link.last_received == 10
    link.answer_pings = False
    await asyncio.sleep(5)
    await link.ping()
    assert link.last_received == 10 and link.pings == 2


@virtual
async def test_a_close_on_a_stalled_link_waits_until_it_can_be_written() -> None:
    """The peer can't answer a Close frame that did not leave."""
    link, log = await opened()
    link.stall()
    closing = asyncio.create_task(link.close())
    await asyncio.sleep(10)
    assert not closing.done()
    link.unstall()
    await closing
    assert log.ends == [(1000, "", None)]
