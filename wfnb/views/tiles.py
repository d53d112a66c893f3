"""What a picture shows of a workflow: its steps as tiles, long chains and wide rows of one node as one tile each. Pure.

Constructs are frames around the tiles of their bodies; what the engine adds for itself is folded into them. Imports
engine.facts and views.words. Keeps a picture readable, and its size bounded, whatever the number of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wfnb.engine.facts import Counts, StepView
from wfnb.views.words import arm_of, word_of

CHAIN = 5
"""So many steps of one node in a row become one tile."""
ROOMY = 60
"""Up to so many tiles, steps that stand side by side stay apart."""
CAP = 150
"""No picture has more tiles."""

_PLAIN = ("workflow", "sequential")
_ARMS = ("switch", "try")
_WAITING = ("switch", "try", "loop", "dynamic")


@dataclass(frozen=True, slots=True)
class Tile:
    """One box of the picture.

    Args:
        id: unique in the picture.
        name: what it is called there.
        uses: ids of the tiles and frames it needs.
        group: the id of the frame it stands in, or "".
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
class Frame:
    """A frame of the picture: a construct, or one of its bodies.

    Args:
        id: unique in the picture.
        name: what it is called there.
        word: what it is: ``loop ×5``; "" for a sub-workflow and a body.
        parent: the id of the frame it stands in, or "".
        uses: ids of the tiles and frames it needs.
        status: its status; "" for a body.
        taken: for a body: whether it was begun.
        unused: why it was not run, or "".
        step: its construct, where the shape has it.
    """

    id: str
    name: str
    word: str = ""
    parent: str = ""
    uses: tuple[str, ...] = ()
    status: str = ""
    taken: bool = False
    unused: str = ""
    step: StepView | None = None

    @property
    def body(self) -> bool:
        """Whether it is one of several bodies of a construct."""
        return self.step is None and bool(self.parent) and self.id.startswith(f"{self.parent}.")


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles of a picture.

    Args:
        tiles: each after those it needs.
        frames: the frames around them, outer ones first.
        edges: arrows between them, as (source id, target id).
        left_out: how many steps found no room.
    """

    tiles: tuple[Tile, ...]
    frames: tuple[Frame, ...]
    edges: tuple[tuple[str, str], ...]
    left_out: int


def tile(steps: Sequence[StepView]) -> Tiling:
    """Return the tiles that stand for the steps.

    Args:
        steps: each after those it needs.
    """
    nest = _Nest(steps)
    tiles = [_tile((step,), nest.uses[step.id], nest.frame_of(step)) for step in nest.shown]
    tiles = _merge(tiles, _chains(tiles))
    if len(tiles) > ROOMY:
        tiles = _merge(tiles, _siblings(tiles))
    left_out = sum(len(item.steps) for item in tiles[CAP:])
    tiles = tiles[:CAP]
    owner = {step.id: item.id for item in tiles for step in item.steps}
    frames = nest.frames(tiles)
    frames = [replace(frame, uses=tuple(owner.get(used, used) for used in frame.uses)) for frame in frames]
    kept = {*(item.id for item in tiles), *(frame.id for frame in frames)}
    tiles = [replace(item, uses=tuple(used for used in item.uses if used in kept)) for item in tiles]
    return Tiling(tuple(tiles), tuple(frames), tuple(_edges(tiles, frames)), left_out)


class _Nest:
    """What is inside of what: the constructs of a run's steps, and what each step needs of the picture."""

    def __init__(self, steps: Sequence[StepView]) -> None:
        self.all = {step.id: step for step in steps}
        self.inside: dict[str, dict[str, StepView]] = {}
        helpers: dict[str, list[StepView]] = {}
        for step in steps:
            if step.helper:
                helpers.setdefault(step.group, []).append(step)
            else:
                self.inside.setdefault(step.group, {})[step.id] = step
        # A construct of nothing that is shown is a tile itself.
        full: set[str] = set()
        for step in steps:
            group = "" if step.construct or self._folded(step) else step.group
            while group and group not in full:
                full.add(group)
                group = self.all[group].group if group in self.all else group.rpartition("/")[0]
        self.framed = full
        self.shown = [step for step in steps if step.id not in full and not self._folded(step)]
        self.uses: dict[str, tuple[str, ...]] = {}
        for step in steps:
            used = [*step.uses, *step.after]
            if f"{step.id}.when" in self.all:
                condition = self.all[f"{step.id}.when"]
                used += [*condition.uses, *condition.after]
            if step.construct:
                # What decides for a construct stands before it.
                for helper in helpers.get(step.id, ()):
                    used += helper.uses if not helper.arm else ()
            self.uses[step.id] = tuple(dict.fromkeys(found for name in used for found in self._resolved(name, step)))
        for step in steps:
            self.uses[step.id] = self._inferred(step)

    def _inferred(self, step: StepView) -> tuple[str, ...]:
        """Return what a step uses, with what follows from the construct it is in."""
        uses, group = self.uses[step.id], self.all.get(step.group)
        if step.arm == "[]" and len(uses) > 1:
            # Each step of an array of bodies goes by the list of items; the arrow of the step before says so.
            again = {name for used in uses if used in self.uses for name in self.uses[used]}
            uses = tuple(used for used in uses if used not in again)
        if group is None or group.kind not in ("dynamic", "loop") or step.helper:
            return uses
        mates = self.inside[group.id]
        if any(used in mates for used in uses):
            return uses
        plan = f"{group.id}.plan"
        if group.kind == "dynamic":
            return (*uses, plan) if plan in mates and step.id != plan else uses
        # What a loop's `while` says, its body waits for; what the body gives, its `until` looks at.
        first, last = f"{group.id}.*.while/", f"{group.id}.*.until/"
        if step.id.startswith(first):
            return uses
        if step.id.startswith(last):
            before = [name for name in mates if not name.startswith(last)]
        else:
            before = [name for name in mates if name.startswith(first)]
        used = {name for other in before for name in self.uses[other]}
        return (*uses, *(name for name in before if name not in used))

    def _folded(self, step: StepView) -> bool:
        """Whether a step is not drawn: the engine's own, unless it failed and nothing around it says so."""
        return step.helper and (step.status != "failed" or step.group in self.all or step.construct)

    def _resolved(self, name: str, user: StepView, depth: int = 0) -> list[str]:
        """Return what of the picture stands for a step that is used."""
        while name not in self.all:
            name, dot, _ = name.rpartition(".")
            if not dot:
                return []
        step = self.all[name]
        if step.helper and step.construct:
            # What stands for a step with a condition: the step.
            name = name.rpartition(".")[0]
            step = self.all.get(name, step)
        if not self._folded(step):
            return [name]
        group = step.group
        if group in self.framed and not self._within(user, group):
            return [group]
        if depth > 20:
            return []
        return [found for used in step.uses for found in self._resolved(used, user, depth + 1)]

    def _within(self, step: StepView, group: str) -> bool:
        at = step.id if step.construct else step.group
        while at:
            if at == group:
                return True
            at = self.all[at].group if at in self.all else ""
        return False

    def frame_of(self, step: StepView) -> str:
        """Return the id of the frame a step stands in."""
        group = self.all.get(step.group)
        if group is not None and group.kind in _ARMS and step.arm:
            return f"{group.id}.{step.arm}"
        return step.group

    def frames(self, tiles: Sequence[Tile]) -> list[Frame]:
        """Return the frames around tiles, outer ones first."""
        found: dict[str, Frame] = {}
        for item in tiles:
            chain: list[Frame] = []
            name = item.group
            while name and name not in found:
                frame = self._frame(name)
                chain.append(frame)
                name = frame.parent
            found.update((frame.id, frame) for frame in reversed(chain))
        return list(found.values())

    def _frame(self, name: str) -> Frame:
        step = self.all.get(name)
        if step is not None:
            return Frame(
                id=name,
                name=(called := short_name(step)),
                # A step that has no name of its own is called what it is.
                word=word_of(step).removeprefix(called).strip() if called == step.kind else word_of(step),
                parent=self.frame_of(step),
                uses=self.uses[name],
                status=step.status,
                taken=step.started is not None,
                unused=step.unused,
                step=step,
            )
        group, _, arm = name.rpartition(".")
        around = self.all.get(group)
        if around is None or around.kind not in _ARMS:
            return Frame(name, name.rpartition("/")[2], parent=name.rpartition("/")[0])
        taken = arm in around.taken
        body = [step.unused for step in self.inside.get(group, {}).values() if step.arm == arm]
        unused = next(iter(body), "") if not taken and all(body) else ""
        return Frame(name, arm_of(around, arm), parent=group, taken=taken, unused=around.unused or unused)


def _edges(tiles: Sequence[Tile], frames: Sequence[Frame]) -> list[tuple[str, str]]:
    """Return the arrows of a picture: those that many tiles of one frame share go to the frame."""
    around = {frame.id: frame for frame in frames}

    def outwards(name: str) -> list[str]:
        chain = []
        while name in around:
            chain.append(name)
            name = around[name].parent
        return chain

    home = {item.id: outwards(item.group) for item in tiles}
    home.update((frame.id, outwards(frame.parent)) for frame in frames)
    whole = {(used, frame.id) for frame in frames for used in frame.uses}
    shared: dict[tuple[str, str], int] = {}
    for item in tiles:
        for used in item.uses:
            for name in _entered(home, used, item.id):
                shared[used, name] = shared.get((used, name), 0) + 1
    for (used, name), count in shared.items():
        step = around[name].step
        # What begins as a whole has its arrows as a whole.
        if step is not None and step.kind not in _PLAIN and (count > 1 or step.kind in _WAITING):
            whole.add((used, name))
    edges: dict[tuple[str, str], None] = {}
    ends: list[Frame | Tile] = [*frames, *tiles]
    for end in ends:
        for used in end.uses:
            entered = _entered(home, used, end.id)
            outer = [name for name in entered if (used, name) in whole]
            edges[used, outer[-1] if outer else end.id] = None
    return [(a, b) for a, b in edges if a != b and a not in home.get(b, ()) and b not in home.get(a, ())]


def _entered(home: Mapping[str, Sequence[str]], source: str, target: str) -> list[str]:
    """Return the frames that an arrow goes into on its way, innermost first."""
    left = {*home.get(source, ()), source}
    return [name for name in home.get(target, ()) if name not in left]


def short_name(step: StepView) -> str:
    """Return what a step is called inside of its group."""
    if not step.group:
        return step.id
    return step.id.removeprefix(step.group).rpartition("/")[2].lstrip(".") or step.id


def _tile(steps: tuple[StepView, ...], uses: tuple[str, ...], group: str) -> Tile:
    first = steps[0]
    counts = Counts(*(sum(getattr(s.counts, name) for s in steps) for name in Counts.__dataclass_fields__))
    widths = [step.width for step in steps]
    short = short_name(first) if not first.helper else first.id
    return Tile(
        id=first.id,
        name=short if len(steps) == 1 else f"{first.node} ×{len(steps):,}",
        uses=uses,
        group=group,
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
        merged.append(_tile(tuple(step for item in items for step in item.steps), tuple(uses), items[0].group))
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
    return (first.node, first.kind, one.group) == (second.node, second.kind, other.group) and not first.construct


def _siblings(tiles: list[Tile]) -> dict[str, str]:
    """Return, for each tile, the first of its node in the same group and layer."""
    layer: dict[str, int] = {}
    first: dict[tuple[str, str, str, int], str] = {}
    leader: dict[str, str] = {}
    for item in tiles:
        layer[item.id] = 1 + max((layer.get(used, 0) for used in item.uses), default=0)
        step = item.steps[0]
        node = step.node or item.id
        leader[item.id] = first.setdefault((node, step.kind, item.group, layer[item.id]), item.id)
    return leader
