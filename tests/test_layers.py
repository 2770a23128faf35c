"""The shape of the repository: imports go one way, modules are small and say what they are.

The layers, each of which may import those before it and itself::

    core <- streams <- net <- client <- interface <- public <- rxws <- testing, cli

``rxws.testing`` is built on less: it has to test the rest.
"""

from __future__ import annotations

import ast
import fnmatch
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = ("core", "streams", "net", "client", "interface", "public", "rxws", "outer")

PLACES = {
    "rxws": "rxws",
    "rxws.core": "core",
    "rxws.streams": "streams",
    "rxws.net": "net",
    "rxws.client": "client",
    "rxws.options": "client",
    "rxws.rotation": "client",
    "rxws.websocket": "client",
    "rxws.interface": "interface",
    "rxws.operators": "public",
    "rxws.where": "public",
    "rxws.testing": "outer",
    "rxws.cli": "outer",
    "rxws.__main__": "outer",
}
"""Which layer a module is in: the longest name that is the module or a package around it."""

THIRD_PARTY = {
    "core": set(),
    "streams": {"reactivex"},
    "net": {"reactivex"},
    "client": {"reactivex"},
    "interface": {"reactivex"},
    "public": {"reactivex"},
    "rxws": {"reactivex"},
    "outer": {"reactivex", "rich"},
}
"""What a layer imports besides the standard library."""

EXCEPTIONS = {
    "rxws.net.websockets_link": {"websockets"},
    "rxws.net.websockets_transport": {"websockets"},
    "rxws.testing": {"websockets"},
}
"""What these modules, or all modules of these packages, may import besides."""

# Time, chance and I/O come into the core as arguments. Locks (threading) are no I/O.
NOT_IN_CORE = {
    "asyncio",
    "concurrent",
    "datetime",
    "http",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "time",
}

MOST_LINES = 400


@dataclass(frozen=True)
class Module:
    """One source file of the package and what it imports, wherever in the file."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def imports(self) -> Iterator[str]:
        """Give the full name of everything imported, down to names that may not be modules."""
        package = self.name if self.is_package else self.name.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*(above if node.level else []), *filter(None, [node.module])])
                yield from (f"{origin}.{alias.name}" for alias in node.names)


@cache
def modules() -> dict[str, Module]:
    """Return all modules under ``rxws``, by name."""
    found = {}
    for path in sorted((ROOT / "rxws").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        found[name] = Module(name, path, tree)
    return found


def own(imported: str) -> str | None:
    """Return the module of ours that an imported name is in; ``None`` for what is not ours."""
    if imported.partition(".")[0] != "rxws":
        return None
    while imported not in modules() and "." in imported:
        imported = imported.rpartition(".")[0]
    return imported


def longest(name: str, table: dict) -> str | None:
    """Return the key of the table that is the module, or the closest package around it."""
    while name and name not in table:
        name = name.rpartition(".")[0]
    return name or None


def layer(name: str) -> str:
    """Return the layer of a module. A module right under ``rxws`` must be named in the table."""
    place = longest(name, PLACES)
    assert place is not None
    assert place != "rxws" or name == "rxws", f"{name} has no layer: give it one in PLACES"
    return PLACES[place]


each_module = pytest.mark.parametrize("module", modules().values(), ids=list(modules()))


@each_module
def test_imports_go_one_way(module: Module):
    """A module imports its own layer and those before it, never one above."""
    rank = LAYERS.index(layer(module.name))
    upward = [
        imported
        for imported in module.imports()
        if (target := own(imported)) and LAYERS.index(layer(target)) > rank
    ]
    assert upward == []


@each_module
def test_third_party_imports(module: Module):
    """Beside the standard library a module imports what its layer may, and no more."""
    allowed = set(THIRD_PARTY[layer(module.name)])
    if exception := longest(module.name, EXCEPTIONS):
        allowed |= EXCEPTIONS[exception]
    imported = {name.split(".")[0] for name in module.imports()}
    assert imported - {"rxws"} - sys.stdlib_module_names - allowed == set()


@each_module
def test_core_decides_without_io(module: Module):
    """The core imports nothing that reads a clock, draws a number or does input or output."""
    if layer(module.name) == "core":
        imported = {name.split(".")[0] for name in module.imports()}
        assert imported & NOT_IN_CORE == set()


def test_testing_is_built_on_little():
    """The tools for tests import the core, the transport's protocols and each other only."""
    allowed = ("rxws.core.", "rxws.net.transport.", "rxws.testing.")
    others = {
        (name, target)
        for name, module in modules().items()
        if longest(name, PLACES) == "rxws.testing"
        for imported in module.imports()
        if (target := own(imported)) and not f"{target}.".startswith(allowed)
    }
    assert others == set()


def test_no_import_cycles():
    """No module imports itself through others, not even for its types."""
    graph = {
        name: {target for imported in module.imports() if (target := own(imported))} - {name}
        for name, module in modules().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@each_module
def test_modules_are_small_and_say_what_they_are(module: Module):
    """Each module has a docstring, the list of its public names, and at most 400 lines."""
    assert ast.get_docstring(module.tree), "no docstring"
    lines = len(module.path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES
    if module.name.rpartition(".")[2] != "__main__" and len(module.tree.body) > 1:
        assigned = {
            target.id
            for node in module.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert "__all__" in assigned, "no __all__"


def test_top_level_of_the_repository():
    """Beside dot-files and what git ignores, the top level holds what was agreed."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    entries = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".")
        and not any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored)
    }
    allowed = {"LICENSE", "README.md", "notebooks", "pyproject.toml", "rxws", "setup.cfg", "tests"}
    assert entries - allowed == set()
