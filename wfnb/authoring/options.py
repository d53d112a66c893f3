"""Options of one step: how they are written and checked. Imports model and ref."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from wfnb.authoring.ref import Ref
from wfnb.model.errors import ConfigurationError, did_you_mean
from wfnb.model.graph import Order
from wfnb.model.node import PolicyOptions, id_from, is_step_id
from wfnb.model.policy import POLICY_OPTIONS, Backoff, Exponential, Policy, policy_with
from wfnb.model.types import show


class ConstructOptions(PolicyOptions, total=False):
    """What concerns a construct's step, and how the tasks inside it are run where they say nothing else."""

    id: str
    name: str
    when: Any
    continue_on_error: bool


def read_options(options: Mapping[str, Any], owner: str) -> tuple[Policy, dict[str, Any]]:
    """Return a construct's options: the policy, and what concerns its step.

    Args:
        options: as they are written.
        owner: whose they are, for the error.

    Raises:
        ConfigurationError: an option is unknown or its value will not do.
    """
    step: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    for name, value in options.items():
        if name in POLICY_OPTIONS:
            policy[name] = value
            continue
        if name not in STEP_OPTIONS:
            raise ConfigurationError(
                f"{owner} has no option '{name}'. {did_you_mean(name, [*STEP_OPTIONS, *POLICY_OPTIONS])}"
            )
        if value is not None:
            check_step_option(name, value, owner)
            step[name] = value
    return policy_with(Policy(), policy, owner=owner), step


def check_step_option(name: str, value: Any, owner: str) -> None:
    """Raise ConfigurationError when an option of a step will not do."""
    fits, cure = STEP_OPTIONS[name]
    if not fits(value):
        raise ConfigurationError(f"option '{name}' of {owner} cannot be {shown(value)}: {cure}")


STEP_OPTIONS: dict[str, tuple[Any, str]] = {
    "id": (is_step_id, "give a text without spaces, quotes or /.[]{}"),
    "name": (lambda value: isinstance(value, str) and value != "", "give a text"),
    "when": (lambda value: type(value) is Ref or isinstance(value, bool), "give a reference, or True or False"),
    "continue_on_error": (lambda value: isinstance(value, bool), "give True or False"),
}


CATCH_CURE = "Give error types, such as catch={OSError: body}"


def error_names(kinds: Any) -> tuple[str, ...]:
    """Return the names of error types: their names alone for Python's own, else with their modules before.

    Args:
        kinds: a type, a name, or several of them in a tuple.

    Raises:
        ValueError: something else is among them.
    """
    names = []
    for kind in kinds if isinstance(kinds, (tuple, list)) else (kinds,):
        if isinstance(kind, type) and issubclass(kind, BaseException):
            own = kind.__module__ == "builtins"
            names.append(kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}")
        elif isinstance(kind, str) and kind:
            names.append(kind)
        else:
            raise ValueError(f"cannot catch {shown(kind)}")
    return tuple(names)


# -- in a definition -------------------------------------------------------------------------------------------------

_OF_CALLS = (*STEP_OPTIONS, *sorted(POLICY_OPTIONS), "version", "params")


def split_options(given: Mapping[str, Any], known: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return which of a call's keywords are options of the step, and which are arguments.

    Args:
        given: the keywords.
        known: the parameters of what is called, where they are known: those are never options.
    """
    options = {name: value for name, value in given.items() if name in _OF_CALLS and name not in (known or ())}
    return options, {name: value for name, value in given.items() if name not in options}


def definition_options(options: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return options as a definition says them.

    Args:
        options: as they are written in Python; `when` is a template.
        owner: whose they are, for the error.

    Raises:
        ConfigurationError: an option is unknown or its value will not do.
    """
    rest = dict(options)
    fields: dict[str, Any] = {}
    when = rest.pop("when", None)
    if when is not None:
        if not isinstance(when, (str, bool)):
            raise ConfigurationError(
                f"option 'when' of {owner} cannot be {shown(when)}: give a template, or True or False"
            )
        fields["when"] = when
    version = rest.pop("version", None)
    if version is not None:
        fields["version"] = version
    policy, step = read_options(rest, owner)
    names = {"continue_on_error": "continueOnError"}
    fields |= {names.get(name, name): value for name, value in step.items()}
    retry: dict[str, Any] = {}
    for name in rest.keys() & POLICY_OPTIONS:
        value = getattr(policy, name)
        if name == "retries":
            retry["attempts"] = value
        elif name == "backoff":
            retry["backoff"] = _backoff(value)
        elif name == "retry_on":
            retry["on"] = list(error_names(value))
        elif name != "timeout":
            fields[name] = value
        elif value is not None:
            fields["timeout"] = value * 1000
    return {**fields, "retry": retry} if retry else fields


def _backoff(backoff: Backoff) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": type(backoff).__name__.lower(), "delay": backoff.delay * 1000}
    if isinstance(backoff, Exponential):
        fields |= {"factor": backoff.factor, "max": backoff.maximum * 1000}
    return fields | ({"jitter": backoff.jitter} if backoff.jitter else {})


def shown(value: Any) -> str:
    """Return a value as it is shown in messages; a reference has no value to show."""
    return "a reference" if type(value) is Ref else show(value)


# -- of workflows -----------------------------------------------------------------------------------------------------


class WorkflowOptions(TypedDict, total=False):
    """What a workflow is called, and how its steps are ordered."""

    name: str
    version: str
    tags: Sequence[str]
    order: Order
    concurrency: int | Mapping[str, int] | None
    description: str


def check_workflow_options(options: Mapping[str, Any], owner: str) -> None:
    """Raise ConfigurationError when an option of a workflow is unknown or will not do."""
    known = WorkflowOptions.__annotations__
    for option, value in options.items():
        if option not in known:
            raise ConfigurationError(f"{owner} has no option '{option}'. {did_you_mean(option, known)}")
        cure = _OPTIONS.get(option, lambda _: "")(value)
        if cure:
            raise ConfigurationError(f"option '{option}' of {owner} cannot be {value!r}: {cure}")


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "give a text"


_OPTIONS: dict[str, Callable[[Any], str]] = {
    "name": lambda value: _text(value) or ("give a text" if id_from(value) == "step" != value else ""),
    "version": _text,
    "description": _text,
    "tags": lambda value: (
        "give a list of texts" if isinstance(value, str) or not all(isinstance(tag, str) for tag in value) else ""
    ),
    "order": lambda value: "" if value in ("data", "sequence") else "give 'data' or 'sequence'",
}
