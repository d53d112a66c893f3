"""Pictures of more than one run: the list of runs, live; a workflow before it runs. Imports what is below session."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from wfnb.engine.facts import RunView
from wfnb.engine.folds import RunFold
from wfnb.engine.lower import lower
from wfnb.engine.plan import shape_of
from wfnb.explain import run_inputs
from wfnb.model.errors import DefinitionError, StoreError, WfnbError
from wfnb.planned import plan_of
from wfnb.run import Run
from wfnb.store.base import RunRecord, Store
from wfnb.views.html import workflow_html
from wfnb.views.live import Bundle, headless, place, show_bundle
from wfnb.views.snapshot import FORMAT, MIME, Marks, built, document
from wfnb.views.table import runs_table, runs_text
from wfnb.views.text import workflow_text
from wfnb.views.words import error_line
from wfnb.watching import RunSource

if TYPE_CHECKING:
    from wfnb.authoring.workflow import Workflow
    from wfnb.views.widget import RunsWidget

PAUSE = 1.0
"""Seconds between two looks at the list of runs."""
MOST = 1_000
"""So many runs are in a picture of a list at most, the newest."""


class RunList(list[Run]):
    """Runs, newest first; in a notebook a table that follows them.

    Args:
        runs: the runs.
        again: finds them again, and new ones; None for a list that stays as it is.
        over: when the records of those that are over were last changed, by id.
    """

    def __init__(
        self,
        runs: Iterable[Run] = (),
        again: Callable[[], RunList] | None = None,
        over: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(runs)
        self._again = again
        self.over = over or {}

    def _repr_html_(self) -> str:
        return runs_table([run.snapshot() for run in self[:MOST]], len(self[MOST:]))

    def _ipython_display_(self) -> None:
        if place() == "notebook" and self._again is not None:
            LiveTable(self._again, self).start()
        else:
            show_bundle({"text/html": self._repr_html_(), "text/plain": repr(self)})

    def __repr__(self) -> str:
        return runs_text([run.snapshot() for run in self[:MOST]], len(self[MOST:]))


class LiveTable:
    """A table of runs that is kept up to date as long as somebody looks, and shows the run that is chosen below.

    Args:
        find: finds the runs.
        first: those to begin with.
    """

    def __init__(self, find: Callable[[], RunList], first: RunList) -> None:
        self._find = find
        self._runs: list[Run] = first[:MOST]
        self._over = first.over
        self._more = len(first[MOST:])
        # The rows of runs that are over, with when their records were last changed: they stay as they are.
        self._rows: dict[str, tuple[float, dict[str, Any]]] = {}
        self._wake = threading.Event()

    def start(self) -> LiveTable:
        """Show the table and begin to follow; return itself."""
        views = [run.snapshot() for run in self._runs]
        text = runs_text(views, self._more)
        bundle: Bundle = {"text/html": runs_table(views, self._more), "text/plain": text}
        rows = [self._row(run, view) for run, view in zip(self._runs, views, strict=True)]
        widget = self._new_widget()
        if widget is not None:
            widget.rows = _encoded(rows)
            bundle[MIME] = {"format": FORMAT, "view": "runs", "key": widget.key, "rows": rows, "text": text}
        show_bundle(bundle)
        if widget is not None:
            threading.Thread(target=self._follow, args=(widget,), name="wfnb-live-runs", daemon=True).start()
        return self

    def _new_widget(self) -> RunsWidget | None:
        if not built() or headless():
            return None
        try:
            from wfnb.views.widget import RunsWidget
        except ImportError:  # anywidget cannot be loaded: the table stands still
            return None
        return RunsWidget(self._source, self._wake.set)

    def _source(self, run_id: str) -> RunSource:
        for run in self._runs:
            if run.id == run_id:
                return RunSource(run)
        raise LookupError(f"run '{run_id}' is not in the table any more")

    def _follow(self, widget: RunsWidget) -> None:
        pause = PAUSE
        while True:
            if self._wake.wait(pause):
                self._wake.clear()
            if not widget.is_open:
                pause = PAUSE
                continue
            began = time.monotonic()
            try:
                self._look(widget)
            except StoreError:
                pause = 10 * PAUSE
                continue
            except Exception:  # noqa: BLE001  the page is gone, or the kernel is ending
                return
            quick = widget.chosen is not None and not widget.chosen.view().over
            pause = max(0.1 if quick else PAUSE, 9 * (time.monotonic() - began))

    def _look(self, widget: RunsWidget) -> None:
        known = {run.id: run for run in self._runs}
        found = self._find()
        self._runs, self._over = [known.get(run.id, run) for run in found[:MOST]], found.over
        self._rows = {run.id: row for run in self._runs if (row := self._rows.get(run.id))}
        widget.rows = _encoded([self._row(run) for run in self._runs])
        if widget.chosen is not None:
            widget.show(widget.chosen.view())

    def _row(self, run: Run, view: RunView | None = None) -> dict[str, Any]:
        """Return a run as a row; it is not looked at again while it is over."""
        changed = self._over.get(run.id)
        known = self._rows.get(run.id)
        if known is not None and known[0] == changed:
            return known[1]
        view = view or run.snapshot()
        row = _row(run, view)
        if changed is not None and not view.away:
            self._rows[run.id] = changed, row
        return row


def _row(run: Run, view: RunView) -> dict[str, Any]:
    return {
        "id": view.run_id,
        "workflow": view.workflow,
        "status": view.status,
        "created": view.created,
        "elapsed": view.elapsed,
        "done": view.done,
        "total": view.total,
        "tags": list(run.tags),
        "error": error_line(view.error),
    }


def _encoded(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, ensure_ascii=False).encode()


# -- a workflow --------------------------------------------------------------------------------------------------------


def workflow_bundle(workflow: Workflow[..., Any], store: Callable[[], Store]) -> Bundle:
    """Return the picture of a workflow before it runs: its DAG, and what a run would do with each step.

    Args:
        workflow: the workflow.
        store: where its runs are; asked only when the workflow can be drawn.
    """
    try:
        graph = lower(workflow.graph)
    except DefinitionError as error:
        return {"text/plain": f"{workflow!r}\n{error}"}
    shape = json.loads(shape_of(graph))
    view = RunFold(shape).view(time.time(), workflow=workflow.name)
    marks, compared = _marks(workflow, view, store)
    return {
        # Without a state: nothing has begun, and marks take the place of statuses.
        MIME: {**document(view, marks=marks), "state": "", "view": "workflow"},
        "text/html": workflow_html(view, marks, compared),
        "text/plain": workflow_text(view, marks, repr(workflow)),
    }


def _marks(workflow: Workflow[..., Any], view: RunView, store: Callable[[], Store]) -> tuple[Marks, str]:
    """Return what a run would do with each step, with the inputs of the newest run or else the defaults."""
    try:
        place = store()
        newest = next(iter(place.find(workflow=workflow.name, limit=1)), None)
        if newest is None:
            steps = [one for one in view.steps if not (one.construct or one.helper)]
            return {one.id: ("new", "no earlier run") for one in steps}, ""
        inputs = _inputs(workflow, place, newest)
        if inputs is None:
            return {}, ""
        plan = plan_of(lower(workflow.graph), inputs, place)
    except WfnbError:  # a picture without marks is better than none
        return {}, ""
    return {step.id: (step.state, step.why) for step in plan.steps}, plan.compared


def _inputs(workflow: Workflow[..., Any], store: Store, newest: RunRecord | None) -> dict[str, Any] | None:
    """Return inputs to go by: those of the newest run as far as they fit, and defaults; None where one is missing."""
    given = run_inputs(store, newest.id) if newest is not None else {}
    found = {spec.name: given[spec.name] for spec in workflow.inputs if spec.name in given}
    if any(spec.required and spec.name not in found for spec in workflow.inputs):
        return None
    return workflow.bind((), found)
