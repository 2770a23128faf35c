"""What ``send`` does while no connection is live."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

__all__ = ["Drop", "Fail", "Keep", "SendPolicy", "ThisConnection"]


@dataclasses.dataclass(frozen=True, slots=True)
class Keep:
    """Queue the message, in order, until a connection is live.

    Attributes:
        capacity: messages that may wait; one more raises ``BufferOverflow``.
    """

    capacity: int = 1000

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(
                f"Keep(capacity={self.capacity!r}): at least 1; to keep nothing use Drop()"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Drop:
    """Forget the message; ``send`` returns ``Delivery.NOT_SENT``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fail:
    """Raise ``ConnectionLost`` at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class ThisConnection:
    """Send on the connection that is live now or, when it is gone, raise ``ConnectionLost``."""


SendPolicy: TypeAlias = Keep | Drop | Fail | ThisConnection
