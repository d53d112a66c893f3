"""What a run without a value raises: an error that says what, where, and how to go on."""

from __future__ import annotations

from pathlib import Path

import pytest

import wfnb as wf
from wfnb.engine.facts import AttemptView, TaskError, TaskView
from wfnb.failures import exception, failure
from wfnb.model.errors import ValueRefused
from wfnb.model.events import ErrorRecord
from wfnb.store.codec import Codec
from wfnb.store.keys import secret_key


def unknown(address: str) -> TaskView:
    raise KeyError(address)


@pytest.fixture(autouse=True)
def _secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path))


def test_a_failed_step_is_named_with_its_place_its_attempts_and_the_way_on() -> None:
    attempts = tuple(AttemptView(n, "failed", "w", 0.0, 1.0, ErrorRecord("ValueError", "no")) for n in (1, 2))
    task = TaskView("fit[2]", "fit", "fit", 2, "fit", "failed", attempts, where="cell In[3], line 4")
    error = failure("r", "failed", TaskError("fit[2]", "ValueError", "no"), lambda _: task, None)
    assert isinstance(error, wf.StepFailed)
    assert str(error).startswith("step 'fit[2]' (cell In[3], line 4) failed after 2 attempts: ValueError: no\n")
    assert "run.retry()" in str(error)
    assert (type(error.__cause__), str(error.__cause__)) == (RuntimeError, "ValueError: no")


def test_a_step_that_failed_as_a_whole_needs_no_task() -> None:
    error = failure("r", "failed", TaskError("each", "LoopLimit", "10"), unknown, None)
    assert str(error).startswith("step 'each' failed: LoopLimit: 10\n")
    assert error.__cause__ is None


def test_a_run_that_failed_with_no_step_to_blame_says_why() -> None:
    assert str(failure("r", "failed", TaskError("", "", "no room"), unknown, None)) == "run 'r' failed: no room"
    assert str(failure("r", "failed", None, unknown, None)) == "run 'r' failed: no reason was recorded"


def test_a_lost_driver_says_how_to_go_on_just_once() -> None:
    error = failure("r", "interrupted", None, unknown, OSError("gone"))
    assert str(error) == "run 'r' lost its driver: gone; wf.resume('r') continues it; what was finished is kept"
    told = TaskError("", "", "the cluster is gone: call wf.resume('r')")
    assert str(failure("r", "interrupted", told, unknown, None)).count("wf.resume") == 1


def test_a_cancelled_run_says_so() -> None:
    assert isinstance(failure("r", "cancelled", None, unknown, None), wf.RunCancelled)


def test_a_tasks_own_error_comes_back_with_its_traceback_on_the_worker() -> None:
    packed = Codec(secret_key()).dumps(ZeroDivisionError("by 0"))
    error = exception(ErrorRecord("ZeroDivisionError", "by 0", "line 1", packed))
    assert isinstance(error, ZeroDivisionError)
    assert error.__notes__ == ["\nOn the worker:\nline 1"]


def test_an_error_that_nobody_with_the_secret_has_signed_is_refused() -> None:
    forged = Codec(b"another secret").dumps(ValueError("no"))
    with pytest.raises(ValueRefused):
        exception(ErrorRecord("ValueError", "no", "", forged))
