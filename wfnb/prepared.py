"""What is made of a workflow before it runs, and kept for its next run. Imports authoring, dask and engine.

A workflow is written down anew for each run, as its cells may have been edited. Where what comes of that is the same,
step for step and to the bytes of its code, everything made of it is the same too: plan, packed code, fingerprints.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from wfnb.authoring.estimates import estimates_anything, with_estimates
from wfnb.authoring.fingerprint import Fingerprint, fingerprint, hash_value
from wfnb.authoring.prints import cache_digests, fingerprints, node_prints, step_arguments
from wfnb.authoring.sources import pack_sources, sources_of
from wfnb.dask.program import Compiled, pack_program
from wfnb.engine.lower import lower
from wfnb.engine.lowered import Lowered
from wfnb.engine.plan import Plan, make_plan, shape_of
from wfnb.model.expr import Const
from wfnb.model.graph import Graph
from wfnb.model.node import Node
from wfnb.store.base import Frame

_MOST = 16
"""How many workflows are kept."""
_SCALARS = (str, int, bool, bytes, type(None))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workflow, ready to be run with any inputs.

    Args:
        graph: its steps as they were written down.
        lowered: the lowered form.
        compiled: the lowered form with its expressions ready to be evaluated.
        nodes: the fingerprints of its nodes, by the node's `id`.
        prints: the fingerprints of its steps.
        code: the frames that hold it with its code, signed.
        sources: what its fingerprints are made of, as bytes.
        plan: its plan.
        shape: its shape.
        constants: the hashes of constants that are no plain scalars, by the constant's `id`.
    """

    graph: Graph
    lowered: Lowered
    compiled: Compiled
    nodes: dict[int, Fingerprint]
    prints: dict[str, str]
    code: list[Frame]
    sources: bytes
    plan: Plan
    shape: str
    constants: dict[int, str | None]


class Preparing:
    """Prepares workflows, and knows the last ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bytes], Prepared] = OrderedDict()

    def of(self, graph: Graph, inputs: Mapping[str, Any], secret: bytes) -> Prepared:
        """Return what is made of a workflow.

        Args:
            graph: its steps.
            inputs: the run's inputs; steps may ask for more or less depending on them.
            secret: signs its code.

        Raises:
            DefinitionError: an estimate failed.
            CaptureError: its code cannot travel.
        """
        __tracebackhide__ = True
        key = (graph.name, secret)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
        if known is not None and _is_as_before(known, graph):
            return known
        lowered = lower(graph)
        depends = estimates_anything(lowered)
        made = _prepare(graph, with_estimates(lowered, inputs) if depends else lowered, secret)
        if not depends and all(found.digest is not None for found in made.nodes.values()):
            with self._lock:
                self._known[key] = made
                while len(self._known) > _MOST:
                    self._known.popitem(last=False)
        return made


def _prepare(graph: Graph, lowered: Lowered, secret: bytes) -> Prepared:
    __tracebackhide__ = True
    nodes = node_prints(lowered)
    digests = cache_digests(lowered, nodes)
    arguments = step_arguments(lowered)
    return Prepared(
        graph=graph,
        lowered=lowered,
        compiled=Compiled(lowered, digests),
        nodes=nodes,
        prints=fingerprints(lowered, nodes, arguments),
        code=pack_program(lowered, secret, digests),
        sources=pack_sources(sources_of(lowered, nodes, arguments)),
        plan=make_plan(lowered),
        shape=shape_of(lowered),
        constants={id(one): hash_value(one.value) for one in _constants(graph)},
    )


def _is_as_before(known: Prepared, graph: Graph) -> bool:
    """Whether steps are those that were written down before, and so is the code that they reach."""
    if not _same(known.graph, graph, known.constants):
        return False
    nodes = {id(step.node): step.node for step in known.lowered.steps}
    return all(fingerprint(node).digest == known.nodes[key].digest for key, node in nodes.items())


def _same(old: Any, new: Any, constants: Mapping[int, str | None]) -> bool:
    """Whether two parts of workflows mean the same for certain; never for what may have changed in place."""
    if old is new and not isinstance(old, Const):
        return True
    kind = type(old)
    if kind is not type(new):
        return False
    if kind is Const:
        if type(old.value) in _SCALARS:
            return type(old.value) is type(new.value) and bool(old.value == new.value)
        before = constants.get(id(old))
        return before is not None and before == hash_value(new.value)
    if kind in _SCALARS:
        return bool(old == new)
    if kind is tuple:
        return len(old) == len(new) and all(_same(one, other, constants) for one, other in zip(old, new, strict=True))
    if isinstance(old, Node) or not is_dataclass(kind):
        return False
    return all(_same(getattr(old, name), getattr(new, name), constants) for name in _names(kind))


_fields: dict[type, tuple[str, ...]] = {}


def _names(kind: type) -> tuple[str, ...]:
    found = _fields.get(kind)
    if found is None:
        found = _fields[kind] = tuple(one.name for one in fields(kind))
    return found


def _constants(part: Any) -> Iterator[Const]:
    """Yield the constants in a workflow whose content may change in place."""
    todo = [part]
    while todo:
        one = todo.pop()
        if isinstance(one, Const):
            if type(one.value) not in _SCALARS:
                yield one
        elif type(one) is tuple:
            todo += one
        elif is_dataclass(one) and not isinstance(one, Node | type):
            todo += [getattr(one, name) for name in _names(type(one))]
