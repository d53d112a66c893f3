"""`cache=True`: what is known is answered from the store, in any run, workflow and process; everything else runs."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
import wfnb.dask.cache
from tests.servers import redis_server
from wfnb.engine.lower import lower
from wfnb.engine.plan import make_plan
from wfnb.engine.state import State
from wfnb.model.events import Column, Outcomes, RunStarted
from wfnb.session import SESSION
from wfnb.store.sqlite import SQLiteStore
from wfnb.store.urls import open_store

FACTOR = 2


def note(log: str, what: object) -> None:
    with open(log, "a") as file:
        file.write(f"{what}\n")


class Place:
    """A store, and a file in which nodes note that they were called."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.url = url or f"sqlite:///{folder}/runs.db"
        self.log = str(folder / "calls")
        Path(self.log).touch()

    def run(self, flow: Any, **inputs: Any) -> Any:
        run = flow.options(store=self.url, cluster="inline", view=False).submit(**inputs)
        run.result(30)
        return run

    def calls(self) -> list[str]:
        """The calls since the last look."""
        found = Path(self.log).read_text().split("\n")[:-1]
        Path(self.log).write_text("")
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path / "data"))
    return Place(tmp_path)


def flow_of(node: Any, name: str = "flow") -> Any:
    @wf.workflow(name=name)
    def flow(x: Any, log: str) -> Any:
        return node(x, log)

    return flow


def map_of(*nodes: Any, name: str = "flow") -> Any:
    @wf.workflow(name=name)
    def flow(xs: list[Any], log: str) -> Any:
        for node in nodes:
            xs = node.map(xs, log=log)
        return xs

    return flow


def statuses(run: Any) -> list[str]:
    return list(run.trace["status"])


@wf.node(cache=True)
def double(x: Any, log: str) -> Any:
    note(log, x)
    return x * 2


@wf.node(cache=True)
def increase(x: Any, log: str) -> Any:
    note(log, x)
    return x + 1


# -- known ---------------------------------------------------------------------------------------------------------


def test_a_second_run_is_answered_and_calls_nothing(place: Place) -> None:
    first = place.run(flow_of(double), x=21, log=place.log)
    assert place.calls() == ["21"]
    assert statuses(first) == ["completed"]
    second = place.run(flow_of(double), x=21, log=place.log)
    assert place.calls() == []
    assert second.result() == 42
    assert statuses(second) == ["cached"]
    assert list(second.trace["duration"]) == [0.0]
    assert second.snapshot().counts.cached == 1
    assert second.status == "completed"
    assert second["double"].output == 42


def test_another_workflow_and_another_way_to_write_the_call_are_answered_too(place: Place) -> None:
    @wf.node(cache=True)
    def scale(x: int, log: str, factor: int = 3) -> int:
        note(log, x)
        return x * factor

    @wf.workflow
    def one(log: str) -> int:
        return scale(5, log)

    @wf.workflow
    def two(log: str) -> int:
        return scale.options(id="other")(factor=3, log=log, x=5)

    @wf.workflow
    def three(log: str) -> list[int]:
        return scale.map([5, 6], log=log, factor=3)

    place.run(one, log=place.log)
    assert statuses(place.run(two, log=place.log)) == ["cached"]
    assert place.calls() == ["5"]
    assert Counter(statuses(place.run(three, log=place.log))) == {"cached": 1, "completed": 1}


SCRIPT = """
import sys
import wfnb as wf

BASE = 10

def helper(x):
    return x + BASE

@wf.node(cache=True)
def work(x):
    print("called", flush=True)
    return {"value": helper(x)}

@wf.workflow
def flow(x):
    return work(x)

run = flow.options(store=sys.argv[1], cluster="inline", view=False).submit(x=1)
assert run.result(30) == {"value": 11}
sys.stdout.write(run.trace["status"][0])
"""


def test_another_process_is_answered_too(place: Place, tmp_path: Path) -> None:
    told = []
    for number in range(2):
        script = tmp_path / f"script{number}.py"
        script.write_text("\n" * number + SCRIPT)
        command = [sys.executable, str(script), place.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split()[-1])
    assert told == ["completed", "cached"]


@pytest.mark.parametrize("value", [None, 0, "", [], False, {}])
def test_an_empty_value_is_a_value(place: Place, value: Any) -> None:
    @wf.node(cache=True)
    def give(value: Any, log: str) -> Any:
        note(log, "called")
        return value

    for _ in range(2):
        run = place.run(flow_of(give), x=value, log=place.log)
        assert run.result() == value
        assert type(run.result()) is type(value)
    assert place.calls() == ["called"]


def test_what_is_known_of_a_fan_out_is_answered_and_the_rest_runs(place: Place) -> None:
    place.run(map_of(double), xs=[1, 2, 3], log=place.log)
    assert place.calls() == ["1", "2", "3"]
    run = place.run(map_of(double), xs=[0, 3, 1, 4], log=place.log)
    assert run.result() == [0, 6, 2, 8]
    assert place.calls() == ["0", "4"]
    assert statuses(run) == ["completed", "cached", "cached", "completed"]


def test_steps_fused_into_one_bundle_are_each_answered(place: Place) -> None:
    place.run(map_of(double, increase), xs=list(range(600)), log=place.log)
    place.calls()
    run = place.run(map_of(double, increase), xs=list(range(700)), log=place.log)
    assert run.result() == [2 * x + 1 for x in range(700)]
    assert len(place.calls()) == 200
    assert Counter(statuses(run)) == {"cached": 1200, "completed": 200}


def test_a_fan_out_over_a_cached_list_has_its_width(place: Place) -> None:
    @wf.node(cache=True)
    def numbers(log: str) -> list[int]:
        note(log, "called")
        return [1, 2, 3]

    @wf.workflow
    def flow(log: str) -> list[int]:
        return double.map(numbers(log), log=log)

    place.run(flow, log=place.log)
    run = place.run(flow, log=place.log)
    assert run.result() == [2, 4, 6]
    assert statuses(run) == ["cached"] * 4
    assert len(place.calls()) == 4


def test_a_run_keeps_what_it_was_answered(place: Place) -> None:
    first = place.run(flow_of(double), x=1, log=place.log)
    second = place.run(flow_of(double), x=1, log=place.log)
    open_store(place.url).delete(first.id)
    assert second.result() == 2
    assert second["double"].output == 2
    assert statuses(place.run(flow_of(double), x=1, log=place.log)) == ["cached"]


def test_a_retry_after_a_failure_keeps_what_was_cached(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SESSION, "_store", place.url)
    monkeypatch.setenv("WFNB_CLUSTER", "inline")
    switch = str(tmp_path / "switch")

    @wf.node
    def fragile(x: int, switch: str) -> int:
        if not Path(switch).exists():
            raise OSError("not yet")
        return x + 1

    @wf.workflow
    def flow(log: str, switch: str) -> int:
        return fragile(double(4, log), switch)

    place.run(flow_of(double, "other"), x=4, log=place.log)
    run = flow.options(store=place.url, cluster="inline", view=False).submit(log=place.log, switch=switch)
    with pytest.raises(wf.StepFailed):
        run.result(30)
    Path(switch).touch()
    again = run.retry()
    assert again.result(30) == 9
    assert place.calls() == ["4"]
    assert statuses(again) == ["cached", "failed", "completed"]


def test_a_redis_store_answers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path / "data"))
    with redis_server() as server:
        place = Place(tmp_path, server.url)
        first = place.run(map_of(double), xs=list(range(300)), log=place.log)
        assert len(place.calls()) == 300
        second = place.run(map_of(double), xs=list(range(301)), log=place.log)
        assert place.calls() == ["300"]
        assert second.result() == [2 * x for x in range(301)]
        store = open_store(place.url)
        store.delete(first.id)
        store.delete(second.id)
        place.run(map_of(double), xs=[1], log=place.log)
        assert place.calls() == ["1"]
        store.close()


# -- not known -----------------------------------------------------------------------------------------------------


def test_other_inputs_run(place: Place) -> None:
    for x in (1, 2, 1.0, True, "1", [1]):
        assert statuses(place.run(flow_of(double), x=x, log=place.log)) == ["completed"]
    assert len(place.calls()) == 6


def test_without_cache_everything_runs_every_time(place: Place) -> None:
    @wf.node
    def plain(x: int, log: str) -> int:
        note(log, x)
        return x

    for _ in range(2):
        assert statuses(place.run(flow_of(plain), x=1, log=place.log)) == ["completed"]
    assert statuses(place.run(flow_of(double.options(cache=False)), x=1, log=place.log)) == ["completed"]
    assert statuses(place.run(flow_of(double), x=1, log=place.log)) == ["completed"]
    assert len(place.calls()) == 4


def closing_over(helper: Callable[[int], int], version: str = "") -> Any:
    @wf.node(cache=True, version=version)
    def apply(x: int, log: str) -> int:
        note(log, x)
        return helper(x)

    return apply


def test_an_edited_helper_or_another_version_runs_again(place: Place) -> None:
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    assert place.run(flow_of(closing_over(first)), x=1, log=place.log).result() == 2
    assert place.run(flow_of(closing_over(second)), x=1, log=place.log).result() == 3
    assert place.run(flow_of(closing_over(first)), x=1, log=place.log).result() == 2
    assert len(place.calls()) == 2
    assert statuses(place.run(flow_of(closing_over(first, "2")), x=1, log=place.log)) == ["completed"]


def test_an_edited_body_or_default_runs_again(place: Place) -> None:
    def edited(number: int) -> Any:
        if number == 0:

            def work(x: int, log: str, step: int = 1) -> int:
                note(log, x)
                return x + step
        elif number == 1:

            def work(x: int, log: str, step: int = 2) -> int:
                note(log, x)
                return x + step
        else:

            def work(x: int, log: str, step: int = 1) -> int:
                note(log, x)
                return x - step

        return wf.node(cache=True)(work)

    values = [place.run(flow_of(edited(number)), x=5, log=place.log).result() for number in (0, 1, 2, 0)]
    assert values == [6, 7, 4, 6]
    assert len(place.calls()) == 3


def test_an_edited_global_runs_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    @wf.node(cache=True)
    def scaled(x: int, log: str) -> int:
        note(log, x)
        return x * FACTOR

    assert place.run(flow_of(scaled), x=5, log=place.log).result() == 10
    monkeypatch.setitem(globals(), "FACTOR", 3)
    assert place.run(flow_of(scaled), x=5, log=place.log).result() == 15
    assert len(place.calls()) == 2


def times(by: int) -> Callable[[int], int]:
    return lambda x: x * by


def test_two_lambdas_or_closures_are_never_taken_for_each_other(place: Place) -> None:
    nodes = [wf.node(cache=True, name="f")(f) for f in (lambda x, log: x + 1, lambda x, log: x + 2)]
    nodes += [closing_over(f) for f in ((lambda x: x * 3), (lambda x: x * 4))]
    nodes += [closing_over(lambda x, by=by: x * by) for by in (5, 6)]
    nodes += [closing_over(times(by)) for by in (7, 8)]
    for _ in range(2):
        values = [place.run(flow_of(node), x=1, log=place.log).result() for node in nodes]
        assert values == [2, 3, 3, 4, 5, 6, 7, 8]
    assert len(place.calls()) == 6  # the first two note nothing


def test_two_lambdas_given_as_inputs_are_never_taken_for_each_other(place: Place) -> None:
    @wf.node(cache=True)
    def call(x: Callable[[], int], log: str) -> int:
        note(log, "called")
        return x()

    for _ in range(2):
        assert [place.run(flow_of(call), x=f, log=place.log).result() for f in (lambda: 1, lambda: 2)] == [1, 2]
    assert len(place.calls()) == 2


def test_a_deleted_run_is_not_remembered(place: Place) -> None:
    first = place.run(flow_of(double), x=1, log=place.log)
    open_store(place.url).delete(first.id)
    assert statuses(place.run(flow_of(double), x=1, log=place.log)) == ["completed"]
    assert len(place.calls()) == 2


def test_a_value_that_is_gone_or_refused_is_computed_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    @wf.node(cache=True)
    def make(x: int, log: str) -> Any:
        note(log, x)
        return {1, x}  # a set is pickled, and signed

    place.run(map_of(make), xs=[2, 3], log=place.log)
    monkeypatch.setenv("WFNB_SECRET_KEY", "of somebody else")
    run = place.run(map_of(make), xs=[2, 3], log=place.log)
    assert run.result() == [{1, 2}, {1, 3}]
    assert statuses(run) == ["completed", "completed"]
    monkeypatch.setattr(SQLiteStore, "load", load_nothing_of(run.id))
    assert statuses(place.run(map_of(make), xs=[2], log=place.log)) == ["completed"]


def load_nothing_of(run_id: str) -> Any:
    load = SQLiteStore.load
    return lambda self, run, keys: {} if run == run_id else load(self, run, keys)


def test_a_failed_task_is_not_remembered(place: Place, tmp_path: Path) -> None:
    @wf.node(cache=True, retries=1)
    def fragile(x: str, log: str) -> int:
        note(log, "called")
        if not Path(x).exists():
            raise OSError("not yet")
        return 1

    flow, path = flow_of(fragile), tmp_path / "there"
    run = flow.options(store=place.url, cluster="inline", view=False).submit(x=str(path), log=place.log)
    with pytest.raises(wf.StepFailed):
        run.result(30)
    assert len(place.calls()) == 2
    path.touch()
    assert statuses(place.run(flow, x=str(path), log=place.log)) == ["completed"]
    assert statuses(place.run(flow, x=str(path), log=place.log)) == ["cached"]


def test_an_input_without_content_runs_every_time(place: Place) -> None:
    @wf.node(checkpoint=False)
    def lock() -> Any:
        return threading.Lock()

    @wf.node(cache=True)
    def use(lock: Any, log: str) -> int:
        note(log, "called")
        return 1

    @wf.workflow
    def flow(log: str) -> int:
        return use(lock(), log)

    for _ in range(2):
        assert statuses(place.run(flow, log=place.log)) == ["completed", "completed"]
    assert len(place.calls()) == 2


def test_a_value_that_is_not_checkpointed_is_not_remembered(place: Place) -> None:
    @wf.node(cache=True, checkpoint=False)
    def loose(x: int, log: str) -> int:
        note(log, x)
        return x

    @wf.workflow
    def flow(x: int, log: str) -> int:
        return increase(loose(x, log), log)

    for _ in range(2):
        run = place.run(flow, x=7, log=place.log)
    assert statuses(run) == ["completed", "cached"]
    assert len(place.calls()) == 3


def test_a_node_that_cannot_be_fingerprinted_warns_once_and_runs(place: Place) -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]

    @wf.node(cache=True)
    def use(x: int, log: str) -> int:
        note(log, len(deep))
        return x

    @wf.workflow
    def flow(log: str) -> list[int]:
        return [use(1, log), use(2, log)]

    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert statuses(place.run(flow, log=place.log)) == ["completed", "completed"]
        (warning,) = caught
        assert warning.category is wf.CacheWarning
        assert warning.filename == __file__
        assert "'deep'" in str(warning.message)
        assert "node 'use'" in str(warning.message)
    assert len(place.calls()) == 4


def test_a_node_that_says_it_is_not_cacheable_runs_every_time(place: Place) -> None:
    class Now(wf.Node):
        capabilities = wf.Capabilities(cacheable=False)

        def execute(self, x: int, log: str) -> int:
            note(log, x)
            return x

    for _ in range(2):
        assert statuses(place.run(flow_of(Now().options(cache=True)), x=1, log=place.log)) == ["completed"]
    assert len(place.calls()) == 2


# -- cost ----------------------------------------------------------------------------------------------------------


def test_a_fan_out_is_looked_up_in_batches_and_a_shared_argument_hashed_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalls, hashed = [], []
    recall, hash_value = SQLiteStore.recall, wfnb.dask.cache.hash_value

    def counted(self: SQLiteStore, keys: Any) -> Any:
        recalls.append(len(keys))
        return recall(self, keys)

    def hashing(value: Any) -> str | None:
        hashed.append(value)
        return hash_value(value)

    monkeypatch.setattr(SQLiteStore, "recall", counted)
    monkeypatch.setattr(wfnb.dask.cache, "hash_value", hashing)
    place.run(map_of(double), xs=list(range(2_000)), log=place.log)
    run = place.run(map_of(double), xs=list(range(2_000)), log=place.log)
    assert Counter(statuses(run)) == {"cached": 2_000}
    assert len(recalls) < 100
    assert sum(value == place.log for value in hashed) <= 4


def test_cached_tasks_say_nothing_of_how_long_a_task_runs() -> None:
    plan = make_plan(lower(map_of(double).graph))
    state = State(plan)
    state.apply(RunStarted(0.0, "driver", "code", {"double": 20}))

    def outcome(lo: int, status: bytes, seconds: float) -> None:
        import array

        times = [array.array("d", [at] * len(status)).tobytes() for at in (0.0, seconds)]
        state.apply(Outcomes("b", "w", (Column("double", lo, 1, status, *times, pack="p"),)))

    outcome(0, b"ccccc", 0.0)
    label = plan.templates[0].label
    assert label not in state.estimates
    outcome(5, b"CCCCC", 2.0)
    assert state.estimates[label] == pytest.approx(2.0, rel=0.01)
    outcome(10, b"cccccccccc", 0.0)
    assert state.estimates[label] == pytest.approx(2.0, rel=0.01)
    assert 0.4 < (state.estimate(0) or 0.0) < 0.6  # three of four were known
    assert state.complete
    state.validate()
