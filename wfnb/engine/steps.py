"""The steps of a run by template and instance: what a shape lists and a journal names, found by id and address. Pure.

Imports engine.addresses, engine.cells and engine.bodies. A step of a body that is run many times is one `Kin` with its
instances as they are heard of; widths go from step to step as they become known.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from wfnb.engine.addresses import elements, filled, group_of, owner_of, places, template_of
from wfnb.engine.bodies import Facts
from wfnb.engine.cells import ONE, Cells, Kin
from wfnb.model.errors import did_you_mean
from wfnb.model.events import PENDING


class Steps:
    """The steps of a run.

    Args:
        shape: the workflow's shape, as in the run's record.

    Attributes:
        kins: the steps by template, each construct right before the steps inside of it.
        facts: what is known of the constructs.
        calls: for a step that calls a workflow which calls itself, that workflow's group.
    """

    def __init__(self, shape: Mapping[str, Any]) -> None:
        self.kins: dict[str, Kin] = {}
        self.facts = Facts(self.kins, self.template)
        # Which fan-outs take their width from a step.
        self._users: dict[str, list[Kin]] = {}
        self.calls: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self.include(shape.get("steps", ()))

    def include(self, rows: Iterable[Mapping[str, Any]], *, grown: bool = False) -> None:
        """Take in steps of the workflow's shape."""
        kins, new = self.kins, []
        for row in rows:
            if grown:
                row = {**row, "id": template_of(row["id"]), "group": template_of(row.get("group", ""))}
                for name in ("uses", "over"):
                    row[name] = [template_of(used) for used in row.get(name, ())]
            if row["id"] not in kins:
                kin = kins[row["id"]] = Kin(row)
                kin.grown, kin.place = grown, len(kins)
                new.append(kin)
        for kin in list(new):
            # A condition on a construct stands before it.
            owner = owner_of(kin.id) if kin.helper and not kin.id.endswith(".when") else ""
            group = owner if owner in kins and kins[owner].construct else kin.group.removesuffix(".*")
            kin.belong(group)
            inner = kin
            while inner.group and inner.group not in kins:
                # The shape does not say what is around a step: its path does.
                kind = _kind_of(inner, kins)
                made = kins[inner.group] = Kin({"id": inner.group, "kind": kind, "node": ""})
                made.belong(group_of(made.id))
                made.grown, made.place = grown, inner.place
                new.append(made)
                inner = made
        for kin in new:
            # A construct may be listed behind what is inside of it.
            around = kins.get(kin.group)
            while around is not None and around.place > kin.place:
                around.place = kin.place
                around = kins.get(around.group)
        ordered = _nested(kins)
        kins.clear()
        kins.update(ordered)
        for kin in new:
            self.facts.add(kin)
            if kin.fan_out and kin.arm == "[]" and not kin.over:
                # An array of bodies has as many as what it is made from.
                inside = [name for name in kin.uses if name in kins and kins[name].group == kin.group]
                kin.over = tuple(inside or (kin.uses if len(kin.uses) == 1 else ()))
                kin.guessed = True
            for used in dict.fromkeys(kin.over):
                self._users.setdefault(used, []).append(kin)
        for kin in new:
            if kin.construct and kin.id.endswith((".if", ".safe")) and not self.facts.of[kin.id].arms:
                kin.helper = True
        self.prepare()

    def prepare(self) -> None:
        """Make the tasks that there will be in any case."""
        perhaps: set[str] = set()
        for kin in self.kins.values():
            if (
                f"{kin.id}.when" in self.kins
                or kin.group in perhaps
                or kin.arm.startswith(("case", "default", "catch"))
            ):
                perhaps.add(kin.id)
            elif not kin.construct and not kin.inside:
                kin.cell(kin.id)

    def template(self, step: str) -> str:
        """Return the id of the template that an instance is of, "" when there is none."""
        if step in self.kins:
            return step
        template = template_of(step)
        if template in self.kins:
            return template
        found = self._aliases.get(template)
        if found is None:
            # Inside a workflow that calls itself: its steps are known by the end of their paths.
            found, parts = "", template.split("/")
            names = [name for name in self.kins if name.endswith("()")]
            for at in range(1, len(parts)):
                rest = "/".join(parts[at:])
                for name in names:
                    if not found and f"{name}/{rest}" in self.kins:
                        found = f"{name}/{rest}"
                        self.calls.setdefault("/".join(parts[:at]), name)
                        self.calls.setdefault(parts[0], name)
            self._aliases[template] = found
        return found

    def kin(self, step: str) -> Kin | None:
        """Return the step that an instance is of."""
        return self.kins.get(step) or self.kins.get(self.template(step))

    def instance(self, kin: Kin, step: str) -> Cells:
        """Return an instance's tasks; made when it is first heard of."""
        cells = kin.cells.get(step)
        if cells is None:
            cells = kin.cell(step)
            if kin.fan_out or cells.width is None:
                self._resize(kin, cells)
        return cells

    # -- widths --------------------------------------------------------------------------------------------------

    def _resize(self, kin: Kin, cells: Cells) -> None:
        """Find out how many tasks an instance of a fan-out has, and tell those that depend on it."""
        over = () if kin.guessed and "[]" not in cells.id else kin.over
        lengths: list[int | None] = [] if kin.known is None else [kin.known]
        lengths += [self._length(used, cells.id) for used in over]
        known = [length for length in lengths if length is not None]
        # A map's lists have one length, so that any of them tells; a product needs all.
        if not known or (kin.kind == "expand" and len(known) < len(lengths)):
            return
        width = math.prod(known) if kin.kind == "expand" else known[0]
        if cells.width != width:
            kin.widen(cells, width)
            self.facts.counted(cells)
            self.tell(kin, cells.id)

    def _length(self, used: str, like: str) -> int | None:
        """Return the length of the value of the step that an instance of another goes by."""
        kin = self.kins.get(used)
        if kin is None:
            return None
        step = filled(used, like)
        if kin.construct:
            return self.facts.of[kin.id].items.get(step)
        for name, index in elements(step):
            cells = kin.cells.get(name)
            if cells is not None:
                many = name == step and (kin.fan_out or "[]" in name)
                return cells.width if many else (cells.sizes or {}).get(index)
        return None

    def tell(self, kin: Kin, step: str) -> None:
        """Tell the fan-outs that go by an instance that its width or its value's length is known."""
        for user in self._users.get(kin.id, ()):
            target = filled(user.id, step)
            if user.construct:
                length = self._length(kin.id, step)
                # Where it is inside of a body that is yet to begin, that body looks for itself.
                if length is not None and (target != user.id or not user.inside):
                    self.facts.of[user.id].items[target] = length
            elif target in user.cells:
                self._resize(user, user.cells[target])

    def begin(self, cells: Cells, hi: int) -> None:
        """Take note that tasks of an instance have begun, the elements of an array up to one."""
        around = list(places(cells.id))
        for construct, arm, _ in around:
            kin = self.kins.get(self.template(construct)) if arm in ("[]", "*") else None
            if kin is None or not kin.over or construct in self.facts.of[kin.id].items:
                continue
            length = self._length(kin.over[0], construct)
            if length is not None:
                self.facts.of[kin.id].items[construct] = length
        self.facts.begin(cells, hi, around)

    def learn_anew(self, widths: Mapping[str, int]) -> None:
        """Find out about widths and constructs from what is left of the outcomes."""
        self.facts.forget()
        for name, width in widths.items():
            kin = self.kins.get(name)
            if kin is None:
                continue
            if kin.construct:
                self.facts.of[name].items[name] = width
            elif name.count("[]") == 1 and ".*" not in name:
                kin.cell(name)
        for kin in self.kins.values():
            if kin.construct:
                continue
            for cells in list(kin.cells.values()):
                if cells.begun:
                    self.begin(cells, len(cells.status.rstrip(ONE[PENDING])))
                if kin.fan_out:
                    self._resize(kin, cells)
                    self.facts.counted(cells)
            for column, _ in kin.columns:
                if column.size is not None:
                    self.facts.decided(kin, column)
                    self.tell(kin, column.step)

    # -- looking -------------------------------------------------------------------------------------------------

    def find(self, address: str) -> tuple[Kin, str, int] | None:
        """Return the step, the instance and the element that an address names, or None."""
        for step, index in elements(address):
            kin = self.kin(step)
            if kin is None or kin.construct:
                continue
            cells = kin.cells.get(step)
            if cells is not None and index < len(cells.status) and kin.address(step, index) == address:
                return kin, step, index
        kin = self.kin(address)
        if kin is None or kin.construct or kin.fan_out or "[]" in address or ".*" in address:
            return None
        # A task that has not begun: it is there when its items or iterations are sure to come.
        for construct, _, at in places(address):
            bodies = self.facts.of.get(self.template(construct))
            if at is not None and (bodies is None or at >= bodies.items.get(construct, 0)):
                return None
        return kin, address, 0

    def unknown(self, address: str) -> str:
        """Return what to say of an address that names no task."""
        known = [kin for kin in self.kins.values() if not kin.helper and not kin.construct][:2000]
        near = self.kin(address) or next((k for name, _ in elements(address) if (k := self.kin(name))), None)
        if near is not None and near.id == address and near.construct:
            inside = next((one for kin in known if kin.id.startswith(near.id) if (one := self._example(kin, ""))), "")
            such = f", such as '{inside}'" if inside else ""
            return f"'{address}' is {_article(near.kind)}: name one task of it{such}"
        if near is not None and near.fan_out and near.id == address:
            return f"'{address}' is a fan-out: name one task of it, such as '{self._example(near, address)}'"
        if near is not None and not near.construct and near.cells and (near.fan_out or near.inside):
            last = next(reversed(near.cells.values()))
            end = near.address(last.id, max(0, len(last.status) - 1))
            return f"the run has no task '{address}', or not yet; the last of '{near.id}' so far is '{end}'"
        if near is not None and not near.fan_out and not near.inside and not near.construct:
            return f"the run has no task '{address}': '{near.id}' is one task"
        asked = template_of(address)
        close = difflib.get_close_matches(asked, [kin.id for kin in known], n=3)
        names = [self._example(self.kins[name], address) for name in close]
        if not any(names):
            names = [self._example(kin, address) for kin in known[:20]]
        return f"the run has no task '{address}'. {did_you_mean(address, [name for name in names if name])}"

    def _example(self, kin: Kin, like: str) -> str:
        """Return the address of a task of a step, near another address where there is one."""
        step = filled(kin.id, like)
        if step not in kin.cells:
            step = next(iter(kin.cells), "" if kin.inside else kin.id)
        return kin.address(step, 0) if step else ""

    def names(self, address: str) -> bool:
        """Whether an address is of a task, a step, an item, an iteration or a case."""
        if self.kin(address) is not None or self.find(address) is not None:
            return True
        place = next(reversed(list(places(address + "/"))), None)
        if place is None or "/" in address[len(place.construct) :]:
            return False
        return self.template(place.construct) in self.facts.of


def _article(kind: str) -> str:
    words = {"each": "an each", "dynamic": "a dynamic step", "sequential": "a sequence", "workflow": "a sub-workflow"}
    return words.get(kind, f"a {kind}")


def _kind_of(kin: Kin, kins: Mapping[str, Kin]) -> str:
    """Return what the construct around a step is, going by the step's path."""
    if f"{kin.group}.source" in kins:
        return "stream"
    if kin.arm == "[]":
        return "each"
    if kin.arm == "*":
        return "loop"
    if kin.arm.startswith(("case", "default")):
        return "switch"
    return "try" if kin.arm else "workflow"


def _nested(kins: Mapping[str, Kin]) -> dict[str, Kin]:
    """Return the steps in their order, each construct right before the steps inside of it."""
    inside: dict[str, list[Kin]] = {}
    for kin in kins.values():
        inside.setdefault(kin.group, []).append(kin)
    for steps in inside.values():
        # Workflows that call themselves stand at the end, behind whatever calls them.
        steps.sort(key=lambda kin: (not kin.id.endswith("()"), -kin.place))
    ordered: dict[str, Kin] = {}
    stack = inside.get("", [])
    while stack:
        kin = stack.pop()
        ordered[kin.id] = kin
        stack += inside.get(kin.id, ())
    return ordered
