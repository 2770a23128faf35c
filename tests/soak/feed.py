"""The numbered feed of the soak: what a message is, and how it is told apart."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["PARTITIONS", "identity", "last_numbers", "make"]

PARTITIONS = tuple(f"p{index}" for index in range(5))
"""Each has numbers of its own, from 1 on; they are served in turn."""


def make(n: int) -> str:
    """Return the ``n``-th message of the feed, from 1 on, and when it was made.

    The moment is of a clock that all processes of a machine share.
    """
    turn, index = divmod(n - 1, len(PARTITIONS))
    return f'{{"p":"{PARTITIONS[index]}","q":{turn + 1},"n":{n},"t":{time.monotonic():.6f}}}'


def last_numbers(n: int) -> dict[str, int]:
    """Return the last number of each partition after ``n`` messages."""
    turn, index = divmod(n, len(PARTITIONS))
    return {name: turn + (place < index) for place, name in enumerate(PARTITIONS)}


def identity(kind: str) -> dict[str, Any]:
    """Return the options of ``rxws.connect`` by which messages are told apart."""
    partition = {"partition": lambda message: message["p"]}
    match kind:
        case "key":
            return {"key": lambda message: message["n"]}
        case "sequence":
            return {"sequence": lambda message: message["q"], **partition}
        case _:
            return partition
