"""Why a task ran, or did not: told from the journal, and from the sources kept with a run. Imports what is below run.

A fingerprint only says that something is different; the sources say what. They are kept beside the code of each start,
so any process can tell, also one that has never seen the workflow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from wfnb.authoring.fingerprint import hash_value
from wfnb.authoring.prints import reset_by
from wfnb.authoring.sources import Change, Sources
from wfnb.dask.program import INPUT_NAMES, INPUTS
from wfnb.engine.facts import RunView, StepView, TaskView
from wfnb.engine.folds import RunFold
from wfnb.model.errors import RunNotFound, StoreError
from wfnb.model.events import (
    CACHED,
    CANCELLED,
    COMPLETED,
    FAILED,
    PASSED,
    TOLERATED,
    Column,
    Command,
    Event,
    Outcomes,
    RunStarted,
    decode_event,
)
from wfnb.prepared import load_sources
from wfnb.store.base import RunRecord, Store
from wfnb.store.codec import Codec
from wfnb.store.keys import secret_key
from wfnb.store.shared import owner_of
from wfnb.views.words import seconds, tally

EARLIER = 20
"""How many earlier runs of a workflow are looked at for one to compare with."""
_CHAIN = 20
_VALUED = (COMPLETED, CACHED, PASSED, TOLERATED)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a task ran, or did not.

    Args:
        address: the task's address.
        status: its status.
        reason: why, in one sentence.
        detail: what else there is to know, a sentence each.
        diff: what was edited, in unified form, or "" where nothing was or it is not known.
    """

    address: str
    status: str
    reason: str
    detail: tuple[str, ...] = ()
    diff: str = ""

    def __repr__(self) -> str:
        lines = [f"{self.address} ({self.status}): {self.reason}", *(f"  {text}" for text in self.detail)]
        return "\n".join([*lines, *(f"  {line}" for line in self.diff.splitlines())])

    def _repr_html_(self) -> str:
        detail = "".join(f"<li>{escape(text)}</li>" for text in self.detail)
        rows = "".join(f'<span style="{_tint(line)}">{escape(line)}\n</span>' for line in self.diff.splitlines())
        return (
            f"<div><code>{escape(self.address)}</code> ({escape(self.status)}): {escape(self.reason)}"
            f"{f'<ul>{detail}</ul>' if detail else ''}{f'<pre>{rows}</pre>' if rows else ''}</div>"
        )


def _tint(line: str) -> str:
    if line.startswith(("+++", "---", "@@")):
        return "opacity:.6"
    # Seen on a light and on a dark ground; the signs at the beginning say the same.
    colour = {"+": "rgba(46,160,67,.2)", "-": "rgba(248,81,73,.2)"}.get(line[:1], "none")
    return f"background:{colour}"


# -- what a journal says of one task -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One outcome of a task: which start of the run it is of, and where in the journal."""

    start: int
    column: Column
    place: int

    @property
    def status(self) -> int:
        return self.column.status[self.place]

    @property
    def valued(self) -> bool:
        return self.status in _VALUED

    @property
    def failure(self) -> str:
        error = self.column.errors.get(self.place)
        return f"{error.type}: {error.message}".partition("\n")[0] if error else "an error"


class Journal:
    """A run's journal, as far as why things ran is concerned.

    Args:
        store: where the run is kept.
        view: the run's picture.
        fold: the fold of its journal.
        events: its journal.
    """

    def __init__(self, store: Store, view: RunView, fold: RunFold, events: Sequence[Event]) -> None:
        self.store = store
        self.view = view
        self.fold = fold
        self.events = events
        self.steps = {step.id: step for step in view.steps}
        self.starts = [event for event in events if isinstance(event, RunStarted)]
        self._sources: dict[str, Sources | None] = {}

    @classmethod
    def of(cls, store: Store, record: RunRecord) -> Journal:
        """Return the journal of a run in the store."""
        events = [event for one in store.read(record.id) if (event := decode_event(one.data, skip=b"LR")) is not None]
        shape = next((e.shape for e in reversed(events) if isinstance(e, RunStarted) and e.shape), record.shape)
        fold = RunFold(json.loads(shape))
        for event in events:
            fold.add(event)
        view = fold.view(time.time(), run_id=record.id, workflow=record.workflow, created=record.created)
        return cls(store, view, fold, events)

    def sources(self, start: int) -> Sources | None:
        """Return the sources of the code that a start ran."""
        code = self.starts[start].code
        if code not in self._sources:
            self._sources[code] = load_sources(self.store, self.view.run_id, code)
        return self._sources[code]

    def outcomes(self, task: TaskView) -> list[_Outcome]:
        """Return a task's outcomes, in order."""
        found: list[_Outcome] = []
        start = -1
        for event in self.events:
            if isinstance(event, RunStarted):
                start += 1
            elif isinstance(event, Outcomes):
                for column in event.columns:
                    place = task.index - column.lo
                    if column.step == task.step and 0 <= place < len(column.status):
                        found.append(_Outcome(start, column, place))
        return found

    def changed(self, step: str, start: int) -> tuple[str, tuple[Change, ...]]:
        """Return the step whose edit made another one run again at a start, and what was edited of it."""
        reset = self.starts[start].reset
        for _ in range(_CHAIN):
            before = reset_by(reset.get(step, ""))
            if not before or before not in reset:
                break
            step = before
        now, then = self.sources(start), self.sources(start - 1) if start else None
        return step, now.changes(step, then) if now and then else ()


class Explainer:
    """Answers why tasks of one run ran, or did not.

    Args:
        journal: the run's.
        live: whether somebody drives the run now.
    """

    def __init__(self, journal: Journal, *, live: bool) -> None:
        self.journal = journal
        self.view = journal.view
        self.live = live

    def explain(self, address: str) -> Explanation:
        """Return why a task ran or did not, or the tasks of a step; raises KeyError when there is none."""
        step = self.journal.steps.get(address)
        if step is not None and (step.construct or step.many):
            return self._whole(step)
        task = self.journal.fold.task(address)
        outcomes = self.journal.outcomes(task)
        return self._told(task, outcomes)

    # -- a step as a whole -------------------------------------------------------------------------------------------

    def _whole(self, step: StepView) -> Explanation:
        detail = [f"Its tasks: {tally(step.counts, step.width)}"] if step.counts.total else []
        detail += [f"run.explain('{step.id}[0]') explains one of them"] if step.fan_out and step.width else []
        last = len(self.journal.starts) - 1
        if step.reset and last > 0:
            reason, more, diff = self._again(step.id, last)
            return Explanation(step.id, step.status, reason, (*more, *detail), diff)
        if step.unused:
            return Explanation(step.id, step.status, self._unused(step), tuple(detail))
        waits = self._waits_for(step) if step.status == "pending" else ""
        reason = waits or self._failed_in(step) or f"it is {step.status}"
        return Explanation(step.id, step.status, reason, tuple(detail))

    def _failed_in(self, step: StepView) -> str:
        """Return which of a step's tasks made the run fail, or ""."""
        error = self.view.error
        if step.status != "failed" or error is None or not error.address.startswith((f"{step.id}[", f"{step.id}/")):
            return ""
        return f"'{error.address}' in it failed: {error.type}: {error.message}"

    # -- one task ----------------------------------------------------------------------------------------------------

    def _told(self, task: TaskView, outcomes: list[_Outcome]) -> Explanation:
        status = task.status
        last = len(self.journal.starts) - 1
        current = next((one for one in reversed(outcomes) if one.valued), None)
        if task.status == "running":
            return self._running(task, outcomes)
        if task.status == "retrying":
            reason = f"it waits for its next attempt: {_attempts(outcomes)}"
            return Explanation(task.address, status, reason)
        if current is not None and (task.pack or task.without or status in ("completed", "cached")):
            why = self._why(task, outcomes, current)
            if current.start == last:
                return why
            parent = owner_of(current.column.pack)
            how = f"the run was taken up again {_clock(self.journal.starts[last].time)}"
            if parent:
                how = f"run '{parent}', of which this is a fork, made its value"
            reason = f"it is kept from before: {how}, and neither it nor what it uses was edited"
            return Explanation(task.address, status, reason, (f"Before: {why.reason}", *why.detail), why.diff)
        failed = [one for one in outcomes if one.status == FAILED]
        if status == "failed" and failed:
            attempts = f" in {len(failed)} attempts" if len(failed) > 1 else ""
            why = self._why(task, outcomes, failed[-1])
            reason = f"it failed{attempts}: {failed[-1].failure}"
            return Explanation(
                task.address,
                status,
                reason,
                (f"Why it ran: {why.reason.removeprefix('it ran, ')}", *why.detail),
                why.diff,
            )
        if status == "cancelled" or any(one.status == CANCELLED for one in outcomes[-1:]):
            ran = "while it ran" if outcomes and outcomes[-1].status == CANCELLED else "before it ran"
            return Explanation(task.address, status, f"the run was cancelled {ran}{self._by('cancel')}")
        return self._never(task)

    def _running(self, task: TaskView, outcomes: list[_Outcome]) -> Explanation:
        since = f" for {seconds(max(0.0, self.view.now - task.start))}" if task.start else ""
        detail = (f"Before: {_attempts(outcomes)}",) if any(one.status == FAILED for one in outcomes) else ()
        if not self.live and self.view.status != "paused":
            return Explanation(task.address, task.status, "it ran when the run's driver was lost", detail)
        return Explanation(task.address, task.status, f"it runs{since} on worker {task.worker}", detail)

    def _why(self, task: TaskView, outcomes: list[_Outcome], outcome: _Outcome) -> Explanation:
        """Return why an outcome came about."""
        if outcome.status == PASSED:
            reason = "it was skipped, because its condition was false"
            return Explanation(task.address, task.status, reason, self._condition(task))
        tried = [one for one in outcomes if one.start == outcome.start and one.status == FAILED and one is not outcome]
        detail = (f"It was tried again: {_attempts(tried)}",) if tried else ()
        if outcome.status == CACHED:
            return Explanation(task.address, task.status, self._answered(outcome), detail)
        earlier = [one for one in outcomes if one.start < outcome.start]
        starts = self.journal.starts
        reset = [k for k in range(outcome.start, 0, -1) if task.template in starts[k].reset]
        # A fork does not take over what runs again in it.
        had = [k for k in reset if any(one.valued and one.start < k for one in earlier) or owner_of(starts[k - 1].code)]
        dropped = next(iter(had), 0)
        if dropped:
            reason, more, diff = self._again(task.template, dropped)
            return Explanation(task.address, task.status, reason, (*more, *detail), diff)
        if starts[outcome.start].anew:
            if any(one.valued for one in earlier):
                reason = "it ran again, because its value was kept nowhere and went with its worker"
                return Explanation(task.address, task.status, reason, detail)
            if all(one.anew for one in starts[1 : outcome.start]):
                return self._first(task, detail)
        if any(one.status == FAILED for one in earlier):
            reason = f"it ran again when the run was taken up again: {_attempts(earlier)}"
            diff = self._edited_since(task.template, earlier[-1].start, outcome.start)
            return Explanation(task.address, task.status, reason, detail, diff)
        if outcome.start:
            reason = "it ran when the run was taken up again: it had no outcome before"
            return Explanation(task.address, task.status, reason, detail)
        return self._first(task, detail)

    def _again(self, step: str, start: int) -> tuple[str, list[str], str]:
        """Return why a step ran again at a start: the reason, what else was edited, and the difference."""
        root, changes = self.journal.changed(step, start)
        told = self.journal.starts[start].reset.get(root, "")
        first = changes[0].text if changes else told or "it was edited"
        reason = f"it ran again, because {first}"
        if root != step:
            reason = f"it ran again, because '{root}' before it ran again: {first}"
        return reason, _rest(changes), "\n".join(change.diff for change in changes if change.diff)

    def _edited_since(self, step: str, then: int, now: int) -> str:
        if then == now:
            return ""
        old, new = self.journal.sources(then), self.journal.sources(now)
        changes = new.changes(step, old) if old and new else ()
        return "\n".join(change.diff for change in changes if change.diff)

    def _answered(self, outcome: _Outcome) -> str:
        same = "its code and its arguments are the same"
        origin = _origin(outcome.column, outcome.place)
        if origin is None:
            return f"it was answered from the store: {same}"
        run_id, address = self._made(*origin)
        made = f"task '{address}' of run '{run_id}' made the value" if address else f"run '{run_id}' made the value"
        return f"it was answered from the store: {made}, and {same}"

    def _made(self, run_id: str, pack: str, offset: int) -> tuple[str, str]:
        """Return the run and the address of the task that made a value, as far back as runs are in the store."""
        address = ""
        for _ in range(_CHAIN):
            try:
                record = self.journal.store.get(run_id)
            except RunNotFound:
                break
            found = _task_at(self.journal.store, record, pack, offset)
            if found is None:
                break
            column, place, address = found
            origin = _origin(column, place) if column.status[place] == CACHED else None
            if origin is None or not self._known(origin[0]):
                break
            run_id, pack, offset = origin
        return run_id, address

    def _known(self, run_id: str) -> bool:
        try:
            self.journal.store.get(run_id)
        except RunNotFound:
            return False
        return True

    # -- the first time in a run -------------------------------------------------------------------------------------

    def _first(self, task: TaskView, detail: tuple[str, ...]) -> Explanation:
        now = self.journal.sources(0)
        asks = now.cache.get(task.template) if now is not None else None
        if now is None or asks is None:
            reason = "it ran, because it had not run before in this run"
            more = "Values are answered from other runs where the node has cache=True"
            return Explanation(task.address, task.status, reason, (*detail, more) if now is not None else detail)
        if asks:
            reason = f"it ran although it has cache=True: {asks}"
            return Explanation(task.address, task.status, reason, detail)
        for record in self._earlier():
            before = Journal.of(self.journal.store, record)
            then = before.sources(len(before.starts) - 1) if before.starts else None
            if then is None or task.template not in then.steps:
                continue
            return self._compared(task, detail, now, then, before)
        reason = f"it ran for the first time: no earlier run of '{self.view.workflow}' in the store has this step"
        return Explanation(task.address, task.status, reason, detail)

    def _compared(
        self, task: TaskView, detail: tuple[str, ...], now: Sources, then: Sources, before: Journal
    ) -> Explanation:
        """Say why a task was not answered from an earlier run."""
        run_id = before.view.run_id
        changes = now.changes(task.template, then)
        if changes:
            reason = f"it ran, because {changes[0].text} since run '{run_id}'"
            diff = "\n".join(change.diff for change in changes if change.diff)
            return Explanation(task.address, task.status, reason, (*detail, *_rest(changes)), diff)
        other = changed_inputs(self.journal.store, self.view.run_id, run_id, now.inputs.get(task.template, ()))
        if other:
            reason = f"it ran, because input '{other[0]}' has another value than in run '{run_id}'"
            return Explanation(task.address, task.status, reason, detail)
        ran = [step.id for step in self._before(task.template) if step.counts.completed]
        if ran:
            names = _named(ran)
            reason = f"it ran, because {names} before it ran, and gave what was not known from an earlier run"
            names_before = sorted(
                {name for one in self._all_before(task.template) for name in now.inputs.get(one.id, ())}
            )
            other = changed_inputs(self.journal.store, self.view.run_id, run_id, names_before)
            more = [f"Input '{name}' has another value than in run '{run_id}'" for name in other]
            return Explanation(task.address, task.status, reason, (*detail, *more))
        reason = f"it ran, because the store had no value of it: run '{run_id}' made none, or it was removed"
        return Explanation(task.address, task.status, reason, detail)

    def _earlier(self) -> Iterator[RunRecord]:
        created = self.view.created or 0.0
        for record in self.journal.store.find(workflow=self.view.workflow, limit=EARLIER):
            if record.id != self.view.run_id and record.created <= created:
                yield record

    # -- what has not run --------------------------------------------------------------------------------------------

    def _never(self, task: TaskView) -> Explanation:
        step = self.journal.steps.get(task.template)
        run = self.view.status
        behind = [one for one in self._all_before(task.template) if one.status == "failed"]
        if task.status == "skipped" or (behind and self.view.over):
            return Explanation(task.address, task.status, self._behind(behind))
        if step is not None and step.unused:
            return Explanation(task.address, task.status, self._unused(step))
        if self.view.over:
            why = {"failed": "the run failed", "cancelled": "the run was cancelled"}.get(run, f"the run is {run}")
            return Explanation(task.address, task.status, f"it has not run: {why} before its turn{self._by(run)}")
        if run == "paused":
            reason = f"it has not run yet: the run is paused{self._by('pause')}"
            return Explanation(task.address, task.status, reason)
        if run == "queued":
            return Explanation(task.address, task.status, "it has not run yet: no driver has taken the run up")
        waits = self._waits_for(step) if step is not None else ""
        return Explanation(task.address, task.status, waits or "it has not run yet: it is ready and waits for a worker")

    def _behind(self, behind: Sequence[StepView]) -> str:
        error = self.view.error
        if behind:
            cause = f": {error.type}: {error.message}".partition("\n")[0] if error and error.message else ""
            return f"it was skipped, because {_named([step.id for step in behind])} before it failed{cause}"
        if error is not None and error.address:
            return f"it was skipped, because '{error.address}' failed: {error.type}: {error.message}".partition("\n")[0]
        return "it was skipped, because something before it failed"

    def _unused(self, step: StepView) -> str:
        around = self.journal.steps.get(step.group)
        if step.unused == "not taken" and around is not None:
            return f"it was not needed: switch '{around.id}' took another case"
        if step.unused == "not needed" and around is not None:
            return f"it was not needed: nothing in '{around.id}' failed"
        if step.unused == "skipped":
            return "it was skipped, because its condition was false"
        if self.view.status == "completed":
            return "it was not needed"
        return f"it has not run: the run was {self.view.status} before its turn"

    def _waits_for(self, step: StepView) -> str:
        open_ = [one for one in self._before(step.id) if one.status not in ("completed", "cached", "skipped")]
        return f"it has not run yet: it waits for {_named([one.id for one in open_])}" if open_ else ""

    def _before(self, step: str) -> list[StepView]:
        """Return the steps that one uses or comes after, what the engine put between them left out."""
        found: dict[str, StepView] = {}
        todo, seen = [step], {step}
        while todo:
            view = self.journal.steps.get(todo.pop())
            for used in (*view.uses, *view.after) if view is not None else ():
                before = self._nearest(used)
                if before is None or before.id in seen:
                    continue
                seen.add(before.id)
                if before.helper:
                    todo.append(before.id)
                elif not step.startswith(f"{before.id}.") and not step.startswith(f"{before.id}["):
                    found[before.id] = before
        return list(found.values())

    def _nearest(self, name: str) -> StepView | None:
        """Return a step by its id, or the construct whose value it shows."""
        while name and name not in self.journal.steps:
            name = name[: max(name.rfind(sign) for sign in "./[")] if any(sign in name for sign in "./[") else ""
        return self.journal.steps.get(name)

    def _all_before(self, step: str) -> list[StepView]:
        found: dict[str, StepView] = {}
        todo = [step]
        while todo:
            for before in self._before(todo.pop()):
                if before.id not in found:
                    found[before.id] = before
                    todo.append(before.id)
        return list(found.values())

    def _condition(self, task: TaskView) -> tuple[str, ...]:
        step = self.journal.steps.get(task.template)
        used = _named([one.id for one in self._before(task.template)]) if step is not None else ""
        return (f"It uses {used}",) if used else ()

    def _by(self, command: str) -> str:
        for event in reversed(self.journal.events):
            if isinstance(event, Command) and event.name == command.removesuffix("led"):
                return f", asked for by {event.by} {_clock(event.time)}"
        return ""


def changed_inputs(store: Store, run_id: str, other: str, names: Sequence[str]) -> list[str]:
    """Return which inputs two runs were given with different values, among some; none when that cannot be told."""
    if not names:
        return []
    mine, others = (run_inputs(store, one) for one in (run_id, other))
    return [name for name in names if name in mine and not (name in others and same_value(mine[name], others[name]))]


def same_value(one: Any, other: Any) -> bool:
    """Return whether two values have the same content; not when one has none that can be compared."""
    try:
        digest = hash_value(one)
        return digest is not None and digest == hash_value(other)
    except Exception:  # noqa: BLE001  whatever a value's own methods raise: it cannot be compared
        return False


def run_inputs(store: Store, run_id: str) -> Mapping[str, Any]:
    """Return the inputs a run was given, by name; empty when they cannot be read here."""
    packs = store.load(run_id, [INPUTS, INPUT_NAMES])
    if INPUTS not in packs or INPUT_NAMES not in packs:
        return {}
    codec = Codec(secret_key())
    try:
        return dict(zip(codec.decode_pack(packs[INPUT_NAMES]), codec.decode_pack(packs[INPUTS]), strict=True))
    except StoreError:
        raise
    except Exception:  # noqa: BLE001  of a class that this process does not have
        return {}


def _task_at(store: Store, record: RunRecord, pack: str, offset: int) -> tuple[Column, int, str] | None:
    """Return the outcome, and the address of the task, whose value is at a place in a pack of a run."""
    for one in store.read(record.id):
        event = decode_event(one.data, skip=b"LR")
        if not isinstance(event, Outcomes):
            continue
        for column in event.columns:
            place = offset - column.offset
            if column.pack == pack and 0 <= place < len(column.status):
                journal = Journal.of(store, record)
                return column, place, journal.fold.address(column.step, column.lo + place)
    return None


def _origin(column: Column, place: int) -> tuple[str, str, int] | None:
    """Return where the answer at a place of a column is from: the run, the pack, and the place in it."""
    found = [one for one in column.origins if one[0] <= place]
    if not found:
        return None
    first, run_id, pack, offset = found[-1]
    return run_id, pack, offset + place - first


def _attempts(outcomes: Sequence[_Outcome]) -> str:
    failed = [one for one in outcomes if one.status == FAILED]
    if not failed:
        return "it had not ended"
    return f"attempt {failed[-1].column.attempt} failed with {failed[-1].failure}"


def _rest(changes: Sequence[Change]) -> list[str]:
    return [f"Also, {change.text}" for change in changes[1:]]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"'{name}'" for name in names[:3]) + more


def _clock(moment: float) -> str:
    return f"on {time.strftime('%Y-%m-%d at %H:%M:%S', time.localtime(moment))}"
