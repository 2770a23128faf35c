"""The other side of a walk: one numbered feed for all connections, on fake links."""

from __future__ import annotations

import asyncio
import collections
import json
from collections.abc import Sequence
from typing import Any

from rxws.testing import FakeLink, FakeTransport

__all__ = ["Peer"]


class Peer(FakeTransport):
    """The other side: one numbered feed for all connections, answers, and a log of what it got.

    Args:
        lags: of the nodes, which take turns with the connections: by how many seconds each is
            behind with the feed.
    """

    def __init__(self, lags: Sequence[float] = (0.0,)) -> None:
        super().__init__()
        self.number = 0
        self.received: list[Any] = []
        self.most_open = 0
        self._lags = lags
        self._due: list[collections.deque[str]] = [collections.deque() for _ in lags]
        self._frozen: dict[FakeLink, list[str]] = {}

    async def connect(self, url: str, options: Any) -> FakeLink:
        link = await super().connect(url, options)
        link.sent = _Sent(self, link)
        self.look()
        return link

    def look(self) -> None:
        """Note how many connections exist; one that is being closed exists too."""
        self.most_open = max(self.most_open, len(self.alive))

    @property
    def alive(self) -> list[FakeLink]:
        """The connections that have not ended."""
        return [link for link in self.links if link._end is None]

    def feed(self, count: int = 1) -> None:
        """Send the next messages of the feed on every connection."""
        for _ in range(count):
            self.number += 1
            raw = json.dumps({"n": self.number, "even": self.number % 2 == 0})
            for node, lag in enumerate(self._lags):
                self._due[node].append(raw)
                if lag:
                    asyncio.get_running_loop().call_later(lag, self._publish, node)
                else:
                    self._publish(node)

    def _publish(self, node: int) -> None:
        """Send what is due next; timers of one moment are not called in any order."""
        raw = self._due[node].popleft()
        for link in self.alive:
            if link.number % len(self._lags) == node:
                self._bring(link, raw)

    def _bring(self, link: FakeLink, raw: str) -> None:
        held = self._frozen.get(link)
        if held is None:
            link.deliver(raw)
        else:
            held.append(raw)

    def freeze(self, link: FakeLink) -> None:
        """Let nothing come from the other side of a connection: a black hole."""
        if link not in self._frozen:
            self._frozen[link] = []
            link.answer_close = link.answer_pings = False

    def heal(self) -> None:
        """Undo `freeze`: what waited arrives."""
        frozen, self._frozen = self._frozen, {}
        for link, held in frozen.items():
            link.answer_close = link.answer_pings = True
            link.deliver(*held)
            if link.closed is not None:
                link.lose(*link.closed)

    def take(self, link: FakeLink, raw: Any) -> None:
        """Note what came, and answer what asks for it."""
        message = json.loads(raw)
        self.received.append(message)
        if "ask" in message:
            reply = json.dumps({"n": f"reply {message['ask']}", "reply": message["ask"]})
            asyncio.get_running_loop().call_later(0.01, self._bring, link, reply)


class _Sent(list[Any]):
    """What was written to a link; the peer is told in the same step."""

    def __init__(self, peer: Peer, link: FakeLink) -> None:
        super().__init__()
        self.peer = peer
        self.link = link

    def append(self, raw: Any) -> None:
        super().append(raw)
        self.peer.take(self.link, raw)
