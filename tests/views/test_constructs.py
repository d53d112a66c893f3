"""Promises of pictures of constructs: frames around bodies, the way that was taken, helpers folded away."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.views.samples import construct, fan_out, routed, run, step
from wfnb.engine.facts import Counts, StepView
from wfnb.views.html import html
from wfnb.views.svg import svg
from wfnb.views.text import text
from wfnb.views.tiles import Frame, tile
from wfnb.views.words import arm_of, state_of, word_of

SVG = "{http://www.w3.org/2000/svg}"


def framed() -> dict[str, Frame]:
    return {frame.id: frame for frame in tile(routed().steps).frames}


def texts(drawn: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


def test_a_construct_is_a_frame_and_its_bodies_are_frames_where_one_is_chosen() -> None:
    frames = framed()
    assert list(frames) == ["route", "route.case", "route.case_1", "refine"]
    assert [(f.name, f.word, f.parent) for f in frames.values()] == [
        ("route", "switch", ""),
        ("csv", "", "route"),
        ("json", "", "route"),
        ("refine", "loop ×5", ""),
    ]


def test_the_body_that_was_taken_is_marked_and_the_others_are_dimmed() -> None:
    frames = framed()
    assert (frames["route.case"].taken, frames["route.case_1"].taken) == (True, False)
    assert (frames["route.case"].unused, frames["route.case_1"].unused) == ("", "not taken")
    drawn = svg(routed())
    assert drawn.count('class="f a on"') == 1
    assert drawn.count('class="f a off"') == 1


def test_what_the_engine_adds_is_folded_and_its_arrows_go_to_the_construct() -> None:
    tiling = tile(routed().steps)
    assert [item.name for item in tiling.tiles] == ["load", "parse", "read", "fit", "best"]
    assert tiling.edges == (("load", "route"), ("route", "refine"), ("refine", "best"))


def test_a_helper_outside_of_a_construct_shows_only_when_it_failed() -> None:
    steps = [step("a"), step("m.over", "a", helper=True), fan_out("m", "m.over")]
    assert tile(steps).edges == (("a", "m"),)
    assert [item.id for item in tile(steps).tiles] == ["a", "m"]
    broken = [steps[0], step("m.over", "a", helper=True, status="failed"), steps[2]]
    assert [item.name for item in tile(broken).tiles] == ["a", "m.over", "m"]
    assert "✗ m.over" in text(run(*broken))


def test_arrows_that_many_steps_of_a_construct_share_go_to_the_frame() -> None:
    steps = [
        step("load"),
        construct("both", "parallel"),
        step("both/a", "load", group="both"),
        step("both/b", "load", group="both"),
        step("show", "both"),
    ]
    assert sorted(tile(steps).edges) == [("both", "show"), ("load", "both")]


def test_a_step_that_only_comes_after_another_has_an_arrow_too() -> None:
    assert tile([step("a"), step("b", after=("a",))]).edges == (("a", "b"),)


def test_a_value_known_by_a_longer_name_comes_from_the_step_it_belongs_to() -> None:
    assert tile([step("both"), step("z", "both.total")]).edges == (("both", "z"),)


def test_a_construct_with_nothing_inside_is_a_tile() -> None:
    tiling = tile([step("a"), construct("grow", "dynamic", "a", status="pending"), step("z", "grow")])
    assert ([item.name for item in tiling.tiles], tiling.frames) == (["a", "grow", "z"], ())
    assert "dynamic · pending" in texts(svg(run(construct("grow", "dynamic", status="pending"))))


def test_frames_lie_in_each_other_as_the_constructs_do() -> None:
    steps = [
        construct("outer", "each", times=3),
        construct("outer[]/safe", "try", group="outer", taken=("try",)),
        construct("outer[]/safe.try/refine", "loop", group="outer[]/safe", arm="try", times=7),
        step("outer[]/safe.try/refine.*/fit", group="outer[]/safe.try/refine", arm="*"),
        step("outer[]/safe.catch/alert", group="outer[]/safe", arm="catch"),
    ]
    frames = {frame.id: frame for frame in tile(steps).frames}
    assert [(frame.name, frame.parent) for frame in frames.values()] == [
        ("outer", ""),
        ("safe", "outer"),
        ("try", "outer[]/safe"),
        ("refine", "outer[]/safe.try"),
        ("catch", "outer[]/safe"),
    ]
    ElementTree.fromstring(svg(run(*steps)))
    assert [line.strip().split("  ")[0] for line in text(run(*steps)).splitlines()[2:]] == [
        "▶ outer",
        "▶ safe",
        "▶ try/refine",
        "○ fit",
        "○ catch/alert",
    ]


def test_the_picture_says_what_each_construct_is_and_how_often_it_turned() -> None:
    found = texts(svg(routed()))
    assert any(one.endswith("loop ×5") for one in found)
    assert any(one.endswith("csv") for one in found)
    assert not any("until" in one or "choice" in one for one in found)


def test_text_and_table_list_bodies_under_their_construct() -> None:
    assert text(routed()).splitlines()[2:] == [
        "  ✓ load           completed 0.42 s",
        "  ✓ route          switch · csv taken · 1 so far",
        "    ✓ case/parse   completed",
        "      case_1/read  not taken",
        "  ✓ refine         loop ×5 · 5 so far",
        "    ✓ fit          5/5",
        "  ✓ best           completed",
    ]
    made = html(routed())
    assert "<summary>7 steps</summary>" in made
    assert 'style="padding-left:20px" title="refine.*/fit">fit</td>' in made


@pytest.mark.parametrize(
    ("arm", "said"),
    [("case", "case 1"), ("case_2", "case 3"), ("default", "default"), ("catch", "catch"), ("catch_1", "catch 2")],
)
def test_a_body_without_a_label_is_called_by_its_place(arm: str, said: str) -> None:
    assert arm_of(None, arm) == said


def test_a_body_with_a_label_is_called_by_it() -> None:
    labelled = construct("x", "try", labels=(("catch", "ValueError"), ("case", "csv")))
    assert (arm_of(labelled, "catch"), arm_of(labelled, "case")) == ("catch ValueError", "csv")


def test_a_construct_is_told_in_few_words() -> None:
    each = construct("e", "each", times=1200, counts=Counts(completed=3))
    assert (word_of(each), state_of(each)) == ("each ×1,200", "each ×1,200 · 3 so far")
    assert word_of(construct("w", "workflow")) == ""
    assert state_of(StepView("z", "z", "task", unused="not begun")) == "not begun"


def test_thousands_of_constructs_stay_small() -> None:
    steps = [
        part for i in range(1000) for part in (construct(f"l{i}", "loop"), step(f"l{i}.*/x", group=f"l{i}", arm="*"))
    ]
    assert len(svg(run(*steps))) < 250_000


def test_the_steps_of_a_loops_condition_stand_on_their_side_of_its_body() -> None:
    steps = [
        construct("turn", "loop"),
        *(step(f"turn.*{name}", group="turn", arm="*") for name in ("/fit", ".while/more", ".until/error")),
    ]
    assert tile(steps).edges == (("turn.*.while/more", "turn.*/fit"), ("turn.*/fit", "turn.*.until/error"))


def test_the_steps_a_dynamic_step_planned_come_after_its_plan() -> None:
    steps = [construct("grow", "dynamic"), step("grow.plan", group="grow"), step("grow/a", group="grow")]
    assert tile(steps).edges == (("grow.plan", "grow/a"),)
    assert [item.name for item in tile(steps).tiles] == ["plan", "a"]


def test_steps_of_an_array_of_bodies_have_the_arrows_of_one_body() -> None:
    steps = [
        step("load"),
        construct("each", "each"),
        step("each[]/a", "load", group="each", arm="[]"),
        step("each[]/b", "each[]/a", "load", group="each", arm="[]"),
    ]
    assert tile(steps).edges == (("load", "each[]/a"), ("each[]/a", "each[]/b"))


def test_a_condition_on_a_construct_is_folded_into_it() -> None:
    steps = [
        step("a"),
        step("each.when", "a", helper=True),
        construct("each.if", "switch", helper=True),
        construct("each", "each"),
        step("each[]/fit", group="each", arm="[]"),
        step("z", "each.if"),
    ]
    assert tile(steps).edges == (("a", "each"), ("each", "z"))
