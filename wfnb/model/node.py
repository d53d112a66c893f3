"""`Node`, the reusable unit of work, and what it is given while it runs. Imports policy only.

A node's life on a worker, for one attempt of one task:
`validate_input` → `prepare` → `execute` → `validate_output` → `cleanup` (always, also after an error).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from wfnb.model.policy import Policy


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a node can do.

    Args:
        asynchronous: `execute` is a coroutine function.
        streaming: it yields values one by one.
        batchable: many of its tasks may share a bundle.
        cacheable: its value depends on its inputs and code alone.
    """

    asynchronous: bool = False
    streaming: bool = False
    batchable: bool = True
    cacheable: bool = True


@dataclass(frozen=True, slots=True)
class Port:
    """A named input or output of a node.

    Args:
        name: the port's name; the parameter's name for an input.
        annotation: its type, or `typing.Any`.
        required: whether an input must be given.
    """

    name: str
    annotation: Any = Any
    required: bool = True


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node is called and how it is described.

    Args:
        name: its name, unique among the nodes of a workflow's author.
        version: its version; part of its fingerprint.
        description: the first line of its docstring.
        tags: free labels.
    """

    name: str
    version: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()


class ProgressSink(Protocol):
    """Where a task reports how far it is."""

    def __call__(self, fraction: float, message: str) -> None: ...


def _nowhere(fraction: float, message: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """What a running task may know and say about itself; given to the parameter annotated `wf.Context`.

    Args:
        run_id: the run's id, or "" when the function is called directly.
        address: the task's address, such as ``train[3]``.
        attempt: 1 for the first call, 2 for the first retry, ...
        log: a logger whose records belong to this task.
    """

    run_id: str = ""
    address: str = ""
    attempt: int = 1
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("wfnb.task"))
    sink: ProgressSink = field(default=_nowhere, repr=False)

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how far the task is.

        Args:
            fraction: 0 to 1.
            message: a few words on what is being done.
        """
        self.sink(min(max(float(fraction), 0.0), 1.0), message)


class Node:
    """The base of every node: subclass it, or let `wf.node` make one from a function.

    A subclass says what it does in `execute` (plain or ``async``), whose parameters are its input ports and whose
    return annotation is its output port. Settings fixed when the workflow is written go into an inner pydantic
    class `Params`; give them as keyword arguments when the node is made::

        class Scale(wf.Node):
            class Params(wf.Params):
                factor: float = 2.0

            def execute(self, x: float) -> float:
                return x * self.params.factor

        double = Scale(factor=2.0)

    Attributes:
        params: the validated settings.
        info: name, version, description and tags.
        policy: how its tasks are run.
    """

    class Params(BaseModel):
        """The settings of a node; unknown ones are refused."""

        model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    capabilities: ClassVar[Capabilities] = Capabilities()
    policy: Policy = Policy()
    version: ClassVar[str] = ""
    tags: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **params: Any) -> None:
        self.params: Any = type(self).Params(**params)
        doc = inspect.getdoc(type(self)) if type(self).__doc__ else ""
        self.info = NodeInfo(
            name=type(self).__name__,
            version=type(self).version,
            description=(doc or "").partition("\n")[0],
            tags=tuple(type(self).tags),
        )

    # -- ports ---------------------------------------------------------------------------------------------------

    @property
    def body(self) -> Any:
        """The callable whose signature gives the ports: `execute`, or the wrapped function."""
        return self.execute

    # -- life cycle, in order ------------------------------------------------------------------------------------

    def validate_input(self, inputs: Mapping[str, Any]) -> None:
        """Raise when the inputs (by parameter name) will not do; the default accepts all."""

    def prepare(self, context: Context) -> None:
        """Get ready for one attempt: open what `execute` needs."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work and return the value; may be ``async``."""
        raise TypeError(f"node '{type(self).__name__}' has no execute(): define it in the class")

    def validate_output(self, value: Any) -> None:
        """Raise when the value will not do; the default accepts all."""

    def cleanup(self) -> None:
        """Close what `prepare` opened; runs after success and failure alike."""

    def estimate_resources(self, inputs: Mapping[str, Any]) -> Mapping[str, float]:
        """Return what one task needs of a worker beyond its policy's resources, such as ``{"GPU": 1}``."""
        return {}
