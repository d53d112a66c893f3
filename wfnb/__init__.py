"""wfnb: durable, resumable, visible workflows in a notebook, on Dask.

Everything public is here and loaded when it is first used, so that ``import wfnb as wf`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wfnb.authoring.builder import Steps, step
    from wfnb.authoring.constructs import attempt, dynamic, each, loop, parallel, sequential, stream, switch
    from wfnb.authoring.loads import load, loads
    from wfnb.authoring.node import node
    from wfnb.authoring.registry import NameWarning, PluginWarning, register
    from wfnb.authoring.workflow import Workflow, workflow
    from wfnb.caches import cache
    from wfnb.magics import load_ipython_extension
    from wfnb.model.builtin import nodes
    from wfnb.model.caught import CaughtError
    from wfnb.model.context import Context
    from wfnb.model.definition import json_schema
    from wfnb.model.errors import (
        CacheWarning,
        CaptureError,
        ConfigurationError,
        DefinitionError,
        LimitReached,
        MissingDependency,
        NoCase,
        RunCancelled,
        RunError,
        RunExists,
        RunHasDriver,
        RunInterrupted,
        RunNotFound,
        StepFailed,
        StoreError,
        StoreUnavailable,
        TaskTimeout,
        VariableConflict,
        VariableNotSet,
        VersionWarning,
        WfnbError,
        WorkerDied,
    )
    from wfnb.model.node import Capabilities, Node, Params, Port
    from wfnb.model.policy import Exponential, Fixed
    from wfnb.retention import Pruned, Retention
    from wfnb.run import Run
    from wfnb.session import cluster, configure, get_run, prune, resume, runs

__version__ = "0.1.0"

_HOMES = {
    "wfnb.authoring.builder": ["Steps", "step"],
    "wfnb.authoring.constructs": [
        "attempt",
        "dynamic",
        "each",
        "loop",
        "parallel",
        "sequential",
        "stream",
        "switch",
    ],
    "wfnb.authoring.loads": ["load", "loads"],
    "wfnb.authoring.registry": ["NameWarning", "PluginWarning", "register"],
    "wfnb.magics": ["load_ipython_extension"],
    "wfnb.model.builtin": ["nodes"],
    "wfnb.model.caught": ["CaughtError"],
    "wfnb.model.definition": ["json_schema"],
    "wfnb.authoring.node": ["node"],
    "wfnb.model.context": ["Context"],
    "wfnb.model.errors": [
        "CacheWarning",
        "CaptureError",
        "ConfigurationError",
        "DefinitionError",
        "LimitReached",
        "MissingDependency",
        "NoCase",
        "RunCancelled",
        "RunError",
        "RunExists",
        "RunHasDriver",
        "RunInterrupted",
        "RunNotFound",
        "StepFailed",
        "StoreError",
        "StoreUnavailable",
        "TaskTimeout",
        "VariableConflict",
        "VariableNotSet",
        "VersionWarning",
        "WfnbError",
        "WorkerDied",
    ],
    "wfnb.model.node": ["Capabilities", "Node", "Params", "Port"],
    "wfnb.model.policy": ["Exponential", "Fixed"],
    "wfnb.run": ["Run"],
    "wfnb.authoring.workflow": ["Workflow", "workflow"],
    "wfnb.session": ["cluster", "configure", "get_run", "prune", "resume", "runs"],
    "wfnb.retention": ["Pruned", "Retention"],
    "wfnb.caches": ["cache"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CacheWarning",
    "Capabilities",
    "CaptureError",
    "CaughtError",
    "ConfigurationError",
    "Context",
    "DefinitionError",
    "Exponential",
    "Fixed",
    "LimitReached",
    "MissingDependency",
    "NameWarning",
    "NoCase",
    "Node",
    "Params",
    "PluginWarning",
    "Port",
    "Pruned",
    "Retention",
    "Run",
    "RunCancelled",
    "RunError",
    "RunExists",
    "RunHasDriver",
    "RunInterrupted",
    "RunNotFound",
    "StepFailed",
    "Steps",
    "StoreError",
    "StoreUnavailable",
    "TaskTimeout",
    "VariableConflict",
    "VariableNotSet",
    "VersionWarning",
    "WfnbError",
    "WorkerDied",
    "Workflow",
    "attempt",
    "cache",
    "cluster",
    "configure",
    "dynamic",
    "each",
    "get_run",
    "json_schema",
    "load",
    "load_ipython_extension",
    "loads",
    "loop",
    "node",
    "nodes",
    "parallel",
    "prune",
    "register",
    "resume",
    "runs",
    "sequential",
    "step",
    "stream",
    "switch",
    "workflow",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'wfnb' has no attribute '{name}'")
    if home in ("wfnb.authoring.workflow", "wfnb.authoring.loads"):
        importlib.import_module("wfnb.session")  # gives workflows what runs them; authoring may not know it
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
