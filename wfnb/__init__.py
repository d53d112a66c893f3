"""wfnb: durable, resumable, visible workflows in a notebook, on Dask.

Everything public is here and loaded when it is first used, so that ``import wfnb as wf`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wfnb.authoring.constructs import attempt, dynamic, each, loop, parallel, sequential, stream, switch
    from wfnb.authoring.node import node
    from wfnb.authoring.registry import register
    from wfnb.authoring.workflow import Workflow, workflow
    from wfnb.model.context import Context
    from wfnb.model.errors import (
        CacheWarning,
        CaptureError,
        ConfigurationError,
        DefinitionError,
        MissingDependency,
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
        WfnbError,
    )
    from wfnb.model.node import Capabilities, Node, Params, Port
    from wfnb.model.policy import Exponential, Fixed
    from wfnb.run import Run
    from wfnb.session import configure, get_run, resume, runs

__version__ = "0.1.0"

_HOMES = {
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
    "wfnb.authoring.registry": ["register"],
    "wfnb.authoring.node": ["node"],
    "wfnb.model.context": ["Context"],
    "wfnb.model.errors": [
        "CacheWarning",
        "CaptureError",
        "ConfigurationError",
        "DefinitionError",
        "MissingDependency",
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
        "WfnbError",
    ],
    "wfnb.model.node": ["Capabilities", "Node", "Params", "Port"],
    "wfnb.model.policy": ["Exponential", "Fixed"],
    "wfnb.run": ["Run"],
    "wfnb.authoring.workflow": ["Workflow", "workflow"],
    "wfnb.session": ["configure", "get_run", "resume", "runs"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CacheWarning",
    "Capabilities",
    "CaptureError",
    "ConfigurationError",
    "Context",
    "DefinitionError",
    "Exponential",
    "Fixed",
    "MissingDependency",
    "Node",
    "Params",
    "Port",
    "Run",
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
    "WfnbError",
    "Workflow",
    "attempt",
    "configure",
    "dynamic",
    "each",
    "get_run",
    "loop",
    "node",
    "parallel",
    "register",
    "resume",
    "runs",
    "sequential",
    "stream",
    "switch",
    "workflow",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'wfnb' has no attribute '{name}'")
    if home == "wfnb.authoring.workflow":
        importlib.import_module("wfnb.session")  # gives workflows what runs them; authoring may not know it
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
