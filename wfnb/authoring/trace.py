"""`Trace`, which turns calls of nodes into steps and collects every problem on the way.

A workflow's function is written down in one trace, each body of a construct in it in a trace of its own inside of that.
Imports model, check and ref.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Sized
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

from wfnb.authoring.check import compatible, element_of, is_list, length_of, never_iterable, where
from wfnb.authoring.ref import Owner, Ref, holds_reference, lift
from wfnb.model.errors import Problem
from wfnb.model.expr import Container, Expr, StepValue, render
from wfnb.model.graph import Composed, Graph, Step, SubWorkflow
from wfnb.model.node import Node, StepKind, id_from
from wfnb.model.ports import Argument, Ports
from wfnb.model.types import LOOKED_AT, describe, is_listlike, plain_function, show

MOST = 1_000_000
"""The most elements an iterator handed to `map` may have."""


class Trace:
    """The writing down of one workflow, or of one body of a construct in it.

    Args:
        name: the workflow's name.
        parent: the trace around a body; None for a workflow.
        inside: the id of the construct that a body belongs to.
        construct: what that construct is called, such as "wf.each".
        shares: whether ids in the body are drawn from the same lot as those around it.
        item: what templates call the item in the body, where it has one.

    Attributes:
        steps: the steps so far, each after every step it uses.
        problems: everything wrong so far, with the workflow and all bodies in it.
    """

    def __init__(
        self,
        name: str,
        parent: Trace | None = None,
        *,
        inside: str = "",
        construct: str = "",
        shares: bool = False,
        item: str = "",
    ) -> None:
        self.name = name
        self.parent = parent
        self.inside = inside
        self.construct = construct
        self.item = item
        self.steps: list[Step] = []
        self.problems: list[Problem] = parent.problems if parent is not None else []
        same = parent is not None and shares
        self._places: dict[str, str] = parent._places if parent is not None and same else {}
        self._lines: dict[tuple[str, int], str] = {}
        self._in_order: dict[tuple[int, ...], tuple[Any, ...]] = {}
        self._counts: dict[str, int] = parent._counts if parent is not None and same else {}
        self._opened: set[Owner] = set()  # bodies whose steps are seen from here although they are over
        self._sources: list[Source] = []
        self._now = ("", "")  # the step and place of the call being looked at

    def body(self, inside: str, construct: str, *, shares: bool = False, item: str = "") -> Trace:
        """Return a trace for a body of a construct.

        Args:
            inside: the construct's id.
            construct: what it is called, such as "wf.each".
            shares: whether ids in it are drawn from the same lot as those here.
            item: what templates call the item in it.
        """
        return Trace(self.name, self, inside=inside, construct=construct, shares=shares, item=item)

    def close(self) -> None:
        """Note what only shows when everything is written down: generators whose items nobody takes."""
        for source in self._sources:
            if not source.taken:
                source.refuse()

    # -- what is seen --------------------------------------------------------------------------------------------

    def sees(self, other: Owner) -> bool:
        """Return whether references of another tracing may be used here: one around this, or seen after it is over."""
        trace: Trace | None = self
        while trace is not None:
            if trace is other or other in trace._opened:
                return True
            trace = trace.parent
        return False

    def open(self, body: Trace) -> None:
        """Let the steps of a body that is over be seen from here, as those of `sequential` and `parallel` are."""
        self._opened |= {body, *body._opened}

    @property
    def root(self) -> Trace:
        """The trace of the workflow."""
        return self if self.parent is None else self.parent.root

    def item_names(self) -> set[str]:
        """Return what templates call the items of the bodies this is in."""
        names: set[str] = set()
        trace: Trace | None = self
        while trace is not None:
            if trace.item:
                names.add(trace.item)
            trace = trace.parent
        return names

    # -- ids -----------------------------------------------------------------------------------------------------

    def take_id(self, name: str, place: str) -> str:
        """Return the next free id for a step of a node with this name: ``name``, then ``name_2``, ``name_3``, ..."""
        stem = id_from(name)
        count = self._counts.get(stem, 0) + 1
        chosen = stem if count == 1 else f"{stem}_{count}"
        while self.place_of(chosen) is not None:
            count += 1
            chosen = f"{stem}_{count}"
        self._counts[stem] = count
        self._places[chosen] = place
        return chosen

    def place_of(self, step_id: str) -> str | None:
        """Return where the step was written that has this id and can be seen from here, or None."""
        trace: Trace | None = self
        while trace is not None:
            if step_id in trace._places:
                return trace._places[step_id]
            trace = trace.parent
        return None

    def fixed_id(self, step_id: str, place: str) -> str:
        """Return the id a step is to have, or another one when it is taken, which is a problem."""
        taken = self.place_of(step_id)
        if taken is None:
            self._places[step_id] = place
            return step_id
        first = f" in {taken}" if taken else ""
        self.problem(
            f"the id '{step_id}' is taken by another step{first}", "Give one of them another id", step_id, place
        )
        return self.take_id(step_id, place)

    # -- problems ------------------------------------------------------------------------------------------------

    def problem(self, message: str, cure: str, step: str = "", place: str = "") -> None:
        """Note that something is wrong with a step, or with the call being looked at."""
        now_step, now_place = self._now
        self.problems.append(Problem(message, step or now_step, place or now_place, cure))

    def at(self, step: str, place: str) -> None:
        """Say which step is being looked at, and where it is written: problems without their own belong to it."""
        self._now = (step, place)

    def complain(self, message: str, cure: str) -> None:
        """Note that something is wrong at the place in the user's source that is being run."""
        self.problem(message, cure, "", where())

    def foreign(self, ref: Ref) -> None:
        """Note that a reference was met that means nothing here."""
        owner = ref._owner
        if isinstance(owner, Source):
            owner.refuse()
        elif isinstance(owner, Trace) and owner.root is self.root:
            self.problem(
                f"the reference '{render(ref._expr)}' is known only inside '{owner.inside}'",
                f"Return it from that body, and use the value that {owner.construct} gives",
                "",
                self._now[1] or where(),
            )
        else:
            self.problem(
                f"the reference '{render(ref._expr)}' belongs to workflow '{owner.name}'",
                f"Pass it to '{self.name}' as an input",
                "",
                self._now[1] or where(),
            )

    # -- steps ---------------------------------------------------------------------------------------------------

    def add(self, node: Node, kind: StepKind, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """Make a step of a call and return the reference to its value.

        Args:
            node: the node that is called.
            kind: whether it is called once, for each element, or for every combination.
            args: positional arguments: values and references.
            kwargs: keyword arguments.
        """
        step = self.step_of(node, kind, args, kwargs)
        returns = node.ports.returns
        if node.ports.generator:
            source = Source(self, step, told=kind != "task" or is_async_generator(node))
            self._sources.append(source)
            return Ref(StepValue(step.id), Any, source)
        self.steps.append(step)
        return Ref(StepValue(step.id), returns if kind == "task" else types.GenericAlias(list, (returns,)), self)

    def step_of(self, node: Node, kind: StepKind, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step:
        """Return the step that a call makes, checked, without adding it."""
        place = where(self._lines)
        step_id = self.fixed_id(node.step_id, place) if node.step_id else self.take_id(node.title, place)
        self._now = (step_id, place)
        when, continue_on_error = None, False
        if "step_when" in node.__dict__ or "step_continue_on_error" in node.__dict__:
            node, when, continue_on_error = self._bare(node)
        ports = node.ports
        if ports.generator or len(ports.contexts) > 1:
            self._check_node(node, kind)
        over: tuple[int | str, ...] = ()
        if kind == "map":
            args, over = self._iterables(args), tuple(range(len(args)))
        elif kind == "expand":
            over = self._expanded(kwargs, ports)
        self._check_node_call(node, kind, args, kwargs, over)
        step = Step(
            step_id,
            node,
            kind,
            tuple([lift(value, self) for value in args]),
            tuple([(name, lift(value, self)) for name, value in kwargs.items()]) if kwargs else (),
            over,
            place,
            when=when,
            continue_on_error=continue_on_error,
        )
        if kind == "map":
            self._check_lengths(step, ports)
        self._now = ("", "")
        return step

    def _bare(self, node: Node) -> tuple[Node, Expr | None, bool]:
        """Return the node without what concerns this step alone: its condition and whether its failure hinders."""
        bare = node.fresh()
        when = bare.__dict__.pop("step_when", None)
        continues = bare.__dict__.pop("step_continue_on_error", False)
        return bare, None if when is None else lift(when, self), continues

    def taken(self, ref: Any) -> Step | None:
        """Return the step of a generator's call that a stream takes its items from, or None when it is no such call."""
        if type(ref) is not Ref or not isinstance(ref._owner, Source) or type(ref._expr) is not StepValue:
            return None
        source = ref._owner
        if source.taken or source.trace is not self:
            source.refuse()
        source.taken = True
        return source.step

    def inline(
        self,
        name: str,
        version: str,
        ports: Ports,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        write: Callable[[], Written] | None,
    ) -> Ref:
        """Make a step of a call of another workflow, and return the reference to its value.

        Args:
            name: the workflow's name.
            version: its version.
            ports: its inputs and what it returns.
            args: positional arguments: values and references.
            kwargs: keyword arguments.
            write: writes the workflow down; None where it is one of those this one is written down inside of.
        """
        place = where()
        group = self.take_id(name, place)
        self._now = (group, place)
        bound = self._check_call(f"workflow '{name}'", ports, args, kwargs)
        inputs = tuple([(argument.name, lift(argument.value, self)) for argument in bound])
        self._now = ("", "")
        graph, problems = (None, ()) if write is None else write()
        self.problems.extend(
            replace(problem, step=f"{group}/{problem.step}" if problem.step else group) for problem in problems
        )
        self.steps.append(Step(group, Composed(), where=place, construct=SubWorkflow(name, version, inputs, graph)))
        length = None
        if graph is not None and isinstance(graph.output, Container) and graph.output.kind in ("list", "tuple"):
            length = len(graph.output.items)
        return Ref(StepValue(group), ports.returns, self, length)

    def _check_call(
        self,
        what: str,
        ports: Ports,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        over: tuple[int | str, ...] = (),
        *,
        typed: bool = True,
    ) -> list[Argument]:
        """Check a call's arguments against parameters and annotations; return which argument is for which."""
        bound, complaints = ports.bind(args, kwargs)
        for message, cure in complaints:
            self.problem(f"{what} cannot be called like this: {message}", cure)
        if typed:
            for argument in bound:
                if argument.name in ports.annotations:
                    self._check(argument, ports, iterated=argument.at in over)
        return bound

    def _check_node_call(
        self, node: Node, kind: StepKind, args: tuple[Any, ...], kwargs: dict[str, Any], over: tuple[int | str, ...]
    ) -> None:
        """Check the call of a node, unless one like it was in order: of the same node, given what is annotated so."""
        like = () if kwargs or kind != "task" else (id(node), *[id(_annotation(value)) for value in args])
        if like in self._in_order:
            return
        before = len(self.problems)
        self._check_call(f"node '{node.title}'", node.ports, args, kwargs, over, typed=node.policy.validate)
        if like and len(self.problems) == before and all(type(value) is Ref for value in args):
            # What the numbers are of is kept, so that nothing else gets them.
            self._in_order[like] = (node, *[_annotation(value) for value in args])

    def _check_node(self, node: Node, kind: StepKind) -> None:
        if is_async_generator(node):
            self.problem(
                f"node '{node.title}' is an async generator, which a stream cannot take items from",
                "Write it with plain def",
            )
        elif node.ports.generator and kind != "task":
            self.problem(
                f"node '{node.title}' is a generator function, and cannot be called once for each element",
                "Return a list, or use wf.stream for the items of one call",
            )
        if len(node.ports.contexts) > 1:
            names = " and ".join(f"'{name}'" for name in node.ports.contexts)
            self.problem(f"node '{node.title}' asks for its context more than once, as {names}", "Keep one of them")

    def _iterables(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the iterables of a map as they are kept, each known to be one as far as can be told."""
        if not args:
            self.problem(
                "map has nothing to iterate over", "Pass lists by position; what is passed by name is constant"
            )
        return tuple([self.iterable(arg, "map", ", or pass it by name as a constant") for arg in args])

    def iterable(self, arg: Any, what: str, otherwise: str = "") -> Any:
        """Return what is iterated over as it is kept, known to be iterable as far as can be told.

        Args:
            arg: what is given.
            what: what iterates, for messages.
            otherwise: what else than passing a list would do.
        """
        if type(arg) in (list, range):
            return arg
        cure = "Pass a list" + otherwise
        if type(arg) is Ref:
            if never_iterable(arg._annotation):
                self.problem(
                    f"{what} cannot iterate over '{render(arg._expr)}', which is annotated {describe(arg._annotation)}",
                    cure,
                )
            return arg
        if isinstance(arg, (str, bytes)):
            self.problem(f"{what} would iterate over the single characters of {show(arg)}", cure)
            return arg
        if not isinstance(arg, Iterable) and not hasattr(arg, "__getitem__"):
            self.problem(f"{what} cannot iterate over {show(arg)}", cure)
            return arg
        if isinstance(arg, (set, frozenset)):
            try:
                return sorted(arg)  # a set's order differs from process to process
            except TypeError:
                return list(arg)
        if not isinstance(arg, Sized) or not hasattr(arg, "__getitem__"):
            found = list(islice(arg, MOST + 1))  # an iterator can be walked once only, and not by a worker
            if len(found) > MOST:
                self.problem(f"{what} is given an iterator of more than {MOST:,} elements", "Pass a list")
            return found
        return list(arg) if isinstance(arg, dict) else arg

    def _expanded(self, kwargs: dict[str, Any], ports: Ports) -> tuple[str, ...]:
        over = tuple(
            name
            for name, value in kwargs.items()
            if (is_list(value._annotation) if type(value) is Ref else isinstance(value, (list, tuple, range)))
            and not is_listlike(ports.annotations.get(name))
        )
        if not over:
            self.problem(
                "expand has nothing to expand",
                "Pass a list by name for at least one parameter that is not itself annotated as a list",
            )
        return over

    def _check_lengths(self, step: Step, ports: Ports) -> None:
        lengths = {at: length_of(step.args[at]) for at in step.over if isinstance(at, int)}
        known = {at: length for at, length in lengths.items() if length is not None}
        if len(set(known.values())) > 1:
            names = dict(enumerate(ports.positional))
            text = ", ".join(f"'{names.get(at, f'argument {at + 1}')}' has {n}" for at, n in known.items())
            self.problem(f"map needs lists of one length: {text}", "Make them equally long, or use expand")

    # -- types ---------------------------------------------------------------------------------------------------

    def _check(self, argument: Argument, ports: Ports, *, iterated: bool) -> None:
        """Check one argument, or the elements of an iterated one, against the annotation of its parameter."""
        value, annotation = argument.value, ports.annotations[argument.name]
        kind = type(value)
        if kind is Ref:
            given = element_of(value._annotation) if iterated else value._annotation
            if given is not Any and not compatible(given, annotation):
                each = "each element of " if iterated else ""
                self.problem(
                    f"'{argument.name}' gets {each}'{render(value._expr)}', which is annotated {describe(given)}, "
                    f"but its own annotation says {describe(annotation)}",
                    "Pass a fitting value, or correct one of the annotations",
                )
        elif iterated:
            self._check_elements(argument, annotation, ports)
        elif holds_reference(value):
            if not compatible(kind, annotation):
                self._literal(argument.name, show(value), annotation)
        else:
            check = ports.checkers.get(argument.name)
            text = check(value) if check is not None else None
            if text is not None:
                self._literal(argument.name, text, annotation)

    def _check_elements(self, argument: Argument, annotation: Any, ports: Ports) -> None:
        check = ports.checkers.get(argument.name)
        if check is None or not isinstance(argument.value, (list, tuple)):
            return
        for index, item in enumerate(islice(argument.value, LOOKED_AT)):
            if type(item) is Ref:
                fits = compatible(item._annotation, annotation)
                text = None if fits else f"'{render(item._expr)}', annotated {describe(item._annotation)}"
            else:
                text = None if holds_reference(item) else check(item)
            if text is not None:
                self._literal(argument.name, f"{text} at [{index}]", annotation)
                return

    def _literal(self, name: str, text: str, annotation: Any) -> None:
        self.problem(
            f"'{name}' = {text}, but its annotation says {describe(annotation)}",
            "Pass a fitting value, or correct the annotation",
        )


class Source:
    """A generator's call, whose items only a stream can take.

    Args:
        trace: where it was written.
        step: the step it made.
        told: whether it is known already that it will not do.

    Attributes:
        taken: whether a stream has taken it.
    """

    def __init__(self, trace: Trace, step: Step, *, told: bool = False) -> None:
        self.trace = trace
        self.step = step
        self.told = told
        self.taken = False

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self.trace.name

    def sees(self, other: Owner) -> bool:
        """Return whether references of another tracing may be used together with the call."""
        return other is self or self.trace.sees(other)

    def foreign(self, ref: Ref) -> None:
        """Note that a reference was met that means nothing here."""
        self.trace.foreign(ref)

    def refuse(self) -> None:
        """Note that the call is used elsewhere than in one stream, or not at all."""
        if self.told:
            return
        self.told = True
        self.trace.problem(
            f"node '{self.step.node.title}' is a generator function: what it yields cannot be kept or sent",
            "Return a list, or use wf.stream for rows that come one by one: "
            f"wf.stream({self.step.node.title}(...), stage, ...), once",
            self.step.id,
            self.step.where,
        )


def is_async_generator(node: Node) -> bool:
    """Return whether a node's function is an asynchronous generator."""
    return inspect.isasyncgenfunction(plain_function(node.body))


Written: TypeAlias = tuple[Graph, Iterable[Problem]]
"""A workflow written down, and everything wrong with it."""


def _annotation(value: Any) -> Any:
    """What a reference is annotated; of anything else something that no reference is."""
    return value._annotation if type(value) is Ref else _annotation
