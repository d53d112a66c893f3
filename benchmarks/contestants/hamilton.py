"""Hamilton with its cache: each value a pickle file, its key in SQLite.

A node is a function in a module, so the modules are written out; each node calls the function that all contestants run.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hamilton import driver

from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]


class Contestant:
    def __init__(self, _: str, folder: Path) -> None:
        self.folder = folder
        self.modules = itertools.count()
        logging.getLogger("hamilton").setLevel(logging.ERROR)
        sys.setrecursionlimit(50_000)  # it goes down a chain by recursion

    def _driver(self, lines: list[str]) -> driver.Driver:
        """Return a driver of the functions in a module, with an empty cache."""
        name = f"nodes{next(self.modules)}"
        path = self.folder / f"{name}.py"
        path.write_text("\n".join(["from benchmarks import functions as f", *lines]))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        cache = self.folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        return driver.Builder().with_modules(module).with_cache(path=str(cache)).build()

    def wide(self, n: int) -> Timed:
        # It has no node that is many by a list it is given: each element has an input and a node.
        made = self._driver([f"def y{i}(x{i}: int) -> int: return f.same(x{i})" for i in range(n)])
        wanted, inputs = [f"y{i}" for i in range(n)], {f"x{i}": i for i in range(n)}
        yield lambda: list(made.execute(wanted, inputs=inputs).values())

    def chain(self, n: int) -> Timed:
        made = self._driver([f"def y{i + 1}(y{i}: int) -> int: return f.increment(y{i})" for i in range(n)])
        yield lambda: made.execute([f"y{n}"], inputs={"y0": 0})[f"y{n}"]

    def layers(self, n: int) -> Timed:
        lines = [f"def y0_{i}(x: int) -> int: return f.same(x)" for i in range(f.LAYER)]
        for depth, layer in enumerate(f.layer_parents(n)):
            for i, parents in enumerate(layer):
                names = [f"y{depth}_{j}" for j in parents]
                typed = ", ".join(f"{name}: int" for name in names)
                lines.append(f"def y{depth + 1}_{i}({typed}) -> int: return f.add({', '.join(names)})")
        made = self._driver(lines)
        wanted = [f"y{len(f.layer_parents(n))}_{i}" for i in range(f.LAYER)]
        yield lambda: list(made.execute(wanted, inputs={"x": 1}).values())

    def diamond(self, _: int) -> Timed:
        lines = ["def a(x: int) -> int: return f.increment(x)"]
        lines += [f"def {name}(a: int) -> int: return f.increment(a)" for name in "bcd"]
        made = self._driver([*lines, "def e(b: int, c: int, d: int) -> int: return f.add(b, c, d)"])
        yield lambda: made.execute(["e"], inputs={"x": 0})["e"]

    def resume(self, n: int) -> Timed:
        """All elements are in the cache; the driver is run again and comes to its last step."""
        lines = [f"def y{i}(x{i}: int) -> int: return f.same(x{i})" for i in range(n)]
        typed = ", ".join(f"y{i}: int" for i in range(n))
        listed = ", ".join(f"y{i}" for i in range(n))
        made = self._driver([*lines, f"def last({typed}) -> int: return f.total([{listed}], '')"])
        inputs = {f"x{i}": i for i in range(n)}
        made.execute([f"y{i}" for i in range(n)], inputs=inputs)
        yield lambda: made.execute(["last"], inputs=inputs)["last"]
