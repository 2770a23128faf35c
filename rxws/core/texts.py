"""What other people's objects say of themselves, also when they can't."""

from __future__ import annotations

__all__ = ["said"]


def said(error: BaseException) -> str:
    """What an exception says; its type's name where it says nothing, or can't even be asked."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # of an exception that somebody else wrote
        return type(error).__name__
