"""Where boxes and arrows go: a layered layout of a graph with nested groups. Pure geometry; imports nothing of wfnb.

Groups are laid out inside first and then stand as one box among their neighbours, so that a frame never runs through
a stranger. In each level: longest-path layers, waypoints where an arrow passes a layer, barycentre ordering, and boxes
pushed apart and pulled towards their neighbours. Everything runs along the *main* axis, layer by layer, and is spread
over the *cross* axis; left-to-right and top-down are the same layout with the axes exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

Direction: TypeAlias = Literal["right", "down"]

MARGIN = 10.0
PAD, LABEL = 14.0, 24.0
"""Room inside a group's frame, and above its first box for the label."""
LAYER_GAP = {"right": 52.0, "down": 36.0}
BOX_GAP = 16.0
SWEEPS = 10


class Point(NamedTuple):
    """A place, in pixels from the top left."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Item:
    """A box to place: its id, its size in pixels, and the id of its group ("" at the top)."""

    id: str
    width: float
    height: float
    group: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A frame around boxes and other frames.

    Args:
        id: unique among the groups.
        parent: the id of the group it is inside of, or "".
        width: the pixels its title needs.
        stretch: whether it is as long as the others beside it.
    """

    id: str
    parent: str = ""
    width: float = 0.0
    stretch: bool = False


@dataclass(frozen=True, slots=True)
class Rect:
    """A placed box, in pixels; x and y are its top left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Route:
    """An arrow: from a box or frame to another through points, the first and last on their edges."""

    source: str
    target: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A finished layout: its size, boxes by id, frames by group (outer ones first), and arrows."""

    width: float
    height: float
    direction: Direction
    boxes: dict[str, Rect]
    frames: dict[str, Rect]
    routes: tuple[Route, ...]


@dataclass(slots=True)
class _Level:
    """One level's own layout, measured along main and cross from its corner."""

    main: float
    cross: float
    at: dict[str, tuple[float, float]]
    passes: dict[tuple[str, str], list[tuple[float, float, float]]]


def arrange(
    items: Sequence[Item],
    edges: Sequence[tuple[str, str]],
    direction: Direction | None = None,
    groups: Sequence[Group] = (),
) -> Layout:
    """Place boxes and route arrows.

    Args:
        items: the boxes; their ids are unique.
        edges: arrows as (source id, target id), of boxes or groups; those that name neither, or join a group to what
            is inside of it, are left out.
        direction: which way the layers go; None takes the one that fits a notebook's width.
        groups: the groups; one that is not listed goes by its path: "a/b" is inside of "a".
    """
    return _arrange(tuple(items), tuple(edges), direction, tuple(groups))


@lru_cache(maxsize=32)
def _arrange(
    items: tuple[Item, ...],
    edges: tuple[tuple[str, str], ...],
    direction: Direction | None,
    groups: tuple[Group, ...],
) -> Layout:
    if direction is not None:
        return _Nest(items, edges, direction, groups).layout()
    right = _Nest(items, edges, "right", groups).layout()
    if right.width <= 980:
        return right
    down = _Nest(items, edges, "down", groups).layout()
    return down if down.width < right.width and down.height < 3 * right.width else right


class _Nest:
    """The levels of a nested graph."""

    def __init__(
        self,
        items: tuple[Item, ...],
        edges: tuple[tuple[str, str], ...],
        direction: Direction,
        groups: tuple[Group, ...],
    ) -> None:
        self.direction = direction
        self.items = {item.id: item for item in items}
        self.groups = {group.id: group for group in groups}
        # What stands in each level, in the order of first appearance; a group is named with a trailing slash.
        self.members: dict[str, dict[str, None]] = {"": {}}
        self.depth = {"": 0}
        for item in items:
            parent = ""
            for group in self._chain(item.group):
                self.members[parent][group + "/"] = None
                self.members.setdefault(group, {})
                self.depth[group] = self.depth[parent] + 1
                parent = group
            self.members[parent][item.id] = None
        self.edges = []
        for a, b in dict.fromkeys(edges):
            ends = self._name(a), self._name(b)
            if a != b and all(ends) and not self._holds(*ends) and not self._holds(ends[1], ends[0]):
                self.edges.append(ends)

    def _chain(self, group: str) -> list[str]:
        """Return a group's ancestors and itself, outermost first, "" left out."""
        chain: list[str] = []
        while group:
            chain.append(group)
            known = self.groups.get(group)
            group = known.parent if known is not None else group.rpartition("/")[0]
        return chain[::-1]

    def _name(self, end: str) -> str:
        """Return what an arrow's end is called among the members of a level, "" when there is no such thing."""
        return end if end in self.items else f"{end}/" if end in self.members and end else ""

    def _around(self, name: str) -> list[str]:
        """Return the groups around a member, outermost first."""
        return self._chain(self.items[name].group) if name in self.items else self._chain(name[:-1])[:-1]

    def _stretches(self, group: str) -> bool:
        known = self.groups.get(group)
        return known is not None and known.stretch

    def _holds(self, one: str, other: str) -> bool:
        return one not in self.items and one[:-1] in self._around(other)

    def layout(self) -> Layout:
        """Lay out every level, innermost first, and put the levels into each other."""
        level_edges: dict[str, dict[tuple[str, str], None]] = {group: {} for group in self.members}
        ends: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
        for a, b in self.edges:
            level, one, two = self._meeting(a, b)
            # From its own level outwards to the level where both ends meet, and inwards again.
            ways = [*self._outwards(a, one), (level, one, two)]
            ways += [(group, "", name) for group, name, _ in reversed(self._outwards(b, two))]
            for group, source, target in ways:
                level_edges[group][source, target] = None
            ends[a, b] = ways
        levels: dict[str, _Level] = {}
        sizes: dict[str, tuple[float, float]] = {}
        right = self.direction == "right"
        for item in self.items.values():
            sizes[item.id] = (item.width, item.height) if right else (item.height, item.width)
        insets: dict[str, tuple[float, float]] = {}
        for group in sorted(self.members, key=lambda group: -self.depth[group]):
            names = list(self.members[group])
            long = {name for name in names if name.endswith("/") and self._stretches(name[:-1])}
            placed = _place(names, list(level_edges[group]), sizes, LAYER_GAP[self.direction], long)
            levels[group] = placed
            known = self.groups.get(group)
            # A frame is at least as wide as its title; what is inside stands in the middle.
            inner = placed.main if right else placed.cross
            slack = max(0.0, (known.width if known is not None else 0.0) - inner - 2 * PAD)
            insets[group] = (PAD + slack / 2, LABEL) if right else (LABEL, PAD + slack / 2)
            extra = (2 * PAD + slack, PAD + LABEL) if right else (PAD + LABEL, 2 * PAD + slack)
            sizes[group + "/"] = (placed.main + extra[0], placed.cross + extra[1])
        corners = {"": (MARGIN, MARGIN)}
        for group in sorted(self.members, key=self.depth.__getitem__):
            for name in self.members[group]:
                if name.endswith("/"):
                    main, cross = levels[group].at[name]
                    corner, inset = corners[group], insets[name[:-1]]
                    corners[name[:-1]] = (corner[0] + main + inset[0], corner[1] + cross + inset[1])
        return self._assemble(levels, sizes, corners, ends)

    def _meeting(self, a: str, b: str) -> tuple[str, str, str]:
        """Return the innermost level that holds both ends, and what stands for each end there."""
        one, two = self._around(a), self._around(b)
        shared = 0
        while shared < min(len(one), len(two)) and one[shared] == two[shared]:
            shared += 1
        level = one[shared - 1] if shared else ""
        return level, one[shared] + "/" if shared < len(one) else a, two[shared] + "/" if shared < len(two) else b

    def _outwards(self, name: str, stand_in: str) -> list[tuple[str, str, str]]:
        """Return each level inside the group that stands in for a box, and what stands for the box there."""
        if name == stand_in:
            return []
        groups = self._around(name)
        inner = groups[groups.index(stand_in[:-1]) :]
        names = [*(group + "/" for group in inner[1:]), name]
        return [(group, item, "") for group, item in zip(reversed(inner), reversed(names), strict=True)]

    def _assemble(
        self,
        levels: dict[str, _Level],
        sizes: dict[str, tuple[float, float]],
        corners: dict[str, tuple[float, float]],
        ends: dict[tuple[str, str], list[tuple[str, str, str]]],
    ) -> Layout:
        right = self.direction == "right"

        def point(main: float, cross: float) -> Point:
            return Point(main, cross) if right else Point(cross, main)

        def rect(group: str, name: str) -> Rect:
            main, cross = levels[group].at[name]
            corner, (m, c) = point(corners[group][0] + main, corners[group][1] + cross), sizes[name]
            return Rect(corner.x, corner.y, m if right else c, c if right else m)

        boxes = {item.id: rect(item.group, item.id) for item in self.items.values()}
        frames = {
            name[:-1]: rect(group, name)
            for group in sorted(self.members, key=self.depth.__getitem__)
            for name in self.members[group]
            if name.endswith("/")
        }
        routes = []
        for (a, b), ways in ends.items():
            source = boxes[a] if a in boxes else frames[a[:-1]]
            target = boxes[b] if b in boxes else frames[b[:-1]]
            points = [Point(source.x + source.width, source.y + source.height / 2)] if right else []
            if not right:
                points.append(Point(source.x + source.width / 2, source.y + source.height))
            for level, one, two in ways:
                main0, cross0 = corners[level]
                for begin, end, cross in levels[level].passes.get((one, two), ()):
                    points += [point(main0 + begin, cross0 + cross), point(main0 + end, cross0 + cross)]
            if right:
                points.append(Point(target.x, target.y + target.height / 2))
            else:
                points.append(Point(target.x + target.width / 2, target.y))
            routes.append(Route(a.removesuffix("/"), b.removesuffix("/"), tuple(points)))
        main, cross = levels[""].main + 2 * MARGIN, levels[""].cross + 2 * MARGIN
        size = point(main, cross)
        return Layout(size.x, size.y, self.direction, boxes, frames, tuple(routes))


def _layers(names: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Return each box's layer: one more than the latest it needs; boxes that need nothing stand by their first user."""
    after: dict[str, list[str]] = {name: [] for name in names}
    waiting = dict.fromkeys(names, 0)
    for a, b in edges:
        after[a].append(b)
        waiting[b] += 1
    layer = dict.fromkeys(names, 0)
    ready = [name for name in names if not waiting[name]]
    seen: set[str] = set()
    rest = iter(names)
    while len(seen) < len(names):
        if not ready:  # groups that need each other: the first one named stands first
            ready.append(next(name for name in rest if name not in seen))
        name = ready.pop()
        if name in seen:
            continue
        seen.add(name)
        for user in after[name]:
            if user in seen:
                continue
            layer[user] = max(layer[user], layer[name] + 1)
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    needy = {b for _, b in edges}
    for name in names:
        if name not in needy and after[name]:
            layer[name] = max(0, min(layer[user] for user in after[name]) - 1)
    return layer


def _place(
    names: list[str],
    edges: list[tuple[str, str]],
    sizes: dict[str, tuple[float, float]],
    gap: float,
    long: set[str],
) -> _Level:
    """Lay out one level; the members in `long` are made as long as their layer."""
    layer = _layers(names, [(a, b) for a, b in edges if a and b])
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in names:
        rows[layer[name]].append(name)
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    cross = {name: sizes[name][1] for name in names}
    passing: dict[tuple[str, str], list[str]] = {}
    firsts: dict[tuple[str, str], int] = {}
    for a, b in edges:
        # An arrow from or to outside (an empty name) passes every layer between its end here and the frame.
        firsts[a, b] = layer[a] + 1 if a else 0
        last = a
        for between in range(firsts[a, b], layer[b] if b else len(rows)):
            way = f"{a}\0{b}\0{between}"
            rows[between].append(way)
            cross[way], before[way], after[way] = 6.0, [last] if last else [], []
            if last:
                after[last].append(way)
            passing.setdefault((a, b), []).append(way)
            last = way
        if last and b:
            after[last].append(b)
            before[b].append(last)
    centre = _spread(rows, before, after, cross)
    low = min((centre[name] - cross[name] / 2 for name in centre), default=0.0)
    high = max((centre[name] + cross[name] / 2 for name in centre), default=0.0)
    thick = [max((sizes[name][0] for name in row if name in sizes), default=0.0) for row in rows]
    for name in long:
        sizes[name] = (thick[layer[name]], sizes[name][1])
    start, main = [], 0.0
    for width in thick:
        start.append(main)
        main += width + gap
    at = {
        name: (start[layer[name]] + (thick[layer[name]] - sizes[name][0]) / 2, centre[name] - cross[name] / 2 - low)
        for name in names
    }
    passes = {
        edge: [(start[row], start[row] + thick[row], centre[way] - low) for row, way in enumerate(ways, firsts[edge])]
        for edge, ways in passing.items()
    }
    return _Level(max(0.0, main - gap), high - low, at, passes)


def _spread(
    rows: list[list[str]], before: dict[str, list[str]], after: dict[str, list[str]], cross: dict[str, float]
) -> dict[str, float]:
    """Return each box's centre on the cross axis: ordered and drawn towards the boxes it is joined to."""
    centre: dict[str, float] = {}
    for row in rows:
        _stack(row, dict.fromkeys(row, 0.0), cross, centre)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        joined = before if down else after
        for row in rows[1:] if down else rows[-2::-1]:
            wish = {}
            for name in row:
                near = joined[name]
                wish[name] = sum(centre[other] for other in near) / len(near) if near else centre[name]
            row.sort(key=wish.__getitem__)
            _stack(row, wish, cross, centre)
    return centre


def _stack(row: list[str], wish: dict[str, float], cross: dict[str, float], centre: dict[str, float]) -> None:
    """Put boxes at their wishes, in order, pushed apart; boxes that push each other share the way they give."""
    # Each block is [sum of (wish - offset), number, names, offsets]: boxes that touch and move as one.
    blocks: list[tuple[float, list[str], list[float]]] = []
    for name in row:
        total, names, offsets = wish[name], [name], [0.0]
        while blocks:
            last_total, last_names, last_offsets = blocks[-1]
            apart = (cross[last_names[-1]] + cross[names[0]]) / 2 + BOX_GAP
            if last_total / len(last_names) + last_offsets[-1] + apart <= total / len(names):
                break
            blocks.pop()
            shift = last_offsets[-1] + apart
            total = last_total + total - shift * len(names)
            offsets = last_offsets + [offset + shift for offset in offsets]
            names = last_names + names
        blocks.append((total, names, offsets))
    for total, names, offsets in blocks:
        first = total / len(names)
        for name, offset in zip(names, offsets, strict=True):
            centre[name] = first + offset
