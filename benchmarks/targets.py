"""What wfnb promises of its speed, and whether the figures keep it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants import (
    ALL,
    DASK,
    DASK_INF,
    INLINE,
    INLINE_REDIS,
    RAW_REDIS,
    RAW_SQLITE,
    REDIS,
    SQLITE,
)  # fmt: skip

Figures = Callable[[str, str], float]
"""The median of a workload and a contestant; raises KeyError where it was not measured."""


@dataclass(frozen=True)
class Target:
    """A promise.

    Args:
        text: what is promised.
        value: the figure it is about.
        limit: what the figure is compared with.
        unit: of the figure.
        least: whether the limit is the least, not the most.
        note: more to tell beside the figure.
    """

    text: str
    value: Callable[[Figures], float]
    limit: float
    unit: str
    least: bool = False
    note: Callable[[Figures], str] = lambda _: ""

    def check(self, figures: Figures) -> dict[str, Any]:
        """Return the promise with the figure and whether it is kept; None where it was not measured."""
        sign = "≥" if self.least else "≤"
        told: dict[str, Any] = {"target": self.text, "promise": f"{sign} {self.limit:g} {self.unit}".strip()}
        try:
            value = self.value(figures)
        except KeyError as missing:
            return told | {"value": None, "met": None, "note": f"not measured: {missing.args[0]}"}
        met = value >= self.limit if self.least else value <= self.limit
        try:
            note = self.note(figures)
        except KeyError:
            note = ""
        return told | {"value": value, "unit": self.unit, "met": met, "note": note}


def _of(workload: str, contestant: str) -> Callable[[Figures], float]:
    return lambda figures: figures(workload, contestant)


def _ratio(workload: str, more: str, less: str) -> Callable[[Figures], float]:
    """How many times as much one contestant takes as another."""
    return lambda figures: figures(workload, more) / figures(workload, less)


def _worse(workload: str) -> Callable[[Figures], float]:
    return lambda figures: max(figures(workload, SQLITE), figures(workload, REDIS))


def _inverse(value: Callable[[Figures], float]) -> Callable[[Figures], float]:
    return lambda figures: 1 / value(figures)


def _per_element(workload: str, contestant: str) -> Callable[[Figures], float]:
    """Cost of an element beside the cost at 10,000."""
    return lambda figures: figures(workload, contestant) / figures("wide", contestant)


def _byte_rate(ours: str, raw: str) -> Target:
    text = f"100 MB arrays kept, {ours}: share of the byte rate of {raw}"
    return Target(text, _ratio("kept-arrays", raw, ours), 0.7, "", least=True)


def _nearest(workload: str, kept: bool) -> Callable[[Figures], tuple[float, str]]:
    """The smallest ratio of a peer's figure to ours, and whose it is; ours is the slower of the two stores."""

    def find(figures: Figures) -> tuple[float, str]:
        # A peer that runs in its caller's process is compared with ours that does so, where that is measured.
        ours = figures(workload, INLINE) if workload == "diamond" else _worse(workload)(figures)
        found = []
        for entry in ALL:
            if entry.needs and bool(entry.keeps) is kept and workload in entry.sizes:
                try:
                    found.append((figures(workload, entry.name) / ours, entry.name))
                except KeyError:
                    continue
        if not found:
            raise KeyError(f"no peer in {workload}")
        return min(found)

    return find


def _ahead(workload: str) -> Target:
    find = _nearest(workload, kept=True)
    text = f"{workload}: ahead of every durable peer, by the nearest one's ratio"
    return Target(text, lambda figures: find(figures)[0], 1, "x", least=True, note=lambda figures: find(figures)[1])


def _targets() -> tuple[Target, ...]:
    undurable = _nearest("wide", kept=False)
    return (
        Target("map of 10,000, Redis", _of("wide", REDIS), 20, "µs/element"),
        Target("map of 10,000, SQLite", _of("wide", SQLITE), 30, "µs/element"),
        Target("map of 10,000, Redis: times faster than client.map", _ratio("wide", DASK, REDIS), 80, "x", least=True),
        Target("map of 10,000, SQLite: times faster than client.map", _ratio("wide", DASK, SQLITE), 80, "x",
               least=True),
        *(Target(f"map of {size}, {name}: cost of an element beside that at 10,000", _per_element(workload, name),
                 1.1, "x")
          for workload, size in (("wide-100k", "100,000"), ("wide-1m", "1,000,000")) for name in (SQLITE, REDIS)),
        Target("chain of 1,000, the slower store", _worse("chain"), 40, "µs/step"),
        Target("layers: share of the time of dask.delayed, the slower store",
               lambda figures: _worse("layers")(figures) / figures("layers", DASK), 1 / 15, "x"),
        Target("loop of 1,000 iterations, the slower store", lambda figures: _worse("loop")(figures) / 1e3, 0.5, "s"),
        Target("diamond on Dask, the slower store", _worse("diamond"), 25, "ms"),
        Target("diamond inline, SQLite", _of("diamond", INLINE), 2, "ms"),
        Target("diamond inline, Redis", _of("diamond", INLINE_REDIS), 2, "ms"),
        Target("resume of 100,000 finished elements, the slower store",
               lambda figures: _worse("resume")(figures) / 10, 1, "s"),
        Target("100 MB arrays passed on: times the time of Dask by hand", _ratio("arrays", SQLITE, DASK), 1.2, "x"),
        _byte_rate(REDIS, RAW_REDIS),
        _byte_rate(SQLITE, RAW_SQLITE),
        *(_ahead(workload)
          for workload in ("wide", "chain", "layers", "loop", "flows", "diamond", "resume", "kept-arrays")),
        Target("map of 10,000: times the fastest peer that keeps nothing", lambda f: 1 / undurable(f)[0], 3, "x",
               note=lambda f: undurable(f)[1]),
        Target("efficiency, 200 tasks of 100 ms ± 50 %", _inverse(_worse("even")), 0.95, "", least=True),
        Target("efficiency, 10,000 tasks of 1 ms with 20 of 1 s", _inverse(_worse("mixed")), 0.9, "", least=True),
        Target("cold process to first value", _of("cold", SQLITE), 2.5, "s"),
        Target("the same with the shared cluster there", _of("cold-warm", SQLITE), 0.5, "s"),
        Target("import wfnb", _of("import", SQLITE), 150, "ms"),
    )  # fmt: skip


ALL_TARGETS = _targets()


def dask_ratios(figures: Figures) -> list[str]:
    """Return how much faster than `client.map` each of ours is, with Dask's own settings and its fastest."""
    lines = []
    for ours in (REDIS, SQLITE):
        for raw in (DASK, DASK_INF):
            try:
                lines.append(f"map of 10,000, {ours}: {_ratio('wide', raw, ours)(figures):.0f} x faster than {raw}")
            except KeyError:
                continue
    return lines


def check(figures: Figures, targets: Sequence[Target] = ALL_TARGETS) -> list[dict[str, Any]]:
    """Return every promise with its figure and whether it is kept."""
    return [target.check(figures) for target in targets]
