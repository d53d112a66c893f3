"""Where bundles run: on a Dask cluster, or in this very thread. Imports Dask only when a cluster is used.

An executor sends bundles, remembers what they left on workers, and says when one ended. It decides nothing.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from wfnb.dask.generators import GENERATORS
from wfnb.dask.work import Held, Sealed
from wfnb.dask.worker import run_bundle

Done: TypeAlias = Callable[[str, str], None]
"""Called with a bundle's id and what went wrong with it as such, or ""; from any thread."""


class Executor(Protocol):
    """Runs bundles."""

    def threads(self) -> int:
        """Return how many bundles can run at once, at least 1."""
        ...

    def alive(self) -> bool:
        """Return whether bundles sent now would be run."""
        ...

    def submit(
        self,
        bundle: str,
        name: str,
        orders: Sealed,
        held: Sequence[str],
        *,
        priority: int,
        resources: dict[str, float],
        done: Done,
        worker: str = "",
    ) -> None:
        """Send a bundle.

        Args:
            bundle: its id, unique in the process.
            name: the node it is shown as on Dask's dashboard.
            orders: what to run.
            held: bundles whose values it is given, in the order its needs count them.
            priority: 1 (first) to 20 (last).
            resources: what a worker must offer.
            done: called when it ended.
            worker: the name of the worker that should run it if it can.
        """
        ...

    def holds(self, bundle: str) -> bool:
        """Return whether the bundle's values may still be on a worker."""
        ...

    def drop(self, bundle: str) -> None:
        """Let go of the values a bundle left."""
        ...

    def abort(self, bundle: str) -> None:
        """Forget a bundle; one that runs is stopped by what the driver writes in the journal."""
        ...

    def close(self, run_id: str) -> None:
        """Close the generators that a run's streams have left open."""
        ...


class DaskExecutor:
    """Runs bundles on a Dask cluster.

    Args:
        client: a connected `distributed.Client`, not an asynchronous one.
        rank: added to every priority, so that one run goes before another.
    """

    def __init__(self, client: Any, rank: int = 0) -> None:
        self.client = client
        self._rank = rank
        self._token = secrets.token_hex(4)
        self._threads = 1
        self._futures: dict[str, Any] = {}
        self._lock = threading.Lock()

    def threads(self) -> int:
        """Return how many threads the workers have together, at least 1."""
        if self.alive():
            with contextlib.suppress(OSError):  # the scheduler went away just now: the next look at `alive` says so
                self._threads = max(1, sum(self.client.nthreads().values()))
        return self._threads

    def alive(self) -> bool:
        """Return whether the scheduler is connected."""
        return bool(self.client.status == "running")

    def submit(
        self,
        bundle: str,
        name: str,
        orders: Sealed,
        held: Sequence[str],
        *,
        priority: int,
        resources: dict[str, float],
        done: Done,
        worker: str = "",
    ) -> None:
        """Send a bundle; see `Executor.submit`."""
        options: dict[str, Any] = {}
        if worker and (address := self._address(worker)):
            options = {"workers": [address], "allow_other_workers": True}
        future = self.client.submit(
            run_bundle,
            orders,
            *[self._futures[other] for other in held],
            key=f"{name}-{self._token}-{bundle}",
            pure=False,
            priority=-(self._rank * 100 + priority),
            resources=resources or None,
            **options,
        )
        with self._lock:
            self._futures[bundle] = future
        future.add_done_callback(lambda ended: done(bundle, _why(ended)))

    def _address(self, worker: str) -> str:
        """Return the address of a worker by its name in the trace, or ""."""
        known = self.client.scheduler_info(n_workers=-1)["workers"]
        return next((address for address, facts in known.items() if str(facts["name"]) == worker), "")

    def holds(self, bundle: str) -> bool:
        """Return whether the bundle's result is still asked for."""
        return bundle in self._futures

    def drop(self, bundle: str) -> None:
        """Release the bundle's result."""
        with self._lock:
            future = self._futures.pop(bundle, None)
        if future is not None:
            future.release()

    def abort(self, bundle: str) -> None:
        """Cancel the bundle's Dask task."""
        future = self._futures.get(bundle)
        if future is not None:
            future.cancel()

    def close(self, run_id: str) -> None:
        """Close a run's generators, on whatever worker they are."""
        with contextlib.suppress(OSError):  # the cluster is gone, and they with it
            self.client.run(_close, run_id, on_error="ignore")


def _close(run_id: str) -> None:
    # In a thread: what a generator does when it is closed is not for the worker's event loop.
    threading.Thread(target=GENERATORS.close_run, args=(run_id,), daemon=True).start()


def _why(future: Any) -> str:
    if future.status == "finished":
        return ""
    if future.status == "error":
        error = future.exception()
        return f"{type(error).__name__}: {error}"
    return f"its Dask task was {future.status}"


class InlineExecutor:
    """Runs bundles one after the other in the driver's own thread; for small work and for tests."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    def threads(self) -> int:
        """Return 1."""
        return 1

    def alive(self) -> bool:
        """Return True."""
        return True

    def submit(
        self,
        bundle: str,
        name: str,  # noqa: ARG002  part of the protocol
        orders: Sealed,
        held: Sequence[str],
        *,
        priority: int,  # noqa: ARG002
        resources: dict[str, float],  # noqa: ARG002
        done: Done,
        worker: str = "",  # noqa: ARG002
    ) -> None:
        """Run a bundle; see `Executor.submit`."""
        why = ""
        try:
            self._held[bundle] = run_bundle(orders, *(self._held[other] for other in held))
        except Exception as error:  # noqa: BLE001  a Dask worker too would report whatever it is
            why = f"{type(error).__name__}: {error}"
        done(bundle, why)

    def holds(self, bundle: str) -> bool:
        """Return whether the bundle's values are there."""
        return bundle in self._held

    def drop(self, bundle: str) -> None:
        """Forget the bundle's values."""
        self._held.pop(bundle, None)

    def abort(self, bundle: str) -> None:
        """Do nothing: a bundle has ended before anybody could ask."""

    def close(self, run_id: str) -> None:
        """Close a run's generators."""
        GENERATORS.close_run(run_id)
