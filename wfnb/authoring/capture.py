"""Owns what travels to workers: nodes with all the user code they reach, by value. Imports model and cloudpickle only.

Code of the notebook travels by value because workers cannot import it. Code of local modules travels by value too:
workers started before the last edit, or in another directory, would otherwise run an old version or none at all.
Which modules are reached is found while pickling, so exactly what travels is looked at.
"""

from __future__ import annotations

import functools
import io
import linecache
import os
import pickle
import re
import sys
import threading
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar

import cloudpickle

from wfnb.authoring.bytecode import imports_of
from wfnb.authoring.usercode import is_user_module, is_user_object, local_modules, variables
from wfnb.model.classes import loads_code, reduced, same, today
from wfnb.model.errors import CaptureError
from wfnb.model.node import Node

# -- where it was written --------------------------------------------------------------------------------------------

_CELL_FILE = re.compile(r"<ipython-input-(\d+)")


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None


def place(filename: str, line: int) -> str:
    """Return a place in the source as a person knows it: "cell In[3], line 4" or "helpers.py, line 4"."""
    cells = getattr(getattr(_shell(), "compile", None), "_filename_map", None)
    number = cells.get(filename) if isinstance(cells, Mapping) else None
    if number is None and (match := _CELL_FILE.match(filename)):
        number = match.group(1)
    where = f"cell In[{number}]" if number is not None else os.path.basename(filename)
    return f"{where}, line {line}"


def assigned_at(name: str, namespace: Mapping[str, Any]) -> str:
    """Return the place of the last assignment to a global in the cells run so far, or in its module, or ""."""
    word = re.escape(name)
    pattern = re.compile(rf"^(?:{word}\b[^=\n(]*=[^=]|(?:with|for)\b.*\b{word}\b.*:)", re.MULTILINE)
    cells = namespace.get("In") if namespace.get("__name__") == "__main__" else None
    if isinstance(cells, list):
        for number in range(len(cells) - 1, 0, -1):
            if match := pattern.search(str(cells[number])):
                return f"cell In[{number}], line {str(cells[number]).count(chr(10), 0, match.start()) + 1}"
    file = namespace.get("__file__")
    if isinstance(file, str):
        source = "".join(linecache.getlines(file))
        if match := pattern.search(source):
            return place(file, source.count("\n", 0, match.start()) + 1)
    return ""


# -- packing ---------------------------------------------------------------------------------------------------------

_ID = uuid.uuid4().hex
_LOCK = threading.RLock()  # cloudpickle's registry of modules is one for the process
_MODULE_MACHINERY = frozenset(
    ("__builtins__", "__loader__", "__spec__", "__cached__", "__warningregistry__", "@py_builtins", "@pytest_ar")
)


class _NotPortable(pickle.PicklingError):
    """A value that pickle would let through, but that would not be the same thing on a worker."""


def _make_module(name: str) -> types.ModuleType:
    return types.ModuleType(name)


def _fill_module(module: types.ModuleType, state: dict[str, Any]) -> None:
    vars(module).update(state)


def _left_out(module: str, missing: dict[str, str], name: str) -> Any:
    """Answer for a name that a module could not bring along: the `__getattr__` of a module on a worker."""
    if name in missing:
        raise CaptureError(
            f"'{module}.{name}' (a {missing[name]}) did not travel to the worker with the local module '{module}', "
            "because it cannot be pickled: create it inside the node, or pass it as an input",
            node="",
            variable=f"{module}.{name}",
        )
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def _make_cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _make_cached_property(function: Callable[[Any], Any], name: str | None) -> Any:
    made = functools.cached_property(function)
    made.attrname = name
    return made


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle that finds the user's modules as it meets them.

    Args:
        file: what it writes to.
        frugal: whether a module leaves out what cannot be pickled and no packed code names.
        within: the modules being tried, so that a trial inside a module does not begin it again.
        names: names known to be read by what is packed.
    """

    def __init__(
        self, file: Any, *, frugal: bool = False, within: frozenset[str] = frozenset(), names: Iterable[str] = ()
    ) -> None:
        self.buffered = 0
        super().__init__(file, protocol=5, buffer_callback=self._count if isinstance(file, _Sink) else None)
        self.registered: list[types.ModuleType] = []
        self.frugal = frugal
        self.within = within
        self.modules = False
        self.names = set(names)
        self.imported: dict[str, types.ModuleType] = {}

    def _count(self, buffer: pickle.PickleBuffer) -> None:
        self.buffered += buffer.raw().nbytes  # a falsy answer keeps the buffer out of the stream

    def dump(self, obj: Any) -> None:
        with _LOCK:
            try:
                super().dump(obj)
            finally:
                for module in self.registered:
                    if module.__name__ in cloudpickle.list_registry_pickle_by_value():
                        cloudpickle.unregister_pickle_by_value(module)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and (now := today(obj)) is not obj:
            return same, (now,)  # its cell was run again
        if isinstance(obj, (types.FunctionType, type, TypeVar)):
            name = getattr(obj, "__module__", None)
            module = sys.modules.get(name) if isinstance(name, str) else None
            if module is not None:
                self._register(module)
            if isinstance(obj, types.FunctionType):
                if self.frugal:
                    self.names.update(_all_names(obj.__code__))
                if is_user_object(obj):
                    self._follow_imports(obj)
        elif isinstance(obj, types.ModuleType):
            if self._register(obj):
                self.modules = True
                return self._reduce_module(obj)
        elif isinstance(obj, functools._lru_cache_wrapper) and is_user_object(obj):
            # It pickles as a name to import, which a worker does not have.
            return _make_cached, (obj.__wrapped__, obj.cache_parameters())
        elif type(obj) is functools.cached_property:
            # Before Python 3.12 it holds a lock.
            return _make_cached_property, (obj.func, obj.attrname)
        elif isinstance(obj, io.IOBase) and not isinstance(obj, (io.StringIO, io.BytesIO)):
            # cloudpickle would send the text read so far instead of the file.
            for name in ("stdout", "stderr"):
                if obj is getattr(sys, name):
                    return getattr, (sys, name)
            raise _NotPortable("an open file cannot travel to a worker")
        elif type(obj).__name__ == "Client" and type(obj).__module__.startswith("distributed"):
            raise _NotPortable("a Dask client cannot travel to a worker")
        reduction = super().reducer_override(obj)
        return reduced(obj, reduction) if isinstance(obj, type) else reduction

    def _follow_imports(self, function: types.FunctionType) -> None:
        for name, level, names in imports_of(function.__code__):
            try:
                modules = local_modules(name, level, names, function.__globals__)
            except Exception:  # noqa: BLE001, S112 - it may be there on the worker; if not, the node's call says so
                continue
            for module in modules:
                # The packages around it are imported with it.
                while module.__name__ not in self.imported:
                    self.imported[module.__name__] = module
                    module = sys.modules.get(module.__name__.rpartition(".")[0], module)

    def _register(self, module: types.ModuleType) -> bool:
        if not is_user_module(module):
            return False
        # One that itself came by value is in no registry: it goes on by value anyway.
        known = sys.modules.get(module.__name__) is module
        if known and module.__name__ not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
            self.registered.append(module)
        return True

    def _reduce_module(self, module: types.ModuleType) -> Any:
        name = module.__name__
        if name in self.within:
            return _make_module, (name,)
        state = {key: value for key, value in vars(module).items() if key not in _MODULE_MACHINERY}
        if self.frugal:
            missing: dict[str, str] = {}
            for key, value in list(state.items()):
                if key not in self.names and not _travels(value, within=self.within | {name}):
                    missing[key] = type(value).__name__
                    del state[key]
            if missing and "__getattr__" not in state:
                state["__getattr__"] = functools.partial(_left_out, name, missing)
        return _make_module, (name,), state, None, None, _fill_module


def _all_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _all_names(const)


class _Sink:
    """A file that only counts."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.written += size
        return size


def _travels(value: Any, *, within: frozenset[str] = frozenset(), names: Iterable[str] = ()) -> bool:
    try:
        _Pickler(_Sink(), frugal=True, within=within, names=names).dump(value)
    except Exception:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return False
    return True


def size_of(value: Any) -> int:
    """Return the bytes of a value on its way to a worker, 0 when it cannot travel."""
    sink = _Sink()
    pickler = _Pickler(sink, frugal=True)
    try:
        pickler.dump(value)
    except Exception:  # noqa: BLE001 - packing it will say why
        return 0
    return sink.written + pickler.buffered


def pack_code(obj: Any, *, node: str = "") -> bytes:
    """Return nodes, functions or anything made of them as bytes that any worker can load.

    Args:
        obj: a node, or a container or dataclass of nodes.
        node: the node's name for errors, when `obj` holds no node to name.

    Raises:
        CaptureError: something the code captures cannot travel; names the node, the variable, its type and place.
    """
    __tracebackhide__ = True
    packed, pickler, error = _dump(obj, frugal=False)
    if error is not None and pickler.modules:
        # A whole local module was in it: try again without what no packed code names.
        packed, pickler, error = _dump(obj, frugal=True)
    sent, imported = obj, dict[str, types.ModuleType]()
    while error is None and set(pickler.imported) - set(imported):
        # Local modules that functions import when they run go along; they may hold such functions themselves.
        imported.update(pickler.imported)
        sent = (obj, imported)
        packed, pickler, error = _dump(_WithImports(_process(), imported, obj), frugal=True, names=pickler.names)
    if error is not None:
        raise _explain(sent, node, error, pickler.names) from error
    return packed


def _dump(obj: Any, *, frugal: bool, names: Iterable[str] = ()) -> tuple[bytes, _Pickler, Exception | None]:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, frugal=frugal, names=names)
    try:
        pickler.dump(obj)
    except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return b"", pickler, error
    return buffer.getvalue(), pickler, None


def _process() -> str:
    return f"{_ID}:{os.getpid()}"


@dataclass(frozen=True, slots=True)
class _WithImports:
    """Packed code together with the local modules that it imports inside functions."""

    process: str
    modules: dict[str, types.ModuleType]
    obj: Any

    def __reduce__(self) -> Any:
        return _install, (self.process, self.modules, self.obj)


def _install(process: str, modules: dict[str, types.ModuleType], obj: Any) -> Any:
    """Make the modules importable, in place of older ones, unless this is the process they come from."""
    if process != _process():
        for name, module in modules.items():
            sys.modules[name] = module
    return obj


def load_code(data: bytes) -> Any:
    """Return what `pack_code` packed. Only for bytes that are known to be ours: loading runs code."""
    return load_code_and_classes(data)[0]


def load_code_and_classes(data: bytes) -> tuple[Any, dict[tuple[str, str], type]]:
    """Return the same, and the classes that came with it by module and name: values loaded beside it are of these."""
    return loads_code(data)


# -- naming what cannot travel ---------------------------------------------------------------------------------------

_CURES = {
    "generator": "make it a list, or create it inside the node",
    "file": "pass its path as an input and open it inside the node",
    "client": "leave the Dask client out: wfnb submits the work of a node itself",
    "other": "create it inside the node, or pass it as an input",
}


@dataclass(frozen=True, slots=True)
class _Step:
    """One step from a node towards what it captures."""

    kind: Literal["global", "closure", "default", "attribute", "item", "code"]
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class _Culprit:
    """The innermost value that cannot be pickled, and how it was reached."""

    value: Any
    owner: Any = None
    kind: str = ""
    name: str = ""
    path: str = ""


def targets_of(obj: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the nodes and functions of what is packed, with their names."""
    if isinstance(obj, Node):
        yield obj.info.name, obj
    elif isinstance(obj, types.FunctionType):
        yield obj.__name__, obj
    elif depth < 6:
        if isinstance(obj, Mapping):
            children: list[Any] = list(obj.values())
        elif isinstance(obj, (list, tuple, set, frozenset)):
            children = list(obj)
        elif is_dataclass(obj) and not isinstance(obj, type):
            children = [getattr(obj, f.name, None) for f in fields(obj)]
        else:
            return
        for child in children:
            yield from targets_of(child, depth + 1)


def _steps(value: Any) -> Iterator[_Step]:
    """Yield what pickling a value goes on to."""
    if isinstance(value, types.FunctionType):
        for variable in variables(value):
            yield _Step(variable.kind, variable.name, variable.value)
    elif isinstance(value, types.MethodType):
        yield _Step("code", "", value.__func__)
        yield _Step("attribute", "__self__", value.__self__)
    elif isinstance(value, (staticmethod, classmethod)):
        yield _Step("code", "", value.__func__)
    elif isinstance(value, property):
        for part in (value.fget, value.fset, value.fdel):
            yield _Step("code", "", part)
    elif isinstance(value, functools.partial):
        yield _Step("code", "", value.func)
        yield _Step("item", ".args", value.args)
        yield _Step("item", ".keywords", value.keywords)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield _Step("item", f"[{key!r}]", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield _Step("item", f"[{index}]", item)
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield _Step("item", "{...}", item)
    elif isinstance(value, type):
        for base in value.__bases__:
            if base is not object and is_user_object(base):
                yield _Step("code", "", base)
        for name, item in vars(value).items():
            if name not in ("__dict__", "__weakref__"):
                yield _Step("attribute", name, item)
    elif isinstance(value, types.ModuleType):
        # Functions first: they name the variable where it is read.
        for name, item in sorted(vars(value).items(), key=lambda pair: not isinstance(pair[1], types.FunctionType)):
            if name not in _MODULE_MACHINERY:
                yield _Step("attribute", name, item)
    else:
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None:
            yield _Step("code", "", wrapped)
        if is_user_object(type(value)):
            yield _Step("code", "", type(value))
        for name, item in getattr(value, "__dict__", {}).items():
            yield _Step("attribute", name, item)
        for cls in type(value).__mro__:
            slots = vars(cls).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else tuple(slots):
                if hasattr(value, name):
                    yield _Step("attribute", name, getattr(value, name))


def _find(value: Any, culprit: _Culprit, seen: set[int], names: set[str]) -> _Culprit:
    """Go down to the innermost value that cannot be pickled by itself."""
    seen.add(id(value))
    owner = value if isinstance(value, types.FunctionType) else culprit.owner
    for step in _steps(value):
        if isinstance(value, types.ModuleType) and step.name not in names:
            continue
        if id(step.value) in seen or _travels(step.value, names=names):
            continue
        if step.kind == "code":
            return _find(step.value, _Culprit(step.value, owner, culprit.kind, culprit.name, culprit.path), seen, names)
        if isinstance(value, types.FunctionType):
            found = _Culprit(step.value, owner, step.kind, step.name)
        elif not culprit.name:
            name = step.name.lstrip(".")
            if isinstance(value, (type, types.ModuleType)):
                name = f"{value.__name__}.{name}"
            found = _Culprit(step.value, owner, "attribute", name)
        else:
            part = step.name if step.kind == "item" else f".{step.name}"
            found = _Culprit(step.value, owner, culprit.kind, culprit.name, culprit.path + part)
        return _find(step.value, found, seen, names)
    return _Culprit(value, culprit.owner, culprit.kind, culprit.name, culprit.path)


def _cure(value: Any) -> str:
    if isinstance(value, (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)):
        return _CURES["generator"]
    if isinstance(value, io.IOBase):
        return _CURES["file"]
    if type(value).__module__.startswith("distributed") and type(value).__name__ in ("Client", "LocalCluster"):
        return _CURES["client"]
    return _CURES["other"]


def type_name(value: Any) -> str:
    """Return the name of a value's type as a person knows it."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


def _explain(obj: Any, node: str, error: Exception, names: set[str]) -> CaptureError:
    """Return the error that names the nodes and the variables to blame for a failed dump."""
    found: dict[str, CaptureError] = {}
    for name, target in targets_of(obj):
        if not _travels(target, names=names):
            for culprit in _culprits(target, names):
                own = _dump(culprit.value, frugal=True, names=names)[2] or error
                found.setdefault(culprit.name + culprit.path, _describe(name, culprit, own))
    return all_of(list(found.values()) or [_describe(node, _find(obj, _Culprit(obj), set(), names), error)])


def _culprits(target: Any, names: set[str]) -> Iterator[_Culprit]:
    """Yield what is to blame in a node: one for each variable that its function captures and that cannot travel."""
    function = getattr(target, "__wrapped__", None) if isinstance(target, Node) else target
    captured = list(_steps(function)) if isinstance(function, types.FunctionType) else []
    guilty = [step for step in captured if not _travels(step.value, names=names)]
    for step in guilty:
        yield _find(step.value, _Culprit(step.value, function, step.kind, step.name), set(), names)
    if not guilty:
        yield _find(target, _Culprit(target), set(), names)


def all_of(errors: Sequence[CaptureError]) -> CaptureError:
    """Return one error that says what several say; of the first's node and variable."""
    first = errors[0]
    if len(errors) == 1:
        return first
    lines = "\n".join(f"  - {one}" for one in errors)
    text = f"{len(errors)} things cannot travel to a worker; nothing was started:\n{lines}"
    return CaptureError(text, node=first.node, variable=first.variable)


def _describe(node: str, culprit: _Culprit, error: Exception) -> CaptureError:
    subject = f"node '{node}'" if node else f"the {type_name(culprit.value)} to be sent"
    reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
    if not culprit.name:
        return CaptureError(f"{subject} cannot travel to a worker{reason}", node=node)
    variable = culprit.name + culprit.path
    kind = {"closure": "closed-over variable", "default": "default of parameter"}.get(culprit.kind, culprit.kind)
    held = f" holds at '{variable}'" if culprit.path else " is"
    where = ""
    owner = culprit.owner
    if isinstance(owner, types.FunctionType):
        defined = assigned_at(culprit.name, owner.__globals__) if culprit.kind == "global" else ""
        code = owner.__code__
        where = f" It is captured by '{owner.__qualname__}' in {place(code.co_filename, code.co_firstlineno)}"
        where += f", and defined in {defined}." if defined else "."
    return CaptureError(
        f"{subject} cannot travel to a worker: the {kind} '{culprit.name}'{held} a value of type "
        f"'{type_name(culprit.value)}', which cannot be pickled{reason}.{where} To mend it, {_cure(culprit.value)}",
        node=node,
        variable=variable,
    )
