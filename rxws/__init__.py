"""One websocket connection as any number of reactive streams.

``connect`` returns a `ReactiveWebSocket`: a hot Observable that reconnects, is rotated on a
signal, and is split by ``stream_filter`` into streams to observe or to iterate.
"""

from __future__ import annotations

import logging

from . import operators, where
from .client import connect, observe
from .core.backoff import Backoff
from .core.buffer import Overflow
from .core.errors import (
    BufferOverflow,
    ClosedError,
    ConnectError,
    ConnectionLost,
    Delivery,
    FilterError,
    ForkedError,
    RequestTimeout,
    RetriesExhausted,
    RxwsError,
    SendTimeout,
)
from .core.events import (
    Closed,
    Connected,
    ConnectFailed,
    Connecting,
    ConsumerFailed,
    Disconnected,
    Event,
    Gap,
    Overflowed,
    ParseFailed,
    Reset,
    Rotated,
    Rotating,
    RotationFailed,
    SignalFailed,
    State,
)
from .core.handovers import Exclusive, FirstArrival, MakeBeforeBreak, Replace
from .core.liveness import Heartbeat
from .core.policy import Drop, Fail, Keep, ThisConnection
from .core.stats import Stats
from .interface import AsyncWebsocketStreamInterface
from .net.connection import Opening
from .net.transport import Link, Receiver, Transport
from .streams.iteration import to_async_iterator
from .streams.signals import every, from_coroutine, on_message, on_silence
from .streams.stream import Stream
from .websocket import ReactiveWebSocket

logging.getLogger("rxws").addHandler(logging.NullHandler())

__version__ = "0.1.0"

__all__ = [
    "AsyncWebsocketStreamInterface",
    "Backoff",
    "BufferOverflow",
    "Closed",
    "ClosedError",
    "ConnectError",
    "ConnectFailed",
    "Connected",
    "Connecting",
    "ConnectionLost",
    "ConsumerFailed",
    "Delivery",
    "Disconnected",
    "Drop",
    "Event",
    "Exclusive",
    "Fail",
    "FilterError",
    "FirstArrival",
    "ForkedError",
    "Gap",
    "Heartbeat",
    "Keep",
    "Link",
    "MakeBeforeBreak",
    "Opening",
    "Overflow",
    "Overflowed",
    "ParseFailed",
    "ReactiveWebSocket",
    "Receiver",
    "Replace",
    "RequestTimeout",
    "Reset",
    "RetriesExhausted",
    "Rotated",
    "Rotating",
    "RotationFailed",
    "RxwsError",
    "SendTimeout",
    "SignalFailed",
    "State",
    "Stats",
    "Stream",
    "ThisConnection",
    "Transport",
    "connect",
    "every",
    "from_coroutine",
    "observe",
    "on_message",
    "on_silence",
    "operators",
    "to_async_iterator",
    "where",
]
