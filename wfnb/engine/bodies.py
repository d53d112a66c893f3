"""What a run's journal says of constructs: items, iterations, the cases taken, the errors caught. Pure.

Imports model, engine.addresses and engine.cells. A construct has no entry of its own in the journal: what is known of
it follows from the steps inside and from the numbers its decisions were recorded with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from wfnb.engine.addresses import Place, address_of, owner_of
from wfnb.engine.cells import Cells, Kin
from wfnb.model.events import Column


class Bodies:
    """What is known of one construct's bodies, in all instances of the construct."""

    __slots__ = ("arms", "begun", "ends", "grown", "items", "ran")

    def __init__(self) -> None:
        # The bodies it has by name, where the shape shows steps of them.
        self.arms: dict[str, None] = {}
        # Instances that have planned their steps, for a dynamic step.
        self.grown: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """Forget what happened."""
        # By instance of the construct: how many items or iterations there are to be, where that is known.
        self.items: dict[str, int] = {}
        # By instance: one past the last item or iteration that began.
        self.begun: dict[str, int] = {}
        # By body: the instances that took it.
        self.ran: dict[str, set[str]] = {}
        # Loops that have made their last decision.
        self.ends: set[str] = set()

    @property
    def times(self) -> int:
        """How many items or iterations began, or are known to come."""
        return sum(max(count, self.items.get(name, 0)) for name, count in self.begun.items()) + sum(
            count for name, count in self.items.items() if name not in self.begun
        )

    def took(self, arm: str) -> int:
        """Return how many instances took a body."""
        return len(self.ran.get(arm, ()))

    @property
    def caught(self) -> set[str]:
        """The instances whose error was caught."""
        return set().union(*(ran for arm, ran in self.ran.items() if arm.startswith("catch")))


class Facts:
    """What is known of every construct of a run.

    Args:
        kins: the run's steps by template; it grows with them.
        template: gives the id of the template that an instance is of.
    """

    def __init__(self, kins: Mapping[str, Kin], template: Callable[[str], str]) -> None:
        self._kins = kins
        self.template = template
        self.of: dict[str, Bodies] = {}
        # By step: the instances whose condition was false.
        self.off: dict[str, set[str]] = {}

    def add(self, kin: Kin) -> None:
        """Take note of a step: a construct, or a step inside of one."""
        if kin.construct:
            self.of.setdefault(kin.id, Bodies())
        if kin.arm and kin.group in self.of and not kin.helper:
            self.of[kin.group].arms[kin.arm] = None

    def forget(self) -> None:
        """Forget what happened, to be told it anew."""
        self.off.clear()
        for bodies in self.of.values():
            bodies.forget()

    def begin(self, cells: Cells, hi: int, around: Iterable[Place]) -> None:
        """Take note that tasks of an instance have begun, the elements of an array up to one.

        Args:
            cells: the instance.
            hi: one past the last element that began.
            around: the bodies it is inside of.
        """
        cells.begun = True
        for construct, arm, index in around:
            bodies = self.of.get(self.template(construct))
            if bodies is None or "[]" in construct or cells.id.startswith(f"{construct}.{index}.while"):
                continue  # what is asked before an iteration is not yet one
            if arm in ("[]", "*"):
                past = hi if index is None else index + 1
                if past > bodies.begun.get(construct, 0):
                    bodies.begun[construct] = past
            else:
                bodies.ran.setdefault(arm, set()).add(construct)

    def counted(self, cells: Cells) -> None:
        """Take note of the width of an instance that is an array of bodies."""
        construct, sign, _ = cells.id.partition("[]")
        bodies = self.of.get(self.template(construct)) if sign else None
        if bodies is not None and cells.width is not None:
            bodies.items[construct] = cells.width

    def decided(self, kin: Kin, column: Column) -> None:
        """Take in the number a decision was recorded with."""
        size, word = column.size, kin.id.rpartition(".")[2]
        if size is None or word not in _WORDS:
            return
        template = owner_of(kin.id)
        bodies = self.of.get(template)
        for index in range(column.lo, column.lo + len(column.status)) if "[]" in column.step else (0,):
            step = address_of(column.step, index, fan_out=False)
            owner = step[: -len(word) - 1]
            if word in ("while", "until"):
                owner = owner.rpartition(".")[0]
            if word == "when":
                if size:
                    self.off.setdefault(template, set()).add(owner)
            elif bodies is None:
                return
            elif word == "choice":
                bodies.ran.setdefault(_taken(size, bodies), set()).add(owner)
            elif (word, bool(size)) in (("while", False), ("until", True)):
                bodies.ends.add(owner)
            elif word in ("over", "times", "source"):
                bodies.items[owner] = max(size, bodies.begun.get(owner, 0)) if word == "source" else size


_WORDS = ("choice", "while", "until", "when", "over", "times", "source")


def _taken(size: int, bodies: Bodies) -> str:
    arm = "case" if not size else f"case_{size}"
    # One past the last case means the default.
    return "default" if arm not in bodies.arms and "default" in bodies.arms else arm
