"""Tables, JSON and a plot of what was measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import Result
from benchmarks.contestants import BY_NAME, SQLITE
from benchmarks.targets import Figures
from benchmarks.workloads import BY_NAME as WORKLOADS


@dataclass(frozen=True)
class Row:
    """What one contestant showed in one workload, in the workload's unit.

    Args:
        workload, contestant, n, unit, runs: as measured.
        median, low, high: of all runs; None when there are none.
        ratio: how many times as much as wfnb with SQLite, None where that was not measured.
        failed: why there are no figures.
    """

    workload: str
    contestant: str
    n: int
    unit: str
    runs: int
    median: float | None
    low: float | None
    high: float | None
    ratio: float | None
    failed: str


def rows(results: Iterable[Result]) -> list[Row]:
    """Return the figures of results, those of one workload beside wfnb's."""
    found = list(results)
    medians = {
        (one.workload, one.contestant): WORKLOADS[one.workload].figure(statistics.median(one.seconds), one.n)
        for one in found
        if one.seconds and not one.failed
    }
    made = []
    for one in found:
        workload = WORKLOADS[one.workload]
        median = medians.get((one.workload, one.contestant))
        base = medians.get((one.workload, SQLITE))
        made.append(
            Row(
                one.workload, one.contestant, one.n, workload.unit, len(one.seconds), median,
                None if median is None else workload.figure(min(one.seconds), one.n),
                None if median is None else workload.figure(max(one.seconds), one.n),
                median / base if median is not None and base else None, one.failed,
            )
        )  # fmt: skip
    return made


def figures(made: Iterable[Row]) -> Figures:
    """Return a function that looks medians up; it raises KeyError where there is none."""
    known = {(row.workload, row.contestant): row.median for row in made}

    def look_up(workload: str, contestant: str) -> float:
        median = known.get((workload, contestant))
        if median is None:
            raise KeyError(f"{contestant} in {workload}")
        return median

    return look_up


def number(value: float | None) -> str:
    """Return a number with three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def title(name: str, n: int | None = None) -> str:
    """Return a workload's title, with its full size or that of a run."""
    workload = WORKLOADS[name]
    return workload.title.format(n=workload.n if n is None else n)


def heading(workload: str) -> str:
    """Return the line above a workload's rows."""
    return f"\n{title(workload)}  [{workload}, {WORKLOADS[workload].unit}]"


def line(row: Row) -> str:
    """Return a row for the terminal."""
    start = f"  {row.contestant:22}{'' if BY_NAME[row.contestant].keeps else '-':2}{row.n:>9,}"
    if row.failed:
        return f"{start}  failed: {row.failed}"
    spread = f"{number(row.low)} to {number(row.high)}"
    ratio = f"{number(row.ratio)} x" if row.ratio is not None else ""
    return f"{start}{number(row.median):>12}  {spread:24}{ratio:>12}"


LEGEND = "  contestant (- keeps nothing)   n      median  min to max              times wfnb with SQLite"


def target_line(target: Mapping[str, Any]) -> str:
    """Return a promise for the terminal."""
    said = {True: "met", False: "MISSED", None: "-"}[target["met"]]
    value = "" if target["value"] is None else f"{number(target['value'])} {target['unit']}".strip()
    note = f"  ({target['note']})" if target["note"] else ""
    return f"  {said:7}{target['target']:66}{target['promise']:>18}  {value}{note}"


def lacking(names: Iterable[str], workloads: Iterable[str]) -> list[str]:
    """Return who is not in a workload that one would expect it in, and why."""
    wanted = set(workloads)
    return [
        f"{name} is not in {workload}: {why}"
        for name in names
        for workload, why in BY_NAME[name].lacks.items()
        if workload in wanted
    ]


def markdown(where: Mapping[str, Any], made: Sequence[Row], told: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown: a table with a column a workload would be too wide, so a table each."""
    parts = [", ".join(f"{name} {value}" for name, value in where.items())]
    for workload in dict.fromkeys(row.workload for row in made):
        of = [row for row in made if row.workload == workload]
        unit = WORKLOADS[workload].unit
        parts.append(
            f"**{title(workload)}**\n\n| | kept | n | {unit} | min to max | times wfnb, SQLite |\n"
            "| --- | --- | ---: | ---: | ---: | ---: |\n" + "\n".join(map(_markdown_row, of))
        )
    parts.append(
        "| promise | | measured | |\n| --- | --- | ---: | --- |\n"
        + "\n".join(
            f"| {one['target']} | {one['promise']} | {number(one['value'])} "
            f"| {({True: 'met', False: '**missed**', None: 'not measured'})[one['met']]} |"
            for one in told
        )
    )
    return "\n\n".join(parts) + "\n"


def _markdown_row(row: Row) -> str:
    name = f"**{row.contestant}**" if BY_NAME[row.contestant].ours else row.contestant
    kept = "yes" if BY_NAME[row.contestant].keeps else "no"
    if row.failed:
        return f"| {name} | {kept} | {row.n:,} | failed | {row.failed.replace('|', '/')} | |"
    return (
        f"| {name} | {kept} | {row.n:,} | {number(row.median)} | {number(row.low)} to {number(row.high)} "
        f"| {number(row.ratio)} |"
    )


def plot(made: Sequence[Row], path: Path) -> None:
    """Draw a panel for each workload: a dot for each median, a line from the fastest run to the slowest."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    shown = [row for row in made if row.median is not None]
    panels = {name: [row for row in shown if row.workload == name] for name in dict.fromkeys(r.workload for r in shown)}
    across = 2
    bands = [list(panels.items())[i : i + across] for i in range(0, len(panels), across)]
    heights = [max(len(of) for _, of in band) + 2 for band in bands]
    figure, grid = pyplot.subplots(
        len(bands), across, squeeze=False, figsize=(12, 0.27 * sum(heights)), gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )  # fmt: skip
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, of) in zip(grid.flat, panels.items(), strict=False):
        of = sorted(of, key=lambda row: -(row.median or 0))
        for y, row in enumerate(of):
            assert row.median is not None
            entry = BY_NAME[row.contestant]
            colour = "#0a42ea" if entry.ours else "#44474d" if entry.keeps else "#9aa0a8"
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=1.5)
            filled = colour if entry.keeps else "white"
            axes.plot(row.median, y, "o", color=colour, markerfacecolor=filled, markersize=6)
            axes.annotate(number(row.median), (row.high, y), (7, 0), textcoords="offset points", va="center", size=8)
        axes.set_yticks(range(len(of)), [row.contestant for row in of], fontsize=8)
        axes.set_xscale("log")
        low, high = min(row.low for row in of), max(row.high for row in of)
        axes.set_xlim(low / 1.5, high * 1.5 * (high / low) ** 0.15)
        axes.set_ylim(-0.6, len(of) - 0.4)
        axes.set_title(f"{title(name)} ({WORKLOADS[name].unit})", fontsize=9, loc="left")
        axes.tick_params(axis="x", labelsize=7)
        axes.minorticks_off()
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.supxlabel("less is better; blue: wfnb; filled: keeps every step; hollow: keeps nothing", fontsize=9)
    figure.savefig(path)
    pyplot.close(figure)


def write(
    folder: Path,
    where: Mapping[str, Any],
    results: Sequence[Result],
    versions: Mapping[str, Mapping[str, str]],
    told: Sequence[Mapping[str, Any]],
    stem: str = "latest",
) -> list[Path]:
    """Write JSON, Markdown and the plot, and return the files."""
    made = rows(results)
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "where": where,
        "contestants": {
            name: {"keeps": BY_NAME[name].keeps, "versions": versions.get(name, {})}
            for name in dict.fromkeys(one.contestant for one in results)
        },
        "results": [
            vars(row) | {"seconds": one.seconds} for row, one in zip(made, results, strict=True)
        ],
        "targets": list(told),
    }  # fmt: skip
    files = [folder / f"{stem}.{kind}" for kind in ("json", "md", "svg")]
    files[0].write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    files[1].write_text(markdown(where, made, told))
    if any(row.median is not None for row in made):
        plot(made, files[2])
    return [file for file in files if file.exists()]
