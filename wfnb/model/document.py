"""A definition as plain data: where things are in it, what it may hold, how large it may be. Imports errors only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wfnb.model.errors import DefinitionError, Problem

Path: TypeAlias = tuple[int | str, ...]
"""Where something is in a document: keys and places in lists."""

MOST = 200_000
"""The most values in a definition, those behind an alias counted each time."""
DEEPEST = 100
"""How deep lists and mappings may be nested."""

JSON_ONLY = "Definitions hold texts, numbers, true, false, null, lists and mappings"
"""What may be in a definition, for messages."""


@dataclass(frozen=True, slots=True)
class Document:
    """A definition as plain data, and where it was written.

    Args:
        data: the data.
        lines: the line of each key and item, by path, as far as known.
        name: the name of the file, or "".
        plain: whether it may hold only what JSON can.
    """

    data: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    name: str = ""
    plain: bool = True

    def where(self, path: Path) -> str:
        """Return a place for messages: ``steps[2].when, line 14``."""
        text = path_text(path)
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), 0)
        parts = [text, self.name, f"line {line}" if line else ""]
        return ", ".join(part for part in parts if part)


def path_text(path: Path) -> str:
    """Return a path as it is written.

    >>> path_text(("steps", 2, "cases", 0, "when"))
    'steps[2].cases[0].when'
    """
    parts: list[str] = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif re.fullmatch(r"[\w-]+", part):
            parts.append(f".{part}" if parts else part)
        else:
            parts.append(f"[{part!r:.60}]")
    return "".join(parts)


def refuse(name: str, message: str, where: str = "", cure: str = "") -> DefinitionError:
    """Return the error for a document that cannot be read at all."""
    return DefinitionError(name or "definition", (Problem(message, "", where, cure),))


# -- data ------------------------------------------------------------------------------------------------------------


def check_data(document: Document) -> list[Problem]:
    """Return why data cannot be a definition: what it holds that JSON cannot, its depth, its size."""
    problems: list[Problem] = []
    count = 0
    todo: list[tuple[Any, Path]] = [(document.data, ())]
    while todo:
        value, path = todo.pop()
        count += 1
        kind = type(value)
        if count > MOST:
            return [Problem(f"it holds more than {MOST:,} values", cure="Split it into several workflows")]
        if len(path) > DEEPEST:
            problems.append(Problem(f"it is nested more than {DEEPEST} deep", "", document.where(path[:8])))
            return problems
        if kind is dict:
            for key, one in value.items():
                if not isinstance(key, str):
                    where = document.where((*path, repr(key)))
                    problems.append(Problem(f"the key {key!r:.60} is no text", "", where, "Put it in quotes"))
                else:
                    todo.append((one, (*path, key)))
        elif kind is list:
            todo += [(one, (*path, place)) for place, one in enumerate(value)]
        elif document.plain and not _is_plain(value):
            problems.append(Problem(f"{value!r:.60} cannot be in a definition", "", document.where(path), JSON_ONLY))
        if len(problems) > 100:
            return problems
    return problems


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))
