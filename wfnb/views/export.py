"""A run in formats of other tools: Mermaid for Markdown, Chrome's trace format for Perfetto and speedscope. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from wfnb.engine.facts import RunView, StepView
from wfnb.views.words import GLYPHS, arm_of, listed, state_of, word_of

_COLOURS = {
    "running": "#0A42EA", "completed": "#133930", "cached": "#0C9CE4", "retrying": "#E4770A", "failed": "#B34200",
    "cancelled": "#500D64", "pending": "#8D9199", "skipped": "#8D9199",
}  # fmt: skip


def mermaid(view: RunView) -> str:
    """Return the DAG of a run as a Mermaid flowchart: a subgraph for each construct, its state beside each step.

    Args:
        view: the run; helpers of the engine are left out.
    """
    shown = {step.id: step for _, _, step in listed(view.steps)}
    names = {name: f"s{number}" for number, name in enumerate(shown)}
    inside: dict[str, list[StepView]] = {}
    for step in shown.values():
        group = step.group
        while group and group not in shown:
            group = group.rpartition("/")[0]
        inside.setdefault(group if group != step.id else "", []).append(step)
    lines = ["flowchart LR"]
    lines += _level("", inside, names, shown, "  ")
    drawn = set()
    for step in shown.values():
        for used in _shown_uses(step, view, shown):
            # A step and what is around it have no arrow between them.
            if not (step.id.startswith(used) and step.group == used) and (used, step.id) not in drawn:
                drawn.add((used, step.id))
                lines.append(f"  {names[used]} --> {names[step.id]}")
    for status, colour in _COLOURS.items():
        members = [names[step.id] for step in shown.values() if step.status == status]
        if members:
            dash = ",stroke-dasharray:4 3" if status in ("pending", "skipped") else ""
            lines += [f"  classDef {status} stroke:{colour},stroke-width:2px{dash}"]
            lines += [f"  class {','.join(members)} {status}"]
    return "\n".join(lines) + "\n"


def _level(
    group: str, inside: Mapping[str, list[StepView]], names: Mapping[str, str], shown: Mapping[str, StepView], pad: str
) -> list[str]:
    lines = []
    for step in inside.get(group, ()):
        if step.id in inside:
            title = f"{GLYPHS.get(step.status, '')} {_short(step, shown)} · {word_of(step)}"
            lines.append(f'{pad}subgraph {names[step.id]}["{_escaped(title)}"]')
            lines += _level(step.id, inside, names, shown, pad + "  ")
            lines.append(f"{pad}end")
        else:
            text = f"{GLYPHS.get(step.status, '')} {_short(step, shown)}<br/>{_escaped(state_of(step))}"
            open_, close = ("[[", "]]") if step.many else ("[", "]")
            lines.append(f'{pad}{names[step.id]}{open_}"{text}"{close}')
    return lines


def _short(step: StepView, shown: Mapping[str, StepView]) -> str:
    rest = step.id[len(step.group) :] if step.group and step.id.startswith(step.group) else step.id
    name = rest.rpartition("/")[2].lstrip(".") or step.id
    arm = arm_of(shown.get(step.group), step.arm) if step.arm not in ("", "[]", "*") else ""
    return _escaped(f"{arm}: {name}" if arm else name)


def _shown_uses(step: StepView, view: RunView, shown: Mapping[str, StepView]) -> list[str]:
    """Return the steps it uses, through those that are not shown."""
    known = {one.id: one for one in view.steps}
    found, seen, todo = [], {step.id}, [*step.uses, *step.after]
    while todo:
        name = todo.pop(0)
        if name in seen or name not in known:
            continue
        seen.add(name)
        if name in shown:
            found.append(name)
        else:
            todo += known[name].uses
    return found


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "#quot;").replace("<", "&lt;").replace(">", "&gt;")


def chrome_trace(rows: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return a trace in the JSON form of Chrome's trace events.

    Every worker is a process; what ran there at the same time is in threads beside each other. Times are microseconds.

    Args:
        rows: the columns of `RunFold.trace_rows`.

    Source: "Trace Event Format", the Chromium project; complete events (``ph: X``) and metadata (``ph: M``).
    """
    count = len(rows["address"])
    order = sorted(range(count), key=lambda at: (rows["start"][at], rows["end"][at] or 0.0))
    first = min((rows["start"][at] for at in order), default=0.0)
    last = max((rows["end"][at] or rows["start"][at] for at in order), default=0.0)
    workers: dict[str, int] = {}
    free: dict[str, list[tuple[float, int]]] = {}
    lanes: dict[str, int] = {}
    events: list[dict[str, Any]] = []
    for at in order:
        worker = rows["worker"][at] or "no worker"
        start, end = rows["start"][at], rows["end"][at] if rows["end"][at] is not None else last
        pid = workers.setdefault(worker, len(workers) + 1)
        waiting = free.setdefault(worker, [])
        if waiting and waiting[0][0] <= start:
            _, lane = heapq.heappop(waiting)
        else:
            lane = lanes[worker] = lanes.get(worker, 0) + 1
        heapq.heappush(waiting, (end, lane))
        events.append(
            {
                "name": rows["address"][at],
                "cat": rows["node"][at],
                "ph": "X",
                "ts": round((start - first) * 1e6, 3),
                "dur": round(max(0.0, end - start) * 1e6, 3),
                "pid": pid,
                "tid": lane,
                "args": {"status": rows["status"][at], "attempt": rows["attempt"][at]},
            }
        )
    about = [
        {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": f"worker {worker}"}}
        for worker, pid in workers.items()
    ]
    return {"traceEvents": about + events, "displayTimeUnit": "ms", "otherData": {"start": first}}
