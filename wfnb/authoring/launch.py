"""How a run is asked for: its options, and what starts it. Imports model only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

from wfnb.model.errors import ConfigurationError, did_you_mean
from wfnb.model.node import is_step_id
from wfnb.model.policy import PriorityName, priority_of

if TYPE_CHECKING:
    from wfnb.authoring.workflow import Workflow


class RunOptionNames(TypedDict, total=False):
    """The options of one run, as a person writes them; see `RunOptions`."""

    run_id: str
    priority: PriorityName | int
    store: Any
    cluster: Any
    tags: Sequence[str]
    on_error: Literal["stop", "continue"]
    view: bool


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one run is to be done, where it differs from what is configured.

    Args:
        run_id: the id it is to have, or None for a new one.
        priority: 1 (first) to 20 (last), or None for the nodes' own.
        store: where it is kept, or None for the configured store.
        cluster: where it is computed, or None for the configured cluster.
        tags: labels of this run, besides the workflow's.
        on_error: "stop" starts nothing new after a failure, "continue" finishes what does not depend on it.
        view: whether it shows itself, or None for what fits the place it is called from.
    """

    run_id: str | None = None
    priority: int | None = None
    store: Any = None
    cluster: Any = None
    tags: tuple[str, ...] = ()
    on_error: Literal["stop", "continue"] = "stop"
    view: bool | None = None

    def changed(self, changes: Mapping[str, Any]) -> RunOptions:
        """Return the options with some changed.

        Raises:
            ConfigurationError: an option is unknown or its value will not do.
        """
        known = [field.name for field in fields(self)]
        values = dict(changes)
        for name, value in changes.items():
            if name not in known:
                raise ConfigurationError(f"a run has no option '{name}'. {did_you_mean(name, known)}")
            reader = _READERS.get(name)
            if reader is not None and value is not None:
                try:
                    values[name] = reader(value)
                except ValueError as error:
                    raise ConfigurationError(f"option '{name}' of a run cannot be {value!r}: {error}") from None
        return replace(self, **values)


def _run_id(value: Any) -> str:
    if not is_step_id(value):
        raise ValueError("give a text without spaces, quotes or /.[]{}")
    return str(value)


def _tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(tag, str) for tag in value):
        raise ValueError("give a list of texts")
    return tuple(value)


def _on_error(value: Any) -> str:
    if value not in ("stop", "continue"):
        raise ValueError("give 'stop' or 'continue'")
    return str(value)


def _view(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("give True or False")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "run_id": _run_id,
    "priority": priority_of,
    "tags": _tags,
    "on_error": _on_error,
    "view": _view,
}


class Launcher(Protocol):
    """What starts runs; the session is one."""

    def submit(self, workflow: Workflow[..., Any], inputs: dict[str, Any], options: RunOptions) -> Any:
        """Start a run and return its `Run` at once."""

    def call(self, workflow: Workflow[..., Any], inputs: dict[str, Any], options: RunOptions) -> Any:
        """Start a run, show it, wait for it and return its value."""

    def plan(self, workflow: Workflow[..., Any], inputs: dict[str, Any], options: RunOptions) -> Any:
        """Return what a run would do, as a `Plan`."""

    def picture(self, workflow: Workflow[..., Any]) -> dict[str, Any]:
        """Return the workflow's picture as a MIME bundle."""
