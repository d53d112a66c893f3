"""Definitions into workflows: names, nodes, templates and policies are resolved and checked here.

Everything that can be wrong without running is said at once. Imports model, reading, registry, resolving and workflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wfnb.authoring.ids import Ids, is_first, stem_of, variables_set, wanted_ids
from wfnb.authoring.reading import read_text
from wfnb.authoring.registry import REGISTRY
from wfnb.authoring.resolving import Calls, Enough, KnownByName, Report, Types
from wfnb.model.definition import (
    BodyModel,
    CallModel,
    CatchModel,
    Definition,
    DynamicStep,
    ExpandStep,
    LoopStep,
    MapStep,
    NodeStep,
    ParallelStep,
    SequentialStep,
    StepModel,
    StreamStep,
    SwitchStep,
    TryStep,
    WorkflowStep,
    validated,
)
from wfnb.model.document import Document, Path
from wfnb.model.errors import ConfigurationError, DefinitionError, WfnbError
from wfnb.model.expr import Const, Expr, Local, StepValue
from wfnb.model.graph import (
    Body,
    Case,
    Catch,
    Construct,
    Dynamic,
    Each,
    Graph,
    InputSpec,
    Loop,
    Parallel,
    Sequential,
    Step,
    Stream,
    SubWorkflow,
    Switch,
    Try,
)
from wfnb.model.node import is_step_id
from wfnb.model.schemas import annotation_of, is_tuple
from wfnb.model.scope import ROOTS, Scope, near
from wfnb.model.templates import UNKNOWN, parse, parse_value
from wfnb.model.types import checker, describe


def graph_of(
    definition: str | Mapping[str, Any] | Document | Definition,
    *,
    registry: KnownByName | None = None,
    name: str = "",
) -> Graph:
    """Return the graph that a definition stands for.

    Args:
        definition: a text in YAML or JSON, a dict, or one of them read already.
        registry: what knows nodes and workflows by name; by default what this process has registered.
        name: the workflow's name where the definition gives none.

    Raises:
        ConfigurationError: it is nothing of the kind.
        DefinitionError: it is no workflow that could run; lists every problem with its path and line.
    """
    if isinstance(definition, Definition):
        return _Loading(definition, Document({}), registry or REGISTRY).graph()
    if isinstance(definition, str):
        definition = read_text(definition)
    if isinstance(definition, Mapping):
        definition = Document(dict(definition))
    if not isinstance(definition, Document):
        raise ConfigurationError(
            f"a definition is a text in YAML or JSON or a dict, and this is {definition!r:.60}; load(path) reads a file"
        )
    if name and isinstance(definition.data, dict):
        definition = Document({"name": name, **definition.data}, definition.lines, definition.name)
    return _Loading(validated(definition), definition, registry or REGISTRY).graph()


# -- loading ---------------------------------------------------------------------------------------------------------


class _Loading:
    """The making of one graph."""

    def __init__(self, definition: Definition, document: Document, registry: KnownByName) -> None:
        self.definition = definition
        self.registry = registry
        self.report = Report(document)
        self.inputs = tuple(self._input(name, schema) for name, schema in definition.inputs.items())
        self.types = Types({spec.name: spec.annotation for spec in self.inputs})
        self.calls = Calls(registry, self.report, self.types)

    def graph(self) -> Graph:
        """Return the graph; raises DefinitionError with everything that is wrong."""
        made, report = self.definition, self.report
        scope = Scope(inputs=tuple(spec.name for spec in self.inputs))
        try:
            body = self._body(made, (), scope, Ids(wanted_ids(made.steps)), output="outputs")
        except Enough:
            body = Body()
        limits = made.concurrency if isinstance(made.concurrency, dict) else {"": made.concurrency}
        if report.problems:
            raise DefinitionError(made.name, tuple(report.problems))
        return Graph(
            made.name,
            made.version,
            self.inputs,
            body.steps,
            body.output,
            tuple(made.tags),
            made.order,
            tuple(("" if tag == "*" else tag, most) for tag, most in limits.items() if most is not None),
            made.description,
        )

    def _input(self, name: str, schema: str | dict[str, Any]) -> InputSpec:
        path: Path = ("inputs", name)
        annotation = annotation_of(schema, self.report.complain(path))
        if not isinstance(schema, dict) or "default" not in schema:
            return InputSpec(name, annotation)
        default = schema["default"]
        if is_tuple(annotation) and isinstance(default, list):
            default = tuple(default)
        check = checker(annotation)
        text = check(default) if check is not None and default is not None else None
        if text is not None:
            said = f"the default of input '{name}' = {text}, but its type is {describe(annotation)}"
            self.report.problem((*path, "default"), said, "Give a fitting default, or correct the type")
        return InputSpec(name, annotation, default, required=False)

    # -- bodies --------------------------------------------------------------------------------------------------

    def _body(self, model: Any, path: Path, scope: Scope, ids: Ids, *, output: str = "output") -> Body:
        """Return the body that a model's `steps` and `output` make."""
        if isinstance(model, list):
            return self._steps(model, path, scope, ids)
        body = self._steps(model.steps, (*path, "steps"), scope, ids)
        field = next(name for name in (output, "output") if name in type(model).model_fields)
        if field not in model.model_fields_set:
            return body
        self.report.step = ""
        return Body(body.steps, self._value(getattr(model, field), (*path, field), scope))

    def _steps(self, models: Sequence[Any], path: Path, scope: Scope, ids: Ids) -> Body:
        scope.later = {model.id for model in models if model.id}
        made = tuple(self._step(model, (*path, place), scope, ids) for place, model in enumerate(models))
        return Body(made, StepValue(made[-1].id) if made else Const(None))

    def _inner(self, model: Any, path: Path, scope: Scope, ids: Ids) -> Body:
        """Return a body with ids of its own."""
        models = model if isinstance(model, list) else model.steps
        return self._body(model, path, scope, Ids(wanted_ids(models), ids))

    def _value(self, value: Any, path: Path, scope: Scope) -> Expr:
        return parse_value(value, scope, self.report.complain(path))

    def _condition(self, value: str | bool, path: Path, scope: Scope) -> Expr:
        if isinstance(value, bool):
            return Const(value)
        parsed = parse(value, scope, self.report.complain(path))
        if not parsed.alone and parsed.expr is not UNKNOWN:
            cure = "Put all of it between one '{{' and '}}'"
            self.report.problem(path, f"the condition {value!r:.80} is a text, which would always be true", cure)
        return parsed.expr

    # -- steps ---------------------------------------------------------------------------------------------------

    def _step(self, model: StepModel, path: Path, scope: Scope, ids: Ids) -> Step:
        step_id = self._id(model, path, ids)
        where = self.report.document.where(path)
        self.report.step = step_id
        when = None if model.when is None else self._condition(model.when, (*path, "when"), scope)
        if isinstance(model, CallModel):
            step = self._call(model, path, scope, step_id, where)
        else:
            node = self.calls.composed(model, path)
            made = self._MAKERS[type(model)](self, model, path, scope, ids, step_id)
            step = Step(step_id, node, where=where, construct=made)
        scope.steps.add(step_id)
        scope.later.discard(step_id)
        self.report.step = ""
        if when is None and not model.continue_on_error and not model.name:
            return step
        return Step(
            step.id,
            step.node,
            step.kind,
            step.args,
            step.kwargs,
            step.over,
            where,
            construct=step.construct,
            when=when,
            continue_on_error=bool(model.continue_on_error),
            title=model.name or "",
        )

    def _id(self, model: StepModel, path: Path, ids: Ids) -> str:
        where = self.report.document.where(path)
        if model.id is None:
            return ids.take(stem_of(model), where)
        self.report.step = model.id
        if not is_step_id(model.id):
            self.report.problem(
                (*path, "id"), f"'{model.id:.60}' cannot be an id", "Give a text without spaces, quotes or /.[]{}"
            )
            return ids.take("step", where)
        holder = ids.holder(model.id)
        if holder is not None:
            cure = "Give one of them another id"
            self.report.problem((*path, "id"), f"the id '{model.id}' is taken by another step ({holder})", cure)
            return ids.take(model.id, where)
        ids.taken[model.id] = where
        return model.id

    def _call(self, model: CallModel, path: Path, scope: Scope, step_id: str, where: str) -> Step:
        kind = "map" if isinstance(model, MapStep) else "expand" if isinstance(model, ExpandStep) else "task"
        over = model.over if isinstance(model, (MapStep, ExpandStep)) else None
        if over is not None and not over:
            self.report.problem((*path, "over"), "there is nothing to iterate over", "Name a parameter and its list")
        node, args, kwargs, iterated = self.calls.call(model, path, scope, over)
        if node.ports.generator:
            self.report.problem(
                (*path, "type"),
                f"node '{node.title}' is a generator function: what it yields cannot be kept or sent",
                "Return a list, or make it the source of a stream",
            )
        if isinstance(model, NodeStep) and model.type == "set":
            self._set(dict(kwargs).get("name", args[0] if args else None), path, scope)
        dynamic = isinstance(model, DynamicStep)
        if not dynamic:
            self.types.steps[step_id] = self.calls.returned(node, kind)
        construct = Dynamic() if dynamic else None
        return Step(step_id, node, kind, args, kwargs, iterated, where, construct=construct)  # type: ignore[arg-type]

    def _set(self, name: Expr | None, path: Path, scope: Scope) -> None:
        if isinstance(name, Const) and isinstance(name.value, str) and name.value.isidentifier():
            scope.variables.add(name.value)
        elif name is not None:
            self.report.problem(
                (*path, "params", "name"),
                "the variable's name is no name that is known when the workflow is written",
                "Give a name of letters, digits and _, without templates",
            )

    # -- constructs ----------------------------------------------------------------------------------------------

    def _sequential(
        self,
        model: SequentialStep,
        path: Path,
        scope: Scope,
        ids: Ids,
        step_id: str,  # noqa: ARG002
    ) -> Construct:
        inner = scope.inner()
        body = self._body(model, path, inner, ids)
        scope.steps |= inner.steps
        scope.variables |= inner.variables
        return Sequential(body)

    def _parallel(self, model: ParallelStep, path: Path, scope: Scope, ids: Ids, step_id: str) -> Construct:
        first = is_first(model)
        if model.first is not None and model.mode is not None and first != (model.mode == "first" and model.first):
            self.report.problem((*path, "first"), "'first' and 'mode' say different things", "Keep 'mode'")
        if first and not model.steps:
            self.report.problem((*path, "steps"), "there is no branch to be the first", "Give at least one")
        lot = Ids(wanted_ids(model.steps), ids) if first else ids
        scopes, branches = [], []
        for place, branch in enumerate(model.steps):
            scopes.append(scope.inner())
            where: Path = (*path, "steps", place)
            if isinstance(branch, (list, BodyModel)):
                branches.append(self._body(branch, where, scopes[-1], lot))
            else:
                step = self._step(branch, where, scopes[-1], lot)
                branches.append(Body((step,), StepValue(step.id)))
        self.report.step = step_id
        for inner in scopes:
            scope.variables |= inner.variables
            if not first:
                scope.steps |= inner.steps
        return Parallel(tuple(branches), model.max_concurrency, first)

    def _given(self, model: Any, path: Path, step_id: str, *names: str) -> dict[str, Local]:
        """Return what a construct gives its body, by name."""
        name = getattr(model, "as_", None) or "item"
        if not name.isidentifier() or name in (*ROOTS, "index", "error"):
            self.report.problem((*path, "as"), f"an item cannot be called '{name:.60}'", "Give another name")
            name = "item"
        made = {name: Local(step_id, "item", "" if name == "item" else name)} if "item" in names else {}
        return made | {one: Local(step_id, one) for one in names if one != "item"}

    def _loop(self, model: LoopStep, path: Path, scope: Scope, ids: Ids, step_id: str) -> Construct:
        given = model.model_fields_set
        told = [name for name in ("over", "while_", "until", "times") if name in given]
        if len(told) != 1:
            said = " and ".join(f"'{name.strip('_')}'" for name in told) or "neither of them"
            cure = "Give exactly one of over, while, until and times"
            self.report.problem(path, f"a loop goes by one thing, and is given {said}", cure)
        each = "over" in told
        for name in ("init",) if each else ("parallel", "max_concurrency"):
            if name in given:
                field = {"max_concurrency": "maxConcurrency"}.get(name, name)
                words = "a loop with 'over' has no" if each else "only a loop with 'over' has"
                self.report.problem((*path, field), f"{words} '{field}'", "Leave it out")
        parallel = each and model.parallel is True
        if each and model.max_concurrency is not None and not parallel:
            cure = "Add parallel: true, or leave it out"
            self.report.problem((*path, "maxConcurrency"), "the items are run one after the other", cure)
        locals_ = self._given(model, path, step_id, "item", "index")
        over = self._value(model.over, (*path, "over"), scope) if each else Const(None)
        init = self._value(model.init, (*path, "init"), scope)
        times = self._value(model.times, (*path, "times"), scope) if "times" in told else None
        if isinstance(times, Const) and (
            isinstance(times.value, bool) or not isinstance(times.value, int) or times.value < 0
        ):
            said = f"'times' cannot be {times.value!r:.60}"
            self.report.problem((*path, "times"), said, "Give a whole number, 0 or more, or a template")
        if isinstance(over, Const) and (not isinstance(over.value, (list, tuple)) and each):
            said = f"'over' is {over.value!r:.60}, no list"
            self.report.problem((*path, "over"), said, "Give a list, or a template that stands for one")
        before = set(scope.variables) | (set() if parallel else variables_set(model.steps))

        def inside() -> Scope:
            made = scope.inner(step_id, locals_)
            made.variables |= before
            return made

        inner = inside()
        body = self._inner(model, path, inner, ids)
        conditions = [
            self._part(part, (*path, word), inside(), ids) if part is not None else None
            for word, part in (("while", model.while_), ("until", model.until))
        ]
        self.report.step = step_id
        scope.variables |= inner.variables
        name = next(iter(locals_))
        if each:
            return Each(over, body, name, parallel, model.max_concurrency, model.max_iterations)
        return Loop(body, init, name, conditions[0], conditions[1], times, model.max_iterations or 1000)

    def _part(self, model: Any, path: Path, scope: Scope, ids: Ids) -> Body:
        """Return the body of a condition: a template, or steps and their value."""
        if isinstance(model, BodyModel):
            return self._inner(model, path, scope, ids)
        return Body((), self._condition(model, path, scope))

    def _switch(self, model: SwitchStep, path: Path, scope: Scope, ids: Ids, step_id: str) -> Construct:
        compared = "value" in model.model_fields_set
        value = self._value(model.value, (*path, "value"), scope) if compared else None
        if not model.cases:
            self.report.problem((*path, "cases"), "there is no case", "Give at least one")
        cases, scopes = [], []
        for place, case in enumerate(model.cases):
            where: Path = (*path, "cases", place)
            self.report.step = step_id
            when, condition = self._when(case.when, (*where, "when"), scope, compared=compared)
            scopes.append(scope.inner())
            cases.append(Case(when, self._inner(case, where, scopes[-1], ids), condition))
        default = None
        if model.default is not None:
            scopes.append(scope.inner())
            default = self._inner(model.default, (*path, "default"), scopes[-1], ids)
        self.report.step = step_id
        for inner in scopes:
            scope.variables |= inner.variables
        return Switch(tuple(cases), value, default)

    def _when(self, when: Any, path: Path, scope: Scope, *, compared: bool) -> tuple[Expr, bool]:
        """Return what a case asks, and whether that is a condition."""
        if isinstance(when, str):
            parsed = parse(when, scope, self.report.complain(path))
            if parsed.alone:
                return parsed.expr, True
            if parsed.mixed and parsed.expr is not UNKNOWN:
                cure = "Put all of a condition between one '{{' and '}}'; to compare, write {{ value == ... }}"
                self.report.problem(path, f"the case {when!r:.80} is neither a condition nor a constant", cure)
                return UNKNOWN, False
            expr = parsed.expr
        else:
            expr = self._value(when, path, scope)
        if isinstance(when, bool) and not compared:
            return expr, True
        if not compared:
            cure = "Give the switch a 'value', or write a condition: {{ ... }}"
            self.report.problem(
                path, f"the case {when!r:.80} is a constant, and there is no value to compare it with", cure
            )
        if not isinstance(expr, Const) and expr is not UNKNOWN:
            cure = "Write a condition instead: {{ value == ... }}"
            self.report.problem(path, "templates inside of a list or mapping cannot be compared with", cure)
        return expr, False

    def _try(self, model: TryStep, path: Path, scope: Scope, ids: Ids, step_id: str) -> Construct:
        if model.catch is None and model.finally_ is None:
            cure = "Give catch: or finally:, or leave the try out"
            self.report.problem(path, "it is not said what is done about an error", cure)
        scopes = [scope.inner()]
        body = self._inner(model, path, scopes[0], ids)
        given = self._given(None, path, step_id, "error")
        found = model.catch
        several = isinstance(found, list) and bool(found) and isinstance(found[0], CatchModel)
        parts: list[Any] = [] if found is None else list(found) if several else [found]
        catches = []
        for place, part in enumerate(parts):
            where: Path = (*path, "catch", place) if several else (*path, "catch")
            scopes.append(scope.inner(step_id, given))
            on = tuple(part.on) if isinstance(part, CatchModel) else ()
            catches.append(Catch(self._inner(part, where, scopes[-1], ids), on))
        finally_ = None
        if model.finally_ is not None:
            scopes.append(scope.inner())
            finally_ = self._inner(model.finally_, (*path, "finally"), scopes[-1], ids)
        self.report.step = step_id
        for inner in scopes:
            scope.variables |= inner.variables
        return Try(body, tuple(catches), finally_)

    def _stream(self, model: StreamStep, path: Path, scope: Scope, ids: Ids, step_id: str) -> Construct:
        where: Path = (*path, "source")
        source_id = self._id(model.source, where, ids)
        self.report.step = source_id
        node, args, kwargs, _ = self.calls.call(model.source, where, scope)
        if not node.ports.generator and model.source.type == node.title:
            cure = "Use a node whose function yields; for the items of a list, use a loop with 'over'"
            self.report.problem((*where, "type"), f"node '{node.title}' is no generator function", cure)
        source = Step(source_id, node, "task", args, kwargs, where=self.report.document.where(where))
        inner = scope.inner(step_id, given := self._given(model, path, step_id, "item", "index"))
        body = self._inner(model, path, inner, ids)
        if not model.steps and "output" not in model.model_fields_set:
            body = Body((), Local(step_id, "item", given[next(iter(given))].alias))
        self.report.step = step_id
        return Stream(source, body, model.batch_size or 1, model.buffer_size or 10, next(iter(given)))

    def _workflow(
        self,
        model: WorkflowStep,
        path: Path,
        scope: Scope,
        ids: Ids,  # noqa: ARG002 - as every maker is called
        step_id: str,  # noqa: ARG002
    ) -> Construct:
        given = {name: self._value(value, (*path, "inputs", name), scope) for name, value in model.inputs.items()}
        itself = model.workflow == self.definition.name and model.version in (None, self.definition.version)
        graph = None if itself else self._named(model, path)
        made = SubWorkflow(model.workflow, model.version or "", tuple(given.items()), graph)
        if not itself and graph is None:
            return made
        inputs = {spec.name: spec for spec in (self.inputs if graph is None else graph.inputs)}
        for name, expr in given.items():
            if name not in inputs:
                said = f"workflow '{model.workflow}' has no input '{name}'"
                self.report.problem((*path, "inputs", name), said, near(name, inputs))
                continue
            annotation = inputs[name].annotation
            text = self.calls.misfit(expr, annotation, checker(annotation))
            if text is not None:
                said = f"input '{name}' = {text}, but its annotation says {describe(annotation)}"
                self.report.problem((*path, "inputs", name), said, "Pass a fitting value, or correct the annotation")
        for name, spec in inputs.items():
            if spec.required and name not in given:
                said = f"workflow '{model.workflow}' needs the input '{name}'"
                self.report.problem((*path, "inputs"), said, f"Add {name}: ...")
        return made

    def _named(self, model: WorkflowStep, path: Path) -> Graph | None:
        try:
            graph: Graph = self.registry.workflow(model.workflow, model.version or "").graph
            return graph
        except WfnbError as error:
            message, _, cure = str(error).partition(". ")
            self.report.problem((*path, "workflow"), message, cure)
            return None

    _MAKERS: Mapping[type[StepModel], Callable[..., Construct]] = {
        SequentialStep: _sequential,
        ParallelStep: _parallel,
        LoopStep: _loop,
        SwitchStep: _switch,
        TryStep: _try,
        StreamStep: _stream,
        WorkflowStep: _workflow,
    }
