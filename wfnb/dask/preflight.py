"""What is checked before anything is sent: whether the workers of a cluster can run a workflow. Imports store, model.

Each worker is asked once for what it has, and once for each module that code needs; only what was wrong is asked for
again. Everything wrong is told in one error.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import platform
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from wfnb.authoring.fingerprint import Fingerprint
from wfnb.authoring.prints import callers_level
from wfnb.dask.rosters import PATIENCE, Roster
from wfnb.engine.lowered import Lowered
from wfnb.model.errors import ConfigurationError, StoreUnavailable, VersionWarning, WfnbError
from wfnb.model.graph import Step
from wfnb.store.base import Store
from wfnb.store.urls import open_store

FORGIVEN = 60.0
"""Seconds after which a worker that gave no answer is asked again."""
PACKAGES = ("cloudpickle", "dask", "distributed", "msgpack", "numpy", "pandas", "pydantic")
"""Packages whose versions are compared: code and values travel in their forms."""
_FORMS = ("cloudpickle", "msgpack", "pydantic")
"""Of these another major version cannot read what this one writes, whatever a workflow uses."""
_DATED = ("dask", "distributed")
"""These are numbered by date, so that another major version only means another year."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a worker says of itself.

    Args:
        identity: the identity of the store it sees, or "".
        problem: why it sees none, or "".
        python: its version of Python.
        wfnb: its version of wfnb.
        versions: its versions of other packages, by name.
        modules: the modules that it has, of those it was asked for.
        missing: those of them that it does not have.
    """

    identity: str
    problem: str
    python: str
    wfnb: str
    versions: Mapping[str, str] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()


def look(url: str, modules: Iterable[str] = ()) -> Check:
    """Say what this process sees and has; run on every worker before the first bundle."""
    identity = problem = ""
    try:
        identity = open_store(url).identity()
    except WfnbError as error:
        problem = str(error)
    asked = frozenset(modules)
    importlib.invalidate_caches()  # it may have been installed since
    missing = frozenset(name for name in asked if not _is_there(name))
    wfnb = importlib.metadata.version("wfnb")
    return Check(identity, problem, python_version(), wfnb, versions(), asked - missing, missing)


def _is_there(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def python_version() -> str:
    """Return the version of Python as far as pickled code depends on it, such as "3.11"."""
    return ".".join(platform.python_version_tuple()[:2])


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that matter and are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class Preflight:
    """What the workers of clusters have answered so far."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, Check]] = {}
        self._silent: dict[tuple[str, str], float] = {}

    def check(
        self,
        roster: Roster,
        store: Store,
        graph: Lowered,
        nodes: Mapping[int, Fingerprint] | None = None,
    ) -> None:
        """Make sure that the workers of a cluster can run a workflow.

        Args:
            roster: the workers of the cluster.
            store: the store of the run, which the workers must see.
            graph: the workflow, some worker must offer what each step asks for.
            nodes: the fingerprints of its nodes, by the node's `id`: they say which modules the code needs.

        Raises:
            ConfigurationError: the workers run another Python or wfnb, lack a module, or none offers what a step asks
                for.
            StoreUnavailable: a worker cannot reach the store, or sees another.
        """
        needs = {id(step.node): nodes[id(step.node)].libraries for step in graph.steps} if nodes else {}
        asking = [step for step in graph.steps if step.node.policy.resources]
        used = frozenset[str]().union(*needs.values())
        found = _Problems(graph.name)
        known, fresh = self._ask(roster, store, used, found)
        checks = dict(known)
        own = store.identity() if fresh else ""
        for worker, check in fresh.items():
            if not _compare(worker, check, own, store, used, found):
                del known[worker]  # it may be mended until it is asked again
        offers = roster.offers() if asking else {}
        for step in asking:
            _check_resources(step, offers, found)
        for step in graph.steps:
            _check_modules(step, needs.get(id(step.node), frozenset()), checks, offers, found)
        found.tell()

    def _ask(
        self, roster: Roster, store: Store, modules: frozenset[str], found: _Problems
    ) -> tuple[dict[str, Check], dict[str, Check]]:
        """Return what the workers have said, and of that what those said that were asked for the first time."""
        try:
            workers = roster.workers()
        except TimeoutError as error:
            raise ConfigurationError(
                f"the scheduler at '{roster.address}' does not answer within {PATIENCE:g} s; wait for it, or "
                "connect to another cluster by wf.configure(cluster=...)"
            ) from error
        scheduler = roster.address
        known = self._known.setdefault((scheduler, store.url), {})
        for gone in known.keys() - set(workers):
            del known[gone]
        now = time.monotonic()
        asked = [
            worker
            for worker in workers
            if (worker not in known or not modules <= known[worker].modules)
            and now - self._silent.get((scheduler, worker), -FORGIVEN) >= FORGIVEN
        ]
        answers = roster.ask(asked, look, store.url, sorted(modules))
        fresh: dict[str, Check] = {}
        for worker in asked:
            answer = answers.get(worker)
            if isinstance(answer, OSError):
                continue  # it is gone meanwhile; the one that takes its place is looked at next time
            if isinstance(answer, ModuleNotFoundError):
                found.add(
                    f"a package is missing: {answer}; install wfnb, with the extras used here, where the workers run",
                    worker,
                )
            elif isinstance(answer, BaseException):
                raise answer
            elif answer is None:
                self._silent[scheduler, worker] = time.monotonic()
            else:
                before = known.get(worker)
                if before is None:
                    fresh[worker] = answer
                known[worker] = answer if before is None else _joined(before, answer)
        if asked and not known and not found and all(answers.get(worker) is None for worker in asked):
            raise ConfigurationError(
                f"none of the {len(asked)} workers of the cluster {scheduler} answers within {PATIENCE:g} s: they "
                "hang, or are busy with code that lets nothing else run. Wait for it, or restart them"
            )
        return known, fresh


def _joined(before: Check, now: Check) -> Check:
    return replace(before, modules=before.modules | now.modules, missing=(before.missing - now.modules) | now.missing)


# -- what is wrong -----------------------------------------------------------------------------------------------------


class _Problems:
    """What is wrong with a cluster, each thing with the workers it is wrong with."""

    def __init__(self, workflow: str) -> None:
        self.workflow = workflow
        self._found: dict[tuple[str, type[WfnbError]], list[str]] = {}
        self._odd: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def add(self, text: str, worker: str = "", kind: type[WfnbError] = ConfigurationError) -> None:
        """Take note of a problem."""
        self._found.setdefault((text, kind), []).append(worker)

    def warn(self, text: str, worker: str) -> None:
        """Take note of what may become a problem."""
        self._odd.setdefault(text, []).append(worker)

    def tell(self) -> None:
        """Raise one error that says all; else warn of what may become a problem."""
        texts = [f"{_named(workers)}{text}" for (text, _), workers in self._found.items()]
        kinds = {kind for _, kind in self._found}
        if len(texts) == 1:
            raise kinds.pop()(texts[0])
        if texts:
            lines = "\n".join(f"  - {text}" for text in texts)
            kind = StoreUnavailable if kinds == {StoreUnavailable} else ConfigurationError
            raise kind(f"the cluster cannot run workflow '{self.workflow}'; nothing was started:\n{lines}")
        for text, workers in self._odd.items():
            warnings.warn(f"{_named(workers)}{text}", VersionWarning, stacklevel=callers_level())


def _named(workers: list[str]) -> str:
    first, *rest = workers
    more = f" and {len(rest)} more" if rest else ""
    return f"worker '{first}'{more}: " if first else ""


def _compare(worker: str, check: Check, own: str, store: Store, used: frozenset[str], found: _Problems) -> bool:
    """Take note of what is wrong with a worker; return whether nothing is."""
    before = len(found)
    here = importlib.metadata.version("wfnb")
    if check.python != python_version() or check.wfnb != here:
        found.add(
            f"it runs Python {check.python} with wfnb {check.wfnb}, this process Python {python_version()} with wfnb "
            f"{here}; code cannot travel between them: use one environment",
            worker,
        )
    if check.problem:
        found.add(
            f"it cannot reach the store {store.place}: {check.problem}. Workers write there themselves: give an "
            "address that they can reach too",
            worker,
            StoreUnavailable,
        )
    elif check.identity != own:
        found.add(
            f"it sees another store under {store.place} than this process does, because that is a place of one machine "
            "or process; use a store that all reach, such as redis://..., or cluster='inline'",
            worker,
            StoreUnavailable,
        )
    for name, version in versions().items():
        other = check.versions.get(name)
        if other is None or version.split(".")[:2] == other.split(".")[:2]:
            continue
        text = f"it has {name} {other}, this process {name} {version}"
        major = version.split(".")[0] != other.split(".")[0] and name not in _DATED
        if major and (name in _FORMS or name in used):
            found.add(f"{text}; what one writes the other cannot read: use one environment", worker)
        else:
            found.warn(f"{text}; what one writes the other may not be able to read", worker)
    return len(found) == before


def _fits(offer: Mapping[str, float], step: Step) -> bool:
    return all(offer.get(name, 0) >= amount for name, amount in step.node.policy.resources.items())


def _check_resources(step: Step, offers: Mapping[str, Mapping[str, float]], found: _Problems) -> None:
    """Find out whether a step asks for what no worker offers: it would wait for ever."""
    if not any(_fits(offer, step) for offer in offers.values()):
        found.add(
            f"step '{step.id}'{_place(step)} asks for {dict(step.node.policy.resources)}, which none of the "
            f"{len(offers)} workers offers; start workers with --resources, or take it out of the node's resources"
        )


def _check_modules(
    step: Step,
    needs: frozenset[str],
    checks: Mapping[str, Check],
    offers: Mapping[str, Mapping[str, float]],
    found: _Problems,
) -> None:
    """Find out whether a worker that may run a step lacks a module."""
    for worker, check in checks.items():
        if needs & check.missing and _fits(offers.get(worker, {}), step):
            names = ", ".join(f"'{name}'" for name in sorted(needs & check.missing))
            found.add(
                f"node '{step.node.title}'{_place(step)} uses {names}, which is not installed there: install it on "
                "the workers, or import it inside the node where it is optional",
                worker,
            )


def _place(step: Step) -> str:
    return f" ({step.where})" if step.where else ""
