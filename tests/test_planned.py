"""What a run would do, as `plan` tells it before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.cells import GOOD, START, Cells, alone
from wfnb.session import SESSION

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore::wfnb.NameWarning")]


@pytest.fixture(autouse=True)
def _session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch, tmp_path, f"sqlite:///{tmp_path}/runs.db")


@pytest.fixture
def cell() -> Cells:
    cells = Cells()
    cells(START)
    return cells


@pytest.fixture
def chain(cell: Cells) -> Cells:
    """A notebook with a chain of steps that are answered from the store, and one that is not."""
    cell("""
        @wf.node(cache=True)
        def load(n: int) -> list:
            return list(range(n))

        @wf.workflow
        def chain(n: int = 3):
            return best(train.map(load(n)))
    """)
    return cell


def states(plan: Any) -> dict[str, str]:
    return {step.id: step.state for step in plan}


def test_before_the_first_run_everything_is_new(chain: Cells) -> None:
    plan = chain.names["chain"].plan()
    assert states(plan) == {"load": "new", "train": "new", "best": "new"}
    assert (plan["load"].tasks, plan["train"].tasks, plan.compared) == (1, None, "")


def test_what_is_known_is_found_through_values_that_are_known(chain: Cells) -> None:
    first = chain.run(flow="chain")
    plan = chain.names["chain"].plan(3)
    assert states(plan) == {"load": "cached", "train": "cached", "best": "unchanged"}
    assert (plan["train"].tasks, plan["train"].known) == (3, 3)
    assert plan["train"].why == f"run '{first.id}' made it"
    assert "no cache=True" in plan["best"].why


def test_another_input_is_named_with_what_follows_from_it(chain: Cells) -> None:
    chain.run(3, flow="chain")
    plan = chain.names["chain"].plan(4)
    assert states(plan) == {"load": "stale", "train": "stale", "best": "stale"}
    assert plan["load"].why == "input 'n' has another value"
    assert plan["train"].why == "'load' before it: input 'n' has another value"


def test_elements_that_are_known_are_counted(chain: Cells) -> None:
    chain("@wf.workflow\ndef listed(xs: list):\n    return train.map(xs)")
    chain.run([1, 2], flow="listed")
    plan = chain.names["listed"].plan([1, 2, 3])
    assert (plan["train"].state, plan["train"].tasks, plan["train"].known) == ("stale", 3, 2)
    assert "2/3 known" in repr(plan)


def test_an_edited_helper_makes_its_step_stale_and_what_follows(chain: Cells) -> None:
    chain.run(flow="chain")
    chain("def clean(x):\n    return x * SCALE + 1")
    plan = chain.names["chain"].plan()
    assert states(plan) == {"load": "cached", "train": "stale", "best": "stale"}
    assert plan["train"].why == "helper 'clean' changed"
    assert plan["best"].why == "'train' before it: helper 'clean' changed"


def test_a_step_that_depends_on_one_that_runs_every_time_is_unknown(cell: Cells) -> None:
    cell(GOOD)
    cell.run(3)
    plan = cell.names["flow"].plan(3)
    assert states(plan) == {"load": "unchanged", "train": "unknown", "best": "unchanged", "publish": "unchanged"}
    assert plan["train"].why == "it depends on the value of 'load'"


def test_a_step_that_is_new_and_one_that_failed_are_new(cell: Cells) -> None:
    failed = cell.run(3, ok=False)
    assert cell.names["flow"].plan(3)["publish"].why == f"run '{failed.id}' did not complete it"
    cell("@wf.workflow\ndef flow(n: int = 3):\n    return best(best([best(train.map(load(n)))]))")
    assert cell.names["flow"].plan(3)["best_2"].state == "new"


def test_a_step_that_was_skipped_because_one_before_it_failed_is_new(cell: Cells) -> None:
    cell("""
        @wf.workflow
        def behind(n: int = 3):
            return best([publish(best(train.map(load(n))))])
    """)
    failed = cell.run(3, flow="behind", ok=False)
    assert cell.names["behind"].plan(3)["best_2"].why == f"run '{failed.id}' did not complete it"


def test_a_condition_that_is_known_to_be_false_is_told(cell: Cells) -> None:
    cell("@wf.workflow\ndef perhaps(n: int):\n    return load.options(when=n > 5)(n)")
    assert cell.names["perhaps"].plan(1)["load"].state == "skipped"
    assert cell.names["perhaps"].plan(6)["load"].state == "new"


@pytest.mark.filterwarnings("error::wfnb.CacheWarning")
def test_a_step_that_cannot_be_compared_runs_every_time_and_says_why(cell: Cells) -> None:
    cell("SCALE = iter([1])\ndef clean(x):\n    return SCALE and 1")
    cell("import threading\nSCALE = threading.Lock()")
    plan = cell.names["known"].plan()
    assert plan["train"].state == "stale"
    assert "'SCALE' cannot be fingerprinted" in plan["train"].why


def test_steps_of_constructs_are_compared_too(cell: Cells) -> None:
    cell("""
        @wf.workflow
        def looped(n: int = 2):
            return wf.loop(lambda x: train(x), init=n, times=3)
    """)
    cell.run(flow="looped")
    (step,) = cell.names["looped"].plan()
    assert step.state == "unknown"
    cell("def clean(x):\n    return x * SCALE + 5")
    (step,) = cell.names["looped"].plan()
    assert (step.state, step.why) == ("stale", "helper 'clean' changed")


def test_the_width_of_a_product_is_known_only_when_that_of_all_its_lists_is(chain: Cells) -> None:
    chain("""
        @wf.node(cache=True)
        def pair(x, y):
            return x, y

        @wf.workflow
        def grid(n: int = 3):
            return pair.expand(x=load(n), y=[1, 2])
    """)
    assert chain.names["grid"].plan()["pair"].tasks is None
    chain.run(flow="grid")
    plan = chain.names["grid"].plan()
    assert (plan["pair"].state, plan["pair"].tasks) == ("cached", 6)


def test_a_case_that_was_not_taken_is_unknown(cell: Cells) -> None:
    cell("""
        @wf.workflow
        def either(n: int):
            return wf.switch(n, {1: lambda: load(n)}, default=lambda: best([n]))
    """)
    run = cell.run(1, flow="either")
    plan = cell.names["either"].plan(1)
    assert [(step.state, step.why) for step in plan if "default" in step.id] == [
        ("unknown", f"run '{run.id}' did not need it")
    ]


def test_a_plan_runs_nothing_and_writes_nothing(chain: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.run(flow="chain")
    store = SESSION.store()
    for name in ("append", "create", "acquire", "delete"):
        monkeypatch.setattr(store, name, lambda *_, **__: pytest.fail("it was written"))
    chain("@wf.node(cache=True)\ndef train(x):\n    raise AssertionError('it ran')")
    assert chain.names["chain"].plan()["train"].state == "stale"


def test_a_large_value_is_not_loaded_to_find_out_more(chain: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.run(flow="chain")
    monkeypatch.setattr("wfnb.planned.ROOM", 1)
    plan = chain.names["chain"].plan()
    assert (plan["load"].state, plan["train"].state) == ("cached", "unknown")
    assert plan["train"].why == "the value of 'load' is too large to be looked at here"


def test_very_many_tasks_are_not_looked_up(chain: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.run(flow="known")
    monkeypatch.setattr("wfnb.planned.MOST", 3)
    assert chain.names["known"].plan()["train"].state == "unknown"


def test_bad_inputs_of_a_plan_are_refused(chain: Cells) -> None:
    with pytest.raises(wf.DefinitionError, match="input 'm'"):
        chain.names["chain"].plan(m=3)


def test_a_plan_is_a_table(chain: Cells) -> None:
    run = chain.run(flow="chain")
    plan = chain.names["chain"].plan()
    lines = repr(plan).splitlines()
    assert lines[0] == f"chain: 2 cached, 1 unchanged (compared with run '{run.id}')"
    assert lines[1].split()[:4] == ["≡", "load", "cached", "1"]
    assert plan._repr_html_().count("<tr>") == 4
    assert len(plan) == 3
    with pytest.raises(KeyError, match="Did you mean 'load'"):
        plan["lode"]


def test_plans_take_the_store_of_the_options(chain: Cells, tmp_path: Path) -> None:
    chain.run(flow="chain")
    other = chain.names["chain"].options(store=f"sqlite:///{tmp_path}/other.db")
    assert states(other.plan()) == {"load": "new", "train": "new", "best": "new"}
