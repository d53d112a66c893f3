"""Every error wfnb raises, in one tree. Imports nothing of wfnb.

WfnbError
├── DefinitionError            a workflow is wrong; lists every problem at once
│   └── ReferenceMisuse        a reference is used where Python needs the value at once (also a TypeError)
├── ConfigurationError         a setting, URL or option is wrong
│   └── MissingDependency      an optional package is not installed; names the extra
├── TypeMismatch               a value does not fit the annotation of a node's parameter or result (also a TypeError)
├── CaptureError               code cannot travel to a worker (an unpicklable captured variable)
├── StoreError                 the store could not do what was asked
│   ├── StoreUnavailable       it cannot be reached (also from a worker)
│   ├── RunExists              that run id is taken
│   ├── RunNotFound            no run has that id
│   ├── EntryExists            a journal entry with that key is already recorded
│   ├── StaleEpoch             the writer's epoch is over: another driver has taken the run
│   ├── RunHasDriver           the run already has a living driver
│   └── ValueRefused           a stored value is unsigned, forged or damaged
└── RunError                   a run did not give a value
    ├── StepFailed             a task failed; __cause__ is the task's own error
    ├── RunCancelled           the run was cancelled
    ├── RunInterrupted         the run's driver is gone
    ├── TaskTimeout            a task ran longer than its timeout (also a TimeoutError)
    ├── WorkerDied             worker processes ended while they ran a task
    ├── NoCase                 no case of a switch fits, and it has no default
    ├── LimitReached           a loop, an each or a recursion went on longer than it may
    ├── VariableConflict       branches side by side set a variable to different values
    └── VariableNotSet         a variable is used that was not set on the way that was taken

Errors survive pickling with all their fields. Two warnings are no errors: `CacheWarning` says that a node with
``cache=True`` runs every time, `VersionWarning` that a worker has another version of a package than this process.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the sentence that helps with an unknown name: the nearest known one, or all of them."""
    names = [str(one) for one in known]
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"Did you mean '{near[0]}'?"
    if not names:
        return "There is none to choose from"
    return "Known: " + ", ".join(f"'{one}'" for one in names)


def _rebuild(cls: type[WfnbError], args: tuple[Any, ...], state: dict[str, Any]) -> WfnbError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class WfnbError(Exception):
    """The root of every error wfnb raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a workflow: what, where and how to mend it.

    Args:
        message: what is wrong, with the wrong name in quotes.
        step: the id of the step it concerns, or "" for the workflow as a whole.
        where: the place in the source, such as "cell In[3], line 4", or "".
        cure: what to do next.
    """

    message: str
    step: str = ""
    where: str = ""
    cure: str = ""

    def __str__(self) -> str:
        step = f"step '{self.step}'" if self.step else "workflow"
        place = f" ({self.where})" if self.where else ""
        cure = f". {self.cure}" if self.cure else ""
        return f"{step}{place}: {self.message}{cure}"


class DefinitionError(WfnbError):
    """A workflow cannot run as it is written.

    Attributes:
        workflow: the workflow's name.
        problems: every problem found, in the order of the steps.
    """

    def __init__(self, workflow: str, problems: tuple[Problem, ...]) -> None:
        self.workflow = workflow
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"workflow '{workflow}' has {count}; nothing was started:\n{lines}")


class ReferenceMisuse(DefinitionError, TypeError):
    """A reference was used where Python needs the value at once (``if ref:``, ``for x in ref:``)."""


class ConfigurationError(WfnbError):
    """A setting, a URL or an option is wrong."""


class MissingDependency(ConfigurationError, ImportError):
    """An optional package is needed and not installed.

    Attributes:
        package: the package that could not be imported.
        extra: the extra of wfnb that brings it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{purpose} needs the package '{package}': pip install \"wfnb[{extra}]\"")


class TypeMismatch(WfnbError, TypeError):
    """A value does not fit the annotation of a node's parameter or result.

    Attributes:
        node: the node's name.
        port: the parameter's name, or "return" for the node's result.
    """

    def __init__(self, message: str, *, node: str, port: str) -> None:
        self.node = node
        self.port = port
        super().__init__(message)


class CaptureError(WfnbError):
    """A node's code cannot travel to a worker.

    Attributes:
        node: the node's name.
        variable: the captured variable at fault, or "" when it could not be singled out.
    """

    def __init__(self, message: str, *, node: str, variable: str = "") -> None:
        self.node = node
        self.variable = variable
        super().__init__(message)


class CacheWarning(UserWarning):
    """A node with ``cache=True`` cannot be fingerprinted and runs every time."""


class VersionWarning(UserWarning):
    """A worker has another version of a package than this process, in whose form values travel."""


class StoreError(WfnbError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached."""


class RunExists(StoreError):
    """A run with that id is already in the store."""


class RunNotFound(StoreError):
    """The store holds no run with that id."""


class EntryExists(StoreError):
    """The journal already holds an entry with that key.

    Attributes:
        key: the key of the entry that is already recorded.
    """

    def __init__(self, message: str, *, key: str) -> None:
        self.key = key
        super().__init__(message)


class StaleEpoch(StoreError):
    """A write was refused because its epoch is over: another driver has the run now."""


class RunHasDriver(StoreError):
    """The run already has a living driver.

    Attributes:
        owner: who drives it, as that driver named itself.
    """

    def __init__(self, message: str, *, owner: str) -> None:
        self.owner = owner
        super().__init__(message)


class ValueRefused(StoreError):
    """A stored value was refused before it was loaded: unsigned, forged or damaged."""


class RunError(WfnbError):
    """A run did not give a value.

    Attributes:
        run_id: the run's id.
    """

    def __init__(self, message: str, *, run_id: str = "") -> None:
        self.run_id = run_id
        super().__init__(message)


class StepFailed(RunError):
    """A task failed and its retries are used up; ``__cause__`` is the task's own error.

    Attributes:
        address: the address of the task, such as ``train[3]``.
        error_type: the name of the error's type.
        traceback: the traceback on the worker, without frames of wfnb.
    """

    def __init__(
        self, message: str, *, run_id: str = "", address: str = "", error_type: str = "", traceback: str = ""
    ) -> None:
        self.address = address
        self.error_type = error_type
        self.traceback = traceback
        super().__init__(message, run_id=run_id)


class RunCancelled(RunError):
    """The run was cancelled before it had a value."""


class RunInterrupted(RunError):
    """The run's driver is gone; ``wf.resume(run_id)`` continues it."""


class TaskTimeout(RunError, TimeoutError):
    """A task ran longer than its timeout."""


class WorkerDied(RunError):
    """Worker processes ended, again and again, while they ran a task: it crashes them or needs more memory than is."""


class NoCase(RunError):
    """No case of a switch fits, and it has no default."""


class LimitReached(RunError):
    """A loop, an each or a recursion went on longer than it may."""


class VariableConflict(RunError):
    """Branches that ran side by side set a variable to different values."""


class VariableNotSet(RunError):
    """A variable is used that was not set on the way that was taken."""
