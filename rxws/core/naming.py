"""What tells one message from another."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Identify", "Name", "naming"]

Identify: TypeAlias = Callable[[Any], Hashable | None]
"""From a message to its identity; ``None`` or an exception: it has none."""


class Name(NamedTuple):
    """What tells a message from others: its number, else its key, else only its bytes."""

    partition: Hashable
    number: int | None
    key: Hashable | None

    @property
    def identity(self) -> Hashable | None:
        """``None`` where only its bytes tell."""
        return self.key if self.number is None else (self.partition, self.number)


_NAMELESS = Name(None, None, None)
_name = tuple.__new__  # twice as fast as to call it


def naming(
    key: Identify | None, sequence: Identify | None, partition: Identify | None
) -> Callable[[Any], Name]:
    """The function that names messages as the options of these names say."""
    if key is sequence is partition is None:
        return lambda _: _NAMELESS

    def named(message: Any) -> Name:
        number = identity = part = None
        if sequence is not None:
            answer = _asked(sequence, message)
            if isinstance(answer, int) and not isinstance(answer, bool):
                number = answer
        if number is None and key is not None:
            identity = _asked(key, message)
        if partition is not None and identity is None:
            part = _asked(partition, message)
        return _name(Name, (part, number, identity))

    return named


def _asked(identify: Identify, message: Any) -> Hashable | None:
    try:
        answer = identify(message)
        hash(answer)
    except (KeyboardInterrupt, SystemExit):
        raise
    # As documented, as if it had none. A plain function can't be cancelled, whatever it raises.
    except BaseException:
        return None
    return answer
