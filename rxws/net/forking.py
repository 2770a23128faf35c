"""What a fork leaves in the child: nothing through which it could harm its parent.

A child inherits the parent's sockets and, on Linux, shares its epoll instance. Were it to close,
abort or read such a socket, in a finalizer say, the parent would lose its connection or its
bytes. So in the child every descriptor of a connection is made to stand for a socket of the
child's own, which leads nowhere: what is done to it from then on concerns nobody.
"""

from __future__ import annotations

import os
import socket
import weakref
from typing import Any, Protocol

__all__ = ["Inherited", "cut_off", "in_child"]


class Inherited(Protocol):
    """Something that must not act in the child of a fork."""

    def after_fork(self) -> None:
        """Called in the child, before anything else runs there; must not use the event loop."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()
_nowhere: list[socket.socket] = []  # of the child; kept open, so that writing is no error


def in_child(owner: Inherited) -> None:
    """Call ``owner.after_fork`` in every child that is forked while ``owner`` lives."""
    _inherited.add(owner)


def cut_off(transport: Any) -> None:
    """Make the descriptor of an asyncio transport stand for a socket that leads nowhere."""
    inherited = None if transport is None else transport.get_extra_info("socket")
    number = -1 if inherited is None else inherited.fileno()
    if number < 0:  # closed before
        return
    if not _nowhere:
        _nowhere.extend(socket.socketpair())
        _nowhere[0].setblocking(False)
    os.dup2(_nowhere[0].fileno(), number, inheritable=False)


def _forked() -> None:
    for owner in list(_inherited):
        owner.after_fork()
    _inherited.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
