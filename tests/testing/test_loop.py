"""The loop of virtual time is exact, works with threads, and names what hangs."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from rxws.testing import DeadlockError, VirtualTimeLoop, run_virtual
from rxws.testing import loop as loop_of_virtual_time


def test_hours_of_sleep_take_no_real_time() -> None:
    """Time is virtual: a day of sleep ends on the exact second, at once."""

    async def main() -> float:
        assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    before = time.monotonic()
    assert run_virtual(main()) == 86_400
    assert time.monotonic() - before < 60


def test_timers_fire_in_their_order_at_their_exact_moment() -> None:
    """The clock shows the very moment that a timer was set for, rounding included."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1000.1)
        fired: list[tuple[float, float]] = []
        moments = [loop.time() + n * 0.1 for n in (7, 1, 3, 3, 5)]
        for moment in moments:
            loop.call_at(moment, lambda m: fired.append((m, loop.time())), moment)
        loop.call_at(moments[2], fired.append, (0, 0)).cancel()
        await asyncio.sleep(2)
        assert fired == [(moment, moment) for moment in sorted(moments)]

    run_virtual(main)


def test_a_ready_callback_goes_before_the_clock() -> None:
    """The clock stands still while anything is ready."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1, lambda: None)
        for _ in range(100):
            await asyncio.sleep(0)
        assert loop.time() == 0

    run_virtual(main)


def test_timeouts_use_the_virtual_clock() -> None:
    """``asyncio.timeout`` and ``wait_for`` time out at their moment."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 12)
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 42


def test_a_deadlock_is_an_error_that_names_the_tasks() -> None:
    """Where nothing can happen any more, the error says who waits, and where."""

    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        waits = asyncio.create_task(forever(), name="somebody")
        await waits

    with pytest.raises(DeadlockError, match=r"(?s)somebody.*forever at .*test_loop.py:\d+"):
        run_virtual(main)


def test_threads_of_the_loop_stop_the_clock() -> None:
    """A timer further away than a function in a thread takes does not overtake it."""

    async def main() -> tuple[str, float]:
        async with asyncio.timeout(1):
            result = await asyncio.to_thread(lambda: time.sleep(0.05) or "done")
        return result, asyncio.get_running_loop().time()

    assert run_virtual(main) == ("done", 0)


def test_a_foreign_thread_can_wake_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """``call_soon_threadsafe`` works while the loop has nothing to do."""
    monkeypatch.setattr(loop_of_virtual_time, "_PATIENCE", 60.0)  # of a thread that starts late

    async def main() -> int:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()
        thread = threading.Timer(0.05, loop.call_soon_threadsafe, (answer.set_result, 42))
        thread.start()
        try:
            return await answer
        finally:
            thread.join()

    assert run_virtual(main) == 42


@pytest.mark.parametrize("debug", [True, False])
def test_debug_mode_is_passed_on(*, debug: bool) -> None:
    """``debug`` sets the mode of the loop."""

    async def main() -> bool:
        await asyncio.sleep(10)
        return asyncio.get_running_loop().get_debug()

    assert run_virtual(main, debug=debug) is debug


def test_the_end_cancels_what_is_left() -> None:
    """As ``asyncio.run``, it cancels tasks and closes asynchronous generators."""
    ended: list[str] = []

    async def task() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append("task")

    async def main() -> None:
        left = asyncio.create_task(task())
        await asyncio.sleep(1)
        assert not left.done()
        raise KeyError

    with pytest.raises(KeyError):
        run_virtual(main)
    assert ended == ["task"]
