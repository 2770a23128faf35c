"""A connection of ``websockets`` as a link, and the limits of what a peer may do to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ..core.errors import ConnectionLost, Delivery
from .adopted import close_frame, lost_while_sending
from .endings import FAILURES
from .forking import cut_off, in_child
from .handshake import RedirectGuard
from .reading import Reader
from .slicing import Slicer
from .transport import Raw, Receiver

__all__ = ["GuardedConnection", "WebsocketsLink"]

_HANG_UP_SECONDS = 1.0  # for the server to close the socket after the closing handshake
_LONGEST_HEAD = 65_536  # bytes of a handshake's answer that are looked at
_MOST_ANSWERS = 2**20  # bytes of pongs that wait for a peer which takes nothing


class GuardedConnection(ClientConnection):
    """Adds to the library's connection what asyncio tells its protocol anyway, and limits.

    Args:
        guard: says whether the answer to the handshake may be followed.

    Attributes:
        last_received: when the last byte arrived, on the event loop's clock.
        unfinished: since when a frame is on its way, and how many bytes of it came since.
        congested: whether more waits to be written than ``write_limit``.
        gone: whether nothing can come or go any more.
    """

    def __init__(self, guard: RedirectGuard, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        guard.heard = 0
        self.last_received = self.loop.time()
        self.unfinished: tuple[float, int] | None = None
        self.congested = False
        self.gone = False
        self.raw_transport: asyncio.Transport | None = None
        self._guard = guard
        self._head = b""
        self._slicer: Slicer | None = None
        self._frames = 0
        self._answered = 0
        self._cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw_transport = cast("asyncio.Transport", transport)
        in_child(self)
        self._slicer = Slicer(self.raw_transport, self._take)
        super().connection_made(cast("asyncio.BaseTransport", self._slicer))

    def data_received(self, data: bytes) -> None:
        self.last_received = self.loop.time()
        if self.response is None:
            self._guard.heard += len(data)
            self._head += data
            if b"\r\n\r\n" not in self._head and len(self._head) < _LONGEST_HEAD:
                return
            data, self._head = self._head, b""
            if not self._guard.allows(data.partition(b"\r\n\r\n")[0]):
                assert self.raw_transport is not None
                self.raw_transport.abort()
                return
        assert self._slicer is not None
        self._slicer.feed(data)

    def _take(self, data: bytes) -> None:
        transport = self.raw_transport
        assert transport is not None
        frames, waiting = self._frames, transport.get_write_buffer_size()
        super().data_received(data)
        self._watch_end()  # the answer to the handshake may have come with all that follows
        if self.response is None and self.protocol.handshake_exc is not None:
            self.abort()  # no answer that can be understood, and the library tells at the end only
        if self._frames != frames:
            self.unfinished = None
        else:
            since, size = self.unfinished or (self.last_received, 0)
            self.unfinished = since, size + len(data)
        if self.congested:
            self._answered += max(transport.get_write_buffer_size() - waiting, 0)
            if self._answered > _MOST_ANSWERS:
                self.set_connection_exc(
                    ConnectionAbortedError("the server sends pings and reads no answers")
                )
                self.abort()

    def process_event(self, event: Any) -> None:
        self._frames += 1
        super().process_event(event)

    def send_data(self) -> None:
        super().send_data()
        self._watch_end()

    def _watch_end(self) -> None:
        if self._cut is None and self.response is not None and self._is_over:
            # A peer that holds the socket all the same is cut off.
            self._cut = self.loop.call_later(_HANG_UP_SECONDS, self.abort)

    @property
    def _is_over(self) -> bool:
        """Whether both have said goodbye, or the peer broke the protocol."""
        protocol = self.protocol
        if protocol.state is not websockets.State.CLOSING:
            return False
        sent = protocol.close_sent
        return protocol.close_rcvd is not None or (sent is not None and sent.code in FAILURES)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self._cut is not None:
            self._cut.cancel()
        lost = super().connection_lost
        if self._slicer is None:
            lost(exc)
        else:
            self._slicer.finish(lambda: lost(exc))

    def eof_received(self) -> None:
        assert self._slicer is not None
        if self._head:
            data, self._head = self._head, b""
            self._slicer.feed(data)
        self._slicer.finish(super().eof_received)

    def abort(self) -> None:
        """End it at once; nothing more of what was read is looked at."""
        if self._slicer is not None and self.raw_transport is not None:
            self.raw_transport.abort()
            self._slicer.drop()

    def after_fork(self) -> None:
        cut_off(self.raw_transport)

    def pause_writing(self) -> None:
        self.congested = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self.congested = False
        self._answered = 0
        super().resume_writing()


class WebsocketsLink:
    """A `Link` over a connection that we opened."""

    def __init__(self, connection: GuardedConnection) -> None:
        self.connection: ClientConnection = connection
        self._own = connection
        self._reader = Reader(connection.recv, close_frame)

    @property
    def is_open(self) -> bool:
        """Whether a message can be written now."""
        return self._own.state is websockets.State.OPEN and not self._own.gone

    @property
    def last_received(self) -> float:
        """When the last byte arrived, on the event loop's clock."""
        return self._own.last_received

    @property
    def unfinished(self) -> tuple[float, int] | None:
        """Since when a frame is on its way, and how many bytes of it came; see `Heart`."""
        return self._own.unfinished

    def start(self, receiver: Receiver) -> None:
        """Begin to hand over messages."""
        self._reader.start(receiver)

    def write(self, raw: Raw) -> bool:
        """Write without waiting, unless the write buffer is above its limit already."""
        if self._own.congested or not self.is_open:
            return False
        # The documented way to write without waiting, to one connection as to many.
        try:
            websockets.broadcast([self._own], raw, raise_exceptions=True)
        except ExceptionGroup:  # the user is in the midst of a fragmented message: wait for it
            return False
        return True

    async def send(self, raw: Raw) -> None:
        """Write, waiting while the peer is slower than we are."""
        if not self.is_open:
            raise ConnectionLost("the connection is closed", delivery=Delivery.NOT_SENT)
        try:
            await self._own.send(raw)
        except ConnectionClosed as error:
            raise lost_while_sending(error) from error

    async def ping(self) -> None:
        """Send a ping."""
        await self._own.ping()

    def pause(self) -> None:
        """Stop reading; when the library's queue is full, it pauses the socket."""
        self._reader.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self._reader.resume()

    async def close(self, code: int = 1000, reason: str = "", *, discard: bool = False) -> None:
        """Close in the orderly way; see `Link.close`."""
        if discard:
            self._reader.discard()
        self._own.close_timeout = None  # whoever calls bounds the wait
        await self._own.close(code, reason)
        await self._reader.finished()

    def abort(self) -> None:
        """End it at once."""
        self._reader.drop()
        self._own.abort()
