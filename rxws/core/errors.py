"""The errors that rxws raises.

::

    RxwsError
    ├── ConnectError        a connection could not be opened
    │   └── RetriesExhausted    ... and the backoff allows no further attempt
    ├── ConnectionLost      there is no connection, or it ended before the answer
    ├── SendTimeout         a message could not be sent in time
    ├── RequestTimeout      no reply came in time
    ├── BufferOverflow      a consumer was slower than its buffer allows
    ├── ClosedError         used after exit
    ├── ForkedError         used in a child of the process that it lives in
    └── FilterError         a malformed filter

Errors carry their data as attributes and build their own text from it.
"""

from __future__ import annotations

import enum

__all__ = [
    "BufferOverflow",
    "ClosedError",
    "ConnectError",
    "ConnectionLost",
    "Delivery",
    "FilterError",
    "ForkedError",
    "RequestTimeout",
    "RetriesExhausted",
    "RxwsError",
    "SendTimeout",
]


class Delivery(enum.Enum):
    """What is known about a message that was given to ``send``.

    None of these is a receipt: a websocket acknowledges nothing.
    """

    SENT = "sent"
    """The transport took the whole message on an open connection."""

    QUEUED = "queued"
    """Accepted before the first connection was asked for; sent when one is live."""

    NOT_SENT = "not sent"
    """No byte of it left: sending it again is safe."""

    UNKNOWN = "unknown"
    """The connection was lost, or the time was over, while it was on its way."""


class RxwsError(Exception):
    """Base of everything that rxws raises on its own account."""


class ConnectError(RxwsError):
    """A connection could not be opened.

    Attributes:
        cause: the exception of the transport, of ``source`` or of ``on_open``;
            also the ``__cause__``. ``None`` when there is none.
        retryable: whether another attempt makes sense.
        retry_after: seconds that the server asked us to wait; ``None`` when it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        cause: BaseException | None = None,
        retryable: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.retryable = retryable
        self.retry_after = retry_after
        self.__cause__ = cause


class RetriesExhausted(ConnectError):
    """As many attempts in a row as ``Backoff.attempts`` allows have failed.

    Attributes:
        attempts: how many there were.
        last: the error of the last one.
    """

    def __init__(self, attempts: int, last: BaseException | None) -> None:
        super().__init__(
            f"gave up after {attempts} attempt{'' if attempts == 1 else 's'} in a row; "
            f"last: {last}",
            cause=last,
            retryable=False,
        )
        self.attempts = attempts
        self.last = last


class ConnectionLost(RxwsError):
    """There is no live connection, or it ended before what was asked for was done.

    Attributes:
        code, reason: of the Close frame; ``None`` and ``""`` when there was none.
        sent: code of our own Close frame, where this side ended the connection because of what
            it received: 1002 (against the protocol), 1007 (no UTF-8) or 1009 (larger than
            ``max_size``), say; else ``None``.
        delivery: what became of the message, when one was being sent.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reason: str = "",
        sent: int | None = None,
        delivery: Delivery = Delivery.UNKNOWN,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.sent = sent
        self.delivery = delivery


class SendTimeout(RxwsError, TimeoutError):
    """A message could not be sent within the time allowed.

    Attributes:
        timeout: that time, in seconds.
        delivery: ``NOT_SENT`` while it was still queued here, else ``UNKNOWN``.
    """

    def __init__(self, timeout: float, delivery: Delivery) -> None:
        super().__init__(f"not sent within {timeout:g} s; delivery: {delivery.value}")
        self.timeout = timeout
        self.delivery = delivery


class RequestTimeout(RxwsError, TimeoutError):
    """No message matched the filters of a reply in time.

    Attributes:
        timeout: that time, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        super().__init__(f"no reply within {timeout:g} s")
        self.timeout = timeout


class BufferOverflow(RxwsError):
    """A consumer fell further behind than its buffer allows.

    Attributes:
        capacity: of the buffer, in items.
    """

    def __init__(self, capacity: int, what: str = "the consumer") -> None:
        super().__init__(
            f"{what} fell more than {capacity} items behind; consume faster, raise capacity=, "
            "or choose another overflow="
        )
        self.capacity = capacity


class ClosedError(RxwsError):
    """The websocket was used after its ``exit``."""

    def __init__(self, message: str = "this websocket has exited; connect a new one") -> None:
        super().__init__(message)


class ForkedError(RxwsError):
    """A websocket was used in a forked child of the process that it lives in.

    There it is inert: the connection stays the parent's alone. Connect a new one in the child.
    """

    def __init__(
        self, message: str = "this websocket lives in the parent process; connect a new one here"
    ) -> None:
        super().__init__(message)


class FilterError(RxwsError, ValueError):
    """A filter is malformed; raised where it was given."""
