"""Errors survive pickling with all their fields, and say what to do next."""

from __future__ import annotations

import pickle

import cloudpickle
import pytest

from wfnb.model import errors
from wfnb.model.errors import (
    CaptureError,
    ConfigurationError,
    DefinitionError,
    EntryExists,
    LimitReached,
    MissingDependency,
    NoCase,
    Problem,
    ReferenceMisuse,
    RunCancelled,
    RunError,
    RunExists,
    RunHasDriver,
    RunInterrupted,
    RunNotFound,
    StaleEpoch,
    StepFailed,
    StoreError,
    StoreUnavailable,
    TaskTimeout,
    TypeMismatch,
    ValueRefused,
    VariableConflict,
    VariableNotSet,
    WfnbError,
    WorkerDied,
    did_you_mean,
)

PROBLEM = Problem("'x' is wrong", "load", "cell In[3], line 4", "Mend it")
EXAMPLES: list[WfnbError] = [
    WfnbError("text"),
    DefinitionError("flow", (PROBLEM,)),
    ReferenceMisuse("flow", (PROBLEM, PROBLEM)),
    ConfigurationError("text"),
    MissingDependency("redis", "redis", "a Redis store"),
    TypeMismatch("text", node="train", port="depth"),
    CaptureError("text", node="train", variable="client"),
    StoreError("text"),
    StoreUnavailable("text"),
    RunExists("text"),
    RunNotFound("text"),
    EntryExists("text", key="k"),
    StaleEpoch("text"),
    RunHasDriver("text", owner="kernel"),
    ValueRefused("text"),
    RunError("text", run_id="r"),
    StepFailed("text", run_id="r", address="a[1]", error_type="ValueError", traceback="tb"),
    RunCancelled("text", run_id="r"),
    RunInterrupted("text", run_id="r"),
    TaskTimeout("text", run_id="r"),
    WorkerDied("text", run_id="r"),
    NoCase("text", run_id="r"),
    LimitReached("text", run_id="r"),
    VariableConflict("text", run_id="r"),
    VariableNotSet("text", run_id="r"),
]


def every_error() -> set[type]:
    return {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, WfnbError)}


def test_every_error_has_an_example_here() -> None:
    assert {type(error) for error in EXAMPLES} == every_error()


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_an_error_survives_pickling_with_its_fields(error: WfnbError, pickler: object) -> None:
    error.add_note("a note")
    again = pickle.loads(pickler.dumps(error))  # type: ignore[attr-defined]
    assert type(again) is type(error)
    assert str(again) == str(error) != ""
    assert again.args == error.args
    assert vars(again) == vars(error)
    assert "a note" in again.__notes__


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (ReferenceMisuse, TypeError),
        (TypeMismatch, TypeError),
        (MissingDependency, ImportError),
        (TaskTimeout, TimeoutError),
    ],
)
def test_an_error_is_also_what_python_would_raise(error: type, base: type) -> None:
    assert issubclass(error, base)


def test_every_error_says_what_it_is() -> None:
    assert all(cls.__doc__ for cls in every_error())


def test_every_error_stands_in_the_tree_on_top_of_the_file() -> None:
    for cls in every_error():
        assert cls.__name__ in (errors.__doc__ or "")


def test_a_definition_error_lists_every_problem_with_place_and_cure() -> None:
    assert str(DefinitionError("flow", (PROBLEM, Problem("no steps")))) == (
        "workflow 'flow' has 2 problems; nothing was started:\n"
        "  - step 'load' (cell In[3], line 4): 'x' is wrong. Mend it\n"
        "  - workflow: no steps"
    )


def test_a_missing_dependency_says_what_to_install() -> None:
    assert 'pip install "wfnb[redis]"' in str(MissingDependency("redis", "redis", "a Redis store"))


def test_the_nearest_name_is_offered_or_all_of_them() -> None:
    assert did_you_mean("depht", ["depth", "rate"]) == "Did you mean 'depth'?"
    assert did_you_mean("zzz", ["depth", "rate"]) == "Known: 'depth', 'rate'"
    assert did_you_mean("zzz", []) == "There is none to choose from"
