"""Taking secrets out of whatever is shown: one redactor, used everywhere.

Secret are userinfo, query values, header values, the path parts that ``source`` made, and
path parts that look like keys. Control characters in text of others are escaped as well, so
that what a server says can't forge a line of a log.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeGuard

from .errors import ConnectError, RxwsError

__all__ = ["MASK", "Redactor", "escape_control", "redact_url"]

MASK = "***"

_SHORTEST = 4  # a shorter secret would blacken words that merely contain it
_MOST = 1000  # spellings of secrets that are remembered
_LONGEST = 10_000  # characters of a text that are looked at; what follows is not shown
_SAID = 1000  # characters of a text that a stand-in, or a note of it, has at most
_NOTES = 10  # notes that a stand-in has at most
_CHAIN = 100  # exceptions that are looked at, of those that hang together
_KEYLIKE = re.compile(r"[A-Za-z0-9_\-]{20,}")
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(:\d*)?")
_URL = re.compile(r"[a-z][a-z0-9+.\-]{0,30}://[^\s'\"<>]+", re.IGNORECASE)
_URL_AT_END = re.compile(_URL.pattern + r"\Z", re.IGNORECASE)
# Beside control characters and line separators: what turns the direction of a text around or is
# not seen at all, and lone surrogates, which a log that is written as UTF-8 can't take.
_UNSEEN = r"\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
_CONTROL = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028\u2029{_UNSEEN}]")
_FORGED = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_UNSEEN}]")  # lines are no forgery


def escape_control(text: str) -> str:
    """``text`` with control characters, line separators and the like written as escapes."""
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
    return bool(_KEYLIKE.search(segment)) or ":" in segment.rpartition("@")[0]


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


def _is_text(value: object) -> TypeGuard[str]:
    return issubclass(type(value), str)  # unlike isinstance, asks the value for nothing


def _is_error(value: object) -> TypeGuard[BaseException]:
    return issubclass(type(value), BaseException)


@dataclasses.dataclass
class _Found:
    """One of the exceptions that hang together, and what was seen of it."""

    error: BaseException
    is_ours: bool = False
    shows: bool = True  # a secret, or what can't be looked at
    notes: list[str] = dataclasses.field(default_factory=list)
    cause: BaseException | None = None
    context: BaseException | None = None
    suppresses: bool = False  # the context
    inner: list[BaseException] = dataclasses.field(default_factory=list)

    @property
    def links(self) -> list[BaseException]:
        return [e for e in (self.cause, self.context, *self.inner) if e is not None]


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
        """``text`` without secrets, its control characters escaped, cut when it is very long."""
        cut = ""
        if len(text) > _LONGEST:
            text, cut = text[: self._end(text)], "..."
        text = _URL.sub(lambda m: redact_url(m.group()), self._mask(text))
        return self._mask(escape_control(text)) + cut

    def _end(self, text: str) -> int:
        """Where a long text can be cut: not in the midst of a secret or of a URL."""
        end, before = _LONGEST + 1, _LONGEST
        while before < end:
            end = before
            url = _URL_AT_END.search(text, 0, end)
            before = url.start() if url else end
            for secret in self._secrets:
                size = len(secret) - 1
                found = text.find(secret, max(0, end - size), end + size)
                before = min(before, found) if found >= 0 else before
        return end

    def _mask(self, text: str) -> str:
        if not self._secrets:
            return text
        if self._pattern is None:
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        return self._pattern.sub(MASK, text)

    def exception(self, error: BaseException) -> BaseException:
        """``error``, or what stands for it where it shows a secret; never raises.

        An exception of our own is cleaned in place, and keeps its type. Those of others are
        never changed: where one shows a secret (in its text, repr, notes, attributes, causes or
        contexts), can't be looked at, is very long, or says control characters other than line
        breaks, another that only has its clean text takes its place, in what is returned and in
        the chain of our own.
        """
        try:
            return self._clean(error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # the exception's own fault: it can't even be looked at
            return Exception(self._name(error))

    def is_discreet(self, error: BaseException) -> bool:
        """Whether what an exception says shows no secret, whatever it carries besides."""
        try:
            return not self._show([str(error), repr(error)])
        except Exception:  # the exception's own fault
            return False

    def _clean(self, root: BaseException) -> BaseException:
        chain = self._survey(root)
        replaced = {key for key, one in chain.items() if one.shows}

        def is_replaced(error: BaseException) -> bool:
            return id(error) in replaced or id(error) not in chain

        def refers(one: _Found) -> bool:
            return not one.is_ours and any(map(is_replaced, one.links))

        while more := {key for key, one in chain.items() if refers(one)} - replaced:
            replaced |= more

        made: dict[int, BaseException] = {}

        def clean(error: BaseException) -> BaseException:
            if not is_replaced(error):
                return error
            if id(error) not in made:
                found = chain.get(id(error))
                made[id(error)] = self._stand_in(found, clean) if found else Exception("...")
            return made[id(error)]

        for key, one in chain.items():
            if key in replaced or one.is_ours:
                self._link(one, clean(one.error), clean)
        return clean(root)

    def _survey(self, root: BaseException) -> dict[int, _Found]:
        """What hangs together with an exception, by identity; of very many only the nearest."""
        chain: dict[int, _Found] = {}
        waiting = deque([root])
        while waiting and len(chain) < _CHAIN:
            error = waiting.popleft()
            if id(error) not in chain:
                chain[id(error)] = self._look(error)
                waiting.extend(chain[id(error)].links)
        return chain

    def _look(self, error: BaseException) -> _Found:
        found = _Found(error)
        try:
            found.cause, found.context = error.__cause__, error.__context__
            found.suppresses = error.__suppress_context__
            found.is_ours = type(error).__module__ == RxwsError.__module__
            if found.is_ours:
                self._clean_in_place(error, self._without_secrets)
            found.notes = [str(note) for note in getattr(error, "__notes__", ())]
            carried = [*error.args, *vars(error).values()]
            if isinstance(error, BaseExceptionGroup):
                carried += error.exceptions
            found.inner = [value for value in carried if _is_error(value)]
            texts = [value for value in carried if _is_text(value)]
            said = [str(error), *found.notes]
            found.shows = self._show([*said, repr(error), *texts])
            found.shows |= not found.is_ours and any(map(_FORGED.search, said))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # who can't be looked at can't be trusted either
            found.shows = True
        return found

    def _show(self, texts: list[str]) -> bool:
        return sum(map(len, texts)) > 4 * _LONGEST or any(map(self._is_secret, texts))

    def _without_secrets(self, value: object) -> object:
        if _is_text(value) and (len(value) > _SAID or self._is_secret(value)):
            return self._said(value)
        return value

    def _clean_in_place(self, error: BaseException, clean: Callable[[object], object]) -> None:
        """Change what one of our own exceptions carries."""
        error.args = tuple(map(clean, error.args))
        attributes = vars(error)
        attributes |= {name: clean(value) for name, value in attributes.items()}
        if hasattr(error, "__notes__"):
            error.__notes__ = [self._said(str(note)) for note in error.__notes__[:_NOTES]]

    def _link(
        self,
        found: _Found,
        clean: BaseException,
        cleaned: Callable[[BaseException], BaseException],
    ) -> None:
        """Let what is clean refer to what is clean."""
        clean.__cause__ = None if found.cause is None else cleaned(found.cause)
        clean.__context__ = None if found.context is None else cleaned(found.context)
        clean.__suppress_context__ = found.suppresses  # setting a cause sets it
        if clean is found.error:
            self._clean_in_place(clean, lambda e: cleaned(e) if _is_error(e) else e)
        elif isinstance(clean, ConnectError):
            clean.cause = clean.__cause__

    def _stand_in(
        self, found: _Found, cleaned: Callable[[BaseException], BaseException]
    ) -> BaseException:
        """What only has the text of an exception, its notes and its traceback."""
        error = found.error
        try:
            clean = self._of_its_kind(error, cleaned)
            clean = clean.with_traceback(error.__traceback__)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # the exception's own fault
            clean = Exception(self._named(error))
        for note in found.notes[:_NOTES]:
            clean.add_note(self._said(note))
        return clean

    def _of_its_kind(
        self, error: BaseException, cleaned: Callable[[BaseException], BaseException]
    ) -> BaseException:
        if isinstance(error, BaseExceptionGroup):
            inner = [cleaned(one) for one in error.exceptions]
            return BaseExceptionGroup(self._said(error.message), inner)
        if isinstance(error, ConnectError):  # is caught as one
            text, after = self._named(error), error.retry_after
            return ConnectError(text, retryable=error.retryable, retry_after=after)
        return Exception(self._named(error))

    def _named(self, error: BaseException) -> str:
        try:
            return self._said(f"{self._name(error)}: {error!s}")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # the exception's own fault: it can't say what it is
            return self._name(error)

    def _name(self, error: BaseException) -> str:
        return self._said(type.__dict__["__name__"].__get__(type(error)))

    def _said(self, text: str) -> str:
        clean = self.text(text)
        return clean if len(clean) <= _SAID else self.text(clean[:_SAID]) + "..."

    def _is_secret(self, text: str) -> bool:
        return len(text) > _LONGEST or self.text(text) != escape_control(text)
