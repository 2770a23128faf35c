"""The faults that a server and its network can have, each undone when its coroutine returns."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from rxws.testing import (
    Bandwidth,
    Direction,
    Latency,
    LimitData,
    Relay,
    Server,
    Session,
    Silent,
    Slicer,
    Timeout,
    Toxic,
)

__all__ = ["FAULTS", "World"]

_CODES = (1000, 1001, 1008, 1011, 1012, 1013, 4000)


@dataclasses.dataclass
class World:
    """A server, and the nodes by which it is reached.

    Attributes:
        random: of the fault that is being made.
        nodes: those that it concerns.
    """

    server: Server
    relays: Sequence[Relay]
    random: random.Random = dataclasses.field(default_factory=random.Random)
    nodes: Sequence[Relay] = ()

    async def hurt(self, name: str, seed: int) -> str:
        """Make a fault, undo it, and return what it was."""
        self.random = random.Random(seed)
        self.nodes = self.random.choice([self.relays[:1], self.relays[1:], self.relays])
        if not any(node.connections for node in self.nodes):
            self.nodes = self.relays
        return await FAULTS[name](self)

    def session(self) -> Session | None:
        """Return any open connection, seen from the server."""
        sessions = self.server.connections
        return self.random.choice(sessions) if sessions else None

    async def pass_time(self, least: float, most: float) -> str:
        """Wait, and return for how long."""
        seconds = self.random.uniform(least, most)
        await asyncio.sleep(seconds)
        return f"{seconds:.1f} s"

    @contextlib.asynccontextmanager
    async def toxic(self, toxic: Toxic, stream: Direction = "both") -> AsyncIterator[None]:
        """Let a toxic work on the nodes."""
        for node in self.nodes:
            node.add(toxic, stream=stream)
        try:
            yield
        finally:
            for node in self.nodes:
                node.remove(toxic)


async def _reset(world: World) -> str:
    for node in world.nodes:
        node.reset()
    return ""


async def _cut(world: World) -> str:
    for node in world.nodes:
        node.cut()
    return ""


async def _mid_frame(world: World) -> str:
    if (session := world.session()) is not None:
        session.write_bytes(b"\x81\x7e\x03\xe8" + b"x" * world.random.randrange(1000))
        session.kick()
    return ""


async def _close(world: World) -> str:
    code = world.random.choice(_CODES)
    sessions = world.server.connections
    if sessions and world.random.random() < 0.5:
        sessions = [world.random.choice(sessions)]
    await asyncio.gather(*[session.close(code, "a fault") for session in sessions])
    return f"{code} on {len(sessions)}"


async def _close_and_stay(world: World) -> str:
    world.nodes = world.relays
    async with world.toxic(Timeout(), "upstream"):  # the answer never comes
        if (session := world.session()) is not None:
            session.write_bytes(b"\x88\x02\x03\xe8")
        return await world.pass_time(1, 3)


async def _junk(world: World) -> str:
    if (session := world.session()) is not None:
        session.write_bytes(world.random.choice([b"\x83\x00", b"\xf1\x00", b"\x88\x01\x03"]))
    return ""


async def _unparsable(world: World) -> str:
    world.server.broadcast(world.random.choice(["", "not JSON", "[" * 2000]))
    return ""


async def _stall(world: World) -> str:
    async with world.toxic(Timeout()):
        return await world.pass_time(0.3, 2)


async def _half_open(world: World) -> str:
    async with world.toxic(Timeout(), "downstream"):
        return await world.pass_time(2, 3.5)


async def _deaf(world: World) -> str:
    """Let no Close, ping or send arrive at the server, which sends on."""
    async with world.toxic(Timeout(), "upstream"):
        return await world.pass_time(1, 3)


async def _latency(world: World) -> str:
    async with world.toxic(Latency(world.random.uniform(0.02, 0.2), jitter=0.02)):
        return await world.pass_time(1, 3)


async def _slicer(world: World) -> str:
    async with world.toxic(Slicer(50, 40), "downstream"):
        return await world.pass_time(1, 2)


async def _bandwidth(world: World) -> str:
    async with world.toxic(Bandwidth(world.random.uniform(20_000, 200_000)), "downstream"):
        return await world.pass_time(0.5, 2)


async def _limit(world: World) -> str:
    async with world.toxic(LimitData(world.random.randrange(1, 20_000)), "downstream"):
        return await world.pass_time(0.5, 1.5)


async def _refuse(world: World) -> str:
    for node in world.nodes:
        await node.down()
        node.reset()
    try:
        return await world.pass_time(0.2, 2)
    finally:
        for node in world.nodes:
            await node.up()


async def _busy(world: World) -> str:
    times = world.random.randrange(1, 4)
    world.server.answer(*[503] * times)
    if world.random.random() < 0.5:
        await _reset(world)
    return f"{times} times"


async def _silent_handshake(world: World) -> str:
    world.server.answer(Silent())
    if world.random.random() < 0.3:
        await _reset(world)
    return ""


async def _stop_reading(world: World) -> str:
    session = world.session()
    if session is None:
        return ""
    session.stall()
    try:
        return await world.pass_time(0.3, 2)
    finally:
        session.unstall()


async def _restart(world: World) -> str:
    await world.server.stop(abort=world.random.random() < 0.5)
    took = await world.pass_time(0.2, 1)
    await world.server.start()
    return took


FAULTS: dict[str, Callable[[World], Awaitable[str]]] = {
    "reset": _reset,
    "cut": _cut,
    "half a frame": _mid_frame,
    "close": _close,
    "close, and stay": _close_and_stay,
    "junk": _junk,
    "unparsable": _unparsable,
    "stall": _stall,
    "half-open": _half_open,
    "deaf": _deaf,
    "latency": _latency,
    "slicer": _slicer,
    "bandwidth": _bandwidth,
    "cut after some bytes": _limit,
    "refuse": _refuse,
    "busy": _busy,
    "silent handshake": _silent_handshake,
    "stop reading": _stop_reading,
    "restart": _restart,
}
"""By name; each returns a detail."""
