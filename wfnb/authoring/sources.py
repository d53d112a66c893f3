"""Owns the sources of what fingerprints cover, for people who ask why a step ran again. Imports fingerprint and model.

They are kept with a run as text, beside its code: any process can compare them, and loading them runs nothing. Only
the user's own code is in them, and values so small that a person reads them at a glance.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import linecache
import re
import sys
import textwrap
import types
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wfnb.authoring.fingerprint import Fingerprint, explain
from wfnb.authoring.prints import Lowered
from wfnb.model.expr import Const, Input, walk
from wfnb.model.graph import Step

MOST_TEXT = 20_000
"""Characters kept of one source."""
MOST = 1_000_000
"""Characters kept of all sources of a run."""
_SHOWN = 80
_SECRET = re.compile(r"pass|secret|token|key|pwd|auth|cred", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a step as it was and as it is.

    Args:
        text: what differs, such as "helper 'clean' changed".
        diff: the difference of the sources in unified form, or "" where they are not known.
    """

    text: str
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the fingerprints of a workflow's steps are made of.

    Args:
        nodes: for each node, the digest of each part, by the part's name.
        texts: for each node, the source or the value of each part that has one.
        steps: by step, its node's place among the nodes, and for each argument its digest and, when it is short, text.
        inputs: by step, the inputs of the run that its arguments use.
        cache: by step with ``cache=True``, why it is not answered from the store all the same, or "".
    """

    nodes: tuple[Mapping[str, str], ...]
    texts: tuple[Mapping[str, str], ...]
    steps: Mapping[str, tuple[int, Mapping[str, tuple[str, str]]]]
    inputs: Mapping[str, tuple[str, ...]]
    cache: Mapping[str, str]

    def changes(self, step: str, before: Sources) -> tuple[Change, ...]:
        """Return what was edited of a step, code first; empty when nothing was or it is not known.

        Args:
            step: the step's id.
            before: what it was made of before.
        """
        if step not in self.steps or step not in before.steps:
            return ()
        (then, old_arguments), (now, arguments) = before.steps[step], self.steps[step]
        old, new = before.nodes[then], self.nodes[now]
        old_texts, texts = before.texts[then], self.texts[now]
        found = []
        for label in sorted({*old, *new}, key=lambda label: (not label.startswith(_CODE), label)):
            for text in explain(_only(label, old), _only(label, new)):
                found.append(Change(text, _diff(label, old_texts.get(label, ""), texts.get(label, ""))))
        for name in dict.fromkeys((*old_arguments, *arguments)):
            (was, was_text), (is_, is_text) = old_arguments.get(name, ("", "")), arguments.get(name, ("", ""))
            if was != is_:
                shown = f": {was_text} → {is_text}" if was_text and is_text else ""
                found.append(Change(f"{name} {'is new' if not was else 'is gone' if not is_ else 'changed'}{shown}"))
        return tuple(found)

    def summary(self, step: str, before: Sources) -> str:
        """Return what was edited of a step in a few words, or "" when that is not known."""
        texts = [change.text for change in self.changes(step, before)]
        more = f" and {len(texts) - 2} more" if len(texts) > 2 else ""
        return ", ".join(texts[:2]) + more


_CODE = ("function ", "helper ", "method ", "class ")


def _only(label: str, parts: Mapping[str, str]) -> dict[str, str]:
    return {label: parts[label]} if label in parts else {}


def _diff(label: str, old: str, new: str) -> str:
    if old == new:
        return ""
    names = (f"{label} (before)", f"{label} (now)")
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="")
    return "\n".join(lines)


# -- making them -------------------------------------------------------------------------------------------------------


def sources_of(
    lowered: Lowered, nodes: Mapping[int, Fingerprint], arguments: Mapping[str, Mapping[str, str]]
) -> Sources:
    """Return what the fingerprints of a workflow's steps are made of.

    Args:
        lowered: the steps.
        nodes: the fingerprints of their nodes, by the node's `id`.
        arguments: how their arguments are made, as `step_arguments` says it.
    """
    places = {key: place for place, key in enumerate(nodes)}
    known: dict[int, str] = {}
    room = MOST
    texts: list[dict[str, str]] = []
    for found in nodes.values():
        own: dict[str, str] = {}
        for label, thing in found.things.items():
            text = known.get(id(thing)) or _text(label, thing)
            if isinstance(thing, (types.FunctionType, type)):
                known[id(thing)] = text
            if text and len(text) <= room:
                own[label] = text
                room -= len(text)
        texts.append(own)
    steps = {
        step.id: (places[id(step.node)], dict(_arguments(step, arguments[step.id])))
        for step in lowered.steps
        if id(step.node) in places
    }
    inputs = {step.id: tuple(sorted(used)) for step in lowered.steps if (used := _inputs(step))}
    cache = {
        step.id: "; ".join(nodes[id(step.node)].warnings)
        for step in lowered.steps
        if step.node.policy.cache and step.node.capabilities.cacheable
    }
    return Sources(tuple(dict(found.parts) for found in nodes.values()), tuple(texts), steps, inputs, cache)


def _inputs(step: Step) -> set[str]:
    exprs = [*step.args, *(expr for _, expr in step.kwargs), *([] if step.when is None else [step.when])]
    return {part.name for expr in exprs for part in walk(expr) if isinstance(part, Input)}


def _arguments(step: Step, made: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    names = list(step.node.ports.parameters) if step.args else []
    exprs = dict(step.kwargs)
    for at, text in made.items():
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        if at == "when=":
            yield "its condition", (digest, "")
            continue
        place = int(at) if at.isdigit() else -1
        expr = exprs.get(at) if place < 0 else step.args[place]
        name = at if place < 0 else names[place] if place < len(names) else f"number {place + 1}"
        shown = _shown(name, expr.value) if isinstance(expr, Const) else ""
        yield f"argument '{name}'", (digest, shown)


def source_of(thing: types.FunctionType | type) -> str:
    """Return the source of a function or class, at most `MOST_TEXT` characters of it; "" where there is none."""
    try:
        return _class_source(thing) if isinstance(thing, type) else _function_source(thing)
    except (OSError, SyntaxError, IndexError, UnicodeError):  # there is no source, or it is not what ran
        return ""


def _text(label: str, thing: Any) -> str:
    """Return the source of a function or class, or a small value with its name; "" for anything else."""
    if isinstance(thing, (types.FunctionType, type)):
        return source_of(thing)
    name = label.partition(" ")[2]
    shown = _shown(name, thing)
    return f"{name} = {shown}" if shown else ""


def _function_source(function: types.FunctionType) -> str:
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
    if not lines:
        return ""
    text = "".join(inspect.getblock(lines))
    # A file may have been edited since it was imported.
    return _fit(text) if ("lambda" if code.co_name == "<lambda>" else code.co_name) in text else ""


def _class_source(cls: type) -> str:
    head = re.compile(rf"^[ \t]*class\s+{re.escape(cls.__name__)}\b")
    module = sys.modules.get(cls.__module__)
    files = dict.fromkeys(
        member.__code__.co_filename for member in vars(cls).values() if isinstance(member, types.FunctionType)
    )
    places = [linecache.getlines(name) for name in (*files, getattr(module, "__file__", None) or "")]
    cells = getattr(module, "In", None) if cls.__module__ == "__main__" else None
    places += [str(cell).splitlines(keepends=True) for cell in reversed(cells)] if isinstance(cells, list) else []
    for lines in places:
        for at in range(len(lines) - 1, -1, -1):
            if head.match(lines[at]):
                while at and lines[at - 1].lstrip().startswith("@"):
                    at -= 1
                return _fit("".join(inspect.getblock(lines[at:])))
    return ""


def _fit(text: str) -> str:
    return textwrap.dedent(text).rstrip()[:MOST_TEXT]


def _shown(name: str, value: Any) -> str:
    """Return a value as text when it is small, plain and no secret by its name; else ""."""
    if not _plain(value) or _SECRET.search(name):
        return ""
    text = repr(value)
    return text if len(text) <= _SHOWN else ""


def _plain(value: Any) -> bool:
    if type(value) in (int, float, bool, type(None)):
        return not isinstance(value, int) or -(10**30) < value < 10**30
    if type(value) is str:
        return len(value) <= _SHOWN
    return type(value) in (list, tuple) and len(value) <= 8 and all(map(_plain, value))


# -- as bytes ----------------------------------------------------------------------------------------------------------


def pack_sources(sources: Sources) -> bytes:
    """Return sources as bytes, the same for equal ones."""
    rows = (sources.nodes, sources.texts, sources.steps, sources.inputs, sources.cache)
    return zlib.compress(json.dumps(rows, sort_keys=True).encode("utf-8", "surrogatepass"), 1)


def unpack_sources(data: bytes) -> Sources:
    """Return the sources that bytes hold; raises ValueError when they are damaged."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, 64 * MOST)
        nodes, texts, steps, inputs, cache = json.loads(text.decode("utf-8", "surrogatepass"))
        return Sources(
            tuple(nodes),
            tuple(texts),
            {
                step: (int(place), {name: (digest, shown) for name, (digest, shown) in arguments.items()})
                for step, (place, arguments) in steps.items()
            },
            {step: tuple(names) for step, names in inputs.items()},
            cache,
        )
    except (zlib.error, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"the sources kept with a run are damaged: {error}") from error
