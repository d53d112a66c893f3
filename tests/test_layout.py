"""The house as ARCHITECTURE.md draws it: arrows point down, no cycles, no module over 600 lines, a light front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "wfnb"
LINES = 600

# What each room may import besides itself; a name stands for the module and all below it. Rooms that do not exist
# yet have their arrows here already.
KEEP = {"wfnb.store", "wfnb.engine", "wfnb.authoring", "wfnb.plugins"}
DRIVE = {"wfnb.dask"}
FACE = {
    "wfnb.cluster_view",
    "wfnb.run",
    "wfnb.task",
    "wfnb.session",
    "wfnb.explain",
    "wfnb.planned",
    "wfnb.interrupts",
    "wfnb.debugging",
    "wfnb.failures",
    "wfnb.results",
    "wfnb.prepared",
    "wfnb.forks",
    "wfnb.retention",
    "wfnb.caches",
    "wfnb.details",
    "wfnb.watching",
    "wfnb.listing",
}
MAY_IMPORT: dict[str, set[str]] = {
    "wfnb.model": set(),
    "wfnb.store": {"wfnb.model"},
    "wfnb.authoring": {"wfnb.model"},
    "wfnb.engine": {"wfnb.model"},
    "wfnb.plugins": {"wfnb.model"},
    "wfnb.library": {"wfnb.model"},
    "wfnb.dask": {"wfnb.model"} | KEEP,
    "wfnb.views": {"wfnb.model", "wfnb.engine.facts", "wfnb.engine.folds", "wfnb.engine.cells", "wfnb.store.base"},
    "wfnb.interrupts": set(),
    "wfnb.failures": {"wfnb.model", "wfnb.engine", "wfnb.store"},
    "wfnb.results": {"wfnb.model"} | KEEP | DRIVE,
    "wfnb.prepared": {"wfnb.model"} | KEEP | DRIVE,
    "wfnb.forks": {"wfnb.model", "wfnb.explain"} | KEEP | DRIVE,
    "wfnb.retention": {"wfnb.model", "wfnb.views", "wfnb.forks"} | KEEP | DRIVE,
    "wfnb.caches": {"wfnb.model", "wfnb.views"} | KEEP | DRIVE | FACE,
    "wfnb.debugging": {"wfnb.model"} | KEEP | DRIVE,
    "wfnb.task": {"wfnb.model", "wfnb.debugging", "wfnb.failures", "wfnb.run"} | KEEP | DRIVE,
    "wfnb.details": {
        "wfnb.model",
        "wfnb.views.words",
        "wfnb.debugging",
        "wfnb.explain",
        "wfnb.prepared",
        "wfnb.run",
    }
    | KEEP
    | DRIVE,
    "wfnb.watching": {"wfnb.model", "wfnb.views", "wfnb.details", "wfnb.run"} | KEEP | DRIVE,
    "wfnb.listing": {"wfnb.model", "wfnb.views"} | KEEP | DRIVE | FACE,
    "wfnb.cluster_view": {"wfnb.model", "wfnb.views", "wfnb.dask"},
    "wfnb.run": {"wfnb.model", "wfnb.views"} | KEEP | DRIVE | FACE,
    "wfnb.session": {"wfnb.model", "wfnb.views"} | KEEP | DRIVE | FACE,
    "wfnb.explain": {"wfnb.model", "wfnb.views", "wfnb.prepared"} | KEEP | DRIVE,
    "wfnb.planned": {"wfnb.model", "wfnb.views", "wfnb.explain"} | KEEP | DRIVE,
    "wfnb.server": {"wfnb.model", "wfnb.store", "wfnb.engine.facts", "wfnb.engine.folds"} | FACE,
    "wfnb.magics": {"wfnb.model", "wfnb.authoring"} | FACE,
    "wfnb.cli": {"wfnb.model", "wfnb.store"} | FACE,
}
# The front door (`wfnb` itself, lazy) and the tools for tests (`wfnb.testing`) see everything.

HEAVY = ("dask", "distributed", "redis", "pandas", "numpy", "anywidget", "IPython", "jinja2", "sklearn", "pyarrow")


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def inside(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (module, names) of every import, those in functions too, without those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for branch in node.orelse:
                yield from imports(branch)
        else:
            yield from imports(node)


@cache
def arrows() -> dict[str, set[str]]:
    """Return which modules of wfnb each module imports; `from package import submodule` counts as the submodule."""
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        targets = graph.setdefault(module, set())
        for name, members in imports(ast.parse(path.read_text("utf-8"))):
            if not inside(name, "wfnb"):
                continue
            if not members or any(f"{name}.{member}" not in MODULES for member in members):
                targets.add(name)
            targets.update(f"{name}.{member}" for member in members if f"{name}.{member}" in MODULES)
        targets.discard(module)
    return graph


def room_of(module: str) -> str:
    return next((room for room in MAY_IMPORT if inside(module, room)), "")


@pytest.mark.parametrize("module", [name for name in MODULES if name != "wfnb" and not inside(name, "wfnb.testing")])
def test_arrows_point_down(module: str) -> None:
    room = room_of(module)
    assert room, f"{module} belongs to no room of ARCHITECTURE.md: give it one in MAY_IMPORT"
    allowed = MAY_IMPORT[room] | {room}
    wrong = sorted(t for t in arrows()[module] if not any(inside(t, base) for base in allowed))
    assert not wrong, f"{module} may import {sorted(allowed)} of wfnb, and imports {wrong}"


def test_no_module_imports_the_front_door_from_inside() -> None:
    wrong = [module for module, targets in arrows().items() if module != "wfnb" and "wfnb" in targets]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = arrows()
    state: dict[str, int] = {}

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert state.get(module) != 1, " → ".join((*path[path.index(module) :], module))
        if module in state:
            return
        state[module] = 1
        for target in sorted(graph.get(module, ())):
            walk(target, (*path, module))
        state[module] = 2

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize("module", MODULES)
def test_no_module_has_more_than_600_lines(module: str) -> None:
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_owns(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text("utf-8"))), f"{module} has no docstring"


def test_importing_wfnb_loads_no_heavy_package() -> None:
    code = f"import sys, wfnb; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_who_only_runs_something_loads_neither_dask_nor_what_drives_shows_and_explains_runs() -> None:
    spared = (*HEAVY, "wfnb.dask.driver", "wfnb.dask.worker", "wfnb.engine.engine", "wfnb.engine.state",
              "wfnb.views.live", "wfnb.explain", "wfnb.listing", "wfnb.debugging")  # fmt: skip
    code = f"import sys, wfnb.session; print(*[name for name in {spared!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
