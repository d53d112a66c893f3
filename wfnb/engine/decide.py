"""The nodes a lowered workflow has beside the author's own: values, decisions, limits. Imports model only.

What a decision chose is a whole number, recorded with its outcome, so that the engine, which sees no values, can go by
it, and a resumed run decides the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wfnb.model.errors import LimitReached, NoCase, VariableConflict
from wfnb.model.expr import UNSET
from wfnb.model.node import Node


class Value(Node):
    """Gives the value of an expression that is used as a whole."""

    def execute(self, value: Any) -> Any:
        """Return the value it is given."""
        return value


class Condition(Node):
    """Decides whether something is true: 1 or 0."""

    def execute(self, value: Any) -> int:
        """Return 1 when the value is true, else 0."""
        return 1 if value else 0


class Times(Node):
    """Decides how many iterations a loop has."""

    def execute(self, value: Any) -> int:
        """Return the number; raises ValueError when it is none."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"a loop's 'times' is {value!r}: give a whole number, 0 or more")
        return value


class Choice(Node):
    """Decides which case of a switch is taken."""

    class Params(Node.Params):
        """Settings."""

        switch: str
        conditions: tuple[bool, ...]
        default: bool

    def execute(self, value: Callable[[], Any] | None, *cases: Callable[[], Any]) -> int:
        """Return the place of the first case that fits, or one past the last for the default.

        Args:
            value: what the cases are compared with, asked for once when needed.
            cases: each case's constant or condition; asked for in order, none after the one that fits.

        Raises:
            NoCase: none fits and there is no default.
        """
        settings = self.params
        found: list[Any] = []
        for place, (case, condition) in enumerate(zip(cases, settings.conditions, strict=True)):
            if not condition and not found and value is not None:
                found.append(value())
            if case() if condition else case() == found[0]:
                return place
        if settings.default:
            return len(cases)
        told = f"the value is {found[0]!r:.200}" if found else "no condition is true"
        raise NoCase(
            f"no case of switch '{settings.switch}' fits: {told}, and it has no default. Add a case or a default"
        )


class Limit(Node):
    """Fails because something went on longer than it may."""

    class Params(Node.Params):
        """Settings."""

        message: str

    def execute(self) -> None:
        """Raise LimitReached."""
        raise LimitReached(self.params.message)


class Join(Node):
    """Gives the one value that branches side by side set a variable to."""

    class Params(Node.Params):
        """Settings."""

        name: str
        branches: tuple[str, ...] = ()

    def execute(self, values: Sequence[Any], before: Any = UNSET) -> Any:
        """Return the value they agree on, or the one before when none changed it; raises VariableConflict."""
        setters = [(n, value) for n, value in enumerate(values) if value is not UNSET and not _same(value, before)]
        if not setters:
            return before
        first, value = setters[0]
        for place, other in setters[1:]:
            if not _same(value, other):
                one, two = self._called(first), self._called(place)
                raise VariableConflict(
                    f"variable '{self.params.name}' is set to different values by {one} ({value!r:.80}) and {two} "
                    f"({other!r:.80}), which run side by side: use two names, or set it after they are joined"
                )
        return value

    def _called(self, place: int) -> str:
        names = self.params.branches
        return f"branch '{names[place]}'" if names else f"item {place}"


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  arrays and frames have no one truth: ask them for it
        import numpy as np

        return bool(np.array_equal(one, other))
