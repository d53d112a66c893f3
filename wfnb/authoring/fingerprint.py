"""Owns fingerprints: hashes of code with all it reaches, and of values. Imports model and its neighbours below.

Code is hashed from code objects in normal form, never from source text: what is hashed is what would run, also when a
module's file was edited after its import, when two lambdas share a line, and in a process that has no source.

Everything reached (helper, class, global, ...) is a part of its own with a readable name; parts refer to each other by
that name, so mutual recursion needs no special care and a change can be told by the part that changed.
"""

from __future__ import annotations

import builtins
import copyreg
import functools
import importlib.metadata
import struct
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from wfnb.authoring.bytecode import Code, Normaliser, hash_chunks, optional_imports
from wfnb.authoring.classes import class_token
from wfnb.authoring.content import bulk_token, data_token, text_token
from wfnb.authoring.usercode import is_installed, is_user_module, is_user_object, local_modules
from wfnb.model.node import Node

Parts: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a node's code is, in one hash.

    Args:
        digest: equal only when code, helpers, globals, closures, defaults and version are; None when it cannot be told.
        parts: the hash of each thing that went in, by a readable name such as "helper clean".
        warnings: what could not be hashed, by name, with the cure.
        things: the function, class or value that each part is of, where it is one of the user's.
        libraries: the packages it needs where it runs, as they are imported.
    """

    digest: str | None
    parts: Parts
    warnings: tuple[str, ...] = ()
    things: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    libraries: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


def fingerprint(node: Any) -> Fingerprint:
    """Return the fingerprint of a node or function, the same in every cell, kernel and process with equal code."""
    walk = _Walk()
    walk.root(node)
    walk.drain()
    parts = dict(sorted(walk.parts.items()))
    warnings = tuple(dict.fromkeys(walk.warnings))
    digest = None if warnings else hash_chunks(f"{name}\0{value}\0".encode() for name, value in parts.items()).hex()
    libraries = frozenset(walk.libraries - sys.stdlib_module_names - {"wfnb", "__main__", "__mp_main__"})
    return Fingerprint(digest, parts, warnings, walk.things, libraries)


def parts(node: Any) -> dict[str, str]:
    """Return the hash of each thing a node's fingerprint is made of, by a readable name; "" for what has no hash."""
    return dict(fingerprint(node).parts)


def explain(old: Parts, new: Parts) -> tuple[str, ...]:
    """Return what differs between two fingerprints' parts, one sentence each, such as "helper 'clean' changed"."""
    told = []
    for name in sorted({*old, *new}):
        kind, _, rest = name.partition(" ")
        subject = f"{kind} '{rest}'" if rest else kind
        if name not in new:
            told.append(f"{subject} is no longer used")
        elif name not in old:
            told.append(f"{subject} is new")
        elif old[name] != new[name]:
            told.append(f"{subject} changed")
        elif not new[name]:
            told.append(f"{subject} cannot be compared")
    return tuple(told)


def hash_value(value: Any) -> str | None:
    """Return the hash of a value's content, or None when it has none that means the same in another process."""
    walk = _Walk()
    try:
        token = walk.token(value)
    except _Unstable:
        return None
    walk.drain()
    if walk.warnings:
        return None
    return hash_chunks([token, *(f"{name}\0{part}\0".encode() for name, part in sorted(walk.parts.items()))]).hex()


# -- hashing -----------------------------------------------------------------------------------------------------------


class _Unstable(Exception):
    """A value that has no content to hash."""

    def __init__(self, value: Any, why: str = "") -> None:
        cls = type(value)
        self.type = (
            cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"
        )
        self.why = why
        super().__init__(self.type)


# -- the walk ----------------------------------------------------------------------------------------------------------

_PYTHON = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
_MODULE_NOISE = frozenset(("__builtins__", "__loader__", "__spec__", "__cached__", "__file__", "__path__", "__doc__"))
_DYNAMIC = frozenset(("globals", "eval", "exec"))
_CURIOUS = frozenset(("__doc__", "getdoc", "__annotations__", "get_annotations", "get_type_hints", "signature"))
_NODE_STATE = frozenset(("params", "info", "policy", "step_id", "node_call", "ports", "_resolved"))
_DEEPEST = 150
_MOST = 2_000_000  # also ends the walk of objects that all know each other


@functools.lru_cache(maxsize=512)
def _version(package: str) -> str:
    """Return the version of a library by the name it is imported by, or "" when it has none that is cheap to find."""
    if package == "wfnb" or package in sys.stdlib_module_names:
        return ""
    version = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""


def _importable(obj: Any) -> str | None:
    """Return "module.qualname" when that name leads back to the object."""
    module, qualname = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not isinstance(qualname, str):
        return None
    # Built-in functions such as `math.sqrt` say their module; methods of built-in types have none.
    found: Any = sys.modules.get(module if isinstance(module, str) else "builtins")
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return f"{module}.{qualname}" if found is obj else None


class _Walk:
    """One look at everything a node reaches."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.things: dict[str, Any] = {}
        self.libraries: set[str] = set()
        self.curious: frozenset[str] = frozenset()
        self.warnings: list[str] = []
        self._labels: dict[tuple[Any, ...], str] = {}
        self._alive: list[Any] = []  # ids are used as keys: nothing may be freed during the walk
        self._queue: deque[tuple[str, Callable[[], bytes]]] = deque()
        self._open: dict[int, int] = {}
        self._taken: set[str] = set()
        self._budget = _MOST
        self._home = ""

    # -- parts

    def root(self, node: Any) -> None:
        """Begin with a node or function."""
        self.parts["python"] = _PYTHON
        if isinstance(node, Node):
            self.parts["version"] = hash_chunks([node.info.version.encode()]).hex()
        function = self._unwrap(node) if isinstance(node, Node) else node
        if isinstance(function, Node):
            self._class_node(function, "")
            return
        if isinstance(function, types.MethodType):
            self._data("self", ("self",), function.__self__, "")
            function = function.__func__
        self._home = getattr(function, "__module__", None) or ""
        if isinstance(function, types.FunctionType):
            self._add("function", function, lambda label: self._function(function, label, ""))
        else:
            self._data(
                "function", (id(function),), function, "", getattr(function, "__name__", type(function).__name__)
            )

    def drain(self) -> None:
        """Hash everything that was reached, until nothing new is."""
        self._drain()
        if self.curious:
            self.parts["docstrings and annotations"] = self._texts().hex()
            self._drain()

    def _drain(self) -> None:
        while self._queue:
            label, compute = self._queue.popleft()
            try:
                self.parts[label] = hash_chunks([compute()]).hex()
            except _Unstable as problem:
                self.parts[label] = ""
                kind, _, name = label.partition(" ")
                why = f" ({problem.why})" if problem.why else ""
                self.warnings.append(
                    f"the {kind} '{name}' cannot be fingerprinted: a value of type '{problem.type}' has no content "
                    f"that can be compared{why}. Create it inside the node, or pass it as an input; until "
                    "then nothing is answered from the cache"
                )

    def _label(self, kind: str, name: str, key: tuple[Any, ...]) -> tuple[str, bool]:
        """Return the label of a thing, and whether it is new."""
        if key in self._labels:
            return self._labels[key], False
        label, count = f"{kind} {name}", 1
        while label in self._taken:
            count += 1
            label = f"{kind} {name} ({count})"
        self._taken.add(label)
        self._labels[key] = label
        return label, True

    def _add(self, kind: str, obj: Any, compute: Callable[[str], bytes]) -> bytes:
        """Make a function or class a part of its own and return the reference to it."""
        name = obj.__qualname__.rpartition("<locals>.")[2]
        label, new = self._label(kind, name, (id(obj),))
        if new:
            self.things[label] = obj
            self._alive.append(obj)
            self._queue.append((label, lambda: compute(label)))
        return b"->" + label.encode()

    def _data(self, kind: str, key: tuple[Any, ...], value: Any, owner: str, name: str = "") -> bytes:
        """Make a variable a part of its own when it holds data; return the reference to it, or to the code it holds."""
        if isinstance(value, (types.FunctionType, type, types.BuiltinFunctionType, types.ModuleType)):
            return self.token(value)
        label, new = self._label(kind, f"{owner}.{name}" if owner and name else name or kind, key)
        if new:
            self.things[label] = value
            self._alive.append(value)
            self._queue.append((label, lambda: self.token(value)))
        return b"->" + label.encode()

    # -- code

    def _function(self, function: types.FunctionType, label: str, owner: str) -> bytes:
        code = _normal(function.__code__)
        rows = [code.digest, function.__name__.encode()]
        self._look_for_the_dynamic(code, function)
        scope = function.__globals__
        module = scope.get("__name__", "")
        prefix = "" if module == self._home else str(module)
        for chain in code.reads:
            name, value = self._resolve(chain, scope)
            if value is not _MISSING:
                rows += (name.encode(), self._data("global", (id(scope), name), value, prefix, name))
            elif hasattr(builtins, chain[0]):
                rows += (name.encode(), b"builtin")
            else:
                rows += (name.encode(), b"undefined")
        for cell_name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                rows += (cell_name.encode(), b"empty")
                continue
            rows += (cell_name.encode(), self._data("closure", ("cell", id(cell)), value, owner, cell_name))
        for parameter, value in self._defaults(function):
            rows += (parameter.encode(), self._data("default", (label, "default", parameter), value, owner, parameter))
        for name, value in sorted(vars(function).items()):
            rows += (name.encode(), self._data("attribute", (label, "attribute", name), value, owner, name))
        optional = optional_imports(function.__code__) if code.imports else ()
        for name, level, names in code.imports:
            rows += self._local_import(name, level, names, code.names, scope)
            if not level and name not in optional and is_installed(top := name.partition(".")[0]):
                self.libraries.add(top)  # where it is not installed here either, it may be for other workers only
        for annotation in function.__annotations__.values():
            self._needs_of(annotation)
        return hash_chunks(rows)

    def _look_for_the_dynamic(self, code: Code, function: types.FunctionType) -> None:
        """Take note of code that looks at more than it names: whatever is in its module, or texts beside the code."""
        self.curious |= code.names & _CURIOUS
        read = {chain[0] for chain in code.reads if chain[0] not in function.__globals__}
        for name in sorted((read & _DYNAMIC) | (code.names & {"__globals__"})):
            self.warnings.append(
                f"the function '{function.__qualname__}' uses '{name}', which may read any variable there is. Name "
                "what it needs, or pass it as an input; until then nothing is answered from the cache"
            )

    def _texts(self) -> bytes:
        """Hash docstrings and annotations, where code reads such."""
        rows: list[bytes] = []
        for label, thing in sorted(self.things.items()):
            if isinstance(thing, (types.FunctionType, type)):
                rows += (label.encode(), repr(thing.__doc__).encode())
                # Of a class they count anyway.
                rows += [self.annotation(one) for one in getattr(thing, "__annotations__", {}).values()]
        return hash_chunks(rows)

    def _defaults(self, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        code, given = function.__code__, function.__defaults__ or ()
        yield from zip(code.co_varnames[code.co_argcount - len(given) : code.co_argcount], given, strict=True)
        yield from sorted((function.__kwdefaults__ or {}).items())

    def _resolve(self, chain: tuple[str, ...], scope: Mapping[str, Any]) -> tuple[str, Any]:
        """Follow attributes through the user's modules: `helpers.clean` is read, not all of `helpers`."""
        name, value = chain[0], scope.get(chain[0], _MISSING)
        for attribute in chain[1:]:
            if not isinstance(value, types.ModuleType) or not is_user_module(value):
                break
            if (inner := getattr(value, attribute, _MISSING)) is _MISSING:
                break
            name, value = f"{name}.{attribute}", inner
        return name, value

    def _local_import(
        self, name: str, level: int, names: tuple[str, ...], used: frozenset[str], scope: Mapping[str, Any]
    ) -> list[bytes]:
        """Follow an import inside a function; the user's module is imported for it, as a call would do."""
        try:
            modules = local_modules(name, level, names, scope)
        except Exception as error:  # noqa: BLE001 - the user's module may raise anything
            self.warnings.append(
                f"the import of '{name}' inside a function cannot be fingerprinted: {type(error).__name__}: {error}. "
                "Import it at the top of the notebook to see why"
            )
            return [name.encode()]
        if not modules:
            return [self._library(name)]
        rows = [name.encode()]
        for module in modules:
            for attribute in names if names and "*" not in names and len(modules) == 1 else sorted(used):
                value = getattr(module, attribute, _MISSING)
                if value is not _MISSING:
                    key = (id(vars(module)), attribute)
                    rows += (attribute.encode(), self._data("global", key, value, module.__name__, attribute))
        return rows

    def _library(self, full: str) -> bytes:
        """Return the token of something of a library: its name; the library's version is a part of its own."""
        package = full.partition(".")[0]
        if version := _version(package):
            self.parts[f"library {package}"] = version
        return b"library " + full.encode()

    def _needs_of(self, annotation: Any) -> None:
        """Take note of the modules of an annotation, which travels with its function."""
        if isinstance(annotation, type):
            self._needs(annotation.__module__, annotation)
        for part in getattr(annotation, "__args__", ()):
            self._needs_of(part)

    def _needs(self, full: str, obj: Any) -> None:
        """Take note that a module is imported where the code runs, unless it travels with it."""
        if not (is_user_module(obj) if isinstance(obj, types.ModuleType) else is_user_object(obj)):
            self.libraries.add(full.partition(".")[0])

    def _unwrap(self, node: Node) -> Any:
        function = getattr(node, "__wrapped__", None)
        return node if function is None else function

    def _class_node(self, node: Node, owner: str) -> bytes:
        rows = [self.token(type(node))]
        settings = node.params
        values = vars(settings) if isinstance(settings, BaseModel) else {"params": settings}
        for name, value in sorted(values.items()):
            rows.append(self._data("param", (id(node), "param", name), value, owner, name))
        for name, value in sorted(vars(node).items()):
            if name not in _NODE_STATE:
                rows.append(self._data("attribute", (id(node), "attribute", name), value, owner, name))
        self._alive.append(node)
        return hash_chunks(rows)

    def annotation(self, annotation: Any) -> bytes:
        """Return the token of an annotation; one without content counts by what it says of itself."""
        try:
            return self.token(annotation)
        except _Unstable:
            return repr(annotation).encode()

    def member(self, key: str, value: Any, owner: str, cls: type) -> bytes:
        """Return the token of what a class holds under a name."""
        if isinstance(value, (staticmethod, classmethod)):
            return type(value).__name__.encode() + self.member(key, value.__func__, owner, cls)
        if isinstance(value, property):
            inner = (value.fget, value.fset, value.fdel)
            return hash_chunks([b"property", *(self.member(key, part, owner, cls) for part in inner)])
        if isinstance(value, functools.cached_property):
            return b"cached" + self.member(key, value.func, owner, cls)
        if isinstance(value, types.FunctionType):
            return self.token(value)
        return self._data("attribute", (id(cls), "member", key), value, owner, key)

    # -- values

    def token(self, value: Any) -> bytes:
        """Return bytes that are equal only for equal values; raises _Unstable for a value without content."""
        kind = type(value)
        simple = _SIMPLE.get(kind)
        if simple is not None:
            return simple(value)
        if id(value) in self._open:
            return b"back" + struct.pack("<q", len(self._open) - self._open[id(value)])
        self._budget -= 1
        if len(self._open) > _DEEPEST or self._budget < 0:
            raise _Unstable(value, "it is nested too deeply, or holds too many objects")
        if isinstance(value, (types.FunctionType, type, types.ModuleType)):
            return self._code_token(value)
        self._open[id(value)] = len(self._open)
        try:
            return self._content(value, kind)
        finally:
            del self._open[id(value)]

    def _code_token(self, value: Any) -> bytes:
        if isinstance(value, types.ModuleType):
            if not is_user_module(value):
                self._needs(value.__name__, value)
                return self._library(value.__name__)
            label, new = self._label("module", value.__name__, (id(value),))
            if new:
                self._queue.append((label, lambda: self._whole_module(value)))
            return b"->" + label.encode()
        if not is_user_object(value) and (name := _importable(value)):
            self._needs(name, value)
            return self._library(name)
        if isinstance(value, type):
            return self._add("class", value, lambda _: class_token(value, self))
        owner = value.__qualname__.rpartition("<locals>.")[2]
        kind = "method" if "." in owner else "helper"
        return self._add(kind, value, lambda label: self._function(value, label, owner))

    def _whole_module(self, module: types.ModuleType) -> bytes:
        rows: list[bytes] = []
        for name, value in sorted(vars(module).items()):
            if name not in _MODULE_NOISE and not name.startswith("@"):
                rows += (name.encode(), self._data("global", (id(vars(module)), name), value, module.__name__, name))
        return hash_chunks(rows)

    def _content(self, value: Any, kind: type) -> bytes:
        self._needs(kind.__module__, kind)
        if kind in (list, tuple):
            bulk = bulk_token(value)
            return kind.__name__.encode() + (bulk if bulk is not None else hash_chunks(map(self.token, value)))
        if kind in (set, frozenset):
            ordered = sorted(value, key=lambda item: str(getattr(item, "__qualname__", "")))
            return kind.__name__.encode() + hash_chunks(sorted(map(self.token, ordered)))
        if kind in (dict, types.MappingProxyType, OrderedDict):
            # In order: it can be seen by whoever goes through it.
            return kind.__name__.encode() + hash_chunks(self.token(part) for pair in value.items() for part in pair)
        if isinstance(value, Enum):
            return b"enum" + hash_chunks([self.token(kind), value.name.encode()])
        if isinstance(value, Node):
            function = self._unwrap(value)
            body = self._class_node(value, value.info.name) if function is value else self.token(function)
            return b"node" + hash_chunks([value.info.version.encode(), body])
        if isinstance(value, types.MethodType):
            return b"method" + hash_chunks([self.token(value.__func__), self.token(value.__self__)])
        if isinstance(value, types.BuiltinFunctionType):
            if value.__self__ is None or isinstance(value.__self__, types.ModuleType):
                return self._library(f"{value.__module__ or 'builtins'}.{value.__qualname__}")
            return b"bound" + hash_chunks([value.__name__.encode(), self.token(value.__self__)])
        if kind.__name__ == "TypeAliasType":  # `type X = ...`, which pickles as its name
            return b"alias" + hash_chunks([value.__name__.encode(), self.token(value.__value__)])
        if isinstance(value, functools._lru_cache_wrapper):
            return b"cached" + hash_chunks([self.token(value.__wrapped__), self.token(value.cache_parameters())])
        if isinstance(value, BaseModel):
            state = (vars(value), value.__pydantic_extra__, value.__pydantic_private__)
            return b"model" + hash_chunks([self.token(kind), *map(self.token, state)])
        if kind is TypeVar:
            more = (
                value.__name__,
                value.__bound__,
                value.__constraints__,
                value.__covariant__,
                value.__contravariant__,
            )
            return b"typevar" + hash_chunks(map(self.annotation, more))
        try:
            data = data_token(value, self.token)
        except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError) as error:
            raise _Unstable(value, str(error).partition("\n")[0]) from error
        return data if data is not None else self._reduced(value, kind)

    def _reduced(self, value: Any, kind: type) -> bytes:
        """Hash any other object as pickle sees it: how it is made, from what, with which state."""
        if kind.__module__.startswith(("distributed", "asyncio", "_asyncio")):
            raise _Unstable(value)
        if (name := _importable(value)) and not is_user_object(value):
            return self._library(name)
        try:
            made = (copyreg.dispatch_table.get(kind) or _reduce)(value)
        except Exception as error:
            wrapped = getattr(value, "__wrapped__", None) or getattr(value, "py_func", None)
            if isinstance(wrapped, types.FunctionType):
                return b"wrapped" + hash_chunks([self.token(kind), self.token(wrapped)])
            raise _Unstable(value, str(error).partition("\n")[0]) from error
        if isinstance(made, str):
            return b"named" + hash_chunks([self._library(f"{getattr(value, '__module__', kind.__module__)}.{made}")])
        function, arguments, state, *streams = (*made, None, None, None)[:5]
        rows = [self.token(function), self.token(tuple(arguments)), self.token(state)]
        self._alive.append(made)
        for stream in streams:
            if stream is not None:
                rows += [self.token(item) for item in stream]
        return b"object" + hash_chunks(rows)


@functools.lru_cache(maxsize=2048)
def _normal(code: types.CodeType) -> Code:
    """Return the normal form of code, which many nodes may reach; equal code objects have one."""
    return Normaliser(code, _Walk().token).run()


_MISSING: Any = type("_Missing", (), {"__doc__": "Stands for a name that is bound to nothing."})()


def _reduce(value: Any) -> Any:
    return value.__reduce_ex__(4)


_SIMPLE: dict[type, Callable[[Any], bytes]] = {
    int: lambda value: b"i" + hex(value).encode(),
    bool: lambda value: b"b1" if value else b"b0",
    float: lambda value: b"f" + struct.pack("<d", value),
    complex: lambda value: b"c" + struct.pack("<dd", value.real, value.imag),
    str: text_token,
    bytes: lambda value: b"y" + hash_chunks([value]) if len(value) > 64 else b"Y" + value,
    bytearray: lambda value: b"a" + hash_chunks([bytes(value)]),
    type(None): lambda _: b"none",
    type(Ellipsis): lambda _: b"ellipsis",
    type(NotImplemented): lambda _: b"notimplemented",
    range: lambda value: b"r" + repr((value.start, value.stop, value.step)).encode(),
}
