"""`Ports`, what a callable takes and returns, looked at once. Imports context, errors and types only."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any, NamedTuple, TypeAlias

from wfnb.model.context import Context
from wfnb.model.errors import did_you_mean
from wfnb.model.types import Checker, annotations_of, checker, plain_function

Complaint: TypeAlias = tuple[str, str]
"""What is wrong, and what to do about it."""

_CONTEXT_TEXTS = frozenset(
    f"{name}{more}" for name in ("Context", "wf.Context", "wfnb.Context") for more in ("", " | None")
) | frozenset(f"Optional[{name}]" for name in ("Context", "wf.Context", "wfnb.Context"))


def _is_context(annotation: Any) -> bool:
    if isinstance(annotation, str):  # imported for type checkers only, so that it could not be resolved
        return annotation in _CONTEXT_TEXTS
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_context(arg) for arg in typing.get_args(annotation))
    return annotation is Context


class Argument(NamedTuple):
    """One argument of a call and the parameter it is for.

    Args:
        name: the parameter's name.
        at: its position in the call, or its keyword.
        value: the value given.
    """

    name: str
    at: int | str
    value: Any


class Ports:
    """What a callable takes and returns, apart from a parameter annotated `Context`.

    Args:
        function: the callable.
        annotations: its annotations when they are known already, as on a worker that cannot resolve strings.

    Attributes:
        parameters: the parameters by name, in order.
        annotations: their resolved annotations by name; "return" is the callable's value. What is not annotated, or
            cannot be resolved, is missing.
        contexts: the names of the parameters that want the context; more than one is a mistake.
        context_at: the position of the context parameter, or -1 when it is keyword only or there is none.
        asynchronous: whether it is a coroutine function.
        generator: whether it is a generator function, plain or asynchronous.
        in_strings: whether some annotation was written as a string.
    """

    def __init__(self, function: Any, annotations: Mapping[str, Any] | None = None) -> None:
        plain = plain_function(function)
        found = dict(annotations) if annotations is not None else annotations_of(function)
        raw = getattr(plain, "__annotations__", None) or {}
        self.in_strings = any(isinstance(value, str) for value in raw.values())
        self.asynchronous = inspect.iscoroutinefunction(plain)
        self.generator = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # a built-in that does not tell
            parameters = [Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)]
        self.contexts = tuple(p.name for p in parameters if _is_context(found.get(p.name)))
        self.context = self.contexts[0] if self.contexts else ""
        self.context_at = -1
        for position, parameter in enumerate(parameters):
            if parameter.name == self.context and parameter.kind is not Parameter.KEYWORD_ONLY:
                self.context_at = position
        self.parameters = {p.name: p for p in parameters if p.name not in self.contexts}
        self.resolved = found  # as given to another `Ports` of the same callable
        self.annotations = {
            name: value for name, value in found.items() if not isinstance(value, str) and name not in self.contexts
        }
        kinds = self.parameters.values()
        self.positional = tuple(p.name for p in kinds if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
        self.keywords = frozenset(p.name for p in kinds if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
        self.rest = next((p.name for p in kinds if p.kind is p.VAR_POSITIONAL), "")
        self.others = next((p.name for p in kinds if p.kind is p.VAR_KEYWORD), "")
        self.required = tuple(
            p.name for p in kinds if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        )

    @functools.cached_property
    def checkers(self) -> dict[str, Checker]:
        """How to check the values that can be checked, by parameter; "return" for the callable's value."""
        found = {name: checker(annotation) for name, annotation in self.annotations.items()}
        return {name: check for name, check in found.items() if check is not None}

    @property
    def returns(self) -> Any:
        """The annotation of the callable's value, or `typing.Any`."""
        return self.annotations.get("return", Any)

    def given_context(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether a call brings its own context."""
        return self.context in kwargs or self._context_among(args)

    def _context_among(self, args: Sequence[Any]) -> bool:
        at = self.context_at
        if not 0 <= at < len(args):
            return False
        # None in its place is a context left out on purpose, when nothing else could be meant
        return isinstance(args[at], Context) or (
            args[at] is None and not self.rest and len(args) > len(self.positional)
        )

    def with_context(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], context: Context
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the call's arguments with the context put where it is wanted, unless it is there."""
        if not self.context or self.given_context(args, kwargs):
            return args, kwargs
        if 0 <= self.context_at < len(args):
            return (*args[: self.context_at], context, *args[self.context_at :]), kwargs
        return args, {**kwargs, self.context: context}

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Argument], list[Complaint]]:
        """Return which parameter each argument is for, and everything wrong with the call.

        Args:
            args: positional arguments; a context among them is passed over.
            kwargs: keyword arguments.
        """
        names = self.positional
        if not kwargs and len(args) == len(names) == len(self.required) and not self.context:
            return [Argument(name, at, args[at]) for at, name in enumerate(names)], []  # as most calls are
        bound: list[Argument] = []
        complaints: list[Complaint] = []
        taken = set()
        skipped = self.context_at if self._context_among(args) else -1
        place = 0
        for at, value in enumerate(args):
            if at == skipped:
                continue
            if place < len(names):
                bound.append(Argument(names[place], at, value))
                taken.add(names[place])
            elif self.rest:
                bound.append(Argument(self.rest, at, value))
            place += 1
        if place > len(names) and not self.rest:
            takes = "no positional argument" if not names else f"at most {len(names)} positional argument"
            takes += "s" if len(names) > 1 else ""
            complaints.append((f"it takes {takes}, and is given {place}", self._listed()))
        for name, value in kwargs.items():
            if name in taken and name in self.keywords:
                complaints.append((f"'{name}' is given twice, by position and by name", "Give it once"))
            elif name in self.keywords:
                bound.append(Argument(name, name, value))
                taken.add(name)
            elif self.others:
                bound.append(Argument(self.others, name, value))
            elif name not in self.contexts:
                complaints.append((f"it has no parameter '{name}'", did_you_mean(name, self.parameters)))
        for name in self.required:
            if name not in taken:
                cure = f"Pass {name}=..." if name in self.keywords else "Pass it by position"
                complaints.append((f"'{name}' is missing", cure))
        return bound, complaints

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's arguments by parameter, in the order of the parameters, without defaults.

        What ``*args`` takes is a tuple under its name; what ``**kwargs`` takes comes last, each under its own.

        Args:
            args: positional arguments; a context among them is passed over.
            kwargs: keyword arguments.
        """
        given: dict[str, Any] = {}
        rest, others = [], {}
        for argument in self.bind(args, kwargs)[0]:
            if self.rest and argument.name == self.rest:
                rest.append(argument.value)
            elif self.others and argument.name == self.others:
                others[str(argument.at)] = argument.value
            else:
                given[argument.name] = argument.value
        if rest:
            given[self.rest] = tuple(rest)
        return {name: given[name] for name in self.parameters if name in given} | others

    def _listed(self) -> str:
        if not self.parameters:
            return "It has no parameters"
        return "Its parameters are " + ", ".join(f"'{name}'" for name in self.parameters)
