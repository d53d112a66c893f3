"""The values a bundle has at hand while it runs. Imports model only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from wfnb.model.sequences import as_sequence

Cells: TypeAlias = dict[int, dict[int, Any]]
"""Values at hand: by step's number, by element."""

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Absent(Exception):
    """A value a task needs is not there, because the task that gives it failed."""


class Values:
    """The values a bundle has at hand: those it was given and those it makes.

    Args:
        cells: values by step and element.
        widths: how many elements each step has that is used whole.
        fan_outs: which steps are fan-outs.
        inputs: the run's inputs by name.
        run_id: the run.
        spent: whose values nobody needs any more once all the steps here, the keys, have theirs, element by element.
    """

    def __init__(
        self,
        cells: Cells,
        widths: Mapping[int, int],
        fan_outs: frozenset[int],
        inputs: Mapping[str, Any] = _NOTHING,
        run_id: str = "",
        spent: Mapping[int, Sequence[int]] = _NOTHING,
    ) -> None:
        self.cells = cells
        self.inputs = inputs
        self.run_id = run_id
        self.widths = widths
        self.fan_outs = fan_outs
        self._whole: dict[int, Any] = {}
        self._sequences: dict[object, Sequence[Any]] = {}
        self._spent = spent
        self._uses = Counter(source for sources in spent.values() for source in sources)
        self._used: Counter[tuple[int, int]] = Counter()

    def add(self, step: int, element: int, value: Any) -> None:
        """Take the value of one element, and let go of those that were there for it and for others that have theirs."""
        self.cells.setdefault(step, {})[element] = value
        for source in self._spent.get(step, ()):
            if self._uses[source] > 1:
                self._used[source, element] += 1
                if self._used[source, element] < self._uses[source]:
                    continue
            self.cells[source].pop(element, None)

    def cell(self, step: int, element: int) -> Any:
        """Return the value of one element; raises Absent."""
        try:
            return self.cells[step][element]
        except KeyError:
            raise Absent from None

    def whole(self, step: int) -> Any:
        """Return a step's complete value: a fan-out's as a list; raises Absent."""
        if step not in self.fan_outs:
            return self.cell(step, 0)
        if step not in self._whole:
            cells = self.cells.get(step, {})
            try:
                self._whole[step] = [cells[element] for element in range(self.widths[step])]
            except KeyError:
                raise Absent from None
        return self._whole[step]

    def sequence(self, key: object, make: Callable[[], Any]) -> Sequence[Any]:
        """Return what a fan-out iterates over, made once a bundle."""
        if key not in self._sequences:
            self._sequences[key] = as_sequence(make())
        return self._sequences[key]
