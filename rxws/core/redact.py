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
from typing import TypeAlias

__all__ = ["MASK", "Redactor", "escape_control", "redact_url"]

MASK = "***"

_SHORTEST = 4  # a shorter secret would blacken words that merely contain it
_MOST = 1000  # spellings of secrets that are remembered
_KEYLIKE = re.compile(r"[A-Za-z0-9_\-]{20,}")
_USERINFO = re.compile(r":.*@")
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(:\d*)?")
_URL = re.compile(r"[a-z][a-z0-9+.\-]{0,30}://[^\s'\"<>]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_Cleaned: TypeAlias = dict[int, tuple[BaseException, BaseException]]
"""By identity of an exception: itself, so that it lives on, and what stands for it."""


def escape_control(text: str) -> str:
    """``text`` with control characters and line separators written as escapes."""
    return _CONTROL.sub(lambda m: m.group().encode("unicode_escape").decode(), text)


def redact_url(url: str, *, made: bool = False) -> str:
    """``url`` without its secrets; nothing of it is shown when it is malformed.

    Args:
        made: whether ``source`` made it; then no part of its path is shown.
    """
    parts = _split(url)
    if parts is None:
        return MASK
    userinfo, at, host = parts.netloc.rpartition("@")
    netloc = f"{MASK}@{host}" if userinfo or at else host
    path = "/".join(MASK if _hides(s, made=made) else s for s in parts.path.split("/"))
    query = "&".join(_shown(pair) for pair in parts.query.split("&") if pair)
    fragment = MASK if parts.fragment else ""
    return escape_control(urllib.parse.urlunsplit((parts.scheme, netloc, path, query, fragment)))


def _split(url: str) -> urllib.parse.SplitResult | None:
    """The parts of a URL; ``None`` when nobody can say which they are.

    A password with an unescaped ``/``, ``?`` or ``#`` looks like a port that is no number.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    return parts if parts.scheme and _HOST.fullmatch(host) else None


def _hides(segment: str, *, made: bool) -> bool:
    """Whether a part of a path is or may be a secret."""
    if made:
        return bool(segment)
    return bool(_KEYLIKE.search(segment) or _USERINFO.search(segment))


def _shown(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals and not _KEYLIKE.search(name) else MASK


def _spellings(secret: str) -> set[str]:
    """A secret as it is; percent- or plus-encoded, or decoded from that; and in a repr."""
    plain = {secret, urllib.parse.unquote(secret), urllib.parse.unquote_plus(secret)}
    quoted = {urllib.parse.quote_plus(form, errors="replace") for form in plain}
    for safe in ("", "/"):
        quoted |= {urllib.parse.quote(form, safe=safe, errors="replace") for form in plain}
    quoted |= {re.sub("%..", lambda m: m.group().lower(), form) for form in quoted}
    shown = {repr(form)[1:-1] for form in plain}
    shown |= {repr(form.encode(errors="replace"))[2:-1] for form in plain}
    return plain | quoted | shown


class Redactor:
    """Knows the secrets of one websocket and takes them out of texts and exceptions."""

    def __init__(self) -> None:
        self._secrets: dict[str, None] = {}  # a set that keeps its order, the newest last
        self._pattern: re.Pattern[str] | None = None  # of all secrets; made when it is needed

    def learn(self, secrets: Iterable[str]) -> None:
        """Remember more secrets; the oldest of very many are forgotten, to stay bounded.

        So are what follows the scheme of an ``Authorization``, and what looks like a key in one.
        """
        for secret in secrets:
            for part in (secret, secret.partition(" ")[2], *_KEYLIKE.findall(secret)):
                for form in _spellings(part):
                    if len(form) >= _SHORTEST:
                        self._remember(form)

    def _remember(self, secret: str) -> None:
        if secret in self._secrets:
            del self._secrets[secret]
        else:
            self._pattern = None
        self._secrets[secret] = None
        if len(self._secrets) > _MOST:
            del self._secrets[next(iter(self._secrets))]

    def learn_url(self, url: str, *, made: bool = False) -> None:
        """Remember the secrets of ``url``; ``made`` as in `redact_url`."""
        parts = _split(url)
        if parts is not None:
            userinfo, path, query = parts.netloc.rpartition("@")[0], parts.path, parts.query
            secrets = [parts.fragment]
        else:
            _, scheme, rest = url.partition("://")
            rest = rest if scheme else url
            userinfo = rest.rpartition("@")[0]
            path, _, query = rest.partition("?")
            secrets = [url] if rest else []
        if _CONTROL.search(url):  # which some take out, and others show
            secrets.append(url)
        if userinfo:
            plain = urllib.parse.unquote(userinfo)
            basic = base64.b64encode(plain.encode(errors="replace")).decode()
            secrets += [userinfo, *userinfo.split(":", 1), basic]
        for pair in query.split("&"):
            name, _, value = pair.partition("=")
            secrets += [value or pair, *_KEYLIKE.findall(name)]
        secrets += [s for s in path.split("/") if _hides(s, made=made)]
        self.learn(secrets)

    def text(self, text: str) -> str:
        """``text`` without secrets, its control characters escaped."""
        text = _URL.sub(lambda m: redact_url(m.group()), self._mask(text))
        return self._mask(escape_control(text))

    def _mask(self, text: str) -> str:
        if not self._secrets:
            return text
        if self._pattern is None:
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        return self._pattern.sub(MASK, text)

    def exception(self, error: BaseException) -> BaseException:
        """``error`` without secrets, and so its causes, contexts, notes and attributes.

        What can be cleaned in place is; an exception that keeps a secret in its repr all the
        same (in a response, say) is replaced in the chain by one that only has its text.
        """
        return self._clean(error, {})

    def _clean(self, error: BaseException, cleaned: _Cleaned) -> BaseException:
        if id(error) in cleaned:
            return cleaned[id(error)][1]
        cleaned[id(error)] = error, error  # for now: a chain may be a ring
        self._clean_in_place(error, cleaned)
        clean = self._stand_in(error, cleaned)
        if clean is not error:
            cleaned[id(error)] = error, clean
            clean.__cause__, clean.__context__ = error.__cause__, error.__context__
            clean.__suppress_context__ = error.__suppress_context__
            for note in getattr(error, "__notes__", ()):
                clean.add_note(note)
        return clean.with_traceback(error.__traceback__)

    def _clean_in_place(self, error: BaseException, cleaned: _Cleaned) -> None:
        suppress = error.__suppress_context__
        if error.__cause__ is not None:
            error.__cause__ = self._clean(error.__cause__, cleaned)
        if error.__context__ is not None:
            error.__context__ = self._clean(error.__context__, cleaned)
        error.__suppress_context__ = suppress  # setting a cause sets it
        error.args = tuple(self._value(arg, cleaned) for arg in error.args)
        attributes = vars(error)
        for name, value in attributes.items():
            attributes[name] = self._value(value, cleaned)
        if hasattr(error, "__notes__"):
            error.__notes__ = [self.text(str(note)) for note in error.__notes__]

    def _stand_in(self, error: BaseException, cleaned: _Cleaned) -> BaseException:
        """``error``, or what stands for it because it can't be cleaned in place."""
        if isinstance(error, BaseExceptionGroup):
            inner = [self._clean(one, cleaned) for one in error.exceptions]
            if inner != list(error.exceptions) or self._shows(error):
                return BaseExceptionGroup(self.text(error.message), inner)
        elif self._shows(error):
            return Exception(self._named(error))
        return error

    def _value(self, value: object, cleaned: _Cleaned) -> object:
        """What an exception carries, without secrets where that is a text or another exception."""
        if isinstance(value, str):
            return self.text(value) if self._is_secret(value) else value
        return self._clean(value, cleaned) if isinstance(value, BaseException) else value

    def _named(self, error: BaseException) -> str:
        try:
            return f"{type(error).__name__}: {self.text(str(error))}"
        except Exception:  # the exception's own fault: it can't say what it is
            return type(error).__name__

    def _shows(self, error: BaseException) -> bool:
        try:
            return self._is_secret(f"{error!s}\n{error!r}")
        except Exception:  # who can't be shown can't be trusted either
            return True

    def _is_secret(self, text: str) -> bool:
        return self.text(text) != escape_control(text)
