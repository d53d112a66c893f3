"""Ids of steps in a definition: those that are written, and those made for steps without. Imports model only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wfnb.model.definition import (
    BodyModel,
    CallModel,
    CatchModel,
    LoopStep,
    NodeStep,
    ParallelStep,
    SequentialStep,
    StepModel,
    StreamStep,
    SwitchStep,
    TryStep,
    WorkflowStep,
)
from wfnb.model.node import id_from


class Ids:
    """The ids of the steps that may be seen together.

    Args:
        wanted: the ids that steps here say they have.
        around: the ids of the body around.
    """

    def __init__(self, wanted: Iterable[str], around: Ids | None = None) -> None:
        self.wanted = set(wanted)
        self.around = around
        self.taken: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def holder(self, step: str) -> str | None:
        """Return where the step with an id is written, or None when the id is free."""
        if step in self.taken:
            return self.taken[step]
        return self.around.holder(step) if self.around is not None else None

    def take(self, name: str, place: str) -> str:
        """Return the next free id for a step made from a name: ``name``, then ``name_2``, ``name_3``, ..."""
        stem = id_from(name)
        count = self._counts.get(stem, 0) + 1
        chosen = stem if count == 1 else f"{stem}_{count}"
        while chosen in self.wanted or self.holder(chosen) is not None:
            count += 1
            chosen = f"{stem}_{count}"
        self._counts[stem] = count
        self.taken[chosen] = place
        return chosen


def wanted_ids(models: Iterable[Any]) -> list[str]:
    """Return the ids that steps say they have, with those of steps that are seen as if they stood there."""
    found: list[str] = []
    for model in models:
        if isinstance(model, list):
            found += wanted_ids(model)
        elif isinstance(model, BodyModel):
            found += wanted_ids(model.steps)
        else:
            found += [model.id] if model.id else []
            if isinstance(model, SequentialStep) or (isinstance(model, ParallelStep) and not is_first(model)):
                found += wanted_ids(model.steps)
            elif isinstance(model, StreamStep):
                found += wanted_ids([model.source])
    return found


def is_first(model: ParallelStep) -> bool:
    """Return whether the first branch that is over ends a parallel."""
    return model.mode == "first" or model.first is True


def variables_set(models: Any) -> set[str]:
    """Return the variables that steps may set."""
    found: set[str] = set()
    todo: list[Any] = [models]
    while todo:
        one = todo.pop()
        if isinstance(one, list):
            todo += one
        elif isinstance(one, NodeStep):
            name = one.params.get("name", one.args[0] if one.args else None)
            if one.type == "set" and isinstance(name, str):
                found.add(name)
        elif isinstance(one, TryStep):
            todo += [one.steps, one.catch, one.finally_]
        elif isinstance(one, SwitchStep):
            todo += [one.cases, one.default]
        elif isinstance(one, (BodyModel, CatchModel, SequentialStep, ParallelStep, LoopStep)) or hasattr(one, "when"):
            todo.append(getattr(one, "steps", None))
    return found


def stem_of(model: StepModel) -> str:
    """Return what the id of a step without one is made from."""
    if isinstance(model, CallModel):
        return model.type.rpartition(":")[2]
    if isinstance(model, WorkflowStep):
        return model.workflow
    if isinstance(model, LoopStep):
        return "each" if "over" in model.model_fields_set else "loop"
    return str(getattr(model, "step_type", "step"))
