"""Watches one connection for signs of life, and the event loop for being blocked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ..core.liveness import Heartbeat, Liveness, Verdict
from ..core.seldom import Seldom
from ..streams.tasks import Tasks
from .transport import Link
from .user_timeout import set_user_timeout

__all__ = ["Heart"]

_log = logging.getLogger("rxws")

_SECOND_LOOKS = 2  # passes of the loop; what the socket holds is read in the first of them
_SHORTEST = 0.001  # seconds; a timer below it would only spin
_LONGEST = 1.0  # seconds between two beats, so that a blocked loop is noticed
_BLOCKED = 0.5  # seconds by which a beat is late, where the loop was blocked
_GUARD = 2.0  # times the heartbeat: the kernel ends what should have been found dead long before
_DEATHS = {
    Verdict.DEAD: "no sign of life",
    Verdict.SILENT: "silent",
    Verdict.DRIPPING: "a frame came in too slowly",
}
_warnings = Seldom(1.0)  # of the process: one blocked loop concerns every connection on it


class Heart:
    """Pings a link that is quiet, and says when it is dead.

    Where the loop is blocked by other code, a warning in the log says for how long: that is the
    cause when a server drops us as too slow.

    Args:
        link: what is watched. Where it has an attribute ``unfinished``, see `Liveness.judge`,
            frames that come in drop by drop are noticed.
        heartbeat, silence: as in `rxws.connect`.
        last_message: when the last message arrived, on the event loop's clock.
        is_reading: whether the link is being read; what isn't read can't be judged.
        tasks: owner of the pings.
        on_dead: called once, with the reason.
    """

    def __init__(
        self,
        link: Link,
        heartbeat: Heartbeat | None,
        silence: float | None,
        *,
        last_message: Callable[[], float],
        is_reading: Callable[[], bool],
        tasks: Tasks,
        on_dead: Callable[[str], None],
        on_suspected: Callable[[bool], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._last_message = last_message
        self._is_reading = is_reading
        self._tasks = tasks
        self._on_dead = on_dead
        self._on_suspected = on_suspected
        self._is_suspected = False
        self._ping: asyncio.Task[None] | None = None
        self._looks = _SECOND_LOOKS
        self._was_reading = True
        self._stopped = False
        self._has_heartbeat = heartbeat is not None
        self._patience = min(
            heartbeat.interval if heartbeat is not None else _LONGEST,
            silence if silence is not None else _LONGEST,
            _LONGEST,
        )
        self._liveness = Liveness(heartbeat, silence, self._loop.time())
        self._timer: asyncio.Handle | None = None
        self._due = self._loop.time()
        if heartbeat is not None:
            set_user_timeout(link.connection, _GUARD * (heartbeat.interval + heartbeat.timeout))
        self._beat()

    def stop(self) -> None:
        """Watch no longer. Idempotent."""
        if not self._stopped:
            self._notice_block(self._loop.time())  # whoever was dropped for it wants to know why
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ping is not None:
            self._ping.cancel()

    def probe(self) -> None:
        """Send a ping, if the link has a heartbeat."""
        if self._has_heartbeat and self._ping is None and not self._stopped:
            self._ping = self._tasks.spawn(self._send_ping(), "ping")

    def _beat(self) -> None:
        if self._stopped:
            return
        now = self._loop.time()
        self._notice_block(now)
        if not self._is_reading() or not self._was_reading:
            self._was_reading = self._is_reading()
            self._liveness.excuse(now)
        verdict, again = self._liveness.judge(
            now,
            self._link.last_received,
            self._last_message(),
            getattr(self._link, "unfinished", None),
        )
        if verdict in _DEATHS:
            if self._looks:
                # The loop may have been blocked: let it read what the socket holds, look again.
                self._looks -= 1
                self._due = now
                self._timer = self._loop.call_soon(self._beat)
                return
            self.stop()
            self._on_dead(_DEATHS[verdict])
            return
        self._looks = _SECOND_LOOKS
        if verdict is Verdict.PING:
            self.probe()
        if self._is_suspected is not (verdict is Verdict.SUSPECT):
            self._is_suspected = not self._is_suspected
            self._on_suspected(self._is_suspected)
        delay = max(min(again, self._patience), _SHORTEST)
        self._due = now + delay
        self._timer = self._loop.call_later(delay, self._beat)

    def _notice_block(self, now: float) -> None:
        late = now - self._due
        if late > _BLOCKED and _warnings.admits(now):
            _log.warning("the event loop was blocked for %.1f s, by code that does not await", late)

    async def _send_ping(self) -> None:
        # May wait for ever on a peer that does not read: nobody waits for it, and death is
        # judged by received bytes.
        try:
            await self._link.ping()
        except Exception:  # the end of the connection is reported by the link
            return
        finally:
            self._ping = None
