"""JSON Schema of an input, to an annotation and back. Imports pydantic and types only.

>>> annotation_of({"type": "array", "items": {"type": "integer"}})
list[int]
>>> schema_of(dict[str, float])
{'type': 'object', 'additionalProperties': {'type': 'number'}}
"""

from __future__ import annotations

import json
import re
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from wfnb.model.errors import did_you_mean

_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
_LIMITS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
_NOTES = (
    "$comment", "$defs", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "const", "contains",
    "contentEncoding", "contentMediaType", "default", "dependentRequired", "dependentSchemas", "deprecated",
    "description", "discriminator", "else", "enum", "examples", "format", "if", "items", "maxContains",
    "maxProperties", "minContains", "minProperties", "not", "oneOf", "patternProperties", "prefixItems",
    "properties", "propertyNames", "readOnly", "required", "then", "title", "type", "unevaluatedItems",
    "unevaluatedProperties", "uniqueItems", "writeOnly",
)  # fmt: skip
KEYWORDS = (*_NOTES, *_LIMITS)
"""The words of JSON Schema that are known; those that are no type or limit are kept and not checked."""
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Schema:
    """In an annotation: the JSON Schema it was made from, where that says more than the annotation.

    Args:
        text: the schema as JSON.
    """

    text: str


def annotation_of(schema: str | Mapping[str, Any], complain: Callable[[str, str], None] | None = None) -> Any:
    """Return the annotation that a JSON Schema asks for.

    Args:
        schema: the schema, or the name of a type.
        complain: is told what is wrong with it, and what to do about it.
    """
    whole = {"type": schema} if isinstance(schema, str) else {k: v for k, v in schema.items() if k != "default"}
    made = _annotation(whole, complain or (lambda _, __: None), 0)
    return made if schema_of(made) == whole else Annotated[made, Schema(json.dumps(whole, sort_keys=True))]


def _annotation(schema: Any, complain: Callable[[str, str], None], depth: int) -> Any:
    if schema is True or schema == {} or depth > _DEEPEST:
        return Any
    if not isinstance(schema, Mapping):
        complain(f"{schema!r:.60} is no JSON Schema", "Give a type, such as string, or {type: ..., default: ...}")
        return Any
    for word in schema:
        if word not in KEYWORDS and not word.startswith("x-"):
            complain(f"'{word}' is no word of JSON Schema that is known here", did_you_mean(word, KEYWORDS))
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [] if kinds is None else [kinds]
    for kind in kinds:
        if not isinstance(kind, str) or kind not in _TYPES:
            complain(f"there is no type '{kind!s:.60}'", did_you_mean(str(kind), _TYPES))
            return Any
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(choices, list) and choices and all(_is_literal(one) for one in choices):
        return Literal[tuple(choices)]
    parts = schema.get("anyOf", schema.get("oneOf"))
    if isinstance(parts, list) and parts:
        return _union([_annotation(part, complain, depth + 1) for part in parts])
    return _union([_limited(_of_type(kind, schema, complain, depth), kind, schema, complain) for kind in kinds])


def _is_literal(value: Any) -> bool:
    return value is None or type(value) in (str, int, bool)


def _union(parts: list[Any]) -> Any:
    if not parts or Any in parts:
        return Any
    return typing.Union[tuple(parts)]  # noqa: UP007


def _of_type(kind: str, schema: Mapping[str, Any], complain: Callable[[str, str], None], depth: int) -> Any:
    if kind == "array" and isinstance(schema.get("prefixItems"), list) and schema["prefixItems"]:
        return types.GenericAlias(
            tuple, tuple(_annotation(part, complain, depth + 1) for part in schema["prefixItems"])
        )
    if kind == "array" and "items" in schema:
        inner = _annotation(schema["items"], complain, depth + 1)
        return list if inner is Any else types.GenericAlias(list, (inner,))
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        inner = _annotation(schema["additionalProperties"], complain, depth + 1)
        return dict if inner is Any else types.GenericAlias(dict, (str, inner))
    return _TYPES[kind]


def _limited(made: Any, kind: str, schema: Mapping[str, Any], complain: Callable[[str, str], None]) -> Any:
    limits: dict[str, Any] = {}
    for word, option in _LIMITS.items():
        fits = {"string": ("minLength", "maxLength", "pattern"), "array": ("minItems", "maxItems")}.get(
            kind, tuple(_LIMITS)[:5] if kind in ("integer", "number") else ()
        )
        if word not in schema or word not in fits or typing.get_origin(made) is tuple:
            continue
        value = schema[word]
        wanted: Any = (
            str if word == "pattern" else (int, float) if option in ("ge", "le", "gt", "lt", "multiple_of") else int
        )
        if not isinstance(value, wanted) or isinstance(value, bool):
            complain(f"'{word}' cannot be {value!r:.60}", "Give a text" if wanted is str else "Give a number")
        else:
            limits[option] = value
    if "pattern" in limits:
        try:
            TypeAdapter(Annotated[str, Field(pattern=limits["pattern"])])
        except Exception as error:  # noqa: BLE001 - the engine of patterns says in its own way what it cannot read
            complain(f"the pattern {limits.pop('pattern')!r:.60} cannot be read", str(error).strip().splitlines()[-1])
    return Annotated[made, Field(**limits)] if limits else made


def schema_of(annotation: Any) -> dict[str, Any]:
    """Return the JSON Schema of an annotation; an empty one where there is none."""
    for note in getattr(annotation, "__metadata__", ()):
        if isinstance(note, Schema):
            found: dict[str, Any] = json.loads(note.text)
            return found
    if annotation is Any:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = TypeAdapter(annotation).json_schema()
    except Exception:  # noqa: BLE001 - what an annotation does when it is looked at is its author's
        return {}
    if "$defs" in made or "$ref" in made:  # a definition holds no references; what is known of a model is its kind
        return {"type": "object"} if made.get("type") == "object" else {}
    return _bare(made)


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without what is only there because pydantic writes it."""
    if schema.get("items") == {}:
        del schema["items"]
    if schema.get("additionalProperties") is True:
        del schema["additionalProperties"]
    known = {key: schema[key] for key in sorted(schema, key=lambda key: (key != "type", key)) if key in KEYWORDS}
    return known if re.match(r"array|object|string|integer|number|boolean|null", str(known.get("type", "null"))) else {}


def is_tuple(annotation: Any) -> bool:
    """Return whether an annotation asks for a tuple, which JSON has as a list."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return (typing.get_origin(annotation) or annotation) is tuple
