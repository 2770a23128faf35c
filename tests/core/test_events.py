"""Events are values."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rxws.core import events
from rxws.core.events import Event, Gap, ParseFailed, stamped

ERROR = ValueError("no")

EXAMPLES: list[Event] = [
    events.Connecting(1, 2),
    events.Connected(1),
    events.ConnectFailed(1, 2, ERROR, 0.5),
    events.Disconnected(1, 1006, "gone"),
    events.Rotating(1, "daily"),
    events.Rotated(1, 2, "daily", 2.0, 30, matched=True, early=False),
    events.RotationFailed(2, ERROR, 0.5),
    events.Reset(2),
    events.Gap(1, "lost", planned=False, since=10.0, until=11.0),
    events.ParseFailed("{", ERROR),
    events.ConsumerFailed(print, ERROR),
    events.SignalFailed(ERROR),
    events.Overflowed(print, 7),
    events.Closed(None),
]

each = pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)


def test_every_event_has_an_example():
    """The tests below concern every kind of event that there is."""
    kinds = set(events.__all__) - {"Event", "State", "stamped"}
    assert {type(example).__name__ for example in EXAMPLES} == kinds


@each
def test_an_event_is_frozen(event):
    """No field of an event can be set, and no attribute added."""
    for field in dataclasses.fields(event):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field.name, None)
    assert not hasattr(event, "__dict__")


@each
def test_equality_ignores_the_times(event):
    """Two events that say the same are equal, whenever they happened."""
    later = stamped(event, 12.5, 1e9)
    assert (later.monotonic, later.time) == (12.5, 1e9)
    assert later == event
    assert repr(later) == repr(event)
    assert (event.monotonic, event.time) == (0.0, 0.0)


@each
def test_equality_looks_at_everything_else(event):
    """Events that differ in any other field are not equal, nor are those of two kinds."""
    others = [other for other in EXAMPLES if other is not event]
    assert event not in others
    for field in dataclasses.fields(event):
        if field.compare:
            assert dataclasses.replace(event, **{field.name: "another"}) != event


@each
def test_an_event_shows_what_it_says(event):
    """The repr names the kind and each of its fields, but not the times."""
    shown = repr(event)
    assert shown.startswith(f"{type(event).__name__}(")
    for field in dataclasses.fields(event):
        assert (f"{field.name}=" in shown) == (field.name not in ("monotonic", "time"))


def test_a_gap_knows_at_first_only_where_it_is():
    """Of a gap the feed, the missing numbers and the filling are unknown until told."""
    gap = Gap(3, "lost", planned=True, since=1.0, until=2.0)
    assert (gap.partition, gap.missing, gap.filled) == (None, None, False)


@pytest.mark.parametrize("raw", ["x" * 10**6, b"\xff" * 10**6])
def test_the_repr_of_a_huge_payload_is_short(raw):
    """A payload that can't be parsed is shown by its beginning and its length, its error too."""
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)) as caught:
        json.loads(raw)
    shown = repr(ParseFailed(raw, caught.value))
    assert len(shown) < 1500
    assert "1000000 long" in shown
    assert type(caught.value).__name__ in shown


def test_the_repr_of_a_small_payload_is_whole():
    """What is short enough is shown as it is."""
    error = ValueError("e" * 100)
    for raw in ("x" * 200, b"\x00" * 200):
        assert repr(ParseFailed(raw, error)) == f"ParseFailed(raw={raw!r}, error={error!r})"
