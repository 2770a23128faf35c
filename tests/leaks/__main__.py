"""``python -m tests.leaks``: run the long forms, and end with 0 when nothing was left behind."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from typing import Any

from tests.counting import CountingLoop
from tests.leaks.forms import FORMS


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(name: str, scale: float, seed: int) -> tuple[list[str], list[str]]:
    """Run a form in a loop of its own; returns figures, and what is wrong."""
    reports: list[str] = []

    def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        reports.append(f"reported to the loop: {context}")

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.get_loop().set_exception_handler(report)
        gate = runner.run(FORMS[name](scale, random.Random(seed)))
    return gate.notes, [*gate.wrong, *reports]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.leaks",
        description="Do everything thousands of times, and see what is left behind.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FORMS)}; all")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the whole number (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of cancelling (0)")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(FORMS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    all_wrong = 0
    for name in given.names or FORMS:
        notes, wrong = run(name, given.scale, given.seed)
        for line in notes + [f"WRONG: {what}" for what in wrong]:
            _say(f"{name}: {line}")
        all_wrong += len(wrong)
    return 1 if all_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
