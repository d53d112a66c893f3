"""pipefunc: pipelines whose values are kept as files in a run's folder, or in memory only.

Steps run one after the other in this process, which is its fastest way where steps are cheap.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipefunc import PipeFunc, Pipeline

from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]


@functools.cache  # it takes some time to make one
def chain(n: int) -> Pipeline:
    return Pipeline([PipeFunc(f.increment, f"y{i + 1}", renames={"x": f"y{i}"}) for i in range(n)])


@functools.cache
def layers(n: int) -> Pipeline:
    steps = [PipeFunc(f.same, f"y0_{i}") for i in range(f.LAYER)]
    for depth, layer in enumerate(f.layer_parents(n)):
        for i, parents in enumerate(layer):
            renames = {name: f"y{depth}_{j}" for name, j in zip("abc", parents, strict=True)}
            steps.append(PipeFunc(f.add, f"y{depth + 1}_{i}", renames=renames))
    return Pipeline(steps)


@functools.cache
def diamond() -> Pipeline:
    steps = [PipeFunc(f.increment, "a")]
    steps += [PipeFunc(f.increment, name, renames={"x": "a"}) for name in ("b", "c", "d")]
    steps.append(PipeFunc(f.add, "e", renames={"a": "b", "b": "c", "c": "d"}))
    return Pipeline(steps)


class Contestant:
    """Args: variant: its `storage`, "file_array" or "dict"."""

    def __init__(self, variant: str, folder: Path) -> None:
        self.storage, self.folder = variant, folder / "run"
        sys.setrecursionlimit(50_000)  # it goes down a chain by recursion

    def _run(self, pipeline: Pipeline, output: str, **inputs: Any) -> Timed:
        """Yield a call that runs a pipeline with nothing known, and returns one of its values."""
        shutil.rmtree(self.folder, ignore_errors=True)
        yield lambda: self._map(pipeline, inputs)[output].output

    def _map(self, pipeline: Pipeline, inputs: dict[str, Any], **how: Any) -> Any:
        folder = self.folder if self.storage == "file_array" else None
        return pipeline.map(
            inputs, run_folder=folder, storage=self.storage, parallel=False, show_progress=False, **how
        )  # fmt: skip

    def wide(self, n: int) -> Timed:
        pipeline = Pipeline([PipeFunc(f.same, "y", mapspec="x[i] -> y[i]")])
        return self._run(pipeline, "y", x=list(range(n)))

    def chain(self, n: int) -> Timed:
        return self._run(chain(n), f"y{n}", y0=0)

    def layers(self, n: int) -> Timed:
        pipeline, last = layers(n), f"y{len(f.layer_parents(n))}"
        shutil.rmtree(self.folder, ignore_errors=True)

        def call() -> list[int]:
            found = self._map(pipeline, {"x": 1})
            return [found[f"{last}_{i}"].output for i in range(f.LAYER)]

        yield call

    def diamond(self, _: int) -> Timed:
        return self._run(diamond(), "e", x=0)

    def resume(self, n: int) -> Timed:
        """The folder of a run that failed at its last step is gone on with."""
        gate = self.folder.with_name("gate")
        gate.touch()
        steps = [PipeFunc(f.same, "y", mapspec="x[i] -> y[i]"), PipeFunc(f.total, "sum", renames={"xs": "y"})]
        pipeline = Pipeline(steps, validate_type_annotations=False)  # to it the elements are an array, no list
        shutil.rmtree(self.folder, ignore_errors=True)
        inputs = {"x": list(range(n)), "gate": str(gate)}
        try:
            self._map(pipeline, inputs)
        except RuntimeError:
            gate.unlink()
        yield lambda: int(self._map(pipeline, inputs, resume=True)["sum"].output)

    def kept_arrays(self, n: int) -> Timed:
        steps = [PipeFunc(f.zeros, "y0")]
        steps += [PipeFunc(f.grow, f"y{i + 1}", renames={"array": f"y{i}"}) for i in range(n)]
        steps.append(PipeFunc(f.first, "first", renames={"array": f"y{n}"}))
        yield from self._run(Pipeline(steps), "first", size=f.ARRAY_BYTES)
        shutil.rmtree(self.folder, ignore_errors=True)
