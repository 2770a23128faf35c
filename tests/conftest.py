"""What every test gets: ``async def`` tests, and nothing left behind by any.

An ``async def test_*`` runs in an event loop of its own, in asyncio's debug mode under
``python -X dev``. After every test, with or without a loop, these fail it:

- a task that was still pending when its loop was about to close;
- a thread, or an open file descriptor, that was not there before;
- anything reported to an event loop's exception handler, unless the test asks for the fixture
  ``loop_errors``, which collects the reports instead;
- a warning (``ResourceWarning`` and "never awaited" too): pytest is told to raise them.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import itertools
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import captures as recordings

LOOKS = 500
"""How often, 10 ms apart, is looked whether what is just ending (a thread, a closed peer's task)
has gone. Counted, not timed: a process that is stopped for a while gets as many."""

# How long an example takes says how busy the machine is.
settings.register_profile("rxws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rxws")

_DESCRIPTORS = Path("/proc/self/fd")

_tests = itertools.count(1)
_FREEZE_EVERY = 50
"""After so many tests what pytest and others keep is taken out of the collector's way again."""


# -- async tests ---------------------------------------------------------------------------------


def _in_a_loop(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a plain function that runs the coroutine function to its end in a new loop."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner() as runner:
            runner.run(function(*args, **kwargs))

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Make ``async def`` tests plain ones; hypothesis calls the inner one for each example."""
    hypothesis = getattr(pyfuncitem.obj, "hypothesis", None)
    if hypothesis is not None:
        if inspect.iscoroutinefunction(hypothesis.inner_test):
            hypothesis.inner_test = _in_a_loop(hypothesis.inner_test)
    elif inspect.iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = _in_a_loop(pyfuncitem.obj)


# -- nothing left behind -------------------------------------------------------------------------


def pytest_collection_finish() -> None:
    """Take all that exists by now out of the garbage collector's way: a run after each test."""
    gc.collect()
    gc.freeze()


class _Watch:
    """What the event loops of one test report, and the tasks that they were left with."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.tasks: list[str] = []

    def report(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Stand in for the method ``default_exception_handler`` of every loop."""
        self.reports.append(context)

    def leave(self, runner: asyncio.Runner) -> None:
        """Note what is pending as the runner ends, before it cancels that without a word."""
        loop = runner.get_loop()
        for _ in range(LOOKS):
            if not asyncio.all_tasks(loop):
                return
            loop.run_until_complete(asyncio.sleep(0.01))
        self.tasks.extend(repr(task) for task in asyncio.all_tasks(loop))


@pytest.fixture(autouse=True)
def _watch(monkeypatch: pytest.MonkeyPatch) -> _Watch:
    watch = _Watch()
    leave = asyncio.Runner.__exit__

    def leave_watched(runner: asyncio.Runner, *exc_info: Any) -> None:
        try:
            if exc_info[0] is None:  # a test that fails may leave what it likes
                watch.leave(runner)
        finally:
            leave(runner, *exc_info)

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        watch.report(loop, context)

    monkeypatch.setattr(asyncio.BaseEventLoop, "default_exception_handler", report)
    monkeypatch.setattr(asyncio.Runner, "__exit__", leave_watched)
    return watch


@pytest.fixture(autouse=True)
def _same_chances(request: pytest.FixtureRequest) -> None:
    """Give each test the same random numbers in every run: delays have jitter."""
    random.seed(request.node.nodeid)


@pytest.fixture
def loop_errors(_watch: _Watch) -> list[dict[str, Any]]:
    """Collect the contexts given to event loops' exception handlers; the test judges them."""
    return _watch.reports


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest, _watch: _Watch) -> Iterator[None]:
    threads, descriptors = set(threading.enumerate()), _open_descriptors()
    yield
    if "loop_errors" in request.fixturenames:
        _watch.reports.clear()  # their tracebacks hold what they ran through
    # Tasks, transports and coroutines that were dropped say so when they are collected.
    gc.collect()
    left = [f"a pending task: {task}" for task in _watch.tasks]
    left += [f"a report to the loop's handler: {_describe(report)}" for report in _watch.reports]
    _watch.reports.clear()
    for _ in range(LOOKS):
        if not _still_there(threads, descriptors):
            break
        time.sleep(0.01)
        gc.collect()
    left += _still_there(threads, descriptors)
    if next(_tests) % _FREEZE_EVERY == 0:
        gc.freeze()
    if left:
        pytest.fail("left behind:\n" + "\n".join(left), pytrace=False)


def _still_there(threads: set[threading.Thread], descriptors: dict[int, str]) -> list[str]:
    """Describe the threads and the descriptors of now that were not there before."""
    left = [f"a thread: {thread!r}" for thread in threading.enumerate() if thread not in threads]
    for number, target in _open_descriptors().items():
        if descriptors.get(number) != target and number not in _known_descriptors():
            left.append(f"an open descriptor: {number} -> {target}")
    return left


def _open_descriptors() -> dict[int, str]:
    """Return the process's descriptors and what each stands for; nothing where unknowable."""
    targets = {}
    if _DESCRIPTORS.is_dir():
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 -- twice per test
            try:
                targets[int(name)] = os.readlink(f"{_DESCRIPTORS}/{name}")  # noqa: PTH115 -- the same
            except FileNotFoundError:
                continue  # the one by which the folder itself was listed
    return targets


def _known_descriptors() -> set[int | None]:
    """Return those of multiprocessing's tracker, which starts once and lives with the process."""
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    return {tracker._resource_tracker._fd} if tracker else set()


def _describe(context: dict[str, Any]) -> str:
    """Return a loop's report as text, with the traceback if there is one."""
    error = context.get("exception")
    lines = [f"{key}: {value!r}" for key, value in context.items() if key != "exception"]
    if error is not None:
        lines.append("".join(traceback.format_exception(error)))
    return "\n  ".join(lines)


# -- recordings ----------------------------------------------------------------------------------


@pytest.fixture
def captures() -> Path:
    """Return the folder of the recorded sessions; skip the test where there are none."""
    folder = recordings.directory()
    if folder is None:
        pytest.skip("no recorded sessions in ../shared/data; RXWS_CAPTURES may point to them")
    return folder
