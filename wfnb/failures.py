"""What a run without a value raises, made of what its journal says. Imports model, engine.facts and store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wfnb.model.errors import RunCancelled, RunError, RunInterrupted, StepFailed, StoreError, ValueRefused
from wfnb.model.events import ErrorRecord
from wfnb.store.codec import Codec
from wfnb.store.keys import secret_key

if TYPE_CHECKING:
    from wfnb.engine.facts import TaskError, TaskView


def failure(
    run_id: str, status: str, told: TaskError | None, task: Callable[[str], TaskView], driver: BaseException | None
) -> RunError:
    """Return the error of a run that is over and has no value.

    Args:
        run_id: the run's id.
        status: its status: "failed", "cancelled", or any other where its driver is gone.
        told: why it failed, as its picture says, or None.
        task: gives a task by its address, or raises KeyError.
        driver: why its driver gave up, where that was in this process, or None.
    """
    resume = f"wf.resume('{run_id}') continues it; what was finished is kept"
    if status == "cancelled":
        return RunCancelled(f"run '{run_id}' was cancelled; {resume}", run_id=run_id)
    if status != "failed":
        reason = driver or (told.message if told else "")
        why = f": {reason}" if reason else ""
        on = "" if "wf.resume(" in why else f"; {resume}"
        found = RunInterrupted(f"run '{run_id}' lost its driver{why}{on}", run_id=run_id)
        found.__cause__ = driver
        return found
    if told is None or not told.address:
        return RunError(f"run '{run_id}' failed: {told.message if told else 'no reason was recorded'}", run_id=run_id)
    return _step_failed(run_id, told, task)


def _step_failed(run_id: str, told: TaskError, task: Callable[[str], TaskView]) -> StepFailed:
    try:
        view = task(told.address)
        where = f" ({view.where})" if view.where else ""
        record, attempts = view.error, len(view.attempts)
    except KeyError:  # the failure is of a step as a whole
        where, record, attempts = "", None, 0
    tried = f" after {attempts} attempts" if attempts > 1 else ""
    step = StepFailed(
        f"step '{told.address}'{where} failed{tried}: {told.type}: {told.message}\n"
        f"What was finished is kept. Mend it and go on with run.retry(), or wf.get_run('{run_id}').retry()",
        run_id=run_id,
        address=told.address,
        error_type=told.type,
        traceback=told.traceback,
    )
    step.__cause__ = exception(record)
    return step


def exception(record: ErrorRecord | None) -> BaseException | None:
    """Return a task's own error, with its traceback on the worker as a note.

    Raises:
        ValueRefused: it is not signed by who has the secret.
    """
    if record is None:
        return None
    error: BaseException | None = None
    if record.exception:
        try:
            error = Codec(secret_key()).loads(record.exception)
        except StoreError as refused:
            if isinstance(refused, ValueRefused):
                raise
            error = None  # its type is not to be had here: its name and text still are
    if not isinstance(error, BaseException):
        error = RuntimeError(f"{record.type}: {record.message}")
    if record.traceback:
        error.add_note(f"\nOn the worker:\n{record.traceback}")
    return error
