"""Events and numbers in words, for people."""

from __future__ import annotations

import time
from collections.abc import Callable

import rxws

__all__ = ["counted", "describe", "statistics"]

_SAMPLE = 60


def describe(event: rxws.Event, clean: Callable[[str], str]) -> str | None:
    """One line about an event; ``None`` for what a person need not know.

    Args:
        event: what happened.
        clean: takes secrets and control characters out of what others said.
    """
    match event:
        case rxws.Connected(epoch):
            return f"connection {epoch} is open"
        case rxws.ConnectFailed(_, attempt, error, wait) if wait is not None:
            return f"attempt {attempt} failed: {clean(str(error))}; the next in {wait:.1f} s"
        case rxws.Disconnected(epoch, code, reason):
            how = "without a Close frame" if code is None else f"{code} {clean(reason)}".rstrip()
            return f"connection {epoch} was lost: {how}"
        case rxws.Rotated():
            return _rotated(event)
        case rxws.RotationFailed(_, error, wait):
            return f"rotation failed: {clean(str(error))}; the next attempt in {wait:.1f} s"
        case rxws.Gap():
            return _gap(event, clean)
        case rxws.ParseFailed(raw, _):
            return f"not JSON: {clean(repr(raw[:_SAMPLE]))}{'...' if len(raw) > _SAMPLE else ''}"
        case rxws.ConsumerFailed(_, error) | rxws.SignalFailed(error):
            return f"error: {clean(repr(error))}"
        case _:
            return None


def _rotated(event: rxws.Rotated) -> str:
    doubt = "" if event.matched else "; some messages may have come twice"
    return (
        f"rotated: connection {event.old} -> {event.new}, overlap {event.overlap:.1f} s, "
        f"{counted(event.duplicates, 'duplicate')} removed{doubt}"
    )


def _gap(gap: rxws.Gap, clean: Callable[[str], str]) -> str:
    since, until = (time.strftime("%H:%M:%S", time.localtime(t)) for t in (gap.since, gap.until))
    filled = "filled" if gap.filled else "messages may be missing"
    return f"gap from {since} to {until}, {filled}: {clean(gap.reason)}"


def statistics(stats: rxws.Stats, printed: int, seconds: float) -> str:
    """One line of statistics: ``printed`` messages in ``seconds`` since the start."""
    return (
        f"{counted(stats.messages, 'message')} ({stats.messages / max(seconds, 0.001):.0f}/s, "
        f"{stats.bytes} bytes), {printed} printed, {stats.backlog} waiting, "
        f"{counted(stats.duplicates, 'duplicate')} removed, "
        f"{counted(stats.rotations, 'rotation')}, {counted(stats.reconnects, 'reconnect')}, "
        f"{counted(stats.gaps, 'gap')}, {seconds:.0f} s"
    )


def counted(number: int, thing: str) -> str:
    """Such as "1 message", "2 messages"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
