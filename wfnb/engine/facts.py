"""What a run looks like at one moment, as frozen records; every view draws these and nothing else. Imports model."""

from __future__ import annotations

from dataclasses import dataclass, field

from wfnb.model.events import ErrorRecord


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tasks are in each status; `retrying` are tasks that wait for their next attempt."""

    pending: int = 0
    running: int = 0
    retrying: int = 0
    completed: int = 0
    cached: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0

    @property
    def done(self) -> int:
        """Tasks that have a value."""
        return self.completed + self.cached

    @property
    def total(self) -> int:
        """All tasks counted."""
        return self.done + self.pending + self.running + self.retrying + self.failed + self.skipped + self.cancelled


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a run as a picture needs it.

    Args:
        id: the step's id.
        node: the name of its node.
        kind: "task", "map" or "expand", or which construct it is.
        group: the id of the construct it is inside of, or "".
        uses: the ids of the steps it needs.
        where: the place in the source it was written, or "".
        width: how many tasks it has, or None while that is not known.
        counts: its tasks by status; a step of unknown width counts the tasks seen so far.
        status: one word for the step as a whole, a task status or "retrying".
        started: when its first task began, seconds since the epoch, or None.
        ended: when its last task ended, once all are over, or None.
        mean: the mean seconds of a completed task, or None.
        workers: how many workers have run its tasks.
        attempts: how many attempts have an outcome.
        progress: how far its only running task says it is, 0 to 1, or None.
        message: what a running task says it is doing, or "".
        reset: why its earlier outcomes were dropped, or "".
        arm: which of its group's bodies it is in: "[]" an item's, "*" an iteration's, else the body's name, such as
            "case_1" or "finally"; "" where there is only one.
        helper: whether the engine put it there: a decision, or a value that is used as a whole.
        unused: why a step that never began has not run: "skipped" (its condition was false), "not taken", "not
            needed", "not begun" (the run ended before); "" otherwise.
        construct: whether it is made of other steps; its counts are theirs.
        times: how many items or iterations a construct has had or is known to have, or None.
        taken: the bodies of a switch or a try that were begun, by name.
        labels: what the bodies of a switch or a try are for, as (name, text), where that is known.
        after: the ids of steps it comes after although it does not use them.
    """

    id: str
    node: str
    kind: str
    group: str = ""
    uses: tuple[str, ...] = ()
    where: str = ""
    width: int | None = 1
    counts: Counts = field(default_factory=Counts)
    status: str = "pending"
    started: float | None = None
    ended: float | None = None
    mean: float | None = None
    workers: int = 0
    attempts: int = 0
    progress: float | None = None
    message: str = ""
    reset: str = ""
    arm: str = ""
    helper: bool = False
    unused: str = ""
    construct: bool = False
    times: int | None = None
    taken: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    after: tuple[str, ...] = ()

    @property
    def fan_out(self) -> bool:
        """Whether it has elements."""
        return self.kind != "task" and not self.construct

    @property
    def many(self) -> bool:
        """Whether it may have more than one task: a fan-out, a construct, or a step of a body that is repeated."""
        return self.kind != "task" or "[]" in self.id or ".*" in self.id


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a run failed: the task's address ("" when no task is to blame), and its error."""

    address: str
    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class RunView:
    """One run as a picture needs it.

    Args:
        run_id: the run's id.
        workflow: the workflow's name.
        status: the run's status.
        created: when it was created, seconds since the epoch, or None.
        started: when a driver first took it up, likewise.
        ended: when it ended, or None.
        now: when this picture was taken.
        steps: its steps, each after those it needs, a construct before those inside of it.
        counts: its tasks by status; helpers are no tasks of their own, but count where they fail.
        total: how many tasks it has, or None while a width is not known.
        rate: tasks completed a second in the recent past, or over the whole run once it ended; None when unknown.
        eta: seconds until it is done by the durations measured so far, or None.
        eta_is_floor: whether steps that were never measured come on top of `eta`.
        workers: how many workers have recorded outcomes.
        asked: "cancel" when a cancel was asked for and the run has not ended, else "".
        waiting: what the whole run waits for, such as "the cluster has no workers", or "".
        error: why it failed, or None.
        drivers: how often a driver took it up.
        away: why the store does not say how the run is now, so that this is the last that is known of it, or "".
        nbytes: about how many bytes the store keeps of it, or None where nobody has asked.
    """

    run_id: str
    workflow: str
    status: str
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    now: float = 0.0
    steps: tuple[StepView, ...] = ()
    counts: Counts = field(default_factory=Counts)
    total: int | None = None
    rate: float | None = None
    eta: float | None = None
    eta_is_floor: bool = False
    workers: int = 0
    asked: str = ""
    waiting: str = ""
    error: TaskError | None = None
    drivers: int = 0
    away: str = ""
    nbytes: int | None = None

    @property
    def done(self) -> int:
        """How many tasks have a value."""
        return self.counts.done

    @property
    def failed(self) -> int:
        """How many tasks failed for good."""
        return self.counts.failed

    @property
    def running(self) -> int:
        """How many tasks are known to run."""
        return self.counts.running

    @property
    def cached(self) -> int:
        """How many tasks were answered from the store."""
        return self.counts.cached

    @property
    def over(self) -> bool:
        """Whether nothing more happens unless somebody resumes or retries it."""
        return self.status in ("completed", "failed", "cancelled", "interrupted")

    @property
    def elapsed(self) -> float | None:
        """Seconds from the start to the end, or to now; None before it started."""
        if self.started is None:
            return None
        return max(0.0, (self.now if self.ended is None else self.ended) - self.started)


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt at a task: its number, status ("running" while it has no outcome), worker, times and error.

    A task that was cancelled while it ran has an error too: it says how it was stopped.
    """

    attempt: int
    status: str
    worker: str
    start: float
    end: float | None = None
    error: ErrorRecord | None = None

    @property
    def stopped(self) -> str:
        """What stopped it: "token", "exception" (in its thread), "process" (its worker process was ended), or ""."""
        return "" if self.error is None else self.error.stopped


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task.

    Args:
        address: its address.
        step: the id of its step in this run, such as ``refine.2/fit``.
        template: the id of the step as it is written: ``refine.*/fit``.
        index: its element, 0 for a task.
        node: the name of its node.
        status: its status; "retrying" while it waits for its next attempt.
        attempts: its attempts in the order they were recorded.
        pack: the key of the pack that holds its value, or "".
        offset: the value's place in the pack.
        without: whether it has a value, None, although it did nothing: its condition was false, or it failed and its
            step goes on after errors.
        progress: how far it says it is, 0 to 1, or None.
        message: what it says it is doing.
        where: the place in the source its step was written.
    """

    address: str
    step: str
    template: str
    index: int
    node: str
    status: str
    attempts: tuple[AttemptView, ...] = ()
    pack: str = ""
    offset: int = 0
    without: bool = False
    progress: float | None = None
    message: str = ""
    where: str = ""

    @property
    def error(self) -> ErrorRecord | None:
        """The error of its last attempt, or None."""
        return self.attempts[-1].error if self.attempts else None

    @property
    def worker(self) -> str:
        """The worker of its last attempt, or ""."""
        return self.attempts[-1].worker if self.attempts else ""

    @property
    def start(self) -> float | None:
        """When its last attempt began, seconds since the epoch, or None."""
        return self.attempts[-1].start if self.attempts else None

    @property
    def end(self) -> float | None:
        """When its last attempt ended, seconds since the epoch, or None."""
        return self.attempts[-1].end if self.attempts else None


@dataclass(frozen=True, slots=True)
class LogRow:
    """One thing a task printed or logged; `time` is seconds since the epoch."""

    address: str
    attempt: int
    time: float
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the values of a step's tasks are.

    Args:
        many: whether the step has elements, so that its value is the list of theirs.
        element: whether one element of an array was asked for.
        places: each task's pack ("" when its value was not kept) and the place in it, -1 for the value None of a task
            that did nothing; None for a task without a value.
    """

    many: bool
    element: bool
    places: list[tuple[str, int] | None]
