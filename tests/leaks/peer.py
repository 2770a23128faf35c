"""``python -m tests.leaks.peer``: a server that ends connections, in a process of its own.

By the path of a connection: ``/stays`` is left alone; ``/ends`` is ended as soon as the client has
sent something, in turn with 1000, by RST, and with 1011. Its commands: ``open`` is answered with
how many connections there are.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from rxws.testing.session import Connection
from tests.children import answer_commands

_ENDS = 3


async def _serve() -> None:
    tcp: set[Connection] = set()
    ended = 0

    async def handle(connection: ServerConnection) -> None:
        nonlocal ended
        assert isinstance(connection, Connection)
        assert connection.request is not None
        with contextlib.suppress(ConnectionClosed):
            await connection.recv()
            if connection.request.path != "/ends":
                await connection.wait_closed()
                return
            ended += 1
            match ended % _ENDS:
                case 0:
                    await connection.close(1000)
                case 1:
                    connection.reset()
                case _:
                    await connection.close(1011, "as asked")

    async def obey(command: dict[str, Any]) -> dict[str, Any]:
        if command["op"] != "open":
            raise ValueError(command["op"])
        return {"open": len(tcp)}

    server = await serve(
        handle,
        "127.0.0.1",
        0,
        compression=None,
        ping_interval=None,
        create_connection=lambda *args, **options: Connection(tcp, *args, **options),
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        await answer_commands({"url": f"ws://127.0.0.1:{port}"}, obey)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        asyncio.run(_serve())
