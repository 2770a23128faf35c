"""``rxws demo``: what it shows, what it proves, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rxws.cli import demo, main
from rxws.cli.consumers import Consumer, Verdict, expect, judge
from tests.programs import complaints

ROOT = Path(__file__).parents[2]
SUMMARY = (
    r"messages (\d+) of (\d+), streams (\d+), rotations (\d+), "
    r"lost (\d+), duplicated (\d+), out of order (\d+)"
)


@contextlib.contextmanager
def started(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in a process of its own, which does not outlive the block."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "rxws", "demo", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def summary(out: str) -> list[int]:
    """Return the numbers of the one line that sums it up."""
    (found,) = re.findall(SUMMARY, out)
    return [int(number) for number in found]


def test_it_loses_nothing_and_says_so() -> None:
    """A short demo rotates, ends with 0 lost and 0 duplicated, and exits with 0."""
    with started("--seconds", "6", "--rotate", "0.8", "--rate", "400") as process:
        out, err = process.communicate()
        assert (process.returncode, complaints(err)) == (0, "")
    received, sent, streams, rotations, *wrong = summary(out)
    assert received == sent > 0
    assert streams >= 5
    assert rotations >= 1
    assert wrong == [0, 0, 0]
    assert f"{streams} of {streams} streams equal" in out
    assert re.search(
        r"^rotation 1: connection 1 -> 2, overlap \d.\d s, \d+ duplicates removed, 0 lost$",
        out,
        re.MULTILINE,
    )
    assert "\x1b" not in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_it_with_a_summary(number: int, code: int) -> None:
    """Interrupted, it sums up what was so far."""
    with started("--seconds", "1000") as process:
        assert process.stdout is not None
        shown = iter(process.stdout.readline, "")
        assert any(re.search(r" s  [1-9]\d* messages  connection \d", line) for line in shown)
        process.send_signal(number)
        out, err = process.communicate()
        assert (process.returncode, complaints(err)) == (code, "")
    received, sent, _, _, *wrong = summary(out)
    assert received == sent > 0
    assert wrong == [0, 0, 0]


def test_a_reader_that_goes_ends_it() -> None:
    """As with ``| head -1``: it ends without a word."""
    with started("--seconds", "1000") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert complaints(process.stderr.read()) == ""
        assert process.wait() == 0


def test_a_terminal_shows_a_table_in_place() -> None:
    """On a terminal the table is drawn over itself, and the cursor is there again at the end."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    shown = b""
    with started("--seconds", "4", stdout=theirs, env=environment) as process:
        os.close(theirs)
        assert process.stderr is not None
        with contextlib.suppress(OSError):  # that is how a terminal ends on Linux
            while data := os.read(ours, 65_536):
                shown += data
        assert complaints(process.stderr.read()) == ""
        assert process.wait() == 0
    os.close(ours)
    text = shown.decode()
    assert text.startswith("\x1b[?25l")
    assert text.endswith("\x1b[?25h")
    heads = re.findall(r"(\x1b\[\d+F)?\x1b\[J\r\nstream +by +messages +now\r\n", text)
    assert len(heads) > 2
    assert heads[0] == ""
    assert set(heads[1:]) == {"\x1b[13F"}
    assert summary(text)[-3:] == [0, 0, 0]


def test_a_loss_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream that misses a message, and gets another twice, makes the exit code 1."""
    attach = demo.attach

    class Forgetful(array):
        def append(self, number: int) -> None:
            numbers = {self[0] + 4: [], self[0] + 6: [number, number]} if self else {}
            for each in numbers.get(number, [number]):
                super().append(each)

    def attach_forgetful(*arguments: Any) -> list[Consumer]:
        consumers = attach(*arguments)
        consumers[-1].numbers = Forgetful("Q")
        return consumers

    monkeypatch.setattr(demo, "attach", attach_forgetful)
    assert main(["demo", "--seconds", "3"]) == 1
    out = capsys.readouterr().out
    assert summary(out)[-3:] == [1, 1, 0]
    assert "8 of 9 streams" in out
    assert "everything again by async handler: lost 1, duplicated 1, out of order 0" in out


def test_too_few_rotations_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a rotation, although there was time for one, nothing was shown: exit code 1."""
    monkeypatch.setattr(demo.DemoOptions, "rotates", True)
    assert main(["demo", "--seconds", "0.2"]) == 1
    assert summary(capsys.readouterr().out)[3:] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("received", "verdict"),
    [
        ([1, 2, 3], Verdict()),
        ([1, 3], Verdict(lost=frozenset({2}))),
        ([1, 2, 2, 2, 3], Verdict(duplicated=frozenset({2}))),
        ([1, 3, 2], Verdict(out_of_order=frozenset({2}))),
        ([1, 2, 3, 4], Verdict(uncalled_for=frozenset({4}))),
        ([1, 2, 3, 1], Verdict(duplicated=frozenset({1}))),
        ([], Verdict(lost=frozenset({1, 2, 3}))),
    ],
)
def test_a_verdict_says_what_differs(received: list[int], verdict: Verdict) -> None:
    """What was received is compared with what was expected, number by number."""
    assert judge(array("Q", [1, 2, 3]), array("Q", received)) == verdict
    assert bool(verdict) is (received != [1, 2, 3])


def test_what_is_expected_follows_from_the_numbers() -> None:
    """Each consumer is to get the messages of the market that it wants, and no others."""
    every = Consumer("", "", lambda _: True)
    quotes = Consumer("", "", lambda message: message["e"] == "quote")
    assert list(expect([every, quotes], range(10, 2010))) == [1000, 2000]
    assert every.expected == array("Q", range(10, 2010))
    assert len(quotes.expected) == 500
