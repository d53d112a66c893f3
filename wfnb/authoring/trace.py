"""`Trace`, which turns calls of nodes into steps and collects every problem on the way.

Imports model, check and ref.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sized
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

from wfnb.authoring.check import compatible, element_of, is_list, length_of, never_iterable, where
from wfnb.authoring.ref import Ref, holds_reference, lift
from wfnb.model.errors import Problem
from wfnb.model.expr import Const, Expr, StepValue, render, substitute
from wfnb.model.graph import Step
from wfnb.model.node import Node, StepKind, id_from
from wfnb.model.ports import Argument, Ports
from wfnb.model.types import LOOKED_AT, describe, is_listlike, show

MOST = 1_000_000
"""The most elements an iterator handed to `map` may have."""


class Trace:
    """The writing down of one workflow.

    Args:
        name: the workflow's name.
        callers: the workflows it is written down inside of, outermost first, itself last.

    Attributes:
        steps: the steps so far, each after every step it uses.
        problems: everything wrong so far.
    """

    def __init__(self, name: str, callers: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.callers = callers
        self.steps: list[Step] = []
        self.problems: list[Problem] = []
        self._places: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._now = ("", "")  # the step and place of the call being looked at

    # -- ids -----------------------------------------------------------------------------------------------------

    def take_id(self, name: str, place: str) -> str:
        """Return the next free id for a step of a node with this name: ``name``, then ``name_2``, ``name_3``, ..."""
        stem = id_from(name)
        count = self._counts.get(stem, 0) + 1
        chosen = stem if count == 1 else f"{stem}_{count}"
        while chosen in self._places:
            count += 1
            chosen = f"{stem}_{count}"
        self._counts[stem] = count
        self._places[chosen] = place
        return chosen

    def _fixed_id(self, step_id: str, place: str) -> str:
        if step_id not in self._places:
            self._places[step_id] = place
            return step_id
        first = f" in {self._places[step_id]}" if self._places[step_id] else ""
        self._problem(
            f"the id '{step_id}' is taken by another step{first}", "Give one of them another id", step_id, place
        )
        return self.take_id(step_id, place)

    # -- problems ------------------------------------------------------------------------------------------------

    def _problem(self, message: str, cure: str, step: str = "", place: str = "") -> None:
        now_step, now_place = self._now
        self.problems.append(Problem(message, step or now_step, place or now_place, cure))

    def complain(self, message: str, cure: str) -> None:
        """Note that something is wrong at the place in the user's source that is being run."""
        self._problem(message, cure, "", where())

    def foreign(self, ref: Ref) -> None:
        """Note that a reference of another tracing was met."""
        self._problem(
            f"the reference '{render(ref._expr)}' belongs to workflow '{ref._owner.name}'",
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
        place = where()
        step_id = self._fixed_id(node.step_id, place) if node.step_id else self.take_id(node.title, place)
        self._now = (step_id, place)
        ports = node.ports
        if ports.generator or len(ports.contexts) > 1:
            self._check_node(node)
        over: tuple[int | str, ...] = ()
        if kind == "map":
            args, over = self._iterables(args), tuple(range(len(args)))
        elif kind == "expand":
            over = self._expanded(kwargs, ports)
        self._check_call(f"node '{node.title}'", ports, args, kwargs, over, typed=node.policy.validate)
        step = Step(
            step_id,
            node,
            kind,
            tuple([lift(value, self) for value in args]),
            tuple([(name, lift(value, self)) for name, value in kwargs.items()]),
            over,
            place,
        )
        if kind == "map":
            self._check_lengths(step, ports)
        self.steps.append(step)
        self._now = ("", "")
        returns = ports.returns
        return Ref(StepValue(step_id), returns if kind == "task" else types.GenericAlias(list, (returns,)), self)

    def inline(
        self, name: str, ports: Ports, args: tuple[Any, ...], kwargs: dict[str, Any], write: Callable[[], Written]
    ) -> Ref:
        """Take the steps of another workflow in, as a group of this one, and return the reference to its value.

        Args:
            name: the workflow's name.
            ports: its inputs and what it returns.
            args: positional arguments: values and references.
            kwargs: keyword arguments.
            write: writes the workflow down.
        """
        place = where()
        group = self.take_id(name, place)
        self._now = (group, place)
        bound = self._check_call(f"workflow '{name}'", ports, args, kwargs)
        inputs: dict[str, Expr] = {
            name: Const(None if parameter.default is parameter.empty else parameter.default)
            for name, parameter in ports.parameters.items()
        }
        inputs.update((argument.name, lift(argument.value, self)) for argument in bound)
        self._now = ("", "")
        inner, output = write()
        prefix = f"{group}/"
        self.problems.extend(
            replace(problem, step=prefix + problem.step if problem.step else group) for problem in inner.problems
        )
        for step in inner.steps:
            self.steps.append(
                replace(
                    step,
                    id=prefix + step.id,
                    args=tuple([substitute(arg, inputs, prefix) for arg in step.args]),
                    kwargs=tuple([(key, substitute(arg, inputs, prefix)) for key, arg in step.kwargs]),
                    group=prefix + step.group if step.group else group,
                )
            )
        return Ref(substitute(output, inputs, prefix), ports.returns, self)

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
            self._problem(f"{what} cannot be called like this: {message}", cure)
        if typed:
            for argument in bound:
                if argument.name in ports.annotations:
                    self._check(argument, ports, iterated=argument.at in over)
        return bound

    def _check_node(self, node: Node) -> None:
        if node.ports.generator:
            self._problem(
                f"node '{node.title}' is a generator function: what it yields cannot be kept or sent",
                "Return a list, or use wf.stream for rows that come one by one",
            )
        if len(node.ports.contexts) > 1:
            names = " and ".join(f"'{name}'" for name in node.ports.contexts)
            self._problem(f"node '{node.title}' asks for its context more than once, as {names}", "Keep one of them")

    def _iterables(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the iterables of a map as they are kept, each known to be one as far as can be told."""
        if not args:
            self._problem(
                "map has nothing to iterate over", "Pass lists by position; what is passed by name is constant"
            )
        return tuple([arg if type(arg) in (list, range) else self._iterable(arg) for arg in args])

    def _iterable(self, arg: Any) -> Any:
        if type(arg) is Ref:
            if never_iterable(arg._annotation):
                self._problem(
                    f"map cannot iterate over '{render(arg._expr)}', which is annotated {describe(arg._annotation)}",
                    "Pass a list, or pass it by name as a constant",
                )
            return arg
        if isinstance(arg, (str, bytes)):
            self._problem(
                f"map would iterate over the single characters of {show(arg)}",
                "Pass a list, or pass the text by name as a constant",
            )
            return arg
        if not isinstance(arg, Iterable) and not hasattr(arg, "__getitem__"):
            self._problem(f"map cannot iterate over {show(arg)}", "Pass a list, or pass it by name as a constant")
            return arg
        if isinstance(arg, (set, frozenset)):
            try:
                return sorted(arg)  # a set's order differs from process to process
            except TypeError:
                return list(arg)
        if not isinstance(arg, Sized) or not hasattr(arg, "__getitem__"):
            found = list(islice(arg, MOST + 1))  # an iterator can be walked once only, and not by a worker
            if len(found) > MOST:
                self._problem(f"map is given an iterator of more than {MOST:,} elements", "Pass a list")
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
            self._problem(
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
            self._problem(f"map needs lists of one length: {text}", "Make them equally long, or use expand")

    # -- types ---------------------------------------------------------------------------------------------------

    def _check(self, argument: Argument, ports: Ports, *, iterated: bool) -> None:
        """Check one argument, or the elements of an iterated one, against the annotation of its parameter."""
        value, annotation = argument.value, ports.annotations[argument.name]
        kind = type(value)
        if kind is Ref:
            given = element_of(value._annotation) if iterated else value._annotation
            if given is not Any and not compatible(given, annotation):
                each = "each element of " if iterated else ""
                self._problem(
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
        self._problem(
            f"'{name}' = {text}, but its annotation says {describe(annotation)}",
            "Pass a fitting value, or correct the annotation",
        )


Written: TypeAlias = tuple[Trace, Expr]
"""A workflow written down: its steps and problems, and its value."""
