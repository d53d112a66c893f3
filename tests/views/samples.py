"""Runs to draw."""

from __future__ import annotations

from typing import Any

from wfnb.engine.facts import Counts, RunView, StepView, TaskError

T = 1_790_000_000.0


def step(name: str, *uses: str, status: str = "pending", **fields: Any) -> StepView:
    """Return a task in a status."""
    fields.setdefault("node", name)
    return StepView(id=name, kind="task", uses=uses, status=status, counts=Counts(**{status: 1}), **fields)


def fan_out(name: str, *uses: str, width: int | None = 100, status: str = "running", **counts: int) -> StepView:
    """Return a fan-out."""
    rest = {} if width is None else {"pending": width - sum(counts.values())}
    return StepView(
        id=name, node=name, kind="map", uses=uses, status=status, width=width, counts=Counts(**counts, **rest)
    )


def run(*steps: StepView, status: str = "running", **fields: Any) -> RunView:
    """Return a run of some steps."""
    counts = Counts(*(sum(getattr(s.counts, name) for s in steps) for name in Counts.__dataclass_fields__))
    widths = [s.width for s in steps]
    total = None if None in widths else sum(width or 0 for width in widths)
    fields = {"run_id": "run-1", "workflow": "flow", "started": T, "now": T + 12, "total": total, **fields}
    return RunView(status=status, steps=steps, counts=counts, **fields)


def half_way() -> RunView:
    """Return a run in the middle of a fan-out."""
    return run(
        step("load", status="completed", mean=0.42),
        fan_out("train", "load", completed=37, running=4, failed=2),
        step("best", "train"),
        rate=12.0,
        eta=8.2,
        workers=4,
    )


def failed() -> RunView:
    """Return a run that failed."""
    error = TaskError("fit", "KeyError", "'<y>'", 'File "<cell>", line 3\nKeyError')
    return run(
        step("fit", status="failed", attempts=3), step("z", "fit", status="skipped"), status="failed", error=error
    )


def construct(name: str, kind: str, *uses: str, status: str = "running", **fields: Any) -> StepView:
    """Return a construct."""
    return StepView(id=name, node="", kind=kind, uses=uses, status=status, width=None, construct=True, **fields)


def routed() -> RunView:
    """Return a run that took one case of a switch, and turned a loop five times."""
    off = {"group": "route", "unused": "not taken"}
    fives = Counts(completed=5)
    labels = (("case", "csv"), ("case_1", "json"))
    steps = (
        step("load", status="completed", mean=0.42),
        construct("route", "switch", status="completed", taken=("case",), labels=labels, counts=Counts(completed=1)),
        step("route.choice", "load", status="completed", group="route", helper=True),
        step("route.case/parse", "load", status="completed", group="route", arm="case"),
        StepView("route.case_1/read", "read", "task", uses=("load",), arm="case_1", width=0, **off),
        construct("refine", "loop", "route", status="completed", times=5, started=T, counts=fives),
        StepView("refine.*/fit", "fit", "task", group="refine", arm="*", width=5, counts=fives, status="completed"),
        step("refine.*.until", "refine.*/fit", status="completed", group="refine", arm="*", helper=True),
        step("best", "refine", status="completed"),
    )
    return RunView("run-1", "flow", "completed", steps=steps, counts=Counts(completed=8), total=8)
