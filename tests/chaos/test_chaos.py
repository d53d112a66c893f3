"""The fault suite's short form, in processes of its own: every target and workflow. And that its checks can fail."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.flows import FLOWS
from tests.chaos.ledger import Ledger
from tests.chaos.processes import MARK, Family
from tests.chaos.runner import within
from tests.chaos.schedules import ALL, CASES, TARGETS, schedule
from tests.chaos.schedules import FLOWS as NAMES
from tests.servers import RedisServer
from wfnb.model.events import COMPLETED, FAILED, Column, Outcomes, encode_event
from wfnb.store.base import Entry, RunRecord
from wfnb.store.urls import open_store

SHORT = 7
RUN = RunRecord("run", "flow", "1", "running", 0.0, 0.0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whatever_is_killed_nothing_acknowledged_is_lost_or_repeated_and_nothing_is_left_behind() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seeds", str(SHORT), "--within", "240"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate()
        finally:
            process.terminate()  # if this test is ended: then it ends what it has started
    print(said)
    assert process.returncode == 0, said
    assert "in 0 schedules" in said


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_schedule_whenever_it_is_asked() -> None:
    before = [schedule(seed) for seed in range(50)]
    random.seed(1)
    assert [schedule(seed) for seed in range(50)] == before
    assert len({one.kills for one in before}) == 50


def test_the_short_form_strikes_every_target_and_every_workflow() -> None:
    short = [schedule(seed) for seed in range(SHORT)]
    assert {kill.target for one in short for kill in one.kills} == set(TARGETS)
    assert {one.flow for one in short} == set(NAMES) == set(FLOWS)
    assert {one.store for one in short} == {"sqlite", "redis"}


def test_all_schedules_have_every_target_and_pair_in_every_workflow_on_every_store() -> None:
    assert ALL >= 200
    seen = Counter(
        (tuple(sorted(kill.target for kill in one.kills)), one.flow, one.store) for one in map(schedule, range(ALL))
    )
    assert seen == {
        (tuple(sorted(case)), flow, store): 2 if "redis" in case else 1
        for case in CASES
        for flow in NAMES
        for store in (("redis",) if "redis" in case else ("sqlite", "redis"))
    }


def test_redis_is_only_killed_where_runs_are_kept_in_it_and_hosts_only_where_they_drive() -> None:
    for one in map(schedule, range(500)):
        targets = {kill.target for kill in one.kills}
        assert one.store == "redis" or "redis" not in targets
        assert one.driver == "cluster" or "driver" not in targets


# -- the checks can fail -----------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The ledger of a run without entries."""
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    store.create(RUN)
    yield Ledger(store, "run", tmp_path / "log")
    store.close()


def record(ledger: Ledger, key: str, step: str, lo: int, statuses: list[int], attempt: int = 1) -> None:
    """Acknowledge outcomes of neighbouring elements."""
    times = bytes(8 * len(statuses))
    column = Column(step, lo, attempt, bytes(statuses), times, times)
    ledger.store.append("run", [Entry(key, encode_event(Outcomes("b", "w", (column,))))], epoch=None)


def note(ledger: Ledger, *lines: str) -> None:
    """Note bodies that began."""
    with ledger.log.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_a_task_that_runs_again_after_it_was_acknowledged_is_found(ledger: Ledger) -> None:
    note(ledger, "square[0] 1", "square[1] 1", "each[2]/fit 1", "alone 1", "square[1] 1")
    record(ledger, "b.1", "square", 0, [COMPLETED, COMPLETED])
    record(ledger, "b.2", "each[]/fit", 2, [FAILED])
    record(ledger, "b.3", "alone", 0, [COMPLETED])
    ledger.look()
    assert ledger.repeated() == set(), "what began before it was acknowledged may have begun twice"
    note(ledger, "each[2]/fit 2", "square[2] 1")
    assert ledger.repeated() == set(), "another attempt, another element"
    note(ledger, "square[1] 1", "each[2]/fit 1", "alone 1")
    assert ledger.repeated() == {"square[1] 1", "each[2]/fit 1", "alone 1"}


def test_two_outcomes_of_one_attempt_are_found(ledger: Ledger) -> None:
    record(ledger, "b.1", "square", 0, [FAILED, COMPLETED, COMPLETED])
    record(ledger, "b.2", "square", 0, [COMPLETED], attempt=2)
    assert (ledger.doubled(), ledger.recorded()) == (set(), 4)
    record(ledger, "c.1", "square", 1, [COMPLETED])
    assert ledger.doubled() == {("square", 1, 1)}


def test_an_outcome_that_a_store_forgets_is_found(ledger: Ledger) -> None:
    record(ledger, "b.1", "square", 0, [COMPLETED])
    ledger.look()
    assert ledger.lost() == set()
    ledger.store.delete("run")
    ledger.store.create(RUN)
    assert ledger.lost() == {("square", 0, 1)}


def test_processes_of_the_suite_are_found_and_redis_servers_too_that_hide_the_mark() -> None:
    before = {process.pid for process in Family("a mark").all}
    marked = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"],
        env={**os.environ, MARK: "a mark"},
        stdin=subprocess.PIPE,
    )
    with marked, RedisServer() as server:
        assert server.process is not None
        pid = server.process.pid
        server.start()
        assert server.process.pid == pid, "it runs already"
        assert within(10, lambda: len(Family("a mark").orphans()) == len(before) + 3), "the inner one is a grandchild"
        found = {process.pid for process in Family("a mark").orphans()} - before
        assert {marked.pid, pid} < found
        assert pid not in {process.pid for process in Family("a mark", {pid}).all}
        marked.communicate(b"\n")
    assert within(10, lambda: not {process.pid for process in Family("a mark").all} - before)


def test_the_expected_values_are_those_of_runs_without_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("tests.chaos.flows.SECONDS", 0.0)
    for name, flow in FLOWS.items():
        options = flow.workflow.options(store=f"sqlite:///{tmp_path}/runs.db", cluster="inline")
        run = options.submit(str(tmp_path / name), 0.0)
        assert run.result(60) == flow.value, name
        assert len((tmp_path / name).read_text().splitlines()) == flow.tasks
        run.store.close()


def test_moments_are_over_the_whole_run() -> None:
    shares = sorted(kill.amount for one in map(schedule, range(300)) for kill in one.kills if kill.after == "progress")
    assert shares[0] < 0.05
    assert shares[-1] > 0.85
    assert max(b - a for a, b in pairwise(shares)) < 0.1
