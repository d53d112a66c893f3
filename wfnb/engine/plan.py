"""From a lowered workflow to a plan: what waits for what, and what can be known before anything runs. Pure.

A plan holds *templates*: one a lowered step, with its needs sorted into two kinds: *whole* (it needs another step's
complete value) and *aligned* (element i of a fan-out needs element i of another fan-out). A run makes *plan steps* of
them: those of the outermost block at once, those of a construct's bodies each time a body is begun.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgpack

from wfnb.engine.lowered import Block, Lowered, Rule
from wfnb.model.errors import DefinitionError, Problem
from wfnb.model.expr import Element, Expr, Local, StepValue, evaluate, render, steps_of, walk
from wfnb.model.graph import Step
from wfnb.model.node import id_from
from wfnb.model.sequences import length_of

Slot: TypeAlias = tuple[int, Any]
"""What a body is given: a step's number and which element (-1: its whole value), or -1 and the value itself."""


@dataclass(frozen=True, slots=True)
class Template:
    """One step of a lowered workflow, as the engine goes by it.

    Args:
        index: its number in the workflow.
        id: its path.
        name: what it adds to the address of its block.
        label: what its duration is remembered by: the node's name and version.
        rule: how it is rewritten, when it is a construct (or takes a generator's items).
        many: whether it has elements.
        product: whether the fan-out is a cartesian product.
        whole: steps whose complete value it needs.
        aligned: fan-outs whose element i its element i needs.
        sized: steps whose value's length sets its width, beside what is known at the start.
        after: steps that must be over before it begins.
        holds: steps of blocks around it that its bodies use.
        names: what it uses of what constructs give their bodies: (path, name).
        uses: the steps its expressions name.
        priority: 1 (first) to 20 (last).
        alone: its tasks share no bundle.
        resources: what a worker must offer.
        keeps: whether its values are kept in the store.
        helper: whether it is there for the engine.
        ends: whether the run ends when it is over.
        limits: which limits on tasks at once it counts for, as places in `Plan.limits`.
        block: the number of its block.
        timeout: seconds one attempt may take, or None.
    """

    index: int
    id: str
    name: str
    label: str
    rule: Rule | None
    many: bool
    product: bool
    whole: tuple[int, ...]
    aligned: tuple[int, ...]
    sized: tuple[int, ...]
    after: tuple[int, ...]
    holds: tuple[int, ...]
    names: tuple[tuple[str, str], ...]
    uses: tuple[int, ...]
    priority: int
    alone: bool
    resources: tuple[tuple[str, float], ...]
    keeps: bool
    helper: bool = False
    ends: bool = False
    limits: tuple[int, ...] = ()
    block: int = 0
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow as the engine goes by it.

    Args:
        templates: its steps; those of the outermost block first.
        blocks: the blocks, the outermost first.
        outputs: the numbers of the steps the run's value is made from.
        limits: how many tasks may run at once.
        outermost: the steps that each run makes of the outermost block, with who uses each, once the first has.
    """

    templates: tuple[Template, ...]
    blocks: tuple[Block, ...]
    outputs: tuple[int, ...]
    limits: tuple[int, ...] = ()
    outermost: list[tuple[PlanStep, tuple[int, ...]]] = field(default_factory=list, compare=False, repr=False)
    _packed: list[bytes] = field(default_factory=list, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # It is pickled for each run of a workflow, and a thousand dataclasses take long.
        if not self._packed:
            self._packed.append(pack_plan(self, {}))
        return _unpickled, (self._packed[0],)


@dataclass(slots=True, eq=False)
class PlanStep:
    """A template in one run at one address; steps of a run are named by their number.

    Args:
        index: its number; every step it needs has a smaller one.
        id: its id in this run: ``refine.2/fit``.
        template: the template.
        scope: the number of the scope it is in.
        fan_out: whether it has elements.
        whole: steps whose complete value it needs.
        aligned: fan-outs whose element i its element i needs.
        sized: steps whose value's length sets its width.
        gates: steps that must be complete before it opens.
        cells: single elements it needs, as (step, element).
        depth: the number of steps on the longest way to it.
        binding: what its expressions' names are here, or None where they are what they are in the plan.
        single: whether it is one task as most are: of no construct and no fan-out, sharing bundles, ending nothing.
    """

    index: int
    id: str
    template: Template
    scope: int
    fan_out: bool
    whole: tuple[int, ...]
    aligned: tuple[int, ...]
    sized: tuple[int, ...]
    gates: tuple[int, ...]
    cells: tuple[tuple[int, int], ...]
    depth: int
    binding: Binding | None
    # Of the template, here because they are looked at for every bundle.
    label: str
    priority: int
    alone: bool
    resources: tuple[tuple[str, float], ...]
    keeps: bool
    limits: tuple[int, ...]
    single: bool


class Binding(NamedTuple):
    """What the names in a template's expressions are for one step of a run.

    Args:
        code: the key of the value that holds the template's code, or "" for the run's.
        template: the template's number there.
        id: the step's id in this run.
        steps: the numbers of the steps it names, by path.
        slots: what constructs give it, by (path, name).
    """

    code: str
    template: int
    id: str
    steps: tuple[tuple[str, int], ...]
    slots: tuple[tuple[tuple[str, str], Slot], ...]


def make_plan(lowered: Lowered) -> Plan:
    """Return the plan of a lowered workflow."""
    number = {step.id: index for index, step in enumerate(lowered.steps)}
    many = {
        step.id
        for step, place in zip(lowered.steps, lowered.places, strict=True)
        if place.gathers or step.over or step.kind in ("each", "source")
    }
    outputs = tuple(number[step] for step in steps_of(lowered.output))
    kept = lowered.shown()
    limits = [(tag, count) for tag, count in lowered.concurrency]
    templates: list[Template] = []
    for index, (step, place) in enumerate(zip(lowered.steps, lowered.places, strict=True)):
        node, policy, rule = step.node, step.node.policy, place.rule
        whole, aligned, sized = _needs(step, number, many)
        exprs = _exprs(step)
        if rule is not None:
            whole += _waits_for(rule, lowered, many)
        tags = {*node.info.tags, ""}
        bound = (
            ()
            if rule is not None and rule.kind != "source"
            else tuple(place for place, (tag, _) in enumerate(limits) if tag in tags)
        )
        templates.append(
            Template(
                index=index,
                id=step.id,
                name=place.name,
                label=f"{id_from(node.info.name)} {node.info.version}",
                rule=rule,
                many=step.id in many,
                product=step.kind == "expand",
                whole=tuple(dict.fromkeys(whole)),
                aligned=aligned,
                sized=sized,
                after=place.after,
                holds=(),
                names=tuple(dict.fromkeys((p.step, p.name) for e in exprs for p in walk(e) if isinstance(p, Local))),
                uses=tuple(dict.fromkeys(number[used] for expr in exprs for used in steps_of(expr))),
                priority=policy.priority,
                alone=bool(policy.resources) or not node.capabilities.batchable or step.kind in ("source", "plan"),
                resources=tuple(sorted(policy.resources.items())),
                keeps=policy.checkpoint or index in kept,
                helper=place.helper,
                ends=place.ends,
                limits=bound,
                block=place.block,
                timeout=policy.timeout,
            )
        )
    held, cleaning = _from_around(lowered, templates)
    for construct, used in held.items():
        templates[construct] = replace(templates[construct], holds=tuple(used))
    for construct, used in cleaning.items():
        one = templates[construct]
        templates[construct] = replace(one, whole=tuple(dict.fromkeys((*one.whole, *used))))
    return Plan(tuple(templates), lowered.blocks, outputs, tuple(count for _, count in limits))


def _exprs(step: Step) -> list[Expr]:
    found = [*step.args, *(expr for _, expr in step.kwargs)]
    return found if step.when is None else [*found, step.when]


def _waits_for(rule: Rule, lowered: Lowered, many: set[str]) -> tuple[int, ...]:
    """The steps that must be complete before a construct begins."""
    if rule.kind == "port":
        return (rule.port[0],)
    if rule.kind == "source":
        return ()
    found = list(rule.carried)
    # The bodies of an each begin as its elements come.
    if rule.source >= 0 and not (rule.kind == "each" and lowered.steps[rule.source].id in many):
        found.append(rule.source)
    return tuple(found)


def _from_around(
    lowered: Lowered, templates: list[Template]
) -> tuple[dict[int, dict[int, None]], dict[int, dict[int, None]]]:
    """Return, by construct, the steps around it that its bodies use; and those that what it runs at last uses.

    A try waits for the latter: so once it has begun, nothing that fails around it can keep its `finally` from running.
    """
    held: dict[int, dict[int, None]] = {}
    cleaning: dict[int, dict[int, None]] = {}
    for template in templates:
        source = () if template.rule is None or template.rule.source < 0 else (template.rule.source,)
        for used in dict.fromkeys((*template.uses, *template.whole, *source)):
            at, goal = template.block, templates[used].block
            while at != goal and (construct := lowered.blocks[at].construct) >= 0:
                held.setdefault(construct, {})[used] = None
                rule = lowered.places[construct].rule
                if rule is not None and rule.finally_ == at:
                    cleaning.setdefault(construct, {})[used] = None
                at = lowered.blocks[at].parent
    return held, cleaning


def _needs(
    step: Step, number: Mapping[str, int], many: set[str]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the steps a step needs whole, needs element by element, and takes its width from."""
    whole: dict[int, None] = {}
    aligned: dict[int, None] = {}
    sized: dict[int, None] = {}
    for name, expr in (*enumerate(step.args), *step.kwargs):
        if step.over and name in step.over and isinstance(expr, StepValue):
            if step.kind == "map" and expr.step in many:
                aligned[number[expr.step]] = None
                continue
            sized[number[expr.step]] = None
        _sort(expr, number, many, whole, aligned, sized)
    if step.when is not None:
        _sort(step.when, number, many, whole, aligned, sized)
    return tuple(whole), tuple(aligned), tuple(sized)


def _sort(
    expr: Expr,
    number: Mapping[str, int],
    many: set[str],
    whole: dict[int, None],
    aligned: dict[int, None],
    sized: dict[int, None],
) -> None:
    elements = [] if type(expr) is StepValue else [part.source for part in walk(expr) if isinstance(part, Element)]
    if not elements:
        whole.update(dict.fromkeys(number[used] for used in steps_of(expr)))
        return
    inside: set[str] = set()
    for source in elements:
        if isinstance(source, StepValue):
            inside.add(source.step)
            if source.step in many:
                aligned[number[source.step]] = None
            else:
                sized[number[source.step]] = None
                whole[number[source.step]] = None
    outside = _outside(expr)
    whole.update(dict.fromkeys(number[used] for used in outside))


def _outside(expr: Expr) -> Iterator[str]:
    """Yield the steps an expression uses other than element by element."""
    if isinstance(expr, StepValue):
        yield expr.step
    elif not isinstance(expr, Element):
        for part in _parts(expr):
            yield from _outside(part)


def _parts(expr: Any) -> tuple[Expr, ...]:
    for name in ("args", "items"):
        if hasattr(expr, name):
            parts: tuple[Expr, ...] = getattr(expr, name)
            return parts
    if hasattr(expr, "names"):
        return tuple(part for _, part in expr.names)
    return (expr.source,) if hasattr(expr, "source") and not isinstance(expr.source, str) else ()


def known_widths(lowered: Lowered, inputs: Mapping[str, Any]) -> dict[str, int]:
    """Return the widths that constants and inputs alone decide, by step's path.

    A map whose lists are known has their common length; an expand the product of the lengths that are known, the
    lengths of steps' values coming later.

    Raises:
        DefinitionError: a list has no length, cannot be computed, or two lists of a map differ in length.
    """
    problems: list[Problem] = []
    widths: dict[str, int] = {}
    for step in lowered.steps:
        lengths: dict[str, int] = {}
        iterated = (
            step.iterated
            if step.over
            else [part.source for expr in _exprs(step) for part in walk(expr) if isinstance(part, Element)]
            if step.kind == "each"
            else ()
        )
        for expr in iterated:
            if steps_of(expr) or any(isinstance(part, Local) for part in walk(expr)):
                continue
            try:
                lengths[render(expr)] = length_of(evaluate(expr, {}, inputs))
            except Exception as error:  # noqa: BLE001  whatever the value's own code raises is the problem to report
                text = f"'{render(expr)}' cannot be iterated over: {error}"
                problems.append(Problem(text, step.id, step.where, "Pass a list, or make it a node"))
        if not lengths:
            continue
        if step.kind == "expand":
            widths[step.id] = math.prod(lengths.values())
        elif len(set(lengths.values())) > 1:
            counts = ", ".join(f"'{text}' has {length}" for text, length in lengths.items())
            text = f"the lists it maps over differ in length: {counts}"
            problems.append(Problem(text, step.id, step.where, "Give lists of one length, or use .expand(...)"))
        else:
            widths[step.id] = next(iter(lengths.values()))
    if problems:
        raise DefinitionError(lowered.name, tuple(problems))
    return widths


# -- a plan as bytes, for a journal --------------------------------------------------------------------------------


def pack_plan(plan: Plan, widths: Mapping[str, int]) -> bytes:
    """Return a plan and the widths known of it as bytes."""
    rows = [tuple(_row(getattr(one, f.name)) for f in fields(one)) for one in plan.templates]
    packed: bytes = msgpack.packb(
        (rows, [_row(block) for block in plan.blocks], plan.outputs, plan.limits, dict(widths))
    )
    return packed


def unpack_plan(data: bytes) -> tuple[Plan, dict[str, int]]:
    """Return what `pack_plan` was given."""
    rows, blocks, outputs, limits, widths = msgpack.unpackb(data, use_list=False)
    rule = [f.name for f in fields(Template)].index("rule")
    templates: list[Template] = []
    for row in rows:
        facts: list[Any] = list(row)
        facts[rule] = None if row[rule] is None else Rule(*row[rule])
        templates.append(Template(*facts))
    return Plan(tuple(templates), tuple(Block(*block) for block in blocks), outputs, limits), widths


@lru_cache(maxsize=16)
def _unpickled(packed: bytes) -> Plan:
    """Return a plan; the one unpacked before where it is the same, as it is for the next run of a workflow."""
    return unpack_plan(packed)[0]


def _row(value: Any) -> Any:
    if isinstance(value, Rule | Block):
        return tuple(getattr(value, f.name) for f in fields(value))
    return value


# -- the shape -----------------------------------------------------------------------------------------------------

_WORDS = {"call": "workflow", "plan": "task", "each": "map", "source": "map"}


def shape_of(lowered: Lowered, prefix: str = "") -> str:
    """Return what a picture needs to know of a workflow, as JSON text: its steps, their nodes, kinds and edges.

    Args:
        lowered: the workflow.
        prefix: what the paths of its steps begin with, where it is a dynamic step's.
    """
    steps: list[dict[str, Any]] = []
    for step, place in zip(lowered.steps, lowered.places, strict=True):
        rule = place.rule
        if rule is not None and rule.kind == "port":
            continue
        construct = rule is not None and rule.kind != "source"
        uses = [used for expr in _exprs(step) for used in steps_of(expr)]
        over = [used for expr in step.iterated for used in steps_of(expr)]
        over += [used for name, expr in step.kwargs if not name for used in steps_of(expr)]
        if construct and rule:
            needs = [*([rule.source] if rule.source >= 0 else []), *rule.carried]
            uses += [lowered.steps[one].id for one in needs]
            if rule.kind == "each":
                over = [lowered.steps[rule.source].id]
        row: dict[str, Any] = {
            "id": prefix + step.id,
            "node": "" if construct else step.node.info.name,
            "kind": _WORDS.get(rule.kind, rule.kind) if construct and rule else _WORDS.get(step.kind, step.kind),
            "group": prefix + step.group if step.group else prefix.rstrip("/"),
            "uses": [prefix + used for used in dict.fromkeys(uses)],
            "over": [prefix + used for used in dict.fromkeys(over)],
            "after": [prefix + lowered.steps[one].id for one in place.after],
            "where": step.where,
        }
        if construct and (arms := _arms(rule)):
            row["arms"] = arms
        if construct and rule and rule.kind == "each":
            row["kind"] = "each"
        if place.helper:
            row["helper"] = True
        steps.append(row)
    steps += _dissolved(steps)
    return json.dumps({"steps": steps, "inputs": [spec.name for spec in lowered.inputs]})


def _arms(rule: Rule | None) -> dict[str, str]:
    """What the bodies of a construct are for, as people would say it."""
    if rule is None or rule.kind != "try":
        return {}
    words = ["catch" if n == 0 else f"catch_{n}" for n in range(len(rule.on))]
    return {word: ", ".join(on) for word, on in zip(words, rule.on, strict=True) if on}


def _dissolved(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The constructs that have no step of their own any more: what is inside of them says which they are."""
    known = {row["id"] for row in steps}
    found: dict[str, dict[str, Any]] = {}
    for row in steps:
        group: str = row["group"]
        while group and group not in known and group not in found:
            kind = "workflow"
            if row["id"].startswith(f"{group}[]/"):
                kind = "stream" if f"{group}.source" in known else "each"
            outer = group.rpartition("/")[0]
            around = outer.rpartition(".")[0] if "." in outer.rpartition("/")[2] else outer.removesuffix("[]")
            found[group] = {
                "id": group,
                "node": "",
                "kind": kind,
                "group": around,
                "uses": [],
                "over": [],
                "after": [],
                "where": row["where"],
            }
            group = around
    return list(found.values())
