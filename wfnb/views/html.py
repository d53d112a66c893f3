"""A run as a cell's output: header, progress, DAG, table, error; no script. Imports engine.facts and views."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import Any

from wfnb.engine.facts import RunView, StepView
from wfnb.views.svg import STYLE, badge, svg
from wfnb.views.text import text, workflow_text
from wfnb.views.words import (
    MARKS,
    MESSAGE,
    ORDER,
    TRACEBACK,
    clipped,
    clock,
    facts_of,
    listed,
    not_now,
    run_again,
    seconds,
    state_of,
    way_on,
    whole_of,
)

ROWS = 100
"""The table of steps has at most so many rows."""

_PAGE = (
    ".wfnb.run{font:13px/1.5 system-ui,sans-serif;color:var(--wf-ink);max-width:1100px;padding:4px 2px}"
    ".wfnb .head{display:flex;align-items:center;gap:8px;flex-wrap:wrap}"
    ".wfnb .head b{font-size:15px}.wfnb .head .end{margin-left:auto}"
    ".wfnb .soft,.wfnb summary{color:var(--wf-soft)}"
    ".wfnb .id{font:12px ui-monospace,monospace;color:var(--wf-soft)}"
    ".wfnb .bar{display:flex;height:8px;margin:6px 0 4px;border-radius:4px;overflow:hidden;background:var(--wf-line)}"
    ".wfnb .bar i{background:var(--c);min-width:2px}"
    ".wfnb .dag{overflow-x:auto;margin:6px 0}.wfnb .dag svg{display:block;max-width:none}"
    ".wfnb summary{cursor:pointer}"
    ".wfnb.run table{border-collapse:collapse;margin:6px 0;font-size:12px;color:inherit}"
    ".wfnb.run td,.wfnb.run th{text-align:left;padding:3px 14px 3px 4px;border:0;"
    "border-bottom:1px solid var(--wf-line);background:none;color:inherit;max-width:none}"
    ".wfnb.run th{font-weight:600;color:var(--wf-soft)}.wfnb.run tbody tr:nth-child(n){background:none}"
    ".wfnb.run td.n,.wfnb.run th.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".wfnb .err{border-left:3px solid var(--wf-failed);padding:4px 12px;margin:8px 0}"
    ".wfnb .err pre{font:12px/1.45 ui-monospace,monospace;color:inherit;background:none;white-space:pre-wrap;"
    "margin:4px 0;max-height:24em;overflow:auto}"
    ".wfnb.run code{font:12px ui-monospace,monospace;color:inherit;background:none;padding:0}"
    # Where a page takes styles and drawings out (a notebook not trusted yet, GitHub), these two rules go with them:
    # then the text shows instead of what is left of the picture.
    ".wfnb.run>pre{display:none}.wfnb.run>.rich{display:block!important}"
)


def mimebundle(view: RunView, kind: str = "run") -> dict[str, str]:
    """Return a run as a notebook shows it: ``text/html`` and ``text/plain``; see `html`."""
    return {"text/html": html(view, kind), "text/plain": text(view)}


def html(view: RunView, kind: str = "run") -> str:
    """Return a run as HTML with its style and nothing from outside.

    Args:
        view: the run.
        kind: "dag" or "progress" for these alone, else all there is.
    """
    part = " part" if kind == "progress" else ""
    parts = [
        f'<div class="wfnb{part} run"><style>{STYLE}{_PAGE}</style><pre>{escape(text(view))}</pre>',
        '<div class="rich" style="display:none">',
        _head(view),
    ]
    if kind != "dag":
        parts += [_progress(view), f'<div class="soft">{escape(" · ".join(facts_of(view)))}</div>']
    if view.away:
        parts.append(f'<div class="soft">{escape(not_now(view))}</div>')
    picture = svg(view) if kind != "progress" else ""
    if picture:
        parts.append(f'<div class="dag">{picture}</div>')
    again = run_again(view)
    if again:
        parts.append(f'<div class="soft">{escape(again)}</div>')
    parts += [_error(view), _table(view) if kind not in ("dag", "progress") else "", "</div></div>"]
    return "".join(parts)


def workflow_html(view: RunView, marks: Mapping[str, tuple[str, str]], compared: str) -> str:
    """Return a workflow that has not run as HTML: its DAG, and what a run would do with each step.

    Args:
        view: the workflow as a run that has not begun.
        marks: what a run would do with each step, and why.
        compared: the run it was compared with, or "".
    """
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{MARKS.get(mark, '')} {escape(mark)}</td><td>{escape(why)}</td></tr>"
        for name, (mark, why) in marks.items()
    )
    table = f"<details><summary>{_marked(marks)}</summary><table><thead><tr><th>step</th><th>a run would</th>"
    table += f"<th>why</th></tr></thead><tbody>{rows}</tbody></table></details>" if rows else ""
    beside = f"compared with {escape(compared)}" if compared else "not run yet"
    return (
        f'<div class="wfnb plan run"><style>{STYLE}{_PAGE}</style><pre>{escape(workflow_text(view, marks, ""))}</pre>'
        f'<div class="rich" style="display:none"><div class="head"><b>{escape(view.workflow)}</b>'
        f'<span class="soft">{beside}</span></div>'
        f'<div class="dag">{svg(view)}</div>{table if rows else ""}</div></div>'
    )


def _marked(marks: Mapping[str, tuple[str, str]]) -> str:
    counts = Counter(mark for mark, _ in marks.values())
    return escape(" · ".join(f"{counts[mark]} {mark}" for mark in MARKS if counts[mark]))


def report(view: RunView, document: dict[str, Any], script: str) -> str:
    """Return a run as one HTML file that is interactive without a network; without its script, a picture.

    Args:
        view: the run.
        document: what the renderer draws; see `wfnb.views.snapshot.document`.
        script: the renderer, or "" where it was not built.
    """
    title = escape(f"{view.workflow} {view.run_id}".strip())
    # Nothing in the data may end the element it stands in.
    data = json.dumps(document, ensure_ascii=False).replace("<", "\\u003c")
    live = (
        f'<script type="application/vnd.wfnb.run+json" id="wfnb-run">{data}</script><script>{script}</script>'
        if script
        else ""
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f'</head><body class="wfnb" style="margin:24px;background:var(--wf-ground)"><div id="wfnb">{html(view)}</div>'
        f"{live}</body></html>"
    )


def _head(view: RunView) -> str:
    again = f" · taken up {view.drivers} times" if view.drivers > 1 else ""
    return (
        f'<div class="head"><svg width="16" height="16" role="img" aria-label="{escape(view.status)}">'
        f"{badge(view.status)}</svg><b>{escape(view.workflow or 'workflow')}</b>"
        f"<span>{escape(view.status)}</span>"
        f'<span class="id">{escape(view.run_id)}</span><span class="soft end">{clock(view)}{again}</span></div>'
    )


def _progress(view: RunView) -> str:
    counts = view.counts
    total = whole_of(view)
    parts = [
        f'<i class="s-{name}" style="width:{100 * getattr(counts, name) / total:.2f}%" '
        f'title="{getattr(counts, name):,} {name}"></i>'
        for name in ORDER[:-1]
        if getattr(counts, name)
    ]
    known = f'aria-valuenow="{view.done}" aria-valuemax="{total}"' if view.total is not None else ""
    return f'<div class="bar" role="progressbar" aria-label="tasks done" {known}>{"".join(parts)}</div>'


def _table(view: RunView) -> str:
    found = listed(view.steps)
    rows = "".join(_row(*row) for row in found[:ROWS])
    more = len(found) - ROWS
    rest = f'<div class="soft">… and {more:,} more steps</div>' if more > 0 else ""
    steps = "1 step" if len(found) == 1 else f"{len(found):,} steps"
    return (
        f"<details><summary>{steps}</summary><table><thead><tr><th>step</th><th>node</th><th>state</th>"
        '<th class="n">a task</th><th class="n">took</th><th class="n">workers</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{rest}</details>"
    )


def _row(depth: int, name: str, step: StepView) -> str:
    mean = seconds(step.mean) if step.mean is not None else ""
    took = seconds(step.ended - step.started) if step.ended is not None and step.started is not None else ""
    plain = not (step.many or step.unused)
    state = step.status if plain else state_of(step)
    attempts = f" · {step.attempts} attempts" if plain and step.attempts > 1 else ""
    inset = f' style="padding-left:{4 + 16 * depth}px"' if depth else ""
    sign = f'<svg width="14" height="14" viewBox="0 0 16 16" style="vertical-align:-2px">{badge(step.status)}</svg>'
    return (
        f'<tr><td{inset} title="{escape(step.id)}">{escape(name)}</td>'
        f"<td>{escape(step.node)}</td><td>{sign} {escape(state)}{attempts}</td>"
        f'<td class="n">{mean}</td><td class="n">{took}</td><td class="n">{step.workers or ""}</td></tr>'
    )


def _error(view: RunView) -> str:
    error, on = view.error, way_on(view)
    if error is None:
        return f'<div class="soft">{_code(on)}</div>' if on else ""
    head = f"<b>{escape(error.address)}</b> " if error.address else ""
    kind = f"{escape(error.type)}: " if error.type else ""
    told = escape(clipped(error.traceback.rstrip(), TRACEBACK))
    trace = f"<details><summary>traceback</summary><pre>{told}</pre></details>" if told else ""
    cure = f'<div class="soft">{_code(on)}</div>' if on else ""
    return f'<div class="err">{head}<code>{kind}{escape(clipped(error.message, MESSAGE))}</code>{trace}{cure}</div>'


def _code(on: str) -> str:
    """Return a way on with its first words, a call, set as code."""
    call, sign, rest = on.partition(") ")
    return f"<code>{escape(call + ')')}</code> {escape(rest)}" if sign else escape(on)
