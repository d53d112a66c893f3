"""Promises of the tiles: a picture stays readable whatever the number of steps, and says what it leaves out."""

from __future__ import annotations

from tests.views.samples import fan_out, step
from wfnb.views.tiles import CAP, tile


def test_a_small_workflow_has_a_tile_for_each_step() -> None:
    tiles = tile([step("a"), step("b", "a")]).tiles
    assert [(t.id, t.name, t.uses, t.width) for t in tiles] == [("a", "a", (), 1), ("b", "b", ("a",), 1)]


def test_a_step_of_a_sub_workflow_goes_by_its_short_name() -> None:
    (only,) = tile([step("clean/load", group="clean")]).tiles
    assert (only.name, only.group) == ("load", "clean")


def test_a_long_chain_of_one_node_is_one_tile() -> None:
    chain = [step("inc0", "start", node="inc", status="completed")]
    chain += [step(f"inc{i}", f"inc{i - 1}", node="inc") for i in range(1, 1000)]
    tiles = tile([step("start", status="completed"), *chain, step("end", "inc999")]).tiles
    assert [(t.name, t.uses) for t in tiles] == [("start", ()), ("inc ×1,000", ("start",)), ("end", ("inc0",))]
    assert (tiles[1].counts.completed, tiles[1].width, tiles[1].status) == (1, 1000, "running")


def test_a_chain_is_not_joined_where_somebody_else_uses_it() -> None:
    chain = [step("i0", node="i"), *(step(f"i{n}", f"i{n - 1}", node="i") for n in range(1, 10))]
    tiles = tile([*chain, step("look", "i4")]).tiles
    assert [t.name for t in tiles] == ["i ×5", "i ×5", "look"]


def test_many_steps_of_one_node_side_by_side_are_one_tile() -> None:
    wide = [step(f"t{i}", "load", node="train", status="completed" if i else "failed") for i in range(200)]
    tiles = tile([step("load"), *wide, step("best", *(s.id for s in wide))]).tiles
    assert [(t.name, t.status) for t in tiles] == [("load", "pending"), ("train ×200", "failed"), ("best", "pending")]
    assert tiles[2].uses == ("t0",)


def test_a_picture_has_a_largest_size_and_says_what_it_leaves_out() -> None:
    tiling = tile([step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(400)])
    assert (len(tiling.tiles), tiling.left_out) == (CAP, 400 - CAP)


def test_the_width_of_a_tile_is_unknown_while_one_of_its_steps_is() -> None:
    assert tile([fan_out("m", width=None)]).tiles[0].width is None
