"""The words and figures every view uses for the same facts: glyphs, durations, progress. Imports facts and model."""

from __future__ import annotations

from collections.abc import Sequence

from wfnb.engine.facts import Counts, RunView, StepView, TaskError
from wfnb.model.events import ErrorRecord

GLYPHS = {
    "pending": "○",
    "queued": "○",
    "running": "▶",
    "paused": "‖",
    "retrying": "↻",
    "completed": "✓",
    "cached": "≡",
    "failed": "✗",
    "skipped": "»",
    "cancelled": "⊘",
    "interrupted": "!",
}
"""A sign for each status of a run or task; colours never stand alone."""

ORDER = ("completed", "cached", "running", "retrying", "failed", "skipped", "cancelled", "pending")
"""Task statuses in the order a bar stacks them."""

MARKS = {"new": "+", "stale": "↻", "cached": "≡", "unchanged": "=", "unknown": "?", "skipped": "»"}
"""A sign for what a run would do with a step."""


def seconds(value: float) -> str:
    """Return a duration for people: ``30 µs``, ``4 ms``, ``0.42 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if value <= 0:
        return "0 s"
    if value < 0.000095:
        return f"{max(1, round(value * 1e6))} µs"
    if value < 0.0095:
        return f"{value * 1000:.1f} ms" if value < 0.00095 else f"{value * 1000:.0f} ms"
    if value < 9.95 and not float(value).is_integer():
        return f"{value:.2f} s" if value < 0.995 else f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(nbytes: int) -> str:
    """Return a number of bytes for people: ``12 bytes``, ``3.4 kB``, ``120 MB``."""
    if nbytes < 1000:
        return "1 byte" if nbytes == 1 else f"{nbytes} bytes"
    for power, unit in enumerate(("kB", "MB", "GB"), 1):
        value = nbytes / 1000**power
        if value < 999.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{nbytes / 1e12:,.1f} TB"


def clock(view: RunView) -> str:
    """Return how long a run took, or has taken so far: in whole seconds, so that a picture changes when it must."""
    elapsed = view.elapsed
    if elapsed is None or (elapsed < 1 and not view.over):
        return ""
    return seconds(elapsed if view.over else int(elapsed))


def rate(value: float) -> str:
    """Return tasks a second for people: ``1,240 tasks/s``, ``3.5 tasks/s``, ``12 tasks/min``."""
    if value >= 10:
        return f"{value:,.0f} tasks/s"
    return f"{value:.1f} tasks/s" if value >= 0.5 else f"{value * 60:.1f} tasks/min"


def tally(counts: Counts, width: int | None) -> str:
    """Return how far a fan-out is: ``37/100 · 2 failed``."""
    parts = [f"{counts.done:,}/{width:,}" if width is not None else f"{counts.done:,} so far"]
    for name in ("failed", "retrying", "skipped", "cancelled", "cached"):
        number = getattr(counts, name)
        if number:
            parts.append("all cached" if name == "cached" and number == width else f"{number:,} {name}")
    return " · ".join(parts)


WORDS = {"sequential": "in order", "workflow": ""}
"""What a construct is called in pictures, where that is not its kind."""


def word_of(step: StepView) -> str:
    """Return what a construct is, with how often it turned: ``loop ×5``, ``each ×100``, ``try``."""
    word = WORDS.get(step.kind, step.kind)
    return f"{word} ×{step.times:,}" if step.times is not None else word


def arm_of(construct: StepView | None, arm: str) -> str:
    """Return what one of a construct's bodies is called: what it is for where that is known, else ``case 2``."""
    known = dict(construct.labels).get(arm) if construct is not None else None
    name, _, number = arm.partition("_")
    if known is not None:
        return known if name in ("case", "default") else f"{name} {known}"
    if name == "case":
        return f"case {int(number or 0) + 1}"
    return f"{name} {int(number) + 1}" if number else name


def state_of(step: StepView) -> str:
    """Return a step's state in a few words: ``completed 0.42 s``, ``37/100 · 2 failed``, ``running 40%``."""
    if step.unused:
        return step.unused
    if step.construct:
        parts = [word_of(step)] if word_of(step) else []
        parts += [f"{arm_of(step, arm)} taken" for arm in step.taken if step.kind == "switch"]
        parts += [f"{arm_of(step, arm)}" for arm in step.taken if arm.startswith("catch")]
        parts.append(tally(step.counts, step.width) if step.counts.total else step.status)
        return " · ".join(parts)
    if step.fan_out or (step.many and (step.width is None or step.width != 1)):
        if not step.width and step.width is not None:
            return "empty" if step.status == "completed" else step.status
        return "pending" if step.width is None and not step.counts.total else tally(step.counts, step.width)
    if step.status == "running" and step.progress is not None:
        return f"running {step.progress:.0%}"
    if step.status == "completed" and step.mean is not None:
        return f"completed {seconds(step.mean)}"
    if step.attempts > 1 and step.status == "failed":
        return f"failed · {step.attempts} attempts"
    return step.status


def listed(steps: Sequence[StepView]) -> list[tuple[int, str, StepView]]:
    """Return the steps of a list: how deep each is inside of constructs, what it is called there, and itself.

    A step's name is its path without that of the construct around it, with the body it is in: ``case/parse``. What
    the engine put there is left out, unless it failed.
    """
    depths: dict[str, int] = {}
    rows = []
    for step in steps:
        if step.helper and step.status != "failed":
            continue
        depth = depths.get(step.group, -1) + 1
        if step.construct:
            depths[step.id] = depth
        name = step.id
        if depth and step.id.startswith(step.group):
            rest = step.id[len(step.group) :]
            name = rest.removeprefix("[]").removeprefix(".*").lstrip("./") or step.id
        rows.append((depth, name, step))
    return rows


def facts_of(view: RunView) -> list[str]:
    """Return a run's figures, most wanted first: tasks, failures, running, rate, time left, workers."""
    counts = view.counts
    tasks = "task" if (view.total if view.total is not None else counts.done) == 1 else "tasks"
    known = f" of {view.total:,}" if view.total is not None else ""
    facts = [f"{counts.done:,}{known} {tasks}{'' if known or view.over else ' so far'}"]
    facts += [
        f"{getattr(counts, name):,} {name}"
        for name in ("failed", "running", "retrying", "skipped", "cancelled", "cached")
        if getattr(counts, name)
    ]
    if view.status == "running" and view.rate is not None:
        facts.append(rate(view.rate))
    if view.eta is not None and view.status == "running":
        left = seconds(max(1, round(view.eta)))
        facts.append(f"at least {left} left" if view.eta_is_floor else f"about {left} left")
    if view.waiting:
        facts.append(f"waiting: {view.waiting}")
    if view.asked == "cancel":
        facts.append("cancelling")
    if view.status == "paused" and counts.running:
        facts.append("those finish, none starts")
    if view.workers > 1:
        facts.append(f"{view.workers} workers")
    if view.nbytes is not None:
        facts.append(f"{size(view.nbytes)} stored")
    return facts


def whole_of(view: RunView) -> int:
    """Return how many tasks a bar over the run stands for; where more may come, it is not full."""
    if view.total is not None:
        return max(view.total, view.counts.total - view.counts.pending, 1)
    seen = view.counts.total
    return max(1, seen if view.over else seen + 1 + seen // 4)


def run_again(view: RunView) -> str:
    """Return which edited steps the last start ran again, and how many tasks that makes with what uses them, or ""."""
    again = [step for step in view.steps if step.reset]
    if not again:
        return ""
    edited = [f"{step.id} ({step.reset})" for step in again if not step.reset.endswith(" runs again")]
    more = f" and {len(edited) - 5} more" if len(edited) > 5 else ""
    tasks = [step for step in again if not (step.construct or step.helper)]
    behind = " and what uses them" if len(tasks) > len(edited) > 1 else " and what uses it" if len(tasks) > 1 else ""
    count = sum(step.counts.total for step in tasks)
    told = f": {count:,} {'task' if count == 1 else 'tasks'}" if count else ""
    return f"run again: {', '.join(edited[:5])}{more}{behind}{told}"


def not_now(view: RunView) -> str:
    """Return why a picture is not of how the run is now, or ""."""
    return f"not as it is now but as last seen: {view.away}" if view.away else ""


def way_on(view: RunView) -> str:
    """Return what to do next with a run that ended without a value, or ""."""
    if view.status == "failed":
        return "run.retry() runs the failed tasks again, with today's code; finished ones are kept"
    if view.status in ("cancelled", "interrupted"):
        what = repr(view.run_id) if view.run_id else "run_id"
        return f"wf.resume({what}) continues it; finished tasks are kept"
    if view.status == "paused":
        return "run.resume() lets it go on"
    return ""


MESSAGE, TRACEBACK, LINE = 4_000, 20_000, 500
"""Characters shown of an error's message and of its traceback, and of both in a line."""


def clipped(text: str, most: int) -> str:
    """Return a text with its middle left out where it is longer than so many characters."""
    if len(text) <= most:
        return text
    return f"{text[: most * 3 // 4]}\n… {len(text) - most:,} characters are left out …\n{text[len(text) - most // 4 :]}"


def told_error(error: TaskError | ErrorRecord) -> dict[str, str]:
    """Return what pictures show of an error: ``type``, ``message`` and ``traceback``, cut where they are long."""
    return {
        "type": error.type,
        "message": clipped(error.message, MESSAGE),
        "traceback": clipped(error.traceback, TRACEBACK),
    }


def error_line(error: TaskError | None) -> str:
    """Return an error in one line: address, type and message; "" for none."""
    if error is None:
        return ""
    told = ": ".join(part for part in (error.address, error.type, error.message) if part)
    return told if len(told) <= LINE else told[:LINE] + "…"
