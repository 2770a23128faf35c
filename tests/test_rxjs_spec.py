"""What users of RxJS's ``webSocket`` know, behaviour by behaviour.

The model is RxJS 7, ``spec/observables/dom/webSocket-spec.ts``: each of its thirty cases has a
name in `SPEC`. A case that rxws meets has a test of that name here, on ``rxws.connect``, where
observing and connecting are two things, or on ``rxws.observe``, the cold form, where they are one.
A case that rxws does not meet is in this table, with the reason; the test ``instead_...`` shows
what happens in its place.

=============================== ==================================================================
case                            why rxws differs
=============================== ==================================================================
error_closes_with_code          ``on_error`` says that the source which was pumped out has failed.
                                That is reported as the failure of any consumer; the socket is
                                closed with 1000, after what was given before was sent. There is
                                no code for a peer in an exception.
resubscribed_after_complete     ``exit`` and ``on_completed`` are final: a late observer completes
                                at once, a late item is not sent. The cold form connects anew for
                                each subscription, and so does a second ``connect``.
resubscribed_after_error        As before.
binary_type                     Python has one type for binary data: ``parse`` is given ``bytes``
                                of a binary frame and ``str`` of a text one. There is no option.
deserializer_fails              A message that can't be parsed is a ``ParseFailed`` event, and the
                                stream goes on: one bad message of a feed must not end the others.
closing_observer                ``state`` and ``events`` say what happens, in order and to anybody:
                                there are no observers among the options.
close_observer                  As before: ``Disconnected`` has the code and the reason of a loss,
                                ``Closed`` is the end. A close by the server, clean or not, is no
                                end of the stream: rxws reconnects.
multiplex_repeats               There is nothing to repeat: a clean close by the server does not
                                complete the observers, and the subscription is made again on the
                                next connection. ``ops.repeat`` does no harm.
=============================== ==================================================================

Beyond that: RxJS closes the socket when its last observer leaves. ``rxws.connect`` gives a socket
that is open for as long as it is entered, observed or not; ``rxws.observe`` closes with its one
observer. ``retry`` and ``repeat``, by which RxJS reconnects, are rxws's own work.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import reactivex
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from rxws.testing import FakeTransport
from tests.virtual import COMPLETED, Log, Peer, connected, fatal, turns, until, virtual

SPEC = {
    "basic behavior": (
        "sends_and_receives",
        "operators_and_subscribe",
        "several_messages",
        "queues_before_it_is_open",
        "sends_at_once_when_open",
        "complete_closes",
        "exit_before_open",
        "disposed_before_open",
        "exit_while_connecting",
        "disposed_while_connecting",
        "opens_before_the_previous_has_closed",
        "error_closes_with_code",
        "resubscribed_after_complete",
        "resubscribed_after_error",
        "parses_json_by_default",
    ),
    "with a config object": (
        "sends_and_receives_with_options",
        "protocol",
        "binary_type",
        "deserializer",
        "deserializer_fails",
        "closing_observer",
        "close_observer",
        "constructor_errors",
    ),
    "multiplex": (
        "multiplex_is_retried",
        "multiplex_repeats",
        "multiplexes",
        "one_socket_for_several_multiplexed",
        "open_until_all_multiplexed_are_done",
    ),
    "node constructor": (
        "sends_and_receives_by_a_constructor",
        "no_constructor",
    ),
}
"""The cases by their sections, in their order, under names of ours."""


def test_every_case_is_tested_or_noted() -> None:
    """Each of the thirty cases has its test, or its line in the table above and its ``instead``."""
    cases = [case for section in SPEC.values() for case in section]
    assert len(cases) == len(set(cases)) == 30
    assert __doc__ is not None
    table = __doc__.split("\n\n")[2]
    noted = {line.split()[0] for line in table.splitlines() if line[0].islower()} - {"case"}
    tested = {case for case in cases if f"test_{case}" in globals()}
    instead = {case for case in cases if f"test_instead_{case}" in globals()}
    assert tested | noted == set(cases)
    assert not tested & noted
    assert instead == noted


# -- basic behavior ------------------------------------------------------------------------------


@virtual
async def test_sends_and_receives() -> None:
    """An item given before the connection is sent on it, and what comes reaches the observer."""
    peer, log = Peer(), Log()
    ws = rxws.connect("ws://mysocket", transport=peer)
    ws.on_next("ping")
    ws.subscribe(log)
    async with ws:
        assert peer.last.url == "ws://mysocket"
        assert peer.last.sent == ["ping"]
        peer.deliver("pong")
        assert log.items == ["pong"]


@virtual
async def test_operators_and_subscribe() -> None:
    """The websocket is an Observable like any other, in the cold form too."""
    peer, log = Peer(), Log()
    source = rxws.observe("ws://mysocket", transport=peer)
    subscription = source.pipe(ops.map(lambda x: x + "!")).subscribe(log)
    await peer.link(1)
    await turns()
    peer.deliver("hello")
    assert log.items == ["hello!"]
    subscription.dispose()
    await turns()


@virtual
async def test_several_messages() -> None:
    """Messages reach the observer one by one, in order."""
    words = ["what", "do", "you", "do", "with", "a", "drunken", "sailor"]
    async with connected() as (ws, peer):
        log = Log()
        ws.subscribe(log)
        peer.deliver(*words)
        assert log.items == words


@virtual
async def test_queues_before_it_is_open() -> None:
    """Items given before there is a connection wait, and leave in order when it is open."""
    peer = Peer()
    ws = rxws.connect("ws://mysocket", transport=peer)
    for number in range(5):
        ws.on_next({"n": number})
    assert peer.dials == []
    peer.hold()
    ws.start()
    await turns()
    assert (len(peer.dials), peer.links) == (1, [])
    peer.release()
    await until(ws, rxws.Connected)
    assert peer.sent(1) == [{"n": number} for number in range(5)]
    await ws.exit()


@virtual
async def test_sends_at_once_when_open() -> None:
    """On an open connection an item is sent before ``on_next`` returns."""
    async with connected() as (ws, peer):
        for number in (1, 2):
            ws.on_next({"n": number})
            assert peer.sent(1)[-1] == {"n": number}


@virtual
async def test_complete_closes() -> None:
    """``on_completed`` closes the socket, and completes the observers."""
    async with connected() as (ws, peer):
        log = Log()
        ws.subscribe(log)
        ws.on_next("last words")
        assert peer.last.closed is None
        ws.on_completed()
        await turns()
        assert peer.last.closed == (1000, "")
        assert peer.last.sent == ["last words"]
        assert log.ends == [COMPLETED]
        assert ws.state is rxws.State.CLOSED


@virtual
async def test_exit_before_open() -> None:
    """``exit`` before the connection is open leaves none behind, however the dial ends."""
    peer, log = Peer(), Log()
    ws = rxws.connect("ws://mysocket", transport=peer)
    ws.subscribe(log)
    peer.hold()
    ws.start()
    await turns()
    await ws.exit()
    peer.release()
    await turns()
    assert peer.open_links == []
    assert log.ends == [COMPLETED]


@virtual
async def test_disposed_before_open() -> None:
    """The cold form, disposed before its connection is open, leaves none behind."""
    peer, log = Peer(), Log()
    peer.hold()
    subscription = rxws.observe("ws://mysocket", transport=peer).subscribe(log)
    await turns()
    subscription.dispose()
    peer.release()
    await turns()
    assert len(peer.dials) == 1
    assert peer.open_links == []
    assert log.ends == []


async def never(_: rxws.Opening) -> None:
    """Prepare a connection for ever."""
    await asyncio.Event().wait()


@virtual
async def test_exit_while_connecting() -> None:
    """``exit`` closes a socket that is open but not ready yet."""
    peer = Peer()
    ws = rxws.connect("ws://mysocket", transport=peer, on_open=never)
    ws.start()
    link = await peer.link(1)
    await turns()
    assert link.is_open
    await ws.exit()
    assert not link.is_open


@virtual
async def test_disposed_while_connecting() -> None:
    """The cold form, disposed while it connects, closes a socket that is not ready yet."""
    peer = Peer()
    subscription = rxws.observe("ws://mysocket", transport=peer, on_open=never).subscribe(Log())
    link = await peer.link(1)
    await turns()
    assert link.is_open
    subscription.dispose()
    await turns()
    assert not link.is_open


@virtual
async def test_opens_before_the_previous_has_closed() -> None:
    """A new subscription of the cold form has its own socket, while the old one still closes."""
    peer = Peer(answer_close=False)
    source = rxws.observe("ws://mysocket", transport=peer)
    first = source.subscribe(Log())
    one = await peer.link(1)
    await turns()
    first.dispose()
    await turns()
    assert one.closed == (1000, "")
    log = Log()
    second = source.subscribe(log)
    two = await peer.link(2)
    await turns()
    one.lose(1000)
    await turns()
    assert two.is_open
    two.deliver("1")
    assert log.items == [1]
    second.dispose()
    await turns()
    assert two.closed == (1000, "")
    two.lose(1000)
    await turns()


@virtual
async def test_instead_error_closes_with_code(loop_errors: list[dict[str, Any]]) -> None:
    """``on_error`` reports the failure of the source, sends what waits, and closes with 1000."""
    async with connected() as (ws, peer):
        events, error = Log(), ZeroDivisionError("too bad")
        ws.events.subscribe(events)
        source: Subject[Any] = Subject()
        source.subscribe(ws)
        source.on_next("before")
        source.on_error(error)
        await turns()
        assert peer.last.sent == ["before"]
        assert peer.last.closed == (1000, "")
        [failed] = [event for event in events.items if isinstance(event, rxws.ConsumerFailed)]
        assert failed.error is error
        assert [report["exception"] for report in loop_errors] == [error]
        assert events.items[-1] == rxws.Closed(None)


@virtual
async def test_instead_resubscribed_after_complete() -> None:
    """After the end nothing begins again, while the cold form connects for each subscription."""
    async with connected() as (ws, peer):
        ws.on_completed()
        await turns()
        ws.on_next("too late")
        late = Log()
        ws.subscribe(late)
        await asyncio.sleep(100)
        assert (late.items, late.ends) == ([], [COMPLETED])
        assert (len(peer.links), peer.last.sent) == (1, [])
    peer = Peer()
    source = rxws.observe("ws://mysocket", transport=peer, subscribe=["hello"])
    for number in (1, 2):
        subscription = source.subscribe(Log())
        link = await peer.link(number)
        await turns()
        assert link.sent == ["hello"]
        subscription.dispose()
        await turns()
        assert link.closed == (1000, "")


@virtual
async def test_instead_resubscribed_after_error() -> None:
    """After a failure the cold form can be retried: each attempt has its own socket."""
    peer, log = Peer(), Log()
    peer.refuse(fatal(), times=2)
    rxws.observe("ws://mysocket", transport=peer).pipe(ops.retry(3), ops.take(1)).subscribe(log)
    await peer.link(1)
    await turns()
    peer.deliver("finally")
    assert (log.items, log.ends) == (["finally"], [COMPLETED])
    assert len(peer.dials) == 3
    await turns()


@virtual
async def test_parses_json_by_default() -> None:
    """Without ``parse`` a message is what its JSON says, without ``serialize`` JSON is sent."""
    async with connected() as (ws, peer):
        log = Log()
        ws.subscribe(log)
        peer.last.deliver('{"mork": ["shazbot!", null]}')
        assert log.items == [{"mork": ["shazbot!", None]}]
        ws.on_next({"mork": None})
        assert peer.last.sent == ['{"mork":null}']


# -- with a config object ------------------------------------------------------------------------


@virtual
async def test_sends_and_receives_with_options() -> None:
    """With every part made by functions of the user, items leave and messages arrive."""

    async def source() -> str:
        return "ws://mysocket"

    peer, log = Peer(), Log()
    ws = rxws.connect(source, transport=peer, parse=str.upper, serialize=repr)
    ws.on_next({"ping": 1})
    ws.subscribe(log)
    async with ws:
        assert peer.last.url == "ws://mysocket"
        assert peer.last.sent == ["{'ping': 1}"]
        peer.last.deliver("pong")
        assert log.items == ["PONG"]


@virtual
async def test_protocol() -> None:
    """``subprotocols`` reach the transport as they are given."""
    async with connected(subprotocols=["someprotocol"]) as (_, peer):
        assert peer.last.options == {"subprotocols": ["someprotocol"]}


@virtual
async def test_instead_binary_type() -> None:
    """A binary frame is ``bytes`` and a text frame ``str``, both ways."""
    async with connected(parse=None) as (ws, peer):
        log = Log()
        ws.subscribe(log)
        peer.last.deliver(b"\x00\xff", "text")
        assert log.items == [b"\x00\xff", "text"]
        ws.on_next(b"\x01")
        ws.on_next(bytearray(b"\x02"))
        assert peer.last.sent == [b"\x01", b"\x02"]


@virtual
async def test_deserializer() -> None:
    """``parse`` makes the messages, as a coroutine function too, in order."""

    async def slowly(raw: str) -> str:
        await asyncio.sleep(1 / len(raw))
        return raw + "!"

    for parse in (lambda raw: raw + "!", slowly):
        async with connected(parse=parse) as (ws, peer):
            log = Log()
            ws.subscribe(log)
            peer.last.deliver("ahoy", "yarr", "shove off")
            await asyncio.sleep(10)
            assert log.items == ["ahoy!", "yarr!", "shove off!"]


@virtual
async def test_instead_deserializer_fails() -> None:
    """A message that ``parse`` refuses is an event; the observers go on with the next."""
    async with connected(parse=int) as (ws, peer):
        log, events = Log(), Log()
        ws.subscribe(log)
        ws.events.subscribe(events)
        peer.last.deliver("1", "weee!", "2")
        assert (log.items, log.ends) == ([1, 2], [])
        failed = events.items[-1]
        assert isinstance(failed, rxws.ParseFailed)
        assert (failed.raw, type(failed.error)) == ("weee!", ValueError)
        assert peer.last.is_open


@virtual
async def test_instead_closing_observer() -> None:
    """When the end begins, ``state`` says so and observers complete; then the socket closes."""
    async with connected() as (ws, peer):
        peer.last.answer_close = False
        log = Log()
        ws.subscribe(log)
        ending = asyncio.ensure_future(ws.exit())
        await turns(1)
        assert ws.state is rxws.State.CLOSED
        assert log.ends == [COMPLETED]
        assert not ending.done()
        peer.last.lose(1000)
        await ending


@virtual
async def test_instead_close_observer() -> None:
    """Every close by the server is an event with its code, and another connection follows."""
    async with connected() as (ws, peer):
        log, events = Log(), Log()
        ws.subscribe(log)
        ws.events.subscribe(events)
        for number, close in enumerate([(1000, "done"), (None, "")], start=2):
            peer.last.lose(*close)
            await peer.link(number, timeout=1000)
            await turns()
            peer.deliver(number)
        assert log.items == [2, 3]
        assert log.ends == []
        losses = [event for event in events.items if isinstance(event, rxws.Disconnected)]
        assert losses == [rxws.Disconnected(1, 1000, "done"), rxws.Disconnected(2, None, "")]
    assert events.items[-1] == rxws.Closed(None)


@virtual
async def test_constructor_errors() -> None:
    """A transport that can't even begin, whatever is retried, is an error of the observer."""
    peer, log = Peer(), Log()
    error = fatal()
    peer.refuse(error)
    rxws.observe("bad_url", transport=peer).subscribe(log)
    await turns()
    assert (log.items, log.ends) == ([], [error])


# -- multiplex -----------------------------------------------------------------------------------


def foo(ws: rxws.ReactiveWebSocket[Any]) -> reactivex.Observable[Any]:
    """Return the subscription to foo, from the specification."""
    return ws.multiplex({"sub": "foo"}, {"unsub": "foo"}, [{"name": "foo"}])


def named(name: str, *values: Any) -> list[dict[str, Any]]:
    """Return messages of one name."""
    return [{"name": name, "value": value} for value in values]


@virtual
async def test_multiplex_is_retried() -> None:
    """After a bad close the subscription is made again, with ``ops.retry`` and without."""
    async with connected() as (ws, peer):
        for retried in (ops.retry(1), ops.map(lambda m: m)):
            number, log = len(peer.links), Log()
            foo(ws).pipe(retried, ops.map(lambda m: m["value"]), ops.take(2)).subscribe(log)
            assert peer.sent(number) == [{"sub": "foo"}]
            peer.last.lose()
            await until(ws, rxws.Disconnected)
            await peer.link(number + 1)
            await turns()
            assert peer.sent(number + 1) == [{"sub": "foo"}]
            peer.deliver(*named("foo", "test", "this"))
            assert (log.items, log.ends) == (["test", "this"], [COMPLETED])
            peer.last.lose()
            await until(ws, rxws.Disconnected)
            await peer.link(number + 2, timeout=100)
            await turns()


@virtual
async def test_instead_multiplex_repeats() -> None:
    """After a clean close the subscription is made again, and its observer has not completed."""
    async with connected() as (ws, peer):
        log = Log()
        foo(ws).pipe(ops.map(lambda m: m["value"])).subscribe(log)
        for number in (1, 2):
            link = await peer.link(number)
            await turns()
            assert peer.sent(number) == [{"sub": "foo"}]
            peer.deliver(*named("foo", "test", "this"))
            link.lose(1000)
            await until(ws, rxws.Disconnected)
        assert log.items == ["test", "this", "test", "this"]
        assert log.ends == []


@virtual
async def test_multiplexes() -> None:
    """Its observer gets what matches; leaving, it unsubscribes, and the socket stays open."""
    async with connected() as (ws, peer):
        values: list[int] = []
        subscription = foo(ws).subscribe(lambda m: values.append(m["value"]))
        assert peer.sent(1) == [{"sub": "foo"}]
        peer.deliver(*[{"name": "foo" if n % 3 else "bar", "value": n} for n in range(1, 6)])
        assert values == [1, 2, 4, 5]
        subscription.dispose()
        assert peer.sent(1) == [{"sub": "foo"}, {"unsub": "foo"}]
        assert peer.last.is_open


def two(ws: rxws.ReactiveWebSocket[Any], results: list[str]) -> list[Any]:
    """Observe A and B by two subscriptions, each until it is complete, and write down all."""
    subscriptions = []
    for name in "AB":

        def unsubscribe(name: str = name) -> str:
            results.append(f"{name} unsub")
            return "no-op"

        subscriptions.append(
            ws.multiplex("no-op", unsubscribe, [{"id": name}])
            .pipe(ops.take_while(lambda m: not m.get("complete")))
            .subscribe(
                lambda _, name=name: results.append(f"{name} next"),
                lambda error, name=name: results.append(f"{name} error {error}"),
                lambda name=name: results.append(f"{name} complete"),
            )
        )
    return subscriptions


@virtual
async def test_one_socket_for_several_multiplexed() -> None:
    """Two subscriptions share the socket; one that leaves is gone, the other goes on to the end."""
    results: list[str] = []
    async with connected() as (ws, peer):
        first, _ = two(ws, results)
        peer.deliver({"id": "A"})
        first.dispose()
        peer.deliver({"id": "B"}, {"id": "A"}, {"id": "B"}, {"id": "B"})
        assert len(peer.links) == 1
    # No "B unsub" as the last: the socket is gone, there is nobody to tell.
    assert results == ["A next", "A unsub", "B next", "B next", "B next", "B complete"]


@virtual
async def test_open_until_all_multiplexed_are_done() -> None:
    """A subscription that completes leaves the socket to the others, and unsubscribes."""
    results: list[str] = []
    async with connected() as (ws, peer):
        two(ws, results)
        peer.deliver(
            *({"id": "A"}, {"id": "B"}, {"id": "A", "complete": True}),
            *({"id": "B"}, {"id": "B", "complete": True}),
        )
        assert peer.last.is_open
    assert results == [
        *("A next", "B next", "A complete", "A unsub"),
        *("B next", "B complete", "B unsub"),
    ]


# -- node constructor ----------------------------------------------------------------------------


class Constructor:
    """A transport of the user's own, no subclass of anything."""

    def __init__(self) -> None:
        self.inner = FakeTransport()

    async def connect(self, url: str, options: Any) -> Any:
        return await self.inner.connect(url, options)


@virtual
async def test_sends_and_receives_by_a_constructor() -> None:
    """Any object with the shape of a transport can be given as one."""
    own, log = Constructor(), Log()
    ws = rxws.connect("ws://mysocket", transport=own)
    ws.on_next("ping")
    ws.subscribe(log)
    async with ws:
        [link] = own.inner.links
        assert (link.url, link.sent) == ("ws://mysocket", ["ping"])
        link.deliver(json.dumps("pong"))
        assert log.items == ["pong"]


@virtual
async def test_no_constructor() -> None:
    """Something that is no transport is refused where it is given."""
    with pytest.raises(ValueError, match="transport"):
        rxws.connect("ws://mysocket", transport="no such")
    with pytest.raises(TypeError, match="transport"):
        rxws.observe("ws://mysocket", transport=object())
