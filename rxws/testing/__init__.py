"""What tests of code that uses rxws need: no network, no waiting, faults on command.

- `Server`: a websocket server on the loopback interface with a script for each connection,
  prepared answers to handshakes, and a numbered feed.
- `ServerProcess`: that feed from a process of its own.
- `Relay`: before any server, real or not, for the faults of a network: `Latency`, `Bandwidth` and
  the other toxics, stalls that heal, cuts, resets.
- `FakeTransport`: connections without sockets, for ``rxws.connect(..., transport=...)``.
- `run_virtual`: like ``asyncio.run``, with a clock that jumps instead of waiting.
"""

from __future__ import annotations

from rxws.testing.answers import Accept, Answer, Refuse, Reset, Silent
from rxws.testing.fake import FakeDial, FakeLink, FakeTransport
from rxws.testing.feed import Feed, FeedLog, Market
from rxws.testing.loop import DeadlockError, VirtualTimeLoop, run_virtual
from rxws.testing.process import ServerProcess
from rxws.testing.relay import Relay
from rxws.testing.relayed import RelayConnection
from rxws.testing.server import Dial, Script, Server
from rxws.testing.session import Session
from rxws.testing.toxics import (
    Bandwidth,
    Direction,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

__all__ = [
    "Accept",
    "Answer",
    "Bandwidth",
    "DeadlockError",
    "Dial",
    "Direction",
    "FakeDial",
    "FakeLink",
    "FakeTransport",
    "Feed",
    "FeedLog",
    "Latency",
    "LimitData",
    "Market",
    "Refuse",
    "Relay",
    "RelayConnection",
    "Reset",
    "ResetPeer",
    "Script",
    "Server",
    "ServerProcess",
    "Session",
    "Silent",
    "Slicer",
    "SlowClose",
    "Timeout",
    "Toxic",
    "VirtualTimeLoop",
    "run_virtual",
]
