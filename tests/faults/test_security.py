"""Section L of the faults: hostile servers, and secrets.

S10 is tested with the recorder. S11 is section K. Certificates (S08) are tested with the
handshakes, secrets in all the ways that an exception can carry them (S07) in tests/net.

What is said here of memory and of slices holds for connections that rxws opens. One that
``source`` opened itself has the limits that its own library sets.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import subprocess
import sys
import textwrap
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import rxws
from rxws.core.redact import Redactor, escape_control
from rxws.net.handshake import listeners
from rxws.net.slicing import Slicer
from rxws.net.websockets_transport import known_options
from rxws.streams.replies import Replies
from rxws.testing import Refuse, Server, Session
from rxws.testing.waiting import News

QUICK = rxws.Backoff(initial=0.01, maximum=0.02, attempts=2)
ROOT = str(Path(__file__).resolve().parents[2])
CANARIES = (
    "canaryuser",
    "canarypassword",
    "canarytoken",
    "canaryheader",
    "canarycookie",
    base64.b64encode(b"canaryuser:canarypassword").decode(),
)
UNSEEN = "\x00\x07\x1b\x7f\x85\x9b\u2028\u2029\u200e\u200f\u202a\u202e\u2066\u2069\ufeff"
HOSTILE = f"x\n[CRIT] forged\r\x1b[2J{UNSEEN}"


def clean(*texts: object) -> None:
    """Fail if a canary is found in what the texts show."""
    for text in texts:
        for canary in CANARIES:
            assert canary not in str(text), f"{canary} in {text}"


def harmless(*texts: str, lines: bool = False) -> None:
    """Fail if a text has control characters, or a line that somebody else made."""
    for text in texts:
        assert not set(UNSEEN + "\r") & set(text), repr(text)
        if not lines:
            assert "\n" not in text, repr(text)
        assert not any(line.strip().startswith("[CRIT]") for line in text.split("\n")), repr(text)


def shown(error: BaseException) -> str:
    """Return all that an exception shows: itself, its chain, its traceback."""
    texts, seen, todo = [], set(), [error]
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            texts += [repr(one), str(one), *traceback.format_exception(one)]
            todo += [e for e in (one.__cause__, one.__context__) if e is not None]
            todo += [v for v in vars(one).values() if isinstance(v, BaseException)]
    return "\n".join(texts)


def of_client(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged, except by the server of the test, with its tracebacks."""
    format_ = logging.Formatter().format
    return [format_(r) for r in caplog.records if not r.name.startswith("rxws.testing")]


def grown(program: str) -> dict[str, Any]:
    """Run a program in a process of its own; return what it prints: its peak in MB, say."""
    head = """
        import asyncio, json, resource, struct, sys, zlib
        import rxws
        from rxws.testing import Server

        def now():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * resource.getpagesize() / 2**20

        def peak():  # not ru_maxrss, which begins with that of the parent
            with open("/proc/self/status") as file:
                status = dict(line.split(":", 1) for line in file)
            return int(status["VmHWM"].split()[0]) / 1024

        QUICK = rxws.Backoff(initial=0.02, maximum=0.1)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        timeout=55,
        check=False,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


MEMORY = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")


@MEMORY
def test_s01_many_small_bombs() -> None:
    """600 frames of 1 kB that inflate to 1 MiB each cost 64 MB at most, and all arrive."""
    found = grown(
        """
        text = b'"' + b"a" * (2**20 - 2) + b'"'
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = (deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH))[:-4]
        bomb = bytes([0xC1, 126]) + struct.pack("!H", len(data)) + data

        async def main():
            sizes = []
            async with Server(compression="deflate") as server:
                async with rxws.connect(server.url) as ws:
                    ws.subscribe(lambda message: sizes.append(len(message)))
                    session = await server.connection(1)
                    await session.send('"first"')
                    await server.wait(lambda: sizes)
                    negotiated = bool(ws.present_ws.protocol.extensions)
                    before = now()
                    session.write_bytes(bomb * 600)
                    await server.wait(lambda: len(sizes) == 601, 50)
                    all_there = set(sizes[1:]) == {2**20 - 2}
                    lost = ws.stats().reconnects
            print(json.dumps([len(bomb), negotiated, all_there, lost, peak() - before]))

        asyncio.run(main())
        """
    )
    size, negotiated, all_there, lost, growth = found
    assert (size < 1100, negotiated, all_there, lost) == (True, True, True, 0)
    assert growth <= 64


@MEMORY
def test_s01_one_large_bomb() -> None:
    """A frame that would inflate to 64 MiB is refused by ``max_size``, and costs nothing."""
    found = grown(
        """
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = b"".join(deflate.compress(b"a" * 2**20) for _ in range(64))
        data = (data + deflate.flush(zlib.Z_FULL_FLUSH))[:-4]
        bomb = bytes([0xC1, 127]) + struct.pack("!Q", len(data)) + data

        async def main():
            async with Server(compression="deflate") as server:
                async with rxws.connect(server.url, backoff=QUICK):
                    session = await server.connection(1)
                    before = now()
                    session.write_bytes(bomb)
                    await server.connection(2, 20)
                    print(json.dumps(peak() - before))

        asyncio.run(main())
        """
    )
    assert found <= 32


class Pipe:
    """A transport that only counts whether it is read."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


async def test_s01_a_large_read_is_handed_on_in_slices() -> None:
    """Of 100 kB read at once 16 KiB go on in a turn, and nothing is read until all went on."""
    pipe, got, ended = Pipe(), [], []
    slicer = Slicer(pipe, got.append)  # type: ignore[arg-type]
    data = os.urandom(100_000)
    slicer.feed(data)
    slicer.finish(lambda: ended.append(len(got)))
    assert [len(part) for part in got] == [16_384]
    assert pipe.calls == ["pause"]
    slicer.pause_reading()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(got) == 1
    slicer.resume_reading()
    for _ in range(20):
        await asyncio.sleep(0)
    assert b"".join(got) == data
    assert pipe.calls == ["pause", "resume"]
    assert ended == [7]


@MEMORY
def test_s02_ping_flood_of_a_peer_that_reads_no_pongs() -> None:
    """Who sends pings and does not read the pongs is dropped before they take much memory."""
    found = grown(
        """
        pings = (b"\\x89\\x7d" + b"x" * 125) * 500

        async def main():
            reasons = []
            async with Server() as server:
                ws = rxws.connect(server.url, backoff=QUICK)
                ws.events.subscribe(
                    lambda e: reasons.append(e.reason) if isinstance(e, rxws.Gap) else None
                )
                async with ws:
                    session = await server.connection(1)
                    session.stall()
                    before = now()
                    sent = 0
                    async with asyncio.timeout(45):
                        while not reasons:
                            session.write_bytes(pings)
                            sent += len(pings)
                            await session.connection.writable()
                            await asyncio.sleep(0)
                    print(json.dumps([sent, reasons, peak() - before]))

        asyncio.run(main())
        """
    )
    sent, reasons, growth = found
    assert sent > 2**20
    assert growth <= 64
    assert "sends pings and reads no answers" in reasons[0]


async def test_s02_pings_whose_pongs_are_read_are_answered() -> None:
    """A peer may ping as much as it likes, as long as it takes the answers."""
    async with Server() as server, rxws.connect(server.url) as ws:
        session = await server.connection(1)
        for _ in range(40):
            session.write_bytes((b"\x89\x7d" + b"x" * 125) * 1000)
            await session.connection.writable()
            await asyncio.sleep(0)
        stream = ws.stream_filter()
        await session.send("1")
        assert await anext(stream) == 1
        assert ws.stats().reconnects == 0


async def test_s03_half_a_frame() -> None:
    """A server that claims 1 MiB and holds back the last byte is replaced, each time."""

    async def script(session: Session) -> None:
        session.write_bytes(b"\x82\x7f" + (2**20).to_bytes(8, "big") + b"x" * (2**20 - 1))

    async with Server(script) as server:
        heartbeat = rxws.Heartbeat(interval=0.3, timeout=0.3)
        backoff = rxws.Backoff(initial=0.01, maximum=0.02)
        async with rxws.connect(server.url, heartbeat=heartbeat, backoff=backoff):
            await server.connection(3, timeout=30)


async def test_s04_redirect_to_another_origin() -> None:
    """A redirect elsewhere is refused, so that no header of ours goes there."""
    async with Server() as server, Server() as other:
        server.answer(Refuse(302, {"Location": f"{other.url}/?token=canarytoken"}))
        headers = {"X-MBX-APIKEY": CANARIES[3], "Authorization": CANARIES[2]}
        with pytest.raises(rxws.ConnectError, match="another origin") as caught:
            await rxws.connect(server.url, additional_headers=headers)
        assert not caught.value.retryable
        assert other.dials == []
        clean(shown(caught.value))


async def test_s04_redirects_within_an_origin_do_not_stick() -> None:
    """A redirect to another path is followed; the next connection starts from the user's URL."""
    async with Server() as server:
        server.answer(Refuse(302, {"Location": "/elsewhere"}))
        async with rxws.connect(f"{server.url}/here", backoff=QUICK):
            session = await server.connection(1)
            assert session.path == "/elsewhere"
            await session.close(1011)
            await server.connection(2)
        assert [dial.path for dial in server.dials] == ["/here", "/elsewhere", "/here"]


NAMES = [
    "Evil\r\nX-Other",
    "with space",
    "",
    "colon:",
    "Sec-WebSocket-Foo",
    "na\u00efve",
    "tab\t",
    "Host",
    "connection",
    "Upgrade",
    "Sec-WebSocket-Key",
    "sec-websocket-protocol",
]


@pytest.mark.parametrize("name", NAMES)
async def test_s05_header_names(name: str) -> None:
    """A header name that is no token, or that the handshake needs, is refused before it is sent."""
    async with Server() as server:
        with pytest.raises(rxws.ConnectError, match="header") as caught:
            await rxws.connect(server.url, additional_headers={name: "value"}, backoff=QUICK)
        assert not caught.value.retryable
        assert server.dials == []
        harmless(str(caught.value))


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"X-Key": "a\r\nEvil: 1"}},
        {"additional_headers": [("X-Key", "a\nEvil: 1")]},
        {"user_agent_header": "a\r\nEvil: 1"},
        {"origin": "http://a\r\nEvil: 1"},
        {"subprotocols": ["a\r\nEvil: 1"]},
    ],
)
async def test_s05_header_values(options: dict[str, Any]) -> None:
    """No value can smuggle a line into the handshake."""
    async with Server() as server:
        with pytest.raises(rxws.ConnectError) as caught:
            await rxws.connect(server.url, backoff=QUICK, **options)
        assert not caught.value.retryable
        assert server.dials == []


async def test_s06_the_debug_log_has_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG the log shows the handshake without its secrets, those that the server sets too."""
    caplog.set_level(logging.DEBUG)

    def set_cookie(connection: Any, request: Any, response: Any) -> None:
        response.headers["Set-Cookie"] = "session=canarycookie; path=/"

    async with Server(process_response=set_cookie) as server:
        url = server.url.replace("ws://", "ws://canaryuser:canarypassword@")
        async with rxws.connect(
            f"{url}/ws?token=canarytoken",
            additional_headers={"X-MBX-APIKEY": "canaryheader", "Cookie": "a=canarycookie"},
        ):
            pass
        assert server.dials[0].headers["X-MBX-APIKEY"] == "canaryheader"
    said = of_client(caplog)
    assert any("set-cookie: ***" in text.lower() for text in said)
    assert any("Sec-WebSocket-Version: 13" in text for text in said)
    clean(*said)
    harmless(*said)


@pytest.mark.parametrize(
    "url",
    [
        "ws://canaryuser:canarypassword@127.0.0.1:70000/?token=canarytoken",
        "ws://canaryuser:canarypass/word@127.0.0.1:9/",
        "http://canaryuser:canarypassword@127.0.0.1:9/?token=canarytoken",
        "ws://127.0.0.1:9/?token=canarytoken#canarytoken",
        "ws://[::bad/?token=canarytoken",
    ],
)
async def test_s07_urls_in_errors(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """However an URL is wrong, neither error, event, log nor repr shows what is secret in it."""
    caplog.set_level(logging.DEBUG)
    events: list[rxws.Event] = []
    ws = rxws.connect(url, backoff=QUICK)
    ws.events.subscribe(events.append)
    with pytest.raises(rxws.ConnectError) as caught:
        await ws
    errors = [e for event in events if (e := getattr(event, "error", None)) is not None]
    clean(repr(ws), *map(repr, events), *map(shown, [caught.value, *errors]), *of_client(caplog))


@pytest.mark.parametrize(
    ("url", "headers", "expected"),
    [
        ("ws://feed.example/", ["Authorization"], "feed.example"),
        ("ws://feed.example:8080/", ["x-other", "COOKIE"], "feed.example"),
        ("ws://user:secret@feed.example/", [], "feed.example"),
        ("ws://192.0.2.1/", ["Authorization"], "192.0.2.1"),
        ("ws://feed.example/", ["X-Other"], ""),
        ("wss://user:secret@feed.example/", ["Authorization"], ""),
        ("ws://user:secret@localhost/", [], ""),
        ("ws://user:secret@127.9.9.9/", [], ""),
        ("ws://user:secret@[::1]:80/", [], ""),
        ("ws://user:secret@[::bad/", [], ""),
    ],
)
def test_s08_who_can_listen(url: str, headers: list[str], expected: str) -> None:
    """Credentials can be heard on ws:// to another machine, and nowhere else."""
    assert listeners(url, headers) == expected


async def test_s08_credentials_in_clear_text_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Credentials on ws:// to another machine are warned of once, without showing them."""
    caplog.set_level(logging.WARNING)
    async with Server() as server:
        where = {"host": "127.0.0.1", "port": server.port, "backoff": QUICK}
        url = f"ws://canaryuser:canarypassword@feed.example:{server.port}/"
        async with rxws.connect(url, **where) as ws:
            await server.connections[-1].close(1011)
            await server.wait(lambda: ws.stats().reconnects == 1)
        async with rxws.connect(url.replace("feed.example", "localhost"), **where):
            pass
        said = [text for text in of_client(caplog) if "clear text" in text]
        assert len(said) == 1
        assert "feed.example" in said[0]
        clean(*said)


def test_s08_certificates_are_verified_by_nothing_but_a_context() -> None:
    """There is no option that turns verification off in passing."""
    assert not {name for name in known_options() if "verif" in name or "insecure" in name}


@asynccontextmanager
async def listening(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[int]:
    """Listen with nothing but TCP; ``talk`` is called after the head of each request."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


async def becomes(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    await News().wait(condition, 30, "what is waited for")


async def head_of(reader: asyncio.StreamReader) -> str:
    """Return the head of a request."""
    return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")


def accepted(head: str, *, upgrade: str = "websocket") -> bytes:
    """Return the answer that accepts a handshake."""
    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    key = lines["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324 -- RFC 6455
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


async def test_s09_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy of the environment is used unless ``proxy=None``, and its password not shown."""
    caplog.set_level(logging.DEBUG)
    asked: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await head_of(reader))
        writer.write(
            b"HTTP/1.1 407 no canarypassword\r\nX-Echo: canarypassword\r\nContent-Length: 0\r\n\r\n"
        )
        await writer.drain()
        await reader.read()

    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with listening(refuse) as port, Server() as server:
        proxy = f"http://canaryuser:canarypassword@127.0.0.1:{port}"
        events: list[rxws.Event] = []
        for option in ({}, {"proxy": proxy}):
            monkeypatch.delenv("http_proxy", raising=False)
            if not option:
                monkeypatch.setenv("http_proxy", proxy)
            ws = rxws.connect(server.url, backoff=QUICK, **option)
            ws.events.subscribe(events.append)
            with pytest.raises(rxws.ConnectError) as caught:
                await ws
            clean(shown(caught.value))
        assert len(asked) >= 2
        assert all(head.startswith(f"CONNECT 127.0.0.1:{server.port}") for head in asked)
        assert server.dials == []
        clean(*map(repr, events), *of_client(caplog))
        monkeypatch.setenv("http_proxy", proxy)
        async with rxws.connect(server.url, proxy=None):
            assert len(server.dials) == 1


def test_s12_secrets_that_are_remembered_are_bounded() -> None:
    """A redactor that learned 5,000 URLs knows 1,000 spellings at most, the newest among them."""
    redactor = Redactor()
    for number in range(5000):
        redactor.learn_url(f"wss://feed.example/ws/listenkey{number:020}", made=True)
    assert len(redactor._secrets) <= 1000
    assert "listenkey" not in redactor.text(f"at /ws/listenkey{4999:020}")


async def test_s12_unique_keys_leave_nothing() -> None:
    """10,000 messages, each with keys of its own, leave nothing behind where nobody waits."""
    async with Server() as server, rxws.connect(server.url) as ws:
        replies: Replies[Any] = ws._driver.intake.replies
        got: list[Any] = []
        ws.subscribe(got.append)
        stream = ws.stream_filter([{"id": "nobody"}])
        session = await server.connection(1)
        await session.send_all([json.dumps({f"k{n}": n, "id": f"r{n}"}) for n in range(10_000)])
        await server.wait(lambda: len(got) == 10_000, 20)
        assert ws.stats().backlog == 0
        assert len(replies) == 0
        await stream.close()


async def test_s13_what_follows_the_handshake_is_frames() -> None:
    """Frames in the segment of the 101 arrive; an HTTP response after it is against the protocol.

    So is what comes in its place: nothing of it is delivered.
    """
    turn = iter(["frames", "smuggled", "other protocol", "continue", "frames"])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = next(turn, "frames")
        head = await head_of(reader)
        if kind == "frames":
            writer.write(accepted(head) + b"\x81\x011\x81\x012")
            await writer.drain()
            if not got:
                await becomes(lambda: len(got) == 2)
                return
        elif kind == "smuggled":
            response = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b'"x"' * 333
            writer.write(accepted(head) + response)
        elif kind == "other protocol":
            writer.write(accepted(head, upgrade="other") + b'\x81\x03"x"')
        else:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + accepted(head) + b'\x81\x03"x"')
        await writer.drain()
        await reader.read()

    got: list[Any] = []
    async with listening(talk) as port:
        ws = rxws.connect(
            f"ws://127.0.0.1:{port}/",
            backoff=rxws.Backoff(initial=0.01, maximum=0.02),
            retry=bool,  # an exception is true
        )
        ws.subscribe(got.append)
        async with ws:
            await becomes(lambda: len(got) == 4)
    assert got == [1, 2, 1, 2]


def hostile(place: str, head: str) -> bytes:
    """Return what a hostile server answers, with control characters in one place."""
    said = HOSTILE.encode()
    match place:
        case "close":
            return accepted(head) + bytes([0x88, 2 + len(said)]) + b"\x0f\xa0" + said
        case "phrase":
            forged = b"\x9b2J[CRIT]\x85[CRIT] forged"
            return b"HTTP/1.1 503 " + forged + b"\r\nContent-Length: 0\r\n\r\n"
        case "header":
            return accepted(head, upgrade="\x9b2J\x85[CRIT] forged")
        case _:
            return accepted(head) + bytes([0x81, len(said)]) + said + b"\x88\x00"


@pytest.mark.parametrize("place", ["close", "phrase", "header", "payload", "source"])
async def test_s14_what_a_server_says_forges_nothing(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Control characters of a hostile peer are escaped in logs, events, errors and reprs."""
    caplog.set_level(logging.DEBUG)
    lost: list[BaseException] = []
    turn = iter([1])

    def retry(error: Exception) -> bool:
        lost.append(error)
        return True

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        is_first = next(turn, None) is not None and place != "source"
        writer.write(hostile(place, head) if is_first else accepted(head) + b"\x81\x011")
        await writer.drain()
        await reader.read()

    async with listening(talk) as port:

        def source() -> str:
            if place == "source" and len(lost) == 0:
                raise ConnectionError(HOSTILE)
            return f"ws://127.0.0.1:{port}/"

        backoff = rxws.Backoff(initial=0.01, maximum=0.02)
        ws = rxws.connect(source, backoff=backoff, retry=retry)
        events: list[rxws.Event] = []
        got: list[Any] = []
        ws.events.subscribe(events.append)
        ws.subscribe(got.append)
        async with ws:
            await becomes(lambda: bool(got))
    assert lost
    errors = [e for event in events if (e := getattr(event, "error", None)) is not None]
    harmless(repr(ws), *map(repr, events), *of_client(caplog), lines=True)
    harmless(*[record.getMessage() for record in caplog.records if record.name == "rxws"])
    harmless(*[shown(error) for error in (*lost, *errors)], lines=True)
    reasons = [event.reason for event in events if isinstance(event, rxws.Disconnected | rxws.Gap)]
    harmless(*reasons)
    if place == "close":
        assert "\\n[CRIT]" in reasons[0]


def test_s14_what_is_escaped() -> None:
    """Each character that forges, hides or turns text around is escaped; ordinary text is not."""
    for character in UNSEEN + "\n\r\t\u2060\ud800\udfff":
        assert escape_control(character) == character.encode("unicode_escape").decode()
    text = "Gr\u00fc\u00dfe \u4e16\u754c \u0645\u0631\u062d\u0628\u0627 \U0001f469\u200d\U0001f52c"
    assert escape_control(text) == text
