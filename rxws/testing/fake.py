"""A transport without sockets: a test is the peer."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from rxws.core.errors import ConnectError, ConnectionLost, Delivery
from rxws.net.transport import Raw, Receiver
from rxws.testing.waiting import News

__all__ = ["FakeDial", "FakeLink", "FakeTransport"]


@dataclasses.dataclass(frozen=True)
class FakeDial:
    """One call of `FakeTransport.connect`."""

    url: str
    options: Mapping[str, Any]
    time: float
    """On the event loop's clock."""


@dataclasses.dataclass(frozen=True)
class _End:
    """How a link ended: the arguments of ``Receiver.lost``."""

    code: int | None
    reason: str
    error: BaseException | None


class FakeLink:
    """One fake connection, open from the start; made by `FakeTransport.connect`.

    The test plays the peer with `deliver`, `lose`, `stall` and the attributes; rxws uses the
    methods of the ``Link`` protocol.

    Attributes:
        number: counts the links of the transport from 1.
        url, options: as given to ``connect``.
        sent: what was written, in order.
        pings: how many pings were sent.
        closed: the ``(code, reason)`` that ``close`` was first called with; ``None`` before.
        aborted: whether ``abort`` was called before the end.
        answer_close: whether the peer answers a close; where not, ``close`` waits for `lose`
            or ``abort``.
        answer_pings: whether the peer answers pings, which counts as received bytes.
        last_received: when something arrived, on the event loop's clock.
    """

    def __init__(
        self,
        number: int,
        url: str,
        options: Mapping[str, Any],
        *,
        answer_close: bool = True,
        answer_pings: bool = True,
    ) -> None:
        self.number = number
        self.url = url
        self.options = options
        self.answer_close = answer_close
        self.answer_pings = answer_pings
        self.sent: list[Raw] = []
        self.pings = 0
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self._loop = asyncio.get_running_loop()
        self.last_received = self._loop.time()
        self._receiver: Receiver | None = None
        self._queue: collections.deque[Raw] = collections.deque()
        self._paused = False
        self._discard = False
        self._handing = False
        self._end: _End | None = None
        self._told = False
        self._left = False
        self._ended = asyncio.Event()
        self._moves = asyncio.Event()
        self._moves.set()

    def __repr__(self) -> str:
        state = "open" if self.is_open else "ended" if self._end is not None else "closing"
        return f"<FakeLink {self.number} {state}>"

    # The peer.

    def deliver(self, *raws: Raw) -> None:
        """Let messages arrive.

        They are handed over at once, or after ``start`` and ``resume``. What arrives after the
        end of the connection goes nowhere.
        """
        if self._end is not None:
            return
        self.last_received = self._loop.time()
        if not self._discard:
            self._queue.extend(raws)
            self._hand_over()

    def lose(
        self, code: int | None = None, reason: str = "", error: BaseException | None = None
    ) -> None:
        """End the connection from the peer's side, after what was delivered.

        ``code`` and ``reason`` are those of its Close frame; without a code there was none.
        """
        if self._end is None:
            self._set_end(_End(code, reason, error))
            self._hand_over()

    def stall(self) -> None:
        """Let nothing be written: ``write`` returns ``False``, ``send`` and ``ping`` wait."""
        if self._end is None:
            self._moves.clear()

    def unstall(self) -> None:
        """Undo `stall`."""
        self._moves.set()

    @property
    def stalled(self) -> bool:
        """Whether nothing can be written; may be assigned to."""
        return not self._moves.is_set()

    @stalled.setter
    def stalled(self, value: bool) -> None:
        (self.stall if value else self.unstall)()

    @property
    def started(self) -> bool:
        """Whether ``start`` was called."""
        return self._receiver is not None

    @property
    def paused(self) -> bool:
        """Whether ``pause`` was called, and not undone."""
        return self._paused

    @property
    def queued(self) -> int:
        """How many messages arrived that were not handed over yet."""
        return len(self._queue)

    # The Link protocol.

    @property
    def connection(self) -> FakeLink:
        """The link itself: there is no library beneath."""
        return self

    @property
    def is_open(self) -> bool:
        """Whether neither side ended the connection or began to."""
        return self._end is None and self.closed is None

    def start(self, receiver: Receiver) -> None:
        """Hand over what arrived, and from now on what arrives.

        Raises:
            RuntimeError: when called twice.
        """
        if self._receiver is not None:
            raise RuntimeError("the link was started before")
        self._receiver = receiver
        self._hand_over()

    def write(self, raw: Raw) -> bool:
        """Append to `sent` and return ``True``; ``False`` when stalled or not open."""
        if self.stalled or not self.is_open:
            return False
        self.sent.append(raw)
        return True

    async def send(self, raw: Raw) -> None:
        """Append to `sent`, when no longer stalled.

        Raises:
            ConnectionLost: ``NOT_SENT`` when it was not open before, ``UNKNOWN`` when it ended
                while this waited.
        """
        self._check_open(Delivery.NOT_SENT)
        while self.stalled:
            await self._moves.wait()
            self._check_open(Delivery.UNKNOWN)
        self.sent.append(raw)

    async def ping(self) -> None:
        """Count it, when no longer stalled, and answer it where `answer_pings` says so."""
        while self.stalled:
            await self._moves.wait()
        if self._end is None:
            self.pings += 1
            if self.answer_pings:
                self.last_received = self._loop.time()

    def pause(self) -> None:
        """Queue what arrives."""
        self._paused = True

    def resume(self) -> None:
        """Hand over what is queued, and from now on what arrives."""
        self._paused = False
        self._hand_over()

    async def close(self, code: int = 1000, reason: str = "", *, discard: bool = False) -> None:
        """End the connection; returns when it has ended.

        What is queued is handed over before, once it is not paused, unless it is discarded.
        """
        if self.closed is None:
            self.closed = (code, reason)
        self._left = True
        if discard:
            self._discard = True
            self._queue.clear()
        self._hand_over()
        while self.stalled:
            await self._moves.wait()
        if self.answer_close and self._end is None:
            # The answer needs its way: it arrives after what is about to be delivered now.
            await asyncio.sleep(0)
            self.lose(*self.closed)
        await self._ended.wait()

    def abort(self) -> None:
        """End the connection at once; what is queued is thrown away. Idempotent."""
        self._queue.clear()
        self._left = True
        if self._end is None:
            self.aborted = True
            self._set_end(_End(None, "", ConnectionAbortedError("aborted by this side")))
        # A real transport reports its end from the event loop, never from within abort().
        self._loop.call_soon(self._hand_over)

    def _check_open(self, delivery: Delivery) -> None:
        if not self.is_open:
            end = self._end or _End(None, "", None)
            raise ConnectionLost(
                "the fake connection has ended",
                code=end.code,
                reason=end.reason,
                delivery=delivery,
            )

    def _set_end(self, end: _End) -> None:
        self._end = end
        self._moves.set()

    def _hand_over(self) -> None:
        """Give the receiver what is queued, then the end; never from within itself."""
        if self._handing:
            return
        if self._receiver is not None:
            self._handing = True
            try:
                while self._queue and not self._paused:
                    self._receiver.received(self._queue.popleft())
            finally:
                self._handing = False
        if self._end is None:
            return
        if self._receiver is None:
            # Nobody listened when our side ended it: whoever closes need not wait for more.
            if self._left:
                self._ended.set()
        elif not self._queue and not self._told:
            self._told = True
            self._ended.set()
            self._receiver.lost(self._end.code, self._end.reason, self._end.error)


class FakeTransport:
    """A transport whose connections are `FakeLink` objects: for ``transport=``.

    ::

        transport = FakeTransport()
        async with rxws.connect("ws://fake", transport=transport) as ws:
            transport.links[0].deliver('{"e":"trade"}')

    Parameters, and attributes that new links are given:
        answer_close, answer_pings: whether the peer answers.

    Attributes:
        links: every link opened, in order.
        dials: every call of ``connect``, in order, also those that were refused.
    """

    def __init__(self, *, answer_close: bool = True, answer_pings: bool = True) -> None:
        self.answer_close = answer_close
        self.answer_pings = answer_pings
        self.links: list[FakeLink] = []
        self.dials: list[FakeDial] = []
        self._refusals: collections.deque[BaseException] = collections.deque()
        self._held: asyncio.Event | None = None
        self._news = News()

    @property
    def open_links(self) -> list[FakeLink]:
        """The links that are open."""
        return [link for link in self.links if link.is_open]

    def refuse(self, error: BaseException | None = None, times: int = 1) -> None:
        """Let the next ``times`` dials raise ``error``; ``None`` is a retryable `ConnectError`."""
        self._refusals.extend([error or ConnectError("refused by the fake transport")] * times)

    def hold(self) -> None:
        """Let dials wait until `release`."""
        if self._held is None:
            self._held = asyncio.Event()

    def release(self) -> None:
        """Let the dials that wait go on, and later ones not wait."""
        if self._held is not None:
            self._held.set()
            self._held = None

    async def connect(self, url: str, options: Mapping[str, Any]) -> FakeLink:
        """Open a link, or raise what `refuse` was given."""
        loop = asyncio.get_running_loop()
        self.dials.append(FakeDial(url, dict(options), loop.time()))
        self._news.tell()
        if self._held is not None:
            await self._held.wait()
        # A dial is never done within one step of the loop.
        await asyncio.sleep(0)
        if self._refusals:
            raise self._refusals.popleft().with_traceback(None)
        link = FakeLink(
            len(self.links) + 1,
            url,
            options,
            answer_close=self.answer_close,
            answer_pings=self.answer_pings,
        )
        self.links.append(link)
        self._news.tell()
        return link

    async def link(self, number: int, timeout: float = 5.0) -> FakeLink:
        """Wait for the ``number``-th link, counting from 1, for at most ``timeout`` seconds."""
        await self._news.wait(lambda: len(self.links) >= number, timeout, f"link {number}")
        return self.links[number - 1]
