"""A hundredth of each of the long forms of ``python -m tests.leaks``."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.counting import CountingLoop
from tests.leaks.__main__ import run
from tests.leaks.forms import FORMS
from tests.leaks.gate import Gate

IDS = {
    "reconnects": "n2",
    "subscriptions": "n3",
    "rotations": "n4",
    "cancellations": "n5",
}


@pytest.mark.parametrize("name", [pytest.param(name, id=f"{IDS[name]} {name}") for name in FORMS])
def test_nothing_is_left_behind(
    name: str, loop_errors: list[Any], caplog: pytest.LogCaptureFixture
):
    """Done again and again it leaves no descriptor, task, thread, timer, object or connection."""
    caplog.set_level(logging.CRITICAL, logger="rxws")  # what pytest collects stays
    _, wrong = run(name, 0.01, seed=0)
    assert wrong == []
    assert loop_errors == []


def test_the_gate_sees_what_is_left():
    """A task, a timer, a descriptor and objects that stay are found."""
    kept: list[Any] = []

    async def leave() -> Gate:
        loop = asyncio.get_running_loop()
        gate = Gate(objects=100, memory=1_000)
        gate.begin()
        kept.append(loop.create_task(asyncio.sleep(60)))
        kept.append(await loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
        kept.append([[] for _ in range(200)])
        await asyncio.sleep(0)
        gate.end("leaving")
        kept[0].cancel()
        kept[1].close()
        await asyncio.wait({kept[0]})
        return gate

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        wrong = " ".join(runner.run(leave()).wrong)
    for what in ("descriptors", "tasks", "timers", "objects"):
        assert what in wrong
