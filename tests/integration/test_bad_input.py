"""Whatever is wrong is said before anything starts: a clear error, and no run in the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.integration.support import Kernel, took
from tests.servers import free_port
from wfnb.store.urls import open_store

pytestmark = pytest.mark.timeout(60)


@wf.node
def double(x: int) -> int:
    return 2 * x


@wf.node
def add(x: int, y: int) -> int:
    return x + y


@wf.workflow
def doubled(x: int) -> int:
    return double(x)


@pytest.fixture(autouse=True)
def nothing_submitted(ready: str) -> Iterator[None]:
    """Check after each test that the configured store holds no run."""
    yield
    assert open_store(ready).find() == []


def refused(error: type[BaseException], *words: str) -> Any:
    """Expect an error whose message holds all of these words."""

    def check(found: BaseException) -> bool:
        missing = [word for word in words if word not in str(found)]
        assert not missing, f"the message lacks {missing}:\n{found}"
        return True

    return pytest.raises(error, check=check)


# -- inputs ------------------------------------------------------------------------------------------------------------


def test_an_input_of_the_wrong_type_is_refused_by_name() -> None:
    with refused(wf.DefinitionError, "doubled", "'x'", "'three'", "int"):
        doubled.submit("three")


def test_a_missing_input_is_named() -> None:
    with refused(wf.DefinitionError, "doubled", "'x'", "missing"):
        doubled.submit()


def test_an_unexpected_input_is_named_with_the_nearest_known_one() -> None:
    with refused(wf.DefinitionError, "doubled", "'xx'", "Did you mean 'x'?"):
        doubled.submit(1, xx=2)


def test_a_wrong_call_reports_every_problem_at_once() -> None:
    with refused(wf.DefinitionError, "2 problems", "'three'", "'y'"):
        doubled.submit("three", y=1)


# -- workflows ---------------------------------------------------------------------------------------------------------


def test_a_condition_on_a_reference_names_the_line() -> None:
    @wf.workflow
    def branching(x: int) -> int:
        big = double(x)
        if big:
            return double(big)
        return big

    with refused(TypeError, "branching", "if", "test_bad_input.py, line"):
        branching.submit(1)


def test_a_text_passed_to_map_is_refused() -> None:
    @wf.workflow
    def letters() -> list[int]:
        return double.map("abc")

    with refused(wf.DefinitionError, "letters", "double", "'abc'"):
        letters.submit()


def test_a_text_given_as_an_input_that_is_mapped_is_refused() -> None:
    @wf.workflow
    def letters(words: Any) -> list[int]:
        return double.map(words)

    with refused(wf.WfnbError, "words"):
        letters.submit("abc")


def test_lists_that_differ_in_length_are_refused() -> None:
    @wf.workflow
    def pairs() -> list[int]:
        return add.map([1, 2, 3], [1, 2])

    with refused(wf.DefinitionError, "pairs", "add", "3", "2", "length"):
        pairs.submit()


def test_inputs_that_differ_in_length_are_refused() -> None:
    @wf.workflow
    def pairs(xs: list[int], ys: list[int]) -> list[int]:
        return add.map(xs, ys)

    with refused(wf.WfnbError, "add", "3", "2", "length"):
        pairs.submit([1, 2, 3], [1, 2])


def test_a_captured_variable_that_cannot_travel_is_named(notebook: Any) -> None:
    notebook.cell("import threading, wfnb as wf")
    notebook.cell("guard = threading.Lock()")
    notebook.cell("""
@wf.node
def guarded(x: int) -> int:
    with guard:
        return x
@wf.workflow
def flow(x: int) -> int:
    return guarded(x)
""")
    with refused(wf.CaptureError, "guarded", "'guard'", "lock"):
        notebook["flow"].submit(1)


def test_an_input_that_cannot_travel_is_named() -> None:
    @wf.workflow
    def flow(x: Any) -> Any:
        return double(x)

    with refused(wf.WfnbError, "'x'", "lock"):
        flow.submit(threading.Lock())


# -- stores ------------------------------------------------------------------------------------------------------------


def test_an_unknown_store_scheme_is_refused_with_the_known_ones() -> None:
    with refused(wf.ConfigurationError, "sqlight", "sqlite", "redis"):
        wf.configure(store="sqlight:///runs.db")
    with refused(wf.ConfigurationError, "sqlight"):
        doubled.options(store="sqlight:///runs.db").submit(1)


def test_a_redis_that_does_not_answer_is_reported_soon() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with took(0, 10), refused(wf.StoreUnavailable, url):
        doubled.options(store=url).submit(1)


def test_a_store_of_this_process_alone_is_refused_with_a_cluster_of_processes() -> None:
    with refused(wf.StoreUnavailable, "memory://", "worker", "inline"):
        doubled.options(store="memory://").submit(1)
    assert open_store("memory://").find() == []


# -- runs --------------------------------------------------------------------------------------------------------------


def test_a_run_id_that_is_taken_is_refused(tmp_path: Path) -> None:
    flow = doubled.options(store=f"sqlite:///{tmp_path}/other.db", run_id="mine")
    run = flow.submit(1)
    assert run.result(20) == 2
    with refused(wf.RunExists, "'mine'", "wf.resume('mine')"):
        flow.submit(2)
    assert [(found.id, found.status) for found in run.store.find()] == [("mine", "completed")]
    assert run.result() == 2
    run.store.close()


def test_an_impossible_run_id_is_refused() -> None:
    with refused(wf.ConfigurationError, "run_id", "'a b'"):
        doubled.options(run_id="a b")


def test_a_run_that_is_not_there_cannot_be_resumed(ready: str) -> None:
    with refused(wf.RunNotFound, "'nowhere'", ready):
        wf.resume("nowhere")
    with refused(wf.RunNotFound, "'nowhere'"):
        wf.get_run("nowhere")


def test_a_running_run_takes_no_second_driver(tmp_path: Path) -> None:
    @wf.node
    def wait(gate: str) -> int:
        import os
        import time

        while not os.path.exists(gate):
            time.sleep(0.01)
        return 1

    @wf.workflow
    def waiting(gate: str) -> int:
        return wait(gate)

    url = f"sqlite:///{tmp_path}/other.db"
    gate = tmp_path / "gate"
    run = waiting.options(store=url).submit(str(gate))
    script = tmp_path / "second.py"
    script.write_text(f"""
import wfnb as wf
wf.configure(store={url!r}, cluster="inline")
try:
    wf.get_run({run.id!r}).retry()
except wf.RunHasDriver as error:
    print(error)
""")
    with Kernel(script) as kernel:
        assert f"run '{run.id}' is being driven by" in kernel.line()
    gate.touch()
    assert run.result(20) == 1
    run.store.close()


# -- clusters ----------------------------------------------------------------------------------------------------------


def test_an_unknown_cluster_name_is_refused_with_the_nearest_known_one() -> None:
    with refused(wf.ConfigurationError, "'locl'", "Did you mean 'local'?"):
        wf.configure(cluster="locl")
    with refused(wf.ConfigurationError, "'locl'"):
        doubled.options(cluster="locl").submit(1)


def test_a_scheduler_that_does_not_answer_is_reported_soon() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with took(0, 10), refused(wf.ConfigurationError, address):
        doubled.options(cluster=address).submit(1)
