"""Promises of the list of runs: the same facts in a cell and as text, a line a run."""

from __future__ import annotations

from wfnb.engine.facts import Counts, RunView
from wfnb.views.table import runs_table, runs_text

VIEWS = [
    RunView("flow-1", "flow", "completed", started=1.0, ended=3.5, counts=Counts(completed=1200), total=1200),
    RunView("<b>", "flow & co", "queued", counts=Counts(), total=None),
]


def test_a_list_of_runs_as_text_has_a_line_a_run_below_its_heads() -> None:
    head, first, second = runs_text(VIEWS).splitlines()
    assert head.split() == ["run", "workflow", "status", "done", "started", "time"]
    assert first.startswith("flow-1")
    assert "1,200/1,200" in first
    assert first.endswith("2.5 s")
    assert "0/?" in second


def test_names_in_the_table_are_text_and_never_markup() -> None:
    table = runs_table(VIEWS)
    assert "<b>" not in table
    assert "&lt;b&gt;" in table
    assert "flow &amp; co" in table


def test_an_empty_list_of_runs_is_its_heads_alone() -> None:
    assert len(runs_text([]).splitlines()) == 1
