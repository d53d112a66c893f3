"""What is killed when, made from a seed alone. Pure."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Literal

TARGETS = ("worker", "kernel", "driver", "scheduler", "cluster", "redis")
"""What is killed: one worker process, the kernel, the host that drives, the local cluster's process, that one with all
its children, the Redis server (which comes back)."""
CASES = (*((one,) for one in TARGETS), *itertools.combinations_with_replacement(TARGETS, 2))
"""Every target alone, and every pair."""
FLOWS = ("map", "chain", "nested", "stream")
ALL = 2 * len(CASES) * len(FLOWS)
"""As many neighbouring seeds have every case in every workflow on every store (Redis dies where runs are in it)."""

After = Literal["start", "progress", "kill"]


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL.

    Args:
        target: one of `TARGETS`.
        after: what `amount` is counted from: seconds from when the first kernel was started, or from the kill before;
            or the share of the tasks that have begun.
        amount: how many seconds, or which share.
        pick: which of several processes, 0 to 1.
        pause: seconds until what does not come back by itself is started again.
    """

    target: str
    after: After
    amount: float
    pick: float
    pause: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run and what happens to it.

    Args:
        seed: what it was made from.
        flow: one of `FLOWS`.
        store: "sqlite" or "redis".
        driver: where the driver lives: "cluster" or "kernel".
        stays: whether a kernel whose run is interrupted resumes it itself; else it ends, and another one does.
        cold: whether the local cluster has to be started first.
        long: seconds that the workflow's long bodies take.
        kills: in order.
    """

    seed: int
    flow: str
    store: str
    driver: str
    stays: bool
    cold: bool
    long: float
    kills: tuple[Kill, ...]

    def __str__(self) -> str:
        kills = ", ".join(
            f"{kill.target} {'at' if kill.after == 'progress' else '+'} "
            + (f"{kill.amount:.0%}" if kill.after == "progress" else f"{kill.amount:.2f} s after the {kill.after}")
            for kill in self.kills
        )
        how = f"{self.flow}, {self.store}, driver in the {self.driver}{', cold' if self.cold else ''}"
        return f"{how}{', the kernel resumes' if self.stays else ''}: {kills}"


def schedule(seed: int) -> Schedule:
    """Return the schedule of a seed.

    Neighbouring seeds differ in targets and workflow, and `ALL` of them have all there is.
    """
    rng = random.Random(f"schedule {seed}")
    turn, case = divmod(seed, len(CASES))
    targets = list(CASES[case])
    rng.shuffle(targets)
    kills = tuple(_kill(rng, target, first=n == 0) for n, target in enumerate(targets))
    driver = "cluster" if "driver" in targets or rng.random() < 0.75 else "kernel"
    orphaned = "driver" in targets or (driver == "kernel" and "kernel" in targets)
    return Schedule(
        seed=seed,
        flow=FLOWS[seed % len(FLOWS)],
        store="redis" if "redis" in targets or (turn + turn // len(FLOWS)) % 2 else "sqlite",
        driver=driver,
        stays=rng.random() < 0.4,
        cold=rng.random() < 0.08,
        # What a driver that was killed has sent may still run when the next one has taken the run up.
        long=3.0 if orphaned and seed >= len(TARGETS) else 0.6,
        kills=kills,
    )


def _kill(rng: random.Random, target: str, *, first: bool) -> Kill:
    chance = rng.random()
    # A second one comes at the same time, while the run is taken up again, or later.
    early: After = "start" if first else "kill"
    after = early if chance < (0.3 if first else 0.65) else "progress"
    if after == "progress":
        amount = rng.uniform(0.0, 1.0)
    elif after == "start":
        amount = rng.uniform(0.0, 2.0)
    else:
        amount = 0.0 if chance < 0.3 else rng.uniform(0.0, 3.0)
    return Kill(target, after, amount, rng.random(), rng.uniform(0.2, 1.0))
