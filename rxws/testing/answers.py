"""What a scripted server answers to a handshake instead of accepting it."""

from __future__ import annotations

import dataclasses
import http
from collections.abc import Mapping
from typing import TypeAlias

from websockets.datastructures import Headers
from websockets.http11 import Response

__all__ = ["Accept", "Answer", "Refuse", "Reset", "Silent", "response"]


@dataclasses.dataclass(frozen=True)
class Accept:
    """Accept the connection, as when no answer was prepared."""


@dataclasses.dataclass(frozen=True)
class Refuse:
    """Answer with an HTTP response, and end the connection.

    Parameters:
        status: such as 401, 429, 503, or 302.
        headers: besides ``Content-Length``, ``Content-Type`` and ``Connection``, such as
            ``{"Retry-After": "1"}`` or ``{"Location": url}``.
        body: its text.
    """

    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: str = ""


@dataclasses.dataclass(frozen=True)
class Silent:
    """Read the request, and never answer it."""


@dataclasses.dataclass(frozen=True)
class Reset:
    """Read the request, and reset the TCP connection."""


Answer: TypeAlias = Accept | Refuse | Silent | Reset
"""How one handshake is answered."""


def response(refusal: Refuse) -> Response:
    """Return the HTTP response that ``refusal`` stands for."""
    body = refusal.body.encode()
    try:
        phrase = http.HTTPStatus(refusal.status).phrase
    except ValueError:
        phrase = "Unassigned"
    headers = Headers()
    for name, value in refusal.headers.items():
        headers[name] = value
    for name, value in (
        ("Connection", "close"),
        ("Content-Length", str(len(body))),
        ("Content-Type", "text/plain; charset=utf-8"),
    ):
        if name not in headers:
            headers[name] = value
    return Response(refusal.status, phrase, headers, body)
