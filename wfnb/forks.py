"""From where a run is taken up again, and forks: new runs that share what another has finished. Imports no session.

A fork is a run of its own whose journal begins with what the other's says of finished work. No value is copied but the
run's inputs: the places of values name the run that keeps them (`wfnb.store.shared`), which is therefore not removed
while the fork is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wfnb.authoring.workflow import LATEST
from wfnb.dask.leases import LEASE
from wfnb.dask.owners import PRUNER, own_name
from wfnb.dask.program import bind_inputs
from wfnb.engine.addresses import template_of
from wfnb.engine.lowered import Lowered
from wfnb.explain import same_value
from wfnb.model.errors import ConfigurationError, RunHasDriver, RunNotFound, did_you_mean
from wfnb.model.events import (
    SHARED,
    Event,
    Grown,
    Logs,
    Outcomes,
    Running,
    RunStarted,
    decode_event,
    encode_event,
)
from wfnb.store.base import ENDED, Entry, Frames, Recorded, RunRecord, Store
from wfnb.store.shared import shared_key


@dataclass(frozen=True, slots=True)
class Fork:
    """What a fork is to be.

    Args:
        run_id: its id, or "" for one that is made up.
        inputs: the inputs that are to have another value.
    """

    run_id: str
    inputs: Mapping[str, Any]


# -- from where --------------------------------------------------------------------------------------------------------


def chosen(graph: Lowered, name: str, how: str) -> dict[str, str]:
    """Return the steps that run again because somebody chose one, with the reason: it, its body, what comes after it.

    What uses their values is not among them. What only comes after them is: in a workflow whose steps are in sequence,
    that is what "from there" means.

    Args:
        graph: the workflow.
        name: a step's id, or the address of a task, which stands for its step.
        how: what was called: "retry" or "fork".

    Raises:
        ConfigurationError: the workflow has no such step.
    """
    template = template_of(name)
    stems = (template, template.removesuffix("[]"))
    inside = tuple(f"{stem}{mark}" for stem in stems for mark in ("/", ".", "[]"))
    first = [at for at, step in enumerate(graph.steps) if step.id in stems or step.id.startswith(inside)]
    if not name or not first:
        known = [step.id for step, place in zip(graph.steps, graph.places, strict=True) if not place.helper]
        raise ConfigurationError(f"workflow '{graph.name}' has no step '{name}'. {did_you_mean(name, known)}")
    reasons = {graph.steps[at].id: f"run.{how}(from_={name!r}) asked for it" for at in first}
    waiting = set(first)
    for at in first:
        waiting.update(_around(graph, at))
    found = True
    while found:
        found = False
        for at, (step, place) in enumerate(zip(graph.steps, graph.places, strict=True)):
            before = next((one for one in place.after if one in waiting), None)
            if at not in waiting and before is not None:
                reasons[step.id] = f"'{graph.steps[before].id}' runs again"
                waiting.update((at, *_around(graph, at)))
                found = True
    return reasons


def _around(graph: Lowered, at: int) -> Iterator[int]:
    """Yield the constructs that a step is inside of."""
    block = graph.blocks[graph.places[at].block]
    while block.construct >= 0:
        yield block.construct
        block = graph.blocks[graph.places[block.construct].block]


# -- a fork's inputs ---------------------------------------------------------------------------------------------------


def given_inputs(fork: Fork, workflow: str, old: Lowered, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a fork is given: what the run was, and what is to have another value.

    Raises:
        ConfigurationError: the workflow has no such input.
        DefinitionError: a value will not do.
    """
    today = LATEST.get(workflow)
    known = [spec.name for spec in (old if today is None else today.graph).inputs]
    for name in fork.inputs:
        if name not in known:
            raise ConfigurationError(f"workflow '{workflow}' has no input '{name}'. {did_you_mean(name, known)}")
    given = {**stored, **fork.inputs}
    if today is not None and fork.inputs:
        bound = today.bind((), {name: value for name, value in given.items() if name in known})
        given.update((name, bound[name]) for name in fork.inputs)
    return given


def changed_inputs(fork: Fork, old: Lowered, stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """Return the inputs whose value is another one than the run was given, with the reason."""
    then = bind_inputs(old, stored)
    return {
        name: f"input '{name}' has another value"
        for name in fork.inputs
        if name not in then or not same_value(given[name], then[name])
    }


# -- the new run -------------------------------------------------------------------------------------------------------


def create_fork(
    store: Store,
    parent: RunRecord,
    run_id: str,
    entries: Sequence[Recorded],
    reset: Container[str],
    packs: Mapping[str, Frames],
) -> RunRecord:
    """Add a run that begins with the finished work of another, and return its record.

    Args:
        store: where both are kept.
        parent: the other run.
        run_id: the new run's id.
        entries: the other run's journal.
        reset: the steps whose outcomes the new run drops.
        packs: what the new run keeps itself.

    Raises:
        RunNotFound: the other run was removed meanwhile.
    """
    now = time.time()
    record = replace(parent, id=run_id, status="queued", created=now, updated=now, parent=parent.id)
    store.create(record, list(_copied(parent.id, entries, reset, now)), packs)
    try:
        _keep(store, parent.id)
    except RunNotFound:
        store.delete(run_id)
        raise
    return record


def _copied(run_id: str, entries: Sequence[Recorded], reset: Container[str], now: float) -> Iterator[Entry]:
    """Yield what a journal says of outcomes as another run's says it; what was asked of the run stays its own.

    Outcomes that are not shared are among them, and dropped by the start of the new run: without them those after them
    would not be of a run that can have been.
    """

    def kept(address: str) -> bool:
        template = template_of(address)
        return not (template in reset or template.removesuffix("[]") in reset)

    for entry in entries:
        event = decode_event(entry.data)
        told = None if event is None else _told(run_id, event, kept, now)
        if told is not None:
            yield Entry(SHARED + entry.key, encode_event(told))


def _told(run_id: str, event: Event, kept: Callable[[str], bool], now: float) -> Event | None:
    match event:
        case Outcomes():
            columns = tuple(column._replace(pack=shared_key(run_id, column.pack)) for column in event.columns)
            return replace(event, bundle=SHARED + event.bundle, columns=columns)
        case Running():
            return replace(event, bundle=SHARED + event.bundle)
        case RunStarted():
            return replace(event, code=shared_key(run_id, event.code), time=now)
        case Grown():
            return replace(event, code=shared_key(run_id, event.code))
        case Logs():
            rows = tuple(row for row in event.rows if kept(row[0]))
            return Logs(rows) if rows else None
    return None


def _keep(store: Store, run_id: str) -> None:
    """Make sure that a run is not just being removed; from then on the fork that is in the store keeps it."""
    while store.get(run_id).status in ENDED:  # others are not removed, or only by who looks for forks after this
        try:
            lease = store.acquire(run_id, own_name(), LEASE)
        except RunHasDriver as error:
            if not error.owner.startswith(PRUNER):
                return
            time.sleep(0.05)
        else:
            store.release(run_id, lease.epoch)
            return
