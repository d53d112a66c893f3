"""wfnb: every step's value, its record and its place in the run are acknowledged by the store before it counts.

A workflow is made once and called for each measurement, as those of its peers are. What was made of it for its first
call is kept as long as nothing it is made of has changed, which is looked at in each call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import wfnb as wf
from benchmarks import functions as f

Timed = Iterator[Callable[[], Any]]

same, increment, add, total, work, nap = map(wf.node, (f.same, f.increment, f.add, f.total, f.work, f.nap))
zeros, grow, first = map(wf.node, (f.zeros, f.grow, f.first))


@wf.workflow
def resumed(xs: list[int], gate: str) -> int:
    return total(same.map(xs), gate)


class Contestant:
    """Args: variant: "sqlite" or "redis", then "inline" for steps in this process instead of the local cluster."""

    def __init__(self, variant: str, folder: Path) -> None:
        kind, _, place = variant.partition(" ")
        self.folder, self.variant = folder, variant
        self.store = os.environ["BENCH_REDIS"] if kind == "redis" else f"sqlite:///{folder}/runs.db"
        self.options = {"store": self.store, "cluster": place or "local", "view": False}
        self._made: dict[tuple[str, int], Any] = {}
        wf.configure(store=self.store, cluster=place or "local")

    def _calling(self, n: int, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        flow = self._workflow(n, function)
        return lambda: flow(*args)

    def _workflow(self, n: int, function: Callable[..., Any]) -> Any:
        key = (function.__name__, n)
        if key not in self._made:
            self._made[key] = wf.workflow(function).options(**self.options)
        return self._made[key]

    def wide(self, n: int) -> Timed:
        def wide(xs: list[int]) -> list[int]:
            return same.map(xs)

        xs = list(range(n))
        yield self._calling(n, wide, xs)

    def chain(self, n: int) -> Timed:
        def chain(x: int = 0) -> int:
            for _ in range(n):
                x = increment(x)
            return x

        yield self._calling(n, chain)

    def layers(self, n: int) -> Timed:
        layered = f.layer_parents(n)

        def layers() -> list[int]:
            row = [same(1) for _ in range(f.LAYER)]
            for layer in layered:
                row = [add(*(row[i] for i in parents)) for parents in layer]
            return row

        yield self._calling(n, layers)

    def diamond(self, n: int) -> Timed:
        def diamond(x: int = 0) -> int:
            a = increment(x)
            return add(increment(a), increment(a), increment(a))

        yield self._calling(n, diamond)

    def loop(self, n: int) -> Timed:
        def loop() -> int:
            return wf.loop(increment, init=0, until=lambda x: x >= n, max_iterations=n)

        yield self._calling(n, loop)

    def flows(self, n: int) -> Timed:
        def flow(x: int) -> int:
            return increment(increment(x))

        made = self._workflow(n, flow)

        def call() -> list[int]:
            runs = [made.submit(x) for x in range(n)]
            return [run.result() for run in runs]

        yield call

    def resume(self, n: int) -> Timed:
        """Another process, gone since, ran all elements and failed at the last step; this one resumes the run."""
        gate = self.folder / "gate"
        gate.touch()
        script = "import sys; from benchmarks.contestants import wfnb; print(wfnb.interrupted(*sys.argv[1:]))"
        command = [sys.executable, "-c", script, self.variant, str(self.folder), str(gate), str(n)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-500:])
        gate.unlink()
        yield lambda: wf.get_run(done.stdout.split()[-1]).retry().result()

    def arrays(self, n: int) -> Timed:
        passed = [node.options(checkpoint=False) for node in (zeros, grow)]
        yield self._calling(n, _arrays(n, *passed))

    def kept_arrays(self, n: int) -> Timed:
        if self.variant == "redis":
            yield wf.workflow(_arrays(n, zeros, grow)).options(**self.options)
            wf.prune(completed=0)
            return
        # A store of its own, so that the gigabytes are gone with the file.
        path = self.folder / "arrays.db"
        options = self.options | {"store": f"sqlite:///{path}"}
        yield wf.workflow(_arrays(n, zeros, grow)).options(**options)
        for file in self.folder.glob(f"{path.name}*"):
            file.unlink()

    def dag(self, n: int) -> Timed:
        def dag() -> int:
            tasks: list[Any] = []
            for seconds, parents in f.montage(n):
                tasks.append(work(seconds, [tasks[i] for i in parents]))
            return tasks[-1]

        yield self._calling(n, dag)

    def even(self, n: int) -> Timed:
        return self._naps(f.even_naps(n))

    def mixed(self, n: int) -> Timed:
        return self._naps(f.mixed_naps(n))

    def _naps(self, naps: tuple[float, ...]) -> Timed:
        def naps_(seconds: list[float]) -> list[float]:
            return nap.map(seconds)

        yield self._calling(len(naps), naps_, list(naps))


def _arrays(n: int, zeros: Any, grow: Any) -> Callable[[], float]:
    def arrays() -> float:
        array = zeros(f.ARRAY_BYTES)
        for _ in range(n):
            array = grow(array)
        return first(array)

    return arrays


def interrupted(variant: str, folder: str, gate: str, n: str) -> str:
    """Run all elements, fail at the last step, and return the run's id."""
    contestant = Contestant(variant, Path(folder))
    run = resumed.options(**contestant.options).submit(list(range(int(n))), gate)
    try:
        run.result()
    except wf.StepFailed:
        return run.id
    raise AssertionError("the last step was to fail")
