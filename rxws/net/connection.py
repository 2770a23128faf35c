"""One connection, from its handshake to its end: its messages parsed, its sends, its heart."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from types import CoroutineType
from typing import Any, Generic, TypeVar

from ..core.errors import ConnectionLost
from ..streams.handlers import is_coroutine_function
from ..streams.isolation import FAULTS, is_cancelled
from ..streams.tasks import Tasks
from .adopted import sent_code
from .endings import broken_off, how_it_ended, tidy
from .heart import Heart
from .options import Options
from .sending import Lane
from .transport import Link, Raw

__all__ = ["Connection", "Opening"]

_T = TypeVar("_T")

_UNPARSED = 256  # raw messages that wait for a coroutine parser before the link is paused
# So many messages in a row that can't be parsed, within so many seconds, are not the feed that was
# meant. A quiet feed that answers our pings with a word of its own is.
_MOST_BAD = 100
_WAITS = {"consumer", "outflow"}  # pauses that wait until a connection is ready
_BAD_SECONDS = 60.0


class Connection(Generic[_T]):
    """What is received on one link, in order, parsed once. It is the link's `Receiver`.

    Args:
        epoch: its number.
        link: the open link.
        options: of the websocket.
        tasks: owner of its tasks.
        on_message: called with each message and its payload.
        on_unparsed: called with a payload that could not be parsed, and why.
        on_lost: called once, after the last message.
        on_suspected: called with whether it may be dead, when that changes.

    Attributes:
        loss: why it ended; ``None`` while it lives.
        code, reason: of the peer's Close frame; ``None`` and ``""`` without one.
        last_message, before_last: when the last message arrived, and the one before, on the
            event loop's clock.
        ready_at: when it was ready, on the same clock.
    """

    def __init__(
        self,
        epoch: int,
        link: Link,
        options: Options,
        tasks: Tasks,
        *,
        on_message: Callable[[Connection[_T], _T, Raw], None],
        on_unparsed: Callable[[Raw, BaseException], None],
        on_lost: Callable[[Connection[_T]], None],
        on_suspected: Callable[[Connection[_T], bool], None],
    ) -> None:
        self.epoch = epoch
        self.link = link
        self.lane = Lane(epoch, link, tasks, options.send_timeout, options.redactor)
        self.loss: ConnectionLost | None = None
        self.code: int | None = None
        self.reason = ""
        self.closing = False
        self.messages = 0
        self.bytes = 0
        self._clock = asyncio.get_running_loop().time
        self.last_message = self.before_last = self.ready_at = self._opened_at = self._clock()
        self._parse: Callable[[Raw], Any] = options.parse or _as_it_is
        self._parses_async = is_coroutine_function(self._parse)
        self._unparsed: deque[Raw] = deque()
        self._parser: asyncio.Task[None] | None = None
        self._redactor = options.redactor
        self._tasks = tasks
        self._on_message = on_message
        self._on_unparsed = on_unparsed
        self._on_lost = on_lost
        self._pauses: set[str] = set()
        self._resumed = 0.0
        self._blocked, self._blocked_since = 0.0, 0.0
        self._may_parse = asyncio.Event()
        self._may_parse.set()
        self._opening: deque[_T] | None = deque()
        self._opening_waiter: asyncio.Future[None] | None = None
        self._verdict = ""
        self._bad_in_a_row = 0
        self._bad_since = 0.0
        self._paused_later: set[str] = set()
        self._deaf = False
        self._end: tuple[int | None, str, BaseException | None] | None = None
        self.ended = asyncio.Event()
        self._heart = Heart(
            link,
            options.heartbeat,
            options.silence,
            last_message=lambda: self.last_message,
            is_reading=lambda: not self._pauses,
            tasks=tasks,
            on_dead=self._dead,
            on_suspected=lambda is_suspected: on_suspected(self, is_suspected),
        )

    def stop_receiving(self) -> bool:
        """Hand on only what has arrived; returns whether there is such, told once."""
        waits = self.is_parsing and not self._deaf
        self._deaf = True
        return waits

    def quiet_for(self, seconds: float) -> bool:
        """Whether it was read for so long, and brought nothing that is not handed on."""
        since = max(self.last_message, self._resumed)
        return not (self._pauses or self.is_parsing) and self._clock() - since >= seconds

    @property
    def is_torn(self) -> bool:
        """Whether not the peer ended it, but what ends a program: `KeyboardInterrupt` say."""
        return self.loss is not None and not isinstance(self.loss.__cause__, Exception | None)

    @property
    def interval(self) -> float:
        """Seconds between two messages, on the average; infinite before the first."""
        span = self.last_message - self._opened_at
        return span / self.messages if self.messages else math.inf

    def probe(self) -> None:
        """Ask for a sign of life, if it has a heartbeat."""
        self._heart.probe()

    @property
    def is_paused(self) -> bool:
        """Whether it is not read, for another reason than a parser that is behind."""
        return bool(self._pauses - {"parser"})

    @property
    def blocked(self) -> float:
        """Seconds for which it was not read so far, for another reason than such a parser."""
        return self._blocked + (self._clock() - self._blocked_since if self.is_paused else 0.0)

    @property
    def is_parsing(self) -> bool:
        """Whether something that arrived is not handed on yet."""
        return self._parser is not None

    # Receiving

    def received(self, raw: Raw) -> None:
        """Parse one payload and hand the message on."""
        if self._deaf:
            return
        self.messages += 1
        self.bytes += len(raw) if isinstance(raw, bytes) or raw.isascii() else len(raw.encode())
        self.before_last, self.last_message = self.last_message, self._clock()
        if self._parses_async:
            self._unparsed.append(raw)
            if self._parser is None:
                self._parser = self._tasks.spawn(self._parse_waiting(), "parser")
            elif len(self._unparsed) >= _UNPARSED:
                self.pause("parser")
            return
        try:
            message = self._parse(raw)
            if isinstance(message, CoroutineType):
                raise TypeError("parse returned an awaitable: declare it with `async def`")
        except FAULTS as error:
            self._note_bad(raw, error)
        else:
            self._take(message, raw)

    async def _parse_waiting(self) -> None:
        try:
            while self._unparsed:
                if not self._may_parse.is_set():
                    await self._may_parse.wait()
                raw = self._unparsed.popleft()
                if len(self._unparsed) <= _UNPARSED // 2:
                    self.resume("parser")
                try:
                    message = await self._parse(raw)
                except FAULTS as error:
                    if is_cancelled(error):
                        raise
                    self._note_bad(raw, error)
                else:
                    self._take(message, raw)
        finally:
            self._parser = None
            self._report_end()

    def _note_bad(self, raw: Raw, error: BaseException) -> None:
        self._on_unparsed(raw, error)
        now = self._clock()
        if not self._bad_in_a_row or now - self._bad_since > _BAD_SECONDS:
            self._bad_in_a_row, self._bad_since = 0, now
        self._bad_in_a_row += 1
        if self._bad_in_a_row == _MOST_BAD:
            self._dead(f"{_MOST_BAD} messages in a row could not be parsed")

    def _take(self, message: _T, raw: Raw) -> None:
        self._bad_in_a_row = 0
        if self._opening is not None:
            self._opening.append(message)
            self._wake_opening()
        self._on_message(self, message, raw)

    # Preparing

    async def next_while_opening(self) -> _T:
        """The next message for ``Opening.recv``."""
        while not self._opening:
            if self.loss is not None:
                raise self.loss
            if self._opening is None:
                raise RuntimeError("an Opening can be used during on_open only")
            self._opening_waiter = asyncio.get_running_loop().create_future()
            await self._opening_waiter
        return self._opening.popleft()

    def end_opening(self) -> None:
        """``on_open`` is done: it reads no more."""
        self._opening = None
        self._wake_opening()
        for why in self._paused_later:
            self.pause(why)

    def _wake_opening(self) -> None:
        waiter, self._opening_waiter = self._opening_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # Pausing: by whoever has no room

    def pause(self, why: str) -> None:
        """Read no further, until everybody who paused it resumed it."""
        if why in _WAITS and self._opening is not None:
            self._paused_later.add(why)  # on_open reads; what it reads is held, and bounded there
            return
        if not self._pauses:
            self.link.pause()
        if why != "parser" and not self.is_paused:
            self._blocked_since = self._clock()
        self._pauses.add(why)
        if why != "parser" and not self.closing:
            self._may_parse.clear()

    def resume(self, why: str) -> None:
        """Undo one `pause`."""
        self._paused_later.discard(why)
        if why in self._pauses:
            blocked = self.blocked
            self._pauses.remove(why)
            if not self.is_paused:
                self._blocked = blocked
            if self._pauses <= {"parser"}:
                self._may_parse.set()
            if not self._pauses:
                self._resumed = self._clock()
                self.link.resume()

    # Ending

    def _dead(self, verdict: str) -> None:
        self._verdict = verdict
        self.link.abort()

    def abort(self) -> None:
        """End it at once."""
        self._on_message = self._on_lost = _to_nobody  # its epoch may be another's by now
        self._heart.stop()
        self._may_parse.set()
        self.link.abort()

    async def close(self, *, discard: bool) -> None:
        """End it in the orderly way; returns after its last message."""
        if discard:
            self.closing = True
            self._may_parse.set()
        await self.link.close(1000, "", discard=discard)
        await self.ended.wait()

    def lost(self, code: int | None, reason: str, error: BaseException | None) -> None:
        """The link ended, by whomever."""
        self._heart.stop()
        tidy(error)
        self._end = (code, self._redactor.text(reason), error)
        self._report_end()

    def _report_end(self) -> None:
        # After the last message: a coroutine parser may still be at work on some.
        if self._end is None or self._parser is not None or self.loss is not None:
            return
        code, reason, error = self._end
        if broken_off(error):
            code, reason = None, ""
        self.code, self.reason = code, reason
        why = self._verdict
        if not why and code is not None:
            why = f"closed by the server: {code} {reason}".rstrip()
        if not why:
            why = how_it_ended(error)
        text = f"the connection was lost: {why}"
        self.loss = ConnectionLost(text, code=code, reason=reason, sent=sent_code(error))
        self.loss.__cause__ = error
        self._wake_opening()
        self.ended.set()
        self._on_lost(self)


def _to_nobody(*_: Any) -> None:
    pass


def _as_it_is(raw: Raw) -> Raw:
    return raw


class Opening:
    """A connection that is not live yet, given to ``on_open``.

    Attributes:
        connection: the connection object of the library beneath.
    """

    def __init__(self, connection: Connection[Any], serialize: Callable[[Any], Raw]) -> None:
        self._connection = connection
        self._serialize = serialize
        self._loop = asyncio.get_running_loop()

    @property
    def connection(self) -> Any:
        """The connection object of the library beneath."""
        return self._connection.link.connection

    async def send(self, message: Any) -> None:
        """Send on this connection.

        Args:
            message: ``str`` and ``bytes`` as they are, anything else through ``serialize``.

        Raises:
            ConnectionLost: it ended.
        """
        self._check_loop()
        await self._connection.link.send(self._serialize(message))

    async def recv(self) -> Any:
        """The next message of this connection, parsed; the streams get it too, once it is live.

        Raises:
            ConnectionLost: it ended.
        """
        self._check_loop()
        return await self._connection.next_while_opening()

    def _check_loop(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("an Opening belongs to the event loop that its on_open runs on")
