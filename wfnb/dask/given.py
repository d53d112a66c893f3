"""What a task was given, made again from the store: its arguments with values looked up. Imports engine, store, model.

It sees what the journal keeps: inputs, constants and the values of steps; not what a construct hands to its bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wfnb.engine.addresses import filled, places, template_of
from wfnb.engine.facts import Kept, TaskView
from wfnb.model.errors import StoreError
from wfnb.model.expr import Apply, Const, Container, Element, Expr, Input, Local, Position, StepValue, Text, evaluate
from wfnb.model.graph import Step
from wfnb.model.sequences import as_sequence
from wfnb.store.base import Store
from wfnb.store.codec import MISSING, Codec
from wfnb.store.keys import secret_key

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
        packs = self.store.load(self.run_id, [pack for pack in by_pack if pack])
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
