"""A task again, in this process: its real inputs, its function as it is here, and a cell that holds both.

Nothing here writes to a run. Imports what is below run.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol, TypeAlias

from wfnb.authoring.bytecode import global_names
from wfnb.authoring.capture import place
from wfnb.authoring.node import FunctionNode
from wfnb.authoring.sources import MOST_TEXT, source_of
from wfnb.authoring.usercode import is_user_object
from wfnb.authoring.workflow import LATEST
from wfnb.dask.given import UNKNOWN, Called, Given, call_of
from wfnb.dask.program import Program
from wfnb.engine.facts import TaskView
from wfnb.engine.lower import lower
from wfnb.model.context import Context
from wfnb.model.errors import ConfigurationError
from wfnb.model.events import Event
from wfnb.model.graph import Step
from wfnb.model.node import Node
from wfnb.model.types import plain_function
from wfnb.store.base import Store

Origin: TypeAlias = Literal["workflow", "plan", "name", "run"]
"""Where a node is from: the workflow as it is here, its name in this process, for a step that was planned while the run
went on or for any other, or the code kept with the run."""


class Owner(Protocol):
    """What a task is of: a run."""

    id: str
    workflow: str
    store: Store

    def events(self) -> list[Event]:
        """Return its journal."""


@dataclass(frozen=True, slots=True)
class Case:
    """A task to be looked into.

    Args:
        run: its run.
        view: the task.
        program: its run's workflow and inputs.
        given: looks up its inputs.
    """

    run: Owner
    view: TaskView
    program: Program
    given: Given

    @property
    def written(self) -> Step | None:
        """Its step as the run's workflow has it; None for one that was planned while the run went on."""
        return next((one for one in self.program.graph.steps if one.id == self.view.template), None)

    @property
    def step(self) -> Step:
        """Its step."""
        return self.written or self.called().runner.step

    def called(self) -> Called:
        """Return how its node was called; see `call_of`."""
        return call_of(self.run.store, self.run.id, self.program, self.run.events(), self.view)


# -- what went in ------------------------------------------------------------------------------------------------------


def inputs_of(case: Case) -> dict[str, Any]:
    """Return what a task's node is given, by parameter, made again from the store; see `Task.inputs`."""
    step = case.written
    if step is not None:
        args = [case.given.argument(step, at, expr) for at, expr in enumerate(step.args)]
        # Arguments without a name are there for the engine.
        kwargs = {name: case.given.argument(step, name, expr) for name, expr in step.kwargs if name}
        if not any(value is UNKNOWN for value in (*args, *kwargs.values())):
            return step.node.ports.by_name(args, kwargs)
    # What constructs hand to their bodies takes a look at the whole journal.
    call = case.called()
    return call.runner.step.node.ports.by_name(call.args, call.kwargs)


# -- its function, as it is here ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Today:
    """The node that a task would be run with now.

    Args:
        node: the node.
        origin: where it is from; `run.retry()` uses what is in the workflow.
        trouble: why the workflow as it is here could not be asked, or "".
    """

    node: Node
    origin: Origin
    trouble: str = ""

    def __str__(self) -> str:
        title = f"node '{self.node.title}'"
        where = f" ({found})" if (found := _where(self.node)) else ""
        match self.origin:
            case "workflow" | "plan":
                return f"{title} as it is in this process{where}"
            case "name":
                return (
                    f"{title} as its name means it in this process{where}; the workflow is not the one of this process"
                )
        return f"{title} as it was kept with the run{where}; this process has none of that name"


def today(case: Case) -> Today:
    """Return the node that a task's step has in this process now."""
    workflow, step, template = case.run.workflow, case.step, case.view.template
    trouble = ""
    written = LATEST.get(workflow)
    if written is not None and case.written is None:
        named = _by_name(step.node)
        if named is not None:
            return Today(named, "plan")
    if written is not None:
        try:
            steps = lower(written.graph).steps
        except Exception as error:  # noqa: BLE001  writing a workflow down runs its author's code
            trouble = f"workflow '{workflow}' as it is here cannot be written down: {type(error).__name__}: {error}"
        else:
            found = next((one.node for one in steps if one.id == template), None)
            if found is not None:
                return Today(found, "workflow")
            trouble = f"workflow '{workflow}' as it is here has no step '{template}'"
    named = _by_name(step.node)
    return Today(named, "name", trouble) if named is not None else Today(step.node, "run", trouble)


def _by_name(node: Node) -> Node | None:
    """Return what the name of a node's function or class means in this process, or None."""
    thing = plain_function(node.function) if isinstance(node, FunctionNode) else type(node)
    found: Any = sys.modules.get(str(getattr(thing, "__module__", "")))
    for name in str(getattr(thing, "__qualname__", "<none>")).split("."):
        found = getattr(found, name, None)
    if isinstance(node, FunctionNode):
        if isinstance(found, FunctionNode):
            return found
        return FunctionNode(found) if isinstance(found, types.FunctionType) else None
    if isinstance(found, type) and issubclass(found, Node):
        try:
            return found(**_settings(node))
        except (ConfigurationError, TypeError):  # it is made in another way now
            return None
    return None


def _settings(node: Node) -> dict[str, Any]:
    """Return the settings a class node was given."""
    params = getattr(node, "params", None)
    return {name: getattr(params, name) for name in sorted(params.model_fields_set)} if params is not None else {}


def _code(node: Node) -> types.FunctionType | type | None:
    """Return the function or class that a person has written for a node, or None."""
    if not isinstance(node, FunctionNode):
        return type(node) if is_user_object(type(node)) else None
    function = plain_function(node.function)
    return function if isinstance(function, types.FunctionType) and is_user_object(function) else None


def _where(node: Node) -> str:
    code = _code(node)
    function = getattr(code, "execute", None) if isinstance(code, type) else code
    return place(function.__code__.co_filename, function.__code__.co_firstlineno) if function is not None else ""


# -- calling it again --------------------------------------------------------------------------------------------------


def reproduce(case: Case) -> Any:
    """Call a task's function in this process with its real inputs; see `Task.reproduce`."""
    __tracebackhide__ = True
    call, run, view = case.called(), case.run, case.view
    step = call.runner.step
    used = today(case)
    trouble = f"{used.trouble}\n" if used.trouble else ""
    sys.stdout.write(f"task '{view.address}' is called here, and nothing of it is recorded: {used}\n{trouble}")
    context = Context(run.id, view.address, max((one.attempt for one in view.attempts), default=1))
    value = used.node.node_call(call.args, call.kwargs, context)
    return next(islice(iter(value), view.index, None)) if step.kind == "source" else value


# -- a cell ------------------------------------------------------------------------------------------------------------


def debug(case: Case) -> str | None:
    """Put a cell that runs a task again after the current one, or return its source; see `Run.debug`."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    source = cell(case, vars(sys.modules["__main__"]), script=shell is None)
    if getattr(shell, "kernel", None) is None:
        return source
    shell.set_next_input(source)
    return None


def cell(case: Case, names: Mapping[str, Any], *, script: bool) -> str:
    """Return the source of a cell that runs a task again.

    Args:
        case: the task.
        names: the variables that the cell will see; none of them is overwritten, except the function itself.
        script: whether it is run where nothing can be awaited.
    """
    run, view = case.run, case.view
    used = today(case)
    wfnb = sys.modules["wfnb"]
    library = "wf" if names.get("wf", wfnb) is wfnb else "wfnb"
    getting = _variable(run, names) or f"{library}.get_run({run.id!r})"
    task = f"{getting}[{view.address!r}]"
    lines = [_headline(case), *(f"# {line}" for line in used.trouble.splitlines())]
    if names.get(library) is not wfnb:
        lines.append("import wfnb as wf" if library == "wf" else "import wfnb")
    text = _Text(used.node, names, library, script=script)
    why_not = text.why_not()
    if why_not:
        lines += [f"# {line}" for line in textwrap.wrap(f"Edit it where it is written: {why_not}.", 110)]
        lines += [f"#     {line}".rstrip() for line in text.source.splitlines()]
        lines += [f"{task}.inputs  # its real inputs, from the store"]
        lines += [f"{task}.reproduce()  # its function with these; where it fails, %debug steps into it"]
    else:
        given = re.sub(r"\W+", "_", f"inputs_of_{view.address}").strip("_")
        while not isinstance(names.get(given, {}), dict):
            given += "_"
        lines += [*text.notes(used.origin), f"{given} = {task}.inputs  # its real inputs, from the store", ""]
        lines += [text.source, "", *text.call(given, inputs_of(case))]
    lines.append(f"# When it works, {getting}.retry() goes on; what was finished is kept.")
    return "\n".join(lines) + "\n"


def _headline(case: Case) -> str:
    where = f" ({case.view.where})" if case.view.where else ""
    what = f"# step '{case.view.address}'{where} of run '{case.run.id}'"
    error = case.view.error
    if error is None:
        return f"{what} is {case.view.status}"
    return f"{what} failed: {error.type}: {error.message.partition(chr(10))[0]}"[:400]


def _variable(run: Owner, names: Mapping[str, Any]) -> str:
    """Return a variable that holds the run, or ""."""
    same = (name for name, value in names.items() if type(value) is type(run) and value.id == run.id)
    return next((name for name in same if not name.startswith("_")), "")


class _Text:
    """A node as text.

    Args:
        node: the node.
        names: the variables that the text will see.
        library: what wfnb is called there.
        script: whether nothing can be awaited there.

    Attributes:
        source: what a person wrote, or "".
    """

    def __init__(self, node: Node, names: Mapping[str, Any], library: str, *, script: bool) -> None:
        self._node = node
        self._names = names
        self._library = library
        self._script = script
        self._code = _code(node)
        self.source = source_of(self._code) if self._code is not None else ""
        self._name = getattr(self._code, "__name__", "")
        self._decorated = self.source.startswith("@")

    def why_not(self) -> str:
        """Return why the source would not be the function when it is run as a cell, or ""."""
        code, title = self._code, self._node.title
        if code is None:
            return f"node '{title}' is no Python function or class of yours"
        if not self.source or len(self.source) >= MOST_TEXT:
            return f"the source of node '{title}' cannot be had here"
        if code.__module__ not in ("__main__", "__mp_main__"):
            return f"it is in module '{code.__module__}' ({_where(self._node)}), whose names a cell does not have"
        if "<lambda>" in code.__qualname__:
            return f"node '{title}' is a lambda, in the middle of other code ({_where(self._node)})"
        if isinstance(code, types.FunctionType):
            if code.__code__.co_freevars:
                kept = ", ".join(f"'{name}'" for name in code.__code__.co_freevars)
                return f"it was made inside another function ({_where(self._node)}) and has {kept} from there"
            if code.__qualname__ != code.__name__:
                return f"it is a method or an inner function, '{code.__qualname__}' ({_where(self._node)})"
        elif self._settings() is None:
            return f"node '{title}' is made with settings that cannot be written down here"
        return "" if self._parses() else "its source cannot be read on its own"

    def _parses(self) -> bool:
        try:
            (found,) = ast.parse(self.source).body
        except (SyntaxError, ValueError):
            return False
        return isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and found.name == self._name

    def _settings(self) -> str | None:
        """Return the arguments that make a class node anew, or None when they cannot be written down."""
        given = _settings(self._node)
        try:
            same = ast.literal_eval(repr(given)) == given
        except (ValueError, SyntaxError):
            return None
        return ", ".join(f"{name}={value!r}" for name, value in given.items()) if same else None

    def notes(self, origin: Origin) -> Iterator[str]:
        """Yield what there is to know before the cell is run, as comments."""
        code = self._code
        if origin == "plan":
            yield "# Its step was planned while the run went on: retry plans it again, with the function below."
        elif origin != "workflow":
            yield (
                "# The workflow is not known in this process, or without this step: retry uses the function below only "
                "once the workflow's cell was run too."
            )
        elif isinstance(code, type):
            yield "# Where the workflow uses a node made before, run the cell that makes it again."
        elif self._made_by_call():
            title = self._node.title
            yield f"# The workflow uses node '{title}', made of it by a call: run the cell of that again, too."
        functions = (
            [code] if isinstance(code, types.FunctionType) else list(filter(inspect.isfunction, vars(code).values()))
        )
        used = dict.fromkeys(name for one in functions for name in global_names(one.__code__))
        missing = [n for n in used if n not in self._names and not hasattr(builtins, n) and n != self._name]
        if missing:
            listed = ", ".join(f"'{name}'" for name in missing)
            yield f"# It uses {listed}: run the cells that define it first."

    def _made_by_call(self) -> bool:
        """Whether running the source again makes another node than the one that the workflow uses."""
        here = self._names.get(self._name)
        return not self._decorated or (isinstance(here, Node) and here.title != self._node.title)

    def call(self, given: str, inputs: Mapping[str, Any]) -> list[str]:
        """Return the lines that call it.

        Args:
            given: the variable that holds the inputs.
            inputs: the inputs.
        """
        ports = self._node.ports
        settings = f"({self._settings()})" if isinstance(self._code, type) else ""
        plain = {p.name: p for p in ports.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)}
        if not any(name in inputs for name in plain):
            arguments = [f"**{given}"]
        else:
            by_place = [name for name in (*ports.positional, ports.rest) if name in inputs]
            arguments = [f"{'*' if name == ports.rest else ''}{given}[{name!r}]" for name in by_place]
            named = [name for name in inputs if name not in by_place]
            if named:
                arguments.append(f"**{{name: {given}[name] for name in {named!r}}}")
        if ports.context and not self._decorated and not settings:
            arguments.append(f"{ports.context}={self._library}.Context()")
        call = f"{self._name}{settings}({', '.join(arguments)})"
        if inspect.iscoroutinefunction(self._code):
            return ["import asyncio", f"asyncio.run({call})"] if self._script else [f"await {call}"]
        if ports.generator:
            return [f"for item in {call}:", "    print(item)"]
        return [call]
