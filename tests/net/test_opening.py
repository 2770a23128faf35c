"""Where connections come from: URLs, functions, connections opened by others, redirects."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from typing import Any

import picows.websockets
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import rxws
from rxws.testing import Refuse, Server

QUICK = rxws.Backoff(initial=0.02, maximum=0.1, stable=0.5)


async def test_function_is_called_anew_for_every_connection() -> None:
    """A function, or coroutine function, that returns a URL is asked for each connection."""
    async with Server() as server:
        made: list[str] = []

        def plain() -> str:
            made.append(f"{server.url}/plain{len(made)}")
            return made[-1]

        async def coroutine() -> str:
            await asyncio.sleep(0)
            return plain()

        for source in (plain, coroutine):
            made.clear()
            already = server.accepted
            async with rxws.connect(source, backoff=QUICK):
                session = await server.connection(already + 1)
                assert session.path.endswith("plain0")
                await session.close(1000)
                session = await server.connection(already + 2)
                assert session.path.endswith("plain1")


@pytest.mark.parametrize("open_one", [websockets.connect, picows.websockets.connect])
async def test_connections_opened_by_others(open_one: Any) -> None:
    """An open connection, of websockets or of the same shape, is read, written, replaced."""
    async with Server() as server:

        async def source() -> Any:
            return await open_one(server.url)

        ws = rxws.connect(
            source,
            backoff=QUICK,
            key=lambda m: m,
            handover=rxws.MakeBeforeBreak(overlap=0.05, drain=30),
        )
        got: list[Any] = []
        ws.subscribe(got.append)
        async with ws:
            first = await server.connection(1)
            assert await ws.send({"hello": 1}) is rxws.Delivery.SENT
            await server.wait(lambda: first.received == ['{"hello":1}'])
            await first.send_all([str(n) for n in range(100)])
            await server.wait(lambda: len(got) == 100)
            ws.rotate()
            second = await server.connection(2)
            server.broadcast("100")
            await server.wait(lambda: ws.stats().rotations == 1)
            await server.wait(lambda: len(server.connections) == 1)
            second.abort()
            third = await server.connection(3)
            await server.wait(lambda: ws.state is rxws.State.OPEN)
            await third.send("101")
            await server.wait(lambda: len(got) == 102)
        assert got == list(range(102))


async def test_exit_reads_a_foreign_connection_to_its_end() -> None:
    """Exit with a full receive queue of a foreign connection is as quick as any other."""
    async with Server() as server:

        async def source() -> Any:
            return await websockets.connect(server.url, max_queue=4)

        ws = rxws.connect(source, exit_timeout=30)
        stream = ws.stream_filter().buffered(capacity=1, overflow=rxws.Overflow.BLOCK)
        async with ws:
            session = await server.connection(1)
            sending = asyncio.create_task(session.send_all([str(n) for n in range(500)]))
            await server.wait(lambda: ws.stats().backlog > 0)
        await sending
        assert stream is not None
        assert await session.wait_closed() == (1000, "")


@pytest.mark.parametrize("found", [None, 5, object(), b"ws://127.0.0.1/"])
async def test_source_that_returns_nonsense(found: Any) -> None:
    """What is neither URL nor connection is an error at once, which says what to return."""
    with pytest.raises(rxws.ConnectError, match="return a URL or an open connection") as caught:
        await rxws.connect(lambda: found)
    assert not caught.value.retryable


async def test_source_that_raises_is_retried() -> None:
    """A source that raises is a failed attempt like any other."""
    calls = 0

    async with Server() as server:

        def source() -> str:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise KeyError("listenKey")
            return server.url

        events: list[rxws.Event] = []
        ws = rxws.connect(source, backoff=QUICK)
        ws.events.subscribe(events.append)
        async with ws:
            failed = next(event for event in events if isinstance(event, rxws.ConnectFailed))
            assert "KeyError" in str(failed.error)


@pytest.mark.parametrize(
    ("source", "options", "text"),
    [
        ("http://127.0.0.1/", {}, "http"),
        ("ws://", {}, "ws://"),
        ("no url", {}, ""),
        ("ws://127.0.0.1:99999/", {}, ""),
        ("ws://127.0.0.1:9/", {"additional_headers": {"Evil\r\nX": "1"}}, "invalid header name"),
        ("ws://127.0.0.1:9/", {"additional_headers": {"a b": "1"}}, "invalid header name"),
        ("ws://127.0.0.1:9/", {"additional_headers": [("Host", "x")]}, "handshake itself"),
        ("ws://127.0.0.1:9/", {"ssl": True}, "ssl"),
        ("ws://127.0.0.1:9/", {"compression": "zip"}, "compression"),
    ],
)
async def test_what_retrying_cannot_mend(source: str, options: dict[str, Any], text: str) -> None:
    """An invalid URL, header or transport option is raised at once, however often asked."""
    async with asyncio.timeout(30):
        with pytest.raises(rxws.ConnectError) as caught:
            await rxws.connect(source, **options)
    assert not caught.value.retryable
    assert text in str(caught.value)


def test_unknown_options_are_refused_with_a_hint() -> None:
    """A misspelt option is refused where it is given, with the one that was meant."""
    with pytest.raises(TypeError, match="did you mean 'open_timeout'"):
        rxws.connect("ws://127.0.0.1/", open_timout=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="additional_headers"):
        rxws.connect("ws://127.0.0.1/", aditional_headers={})  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"open_timeout": 0}, ValueError),
        ({"exit_timeout": "1"}, TypeError),
        ({"send_timeout": float("inf")}, ValueError),
        ({"backoff": 3}, TypeError),
        ({"heartbeat": 3}, TypeError),
        ({"handover": None}, TypeError),
        ({"parse": "json"}, TypeError),
        ({"serialize": None}, TypeError),
        ({"subscribe": {"a": 1}}, TypeError),
        ({"subscribe": "text"}, TypeError),
        ({"rotate_on": 5}, TypeError),
        ({"transport": "carrier pigeon"}, ValueError),
        ({"transport": object()}, TypeError),
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """An option that makes no sense is refused where it is given."""
    with pytest.raises(error):
        rxws.connect("ws://127.0.0.1/", **options)


def test_source_of_the_wrong_type_is_refused() -> None:
    """A source that is neither a URL nor a function is refused where it is given."""
    with pytest.raises(TypeError, match="give a URL"):
        rxws.connect(5)  # type: ignore[call-overload]


async def test_redirect_on_the_same_origin_is_followed_each_time_anew() -> None:
    """A redirect within the origin is followed, and the next connection starts from our URL."""
    async with Server() as server:
        server.answer(Refuse(302, {"Location": "/there"}))
        async with rxws.connect(f"{server.url}/here", backoff=QUICK):
            session = await server.connection(1)
            assert session.path == "/there"
            await session.close()
            assert (await server.connection(2)).path == "/here"


async def test_redirect_to_another_origin_never_sees_our_headers() -> None:
    """A redirect to another origin is fatal, and no connection is made there."""
    async with Server() as server, Server() as other:
        for location in (other.url, f"//127.0.0.1:{other.port}/x", "wss://example.invalid/"):
            server.answer(Refuse(307, {"Location": location}))
            with pytest.raises(rxws.ConnectError, match="another origin") as caught:
                await rxws.connect(server.url, additional_headers={"X-MBX-APIKEY": "canary-key"})
            assert not caught.value.retryable
        assert other.dials == []


async def test_retry_after_is_honoured() -> None:
    """A 503 with Retry-After is tried again no sooner than the server asked for."""
    async with Server() as server:
        server.answer(Refuse(503, {"Retry-After": "1"}))
        events: list[rxws.Event] = []
        ws = rxws.connect(server.url, backoff=QUICK)
        ws.events.subscribe(events.append)
        async with ws:
            failed = next(event for event in events if isinstance(event, rxws.ConnectFailed))
            assert failed.retry_in is not None
            assert 1 <= failed.retry_in <= 1.02


async def test_untrusted_certificate_is_fatal(tmp_path: Any, loop_errors: list[Any]) -> None:
    """A certificate that can't be verified is raised at once, never retried in silence."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    make_certificate(tmp_path / "cert.pem")
    context.load_cert_chain(tmp_path / "cert.pem")
    async with Server(ssl=context) as server:
        with pytest.raises(rxws.ConnectError) as caught:
            await rxws.connect(server.url.replace("ws://", "wss://"))
        assert not caught.value.retryable
        trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        async with rxws.connect(server.url.replace("ws://", "wss://"), ssl=trusting) as ws:
            assert await ws.send("secret") is rxws.Delivery.SENT
    assert all(isinstance(report["exception"], OSError) for report in loop_errors)  # the server's


def make_certificate(path: Any) -> None:
    """Write a self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rxws test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
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
