"""What a task was given, made again from the store: its arguments with values looked up. Imports engine, store, model.

`Given` looks at one task: inputs, constants, values of steps, items; not what else a construct hands to its bodies.
`call_of` replays the journal as a driver does, which tells that too, and takes as long as the journal is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wfnb.dask.program import Program, Runner
from wfnb.dask.program import program as load_program
from wfnb.dask.values import Absent, Cells, Values
from wfnb.engine.addresses import filled, places, template_of
from wfnb.engine.facts import Kept, TaskView
from wfnb.engine.plan import make_plan
from wfnb.engine.state import State
from wfnb.model.errors import StoreError
from wfnb.model.events import Event
from wfnb.model.expr import (
    Apply,
    Const,
    Container,
    Element,
    Expr,
    Input,
    Local,
    Position,
    StepValue,
    Text,
    evaluate,
    steps_of,
)
from wfnb.model.graph import Step
from wfnb.model.sequences import as_sequence
from wfnb.store.base import Store
from wfnb.store.codec import MISSING, Codec
from wfnb.store.keys import secret_key
from wfnb.store.shared import load_packs

UNKNOWN: Any = object()
"""Stands for an argument that only a construct knows, while it runs."""


class _Inside(Exception):
    """A value that only a construct knows, while it runs."""


class Given:
    """The values that a task is given, looked up in the store.

    Args:
        store: where its run is kept.
        run_id: its run.
        view: the task.
        inputs: the run's inputs.
        kept: says where the values of an instance of a step are.
        source: says which step's elements a construct goes through, "" when that is not known.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        view: TaskView,
        inputs: Mapping[str, Any],
        kept: Callable[[str], Kept | None],
        source: Callable[[str], str],
    ) -> None:
        self.store = store
        self.run_id = run_id
        self.view = view
        self.inputs = inputs
        self._where = kept
        self._source = source

    def argument(self, step: Step, name: int | str, expr: Expr) -> Any:
        """Return one argument, or UNKNOWN for what only a construct knows."""
        try:
            if name not in step.over:
                return self._value(expr)
            if step.kind == "expand":
                return self._combined(step, name)
            return self._item(expr, self.view.index)
        except _Inside:
            return UNKNOWN

    def places(self, step: Step, name: int | str, expr: Expr) -> list[tuple[str, int]]:
        """Return where the values are that one argument is made of: pack ("" for None) and place in it."""
        found: list[tuple[str, int]] = []
        for used in steps_of(expr):
            kept = self._where(filled(used, self.view.address))
            if kept is None:
                continue
            places = kept.places
            if name in step.over and step.kind == "map" and kept.many:
                places = places[self.view.index : self.view.index + 1]
            found += [place for place in places if place is not None]
        return found

    def _value(self, expr: Expr) -> Any:
        known = self._known(expr)
        try:
            return evaluate(known, {}, self.inputs)
        except Exception as error:  # what it raises, the task's own error tells
            raise _Inside from error

    def _known(self, expr: Expr) -> Expr:
        """Return the expression with the values it is made from in it."""
        match expr:
            case Const() | Input():
                return expr
            case StepValue(step):
                kept = self._kept(step)
                values = self._loaded(step, kept)
                return Const(values if kept.many else values[0])
            case Element(source):
                return Const(self._item(source, self.view.index))
            case Local(construct, name):
                return Const(self._local(construct, name))
            case Position():
                return Const(self.view.index)
            case Apply(op, args):
                return Apply(op, tuple(self._known(arg) for arg in args))
            case Container(kind, items):
                return Container(kind, tuple(self._known(item) for item in items))
            case Text(source, names):
                return Text(source, tuple((name, self._known(part)) for name, part in names))
        raise _Inside

    def _item(self, expr: Expr, index: int) -> Any:
        """Return one element of a list."""
        if not isinstance(expr, StepValue):
            return as_sequence(self._value(expr))[index]
        kept = self._kept(expr.step)
        if kept.many:
            return self._loaded(expr.step, replace(kept, places=kept.places[index : index + 1] or [None]))[0]
        value = self._loaded(expr.step, kept)[0]
        return value if kept.element else as_sequence(value)[index]

    def _local(self, construct: str, name: str) -> Any:
        """Return what a construct gives the body that this task is in: its place, and of an `each` the item."""
        for place in places(self.view.address):
            if place.at is not None and template_of(place.construct) == construct:
                if name == "index":
                    return place.at
                source = self._source(construct) if name == "item" and place.arm == "[]" else ""
                if source:
                    return self._item(StepValue(source), place.at)
        raise _Inside

    def _combined(self, step: Step, name: int | str) -> Any:
        """Return what a cartesian product takes of a list for this task."""
        index = self.view.index
        for later in step.over[: step.over.index(name) : -1]:
            index //= len(as_sequence(self._value(step.argument(later))))
        own = as_sequence(self._value(step.argument(name)))
        return own[index % len(own)]

    def _kept(self, step: str) -> Kept:
        found = self._where(filled(step, self.view.address))
        if found is None:
            raise _Inside
        return found

    def _loaded(self, step: str, kept: Kept) -> list[Any]:
        known = [place for place in kept.places if place is not None]
        if len(known) < len(kept.places):
            raise LookupError(
                f"what task '{self.view.address}' of run '{self.run_id}' is given is not all there: a step before it "
                "has no value"
            )
        values: list[Any] = [None] * len(known)
        by_pack: dict[str, list[int]] = {}
        for at, (pack, offset) in enumerate(known):
            if offset >= 0:  # else it is None: the task did nothing
                by_pack.setdefault(pack, []).append(at)
        packs = load_packs(self.store, self.run_id, [pack for pack in by_pack if pack])
        codec = Codec(secret_key())
        for pack, ats in by_pack.items():
            lo, hi = min(known[at][1] for at in ats), max(known[at][1] for at in ats) + 1
            found = codec.decode_pack(packs[pack], lo, hi) if pack in packs else [MISSING] * (hi - lo)
            for at in ats:
                values[at] = found[known[at][1] - lo]
        if any(value is MISSING for value in values):
            raise StoreError(
                f"the value of step '{step}' is not in the store {self.store.place}: it was made with "
                "checkpoint=False, or removed"
            )
        return values


@dataclass(frozen=True, slots=True)
class Called:
    """A task's call, as the worker made it.

    Args:
        runner: its step.
        args: the positional arguments.
        kwargs: the keyword arguments.
    """

    runner: Runner
    args: list[Any]
    kwargs: dict[str, Any]


def call_of(store: Store, run_id: str, program: Program, events: Iterable[Event], view: TaskView) -> Called:
    """Return how a task is called, with its real arguments.

    Args:
        store: where its run is kept.
        run_id: its run.
        program: the run's workflow.
        events: the run's journal.
        view: the task.

    Raises:
        LookupError: a step before it has no value yet, or its construct has not come to it.
        StoreError: the value of a step before it was not kept.
    """
    state = State(make_plan(program.graph))
    for event in events:
        state.apply(event)
    index = state.by_id.get(view.step)
    if index is None:
        raise LookupError(f"task '{view.address}' of run '{run_id}' has not been come to: it has no inputs yet")
    plan, element = state.steps[index].plan, view.index
    if plan.binding is None:
        runner = program.runner(index)
    else:
        code = plan.binding.code
        runner = (load_program(store, run_id, code, secret_key()) if code else program).bound(plan.binding)
    needs = [(source, 0, state.steps[source].width or 0) for source in plan.whole]
    needs += [(source, at, at + 1) for source, at in plan.cells]
    needs += [(source, element, element + 1) for source in plan.aligned]
    pieces = [(source, piece) for source, lo, hi in needs for piece in state.steps[source].where(lo, hi)]
    packs = load_packs(store, run_id, list({piece.pack for _, piece in pieces if piece.pack}))
    codec = Codec(secret_key())
    cells: Cells = {}
    for source, piece in pieces:
        where = cells.setdefault(source, {})
        size = piece.hi - piece.lo
        found = [MISSING] * size
        if piece.pack in packs:
            found = codec.decode_pack(packs[piece.pack], piece.offset, piece.offset + size)
        where.update(zip(range(piece.lo, piece.hi), found, strict=True))
        if any(value is MISSING for value in found):
            raise StoreError(
                f"the value of step '{state.steps[source].plan.id}' is not in the store {store.place}: it was made "
                "with checkpoint=False, or removed"
            )
    fan_outs = frozenset(at for at in {index, *(source for source, _, _ in needs)} if state.steps[at].plan.fan_out)
    widths = {source: state.steps[source].width or 0 for source in plan.whole}
    values = Values(cells, widths, fan_outs, program.inputs, run_id)
    try:
        args = [get(values, element) for get in runner.args]
        return Called(runner, args, {name: get(values, element) for name, get in runner.kwargs})
    except Absent:
        raise LookupError(
            f"what task '{view.address}' of run '{run_id}' is given is not all there: a step before it has no value"
        ) from None
