"""The command line: ``rxws`` and ``python -m rxws``.

The exit code is 0 when done, 1 when the connection failed (or, for the demo, when something was
lost or duplicated), 2 for wrong use, 130 when interrupted and 143 when terminated. When nobody
reads the output any more, that is an end like any other: 0.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rxws.cli.arguments import parse
from rxws.cli.demo import run_demo
from rxws.cli.running import run
from rxws.cli.watch import WatchOptions, run_watch

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say.

    Args:
        argv: the arguments without the name of the program; ``None``: those of this process.

    Returns:
        The exit code.
    """
    _replace_closed_streams()
    try:
        code = _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # before there was anything to end, or where signals can't be handled
        code = 130
    except BrokenPipeError:
        code = 0
    broken = [stream for stream in (sys.stdout, sys.stderr) if not _flushed(stream)]
    return 0 if sys.stdout in broken else code


def _main(argv: Sequence[str]) -> int:
    try:
        options = parse(argv)
    except SystemExit as end:  # of argparse, which has said why
        return end.code if isinstance(end.code, int) else 2
    # What the library would log is told by the commands, for people.
    logging.getLogger("rxws").addHandler(logging.NullHandler())
    if isinstance(options, WatchOptions):
        return run(lambda: run_watch(options))
    return run(lambda: run_demo(options))


def _replace_closed_streams() -> None:
    """Let nobody read what was closed when we were started (``2>&-``).

    Otherwise ``print`` takes standard output for standard error.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- for good
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- the same


def _flushed(stream: TextIO) -> bool:
    """Whether the reader of a stream is still there; else make the flush at our end succeed."""
    try:
        stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return False
    return True
