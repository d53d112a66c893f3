"""Reads definitions: YAML and JSON to data with lines, bounded, without surprises. Imports yaml and document.

YAML is read as its version 1.2 has it: only ``true`` and ``false`` are truth values, so that ``on``, ``yes`` and ``no``
are texts, and so are dates and ``12:30``. Tags of Python, merged keys and a key twice are refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wfnb.model.document import DEEPEST, JSON_ONLY, Document, Path, refuse
from wfnb.model.errors import DefinitionError

LONGEST = 2_000_000
"""The longest text of a definition, in characters."""


def read_text(text: str, name: str = "") -> Document:
    """Return the data of a text in JSON or YAML.

    Args:
        text: the text.
        name: the name of the file, for messages.

    Raises:
        DefinitionError: it cannot be read, or is too large; says where.
    """
    if len(text) > LONGEST:
        raise refuse(name, f"the text is too long: {len(text):,} characters, and {LONGEST:,} are allowed", name)
    if text.lstrip()[:1] == "{" or name.endswith(".json"):
        try:
            return Document(_json(text, name), {}, name)
        except json.JSONDecodeError as error:
            if name.endswith(".json"):
                raise refuse(name, f"this is no JSON: {error.msg}", f"line {error.lineno}") from None
    return _Yaml(text, name).document()


def _json(text: str, name: str) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            seen: set[str] = set()
            twice = next(key for key, _ in found if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise refuse(name, f"the key '{twice}' is there twice in one mapping", name, "Keep one of them")
        return made

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise refuse(name, "it is nested too deep", name) from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a number of too many digits
        raise refuse(name, str(error).partition(";")[0], name) from None


_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"


def is_plain_text(text: str) -> bool:
    """Return whether a text without quotes is read as itself, not as a number, a truth value or nothing."""
    return not (_NULL.fullmatch(text) or text in _TRUE + _FALSE or _INT.fullmatch(text) or _FLOAT.fullmatch(text))


class _Yaml:
    """One text read as YAML, event by event, so that its size and depth are known before anything is built."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.lines: dict[Path, int] = {}
        self.anchors: dict[str, Any] = {}

    def document(self) -> Document:
        import yaml  # type: ignore[import-untyped]  # loaded where text is read

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self.events = iter(yaml.parse(self.text, Loader=loader))
            kinds = [type(next(self.events)).__name__ for _ in range(2)]
            if kinds[-1] == "StreamEndEvent":
                raise self._wrong("there is nothing in it", None, "Begin with name: ... and steps: ...")
            data = self._value(next(self.events), (), 0)
            next(self.events)
            if type(event := next(self.events)).__name__ != "StreamEndEvent":
                raise self._wrong("it holds more than one document", event, "Write each into a file of its own")
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
            raise refuse(
                self.name, f"this is no YAML: {said}", f"line {mark.line + 1}" if mark else self.name
            ) from None
        return Document(data, self.lines, self.name)

    def _wrong(self, message: str, event: Any, cure: str = "") -> DefinitionError:
        line = f"line {event.start_mark.line + 1}" if event is not None else ""
        return refuse(self.name, message, ", ".join(part for part in (self.name, line) if part), cure)

    def _value(self, event: Any, path: Path, depth: int) -> Any:
        if depth > DEEPEST:
            raise self._wrong(f"it is nested more than {DEEPEST} deep", event)
        if path:
            self.lines.setdefault(path, event.start_mark.line + 1)
        kind = type(event).__name__
        if kind == "AliasEvent":
            if event.anchor not in self.anchors:
                raise self._wrong(f"the alias '*{event.anchor}' stands for nothing", event)
            return self.anchors[event.anchor]
        if kind == "ScalarEvent":
            value = self._scalar(event)
        elif event.tag not in (None, "!", f"{_TAG}seq", f"{_TAG}map"):
            raise self._wrong(f"the tag '{event.tag}' is not allowed", event, JSON_ONLY)
        elif kind == "SequenceStartEvent":
            value = []
            while type(event_ := next(self.events)).__name__ != "SequenceEndEvent":
                value.append(self._value(event_, (*path, len(value)), depth + 1))
        else:
            value = self._mapping(path, depth)
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while type(event := next(self.events)).__name__ != "MappingEndEvent":
            if type(event).__name__ != "ScalarEvent":
                raise self._wrong("a key is no text", event, "Put it in quotes")
            key = str(event.value)
            if key in made:
                raise self._wrong(f"the key '{key}' is there twice in one mapping", event, "Keep one of them")
            if key == "<<" and event.implicit[0]:
                raise self._wrong("merged keys ('<<') are not allowed", event, "Write the keys out")
            self.lines[*path, key] = event.start_mark.line + 1
            made[key] = self._value(next(self.events), (*path, key), depth + 1)
        return made

    def _scalar(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if tag is not None and tag != "!" and tag.removeprefix(_TAG) not in ("str", "int", "float", "bool", "null"):
            raise self._wrong(f"the tag '{tag}' is not allowed", event, JSON_ONLY)
        if tag in ("!", f"{_TAG}str") or (tag is None and not event.implicit[0]):
            return text
        if _NULL.fullmatch(text):
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        try:
            if _INT.fullmatch(text):
                return int(text, 0 if text[:2] in ("0o", "0x") else 10)
            if _FLOAT.fullmatch(text):
                return float(text)
        except ValueError as error:
            raise self._wrong(str(error).partition(";")[0], event) from None
        return text
