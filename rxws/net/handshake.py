"""What a handshake tells whom: origins, proxies, headers, and who can listen."""

from __future__ import annotations

import ipaddress
import urllib.parse
import urllib.request
from collections.abc import Iterable
from typing import Any

__all__ = ["RedirectGuard", "is_public", "listeners", "origin_of", "proxies"]

# Headers whose values tell nobody's secrets; the value of any other is shown nowhere.
_PUBLIC = frozenset(
    {"connection", "content-length", "content-type", "date", "host", "retry-after", "server"}
    | {"transfer-encoding", "upgrade", "user-agent", "vary", "via"}
)
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})


def origin_of(url: str, base: str = "") -> tuple[str, str, int] | None:
    """Scheme (``ws`` or ``wss``), host and port of a URL, taken relative to ``base``."""
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, url))
        port = parts.port
    except ValueError:
        return None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return scheme, parts.hostname or "", port or {"ws": 80, "wss": 443}.get(scheme, 0)


class RedirectGuard:
    """Keeps a redirect from taking our headers to another origin.

    Args:
        url: that is connected to.

    Attributes:
        refused: where to a redirect was not followed.
        heard: bytes that the handshake under way was answered with so far.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard = 0
        self.refused: str | None = None
        self._origin = origin_of(url)

    def allows(self, head: bytes) -> bool:
        """Whether the answer of the handshake may be followed; remembers where it may not."""
        lines = head.decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/1.1 3"):
            return True
        for line in lines[1:]:
            name, _, value = line.partition(":")
            target = value.strip()
            if name.strip().lower() == "location" and origin_of(target, self.url) != self._origin:
                self.refused = target
                return False
        return True


def is_public(header: str) -> bool:
    """Whether the value of a header may be shown."""
    name = header.lower()
    return name in _PUBLIC or name.startswith("sec-websocket-")


def listeners(url: str, headers: Iterable[str]) -> str:
    """The host to which credentials go in clear text, for others to hear; else nothing.

    Args:
        url: with credentials, if it has userinfo.
        headers: names of those that are sent.
    """
    origin = origin_of(url)
    if origin is None or origin[0] != "ws" or _is_loopback(origin[1]):
        return ""
    named = any(name.lower() in _CREDENTIALS for name in headers)
    return origin[1] if named or "@" in urllib.parse.urlsplit(url).netloc else ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")


def proxies(given: Any) -> list[str]:
    """The URLs of the proxies that may be used: the one given, or those of the environment."""
    if isinstance(given, str):
        return [given]
    return list(urllib.request.getproxies().values()) if given is True else []
