"""Whether another attempt is made after an error, and how long is waited at least."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.core.backoff import Backoff
from rxws.core.errors import ConnectError, ConnectionLost
from rxws.core.verdicts import Verdict, Verdicts, retry_after

REFUSALS = [1002, 1003, 1007, 1008, 1009, 1010]
NOW = 784_111_777.0 - 120  # two minutes before the example of RFC 9110


def closed(code: int | None) -> ConnectionLost:
    """Return the loss of a connection that the server closed."""
    return ConnectionLost("lost", code=code)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (OSError("unreachable"), Verdict(True)),
        (ConnectError("refused"), Verdict(True)),
        (ConnectError("401", retryable=False), Verdict(False)),
        (ConnectError("503", retry_after=7.0), Verdict(True, 7.0)),
        (ConnectError("lost", cause=closed(1013)), Verdict(True, 2.0)),
        (ConnectError("lost", cause=closed(1013), retry_after=7.0), Verdict(True, 7.0)),
        (ConnectError("lost", cause=closed(1013), retryable=False), Verdict(False, 2.0)),
        (closed(1013), Verdict(True, 2.0)),
        *((closed(code), Verdict(True)) for code in (None, 1000, 1001, 1005, 1006, 1011, 1012)),
        *((closed(code), Verdict(True)) for code in (3000, 4000, 4401, 4999)),
        *((closed(code), Verdict(True)) for code in REFUSALS),
    ],
)
def test_one_error(error, verdict):
    """The error says whether it can pass; 1013 asks for the second step of the backoff at least."""
    assert Verdicts(Backoff()).judge(error) == verdict


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("kind", ["closed", "failed by us", "while opening"])
def test_three_refusals_in_a_row_are_for_good(kind, code):
    """The third refusal is not retried, whatever else happened between; stability forgives."""
    if kind == "closed":
        refusal = closed(code)
    elif kind == "failed by us":
        refusal = ConnectionLost(kind, sent=code)
    else:
        refusal = ConnectError(kind, cause=closed(code))
    verdicts = Verdicts(Backoff())
    between = [closed(1006), ConnectError("503"), closed(1013)]
    assert verdicts.judge(refusal).retryable
    assert all(verdicts.judge(other).retryable for other in between)
    assert verdicts.judge(refusal).retryable
    assert not verdicts.judge(refusal).retryable
    assert "3 times in a row" in refusal.__notes__[0]
    assert all(verdicts.judge(other).retryable for other in between)
    verdicts.stable()
    assert [verdicts.judge(refusal).retryable for _ in range(3)] == [True, True, False]


def test_what_befalls_a_successor_is_not_counted():
    """Refusals that leave a live connection are retried for ever, and count for nothing."""
    verdicts = Verdicts(Backoff())
    assert all(verdicts.judge(closed(1008), counts=False).retryable for _ in range(10))
    assert verdicts.judge(closed(1013), counts=False).least == 2
    assert [verdicts.judge(closed(1008)).retryable for _ in range(3)] == [True, True, False]


def test_the_users_word_settles_it():
    """What the user says of another attempt holds for every error, refusals included."""
    verdicts = Verdicts(Backoff())
    errors = [closed(1008), closed(1013), ConnectError("401", retryable=False), OSError("gone")]
    for error in errors * 3:
        assert verdicts.judge(error, word=True).retryable
        assert not verdicts.judge(error, word=False).retryable
        assert not hasattr(error, "__notes__")


def test_what_this_side_said_in_an_orderly_end_is_no_refusal():
    """Our own Close frame counts only with the codes of a refusal."""
    verdicts = Verdicts(Backoff())
    errors = [ConnectionLost("ended", sent=code) for code in (1000, 1001, 1011, 4000)]
    assert all(verdicts.judge(error) == Verdict(True) for error in errors * 5)


@pytest.mark.parametrize(
    ("backoff", "least"),
    [
        (Backoff(initial=0.5, factor=3), 1.5),
        (Backoff(initial=5, maximum=5), 5),
        (Backoff(initial=0), 0),
    ],
)
def test_the_second_step_is_that_of_the_backoff(backoff, least):
    """How long a 1013 is waited after follows the backoff, its maximum included."""
    assert Verdicts(backoff).judge(closed(1013)).least == least


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
        ("0", 0),
        (" 120 ", 120),
        ("601", 600),
        ("9" * 400, 600),
        ("²", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 120),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 120),
        ("Sun Nov  6 08:49:37 1994", 120),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 120),
        ("Sun, 06 Nov 1994 09:49:37 +0100", 120),
        ("Sun, 06 Nov 1994 08:40:00 GMT", 0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", 600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600),
        ("Sun, 40 Nov 1994 08:49:37 GMT", 600),
        ("Sun, 06 Nov 0000 08:49:37 GMT", 600),
    ],
)
def test_retry_after(value, seconds):
    """Seconds, or a date in any form of HTTP, are waited for, at most ten minutes."""
    assert retry_after(value, NOW) == seconds


@given(st.text(max_size=50) | st.datetimes().map(lambda date: date.strftime("%c")))
def test_retry_after_takes_any_text(value):
    """Whatever a server sends there, the wait is bounded, and nothing is raised."""
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 600
