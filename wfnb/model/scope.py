"""What names mean at one place of a workflow. Imports expr and errors only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from wfnb.model.errors import did_you_mean
from wfnb.model.expr import Expr, Input, Local, StepValue, Var

ROOTS = ("input", "var", "run", "steps")
"""Names that always mean the same."""


@dataclass(slots=True)
class Scope:
    """What names mean at one place of a workflow.

    Args:
        parent: what they mean around it.
        steps: the steps that are seen here, and what else is known by an id.
        names: what the construct around gives: "item" or another name, "index", "error".
        constructs: what the constructs around give, by the construct's id.
        variables: the variables that may have been set before.
        inputs: the workflow's inputs, in order.
        later: ids of steps that come later in the same body.
    """

    parent: Scope | None = None
    steps: set[str] = field(default_factory=set)
    names: dict[str, Local] = field(default_factory=dict)
    constructs: dict[str, dict[str, Local]] = field(default_factory=dict)
    variables: set[str] = field(default_factory=set)
    inputs: tuple[str, ...] = ()
    later: set[str] = field(default_factory=set)

    def inner(self, construct: str = "", given: Mapping[str, Local] | None = None) -> Scope:
        """Return what names mean in a body inside.

        Args:
            construct: the construct's id.
            given: what it gives the body, by name.
        """
        names = dict(given or {})
        return Scope(self, set(), names, {construct: names} if names else {}, set(self.variables), self.inputs)

    def around(self) -> Iterator[Scope]:
        """Yield this scope and those around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def sees_step(self, step: str) -> bool:
        """Return whether a step is seen from here."""
        return any(step in scope.steps for scope in self.around())

    def find(self, name: str) -> Expr | None:
        """Return what a name that is no root means, or None."""
        for scope in self.around():
            if name in scope.names:
                return scope.names[name]
            if name in scope.steps:
                return StepValue(name)
        if name in self.variables:
            return Var(name)
        return Input(name) if name in self.inputs else None

    def given(self, construct: str) -> dict[str, Local]:
        """Return what the construct around with that id gives, by name; nothing when there is none."""
        return next((scope.constructs[construct] for scope in self.around() if construct in scope.constructs), {})

    def ids(self) -> list[str]:
        """Return the ids of the steps that are seen, innermost first."""
        return [step for scope in self.around() for step in sorted(scope.steps)]

    def __contains__(self, name: object) -> bool:
        """Return whether a name is the id of a step that is seen, or of a construct around."""
        return any(name in scope.steps or name in scope.constructs for scope in self.around())

    def known(self) -> list[str]:
        """Return every name that means something."""
        names = [name for scope in self.around() for name in (*scope.names, *scope.constructs)]
        return [*dict.fromkeys([*names, *self.ids(), *sorted(self.variables), *self.inputs]), "input", "var", "run"]

    def means(self, name: str) -> bool:
        """Return whether a bare name means something."""
        return name in ROOTS or self.find(name) is not None or bool(self.given(name))


def near(name: str, known: Iterable[str]) -> str:
    """Return the sentence that helps with an unknown name, at a bounded cost however many and long the names are."""
    return did_you_mean(name[:60], [one for one in islice(known, 300) if len(one) <= 60])
