"""Seeded random walks through the life of a websocket, in virtual time, held to its promises."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

import rxws
from tests.peers import Peer
from tests.virtual import virtual
from tests.walking import EXPECTED, Walk

WALKS = 70
"""Walks of each kind."""

FOUND = [
    (717, ""),
    (1700, ""),
    (2216, ""),
    (270, "rotating"),
    (1913, "rotating"),
    (4, "stalling"),
    (119, "preparing"),
    (1377, "preparing"),
    (1589, "filling rotating"),
    (63, "parsing rotating"),
    (470, "parsing rotating"),
]
"""Walks that found something: the seed, and the kind."""

STEPS = 30
"""Actions of one walk."""


class RandomWalk(Walk):
    """A walk on which chance decides what to do next."""

    def __init__(self, seed: int, kind: str = "") -> None:
        self.random = random.Random(seed)
        random.seed(seed)  # the jitter of the backoff
        self.kind = kind
        super().__init__(self.random, Peer(), **self.options())

    def options(self) -> dict[str, Any]:
        """Return what is special about this kind of walk."""
        chance = random.Random(self.random.random())

        async def parse(raw: Any) -> Any:
            await asyncio.sleep(slowness)
            return json.loads(raw)

        async def on_open(opening: rxws.Opening) -> None:
            await asyncio.sleep(chance.choice([0.0, 0.1]))
            if chance.random() < 0.3:
                raise LookupError
            await opening.send({"hello": 1})
            if chance.random() < 0.5:
                await opening.recv()

        async def resync(_: rxws.Gap) -> list[Any]:
            await asyncio.sleep(chance.choice([0.0, 0.1, 1.0]))
            if chance.random() < 0.3:
                raise LookupError
            return []

        options: dict[str, Any] = {}
        if "parsing" in self.kind:
            slowness = chance.choice([0.0, 0.001, 0.01])
            options |= {"parse": parse}
        if "preparing" in self.kind:
            options |= {"on_open": on_open, "ready_timeout": 1}
        if "filling" in self.kind:
            options |= {"resync": resync, "resync_timeout": 0.5}
        return options

    def interruption(self, likelihood: float) -> Callable[[], None] | None:
        """Return, now and then, anything: everything is allowed in the midst of a delivery."""
        if self.random.random() < likelihood:
            return self.random.choice(self.inside())
        return None

    def outside(self) -> list[Callable[[], None]]:
        """Return all actions."""
        rare = {"stalling": [self.stall, self.stall], "rotating": [self.rotate] * 3}
        return [
            *(action for kind, actions in rare.items() if kind in self.kind for action in actions),
            *self.inside(),
            self.feed,
            self.feed,
            self.feed,
            self.feed,
            self.rotate,
            self.read,
            self.read_blocking,
            self.stop_reading,
            self.lose,
            self.refuse,
            self.hold_dials,
        ]

    async def run(self) -> None:
        """Walk, exit at a random moment of it, and check what was promised."""
        for _ in range(self.random.randrange(3)):
            self.random.choice([self.subscribe, self.subscribe_filtered, self.post, self.handle])()
        self.ws.start()
        for _ in range(STEPS):
            self.random.choice(self.outside())()
            if self.random.random() < 0.7:
                await asyncio.sleep(self.random.choice([0.0, 0.01, 0.1, 0.5]))
                self.check_state()
        if self.random.random() < 0.5:  # else it ends in the midst of things
            self.peer.release()
            await asyncio.sleep(60)
            self.check_state()
            self.check_settled()
        await self.leave_all()
        self.check()


@pytest.mark.parametrize(
    "kind", ["", "rotating", "stalling", "preparing", "filling rotating", "parsing rotating"]
)
def test_random_walks_keep_what_is_promised(kind: str, loop_errors: list[Any]) -> None:
    """Whatever is done from wherever, nothing is lost outside of a gap, and nothing is left."""
    for seed in range(WALKS):
        try:
            virtual(RandomWalk(seed, kind).run)()
        except BaseException as error:
            error.add_note(f"RandomWalk({seed}, {kind!r})")
            raise
        unexpected = [e for e in loop_errors if not isinstance(e.get("exception"), EXPECTED)]
        assert not unexpected, (seed, unexpected)
        loop_errors.clear()


@pytest.mark.parametrize(("seed", "kind"), FOUND)
def test_walks_that_once_failed(seed: int, kind: str, loop_errors: list[Any]) -> None:
    """Walks that found something are walked again."""
    virtual(RandomWalk(seed, kind).run)()
    unexpected = [e for e in loop_errors if not isinstance(e.get("exception"), EXPECTED)]
    assert not unexpected
