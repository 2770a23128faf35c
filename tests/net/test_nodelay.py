"""Small messages leave at once, not when the ones before them were acknowledged."""

from __future__ import annotations

import socket
from typing import Any

import rxws
from rxws.testing import Relay, Server


def leaves_at_once(transport: Any) -> bool:
    """Whether Nagle's algorithm is off, which would keep small writes for tens of milliseconds."""
    sock = transport.get_extra_info("socket")
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_no_side_waits_for_more_to_send():
    """TCP_NODELAY is set on the socket of a client, of a test server, and of a relay's client."""
    async with Server() as server, Relay(server.url) as relay:
        async with rxws.connect(relay.url) as ws:
            session = await server.connection(1)
            assert leaves_at_once(ws.present_ws.transport)
            assert leaves_at_once(session.connection.transport)
            for end in relay.connections[0]._ends:
                assert leaves_at_once(end._transport)
