"""Host names to addresses, and addresses to a socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from rxws.net.addresses import Address, Lookups, open_socket

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Address, list[str]]]:
    """Listen on a free port; the list has the peers that were accepted."""
    accepted: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(str(writer.get_extra_info("peername")))
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield (socket.AF_INET, server.sockets[0].getsockname()), accepted
    finally:
        server.close()
        await asyncio.sleep(0.01)


@contextmanager
def refusing() -> Iterator[Address]:
    """Give an address that refuses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield (socket.AF_INET, bound.getsockname())


class Connects:
    """Stands in for the loop's ``sock_connect``: a test decides what becomes of each address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        self.sockets: list[socket.socket] = []
        self.outcomes: dict[str, asyncio.Future[None]] = {}
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", self.connect)

    async def connect(self, sock: socket.socket, address: Any) -> None:
        self.tried.append(address[0])
        self.sockets.append(sock)
        future = asyncio.get_running_loop().create_future()
        await self.outcomes.setdefault(address[0], future)

    def settle(self, host: str, error: OSError | None = None) -> None:
        future = self.outcomes.setdefault(host, asyncio.get_running_loop().create_future())
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    @property
    def open_ones(self) -> int:
        return sum(sock.fileno() >= 0 for sock in self.sockets)


def v4(*hosts: str) -> list[Address]:
    """Return addresses of the older family."""
    return [(socket.AF_INET, (host, 80)) for host in hosts]


def v6(*hosts: str) -> list[Address]:
    """Return addresses of the newer family."""
    return [(socket.AF_INET6, (host, 80, 0, 0)) for host in hosts]


async def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are tried in their order, one of each family after the other."""
    connects = Connects(monkeypatch)
    for host in ("a", "b", "c", "x", "y"):
        connects.settle(host, OSError(f"{host} refuses"))
    with pytest.raises(OSError, match="a refuses; x refuses; b refuses; y refuses; c refuses"):
        await open_socket([*v6("a", "b", "c"), *v4("x", "y")], delay=60)
    assert connects.open_ones == 0


async def test_the_next_one_is_tried_besides_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the delay the next address is tried too; the first that answers is taken."""
    connects = Connects(monkeypatch)
    connects.settle("c")
    sock = await open_socket(v4("a", "b", "c", "d"), delay=0.01)
    assert connects.tried == ["a", "b", "c"]
    assert sock is connects.sockets[2]
    assert connects.open_ones == 1
    sock.close()


async def test_only_one_of_two_that_answer_together_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When two addresses answer at the same time, the socket of one of them is closed."""
    connects = Connects(monkeypatch)
    opening = asyncio.ensure_future(open_socket(v4("a", "b"), delay=0.001))
    while len(connects.tried) < 2:  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0.001)
    for outcome in connects.outcomes.values():
        outcome.set_result(None)
    sock = await opening
    assert connects.open_ones == 1
    sock.close()


@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_it_leaves_no_socket(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled at any moment, also while the others are being given up, it closes everything."""
    connects = Connects(monkeypatch)
    opening = asyncio.ensure_future(open_socket(v4("a", "b"), delay=0))
    while len(connects.tried) < 2:  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0)
    if turns:
        connects.outcomes["b"].set_result(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    try:
        (await opening).close()
    except asyncio.CancelledError:
        await asyncio.sleep(0.001)
    assert connects.open_ones == 0


async def test_real_sockets() -> None:
    """An address that refuses is passed over; one that accepts is connected once."""
    async with listening() as (address, accepted):
        with refusing() as dead:
            sock = await open_socket([dead, address], delay=60)
        assert sock.getpeername() == address[1]
        sock.close()
    assert len(accepted) == 1


async def test_no_address() -> None:
    """A host without any address is an error of the network like any other."""
    with pytest.raises(OSError, match="no address"):
        await open_socket([], delay=1)


@pytest.mark.parametrize(
    ("host", "family"), [("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6)]
)
async def test_an_address_that_is_written_out_is_not_looked_up(
    host: str, family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is an address needs no lookup, and no thread."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up"))
    assert await Lookups().find(host, 80) == [(family, (host, 80))]


async def test_one_lookup_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks while a lookup is under way joins it, though who began it was cancelled."""
    asked: list[str] = []
    answer = threading.Event()

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        assert answer.wait(60)
        if host == "nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return FOUND

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    lookups = Lookups()
    hosts = ["a.example", "nowhere.example"] * 3
    tasks = [asyncio.ensure_future(lookups.find(host, 80)) for host in hosts]
    await asyncio.sleep(0)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.wait(tasks[:2])
    answer.set()
    found = await asyncio.gather(*tasks[2:], return_exceptions=True)
    assert sorted(asked) == ["a.example", "nowhere.example"]
    assert found[0] == found[2] == [(socket.AF_INET, ("192.0.2.1", 80))]
    assert all(isinstance(error, socket.gaierror) for error in found[1::2])
    # What was answered is not remembered: names change.
    assert await lookups.find("a.example", 80)
    assert asked.count("a.example") == 2


def test_a_lookup_of_another_loop_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new event loop a new lookup is made, whatever became of the old loop's."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: FOUND)
    lookups = Lookups()

    async def abandon() -> None:
        task = asyncio.ensure_future(lookups.find("a.example", 80))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(abandon())
    assert asyncio.run(lookups.find("a.example", 80))
