"""The command line: wrong use, help, and ``main`` as a function."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rxws
from rxws.cli import main
from rxws.testing import Server, Session

ROOT = Path(__file__).parents[2]
URL = "ws://127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["watch"], "URL is missing"),
        (["watch", "localhost"], "ws://"),
        (["watch", "http://localhost"], "ws://"),
        (["watch", "ws://"], "no host"),
        (["watch", "ws://:80"], "no host"),
        (["watch", "ws://host:99999"], "port"),
        (["watch", "ws://[::1"], "host"),
        (["watch", "ws://host/#part"], "#"),
        (["watch", URL, "ws://other"], "unrecognized"),
        (["watch", URL, "--where", "a=1", "ws://other"], "one URL"),
        (["watch", URL, "--where"], "--where"),
        (["watch", "--where", URL], "PATH=VALUE is missing"),
        (["watch", URL, "--where", "trade"], "no '='"),
        (["watch", URL, "--where", "=trade"], "no path"),
        (["watch", URL, "--count", "0"], "1 or more"),
        (["watch", URL, "--count", "many"], "1 or more"),
        (["watch", URL, "--rotate", "0"], "more than 0"),
        (["watch", URL, "--rotate", "nan"], "more than 0"),
        (["watch", URL, "--cou", "1"], "unrecognized"),
        (["demo", "--seconds", "-1"], "more than 0"),
        (["unheard-of"], "invalid choice"),
    ],
)
def test_wrong_use_is_told(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments give exit code 2, and standard error says what is wrong."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert why in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["watch", URL, "wss://user:passw0rd@host/path?token=s3cr3t-value"],
        ["watch", "--count", "wss://user:passw0rd@host/path?token=s3cr3t-value", URL],
        ["watch", URL, "--where", "wss://user:passw0rd@host/path?token=s3cr3t-value"],
        ["wss://user:passw0rd@host/path?token=s3cr3t-value"],
    ],
)
def test_wrong_use_shows_no_secret(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said about wrong arguments shows no secret of a URL among them."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err
    assert not re.search("passw0rd|s3cr3t", out + err)


def test_without_a_command_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command there is nothing to do: help, and exit code 2."""
    assert main([]) == 2
    err = capsys.readouterr().err
    assert "watch" in err
    assert "demo" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--version"], f"rxws {rxws.__version__}\n"),
        (["--help"], "watch"),
        (["watch", "--help"], "PATH=VALUE"),
        (["demo", "--help"], "--rotate"),
    ],
)
def test_what_was_asked_for_is_printed(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help and version are output, with exit code 0."""
    assert main(arguments) == 0
    assert text in capsys.readouterr().out


def test_help_for_a_pager_that_was_left() -> None:
    """A reader of the help that has gone is no error, and nothing is said about it."""
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "rxws", "watch", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


async def test_main_is_a_function_too(capsys: pytest.CaptureFixture[str]) -> None:
    """``main`` runs in a thread, prints to whatever ``sys.stdout`` is, and returns the code."""

    async def script(session: Session) -> None:
        await session.send_all(['{"n": 1}', '{"n": 2}', '{"n": 3}'])

    async with Server(script) as server:
        code = await asyncio.to_thread(main, ["watch", server.url, "--count", "2"])
    assert code == 0
    assert capsys.readouterr().out == '{"n":1}\n{"n":2}\n'
