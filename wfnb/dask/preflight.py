"""What is checked before anything is sent: whether the workers of a cluster can run a workflow. Imports store, model.

Each worker is asked once: what it answers does not change while it lives.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from wfnb.engine.lowered import Lowered
from wfnb.model.errors import ConfigurationError, StoreUnavailable, WfnbError
from wfnb.store.base import Store
from wfnb.store.urls import open_store


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


class Preflight:
    """What the workers of clusters have answered so far."""

    def __init__(self) -> None:
        self._checked: dict[tuple[str, str], frozenset[str]] = {}

    def check(self, client: Any, store: Store, graph: Lowered) -> None:
        """Make sure that the workers of a cluster can run a workflow.

        Args:
            client: a client of the cluster.
            store: the store of the run, which the workers must see.
            graph: the workflow, some worker must offer what each step asks for.

        Raises:
            ConfigurationError: the workers run another Python or wfnb, or none offers what a step asks for.
            StoreUnavailable: a worker cannot reach the store, or sees another.
        """
        self._ask(client, store)
        _check_resources(client, graph)

    def _ask(self, client: Any, store: Store) -> None:
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
