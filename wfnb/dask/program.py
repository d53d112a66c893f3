"""What a worker needs to run a workflow's steps: its graph, its nodes ready to call, its inputs. Imports engine, store.

A program is stored once with the run and loaded once by each worker process, whatever the number of bundles.
"""

from __future__ import annotations

import contextlib
import hashlib
import linecache
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from wfnb.authoring.capture import load_code, load_code_and_classes, pack_code
from wfnb.authoring.capture import place as place_of
from wfnb.authoring.sizes import pack_within
from wfnb.authoring.stateless import leaves_nothing
from wfnb.dask.values import Values
from wfnb.engine.lowered import Lowered
from wfnb.engine.plan import Binding, Slot
from wfnb.model.builtin import Batch, Call
from wfnb.model.caught import CaughtError
from wfnb.model.classes import Classes
from wfnb.model.constants import changeable
from wfnb.model.errors import CaptureError, DefinitionError, Problem, StoreError
from wfnb.model.expr import (
    CONTAINERS,
    OPERATORS,
    Apply,
    Const,
    Container,
    Element,
    Expr,
    Input,
    Lazy,
    Local,
    Position,
    RunFact,
    StepValue,
    Text,
    steps_of,
    walk,
)
from wfnb.model.graph import Step
from wfnb.model.lifecycle import NodeCall
from wfnb.model.sequences import as_sequence, length_of
from wfnb.store.base import Frame, Store
from wfnb.store.codec import Codec
from wfnb.store.rules import size_of
from wfnb.store.seal import seal, unseal
from wfnb.store.shared import load_packs

INPUTS = "inputs"
"""The key of the pack that holds a run's inputs."""

INPUT_NAMES = "input-names"
"""The key of the pack that holds their names, in the same order; without it they are in the order of the graph's."""

Getter: TypeAlias = Callable[[Values, int], Any]


K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class Runner:
    """One step made ready to run.

    Args:
        id: the step's id in this run.
        step: the step.
        call: its node.
        args: how to get each positional argument of an element.
        kwargs: how to get each keyword argument.
        when: how to get the condition it runs under, or None.
        iterated: the arguments that differ from element to element.
        sized: whether a fan-out iterates over its value, so that the length is part of its outcome.
        decides: whether its value is a decision, so that it is part of its outcome.
        kept: whether its value goes to the store.
        context: whether its node is told about its task.
        digest: its node's code in one hash where known values are answered from the store, else "".
    """

    id: str
    step: Step
    call: NodeCall
    args: tuple[Getter, ...]
    kwargs: tuple[tuple[str, Getter], ...]
    when: Getter | None
    iterated: frozenset[int | str]
    sized: bool
    decides: bool
    kept: bool
    context: bool
    digest: str


@dataclass(frozen=True, slots=True)
class _Names:
    """What the names in a step's expressions are: numbers of steps, by path, and what constructs give."""

    steps: Mapping[str, int]
    slots: Mapping[tuple[str, str], Slot]


class Compiled:
    """A workflow, ready to be run with any inputs.

    Args:
        graph: the lowered graph.
        digests: the fingerprints of the nodes whose values may be answered from the store, by step id.
        classes: the classes that came with the code, which values are to be of; None where the code is this process's.

    Attributes:
        number: the steps' numbers by id.
        fan_outs: the numbers of the steps that are fan-outs.
    """

    def __init__(
        self, graph: Lowered, digests: Mapping[str, str] | None = None, classes: Classes | None = None
    ) -> None:
        self.graph = graph
        self.classes = classes
        self._digests = digests or {}
        self.number = {step.id: index for index, step in enumerate(graph.steps)}
        self.fan_outs = frozenset(
            index
            for index, (step, place) in enumerate(zip(graph.steps, graph.places, strict=True))
            if place.gathers or step.over or step.kind in ("each", "source")
        )
        self._shown = graph.shown()
        self._sized = self._sources()
        self._runners: dict[int, Runner] = {}
        self._fixed: dict[int, tuple[frozenset[int | str], bool, bool, bool, bool, str]] = {}

    def _sources(self) -> set[int]:
        """The steps over whose values fan-outs and constructs go."""
        found: set[str] = set()
        for step in self.graph.steps:
            exprs = [*step.args, *(expr for _, expr in step.kwargs)] if step.kind == "each" else []
            elements = [part.source for expr in exprs for part in walk(expr) if isinstance(part, Element)]
            found.update(expr.step for expr in (*step.iterated, *elements) if isinstance(expr, StepValue))
        sized = {self.number[step] for step in found}
        return sized | {p.rule.source for p in self.graph.places if p.rule is not None and p.rule.kind == "each"}

    def runner(self, index: int) -> Runner:
        """Return a step of the outermost block ready to run; made when it is first asked for."""
        found = self._runners.get(index)
        if found is None:
            names = _Names(self.number, {})
            found = self._runners[index] = self._runner(index, self.graph.steps[index].id, names)
        return found

    def bound(self, binding: Binding) -> Runner:
        """Return a step of a body ready to run."""
        return self._runner(binding.template, binding.id, _Names(dict(binding.steps), dict(binding.slots)))

    def _runner(self, template: int, step_id: str, names: _Names) -> Runner:
        step = self.graph.steps[template]
        iterated = self._iterated(step, names) if step.over else {}
        args = tuple([iterated.get(at) or self._getter(expr, names) for at, expr in enumerate(step.args)])
        # What has no name is there for the order alone.
        kwargs = tuple([(name, iterated.get(name) or self._getter(expr, names)) for name, expr in step.kwargs if name])
        when = self._condition(step, names)
        fixed = self._fixed.get(template)
        if fixed is None:
            kept = self.keeps(template)
            fixed = self._fixed[template] = (
                _differing(step) if step.kind == "each" else frozenset(step.over),
                template in self._sized,
                self.graph.places[template].decides,
                kept,
                bool(step.node.ports.context) or bool(step.node.hooks),
                self._digests.get(step.id, "") if kept else "",
            )
        return Runner(step_id, step, step.node.node_call, args, kwargs, when, *fixed)

    def _condition(self, step: Step, names: _Names) -> Getter | None:
        """How to get the condition an element runs under; asking for it raises Absent where what it needs failed.

        That is what the arguments of a step with a condition use, looked at or not, and what those without a name say:
        that another step comes before it in the body of a fan-out.
        """
        when = None if step.when is None else self._getter(step.when, names)
        cells: set[int] = set()
        whole: set[int] = set()
        for name, expr in (*enumerate(step.args), *step.kwargs):
            if name != "" and when is None:
                continue  # it is looked at
            sources = [part.source for part in walk(expr) if isinstance(part, Element)]
            beside = {
                one.step for one in sources if isinstance(one, StepValue) and self.number[one.step] in self.fan_outs
            }
            cells.update(names.steps[one] for one in beside)
            if when is not None and step.kind in ("task", "each"):
                whole.update(names.steps[one] for one in steps_of(expr) if one not in beside)
        if not cells and not whole:
            return when

        def get(values: Values, element: int) -> Any:
            for number in cells:
                values.cell(number, element)
            for number in whole:
                values.whole(number)
            return when is None or when(values, element)

        return get

    def keeps(self, template: int) -> bool:
        """Return whether a step's values go to the store."""
        return self.graph.steps[template].node.policy.checkpoint or template in self._shown

    def _getter(self, expr: Expr, names: _Names) -> Getter:
        match expr:
            case Const(value):
                return lambda _values, _element: value
            case Input(name):
                return lambda values, _element: values.inputs[name]
            case StepValue(step):
                number = names.steps[step]
                return lambda values, _element: values.whole(number)
            case Local(path, name):
                return _slot_getter(names.slots[path, name], (path, name))
            case RunFact():
                return lambda values, _element: values.run_id
            case Position():
                return lambda _values, element: element
            case Element(source):
                return self._element_getter(source, names)
            case Lazy(source):
                return _lazy_getter(self._getter(source, names), [names.steps[step] for step in steps_of(source)])
            case Apply(op, args):
                call, parts = OPERATORS[op], [self._getter(arg, names) for arg in args]
                return lambda values, element: call(*[get(values, element) for get in parts])
            case Container(kind, items):
                make, parts = CONTAINERS[kind], [self._getter(item, names) for item in items]
                return lambda values, element: make([get(values, element) for get in parts])
            case Text(text, used):
                from wfnb.model.sandbox import evaluate_text  # jinja2 is loaded where templates are used

                known = [(name, self._getter(part, names)) for name, part in used]
                return lambda values, element: evaluate_text(text, {name: get(values, element) for name, get in known})
        raise TypeError(f"{expr!r} has no value when a task runs")  # a variable: lowering leaves none

    def _element_getter(self, source: Expr, names: _Names) -> Getter:
        if isinstance(source, StepValue):
            number = names.steps[source.step]
            if self.number[source.step] in self.fan_outs:
                return _cell_getter(number)
        return _item_getter(self._sequence_getter(source, names))

    def _iterated(self, step: Step, names: _Names) -> dict[int | str, Getter]:
        """How to get element i of each argument a fan-out iterates over."""
        getters: dict[int | str, Getter] = {}
        sources = [self._sequence_getter(step.argument(name), names) for name in step.over]
        for place, name in enumerate(step.over):
            expr = step.argument(name)
            if step.kind == "expand":
                getters[name] = _product_getter(sources, place)
            else:
                getters[name] = self._element_getter(expr, names)
        return getters

    def _sequence_getter(self, expr: Expr, names: _Names) -> Callable[[Values], Sequence[Any]]:
        whole = self._getter(expr, names)
        if steps_of(expr) or any(isinstance(part, Local | Input) for part in walk(expr)):
            key = object()
            return lambda values: values.sequence(key, lambda: whole(values, 0))
        # Constants are the same for every bundle.
        known: list[Sequence[Any]] = []

        def get(values: Values) -> Sequence[Any]:
            if not known:
                known.append(as_sequence(whole(values, 0)))
            return known[0]

        return get


class Program:
    """A run's workflow, ready to run.

    Args:
        compiled: the workflow.
        inputs: the run's inputs by name.
        nbytes: how many bytes these take in the store.

    Attributes:
        used: when it was last asked for, by the monotonic clock.
        hashes: what a `Cache` knows of arguments that are the same for every element of a step, for its next bundles.
    """

    def __init__(self, compiled: Compiled, inputs: Mapping[str, Any], nbytes: int = 0) -> None:
        self.nbytes, self.used = nbytes, time.monotonic()
        self.compiled = compiled
        self.graph = compiled.graph
        self.number = compiled.number
        self.fan_outs = compiled.fan_outs
        self.classes = compiled.classes
        self.runner = compiled.runner
        self.bound = compiled.bound
        self.keeps = compiled.keeps
        self.inputs = inputs
        self.hashes: dict[tuple[int, int, str], str | None] = {}


def size_of_value(value: Any) -> int | None:
    """Return the length of a value a fan-out iterates over, or None when it has none."""
    try:
        return length_of(value)
    except TypeError:
        return None


def _differing(step: Step) -> frozenset[int | str]:
    """Which arguments differ from element to element, where a body runs as arrays."""
    given: list[tuple[int | str, Expr]] = [*enumerate(step.args), *step.kwargs]
    return frozenset(at for at, expr in given if any(isinstance(part, Element | Position) for part in walk(expr)))


def _slot_getter(slot: Slot, key: object) -> Getter:
    source, element = slot
    if source < 0:
        value = CaughtError(**element) if isinstance(element, dict) else element
        return lambda _values, _element: value
    if element < 0:
        return lambda values, _element: values.whole(source)

    def get(values: Values, _element: int) -> Any:
        if source in values.fan_outs:
            return values.cell(source, element)
        return values.sequence((key, source), lambda: values.whole(source))[element]

    return get


def _lazy_getter(get: Getter, needs: list[int]) -> Getter:
    def later(values: Values, element: int) -> Callable[[], Any]:
        for step in needs:
            values.whole(step)  # what is not there keeps the task from beginning; it is no error of the task's
        return lambda: get(values, element)

    return later


def _cell_getter(number: int) -> Getter:
    return lambda values, element: values.cell(number, element)


def _item_getter(source: Callable[[Values], Sequence[Any]]) -> Getter:
    return lambda values, element: source(values)[element]


def _product_getter(sources: list[Callable[[Values], Sequence[Any]]], place: int) -> Getter:
    def get(values: Values, element: int) -> Any:
        for later in sources[:place:-1]:
            element //= len(later(values))
        own = sources[place](values)
        return own[element % len(own)]

    return get


# -- storing and loading -------------------------------------------------------------------------------------------


def _cells(graph: Lowered) -> dict[str, tuple[str, list[str]]]:
    """The name and source of the notebook cells the nodes are from: a worker has neither, and tracebacks want both."""
    found: dict[str, tuple[str, list[str]]] = {}
    codes = {getattr(getattr(step.node, "__wrapped__", None), "__code__", None) for step in graph.steps}
    for filename in {code.co_filename for code in codes if code is not None}:
        name = place_of(filename, 1).rpartition(",")[0]
        if name.startswith("cell "):
            found[filename] = (name, linecache.getlines(filename))
    return found


CELL_NAMES: dict[str, str] = {}
"""What the cells of the programs loaded here are called, by their file names."""


def pack_program(graph: Lowered, secret: bytes, digests: Mapping[str, str] | None = None) -> list[Frame]:
    """Return the frames that hold a lowered graph with its code, signed; raises CaptureError.

    Args:
        graph: the lowered graph.
        secret: signs it.
        digests: the fingerprints of the nodes whose values may be answered from the store, by step id.
    """
    __tracebackhide__ = True
    nodes = [step.node for step in graph.steps]
    return seal(secret, pack_within((graph, _cells(graph), dict(digests or {}), _by_name(graph)), nodes))


def finds_by_name(graph: Lowered) -> bool:
    """Return whether steps may ask for nodes by name while they run."""
    return any(step.kind == "plan" or isinstance(step.node, Batch | Call) for step in graph.steps)


def _by_name(graph: Lowered) -> dict[str, bytes]:
    """The nodes that steps may ask for by name while they run, packed one by one: some may not be fit to travel."""
    if not finds_by_name(graph):
        return {}
    from wfnb.authoring.registry import REGISTRY  # looks into installed packages; few workflows need it

    found: dict[str, bytes] = {}
    for name, node in REGISTRY.user_nodes().items():
        with contextlib.suppress(CaptureError):
            found[name] = pack_code(node)
    return found


def load_graph(store: Store, run_id: str, code: str, secret: bytes) -> Lowered:
    """Return the lowered graph a run was stored with; raises ValueRefused and StoreError."""
    return _loaded(_packed(store, run_id, code, load_packs(store, run_id, [code])), secret)[0]


def _packed(store: Store, run_id: str, code: str, packs: Mapping[str, list[Frame]]) -> list[Frame]:
    if code not in packs:
        raise _lost(store, run_id, f"no code '{code}'")
    return packs[code]


def _loaded(packed: list[Frame], secret: bytes) -> tuple[Lowered, dict[str, str], Classes]:
    graph: Lowered
    digests: dict[str, str]
    named: dict[str, bytes]
    (graph, cells, digests, named), classes = load_code_and_classes(unseal(secret, packed))
    if named:
        _take_in(named)
    for filename, (name, lines) in cells.items():
        CELL_NAMES[filename] = name
        if filename not in linecache.cache:
            linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)
    return graph, digests, classes


def _lost(store: Store, run_id: str, what: str) -> StoreError:
    """Return the error for what a run should have; raises RunNotFound when the run itself was removed."""
    store.get(run_id)
    return StoreError(f"run '{run_id}' has {what} in the store {store.place}; it cannot go on")


_taken: dict[str, Any] = {}


def _take_in(named: Mapping[str, bytes]) -> None:
    """Let steps find the nodes that came with a program by name; what this process has itself goes first."""
    from wfnb.authoring.registry import REGISTRY

    own = {name for name, node in REGISTRY.user_nodes().items() if _taken.get(name) is not node}
    _taken.update({name: load_code(packed) for name, packed in named.items() if name not in own})
    REGISTRY.take_in({name: _taken[name] for name in named if name not in own})


def stored_inputs(store: Store, run_id: str, graph: Lowered, codec: Codec) -> dict[str, Any]:
    """Return the inputs a run was given, by the names they had then."""
    return _inputs(store, run_id, store.load(run_id, [INPUTS, INPUT_NAMES]), graph, codec)


def _inputs(
    store: Store, run_id: str, packs: Mapping[str, list[Frame]], graph: Lowered, codec: Codec
) -> dict[str, Any]:
    if INPUTS not in packs:
        raise _lost(store, run_id, "no inputs")
    names = codec.decode_pack(packs[INPUT_NAMES]) if INPUT_NAMES in packs else [spec.name for spec in graph.inputs]
    return dict(zip(names, codec.decode_pack(packs[INPUTS]), strict=True))


def bind_inputs(graph: Lowered, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a graph by name: those a run was given, defaults for the ones it was not given.

    Raises:
        DefinitionError: a run was not given an input that has no default.
    """
    problems = tuple(
        Problem(
            f"input '{spec.name}' was added since the run was started, and has no default",
            cure=f"Give it one, such as {spec.name}=None, or start a new run",
        )
        for spec in graph.inputs
        if spec.required and spec.name not in stored
    )
    if problems:
        raise DefinitionError(graph.name, problems)
    return {spec.name: stored.get(spec.name, spec.default) for spec in graph.inputs}


def load_inputs(store: Store, run_id: str, graph: Lowered, codec: Codec) -> dict[str, Any]:
    """Return a run's inputs by name, as its graph takes them; raises DefinitionError."""
    return bind_inputs(graph, stored_inputs(store, run_id, graph, codec))


_programs: OrderedDict[tuple[str, str, str], Program] = OrderedDict()
_compiled: OrderedDict[tuple[bytes, bytes], Compiled] = OrderedDict()
_lock = threading.Lock()
_MOST_PROGRAMS = 8
_MOST_BYTES, _IDLE = 16 * 1024 * 1024, 60.0  # of inputs beyond which runs are forgotten that were idle so many seconds


def program(store: Store, run_id: str, code: str, secret: bytes) -> Program:
    """Return a run's program, loaded once a process and kept for the runs used last."""
    key = (store.url, run_id, code)
    with _lock:
        if key in _programs:
            _programs.move_to_end(key)
            _programs[key].used = time.monotonic()
            return _programs[key]
        packs = load_packs(store, run_id, [code, INPUTS, INPUT_NAMES])
        compiled = _compile(_packed(store, run_id, code, packs), secret)
        graph = compiled.graph
        stored = _inputs(store, run_id, packs, graph, Codec(secret, compiled.classes))
        made = Program(compiled, bind_inputs(graph, stored), size_of(packs[INPUTS]))
        _keep(_programs, key, made)
        while len(_programs) > 1 and sum(one.nbytes for one in _programs.values()) > _MOST_BYTES:
            oldest = next(iter(_programs))
            if made.used - _programs[oldest].used < _IDLE:
                break
            del _programs[oldest]
        return made


def _compile(packed: list[Frame], secret: bytes) -> Compiled:
    """Return a run's workflow: that of another run where the code is the same to the byte, as Dask does with functions.

    Whatever one run might leave in it for the next is each run's own: constants that can change, nodes that are made
    ready and cleaned up after or are found by name, and code that reaches what can change.
    """
    key = hashlib.blake2b(b"".join(packed), digest_size=32).digest(), secret
    if key in _compiled:
        _compiled.move_to_end(key)
        return _compiled[key]
    made = Compiled(*_loaded(packed, secret))
    if not finds_by_name(made.graph) and next(changeable(made.graph.steps), None) is None:
        nodes = {id(step.node): step.node for step in made.graph.steps}.values()
        if all(not node.hooks and leaves_nothing(node) for node in nodes):
            _keep(_compiled, key, made)
    return made


def _keep(known: OrderedDict[K, V], key: K, value: V) -> None:
    known[key] = value
    while len(known) > _MOST_PROGRAMS:
        known.popitem(last=False)
