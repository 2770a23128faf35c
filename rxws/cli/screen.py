"""Where the demo shows what happens: a table in place on a terminal, else lines."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

__all__ = ["Lines", "Screen", "make_screen"]

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_CLEAR_BELOW = "\x1b[J"


class Lines:
    """Plain lines, for a file or a pipe: of the table, one line a second."""

    interval = 1.0
    """Seconds from one showing to the next."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """Print a line that stays."""
        print(text, flush=True)

    def show(self, table: Callable[[], Sequence[str]], line: str) -> None:
        """Show how things are: ``line``, what ``table`` says in short."""
        print(line, flush=True)

    def settle(self) -> None:
        """What was shown last stays, and is followed by the next."""


class Screen(Lines):
    """A table at the foot of a terminal, drawn over again and again; lines go above it."""

    interval = 0.2

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def __enter__(self) -> Self:
        print(_HIDE_CURSOR, end="", flush=True)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        print(_SHOW_CURSOR, end="", flush=True)

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._draw([text], self._drawn)

    def show(self, table: Callable[[], Sequence[str]], line: str) -> None:
        """Draw what ``table`` says, and ``line`` below it."""
        width, height = shutil.get_terminal_size()
        # A line that wraps, or one more than fits, and the table would no longer be in place.
        self._draw([], [row[: width - 1] for row in (*table(), line)][-(height - 1) :])

    def settle(self) -> None:
        """What was drawn last stays, and is followed by the next."""
        self._drawn = []

    def _draw(self, above: Sequence[str], table: list[str]) -> None:
        up = f"\x1b[{len(self._drawn)}F" if self._drawn else ""
        self._drawn = table
        text = "".join(f"{row}\n" for row in (*above, *table))
        print(f"{up}{_CLEAR_BELOW}{text}", end="", flush=True)


def make_screen() -> Lines:
    """A screen on a terminal that can do it, else lines."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Screen()
    return Lines()
