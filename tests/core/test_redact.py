"""Secrets do not show: planted everywhere, looked for everywhere."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import functools
import json
import re
import traceback
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws.core.errors import ConnectError, ConnectionLost, RetriesExhausted
from rxws.core.redact import MASK, Redactor, escape_control, redact_url

PLAIN = "canary5ecret"


def knowing(*secrets: str) -> Redactor:
    """A redactor that has learnt these secrets."""
    redactor = Redactor()
    redactor.learn(secrets)
    return redactor


# Control characters


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain, ünïcode 漢字 \\n", "plain, ünïcode 漢字 \\n"),
        ("a\r\nWARNING forged", "a\\r\\nWARNING forged"),
        ("\x1b[31m\x00\x7f\x9b", "\\x1b[31m\\x00\\x7f\\x9b"),
        ("a\u2028b\u2029c\x85", "a\\u2028b\\u2029c\\x85"),
        ("", ""),
    ],
)
def test_control_characters_are_escaped(text, escaped):
    """Control characters and line separators become escapes, and nothing else changes."""
    assert escape_control(text) == escaped
    assert Redactor().text(text) == escaped


@given(st.text())
def test_what_is_escaped_is_one_line(text):
    """No text of others can forge a line."""
    assert len(escape_control(text).splitlines()) <= 1


# URLs

URLS = {
    "wss://feed.example/ws": "wss://feed.example/ws",
    "wss://feed.example:9443/ws/btcusdt@trade": "wss://feed.example:9443/ws/btcusdt@trade",
    "wss://me:pass@feed.example/": "wss://***@feed.example/",
    "wss://me@feed.example/": "wss://***@feed.example/",
    "wss://me:p@ss@feed.example/": "wss://***@feed.example/",
    "wss://@feed.example/": "wss://***@feed.example/",
    "wss://feed.example/?k=v&k2=&flag&a=b=c": "wss://feed.example/?k=***&k2=***&***&a=***",
    "wss://feed.example/?k=abc": "wss://feed.example/?k=***",
    "wss://feed.example/?dG9rZW5fb2ZfMjBfY2hhcnM==": "wss://feed.example/?***",
    "wss://feed.example/?&&": "wss://feed.example/",
    "wss://feed.example/a#token": "wss://feed.example/a#***",
    f"wss://feed.example/ws/{'k' * 20}": "wss://feed.example/ws/***",
    f"wss://feed.example/ws/{'k' * 19}": f"wss://feed.example/ws/{'k' * 19}",
    f"wss://feed.example/{'h' * 20}.{'p' * 30}.{'s' * 20}/x": "wss://feed.example/***/x",
    "wss://[::1]:8080/ws?k=v": "wss://[::1]:8080/ws?k=***",
    "wss://me:pass@[2001:db8::1]/": "wss://***@[2001:db8::1]/",
    "WSS://Feed.Example/": "wss://Feed.Example/",
    "https://feed.example/a\x1bb": "https://feed.example/a\\x1bb",
    # What is secret in these can't be told.
    "": MASK,
    "feed.example/ws?token=abc": MASK,
    "me:pass@feed.example/ws": MASK,
    "//feed.example/ws": MASK,
    "wss://": MASK,
    "wss:///ws?token=abc": MASK,
    "wss://feed.example:port/ws": MASK,
    "wss://me:pa#ss@feed.example/": MASK,
    "wss://me:pa/ss@feed.example/": MASK,
    "wss://me:pa?ss@feed.example/": MASK,
    "wss://[::1/ws": MASK,
    "wss://::1/ws": MASK,
    "wss://feed.example\uff03/": MASK,
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_shown_without_its_secrets(url):
    """Userinfo, query values, the fragment and what looks like a key are masked, the rest not."""
    assert redact_url(url) == URLS[url]


@pytest.mark.parametrize("url", [url for url in URLS if "://" in url and url != "wss://"])
def test_a_url_in_a_text_is_found(url):
    """A URL in a text is shown as by itself, though nobody learnt it."""
    assert Redactor().text(f"could not reach {url} now") == f"could not reach {URLS[url]} now"
    assert Redactor().text(f"<{url}>, '{url}'") == f"<{URLS[url]}>, '{URLS[url]}'"


def test_a_made_url_shows_no_path():
    """No part of a path that source made is shown, but how many there are is."""
    shown = redact_url("wss://feed.example/ws/pqia//91xy?k=v", made=True)
    assert shown == "wss://feed.example/***/***//***?k=***"


def test_many_urls_in_one_text():
    """Each URL of a text is redacted, also where no space parts them, and of any scheme."""
    text = Redactor().text(
        "wss://a:bc@h/x,wss://d:ef@h/y nats://g:hi@h/ socks5h://j:kl@h (http://m:no@h/)"
    )
    assert not re.search(r"a:bc|d:ef|g:hi|j:kl|m:no", text)


@settings(max_examples=200)
@given(st.text("ab:/@?#[]=&%. \x00\n", max_size=30))
def test_no_url_is_too_odd(url):
    """Whatever stands for a URL, it can be learnt and shown, and then shown again."""
    shown = redact_url(f"wss://{url}")
    assert redact_url(shown) in (shown, MASK)
    redactor = Redactor()
    redactor.learn_url(url)
    redactor.learn_url(f"wss://{url}", made=True)


# What is learnt

PLANTED = {
    "userinfo": "wss://me:{}@feed.example/",
    "user": "wss://{}:pass@feed.example/",
    "query": "wss://feed.example/?a=1&listenKey={}&b",
    "bare query": "wss://feed.example/?{}",
    "fragment": "wss://feed.example/#{}",
    "path": "wss://feed.example/ws/{}-0123456789-0123456789",
    "no scheme": "feed.example/ws?token={}",
    "no scheme, userinfo": "me:{}@feed.example/ws",
    "no host": "wss:///?token={}",
    "bad port": "wss://feed.example:port/?token={}",
    "no URL at all": "{}",
    "newline": "wss://feed.example/?token={}\n",
}


def spellings(secret: str) -> list[str]:
    """A secret in the forms in which others show it."""
    quoted = urllib.parse.quote(secret, safe="")
    lower = re.sub("%..", lambda m: m.group().lower(), quoted)
    return [
        secret,
        quoted,
        lower,
        urllib.parse.quote(secret),
        urllib.parse.quote_plus(secret),
        repr({"Authorization": secret})[19:-2],
        repr(secret.encode())[2:-1],
    ]


@pytest.mark.parametrize("where", PLANTED)
@pytest.mark.parametrize("secret", [PLAIN, "two words", "a+b.c*d(e", "pässwört", "quo'te\"d\\n"])
def test_a_secret_of_a_url_does_not_show(where, secret):
    """Wherever in a URL a secret was, no text shows it, however it is encoded there."""
    redactor = Redactor()
    redactor.learn_url(PLANTED[where].format(urllib.parse.quote(secret, safe="")))
    for spelling in spellings(secret):
        text = redactor.text(f"the server says: [{spelling}] is unknown")
        assert text in (
            f"the server says: [{MASK}] is unknown",
            f"the server says: [{spelling}] is unknown" if where == "path" else None,
        )


def test_a_control_character_in_a_url_opens_no_gap():
    """A URL is hidden as it was given, and as it is without the line breaks that some take out."""
    redactor = Redactor()
    redactor.learn_url("wss://feed.example/?token=canary\n5ecret")
    for shown in ("wss://feed.example/?token=canary\n5ecret", "canary5ecret"):
        assert not re.search("canary|5ecret", redactor.text(f"{shown} or {shown!r}"))


def test_a_secret_that_was_not_encoded_does_not_show():
    """A URL with a raw secret hides the encoded and the decoded form as well."""
    redactor = Redactor()
    redactor.learn_url("wss://feed.example/?token=a%2Bb%20c&other=x+y+z")
    for shown in ("a%2Bb%20c", "a%2bb%20c", "a+b c", "a%2Bb+c", "x+y+z", "x y z", "x%20y%20z"):
        assert redactor.text(f"({shown})") == f"({MASK})"


def test_a_key_in_a_path_does_not_show():
    """A part of a path that looks like a key is masked by itself too, an ordinary one is not."""
    key = "Zm9vYmFyYmF6cXV4MDEyMzQ1"
    redactor = Redactor()
    redactor.learn_url(f"wss://feed.example/stream/{key}")
    assert redactor.text(f"unknown stream {key}") == f"unknown stream {MASK}"


def test_a_made_path_does_not_show():
    """Every part of a path that source made is a secret, however ordinary it looks."""
    redactor = Redactor()
    redactor.learn_url("wss://feed.example/ws/pqia91xy", made=True)
    assert redactor.text("GET /ws/pqia91xy HTTP/1.1") == f"GET /ws/{MASK} HTTP/1.1"


def test_a_password_with_unescaped_delimiters_does_not_show():
    """A password that breaks its URL shows neither whole nor in the parts that it falls into."""
    for delimiter in "/?#":
        url = f"wss://me:first{delimiter}second@feed.example/"
        redactor = Redactor()
        redactor.learn_url(url)
        for text in (url, f"isn't valid: {url!r}", f"Nonnumeric port: 'first{delimiter}second'"):
            assert not re.search("first|second", redactor.text(text))


def test_userinfo_does_not_show_as_a_header():
    """The Authorization that is made of userinfo hides it no better than plain text does."""
    redactor = Redactor()
    redactor.learn_url("wss://me:p%C3%A4ss@feed.example/")
    basic = base64.b64encode("me:päss".encode()).decode()
    assert redactor.text(f"Authorization: Basic {basic}") == f"Authorization: Basic {MASK}"


@pytest.mark.parametrize(
    "header",
    [f"Bearer {PLAIN}", PLAIN, f"key=1; session={PLAIN}-0123456789-0123456789; path=/"],
)
def test_a_header_value_does_not_show(header):
    """The value of a header shows neither whole, nor its credentials alone."""
    redactor = knowing(header)
    assert PLAIN not in redactor.text(f"X: {header}")
    alone = re.search(r"canary5ecret[\w-]*", header)
    assert alone is not None
    assert redactor.text(f"unknown token {alone.group()}.") == f"unknown token {MASK}."


def test_a_secret_of_regular_expression_characters():
    """A secret is taken literally."""
    redactor = knowing("a.b*c", "[x-z]+$", "(((((")
    assert redactor.text("aXbc a.b*c [x-z]+$ xyz (((((") == f"aXbc {MASK} {MASK} xyz {MASK}"


def test_a_secret_that_escaping_would_make():
    """A text that becomes a secret only by being escaped is masked as well."""
    assert knowing("key\\x1b").text("a key\x1b") == f"a {MASK}"


def test_a_secret_that_is_learnt_late():
    """What is learnt after a text was shown is masked in the next."""
    redactor = knowing("early")
    assert redactor.text("early and later") == f"{MASK} and later"
    redactor.learn(["later"])
    assert redactor.text("early and later") == f"{MASK} and {MASK}"


def test_a_secret_within_a_secret():
    """Of two secrets that begin alike the longer one is masked whole."""
    redactor = knowing("abcd", "abcdefgh")
    assert redactor.text("abcdefgh abcd") == f"{MASK} {MASK}"


def test_a_short_secret_is_masked_by_its_place_only():
    """What is shorter than four characters is masked in a URL, and no word is blackened by it."""
    redactor = Redactor()
    redactor.learn_url("wss://u:pw@feed.example/?k=v1")
    assert redactor.text("very upwards") == "very upwards"
    shown = "wss://***@feed.example/?k=***"
    assert redactor.text("wss://u:pw@feed.example/?k=v1") == shown


def test_a_text_without_secrets_stays():
    """What has nothing to hide is shown as it is."""
    for text in ("", "nothing to hide", "a://b", "3 < 4 > 2 @ home: 100 %"):
        assert knowing("some secret").text(text) == text


def test_memory_of_secrets_is_bounded():
    """Of very many secrets the newest are remembered; learning one again makes it new."""
    redactor = knowing("the-first", "the-second")
    for number in range(3000):
        redactor.learn([f"secret{number:05}", "the-second"])
    assert len(redactor._secrets) <= 1000
    assert redactor.text("the-first secret00000") == "the-first secret00000"
    assert redactor.text("the-second secret02999 secret02500") == f"{MASK} {MASK} {MASK}"


letters = st.text("ab/?=&+% .\\'\n\x1b", max_size=12) | st.text(max_size=12)
secrets = st.lists(letters.filter(lambda s: "*" not in s), max_size=5)


@settings(max_examples=300, deadline=None)
@given(secrets, st.lists(letters, max_size=6), st.data())
def test_no_text_shows_a_secret(learnt, pieces, data):
    """Whatever is written around and between secrets, no learnt one of four or more shows."""
    redactor = knowing(*learnt)
    written = st.lists(st.sampled_from([*pieces, *learnt, "wss://"]), max_size=8)
    text = redactor.text("".join(data.draw(written))) if pieces or learnt else ""
    assert not any(len(secret) >= 4 and secret in text for secret in learnt)


@settings(max_examples=300, deadline=None)
@given(secrets, st.text("ab:/@?#=&. ", max_size=20), st.text("ab/?=&+% .'é", max_size=12))
def test_what_was_redacted_stays_as_it_is(learnt, url, text):
    """A line that was redacted is not changed by being redacted again."""
    redactor = knowing(*learnt)
    once = redactor.text(f"{text} wss://{url} {text}")
    assert redactor.text(once) == once


# Exceptions


@dataclasses.dataclass
class Response:
    """What a library might put into its exceptions."""

    status: int
    body: bytes


class Refused(Exception):
    """An exception whose repr has a response, and whose text has none."""

    def __init__(self, response: Response) -> None:
        self.response = response

    def __str__(self) -> str:
        return f"refused: {self.response.status}"


class Speechless(Exception):
    """An exception that can't say what it is."""

    def __str__(self) -> str:
        raise RuntimeError(PLAIN)


def everything(error: BaseException) -> str:
    """All that is shown of an exception and of what hangs together with it."""
    shown: list[str] = []
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        shown += [str(one), repr(one), *map(repr, vars(one).values())]
        shown += getattr(one, "__notes__", [])
        inner = [one.__cause__, one.__context__, *vars(one).values(), *one.args]
        if isinstance(one, BaseExceptionGroup):
            inner += one.exceptions
        waiting += [other for other in inner if isinstance(other, BaseException)]
    return "\n".join([*shown, *traceback.format_exception(error, chain=True)])


def raised_from(error: BaseException, cause: BaseException | None, text: str) -> BaseException:
    """An exception as it is after being raised in the handling of another."""
    with contextlib.suppress(type(error)):
        try:
            int(text)
        except ValueError:
            raise error from cause
    return error.with_traceback(None)


def noted(error: BaseException, note: str) -> BaseException:
    """An exception with a note."""
    error.add_note(note)
    return error


def with_attribute(error: BaseException, value: object) -> BaseException:
    """An exception with an attribute of its own."""
    error.detail = value  # type: ignore[attr-defined]
    return error


EXCEPTIONS = {
    "args": lambda: ValueError(f"bad {PLAIN}", PLAIN, 1),
    "key": lambda: KeyError(PLAIN),
    "url": lambda: ValueError("can't reach wss://me:unlearnt@h/?k=unlearnt"),
    "bytes": lambda: ValueError(PLAIN.encode()),
    "nested args": lambda: ValueError({"token": [PLAIN]}),
    "os": lambda: OSError(2, "no such file", f"/run/{PLAIN}"),
    "unicode": lambda: UnicodeDecodeError("utf-8", PLAIN.encode(), 0, 1, "odd"),
    "response": lambda: Refused(Response(401, PLAIN.encode())),
    "attribute": lambda: with_attribute(ValueError("no"), PLAIN),
    "exception as attribute": lambda: with_attribute(ValueError("no"), KeyError(PLAIN)),
    "exception in args": lambda: ValueError("no", Refused(Response(401, PLAIN.encode()))),
    "note": lambda: noted(ValueError("no"), f"with {PLAIN}"),
    "note of a stand-in": lambda: noted(Refused(Response(401, PLAIN.encode())), PLAIN),
    "cause": lambda: raised_from(ValueError("no"), KeyError(PLAIN), "context"),
    "context": lambda: raised_from(ValueError("no"), None, PLAIN),
    "cause with a response": lambda: ConnectError(
        "no", cause=Refused(Response(401, PLAIN.encode()))
    ),
    "last attempt": lambda: RetriesExhausted(
        3, ConnectError("no", cause=Refused(Response(401, PLAIN.encode())))
    ),
    "group": lambda: ExceptionGroup("many", [KeyError(PLAIN), ValueError("no")]),
    "group with a response": lambda: BaseExceptionGroup(
        "many", [Refused(Response(401, PLAIN.encode())), KeyboardInterrupt()]
    ),
    "group with a message": lambda: ExceptionGroup(f"many {PLAIN}", [ValueError("no")]),
    "group in a group": lambda: ExceptionGroup("a", [ExceptionGroup("b", [OSError(1, PLAIN)])]),
}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_shows_no_secret(name):
    """Nothing that is shown of an exception, its chain, notes or attributes has the secret."""
    error = EXCEPTIONS[name]()
    before = everything(error)
    assert PLAIN in before or "unlearnt" in before
    shown = everything(knowing(PLAIN).exception(error))
    assert PLAIN not in shown
    assert "unlearnt" not in shown


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_of_others_is_not_changed(name):
    """What users and libraries raised still has for them what it had, secrets and all."""
    error = EXCEPTIONS[name]()
    if isinstance(error, ConnectError):
        error = error.last.cause if isinstance(error, RetriesExhausted) else error.cause
    before = everything(error)
    clean = knowing(PLAIN).exception(error)
    assert clean is not error
    assert everything(error) == before


def test_our_error_refers_to_what_stands_for_its_cause():
    """A cause that shows a secret is replaced in the chain of our error, not changed."""
    cause = OSError(2, "no such file", f"/run/{PLAIN}")
    error = ConnectError("no", cause=cause)
    error.__context__ = cause
    assert knowing(PLAIN).exception(error) is error
    assert error.cause is error.__cause__ is error.__context__ is not cause
    assert str(error.cause) == f"FileNotFoundError: [Errno 2] no such file: '/run/{MASK}'"
    assert cause.filename == f"/run/{PLAIN}"


def test_a_plain_url_in_an_exception_of_others():
    """An exception with a URL in which nothing is secret is the same object, unchanged."""
    error = ValueError("see https://docs.example/errors/12", "wss://feed.example:9443/ws")
    args = error.args
    assert knowing(PLAIN).exception(error) is error
    assert error.args is args


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """An exception none of whose attributes can be set."""

    detail: object


class Slotted(Exception):
    """An exception with a slot, and a property without a setter."""

    __slots__ = ("_detail",)

    def __init__(self, detail: object) -> None:
        self._detail = detail

    @property
    def detail(self) -> object:
        """What it is about."""
        return self._detail


class Unsettable(Exception):
    """An exception that raises on whatever is set."""

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(name)


class Malicious(Exception):
    """An exception of which nothing can be asked, and that is false."""

    def __getattribute__(self, name: str) -> object:
        raise asyncio.CancelledError(name)

    def __bool__(self) -> bool:
        raise asyncio.CancelledError


class FrozenConnectError(ConnectError):
    """An error of users that is one of ours, and can't be changed once it is made."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in vars(self) or name == "args":
            raise TypeError(name)
        super().__setattr__(name, value)


IMMUTABLE = [Frozen, Slotted, Unsettable, FrozenConnectError]


@pytest.mark.parametrize("kind", IMMUTABLE)
@pytest.mark.parametrize("detail", [PLAIN, "plain"])
def test_an_exception_that_cannot_be_changed(kind, detail):
    """Whatever an exception does not allow, cleaning does not raise and nothing shows."""
    redactor = knowing(PLAIN)
    error = kind(detail)
    assert PLAIN not in everything(redactor.exception(raised_from(error, KeyError(PLAIN), "1")))
    ours = ConnectError("no", cause=kind(detail))
    assert redactor.exception(ours) is ours
    assert PLAIN not in everything(ours)


def test_an_exception_that_cannot_be_asked():
    """An exception that raises whatever it is asked is replaced by its text, in a chain too."""
    redactor = knowing(PLAIN)
    assert repr(redactor.exception(Malicious(PLAIN))) == "Exception('Malicious: ***')"
    error = ConnectError("no", cause=Malicious(PLAIN))
    assert redactor.exception(error) is error
    assert repr(error.cause) == "Exception('Malicious: ***')"


def test_what_users_catch_as_a_connect_error_stays_one():
    """What stands for a user's own kind of ConnectError is one too, with its data."""
    error = FrozenConnectError(PLAIN, cause=KeyError(PLAIN), retryable=False, retry_after=2)
    clean = knowing(PLAIN).exception(error)
    assert isinstance(clean, ConnectError)
    assert (clean.retryable, clean.retry_after) == (False, 2)
    assert clean.cause is clean.__cause__ is not error.cause


LONG = {
    "document": lambda: json.JSONDecodeError("odd", "wss://me:pw@h/?k=v " * 100_000 + PLAIN, 0),
    "text": lambda: ValueError("x" * 1_000_000 + PLAIN),
    "one of ours": lambda: ConnectionLost("x " * 500_000 + PLAIN, reason="y" * 20_000 + PLAIN),
    "notes": lambda: noted(ValueError("no"), "x" * 1_000_000 + PLAIN),
    "parts": lambda: ValueError(*["x" * 100] * 100_000, PLAIN),
    "payload": lambda: UnicodeDecodeError("utf-8", b"\xff" * 1_000_000, 0, 1, "odd"),
    "chain": lambda: functools.reduce(
        lambda cause, _: raised_from(ValueError("no"), cause, "1"), range(5000), KeyError(PLAIN)
    ),
    "group": lambda: ExceptionGroup("many", [KeyError(PLAIN) for _ in range(5000)]),
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_exception(name):
    """What was not looked at is not shown, and what is looked at is bounded."""
    error = LONG[name]()
    redactor = knowing(PLAIN, *(f"secret{number}" for number in range(100)))
    looked_at = 0
    mask = redactor._mask

    def counted(text: str) -> str:
        nonlocal looked_at
        looked_at += len(text)
        return mask(text)

    redactor._mask = counted
    clean = redactor.exception(error)
    assert PLAIN not in everything(clean)
    assert looked_at < 500_000
    assert isinstance(clean, ConnectionLost) == (name == "one of ours")
    assert redactor.exception(clean) is clean or name == "group"


@pytest.mark.parametrize("secret", [PLAIN, "two words", "wss://me:pass@h/?key=canary5ecret"])
def test_a_long_text_is_cut(secret):
    """A long text is cut, and wherever that is, not in the midst of a secret or a URL."""
    redactor = knowing(secret)
    for size in range(9_950, 10_020):
        shown = redactor.text("-" * size + secret + "-" * 100_000)
        assert 9_900 < len(shown) < 10_100
        assert shown.endswith("...")
        assert not shown.strip(f"{MASK}-.")


def test_a_url_that_nobody_learnt_is_not_cut():
    """A long text shows no part of a key in the path of a URL that is cut off."""
    for size in range(9_950, 10_020):
        text = "x" * size + " wss://feed.example/ws/canarykeycanarykeycanarykey" + " x" * 10_000
        assert "canary" not in Redactor().text(text)


def test_an_exception_that_cannot_be_shown():
    """An exception whose text raises is replaced by its name, and harms nobody."""
    error = ConnectError("no", cause=Speechless())
    clean = knowing(PLAIN).exception(error)
    assert clean is error
    assert str(error.__cause__) == "Speechless"


def test_an_exception_without_secrets_stays_the_same():
    """What has nothing to hide is the same object, with the same parts."""
    args = ("no", 1, b"raw")
    error = raised_from(ValueError(*args), KeyError("k"), "context")
    cause, context = error.__cause__, error.__context__
    assert knowing(PLAIN).exception(error) is error
    assert (error.args, error.__cause__, error.__context__) == (args, cause, context)


def test_what_can_be_cleaned_in_place_keeps_its_type():
    """An exception of texts stays what it is, so that it is caught as before."""
    error = ConnectError(f"could not reach {PLAIN}", retry_after=3.0)
    clean = knowing(PLAIN).exception(error)
    assert clean is error
    assert (str(error), error.retry_after) == (f"could not reach {MASK}", 3.0)


def test_a_stand_in_says_what_it_stands_for():
    """The name and text, the chain, notes and traceback of what was replaced are kept."""
    cause, context = KeyError("cause"), None
    try:
        raise noted(Refused(Response(401, PLAIN.encode())), "a note") from cause
    except Refused as caught:
        error, lines = caught, caught.__traceback__
        context = caught.__context__
    clean = knowing(PLAIN).exception(error)
    assert str(clean) == "Refused: refused: 401"
    assert (clean.__cause__, clean.__context__) == (cause, context)
    assert clean.__notes__ == ["a note"]
    assert clean.__traceback__ is lines


@pytest.mark.parametrize("suppress", [True, False])
@pytest.mark.parametrize("secret", [True, False])
def test_what_was_to_be_shown_of_a_chain_still_is(suppress, secret):
    """Whether a context is suppressed is not changed by cleaning."""
    error = Refused(Response(401, PLAIN.encode() if secret else b""))
    error.__cause__ = error.__context__ = ValueError(PLAIN)
    error.__suppress_context__ = suppress
    assert knowing(PLAIN).exception(error).__suppress_context__ is suppress


def test_a_ring_of_exceptions():
    """Exceptions that are each other's context are cleaned all the same."""
    one, other = KeyError(PLAIN), ValueError(PLAIN)
    one.__context__, other.__context__ = other, one
    with_attribute(other, one)
    shown = everything(knowing(PLAIN).exception(one))
    assert PLAIN not in shown


def test_cleaning_twice_changes_nothing():
    """A clean exception is the same after being cleaned again."""
    for make in EXCEPTIONS.values():
        redactor = knowing(PLAIN)
        clean = redactor.exception(make())
        shown = everything(clean)
        assert redactor.exception(clean) is clean
        assert everything(clean) == shown
