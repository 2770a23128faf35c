"""Programs that tests run in a process of their own: they end, are killed, or fork.

``python -m tests.faults.programs NAME URL``. What a program found out it prints as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import rxws

URL = ""
KEPT: list[Any] = []
"""What a program holds until its end."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(found: Any) -> None:
    """Print what was found out."""
    say(json.dumps(found))


class _Collecting(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def quietly(main: Callable[[], Coroutine[Any, Any, Any]]) -> dict[str, Any]:
    """Return what ``asyncio.run`` of a coroutine function raised, warned of and logged."""
    collecting = _Collecting()
    logger = logging.getLogger("asyncio")
    logger.addHandler(collecting)
    raised = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            asyncio.run(main())
        except BaseException as error:
            raised = type(error).__name__
        KEPT.clear()
        gc.collect()
    logger.removeHandler(collecting)
    return {
        "raised": raised,
        "warned": [f"{w.category.__name__}: {w.message}" for w in caught],
        "logged": [line for line in collecting.lines if not line.startswith("Executing <")],
    }


async def opened(**options: Any) -> rxws.ReactiveWebSocket[Any]:
    """Return an open websocket that got a message."""
    ws = await rxws.connect(URL, **options)
    await anext(ws.stream_filter())
    return ws


# -- the loop ends before the websocket ----------------------------------------------------------


async def open_at_the_end() -> None:
    """Leave it open."""
    await opened()


async def held_at_the_end() -> None:
    """Leave it open, and referred to."""
    KEPT.append(await opened())


async def iterated_at_the_end() -> None:
    """Leave iterations of it open, and one of them waiting."""
    ws = await opened()
    iteration = ws.pipe(rxws.to_async_iterator())
    stream = ws.stream_filter()
    KEPT.extend([ws, iteration, stream])
    KEPT.append(asyncio.ensure_future(anext(stream)))
    async for _ in iteration:
        break


async def rotating_at_the_end() -> None:
    """Leave it in the midst of a rotation, with two connections."""
    ws = await opened()
    events = ws.events.pipe(rxws.to_async_iterator(capacity=None))
    ws.rotate()
    async with events:
        async for event in events:
            if event == rxws.Connected(2):
                break


async def reconnecting_at_the_end() -> None:
    """Leave it while it waits for its next attempt, without any connection."""
    ws = await opened(backoff=rxws.Backoff(initial=60, maximum=60))
    lost = asyncio.get_running_loop().create_future()
    ws.events.subscribe(
        lambda event: lost.set_result(None) if isinstance(event, rxws.Disconnected) else None
    )
    ws.present_ws.transport.abort()
    await lost


async def handling_at_the_end() -> None:
    """Leave it while a handler is at work."""
    ws = await opened()
    called = asyncio.Event()

    async def handle(message: Any) -> None:
        called.set()
        await asyncio.sleep(60)

    ws.add_handler(handle)
    await called.wait()


async def subclassed_at_the_end() -> None:
    """Leave an instance of the abstract class open."""

    class Feed(rxws.AsyncWebsocketStreamInterface):
        async def _create_ws(self) -> Any:
            return URL

        async def _when2create_new_ws(self) -> None:
            await asyncio.sleep(60)

        async def _parse_raw_data(self, raw: Any) -> Any:
            return raw

    feed = Feed()
    await anext(feed.stream_filter())


def unclosed() -> None:
    """End event loops while a websocket is open on them."""
    mains = (
        open_at_the_end,
        held_at_the_end,
        iterated_at_the_end,
        rotating_at_the_end,
        reconnecting_at_the_end,
        handling_at_the_end,
        subclassed_at_the_end,
    )
    tell({main.__name__: quietly(main) for main in mains})


# -- signals -------------------------------------------------------------------------------------


def interrupted() -> None:
    """Be in ``async with`` until a signal comes, by the documented recipe."""
    exit_timeout = float(sys.argv[3])

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        async with rxws.connect(URL, exit_timeout=exit_timeout) as ws:
            await anext(ws.stream_filter())
            ws.subscribe(on_completed=lambda: say("leaving"))
            say("open")
            await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(main())
    gc.collect()
    say("left")


# -- a handler raises what ends a program --------------------------------------------------------


def _raise(kind: type[BaseException]) -> Any:
    raise kind


async def _entered(ws: Any) -> None:
    async with ws:
        await asyncio.Event().wait()


async def interrupted_handler() -> None:
    """Interrupt in a plain function."""
    ws = rxws.connect(URL)
    ws.add_handler(lambda _: _raise(KeyboardInterrupt))
    await _entered(ws)


async def interrupted_coroutine_handler() -> None:
    """Leave the program in a coroutine function."""

    async def handle(message: Any) -> None:
        raise SystemExit(3)

    ws = rxws.connect(URL)
    ws.add_handler(handle)
    await _entered(ws)


async def interrupted_observer() -> None:
    """Leave the program in an observer of a stream."""
    ws = rxws.connect(URL)
    ws.stream_filter().subscribe(lambda _: _raise(SystemExit))
    await _entered(ws)


async def interrupted_parse() -> None:
    """Interrupt in the parser."""
    await _entered(rxws.connect(URL, parse=lambda _: _raise(KeyboardInterrupt)))


async def interrupted_on_open() -> None:
    """Interrupt while a connection is prepared."""

    async def on_open(opening: rxws.Opening) -> None:
        await opening.recv()
        raise KeyboardInterrupt

    await _entered(rxws.connect(URL, on_open=on_open))


async def interrupted_event_observer() -> None:
    """Interrupt in an observer of the events."""
    ws = rxws.connect(URL)
    ws.events.subscribe(
        lambda event: _raise(KeyboardInterrupt) if event == rxws.Connected(1) else None
    )
    await _entered(ws)


def ended_by_a_handler() -> None:
    """Raise KeyboardInterrupt or SystemExit wherever users' functions are called."""
    mains = (
        interrupted_handler,
        interrupted_coroutine_handler,
        interrupted_observer,
        interrupted_parse,
        interrupted_on_open,
        interrupted_event_observer,
    )
    tell({main.__name__: quietly(main) for main in mains})


def goes_on_after_an_interrupt() -> None:
    """Run the loop on after a handler raised KeyboardInterrupt, as notebooks do."""
    loop = asyncio.new_event_loop()
    ws = rxws.connect(URL)
    ws.add_handler(lambda _: _raise(KeyboardInterrupt))
    closed = loop.create_future()
    events: list[str] = []
    ws.events.subscribe(
        lambda event: events.append(type(event).__name__),
        on_completed=lambda: closed.set_result(None),
    )
    raised = None
    try:
        loop.run_until_complete(_entered(ws))
    except KeyboardInterrupt as error:
        raised = type(error).__name__
    loop.run_until_complete(closed)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    tell({"raised": raised, "events": events})


# -- forks ---------------------------------------------------------------------------------------


def forked() -> None:
    """Fork with a live connection, let the child do its worst, and see what the parent gets."""
    how = sys.argv[3]
    numbers: list[int] = []
    read, write = os.pipe()

    async def main() -> None:
        async with rxws.connect(URL) as ws:
            ws.subscribe(lambda message: numbers.append(message["n"]))
            KEPT.append(ws.stream_filter())
            stream = ws.stream_filter()
            await anext(stream)
            if not (pid := os.fork()):
                await in_the_child(how, ws, write)
                return  # into the copy of the parent's loop
            # Messages from now on, of which none may be missing.
            for _ in range(300):
                await anext(stream)
            # Not in a thread: a child that closes its copy of the loop takes the parent's waker
            # out of the epoll instance that they share.
            while (found := os.waitpid(pid, os.WNOHANG)) == (0, 0):  # noqa: ASYNC222 -- no wait
                await anext(stream)
            os.close(write)
            told = os.read(read, 10_000)  # all of it: less than a pipe holds
            os.close(read)
            await ws.send("goodbye of the parent")
            tell(
                {
                    "whole": numbers == list(range(numbers[0], numbers[-1] + 1)),
                    "reconnects": ws.stats().reconnects,
                    "status": os.waitstatus_to_exitcode(found[1]),
                    "child": json.loads(told),
                }
            )

    warnings.simplefilter("ignore")  # of the child's interpreter, about what it inherited
    asyncio.run(main())


async def in_the_child(how: str, ws: rxws.ReactiveWebSocket[Any], write: int) -> None:
    """Try every entry point, then end as ``how`` says."""
    uses: dict[str, Callable[[], Any]] = {
        "send": lambda: ws.send("from the child"),
        "request": lambda: ws.request("from the child", []),
        "send_threadsafe": lambda: ws.send_threadsafe("from the child"),
        "on_next": lambda: ws.on_next("from the child"),
        "rotate": ws.rotate,
        "start": ws.start,
        "open": ws._open,
        "subscribe": lambda: ws.subscribe(print),
    }
    raised = {}
    for name, use in uses.items():
        try:
            result = use()
            if asyncio.iscoroutine(result):
                await result
        except Exception as error:
            raised[name] = type(error).__name__
    await ws.exit()
    transport = ws.present_ws.transport
    transport.write(b"from the child")
    transport.abort()
    if how == "collects":
        KEPT.clear()
        gc.collect()
    os.write(write, json.dumps(raised).encode())
    os.close(write)
    if how == "leaves at once":
        os._exit(0)
    if how == "runs on":
        with contextlib.suppress(RuntimeError):  # since Python 3.12 the child has no loop
            await asyncio.sleep(0.2)
    if how != "returns":
        sys.exit(0)


PROGRAMS: dict[str, Callable[[], None]] = {
    program.__name__: program
    for program in (unclosed, interrupted, ended_by_a_handler, goes_on_after_an_interrupt, forked)
}

if __name__ == "__main__":
    URL = sys.argv[2]
    PROGRAMS[sys.argv[1]]()
