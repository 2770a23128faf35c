"""``python -m tests.soak.world``: the server, its feed and its network, in a process of their own.

Its greeting has the URLs. Its commands are ``hurt`` (with the name of a fault and a seed),
``pause`` and ``resume``; each is answered with the last numbers that were sent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
from typing import Any

from rxws.testing import Latency, Relay, Server
from tests.children import answer_commands
from tests.soak.faults import World
from tests.soak.feed import last_numbers, make

_SKEW = 0.02  # seconds by which the last node is behind the first


async def _serve(options: argparse.Namespace) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server())
        relays = [
            await stack.enter_async_context(Relay(server.url, seed=options.seed + node))
            for node in range(options.nodes)
        ]
        if relays:
            relays[-1].add(Latency(_SKEW), stream="downstream")
        feed = server.feed(options.rate, make)
        feed.pause()
        world = World(server, relays)

        async def obey(command: dict[str, Any]) -> dict[str, Any]:
            detail = ""
            match command["op"]:
                case "hurt":
                    detail = await world.hurt(command["name"], command["seed"])
                case "pause":
                    feed.pause()
                case "resume":
                    feed.resume()
            return {"detail": detail, "sent": last_numbers(len(server.log.numbers))}

        await answer_commands({"urls": [relay.url for relay in relays] or [server.url]}, obey)


def main() -> None:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.world")
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second")
    parser.add_argument("--nodes", type=int, default=2, help="relays before the server")
    parser.add_argument("--seed", type=int, default=0, help="of the network's randomness")
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it remarks on writes to what is gone
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        asyncio.run(_serve(options))


if __name__ == "__main__":
    main()
