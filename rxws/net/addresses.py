"""From a host's name to a TCP connection: lookups that don't pile up, addresses that race."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import itertools
import socket
from collections.abc import Sequence
from typing import Any, TypeAlias

__all__ = ["Address", "Lookups", "open_socket"]

Address: TypeAlias = tuple[int, Any]
"""The family of a socket, and what it connects to."""


class Lookups:
    """Finds the addresses of hosts, in a thread of the event loop's executor.

    Nothing can stop the operating system in the midst of a lookup. One that nobody waits for any
    more goes on until the system gives up, and keeps its thread so long; ``asyncio.run`` waits
    for that thread before it returns. Who asks for the same host meanwhile joins it: however
    many attempts time out, they leave one thread behind, not one each.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, int, int], asyncio.Future[list[Any]]] = {}

    async def find(self, host: str, port: int, family: int = 0) -> list[Address]:
        """The addresses of a host, in the order in which the system would have them tried.

        Raises:
            OSError: there are none, or nobody could be asked.
        """
        literal = _family_of(host)
        if literal is not None:
            return [(literal, (host, port))]
        loop = asyncio.get_running_loop()
        wanted = (host, port, family)
        pending = self._pending.get(wanted)
        if pending is None or pending.get_loop() is not loop:
            ask = functools.partial(
                socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM
            )
            pending = self._pending[wanted] = loop.run_in_executor(None, ask)
            pending.add_done_callback(functools.partial(self._forget, wanted))
        found = await asyncio.shield(pending)
        return [(info[0], info[4]) for info in found]

    def _forget(self, wanted: tuple[str, int, int], done: asyncio.Future[list[Any]]) -> None:
        if self._pending.get(wanted) is done:
            del self._pending[wanted]


def _family_of(host: str) -> int | None:
    """The family of an address that is written out; ``None`` for a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    if "%" in host:  # the name of an interface, which the system knows
        return None
    return socket.AF_INET if version == 4 else socket.AF_INET6


async def open_socket(addresses: Sequence[Address], delay: float) -> socket.socket:
    """A socket that is connected to the first address that answers (RFC 8305, "happy eyeballs").

    Args:
        addresses: to be tried in this order, though the families take turns.
        delay: seconds after which the next one is tried besides; at once when one has failed.

    Raises:
        OSError: what the only one said, or what all of them did.
    """
    waiting = iter(_in_turns(addresses))
    running: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    found: socket.socket | None = None
    try:
        while True:
            following = next(waiting, None)
            if following is not None:
                running.add(asyncio.create_task(_connect(following), name="rxws address"))
            elif not running:
                raise _all_of(errors)
            done, running = await asyncio.wait(
                running,
                timeout=None if following is None else delay,
                return_when=asyncio.FIRST_COMPLETED,
            )
            found = _first_of(done, errors)
            if found is not None:
                return found
    finally:
        await _give_up(running, found)


def _first_of(
    done: set[asyncio.Task[socket.socket]], errors: list[OSError]
) -> socket.socket | None:
    found: socket.socket | None = None
    for task in done:
        error = task.exception()
        if isinstance(error, OSError):
            errors.append(error)
        elif found is None:
            found = task.result()
        else:
            task.result().close()
    return found


async def _give_up(running: set[asyncio.Task[socket.socket]], found: socket.socket | None) -> None:
    for task in running:
        task.cancel()
        task.add_done_callback(_discard)
    try:
        if running:
            await asyncio.wait(running)
    except BaseException:
        if found is not None:
            found.close()
        raise


async def _connect(address: Address) -> socket.socket:
    family, to = address
    # Of a socket that names its protocol asyncio lets small messages leave at once.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, to)
    except BaseException:
        sock.close()
        raise
    return sock


def _discard(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _in_turns(addresses: Sequence[Address]) -> list[Address]:
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    turns = itertools.zip_longest(*families.values())
    return [address for turn in turns for address in turn if address is not None]


def _all_of(errors: Sequence[OSError]) -> OSError:
    if len(errors) == 1:
        return errors[0]
    return OSError("; ".join(map(str, errors)) or "the host has no address")
