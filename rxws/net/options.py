"""The options of a connection, checked where they are given."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Any, TypeAlias

from ..core.backoff import Backoff
from ..core.events import Gap
from ..core.filters import Filters
from ..core.handovers import Exclusive, FirstArrival, HandoverMode, MakeBeforeBreak, Replace
from ..core.liveness import Heartbeat
from ..core.redact import Redactor
from ..streams.handlers import is_coroutine_function
from .transport import Raw, Transport

__all__ = ["Options", "Source", "compact"]

Source: TypeAlias = str | Callable[[], Any]
"""A URL, or a function or coroutine function that returns one, or an open connection."""

_MAY_WAIT = ("parse", "on_open", "resync")
_PLAIN = ("serialize", "key", "sequence", "partition", "retry", "answer")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_HANDSHAKE_HEADERS = frozenset({"host", "connection", "upgrade"})


def compact(message: Any) -> str:
    """``message`` as JSON without spaces: the default of ``serialize``."""
    return json.dumps(message, separators=(",", ":"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `rxws.connect` takes, see there; ``extra`` is what it hands on to the transport."""

    parse: Callable[[Raw], Any] | None = json.loads
    serialize: Callable[[Any], Raw] = compact
    handover: HandoverMode = MakeBeforeBreak()
    backoff: Backoff = Backoff()
    on_open: Callable[[Any], Awaitable[Any]] | None = None
    subscribe: Iterable[Any] = ()
    pace: float | None = None
    answer: Callable[[Any], Filters | None] | None = None
    resync: Callable[[Gap], Awaitable[Iterable[Any] | AsyncIterable[Any]]] | None = None
    key: Callable[[Any], Hashable] | None = None
    sequence: Callable[[Any], int | None] | None = None
    partition: Callable[[Any], Hashable] | None = None
    open_timeout: float = 10.0
    ready_timeout: float = 10.0
    send_timeout: float = 10.0
    resync_timeout: float = 30.0
    exit_timeout: float = 2.0
    retry: Callable[[Exception], bool] | None = None
    heartbeat: Heartbeat | None = Heartbeat()
    silence: float | None = None
    transport: Transport
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    redactor: Redactor = dataclasses.field(default_factory=Redactor)
    random: Callable[[], float] = random.random
    sends_move_at_ready: bool = False  # the abstract class promises sends on N once it is open

    def __post_init__(self) -> None:
        for name in ("open_timeout", "ready_timeout", "send_timeout", "resync_timeout"):
            self._check_seconds(name)
        self._check_seconds("exit_timeout")
        for name in ("silence", "pace"):
            if getattr(self, name) is not None:
                self._check_seconds(name)
        for name, kind in (
            ("handover", MakeBeforeBreak | FirstArrival | Exclusive | Replace),
            ("backoff", Backoff),
            ("heartbeat", Heartbeat | None),
        ):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name}={getattr(self, name)!r}: an rxws.{_shown(kind)} is needed")
        self._check_functions()
        if isinstance(self.subscribe, str | bytes | Mapping):
            raise TypeError(
                f"subscribe={self.subscribe!r}: a list of messages is needed; put it into one"
            )
        object.__setattr__(self, "subscribe", tuple(self.subscribe))

    def _check_functions(self) -> None:
        for name in (*_MAY_WAIT, *_PLAIN):
            value = getattr(self, name)
            if value is None and name != "serialize":
                continue
            if not callable(value):
                raise TypeError(f"{name}={value!r}: a function is needed")
            if name in _PLAIN and is_coroutine_function(value):
                raise TypeError(f"{name}={value!r}: a plain function is needed, without `async`")

    def _check_seconds(self, name: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name}={value!r}: seconds as a number are needed")
        if not math.isfinite(value) or value <= 0:
            raise ValueError(f"{name}={value!r}: seconds, more than 0, are needed")

    def payload(self, message: Any) -> Raw:
        """The payload of an outgoing message: itself, or what ``serialize`` makes of it."""
        if isinstance(message, str | bytes):
            return message
        if isinstance(message, bytearray | memoryview):
            return bytes(message)
        raw = self.serialize(message)
        if not isinstance(raw, str | bytes):
            raise TypeError(f"serialize returned a {type(raw).__name__}: str or bytes is needed")
        return raw

    def headers(self) -> list[tuple[str, str]]:
        """The user's headers as pairs.

        Raises:
            ValueError: a name is no token, or is one that the handshake itself sets.
        """
        given = self.extra.get("additional_headers") or ()
        pairs = given.items() if isinstance(given, Mapping) else given
        headers = [(str(name), str(value)) for name, value in pairs]
        for name, _ in headers:
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"invalid header name {name!r}")
            if name.lower() in _HANDSHAKE_HEADERS or name.lower().startswith("sec-websocket-"):
                raise ValueError(f"header {name!r} is set by the handshake itself")
        return headers


def _shown(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]
