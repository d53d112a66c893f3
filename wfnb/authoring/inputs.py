"""Inputs of workflows without a function: how they are said, and how they are bound. Imports model only."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from wfnb.model.builtin import MISSING
from wfnb.model.graph import InputSpec
from wfnb.model.ports import Ports


class InputPorts(Ports):
    """What a workflow without a function takes.

    Args:
        inputs: its inputs.
    """

    def __init__(self, inputs: Sequence[InputSpec]) -> None:
        super().__init__(_nothing)
        self.annotations = {spec.name: spec.annotation for spec in inputs if spec.annotation is not Any}
        self.resolved = dict(self.annotations)
        parameters: dict[str, Any] = {spec.name: _Given(spec.name, _default(spec)) for spec in inputs}
        self.parameters = parameters
        self.positional = tuple(self.parameters)
        self.keywords = frozenset(self.parameters)
        self.required = tuple(spec.name for spec in inputs if spec.required)


@dataclass(frozen=True, slots=True)
class _Given:
    """An input in place of a function's parameter, whose name need not be an identifier."""

    name: str
    default: Any
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty: ClassVar[Any] = inspect.Parameter.empty
    POSITIONAL_ONLY: ClassVar[Any] = inspect.Parameter.POSITIONAL_ONLY


def _nothing() -> None: ...


def _default(spec: InputSpec) -> Any:
    return inspect.Parameter.empty if spec.required else spec.default


def spec_of(name: str, annotation: Any, default: Any) -> tuple[InputSpec, dict[str, Any]]:
    """Return an input, and what a definition says of it.

    Args:
        name: its name.
        annotation: its type: a Python annotation, the name of a type of JSON Schema, or such a schema.
        default: its default, or `MISSING`.
    """
    from wfnb.model.schemas import annotation_of, schema_of  # many workflows are written without any schema

    schema: dict[str, Any]
    if isinstance(annotation, str):
        schema = {"type": annotation}
    else:
        schema = dict(annotation) if isinstance(annotation, Mapping) else schema_of(annotation)
    if isinstance(annotation, str | Mapping):
        annotation = annotation_of(schema)  # what is wrong with it is said with everything else
    if default is MISSING:
        return InputSpec(name, annotation), schema
    return InputSpec(name, annotation, default, required=False), {**schema, "default": default}
