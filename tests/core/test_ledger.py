"""Where to subscribe and where to unsubscribe."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rxws.core.ledger import Ledger


def prepared(ledger: Ledger[str], epoch: int) -> list[str]:
    """Prepare a connection, and return the topics that were subscribed to on it."""
    topics = []
    while (topic := ledger.missing(epoch)) is not None:
        topics.append(topic)
    ledger.opened(epoch)
    return topics


def test_a_new_connection_gets_all_that_is_wanted():
    """A connection is subscribed to every wanted topic, once and in the order of the wishes."""
    ledger: Ledger[str] = Ledger()
    for topic in ("b", "a", "c"):
        assert ledger.join(topic) == []
    ledger.leave("a")
    assert prepared(ledger, 1) == ["b", "c"]
    assert prepared(ledger, 2) == ["b", "c"]


def test_a_new_wish_reaches_every_open_connection():
    """During a rotation a topic is subscribed to on both connections, and left on both."""
    ledger: Ledger[str] = Ledger()
    prepared(ledger, 1)
    prepared(ledger, 2)
    assert ledger.join("a") == [1, 2]
    assert ledger.join("a") == []
    assert ledger.leave("a") == [1, 2]
    assert ledger.leave("a") == []


def test_a_wish_during_the_preparation_is_made_once():
    """A topic that is joined while a connection is prepared is made by the preparation alone."""
    ledger: Ledger[str] = Ledger()
    ledger.join("a")
    assert ledger.missing(1) == "a"
    assert ledger.join("b") == []
    assert prepared(ledger, 1) == ["b"]


def test_a_topic_left_during_the_preparation_is_taken_back():
    """What the preparation subscribed to is unsubscribed; what it had not reached never was."""
    ledger: Ledger[str] = Ledger()
    ledger.join("a")
    ledger.join("b")
    assert ledger.missing(1) == "a"
    assert ledger.leave("a") == [1]
    assert ledger.leave("b") == []
    assert prepared(ledger, 1) == []


def test_a_topic_that_comes_back_during_the_preparation_is_made_again():
    """A topic that was left and is wanted again is subscribed to again."""
    ledger: Ledger[str] = Ledger()
    ledger.join("a")
    ledger.missing(1)
    ledger.leave("a")
    ledger.join("a")
    assert prepared(ledger, 1) == ["a"]


def test_a_closed_connection_is_told_nothing():
    """After its end a connection is in no answer; closing it twice is harmless."""
    ledger: Ledger[str] = Ledger()
    ledger.join("a")
    prepared(ledger, 1)
    prepared(ledger, 2)
    ledger.closed(1)
    ledger.closed(1)
    assert ledger.join("b") == [2]
    assert ledger.leave("a") == [2]


def test_a_preparation_that_fails_leaves_nothing():
    """What a connection that was never open had been told is forgotten with it."""
    ledger: Ledger[str] = Ledger()
    ledger.join("a")
    ledger.missing(1)
    ledger.closed(1)
    assert ledger.leave("a") == []


def test_a_subscription_that_failed_was_not_made():
    """What could not be sent is not taken back, and is made when it is wished for again."""
    ledger: Ledger[str] = Ledger()
    prepared(ledger, 1)
    prepared(ledger, 2)
    ledger.join("a")
    ledger.failed("a", 1)
    ledger.failed("a", 1)
    ledger.failed("a", 3)
    assert ledger.join("a") == [1]
    ledger.failed("a", 1)
    assert ledger.leave("a") == [2]
    assert prepared(ledger, 3) == []


class World:
    """Three servers and what each believes, told of every answer of one ledger."""

    def __init__(self) -> None:
        self.ledger: Ledger[str] = Ledger()
        self.wanted: set[str] = set()
        self.told: dict[int, set[str]] = {}
        self.open: set[int] = set()

    def subscribe(self, epoch: int, topic: str) -> None:
        assert topic not in self.told[epoch], "subscribed twice"
        self.told[epoch].add(topic)

    def join(self, _: int, topic: str) -> None:
        self.wanted.add(topic)
        for epoch in self.ledger.join(topic):
            assert epoch in self.open
            self.subscribe(epoch, topic)

    def leave(self, _: int, topic: str) -> None:
        self.wanted.discard(topic)
        for epoch in self.ledger.leave(topic):
            self.told[epoch].remove(topic)

    def prepare(self, epoch: int, _: str) -> bool:
        told = self.told.setdefault(epoch, set())
        found = self.ledger.missing(epoch)
        assert (found is None) == (self.wanted <= told)
        if found is not None:
            self.subscribe(epoch, found)
        return found is not None

    def finish(self, epoch: int, topic: str) -> None:
        while self.prepare(epoch, topic):
            pass
        self.ledger.opened(epoch)
        self.open.add(epoch)

    def close(self, epoch: int, _: str) -> None:
        self.ledger.closed(epoch)
        self.told.pop(epoch, None)
        self.open.discard(epoch)


STEPS = st.tuples(
    st.sampled_from([World.join, World.leave, World.prepare, World.finish, World.close]),
    st.integers(1, 3),
    st.sampled_from("abc"),
)


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=40))
def test_a_connection_has_what_is_wanted_and_nothing_twice(steps):
    """Whatever happens, an open connection is subscribed to exactly the wanted topics."""
    world = World()
    for step, epoch, topic in steps:
        step(world, epoch, topic)
        assert all(world.told[opened] == world.wanted for opened in world.open)
