"""`Task`, the face of one task of a run. Imports debugging, store and engine facts; a run is what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wfnb.debugging import inputs_of, reproduce
from wfnb.engine.facts import AttemptView, LogRow, TaskView
from wfnb.failures import exception
from wfnb.store.codec import MISSING, Codec
from wfnb.store.keys import secret_key
from wfnb.store.shared import load_packs

if TYPE_CHECKING:
    from wfnb.run import Run


class Task:
    """One task of a run: what went in, what came out, what it said.

    Args:
        run: its run.
        address: its address.
        view: its state when it was asked for.
    """

    def __init__(self, run: Run, address: str, view: TaskView) -> None:
        self.run = run
        self.address = address
        self.status = view.status
        self.worker = view.worker
        self.attempts: tuple[AttemptView, ...] = view.attempts
        self._view = view

    @property
    def output(self) -> Any:
        """Its value, from the store.

        Raises:
            LookupError: it has none, or it was not kept.
        """
        if self._view.without:
            return None
        if not self._view.pack:
            raise LookupError(f"task '{self.address}' of run '{self.run.id}' has no value in the store: {self.status}")
        frames = load_packs(self.run.store, self.run.id, [self._view.pack])[self._view.pack]
        (value,) = Codec(secret_key()).decode_pack(frames, self._view.offset, self._view.offset + 1)
        if value is MISSING:
            raise LookupError(f"task '{self.address}' of run '{self.run.id}' has no value in the store")
        return value

    @property
    def inputs(self) -> dict[str, Any]:
        """What its node is given, by parameter, made again from the store.

        Raises:
            LookupError: a step before it has no value.
            StoreError: the value of a step before it was not kept.
        """
        return inputs_of(self.run._case(self._view))

    def reproduce(self) -> Any:
        """Call its function here, with its real inputs, and return the value; what it raises, ``%debug`` steps into.

        The function is the one that `Run.retry` would use; else what has its name in this process; else the one kept
        with the run. It says which. Nothing is written to the run.

        Raises:
            LookupError: a step before it has no value.
            StoreError: the value of a step before it was not kept.
        """
        __tracebackhide__ = True
        return reproduce(self.run._case(self._view))

    @property
    def error(self) -> BaseException | None:
        """The error of its last attempt, with its own type, or None."""
        return exception(self._view.error)

    @property
    def logs(self) -> list[LogRow]:
        """What it printed and logged."""
        return self.run.logs(self.address)

    def __repr__(self) -> str:
        worker = f" on worker {self.worker}" if self.worker else ""
        return f"<task '{self.address}' of run '{self.run.id}': {self.status}{worker}, attempts: {len(self.attempts)}>"
