"""Section K of the faults: messages that can't be parsed, and frames that can't be read.

F108 and F109 are promises about ``json.loads``, the default of ``parse``: it takes ``NaN`` and
lone surrogates, and who wants neither gives another function. What a recorder makes of the bytes
(F109) is tested with the recorder. A connection that is broken off again and again (F116, fatal
after three in a row) is tested with the close codes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import struct
from typing import Any

import pytest

import rxws
from rxws import where
from rxws.net import websockets_link
from rxws.testing import Server, Session
from tests.virtual import connected, turns, until, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1)
CANARY = "canaryheader"


def kinds(events: list[rxws.Event], kind: type[Any]) -> list[Any]:
    """Return the events of a type."""
    return [event for event in events if isinstance(event, kind)]


async def outcome(*raws: str | bytes, **options: Any) -> tuple[list[Any], list[rxws.ParseFailed]]:
    """Return what becomes of messages, between two good ones that must arrive."""
    got: list[Any] = []
    events: list[rxws.Event] = []
    async with connected(**options) as (ws, peer):
        ws.subscribe(got.append)
        ws.events.subscribe(events.append)
        peer.last.deliver('"before"', *raws, '"after"')
        await turns()
        assert ws.stats().reconnects == 0
    assert (got[0], got[-1]) == ("before", "after")
    return got[1:-1], kinds(events, rxws.ParseFailed)


@virtual
async def test_f106_nesting_without_end() -> None:
    """A message nested 100,000 deep is an event, and the feed goes on."""
    for raw in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        got, failed = await outcome(raw)
        assert got == []
        assert [type(event.error) for event in failed] == [RecursionError]


@virtual
async def test_f107_numbers_of_5000_digits() -> None:
    """A number that Python refuses to read is an event, and the feed goes on."""
    got, failed = await outcome("1" * 5000)
    assert got == []
    assert [type(event.error) for event in failed] == [ValueError]


@virtual
async def test_f108_what_is_no_number() -> None:
    """``NaN`` and 1e400 pass, as json.loads takes them; a strict ``parse`` makes them events."""
    got, failed = await outcome("NaN", "1e400", "-Infinity")
    assert math.isnan(got[0])
    assert got[1:] == [math.inf, -math.inf]
    assert failed == []

    def strict(raw: Any) -> Any:
        def refuse(constant: str) -> Any:
            raise ValueError(f"{constant} is no JSON")

        return json.loads(raw, parse_constant=refuse)

    got, failed = await outcome("NaN", parse=strict)
    assert got == []
    assert len(failed) == 1


@virtual
async def test_f109_lone_surrogates_pass() -> None:
    """A lone surrogate in JSON passes whole."""
    got, failed = await outcome(r'"\ud800"')
    assert (got, failed) == (["\ud800"], [])


async def test_f109_lone_surrogates_are_not_sent() -> None:
    """What can't be encoded fails where it is sent, and harms nothing."""
    async with Server() as server, rxws.connect(server.url, parse=None) as ws:
        with pytest.raises(UnicodeEncodeError):
            await ws.send("\ud800")
        await ws.send("fine")
        session = await server.connection(1)
        assert await session.next_message() == "fine"


async def test_f110_much_to_parse_can_be_done_elsewhere() -> None:
    """A coroutine ``parse`` takes 1 MB of brackets to a thread, and the loop goes on meanwhile."""
    parsing: list[str | bytes] = []
    raw = "[" + "[]," * 340_000 + "[]]"

    async def parse(raw: str | bytes) -> Any:
        parsing.append(raw)
        return await asyncio.to_thread(json.loads, raw)

    async with Server() as server, rxws.connect(server.url, parse=parse) as ws:
        stream = ws.stream_filter()
        session = await server.connection(1)
        await session.send_all([raw, "1"])
        assert len(await anext(stream)) == 340_001
        assert await anext(stream) == 1
        assert [len(each) for each in parsing] == [len(raw), 1]


async def test_f110_no_message_is_larger_than_a_mebibyte() -> None:
    """What one message may cost the loop is bounded: by default it has 1 MiB at most."""
    async with Server() as server:
        events: list[rxws.Event] = []
        ws = rxws.connect(server.url, backoff=QUICK)
        ws.events.subscribe(events.append)
        async with ws:
            await (await server.connection(1)).send("[" + "[]," * 350_000 + "[]]")
            await server.connection(2, timeout=10)
        assert kinds(events, rxws.ParseFailed) == []


BAD = ["no json", "", "\ufeff1", "1 2", b"\xff\xfe\x00", b"\x80", "[1,", '{"a":1,}', "'a'"]
ODD = ["null", "[]", "true", '"text"', '{"e":{"deeper":1}}', '{"e":[1]}', '{"e":null}', "{}"]


@virtual
async def test_f111_what_is_not_json() -> None:
    """What json.loads refuses is an event with its payload; nothing else is harmed."""
    got, failed = await outcome(*BAD)
    assert got == []
    assert [event.raw for event in failed] == BAD


@virtual
async def test_f111_odd_messages_and_filters() -> None:
    """JSON of any shape passes, and no filter raises on it."""
    async with connected() as (ws, peer):
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        got: list[Any] = []
        ws.subscribe(got.append)
        filters: list[Any] = [
            [{"e": "trade"}],
            [{("e", "deeper"): 1}],
            [{("e", 0): 1}],
            [{0: "x"}],
            [{"e": where.gt(3)}],
            [{"e": where.matches("x")}],
            [{"e": where.one_of([1], {})}],
            [{"e": where.exists()}],
        ]
        found: dict[int, list[Any]] = {n: [] for n in range(len(filters))}
        for number, each in enumerate(filters):
            ws.stream_filter(each).subscribe(found[number].append)
        peer.last.deliver(*ODD)
        await turns()
        assert got == [json.loads(raw) for raw in ODD]
        assert found[0] == found[3] == []
        assert (found[1], found[2]) == ([{"e": {"deeper": 1}}], [{"e": [1]}])
        assert len(found[7]) == 3
        # A condition that raises does not match, and is told of once.
        assert len(kinds(events, rxws.ConsumerFailed)) <= 2


@virtual
async def test_f112_100_in_a_row_are_not_this_feed() -> None:
    """After 100 messages in a row that can't be parsed the connection is given up, with a reason.

    Each of them is an event; the log has a line a second.
    """
    events: list[rxws.Event] = []
    async with connected(backoff=QUICK) as (ws, peer):
        ws.events.subscribe(events.append)
        first = peer.last
        first.deliver(*["no json"] * 99, "1", *["no json"] * 99)
        await turns()
        assert first.is_open
        first.deliver("no json")
        await peer.link(2)
        await turns()
        assert first.aborted
        assert len(kinds(events, rxws.ParseFailed)) == 199
        gap = kinds(events, rxws.Gap)[0]
        assert "100 messages in a row could not be parsed" in gap.reason


@virtual
async def test_f112_a_coroutine_parser_too() -> None:
    """Where ``parse`` is a coroutine function, 100 failures in a row end the connection too."""

    async def parse(raw: Any) -> Any:
        await asyncio.sleep(0.001)
        return json.loads(raw)

    async with connected(backoff=QUICK, parse=parse) as (ws, peer):
        peer.last.deliver(*["no json"] * 100)
        await peer.link(2)
        await until(ws, rxws.Connected)


@virtual
async def test_f112_words_of_a_quiet_feed_are_no_flood() -> None:
    """A feed that says something of its own now and then, and nothing else, is kept."""
    async with connected() as (ws, peer):
        for _ in range(500):
            peer.last.deliver("pong")
            await asyncio.sleep(5)
        assert (ws.stats().reconnects, len(peer.links)) == (0, 1)


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_f112_the_log_has_a_sample(level: int, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells of a line a second, and at DEBUG 200 bytes of a payload without its secrets."""
    caplog.set_level(level, "rxws")

    @virtual
    async def run() -> None:
        async with connected(additional_headers={"X-Key": CANARY}, silence=9.0) as (_, peer):
            for _ in range(4):
                bad = "payload " + CANARY + "\x1b[31m\u202e\u00e9" + "x" * 100_000
                peer.last.deliver(*[bad] * 20, b"\xff" * 1000, "1")
                await asyncio.sleep(1.5)

    run()
    said = [record.getMessage() for record in caplog.records if record.name == "rxws"]
    failed = [text for text in said if text.startswith("ParseFailed(")]
    assert len(failed) == 4
    assert [", and 20 more before" in text for text in failed] == [False, True, True, True]
    samples = [text for text in said if "payload" in text]
    assert len(samples) == (4 if level == logging.DEBUG else 0)
    for text in said:
        assert len(text.encode()) <= 300
        assert CANARY not in text
        assert not set("\x1b\u202e\n") & set(text)


def frame(opcode: int, payload: bytes, *, first: int = 0x80, mask: int = 0) -> bytes:
    """Return a frame as bytes, right or wrong."""
    size = len(payload)
    if size < 126:
        head = bytes([first | opcode, mask | size])
    elif size < 65_536:
        head = bytes([first | opcode, mask | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first | opcode, mask | 127]) + struct.pack("!Q", size)
    return head + (b"\0\0\0\0" if mask else b"") + payload


JUNK = {
    "bad opcode": frame(3, b""),
    "RSV bits": frame(1, b"x", first=0xF0),
    "RSV1 without compression": frame(1, b"x", first=0xC0),
    "masked": frame(1, b"x", mask=0x80),
    "lone continuation": frame(0, b"x"),
    "long ping": frame(9, b"x" * 126),
    "ping in fragments": frame(9, b"x", first=0),
    "message within a message": frame(1, b"x", first=0) + frame(1, b"x"),
    "close code 1006": frame(8, struct.pack("!H", 1006)),
    "close of one byte": frame(8, b"\x03"),
}


HANG_UP = websockets_link._HANG_UP_SECONDS


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait as long as in earnest."""
    monkeypatch.setattr(websockets_link, "_HANG_UP_SECONDS", 0.1)


async def broken_off(junk: bytes, **options: Any) -> tuple[rxws.ConnectionLost, list[rxws.Event]]:
    """Return how the connection ends on which ``junk`` comes from a server that then hangs."""
    lost: list[Any] = []
    events: list[rxws.Event] = []

    def retry(error: Exception) -> bool:
        lost.append(error)
        return True

    async def hold(session: Session) -> None:
        session.stall()  # it does not even read that we are leaving
        session.write_bytes(b'\x81\x03"a"' + junk)

    async def stay(session: Session) -> None:
        await session.send('"b"')

    async with Server(scripts=[hold, stay]) as server:
        got: list[Any] = []
        options = {"compression": None, "heartbeat": None, "backoff": QUICK} | options
        ws = rxws.connect(server.url, retry=retry, **options)
        ws.events.subscribe(events.append)
        ws.subscribe(got.append)
        async with ws:
            # Neither heartbeat nor silence: nothing else ends it. A message is enough of a margin.
            await server.connection(2, timeout=10)
            await server.wait(lambda: got == ["a", "b"], 10)
    assert [event.epoch for event in kinds(events, rxws.Gap)] == [1]
    assert (lost[0].code, lost[0].reason) == (None, "")
    return lost[0], events


def test_f113_the_time_that_a_server_may_hold_the_socket() -> None:
    """What the tests below wait for is bounded by 2 s."""
    assert HANG_UP <= 2.0


@pytest.mark.parametrize(
    "junk",
    [frame(1, b'"\xff"'), frame(1, b'"\xff', first=0) + frame(0, b'"')],
    ids=["whole", "fragmented"],
)
async def test_f113_text_that_is_no_utf8(junk: bytes) -> None:
    """Text that is no UTF-8 ends its connection, also where the server holds the socket."""
    lost, _ = await broken_off(junk)
    assert lost.sent == 1007
    assert "1007" in str(lost)


@pytest.mark.parametrize("name", JUNK)
async def test_f114_what_breaks_the_protocol(name: str) -> None:
    """A frame against the protocol ends its connection, also where the server holds the socket."""
    lost, _ = await broken_off(JUNK[name])
    assert lost.sent == 1002
    assert "broken off with 1002" in str(lost)


async def test_f115_legal_fragments_are_one_message() -> None:
    """Fragments, with a ping between them, are one message; the ping is answered."""
    pongs: list[bytes] = []
    async with Server() as server, rxws.connect(server.url) as ws:
        stream = ws.stream_filter()
        session = await server.connection(1)
        session.connection.pong = pongs.append
        parts = [b'"', *[bytes([97 + n % 26]) for n in range(1000)], b'"']
        wire = b"".join(
            frame(1 if n == 0 else 0, part, first=0x80 if n == len(parts) - 1 else 0)
            + (frame(9, b"ping") if n % 100 == 0 else b"")
            for n, part in enumerate(parts)
        )
        session.write_bytes(wire)
        assert (await anext(stream)).encode() == b"".join(parts)[1:-1]


async def test_f115_fragments_without_end() -> None:
    """More fragments than anybody needs end their connection."""
    junk = frame(1, b'"', first=0) + frame(0, b"x", first=0) * 5000
    lost, _ = await broken_off(junk)
    assert lost.sent == 1009
    assert "too many fragments" in str(lost)


@pytest.mark.parametrize(
    "junk",
    [
        frame(1, b"x" * 501),
        bytes([0x82, 127]) + struct.pack("!Q", 2**62),
        frame(1, b"x" * 400, first=0) + frame(0, b"x" * 101),
    ],
    ids=["too large", "claims to be", "in sum"],
)
async def test_f116_too_large_a_message(junk: bytes) -> None:
    """A message above ``max_size`` ends its connection; the error names the limit and the way."""
    lost, events = await broken_off(junk, max_size=500)
    assert lost.sent == 1009
    assert "max_size=500" in str(lost)
    assert "raise it, or None" in str(lost)
    assert "max_size=500" in kinds(events, rxws.Gap)[0].reason


async def test_f116_the_default_limit_is_named() -> None:
    """Without ``max_size=`` the limit is 1 MiB, and the error says so."""
    lost, _ = await broken_off(frame(1, b"x" * (2**20 + 1)))
    assert "max_size=1048576" in str(lost)


async def test_f116_a_larger_limit_is_enough() -> None:
    """With ``max_size=None`` a message of 3 MiB arrives."""
    async with Server() as server, rxws.connect(server.url, max_size=None) as ws:
        stream = ws.stream_filter()
        await (await server.connection(1)).send(json.dumps("x" * 3 * 2**20))
        assert len(await anext(stream)) == 3 * 2**20
