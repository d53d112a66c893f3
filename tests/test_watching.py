"""Promises of the pictures a run gives: views, files, and what a widget may ask."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

import wfnb as wf
from tests.cells import alone
from tests.views.wire import spans
from wfnb.run import Run
from wfnb.views.snapshot import MIME, Names, built
from wfnb.watching import RunSource

pytestmark = pytest.mark.timeout(60)


@wf.node
def load(n: int) -> list[int]:
    return list(range(n))


@wf.node
def work(x: int) -> int:
    print("working", x)
    return x * x


@wf.node
def refuse(xs: list[int], ctx: wf.Context) -> int:
    raise ValueError("<script>alert(1)</script> is not welcome")


@wf.node
def slow(x: int) -> int:
    time.sleep(0.05)
    return x


@wf.workflow
def flow(n: int) -> list[int]:
    return work.map(load(n))


@wf.workflow
def bad(n: int) -> int:
    return refuse(work.map(load(n)))


@wf.workflow
def long(n: int) -> list[int]:
    return slow.map(load(n))


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return alone(monkeypatch, tmp_path)


@pytest.fixture
def run() -> Run:
    made = flow.submit(5)
    made.result(20)
    return wf.get_run(made.id)


@pytest.mark.parametrize("kind", ["run", "dag", "progress", "timeline"])
def test_every_view_is_text_html_and_a_document(run: Run, kind: str) -> None:
    shown = run.view(kind)  # type: ignore[arg-type]
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {MIME, "text/html", "text/plain"}
    assert bundle[MIME]["view"] == kind
    assert run.id in bundle["text/html"]
    assert run.id in repr(shown)


def test_views_have_names_of_their_own(run: Run) -> None:
    assert [run.dag.kind, run.progress.kind, run.timeline.kind, run.view().kind] == [
        "dag", "progress", "timeline", "run",
    ]  # fmt: skip
    assert "<svg" in run.dag._repr_mimebundle_()["text/html"]
    assert 'class="dag"' not in run.progress._repr_mimebundle_()["text/html"]


def test_a_view_that_is_none_names_those_there_are(run: Run) -> None:
    with pytest.raises(wf.ConfigurationError, match=r"no view 'timelime'.*'timeline'"):
        run.view("timelime")  # type: ignore[arg-type]


def test_a_document_of_a_failed_run_has_the_details_of_what_failed() -> None:
    failed = bad.submit(3)
    with pytest.raises(wf.StepFailed):
        failed.result(20)
    details = failed._repr_mimebundle_()[MIME]["details"]
    assert details["refuse"]["attempts"][0]["error"]["type"] == "ValueError"


@pytest.mark.skipif(not built(), reason="the renderer is not built: `make ui`")
def test_a_report_is_one_file_whose_data_cannot_break_out(tmp_path: Path) -> None:
    failed = bad.submit(3)
    with pytest.raises(wf.StepFailed):
        failed.result(20)
    page = failed.to_html(tmp_path / "report.html").read_text("utf-8")
    data = re.search(r'<script type="application/vnd.wfnb.run\+json" id="wfnb-run">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    document = json.loads(data[1])
    assert document["details"]["refuse"]["status"] == "failed"
    assert page.count("<script") == page.count("</script>") == 2
    assert not re.search(r'(?:src|href)="', page)


def test_a_dag_is_written_as_svg_and_mermaid(run: Run, tmp_path: Path) -> None:
    assert run.to_svg(tmp_path / "dag.svg") == (tmp_path / "dag.svg").read_text("utf-8")
    assert run.to_svg().startswith("<svg xmlns=")
    assert "s0 --> s1" in run.to_mermaid(tmp_path / "dag.mmd")
    assert (tmp_path / "dag.mmd").read_text("utf-8") == run.to_mermaid()


def test_a_trace_is_exported_with_every_attempt(run: Run, tmp_path: Path) -> None:
    made = json.loads(run.export_trace(tmp_path / "trace.json").read_text("utf-8"))
    names = [event["name"] for event in made["traceEvents"] if event["ph"] == "X"]
    assert sorted(names) == ["load", *(f"work[{n}]" for n in range(5))]


def test_a_widget_may_ask_for_spans_cells_details_and_logs(run: Run) -> None:
    source = RunSource(run)
    assert source.view().status == "completed"
    head, rows = spans(source.spans(Names(), 100))
    assert head["n"] == len(rows) == 6
    assert source.cells(1) == ("work", bytes([3] * 5))
    assert source.details("work[2]")["output"]["text"] == "4"
    assert len(source.logs(None)) == 5
    assert [row.text for row in source.logs("work[3]")] == ["working 3\n"]


def test_a_widget_steers_its_run() -> None:
    going = long.submit(200)
    source = RunSource(going)
    source.command("pause")
    assert going.status == "paused"
    source.command("resume")
    source.command("cancel")
    with pytest.raises(wf.RunCancelled):
        going.result(20)
