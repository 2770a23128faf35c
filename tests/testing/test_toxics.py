"""What each toxic does to bytes, and when: in virtual time, to the point."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.testing import (
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)
from rxws.testing.toxics import CHUNK, Item, Mark, stage
from tests.virtual import virtual


class Line:
    """A line of one stage, which writes down what the stage hands on and does, and when."""

    def __init__(self, toxic: Toxic, seed: int = 0) -> None:
        self.log: list[tuple[float, Any]] = []
        self.start = asyncio.get_running_loop().time()
        self.stage = stage(toxic, self, random.Random(seed))
        self.stage.emit = self.note
        self.feed = self.stage.feed

    def note(self, what: Item | str) -> None:
        self.log.append((asyncio.get_running_loop().time() - self.start, what))

    def cut(self) -> None:
        self.note("cut")
        self.stage.stop()

    def reset(self) -> None:
        self.note("reset")
        self.stage.stop()

    def changed(self) -> None:
        pass

    @property
    def items(self) -> list[Any]:
        return [what for _, what in self.log]

    @property
    def times(self) -> list[float]:
        return [round(when, 6) for when, _ in self.log]


@virtual
async def test_latency_delays_all_by_the_same_and_holds_nothing_up() -> None:
    """Pieces that come together go on together, ``latency`` seconds after they came."""
    line = Line(Latency(1.0))
    line.feed(b"a")
    await asyncio.sleep(0.5)
    line.feed(b"b")
    line.feed(Mark.EOF)
    assert line.items == [] and not line.stage.full
    await asyncio.sleep(5)
    assert line.items == [b"a", b"b", Mark.EOF] and line.times == [1.0, 1.5, 1.5]


@virtual
async def test_jitter_varies_latency_but_not_order_and_is_seeded() -> None:
    """Delays differ within the jitter, order stays, and the same seed gives the same again."""
    runs = []
    for seed in (1, 1, 2):
        line = Line(Latency(1.0, jitter=0.5), seed)
        for number in range(100):
            line.feed(b"%d" % number)
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        assert line.items == [b"%d" % number for number in range(100)]
        delays = [when - 0.1 * number for number, when in enumerate(line.times)]
        assert 0.5 <= min(delays) < 1.0 < max(delays) <= 1.5
        runs.append(line.times)
    assert runs[0] == runs[1] != runs[2]


@virtual
async def test_latency_is_full_with_four_mebibytes() -> None:
    """A long line holds much, but not everything; small pieces count for their memory too."""
    line, small = Line(Latency(1.0)), Line(Latency(1.0))
    for _ in range(2**22 // CHUNK):
        assert not line.stage.full
        line.feed(b"x" * CHUNK)
    for _ in range(2**15):
        small.feed(b"x")
    assert line.stage.full and small.stage.full
    await asyncio.sleep(1)
    assert not line.stage.full and len(line.items) == 2**22 // CHUNK


@virtual
async def test_bandwidth_lets_an_even_rate_through() -> None:
    """100 kB at 10 kB/s take 10 s, in steps of 10 ms; after a pause there is no burst."""
    line = Line(Bandwidth(10_000))
    line.feed(b"x" * 100_000)
    assert line.stage.full
    line.feed(Mark.EOF)
    await asyncio.sleep(20)
    assert b"".join(line.items[:-1]) == b"x" * 100_000
    assert line.items[-1] is Mark.EOF and line.times[-1] == pytest.approx(10)
    assert {round(b - a, 3) for a, b in pairwise(line.times[:-1])} == {0.01}
    line.feed(b"x" * 10_000)
    await asyncio.sleep(0.505)
    assert sum(map(len, line.items[1001:])) == 5_000
    assert not line.stage.full


@virtual
async def test_a_slice_follows_the_other_after_the_delay() -> None:
    """Slices have the size asked for, and the first goes at once."""
    line = Line(Slicer(3, delay=0.5))
    line.feed(b"abcdefgh")
    line.feed(Mark.EOF)
    await asyncio.sleep(5)
    assert line.items == [b"abc", b"def", b"gh", Mark.EOF]
    assert line.times == [0.0, 0.5, 1.0, 1.5]


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    st.integers(2, 20),
    st.integers(0, 19),
    st.integers(),
)
def test_slices_are_what_was_sliced(
    chunks: list[bytes], size: int, variation: int, seed: int
) -> None:
    """Whatever the sizes, they are within the variation, and the bytes are the same."""

    @virtual
    async def run() -> None:
        line = Line(Slicer(size, size_variation=min(variation, size - 1)), seed)
        for chunk in chunks:
            line.feed(chunk)
        assert b"".join(line.items) == b"".join(chunks)
        assert all(0 < len(item) <= size + variation for item in line.items)

    run()


@virtual
async def test_slow_close_delays_only_the_end() -> None:
    """Bytes pass at once, the end ``delay`` seconds later."""
    line = Line(SlowClose(2.0))
    line.feed(b"a")
    line.feed(Mark.EOF)
    await asyncio.sleep(5)
    assert line.items == [b"a", Mark.EOF] and line.times == [0.0, 2.0]


@virtual
async def test_a_timeout_holds_everything_and_then_cuts() -> None:
    """It is full from the start; with 0 it never ends, and what it held is there afterwards."""
    line, forever = Line(Timeout(3.0)), Line(Timeout())
    assert line.stage.full and forever.stage.full
    for each in (line, forever):
        each.feed(b"a")
        each.feed(Mark.EOF)
    await asyncio.sleep(1000)
    assert line.log == [(3.0, "cut")] and forever.log == []
    forever.stage.flush()
    assert forever.items == [b"a", Mark.EOF]


@virtual
async def test_a_reset_comes_after_its_time_and_bytes_pass_until_then() -> None:
    """``ResetPeer`` counts from when it meets the connection."""
    line, sudden = Line(ResetPeer(3.0)), Line(ResetPeer())
    line.feed(b"a")
    await asyncio.sleep(10)
    line.feed(b"b")
    assert line.log == [(0.0, b"a"), (3.0, "reset")] and sudden.log == [(0.0, "reset")]


@virtual
async def test_a_limit_cuts_after_its_last_byte() -> None:
    """Exactly ``bytes`` bytes pass, however they are spread, and then comes the end."""
    for sizes in ([10], [9, 1], [3, 3, 9], [100, 1]):
        line = Line(LimitData(10))
        for size in sizes:
            line.feed(b"x" * size)
        assert b"".join(line.items[: line.items.index(Mark.CUT)]) == b"x" * 10
    below = Line(LimitData(10))
    below.feed(b"x" * 9)
    below.feed(Mark.EOF)
    assert below.items == [b"x" * 9, Mark.EOF]


@virtual
async def test_what_is_flushed_comes_at_once_and_what_is_stopped_never() -> None:
    """Every toxic lets go of all it holds, in order, or throws it away; no timer is left."""
    for toxic in (Latency(9), Bandwidth(10), Slicer(2, delay=9), SlowClose(9), Timeout(9)):
        line, stopped = Line(toxic), Line(toxic)
        for each in (line, stopped):
            each.feed(b"abcdef")
            each.feed(Mark.EOF)
        line.stage.flush()
        assert b"".join(line.items[:-1]) == b"abcdef" and line.items[-1] is Mark.EOF
        before = list(stopped.log)
        stopped.stage.stop()
        stopped.feed(b"more")
        await asyncio.sleep(100)
        assert stopped.log == before and "cut" not in line.items


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Latency, {"latency": -1}),
        (Latency, {"latency": 1, "jitter": -1}),
        (Bandwidth, {"rate": 0}),
        (SlowClose, {"delay": -1}),
        (Timeout, {"timeout": -1}),
        (ResetPeer, {"timeout": -1}),
        (Slicer, {"average_size": 0}),
        (Slicer, {"average_size": 5, "size_variation": 5}),
        (Slicer, {"average_size": 5, "delay": -1}),
        (LimitData, {"bytes": -1}),
    ],
)
def test_what_cannot_be_is_refused(make: Any, options: dict[str, float]) -> None:
    """Parameters out of range are a ValueError that shows them."""
    with pytest.raises(ValueError, match=f"out of range: {make.__name__}"):
        make(**options)
