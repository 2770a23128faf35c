"""When a connection counts as dead: tables of virtual times."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.core.liveness import Heartbeat, Liveness, Verdict

WAIT, PING, SUSPECT, DEAD, SILENT = (
    Verdict.WAIT,
    Verdict.PING,
    Verdict.SUSPECT,
    Verdict.DEAD,
    Verdict.SILENT,
)
HEARTBEAT = Heartbeat(interval=10.0, timeout=4.0)

# Each row: now, last byte, last message; verdict, seconds until the next look.
TABLES = {
    "a quiet connection is pinged once, then suspected, then dead": (
        (HEARTBEAT, None),
        [
            (0, 0, 0, WAIT, 10),
            (9, 0, 0, WAIT, 1),
            (10, 0, 0, PING, 2),
            (11, 0, 0, WAIT, 1),
            (12, 0, 0, SUSPECT, 2),
            (13.5, 0, 0, SUSPECT, 0.5),
            (14, 0, 0, DEAD, 0),
            (15, 0, 0, DEAD, 0),
        ],
    ),
    "a byte after the ping revives it": (
        (HEARTBEAT, None),
        [
            (10, 0, 0, PING, 2),
            (12, 0, 0, SUSPECT, 2),
            (12, 11, 0, WAIT, 9),
            (14, 11, 0, WAIT, 7),
            (21, 11, 0, PING, 2),
            (25, 11, 0, DEAD, 0),
        ],
    ),
    "a late look finds the byte that came in time or late": (
        (HEARTBEAT, None),
        [(10, 0, 0, PING, 2), (40, 30.5, 0, WAIT, 0.5), (41, 30.5, 0, PING, 2)],
    ),
    "a ping that is due late still has its whole timeout": (
        (HEARTBEAT, None),
        [(100, 0, 0, PING, 2), (101, 0, 0, WAIT, 1), (103, 0, 0, SUSPECT, 1), (104, 0, 0, DEAD, 0)],
    ),
    "bytes without messages are life, but silence": (
        (HEARTBEAT, 25.0),
        [
            (0, 0, 0, WAIT, 10),
            (10, 9, 0, WAIT, 9),
            (19, 18, 0, WAIT, 6),
            (25, 24, 0, SILENT, 0),
        ],
    ),
    "a message ends the silence": (
        (HEARTBEAT, 25.0),
        [(24, 23, 0, WAIT, 1), (25, 25, 24.5, WAIT, 10), (49.5, 49, 24.5, SILENT, 0)],
    ),
    "silence is looked for while a pong is waited for": (
        (HEARTBEAT, 12.0),
        [(10, 0, 0, PING, 2), (11, 0, 0, WAIT, 1), (12, 0, 0, SILENT, 0)],
    ),
    "silence without a heartbeat": (
        (None, 5.0),
        [(0, 0, 0, WAIT, 5), (4, 4, 0, WAIT, 1), (5, 5, 0, SILENT, 0), (5, 5, 5, WAIT, 5)],
    ),
    "nothing is watched": ((None, None), [(0, 0, 0, WAIT, math.inf), (1e9, 0, 0, WAIT, math.inf)]),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_verdicts_over_time(name):
    """At each moment the verdict and the time of the next look are those of the table."""
    (heartbeat, silence), rows = TABLES[name]
    liveness = Liveness(heartbeat, silence, 0.0)
    found = [liveness.judge(now, byte, message) for now, byte, message, _, _ in rows]
    assert found == [(verdict, again) for _, _, _, verdict, again in rows]


def test_what_was_before_a_pause_is_excused():
    """Time in which nothing was read is neither silence nor the lack of a byte."""
    liveness = Liveness(HEARTBEAT, 20.0, 0.0)
    assert liveness.judge(10, 0, 0) == (PING, 2)
    liveness.excuse(1000)
    assert liveness.judge(1000, 0, 0) == (WAIT, 10)
    assert liveness.judge(1010, 0, 0) == (PING, 2)
    assert liveness.judge(1014, 0, 0) == (DEAD, 0)


def test_silence_starts_over_after_a_pause():
    """After a pause the whole span without a message is waited for again."""
    liveness = Liveness(None, 20.0, 0.0)
    liveness.excuse(1000)
    assert liveness.judge(1000, 0, 0) == (WAIT, 20)
    assert liveness.judge(1020, 0, 0) == (SILENT, 0)


def test_a_connection_is_judged_from_its_beginning():
    """What the clock said before the connection was there does not count."""
    assert Liveness(HEARTBEAT, 20.0, 500.0).judge(500, 0, 0) == (WAIT, 10)


@given(st.lists(st.integers(1, 55), min_size=1, max_size=60))
def test_who_brings_bytes_in_time_never_dies(quarters):
    """With a byte within interval and timeout, looks at the times given never find it dead."""
    liveness = Liveness(HEARTBEAT, None, 0.0)
    now, last, pings = 0.0, 0.0, 0
    for gap in quarters:
        until = last + gap / 4
        while now < until:
            verdict, again = liveness.judge(now, last, 0.0)
            assert verdict in (WAIT, PING, SUSPECT)
            pings += verdict is PING
            now += again
        last = until
    assert pings <= sum(gap >= 40 for gap in quarters)


@given(st.lists(st.floats(0.001, 30), max_size=60))
def test_who_brings_nothing_dies_after_one_ping(looks):
    """Without a byte one ping after the interval, suspicion halfway, death after the timeout."""
    liveness = Liveness(HEARTBEAT, None, 0.0)
    now = 0.0
    pings: list[float] = []
    for after in looks:
        now += after
        verdict, _ = liveness.judge(now, 0.0, 0.0)
        if verdict is PING:
            pings.append(now)
        since = now - pings[0] if pings else -1.0
        assert (verdict is WAIT) == (now < 10 or 0 < since < 2)
        assert (verdict is SUSPECT) == (2 <= since < 4)
    assert len(pings) <= 1


def test_looks_at_the_times_given_notice_death_exactly():
    """Who looks when it is told to pings, suspects and declares death at the earliest moment."""
    liveness = Liveness(HEARTBEAT, None, 0.0)
    now, seen = 0.0, []
    while not seen or seen[-1][1] is not DEAD:
        verdict, again = liveness.judge(now, 0.0, 0.0)
        seen.append((now, verdict))
        now += again
    assert seen == [(0, WAIT), (10, PING), (12, SUSPECT), (14, DEAD)]


@pytest.mark.parametrize("options", [{"interval": 0}, {"timeout": -1}, {"interval": math.inf}])
@pytest.mark.parametrize("wrong", [None, "10", math.nan])
def test_a_heartbeat_that_makes_no_sense(options, wrong):
    """Interval and timeout are finite seconds, more than 0."""
    name = next(iter(options))
    for value in (options[name], wrong):
        with pytest.raises(ValueError, match=name):
            Heartbeat(**{name: value})
