"""Promises of the layout: nothing overlaps, arrows go forward, frames hold their own and nobody else."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from wfnb.views.layout import Direction, Group, Item, Rect, arrange


def box(name: str, group: str = "") -> Item:
    return Item(name, 120, 44, group)


def apart(one: Rect, other: Rect) -> bool:
    return (
        one.x + one.width <= other.x
        or other.x + other.width <= one.x
        or one.y + one.height <= other.y
        or other.y + other.height <= one.y
    )


def inside(inner: Rect, outer: Rect) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.x + inner.width <= outer.x + outer.width
        and inner.y + inner.height <= outer.y + outer.height
    )


def some_graph(seed: int) -> tuple[list[Item], list[tuple[str, str]]]:
    chance = random.Random(seed)
    count = chance.randint(1, 40)
    groups = ["", "", "one", "one/in", "two"]
    items = [box(f"s{i}", chance.choice(groups)) for i in range(count)]
    edges = [(f"s{chance.randrange(i)}", f"s{i}") for i in range(1, count) for _ in range(chance.randint(0, 3))]
    return items, edges


def test_a_step_stands_after_what_it_needs() -> None:
    layout = arrange([box("a"), box("b"), box("c"), box("d")], [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])
    a, b, c, d = (layout.boxes[name] for name in "abcd")
    assert a.x + a.width < b.x == c.x
    assert b.x + b.width < d.x
    assert a.y == d.y == (b.y + c.y) / 2


def test_an_empty_graph_has_an_empty_layout() -> None:
    assert arrange([], []).boxes == {}


@pytest.mark.parametrize("direction", ["right", "down"])
@pytest.mark.parametrize("seed", range(20))
def test_boxes_never_overlap_and_all_lie_in_the_picture(seed: int, direction: Direction) -> None:
    items, edges = some_graph(seed)
    layout = arrange(items, edges, direction)
    whole = Rect(0, 0, layout.width, layout.height)
    assert all(apart(one, other) for one, other in itertools.combinations(layout.boxes.values(), 2))
    assert all(inside(rect, whole) for rect in (*layout.boxes.values(), *layout.frames.values()))
    assert len(layout.routes) == len(set(edges))


@pytest.mark.parametrize("direction", ["right", "down"])
@pytest.mark.parametrize("seed", range(20))
def test_a_frame_holds_the_steps_of_its_group_and_no_other(seed: int, direction: Direction) -> None:
    items, edges = some_graph(seed)
    layout = arrange(items, edges, direction)
    for group, frame in layout.frames.items():
        for item in items:
            rect = layout.boxes[item.id]
            member = item.group == group or item.group.startswith(group + "/")
            assert inside(rect, frame) if member else apart(rect, frame), (group, item)


def test_an_arrow_past_a_layer_goes_around_its_boxes() -> None:
    layout = arrange([box("a"), box("b"), box("c")], [("a", "b"), ("b", "c"), ("a", "c")])
    past = next(route for route in layout.routes if (route.source, route.target) == ("a", "c"))
    b = layout.boxes["b"]
    _, enter, leave, _ = past.points
    assert (enter.x, leave.x) == (b.x, b.x + b.width)
    assert not b.y <= enter.y <= b.y + b.height


def test_an_arrow_out_of_a_frame_goes_around_what_follows_inside() -> None:
    items = [box("g/a", "g"), box("g/b", "g"), box("z")]
    layout = arrange(items, [("g/a", "g/b"), ("g/a", "z"), ("g/b", "z")])
    out = next(route for route in layout.routes if (route.source, route.target) == ("g/a", "z"))
    b = layout.boxes["g/b"]
    assert len(out.points) == 4
    assert not b.y <= out.points[1].y <= b.y + b.height


def test_groups_that_need_each_other_are_drawn_all_the_same() -> None:
    items = [box("g/a", "g"), box("x"), box("g/b", "g")]
    assert len(arrange(items, [("g/a", "x"), ("x", "g/b")]).boxes) == 3


def test_arrows_to_unknown_boxes_are_left_out() -> None:
    assert arrange([box("a")], [("gone", "a"), ("a", "a")]).routes == ()


def test_a_long_graph_goes_down_where_it_would_not_fit_the_page() -> None:
    items = [box(f"s{i}") for i in range(8)]
    edges = [(f"s{i}", f"s{i + 1}") for i in range(7)]
    assert arrange(items[:3], edges[:2]).direction == "right"
    assert arrange(items, edges).direction == "down"


def test_a_hundred_and_fifty_boxes_are_placed_at_once() -> None:
    items = [box(f"n{i}") for i in range(150)]
    edges = [(f"n{i - 10 + k}", f"n{i}") for i in range(10, 150) for k in (0, 1)]
    began = time.perf_counter()
    arrange(items, edges, "right")
    assert time.perf_counter() - began < 0.2


def nested() -> tuple[list[Item], list[Group]]:
    items = [box("a"), box("x", "g.case"), box("y", "g.default"), box("y2", "g.default"), box("z")]
    return items, [Group("g", width=600), Group("g.case", "g", stretch=True), Group("g.default", "g", stretch=True)]


@pytest.mark.parametrize("direction", ["right", "down"])
def test_groups_lie_in_each_other_as_they_are_told(direction: Direction) -> None:
    items, groups = nested()
    layout = arrange(items, [("a", "g"), ("y", "y2"), ("g", "z")], direction, groups)
    assert list(layout.frames) == ["g", "g.case", "g.default"]
    assert inside(layout.frames["g.case"], layout.frames["g"])
    assert inside(layout.boxes["y"], layout.frames["g.default"])
    assert apart(layout.frames["g.case"], layout.frames["g.default"])


@pytest.mark.parametrize("direction", ["right", "down"])
def test_an_arrow_may_begin_and_end_at_a_frame(direction: Direction) -> None:
    items, groups = nested()
    layout = arrange(items, [("a", "g"), ("g", "z")], direction, groups)
    frame, into, out = layout.frames["g"], *layout.routes
    assert (into.source, into.target, out.source, out.target) == ("a", "g", "g", "z")
    assert into.points[-1] in ((frame.x, frame.y + frame.height / 2), (frame.x + frame.width / 2, frame.y))
    right, bottom = frame.x + frame.width, frame.y + frame.height
    assert out.points[0] in ((right, frame.y + frame.height / 2), (frame.x + frame.width / 2, bottom))


def test_a_frame_has_room_for_its_title_and_bodies_side_by_side_are_of_one_length() -> None:
    items, groups = nested()
    layout = arrange(items, [("y", "y2")], "right", groups)
    assert layout.frames["g"].width >= 600
    assert layout.frames["g.case"].width == layout.frames["g.default"].width


def test_an_arrow_between_a_frame_and_what_is_inside_is_left_out() -> None:
    items, groups = nested()
    assert arrange(items, [("g", "x"), ("x", "g"), ("g", "g.case")], "right", groups).routes == ()
