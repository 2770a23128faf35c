"""``rxws watch``: a feed as JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import time
from typing import Any

import rxws
from rxws.cli.filters import Term, predicate
from rxws.cli.output import Output
from rxws.cli.payload import Payload, has_constants, json_line, raw_line, read_any, read_json
from rxws.cli.telling import describe, statistics
from rxws.core.redact import Redactor

__all__ = ["WatchOptions", "run_watch"]

_ATTEMPTS = 3
"""To open the first connection: a server may be busy for a moment, a URL may be mistyped."""

_STATISTICS_EVERY = 10.0


@dataclasses.dataclass(frozen=True)
class WatchOptions:
    """What to watch, and how.

    Attributes:
        url: of the feed.
        where: a message has to match all terms of one of these; without any all messages pass.
        send: texts to send on each new connection.
        count: of messages to print; ``None`` for no end.
        raw: whether to print messages as they came.
        rotate: seconds after which a connection is replaced; ``None`` for never.
        stats: whether to tell statistics.
    """

    url: str
    where: tuple[tuple[Term, ...], ...] = ()
    send: tuple[str, ...] = ()
    count: int | None = None
    raw: bool = False
    rotate: float | None = None
    stats: bool = False


async def run_watch(options: WatchOptions) -> int:
    """Print messages until there were enough; returns the exit code."""
    return await _Watch(options).run()


class _Watch:
    def __init__(self, options: WatchOptions) -> None:
        self._options = options
        self._redactor = Redactor()
        self._redactor.learn_url(options.url)
        self._began = time.monotonic()
        self._printed = 0
        self._attempt = 0
        self._was_open = False
        self._told_of_constants = False
        self._ws: rxws.ReactiveWebSocket[Payload] = rxws.connect(
            options.url,
            parse=read_any if options.raw else read_json,
            subscribe=options.send,
            rotate_on=None if options.rotate is None else rxws.every(options.rotate),
            retry=self._may_retry,
        )

    async def run(self) -> int:
        code = 0
        events = self._ws.events.subscribe(self._on_event)
        try:
            async with Output() as output, asyncio.TaskGroup() as group:
                others = [group.create_task(output.failed())]
                if self._options.stats:
                    others.append(group.create_task(self._tell_statistics()))
                await self._print_messages(output)
                for task in others:
                    task.cancel()
        except* BrokenPipeError:
            pass  # nobody reads any more: the end, as for any filter of a shell
        except* OSError as errors:
            self._say(f"could not write: {errors.exceptions[0]}")
            code = 1
        except* rxws.RxwsError as errors:
            self._say(self._redactor.text(str(errors.exceptions[0])))
            code = 1
        finally:
            events.dispose()
            if self._options.stats:
                self._say_statistics()
        return code

    async def _print_messages(self, output: Output) -> None:
        matches = predicate(self._options.where)
        to_line = raw_line if self._options.raw else self._json_line
        messages = self._ws.stream_filter(
            None if matches is None else lambda payload: matches(payload.value)
        ).buffered(overflow=rxws.Overflow.BLOCK)
        async with self._ws:
            async for payload in messages:
                await output.write(to_line(payload))
                self._printed += 1
                if self._printed == self._options.count:
                    break

    def _json_line(self, payload: Payload) -> bytes:
        if not self._told_of_constants and has_constants(payload):
            self._told_of_constants = True
            self._say("NaN and Infinity, which JSON does not have, are printed as null")
        return json_line(payload)

    # What happens beside

    def _may_retry(self, error: Any) -> bool:
        if not self._was_open and self._attempt >= _ATTEMPTS:
            return False
        return bool(getattr(error, "retryable", True))

    def _on_event(self, event: rxws.Event) -> None:
        match event:
            case rxws.Connecting(_, attempt):
                self._attempt = attempt
            case rxws.Connected():
                self._was_open = True
            case _:
                pass
        text = describe(event, self._redactor.text)
        if text is not None:
            self._say(text)

    async def _tell_statistics(self) -> None:
        while True:
            await asyncio.sleep(_STATISTICS_EVERY)
            self._say_statistics()

    def _say_statistics(self) -> None:
        seconds = time.monotonic() - self._began
        self._say(statistics(self._ws.stats(), self._printed, seconds))

    def _say(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # who reads the messages need not read this
            print(f"rxws: {text}", file=sys.stderr, flush=True)
