"""Constructs on a real cluster: kernels are killed inside of them, and runs go on where they were."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.support import FULL, KERNELS, Kernel, acknowledged, eventually
from wfnb.store.urls import open_store

KILLS = 12 if FULL else 3
VALUE = [
    [4, 104, 204, 304, 404, 504],
    list(range(1, 21)),
    11,
    [1, 3, 3, 5, 5, 7],
]
CALLS = 6 * 4 + 20 + 3 + 3 + 6
"""How often the one node that notes its calls is called when nothing is lost."""
TASKS = CALLS + 40
"""How many tasks the run has at least, with those that decide and give items."""


def address(step: str, element: int) -> str:
    return step.replace("[]", f"[{element}]", 1)


def lines(log: Path) -> Counter[str]:
    return Counter(log.read_text("utf-8").splitlines()) if log.exists() else Counter()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kernel_killed_inside_of_constructs_repeats_nothing_acknowledged(sqlite: str, tmp_path: Path) -> None:
    rng, store, log = random.Random(7), open_store(sqlite), tmp_path / "log"
    script = KERNELS / "constructs.py"
    before: list[tuple[Counter[str], set[str]]] = []
    for kill in range(KILLS + 1):
        with Kernel(script, "resume" if kill else "submit", sqlite, "run", log) as kernel:
            assert kernel.line() == "running"
            if kill == KILLS:
                value = kernel.line()
                break
            # So that the kills are spread over the whole run, however slow this process is.
            enough = min(len(acknowledged(store, "run")) + rng.randint(1, TASKS // (KILLS + 1)), TASKS)
            eventually(lambda enough=enough: len(acknowledged(store, "run")) >= enough)
            kernel.kill(whole=rng.random() < 0.5)
        kept = {address(*task) for task in acknowledged(store, "run")}
        before.append((lines(log), kept))  # in this order: the line of every acknowledged task is there by now
    assert value == f"value {VALUE}"
    after = lines(log)
    for ran, kept in before:
        again = {task for task in kept if after[task] > ran[task]}
        assert not again, "tasks whose values were acknowledged ran again"
    assert max(acknowledged(store, "run").values()) == 1
    assert len(after) == CALLS
