"""One connection of the scripted server, from the server's side."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, cast

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.http11 import Request
from websockets.protocol import State

from rxws.net.transport import Raw
from rxws.testing.feed import frame
from rxws.testing.waiting import News

__all__ = ["Connection", "OnMessage", "Session"]

# Bytes that `Session.send_all` writes at a time.
_CHUNK = 65_536
_CLOSE_TIMEOUT = 1.5


_NONE = range(1, 1)


class Connection(ServerConnection):
    """A websockets connection that tells when it can take more, and can be reset."""

    tcp: asyncio.Transport

    def __init__(self, open_ones: set[Connection], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._open_ones = open_ones
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.tcp = cast("asyncio.Transport", transport)
        self._open_ones.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._open_ones.discard(self)
        self._writable.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writable.clear()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writable.set()

    async def writable(self) -> None:
        """Wait until the peer has taken most of what was written."""
        await self._writable.wait()

    def reset(self) -> None:
        """End the TCP connection at once, by RST instead of FIN."""
        sock = self.tcp.get_extra_info("socket")
        if sock is not None and not self.tcp.is_closing():
            linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.tcp.abort()


class Session:
    """One accepted connection; given to scripts, and found in `Server.connections`.

    Attributes:
        number: counts the accepted connections of the server from 1.
        received: every message that came, in order.
        closed: the ``(code, reason)`` of the peer's Close frame once the connection has ended,
            ``(None, "")`` when there was none; ``None`` before.
        fed: the numbers that the feed of the server has sent here.
    """

    def __init__(
        self,
        number: int,
        request: Request,
        connection: Connection,
        news: News,
        *,
        plain: bool,
    ) -> None:
        self.number = number
        self.received: list[Raw] = []
        self.closed: tuple[int | None, str] | None = None
        self.fed = _NONE
        self._request = request
        self._connection = connection
        self._news = news
        self._plain = plain
        self._taken = 0
        self._error: ConnectionClosed | None = None
        self._held: list[tuple[Sequence[Raw], bytes, range]] = []
        self._moves = asyncio.Event()
        self._moves.set()

    def __repr__(self) -> str:
        return f"<Session {self.number} {self._connection.state.name.lower()}>"

    @property
    def path(self) -> str:
        """The path of the request, with its query."""
        return self._request.path

    @property
    def headers(self) -> Headers:
        """The headers of the request."""
        return self._request.headers

    @property
    def connection(self) -> ServerConnection:
        """The connection object of websockets."""
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether neither side ended the connection or began to."""
        return self.closed is None and self._connection.state is State.OPEN

    @property
    def stalled(self) -> bool:
        """Whether `stall` was called, and not undone."""
        return not self._moves.is_set()

    async def next_message(self, timeout: float = 30.0) -> Raw:
        """Return the next message that this method did not return yet.

        Raises:
            TimeoutError: when none came within ``timeout`` seconds.
            websockets.exceptions.ConnectionClosed: when none can come any more.
        """
        await self._news.wait(
            lambda: len(self.received) > self._taken or self.closed is not None,
            timeout,
            f"a message on connection {self.number}",
        )
        if len(self.received) > self._taken:
            self._taken += 1
            return self.received[self._taken - 1]
        raise self._error or ConnectionClosedError(None, None)

    async def send(self, raw: Raw) -> None:
        """Send one message, waiting while the peer is slower or the session stalled.

        Raises:
            websockets.exceptions.ConnectionClosed: when the connection has ended.
        """
        await self._moves.wait()
        await self._connection.send(raw)

    async def send_all(self, raws: Iterable[Raw]) -> None:
        """Send prepared messages as fast as the peer takes them.

        Raises:
            websockets.exceptions.ConnectionClosed: when the connection ends before the last.
        """
        if not self._plain:
            for raw in raws:
                await self.send(raw)
            return
        chunk = bytearray()
        for raw in raws:
            chunk += frame(raw)
            if len(chunk) >= _CHUNK:
                await self._send_bytes(bytes(chunk))
                chunk.clear()
        await self._send_bytes(bytes(chunk))

    async def _send_bytes(self, data: bytes) -> None:
        await self._moves.wait()
        if not self.is_open:
            # Raises what websockets has to say about the end.
            await self._connection.send(b"")
        self._connection.tcp.write(data)
        await self._connection.writable()
        # The writes of a fast peer never wait: give others a turn.
        await asyncio.sleep(0)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes to the connection as they are: broken frames, half ones, any Close."""
        self._connection.tcp.write(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a Close frame and wait for the end, at most about a second."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._connection.close(code, reason)
        except TimeoutError:
            # The close timeout of websockets does not cover a peer that takes nothing.
            self.abort()

    def kick(self) -> None:
        """End the TCP connection without a Close frame, after what was written."""
        self._connection.tcp.close()

    def abort(self) -> None:
        """Reset the TCP connection: by RST, and what was not sent yet is thrown away."""
        self._connection.reset()

    def stall(self) -> None:
        """Stop reading and answering: pings stay unanswered, and nothing is sent.

        What the server broadcasts meanwhile is held in memory for `unstall`.
        """
        if self.closed is None:
            self._moves.clear()
            self._connection.tcp.pause_reading()

    def unstall(self) -> None:
        """Undo `stall`: what was held is sent, and reading goes on."""
        if self.stalled:
            self._moves.set()
            held, self._held = self._held, []
            for raws, wire, numbers in held:
                self._write(raws, wire, numbers)
            self._connection.tcp.resume_reading()

    async def wait_closed(self, timeout: float = 30.0) -> tuple[int | None, str]:
        """Wait for the end of the connection and return `closed`.

        Raises:
            TimeoutError: when it did not end within ``timeout`` seconds.
        """
        what = f"the end of connection {self.number}"
        await self._news.wait(lambda: self.closed is not None, timeout, what)
        assert self.closed is not None
        return self.closed

    def broadcast(self, raws: Sequence[Raw], wire: bytes, numbers: range = _NONE) -> None:
        """Write messages without waiting, or hold them while stalled.

        ``wire`` is the bytes of their frames, ``numbers`` what the feed calls them.
        """
        if self.stalled:
            self._held.append((raws, wire, numbers))
        else:
            self._write(raws, wire, numbers)

    def _write(self, raws: Sequence[Raw], wire: bytes, numbers: range) -> None:
        if not self.is_open:
            return
        if self._plain:
            self._connection.tcp.write(wire)
        else:
            for raw in raws:
                broadcast([self._connection], raw)
        if numbers:
            self.fed = range(self.fed.start if self.fed else numbers.start, numbers.stop)

    async def receive(self, on_message: OnMessage | None) -> None:
        """Receive until the end of the connection."""
        try:
            while True:
                raw = await self._connection.recv()
                self.received.append(raw)
                self._news.tell()
                if on_message is not None:
                    result = on_message(self, raw)
                    if result is not None:
                        await result
        except ConnectionClosed as error:
            self._error = error

    def end(self) -> None:
        """Note how the connection ended, and wake those who wait for something on it."""
        code = self._connection.close_code
        if code is None or code == 1006:
            self.closed = (None, "")
        else:
            self.closed = (code, self._connection.close_reason or "")
        self._held.clear()
        self._moves.set()
        self._news.tell()


OnMessage = Callable[[Session, Raw], Awaitable[object] | None]
"""Called with each message that a session receives; a coroutine function is awaited."""
