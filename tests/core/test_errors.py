"""The tree of errors, and what each carries."""

from __future__ import annotations

import pytest

from rxws.core import errors
from rxws.core.errors import (
    BufferOverflow,
    ClosedError,
    ConnectError,
    ConnectionLost,
    Delivery,
    FilterError,
    RequestTimeout,
    RetriesExhausted,
    RxwsError,
    SendTimeout,
)

CAUSE = OSError("unreachable")


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (RxwsError, Exception),
        (ConnectError, RxwsError),
        (RetriesExhausted, ConnectError),
        (ConnectionLost, RxwsError),
        (SendTimeout, (RxwsError, TimeoutError)),
        (RequestTimeout, (RxwsError, TimeoutError)),
        (BufferOverflow, RxwsError),
        (ClosedError, RxwsError),
        (FilterError, (RxwsError, ValueError)),
    ],
)
def test_the_tree(error, bases):
    """Each error is caught as its bases are, and no other kind of ours is among them."""
    assert error.__bases__ == (bases if isinstance(bases, tuple) else (bases,))
    assert (error.__doc__ or "").strip()


def test_all_errors_are_named():
    """The module names all errors that it has, and the enumeration of deliveries."""
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) == found


def test_a_connect_error_has_its_cause():
    """The cause is an attribute and in the chain; by default another attempt makes sense."""
    error = ConnectError("refused", cause=CAUSE, retry_after=3.0)
    assert str(error) == "refused"
    assert error.cause is error.__cause__ is CAUSE
    assert (error.retryable, error.retry_after) == (True, 3.0)
    bare = ConnectError("refused", retryable=False)
    assert (bare.cause, bare.__cause__, bare.retryable, bare.retry_after) == (
        None,
        None,
        False,
        None,
    )


@pytest.mark.parametrize(("attempts", "text"), [(1, "1 attempt in"), (3, "3 attempts in")])
def test_exhausted_retries_are_counted(attempts, text):
    """The end of the attempts says how many there were and what the last one met."""
    error = RetriesExhausted(attempts, CAUSE)
    assert text in str(error)
    assert "unreachable" in str(error)
    assert (error.attempts, error.last, error.retryable) == (attempts, CAUSE, False)
    assert error.cause is error.__cause__ is CAUSE


def test_a_lost_connection_says_what_became_of_the_message():
    """By default nobody knows what became of it, and there was no Close frame."""
    error = ConnectionLost("gone", code=1011, reason="oops", delivery=Delivery.NOT_SENT)
    assert (error.code, error.reason, error.delivery) == (1011, "oops", Delivery.NOT_SENT)
    assert (error.sent, ConnectionLost("broken off", sent=1002).sent) == (None, 1002)
    bare = ConnectionLost("gone")
    assert (str(bare), bare.code, bare.reason, bare.delivery) == (
        "gone",
        None,
        "",
        Delivery.UNKNOWN,
    )


def test_timeouts_say_how_long_was_waited():
    """The text of a timeout has its seconds, as its attribute does."""
    send, request = SendTimeout(2.5, Delivery.NOT_SENT), RequestTimeout(10.0)
    assert (send.timeout, send.delivery, request.timeout) == (2.5, Delivery.NOT_SENT, 10.0)
    assert "2.5 s" in str(send)
    assert "not sent" in str(send)
    assert "10 s" in str(request)


def test_an_overflow_says_what_to_do():
    """The text has the capacity, who fell behind, and the options that help."""
    error = BufferOverflow(20, "the handler f")
    assert error.capacity == 20
    assert all(text in str(error) for text in ("the handler f", "20 items", "overflow="))
    assert "the consumer" in str(BufferOverflow(20))


def test_use_after_exit_says_so():
    """The text of a ClosedError is the same wherever none is given."""
    assert "exited" in str(ClosedError())
    assert str(ClosedError("exited before")) == "exited before"
