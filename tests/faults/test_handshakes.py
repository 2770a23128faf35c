"""Handshakes, names and certificates that fail, and what follows (F11, F19-F30b)."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import ipaddress
import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.utils import accept_key

import rxws
from rxws.options import resolve
from rxws.testing import Refuse, Server
from tests.virtual import Log, Peer, turns, until, virtual

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=0.5)
TWICE = rxws.Backoff(initial=0.01, maximum=0.01, attempts=2)
AT_MOST = 10.0  # seconds that anything bounded by an open_timeout of one second may take here

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """Listen with a raw TCP server; its handlers end with the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"ws://{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await turns()


async def first_failure(source: str, **options: Any) -> rxws.ConnectFailed:
    """Return the event of the first attempt that failed; what follows it is not waited for."""
    failed: asyncio.Future[rxws.ConnectFailed] = asyncio.get_running_loop().create_future()

    def look(event: rxws.Event) -> None:
        if isinstance(event, rxws.ConnectFailed) and not failed.done():
            failed.set_result(event)

    ws = rxws.connect(source, **options)
    ws.events.subscribe(look)
    ws.start()
    try:
        async with asyncio.timeout(AT_MOST):
            return await failed
    finally:
        await ws.exit()


# -- F19 to F22: answers other than 101 --------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_f19_refused_for_good(status: int) -> None:
    """401, 403 and 404 are raised at once, after one dial, with the status."""
    async with Server() as server:
        server.answer(*[Refuse(status, {"Retry-After": "0"})] * 5)
        with pytest.raises(rxws.ConnectError, match=str(status)) as caught:
            await rxws.connect(server.url, backoff=QUICK)
        assert not caught.value.retryable
        assert len(server.dials) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        (None, 0, 1),
        ("0", 0, 1),
        ("30", 30, 31),
        ("100000", 600, 601),
        ("in a minute", 0, 1),
        (-3600.0, 0, 1),
        (300.0, 200, 301),
        (90_000.0, 600, 601),
    ],
)
async def test_f20_f21_the_server_says_when(
    status: int, asked: str | float | None, least: float, most: float
) -> None:
    """After 429 and 5xx what Retry-After asks for is waited, in seconds or as a date, and more."""
    if isinstance(asked, float):
        date = dt.datetime.fromtimestamp(time.time() + asked, dt.UTC)
        asked = email.utils.format_datetime(date, usegmt=True)
    async with Server() as server:
        headers: dict[str, str] = {} if asked is None else {"Retry-After": asked}
        server.answer(Refuse(status, headers))
        failed = await first_failure(server.url, backoff=rxws.Backoff(initial=1))
        assert failed.retry_in is not None
        assert least <= failed.retry_in <= most
        assert str(status) in str(failed.error)


@virtual
async def test_f20_a_wall_clock_that_jumps_changes_no_wait() -> None:
    """What was asked for is waited on the monotonic clock."""
    peer = Peer()
    peer.refuse(rxws.ConnectError("503", retry_after=30.0))
    async with rxws.connect("ws://fake", transport=peer):
        assert 30 <= peer.dials[1].time <= 31


@pytest.mark.parametrize(
    "answer",
    [
        Refuse(200, {"Content-Type": "text/html"}, "<html>Log in to the hotel's wifi</html>"),
        Refuse(418),
        Refuse(302),
    ],
)
@pytest.mark.parametrize("live_before", [False, True])
async def test_f22_answers_of_somebody_else_are_retried(
    *, answer: Refuse, live_before: bool
) -> None:
    """200 and 418 (a captive portal) are retried by the backoff, on the first connect too.

    The catalogue of faults would have them fatal on the first connect. The contract names what
    is fatal (401, 403, 404, ...) and retries everything else; so it is here.
    """
    async with Server() as server:
        ws = rxws.connect(server.url, backoff=QUICK)
        if not live_before:
            server.answer(answer, answer)
        async with ws:
            if live_before:
                server.answer(answer, answer)
                (await server.connection(1)).abort()
                await server.connection(2)
            assert len(server.dials) == (4 if live_before else 3)


UPGRADED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
        "",
        "Sec-WebSocket-Protocol: unheard-of\r\n",
        "Sec-WebSocket-Extensions: x-unheard-of\r\n",
    ],
)
async def test_f22_a_botched_upgrade_is_retried(headers: str) -> None:
    """A wrong accept key, or something that nobody offered, fails the attempt; it is retried.

    Fatal in the catalogue of faults; "everything else is retried" in the contract, as above.
    """

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        text = headers
        if "Accept" not in headers and headers:
            key = next(x[19:] for x in request.split("\r\n") if x.startswith("Sec-WebSocket-Key: "))
            text += f"Sec-WebSocket-Accept: {accept_key(key)}\r\n"
        writer.write(f"{UPGRADED}{text}\r\n".encode())
        await reader.read()

    async with listening(handler) as url:
        with pytest.raises(rxws.RetriesExhausted) as caught:
            async with asyncio.timeout(AT_MOST):
                await rxws.connect(url, backoff=TWICE)
        assert caught.value.attempts == 2


# -- F23: redirects ----------------------------------------------------------------------------


async def test_f23_a_loop_of_redirects_is_bounded() -> None:
    """Redirects in a circle are followed a few times; then the attempt has failed."""
    async with Server() as server:
        server.answer(*[Refuse(302, {"Location": f"/{n % 2}"}) for n in range(1000)])
        with pytest.raises(rxws.RetriesExhausted, match="redirects"):
            await rxws.connect(server.url, backoff=TWICE)
        assert 2 <= len(server.dials) <= 40


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_f23_a_redirect_within_the_origin_is_never_sticky(status: int) -> None:
    """It is followed with our headers, and the next connection asks the user's URL again."""
    async with Server() as server:
        options: Any = {"additional_headers": {"X-Key": "k"}, "backoff": QUICK}
        server.answer(Refuse(status, {"Location": "/there1?x=1"}))
        async with rxws.connect(f"{server.url}/here", **options):
            for number in (1, 2, 3):
                session = await server.connection(number)
                assert session.path == f"/there{number}?x=1"
                server.answer(Refuse(status, {"Location": f"/there{number + 1}?x=1"}))
                session.abort()
            await server.connection(4)
        paths = [path for n in (1, 2, 3, 4) for path in ("/here", f"/there{n}?x=1")]
        assert [dial.path for dial in server.dials] == paths
        assert all(dial.headers["X-Key"] == "k" for dial in server.dials)


async def test_f23_a_redirect_to_another_origin_is_refused(tmp_path: Path) -> None:
    """Another host, port or scheme is fatal, and nothing is sent there."""
    trusting = certified(tmp_path)
    async with Server() as other, Server() as plain, Server(ssl=trusting.server) as secure:
        headers = {"X-MBX-APIKEY": "canary", "Authorization": "Bearer canary"}
        for server, ssl_option, location in (
            (plain, {}, f"ws://127.0.0.1:{other.port}/"),
            (plain, {}, f"ws://localhost:{plain.port}/"),
            (plain, {}, f"http://127.0.0.1:{other.port}/"),
            (plain, {}, "//example.invalid/"),
            (secure, {"ssl": trusting.client}, f"ws://127.0.0.1:{secure.port}/"),
            (secure, {"ssl": trusting.client}, f"http://127.0.0.1:{secure.port}/"),
        ):
            server.answer(Refuse(302, {"Location": location}))
            options: Any = {"additional_headers": headers, **ssl_option}
            with pytest.raises(rxws.ConnectError, match="another origin") as caught:
                await rxws.connect(server.url, **options)
            assert not caught.value.retryable
        assert other.dials == []
        assert len(plain.dials) == 4
        assert len(secure.dials) == 2


# -- F24 to F26: servers that don't come to the point ------------------------------------------


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing at all."""
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say everything, a byte at a time."""
    for byte in f"{UPGRADED}X: {'x' * 10_000}\r\n".encode():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Fail, and never finish saying why."""
    writer.write(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    while True:
        writer.write(b"sorry\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def half_a_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin a header of nine kilobytes, and hold the socket."""
    writer.write(f"{UPGRADED}X: {'x' * 9000}".encode())
    await reader.read()
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("handler", "answered"),
    [(silence, False), (drip, True), (endless_body, True), (half_a_header, True)],
)
async def test_f24_a_handshake_is_bounded(*, handler: Handler, answered: bool) -> None:
    """It fails after open_timeout, and the error says whether the server had said anything."""
    async with listening(handler) as url:
        failed = await first_failure(url, open_timeout=1)
        text = str(failed.error)
        assert "open_timeout=1" in text
        assert ("the server answered but" in text) is answered
        assert failed.retry_in is not None


@pytest.mark.parametrize(
    "head",
    [
        f"{UPGRADED}X: {'x' * 9000}\r\n\r\n",
        UPGRADED + "X: x\r\n" * 200 + "\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "x" * 70_000,
    ],
    ids=["9 kB header", "200 headers", "not HTTP", "no end"],
)
async def test_f24_an_answer_that_is_none_is_told_at_once(head: str) -> None:
    """What can't be understood fails the attempt though the socket is held, with the cause."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode())
        await reader.read()
        await asyncio.sleep(60)

    async with listening(handler) as url:
        failed = await first_failure(url, open_timeout=60)
        assert isinstance(failed.error, rxws.ConnectError)
        assert failed.error.cause is not None
        assert failed.retry_in is not None


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept, and close."""
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the request, and reset the connection."""
    await reader.readuntil(b"\r\n\r\n")
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("handler", [hang_up, reset])
async def test_f25_accepting_alone_does_not_reset_the_backoff(handler: Handler) -> None:
    """A server that accepts and ends before its answer is retried, with delays that grow."""
    async with listening(handler) as url:
        backoff = rxws.Backoff(initial=0.01, maximum=0.08, attempts=6)
        checked, _ = resolve({"backoff": backoff}, random=lambda: 1.0)
        ws: rxws.ReactiveWebSocket[Any] = rxws.ReactiveWebSocket(url, checked, None)
        events = Log()
        ws.events.subscribe(events)
        with pytest.raises(rxws.RetriesExhausted):
            await ws
        failed = [e.retry_in for e in events.items if isinstance(e, rxws.ConnectFailed)]
        assert failed == [0.01, 0.02, 0.04, 0.08, 0.08, None]


@contextmanager
def blackhole() -> Iterator[int]:
    """Give a port of the loopback interface that answers no SYN: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


async def test_f26_an_address_that_swallows_everything_is_bounded() -> None:
    """A host that doesn't even answer the SYN costs open_timeout, then it is retried."""
    with blackhole() as port:
        failed = await first_failure(f"ws://127.0.0.1:{port}", open_timeout=1)
        assert "open_timeout=1" in str(failed.error)
        assert "answered" not in str(failed.error)
        assert failed.retry_in is not None


# -- F11, F27, F28: names ----------------------------------------------------------------------


def answering(*addresses: tuple[str, int]) -> Callable[..., list[Any]]:
    """Return a stand-in for ``socket.getaddrinfo``."""

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_STREAM, 6, "", (to, at))
            for to, at in addresses
        ]

    return getaddrinfo


@pytest.mark.parametrize("dead", ["closed", "swallows everything"])
async def test_f11_a_dead_first_address_costs_little(
    dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the first address of a name is dead, the next one is connected in the same attempt."""
    async with Server() as server:
        with blackhole() as port:
            first = ("::1", server.port) if dead == "closed" else ("127.0.0.1", port)
            found = answering(first, ("127.0.0.1", server.port))
            monkeypatch.setattr(socket, "getaddrinfo", found)
            ws = rxws.connect(f"ws://feed.example:{server.port}/", backoff=QUICK, proxy=None)
            events = Log()
            ws.events.subscribe(events)
            async with asyncio.timeout(AT_MOST), ws:
                session = await server.connection(1)
                assert session.headers["Host"] == f"feed.example:{server.port}"
            assert not any(isinstance(event, rxws.ConnectFailed) for event in events.items)
            assert server.accepted == 1


async def test_f11_all_addresses_dead_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every address refuses, the attempt fails with what each of them said."""
    async with Server() as server:
        await server.stop()
        found = answering(("127.0.0.1", server.port), ("127.0.0.2", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", found)
        failed = await first_failure("ws://feed.example", proxy=None)
        assert "127.0.0.1" in str(failed.error)
        assert "127.0.0.2" in str(failed.error)


@pytest.mark.parametrize("error", [socket.EAI_NONAME, socket.EAI_AGAIN])
async def test_f27_an_unknown_name_is_retried(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has no address now may have one later: it is retried, and each try is told."""
    asked: list[str] = []
    async with Server() as server:
        known = answering(("127.0.0.1", server.port))

        def getaddrinfo(host: str, *args: Any, **options: Any) -> list[Any]:
            asked.append(host)
            if len(asked) < 4:
                raise socket.gaierror(error, "Name or service not known")
            return known(host, *args)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        ws = rxws.connect(f"ws://feed.example:{server.port}", backoff=QUICK, proxy=None)
        events = Log()
        ws.events.subscribe(events)
        async with ws:
            assert asked == ["feed.example"] * 4
        failed = [e for e in events.items if isinstance(e, rxws.ConnectFailed)]
        assert len(failed) == 3
        assert all("Name or service not known" in str(event.error) for event in failed)


class HangingNames:
    """A stand-in for ``socket.getaddrinfo`` that takes its time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.begun = threading.Event()
        self.answer = threading.Event()

    def __call__(self, host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        self.asked.append(host)
        self.begun.set()
        if not self.answer.wait(60):
            raise AssertionError("nobody answered")
        return answering(("127.0.0.1", port))(host, port)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingNames]:
    """Let lookups hang until the test, or its end, answers them."""
    hanging = HangingNames()
    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    yield hanging
    hanging.answer.set()


async def test_f28_lookups_that_hang_do_not_pile_up(names: HangingNames) -> None:
    """Attempts that time out one after another share one lookup, and its answer serves the next."""
    async with Server() as server:
        ws = rxws.connect(
            f"ws://feed.example:{server.port}", open_timeout=0.05, backoff=QUICK, proxy=None
        )
        events = Log()
        ws.events.subscribe(events)
        entering = asyncio.ensure_future(ws)
        try:
            await server.wait(
                lambda: sum(isinstance(e, rxws.ConnectFailed) for e in events.items) >= 5
            )
            assert names.asked == ["feed.example"]
            failed = next(e for e in events.items if isinstance(e, rxws.ConnectFailed))
            assert "open_timeout=0.05" in str(failed.error)
        finally:
            names.answer.set()
        await server.wait(lambda: server.accepted >= 1, AT_MOST)
        entering.cancel()
        await asyncio.wait([entering])
        await ws.exit()


async def test_f28_exit_does_not_wait_for_a_lookup(names: HangingNames) -> None:
    """Exit ends while the system still looks for an address; only the thread stays till then."""
    ws = rxws.connect("ws://feed.example", exit_timeout=0.5, proxy=None)
    ws.start()
    try:
        async with asyncio.timeout(AT_MOST):
            await asyncio.to_thread(names.begun.wait)
            await ws.exit()
        assert ws.state is rxws.State.CLOSED
        assert asyncio.all_tasks() == {asyncio.current_task()}
    finally:
        names.answer.set()


# -- F29, F30a: TLS ----------------------------------------------------------------------------


class certified:  # noqa: N801 (reads as what it makes)
    """A certificate for 127.0.0.1 with its key, and the contexts of who has and who trusts it."""

    def __init__(
        self, folder: Path, *, host: str = "127.0.0.1", days: tuple[int, int] = (-1, 1)
    ) -> None:
        path = folder / "certificate.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rxws test")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(path)
        self.client = ssl.create_default_context(cafile=str(path))


@pytest.mark.parametrize(
    ("flaw", "certificate", "text"),
    [
        ("self-signed", {}, "self-signed"),
        ("expired", {"days": (-20, -10)}, "expired"),
        ("not valid yet", {"days": (10, 20)}, "not yet valid"),
        ("wrong host", {"host": "127.0.0.9"}, "127.0.0.1"),
    ],
)
async def test_f29_a_certificate_that_cannot_be_verified_is_fatal(
    flaw: str, certificate: Any, text: str, tmp_path: Path, loop_errors: list[Any]
) -> None:
    """Whatever is wrong with a certificate is raised at once: no retry, no weaker way."""
    identity = certified(tmp_path, **certificate)
    async with Server(ssl=identity.server) as server:
        options: Any = {} if flaw == "self-signed" else {"ssl": identity.client}
        with pytest.raises(rxws.ConnectError, match=text) as caught:
            async with asyncio.timeout(AT_MOST):
                await rxws.connect(server.url, backoff=QUICK, **options)
        assert not caught.value.retryable
        assert isinstance(caught.value.cause, ssl.SSLCertVerificationError)
        assert server.dials == []
    assert all(isinstance(report["exception"], OSError) for report in loop_errors)  # the server's


async def test_f29_a_certificate_that_changes_for_the_worse_ends_it(
    tmp_path: Path, loop_errors: list[Any]
) -> None:
    """After it worked, too, a certificate that can't be verified is the end, told to everybody."""
    (tmp_path / "bad").mkdir()
    good, bad = certified(tmp_path), certified(tmp_path / "bad")
    async with Server(ssl=good.server) as server:
        log = Log()
        ws = rxws.connect(server.url, backoff=QUICK, ssl=good.client)
        ws.subscribe(log)
        async with ws:
            good.server.load_cert_chain(tmp_path / "bad" / "certificate.pem")
            (await server.connection(1)).abort()
            await server.wait(lambda: log.ends)
        (error,) = log.ends
        assert isinstance(error, rxws.ConnectError)
        assert not error.retryable
        assert len(server.dials) == 1
    assert bad.server is not None
    assert all(isinstance(report["exception"], OSError) for report in loop_errors)


async def test_f30a_tls_to_a_port_that_says_nothing_is_bounded() -> None:
    """A server that is silent during the TLS handshake costs open_timeout, then it is retried."""
    async with listening(silence) as url:
        failed = await first_failure(url.replace("ws://", "wss://"), open_timeout=1)
        assert "open_timeout=1" in str(failed.error)
        assert failed.retry_in is not None


async def test_f30a_tls_to_a_port_without_it_is_retried() -> None:
    """A server that answers the TLS handshake in plain HTTP fails the attempt; it is retried."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await reader.read()

    async with listening(handler) as url:
        failed = await first_failure(url.replace("ws://", "wss://"), open_timeout=5)
        assert isinstance(failed.error, rxws.ConnectError)
        assert isinstance(failed.error.cause, ssl.SSLError)
        assert failed.retry_in is not None


# -- F30b: open, but not ready -----------------------------------------------------------------


async def ask(opening: rxws.Opening) -> None:
    """Log in, and wait for the answer."""
    await opening.send({"login": 1})
    if await opening.recv() != {"ok": 1}:
        raise PermissionError("the server refused the login")


@virtual
async def test_f30b_without_its_acknowledgement_a_connection_is_not_ready() -> None:
    """While the answer to ``on_open`` does not come there is no Connected; it is tried again."""
    peer = Peer()
    ws = rxws.connect("ws://fake", transport=peer, on_open=ask, ready_timeout=7)
    events = Log()
    ws.events.subscribe(events)
    entering = asyncio.ensure_future(ws)
    await until(ws, rxws.ConnectFailed)
    assert [type(event) for event in events.items] == [rxws.Connecting, rxws.ConnectFailed]
    assert "ready_timeout=7" in str(events.items[1].error)
    assert asyncio.get_running_loop().time() == pytest.approx(7)
    assert not entering.done()
    assert peer.open_links == []

    await until(ws, rxws.Connecting)
    await turns()
    peer.deliver({"ok": 0})  # refused
    await until(ws, rxws.ConnectFailed)
    assert "refused the login" in str(events.items[-1].error)
    await until(ws, rxws.Connecting)
    await turns()
    peer.deliver({"ok": 1})
    await entering
    assert ws.state is rxws.State.OPEN
    assert len(peer.links) == 3
    await ws.exit()


@virtual
async def test_f30b_subscriptions_that_cannot_be_sent_are_bounded() -> None:
    """A server that takes no subscription within ready_timeout is as good as one that failed."""
    peer = Peer()

    async def stall(opening: rxws.Opening) -> None:
        if len(peer.links) == 1:
            peer.last.stall()

    options: Any = {"on_open": stall, "subscribe": [{"sub": 1}], "ready_timeout": 3}
    async with rxws.connect("ws://fake", transport=peer, **options):
        assert len(peer.links) == 2
        assert peer.links[0].sent == []
        assert peer.sent(2) == [{"sub": 1}]
        assert 3 <= peer.dials[1].time <= 4


@virtual
async def test_f30b_a_successor_that_is_not_ready_takes_nothing_over() -> None:
    """A rotation to a connection whose acknowledgement never comes fails, and is tried again."""
    peer = Peer()
    answers = [True, False, False, True]

    async def on_open(opening: rxws.Opening) -> None:
        if not answers.pop(0):
            await opening.recv()

    handover = rxws.MakeBeforeBreak(overlap=1)
    options: Any = {"on_open": on_open, "ready_timeout": 5, "handover": handover}
    async with rxws.connect("ws://fake", transport=peer, **options) as ws:
        log, events = Log(), Log()
        ws.subscribe(log)
        ws.events.subscribe(events)
        ws.rotate()
        numbers = itertools.count()
        while not any(isinstance(event, rxws.Rotated) for event in events.items):
            peer.links[0].deliver(str(next(numbers)))
            await asyncio.sleep(1)
        failed = [e for e in events.items if isinstance(e, rxws.RotationFailed)]
        assert len(failed) == 2
        assert all("ready_timeout=5" in str(event.error) for event in failed)
        assert log.items == list(range(next(numbers)))
        assert not any(isinstance(event, rxws.Gap) for event in events.items)
        assert len(peer.links) == 4
