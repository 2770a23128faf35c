"""Watches one connection for signs of life."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from ..core.liveness import Heartbeat, Liveness, Verdict
from ..streams.tasks import Tasks
from .transport import Link

__all__ = ["Heart"]

_SECOND_LOOKS = 2  # passes of the loop; what the socket holds is read in the first of them
_SHORTEST = 0.001  # seconds; a timer below it would only spin


class Heart:
    """Pings a link that is quiet, and says when it is dead.

    Args:
        link: what is watched.
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
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._last_message = last_message
        self._is_reading = is_reading
        self._tasks = tasks
        self._on_dead = on_dead
        self._ping: asyncio.Task[None] | None = None
        self._looks = _SECOND_LOOKS
        self._was_reading = True
        self._stopped = False
        self._patience = min(
            heartbeat.interval if heartbeat is not None else math.inf,
            silence if silence is not None else math.inf,
        )
        self._liveness = Liveness(heartbeat, silence, self._loop.time())
        self._timer: asyncio.Handle | None = None
        if self._patience < math.inf:
            self._beat()

    def stop(self) -> None:
        """Watch no longer. Idempotent."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ping is not None:
            self._ping.cancel()

    def _beat(self) -> None:
        if self._stopped:
            return
        now = self._loop.time()
        if not self._is_reading() or not self._was_reading:
            self._was_reading = self._is_reading()
            self._liveness.excuse(now)
        verdict, again = self._liveness.judge(now, self._link.last_received, self._last_message())
        if verdict in (Verdict.DEAD, Verdict.SILENT):
            if self._looks:
                # The loop may have been blocked: let it read what the socket holds, look again.
                self._looks -= 1
                self._timer = self._loop.call_soon(self._beat)
                return
            self.stop()
            self._on_dead("silent" if verdict is Verdict.SILENT else "no sign of life")
            return
        self._looks = _SECOND_LOOKS
        if verdict is Verdict.PING and self._ping is None:
            self._ping = self._tasks.spawn(self._send_ping(), "ping")
        delay = max(min(again, self._patience), _SHORTEST)
        self._timer = self._loop.call_later(delay, self._beat)

    async def _send_ping(self) -> None:
        # May wait for ever on a peer that does not read: nobody waits for it, and death is
        # judged by received bytes.
        try:
            await self._link.ping()
        except Exception:  # the end of the connection is reported by the link
            return
        finally:
            self._ping = None
