"""The net under all tests: it catches what a test leaves behind, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LEAKY = """
import asyncio
import os
import socket
import threading
import time
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

kept = []

async def test_fails_async():
    await asyncio.sleep(0)
    assert False, "seen"

async def test_passes_with_fixtures(tmp_path):
    assert tmp_path.is_dir() and asyncio.get_running_loop().get_debug()

@settings(max_examples=5)
@given(number=st.integers())
async def test_passes_by_hypothesis(number):
    await asyncio.sleep(0)

@settings(max_examples=5, database=None)
@given(number=st.integers())
async def test_fails_by_hypothesis(number):
    assert number != 0

async def test_fails_pending_task():
    kept.append(asyncio.create_task(asyncio.sleep(3600)))

def test_fails_pending_task_of_a_plain_test():
    async def main():
        kept.append(asyncio.create_task(asyncio.sleep(3600)))
    asyncio.run(main())

async def test_passes_ending_task():
    kept.append(asyncio.create_task(asyncio.sleep(0.05)))

async def boom():
    raise ValueError("boom")

async def test_fails_exception_never_retrieved():
    asyncio.create_task(boom())
    await asyncio.sleep(0.01)

async def test_fails_report():
    asyncio.get_running_loop().call_exception_handler({"message": "consumer raised"})

async def test_passes_expected_report(loop_errors):
    asyncio.get_running_loop().call_exception_handler({"message": "consumer raised"})
    asyncio.create_task(boom())
    await asyncio.sleep(0.01)
    assert [str(e.get("exception")) for e in loop_errors] == ["None", "boom"]
    loop_errors.clear()

def test_fails_open_socket():
    kept.append(socket.socket())

def test_fails_forgotten_socket():
    cycle = [socket.socket()]
    cycle.append(cycle)

def test_passes_closed_socket():
    socket.socket().close()

def test_fails_open_pipe():
    kept.append(os.pipe())

def test_fails_thread():
    kept.append(threading.Thread(target=time.sleep, args=(3600,), daemon=True))
    kept[-1].start()

def test_passes_ending_thread():
    threading.Thread(target=time.sleep, args=(0.1,)).start()

def test_fails_never_awaited():
    boom()

async def test_skipped():
    pytest.skip("a reason")
"""


def test_net_under_all_tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """What a test left behind fails that test and no other; each name above says which do."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    conftest = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    pytester.makeconftest(conftest.replace("LOOKS = 500", "LOOKS = 50"))
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nfilterwarnings = ["error"]')
    pytester.makepyfile(LEAKY)
    result = pytester.runpytest_subprocess("-rA", "-p", "no:cacheprovider")
    became: dict[str, str] = {}
    for line in result.outlines:
        if match := re.match(r"(PASSED|FAILED|ERROR|SKIPPED) \S*::test_(\S+)", line):
            # A test whose teardown fails is listed twice: as passed, and as an error.
            became[match[2]] = (
                "passes" if match[1] == "PASSED" and match[2] not in became else "fails"
            )
    names = re.findall(r"^(?:async )?def test_(\w+)", LEAKY, re.MULTILINE)
    assert became == {name: name.split("_")[0] for name in names if name != "skipped"}
    assert result.parseoutcomes()["skipped"] == 1
