"""``python -m rxws.testing.serve``: a numbered feed of made-up trades, in a process of its own.

The first line of its output is ``{"url": "ws://127.0.0.1:..."}``. Every connection is sent the
same events in the same order. It ends when its standard input does, so that it can't outlive
whoever started it.

A line of its input is a command, ``{"op": "log", "id": 1}``, answered by one line of output with
the same ``id``: ``log``, ``pause`` and ``resume``. Each is answered with the log of the feed, as
`FeedLog.to_json` makes it. A client may ask for ``{"op": "log"}`` over its websocket.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from rxws.net.transport import Raw
from rxws.testing.feed import SYMBOLS, Feed, Market
from rxws.testing.server import Server
from rxws.testing.session import Session

__all__ = ["main"]

_logger = logging.getLogger("rxws.testing")


def _parse(raw: Raw) -> dict[str, Any]:
    """Return the command in ``raw``; an empty one for anything else."""
    try:
        command = json.loads(raw)
    except ValueError:
        return {}
    return command if isinstance(command, dict) else {}


def _log(server: Server, command: dict[str, Any]) -> str:
    reply: dict[str, Any] = {"op": command["op"]} | server.log.to_json()
    if "id" in command:
        reply["id"] = command["id"]
    return json.dumps(reply, separators=(",", ":"))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _obey(server: Server, feed: Feed, line: str) -> None:
    """Do what one line of input says, and answer it."""
    command = _parse(line)
    op = command.get("op")
    if op == "pause":
        feed.pause()
    elif op == "resume":
        feed.resume()
    elif op != "log":
        sys.stderr.write(f"not a command: {line!r}\n")
        return
    _say(_log(server, command))


def _read_lines(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str | None]) -> None:
    """Hand over the lines of standard input, then ``None``; runs in a thread.

    It reads the descriptor itself: a thread inside a read of ``sys.stdin`` could not be left
    behind at the end of the process.
    """
    rest = b""
    try:
        while chunk := os.read(0, 65_536):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                loop.call_soon_threadsafe(lines.put_nowait, line.decode(errors="replace"))
    except ConnectionResetError as error:
        # The input may be a socket, whose other side died: an end like any other.
        _logger.debug("standard input: %s", error)
    loop.call_soon_threadsafe(lines.put_nowait, None)


async def _serve(arguments: argparse.Namespace) -> None:
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    async def on_message(session: Session, raw: Raw) -> None:
        command = _parse(raw)
        if command.get("op") == "log":
            await session.send(_log(server, command))

    async with Server(port=arguments.port, on_message=on_message) as server:
        feed = server.feed(arguments.rate, Market(arguments.symbols.split(",")))
        if arguments.paused:
            feed.pause()
        reader = threading.Thread(
            target=_read_lines,
            args=(asyncio.get_running_loop(), lines),
            name="standard input",
            daemon=True,
        )
        try:
            _say(json.dumps({"url": server.url}))
            reader.start()
            while (line := await lines.get()) is not None:
                _obey(server, feed, line)
        except BrokenPipeError:
            # Whoever started us is gone. What is still buffered for it must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the standard input ends; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m rxws.testing.serve",
        description="Serve a numbered feed of made-up trades until the standard input ends.",
    )
    parser.add_argument("--rate", type=float, default=1000.0, help="messages a second")
    parser.add_argument("--port", type=int, default=0, help="0 is any free port")
    parser.add_argument("--symbols", default=",".join(SYMBOLS), help="names, comma-separated")
    parser.add_argument("--paused", action="store_true", help="send nothing before a resume")
    options = parser.parse_args(arguments)
    if not options.rate > 0:
        parser.error("--rate must be positive")
    try:
        asyncio.run(_serve(options))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
