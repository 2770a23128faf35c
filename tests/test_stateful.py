"""Hypothesis walks through the life of a websocket, in virtual time; what fails, it makes short.

To look for longer: ``python -m tests.test_stateful 5000``.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import rxws
from rxws.testing import VirtualTimeLoop
from tests.peers import Peer
from tests.soak.oracle import Line, judge
from tests.virtual import turns
from tests.walking import EXPECTED, MOST_LINKS, Walk

EXAMPLES = 200
STEPS = 25

CONSUMES = ["subscribe", "subscribe_filtered", "handle", "read", "read_blocking", "join"]
LEAVES = ["dispose", "leave", "stop_reading", "cancel"]
SENDS = ["send", "post", "request"]
FAULTS = ["lose", "stall", "refuse", "hold_dials", "freeze", "raise_error"]
IN_THE_MIDST = [
    "subscribe",
    "subscribe_filtered",
    "dispose",
    "post",
    "send",
    "request",
    "join",
    "leave",
    "handle",
    "raise_error",
    "rotate",
    "exit",
]
IDENTITIES: dict[str, dict[str, Any]] = {
    "key": {},
    "sequence": {
        "sequence": lambda message: message["n"] if isinstance(message["n"], int) else None
    },
}
HEARTBEATS = [None, rxws.Heartbeat(interval=0.4, timeout=0.4)]


class Steps(Walk):
    """A walk on which each step is asked for."""

    def __init__(self, chance: random.Random, peer: Peer, **options: Any) -> None:
        self.pending: list[str] = []
        self.exited = False
        super().__init__(chance, peer, **options)

    def interruption(self, likelihood: float) -> Callable[[], None] | None:
        """Return what was asked for, once."""
        return self.action(self.pending.pop(0)) if self.pending else None

    def action(self, name: str) -> Callable[[], None]:
        """Return an action by its name."""
        action: Callable[[], None] = getattr(self, name)
        return action

    def exit(self) -> None:
        self.exited = True
        self.spawn(self.ws.exit())

    def cancel(self) -> None:
        """Cancel whatever waits for something; a reader is for ``stop_reading``."""
        reading = {task for task, _ in self.readers}
        pending = [task for task in self.tasks if not task.done() and task not in reading]
        if pending:
            self.random.choice(pending).cancel()

    def freeze(self) -> None:
        """Let nothing come from the other side of one connection."""
        if self.peer.alive:
            self.peer.freeze(self.random.choice(self.peer.alive))

    def block(self, seconds: float) -> None:
        """Stop the reading of the socket by a stream that nobody reads for a while."""
        stream = self.ws.stream_filter().buffered(capacity=2, overflow=rxws.Overflow.BLOCK)

        async def hold() -> None:
            async with stream:
                await asyncio.sleep(seconds)

        self.spawn(hold())

    def let_all_go_on(self) -> None:
        """End every fault."""
        self.peer.release()
        self.peer.heal()
        for link in self.peer.alive:
            link.unstall()

    def check_line(self) -> None:
        """What is missing is inside of exactly one gap, up to the last message of the feed."""
        seen, told = Line("the observer"), Line("the one told of gaps", told=True)
        for item in self.places:
            if isinstance(item, rxws.Gap):
                told.gap(item)
            elif isinstance(item["n"], int):
                seen.message(None, item["n"])
                told.message(None, item["n"])
        if seen.count:  # what came before the first message is nobody's loss
            assert judge([seen, told], {None: self.peer.number}) == []


class Life(RuleBasedStateMachine):
    """A websocket, what its user does, and what its peer and the network do."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.reports: list[dict[str, Any]] = []
        self.runner.get_loop().set_exception_handler(lambda _, report: self.reports.append(report))
        self.walk: Steps

    def do(self, action: Callable[[], None], seconds: float = 0.0) -> None:
        """Act on the loop, and let time pass."""

        async def act() -> None:
            with contextlib.suppress(rxws.ClosedError):  # who exits in the midst can't go on
                action()
            await asyncio.sleep(seconds)

        self.run(act())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop of virtual time."""
        self.runner.run(work)

    @initialize(
        chance=st.randoms(use_true_random=False, note_method_calls=True),
        identity=st.sampled_from(sorted(IDENTITIES)),
        heartbeat=st.sampled_from(HEARTBEATS),
        lags=st.sampled_from([(0.0,), (0.0, 0.1), (0.05, 0.2)]),
    )
    def begin(
        self,
        chance: random.Random,
        identity: str,
        heartbeat: rxws.Heartbeat | None,
        lags: tuple[float, ...],
    ) -> None:
        async def begin() -> None:
            options = {"heartbeat": heartbeat, **IDENTITIES[identity]}
            self.walk = Steps(chance, Peer(lags), **options)
            self.walk.ws.start()

        self.run(begin())

    @rule(name=st.sampled_from(CONSUMES))
    def consume(self, name: str) -> None:
        self.do(self.walk.action(name))

    @rule(name=st.sampled_from(LEAVES))
    def stop(self, name: str) -> None:
        self.do(self.walk.action(name))

    @rule(name=st.sampled_from(SENDS))
    def send(self, name: str) -> None:
        self.do(self.walk.action(name))

    @rule(name=st.sampled_from(FAULTS))
    def hurt(self, name: str) -> None:
        self.do(self.walk.action(name))

    @rule(seconds=st.sampled_from([0.2, 1.0, 3.0]))
    def block(self, seconds: float) -> None:
        self.do(lambda: self.walk.block(seconds))

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3]))
    def rotate(self, seconds: float) -> None:
        self.do(self.walk.rotate, seconds)

    @rule(count=st.sampled_from([1, 2, 5, 40]))
    def feed(self, count: int) -> None:
        self.do(lambda: self.walk.peer.feed(count))

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 0.5, 2.0]))
    def pass_time(self, seconds: float) -> None:
        self.do(lambda: None, seconds)

    @rule()
    def heal(self) -> None:
        self.do(self.walk.peer.heal)

    @precondition(lambda self: not self.walk.exited)
    @rule(name=st.sampled_from(IN_THE_MIDST))
    def in_the_midst_of_what_comes_next(self, name: str) -> None:
        self.walk.pending.append(name)

    @precondition(lambda self: not self.walk.exited)
    @rule()
    def rest(self) -> None:
        """After a long rest all is well, and what the feed sends arrives."""
        self.walk.pending.clear()
        self.do(self.walk.let_all_go_on, 30)
        self.walk.check_settled()
        self.do(self.walk.peer.feed, 1)
        self.walk.check_line()

    @invariant()
    def holds(self) -> None:
        walk = getattr(self, "walk", None)
        if walk is not None:
            walk.peer.look()
            assert walk.peer.most_open <= MOST_LINKS
            if not walk.exited:  # it is closed from the first step of its end on
                walk.check_state()
            self.check_reports()

    def check_reports(self) -> None:
        """Nothing but what our own consumers raise reaches the loop's exception handler."""
        unexpected = [r for r in self.reports if not isinstance(r.get("exception"), EXPECTED)]
        assert unexpected == []

    def teardown(self) -> None:
        failed = sys.exc_info()[1] is not None
        try:
            if not failed and hasattr(self, "walk"):
                self.walk.pending.clear()
                self.run(self._leave())
                self.check_reports()
        finally:
            self.runner.close()
        super().teardown()

    async def _leave(self) -> None:
        walk = self.walk
        await walk.leave_all()
        await turns()
        walk.check()
        late = rxws.State.CLOSED, []
        walk.ws.subscribe(on_completed=lambda: late[1].append("completed"))
        assert (walk.ws.state, late[1]) == (rxws.State.CLOSED, ["completed"])
        with contextlib.suppress(rxws.ClosedError):
            await walk.ws.send("too late")
            raise AssertionError("sent after the end")


def look(examples: int, steps: int, *, derandomize: bool) -> None:
    """Look for a walk on which something is not as promised."""
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_l9_whatever_is_done_in_whatever_order_holds_what_is_promised():
    """No more than two connections, order, no doubles, losses only in a gap, one end, nothing left.

    The walks are the same each time, so that what fails fails for everybody.
    """
    look(EXAMPLES, STEPS, derandomize=True)


if __name__ == "__main__":
    look(int(sys.argv[1]), 2 * STEPS, derandomize=False)
