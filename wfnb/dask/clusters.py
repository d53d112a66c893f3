"""Which cluster a run is computed on, and whether its workers can do it. Imports executor, local and store.

In this order: what the run's options say, what `wfnb.configure` said, ``WFNB_CLUSTER``, the active Dask client, else a
local cluster that starts by itself.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from wfnb.dask.executor import DaskExecutor, Executor, InlineExecutor
from wfnb.dask.local import LocalCluster
from wfnb.engine.lowered import Lowered
from wfnb.model.errors import ConfigurationError, StoreUnavailable, WfnbError, did_you_mean
from wfnb.store.base import Store
from wfnb.store.urls import open_store

NAMES = ("local", "inline")
CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a scheduler."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a worker says of itself: the identity of the store it sees (or why it sees none), and its versions."""

    identity: str
    problem: str
    python: str
    wfnb: str


def look(url: str) -> Check:
    """Say what this process sees; run on every worker before the first bundle."""
    identity = problem = ""
    try:
        identity = open_store(url).identity()
    except WfnbError as error:
        problem = str(error)
    return Check(identity, problem, python_version(), version("wfnb"))


def python_version() -> str:
    """Return the version of Python as far as pickled code depends on it, such as "3.11"."""
    return ".".join(platform.python_version_tuple()[:2])


class Clusters:
    """The clusters this process uses, each connected to once."""

    def __init__(self) -> None:
        self._configured: Any = None
        self._local: LocalCluster | None = None
        self._clients: dict[Any, Any] = {}
        self._checked: dict[tuple[str, str], frozenset[str]] = {}
        self._lock = threading.RLock()

    def configure(self, cluster: Any) -> None:
        """Set the cluster runs use unless their options say otherwise; raises ConfigurationError."""
        _known(cluster)
        self._configured = cluster

    def prepare(self, choice: Any) -> Any:
        """Return which cluster will be used, and begin to start it if it is the local one.

        Starting takes a second; whoever calls this early does other work meanwhile.
        """
        cluster = choice if choice is not None else self._configured
        if cluster is None:
            cluster = os.environ.get("WFNB_CLUSTER") or _active_client() or "local"
        _known(cluster)
        if cluster == "local":
            with self._lock:
                if self._local is None or not self._local.alive:
                    self._local = LocalCluster()
        return cluster

    def executor(self, cluster: Any, store: Store, graph: Lowered, rank: int) -> Executor:
        """Return an executor on a prepared cluster, having made sure that its workers can run the workflow.

        Args:
            cluster: what `prepare` returned.
            store: the store of the run, which the workers must see.
            graph: the workflow, some worker must offer what each step asks for.
            rank: the run's priority, 1 (first) to 20 (last).

        Raises:
            ConfigurationError: the cluster cannot be reached, its workers run another Python or wfnb, or none offers
                what a step asks for.
            StoreUnavailable: a worker cannot reach the store, or sees another.
        """
        if cluster == "inline":
            store.identity()
            return InlineExecutor()
        client = self.client(cluster)
        self._check(client, store)
        _check_resources(client, graph)
        return DaskExecutor(client, rank)

    def client(self, cluster: Any) -> Any:
        """Return a client connected to a prepared cluster."""
        with self._lock:
            address = cluster
            if cluster == "local":
                assert self._local is not None  # noqa: S101  `prepare` made it
                address = self._local.wait()
            from distributed import Client

            connect: Any = Client

            if isinstance(cluster, Client):
                if cluster.asynchronous:
                    raise ConfigurationError(
                        "the Dask client is asynchronous; make it with Client(...) instead of await Client(...)"
                    )
                return cluster
            key = address if isinstance(address, str) else id(address)
            client = self._clients.get(key)
            if client is None or client.status != "running":
                try:
                    client = connect(address, set_as_default=False, timeout=CONNECT_TIMEOUT)
                except OSError as error:
                    raise ConfigurationError(
                        f"no Dask scheduler answers at '{address}': {error}; start it, or mend the address"
                    ) from error
                self._clients[key] = client
            return client

    def _check(self, client: Any, store: Store) -> None:
        workers: frozenset[str] = frozenset(client.nthreads())
        key = (str(client.scheduler.address), store.url)
        known = self._checked.get(key, frozenset())
        if workers <= known:
            return
        own = store.identity()
        answers = client.run(look, store.url, workers=sorted(workers - known), on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, OSError):
                workers -= {worker}  # it is gone meanwhile; the one that takes its place is looked at next time
                continue
            if isinstance(answer, ModuleNotFoundError):
                raise ConfigurationError(
                    f"the workers of the cluster lack a package: {answer}; install wfnb, with the extras used here, on "
                    "them"
                ) from answer
            if isinstance(answer, BaseException):
                raise answer
            _compare(worker, answer, own, store)
        self._checked[key] = known | workers


def _compare(worker: str, check: Check, own: str, store: Store) -> None:
    if check.python != python_version() or check.wfnb != version("wfnb"):
        raise ConfigurationError(
            f"worker '{worker}' runs Python {check.python} with wfnb {check.wfnb}, this process Python "
            f"{python_version()} with wfnb {version('wfnb')}; code cannot travel between them: use one environment"
        )
    if check.problem:
        raise StoreUnavailable(
            f"worker '{worker}' cannot reach the store {store.place}: {check.problem}. "
            "Workers write there themselves: give an address that they can reach too"
        )
    if check.identity != own:
        raise StoreUnavailable(
            f"worker '{worker}' sees another store under {store.place} than this process does, because that is a place "
            "of one machine or process; use a store that all reach, such as redis://..., or cluster='inline'"
        )


def _check_resources(client: Any, graph: Lowered) -> None:
    """Raise ConfigurationError when a step asks for what no worker offers: it would wait for ever."""
    asking = [step for step in graph.steps if step.node.policy.resources]
    if not asking:
        return
    offers = [worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    for step in asking:
        wanted = step.node.policy.resources
        if not any(all(offer.get(name, 0) >= amount for name, amount in wanted.items()) for offer in offers):
            where = f" ({step.where})" if step.where else ""
            raise ConfigurationError(
                f"step '{step.id}'{where} asks for {dict(wanted)}, which none of the {len(offers)} workers offers; "
                "start workers with --resources, or take it out of the node's resources"
            )


def _known(cluster: Any) -> None:
    if isinstance(cluster, str) and cluster not in NAMES and "://" not in cluster:
        raise ConfigurationError(
            f"there is no cluster '{cluster}': give the address of a scheduler (tcp://host:8786), a Dask client or "
            f"cluster, 'local' or 'inline'. {did_you_mean(cluster, NAMES)}"
        )


def _active_client() -> Any:
    """The Dask client of this process, when there is one; Dask is not imported to find out."""
    if "distributed" not in sys.modules:
        return None
    import distributed

    find: Any = distributed.default_client

    try:
        return find()
    except ValueError:
        return None
