"""Carries schedules out against real processes, and checks what must hold after each."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.flows import FLOWS
from tests.chaos.ledger import Ledger
from tests.chaos.processes import MARK, Family, KernelProcess, described
from tests.chaos.schedules import Kill, Schedule
from tests.servers import RedisServer
from wfnb.dask.local import SharedCluster
from wfnb.dask.shared import STEER, Shared, place
from wfnb.model.errors import RunNotFound
from wfnb.session import SESSION
from wfnb.store.urls import open_store

NOTICE, SLACK = 10.0, 5.0
"""Seconds within which a run nobody drives is seen to be interrupted, and what a loaded machine may add."""
END = 240.0
"""Seconds a run may take, with all that happens to it."""
LET_GO = 30.0
"""Seconds a kernel has to notice that its run is over."""
GONE = 20.0
"""Seconds that what was started has to be gone."""
IDLE = 4.0
"""Seconds the local cluster waits for somebody to use it."""
UNCLAIMED = 5.0
"""Seconds after which a run whose kernel died before anybody drove it is taken up by another."""
MOST_KERNELS = 8
"""Kernels after which a run counts as lost."""
LOOK = 0.05
CHECKS = (
    "wrong values",
    "acknowledged tasks that ran again",
    "attempts with two outcomes",
    "acknowledged outcomes lost",
    "runs lost",
    "interruptions seen too late",
    "errors of others in a kernel",
    "orphan processes",
)
"""What must not be, after any schedule."""
MOMENTS = ("before the first task", "while tasks ran", "after the last had begun")
"""When a process was killed."""


@dataclass
class Seen:
    """What was seen of one schedule.

    Args:
        schedule: it.
        violations: what did not hold, in words.
        wrong: the same, counted by `CHECKS`.
        kills: kills carried out, by target and one of `MOMENTS`.
        missed: kills that came too late, or found nothing to kill.
        refused: the errors kernels were told.
        kernels: how many kernels there were.
        resumes: how often the run was taken up again.
        bodies: how many task bodies began.
        again: how many of them were of an attempt that had begun before.
        tasks: how many attempts have an outcome.
        notice: the most seconds until a run that nobody drove was seen to be interrupted, or driven again.
        seconds: how long it took.
    """

    schedule: Schedule
    violations: list[str] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    kernels: int = 0
    resumes: int = 0
    bodies: int = 0
    again: int = 0
    tasks: int = 0
    notice: float = 0.0
    seconds: float = 0.0


def within(seconds: float, true: Callable[[], bool]) -> bool:
    """Return whether something comes true in time."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(LOOK)
    return True


class Suite:
    """Where schedules are carried out: a data folder, a Redis server, and the local cluster they share.

    Args:
        folder: everything is kept there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = folder.name
        self.ledgers: list[Ledger] = []
        self._redis: RedisServer | None = None

    @property
    def redis(self) -> RedisServer:
        if self._redis is None:
            self._redis = RedisServer(aof=True)
        self._redis.start()
        return self._redis

    def url(self, store: str) -> str:
        """Return the URL of a store, new to each run where it is a file."""
        return self.redis.url if store == "redis" else f"sqlite:///{self.folder}/runs.db"

    def family(self) -> Family:
        """Return the suite's processes."""
        redis = self._redis.process if self._redis is not None else None
        return Family(self.mark, () if redis is None else (redis.pid,))

    def warm(self) -> None:
        """Have the local cluster there."""
        cluster = SharedCluster()
        cluster.begin()
        cluster.wait()

    def close_cluster(self) -> None:
        """End the cluster as `wf.cluster` does."""
        from distributed import Client

        shared = Shared(place())
        if not shared.held():
            return
        connect: Any = Client
        with connect(SharedCluster().wait(), set_as_default=False) as client:
            client.sync(getattr(client.scheduler, STEER), what="close")
        within(GONE, lambda: not shared.held())

    def sweep(self) -> list[str]:
        """End what is left, and return it in words."""
        left = self.family().all
        words = [described(process) for process in left]
        for process in left:
            with contextlib.suppress(Exception):
                process.kill()
        within(GONE, lambda: not self.family().all)
        return words

    def over(self) -> list[str]:
        """Wait for the shared cluster to end by itself; return what is left then, and what got lost, in words."""
        forgotten = {ledger.run_id: sorted(ledger.lost()) for ledger in self.ledgers}
        lost = [f"outcomes of run '{run}' got lost after its end: {which}" for run, which in forgotten.items() if which]
        if self._redis is not None:
            self._redis.stop()
            self._redis = None
        within(GONE + IDLE, lambda: not self.family().all)
        return lost + self.sweep()


@contextlib.contextmanager
def suite(*, keep: bool = False) -> Iterator[Suite]:
    """Give a place for schedules, and remove it and what is left of its processes in the end."""
    folder = Path(tempfile.mkdtemp(prefix="wfnb-chaos-"))
    root = str(Path(__file__).parents[2])
    os.environ |= {
        "WFNB_DATA_DIR": str(folder / "data"),
        "WFNB_CLUSTER_IDLE": str(IDLE),
        "PYTHONPATH": root,  # workers import the tests' modules as a project's own
        MARK: folder.name,
    }
    for name in ("WFNB_STORE", "WFNB_CLUSTER", "WFNB_SECRET_KEY"):
        os.environ.pop(name, None)
    made = Suite(folder)
    try:
        yield made
    finally:
        made.sweep()
        if made._redis is not None:
            made._redis.stop()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


class Play:
    """One schedule, being carried out.

    Args:
        schedule: it.
        suite: where.
    """

    def __init__(self, schedule: Schedule, suite: Suite) -> None:
        self.schedule, self.suite = schedule, suite
        self.seen = Seen(schedule)
        self.folder = suite.folder / f"seed-{schedule.seed}"
        self.folder.mkdir()
        self.flow = FLOWS[schedule.flow]
        self.run_id = f"{schedule.flow}-{schedule.seed}"
        self.url = suite.url(schedule.store)
        self.store = open_store(self.url)
        self.log = self.folder / "log"
        self.ledger = Ledger(self.store, self.run_id, self.log)
        self.kernel: KernelProcess | None = None
        self.submitted = False
        self._began = time.monotonic()
        self._over = threading.Event()
        self._without_driver: float | None = None
        self._redis_back = threading.Event()
        self._redis_back.set()
        self._timers: list[threading.Timer] = []

    # -- the kills -----------------------------------------------------------------------------------------------

    def _strike(self) -> None:
        """Carry the kills out, each in its moment; in a thread."""
        last = self._began
        for kill in self.schedule.kills:
            if not self._awaits(kill, last):
                self.seen.missed[kill.target] += 1
                continue
            if self._redis_back.is_set():
                with contextlib.suppress(RunNotFound):
                    self.ledger.look()
            begun = len(set(self.ledger.begun()))
            done = self._kill(kill)
            last = time.monotonic()
            self._tell(f"{'killed' if done else 'found no'} {kill.target}")
            if done:
                self.seen.kills[kill.target, MOMENTS[(begun > 0) + (begun >= self.flow.tasks)]] += 1
            else:
                self.seen.missed[kill.target] += 1

    def _awaits(self, kill: Kill, last: float) -> bool:
        """Wait for a kill's moment; False when the run is over before."""
        while not self._over.is_set():
            if kill.after == "progress":
                if len(self.ledger.begun()) >= kill.amount * self.flow.tasks:
                    return True
            elif time.monotonic() >= last + kill.amount:
                return True
            time.sleep(0.005)
        return False

    def _kill(self, kill: Kill) -> bool:
        """Kill; return whether there was something to kill."""
        if kill.target == "redis":
            self._redis_back.wait(GONE)  # of two kills the second comes as soon as it is there again
            if not self._redis_back.is_set():
                return False
            server = self.suite.redis
            self._redis_back.clear()
            server.kill()
            self._timers.append(threading.Timer(kill.pause, self._restart, (server,)))
            self._timers[-1].start()
            return True
        if kill.target == "kernel":
            killed = self.kernel is not None and self.kernel.kill()
            if killed and self.schedule.driver == "kernel":
                self._without_driver = time.monotonic()
            return killed
        family = self.suite.family()
        found = {
            "worker": family.workers,
            "driver": family.hosts,
            "scheduler": lambda: family.cluster[:1],
            "cluster": lambda: family.cluster,
        }[kill.target]()
        if kill.target in ("worker", "driver") and found:
            found = [found[int(kill.pick * len(found))]]
        killed = False
        for process in found:
            with contextlib.suppress(Exception):
                process.send_signal(signal.SIGKILL)
                killed = True
        if killed and kill.target != "worker":  # then the run may have lost its driver
            self._without_driver = time.monotonic()
        return killed

    def _restart(self, server: RedisServer) -> None:
        try:
            server.start()
            self._redis_back.set()
        except (RuntimeError, OSError) as error:
            self._wrong("runs lost", f"the Redis server did not start again: {error}")

    def _tell(self, text: str) -> None:
        with (self.folder / "story").open("a") as file:
            file.write(f"{time.monotonic() - self._began:7.2f} {text}\n")

    # -- the run -------------------------------------------------------------------------------------------------

    def _begin_kernel(self, verb: str) -> None:
        self.seen.kernels += 1
        self.seen.resumes += verb == "resume"
        schedule = self.schedule
        self._tell(f"kernel {self.seen.kernels}: {verb}")
        stays = "stays" if schedule.stays else "ends"
        self.kernel = KernelProcess(
            self.folder,
            self.seen.kernels,
            *(verb, self.url, self.run_id, schedule.flow, schedule.driver, stays, str(self.log), str(schedule.long)),
        )

    def play(self) -> Seen:
        """Carry the schedule out and return what was seen."""
        if self.schedule.cold:
            self.suite.close_cluster()
        else:
            self.suite.warm()
        self._began = time.monotonic()
        striker = threading.Thread(target=self._strike, daemon=True)
        self._begin_kernel("submit")
        striker.start()
        try:
            self._watch()
            self._end(striker)
            self._check()
        except Exception as error:
            self._tell(traceback.format_exc())
            self._wrong("runs lost", f"the suite could not look: {type(error).__name__}: {error}")
            self._end(striker)
            self.suite.sweep()
        self.seen.seconds = time.monotonic() - self._began
        return self.seen

    def _end(self, striker: threading.Thread) -> None:
        """Strike no more, and wait until what was struck is there again."""
        self._over.set()
        striker.join(2 * GONE)
        for timer in self._timers:
            timer.join(2 * GONE)

    def _watch(self) -> None:
        """Follow the run to its end, with new kernels where they are needed."""
        before, looked, idle_since = "", 0.0, 0.0
        while True:
            status = self._status()
            if status != before:
                self._tell(f"status {status or 'not stored'}")
                before = status
            self._notice(status)
            now = time.monotonic()
            if now - looked > 0.25 and status:
                self.ledger.look()
                looked = time.monotonic()
            alive = self._kernel_is_there()
            if status == "completed" and (not alive or now - idle_since > LET_GO):
                return
            if status in ("failed", "cancelled"):
                self._wrong("runs lost", f"it ended as {status}: {self._reason()}")
                return
            if alive or status not in ("", "queued", "interrupted"):
                idle_since = now
            # One that nobody drove yet may still be taken up by whoever was asked to.
            elif status != "queued" or now - idle_since > UNCLAIMED:
                if self.seen.kernels >= MOST_KERNELS:
                    self._wrong("runs lost", f"{status or 'not stored'} after {self.seen.kernels} kernels")
                    return
                self._begin_kernel("resume" if status else "submit")
            if now - self._began > END:
                self._wrong("runs lost", f"no end after {END:g} s: status '{status}'; {self._where()}")
                return
            time.sleep(LOOK)

    def _status(self) -> str:
        """Return the run's status as any process sees it, "" while it is not stored."""
        try:
            return SESSION.get_run(self.run_id, self.url).status
        except RunNotFound:
            if self.submitted:
                self._wrong("runs lost", "submitted, and not in the store")
            return ""

    def _kernel_is_there(self) -> bool:
        """Return whether the kernel runs; take in what one said that has ended."""
        kernel = self.kernel
        if kernel is None:
            return False
        alive = kernel.alive  # asked for before its output is read
        self.submitted = self.submitted or bool(kernel.lines("running"))
        if alive:
            return True
        self.kernel = None
        for error in kernel.lines("refused"):
            self._tell(f"refused {error}")
            self.seen.refused.append(error)
        for value in kernel.lines("value"):
            self._tell("value")
            if json.loads(value) != self.flow.value:
                self._wrong("wrong values", f"a kernel's value is {value}, not {self.flow.value}")
        if not kernel.killed and kernel.process.returncode != 0:
            last = kernel.errors.read_text().strip().splitlines()[-1:]
            self._wrong(
                "errors of others in a kernel", f"a kernel ended with status {kernel.process.returncode}: {last}"
            )
        return False

    def _notice(self, status: str) -> None:
        """See how soon it is noticed that nobody drives."""
        since = self._without_driver
        if since is None:
            return
        waited = time.monotonic() - since
        lease = self.store.lease(self.run_id) if status else None
        driven = lease is not None and lease.expires_in > 0
        if status in ("", "queued", "interrupted", "completed", "failed", "cancelled"):
            self._without_driver = None
            if status == "interrupted":
                self.seen.notice = max(self.seen.notice, waited)
        elif waited > NOTICE + SLACK:
            self._without_driver = None
            if not driven:
                text = f"not seen to be interrupted {waited:.0f} s after its driver was killed"
                self._wrong("interruptions seen too late", text)

    def _reason(self) -> str:
        error = SESSION.get_run(self.run_id, self.url).snapshot().error
        return "" if error is None else f"{error.address} {error.type}: {error.message}"

    def _where(self) -> str:
        """Say what there is, for a run that does not end."""
        words = [described(process) for process in self.suite.family().all]
        if self.kernel is not None and self.kernel.alive:
            self.kernel.process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
            words.append(self.kernel.errors.read_text()[-3000:])
        return f"lease {self.store.lease(self.run_id)}; " + "\n  ".join(words)

    def _wrong(self, check: str, text: str, times: int = 1) -> None:
        self._tell(f"VIOLATION: {check}: {text}")
        self.seen.violations.append(f"{check}: {text}")
        self.seen.wrong[check] += times

    # -- what must hold ------------------------------------------------------------------------------------------

    def _check(self) -> None:
        seen = self.seen
        if self.kernel is not None and self.kernel.kill():
            self._wrong("runs lost", "the run is over, and its kernel still waits")
        if self._status() == "completed":
            self.ledger.look()
            value = SESSION.get_run(self.run_id, self.url).result(30)
            if value != self.flow.value:
                self._wrong("wrong values", f"the value is {value}, not {self.flow.value}")
            for check, found in (
                ("acknowledged tasks that ran again", self.ledger.repeated()),
                ("attempts with two outcomes", self.ledger.doubled()),
                ("acknowledged outcomes lost", self.ledger.lost()),
            ):
                if found:
                    self._wrong(check, f"{len(found)}: {sorted(map(str, found))[:5]}", len(found))
            seen.tasks = self.ledger.recorded()
            self.suite.ledgers.append(self.ledger)
        begun = self.ledger.begun()
        seen.bodies, seen.again = len(begun), len(begun) - len(set(begun))
        if not within(GONE, lambda: not self.suite.family().orphans()):
            left = [described(process) for process in self.suite.family().orphans()]
            self._wrong("orphan processes", "; ".join(left), len(left))
        if seen.violations:
            self.suite.sweep()
