"""Constructs on a real cluster: kernels are killed inside of them, and runs go on where they were."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.support import FULL, KERNELS, Kernel, acknowledged
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
    with Kernel(script, "submit", sqlite, "run", log) as kernel:
        assert kernel.line() == "running"
        assert kernel.wait_line(rng.uniform(0.2, 0.5)) is None, "it ended before it was killed"
        kernel.kill(whole=True)
    for kill in range(KILLS):
        kept = {address(*task) for task in acknowledged(store, "run")}
        before.append((lines(log), kept))  # in this order: the line of every acknowledged task is there by now
        with Kernel(script, "resume", sqlite, "run", log) as kernel:
            assert kernel.line() == "running"
            if kill == KILLS - 1:
                value = kernel.line()
                break
            assert kernel.wait_line(rng.uniform(0.05, 1.0 / KILLS)) is None, "it ended before it was killed"
            kernel.kill(whole=rng.random() < 0.5)
    assert value == f"value {VALUE}"
    assert before[-1][1], "no kill came while there was something to lose"
    after = lines(log)
    for ran, kept in before:
        again = {task for task in kept if after[task] > ran[task]}
        assert not again, "tasks whose values were acknowledged ran again"
    assert max(acknowledged(store, "run").values()) == 1
    assert len(after) == CALLS
