"""What a run would do, told before it is started: which steps are known, changed or new. Imports what is below run.

Nothing is run and nothing is written: code is compared with that of the workflow's newest run, and where a task's
arguments are known without running anything, its key is looked up in the store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeAlias

from wfnb.authoring.prints import edited, fingerprints, node_prints, reset_by, step_arguments
from wfnb.authoring.sources import sources_of
from wfnb.dask.cache import Cache
from wfnb.dask.program import Compiled, Program
from wfnb.dask.values import Values
from wfnb.engine.lowered import Lowered
from wfnb.engine.plan import known_widths
from wfnb.explain import Journal, run_inputs, same_value
from wfnb.model.errors import did_you_mean
from wfnb.model.expr import Element, Expr, Local, StepValue, steps_of, walk
from wfnb.model.graph import Step
from wfnb.model.sequences import length_of
from wfnb.store.base import Memo, Store
from wfnb.store.codec import Codec
from wfnb.store.keys import secret_key
from wfnb.views.words import MARKS

State: TypeAlias = Literal["cached", "stale", "new", "unknown", "unchanged", "skipped"]

ROOM = 16 * 1024 * 1024
"""Bytes of known values that are loaded to find out what follows from them."""
MOST = 10_000
"""Tasks that are looked up at most."""

_OPEN = (StepValue, Local)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What a run would do with one step.

    Args:
        id: the step's id.
        node: the name of its node.
        state: "cached" (all its tasks are answered from the store), "stale" (it runs: its code, its inputs or something
            before it changed since the workflow's newest run), "new" (it runs: there is no earlier value of it),
            "unchanged" (it runs as it did before: its node has no ``cache=True``), "skipped" (its condition is false),
            or "unknown" (whether it is known, or runs at all, depends on values which the run makes).
        why: why, in a few words.
        tasks: how many tasks it has, or None while that is not known.
        known: how many of them are answered from the store.
    """

    id: str
    node: str
    state: State
    why: str
    tasks: int | None = 1
    known: int = 0


class Plan:
    """What a run of a workflow would do; a table in a notebook.

    Args:
        workflow: the workflow's name.
        compared: the run it was compared with, or "" when there is none.
        steps: its steps, in the order they are written.
    """

    def __init__(self, workflow: str, compared: str, steps: tuple[PlannedStep, ...]) -> None:
        self.workflow = workflow
        self.compared = compared
        self.steps = steps

    def __getitem__(self, step: str) -> PlannedStep:
        """Return one step; raises KeyError when there is none with that id."""
        for one in self.steps:
            if one.id == step:
                return one
        raise KeyError(f"'{self.workflow}' has no step '{step}'. {did_you_mean(step, [one.id for one in self.steps])}")

    def __iter__(self) -> Iterator[PlannedStep]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def _head(self) -> str:
        compared = f"compared with run '{self.compared}'" if self.compared else "no run of it is in the store"
        counts = Counter[str](step.state for step in self.steps)
        told = ", ".join(f"{counts[state]} {state}" for state in MARKS if counts[state]) or "no steps"
        return f"{self.workflow}: {told} ({compared})"

    def __repr__(self) -> str:
        rows = [(MARKS[step.state], step.id, step.state, _tasks(step), step.why) for step in self.steps]
        wide = [max((len(row[place]) for row in rows), default=0) for place in range(4)]
        lines = ["  ".join([*map(str.ljust, row[:4], wide), row[4]]).rstrip() for row in rows]
        return "\n".join([self._head(), *(f"  {line}" for line in lines)])

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        head = "".join(f"<th {left}>{name}</th>" for name in ("step", "state", "tasks", "why"))
        rows = "".join(
            f"<tr><td {left}><code>{escape(step.id)}</code></td><td {left}>{MARKS[step.state]} {step.state}</td>"
            f"<td {left}>{escape(_tasks(step))}</td><td {left}>{escape(step.why)}</td></tr>"
            for step in self.steps
        )
        return f"<div>{escape(self._head())}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _tasks(step: PlannedStep) -> str:
    if step.tasks is None:
        return "?"
    return f"{step.known:,}/{step.tasks:,} known" if 0 < step.known < step.tasks else f"{step.tasks:,}"


def plan_of(graph: Lowered, inputs: Mapping[str, Any], store: Store) -> Plan:
    """Return what a run of a workflow would do.

    Args:
        graph: the lowered workflow.
        inputs: its inputs by name.
        store: where runs are kept.

    Raises:
        DefinitionError: a list cannot be iterated over.
    """
    planner = _Planner(graph, inputs, store)
    steps = [planner.step(index) for index, place in enumerate(graph.places) if planner.shown(index, place.helper)]
    return Plan(graph.name, planner.compared, tuple(steps))


class _Planner:
    def __init__(self, graph: Lowered, inputs: Mapping[str, Any], store: Store) -> None:
        self.graph = graph
        self.store = store
        nodes, arguments = node_prints(graph), step_arguments(graph)
        prints = fingerprints(graph, nodes, arguments)
        self.sources = sources_of(graph, nodes, arguments)
        digests = {step.id: nodes[id(step.node)].digest or "" for step in graph.steps if step.id in self.sources.cache}
        self.program = Program(Compiled(graph, digests), inputs)
        self.widths = {self.program.number[step]: width for step, width in known_widths(graph, inputs).items()}
        self.values = Values({}, self.widths, self.program.fan_outs, inputs)
        self.codec = Codec(secret_key())
        self.cache = Cache(store, self.codec, self.program, 0, self.values, self.program.runner)
        self.room = ROOM
        self.looked = 0
        self.large: set[str] = set()
        self.compared = ""
        self.before: Mapping[str, str] = {}
        self.reasons: Mapping[str, str] = {}
        self.done: set[str] = set()
        self.unused: set[str] = set()
        self._compare(prints, inputs)

    def _compare(self, prints: Mapping[str, str], inputs: Mapping[str, Any]) -> None:
        """Compare the workflow with its newest run."""
        record = next(iter(self.store.find(workflow=self.graph.name, limit=1)), None)
        if record is None:
            return
        journal = Journal.of(self.store, record)
        if not journal.starts:
            return  # nobody has taken it up yet
        self.compared = record.id
        last = len(journal.starts) - 1
        self.before = journal.starts[last].fingerprints
        then = journal.sources(last)
        changes = {step: self.sources.summary(step, then) for step in prints} if then is not None else {}
        given = run_inputs(self.store, record.id)
        other = {
            name: f"input '{name}' has another value"
            for name, value in inputs.items()
            if name not in given or not same_value(value, given[name])
        }
        self.reasons = edited(self.graph, prints, self.before, other, changes)
        # What is skipped because something before it failed has not been done.
        self.done = {
            step.id for step in journal.view.steps if step.status in ("completed", "cached") or step.unused == "skipped"
        }
        self.unused = {step.id for step in journal.view.steps if step.unused in ("not taken", "not needed")}

    def shown(self, index: int, helper: bool) -> bool:
        """Whether a step is one that the author wrote."""
        rule = self.graph.places[index].rule
        return not helper and (rule is None or rule.kind == "source")

    def step(self, index: int) -> PlannedStep:
        """Return what a run would do with a step; those before it have been asked for."""
        step = self.graph.steps[index]
        width = self._width(index)
        found: dict[int, Memo | None] = {}
        outermost = self.graph.places[index].block == 0
        if outermost and self._is_off(index):
            return PlannedStep(step.id, step.node.info.name, "skipped", "its condition is false", width)
        if outermost and width is not None and self.program.runner(index).digest and self.looked + width <= MOST:
            self.looked += width
            found = self.cache.known(index, range(width))
        memos = {element: memo for element, memo in found.items() if memo is not None}
        state, why = self._judged(step, width, found, memos)
        if state == "cached":
            self._load(index, memos)
        return PlannedStep(step.id, step.node.info.name, state, why, width, len(memos))

    def _judged(
        self, step: Step, width: int | None, found: Mapping[int, Memo | None], memos: Mapping[int, Memo]
    ) -> tuple[State, str]:
        asks = self.sources.cache.get(step.id)
        if width is not None and len(memos) == width and asks == "":
            runs = sorted({memo.run_id for memo in memos.values()})
            more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
            return "cached", f"run '{runs[0]}'{more} made it" if runs else "it has no tasks"
        if asks:
            return "stale", f"it cannot be compared and runs every time: {asks}"
        if reason := self.reasons.get(step.id):
            root = self._root(step.id)
            return "stale", f"'{root}' before it: {self.reasons.get(root, 'it is new')}" if root != step.id else reason
        if not self.compared:
            return "new", "no earlier run"
        if step.id not in self.before:
            return "new", f"run '{self.compared}' has no such step"
        if asks is not None and (width is None or len(found) < width):
            return "unknown", self._open(step)
        if step.id in self.unused:
            return "unknown", f"run '{self.compared}' did not need it"
        if step.id not in self.done:
            return "new", f"run '{self.compared}' did not complete it"
        if asks is not None:
            return "new", "the store has no value for these arguments"
        return "unchanged", "it runs again, because its node has no cache=True"

    def _root(self, step: str) -> str:
        """Return the edited step because of which another one runs again."""
        seen = {step}
        while (before := reset_by(self.reasons.get(step, ""))) and before not in seen:
            seen.add(before)
            step = before
        return step

    def _open(self, step: Step) -> str:
        """Return which values have to be made before it can be told whether a step is known."""
        if self.looked >= MOST:
            return f"more than {MOST:,} tasks are not looked up"
        used = [name for expr in _exprs(step) for name in steps_of(expr)]
        large = [name for name in used if name in self.large]
        if large:
            return f"the value of '{large[0]}' is too large to be looked at here"
        names = [name for name in dict.fromkeys(used) if self.program.number[name] not in self.values.cells]
        named = ", ".join(f"'{name}'" for name in names[:3] if not self._is_helper(name))
        return f"it depends on the value of {named}" if named else "it depends on values that the run makes"

    def _is_helper(self, name: str) -> bool:
        return self.graph.places[self.program.number[name]].helper

    # -- what is known -----------------------------------------------------------------------------------------------

    def _is_off(self, index: int) -> bool:
        """Whether a step's condition is known to be false."""
        when = self.program.runner(index).when
        try:
            return when is not None and not when(self.values, 0)
        except Exception:  # noqa: BLE001  it uses what is not known, or the task will fail with it
            return False

    def _width(self, index: int) -> int | None:
        """Return how many tasks a step has, or None when that depends on values that are not known."""
        if index not in self.program.fan_outs:
            return 1 if self.graph.places[index].block == 0 else None
        step = self.graph.steps[index]
        if step.kind == "expand":
            # What is known of its width so far is that of its lists that are no values of steps.
            found = [self._length(expr) for expr in step.iterated if any(isinstance(p, _OPEN) for p in walk(expr))]
            lengths = [length for length in found if length is not None]
            return self.widths.get(index, 1) * math.prod(lengths) if len(lengths) == len(found) else None
        if index in self.widths:
            return self.widths[index]
        sources: list[Expr] = list(step.iterated)
        if not step.over:
            sources = [part.source for expr in _exprs(step) for part in walk(expr) if isinstance(part, Element)]
        known = next((length for expr in sources if (length := self._length(expr)) is not None), None)
        if known is not None:
            self.widths[index] = known
        return known

    def _length(self, expr: Expr) -> int | None:
        if not isinstance(expr, StepValue):
            return None
        number = self.program.number[expr.step]
        if number in self.program.fan_outs:
            return self.widths.get(number)
        try:
            return length_of(self.values.cell(number, 0))
        except Exception:  # noqa: BLE001  it is not known, or has no length
            return None

    def _load(self, index: int, memos: Mapping[int, Memo]) -> None:
        """Load the values of a known step that others are made from, where they are small."""
        name = self.graph.steps[index].id
        if not any(name in steps_of(expr) for step in self.graph.steps for expr in _exprs(step)):
            return
        cells: dict[int, Any] = {}
        packs: dict[tuple[str, str], list[Any]] = {}
        for element, memo in memos.items():
            key = (memo.run_id, memo.pack)
            if key not in packs:
                packs[key] = self.store.load(memo.run_id, [memo.pack]).get(memo.pack, [])
                self.room -= sum(map(len, packs[key]))
            if self.room < 0:
                self.large.add(name)
                return
            try:
                cells[element] = self.codec.decode_pack(packs[key], memo.offset, memo.offset + 1)[0]
            except Exception:  # noqa: BLE001  gone, damaged, or of a class that this process does not have
                return
        self.values.cells[index] = cells


def _exprs(step: Step) -> list[Expr]:
    return [*step.args, *(expr for _, expr in step.kwargs), *([] if step.when is None else [step.when])]
