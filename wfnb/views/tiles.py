"""What a picture shows of a workflow: its steps as tiles, long chains and wide rows of one node as one tile each. Pure.

Imports engine.facts only. Keeps a picture readable, and its size bounded, whatever the number of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from wfnb.engine.facts import Counts, StepView

CHAIN = 5
"""So many steps of one node in a row become one tile."""
ROOMY = 60
"""Up to so many tiles, steps that stand side by side stay apart."""
CAP = 150
"""No picture has more tiles."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One box of the picture.

    Args:
        id: unique in the picture.
        name: what it is called there.
        uses: ids of the tiles it needs.
        group: the path of its sub-workflow, or "".
        steps: the steps it stands for.
        width: how many tasks these have, or None while that is not known.
        counts: their tasks by status.
        status: one word for them all.
    """

    id: str
    name: str
    uses: tuple[str, ...]
    group: str
    steps: tuple[StepView, ...]
    width: int | None
    counts: Counts
    status: str

    @property
    def step(self) -> StepView | None:
        """The step it stands for, when it is only one."""
        return self.steps[0] if len(self.steps) == 1 else None


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles, each after those it needs, and how many steps found no room."""

    tiles: tuple[Tile, ...]
    left_out: int


def tile(steps: Sequence[StepView]) -> Tiling:
    """Return the tiles that stand for the steps.

    Args:
        steps: each after those it needs.
    """
    tiles = [_tile((step,)) for step in steps]
    tiles = _merge(tiles, _chains(tiles))
    if len(tiles) > ROOMY:
        tiles = _merge(tiles, _siblings(tiles))
    left_out = sum(len(item.steps) for item in tiles[CAP:])
    kept = {item.id for item in tiles[:CAP]}
    shown = [replace(item, uses=tuple(used for used in item.uses if used in kept)) for item in tiles[:CAP]]
    return Tiling(tuple(shown), left_out)


def _tile(steps: tuple[StepView, ...], uses: tuple[str, ...] | None = None) -> Tile:
    first = steps[0]
    counts = Counts(*(sum(getattr(s.counts, name) for s in steps) for name in Counts.__dataclass_fields__))
    widths = [step.width for step in steps]
    short = first.id.rpartition("/")[2] if first.group else first.id
    return Tile(
        id=first.id,
        name=short if len(steps) == 1 else f"{first.node} ×{len(steps):,}",
        uses=first.uses if uses is None else uses,
        group=first.group,
        steps=steps,
        width=None if None in widths else sum(width or 0 for width in widths),
        counts=counts,
        status=first.status if len(steps) == 1 else _together(step.status for step in steps),
    )


def _together(statuses: Iterable[str]) -> str:
    found = set(statuses)
    for status in ("failed", "retrying", "running", "cancelled", "skipped"):
        if status in found:
            return status
    if "pending" in found:
        return "pending" if len(found) == 1 else "running"
    return "cached" if found == {"cached"} else "completed"


def _merge(tiles: list[Tile], leader: dict[str, str]) -> list[Tile]:
    """Return the tiles with those that share a leader made into one, which stands where its first stood."""
    if all(one == other for one, other in leader.items()):
        return tiles
    members: dict[str, list[Tile]] = {}
    for item in tiles:
        members.setdefault(leader[item.id], []).append(item)
    merged = []
    for name, items in members.items():
        uses = dict.fromkeys(leader.get(used, used) for item in items for used in item.uses)
        uses.pop(name, None)
        merged.append(_tile(tuple(step for item in items for step in item.steps), tuple(uses)))
    return _in_order(merged)


def _in_order(tiles: list[Tile]) -> list[Tile]:
    """Return the tiles each after those it needs; the order stays where it can."""
    by_id = {item.id: item for item in tiles}
    done: dict[str, Tile] = {}
    for item in tiles:
        stack = [item]
        while stack:
            top = stack[-1]
            missing = [by_id[used] for used in top.uses if used in by_id and used not in done]
            missing = [other for other in missing if other not in stack]
            if missing:
                stack.append(missing[0])
            else:
                done.setdefault(top.id, stack.pop())
    return list(done.values())


def _chains(tiles: list[Tile]) -> dict[str, str]:
    """Return, for each tile, the first of the chain of one node it is in; itself when the chain is short."""
    users: dict[str, int] = {}
    for item in tiles:
        for used in item.uses:
            users[used] = users.get(used, 0) + 1
    by_id = {item.id: item for item in tiles}
    leader: dict[str, str] = {}
    length: dict[str, int] = {}
    for item in tiles:
        before = by_id.get(item.uses[0]) if len(item.uses) == 1 else None
        joined = before is not None and users[before.id] == 1 and _alike(before, item)
        leader[item.id] = leader[before.id] if before is not None and joined else item.id
        length[leader[item.id]] = length.get(leader[item.id], 0) + 1
    return {name: first if length[first] >= CHAIN else name for name, first in leader.items()}


def _alike(one: Tile, other: Tile) -> bool:
    first, second = one.steps[0], other.steps[0]
    return (first.node, first.kind, first.group) == (second.node, second.kind, second.group)


def _siblings(tiles: list[Tile]) -> dict[str, str]:
    """Return, for each tile, the first of its node in the same group and layer."""
    layer: dict[str, int] = {}
    first: dict[tuple[str, str, str, int], str] = {}
    leader: dict[str, str] = {}
    for item in tiles:
        layer[item.id] = 1 + max((layer.get(used, 0) for used in item.uses), default=0)
        step = item.steps[0]
        leader[item.id] = first.setdefault((step.node, step.kind, item.group, layer[item.id]), item.id)
    return leader
