"""What a dynamic step has planned, checked and made ready to be recorded. Imports authoring and engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfnb.authoring.prints import cache_digests, node_prints
from wfnb.authoring.workflow import Workflow
from wfnb.dask.program import pack_program
from wfnb.engine.lower import lower
from wfnb.engine.plan import known_widths, make_plan, pack_plan, shape_of
from wfnb.model.errors import DefinitionError, Problem
from wfnb.model.events import Grown
from wfnb.model.graph import Graph
from wfnb.store.base import Frame


def planned(value: Any, step: str, bundle: str, secret: bytes) -> tuple[Grown, list[Frame]]:
    """Return what is to be recorded of a workflow that a dynamic step gave, and its code.

    Args:
        value: a workflow, or a definition as a mapping or text.
        step: the id of the dynamic step in the run.
        bundle: the bundle it ran in.
        secret: signs the code.

    Raises:
        DefinitionError: it will not do; lists every problem.
        TypeError: it is neither.
    """
    graph = _graph_of(value, step)
    missing = tuple(
        Problem(f"input '{spec.name}' has no default", cure="A workflow planned by a node is run without inputs")
        for spec in graph.inputs
        if spec.required
    )
    if missing:
        raise DefinitionError(graph.name, missing)
    lowered = lower(graph, closed=True)
    digests = cache_digests(lowered, node_prints(lowered))
    frames = pack_program(lowered, secret, digests)
    plan = pack_plan(make_plan(lowered), known_widths(lowered, {}))
    return Grown(step, f"code-{bundle}-{step}", plan, shape_of(lowered, f"{step}/")), frames


def _graph_of(value: Any, step: str) -> Graph:
    if isinstance(value, Workflow):
        return value.graph
    if isinstance(value, Mapping | str):
        from wfnb.authoring.graphs import graph_of  # definitions need packages that other workflows do not

        return graph_of(dict(value) if isinstance(value, Mapping) else value)
    raise TypeError(f"dynamic step '{step}' gave {value!r:.200}: return a workflow or a definition")
