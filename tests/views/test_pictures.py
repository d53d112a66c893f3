"""Promises of SVG, HTML and text: well formed, self-contained, safe, small, and saying the same facts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.views.samples import T, failed, fan_out, half_way, run, step
from wfnb.engine.facts import TaskError
from wfnb.views.html import html, mimebundle, report
from wfnb.views.svg import svg
from wfnb.views.text import line, text
from wfnb.views.words import seconds

SVG = "{http://www.w3.org/2000/svg}"


def test_a_picture_names_every_step_and_its_state() -> None:
    root = ElementTree.fromstring(svg(half_way()))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == ["load", "completed 0.42 s", "train", "37/100 · 2 failed", "best", "pending"]


def test_a_picture_tells_its_story_to_a_screen_reader() -> None:
    root = ElementTree.fromstring(svg(half_way()))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "flow: 3 steps, running, 38 tasks done"
    assert [title.text.split("\n")[0] for title in root.iter(f"{SVG}title") if title.text] == [
        "load: completed",
        "train: 37/100 · 2 failed",
        "best: pending",
    ]


def test_a_group_is_a_frame_with_a_name() -> None:
    root = ElementTree.fromstring(svg(run(step("a"), step("clean/b", "a", group="clean"))))
    assert "clean" in [element.findtext(f"{SVG}title") for element in root.iter(f"{SVG}text")]
    assert [rect.get("class") for rect in root.iter(f"{SVG}rect")].count("f") == 1


def test_every_status_has_a_sign_of_its_own() -> None:
    statuses = ("running", "completed", "cached", "retrying", "failed", "skipped", "cancelled")
    signs = set()
    for status in statuses:
        root = ElementTree.fromstring(svg(run(step("a", status=status))))
        signs.update(path.get("d") for path in root.iter(f"{SVG}path"))
    assert len(signs) == len(statuses)


def test_no_text_is_smaller_than_eleven_pixels() -> None:
    sizes = [float(size) for size in re.findall(r"(?:font-size:|font:[^;}]*?)(\d+(?:\.\d+)?)px", html(half_way()))]
    assert sizes
    assert min(sizes) >= 11


def test_a_workflow_without_steps_has_no_picture() -> None:
    assert svg(run()) == ""
    assert "flow" in html(run())


@pytest.mark.parametrize("count", [1000, 5000])
def test_a_picture_of_thousands_of_steps_stays_small(count: int) -> None:
    steps = [step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(count)]
    assert len(svg(run(*steps))) < 100_000
    assert len(html(run(*steps))) < 170_000


def test_text_from_users_is_never_markup() -> None:
    evil = "<script>alert(1)</script>\"'&"
    error = TaskError(evil, evil, evil, evil)
    view = run(
        step(evil, status="failed", node=evil, where=evil, message=evil, reset=evil),
        step(f"{evil}/b", group=evil),
        status="failed",
        workflow=evil,
        run_id=evil,
        error=error,
    )
    for made in (svg(view, standalone=True), html(view), report(view, {}, "")):
        assert "<script" not in made
    ElementTree.fromstring(svg(view))


def test_pictures_carry_no_script_and_nothing_from_outside() -> None:
    made = report(half_way(), {}, "").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"<script|javascript:|\son\w+=|https?:|@import|url\(", made)


def test_html_is_well_formed() -> None:
    for view in (half_way(), failed(), run(fan_out("m", width=None, completed=3))):
        ElementTree.fromstring(html(view))


def test_a_cell_of_a_few_steps_takes_a_few_kilobytes() -> None:
    assert len(html(half_way())) < 10_000


def test_one_bar_shows_how_far_the_run_is() -> None:
    root = ElementTree.fromstring(html(half_way()))
    (bar,) = [element for element in root.iter("div") if element.get("role") == "progressbar"]
    assert (bar.get("aria-valuenow"), bar.get("aria-valuemax")) == ("38", "102")
    widths = [float(re.search(r"[\d.]+", part.get("style", ""))[0]) for part in bar]  # type: ignore[index]
    assert widths == [pytest.approx(100 * n / 102, abs=0.01) for n in (38, 4, 2)]


def test_every_form_says_counts_rate_and_time_left() -> None:
    facts = "38 of 102 tasks · 2 failed · 4 running · 12 tasks/s · about 8 s left · 4 workers"
    for made in (html(half_way()), text(half_way()), line(half_way(), 200)):
        assert facts in made


def test_a_failed_run_shows_its_error_and_how_to_go_on() -> None:
    bundle = mimebundle(failed())
    assert set(bundle) == {"text/html", "text/plain"}
    for made in bundle.values():
        assert "KeyError" in made
        assert "run.retry()" in made
    assert "<summary>traceback</summary>" in bundle["text/html"]
    assert "failed · 3 attempts" in bundle["text/plain"]


@pytest.mark.parametrize(
    ("status", "way"),
    [("cancelled", "wf.resume('run-1')"), ("interrupted", "wf.resume('run-1')"), ("paused", "run.resume()")],
)
def test_a_run_that_stands_still_says_how_to_go_on(status: str, way: str) -> None:
    assert way in text(run(step("a"), status=status))
    assert way.replace("'", "&#x27;") in html(run(step("a"), status=status))


def test_text_lists_the_steps() -> None:
    assert text(half_way()).splitlines()[2:] == [
        "  ✓ load   completed 0.42 s",
        "  ▶ train  37/100 · 2 failed",
        "  ○ best   pending",
    ]


def test_text_of_many_steps_says_how_many_more_there_are() -> None:
    lines = text(run(*(step(f"s{i}") for i in range(100)))).splitlines()
    assert lines[-1] == "  … and 60 more steps"


def test_a_line_fits_its_terminal() -> None:
    assert len(line(half_way(), 40)) == 40
    assert "\n" not in line(half_way(), 40)


def test_a_run_of_unknown_size_says_so_far() -> None:
    view = run(fan_out("m", width=None, completed=3))
    assert "3 tasks so far" in text(view)
    assert "3 so far" in svg(view)


def test_a_finished_run_says_how_long_it_took() -> None:
    assert "· completed · 4.3 s" in text(run(step("a", status="completed"), status="completed", ended=T + 4.3))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0004, "0.4 ms"),
        (0.004, "4 ms"),
        (0.42, "0.42 s"),
        (4.26, "4.3 s"),
        (8, "8 s"),
        (59.7, "1 min"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_are_said_for_people(value: float, said: str) -> None:
    assert seconds(value) == said


def test_an_error_without_end_is_cut_and_says_so() -> None:
    error = TaskError("fit", "ValueError", "x" * 200_000, "y" * 200_000)
    view = run(step("fit", status="failed"), status="failed", error=error)
    for made in (html(view), text(view), line(view)):
        assert len(made) < 60_000
    assert "196,000 characters are left out" in html(view)
