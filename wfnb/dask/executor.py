"""Where bundles run: on a Dask cluster, or in this very thread. Imports Dask only when a cluster is used.

An executor sends bundles, remembers what they left on workers, and says when one ended. It decides nothing.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from wfnb.dask.asking import CALL_TIMEOUT, ask, threads_of, workers_of
from wfnb.dask.beacon import Busy, name_of
from wfnb.dask.ending import end_under, look
from wfnb.dask.generators import GENERATORS
from wfnb.dask.guard import GRACE
from wfnb.dask.work import Held, Sealed
from wfnb.dask.worker import run_bundle

Done: TypeAlias = Callable[[str, str, int], None]
"""Called with a bundle's id, what went wrong with it as such, or "", and how many workers died; from any thread."""

CLOSE_TIMEOUT = 1.0
"""Seconds the end of a run waits for workers to hear that its generators are to be closed."""


class Answer(Protocol):
    """Takes in what a late bundle is at; see `Losses.answer`."""

    def __call__(self, bundle: str, worker: str, busy: Busy | None, *, ends: bool) -> None:
        """Take it in, before the bundle's process is ended."""


class Executor(Protocol):
    """Runs bundles."""

    def threads(self) -> int:
        """Return how many bundles can run at once now."""
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

    def end(self, run_id: str, late: Mapping[str, bool], answer: Answer) -> None:
        """Look after bundles that did not end in time; return at once.

        Args:
            run_id: their run.
            late: the bundles, and whether they are to end whatever they are at, or only what is past its time.
            answer: told of each what it is at.
        """
        ...

    def close(self, run_id: str) -> None:
        """Close the generators that a run's streams have left open."""
        ...


class DaskExecutor:
    """Runs bundles on a Dask cluster.

    Args:
        client: a connected `distributed.Client`, not an asynchronous one.
        rank: added to every priority, so that one run goes before another.
        count: returns how many threads the workers have together; raises OSError. None: the scheduler is asked.
    """

    def __init__(self, client: Any, rank: int = 0, count: Callable[[], int] | None = None) -> None:
        self.client = client
        self._rank = rank
        self._count = count or (lambda: sum(threads_of(client).values()))
        self._token = secrets.token_hex(4)
        self._threads = 1
        self._futures: dict[str, Any] = {}
        self._out: dict[str, tuple[str, Done]] = {}
        self._lock = threading.Lock()

    def threads(self) -> int:
        """Return how many threads the workers have together, as far as is known."""
        if self.alive():
            # The scheduler is busy, or went away just now: the next look at `alive` says so.
            with contextlib.suppress(OSError):
                self._threads = self._count()
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
        self._out[future.key] = (bundle, done)
        future.add_done_callback(lambda ended: self._tell(ended.key, *_why(ended)))

    def lost(self, keys: Iterable[str]) -> None:
        """Say of the bundles among some Dask tasks that their worker has died; from any thread.

        Dask itself would first try them on some more workers, and those might die as well.
        """
        for key in keys:
            self._tell(key, "its worker died", 1)

    def _tell(self, key: str, why: str, deaths: int) -> None:
        """Say once how a bundle ended."""
        bundle, done = self._out.pop(key, ("", None))
        if done is not None:
            done(bundle, why, deaths)

    def _address(self, worker: str) -> str:
        """Return the address of a worker by its name in the trace, or ""."""
        with contextlib.suppress(TimeoutError):
            known = workers_of(self.client)
            return next((address for address, facts in known.items() if str(facts["name"]) == worker), "")
        return ""

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

    def end(self, run_id: str, late: Mapping[str, bool], answer: Answer) -> None:
        """Look after late bundles, in a thread; see `Executor.end`."""
        threading.Thread(target=self._end, args=(run_id, late, answer), name="wfnb-end", daemon=True).start()

    def _end(self, run_id: str, late: Mapping[str, bool], answer: Answer) -> None:
        names = {name_of(run_id, bundle): bundle for bundle in late}
        where: dict[str, str] = {}
        found: dict[str, tuple[str, Busy]] = {}
        try:
            where = self._where(late)
            found = {names[name]: told for name, told in self._look(list(names), where).items()}
        except OSError:
            pass  # the cluster is gone, or too busy to answer
        ending: dict[str, list[bytes]] = {}
        for bundle, wanted in late.items():
            worker, busy = found.get(bundle, ("", None))
            past = busy is not None and 0 < busy.deadline < time.time() - GRACE
            ends = busy is not None and (wanted or past)
            if ends or not wanted:
                answer(bundle, worker, busy, ends=ends)
            if ends or wanted:
                self.abort(bundle)
            if ends and bundle in where:
                ending.setdefault(where[bundle], []).append(name_of(run_id, bundle))
        with contextlib.suppress(OSError):
            # Not before the scheduler has forgotten them, or it would begin them elsewhere.
            deadline = time.monotonic() + CALL_TIMEOUT
            while ending and time.monotonic() < deadline and not where.keys().isdisjoint(self._where(where)):
                time.sleep(0.01)
            for address, bundles in ending.items():
                run = self.client._run
                ask(self.client, run, end_under, bundles, workers=[address], nanny=True, on_error="ignore")

    def _where(self, bundles: Iterable[str]) -> dict[str, str]:
        """Return the addresses of the workers that bundles were sent to."""
        wanted = {future.key: bundle for bundle in bundles if (future := self._futures.get(bundle)) is not None}
        processing = ask(self.client, self.client.scheduler.processing, workers=None)
        return {wanted[key]: address for address, keys in processing.items() for key in keys if key in wanted}

    def _look(self, names: list[bytes], where: Mapping[str, str]) -> dict[bytes, tuple[str, Busy]]:
        """Ask the workers' nannies what bundles are at."""
        if not where:
            return {}
        workers = sorted(set(where.values()))
        told = ask(self.client, self.client._run, look, names, workers=workers, nanny=True, on_error="ignore")
        return {name: (worker, busy) for worker, found in told.values() for name, busy in found.items()}

    def close(self, run_id: str) -> None:
        """Close a run's generators, on whatever worker they are."""
        # The cluster is gone, and they with it; or a worker is silent: it hears of it when it listens again.
        with contextlib.suppress(OSError):
            ask(self.client, self.client._run, _close, run_id, on_error="ignore", within=CLOSE_TIMEOUT)


def _close(run_id: str) -> None:
    # In a thread: what a generator does when it is closed is not for the worker's event loop.
    threading.Thread(target=GENERATORS.close_run, args=(run_id,), daemon=True).start()


def _why(future: Any) -> tuple[str, int]:
    """Return what went wrong with a Dask task, or "", and how many workers died that had it."""
    if future.status == "finished":
        return "", 0
    if future.status == "error":
        error = future.exception()
        deaths = error.allowed_failures + 1 if type(error).__name__ == "KilledWorker" else 0
        return f"{type(error).__name__}: {error}", deaths
    return f"its Dask task was {future.status}", 0


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
            self._held[bundle] = run_bundle(orders, *(self._held[other] for other in held), first=True)
        except Exception as error:  # noqa: BLE001  a Dask worker too would report whatever it is
            why = f"{type(error).__name__}: {error}"
        done(bundle, why, 0)

    def holds(self, bundle: str) -> bool:
        """Return whether the bundle's values are there."""
        return bundle in self._held

    def drop(self, bundle: str) -> None:
        """Forget the bundle's values."""
        self._held.pop(bundle, None)

    def abort(self, bundle: str) -> None:
        """Do nothing: a bundle has ended before anybody could ask."""

    def end(self, run_id: str, late: Mapping[str, bool], answer: Answer) -> None:
        """Do nothing, for the same reason."""

    def close(self, run_id: str) -> None:
        """Close a run's generators."""
        GENERATORS.close_run(run_id)
