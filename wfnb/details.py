"""What a picture shows of one task when it is opened: attempts, values, code, logs. Imports what is below run.

Nothing big is loaded: a value over `ROOM` bytes is told by the preview that was stored with it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wfnb.authoring.prints import node_prints, step_arguments
from wfnb.authoring.sources import Sources, sources_of
from wfnb.authoring.workflow import LATEST
from wfnb.dask.given import UNKNOWN
from wfnb.debugging import Case
from wfnb.engine.facts import AttemptView, TaskView
from wfnb.engine.lower import lower
from wfnb.model.errors import StoreError
from wfnb.model.expr import Const, Expr, steps_of
from wfnb.model.graph import Step
from wfnb.model.preview import Preview, preview
from wfnb.prepared import load_sources
from wfnb.store.codec import MISSING, Codec
from wfnb.store.keys import secret_key
from wfnb.store.shared import load_packs, previews_key
from wfnb.views.words import told_error

if TYPE_CHECKING:
    from wfnb.run import Run

MANY = 50
"""A value made from more than so many others is not put together to be shown."""
LOGS = 200
"""So many of a task's newest log rows come with its details."""


def details(run: Run, address: str) -> dict[str, Any]:
    """Return what is known of a task, ready for JSON; what cannot be told of it is left out.

    Args:
        run: its run.
        address: its address.

    Raises:
        KeyError: the run has no such task, or not yet.
    """
    view = run._task(address)
    code, diff = _code(run, view)
    return {
        "address": address,
        "node": view.node,
        "status": view.status,
        "where": view.where,
        "attempts": [_attempt(one) for one in view.attempts],
        "inputs": _inputs(run, view),
        "output": _output(run, view),
        "code": code,
        "diff": diff,
        "why": run.explain(address).reason,
        "resources": _resources(run, view),
        "logs": [[row.address, row.attempt, row.time, row.stream, row.text] for row in run.logs(address)[-LOGS:]],
    }


def _attempt(one: AttemptView) -> dict[str, Any]:
    error = one.error
    return {
        "attempt": one.attempt,
        "status": one.status,
        "worker": one.worker,
        "start": one.start,
        "end": one.end,
        "stopped": one.stopped,
        "error": error and told_error(error),
    }


# -- values ------------------------------------------------------------------------------------------------------------


def _output(run: Run, view: TaskView) -> Preview | None:
    if view.without:
        return preview(None)
    if not view.pack:
        return None
    return _kept(run, view.pack, view.offset)


def _kept(run: Run, pack: str, offset: int) -> Preview:
    """Return the preview of a value in the store."""
    try:
        told = _told(run, pack, offset)
        if told is not None:
            return told
        frames = load_packs(run.store, run.id, [pack]).get(pack)
        values = Codec(secret_key()).decode_pack(frames, offset, offset + 1) if frames is not None else [MISSING]
    except (StoreError, ValueError) as error:
        return _words(str(error))
    return _words("its value was not kept") if values[0] is MISSING else {**preview(values[0]), "tier": "store"}


def _told(run: Run, pack: str, offset: int) -> Preview | None:
    """Return the preview that was stored with a big value, or None when it is a small one."""
    key = previews_key(pack)
    frames = load_packs(run.store, run.id, [key]).get(key)
    known: dict[str, Preview] = json.loads(b"".join(frames)) if frames is not None else {}
    return {**known[str(offset)], "tier": "store"} if str(offset) in known else None


def _words(text: str) -> Preview:
    return {"type": "", "text": text}


def _inputs(run: Run, view: TaskView) -> list[tuple[str, Preview]]:
    """Return previews of what a task is given, by parameter."""
    try:
        case = run._case(view)
        step = case.written
        if step is None:
            return []
        args = [_argument(run, case, step, at, expr) for at, expr in enumerate(step.args)]
        # Arguments without a name are there for the engine.
        kwargs = {name: _argument(run, case, step, name, expr) for name, expr in step.kwargs if name}
        given = step.node.ports.by_name(args, kwargs)
    except (StoreError, LookupError, TypeError) as error:
        return [("", _words(f"cannot be shown: {error}"))]
    return [(name, value if isinstance(value, _Given) else preview(value)) for name, value in given.items()]


class _Given(dict[str, Any]):
    """The preview of an argument, to be told from a parameter's default."""


def _argument(run: Run, case: Case, step: Step, name: int | str, expr: Expr) -> _Given:
    if isinstance(expr, Const):
        return _Given(preview(expr.value))
    places = case.given.places(step, name, expr)
    if len(places) > MANY:
        return _Given(_words(f"made from {len(places):,} values of {_named(expr)}"))
    told = [found for pack, offset in places if pack and (found := _told(run, pack, offset)) is not None]
    if told and len(places) == 1:
        return _Given(told[0])
    if told:
        return _Given(_words(f"made from {len(places):,} values of {_named(expr)}, of which {len(told):,} are big"))
    value = case.given.argument(step, name, expr)
    return _Given(_words("given by its construct") if value is UNKNOWN else preview(value))


def _named(expr: Expr) -> str:
    return ", ".join(f"'{step}'" for step in sorted(set(steps_of(expr))))


# -- code --------------------------------------------------------------------------------------------------------------


def _code(run: Run, view: TaskView) -> tuple[str, str]:
    """Return the source a task ran with, and what has changed in this process since, in unified form."""
    sources = load_sources(run.store, run.id, run.code)
    if sources is None or view.template not in sources.steps:
        return "", ""
    texts = sources.texts[sources.steps[view.template][0]]
    code = next((text for label, text in texts.items() if label.startswith(("function ", "class "))), "")
    return code, _since(run, view.template, sources)


def _since(run: Run, step: str, then: Sources) -> str:
    workflow = LATEST.get(run.workflow)
    if workflow is None:
        return ""
    try:
        graph = lower(workflow.graph)
    except Exception:  # noqa: BLE001  writing a workflow down runs its author's code, which may be half edited
        return ""
    changes = sources_of(graph, node_prints(graph), step_arguments(graph)).changes(step, then)
    return "\n".join(change.diff or change.text for change in changes)


def _resources(run: Run, view: TaskView) -> dict[str, Any]:
    try:
        step = run._case(view).written
    except (StoreError, LookupError):
        return {}
    return dict(step.node.policy.resources) if step is not None else {}
