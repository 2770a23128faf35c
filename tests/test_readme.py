"""README tells the truth: its Python blocks run, its commands are lines to paste.

A Python block is a program of its own, which ends by itself. It may use ``await`` at its top
level, and the name ``URL``: the address of a running feed of trades and quotes.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from rxws.testing import ServerProcess
from tests.programs import TIME

README = Path(__file__).resolve().parents[1] / "README.md"

# A program's text comes by standard input, so that it can hold anything.
RUN = """
import ast, asyncio, inspect, sys
code = compile(sys.stdin.read(), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
names = {"__name__": "__main__", "URL": sys.argv[1]}
async def main():
    # The blocks import inside the loop, which takes longer than debug mode finds proper.
    asyncio.get_running_loop().slow_callback_duration = 3600
    running = eval(code, names)
    if running is not None:
        await running
if code.co_flags & inspect.CO_COROUTINE:
    asyncio.run(main())
else:
    exec(code, names)
"""


class Block(NamedTuple):
    """A fenced block: what is written behind its opening fence, where, and what is in it."""

    info: str
    line: int
    text: str


def blocks() -> list[Block]:
    """Return README's fenced blocks, in order."""
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    return [
        # Lines in front keep the numbers of tracebacks those of README.
        Block(match[1], (line := text[: match.start()].count("\n") + 1), "\n" * line + match[2])
        for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


programs = [block for block in blocks() if block.info.startswith("python")]


async def run(text: str, url: str, folder: Path) -> tuple[int | None, str]:
    """Run a program in a process of its own; return its exit code and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", RUN, url),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIME):
            _, errors = await process.communicate(text.encode())
    except TimeoutError:
        process.kill()
        _, errors = await process.communicate()
        return None, errors.decode() + f"\nstill running after {TIME:g} s"
    return process.returncode, errors.decode()


@pytest.mark.parametrize("block", programs, ids=lambda block: f"line{block.line}")
async def test_python_blocks_run(block: Block, tmp_path: Path):
    """Each block runs to its end in good time, as a program of its own, without a warning."""
    assert block.info == "python", "nothing exempts a block"
    async with ServerProcess(rate=200) as server:
        assert await run(block.text, server.url, tmp_path) == (0, "")


def test_the_four_uses_are_shown():
    """Observers, operators, iteration and handlers each appear in a block that is run."""
    shown = "\n".join(block.text for block in programs)
    for use in (".subscribe(", ".pipe(", "async for ", ".add_handler("):
        assert use in shown


def test_two_commands_are_lines_to_paste():
    """The first two shell blocks are the demo and the tests, a line each, with their own set-up."""
    demo, tests = [block.text.strip() for block in blocks() if block.info == "bash"][:2]
    for command in (demo, tests):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert "\n" not in command
    assert demo.endswith(" -m rxws demo")
    assert tests.endswith(" -m pytest")
