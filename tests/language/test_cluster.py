"""The language on a real cluster of two worker processes: what is stopped, what runs at once, and every construct."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.language.nodes import FOLDER, note
from tests.language.support import calls
from tests.language.table import GIVEN, INNERMOST, TABLE, mean_nest, write_nest
from wfnb.dask.local import LocalCluster
from wfnb.session import SESSION

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A session of its own on two workers with a thread each, its runs in SQLite; the folder holds noted calls."""
    from distributed import Client

    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WFNB_DATA_DIR", str(folder / "data"))
        patch.setenv(FOLDER, str(folder))
        # Workers import the tests' modules as a project's own.
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        for name in ("WFNB_STORE", "WFNB_CLUSTER", "WFNB_SECRET_KEY"):
            patch.delenv(name, raising=False)
        patch.setattr(SESSION, "_store", None)
        patch.setattr(SESSION._clusters, "_configured", None)
        local = LocalCluster(workers=2, threads=1)
        try:
            with Client(local.wait(), set_as_default=False) as client:
                wf.configure(store=f"sqlite:///{folder}/runs.db", cluster=client)
                yield folder
                for run in list(SESSION._runs.values()):
                    run.cancel()
                    run._driver.done.wait(10)
        finally:
            local.close()


@wf.node
def long(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    try:
        time.sleep(0.0)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        with open(f"{os.environ['WFNB_TEST_CALLS']}/stopped-{ctx.run_id}", "a") as file:
            file.write(f"{time.time()}\n")
    return x


@wf.node
def soon(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    while "long" not in Path(f"{os.environ['WFNB_TEST_CALLS']}/{ctx.run_id}").read_text():
        time.sleep(0.01)
    return x


@wf.node
def soon_fails(ctx: wf.Context) -> Any:
    note(ctx)
    while "long" not in Path(f"{os.environ['WFNB_TEST_CALLS']}/{ctx.run_id}").read_text():
        time.sleep(0.01)
    raise ValueError("soon")


@wf.node
def mark(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    return [x, time.time()]


@wf.node
def short(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    time.sleep(0.06)
    return x


@wf.node
def numbers(n: int) -> list[int]:
    return list(range(n))


@wf.node
def endless(ctx: wf.Context) -> Iterator[int]:
    path = f"{os.environ['WFNB_TEST_CALLS']}/generator-{ctx.run_id}"
    try:
        n = 0
        while True:
            yield n
            n += 1
    except GeneratorExit:
        Path(f"{path}.exit").touch()
        raise
    finally:
        Path(f"{path}.finally").touch()


def submit(body: Callable[[], Any], name: str = "flow") -> wf.Run:
    run: wf.Run = wf.workflow(body, name=name).options(view=False).submit()
    return run


def statuses(run: wf.Run) -> dict[str, str]:
    """Return the last status of each task in the trace."""
    trace = run.trace
    return dict(zip(trace.address, trace.status, strict=True))


def stopped(folder: Path, run: wf.Run) -> float:
    """Return when the long task of a run was stopped; seconds since the epoch."""
    return float((folder / f"stopped-{run.id}").read_text())


# -- what is stopped ---------------------------------------------------------------------------------------------------


def test_a_branch_that_fails_stops_the_others_and_they_are_cancelled(cluster: Path) -> None:
    run = submit(lambda: wf.parallel(lambda: long(1), soon_fails))
    with pytest.raises(wf.StepFailed) as failed:
        run.result(20)
    assert (failed.value.error_type, failed.value.address) == ("ValueError", "parallel/soon_fails")
    assert stopped(cluster, run) - run.trace.set_index("address").end["parallel/soon_fails"].timestamp() < 5
    assert run["parallel/long"].status == "cancelled"
    assert run["parallel/soon_fails"].status == "failed"
    assert statuses(run) == {"parallel/long": "cancelled", "parallel/soon_fails": "failed"}


def test_an_item_that_fails_stops_the_others() -> None:
    def body() -> Any:
        return wf.each([0, 1], lambda i: wf.switch(i, {0: lambda: long(i)}, default=soon_fails), max_concurrency=2)

    run = submit(body)
    with pytest.raises(wf.StepFailed) as failed:
        run.result(20)
    assert failed.value.address == "each[1]/switch.default/soon_fails"
    assert run["each[0]/switch.case/long"].status == "cancelled"


def test_the_branch_that_is_over_first_wins_and_the_others_are_stopped(cluster: Path) -> None:
    run = submit(lambda: mark(wf.parallel(lambda: long("long"), lambda: soon("short"), first=True)))
    value, at = run.result(20)
    assert value == "short"
    assert stopped(cluster, run) < at
    assert run["parallel/long"].status == "cancelled"
    assert run.status == "completed"


def test_a_catch_begins_when_what_else_was_in_the_body_has_stopped(cluster: Path) -> None:
    def body() -> Any:
        return wf.attempt(lambda: [long(1), soon_fails()], catch=lambda error: mark(error.type))

    run = submit(body)
    value, at = run.result(20)
    assert value == "ValueError"
    assert stopped(cluster, run) <= at
    assert run["try.try/long"].status == "cancelled"


def test_with_stop_what_runs_in_the_outermost_body_ends_by_itself() -> None:
    def body() -> Any:
        return [short(1), soon_short_fails()]

    run = submit(body)
    with pytest.raises(wf.StepFailed):
        run.result(20)
    assert run["short"].status == "completed"


@wf.node
def soon_short_fails(ctx: wf.Context) -> Any:
    path = Path(f"{os.environ['WFNB_TEST_CALLS']}/{ctx.run_id}")
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    raise ValueError("soon")


def test_a_cancel_stops_what_runs_and_waits_for_finally(cluster: Path) -> None:
    run = submit(lambda: wf.attempt(lambda: long(1), finally_=lambda: short.options(id="end")(1)))
    while not calls(run.id):
        time.sleep(0.01)
    asked = time.time()
    run.cancel()
    with pytest.raises(wf.RunCancelled):
        run.result(20)
    assert stopped(cluster, run) - asked < 5
    assert run.status == "cancelled"
    assert statuses(run)["try.finally/end"] == "completed"
    assert run["try.try/long"].status == "cancelled"


def test_a_cancel_closes_the_generator_on_its_worker(cluster: Path) -> None:
    run = submit(lambda: wf.stream(endless(), short, batch=2, buffer=2))
    while len(calls(run.id)) < 6:
        time.sleep(0.01)
    run.cancel()
    with pytest.raises(wf.RunCancelled):
        run.result(20)
    deadline = time.monotonic() + 5
    told = [cluster / f"generator-{run.id}.{word}" for word in ("exit", "finally")]
    while not all(path.exists() for path in told) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [path.exists() for path in told] == [True, True]


# -- what runs at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2)])
def test_items_run_at_once_as_far_as_max_concurrency_says(limit: int, most: int) -> None:
    run = submit(lambda: wf.each(numbers(8), lambda i: short(i), max_concurrency=limit))
    assert run.result(20) == list(range(8))
    trace = run.trace[run.trace.address.str.endswith("short")]
    marks = sorted([*((at, 1) for at in trace.start), *((at, -1) for at in trace.end)])
    now = found = 0
    for _, step in marks:
        now += step
        found = max(found, now)
    assert found <= most


def test_branches_run_at_once() -> None:
    run = submit(lambda: wf.parallel(lambda: soon("a"), lambda: wf.parallel(lambda: long_enough("b"))))
    assert run.result(20) == ["a", ["b"]]


@wf.node
def long_enough(x: Any, ctx: wf.Context) -> Any:
    note(ctx)
    time.sleep(0.2)
    return x


# -- every construct ---------------------------------------------------------------------------------------------------


def test_every_construct_gives_the_same_on_a_cluster() -> None:
    outers, inners = list(TABLE), list(INNERMOST)
    pairs = [(outer, inners[(n + 5) % len(inners)]) for n, outer in enumerate(outers)]
    runs = {
        (outer, inner): write_nest(outer, inner)
        .options(view=False, run_id=f"works-{outer}-{inner}".replace(" ", "_"))
        .submit(GIVEN)
        for outer, inner in pairs
    }
    for (outer, inner), run in runs.items():
        expected, world = mean_nest(outer, inner)
        assert run.result(40) == expected, f"{inner} in {outer}"
        assert calls(run.id) == dict.fromkeys(world.called, 1), f"{inner} in {outer}"
