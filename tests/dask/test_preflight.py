"""What is checked before anything is sent to a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from wfnb.dask.preflight import Check, Preflight, _compare, look, python_version
from wfnb.model.errors import ConfigurationError, StoreUnavailable
from wfnb.store.memory import MemoryStore

HERE = look("memory://")


@pytest.fixture
def preflight() -> Preflight:
    return Preflight()


def check(answer: Check) -> None:
    _compare("tcp://worker:1", answer, HERE.identity, MemoryStore())


def test_this_process_fits_itself() -> None:
    check(HERE)
    assert HERE.python == python_version()


@pytest.mark.parametrize("change", [{"python": "3.9"}, {"wfnb": "0.0.1"}])
def test_a_worker_of_another_version_is_named_with_both_versions(change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"worker 'tcp://worker:1'") as refused:
        check(replace(HERE, **change))
    assert next(iter(change.values())) in str(refused.value)
    assert python_version() in str(refused.value)


def test_a_worker_that_cannot_reach_the_store_is_named_with_the_reason() -> None:
    with pytest.raises(StoreUnavailable, match=r"worker 'tcp://worker:1' cannot reach.*connection refused"):
        check(replace(HERE, identity="", problem="connection refused"))


def test_a_worker_that_sees_another_store_is_told_of() -> None:
    with pytest.raises(StoreUnavailable, match="sees another store"):
        check(replace(HERE, identity="another"))


def test_what_is_wrong_with_a_store_is_said_and_not_raised() -> None:
    answer = look("nothing://")
    assert answer.identity == ""
    assert "nothing" in answer.problem


class Answers:
    """Stands in for a client whose workers cannot all be had here: one dies while it is asked."""

    class scheduler:
        address = "tcp://scheduler:1"

    def __init__(self, **workers: Any) -> None:
        self.workers = workers
        self.asked: list[str] = []

    def nthreads(self) -> dict[str, int]:
        return dict.fromkeys(self.workers, 1)

    def run(self, _look: Any, _url: str, *, workers: list[str], on_error: str) -> dict[str, Any]:
        assert on_error == "return"
        self.asked += workers
        return {worker: self.workers[worker] for worker in workers}


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    return MemoryStore()


def test_each_worker_is_asked_once(preflight: Preflight, store: MemoryStore) -> None:
    client = Answers(a=HERE, b=HERE)
    preflight._ask(client, store)
    preflight._ask(client, store)
    client.workers["c"] = HERE
    preflight._ask(client, store)
    assert client.asked == ["a", "b", "c"]


def test_a_worker_that_dies_while_it_is_asked_is_no_reason_to_refuse(preflight: Preflight, store: MemoryStore) -> None:
    client = Answers(a=HERE, b=OSError("connection closed"))
    preflight._ask(client, store)
    client.workers = {"a": HERE, "b": HERE}
    preflight._ask(client, store)
    assert client.asked == ["a", "b", "b"]


def test_workers_without_wfnb_are_told_how_to_get_it(preflight: Preflight, store: MemoryStore) -> None:
    with pytest.raises(ConfigurationError, match=r"lack a package: No module named 'wfnb'.*install"):
        preflight._ask(Answers(a=ModuleNotFoundError("No module named 'wfnb'")), store)
