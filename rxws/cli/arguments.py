"""The arguments of the command line, checked."""

from __future__ import annotations

import argparse
import itertools
import math
import re
import sys
import urllib.parse
from collections.abc import Sequence
from typing import NoReturn

import rxws
from rxws.cli.demo import DemoOptions
from rxws.cli.filters import Term
from rxws.cli.watch import WatchOptions
from rxws.core.redact import Redactor

__all__ = ["parse"]

_URL = re.compile(r"wss?://", re.IGNORECASE)

_WATCH = """\
Print the messages of a websocket feed on standard output: one line of compact JSON for each.
Everything else (connections, rotations, gaps, errors) goes to standard error, a line for each.

The first connection is tried three times; once there was one, it is replaced whenever it ends,
also when the server closes it. It ends after --count messages, on Ctrl-C, or when nobody reads
the output any more. A slow reader loses nothing: the feed is read no faster.
"""

_WATCH_MORE = """\
a message:
  Its text is kept as it came, digits of numbers and escapes included; only the white space
  between the values goes. NaN and Infinity, which JSON does not have, become null. A binary
  message is read as JSON too. What is not JSON is told on standard error. With --raw each message
  is printed as it came, whatever it is, with a line feed after it; a binary one that is not UTF-8
  as base64. Only JSON can match a --where.

a filter:
  --where PATH=VALUE; the keys of a PATH are parted by dots, a number is an index into a list or a
  key. VALUE is JSON where it can be read as such, else text: s=BTC, n=5, ok=true, id='"5"'.
  Several after one --where must all match; of several --where one must.

exit code:
  0 done, 1 the connection failed, 2 wrong use, 130 interrupted, 143 terminated

examples:
  rxws watch wss://stream.example/ws --send '{"op":"subscribe","args":["trades"]}' | jq .p
  rxws watch wss://stream.example/ws --where e=trade s=BTCUSDT --where e=quote --count 10
"""

_DEMO = """\
Watch one connection become several live streams, and survive its planned replacement: a feed
served by another process of this machine, filtered streams, a rotation every few seconds. At the
end everything that was received is compared with the server's own log.

The exit code is 0 when nothing was lost or duplicated, in at least one rotation (if there was time
for one), else 1; 130 when interrupted.
"""


class _WrongUse(Exception):
    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.parser = parser
        self.message = message


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _WrongUse(self, message)


def parse(argv: Sequence[str]) -> WatchOptions | DemoOptions:
    """What the arguments ask for.

    Raises:
        SystemExit: wrong use (2), or there is nothing to do but to print help (0); it is printed.
    """
    try:
        return _parse(argv)
    except _WrongUse as wrong:
        # It may quote an argument.
        redactor = Redactor()
        for word in argv:
            if "://" in word:
                redactor.learn_url(word)
        argparse.ArgumentParser.error(wrong.parser, redactor.text(wrong.message))


def _parse(argv: Sequence[str]) -> WatchOptions | DemoOptions:
    parser, watch = _parsers()
    given = parser.parse_args(argv)
    if given.command == "watch":
        return _watch_options(watch, given)
    if given.command == "demo":
        return DemoOptions(seconds=given.seconds, rotate=given.rotate, rate=given.rate)
    parser.print_help(sys.stderr)
    raise SystemExit(2)


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    parser = _Parser(
        prog="rxws",
        description="Websocket feeds as streams that survive faults and planned reconnections.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rxws {rxws.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    watch = commands.add_parser(
        "watch",
        help="print the messages of a feed as JSON lines",
        description=_WATCH,
        epilog=_WATCH_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = watch.add_argument
    add("url", metavar="URL", nargs="?", help="begins with ws:// or wss://")
    add(
        "--where",
        metavar="PATH=VALUE",
        nargs="+",
        action="append",
        default=[],
        help="print only messages that match",
    )
    add(
        "--send",
        metavar="MESSAGE",
        action="append",
        default=[],
        help="send this text on each new connection; may be repeated",
    )
    add("--count", metavar="N", type=_count, help="end after N messages that match")
    add("--raw", action="store_true", help="print messages as they came")
    add("--rotate", metavar="SECONDS", type=_seconds, help="replace the connection every so often")
    add("--stats", action="store_true", help="statistics on standard error, now and at the end")
    demo = commands.add_parser(
        "demo",
        help="one connection, several streams, rotations; needs no network",
        description=_DEMO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, default, text in (
        ("seconds", 12.0, "how long"),
        ("rotate", 3.0, "seconds from one rotation to the next"),
        ("rate", 500.0, "messages a second"),
    ):
        demo.add_argument(
            f"--{name}",
            metavar="N",
            type=_seconds,
            default=default,
            help=f"{text} (default {default:g})",
        )
    return parser, watch


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError("a whole number, 1 or more, is needed")
    return count


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError("a number, more than 0, is needed")
    return seconds


def _watch_options(parser: argparse.ArgumentParser, given: argparse.Namespace) -> WatchOptions:
    # What follows --where is taken for its arguments, and the URL may be among them.
    words = list(itertools.chain.from_iterable(given.where))
    urls = [word for word in (given.url, *words) if word is not None and _URL.match(word)]
    where = [[word for word in words if not _URL.match(word)] for words in given.where]
    if given.url is not None and not _URL.match(given.url):
        parser.error("URL: it has to begin with ws:// or wss://")
    if not urls:
        parser.error("URL is missing: it begins with ws:// or wss://")
    if len(urls) > 1:
        parser.error("one URL is needed, not several")
    try:
        _check_url(urls[0])
        alternatives = tuple(tuple(Term.parse(word) for word in words) for words in where)
    except ValueError as error:
        parser.error(str(error))
    if not all(alternatives):
        parser.error("argument --where: PATH=VALUE is missing")
    return WatchOptions(
        url=urls[0],
        where=alternatives,
        send=tuple(given.send),
        count=given.count,
        raw=given.raw,
        rotate=given.rotate,
        stats=given.stats,
    )


def _check_url(url: str) -> None:
    """Raise a ValueError, without the URL in it, where nothing could be connected to."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("URL: its host or port makes no sense") from None
    if not host:
        raise ValueError("URL: it has no host")
    if parts.fragment:
        raise ValueError("URL: no server is told what follows a #; write %23 if it is meant")
