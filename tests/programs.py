"""Programs that tests start: what they say on standard error, and for how long they may run."""

from __future__ import annotations

import re

__all__ = ["TIME", "complaints"]

TIME = 120.0
"""Seconds after which a program counts as hanging, however busy the machine is."""

# asyncio's debug mode remarks on the speed of the machine.
_REMARK = re.compile(r"Executing <.* took \d+\.\d+ seconds")


def complaints(err: str) -> str:
    """Return what a program wrote to standard error, but for remarks that a step took long."""
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if not _REMARK.fullmatch(line.rstrip()))
