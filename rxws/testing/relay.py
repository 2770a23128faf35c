"""A relay before any server, for the faults that only a network has."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

from rxws.testing.relayed import Entry, RelayConnection
from rxws.testing.server import _bind
from rxws.testing.toxics import Direction, Timeout, Toxic
from rxws.testing.waiting import News

__all__ = ["Relay"]

T = TypeVar("T")
ToxicT = TypeVar("ToxicT", bound=Toxic)

_HOST = "127.0.0.1"
_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
# Seconds for the end of all connections, each of which takes a few turns of the loop.
_GRACE = 10.0
# Seconds that are not none, which would need no timer.
_SHORTEST = 1e-6
_STALL = Timeout()


class Relay:
    """A TCP relay on the loopback interface, with faults on command, before any server.

    ::

        async with Relay(server.url) as relay:
            ...connect to relay.url...
            slow = relay.add(Latency(0.1, jitter=0.02))
            relay.remove(slow)
            relay.stall()   # a black hole, which loses nothing
            relay.heal()
            relay.reset()

    What it does it does to the bytes as they are: TLS goes through untouched, and so does the
    half of a connection that one side has ended. It reads no more than it can get rid of, so
    that the flow control of TCP works through it. A server that can't be reached is a reset of
    the connection. Leaving the block ends all connections at once.

    Parameters:
        url: of the server, as in ``wss://host/path`` or ``tcp://host:port``; only the host and
            the port matter here. A certificate is still that of the server: a client has to ask
            for its name, as by the option ``server_hostname`` of `rxws.connect`.
        seed: of all randomness.

    Raises:
        ValueError: for a URL without a host, or without a port that is known.
    """

    def __init__(self, url: str, *, seed: int = 0) -> None:
        self._parts = urlsplit(url)
        host, port = self._parts.hostname, self._parts.port or _PORTS.get(self._parts.scheme)
        if host is None or port is None:
            raise ValueError(f"neither host nor port may be missing: {url}")
        self._target = (host, port)
        self._seed = seed
        self._port = 0
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._left = False
        self._accepted = 0
        self._entries: list[Entry] = []
        self._connections: dict[int, RelayConnection] = {}
        self._news = News()

    async def __aenter__(self) -> Self:
        try:
            await self.up()
        except BaseException:
            # Cancelled, that is, when nobody has heard of the port.
            if self._server is not None:
                self._server.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left = True
        try:
            await self._stop_listening()
        finally:
            if self._socket is not None:
                self._socket.close()
            for connection in list(self._connections.values()):
                connection._abort()
        await self._news.wait(lambda: not self._connections, _GRACE, "the end of the relay")

    async def up(self) -> None:
        """Accept connections again, after `down`."""
        if self._server is None:
            sock, self._socket = self._socket or _bind(self._port), None
            self._port = sock.getsockname()[1]
            loop = asyncio.get_running_loop()
            # In two steps: a server whose making is cancelled while it listens is never closed.
            self._server = await loop.create_server(self._accept, sock=sock, start_serving=False)
            await self._server.start_serving()

    async def down(self) -> None:
        """Refuse connections, until `up`. Those that are open stay: `cut` ends them."""
        if self._server is not None:
            await self._stop_listening()
            # The next turn, in which uvloop closes a listener.
            await asyncio.sleep(0)
            # Bound, but not listening, the port refuses, and nobody else is given it.
            self._socket = _bind(self._port)

    @property
    def port(self) -> int:
        """The port that it listens on, the same after `down` and `up`; 0 before it has started."""
        return self._port

    @property
    def url(self) -> str:
        """Where to connect to: the URL of the server with another host and port."""
        user, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{user}{at}{_HOST}:{self._port}").geturl()

    @property
    def connections(self) -> list[RelayConnection]:
        """The open connections, in the order in which they were accepted."""
        return [each for each in self._connections.values() if each.is_open]

    @property
    def accepted(self) -> int:
        """How many connections were accepted in all."""
        return self._accepted

    @property
    def toxics(self) -> list[Toxic]:
        """The toxics at work, in the order in which bytes pass them."""
        return [toxic for toxic, _ in self._entries]

    def add(self, toxic: ToxicT, *, stream: Direction = "both") -> ToxicT:
        """Let a toxic work on all connections, open ones and those to come, after the others.

        Parameters:
            stream: ``"upstream"`` is what clients send, ``"downstream"`` what the server sends.

        Returns:
            the toxic, for `remove`.
        """
        if stream not in ("upstream", "downstream", "both"):
            raise ValueError(f"unknown stream: {stream!r}")
        self._entries.append((toxic, stream))
        for connection in self.connections:
            connection._add(toxic, stream)
        return toxic

    def remove(self, toxic: Toxic) -> None:
        """Take out a toxic, and all that equal it; what they held goes on at once.

        Raises:
            ValueError: when there is none.
        """
        if toxic not in self.toxics:
            raise ValueError(f"not at work: {toxic}")
        self._entries = [entry for entry in self._entries if entry[0] != toxic]
        for connection in self.connections:
            connection._remove(toxic)

    def clear(self) -> None:
        """Take out all toxics."""
        while self._entries:
            self.remove(self._entries[0][0])

    def stall(self) -> None:
        """Let nothing through either way, as ``add(Timeout(0))`` does; once is enough."""
        if _STALL not in self.toxics:
            self.add(_STALL)

    def heal(self) -> None:
        """Undo `stall`: what waited goes on, and nothing was lost."""
        if _STALL in self.toxics:
            self.remove(_STALL)

    def cut(self) -> None:
        """End all connections without a Close frame, by FIN; what is under way is lost."""
        for connection in self.connections:
            connection.cut()

    def reset(self) -> None:
        """End all connections by RST; what is under way is lost."""
        for connection in self.connections:
            connection.reset()

    async def wait(
        self, predicate: Callable[[], T], timeout: float = 30.0, *, what: str = "the condition"
    ) -> T:
        """Wait until ``predicate`` returns something true, and return that.

        It is called whenever a connection came or went, and every 10 ms besides.

        Raises:
            TimeoutError: naming ``what``, after ``timeout`` seconds.
        """
        return await self._news.wait(predicate, timeout, what)

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            try:
                # A connection is accepted in two turns of asyncio's loop, and fails with a report
                # when its listener closes in between. Who wakes by a timer, which is looked at
                # after the sockets, is between the last turn of the old and the first of the new.
                await asyncio.sleep(_SHORTEST)
            finally:
                server.close()

    def _accept(self) -> asyncio.BaseProtocol:
        self._accepted += 1
        number = self._accepted
        connection = RelayConnection(number, self._target, self._entries, self._seed, self._gone)
        self._connections[number] = connection
        if self._left:
            # By uvloop, which closes a listener in its next turn.
            connection._abort()
        self._news.tell()
        return connection._client

    def _gone(self, connection: RelayConnection) -> None:
        self._connections.pop(connection.number, None)
        self._news.tell()
