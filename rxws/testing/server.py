"""A scripted websocket server on the loopback interface, with faults on command."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from websockets.asyncio.server import Server as WebsocketsServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from rxws.net.transport import Raw
from rxws.testing.answers import Accept, Answer, Refuse, Reset, response
from rxws.testing.feed import Feed, FeedLog, Market, frame
from rxws.testing.session import Connection, OnMessage, Session
from rxws.testing.waiting import News

__all__ = ["Dial", "Script", "Server"]

T = TypeVar("T")

Script: TypeAlias = Callable[[Session], Awaitable[object]]
"""What the server does on one connection: a coroutine function."""

_HOST = "127.0.0.1"
# Seconds for closing handshakes, and then for everything else, when the server stops.
_GRACE = 1.0
# Seconds that a client may take to read what is left, when it has closed; then it is reset.
_READING_ON = 30.0

_logger = logging.getLogger("rxws.testing")


@dataclasses.dataclass(frozen=True)
class Dial:
    """One handshake request, whatever was answered."""

    path: str
    headers: Headers
    time: float
    """On the event loop's clock."""


class Server:
    """A websocket server for tests, with a script for each connection.

    ::

        async def script(session):
            await session.send('{"e":"hello"}')
            await session.next_message()
            session.abort()

        async with Server(script) as server:
            ...connect to server.url...

    Without a script a connection stays, and collects what it receives. So does one whose
    script is done; a script is cancelled when its connection ends. What a script or
    ``on_message`` raises ends its connection with 1011 and is raised again where the block of
    the server ends. Leaving that block ends everything within about two seconds.

    Parameters:
        script: run for each connection.
        scripts: run for the first connection, the second and so on; the last one repeats.
        on_message: function or coroutine function of the session and the message, called with
            each message that arrives, one at a time.
        port: where to listen; 0 is any free port, kept over `stop` and `start`.
        options: of ``websockets.serve``, such as ``ssl`` or ``subprotocols``. Unless they say
            otherwise there is no compression and no keepalive.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        scripts: Sequence[Script] = (),
        on_message: OnMessage | None = None,
        port: int = 0,
        **options: Any,
    ) -> None:
        if script is not None and scripts:
            raise ValueError("either script or scripts")
        self._scripts = tuple(scripts) if script is None else (script,)
        self._on_message = on_message
        self._port = port
        self._options = {
            "compression": None,
            "ping_interval": None,
            "open_timeout": None,
            "close_timeout": _READING_ON,
            "max_queue": None,
            "max_size": None,
            "logger": _logger,
        } | options
        self._plain = self._options["compression"] is None and not options.get("extensions")
        self._socket: socket.socket | None = None
        self._server: WebsocketsServer | None = None
        self._tcp: set[Connection] = set()
        self._sessions: list[Session] = []
        self._dials: list[Dial] = []
        self._answers: collections.deque[Answer] = collections.deque()
        self._errors: list[BaseException] = []
        self._feed: Feed | None = None
        self._feed_tasks: set[asyncio.Task[None]] = set()
        self._last_number = 0
        self._news = News()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._feed is not None:
                self._feed.stop()
            if self._feed_tasks:
                await asyncio.wait(self._feed_tasks)
            await self.stop()
        finally:
            if self._socket is not None:
                self._socket.close()
        if self._errors and exc is None:
            if len(self._errors) == 1:
                raise self._errors[0]
            raise BaseExceptionGroup("scripts of the server failed", self._errors)
        for error in self._errors:
            # The exception of the block goes first; this one must not get lost beside it.
            message = "a script of the server failed"
            context = {"message": message, "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    async def start(self) -> None:
        """Listen; after `stop` on the same port again."""
        if self._server is not None:
            raise RuntimeError("the server is listening already")
        sock, self._socket = self._socket or _bind(self._port), None
        self._port = sock.getsockname()[1]
        self._server = await serve(
            self._handle,
            sock=sock,
            process_request=self._process_request,
            # Typed as a class; documented as "a wrapper or a subclass".
            create_connection=self._create_connection,  # type: ignore[arg-type]
            **self._options,
        )

    async def stop(self, *, abort: bool = False) -> None:
        """Stop listening and end every connection, within about two seconds. Idempotent.

        Until `start` the port refuses connections. A feed goes on: what it sends meanwhile
        reaches nobody.

        Parameters:
            abort: reset the connections, instead of closing them with 1001.
        """
        server, self._server = self._server, None
        if server is None:
            return
        for connection in list(self._tcp):
            if abort or self._is_deaf(connection):
                connection.reset()
        # A connection is accepted in two turns of asyncio's loop, and fails with a report when the
        # listener closes in between. A timer, since `sleep(0)` is a single turn.
        try:
            await asyncio.sleep(1e-6)
        finally:
            server.close()
        # The listener closes in the first step of a task.
        await asyncio.sleep(0)
        # Bound, but not listening, the port refuses; unbound, it might be given to the very
        # client that dials it.
        self._socket = _bind(self._port)
        ended = asyncio.ensure_future(server.wait_closed())
        try:
            await asyncio.wait({ended}, timeout=_GRACE)
        finally:
            for connection in list(self._tcp):
                connection.reset()
            await asyncio.wait({ended}, timeout=_GRACE)

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before the first `start` when any is welcome."""
        return self._port

    @property
    def url(self) -> str:
        """Where to connect to."""
        scheme = "wss" if self._options.get("ssl") is not None else "ws"
        return f"{scheme}://{_HOST}:{self._port}"

    @property
    def connections(self) -> list[Session]:
        """The open connections, in the order in which they were accepted."""
        return [session for session in self._sessions if session.is_open]

    @property
    def sessions(self) -> list[Session]:
        """All connections that were ever accepted, in order."""
        return list(self._sessions)

    @property
    def accepted(self) -> int:
        """How many connections were accepted in all."""
        return len(self._sessions)

    @property
    def dials(self) -> list[Dial]:
        """Every handshake request, in order, also those that were not accepted."""
        return list(self._dials)

    @property
    def errors(self) -> list[BaseException]:
        """What scripts, ``on_message`` and the feed raised so far."""
        return list(self._errors)

    async def connection(self, number: int, timeout: float = 30.0) -> Session:
        """Wait for the ``number``-th connection, counting from 1, for at most ``timeout`` s."""
        await self.wait(lambda: len(self._sessions) >= number, timeout, what=f"connection {number}")
        return self._sessions[number - 1]

    async def wait(
        self, predicate: Callable[[], T], timeout: float = 30.0, *, what: str = "the condition"
    ) -> T:
        """Wait until ``predicate`` returns something true, and return that.

        It is called whenever something happened at the server, and every 10 ms besides.

        Raises:
            TimeoutError: naming ``what``, after ``timeout`` seconds.
        """
        return await self._news.wait(predicate, timeout, what)

    def answer(self, *answers: Answer | int) -> None:
        """Queue the answers to the next handshakes; when none is left they are accepted.

        Parameters:
            answers: `Accept`, `Refuse`, `Silent` or `Reset`; a number is ``Refuse(number)``.
        """
        self._answers.extend(Refuse(a) if isinstance(a, int) else a for a in answers)

    def broadcast(self, raw: Raw) -> None:
        """Send one message to every open connection, without waiting."""
        self._broadcast([raw])

    def feed(self, rate: float, make: Callable[[int], Raw] | None = None) -> Feed:
        """Send numbered messages to every open connection, from now until stopped.

        One at a time; a later one goes on with the numbers of the earlier.

        Parameters:
            rate: messages a second.
            make: function of the number, which starts at 1, that returns the message; `Market`
                when ``None``.

        Returns:
            the feed, to pause and to stop it; leaving the block of the server stops it too.
        """
        if self._feed is not None and self._feed.active:
            raise RuntimeError("there is a feed already; stop it first")
        self._feed = feed = Feed(rate, make or Market(), self._emit, lambda: self._last_number + 1)
        task = asyncio.create_task(feed.run(), name="feed of a test server")
        feed.task = task
        self._feed_tasks.add(task)
        task.add_done_callback(self._feed_done)
        return feed

    @property
    def log(self) -> FeedLog:
        """Which numbers the feed has sent, in all and on each connection."""
        return FeedLog(
            range(1, self._last_number + 1),
            {session.number: session.fed for session in self._sessions},
        )

    def _emit(self, raws: Sequence[Raw]) -> None:
        numbers = range(self._last_number + 1, self._last_number + 1 + len(raws))
        self._last_number = numbers[-1]
        self._broadcast(raws, numbers)

    def _broadcast(self, raws: Sequence[Raw], numbers: range = range(0)) -> None:
        sessions = self.connections
        if sessions:
            wire = b"".join(map(frame, raws))
            for session in sessions:
                session.broadcast(raws, wire, numbers)
        self._news.tell()

    def _feed_done(self, task: asyncio.Task[None]) -> None:
        self._feed_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._errors.append(error)
        self._news.tell()

    def _create_connection(self, *args: Any, **options: Any) -> Connection:
        return Connection(self._tcp, *args, **options)

    def _is_deaf(self, connection: Connection) -> bool:
        """Whether there is nobody to have a closing handshake with."""
        session = next((s for s in self._sessions if s.connection is connection), None)
        return session is None or session.stalled

    async def _process_request(
        self, connection: ServerConnection, request: Request
    ) -> Response | None:
        assert isinstance(connection, Connection)
        now = asyncio.get_running_loop().time()
        self._dials.append(Dial(request.path, request.headers, now))
        self._news.tell()
        answer = self._answers.popleft() if self._answers else Accept()
        if isinstance(answer, Refuse):
            return response(answer)
        if isinstance(answer, Reset):
            connection.reset()
        if not isinstance(answer, Accept):
            # Once it has ended, None answers nothing any more.
            await connection.wait_closed()
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        assert connection.request is not None
        number = len(self._sessions) + 1
        session = Session(number, connection.request, connection, self._news, plain=self._plain)
        self._sessions.append(session)
        self._news.tell()
        script = asyncio.create_task(self._run_script(session), name=f"script {number}")
        try:
            await session.receive(self._on_message)
        except Exception as error:
            self._failed(error)
            await session.close(1011, "on_message failed")
        finally:
            session.end()
            script.cancel()
            await asyncio.wait({script})

    async def _run_script(self, session: Session) -> None:
        if not self._scripts:
            return
        script = self._scripts[min(session.number, len(self._scripts)) - 1]
        try:
            await script(session)
        except ConnectionClosed as error:
            # The client left in the middle of the script.
            _logger.debug("script of connection %d: %s", session.number, error)
        except Exception as error:
            self._failed(error)
            await session.close(1011, "the script failed")


def _bind(port: int) -> socket.socket:
    """Return a socket that is bound to ``port`` of the loopback interface, but not listening."""
    # Only where the protocol is named does asyncio let small messages leave at once.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # Connections that ended a moment ago must not keep the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((_HOST, port))
    except BaseException:
        sock.close()
        raise
    return sock
