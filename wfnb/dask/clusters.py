"""Which cluster a run is computed on, and who drives it there. Imports executor, hosts, local, preflight and store.

In this order: what the run's options say, what `wfnb.configure` said, ``WFNB_CLUSTER``, the active Dask client, else a
local cluster that starts by itself.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from wfnb.authoring.fingerprint import Fingerprint
from wfnb.dask.asking import begin
from wfnb.dask.door import Caller, DoorRoster
from wfnb.dask.hosting import Birth, Task
from wfnb.dask.hosts import Hosts
from wfnb.dask.local import SharedCluster
from wfnb.dask.preflight import Preflight
from wfnb.dask.rosters import PATIENCE, DaskRoster, Roster
from wfnb.engine.lowered import Lowered
from wfnb.model.errors import ConfigurationError, did_you_mean
from wfnb.store.base import Store

if TYPE_CHECKING:
    from wfnb.dask.executor import Executor

NAMES = ("local", "inline")
AGAIN = 0.1
"""Seconds until a cluster is asked again that went away."""
CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a scheduler."""


class Clusters:
    """The clusters this process uses, each connected to once."""

    def __init__(self) -> None:
        self._configured: Any = None
        self._local: SharedCluster | None = None
        self._clients: dict[Any, Any] = {}
        self._hosts = Hosts()
        self._preflight = Preflight()
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
                    self._local = SharedCluster()
                    self._local.begin()
        return cluster

    def ask(self, cluster: Any) -> Roster | None:
        """Begin to ask a prepared cluster for its workers; for `check`."""
        if cluster == "inline":
            return None
        if (caller := self._caller(cluster)) is not None:
            roster = DoorRoster(caller)
            try:
                roster.begin()
            except OSError:  # its host went away meanwhile
                caller.close()
            else:
                return roster
        client = self.client(cluster)
        return DaskRoster(client, begin(client, client.scheduler.ncores, workers=None, within=PATIENCE))

    def check(
        self,
        cluster: Any,
        store: Store,
        graph: Lowered,
        nodes: Mapping[int, Fingerprint] | None = None,
        asked: Roster | None = None,
    ) -> None:
        """Make sure that the workers of a prepared cluster can run a workflow.

        Args:
            cluster: what `prepare` returned.
            store: the store of the run, which the workers must see.
            graph: the workflow, some worker must offer what each step asks for.
            nodes: the fingerprints of its nodes, by the node's `id`: they say which modules the code needs.
            asked: what `ask` returned.

        Raises:
            ConfigurationError: the cluster cannot be reached, its workers run another Python or wfnb, lack a module,
                or none offers what a step asks for.
            StoreUnavailable: a worker cannot reach the store, or sees another.
        """
        if cluster == "inline":
            return
        for again in (AGAIN, AGAIN, None):
            roster = asked or DaskRoster(self.client(self.prepare(cluster)))
            try:
                self._preflight.check(roster, store, graph, nodes)
                return
            except OSError as error:  # it, or its host, went away meanwhile: a local one is started anew
                if again is None:
                    raise ConfigurationError(
                        f"the cluster at '{roster.address}' went away while its workers were asked what they have: "
                        f"{error}; start it, or connect to another"
                    ) from error
                asked = None
                time.sleep(again)  # one that has just died may look alive

    def executor(self, cluster: Any, rank: int) -> Executor:
        """Return an executor on a prepared cluster.

        Args:
            cluster: what `prepare` returned.
            rank: the run's priority, 1 (first) to 20 (last).
        """
        from wfnb.dask.executor import DaskExecutor, InlineExecutor  # not needed where a host drives

        return InlineExecutor() if cluster == "inline" else DaskExecutor(self.client(cluster), rank)

    def may_host(self, cluster: Any) -> bool:
        """Whether a prepared cluster is of processes that outlive this one, so that a driver may live beside it."""
        if cluster in NAMES:
            return bool(cluster == "local")
        return not str(self.client(cluster).scheduler.address).startswith("inproc")

    def hand_over(self, cluster: Any, store: Store, task: Task, rank: int, birth: Birth | None) -> bool:
        """Have a run driven beside a prepared cluster; see `Hosts.hand_over`. False where the cluster is gone, too."""
        token = secrets.token_hex(8)
        for _ in range(2):
            with contextlib.suppress(OSError):  # it went away meanwhile: a local one is started anew
                connect = functools.partial(self.client, self.prepare(cluster))
                return self._hosts.hand_over(connect, store, task, rank, birth, self._caller(cluster), token)
        return False

    def _caller(self, cluster: Any) -> Caller | None:
        """Return the short way to the host of a prepared cluster, where there is one."""
        if cluster != "local":
            return None
        with self._lock:
            assert self._local is not None  # noqa: S101  `prepare` made it
            return self._local.caller()

    def client(self, cluster: Any, *, again: bool = True) -> Any:
        """Return a client connected to a prepared cluster.

        Args:
            cluster: what `prepare` returned.
            again: whether to start the local cluster once more when it does not answer.

        Raises:
            ConfigurationError: it cannot be reached.
        """
        with self._lock:
            _import_distributed()  # first: a local cluster starts meanwhile
            from distributed import Client

            connect = _client_type()
            address = cluster
            if cluster == "local":
                assert self._local is not None  # noqa: S101  `prepare` made it
                address = self._local.wait()

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
                    if cluster == "local" and again:  # it has died just now: another is started
                        return self.client(self.prepare(cluster), again=False)
                    raise ConfigurationError(
                        f"no Dask scheduler answers at '{address}': {error}; start it, or mend the address"
                    ) from error
                self._clients[key] = client
            return client


_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
"""Whether what Dask logs here is about a client of wfnb."""


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        return not _QUIET.get()


@functools.cache
def _client_type() -> Any:
    """Return Dask's client that says nothing when its scheduler is gone: the run says that, and what to do."""
    from distributed import Client

    log = logging.getLogger("distributed.client")
    log.addFilter(_Quiet())
    base: Any = Client

    class QuietClient(base):  # type: ignore[misc]
        async def _reconnect(self) -> None:
            token = _QUIET.set(True)
            try:
                await super()._reconnect()
            finally:
                _QUIET.reset(token)

    return QuietClient


def _import_distributed() -> None:
    """Import Dask in a thread: in the main one the stop button would leave it half imported, for good."""

    def load() -> None:
        with contextlib.suppress(Exception):  # who imports it next is told
            import distributed  # noqa: F401

    if "distributed" not in sys.modules or getattr(sys.modules["distributed"].__spec__, "_initializing", False):
        thread = threading.Thread(target=load, name="wfnb-import", daemon=True)
        thread.start()
        thread.join()


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
