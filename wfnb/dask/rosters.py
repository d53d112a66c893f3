"""Who the workers of a cluster are, and what they say of themselves. Imports asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from wfnb.dask.asking import threads_of, workers_of

PATIENCE = 15.0
"""Seconds a worker has for its answer: one that is busy with C code cannot answer meanwhile."""


class Roster(Protocol):
    """The workers of a cluster; every question raises OSError when the cluster is gone."""

    @property
    def address(self) -> str:
        """The scheduler's address."""
        ...

    def workers(self) -> list[str]:
        """Return the workers' addresses; raises TimeoutError."""
        ...

    def ask(self, workers: list[str], call: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Call a function on workers; return what it returned, or raised, by worker, without those that hang."""
        ...

    def offers(self) -> dict[str, Mapping[str, float]]:
        """Return the resources that each worker offers."""
        ...


class DaskRoster:
    """The workers of a cluster as a client of it hears of them.

    Args:
        client: connected to it.
        told: where the scheduler was asked for its workers already, its answer to come.
    """

    def __init__(self, client: Any, told: Future[Any] | None = None) -> None:
        self._client = client
        self._told = told

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return str(self._client.scheduler.address)

    def workers(self) -> list[str]:
        """Return the workers' addresses."""
        told, self._told = self._told, None
        return list(threads_of(self._client, PATIENCE) if told is None else told.result())

    def ask(self, workers: list[str], call: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Call a function on workers; see `Roster.ask`."""
        found: dict[str, Any] = self._client.sync(_answers, self._client, workers, call, args) if workers else {}
        return found

    def offers(self) -> dict[str, Mapping[str, float]]:
        """Return the resources that each worker offers."""
        return {worker: facts["resources"] for worker, facts in workers_of(self._client, PATIENCE).items()}


async def _answers(client: Any, workers: list[str], call: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Any]:
    """Ask each worker by itself, so that one that hangs holds up nobody; those without an answer are left out."""
    import asyncio

    tasks = {
        worker: asyncio.ensure_future(client.run(call, *args, workers=[worker], on_error="return"))
        for worker in workers
    }
    done, late = await asyncio.wait(tasks.values(), timeout=PATIENCE)
    for task in late:
        task.cancel()
    found: dict[str, Any] = {}
    for worker, task in tasks.items():
        if task in done:
            error = task.exception()
            found[worker] = error if error is not None else task.result().get(worker, OSError("it is gone"))
    return found
