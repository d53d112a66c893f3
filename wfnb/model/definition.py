"""A workflow as data: the pydantic models of its YAML and JSON form. Imports pydantic, document and errors.

The models say which fields there are and what they hold; what templates, names and nodes mean is authoring's. Fields
are camelCase, and snake_case is read too. `validated` gives everything that is wrong at once, each with its path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from wfnb.model.document import Document, Path, check_data
from wfnb.model.errors import DefinitionError, Problem, did_you_mean

FORMAT = 1
"""The newest version of the form that is known; a definition may name the one it is written in as `wfnb`."""

MOST = 100
"""The most problems that are told of at once."""

Value: TypeAlias = Any
"""Any value; the texts in it may be templates."""
Count: TypeAlias = Annotated[int, Field(ge=1)]
Milliseconds: TypeAlias = Annotated[float, Field(ge=0)]
_STEP, _BRANCH, _BODY, _CATCH, _PART = "step:", "branch:", "body:", "catch:", "part:"
_MARKS = (_STEP, _BRANCH, _BODY, _CATCH, _PART)


class Model(BaseModel):
    """The base of everything in a definition: no unknown field, no conversion of values."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _remember(cls, data: Any, info: ValidationInfo) -> Any:
        """Note what a mapping was read as, so that an error can name the fields it might have."""
        if isinstance(info.context, dict) and isinstance(data, dict):
            info.context[id(data)] = cls
        return data


# -- policies --------------------------------------------------------------------------------------------------------


class BackoffModel(Model):
    """How long to wait before each retry."""

    type: Literal["fixed", "exponential"] = Field("fixed", description="the same wait each time, or a growing one")
    delay: Milliseconds | None = Field(None, description="milliseconds before the first retry")
    factor: Annotated[float, Field(ge=0)] | None = Field(None, description="what each next wait is multiplied by")
    max: Milliseconds | None = Field(None, description="the longest wait, in milliseconds")
    jitter: Annotated[float, Field(ge=0)] | None = Field(None, description="the share of the wait added at random")


class RetryModel(Model):
    """What is done when a task fails."""

    attempts: Annotated[int, Field(ge=0)] | None = Field(None, description="how often it is tried again; 0 is never")
    backoff: BackoffModel | None = Field(None, description="how long to wait before each retry")
    on: list[str] | None = Field(None, description="names of the error types that are retried; all without it")


class StepModel(Model):
    """What every step may say."""

    id: str | None = Field(None, description="what other steps call it; made from its node's name without it")
    name: str | None = Field(None, description="a name for people")
    when: str | bool | None = Field(None, description="a condition; when it is false the step is skipped")
    retry: RetryModel | None = Field(None, description="what is done when it fails")
    timeout: Annotated[float, Field(gt=0)] | None = Field(None, description="milliseconds one attempt may take")
    cache: bool | None = Field(None, description="whether a known result is used again")
    checkpoint: bool | None = Field(None, description="whether the value is kept in the store")
    priority: Literal["critical", "high", "normal", "low"] | Annotated[int, Field(ge=1, le=20)] | None = Field(
        None, description="critical, high, normal, low, or 1 (first) to 20 (last)"
    )
    resources: dict[str, float] | None = Field(None, description='what a worker must offer, such as {"GPU": 1}')
    validate_: bool | None = Field(None, alias="validate", description="whether values are checked against annotations")
    continue_on_error: bool | None = Field(None, description="whether a failure gives null and hinders nobody")


class CallModel(StepModel):
    """A step that calls a node."""

    type: str = Field(description="the node's name")
    version: str | None = Field(None, description="the node's version; the newest without it")
    params: dict[str, Value] = Field({}, description="arguments and settings, by name; texts may be templates")
    args: list[Value] = Field([], description="arguments by position, for nodes whose parameters have no names")


class NodeStep(CallModel):
    """A step that calls a node once."""

    step_type: Literal["node"] = "node"


class MapStep(CallModel):
    """A step that calls a node once for each element: the lists are taken together."""

    step_type: Literal["map"]
    over: dict[str, Value] = Field(description="the lists, by parameter; all of one length")


class ExpandStep(CallModel):
    """A step that calls a node once for each combination of elements; the last list changes fastest."""

    step_type: Literal["expand"]
    over: dict[str, Value] = Field(description="the lists, by parameter")


class DynamicStep(CallModel):
    """A step whose node gives a workflow or a definition, which is run in its place."""

    step_type: Literal["dynamic"]


# -- constructs ------------------------------------------------------------------------------------------------------


def _kind_of_step(data: Any) -> str | None:
    if isinstance(data, StepModel):
        return _STEP + str(getattr(data, "step_type", "node"))
    if not isinstance(data, Mapping):
        return f"{_STEP}node"  # said to be no mapping
    kind = data.get("stepType", data.get("step_type"))
    return f"{_STEP}node" if kind is None and "type" in data else None if kind is None else f"{_STEP}{kind}"


def _kind_of_body(data: Any) -> str:
    return f"{_BODY}list" if isinstance(data, list) else f"{_BODY}steps"


def _kind_of_branch(data: Any) -> str:
    if isinstance(data, list):
        return f"{_BRANCH}list"
    bare = isinstance(data, Mapping) and "steps" in data and not {"stepType", "step_type", "type"} & set(data)
    return f"{_BRANCH}steps" if bare or isinstance(data, BodyModel) else f"{_BRANCH}step"


def _kind_of_catch(data: Any) -> str:
    if isinstance(data, list):
        first = data[0] if data else None
        return (
            f"{_CATCH}each" if _kind_of_branch(first) == f"{_BRANCH}steps" or _names_types(first) else f"{_CATCH}list"
        )
    return f"{_CATCH}steps"


def _names_types(data: Any) -> bool:
    return isinstance(data, CatchModel) or (isinstance(data, Mapping) and "on" in data and "type" not in data)


def _kind_of_condition(data: Any) -> str:
    return f"{_PART}steps" if isinstance(data, (Mapping, BodyModel)) else f"{_PART}template"


class BodyModel(Model):
    """Steps and their value."""

    steps: list[AnyStep] = Field([], description="the steps, in order")
    output: Value = Field(None, description="the body's value; that of the last step without it")


class SequentialStep(StepModel):
    """Steps in order, whatever the workflow's order."""

    step_type: Literal["sequential"]
    steps: list[AnyStep] = Field(description="the steps, in order")
    output: Value = Field(None, description="its value; that of the last step without it")


class ParallelStep(StepModel):
    """Branches at once."""

    step_type: Literal["parallel"]
    steps: list[AnyBranch] = Field(description="the branches: a step, a list of steps, or {steps, output} each")
    max_concurrency: Count | None = Field(None, description="how many branches may be begun and not over")
    mode: Literal["all", "first"] | None = Field(None, description="whether all are waited for, or the first wins")
    first: bool | None = Field(None, description="the same as mode: first")


class LoopStep(StepModel):
    """A body again and again: for each item of a list, while or until something is true, or so many times."""

    step_type: Literal["loop"]
    over: Value = Field(None, description="the list")
    while_: Condition | None = Field(None, alias="while", description="goes on while it is true")
    until: Condition | None = Field(None, description="ends when it is true")
    times: Value = Field(None, description="how many iterations")
    init: Value = Field(None, description="the value carried into the first iteration")
    as_: str | None = Field(None, alias="as", description="what templates call the item; 'item' without it")
    parallel: bool | None = Field(None, description="whether items need not wait for each other")
    max_concurrency: Count | None = Field(None, description="how many bodies may be begun and not over")
    max_iterations: Count | None = Field(None, description="how many iterations there may be")
    steps: list[AnyStep] = Field(description="the body")
    output: Value = Field(None, description="the body's value; that of the last step without it")


class CaseModel(Model):
    """One case of a switch."""

    when: Value = Field(description="a constant the value must equal, or a template: a condition")
    steps: list[AnyStep] = Field([], description="what is run")
    output: Value = Field(None, description="its value; that of the last step without it")


class SwitchStep(StepModel):
    """One of several bodies."""

    step_type: Literal["switch"]
    value: Value = Field(None, description="what the cases are compared with")
    cases: list[CaseModel] = Field(description="the cases; the first that fits is run")
    default: AnyBody | None = Field(None, description="what is run when none fits")


class CatchModel(Model):
    """What is done about errors of some types."""

    on: list[str] = Field([], description="names of error types; without it every error")
    steps: list[AnyStep] = Field([], description="what is run")
    output: Value = Field(None, description="its value; that of the last step without it")


class TryStep(StepModel):
    """A body, what is done when it fails, and what is done whatever happened."""

    step_type: Literal["try"]
    steps: list[AnyStep] = Field(description="what is tried")
    output: Value = Field(None, description="its value; that of the last step without it")
    catch: AnyCatch | None = Field(None, description="steps for every error, or {on, steps} for errors of some types")
    finally_: AnyBody | None = Field(None, alias="finally", description="steps that are run whatever happened")

    @field_validator("catch", mode="before")
    @classmethod
    def _one_for_some_types(cls, data: Any) -> Any:
        return [data] if isinstance(data, Mapping) and _names_types(data) else data


class StreamStep(StepModel):
    """A body for each item that a generator yields."""

    step_type: Literal["stream"]
    source: NodeStep = Field(description="the step whose node is the generator")
    as_: str | None = Field(None, alias="as", description="what templates call the item; 'item' without it")
    steps: list[AnyStep] = Field([], description="the body")
    output: Value = Field(None, description="the body's value; that of the last step without it")
    batch_size: Count | None = Field(None, description="how many items are taken at a time")
    buffer_size: Count | None = Field(None, description="how many batches may be taken and not over")


class WorkflowStep(StepModel):
    """Another workflow's steps."""

    step_type: Literal["workflow"]
    workflow: str = Field(description="the workflow's name")
    version: str | None = Field(None, description="its version; the newest without it")
    inputs: dict[str, Value] = Field({}, description="its inputs, by name")


AnyStep: TypeAlias = Annotated[
    Annotated[NodeStep, Tag(f"{_STEP}node")]
    | Annotated[MapStep, Tag(f"{_STEP}map")]
    | Annotated[ExpandStep, Tag(f"{_STEP}expand")]
    | Annotated[SequentialStep, Tag(f"{_STEP}sequential")]
    | Annotated[ParallelStep, Tag(f"{_STEP}parallel")]
    | Annotated[LoopStep, Tag(f"{_STEP}loop")]
    | Annotated[SwitchStep, Tag(f"{_STEP}switch")]
    | Annotated[TryStep, Tag(f"{_STEP}try")]
    | Annotated[StreamStep, Tag(f"{_STEP}stream")]
    | Annotated[DynamicStep, Tag(f"{_STEP}dynamic")]
    | Annotated[WorkflowStep, Tag(f"{_STEP}workflow")],
    Discriminator(_kind_of_step),
]
AnyBody: TypeAlias = Annotated[
    Annotated[list[AnyStep], Tag(f"{_BODY}list")] | Annotated[BodyModel, Tag(f"{_BODY}steps")],
    Discriminator(_kind_of_body),
]
AnyBranch: TypeAlias = Annotated[
    Annotated[AnyStep, Tag(f"{_BRANCH}step")]
    | Annotated[list[AnyStep], Tag(f"{_BRANCH}list")]
    | Annotated[BodyModel, Tag(f"{_BRANCH}steps")],
    Discriminator(_kind_of_branch),
]
AnyCatch: TypeAlias = Annotated[
    Annotated[list[AnyStep], Tag(f"{_CATCH}list")]
    | Annotated[list[CatchModel], Tag(f"{_CATCH}each")]
    | Annotated[BodyModel, Tag(f"{_CATCH}steps")],
    Discriminator(_kind_of_catch),
]
Condition: TypeAlias = Annotated[
    Annotated[str | bool, Tag(f"{_PART}template")] | Annotated[BodyModel, Tag(f"{_PART}steps")],
    Discriminator(_kind_of_condition),
]

STEP_TYPES: dict[str, type[StepModel]] = {
    "node": NodeStep,
    "map": MapStep,
    "expand": ExpandStep,
    "sequential": SequentialStep,
    "parallel": ParallelStep,
    "loop": LoopStep,
    "switch": SwitchStep,
    "try": TryStep,
    "stream": StreamStep,
    "dynamic": DynamicStep,
    "workflow": WorkflowStep,
}


# -- the workflow ----------------------------------------------------------------------------------------------------


class Definition(Model):
    """A workflow as data."""

    model_config = ConfigDict(title="wfnb workflow")

    wfnb: Annotated[int, Field(ge=1)] = Field(FORMAT, description="the version of this form that it is written in")
    name: str = Field(description="the workflow's name", min_length=1)
    version: str = Field("", description="its version")
    description: str = Field("", description="what it is for")
    tags: list[str] = Field([], description="free labels")
    order: Literal["sequence", "data"] = Field(
        "sequence", description="steps begin when the one before is over, or when what they use is there"
    )
    concurrency: Count | dict[str, Count] | None = Field(
        None, description="how many tasks may run at once; of nodes with a tag, by tag ('*' for all)"
    )
    inputs: dict[str, str | dict[str, Value]] = Field({}, description="JSON Schema of each input, or its type")
    outputs: Value = Field(None, description="the run's value; that of the last step without it")
    steps: list[AnyStep] = Field([], description="the steps")


_MODELS: tuple[type[Model], ...] = (BodyModel, CaseModel, CatchModel, *STEP_TYPES.values(), Definition)
for _model in _MODELS:
    _model.model_rebuild()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of definitions, for editors."""
    schema = Definition.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


# -- what is wrong ---------------------------------------------------------------------------------------------------


def validated(document: Document) -> Definition:
    """Return the definition that a document holds.

    Args:
        document: the data and where it was written.

    Raises:
        DefinitionError: it is none; lists every problem, each with its path and its cure.
    """
    data = document.data
    name = data.get("name") if isinstance(data, dict) else None
    name = name if isinstance(name, str) and name else document.name or "definition"
    if not isinstance(data, dict):
        what = "a text" if isinstance(data, str) else f"a {type(data).__name__}"
        cure = "Begin with name: ... and steps: ...; a file is read with wf.load(path)"
        said = f"a definition is a mapping, and this is {what}"
        raise DefinitionError(name, (Problem(said, "", document.name, cure),))
    problems = check_data(document)
    if problems:
        raise DefinitionError(name, tuple(problems))
    newer = data.get("wfnb")
    if isinstance(newer, int) and newer > FORMAT:
        said = f"it is written in version {newer} of the form, and this wfnb knows versions up to {FORMAT}"
        raise DefinitionError(name, (Problem(said, "", document.where(("wfnb",)), "Update wfnb: pip install -U wfnb"),))
    models: dict[int, type[Model]] = {}
    try:
        return Definition.model_validate(data, context=models)
    except ValidationError as error:
        found = [_problem(one, document, models) for one in error.errors(include_url=False)[:MOST]]
        raise DefinitionError(name, _merged(found)) from None
    except RecursionError:
        raise DefinitionError(name, (Problem("its steps are nested too deep"),)) from None


def _problem(error: Any, document: Document, models: Mapping[int, type[Model]]) -> Problem:
    path = tuple(part for part in error["loc"] if not (isinstance(part, str) and part.startswith(_MARKS)))
    path, step, holder = _walked(path, document.data)
    where = document.where(path)
    model = models.get(id(holder))
    last = str(path[-1]) if path else ""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = field_names(model) if model else []
        near = did_you_mean(to_camel(last[:60]), known)
        return Problem(f"there is no field '{last:.60}'", step, where, near)
    if kind == "missing":
        return Problem(f"the field '{last}' is missing", step, document.where(path[:-1]), f"Add {last}: ...")
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _of_no_kind(value, step, where)
    if kind == "string_type" and last == "version" and isinstance(value, (int, float)):
        return Problem(f"the version {value!r} is a number", step, where, f'Put it in quotes: "{value}"')
    wanted = context.get("expected") or _WANTED.get(kind)
    said = f"give {wanted}" if wanted else str(error["msg"]).replace("Input should be", "it should be")
    last = f"item {last}" if isinstance(path[-1] if path else "", int) else last
    return Problem(f"'{last}' cannot be {_shown(value)}", step, where, said[:1].upper() + said[1:])


_WANTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "a text",
}


def _merged(problems: list[Problem]) -> tuple[Problem, ...]:
    """Return problems with those of one value, which pydantic tells of once for each type it may have, as one."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in problems:
        cures = found.setdefault((one.message, one.step, one.where), [])
        cure = one.cure.removeprefix("It should be ").removeprefix("Give ") if cures else one.cure
        cures += [cure] if cure not in cures else []
    return tuple(Problem(message, step, where, " or ".join(cures)) for (message, step, where), cures in found.items())


def _of_no_kind(value: Any, step: str, where: str) -> Problem:
    kind = value.get("stepType", value.get("step_type")) if isinstance(value, Mapping) else None
    if kind is None:
        fields = ", ".join(f"'{name}'" for name in list(value)[:8]) if isinstance(value, Mapping) else ""
        cure = "Give type: with a node's name, or stepType: with one of " + ", ".join(STEP_TYPES)
        return Problem(f"a step does not say what it is{f' (it has {fields})' if fields else ''}", step, where, cure)
    return Problem(f"there is no stepType '{kind!s:.60}'", step, where, did_you_mean(str(kind)[:60], STEP_TYPES))


def _walked(path: Path, data: Any) -> tuple[Path, str, Any]:
    """Return the part of a path that is in the data, the id of the innermost step on it, and the last mapping."""
    made: list[int | str] = []
    step, holder, here = "", None, data
    for place, part in enumerate(path):
        if isinstance(here, Mapping):
            holder = here
            if {"stepType", "step_type", "type"} & set(here) and isinstance(here.get("id"), str):
                step = here["id"]
        inside = part in here if isinstance(here, Mapping) else isinstance(here, list) and isinstance(part, int)
        if not inside and (place < len(path) - 1 or not isinstance(here, Mapping)):
            break  # what pydantic adds to say which of several types it tried
        made.append(part)
        here = here[part] if inside else None
    return tuple(made), step, holder


def field_names(model: type[Model]) -> list[str]:
    """Return the names of a model's fields, as they are written."""
    return [info.alias or name for name, info in model.model_fields.items()]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def fields_of(model: Model) -> Iterator[str]:
    """Yield the names of the fields that were given, as they are written."""
    for name in model.model_fields_set:
        yield type(model).model_fields[name].alias or name
