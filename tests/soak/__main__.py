"""``python -m tests.soak``: run, show, and end with 0 when all was as promised."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Sequence

from tests.counting import CountingLoop
from tests.soak.run import Settings, Soak

_ABOUT = """\
A numbered feed from a process of its own, rotated every second, with a fault every five.
Outside of declared gaps nothing may be lost, doubled or out of order, and every missing range
has to be inside exactly one gap, at the same place for every consumer.
"""


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=_ABOUT)
    parser.add_argument("--seconds", type=float, default=90.0, help="how long (90)")
    parser.add_argument("--minutes", type=float, help="the same, in minutes")
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second (2000)")
    parser.add_argument("--rotate", type=float, default=1.0, help="seconds; 0 for never (1)")
    parser.add_argument("--overlap", type=float, default=0.3, help="of a rotation, seconds (0.3)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds to a fault (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (0)")
    parser.add_argument("--faults", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--identity", choices=["key", "sequence", "bytes"], default="key")
    given = vars(parser.parse_args(arguments))
    minutes = given.pop("minutes")
    if minutes is not None:
        given["seconds"] = minutes * 60
    return Settings(**given)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    settings = _settings(arguments)
    _say(f"{settings}")
    # The collector stops everything to look through what lives for ever: tens of milliseconds.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        result = runner.run(Soak(settings, _say).run())
    for note in result.notes:
        _say(note)
    for finding in result.wrong:
        _say(f"WRONG: {finding}")
    _say("not as promised" if result.wrong else "as promised")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
