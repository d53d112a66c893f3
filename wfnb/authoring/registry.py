"""Which nodes and workflows this process knows by name, for definitions, `call` and `batch`. Imports model only.

A name is looked up among what was registered here, then among the built-in nodes, then among what installed packages
offer under the entry points `wfnb.nodes` and `wfnb.workflows`. "name@version" asks for a version, and
"package.module:name" imports a module; nothing else but an entry point imports code.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import types
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

from wfnb.model.builtin import BUILTINS, find_nodes_with
from wfnb.model.errors import ConfigurationError, did_you_mean
from wfnb.model.node import Node
from wfnb.model.types import plain_function

AnyNode: TypeAlias = Node | type[Node]
Source: TypeAlias = Literal["user", "built in", "plugin"]
Telling: TypeAlias = Literal["now", "asked", "never"]
T = TypeVar("T")


class NameWarning(UserWarning):
    """One name and version stand for two different nodes or workflows; the newer one is used."""


class PluginWarning(UserWarning):
    """What an installed package offers to wfnb could not be loaded."""


class NamedWorkflow(Protocol):
    """A workflow, as far as it matters here."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something known by name.

    Args:
        thing: the node, class of nodes or workflow.
        origin: its module and qualified name, which stay the same when a cell is run again; empty when unknown.
        file: the file or cell it was written in.
        line: the line there.
        source: how it came to be known.
    """

    thing: Any
    origin: tuple[str, str] = ("", "")
    file: str = ""
    line: int = 0
    source: Source = "user"

    @property
    def scope(self) -> tuple[str, str]:
        """What it was written in: a module, or a function of it."""
        return self.origin[0], self.origin[1].rpartition(".")[0]

    @property
    def place(self) -> str:
        """Where it was written, for messages."""
        if self.source == "built in":
            return "wfnb itself"
        if not self.file:
            return self.origin[0] or "an unknown place"
        from wfnb.authoring.capture import place  # it loads cloudpickle, which few names need

        return place(self.file, self.line)


class _Shelf:
    """What is known of one kind."""

    def __init__(self, kind: Literal["node", "workflow"], cure: str) -> None:
        self.kind = kind
        self.group = f"wfnb.{kind}s"
        self._cure = cure
        self._lock = threading.RLock()  # never held while code is imported, which may register things by itself
        self._entries: dict[str, dict[str, _Entry]] = {}  # by name and version, the newest last
        self._clashes: dict[tuple[str, str], tuple[_Entry, _Entry]] = {}
        self._points: dict[str, Any] | None = None
        self._broken: dict[str, str] = {}
        self._loading = threading.local()

    # -- what is there -------------------------------------------------------------------------------------------

    def add(self, name: str, version: str, entry: _Entry, tell: Telling = "asked") -> None:
        """Put something under its name and version; what was there before is let go of."""
        if getattr(self._loading, "now", False) and entry.source == "user":
            entry = _Entry(entry.thing, entry.origin, entry.file, entry.line, "plugin")
        with self._lock:
            versions = self._entries.setdefault(name, {})
            old = versions.pop(version, None)
            versions[version] = entry
            clash = old is not None and tell != "never" and _differ(old, entry)
            if old is not None and clash:
                self._clashes[name, version] = (old, entry)
            side_by_side = clash and self.kind == "node" and old is not None and old.scope == entry.scope
        if side_by_side or tell == "now":
            self._tell(name, version)

    def _tell(self, name: str, version: str) -> None:
        with self._lock:
            old, new = self._clashes.pop((name, version), (None, None))
        if old is not None and new is not None:
            full = f"{name}@{version}" if version else name
            module, qualname = old.origin
            other = f"'{module}:{qualname}' means the other one" if _importable(module, qualname) else "Rename one"
            warnings.warn(
                f"{self.kind} '{full}' is defined twice: in {old.place} and in {new.place}, which is the one used. "
                f"{other}; versions keep them apart too",
                NameWarning,
                stacklevel=5,
            )

    def names(self) -> tuple[str, ...]:
        """Every name, in order; what packages offer is not loaded for it."""
        points = self._offered()
        with self._lock:
            return tuple(sorted({*self._entries, *points}))

    def written_here(self) -> dict[str, Any]:
        """What this process registered itself, by name or name@version, the oldest first."""
        with self._lock:
            return {
                f"{name}@{version}" if version else name: entry.thing
                for name, versions in self._entries.items()
                for version, entry in versions.items()
                if entry.source == "user"
            }

    # -- looking up ----------------------------------------------------------------------------------------------

    def find(self, text: str, version: str) -> Any:
        """Return what a name stands for; raises ConfigurationError."""
        name = text
        if not self._has(text) and "@" in text:
            name, _, asked = text.rpartition("@")
            if version and asked != version:
                raise ConfigurationError(f"{self.kind} '{text}' is asked for in version '{version}': give one of them")
            version = asked
        if not self._has(name):
            if ":" in name:
                return self._of_version(self._imported(name), name, version)
            self._load(name)
        with self._lock:
            versions = dict(self._entries.get(name, {}))
        if not versions:
            raise ConfigurationError(self._unknown(name))
        if not version:
            version = next(reversed(versions))
        elif version not in versions:
            known = did_you_mean(version, [one for one in versions if one])
            raise ConfigurationError(f"{self.kind} '{name}' has no version '{version}'. {known}")
        self._tell(name, version)
        return versions[version].thing

    def _has(self, name: str) -> bool:
        with self._lock:
            return name in self._entries

    def _unknown(self, name: str) -> str:
        broken = "".join(f". The entry point '{one}' cannot be loaded: {why}" for one, why in self._broken.items())
        near = did_you_mean(name, self.names())
        return f"no {self.kind} is called '{name}'. {near}{'' if near.endswith('?') else '.'} {self._cure}{broken}"

    def _of_version(self, thing: Any, name: str, version: str) -> Any:
        own = version_of(thing)
        if version and own != version:
            raise ConfigurationError(f"{self.kind} '{name}' has no version '{version}', only '{own}'")
        return thing

    def fits(self, thing: Any) -> bool:
        """Return whether something is of this kind."""
        if self.kind == "workflow":
            return not isinstance(thing, type | types.ModuleType) and all(
                hasattr(thing, one) for one in ("name", "version", "validate")
            )
        return isinstance(thing, Node) or (isinstance(thing, type) and issubclass(thing, Node))

    def _imported(self, path: str) -> Any:
        module, _, names = path.partition(":")
        try:
            found: Any = importlib.import_module(module)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            text = f"{self.kind} '{path}': the module '{module}' cannot be imported: {why}"
            raise ConfigurationError(text) from error
        for name in names.split("."):
            if not hasattr(found, name):
                near = did_you_mean(name, [one for one, thing in vars(found).items() if self.fits(thing)])
                raise ConfigurationError(f"{self.kind} '{path}': '{module}' has no {self.kind} '{name}'. {near}")
            found = getattr(found, name)
        if not self.fits(found):
            raise ConfigurationError(f"'{path}' is no {self.kind} but a {type(found).__name__}. {self._made()}")
        return found

    def _made(self) -> str:
        return f"Write @wf.{self.kind} above the function"

    # -- what packages offer -------------------------------------------------------------------------------------

    def _offered(self) -> Mapping[str, Any]:
        if self._points is None:
            from importlib.metadata import entry_points  # looks through every installed package

            points: dict[str, Any] = {}
            for point in entry_points(group=self.group):
                points.setdefault(point.name, point)  # the first on the path wins
            self._points = points
        return self._points

    def _load(self, name: str) -> None:
        """Load the entry point of a name; without one all others, because what they load may register more names."""
        points = self._offered()
        broken = set(self._broken)
        for point in [points[name]] if name in points else list(points.values()):
            if not self._has(name) and not self._has(point.name):
                self._load_point(point)
        if self._has(name):
            for one in set(self._broken) - broken:
                text = f"the entry point '{one}' in '{self.group}' cannot be loaded: {self._broken[one]}"
                warnings.warn(text, PluginWarning, stacklevel=5)

    def _load_point(self, point: Any) -> None:
        self._loading.now = True
        try:
            thing = point.load()
            if self.fits(thing):
                self.add(point.name, version_of(thing), _entry(thing, "plugin"))
            elif not isinstance(thing, types.ModuleType):
                raise TypeError(f"'{point.value}' is no {self.kind} but a {type(thing).__name__}. {self._made()}")
            self._broken.pop(point.name, None)
        except Exception as error:  # noqa: BLE001  a package's own code may raise anything
            package = f" of package '{point.dist.name}'" if getattr(point, "dist", None) is not None else ""
            self._broken[point.name] = f"'{point.value}'{package} gives {type(error).__name__}: {error}"
        finally:
            self._loading.now = False


def _differ(one: _Entry, other: _Entry) -> bool:
    known = "" not in (*one.origin, *other.origin) and "plugin" not in (one.source, other.source)
    return known and one.origin != other.origin


def _importable(module: str, qualname: str) -> bool:
    return module not in ("", "__main__") and "<" not in qualname


def version_of(thing: Any) -> str:
    """Return the version of a node, a class of nodes or a workflow, or ""."""
    return str(thing.info.version if isinstance(thing, Node) else getattr(thing, "version", ""))


def _entry(thing: Any, source: Source = "user", where: str = "") -> _Entry:
    """Return the entry of something, with where it comes from."""
    if isinstance(thing, type):
        body, owner = getattr(thing, "execute", None), thing
    elif isinstance(thing, Node):
        body = thing.body
        owner = type(thing) if getattr(body, "__self__", None) is thing else plain_function(body)
    else:
        body = owner = plain_function(getattr(thing, "function", None))
    code = getattr(plain_function(body), "__code__", None)
    module = str(getattr(owner, "__module__", None) or "")
    origin = (module, str(getattr(owner, "__qualname__", ""))) if code is not None else (where, where)
    return _Entry(thing, origin, getattr(code, "co_filename", where), getattr(code, "co_firstlineno", 0), source)


class Registry:
    """The nodes and workflows that are known by name; `REGISTRY` is the one of this process."""

    def __init__(self) -> None:
        self._nodes = _Shelf(
            "node", "A node is known once its @wf.node has run; 'package.module:name' imports the module for it"
        )
        self._workflows = _Shelf(
            "workflow",
            "A workflow is known once it was made or loaded; 'package.module:name' imports the module for it",
        )
        for name, node in BUILTINS.items():
            self._nodes.add(name, "", _entry(node, "built in"))

    def add_node(self, node: AnyNode, name: str | None = None) -> None:
        """Have a node, or a class of nodes, be found by its name.

        Running a cell again or reloading a module puts the new one in the place of the old. Another function under the
        same name and version takes its place too, and is told of in a `NameWarning`: at once when the name is given
        here or both are written side by side, else when somebody asks for the name. Functions of different modules may
        well be called alike, and most nodes are never asked for by name.

        Args:
            node: the node or class.
            name: its name; else the node's own. A lambda without a name is not registered.
        """
        own = name or (node.__name__ if isinstance(node, type) else node.info.name)
        function = None if isinstance(node, type) else getattr(plain_function(node.body), "__name__", "")
        if function == "<lambda>" and own == "lambda":
            return
        self._nodes.add(own, version_of(node), _entry(node), "now" if name else "asked")

    def add_workflow(self, workflow: NamedWorkflow, where: str = "") -> None:
        """Have a workflow be found by its name; see `add_node`.

        Args:
            workflow: the workflow.
            where: where it was written, when it has no function that tells, such as the file it was loaded from.
        """
        if workflow.name != "lambda":
            self._workflows.add(workflow.name, workflow.version, _entry(workflow, where=where))

    def node(self, name: str, version: str = "") -> AnyNode:
        """Return the node, or class of nodes, of a name.

        Args:
            name: a name, "name@version" or "package.module:name"; the module is imported.
            version: the version, or "" for the one registered last.

        Raises:
            ConfigurationError: there is none, or none of that version.
        """
        found: AnyNode = self._nodes.find(name, version)
        return found

    def workflow(self, name: str, version: str = "") -> Any:
        """Return the workflow of a name; see `node`."""
        return self._workflows.find(name, version)

    def node_names(self) -> tuple[str, ...]:
        """Return the names of all nodes: registered, built in, and offered by packages, which are not loaded for it."""
        return self._nodes.names()

    def workflow_names(self) -> tuple[str, ...]:
        """Return the names of all workflows; see `node_names`."""
        return self._workflows.names()

    def user_nodes(self) -> dict[str, AnyNode]:
        """Return the nodes registered in this process, by name or "name@version": a worker has no other way to them.

        Those built in and those of entry points are left out. Not each may be able to travel.
        """
        return self._nodes.written_here()

    def take_in(self, nodes: Mapping[str, AnyNode]) -> None:
        """Register the `user_nodes` of another process, without a word."""
        for full, node in nodes.items():
            version = version_of(node)
            name = full.removesuffix(f"@{version}") if version else full
            self._nodes.add(name, version, _entry(node, where=full), "never")

    @contextlib.contextmanager
    def kept_apart(self) -> Iterator[None]:
        """Forget at the end of the block what was registered in it; for tests."""
        before = self._nodes, self._workflows
        fresh = Registry()
        self._nodes, self._workflows = fresh._nodes, fresh._workflows
        try:
            yield
        finally:
            self._nodes, self._workflows = before


REGISTRY = Registry()
find_nodes_with(REGISTRY.node)


@overload
def register(thing: T, /, *, name: str | None = None) -> T: ...
@overload
def register(*, name: str | None = None) -> Any: ...
def register(thing: Any = None, /, *, name: str | None = None) -> Any:
    """Have a class of nodes, or a node made from one, be found by its name in definitions.

    Use it above the class, bare (``@wf.register``) or with a name (``@wf.register(name="slack")``), or as a function.
    Functions with ``@wf.node`` are registered by themselves.

    Args:
        thing: the class or node.
        name: the name; else the class's or the node's own.

    Returns:
        The thing itself, or a decorator when only the name is given.

    Raises:
        ConfigurationError: it is neither a class of nodes nor a node, or the name will not do.
    """
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise ConfigurationError(f"wf.register cannot use the name {name!r}: give a text")
    if thing is None:
        return lambda thing: register(thing, name=name)
    if not isinstance(thing, Node) and not (isinstance(thing, type) and issubclass(thing, Node)):
        raise ConfigurationError(
            f"wf.register is given {thing!r}, which is no node: write @wf.node above a function, or subclass wf.Node"
        )
    REGISTRY.add_node(thing, name or (thing.__name__ if isinstance(thing, type) else thing.info.name))
    return thing
