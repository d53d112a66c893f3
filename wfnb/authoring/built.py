"""Built steps as a definition: names for nodes, ids where they are needed, places. Imports model and builder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wfnb.authoring.builder import BuiltBody, BuiltStep, ValueOf, title_of
from wfnb.authoring.registry import REGISTRY
from wfnb.model.document import Document, Path
from wfnb.model.graph import Graph, InputSpec
from wfnb.model.node import id_from


@dataclass(frozen=True, slots=True)
class BuiltDocument(Document):
    """A definition that was written in Python, and where each step was written.

    Args:
        plain: whether it may hold only what JSON can.
        places: the place in the source, by the step's path.
    """

    plain: bool = False
    places: Mapping[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """Return the place in the source of the innermost step on a path, or the path."""
        found = next((self.places[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.places), "")
        return found or Document.where(self, path)


class Assembly:
    """Built steps while they become a definition.

    Args:
        steps: the steps.
        head: what the definition says beside them.

    Attributes:
        nodes: nodes and classes of nodes, by the name that stands for them in the definition.
        workflows: workflows, by the name that stands for them.
        document: the definition.
    """

    def __init__(self, steps: tuple[BuiltStep, ...], head: Mapping[str, Any]) -> None:
        self.nodes: dict[str, Any] = {}
        self.workflows: dict[str, Any] = {}
        self._places: dict[Path, str] = {}
        self._ids: dict[int, str] = {}  # of steps whose value is asked for, by the step itself
        self._stems: dict[str, int] = {}
        asked: list[BuiltStep] = []
        _each_step(steps, lambda one: self._look(one, asked))
        for one in asked:
            self._ids[id(one)] = self._free_id(one)
        data = {**head, "steps": self._list(steps, ("steps",))}
        self.document = BuiltDocument(data, places=self._places)

    # -- ids -----------------------------------------------------------------------------------------------------

    def _look(self, one: BuiltStep, asked: list[BuiltStep]) -> None:
        stem = one.fields.get("id") or _stem(one)
        self._stems[stem] = self._stems.get(stem, 0) + 1
        for name in ("params", "inputs"):
            given = one.fields.get(name, {}).values()
            asked += [value.step for value in given if isinstance(value, ValueOf)]

    def _free_id(self, one: BuiltStep) -> str:
        if "id" in one.fields:
            return str(one.fields["id"])
        stem = _stem(one)
        count = self._stems[stem]
        chosen = stem if count == 1 else f"{stem}_{count}"  # past those that the others of its name may get
        while count > 1 and chosen in self._stems:
            count += 1
            chosen = f"{stem}_{count}"
        self._stems.setdefault(chosen, 1)
        return chosen

    # -- data ----------------------------------------------------------------------------------------------------

    def _list(self, steps: tuple[BuiltStep, ...], path: Path) -> list[dict[str, Any]]:
        return [self._step(one, (*path, place)) for place, one in enumerate(steps)]

    def _step(self, one: BuiltStep, path: Path) -> dict[str, Any]:
        self._places[path] = one.where
        made = {name: self._field(name, value, (*path, name)) for name, value in one.fields.items()}
        if id(one) in self._ids:
            made["id"] = self._ids[id(one)]
        return made

    def _field(self, name: str, value: Any, path: Path) -> Any:
        if name == "type":
            return value if isinstance(value, str) else _named(value, self.nodes)
        if name == "workflow":
            return value if isinstance(value, str) else _named(value, self.workflows)
        if name in ("params", "inputs"):
            return {key: self._argument(one) for key, one in value.items()}
        return self._part(value, path)

    def _argument(self, value: Any) -> Any:
        if not isinstance(value, ValueOf):
            return value
        step_id = self._ids[id(value.step)]
        return f"{{{{ {step_id} }}}}" if step_id.isidentifier() else f"{{{{ steps['{step_id}'] }}}}"

    def _part(self, value: Any, path: Path) -> Any:
        """Return a part of a construct: its bodies become lists of steps, anything else stays as it is."""
        if isinstance(value, BuiltStep):
            return self._step(value, path)
        if isinstance(value, BuiltBody):
            if not value.outputs:
                return self._list(value.steps, path)
            return {"steps": self._list(value.steps, (*path, "steps")), "output": value.outputs[0]}
        if isinstance(value, tuple) and value and all(isinstance(one, BuiltStep) for one in value):
            return self._list(value, path)
        if path[-1] in ("steps", "cases", "catch") and isinstance(value, (list, tuple)):
            return [self._case(one, (*path, place)) for place, one in enumerate(value)]
        return value

    def _case(self, value: Any, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._part(value, path)
        return {name: self._part(one, (*path, name)) for name, one in value.items()}


def _stem(one: BuiltStep) -> str:
    what = one.fields.get("type", one.fields.get("workflow"))
    if what is None:
        return str(one.fields["stepType"])
    return id_from(what if isinstance(what, str) else title_of(what))


def _named(thing: Any, known: dict[str, Any]) -> str:
    """Return the name that stands for something in the definition: its own, unless that stands for another thing."""
    title = title_of(thing)
    name, count = title, 1
    while known.setdefault(name, thing) is not thing:
        count += 1
        name = f"{title}_{count}"
    return name


def _each_step(value: Any, look: Callable[[BuiltStep], None]) -> None:
    """Look at every step in steps and their bodies."""
    if isinstance(value, BuiltStep):
        look(value)
        for name, one in value.fields.items():
            if name not in ("type", "workflow", "args", "params", "inputs", "over", "value", "init"):
                _each_step(one, look)
    elif isinstance(value, BuiltBody):
        _each_step(value.steps, look)
    elif isinstance(value, (list, tuple)):
        for one in value:
            _each_step(one, look)
    elif isinstance(value, dict):
        for one in value.values():
            _each_step(one, look)


# -- to a graph ------------------------------------------------------------------------------------------------------


class _Known:
    """Knows the nodes and workflows that steps carry, and asks the registry for others."""

    def __init__(self, assembly: Assembly, named: Collection[str]) -> None:
        self._nodes, self._workflows, self._named = assembly.nodes, assembly.workflows, named

    def node(self, name: str, version: str = "") -> Any:
        """Return the node, or class of nodes, of a name."""
        return self._nodes[name] if name in self._nodes else REGISTRY.node(name, version)

    def workflow(self, name: str, version: str = "") -> Any:
        """Return the workflow of a name."""
        if name in self._named:
            return _Around
        return self._workflows[name] if name in self._workflows else REGISTRY.workflow(name, version)


class _Around:
    """Stands for a workflow that is being written down: its graph is not there yet."""

    graph = None


def graph_of_built(
    steps: tuple[BuiltStep, ...], head: Mapping[str, Any], inputs: tuple[InputSpec, ...], named: Collection[str] = ()
) -> Graph:
    """Return the graph of built steps, made as that of a loaded definition is.

    Args:
        steps: the steps.
        head: what the definition says beside them.
        inputs: the inputs, whose types may be some that only Python knows.
        named: the names of workflows that are being written down around it: calls of them stay names.

    Raises:
        DefinitionError: it cannot run as it is written; lists every problem.
    """
    assembly = Assembly(steps, head)
    from wfnb.authoring.graphs import graph_of  # jinja2 and the models of definitions are loaded when used

    graph = graph_of(assembly.document, registry=_Known(assembly, named))
    return replace(graph, inputs=inputs)
