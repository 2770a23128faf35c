"""Planted canaries: no secret shows in what is logged, raised, announced or represented."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from typing import Any

import pytest

import rxws
from rxws.testing import Refuse, Server

QUICK = rxws.Backoff(initial=0.01, maximum=0.02, attempts=2)
CANARIES = (
    "canaryuser",
    "canarypassword",
    "canarytoken",
    "canarylistenkeycanarylistenkey",
    "canaryheader",
    "canarycookie",
    base64.b64encode(b"canaryuser:canarypassword").decode(),
)


def secret_url(url: str) -> str:
    """Plant canaries in every part of ``url`` that may hold a secret."""
    rest = url.removeprefix("ws://")
    return (
        f"ws://canaryuser:canarypassword@{rest}/ws/canarylistenkeycanarylistenkey"
        "?token=canarytoken&n=1"
    )


def shown(error: BaseException) -> str:
    """Return all that an exception shows: itself, its chain, its traceback."""
    texts, seen, todo = [], set(), [error]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        texts += [repr(one), str(one), *traceback.format_exception(one)]
        todo += [e for e in (one.__cause__, one.__context__) if e is not None]
        todo += [v for v in vars(one).values() if isinstance(v, BaseException)]
    return "\n".join(texts)


def clean(*texts: object) -> None:
    """Fail if a canary is found in what the texts show."""
    for text in texts:
        for canary in CANARIES:
            assert canary not in str(text), f"{canary} in {text}"


def of_client(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged, except by the server of the test, with its tracebacks."""
    format_ = logging.Formatter().format
    return [
        format_(r)
        for r in caplog.records
        if not r.name.startswith("rxws.testing")
        # asyncio's debug mode shows what ran, of the test too, where the machine was slow.
        and not (r.name == "asyncio" and r.msg.startswith("Executing "))
    ]


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize(
    "refusal",
    [
        Refuse(401, body="denied: canarytoken"),
        Refuse(302, {"Location": "ws://127.0.0.1:9/?token=canarytoken"}),
        Refuse(302, {"Location": "http://[::bad/?token=canarytoken"}),
        Refuse(418, {"X-Echo": "canaryheader"}),
    ],
)
async def test_a_refusal_shows_no_secret(
    *, made: bool, refusal: Refuse, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a refusing server echoes, errors, events, logs and reprs hold no secret of ours."""
    caplog.set_level(logging.DEBUG)
    async with Server() as server:
        url = secret_url(server.url)
        server.answer(refusal, refusal, refusal)
        ws: rxws.ReactiveWebSocket[Any] = rxws.connect(
            (lambda: url) if made else url,
            additional_headers={"X-MBX-APIKEY": "canaryheader", "Cookie": "canarycookie"},
            backoff=QUICK,
        )
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        with pytest.raises(rxws.ConnectError) as caught:
            await ws
        clean(shown(caught.value), repr(ws), *map(repr, events))
        for event in events:
            if isinstance(event, rxws.ConnectFailed | rxws.Closed) and event.error is not None:
                clean(shown(event.error))
        clean(*of_client(caplog))
        assert "***" in repr(ws) or made


async def test_a_session_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """A whole session, with a rotation and a loss, shows no secret even at DEBUG."""
    caplog.set_level(logging.DEBUG)
    async with Server() as server:
        url = secret_url(server.url)
        ws = rxws.connect(
            lambda: url,
            additional_headers={"Authorization": "Bearer canaryheader"},
            backoff=rxws.Backoff(initial=0.01, maximum=0.02),
            handover=rxws.MakeBeforeBreak(overlap=0.01),
        )
        events: list[rxws.Event] = []
        ws.events.subscribe(events.append)
        async with ws:
            session = await server.connection(1)
            ws.rotate("because of canarytoken")
            session = await server.connection(2)
            await server.wait(lambda: ws.stats().rotations == 1)
            await session.close(4000, "bad key canarytoken\n[CRITICAL] forged")
            await server.connection(3)
            await server.wait(lambda: ws.state is rxws.State.OPEN)
            names = [task.get_name() for task in asyncio.all_tasks()]
        clean(*names)
    clean(*map(repr, events))
    lost = next(event for event in events if isinstance(event, rxws.Disconnected))
    assert "\n" not in lost.reason
    clean(*of_client(caplog))


@pytest.mark.parametrize("where", ["source", "handler"])
async def test_what_users_raise_shows_no_secret_and_stays_theirs(
    where: str, caplog: pytest.LogCaptureFixture, loop_errors: list[dict[str, Any]]
) -> None:
    """An exception of the user's is not changed, and what is told of it shows no secret."""
    caplog.set_level(logging.DEBUG)
    error = ValueError("canarytoken was not accepted")
    events: list[rxws.Event] = []

    def fail(_: Any = None) -> Any:
        raise error

    async with Server() as server:
        url = secret_url(server.url)
        if where == "source":
            ws: rxws.ReactiveWebSocket[Any] = rxws.connect(
                fail, additional_headers={"X-Token": "canarytoken"}, backoff=QUICK
            )
            ws.events.subscribe(events.append)
            with pytest.raises(rxws.ConnectError) as caught:
                await ws
            clean(shown(caught.value))
        else:
            async with rxws.connect(url) as ws:
                ws.events.subscribe(events.append)
                ws.add_handler(fail)
                session = await server.connection(1)
                await session.send("1")
                await server.wait(lambda: bool(loop_errors))
    assert error.args == ("canarytoken was not accepted",)
    clean(*map(repr, events), *of_client(caplog))
    for told in [*(getattr(event, "error", None) for event in events), *loop_errors]:
        one = told["exception"] if isinstance(told, dict) else told
        if one is not None:
            clean(shown(one))


async def test_payloads_are_logged_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    """Above DEBUG the log holds no payload, of messages that can't be parsed either."""
    caplog.set_level(logging.INFO)
    async with Server() as server, rxws.connect(server.url) as ws:
        done = ws.stream_filter()
        session = await server.connection(1)
        await session.send_all(["not json: my-private-payload", '{"my":"private-payload"}'])
        await anext(done)
    assert "private-payload" not in caplog.text
