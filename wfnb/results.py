"""How a run ended and what its value is, found without folding its journal. Imports dask, engine, store and model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from wfnb.dask.program import Program
from wfnb.dask.values import Values
from wfnb.engine.plan import make_plan
from wfnb.model.constants import changeable
from wfnb.model.errors import StoreError
from wfnb.model.events import ENDED, STARTED, Event, RunEnded, RunStarted, decode_event
from wfnb.model.expr import evaluate, steps_of
from wfnb.store.base import Store
from wfnb.store.codec import Codec
from wfnb.store.keys import secret_key
from wfnb.store.shared import load_packs


class Tail:
    """Reads a run's journal for its beginnings and ends alone, which is quick however long it is.

    Args:
        store: where it is kept.
        run_id: the run.

    Attributes:
        position: up to where it was read.
        code: the key of the code that the last driver took the run up with, or "".
        ended: the run's end, or None while it goes on.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self.position = 0
        self.code = ""
        self.ended: RunEnded | None = None

    def read(self) -> RunEnded | None:
        """Read on to where the journal ends; return the run's end, or None while it goes on."""
        for entry in self._store.read(self._run_id, self.position):
            self.position = entry.position
            if entry.data[:1] in (STARTED, ENDED):
                self.take(decode_event(entry.data))
        return self.ended

    def take(self, event: Event | None) -> None:
        """Take in an event."""
        if isinstance(event, RunStarted):
            self.code, self.ended = event.code, None
        elif isinstance(event, RunEnded):
            self.ended = event


def value_of(
    store: Store, run_id: str, program: Program, ended: RunEnded, events: Callable[[], Iterable[Event]]
) -> Any:
    """Return a run's value.

    Args:
        store: where it is kept.
        run_id: the run.
        program: its workflow, as its last driver took it up.
        ended: how it ended.
        events: returns its journal; asked only where its end does not say where the values are.

    Raises:
        StoreError: a value is not in the store.
    """
    output = program.graph.output
    if next(changeable(output), None) is not None:
        output = copy.deepcopy(output)  # whoever gets the value may change it
    where = ended.values
    if not where and steps_of(output):
        from wfnb.engine.state import State, outputs_of  # mostly the end says where

        state = State(make_plan(program.graph))
        for event in events():
            state.apply(event)
        where = outputs_of(state, None)
    packs = load_packs(store, run_id, list({pack for _, _, places in where for _, _, pack, _ in places}))
    codec = Codec(secret_key())
    cells: dict[int, dict[int, Any]] = {}
    for index, _, places in where:
        for lo, hi, pack, offset in places:
            if pack not in packs:
                raise StoreError(
                    f"the value of step '{program.graph.steps[index].id}' is not in the store {store.place}: it was "
                    "made with checkpoint=False, or removed"
                )
            found = codec.decode_pack(packs[pack], offset, offset + hi - lo)
            cells.setdefault(index, {}).update(zip(range(lo, hi), found, strict=True))
    values = Values(cells, {index: width for index, width, _ in where}, program.fan_outs)
    return evaluate(output, {step: values.whole(program.number[step]) for step in steps_of(output)}, program.inputs)
