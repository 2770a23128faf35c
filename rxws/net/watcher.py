"""Who asks for rotations is told how the connections come and go."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Watcher"]


class Watcher(Protocol):
    """Told of the stages of each connection; it asks for the rotations."""

    def on_outlet(self, epoch: int) -> None:
        """Sends go to this connection from now on."""

    def on_live(self, epoch: int) -> None:
        """This connection is the live one."""

    def on_gone(self, epoch: int) -> None:
        """This connection has ended."""
