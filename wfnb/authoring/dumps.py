"""Workflows into definitions: the canonical form of a graph, as data and as YAML. Imports model, options and registry.

Canonical is: camelCase, every step with its id, what is as by default left out, arguments by name. What loads as an
equal graph has an equal definition, and a definition that came from here comes out of here again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from wfnb.authoring.options import error_names
from wfnb.authoring.registry import REGISTRY
from wfnb.authoring.resolving import KnownByName, settings_of
from wfnb.model.definition import FORMAT
from wfnb.model.document import Document, Path
from wfnb.model.errors import DefinitionError, Problem, WfnbError
from wfnb.model.expr import Apply, Const, Container, Expr, Local, StepValue
from wfnb.model.filters import TemplateError
from wfnb.model.graph import (
    Body,
    Case,
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
from wfnb.model.node import Node
from wfnb.model.policy import PRIORITIES, Backoff, Exponential, Policy
from wfnb.model.schemas import schema_of
from wfnb.model.scope import Scope
from wfnb.model.templates import Writer, escaped, literal

Fields: TypeAlias = dict[str, Any]
_NOTHING = Const(None)


def definition_of(graph: Graph, *, registry: KnownByName | None = None) -> dict[str, Any]:
    """Return the canonical definition of a graph.

    Args:
        graph: the graph.
        registry: what knows nodes by name; by default what this process has registered.

    Raises:
        DefinitionError: it holds something that a definition cannot say, such as a constant that JSON cannot hold.
    """
    return _Dumping(graph, registry or REGISTRY).definition()


def to_yaml(definition: Graph | Mapping[str, Any]) -> str:
    """Return a definition, or that of a graph, as YAML.

    Args:
        definition: a definition as `definition_of` gives it, or a graph.

    Raises:
        DefinitionError: the graph holds something that a definition cannot say.
    """
    from wfnb.authoring.yaml_text import dump

    return dump(definition_of(definition) if isinstance(definition, Graph) else dict(definition))


LONGEST_RANGE = 10_000
"""Numbers of a range that are written out."""


class _Dumping:
    """The writing of one definition."""

    def __init__(self, graph: Graph, registry: KnownByName) -> None:
        self.graph = graph
        self.registry = registry
        self.problems: list[Problem] = []
        self.now: Step | None = None
        self._document = Document({})

    def definition(self) -> Fields:
        """Return the definition; raises DefinitionError."""
        graph = self.graph
        scope = Scope(inputs=tuple(spec.name for spec in graph.inputs))
        limits: Any = {tag or "*": most for tag, most in graph.concurrency}
        inputs = {spec.name: self._input(spec) for spec in graph.inputs}
        steps = self._steps(graph.steps, ("steps",), scope)
        self.now = None
        made = {
            "wfnb": FORMAT,
            "name": graph.name,
            **_but(version=("", graph.version), description=("", graph.description)),
            **_but(tags=([], list(graph.tags)), order=("sequence", graph.order)),
            **_but(concurrency=({}, limits["*"] if set(limits) == {"*"} else limits)),
            **_but(inputs=({}, inputs)),
            **self._output(Body(graph.steps, graph.output), ("outputs",), scope, "outputs"),
            "steps": steps,
        }
        if self.problems:
            raise DefinitionError(graph.name, tuple(self.problems))
        return made

    def _input(self, spec: InputSpec) -> Fields:
        schema = schema_of(spec.annotation)
        if spec.required:
            return schema
        return {**schema, "default": self._default(spec.default, ("inputs", spec.name, "default"))}

    def _default(self, value: Any, path: Path) -> Any:
        """Return the default of an input; texts in it are no templates, and a tuple is a list."""
        if isinstance(value, list | tuple):
            return [self._default(one, (*path, place)) for place, one in enumerate(value)]
        if type(value) is dict and all(type(key) is str for key in value):
            return {key: self._default(one, (*path, key)) for key, one in value.items()}
        return value if type(value) is str else self._plain(value, path)

    # -- values --------------------------------------------------------------------------------------------------

    def _problem(self, path: Path, message: str, cure: str = "") -> None:
        step = self.now
        place = ", ".join(part for part in (self._document.where(path), step.where if step else "") if part)
        self.problems.append(Problem(message, step.id if step else "", place, cure))

    def _plain(self, value: Any, path: Path) -> Any:
        """Return a constant as JSON holds it."""
        kind = type(value)
        if kind is str:
            return escaped(value)
        if kind is list or (kind is range and len(value) <= LONGEST_RANGE):
            return [self._plain(one, (*path, place)) for place, one in enumerate(value)]
        if kind is dict and all(type(key) is str for key in value):
            return {key: self._plain(one, (*path, key)) for key, one in value.items()}
        if value is None or kind in (bool, int, float):
            try:
                literal(value)
                return value
            except TemplateError:
                pass
        elif kind in (tuple, dict):
            return self._template(Const(value), path)
        cure = "Make it in a node, or pass it as an input"
        self._problem(path, f"the constant {value!r:.60} ({kind.__name__}) is nothing that a definition can hold", cure)
        return None

    def _template(self, expr: Expr, path: Path, scope: Scope | None = None) -> str:
        try:
            return Writer(scope or Scope()).template(expr)
        except TemplateError as error:
            self._problem(path, str(error))
            return ""

    def _value(self, expr: Expr, path: Path, scope: Scope) -> Any:
        """Return an expression as a value of a definition."""
        if isinstance(expr, Const):
            return self._plain(expr.value, path)
        if isinstance(expr, Container) and expr.kind == "list":
            return [self._value(one, (*path, place), scope) for place, one in enumerate(expr.items)]
        if isinstance(expr, Container) and expr.kind == "dict":
            keys, values = expr.items[::2], expr.items[1::2]
            if all(isinstance(key, Const) and type(key.value) is str for key in keys):
                names = [key.value for key in keys if isinstance(key, Const)]
                return {name: self._value(one, (*path, name), scope) for name, one in zip(names, values, strict=True)}
        return self._template(expr, path, scope)

    def _condition(self, expr: Expr, path: Path, scope: Scope) -> str | bool:
        if isinstance(expr, Const) and isinstance(expr.value, bool):
            return expr.value
        return self._template(expr, path, scope)

    # -- bodies --------------------------------------------------------------------------------------------------

    def _steps(self, steps: Iterable[Step], path: Path, scope: Scope) -> list[Fields]:
        return [self._step(step, (*path, place), scope) for place, step in enumerate(steps)]

    def _body(self, body: Body, path: Path, scope: Scope, default: Expr = _NOTHING) -> Fields:
        """Return a body's `steps` and `output`."""
        around = self.now
        steps = self._steps(body.steps, (*path, "steps"), scope)
        self.now = around
        return {"steps": steps, **self._output(body, (*path, "output"), scope, "output", default)}

    def _output(self, body: Body, path: Path, scope: Scope, field: str, default: Expr = _NOTHING) -> Fields:
        usual = StepValue(body.steps[-1].id) if body.steps else default
        return {} if _same(body.output, usual) else {field: self._value(body.output, path, scope)}

    def _short(self, body: Body, path: Path, scope: Scope) -> Any:
        """Return a body as a list of steps, or with its output where that is not the last step's value."""
        made = self._body(body, path, scope)
        return made if "output" in made else made["steps"]

    # -- steps ---------------------------------------------------------------------------------------------------

    def _step(self, step: Step, path: Path, scope: Scope) -> Fields:
        self.now = step
        construct = step.construct
        head: Fields = {"id": step.id, **_but(name=("", step.title))}
        if step.when is not None:
            head["when"] = self._condition(step.when, (*path, "when"), scope)
        tail = self._policy(step.node, path, composed=not (construct is None or isinstance(construct, Dynamic)))
        tail |= _but(continueOnError=(False, step.continue_on_error))
        if construct is None:
            kind = "node" if step.kind == "task" else step.kind
            made = {"stepType": kind, **head, **self._call(step, path, scope), **tail}
        elif isinstance(construct, Dynamic):
            made = {"stepType": "dynamic", **head, **self._call(step, path, scope), **tail}
        else:
            word, fields = self._MAKERS[type(construct)](self, step, construct, path, scope)
            made = {"stepType": word, **head, **tail, **fields}
        scope.steps.add(step.id)
        return made

    def _call(self, step: Step, path: Path, scope: Scope) -> Fields:
        node = step.node
        name, base = self._registered(node)
        params = self._settings(node, base, path)
        names, args = _by_name(step)
        over: Fields = {}
        for at in step.over:
            called = names.get(at, str(at)) if isinstance(at, int) else at
            over[called] = self._value(step.argument(at), (*path, "over", called), scope)
        pairs: list[tuple[int | str, Expr]] = [(at, step.args[at]) for at in sorted(names)]
        for key, expr in [*pairs, *step.kwargs]:
            if key not in step.over:
                called = names[key] if isinstance(key, int) else key
                params[called] = self._value(expr, (*path, "params", called), scope)
        given = [self._value(step.args[at], (*path, "args", at), scope) for at in args if at not in step.over]
        return {
            "type": name,
            **_but(version=("", node.info.version), over=({}, over), args=([], given), params=({}, params)),
        }

    def _registered(self, node: Node) -> tuple[str, Node | type[Node] | None]:
        """Return the name a node is known by, and what is known by it."""
        for version in dict.fromkeys((node.info.version, "")):
            try:
                found = self.registry.node(node.info.name, version)
            except WfnbError:
                continue
            if _alike(found, node):
                return node.info.name, found
        known: Mapping[str, Any] = getattr(self.registry, "user_nodes", dict)()
        for full, found in reversed(list(known.items())):
            if _alike(found, node):
                version = node.info.version
                return full.removesuffix(f"@{version}") if version else full, found
        return node.info.name, None

    def _settings(self, node: Node, base: Node | type[Node] | None, path: Path) -> Fields:
        names = settings_of(node)
        if not names:
            return {}
        given = node.params.model_dump()
        usual = base.params.model_dump() if isinstance(base, Node) else _defaults(node)
        changed = {name: given[name] for name in names if name not in usual or usual[name] != given[name]}
        return {name: self._plain(value, (*path, "params", name)) for name, value in changed.items()}

    def _policy(self, node: Node, path: Path, *, composed: bool) -> Fields:
        """Return what a step says of its policy, where that is not the registered node's own."""
        base = None if composed else self._registered(node)[1]
        usual, policy = Policy() if base is None else base.policy, node.policy
        made: Fields = {}
        retry: Fields = {}
        if policy.retries != usual.retries:
            retry["attempts"] = policy.retries
        if policy.backoff != usual.backoff:
            retry["backoff"] = _backoff(policy.backoff)
        if policy.retry_on != usual.retry_on:
            retry["on"] = list(error_names(policy.retry_on))
        made |= _but(retry=({}, retry))
        if policy.timeout != usual.timeout:
            made["timeout"] = None if policy.timeout is None else _milliseconds(policy.timeout)
        names: dict[int, Any] = {number: name for name, number in PRIORITIES.items()}
        made |= _but(cache=(usual.cache, policy.cache), checkpoint=(usual.checkpoint, policy.checkpoint))
        if policy.priority != usual.priority:
            made["priority"] = names.get(policy.priority, policy.priority)
        if dict(policy.resources) != dict(usual.resources):
            made["resources"] = self._plain(dict(policy.resources), (*path, "resources"))
        return made | _but(validate=(usual.validate, policy.validate))

    # -- constructs ----------------------------------------------------------------------------------------------

    def _sequential(self, _: Step, this: Sequential, path: Path, scope: Scope) -> tuple[str, Fields]:
        inner = scope.inner()
        made = self._body(this.body, path, inner)
        scope.steps |= inner.steps
        return "sequential", made

    def _parallel(self, _: Step, this: Parallel, path: Path, scope: Scope) -> tuple[str, Fields]:
        branches: list[Any] = []
        scopes = []
        for place, branch in enumerate(this.branches):
            scopes.append(scope.inner())
            made = self._short(branch, (*path, "steps", place), scopes[-1])
            branches.append(made[0] if isinstance(made, list) and len(made) == 1 else made)
        if not this.first:
            for inner in scopes:
                scope.steps |= inner.steps
        fields = _but(maxConcurrency=(None, this.max_concurrency), mode=("all", "first" if this.first else "all"))
        return "parallel", {**fields, "steps": branches}

    def _each(self, step: Step, this: Each, path: Path, scope: Scope) -> tuple[str, Fields]:
        fields = {
            "over": self._value(this.over, (*path, "over"), scope),
            **_but(**{"as": ("item", this.name)}, parallel=(False, this.parallel)),
            **_but(maxConcurrency=(None, this.max_concurrency if this.parallel else None)),
            **_but(maxIterations=(None, this.max_iterations)),
        }
        return "loop", fields | self._body(this.body, path, _inside(step, this.name, scope))

    def _loop(self, step: Step, this: Loop, path: Path, scope: Scope) -> tuple[str, Fields]:
        fields: Fields = {}
        for word, part in (("while", this.while_), ("until", this.until)):
            if part is not None:
                inner = _inside(step, this.name, scope)
                bare = not part.steps
                fields[word] = (
                    self._condition(part.output, (*path, word), inner)
                    if bare
                    else self._body(part, (*path, word), inner)
                )
        if this.times is not None:
            fields["times"] = self._value(this.times, (*path, "times"), scope)
        if not _same(this.init, Const(None)):
            fields["init"] = self._value(this.init, (*path, "init"), scope)
        fields |= _but(**{"as": ("item", this.name)}, maxIterations=(1000, this.max_iterations))
        return "loop", fields | self._body(this.body, path, _inside(step, this.name, scope))

    def _switch(self, _: Step, this: Switch, path: Path, scope: Scope) -> tuple[str, Fields]:
        fields: Fields = {}
        if this.value is not None:
            fields["value"] = self._value(this.value, (*path, "value"), scope)
        fields["cases"] = []
        for place, case in enumerate(this.cases):
            where: Path = (*path, "cases", place)
            when = self._when(case, this, (*where, "when"), scope)
            fields["cases"].append({"when": when, **self._body(case.body, where, scope.inner())})
        if this.default is not None:
            fields["default"] = self._short(this.default, (*path, "default"), scope.inner())
        return "switch", fields

    def _when(self, case: Case, this: Switch, path: Path, scope: Scope) -> Any:
        if case.condition and this.value is None:
            return self._condition(case.when, path, scope)
        if case.condition:
            return self._template(case.when, path, scope)
        if isinstance(case.when, Const) and not isinstance(case.when.value, (tuple, dict, list)):
            return self._plain(case.when.value, path)
        return self._template(Apply("==", (this.value or Const(None), case.when)), path, scope)

    def _try(self, step: Step, this: Try, path: Path, scope: Scope) -> tuple[str, Fields]:
        fields = self._body(this.body, path, scope.inner())
        given = {"error": Local(step.id, "error")}
        if len(this.catches) == 1 and not this.catches[0].on:
            fields["catch"] = self._short(this.catches[0].body, (*path, "catch"), scope.inner(step.id, given))
        elif this.catches:
            fields["catch"] = [
                {
                    **_but(on=([], list(one.on))),
                    **self._body(one.body, (*path, "catch", n), scope.inner(step.id, given)),
                }
                for n, one in enumerate(this.catches)
            ]
        if this.finally_ is not None:
            fields["finally"] = self._short(this.finally_, (*path, "finally"), scope.inner())
        return "try", fields

    def _stream(self, step: Step, this: Stream, path: Path, scope: Scope) -> tuple[str, Fields]:
        source = self._step(this.source, (*path, "source"), scope.inner())
        self.now = step
        fields = {
            "source": source,
            **_but(**{"as": ("item", this.name)}, batchSize=(1, this.batch), bufferSize=(10, this.buffer)),
        }
        inner = _inside(step, this.name, scope)
        return "stream", fields | self._body(this.body, path, inner, next(iter(inner.names.values())))

    def _workflow(self, _: Step, this: SubWorkflow, path: Path, scope: Scope) -> tuple[str, Fields]:
        inputs = {name: self._value(expr, (*path, "inputs", name), scope) for name, expr in this.inputs}
        return "workflow", {"workflow": this.name, **_but(version=("", this.version), inputs=({}, inputs))}

    _MAKERS: Mapping[type, Callable[..., tuple[str, Fields]]] = {
        Sequential: _sequential,
        Parallel: _parallel,
        Each: _each,
        Loop: _loop,
        Switch: _switch,
        Try: _try,
        Stream: _stream,
        SubWorkflow: _workflow,
    }


# -- small things ----------------------------------------------------------------------------------------------------


def _but(**fields: tuple[Any, Any]) -> Fields:
    """Return the fields whose value is not the usual one; each is given as (the usual one, the value)."""
    return {name: value for name, (usual, value) in fields.items() if value != usual}


def _same(one: Expr, other: Expr) -> bool:
    """Return whether two expressions are the same step, local or None; anything may be in a constant."""
    if isinstance(one, Const) or isinstance(other, Const):
        return isinstance(one, Const) and isinstance(other, Const) and one.value is other.value is None
    if isinstance(one, StepValue | Local) and isinstance(other, StepValue | Local):
        return one == other
    return False


def _inside(step: Step, name: str, scope: Scope) -> Scope:
    item = Local(step.id, "item", "" if name == "item" else name)
    return scope.inner(step.id, {name: item, "index": Local(step.id, "index")})


def _by_name(step: Step) -> tuple[dict[int, str], list[int]]:
    """Return the names of arguments given by position, and the positions of those that cannot be given by name."""
    ports = step.node.ports
    bound, _ = ports.bind(step.args, {})
    names = {argument.at: argument.name for argument in bound if isinstance(argument.at, int)}
    if set(names) == set(range(len(step.args))) and all(name in ports.keywords for name in names.values()):
        return {at: name for at, name in names.items() if isinstance(at, int)}, []
    return {}, list(range(len(step.args)))


def _alike(known: Node | type[Node], node: Node) -> bool:
    """Return whether a step's node was made from what is known by a name."""
    if isinstance(known, type):
        return type(node) is known
    if type(known) is not type(node):
        return False
    return getattr(known, "function", None) is getattr(node, "function", None)


def _defaults(node: Node) -> Fields:
    fields = type(node).Params.model_fields
    usual = {name: field for name, field in fields.items() if not field.is_required()}
    return {name: field.get_default(call_default_factory=True) for name, field in usual.items()}


def _milliseconds(seconds: float) -> int | float:
    found = round(seconds * 1000, 6)
    return int(found) if found == int(found) else found


def _backoff(backoff: Backoff) -> Fields:
    if not isinstance(backoff, Exponential):
        return _but(delay=(0, _milliseconds(backoff.delay)), jitter=(0.0, backoff.jitter))
    usual = Exponential()
    return {
        "type": "exponential",
        **_but(delay=(_milliseconds(usual.delay), _milliseconds(backoff.delay)), factor=(usual.factor, backoff.factor)),
        **_but(max=(_milliseconds(usual.maximum), _milliseconds(backoff.maximum)), jitter=(0.0, backoff.jitter)),
    }
