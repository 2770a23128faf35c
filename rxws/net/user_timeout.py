"""The kernel's own guard against a peer that is gone: TCP_USER_TIMEOUT (RFC 5482)."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

__all__ = ["set_user_timeout"]

_OPTION: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it


def set_user_timeout(connection: Any, seconds: float) -> None:
    """Let the kernel end a connection whose peer takes nothing for so long.

    Args:
        connection: with an asyncio ``transport``; without, or without a TCP socket beneath,
            nothing happens.
        seconds: that what was sent, or waits to be, may stay unacknowledged.
    """
    extra = getattr(getattr(connection, "transport", None), "get_extra_info", None)
    sock: Any = extra("socket") if callable(extra) else None
    if _OPTION is None or getattr(sock, "family", None) not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # closed meanwhile, or a kernel that refuses
        sock.setsockopt(socket.IPPROTO_TCP, _OPTION, min(round(seconds * 1000), 2**31 - 1))
