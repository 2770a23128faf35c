"""Feeds whose messages are numbered: what is missing, what was there before, what starts again."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from .counts import Ahead, Feed, Hole, Position, Repeats

__all__ = ["FILLING", "Hole", "Numbering", "Repeats"]

FILLING = 0  # in place of an epoch: what fills a gap is of no connection
_MARKS = 8  # for each window: how finely it is known what was delivered when
_DIGESTS = 16_384  # of the last numbers, to tell a feed that starts again from a repetition
_TRIES = 8  # feeds that are looked at to find one that may be forgotten


class Numbering:
    """Judges messages by their numbers, which grow by one within a partition.

    A connection whose numbers fall starts again: what it brings from there on is new, and what
    another one brings is a repetition once that has started again too.

    Args:
        window: seconds for which it is known which numbers were delivered.
        memory: partitions that are known at most; of those that were quiet for the window, the
            one known for longest is forgotten.
    """

    def __init__(self, window: float, memory: int) -> None:
        self._window = window
        self._memory = memory
        self._feeds: dict[Hashable, Feed] = {}
        self._open: dict[Hashable, Feed] = {}  # those that `settle` has to close
        self._digests: deque[tuple[Hashable, int, int]] = deque(maxlen=_DIGESTS)
        self._positions: dict[tuple[int, Hashable], Position] = {}
        self._after_break = 0  # the connection that came after the last break
        self._before_break: dict[tuple[Hashable, int], int] = {}

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self._feeds)

    def reaches(self, first: int) -> bool:
        """Whether the feed without a partition goes on, without a hole, where this begins."""
        feed = self._feeds.get(None)
        return feed is not None and first <= feed.last + 1

    # Connections

    def broken(self, epoch: int) -> None:
        """The feed broke off before ``epoch``: it may have started again meanwhile."""
        self._after_break = epoch
        self._before_break = {(part, number): digest for part, number, digest in self._digests}
        self._only(epoch)

    def lost(self, epoch: int) -> None:
        """A successor failed: what it brought is of no use any more."""
        self._positions = {at: known for at, known in self._positions.items() if at[0] != epoch}

    def comes_again(self, epoch: int, partition: Hashable) -> None:
        """What this connection has brought was held, and is compared anew."""
        self._positions.pop((epoch, partition), None)

    def settle(self, epoch: int, now: float) -> list[Hole]:
        """Only ``epoch`` goes on: nobody closes the holes any more that `admit_early` left."""
        holes: list[Hole] = []
        for partition, feed in self._open.items():
            feed.floor = None
            while feed.ahead is not None:
                hole = self._close(feed, partition, now)
                if hole is not None:
                    holes.append(hole)
        self._open.clear()
        self._only(epoch)
        return holes

    def _only(self, epoch: int) -> None:
        self._positions = {at: known for at, known in self._positions.items() if at[0] == epoch}

    # Messages

    def admit(
        self, epoch: int, partition: Hashable, number: int, digest: int, now: float
    ) -> bool | Hole:
        """Whether a message is to be delivered, or the hole after which it is; remembers it."""
        feed = self._feeds.get(partition)
        if feed is None:
            self._begin(epoch, partition, number, now)
        elif number == feed.last + 1 and feed.epoch == epoch and feed.ahead is None:
            self._go_on(feed, epoch, number, now)
        else:
            repeats = self._compare(feed, epoch, partition, number, digest, now)
            if repeats is Repeats.YES:
                return False
            if repeats is Repeats.RESTARTS:
                return self.restart(epoch, partition, number, digest, now)
            if number <= feed.last:  # where it is below all that was delivered, or the last again
                return True
            self._digests.append((partition, number, digest))
            return self._pass(feed, epoch, partition, number, now)
        self._digests.append((partition, number, digest))
        return True

    def restart(
        self, epoch: int, partition: Hashable, number: int, digest: int, now: float
    ) -> bool | Hole:
        """Likewise for one with which its connection is known to have started again."""
        feed = self._feeds.get(partition)
        self._digests.append((partition, number, digest))
        if feed is None:
            self._begin(epoch, partition, number, now)
            return True
        if feed.epoch == epoch and number == feed.last + 1:
            self._go_on(feed, epoch, number, now)
            return True
        self._feeds[partition] = Feed(epoch, number, now, feed)
        self._positions.pop((epoch, partition), None)
        return Hole(partition, None, feed.last, feed.epoch, number)

    def hold(
        self, epoch: int, partition: Hashable, number: int, digest: int, now: float
    ) -> Repeats:
        """What a message of a successor is to what was delivered so far."""
        feed = self._feeds.get(partition)
        if feed is None:
            return Repeats.NO
        return self._compare(feed, epoch, partition, number, digest, now)

    def admit_held(
        self, epoch: int, partition: Hashable, number: int, digest: int, now: float
    ) -> bool | Hole:
        """As `admit`, for what was no repetition when it was held, and was not brought since."""
        feed = self._feeds.get(partition)
        if feed is None:
            return self.admit(epoch, partition, number, digest, now)
        if number < feed.last:  # it is in a hole that is told already
            return False
        if number > feed.last:
            self._digests.append((partition, number, digest))
            return self._pass(feed, epoch, partition, number, now)
        return feed.epoch == epoch

    def admit_early(
        self, epoch: int, partition: Hashable, number: int, digest: int, now: float
    ) -> bool | Hole:
        """As `admit`, where two connections are delivered at once: whether nobody brought it yet.

        Holes stay open until `settle`, since the other connection may close them.
        """
        feed = self._feeds.get(partition)
        if feed is None:
            feed = self._begin(epoch, partition, number, now)
            feed.floor = number  # the other one may have begun before
            self._open[partition] = feed
            return True
        self._open[partition] = feed
        repeats = self._compare(feed, epoch, partition, number, digest, now)
        if repeats is Repeats.RESTARTS:
            hole = self.restart(epoch, partition, number, digest, now)
            self._open[partition] = self._feeds[partition]
            return hole
        if repeats is Repeats.YES:
            return False
        if number <= feed.last:
            return feed.floor is not None and number < feed.floor
        if feed.epoch != epoch:
            self._note(feed, feed.epoch, partition)
        ahead = feed.ahead = feed.ahead or Ahead()
        if not ahead.add(number, epoch):
            return False
        self._digests.append((partition, number, digest))
        if len(ahead) > self._memory:
            return self._close(feed, partition, now) or True
        self._catch_up(feed, now)
        return True

    def admit_filling(self, partition: Hashable, number: int, now: float) -> bool:
        """Whether what fills a gap elsewhere is of a feed of which nothing else is known.

        Of any other its own numbers will tell what is missing.
        """
        feed = self._feeds.get(partition)
        if feed is None:
            self._begin(FILLING, partition, number, now).floor = number
        elif feed.epoch == FILLING and number > feed.last:
            self._go_on(feed, FILLING, number, now)
        elif feed.epoch == FILLING and feed.floor is not None and number < feed.floor:
            feed.floor = number
            feed.marks[0] = (now, number)
        else:
            return False
        return True

    # One feed

    def _begin(self, epoch: int, partition: Hashable, number: int, now: float) -> Feed:
        feeds = self._feeds
        if len(feeds) >= self._memory:
            for _ in range(_TRIES):
                oldest = next(iter(feeds))
                feed = feeds.pop(oldest)
                if feed.marks[-1][0] < now - self._window:
                    break
                feeds[oldest] = feed
            else:
                oldest = next(iter(feeds))
                del feeds[oldest]
            self._open.pop(oldest, None)
        feed = feeds[partition] = Feed(epoch, number, now)
        return feed

    def _go_on(self, feed: Feed, epoch: int, number: int, now: float) -> None:
        feed.last = number
        feed.epoch = epoch
        if now - feed.marks[-1][0] >= self._window / _MARKS:
            feed.marks.append((now, number))
            if len(feed.marks) > _MARKS + 2:
                del feed.marks[0]

    def _pass(
        self, feed: Feed, epoch: int, partition: Hashable, number: int, now: float
    ) -> bool | Hole:
        """The only connection that goes on passes the last number."""
        if feed.ahead is None:
            hole = None
            if number > feed.last + 1:
                missing = range(feed.last + 1, number)
                hole = Hole(partition, missing, feed.last, feed.epoch, number)
            self._go_on(feed, epoch, number, now)
            feed.floor = None
            self._positions.pop((epoch, partition), None)
            return hole or True
        # Another one, which failed, had been ahead. One hole is told with each message.
        if not feed.ahead.add(number, epoch):
            return False
        self._catch_up(feed, now)
        return (number > feed.last and self._close(feed, partition, now)) or True

    def _close(self, feed: Feed, partition: Hashable, now: float) -> Hole | None:
        """Close the lowest hole."""
        assert feed.ahead is not None
        hole = None
        number = feed.ahead.lowest
        if number > feed.last + 1:
            missing = range(feed.last + 1, number)
            hole = Hole(partition, missing, feed.last, feed.epoch, number)
            feed.last = number - 1
        self._catch_up(feed, now)
        return hole

    def _catch_up(self, feed: Feed, now: float) -> None:
        ahead = feed.ahead
        assert ahead is not None
        while ahead and ahead.lowest == feed.last + 1:
            number, epoch = ahead.pop()
            self._go_on(feed, epoch, number, now)
        if not ahead:
            feed.ahead = None

    # Connections and feeds

    def _note(self, feed: Feed, epoch: int, partition: Hashable) -> None:
        """A connection that brought the last number is passed by another one."""
        known = self._positions.get((epoch, partition))
        if known is None or known.feed is not feed or known.number < feed.last:
            self._place(epoch, partition, Position(feed, feed.last))

    def _compare(  # noqa: PLR0917 (what is known of one message)
        self, feed: Feed, epoch: int, partition: Hashable, number: int, digest: int, now: float
    ) -> Repeats:
        """What a number is to those that were delivered; remembers how far its connection is."""
        known = self._positions.get((epoch, partition))
        if feed.epoch == epoch and feed.ahead is None:
            known = Position(feed, feed.last)
        elif known is not None and known.has_left and known.feed is feed.before:
            known = Position(feed, known.number)  # the feed has started again behind it
        repeats, at = self._judge(feed, known, epoch, partition, number, digest, now)
        if at is not None:
            self._place(epoch, partition, at)
        return repeats

    def _place(self, epoch: int, partition: Hashable, position: Position) -> None:
        positions = self._positions
        positions[epoch, partition] = position
        if len(positions) > 2 * self._memory:  # two connections
            del positions[next(iter(positions))]

    def _judge(  # noqa: PLR0917 (what is known of one message)
        self,
        feed: Feed,
        known: Position | None,
        epoch: int,
        partition: Hashable,
        number: int,
        digest: int,
        now: float,
    ) -> tuple[Repeats, Position | None]:
        if known is not None and known.feed is feed:
            if number < known.number:
                return Repeats.RESTARTS, Position(feed, number, has_left=True)
            here = Position(feed, number, known.has_left)
            if known.has_left or number > feed.last:
                return Repeats.NO, here
            if number == known.number == feed.last and feed.epoch == epoch:
                return Repeats.NO, None  # a connection may repeat itself
            is_below = feed.floor is not None and number < feed.floor
            return Repeats.NO if is_below else Repeats.YES, here
        before = feed.before
        if before is not None and now - feed.began > self._window:
            before = feed.before = None
        if before is not None and feed.last < number <= before.last:
            # It may count as before still; or it began with the new numbers, and is ahead.
            may_lag = known is None or (known.feed is before and number >= known.number)
            if may_lag and self._was_before(before, partition, number, digest):
                return Repeats.YES, Position(before, number)
        here = Position(feed, number)
        if number > feed.last or (feed.floor is not None and number < feed.floor):
            return Repeats.NO, here
        if self._is_known(feed, epoch, partition, number, digest, now):
            return Repeats.YES, here
        return Repeats.RESTARTS, None

    def _was_before(self, before: Feed, partition: Hashable, number: int, digest: int) -> bool:
        """Whether a message is one of those after which the numbers started again."""
        if before.digests is None:
            before.digests = {n: known for part, n, known in self._digests if part == partition}
        return before.digests.get(number) == digest

    def _is_known(  # noqa: PLR0917 (what is known of one message)
        self, feed: Feed, epoch: int, partition: Hashable, number: int, digest: int, now: float
    ) -> bool:
        """Whether a number that another connection begins with was delivered within the window."""
        marks = feed.marks
        while len(marks) > 1 and marks[1][0] < now - self._window:
            del marks[0]
        if number < marks[0][1]:
            return False
        if epoch != self._after_break:
            return True
        # Servers that start again begin with 0 or 1, and what they send differs.
        return number > 1 and self._before_break.get((partition, number), digest) == digest
