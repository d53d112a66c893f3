"""What is made of a workflow before it runs, and kept for its next run. Imports authoring, dask, engine and store.

A workflow is written down anew for each run, as its cells may have been edited. Where what comes of that is the same,
step for step and to the bytes of its code, everything made of it is the same too: plan, packed code, fingerprints.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from wfnb.authoring.estimates import estimates_anything, with_estimates
from wfnb.authoring.fingerprint import Fingerprint, fingerprint, hash_value
from wfnb.authoring.prints import cache_digests, fingerprints, node_prints, step_arguments
from wfnb.authoring.sources import Sources, pack_sources, sources_of, unpack_sources
from wfnb.dask.program import Compiled, finds_by_name, pack_program
from wfnb.engine.lower import lower
from wfnb.engine.lowered import Lowered
from wfnb.engine.plan import Plan, make_plan, shape_of
from wfnb.model.constants import changeable, parts_of
from wfnb.model.expr import Const
from wfnb.model.graph import Graph
from wfnb.store.base import Frame, Store
from wfnb.store.shared import load_packs

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


def sources_key(code: str) -> str:
    """Return the key of the pack that holds the sources of a run's code."""
    return f"{code}.sources"


_unpacked = lru_cache(maxsize=2)(unpack_sources)  # a picture of a run asks for them task by task


def load_sources(store: Store, run_id: str, code: str) -> Sources | None:
    """Return the sources kept with a run's code, or None when there are none that can be read."""
    frames = load_packs(store, run_id, [sources_key(code)]).get(sources_key(code))
    try:
        return _unpacked(b"".join(frames)) if frames else None
    except ValueError:  # the run itself does not need them
        return None


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
        if not depends and _lasts(made):
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
    )


def _lasts(made: Prepared) -> bool:
    """Whether what was made is the same for the next run, whatever this one does.

    Constants that nodes may change are each run's own, and of nodes that are found by name nobody knows the code.
    """
    known = all(found.digest is not None for found in made.nodes.values())
    return known and not finds_by_name(made.lowered) and next(changeable(made.graph), None) is None


def _equal(one: Any, other: Any) -> bool:
    found = hash_value(one)
    return found is not None and found == hash_value(other)


def _is_as_before(known: Prepared, graph: Graph) -> bool:
    """Whether steps are those that were written down before, and so is the code that they reach."""
    if not _same(known.graph, graph):
        return False
    nodes = {id(step.node): step.node for step in known.lowered.steps}
    return all(fingerprint(node).digest == known.nodes[key].digest for key, node in nodes.items())


def _same(old: Any, new: Any) -> bool:
    """Whether two parts of workflows mean the same for certain."""
    todo = [(old, new)]
    while todo:
        one, other = todo.pop()
        kind: Any = type(one)
        if one is other:
            continue
        if kind is not type(other):
            return False
        if kind in _SCALARS:
            if one != other:
                return False
        elif kind is tuple:
            if len(one) != len(other):
                return False
            todo += zip(one, other, strict=True)
        elif kind is Const and type(one.value) not in _SCALARS:
            if one.value is not other.value and not _equal(one.value, other.value):
                return False
        else:
            parts = parts_of(cast(Any, kind))
            if parts is None:
                return False
            todo += [pair for pair in zip(parts(one), parts(other), strict=True) if pair[0] is not pair[1]]
    return True
