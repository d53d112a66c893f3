"""Runs taken up from a chosen step, and forks that share what another run has finished."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.authoring.workflow import LATEST
from wfnb.dask.owners import PRUNER
from wfnb.model.events import COMPLETED, Command, Outcomes, RunStarted, encode_event
from wfnb.run import Run
from wfnb.store.base import Entry, Frames, Store

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session of its own, computing in this process, with an empty memory store."""
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return alone(monkeypatch, tmp_path)


def note(call: str) -> None:
    """Write down that a node is called: in a file, as what is in a list would be part of the node's fingerprint."""
    with open(os.environ["CALLS"], "a") as file:
        file.write(f"{call}\n")


def did() -> list[str]:
    """Return what was called since this was asked last."""
    path = Path(os.environ["CALLS"])
    found = path.read_text().splitlines() if path.exists() else []
    path.write_text("")
    return found


@wf.node
def first(x: int) -> int:
    note("first")
    return x + 1


@wf.node
def second(x: int) -> int:
    note("second")
    return 2 * x


@wf.node
def third(x: int, y: int = 0) -> int:
    note("third")
    return x + 100 + y


@wf.node
def fourth(x: int) -> int:
    note("fourth")
    return x * x


@wf.node
def fifth(x: int) -> int:
    note("fifth")
    return x - 1


@wf.workflow(name="fork-five")
def five(x: int, y: int = 0) -> int:
    return fifth(fourth(third(second(first(x)), y)))


@wf.node
def part(n: int, by: int) -> int:
    note(f"part {n}")
    return n * by


@wf.node
def total(values: list[int]) -> int:
    note("total")
    return sum(values)


@wf.workflow(name="fork-mapped")
def mapped(by: int, plus: int = 0) -> int:
    return third(total(part.map([1, 2, 3], by=by)), plus)


@wf.workflow(name="fork-looped")
def looped(x: int) -> int:
    begun = first(x)
    return fifth(wf.loop(lambda v: fourth(second(v)), init=begun, times=2))


@wf.workflow(name="fork-nested")
def nested(xs: list[int]) -> int:
    return total(wf.each(xs, lambda x: wf.loop(lambda v: second(v), init=first(x), times=2)))


@wf.node
def plan(n: int) -> Any:
    note("plan")
    return {
        "name": "planned",
        "steps": [{"id": f"set{k}", "type": "set", "params": {"name": "a", "value": k}} for k in range(n)],
    }


@wf.workflow(name="fork-grown")
def grown(n: int, y: int = 0) -> int:
    return third(wf.dynamic(plan, n), y)


def ended(workflow: Any, *args: Any, **kwargs: Any) -> Run:
    run: Run = workflow.submit(*args, **kwargs)
    run.result(30)
    return run


def whole(store: Store, run_id: str) -> tuple[Any, ...]:
    """Return all that a run keeps, to see that it is left as it is."""
    rows = store.read(run_id)
    keys = {
        column.pack for event in wf.get_run(run_id).events() if isinstance(event, Outcomes) for column in event.columns
    }
    return rows, {key: [bytes(frame) for frame in frames] for key, frames in store.load(run_id, sorted(keys)).items()}


# -- retry from a step -------------------------------------------------------------------------------------------------


def test_retry_from_a_step_runs_it_and_what_depends_on_it_and_keeps_the_rest() -> None:
    run = ended(five, 1)
    did()
    assert run.retry(from_="third").result(30) == 104 * 104 - 1
    assert did() == ["third", "fourth", "fifth"]


def test_an_address_stands_for_its_whole_step() -> None:
    run = ended(mapped, 10)
    did()
    assert run.retry(from_="part[1]").result(30) == 160
    assert sorted(did()) == ["part 1", "part 2", "part 3", "third", "total"]


def test_a_constructs_id_stands_for_all_that_is_in_it() -> None:
    run = ended(looped, 1)
    did()
    run.retry(from_="loop").result(30)
    assert did() == ["second", "fourth", "second", "fourth", "fifth"]


def test_a_step_of_a_body_runs_again_in_every_iteration_with_what_depends_on_it() -> None:
    run = ended(nested, [1, 2])
    assert run.result() == 4 * 2 + 4 * 3
    did()
    run.retry(from_="each[0]/loop.1/second").result(30)
    assert sorted(did()) == ["second"] * 4 + ["total"]


def test_from_a_step_of_a_sequence_all_that_comes_after_runs_again() -> None:
    flow = wf.loads(
        {
            "name": "fork-in-order",
            "steps": [
                {"id": name, "type": "log", "params": {"message": name}} for name in ("one", "two", "three", "four")
            ],
        }
    )
    run = ended(flow)
    run.retry(from_="three").result(30)
    _, again = [event for event in run.events() if isinstance(event, RunStarted)]
    assert again.reset == {"three": "run.retry(from_='three') asked for it", "four": "'three' runs again"}


def test_an_unknown_step_is_refused_with_the_nearest_and_nothing_is_started() -> None:
    run = ended(five, 1)
    count = len(run.events())
    with pytest.raises(wf.ConfigurationError, match=r"'fork-five' has no step 'thrid'\. Did you mean 'third'"):
        run.retry(from_="thrid")
    with pytest.raises(wf.ConfigurationError, match="no step ''"):
        run.retry(from_="")
    with pytest.raises(wf.ConfigurationError, match="Did you mean 'third'"):
        run.fork(from_="thirdd")
    assert len(run.events()) == count
    assert [one.id for one in wf.runs()] == [run.id]


def test_what_is_chosen_to_run_again_is_not_answered_from_the_store() -> None:
    @wf.node(cache=True)
    def known(x: int) -> int:
        note("known")
        return x

    @wf.workflow(name="fork-asks")
    def asks(x: int) -> int:
        return known(x)

    run = ended(asks, 1)
    assert ended(asks, 1).trace["status"].tolist() == ["cached"]
    assert did() == ["known"]
    run.retry(from_="known").result(30)
    assert did() == ["known"]


# -- forks -------------------------------------------------------------------------------------------------------------


def test_a_fork_from_step_3_of_5_runs_3_4_and_5_only_and_leaves_the_other_run_as_it_is(url: str) -> None:
    run = ended(five, 1)
    before = whole(run.store, run.id)
    did()
    fork = run.fork(from_="third")
    assert fork.result(30) == run.result() == 104 * 104 - 1
    assert did() == ["third", "fourth", "fifth"]
    assert fork.id != run.id
    assert (fork.parent, run.parent) == (run.id, "")
    assert fork.status == "completed"
    assert fork["first"].output == 2
    assert fork["third"].inputs == {"x": 4, "y": 0}
    assert fork.trace["status"].tolist() == ["completed"] * 5
    assert whole(run.store, run.id) == before
    assert wf.get_run(fork.id).result() == 104 * 104 - 1


def test_a_fork_with_other_inputs_runs_what_uses_them_and_what_depends_on_that() -> None:
    run = ended(five, 1)
    did()
    fork = run.fork(inputs={"y": 6})
    assert fork.result(30) == 110 * 110 - 1
    assert did() == ["third", "fourth", "fifth"]
    assert run.fork(inputs={"y": 0}).result(30) == 104 * 104 - 1  # the same value
    assert did() == []


def test_a_fork_of_a_fork_shares_what_both_have_finished() -> None:
    run = ended(five, 1)
    one = run.fork(from_="third", inputs={"y": 6})
    one.result(30)
    did()
    two = one.fork(from_="fifth", run_id="two")
    assert two.result(30) == 110 * 110 - 1
    assert did() == ["fifth"]
    assert (two.id, two.parent, one.parent) == ("two", one.id, run.id)
    assert [two[step].output for step in ("first", "second", "third", "fourth")] == [2, 4, 110, 12100]


def test_a_fork_shares_the_elements_of_maps() -> None:
    run = ended(mapped, 10)
    did()
    assert run.fork(inputs={"plus": 5}).result(30) == 165
    assert did() == ["third"]
    fork = run.fork(from_="total")
    assert fork.result(30) == 160
    assert did() == ["total", "third"]
    assert [fork[f"part[{at}]"].output for at in range(3)] == [10, 20, 30]


def test_a_fork_shares_what_is_inside_of_constructs() -> None:
    run = ended(looped, 1)
    did()
    assert run.fork(from_="fifth").result(30) == run.result()
    assert did() == ["fifth"]
    assert run.fork(from_="loop").result(30) == run.result()
    assert did() == ["second", "fourth", "second", "fourth", "fifth"]
    other = ended(nested, [1, 2])
    did()
    assert other.fork(from_="total").result(30) == other.result()
    assert did() == ["total"]


def test_a_fork_shares_what_a_dynamic_step_planned() -> None:
    run = ended(grown, 3)
    did()
    fork = run.fork(inputs={"y": 5})
    assert fork.result(30) == run.result() + 5
    assert fork.fork(inputs={"y": 6}).result(30) == run.result() + 6
    assert did() == ["third", "third"]


def test_a_fork_is_resumed_and_retried_as_any_run() -> None:
    run = ended(five, 1)
    fork = run.fork(from_="fifth")
    fork.result(30)
    did()
    fork.retry(from_="second").result(30)
    assert did() == ["second", "third", "fourth", "fifth"]
    assert wf.resume(fork.id).result(30) == run.result()
    assert did() == []


def test_a_fork_runs_todays_code_of_edited_steps() -> None:
    def written(by: int) -> Any:
        @wf.node
        def scaled(x: int) -> int:
            return x * by

        @wf.workflow(name="fork-edited")
        def flow(x: int) -> int:
            return scaled(first(x))

        return flow

    run = ended(written(10), 1)
    did()
    written(20)
    assert run.fork().result(30) == 40
    assert did() == []
    assert run.result() == 20


def test_a_fork_of_a_failed_run_runs_the_failed_tasks_again() -> None:
    @wf.node
    def fails(x: int, limit: int) -> int:
        if x > limit:
            raise ValueError("too much")
        return x

    @wf.workflow(name="fork-limited")
    def limited(x: int, limit: int) -> int:
        return fifth(fails(first(x), limit))

    run = limited.submit(10, 5)
    with pytest.raises(wf.StepFailed):
        run.result(30)
    did()
    assert run.fork(inputs={"limit": 50}).result(30) == 10
    assert did() == ["fifth"]
    assert run.status == "failed"


def test_a_fork_of_a_cancelled_run_goes_on() -> None:
    run = ended(five, 1)
    store = run.store
    lease = store.acquire(run.id, "me", 10)
    store.append(
        run.id, [Entry(f"cancelled.{lease.epoch}", encode_event(Command("cancel", "me", time.time())))], epoch=None
    )
    store.append(run.id, [Entry("cancelled.1", encode_event(Command("cancel", "me", time.time())))], epoch=None)
    store.release(run.id, lease.epoch)
    did()
    assert run.fork(from_="fifth").result(30) == run.result()
    assert did() == ["fifth"]


def test_a_fork_of_a_running_run_takes_what_is_acknowledged_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ended(five, 1)
    value, rows = run.result(), run.store.read(run.id)
    upto = next(
        at
        for at, event in enumerate(run.events(), 1)
        if isinstance(event, Outcomes) and any(COMPLETED in column.status for column in event.columns)
    )
    read = type(run.store).read
    monkeypatch.setattr(
        type(run.store), "read", lambda self, one, *args: rows[:upto] if one == run.id else read(self, one, *args)
    )
    monkeypatch.setattr("wfnb.session.await_free", lambda store, run_id: pytest.fail("it is not waited for"))
    fork = run.fork()
    assert fork.result(30) == value
    seen = [event for event in fork.events() if isinstance(event, Outcomes)]
    assert seen[0].bundle == "f." + next(e for e in run.events() if isinstance(e, Outcomes)).bundle


def test_no_value_is_written_again_for_a_fork(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ended(five, 1)
    written: list[str] = []
    create = type(run.store).create

    def noted(self: Store, record: Any, entries: Any = (), packs: dict[str, Frames] | None = None) -> None:
        written.extend(packs or ())
        create(self, record, entries, packs)

    monkeypatch.setattr(type(run.store), "create", noted)
    fork = run.fork(from_="fifth")
    fork.result(30)
    assert not [key for key in written if key.startswith(("b", "f"))]
    packs = {column.pack for event in fork.events() if isinstance(event, Outcomes) for column in event.columns}
    assert [pack for pack in sorted(packs) if not pack.startswith(f"/{run.id}/")] == ["b1.1.1"]


def test_an_unknown_input_a_wrong_value_and_a_bad_or_taken_id_are_refused_before_anything_is_made() -> None:
    run = ended(five, 1)
    with pytest.raises(wf.ConfigurationError, match="'fork-five' has no input 'z'"):
        run.fork(inputs={"z": 1})
    with pytest.raises(wf.DefinitionError, match="y"):
        run.fork(inputs={"y": "many"})
    with pytest.raises(wf.ConfigurationError, match="id of a run"):
        run.fork(run_id="a/b")
    with pytest.raises(wf.RunExists):
        run.fork(run_id=run.id)
    with pytest.raises(TypeError, match="given by name"):
        run.fork(inputs=[1])  # type: ignore[arg-type]
    assert [one.id for one in wf.runs()] == [run.id]


def test_a_workflow_this_process_does_not_have_is_forked_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ended(five, 1)
    did()
    monkeypatch.delitem(LATEST, "fork-five")
    assert run.fork(inputs={"y": 6}).result(30) == 110 * 110 - 1
    assert did() == ["third", "fourth", "fifth"]
    with pytest.raises(wf.ConfigurationError, match="'fork-five' has no input 'z'"):
        run.fork(inputs={"z": 1})


def test_a_value_that_will_not_do_for_a_workflow_this_process_does_not_have_makes_no_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @wf.workflow(name="mapped")
    def mapped(xs: list[int]) -> list[int]:
        return first.map(xs)

    run = ended(mapped, [1, 2])
    monkeypatch.delitem(LATEST, "mapped")
    with pytest.raises(wf.DefinitionError, match="nothing was started"):
        run.fork(inputs={"xs": 5})
    assert [one.id for one in wf.runs()] == [run.id]


def test_a_fork_of_a_run_that_is_being_removed_waits_and_leaves_nothing_when_it_is_gone(url: str) -> None:
    run = ended(five, 1)
    lease = run.store.acquire(run.id, f"{PRUNER}somebody", 30)
    removal = threading.Timer(0.3, lambda: run.store.delete(run.id, epoch=lease.epoch))
    removal.start()
    with pytest.raises(wf.RunNotFound):
        run.fork(from_="third")
    removal.join()
    assert list(wf.runs()) == []


def test_who_removes_a_run_is_refused_once_a_fork_is_there() -> None:
    run = ended(five, 1)
    lease = run.store.acquire(run.id, f"{PRUNER}somebody", 0.01)
    time.sleep(0.02)
    run.fork(from_="third").result(30)
    with pytest.raises(Exception, match="epoch"):
        run.store.delete(run.id, epoch=lease.epoch)
