"""Owns telling user code from libraries, and what a function carries with it. Imports bytecode only.

A module is the user's when it has Python source that lies neither in the standard library, nor among installed
packages, nor in wfnb.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from wfnb.authoring.bytecode import global_names

Kind: TypeAlias = Literal["global", "closure", "default", "attribute"]

# -- whose code is it ------------------------------------------------------------------------------------------------

_WFNB = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB = tuple({os.path.realpath(sysconfig.get_path(key)) + os.sep for key in ("stdlib", "platstdlib")})
_INSTALLED = tuple({os.path.realpath(sysconfig.get_path(key)) + os.sep for key in ("purelib", "platlib")})
_PACKAGES = re.compile(r"[\\/](?:site|dist)-packages[\\/]")


@functools.lru_cache(maxsize=4096)
def is_user_file(path: str) -> bool:
    """Return whether a file is Python source of the user: not installed, not of the standard library, not of wfnb."""
    if not path.endswith((".py", ".ipynb")):
        return False  # compiled code cannot travel by value
    real = os.path.realpath(path)
    if _PACKAGES.search(real) or real.startswith((*_INSTALLED, _WFNB)):
        return False
    return not real.startswith(_STDLIB)


def is_user_module(module: types.ModuleType) -> bool:
    """Return whether a module is the user's own source, which travels by value; `__main__` is left to cloudpickle."""
    name = getattr(module, "__name__", "__main__")
    if name in ("__main__", "__mp_main__"):
        return False
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and is_user_file(file)


@functools.lru_cache(maxsize=512)
def is_installed(name: str) -> bool:
    """Return whether a top-level module is there and none of the user's own, without importing it."""
    if name in sys.modules:
        return not is_user_module(sys.modules[name])
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and not is_user_file(spec.origin or "")


def is_user_object(obj: Any) -> bool:
    """Return whether a function or class is the user's own: of a notebook, of a script or of a local module."""
    name = getattr(obj, "__module__", None)
    if not isinstance(name, str) or name in ("__main__", "__mp_main__"):
        return True
    module = sys.modules.get(name)
    return module is None or is_user_module(module)


# -- what a function carries -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variable:
    """One value that a function carries with it.

    Args:
        kind: "global", "closure", "default" or "attribute".
        name: the variable's name.
        value: what it holds now.
    """

    kind: Kind
    name: str
    value: Any


def variables(function: types.FunctionType) -> Iterator[Variable]:
    """Yield what a function captures: its closure, the globals it reads and its defaults; empty cells are left out."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield Variable("closure", name, cell.cell_contents)
        except ValueError:
            continue  # assigned later, or never
    for name in global_names(code):
        if name in function.__globals__:
            yield Variable("global", name, function.__globals__[name])
    if function.__defaults__:
        names = code.co_varnames[: code.co_argcount][-len(function.__defaults__) :]
        for name, value in zip(names, function.__defaults__, strict=True):
            yield Variable("default", name, value)
    for name, value in (function.__kwdefaults__ or {}).items():
        yield Variable("default", name, value)
    for name, value in function.__dict__.items():
        yield Variable("attribute", name, value)


def local_modules(
    name: str, level: int, names: tuple[str, ...], scope: Mapping[str, Any]
) -> tuple[types.ModuleType, ...]:
    """Return the user's modules that an import inside a function brings, the named one first; empty for a library.

    They are imported for it when they are not yet, as calling the function would do.

    Args:
        name: the module as it is written.
        level: how many dots come before it.
        names: what is imported from it.
        scope: the function's globals.

    Raises:
        Exception: whatever importing the module raises.
    """
    full = importlib.util.resolve_name("." * level + name, scope.get("__package__") or "") if level else name
    top = full.partition(".")[0]
    loaded = sys.modules.get(top)
    if loaded is not None:
        if not is_user_module(loaded) and not hasattr(loaded, "__path__"):
            return ()
        if isinstance(getattr(loaded, "__file__", None), str) and not is_user_module(loaded):
            return ()
    else:
        spec = importlib.util.find_spec(top)
        if spec is None or not spec.origin or not is_user_file(spec.origin):
            return ()
    module = importlib.import_module(full)
    if not is_user_module(module):
        return ()
    found = [module]
    for part in names:
        if part != "*" and not hasattr(module, part) and hasattr(module, "__path__"):
            found.append(importlib.import_module(f"{full}.{part}"))
    return tuple(found)
