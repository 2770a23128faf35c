"""Taking secrets out of whatever is shown: one redactor, used everywhere.

Secret are userinfo, query values, header values, the path parts that ``source`` made, and
path parts that look like keys. Control characters in text of others are escaped as well, so
that what a server says can't forge a line of a log.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterable

__all__ = ["MASK", "Redactor", "escape_control", "redact_url"]

MASK = "***"

_SHORTEST = 4  # a shorter secret would blacken words that merely contain it
_KEYLIKE = re.compile(r"[A-Za-z0-9_\-]{20,}")
_URL = re.compile(r"\b(?:wss?|https?|socks[45]h?a?)://[^\s'\"<>)\]]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escape_control(text: str) -> str:
    """``text`` with control characters and line separators written as escapes."""
    return _CONTROL.sub(lambda m: m.group().encode("unicode_escape").decode(), text)


def redact_url(url: str, *, made: bool = False) -> str:
    """``url`` without its secrets.

    Args:
        made: whether ``source`` made it; then no part of its path is shown.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return MASK
    if not parts.scheme or not host:
        return MASK
    netloc = f"{MASK}@{host}" if "@" in parts.netloc else host
    segments = parts.path.split("/")
    path = "/".join(MASK if s and (made or _KEYLIKE.fullmatch(s)) else s for s in segments)
    query = "&".join(
        f"{name}={MASK}" if "=" in pair else MASK
        for pair in parts.query.split("&")
        if pair
        for name in [pair.partition("=")[0]]
    )
    fragment = MASK if parts.fragment else ""
    return escape_control(urllib.parse.urlunsplit((parts.scheme, netloc, path, query, fragment)))


class Redactor:
    """Knows the secrets of one websocket and takes them out of texts and exceptions."""

    def __init__(self) -> None:
        self._secrets: dict[str, None] = {}  # a set that keeps its order, the newest last
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Remember more secrets; the oldest of very many are forgotten, to stay bounded."""
        for secret in secrets:
            for form in {secret, urllib.parse.unquote(secret), urllib.parse.quote(secret)}:
                if len(form) >= _SHORTEST:
                    self._secrets.pop(form, None)
                    self._secrets[form] = None
        while len(self._secrets) > 1000:
            self._secrets.pop(next(iter(self._secrets)))
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        )

    def learn_url(self, url: str, *, made: bool = False) -> None:
        """Remember the secrets of ``url``; ``made`` as in `redact_url`."""
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:
            self.learn([url])
            return
        userinfo = parts.netloc.rpartition("@")[0]
        secrets = [userinfo, *userinfo.split(":", 1)]
        if userinfo:  # as the Authorization header shows it (RFC 7617)
            secrets.append(base64.b64encode(urllib.parse.unquote(userinfo).encode()).decode())
        secrets += [pair.partition("=")[2] or pair for pair in parts.query.split("&")]
        secrets += [s for s in parts.path.split("/") if made or _KEYLIKE.fullmatch(s)]
        secrets.append(parts.fragment)
        self.learn(secrets)

    def text(self, text: str) -> str:
        """``text`` without secrets, its control characters escaped."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        text = _URL.sub(lambda m: redact_url(m.group()), text)
        return escape_control(text)

    def exception(self, error: BaseException) -> BaseException:
        """``error`` without secrets, and so its causes and contexts.

        What can be cleaned in place is; an exception that keeps a secret in its repr all the
        same (in a response, say) is replaced in the chain by one that only has its text.
        """
        return self._clean(error, {})

    def _clean(self, error: BaseException, done: dict[int, BaseException]) -> BaseException:
        if id(error) in done:
            return done[id(error)]
        done[id(error)] = error  # a chain can be a ring
        if error.__cause__ is not None:
            error.__cause__ = self._clean(error.__cause__, done)
        if error.__context__ is not None:
            error.__context__ = self._clean(error.__context__, done)
        for name, value in list(vars(error).items()):
            if isinstance(value, BaseException):
                setattr(error, name, self._clean(value, done))
        if self._shows(error):
            error.args = tuple(self._value(arg) for arg in error.args)
            for name, value in list(vars(error).items()):
                if isinstance(value, str):
                    setattr(error, name, self.text(value))
        if self._shows(error):
            done[id(error)] = self._stand_in(error)
        return done[id(error)]

    def _stand_in(self, error: BaseException) -> BaseException:
        stand_in = Exception(f"{type(error).__name__}: {self.text(str(error))}")
        stand_in.__cause__ = error.__cause__
        stand_in.__suppress_context__ = True
        return stand_in.with_traceback(error.__traceback__)

    def _value(self, value: object) -> object:
        return self.text(value) if isinstance(value, str) else value

    def _shows(self, error: BaseException) -> bool:
        shown = f"{error!s}\x00{error!r}".replace("\x00", " ")
        return self.text(shown) != escape_control(shown)
