"""The session: which store and cluster are used, and how runs are started, found and resumed.

One session a process. It is set by `configure`, by the environment (``WFNB_STORE``, ``WFNB_CLUSTER``), or not at all:
then runs are kept in SQLite in the user's data folder and computed by a local cluster that starts by itself.
"""

from __future__ import annotations

import functools
import logging
import re
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from wfnb.authoring.estimates import with_estimates
from wfnb.authoring.prints import cache_digests, edited, fingerprints, node_prints, other_inputs, step_arguments
from wfnb.authoring.sources import pack_sources, sources_of
from wfnb.authoring.workflow import LATEST, RunOptions, Workflow
from wfnb.dask.clusters import Clusters
from wfnb.dask.hosting import Birth, Task
from wfnb.dask.owners import asker, await_free, own_name
from wfnb.dask.program import (
    INPUT_NAMES,
    INPUTS,
    Compiled,
    Program,
    bind_inputs,
    load_graph,
    pack_program,
    stored_inputs,
)
from wfnb.engine.lower import lower
from wfnb.engine.lowered import Lowered
from wfnb.engine.plan import known_widths, make_plan, shape_of
from wfnb.interrupts import Detaching
from wfnb.model.errors import (
    CaptureError,
    ConfigurationError,
    RunExists,
    RunHasDriver,
    RunNotFound,
    did_you_mean,
)
from wfnb.model.events import RunEnded, RunStarted, decode_event
from wfnb.prepared import Preparing, load_sources, sources_key
from wfnb.retention import Keeper, Pruned, Retention, older_than_days
from wfnb.retention import prune as removed_runs
from wfnb.run import Run
from wfnb.store.base import ENDED, Frames, Recorded, RunRecord, Store
from wfnb.store.codec import Codec
from wfnb.store.keys import secret_key
from wfnb.store.patience import LOOK, patience
from wfnb.store.rules import check_run_id
from wfnb.store.shared import shared_key
from wfnb.store.urls import default_url, open_store

if TYPE_CHECKING:
    from wfnb.cluster_view import ClusterView
    from wfnb.dask.driver import Driver
    from wfnb.forks import Fork
    from wfnb.listing import RunList
    from wfnb.planned import Plan

RUN_STATUSES = ("queued", "running", "paused", "completed", "failed", "cancelled", "interrupted")
PRIORITY = "priority"
"""The key of the pack that holds a run's priority, for whoever resumes it."""


log = logging.getLogger("wfnb")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run is to be kept, computed and driven.

    Args:
        store: where it is kept.
        cluster: where it is computed, prepared.
        choice: the cluster as its options named it, for whoever resumes it.
        rank: its priority, 1 (first) to 20 (last).
        hosted: whether its driver is to live beside the cluster.
    """

    store: Store
    cluster: Any
    choice: Any
    rank: int
    hosted: bool


class Session:
    """Starts, finds and resumes runs; one a process."""

    def __init__(self) -> None:
        self._store: str | Store | None = None
        self._clusters = Clusters()
        self._driver: Literal["cluster", "kernel"] = "cluster"
        self._estimates: dict[str, float] = {}
        self._runs: dict[str, Run] = {}
        self._keeper = Keeper()
        self._preparing = Preparing()
        self._lock = threading.Lock()

    # -- settings ------------------------------------------------------------------------------------------------

    def configure(
        self,
        *,
        store: str | Store | None = None,
        cluster: Any = None,
        driver: Literal["cluster", "kernel"] | None = None,
        retention: Retention | Literal["as before"] | None = "as before",
    ) -> None:
        """See `wfnb.configure`."""
        if not (retention is None or retention == "as before" or isinstance(retention, Retention)):
            raise ConfigurationError(f"retention is a wf.Retention(...), or None to keep all runs, not {retention!r}")
        if driver is not None:
            if driver not in ("cluster", "kernel"):
                raise ConfigurationError(f"a driver lives in the 'cluster' or in the 'kernel', not in {driver!r}")
            self._driver = driver
        if store is not None:
            open_store(store)  # a URL that will not do is refused here, not at the first run
            self._store = store
        if cluster is not None:
            self._clusters.configure(cluster)
        if retention != "as before":
            self._keeper.keep = retention

    def store(self, choice: str | Store | None = None) -> Store:
        """Return the store to use: the one chosen, configured, named by ``WFNB_STORE``, or the default."""
        return open_store(choice or self._store or default_url())

    def cluster(self) -> ClusterView:
        """See `wfnb.cluster`."""
        prepared = self._clusters.prepare(None)
        if prepared == "inline":
            raise ConfigurationError("steps run in this process (cluster='inline'): there is no cluster to show")
        from wfnb.cluster_view import ClusterView

        return ClusterView(self._clusters.client(prepared), local=prepared == "local")

    # -- starting ------------------------------------------------------------------------------------------------

    def submit(self, workflow: Workflow[..., Any], inputs: Mapping[str, Any], options: RunOptions) -> Run:
        """Start a run; see `Workflow.submit`. Raises before anything is stored or sent when something is wrong."""
        __tracebackhide__ = True
        secret = secret_key()
        ready = self._preparing.of(workflow.graph, inputs, secret)
        graph = ready.lowered
        widths = known_widths(graph, inputs)
        prepared = self._clusters.prepare(options.cluster)
        asked = self._clusters.ask(prepared)
        store = self.store(options.store)
        now = time.time()
        record = RunRecord(
            id=options.run_id or _new_id(workflow.name, now),
            workflow=graph.name,
            version=graph.version,
            status="queued",
            created=now,
            updated=now,
            tags=tuple(dict.fromkeys((*graph.tags, *options.tags))),
            shape=ready.shape,
        )
        if options.run_id is not None:
            _refuse_taken(store, options.run_id)
        priority = options.priority or 10
        codec = Codec(secret)
        packs: dict[str, Frames] = {
            _code_key(record): ready.code,
            sources_key(_code_key(record)): [ready.sources],
            INPUTS: _encode_inputs(codec, graph, inputs),
            INPUT_NAMES: codec.encode_pack([spec.name for spec in graph.inputs]),
            PRIORITY: codec.encode_pack([priority]),
        }
        key, on_error = _code_key(record), options.on_error
        started = RunStarted(0.0, own_name(), key, widths, ready.prints, on_error=on_error, by=asker())
        task = Task(record.id, ready.plan, started, secret, dict(self._estimates))
        place = _Place(store, prepared, options.cluster, priority, self._is_hosted(prepared))
        self._clusters.check(prepared, store, graph, ready.nodes, asked)
        return self._drive(record, task, place, Program(ready.compiled, inputs), Birth(record, packs))

    def call(self, workflow: Workflow[..., Any], inputs: Mapping[str, Any], options: RunOptions) -> Any:
        """Start a run, show it, wait for it and return its value; see `Workflow.__call__`."""
        __tracebackhide__ = True
        run = self.submit(workflow, inputs, options)
        with Detaching(run):
            if options.view is False:
                return run.result()
            live = run.show()
            try:
                return run.result()
            finally:
                if run.ended:  # after the stop button the run goes on, and so does its picture
                    live.finish(5.0)

    def plan(self, workflow: Workflow[..., Any], inputs: Mapping[str, Any], options: RunOptions) -> Plan:
        """Say what a run would do; see `Workflow.plan`."""
        __tracebackhide__ = True
        from wfnb.planned import plan_of

        return plan_of(lower(workflow.graph), inputs, self.store(options.store))

    def picture(self, workflow: Workflow[..., Any]) -> dict[str, Any]:
        """Return a workflow's picture as a MIME bundle."""
        from wfnb.listing import workflow_bundle

        return workflow_bundle(workflow, self.store)

    def _is_hosted(self, cluster: Any) -> bool:
        """Whether the driver of a run on a prepared cluster is to live beside it."""
        return self._driver == "cluster" and self._clusters.may_host(cluster)

    def _drive(self, record: RunRecord, task: Task, place: _Place, program: Program, birth: Birth | None = None) -> Run:
        """Have a run driven, made in its store if it is new: beside its cluster, else by a thread of this process."""
        store = place.store
        resumer = functools.partial(self.resume, store=store, cluster=place.choice)
        if place.hosted:
            if self._clusters.hand_over(place.cluster, store, task, place.rank, birth):
                self._keeper.due(store)
                return Run(store, record, resumer, None, program)
            log.warning("no driver could be started beside the cluster: run '%s' ends with this process", record.id)
        from wfnb.dask.driver import Driver

        driver = Driver(task, store, self._clusters.executor(place.cluster, place.rank), self._ended, birth)
        run = Run(store, record, resumer, driver, program)
        with self._lock:
            self._runs[record.id] = run
        driver.start()
        return run

    def _ended(self, driver: Driver) -> None:
        with self._lock:
            self._estimates.update(driver.engine.state.estimates)
            self._runs.pop(driver.task.run_id, None)
        self._keeper.due(driver.store)

    # -- finding -------------------------------------------------------------------------------------------------

    def get_run(self, run_id: str, store: str | Store | None = None) -> Run:
        """See `wfnb.get_run`."""
        with self._lock:
            if run_id in self._runs:
                return self._runs[run_id]
        place = self.store(store)
        return self._found(place, place.get(run_id))

    def _found(self, store: Store, record: RunRecord) -> Run:
        return Run(store, record, functools.partial(self.resume, store=store))

    def runs(
        self,
        workflow: str | Workflow[..., Any] | None = None,
        status: str | Sequence[str] | None = None,
        limit: int = 100,
    ) -> RunList:
        """See `wfnb.runs`."""
        from wfnb.listing import RunList

        place = self.store()
        wanted = (status,) if isinstance(status, str) else status
        for one in wanted or ():
            if one not in RUN_STATUSES:
                raise ConfigurationError(f"no run is ever '{one}'. {did_you_mean(one, RUN_STATUSES)}")
        if isinstance(workflow, Workflow):
            workflow = workflow.name
        # What is recorded as running may be interrupted: only each run's lease tells.
        recorded = wanted
        if wanted is not None and "interrupted" in wanted:
            recorded = (*wanted, "running", "paused", "queued")
        known: dict[str, Run] = {}
        asked = limit
        while True:
            records = place.find(workflow=workflow, statuses=recorded, limit=asked)
            fit: list[Run] = []
            over: dict[str, float] = {}
            for record in records:
                run = known.get(record.id) or known.setdefault(record.id, self._found(place, record))
                if len(fit) < limit and (wanted is None or _status(record, run) in wanted):
                    fit.append(run)
                    if record.status in ENDED:
                        over[record.id] = record.updated
            if len(fit) >= limit or len(records) < asked:
                return RunList(fit, lambda: self.runs(workflow, status, limit), over)
            asked *= 4

    # -- resuming ------------------------------------------------------------------------------------------------

    def resume(
        self,
        run_id: str,
        retry: bool,
        *,
        store: Store,
        cluster: Any = None,
        from_: str | None = None,
        fork: Fork | None = None,
    ) -> Run:
        """Take a run up where its journal ends, or a fork of it; see `wfnb.resume`, `Run.retry` and `Run.fork`."""
        from wfnb.forks import changed_inputs, chosen, create_fork, given_inputs

        record = store.get(run_id)
        if fork is None:
            try:
                await_free(store, run_id)
            except RunHasDriver:
                if self._is_under_way(store, record, retry, from_):
                    return self.get_run(run_id, store)
                raise
        elif fork.run_id:
            check_run_id(fork.run_id)
            _refuse_taken(store, fork.run_id)
        secret = secret_key()
        entries = store.read(run_id)
        last, ended = _last_start(entries)
        code = last.code if last else _code_key(record)
        old = load_graph(store, run_id, code, secret)
        stored = stored_inputs(store, run_id, old, Codec(secret))
        given = stored if fork is None else given_inputs(fork, record.workflow, old, stored)
        graph, inputs = _todays(record.workflow, old, given)
        nodes, arguments = node_prints(graph), step_arguments(graph)
        prints = fingerprints(graph, nodes, arguments)
        sources, then = sources_of(graph, nodes, arguments), load_sources(store, run_id, code)
        changes = {step: sources.summary(step, then) for step in prints} if then is not None else {}
        before = last.fingerprints if last else prints
        other = other_inputs(graph, old, given)
        if fork is not None:
            other.update(changed_inputs(fork, old, stored, given))
        again = chosen(graph, from_, "retry" if fork is None else "fork") if from_ is not None else {}
        reset = edited(graph, prints, before, other, changes, again)
        if fork is None and not retry and not reset and ended == "completed":
            return self._found(store, record)  # there is nothing to do
        packs: dict[str, Frames] = {}
        if graph is not old or again:
            code = f"{_code_key(record)}.{secrets.token_hex(4)}"
            # What was chosen to run again is not to be answered by what is known.
            digests = {step: digest for step, digest in cache_digests(graph, nodes).items() if step not in again}
            packs[code] = pack_program(graph, secret, digests)
            packs[sources_key(code)] = [pack_sources(sources)]
        elif fork is not None:
            code = shared_key(run_id, code)
        widths, plan = known_widths(graph, inputs), make_plan(graph)
        prepared = self._clusters.prepare(cluster)
        self._clusters.check(prepared, store, graph, nodes)
        rank = _priority(store, run_id, Codec(secret))
        if fork is not None:
            packs[INPUTS] = _encode_inputs(Codec(secret), graph, inputs)
            packs[INPUT_NAMES] = Codec(secret).encode_pack([spec.name for spec in graph.inputs])
            packs[PRIORITY] = Codec(secret).encode_pack([rank])
            run_id = fork.run_id or _new_id(record.workflow, time.time())
            record, packs = create_fork(store, record, run_id, entries, reset, packs), {}
        started = RunStarted(
            0.0,
            own_name(),
            code,
            widths,
            prints,
            reset,
            retry or ended == "failed",
            last.on_error if last else "stop",
            shape_of(graph) if graph is not old else "",
            by=asker(),
        )
        task = Task(run_id, plan, started, secret, dict(self._estimates))
        place = _Place(store, prepared, cluster, rank, self._is_hosted(prepared))
        if packs:
            store.append(run_id, [], epoch=None, packs=packs)
        return self._drive(replace(record, shape=shape_of(graph)), task, place, Program(Compiled(graph), inputs))

    def _is_under_way(self, store: Store, record: RunRecord, retry: bool, from_: str | None) -> bool:
        """Return whether a run that is being driven was taken up for just this, with the code of today."""
        last, _ = _last_start(store.read(record.id))
        if last is None or (retry and not last.retry):
            return False
        secret = secret_key()
        old = load_graph(store, record.id, last.code, secret)
        graph, _ = _todays(record.workflow, old, stored_inputs(store, record.id, old, Codec(secret)))
        prints = fingerprints(graph, node_prints(graph), step_arguments(graph))
        from wfnb.forks import chosen

        again = chosen(graph, from_, "retry") if from_ is not None else {}
        return prints == last.fingerprints and again.keys() <= last.reset.keys()


def _encode_inputs(codec: Codec, graph: Lowered, inputs: Mapping[str, Any]) -> Frames:
    values = {spec.name: inputs[spec.name] for spec in graph.inputs}
    try:
        return codec.encode_pack(list(values.values()))
    except CaptureError:
        for name, value in values.items():
            try:
                codec.encode(value)
            except CaptureError as error:
                raise CaptureError(
                    f"input '{name}' of workflow '{graph.name}', a value of type '{type(value).__qualname__}', cannot "
                    f"travel to a worker: {error.__cause__}; pass something that can be pickled, such as a path",
                    node="",
                    variable=name,
                ) from error
        raise


def _status(record: RunRecord, run: Run) -> str:
    """Return a run's status; of one that is over the record tells it, and its journal need not be read."""
    return record.status if record.status in ENDED else run.status


def _new_id(name: str, now: float) -> str:
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "run"
    return f"{slug}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{secrets.token_hex(3)}"


def _code_key(record: RunRecord) -> str:
    """The key of a run's code; another for a run that is made under the id of one that was deleted."""
    return f"code-{int(record.created * 1e6)}"


def _refuse_taken(store: Store, run_id: str) -> None:
    try:
        store.get(run_id)
    except RunNotFound:
        return
    raise RunExists(
        f"a run '{run_id}' is already in the store {store.place}; choose another run_id, or go on with it by "
        f"wf.resume('{run_id}')"
    )


def _todays(name: str, old: Lowered, stored: Mapping[str, Any]) -> tuple[Lowered, dict[str, Any]]:
    """Return the graph of the workflow as it is written in this process now, or the old one where it is not.

    With it come the inputs it takes, from those the run was given.
    """
    workflow = LATEST.get(name)
    if workflow is None:
        return old, bind_inputs(old, stored)
    graph = lower(workflow.graph)
    inputs = bind_inputs(graph, stored)
    return with_estimates(graph, inputs), inputs


def _priority(store: Store, run_id: str, codec: Codec) -> int:
    """Return the priority a run was started with."""
    pack = store.load(run_id, [PRIORITY]).get(PRIORITY)
    return int(codec.decode_pack(pack)[0]) if pack is not None else 10


def _last_start(entries: Sequence[Recorded]) -> tuple[RunStarted | None, str]:
    """Return how a run was last taken up by its journal, and how it has ended since, or ""."""
    last: RunStarted | None = None
    ended = ""
    for entry in entries:
        event = decode_event(entry.data, skip=b"OLR")
        if isinstance(event, RunStarted) and not event.anew:
            last, ended = event, ""
        elif isinstance(event, RunEnded):
            ended = event.status
    return last, ended


SESSION = Session()
Workflow.launcher = SESSION


def configure(
    *,
    store: str | Store | None = None,
    cluster: Any = None,
    driver: Literal["cluster", "kernel"] | None = None,
    retention: Retention | Literal["as before"] | None = "as before",
) -> None:
    """Set where runs of this process are kept, computed and driven, and how long they are kept.

    Args:
        store: a URL such as ``redis://localhost:6379/0`` or ``sqlite:///runs.db``, or a store.
        cluster: a scheduler's address, a Dask ``Client`` or cluster, "local" or "inline" (in this process).
        driver: where drivers live: "cluster" (the default: beside the cluster, so that runs go on without this process)
            or "kernel" (a thread of this process).
        retention: which runs are kept; older ones are removed now and then, in the background. The default is
            ``wf.Retention(completed=100, failed=500)``; None keeps all.

    Raises:
        ConfigurationError: the URL or the cluster's name will not do.
    """
    SESSION.configure(store=store, cluster=cluster, driver=driver, retention=retention)


def cluster() -> ClusterView:
    """Return the cluster that runs are computed on, started if it is the local one: workers, dashboard, size."""
    return SESSION.cluster()


def runs(
    workflow: str | Workflow[..., Any] | None = None, status: str | Sequence[str] | None = None, limit: int = 100
) -> RunList:
    """Return the store's runs, newest first; a table in a notebook.

    Args:
        workflow: only runs of the workflow, or of one with this name.
        status: only runs with this status, or one of these.
        limit: at most so many.

    Raises:
        ConfigurationError: there is no such status.
    """
    with patience(LOOK):
        return SESSION.runs(workflow, status, limit)


def prune(
    completed: int | None = 100,
    failed: int | None = 500,
    older_than: float | timedelta | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove old runs from the store, and return which; it is what retention does by itself.

    A run that is queued, running, paused or interrupted is never removed, nor one whose values a kept fork uses.

    Args:
        completed: keep so many completed runs, those that ended last; None for all.
        failed: keep so many failed and cancelled runs; None for all.
        older_than: remove also what ended more than so many days ago; a number, or a timedelta.
        max_bytes: remove also what does not fit into so many bytes.
        dry_run: only say what would be removed.

    Raises:
        ConfigurationError: a limit will not do.
    """
    keep = Retention(completed, failed, older_than_days(older_than), max_bytes)
    return removed_runs(SESSION.store(), keep, dry_run=dry_run)


def get_run(run_id: str) -> Run:
    """Return a run by its id, whoever started it; raises RunNotFound when there is none."""
    return SESSION.get_run(run_id)


def resume(run_id: str) -> Run:
    """Take a run up where its journal ends, from any process that sees its store.

    What was finished is kept, except steps edited since and what depends on them. A run that goes on already, or is
    completed and not edited, is returned as it is.

    Args:
        run_id: the run's id.

    Raises:
        RunNotFound: there is none with that id.
        RunHasDriver: it is running as it was written before an edit.
    """
    return SESSION.get_run(run_id).resume()
