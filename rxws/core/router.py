"""Which of many filters does a message match, without asking each of them.

A router keeps the alternatives of its filters in groups, one for each set of paths whose values
have to be equal. In a group the values at those paths are the key of a hash table: one extraction
and one lookup find the node where all wait who ask for just these values. From a node, branches
lead on to those who ask for more: a branch extracts one more value and puts each distinct condition
on it to the test once, whoever shares it; bounds of ``gt``, ``ge``, ``lt`` and ``le`` are kept
sorted, so that only those that hold are touched. A predicate is a condition on the whole message.

The cost of a message follows the number of groups, of distinct conditions at the nodes it reaches,
and of targets it matches; not the number of targets.

Changes take a lock, matching takes none but to renew what a change made stale: it reads snapshots,
each replaced in one assignment.
"""

from __future__ import annotations

import itertools
import operator
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from .filters import MISSING, Alternative, Filters, Matcher, Path, compile_filters, lookup
from .where import Check, Choice, Condition

__all__ = ["Registration", "Router"]

R = TypeVar("R")
T = TypeVar("T")

_serial = operator.attrgetter("serial")

_MERGED = 1024
"""Merged results that are kept between two changes."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types of which no value equals anything unhashable. (``bytes`` equal a ``bytearray``.)"""


class Registration(Generic[T]):
    """One target of a router, with its filters; what ``Router.add`` returns."""

    __slots__ = ("matcher", "places", "reported", "serial", "target")

    def __init__(self, matcher: Matcher, target: T) -> None:
        self.matcher = matcher
        self.target = target
        self.serial = 0
        self.places: list[_Node] = []
        self.reported = False


_Find: TypeAlias = "Callable[[Any], _Node | None]"
_Forks: TypeAlias = "tuple[tuple[Callable[[Any], Any], Choice[_Node]], ...]"
_Frozen: TypeAlias = "tuple[tuple[Registration[Any], ...], tuple[Any, ...], _Forks]"


class _Node:
    """Where the registrations wait of which all has been found true so far."""

    __slots__ = ("branches", "frozen", "key", "owner", "quiet", "registrations")

    def __init__(self, owner: _Group | _Branch, key: Any) -> None:
        self.owner = owner
        self.key = key
        self.registrations: dict[Registration[Any], None] = {}
        self.branches: dict[Path, _Branch] = {}
        self.frozen: _Frozen | None = None  # None: to be renewed
        self.quiet = False  # all from here on have reported an error

    def unquiet(self) -> None:
        """Somebody new waits here, who has reported nothing."""
        node: _Node | None = self
        while node is not None:
            node.quiet = False
            node = node.owner.parent if isinstance(node.owner, _Branch) else None

    def freeze(self) -> _Frozen:
        self.frozen = frozen = (
            tuple(self.registrations),
            tuple([registration.target for registration in self.registrations]),
            tuple([(b.path.find, b.freeze()) for b in self.branches.values()]),
        )
        return frozen


class _Branch:
    """The conditions on one path, at one node."""

    __slots__ = ("children", "choice", "parent", "path")

    def __init__(self, parent: _Node, path: Path) -> None:
        self.parent = parent
        self.path = path
        self.children: dict[Check, _Node] = {}
        self.choice: Choice[_Node] | None = None  # None: to be renewed

    def freeze(self) -> Choice[_Node]:
        if self.choice is None:
            self.choice = Choice(self.children.items())
        return self.choice


class _Group:
    """All nodes for the same paths.

    Attributes:
        find: the node for a message or ``None``; raises where a value cannot be looked up.
        exotic: the part of ``table`` that something unhashable could equal.
    """

    __slots__ = ("exotic", "find", "paths", "table")

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        self.table: dict[Any, _Node] = {}
        self.exotic: dict[Any, _Node] = {}
        self.find = lookup(paths, self.table)

    def node(self, values: tuple[Any, ...]) -> _Node:
        """The node for ``values``, one for each path; made if there is none."""
        key = values[0] if len(values) == 1 else values
        node = self.table.get(key)
        if node is None:
            node = self.table[key] = _Node(self, key)
            if not all(type(value) in _PLAIN for value in values):
                self.exotic[key] = node
        return node

    def freeze(self) -> list[tuple[Any, _Node]]:
        return list(self.exotic.items())


def _scan(
    paths: tuple[Path, ...],
    exotic: list[tuple[Any, _Node]],
    message: Any,
    failed: Callable[[_Node, Exception], None],
) -> Iterator[_Node]:
    """The nodes for a message with a value that cannot be looked up, by comparing."""
    values = [path.find(message) for path in paths]
    if any(value is MISSING for value in values):
        return
    for key, node in exotic:
        wanted = (key,) if len(values) == 1 else key
        try:
            if all(value == want for value, want in zip(values, wanted, strict=True)):
                yield node
        except Exception as error:
            failed(node, error)


class Router(Generic[T]):
    """Targets with filters; tells which of them a message matches.

    Args:
        on_error: called with a target and an exception that a comparison, a condition or a
            predicate of its filters raised, which therefore did not match: once for each
            registration, by ``match``. ``None`` ignores them.

    ``add`` and ``remove`` may be called from any thread, from a finalizer, and while ``match`` runs
    or its result is being used. ``match`` is for one thread at a time. Equality is looked up in
    hash tables: values that are equal are expected to have equal hashes, as everywhere in Python.
    """

    def __init__(self, on_error: Callable[[T, Exception], object] | None = None) -> None:
        self._on_error = on_error
        self._registrations: dict[Registration[T], None] = {}
        self._serials = itertools.count(1)
        self._groups: dict[frozenset[Path], _Group] = {}
        self._checks: weakref.WeakValueDictionary[Any, Check] = weakref.WeakValueDictionary()
        self._finds: tuple[tuple[_Find, _Group], ...] | None = ()
        self._merged: dict[tuple[_Node, ...], tuple[T, ...]] = {}
        # Garbage collection may run a finalizer that removes a target anywhere, also in the middle
        # of a change: the lock lets its own thread in again, and what comes in then has to wait.
        self._lock = threading.RLock()
        self._busy = False
        self._changes: deque[tuple[Callable[[Registration[T]], None], Registration[T]]] = deque()

    def __len__(self) -> int:
        return len(self._registrations)

    def targets(self) -> list[T]:
        """All targets, in the order of their registration."""
        return self._undisturbed(lambda: [each.target for each in self._registrations])

    def add(self, filters: Matcher | Filters, target: T) -> Registration[T]:
        """Register ``target`` for the messages that match ``filters``.

        A target that is added twice is registered twice.

        Raises:
            FilterError: ``filters`` is malformed.
        """
        matcher = filters if isinstance(filters, Matcher) else compile_filters(filters)
        registration = Registration(matcher, target)
        self._change(self._link, registration)
        return registration

    def remove(self, registration: Registration[T]) -> None:
        """Take a registration out; does nothing when it is not, or no longer, in this router."""
        self._change(self._unlink, registration)

    def match(self, message: Any) -> Sequence[T]:
        """The targets that ``message`` matches, in the order of their registration.

        Each registration counts once, however many of its mappings match. The result is a snapshot,
        which later changes leave alone.
        """
        nodes: list[_Node] = []
        finds = self._finds
        if finds is None:
            finds = self._undisturbed(self._freeze)
        for find, group in finds:
            try:
                node = find(message)
            except Exception:
                exotic = self._undisturbed(group.freeze)
                nodes.extend(_scan(group.paths, exotic, message, self._failed))
            else:
                if node is not None:
                    nodes.append(node)
        if not nodes:
            return ()
        if len(nodes) == 1:
            _, targets, branches = nodes[0].frozen or self._undisturbed(nodes[0].freeze)
            if not branches:
                return targets
        return self._merge(nodes, message)

    def _merge(self, nodes: list[_Node], message: Any) -> tuple[T, ...]:
        """The targets of several nodes, or of nodes with branches, that a message has reached."""
        # Taken before the nodes are read: a change meanwhile puts a new one in its place.
        merged = self._merged
        key = tuple(nodes)
        targets = merged.get(key)
        if targets is not None:
            return targets
        found: list[Registration[T]] = []
        verdicts: dict[Check, bool] = {}
        branched = False
        while nodes:
            node = nodes.pop()
            members, _, branches = node.frozen or self._undisturbed(node.freeze)
            found.extend(members)
            for find, choice in branches:
                branched = True
                value = find(message)
                if value is not MISSING:
                    nodes += choice.follow(value, verdicts, self._failed)
        if len(found) > 1:
            found = sorted(set(found), key=_serial)
        targets = tuple([registration.target for registration in found])
        if not branched:
            if len(merged) >= _MERGED:
                merged.clear()
            merged[key] = targets
        return targets

    def _failed(self, node: _Node, error: Exception) -> None:
        """Report that nobody from ``node`` on was matched because of ``error``."""
        if self._on_error is None:
            return
        nodes = [node]
        while nodes:
            node = nodes.pop()
            if node.quiet:
                continue
            node.quiet = True  # before it is read: who is added meanwhile is found or clears it
            members, _, branches = node.frozen or self._undisturbed(node.freeze)
            for _, choice in branches:
                nodes += choice.present
                nodes += [child for _, child in choice.tests]
            for registration in members:
                if not registration.reported:
                    registration.reported = True
                    self._on_error(registration.target, error)

    def _change(
        self, change: Callable[[Registration[T]], None], registration: Registration[T]
    ) -> None:
        with self._lock:
            self._changes.append((change, registration))
            self._drain()

    def _drain(self) -> None:
        """Make the changes that wait, unless one is being made; with the lock held."""
        while self._changes and not self._busy:
            self._busy = True
            try:
                while self._changes:
                    change, registration = self._changes.popleft()
                    change(registration)
            finally:
                self._merged = {}
                self._busy = False

    def _freeze(self) -> tuple[tuple[_Find, _Group], ...]:
        self._finds = finds = tuple([(group.find, group) for group in self._groups.values()])
        return finds

    def _undisturbed(self, read: Callable[[], R]) -> R:
        """The result of ``read``, during which nothing is changed."""
        with self._lock:
            busy, self._busy = self._busy, True
            try:
                return read()
            finally:
                self._busy = busy
                self._drain()

    def _link(self, registration: Registration[T]) -> None:
        registration.serial = next(self._serials)
        self._registrations[registration] = None
        try:
            for alternative in registration.matcher.alternatives:
                for node in self._nodes(alternative):
                    if registration not in node.registrations:
                        node.registrations[registration] = None
                        registration.places.append(node)
                        node.frozen = None
                        node.unquiet()
        except BaseException:  # a value of the filters cannot be hashed or compared after all
            self._unlink(registration)
            raise

    def _unlink(self, registration: Registration[T]) -> None:
        if registration not in self._registrations:
            return
        del self._registrations[registration]
        for node in registration.places:
            del node.registrations[registration]
            node.frozen = None
            self._prune(node)
        registration.places.clear()

    def _nodes(self, alternative: Alternative) -> Iterator[_Node]:
        """The nodes where those who ask for ``alternative`` have to wait, made where needed."""
        wanted, rest = alternative.split()
        if not all(wanted.values()):  # one of none: nothing will ever match
            return
        paths = frozenset(wanted)
        group = self._groups.get(paths)
        if group is None:
            group = self._groups[paths] = _Group(tuple(wanted))
            self._finds = None
        for values in itertools.product(*[wanted[path] for path in group.paths]):
            node = group.node(values)
            for path, condition in rest:
                node = self._child(node, path, condition)
            yield node

    def _child(self, node: _Node, path: Path, condition: Condition) -> _Node:
        """Where those wait at ``node`` for whom ``condition`` holds as well."""
        branch = node.branches.get(path)
        if branch is None:
            branch = node.branches[path] = _Branch(node, path)
        check = self._check(path, condition)
        child = branch.children.get(check)
        if child is None:
            child = branch.children[check] = _Node(branch, check)
            branch.choice = node.frozen = None
        return child

    def _check(self, path: Path, condition: Condition) -> Check:
        try:
            check = self._checks.get((path, condition))
            if check is None:
                check = self._checks[path, condition] = Check(condition)
        except Exception:  # not hashable: nobody can be found to share it
            check = Check(condition)
        return check

    def _prune(self, node: _Node) -> None:
        """Take ``node`` away if nobody waits there or beyond, and what is empty then as well."""
        while not node.registrations and not node.branches:
            owner = node.owner
            if isinstance(owner, _Group):
                del owner.table[node.key]
                owner.exotic.pop(node.key, None)
                if not owner.table:
                    del self._groups[frozenset(owner.paths)]
                    self._finds = None
                return
            del owner.children[node.key]
            node = owner.parent
            owner.choice = node.frozen = None
            if owner.children:
                return
            del node.branches[owner.path]
