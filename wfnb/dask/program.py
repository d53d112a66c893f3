"""What a worker needs to run a workflow's steps: its graph, its nodes ready to call, its inputs. Imports engine, store.

A program is stored once with the run and loaded once by each worker process, whatever the number of bundles.
"""

from __future__ import annotations

import linecache
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from wfnb.authoring.capture import load_code, pack_code
from wfnb.authoring.capture import place as place_of
from wfnb.model.errors import DefinitionError, Problem, StoreError
from wfnb.model.expr import Const, Expr, Input, StepValue, evaluate, steps_of
from wfnb.model.graph import Graph, Step
from wfnb.model.lifecycle import NodeCall
from wfnb.model.sequences import as_sequence, length_of
from wfnb.store.base import Frame, Store
from wfnb.store.codec import Codec
from wfnb.store.seal import seal, unseal

INPUTS = "inputs"
"""The key of the pack that holds a run's inputs."""

INPUT_NAMES = "input-names"
"""The key of the pack that holds their names, in the same order; without it they are in the order of the graph's."""

Cells: TypeAlias = dict[int, dict[int, Any]]
"""Values at hand: by step's number, by element."""

Getter: TypeAlias = Callable[["Values", int], Any]


class Absent(Exception):
    """A value a task needs is not there, because the task that gives it failed."""


class Values:
    """The values a bundle has at hand: those it was given and those it makes.

    Args:
        cells: values by step and element.
        widths: how many elements each step has that is used whole.
        fan_outs: which steps are fan-outs.
    """

    def __init__(self, cells: Cells, widths: Mapping[int, int], fan_outs: frozenset[int]) -> None:
        self.cells = cells
        self.widths = widths
        self.fan_outs = fan_outs
        self._whole: dict[int, Any] = {}
        self._sequences: dict[object, Sequence[Any]] = {}

    def cell(self, step: int, element: int) -> Any:
        """Return the value of one element; raises Absent."""
        try:
            return self.cells[step][element]
        except KeyError:
            raise Absent from None

    def whole(self, step: int) -> Any:
        """Return a step's complete value: a fan-out's as a list; raises Absent."""
        if step not in self.fan_outs:
            return self.cell(step, 0)
        if step not in self._whole:
            cells = self.cells.get(step, {})
            try:
                self._whole[step] = [cells[element] for element in range(self.widths[step])]
            except KeyError:
                raise Absent from None
        return self._whole[step]

    def sequence(self, key: object, make: Callable[[], Any]) -> Sequence[Any]:
        """Return what a fan-out iterates over, made once a bundle."""
        if key not in self._sequences:
            self._sequences[key] = as_sequence(make())
        return self._sequences[key]


@dataclass(frozen=True, slots=True)
class Runner:
    """One step made ready to run.

    Args:
        step: the step.
        call: its node.
        args: how to get each positional argument of an element.
        kwargs: how to get each keyword argument.
        sized: whether a fan-out iterates over its value, so that the length is part of its outcome.
        kept: whether its value goes to the store.
        context: whether its node is told about its task.
        digest: its node's code in one hash where known values are answered from the store, else "".
    """

    step: Step
    call: NodeCall
    args: tuple[Getter, ...]
    kwargs: tuple[tuple[str, Getter], ...]
    sized: bool
    kept: bool
    context: bool
    digest: str


class Program:
    """A run's workflow, ready to run.

    Args:
        graph: the lowered graph.
        inputs: the run's inputs by name.
        digests: the fingerprints of the nodes whose values may be answered from the store, by step id.

    Attributes:
        number: the steps' numbers by id.
        fan_outs: the numbers of the steps that are fan-outs.
        hashes: what a `Cache` knows of arguments that are the same for every element of a step, for its next bundles.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, Any], digests: Mapping[str, str] | None = None) -> None:
        self.graph = graph
        self.inputs = inputs
        self.hashes: dict[tuple[int, int, str], str | None] = {}
        self._digests = digests or {}
        self.number = {step.id: index for index, step in enumerate(graph.steps)}
        self.fan_outs = frozenset(index for index, step in enumerate(graph.steps) if step.over)
        self._outputs = frozenset(steps_of(graph.output))
        self._sized = {
            expr.step for step in graph.steps if step.over for expr in step.iterated if isinstance(expr, StepValue)
        }
        self._runners: dict[int, Runner] = {}

    def runner(self, index: int) -> Runner:
        """Return a step ready to run; made when it is first asked for, as few workers run every step."""
        found = self._runners.get(index)
        if found is None:
            found = self._runners[index] = self._runner(index)
        return found

    def _runner(self, index: int) -> Runner:
        step = self.graph.steps[index]
        iterated = self._iterated(index, step) if step.over else {}
        kept = self.keeps(step)
        return Runner(
            step=step,
            call=step.node.node_call,
            args=tuple([iterated.get(at) or self._getter(expr) for at, expr in enumerate(step.args)]),
            kwargs=tuple([(name, iterated.get(name) or self._getter(expr)) for name, expr in step.kwargs]),
            sized=step.id in self._sized,
            kept=kept,
            context=bool(step.node.ports.context) or bool(step.node.hooks),
            digest=self._digests.get(step.id, "") if kept else "",
        )

    def keeps(self, step: Step) -> bool:
        """Return whether a step's values go to the store."""
        return step.node.policy.checkpoint or step.id in self._outputs

    def _getter(self, expr: Expr) -> Getter:
        match expr:
            case Const(value):
                return lambda _values, _element: value
            case Input(name):
                value = self.inputs[name]
                return lambda _values, _element: value
            case StepValue(step):
                number = self.number[step]
                return lambda values, _element: values.whole(number)
        used = [(step, self.number[step]) for step in steps_of(expr)]
        inputs = self.inputs
        if not used:
            value = evaluate(expr, {}, inputs)
            return lambda _values, _element: value
        return lambda values, _element: evaluate(expr, {step: values.whole(n) for step, n in used}, inputs)

    def _iterated(self, index: int, step: Step) -> dict[int | str, Getter]:
        """How to get element i of each argument a fan-out iterates over."""
        getters: dict[int | str, Getter] = {}
        sources = [self._sequence_getter((index, name), step.argument(name)) for name in step.over]
        for place, name in enumerate(step.over):
            expr = step.argument(name)
            if step.kind == "expand":
                getters[name] = _product_getter(sources, place)
            elif isinstance(expr, StepValue) and self.number[expr.step] in self.fan_outs:
                getters[name] = _cell_getter(self.number[expr.step])
            else:
                getters[name] = _item_getter(sources[place])
        return getters

    def _sequence_getter(self, key: object, expr: Expr) -> Callable[[Values], Sequence[Any]]:
        whole = self._getter(expr)
        if steps_of(expr):
            return lambda values: values.sequence(key, lambda: whole(values, 0))
        # Constants and inputs are the same for every bundle of the run.
        known: list[Sequence[Any]] = []

        def get(values: Values) -> Sequence[Any]:
            if not known:
                known.append(as_sequence(whole(values, 0)))
            return known[0]

        return get

    def size_of_value(self, value: Any) -> int | None:
        """Return the length of a value a fan-out iterates over, or None when it has none."""
        try:
            return length_of(value)
        except TypeError:
            return None


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


def _cells(graph: Graph) -> dict[str, tuple[str, list[str]]]:
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


def pack_program(graph: Graph, secret: bytes, digests: Mapping[str, str] | None = None) -> list[Frame]:
    """Return the frames that hold a lowered graph with its code, signed; raises CaptureError.

    Args:
        graph: the lowered graph.
        secret: signs it.
        digests: the fingerprints of the nodes whose values may be answered from the store, by step id.
    """
    __tracebackhide__ = True
    return seal(secret, pack_code((graph, _cells(graph), dict(digests or {}))))


def load_graph(store: Store, run_id: str, code: str, secret: bytes) -> Graph:
    """Return the lowered graph a run was stored with; raises ValueRefused and StoreError."""
    return _load(store, run_id, code, secret)[0]


def _load(store: Store, run_id: str, code: str, secret: bytes) -> tuple[Graph, dict[str, str]]:
    found = store.load(run_id, [code])
    if code not in found:
        raise StoreError(f"run '{run_id}' has no code '{code}' in the store {store.place}; it cannot go on")
    graph: Graph
    digests: dict[str, str]
    graph, cells, digests = load_code(unseal(secret, found[code]))
    for filename, (name, lines) in cells.items():
        CELL_NAMES[filename] = name
        if filename not in linecache.cache:
            linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)
    return graph, digests


def stored_inputs(store: Store, run_id: str, graph: Graph, codec: Codec) -> dict[str, Any]:
    """Return the inputs a run was given, by the names they had then."""
    packs = store.load(run_id, [INPUTS, INPUT_NAMES])
    names = codec.decode_pack(packs[INPUT_NAMES]) if INPUT_NAMES in packs else [spec.name for spec in graph.inputs]
    return dict(zip(names, codec.decode_pack(packs[INPUTS]), strict=True))


def bind_inputs(graph: Graph, stored: Mapping[str, Any]) -> dict[str, Any]:
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


def load_inputs(store: Store, run_id: str, graph: Graph, codec: Codec) -> dict[str, Any]:
    """Return a run's inputs by name, as its graph takes them; raises DefinitionError."""
    return bind_inputs(graph, stored_inputs(store, run_id, graph, codec))


_programs: OrderedDict[tuple[str, str, str], Program] = OrderedDict()
_lock = threading.Lock()
_MOST_PROGRAMS = 8


def program(store: Store, run_id: str, code: str, secret: bytes) -> Program:
    """Return a run's program, loaded once a process and kept for the runs used last."""
    key = (store.url, run_id, code)
    with _lock:
        if key in _programs:
            _programs.move_to_end(key)
            return _programs[key]
        graph, digests = _load(store, run_id, code, secret)
        made = Program(graph, load_inputs(store, run_id, graph, Codec(secret)), digests)
        _programs[key] = made
        while len(_programs) > _MOST_PROGRAMS:
            _programs.popitem(last=False)
        return made
