"""One connection through a relay: two sockets, and a pipe in each direction between them."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias, cast

from rxws.testing.toxics import CHUNK, Direction, Item, Line, Mark, Stage, Toxic, stage

__all__ = ["End", "Entry", "RelayConnection"]

Entry: TypeAlias = tuple[Toxic, Direction]
"""A toxic and where it works."""

# Seconds that the peers may take to read what is left and to end their side, once it was cut.
_LINGER = 30.0


class RelayConnection:
    """One connection through a `Relay`; found in `Relay.connections`.

    Attributes:
        number: counts the connections of the relay from 1.
    """

    def __init__(
        self,
        number: int,
        target: tuple[str, int],
        entries: Iterable[Entry],
        seed: int,
        gone: Callable[[RelayConnection], None],
    ) -> None:
        self.number = number
        self._target = target
        self._gone = gone
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._dialing: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._client, server = End(self), End(self)
        upstream = _Pipe(self, self._client, server, f"{seed} {number} upstream")
        downstream = _Pipe(self, server, self._client, f"{seed} {number} downstream")
        self._ends = (self._client, server)
        self._pipes: dict[Literal["upstream", "downstream"], _Pipe]
        self._pipes = {"upstream": upstream, "downstream": downstream}
        for end, outlet, inlet in zip(
            self._ends, (upstream, downstream), (downstream, upstream), strict=True
        ):
            end.outlet, end.inlet = outlet, inlet
        for toxic, stream in entries:
            self._add(toxic, stream)

    def __repr__(self) -> str:
        return f"<RelayConnection {self.number} {'open' if self.is_open else 'ended'}>"

    @property
    def is_open(self) -> bool:
        """Whether it was not ended yet, by a peer or by the relay."""
        return not self._ended

    def cut(self) -> None:
        """End it both ways without a Close frame, by FIN; what is under way is lost."""
        if not self._ended:
            self._end()
            # A side that sends on is listened to, or the FIN would become a RST.
            for end in self._ends:
                end.finish()
            self._lingering = self._loop.call_later(_LINGER, self._abort)

    def reset(self) -> None:
        """End it both ways by RST; what is under way is lost."""
        self._end()
        for end in self._ends:
            end.abort(reset=True)

    def _abort(self) -> None:
        """End it both ways at once, and be gone."""
        self._end()
        for end in self._ends:
            end.abort()

    def _add(self, toxic: Toxic, stream: Direction) -> None:
        """Let a toxic work on it from now."""
        for name, pipe in self._pipes.items():
            if not self._ended and stream in (name, "both"):
                pipe.add(toxic)

    def _remove(self, toxic: Toxic) -> None:
        """Let what such toxics hold go on."""
        for pipe in self._pipes.values():
            pipe.remove(toxic)

    def _made(self, end: End) -> None:
        """Hear that a socket is there: the client's, and then the server's."""
        if self._ended:
            end.abort(reset=True)
            return
        if end is self._client:
            self._dialing = self._loop.create_task(self._dial(), name=f"relay {self.number}")
            self._dialing.add_done_callback(self._look)
        else:
            end.inlet.opened()
        # Not now: there are event loops that begin to read after this, whatever was said.
        self._loop.call_soon(self._begin)

    def _lost(self, error: Exception | None) -> None:
        """Hear that a socket is gone."""
        if not self._ended:
            if error is None:
                self.cut()
            else:
                self.reset()
        self._look()

    def _half_done(self) -> None:
        """Hear that one side has said everything, and the other got it."""
        if all(pipe.done for pipe in self._pipes.values()):
            self._end()
            for end in self._ends:
                end.finish()

    async def _dial(self) -> None:
        try:
            await self._loop.create_connection(lambda: self._ends[1], *self._target)
        except OSError:
            self.reset()

    def _begin(self) -> None:
        for pipe in self._pipes.values():
            pipe.changed()

    def _end(self) -> None:
        self._ended = True
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._dialing is not None and not self._ends[1].made:
            # With a socket it is done in a moment; uvloop would not tell how that socket ends.
            self._dialing.cancel()
        for pipe in self._pipes.values():
            pipe.stop()

    def _look(self, _: object = None) -> None:
        """Look whether anything is left of the connection."""
        dialing, (client, server) = self._dialing, self._ends
        if not client.gone or (dialing is not None and not dialing.done()):
            return
        # A cancelled dial closes its socket; uvloop tells nobody about it.
        if server.gone or not server.made or (dialing is not None and dialing.cancelled()):
            self._end()
            self._gone(self)


class End(asyncio.BufferedProtocol):
    """One of the two sockets of a connection.

    Attributes:
        outlet: the pipe that takes what comes in here.
        inlet: the pipe that ends here.
        congested: whether the peer is slower than what is written.
        heard_all: whether the peer has no more to say.
        gone: whether there was a socket, and is no more.
    """

    outlet: _Pipe
    inlet: _Pipe

    def __init__(self, connection: RelayConnection) -> None:
        self.congested = False
        self.heard_all = False
        self.gone = False
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(CHUNK))

    @property
    def made(self) -> bool:
        """Whether there ever was a socket."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connection._made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.outlet.feed(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        self.heard_all = True
        self.outlet.feed(Mark.EOF)
        # A side that has said everything may still be told something; unless all is over.
        return self._connection.is_open

    def pause_writing(self) -> None:
        self.congested = True
        self.inlet.changed()

    def resume_writing(self) -> None:
        self.congested = False
        self.inlet.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._connection._lost(exc)

    def read(self, *, on: bool) -> None:
        """Go on reading, or stop it, which the peer feels by the flow control of TCP."""
        if self._transport is not None and not self.heard_all and not self._transport.is_closing():
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Send bytes to the peer."""
        if self._transport is not None:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Tell the peer, by FIN, that it got everything."""
        if self._transport is not None and not self._transport.is_closing():
            try:
                self._transport.write_eof()
            except OSError:
                # It is not connected any more, which nobody else notices when it has said all.
                self._transport.abort()

    def finish(self) -> None:
        """End it after what was written: by FIN, and by hearing that the peer ends it too."""
        self.write_eof()
        if self._transport is not None and self.heard_all:
            self._transport.close()

    def abort(self, *, reset: bool = False) -> None:
        """End it at once; by RST if asked for, else the kernel chooses."""
        if self._transport is None or self.gone:
            return
        sock = self._transport.get_extra_info("socket")
        if reset and sock is not None:
            linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()


class _Pipe(Line):
    """One direction of a connection: a chain of stages, often none.

    Attributes:
        feed: takes what comes in.
        done: whether its end went through.
    """

    def __init__(self, connection: RelayConnection, source: End, sink: End, seed: str) -> None:
        self.feed: Callable[[Item], None] = self._write
        self.done = False
        self._connection = connection
        self._source = source
        self._sink = sink
        self._seed = seed
        self._added = 0
        self._stages: list[Stage[Any]] = []
        self._early: list[Item] = []
        self._reading = True

    def cut(self) -> None:
        self._connection.cut()

    def reset(self) -> None:
        self._connection.reset()

    def add(self, toxic: Toxic) -> None:
        """Let the toxic work on all that comes from now, after the others."""
        self._added += 1
        rng = random.Random(f"{self._seed} {self._added}")
        self._link([*self._stages, stage(toxic, self, rng)])

    def remove(self, toxic: Toxic) -> None:
        """Take such toxics out; what they held goes on at once."""
        gone = [each for each in self._stages if each.toxic == toxic]
        self._link([each for each in self._stages if each.toxic != toxic])
        for each in gone:
            each.flush()

    def opened(self) -> None:
        """Let go what came before there was somewhere to go."""
        early, self._early = self._early, []
        for item in early:
            self._write(item)

    def stop(self) -> None:
        """Let nothing through any more, and listen without hearing."""
        for each in self._stages:
            each.stop()
        self._stages.clear()
        self._early.clear()
        self.feed = _drop
        self._source.read(on=True)

    def changed(self) -> None:
        """Read when everybody can take more, and only then."""
        if self._connection.is_open and self._source.made:
            ready = self._sink.made and not self._sink.congested
            reading = ready and not any(each.full for each in self._stages)
            if reading is not self._reading:
                self._reading = reading
                self._source.read(on=reading)

    def _link(self, stages: list[Stage[Any]]) -> None:
        """Make a chain; a stage that is left out still hands on to the one after it."""
        self._stages = stages
        for one, following in itertools.pairwise(stages):
            one.emit = following.feed
        if stages:
            stages[-1].emit = self._write
        self.feed = stages[0].feed if stages else self._write
        self.changed()

    def _write(self, item: Item) -> None:
        if not self._connection.is_open:
            return
        if not self._sink.made:
            self._early.append(item)
        elif isinstance(item, bytes):
            self._sink.write(item)
        elif item is Mark.EOF:
            self.done = True
            self._sink.write_eof()
            self._connection._half_done()
        else:
            self._connection.cut()


def _drop(item: Item) -> None:
    """Take what nobody gets any more."""
