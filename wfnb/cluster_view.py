"""`wf.cluster()`: the cluster that runs are computed on, as a person sees and steers it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from wfnb.dask.asking import ask, workers_of
from wfnb.dask.shared import STEER, fix_size
from wfnb.model.errors import ConfigurationError
from wfnb.views.table import lines, table

PATIENCE = 30.0
"""Seconds the scheduler has for an answer: the first link to its dashboard takes some."""
HEAD = ("worker", "address", "threads", "memory", "tasks")


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the scheduler sees it.

    Args:
        name: what the trace calls it.
        address: where it listens.
        threads: how many tasks it runs at once.
        memory: bytes it uses.
        memory_limit: bytes it may use; 0 for no limit.
        tasks: how many Dask tasks it is running.
    """

    name: str
    address: str
    threads: int
    memory: int
    memory_limit: int
    tasks: int


class ClusterView:
    """A Dask cluster: its workers, its dashboard, and its size; made by `wfnb.cluster`.

    Args:
        client: connected to it.
        local: whether it is the local cluster that wfnb has started.

    Attributes:
        address: the scheduler's address.
        local: whether wfnb has started it.
    """

    def __init__(self, client: Any, *, local: bool) -> None:
        self._client = client
        self.address = str(client.scheduler.address)
        self.local = local
        self._silent = False

    @property
    def dashboard(self) -> str:
        """The link to Dask's dashboard; without bokeh, to Dask's plain pages; "" when there is none."""
        if self.ended:
            return ""
        link = str(self._client.dashboard_link or "")
        if self.local and not self._steer("draw"):
            return link.removesuffix("status") + "info/main/workers.html"
        return link

    @property
    def workers(self) -> list[WorkerView]:
        """Its workers, by name; none when it has ended."""
        if self.ended:
            return []
        with self._answering():
            known = workers_of(self._client, PATIENCE)
        found = [
            WorkerView(
                name=str(facts["name"]),
                address=address,
                threads=int(facts["nthreads"]),
                memory=int(facts["metrics"].get("memory", 0)),
                memory_limit=int(facts["memory_limit"] or 0),
                tasks=int(facts["metrics"].get("executing", 0)),  # a new worker has not said yet
            )
            for address, facts in known.items()
        ]
        return sorted(found, key=lambda worker: (len(worker.name), worker.name))

    @property
    def ended(self) -> bool:
        """Whether it was ended, or cannot be reached any more."""
        return bool(self._client.status != "running")

    def scale(self, n: int) -> None:
        """Set the number of workers; tasks of those that go are run by others.

        Raises:
            ConfigurationError: the number will not do, the cluster has ended, or belongs to somebody else.
        """
        if not _is_count(n):
            raise ConfigurationError(f"a cluster cannot be scaled to {n!r} workers: give a whole number, at least 0")
        self._steer("scale", n)

    def adapt(self, minimum: int, maximum: int) -> None:
        """Let the number of workers follow what there is to do.

        Args:
            minimum: at least so many.
            maximum: at most so many.

        Raises:
            ConfigurationError: the numbers will not do, the cluster has ended, or belongs to somebody else.
        """
        if not (_is_count(minimum) and _is_count(maximum) and 1 <= maximum >= minimum):
            raise ConfigurationError(
                f"a cluster cannot have from {minimum!r} to {maximum!r} workers: give whole numbers, "
                "the first at least 0, the second at least 1 and no less than the first"
            )
        self._steer("adapt", minimum, maximum)

    def close(self) -> None:
        """End the local cluster; runs on it are interrupted, and the next one starts another.

        Raises:
            ConfigurationError: the cluster belongs to somebody else.
        """
        if self.local and self.ended:
            return
        self._steer("close")
        self._client.close()  # or it would look for the scheduler, and complain

    def _steer(self, what: str, n: int = 0, most: int = 0) -> bool:
        if self.ended:
            raise ConfigurationError(
                f"the cluster at '{self.address}' has ended; wf.cluster() shows the one there is now"
            )
        if self.local:
            with self._answering():
                steer = getattr(self._client.scheduler, STEER)
                return bool(ask(self._client, steer, what=what, n=n, most=most, within=PATIENCE))
        cluster = getattr(self._client, "cluster", None)
        if cluster is None or what == "close":
            raise ConfigurationError(
                f"the cluster at '{self.address}' was not started by wfnb: {what} it where it was started"
            )
        if what == "adapt":
            cluster.adapt(minimum=n, maximum=most)
        else:
            fix_size(cluster, n)
        return True

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
            self._silent = False
        except TimeoutError as error:
            self._silent = True
            raise ConfigurationError(
                f"the scheduler at '{self.address}' does not answer within {PATIENCE:g} s"
            ) from error

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                worker.name,
                worker.address,
                str(worker.threads),
                f"{worker.memory / 2**20:,.0f} of {worker.memory_limit / 2**20:,.0f} MiB",
                str(worker.tasks),
            )
            for worker in self.workers
        ]

    def _title(self) -> str:
        state = ", ended" if self.ended else ", does not answer" if self._silent else ""
        return f"{'local cluster' if self.local else 'cluster'} at {self.address}{state}"

    def _shown(self) -> tuple[str, list[tuple[str, ...]]] | None:
        """Return the link to the dashboard and the workers, or None where they cannot be had."""
        try:
            return None if self.ended else (self.dashboard, self._rows())
        except ConfigurationError:
            return None

    def __repr__(self) -> str:
        shown = self._shown()
        if shown is None:
            return self._title()
        dashboard = f"\ndashboard: {shown[0]}" if shown[0] else ""
        return f"{self._title()}{dashboard}\n{lines(HEAD, shown[1])}"

    def _repr_html_(self) -> str:
        shown = self._shown()
        if shown is None:
            return f"<div><b>{escape(self._title())}</b></div>"
        link, rows = shown
        dashboard = f' · <a href="{escape(link)}" target="_blank">dashboard</a>' if link else ""
        return f"<div><b>{escape(self._title())}</b>{dashboard}</div>{table(HEAD, rows)}"


def _is_count(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 0
