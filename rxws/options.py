"""The options of ``connect`` as a type, and from keywords to checked values."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Iterable
from typing import Any, TypedDict

from reactivex import Observable

from .core.backoff import Backoff
from .core.events import Gap
from .core.filters import Filters
from .core.handovers import HandoverMode
from .core.liveness import Heartbeat
from .core.redact import Redactor
from .net.connection import Opening
from .net.options import Options
from .net.transport import Transport
from .net.websockets_transport import WebsocketsTransport, known_options

__all__ = ["ConnectOptions", "resolve"]


class ConnectOptions(TypedDict, total=False):
    """The options of `rxws.connect` other than ``parse``; described there."""

    serialize: Callable[[Any], str | bytes]
    rotate_on: Observable[Any] | Callable[[Any], Observable[Any]] | None
    handover: HandoverMode
    backoff: Backoff
    on_open: Callable[[Opening], Awaitable[Any]] | None
    subscribe: Iterable[Any]
    pace: float | None
    answer: Callable[[Any], Filters | None] | None
    resync: Callable[[Gap], Awaitable[Iterable[Any] | AsyncIterable[Any]]] | None
    key: Callable[[Any], Hashable] | None
    sequence: Callable[[Any], int | None] | None
    partition: Callable[[Any], Hashable] | None
    open_timeout: float
    ready_timeout: float
    send_timeout: float
    resync_timeout: float
    exit_timeout: float
    retry: Callable[[Exception], bool] | None
    heartbeat: Heartbeat | None
    silence: float | None
    transport: str | Transport
    # Handed on to websockets.connect
    origin: Any
    extensions: Any
    subprotocols: Any
    compression: str | None
    additional_headers: Any
    user_agent_header: str | None
    proxy: Any
    ping_interval: float | None
    ping_timeout: float | None
    close_timeout: float | None
    max_size: Any
    max_queue: Any
    write_limit: Any
    logger: Any
    ssl: Any
    server_hostname: str | None
    sock: Any
    local_addr: Any
    host: str | None
    port: int | None
    family: int
    happy_eyeballs_delay: float | None


_INTERNAL = {"extra", "random", "redactor", "sends_move_at_ready"}
_OURS = {field.name for field in dataclasses.fields(Options)} - _INTERNAL
_NOT_OURS_TO_GIVE = {"process_exception", "reconnect_delays"}  # rxws reconnects by itself


def resolve(given: dict[str, Any], **internal: Any) -> tuple[Options, Any]:
    """The checked options out of keywords, and ``rotate_on``.

    Raises:
        TypeError, ValueError: an option is unknown or makes no sense.
    """
    given = dict(given)
    rotate_on = given.pop("rotate_on", None)
    ours = {name: given.pop(name) for name in list(given) if name in _OURS}
    redactor = Redactor()
    transport = ours.pop("transport", "websockets")
    if transport == "websockets":
        _check_names(given)
        transport = WebsocketsTransport(redactor)
    elif isinstance(transport, str):
        raise ValueError(f'transport={transport!r}: this version has "websockets"')
    elif not isinstance(transport, Transport):
        raise TypeError(f"transport={transport!r}: an object with a `connect` method is needed")
    options = Options(**ours, **internal, transport=transport, redactor=redactor, extra=given)
    return options, rotate_on


def _check_names(extra: dict[str, Any]) -> None:
    known = known_options() - _NOT_OURS_TO_GIVE
    for name in extra:
        if name in known or name.startswith("proxy_"):
            continue
        close = difflib.get_close_matches(name, {*_OURS, *known, "rotate_on"}, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise TypeError(f"connect() got an unexpected option {name!r}{hint}")
