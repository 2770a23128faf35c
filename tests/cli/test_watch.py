"""``rxws watch`` as its users run it: a process, its pipes, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rxws.testing import Script, Server, Session
from tests.programs import TIME, complaints

ROOT = Path(__file__).parents[2]

TRADES = [
    '{"e":"trade","s":"BTC","n":1}',
    '{"e":"quote","s":"BTC","n":2}',
    '{"e":"trade","s":"ETH","n":3}',
    '{"e":"trade","s":"BTC","n":4}',
    '{"e":"end","n":5}',
]


@contextlib.asynccontextmanager
async def started(*arguments: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command line in a process of its own, which does not outlive the block."""
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | options
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "error", "-m", "rxws", *arguments, cwd=ROOT, **pipes
    )
    try:
        async with asyncio.timeout(TIME):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(*arguments: str, **options: Any) -> tuple[int, list[str], str]:
    """Run it to its end; returns the exit code, the lines of output, and standard error."""
    async with started(*arguments, **options) as process:
        out, err = await process.communicate()
        assert process.returncode is not None
        assert_calm(err)
        return process.returncode, (out or b"").decode().splitlines(), complaints(err.decode())


def assert_calm(err: bytes) -> None:
    """Standard error has lines of ours alone: no traceback, no warning, no ignored exception."""
    lines = complaints(err.decode()).splitlines()
    assert [line for line in lines if not line.startswith("rxws: ")] == []


def sends(*raws: str | bytes) -> Script:
    """Return a script that sends these messages."""

    async def script(session: Session) -> None:
        await session.send_all(raws)

    return script


# -- what is printed -----------------------------------------------------------------------------


async def test_messages_are_json_lines() -> None:
    """Each message is one compact line, its numbers digit by digit, and nothing else is output."""
    raws = ['{"p": 64250.10, "s": "\u20ac"}', b'[1, {"a": null}]', '"text"', "\n 7"]
    async with Server(sends(*raws)) as server:
        code, out, err = await run("watch", server.url, "--count", "4")
    assert code == 0
    assert out == ['{"p":64250.10,"s":"\u20ac"}', '[1,{"a":null}]', '"text"', "7"]
    assert "connection 1 is open" in err


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        (["--where", "e=trade", "s=BTC", "--where", "e=end"], [1, 4, 5]),
        (["--where", 'n="2"', "--where", "n=5"], [5]),
        (["--where=s=ETH", "--where=n=5"], [3, 5]),
    ],
)
async def test_where_selects(where: list[str], numbers: list[int]) -> None:
    """A message is printed when all terms of one --where match; the URL may come last."""
    async with Server(sends(*TRADES)) as server:
        url = f"{server.url}/path?a=b"
        code, out, _ = await run("watch", "--count", str(len(numbers)), *where, url)
        assert server.dials[0].path == "/path?a=b"
    assert code == 0
    assert [json.loads(line)["n"] for line in out] == numbers


async def test_raw_prints_what_came() -> None:
    """With --raw anything is printed, as it came, and binary data that is no text in base64."""
    async with Server(sends("pong", '{ "a" : NaN }', b"\xff\xff", b"bytes")) as server:
        code, out, err = await run("watch", "--raw", server.url, "--count", "4")
    assert (code, out) == (0, ["pong", '{ "a" : NaN }', "//8=", "bytes"])
    assert "not JSON" not in err


async def test_raw_is_filtered_by_what_it_says() -> None:
    """With --raw, filters look at the JSON of a message, and what is none doesn't match."""
    async with Server(sends("pong", '{ "e": "a" }', '{ "e": "b" }')) as server:
        code, out, _ = await run("watch", "--raw", "--where", "e=b", server.url, "--count", "1")
    assert (code, out) == (0, ['{ "e": "b" }'])


async def test_what_is_not_json_is_told_beside() -> None:
    """What can't be JSON goes to standard error, and what comes after it is printed."""
    async with Server(sends("po\x1b[31mng", b"\x1f\x8b\xff", "[NaN]", "[2]")) as server:
        code, out, err = await run("watch", server.url, "--count", "2")
    assert (code, out) == (0, ["[null]", "[2]"])
    assert err.count("not JSON") == 2
    assert "NaN and Infinity" in err
    assert "\x1b" not in err


async def test_statistics_are_told_beside() -> None:
    """--stats says at the end, on standard error, what was received and what was printed."""
    async with Server(sends(*TRADES)) as server:
        arguments = ["watch", server.url, "--stats", "--where", "e=end", "--count", "1"]
        code, out, err = await run(*arguments)
    assert (code, out) == (0, [TRADES[-1]])
    assert re.search(r"5 messages \(.*\), 1 printed, .*0 gaps", err)


# -- connections ---------------------------------------------------------------------------------


async def test_a_closed_connection_is_replaced() -> None:
    """A server that closes has not ended the feed, and what is sent is sent on each connection."""

    async def first(session: Session) -> None:
        await session.next_message()
        await session.send('{"n":1}')
        await session.close(1000, "enough")

    async def second(session: Session) -> None:
        for _ in range(2):
            await session.send(json.dumps({"got": await session.next_message()}))

    async with Server(scripts=[first, second]) as server:
        sent = ['{"op": "subscribe"}', "plain"]
        arguments = ["--send", sent[0], "--send", sent[1], "--count", "3"]
        code, out, err = await run("watch", server.url, *arguments)
        assert [session.received for session in server.sessions] == [sent, sent]
        assert await server.sessions[1].wait_closed() == (1000, "")
    assert code == 0
    assert [json.loads(line) for line in out] == [{"n": 1}, *({"got": text} for text in sent)]
    assert "connection 1 was lost: 1000 enough" in err
    assert "gap from" in err
    assert "connection 2 is open" in err


async def test_a_rotation_loses_nothing() -> None:
    """With --rotate the connection is replaced while every message is printed once, in order."""
    async with Server() as server:
        server.feed(200, lambda n: f'{{"n":{n}}}')
        async with started("watch", server.url, "--rotate", "0.2") as process:
            assert process.stderr is not None
            err = b""
            async for line in process.stderr:
                err += line
                if b"rotated: connection 1 -> 2" in line:
                    break
            process.send_signal(signal.SIGINT)
            out, rest = await process.communicate()
            assert process.returncode == 130
            assert_calm(err + rest)
    numbers = [json.loads(line)["n"] for line in out.splitlines()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("status", [401, 404])
async def test_a_refusal_that_lasts_ends_at_once(status: int) -> None:
    """What another attempt can't mend is told after the first, with exit code 1."""
    async with Server() as server:
        server.answer(status)
        code, out, err = await run("watch", server.url)
        assert len(server.dials) == 1
    assert (code, out) == (1, [])
    assert f"HTTP {status}" in err


async def test_a_server_that_is_not_there_ends_it() -> None:
    """The first connection is tried three times, then the exit code is 1."""
    async with Server() as server:
        await server.stop()
        code, out, err = await run("watch", server.url, "--stats")
    assert (code, out) == (1, [])
    assert [f"attempt {number} failed" in err for number in (1, 2, 3)] == [True, True, False]
    assert err.count("could not connect") == 3


async def test_a_server_that_is_busy_is_asked_again() -> None:
    """A first attempt that failed is followed by another."""
    async with Server(sends("[1]")) as server:
        server.answer(503)
        code, out, err = await run("watch", server.url, "--count", "1")
    assert (code, out) == (0, ["[1]"])
    assert "attempt 1 failed" in err


async def test_a_refusal_after_a_loss_ends_it() -> None:
    """What was printed stays printed when the connection can't be replaced."""

    async def script(session: Session) -> None:
        await session.send("[1]")
        server.answer(403)
        session.kick()

    async with Server(script) as server:
        code, out, err = await run("watch", server.url)
    assert (code, out) == (1, ["[1]"])
    assert "connection 1 was lost: without a Close frame" in err
    assert "HTTP 403" in err


async def test_no_secret_is_told() -> None:
    """Nothing that is printed shows user, password or query values of the URL."""

    async def script(session: Session) -> None:
        await session.send("[1]")
        server.answer(403)
        await session.close(4000, "bye c4n4ry-query c4n4ry-user")

    async with Server(script) as server:
        address = server.url.partition("://")[2]
        url = f"ws://c4n4ry-user:c4n4ry-password@{address}/path?token=c4n4ry-query"
        code, out, err = await run("watch", url, "--stats")
        assert "c4n4ry-query" in server.dials[0].path
    assert (code, out) == (1, ["[1]"])
    assert "bye" in err
    assert "c4n4ry" not in err


# -- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_in_order(number: int, code: int) -> None:
    """After an interrupt the connection is closed with 1000, and there is no traceback."""
    async with Server(sends("[1]")) as server, started("watch", server.url) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"[1]\n"
        process.send_signal(number)
        out, err = await process.communicate()
        assert (process.returncode, out) == (code, b"")
        assert_calm(err)
        assert await server.sessions[0].wait_closed() == (1000, "")


async def test_a_signal_ends_the_attempts() -> None:
    """An interrupt before the first connection ends it too."""
    async with Server() as server:
        server.answer(503)
        async with started("watch", server.url) as process:
            assert process.stderr is not None
            while not (line := await process.stderr.readline()).startswith(b"rxws: "):
                assert complaints(line.decode()) == ""
                assert line
            assert b"attempt 1 failed" in line
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
            assert process.returncode == 130
            assert_calm(err)


async def _read_one_line_and_go(*arguments: str) -> tuple[int | None, str]:
    """Run it with a pipe whose reader goes after the first line."""
    ours, theirs = os.pipe()
    async with started(*arguments, stdout=theirs) as process:
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe:
            await asyncio.to_thread(pipe.readline)
        _, err = await process.communicate()
        assert_calm(err)
        return process.returncode, complaints(err.decode())


async def test_a_reader_that_goes_ends_it() -> None:
    """As with ``| head -1``: it ends with exit code 0 and without a word about the pipe."""
    async with Server() as server:
        server.feed(2000)
        code, err = await _read_one_line_and_go("watch", server.url)
    assert code == 0
    assert "pipe" not in err.lower()


async def test_a_reader_that_goes_is_noticed_in_silence() -> None:
    """It ends when the reader goes, not only when it has another line for it."""
    async with Server(sends("[1]")) as server:
        code, _ = await _read_one_line_and_go("watch", server.url)
        assert code == 0
        assert await server.sessions[0].wait_closed() == (1000, "")


async def test_a_reader_of_both_outputs_that_goes_ends_it() -> None:
    """As with ``2>&1 | head -1``, where even the complaint would have no reader."""
    async with Server() as server:
        server.feed(2000)
        ours, theirs = os.pipe()
        async with started("watch", server.url, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            with os.fdopen(ours, "rb") as pipe:
                await asyncio.to_thread(pipe.readline)
            assert await process.wait() == 0


async def test_a_slow_reader_loses_nothing() -> None:
    """A reader that lets the pipe fill gets every message in the end, in order."""
    count, filling = 30_000, "x" * 200
    raws = [f'{{"n":{n},"x":"{filling}"}}' for n in range(count)]
    async with Server(sends(*raws)) as server:
        ours, theirs = os.pipe()
        async with started("watch", server.url, "--count", str(count), stdout=theirs) as process:
            os.close(theirs)
            # It holds a few megabytes at most; the rest stays with the server.
            session = await server.connection(1)
            tcp = session.connection.transport
            await server.wait(lambda: tcp.get_write_buffer_size() > 0, TIME, what="a full pipe")
            with os.fdopen(ours) as pipe:
                lines = await asyncio.to_thread(pipe.read)
            assert await process.wait() == 0
    assert [json.loads(line)["n"] for line in lines.splitlines()] == list(range(count))


async def test_a_reader_that_stalls_does_not_keep_it() -> None:
    """An interrupt ends it although the pipe is full and nobody reads."""
    raw = json.dumps("x" * 1000)
    async with Server(sends(*[raw] * 10_000)) as server:
        ours, theirs = os.pipe()
        try:
            async with started("watch", server.url, stdout=theirs) as process:
                os.close(theirs)
                session = await server.connection(1)
                tcp = session.connection.transport
                await server.wait(lambda: tcp.get_write_buffer_size() > 0, TIME, what="a full pipe")
                process.send_signal(signal.SIGINT)
                _, err = await process.communicate()
                assert process.returncode == 130
                assert_calm(err)
        finally:
            os.close(ours)


@pytest.mark.parametrize(
    ("closed", "lines"), [("2>&-", ["[1]"]), ("2>&1 >&-", ["rxws: connection 1 is open"])]
)
async def test_a_closed_output_is_read_by_nobody(closed: str, lines: list[str]) -> None:
    """What would go to an output that was closed from the start does not go to the other."""
    command = f'exec "$0" -m rxws watch "$1" --count 1 {closed}'
    async with Server(sends("[1]")) as server:
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            command,
            sys.executable,
            server.url,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert (process.returncode, out.decode().splitlines()) == (0, lines)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
async def test_a_full_disk_is_told() -> None:
    """Output that can't be written is an error, told in one line."""
    with Path("/dev/full").open("wb") as full:  # noqa: ASYNC230 -- opened, not read
        async with Server(sends("[1]")) as server:
            code, _, err = await run("watch", server.url, stdout=full)
    assert code == 1
    assert "could not write" in err
