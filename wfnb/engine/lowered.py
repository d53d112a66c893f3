"""The lowered form of a workflow: what a worker runs and what the engine goes by, as data. Imports model only."""

from __future__ import annotations

from dataclasses import dataclass

from wfnb.model.expr import Expr, steps_of
from wfnb.model.graph import InputSpec, Step

DEEPEST = 50
"""How deep workflows may call themselves, and dynamic steps be inside of each other."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a step that is a construct is rewritten; the numbers are those of steps and blocks.

    Args:
        kind: "parallel", "each", "loop", "switch", "try", "stream", "dynamic", "call" or "port".
        blocks: its bodies; what each is for depends on the kind.
        source: the step whose value, elements or decision it goes by, or -1.
        limit: the block that fails because there are too many, or -1.
        most: how many there may be, or None.
        concurrency: how many may be begun and not over, or None.
        first: whether the first that is over ends it.
        in_order: whether each waits for the one before.
        carried: for a loop, the steps that give what the first iteration is given: the value, then variables.
        names: what the carried and called-with values are called: "item", then variables; a call's inputs.
        on: for a try, the names of the error types each catch is for.
        finally_: for a try, the block that is always run, or -1.
        parts: the block for `while` and the block for `until`, or -1 each.
        window: for a stream, how many items may be taken and not over.
        port: for a port, which construct's output it shows, which of its blocks', and which of the block's outputs.
    """

    kind: str
    blocks: tuple[int, ...] = ()
    source: int = -1
    limit: int = -1
    most: int | None = None
    concurrency: int | None = None
    first: bool = False
    in_order: bool = False
    carried: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    on: tuple[tuple[str, ...], ...] = ()
    finally_: int = -1
    parts: tuple[int, int] = (-1, -1)
    window: int = 0
    batch: int = 1
    port: tuple[int, int, int] = (-1, -1, -1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lowered step is, beside what it is.

    Args:
        name: what it adds to the address of its block.
        block: the number of its block.
        after: the numbers of steps that must be over before it begins.
        rule: how it is rewritten, when it is a construct.
        helper: whether it is there for the engine, not written by the author.
        decides: whether what its value decides is recorded as a number.
        ends: whether the run ends when it is over.
        gathers: whether it has elements, as a fan-out has, without being one.
    """

    name: str
    block: int = 0
    after: tuple[int, ...] = ()
    rule: Rule | None = None
    helper: bool = False
    decides: bool = False
    ends: bool = False
    gathers: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Steps that are begun together.

    Args:
        stem: what it adds to the address of the block around it; ``*`` and ``[]`` stand for a number.
        steps: the numbers of its steps, each after every step it uses.
        outputs: the steps that give its value, then its variables.
        parent: the number of the block around it, or -1.
        construct: the number of the construct it is a body of, or -1.
    """

    stem: str
    steps: tuple[int, ...]
    outputs: tuple[int, ...]
    parent: int = -1
    construct: int = -1


@dataclass(frozen=True, slots=True)
class Lowered:
    """A workflow ready to be planned and run.

    Args:
        name: the workflow's name.
        version: its version.
        inputs: its inputs, in order.
        steps: its steps; those of the outermost block first. Ids are paths: ``refine.*/fit``.
        places: where each step is.
        blocks: the blocks, the outermost first.
        output: the run's value.
        tags: free labels.
        concurrency: how many tasks may run at once, by tag; "" for all.
    """

    name: str
    version: str
    inputs: tuple[InputSpec, ...]
    steps: tuple[Step, ...]
    places: tuple[Place, ...]
    blocks: tuple[Block, ...]
    output: Expr
    tags: tuple[str, ...] = ()
    concurrency: tuple[tuple[str, int], ...] = ()

    def shown(self) -> frozenset[int]:
        """Return the steps whose values the run's value, or a construct's, may be made of: kept whatever happens."""
        number = {step.id: index for index, step in enumerate(self.steps)}
        found = {number[step] for step in steps_of(self.output)}
        for block in self.blocks:
            found.update(block.outputs)
        for place in self.places:
            # What goes round no time has the value it would have begun with.
            if place.rule is not None and place.rule.kind in ("loop", "each"):
                found.update(place.rule.carried)
        return frozenset(found)

    def hidden_uses(self) -> dict[str, list[str]]:
        """Return, by step, the steps it needs other than by name; by ``path:name``, what a construct's names need."""
        found: dict[str, list[str]] = {}
        for step, place in zip(self.steps, self.places, strict=True):
            rule = place.rule
            if rule is None:
                continue
            numbers = [*rule.carried] if rule.kind != "source" else []
            numbers += [one for one in (rule.source, rule.port[0]) if one >= 0]
            bodies = [self.blocks[one] for one in (*rule.blocks, *rule.parts, rule.finally_) if one >= 0]
            outputs = [one for block in bodies for one in block.outputs]
            found[step.id] = [self.steps[one].id for one in (*numbers, *outputs)]
            path = step.id.removesuffix(".safe").removesuffix(".if")
            inside = [one for block in bodies for one in block.steps] if rule.kind == "try" else []
            needs = {
                "each": numbers,
                "loop": [*numbers, *outputs],
                "try": inside,
            }.get(rule.kind, [])
            for name in ("item", "index", "error", *rule.names):
                found[f"{path}:{name}"] = [self.steps[one].id for one in needs]
        return found
