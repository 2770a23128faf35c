"""Recorded feeds of real exchanges, over a real websocket, as fast as it goes."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rxws
from rxws import where
from rxws.testing import Server, Session
from tests.captures import load

END = '{"the":"end"}'


def parse(raw: str | bytes) -> Any:
    """Parse JSON, which Huobi compresses."""
    return json.loads(gzip.decompress(raw) if isinstance(raw, bytes) else raw)


def by_key(key: Any) -> Callable[[Any], Any]:
    """Return what reads ``key`` (a path, when a tuple) of a message; ``None`` when missing."""
    path = key if isinstance(key, tuple) else (key,)

    def read(message: Any) -> Any:
        for part in path:
            try:
                if isinstance(message, list) != isinstance(part, int):
                    return None
                message = message[part]
            except (KeyError, IndexError, TypeError):
                return None
        return message

    return read


def equalities(messages: list[Any], keys: list[Any]) -> list[tuple[Any, Callable[[Any], bool]]]:
    """Pair a filter for every value that ``keys`` have in the messages with its brute force."""
    pairs: list[tuple[Any, Callable[[Any], bool]]] = []
    for key in keys:
        read = by_key(key)
        values = {value for m in messages if isinstance(value := read(m), str | int)}
        pairs += [
            ([{key: value}], lambda m, r=read, v=value: r(m) == v)
            for value in sorted(values, key=repr)
        ]
    return pairs


KEYS: dict[str, list[Any]] = {
    "coinbase": ["type", "product_id", "side", ("changes", 0, 0), "trade_id", "sequence"],
    "binance_futures": ["stream", ("data", "e"), ("data", "s"), ("data", "T"), ("data", "u")],
    "kraken": [0, 2, 3, -1, "event", "pair", (1, "a", 0, 0)],
    "huobi": ["ch", "ts", ("tick", "ts"), ("tick", "data", 0, "direction"), "id", "status"],
}


@pytest.mark.parametrize("name", sorted(KEYS))
async def test_every_consumer_equals_brute_force(name: str, captures: Path) -> None:
    """Hundreds of observers, iterators and handlers of a recorded feed each get exactly theirs."""
    raws = load(name).received
    messages = [parse(raw) for raw in raws]
    pairs = equalities(messages, KEYS[name])[:400]
    pairs += [
        (None, lambda _: True),
        (lambda m: isinstance(m, list), lambda m: isinstance(m, list)),
        ([{"type": where.one_of("ticker", "match")}, {"type": "ticker"}],
         lambda m: isinstance(m, dict) and m.get("type") in ("ticker", "match")),
        ([{("data", "u"): where.exists()}], lambda m: by_key(("data", "u"))(m) is not None),
    ]  # fmt: skip
    consumers: list[tuple[list[Any], Callable[[Any], bool]]] = []

    async def script(session: Session) -> None:
        await session.next_message()
        await session.send_all([*raws, END])

    async with Server(script) as server, rxws.connect(server.url, parse=parse) as ws:
        readers = []
        for at, (filters, matches) in enumerate(pairs):
            got: list[Any] = []
            consumers.append((got, matches))
            stream = ws.stream_filter(filters)
            if at % 2:
                stream.subscribe(got.append)
            else:
                readers.append(asyncio.create_task(collect(stream, got)))
        handled: list[Any] = []
        handled_async: list[Any] = []

        async def handle(message: Any) -> None:
            handled_async.append(message)

        ws.add_handler(handled.append)
        ws.add_handler(handle)
        end = ws.stream_filter([{"the": "end"}])
        await ws.send("go")
        await asyncio.wait_for(anext(end), 120)
    await asyncio.gather(*readers)

    sent = [*messages, json.loads(END)]
    assert handled == handled_async == sent
    for got, matches in consumers:
        assert got == [m for m in sent if matches(m)]
    assert sum(bool(got) for got, _ in consumers) > len(consumers) // 2


async def collect(stream: rxws.Stream[Any], into: list[Any]) -> None:
    """Iterate a stream to its end."""
    async for message in stream:
        into.append(message)  # noqa: PERF401 (looked at meanwhile)


async def test_path_of_recorded_feed_through_rotations(captures: Path) -> None:
    """A recorded feed sent to both connections arrives whole and in order across rotations."""
    messages = [json.loads(raw) for raw in load("binance_futures").received]
    numbered = [json.dumps({"n": n, **m}) for n, m in enumerate(messages)]
    got: list[int] = []
    async with Server() as server:
        ws = rxws.connect(
            server.url,
            key=lambda m: m["n"],
            handover=rxws.MakeBeforeBreak(overlap=0.05, drain=30),
        )
        ws.stream_filter([{"n": where.exists()}]).subscribe(lambda m: got.append(m["n"]))
        async with ws:
            for at in range(0, len(numbered), 20):
                if at >= len(numbered) / 2:
                    await server.wait(lambda: ws.stats().rotations >= 1)
                for raw in numbered[at : at + 20]:
                    server.broadcast(raw)
                ws.rotate()
                await asyncio.sleep(0.01)
            await server.wait(lambda: len(got) == len(numbered))
            await server.wait(lambda: ws.stats().rotations >= 2)
    assert got == list(range(len(numbered)))
