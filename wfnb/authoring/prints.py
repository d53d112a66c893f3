"""Fingerprints of the steps of a workflow, and which of them were edited. Imports model, and fingerprint.

A step's fingerprint hashes its node's code and how its arguments are made; what it is given by others is theirs.
"""

from __future__ import annotations

import hashlib
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

from wfnb.authoring.fingerprint import Fingerprint, fingerprint, hash_value
from wfnb.model.errors import CacheWarning
from wfnb.model.expr import Const, Expr, Input, Local, steps_of, walk
from wfnb.model.graph import InputSpec, Step


class Lowered(Protocol):
    """A lowered workflow, of which only this is asked; `wfnb.engine.lower.Lowered` is one."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps, also those of its constructs' bodies."""

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Its inputs."""

    def hidden_uses(self) -> Mapping[str, Sequence[str]]:
        """By step, the steps it needs other than by name."""


def node_prints(lowered: Lowered) -> dict[int, Fingerprint]:
    """Return the fingerprint of each node that the steps use, by the node's `id`."""
    found: dict[int, Fingerprint] = {}
    for step in lowered.steps:
        if id(step.node) not in found:
            found[id(step.node)] = fingerprint(step.node)
    return found


def cache_digests(lowered: Lowered, nodes: Mapping[int, Fingerprint]) -> dict[str, str]:
    """Return the digests of the nodes whose values may be answered from the store, by step id.

    A node that asks for it and cannot be fingerprinted is told of in a `CacheWarning`.
    """
    found: dict[str, str] = {}
    told: set[int] = set()
    for step in lowered.steps:
        node = step.node
        if not (node.policy.cache and node.capabilities.cacheable):
            continue
        known = nodes[id(node)]
        if known.digest is not None:
            found[step.id] = known.digest
        elif id(node) not in told:
            told.add(id(node))
            text = f"node '{node.title}' has cache=True and runs every time: {'; '.join(known.warnings)}"
            warnings.warn(text, CacheWarning, stacklevel=callers_level())
    return found


def callers_level() -> int:
    """Return the `stacklevel` for a warning, so that it names the line outside wfnb that led to it."""
    level, frame = 0, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("wfnb."):
        level, frame = level + 1, frame.f_back
    return level


def step_arguments(lowered: Lowered) -> dict[str, dict[str, str]]:
    """Return how each step's arguments and its condition are made, by step id and argument; constants by content."""
    found: dict[str, dict[str, str]] = {}
    for step in lowered.steps:
        found[step.id] = made = {str(at): _text(expr) for at, expr in (*enumerate(step.args), *step.kwargs)}
        if step.when is not None:
            made["when="] = _text(step.when)  # no argument is called that
    return found


def fingerprints(
    lowered: Lowered, nodes: Mapping[int, Fingerprint], arguments: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, str]:
    """Return each step's fingerprint: its node's code, and how its arguments are made.

    What has no content to compare is left out of it: a step does not count as edited because of that.
    """
    found: dict[str, str] = {}
    arguments = step_arguments(lowered) if arguments is None else arguments
    for step in lowered.steps:
        node = nodes[id(step.node)]
        digest = node.digest or "\0".join(f"{name}={part}" for name, part in node.parts.items())
        parts = [digest, step.kind, repr(step.over), *(f"{at}={text}" for at, text in arguments[step.id].items())]
        found[step.id] = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    return found


def _text(part: Any) -> str:
    """An expression as text in which constants stand for their content."""
    if isinstance(part, Const):
        return hash_value(part.value) or "?"
    if isinstance(part, tuple):
        return f"({','.join(_text(one) for one in part)})"
    if hasattr(part, "__dataclass_fields__"):
        return f"{type(part).__name__}({','.join(_text(getattr(part, f.name)) for f in fields(part))})"
    return repr(part)


def edited(
    lowered: Lowered,
    new: Mapping[str, str],
    old: Mapping[str, str],
    inputs: Mapping[str, str] | None = None,
    changes: Mapping[str, str] | None = None,
    again: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the steps whose outcomes do not count any more, with the reason: edited, or after an edited one.

    Args:
        lowered: the steps.
        new: their fingerprints.
        old: their fingerprints when the run was last taken up.
        inputs: why inputs have another value than then.
        changes: what was edited of steps, where that is known.
        again: steps that run again whatever they are, with the reason.
    """
    reasons: dict[str, str] = {}
    uses = _uses(lowered)
    known = [step for step in lowered.steps if step.id in old]  # a new step has no outcomes
    for step in known:
        if new[step.id] != old[step.id]:
            reasons[step.id] = (changes or {}).get(step.id) or "its code or arguments were edited"
        elif other := _other_input(step, inputs or {}):
            reasons[step.id] = other
        elif step.id in (again or {}):
            reasons[step.id] = (again or {})[step.id]
    found = True
    while found:  # what an iteration hands on is used by steps before the one that makes it
        found = False
        for step in known:
            if step.id in reasons:
                continue
            before = next((used for used in uses[step.id] if used in reasons or used not in old), None)
            if before is not None:
                reasons[step.id] = f"'{before}' runs again" if before in old else f"'{before}' is new"
                found = True
    return {step.id: reasons[step.id] for step in known if step.id in reasons}


_RESET_BY = re.compile(r"'(.+)' runs again")


def reset_by(reason: str) -> str:
    """Return the step because of which another one's outcomes do not count, as `edited` says it; "" for an edit."""
    found = _RESET_BY.fullmatch(reason)
    return found[1] if found else ""


def _exprs(step: Step) -> list[Expr]:
    return [*step.args, *(expr for _, expr in step.kwargs), *([] if step.when is None else [step.when])]


def _uses(lowered: Lowered) -> dict[str, list[str]]:
    hidden = lowered.hidden_uses()
    found: dict[str, list[str]] = {}
    for step in lowered.steps:
        exprs = _exprs(step)
        used = [one for expr in exprs for one in steps_of(expr)]
        for expr in exprs:
            used += [one for p in walk(expr) if isinstance(p, Local) for one in hidden.get(f"{p.step}:{p.name}", ())]
        found[step.id] = [*used, *hidden.get(step.id, ())]
    return found


def _other_input(step: Step, inputs: Mapping[str, str]) -> str:
    """Return why an input the step uses has another value than before, or ""."""
    if not inputs:
        return ""
    names = (part.name for expr in _exprs(step) for part in walk(expr) if isinstance(part, Input))
    return next((inputs[name] for name in names if name in inputs), "")


def other_inputs(lowered: Lowered, old: Lowered, stored: Mapping[str, Any]) -> dict[str, str]:
    """Return the inputs that have another value than when the run was last taken up, with the reason."""
    before = {spec.name: spec for spec in old.inputs}
    found: dict[str, str] = {}
    for spec in lowered.inputs:
        if lowered is old or spec.name in stored:
            continue
        if spec.name not in before:
            found[spec.name] = f"input '{spec.name}' is new"
            continue
        now, then = hash_value(spec.default), hash_value(before[spec.name].default)
        if now is None or now != then:
            found[spec.name] = f"the default of input '{spec.name}' was edited"
    return found
