"""Whether to go on after an error: what the user says, else the verdict of the library."""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import RxwsError
from ..core.verdicts import Verdict, Verdicts
from ..streams.isolation import FAULTS
from .options import Options

__all__ = ["Retrying"]


class Retrying:
    """Judges errors; ``retry`` is asked first.

    Args:
        options: of the websocket.
        report: told what ``retry`` raised; then the library's verdict stands.
    """

    def __init__(self, options: Options, report: Callable[[BaseException], None]) -> None:
        self._retry = options.retry
        self._report = report
        self._verdicts = Verdicts(options.backoff)

    def judge(self, error: RxwsError, *, counts: bool) -> Verdict:
        """May another attempt be made, and after at least how long?

        Args:
            error: of a failed attempt, or of a connection that was lost.
            counts: whether it left no live connection; what befalls a successor never ends all.
        """
        return self._verdicts.judge(error, word=self._ask(error), counts=counts)

    def stable(self) -> None:
        """A connection was live for ``Backoff.stable`` seconds."""
        self._verdicts.stable()

    def _ask(self, error: RxwsError) -> bool | None:
        if self._retry is None:
            return None
        try:
            return bool(self._retry(error))
        except FAULTS as fault:
            self._report(fault)
            return None
