"""Recorded sessions of real exchanges: finding and reading them.

They are not part of this repository. They are looked for where the environment variable
``RXWS_CAPTURES`` points, else in ``../shared/data`` beside the checkout. A line of a recording is::

    URL <-> TIME            the connection was opened
    URL <- TIME: TEXT       the client sent TEXT
    TIME: TEXT              the server sent TEXT
    TIME: b'...'            the server sent these bytes
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["NAMES", "Capture", "directory", "load", "read"]

NAMES = ("binance_futures", "coinbase", "huobi", "kraken")

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
_OPENED = re.compile(r"(\S+) <-> [\d.]+")
_SENT = re.compile(r"\S+ <- [\d.]+: (.*)", re.DOTALL)
_RECEIVED = re.compile(r"[\d.]+: (.*)", re.DOTALL)


@dataclass
class Capture:
    """One recorded connection: its URL and what went over it each way, in order."""

    url: str = ""
    sent: list[str] = field(default_factory=list)
    received: list[str | bytes] = field(default_factory=list)


def directory() -> Path | None:
    """Return the folder of the recordings, or ``None`` where there is none."""
    folder = Path(os.environ.get("RXWS_CAPTURES") or _BESIDE)
    return folder if any(folder.glob("*.capture")) else None


def load(name: str) -> Capture:
    """Read the recording ``name`` (without its ending); tests that do so use ``captures``."""
    folder = directory()
    if folder is None:
        raise FileNotFoundError("no recordings here; set RXWS_CAPTURES to their folder")
    # Only "\n" ends a line: a message may hold what str.splitlines would split at.
    with (folder / f"{name}.capture").open(encoding="utf-8", newline="\n") as lines:
        return read(lines)


def read(lines: Iterable[str]) -> Capture:
    """Read one recording from its lines; raise ``ValueError`` at a line that is none."""
    capture = Capture()
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\n")
        if opened := _OPENED.fullmatch(line):
            capture.url = opened[1]
        elif sent := _SENT.fullmatch(line):
            capture.sent.append(sent[1])
        elif received := _RECEIVED.fullmatch(line):
            text = received[1]
            is_bytes = text.startswith(("b'", 'b"'))
            capture.received.append(ast.literal_eval(text) if is_bytes else text)
        elif line:
            raise ValueError(f"line {number} is not one of a recording: {line[:60]!r}")
    return capture
