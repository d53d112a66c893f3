"""What is checked before anything is sent to a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import wfnb as wf
from wfnb.authoring.fingerprint import Fingerprint
from wfnb.dask import preflight as module
from wfnb.dask.preflight import Check, Preflight, look, python_version, versions
from wfnb.dask.rosters import DaskRoster
from wfnb.engine.lower import lower
from wfnb.engine.lowered import Lowered
from wfnb.model.errors import ConfigurationError, StoreUnavailable
from wfnb.store.memory import MemoryStore

HERE = look("memory://")


@wf.node
def one() -> int:
    return 1


@wf.node(resources={"GPU": 1})
def heavy(x: int) -> int:
    return x


@wf.workflow
def flow() -> int:
    return one()


@wf.workflow
def on_gpu() -> int:
    return heavy(one())


class Worker:
    """Stands in for a worker: answers with what it has, or as it is told."""

    def __init__(
        self,
        answer: Check | BaseException = HERE,
        *,
        lacks: tuple[str, ...] = (),
        hangs: bool = False,
        offers: dict[str, float] | None = None,
    ) -> None:
        self.answer, self.lacks, self.hangs, self.offers = answer, set(lacks), hangs, offers or {}

    async def look(self, modules: list[str]) -> Any:
        if self.hangs:
            await asyncio.Event().wait()
        if isinstance(self.answer, BaseException):
            return self.answer
        asked = frozenset(modules)
        return replace(self.answer, modules=asked - self.lacks, missing=asked & self.lacks)


class Client:
    """Stands in for a client whose workers cannot all be had here: some hang, or die while they are asked."""

    address = "tcp://scheduler:1"

    def __init__(self, **workers: Worker) -> None:
        self.scheduler = self
        self.silent = False
        self.workers = workers
        self.asked: list[tuple[str, list[str]]] = []

    def sync(
        self, function: Callable[..., Any], *args: Any, callback_timeout: float | None = None, **kwargs: Any
    ) -> Any:
        return asyncio.run(asyncio.wait_for(function(*args, **kwargs), callback_timeout))

    async def ncores(self, workers: None) -> dict[str, int]:
        if self.silent:
            await asyncio.Event().wait()
        return dict.fromkeys(self.workers, 1)

    async def identity(self, n_workers: int) -> dict[str, Any]:
        assert n_workers == -1
        return {"workers": {name: {"resources": worker.offers} for name, worker in self.workers.items()}}

    async def run(
        self, _look: Any, _url: str, modules: list[str], *, workers: list[str], on_error: str
    ) -> dict[str, Any]:
        assert on_error == "return"
        self.asked += [(worker, modules) for worker in workers]
        return {worker: await self.workers[worker].look(modules) for worker in workers}


@pytest.fixture
def preflight() -> Preflight:
    return Preflight()


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    return MemoryStore()


GRAPH = lower(flow.graph)


def using(graph: Lowered, **libraries: str) -> dict[int, Fingerprint]:
    """The fingerprints of a workflow whose nodes use libraries, by the node's name."""
    return {
        id(step.node): Fingerprint("", {}, libraries=frozenset(libraries.get(step.node.title, "").split()))
        for step in graph.steps
    }


# -- the same Python, wfnb and store ---------------------------------------------------------------------------------


def check(answer: Check) -> None:
    Preflight().check(DaskRoster(Client(w=Worker(answer))), MemoryStore(), GRAPH)


def test_this_process_fits_itself() -> None:
    check(HERE)
    assert HERE.python == python_version()
    assert HERE.versions == versions()


@pytest.mark.parametrize("change", [{"python": "3.9"}, {"wfnb": "0.0.1"}])
def test_a_worker_of_another_version_is_named_with_both_versions(change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"worker 'w'") as refused:
        check(replace(HERE, **change))
    assert next(iter(change.values())) in str(refused.value)
    assert python_version() in str(refused.value)


def test_a_worker_that_cannot_reach_the_store_is_named_with_the_reason() -> None:
    with pytest.raises(StoreUnavailable, match=r"worker 'w': it cannot reach.*connection refused"):
        check(replace(HERE, identity="", problem="connection refused"))


def test_a_worker_that_sees_another_store_is_told_of() -> None:
    with pytest.raises(StoreUnavailable, match="sees another store"):
        check(replace(HERE, identity="another"))


def test_what_is_wrong_with_a_store_is_said_and_not_raised() -> None:
    answer = look("nothing://")
    assert answer.identity == ""
    assert "nothing" in answer.problem


# -- whom to ask -----------------------------------------------------------------------------------------------------


def test_each_worker_is_asked_once(preflight: Preflight, store: MemoryStore) -> None:
    client = Client(a=Worker(), b=Worker())
    preflight.check(DaskRoster(client), store, GRAPH)
    preflight.check(DaskRoster(client), store, GRAPH)
    client.workers["c"] = Worker()
    preflight.check(DaskRoster(client), store, GRAPH)
    assert [name for name, _ in client.asked] == ["a", "b", "c"]


def test_workers_are_asked_again_only_for_modules_that_are_new(preflight: Preflight, store: MemoryStore) -> None:
    client = Client(a=Worker(lacks=("xgboost",)))
    preflight.check(DaskRoster(client), store, GRAPH, using(GRAPH, one="numpy"))
    preflight.check(DaskRoster(client), store, GRAPH, using(GRAPH, one="numpy"))
    with pytest.raises(ConfigurationError, match="xgboost"):
        preflight.check(DaskRoster(client), store, GRAPH, using(GRAPH, one="numpy xgboost"))
    preflight.check(DaskRoster(client), store, GRAPH, using(GRAPH, one="numpy"))
    assert client.asked == [("a", ["numpy"]), ("a", ["numpy", "xgboost"])]
    client.workers["a"].lacks.clear()
    preflight.check(DaskRoster(client), store, GRAPH, using(GRAPH, one="numpy xgboost"))
    preflight.check(DaskRoster(client), store, GRAPH, using(GRAPH, one="xgboost"))
    assert client.asked[2:] == [("a", ["numpy", "xgboost"])]


def test_a_worker_that_dies_while_it_is_asked_is_no_reason_to_refuse(preflight: Preflight, store: MemoryStore) -> None:
    client = Client(a=Worker(), b=Worker(OSError("connection closed")))
    preflight.check(DaskRoster(client), store, GRAPH)
    client.workers = {"a": Worker(), "b": Worker()}
    preflight.check(DaskRoster(client), store, GRAPH)
    assert [name for name, _ in client.asked] == ["a", "b", "b"]


def test_a_worker_that_was_refused_is_asked_again(preflight: Preflight, store: MemoryStore) -> None:
    client = Client(a=Worker(replace(HERE, identity="another")))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            preflight.check(DaskRoster(client), store, GRAPH)
    client.workers["a"] = Worker()
    preflight.check(DaskRoster(client), store, GRAPH)
    assert len(client.asked) == 3


def test_a_worker_that_hangs_holds_up_nobody_and_is_left_alone_for_a_while(
    preflight: Preflight, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("rosters", "preflight"):
        monkeypatch.setattr(f"wfnb.dask.{place}.PATIENCE", 0.05)
    client = Client(a=Worker(), b=Worker(hangs=True))
    start = time.monotonic()
    preflight.check(DaskRoster(client), store, GRAPH)
    preflight.check(DaskRoster(client), store, GRAPH)
    assert time.monotonic() - start < 5
    assert [name for name, _ in client.asked] == ["a", "b"]
    monkeypatch.setattr(module, "FORGIVEN", 0.0)
    preflight.check(DaskRoster(client), store, GRAPH)
    assert [name for name, _ in client.asked] == ["a", "b", "b"]


def test_a_cluster_of_which_nobody_answers_is_refused(
    preflight: Preflight, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("rosters", "preflight"):
        monkeypatch.setattr(f"wfnb.dask.{place}.PATIENCE", 0.05)
    with pytest.raises(ConfigurationError, match=r"none of the 2 workers.*answers within 0.05 s"):
        preflight.check(DaskRoster(Client(a=Worker(hangs=True), b=Worker(hangs=True))), store, GRAPH)


def test_a_scheduler_that_does_not_answer_is_named(
    preflight: Preflight, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("rosters", "preflight"):
        monkeypatch.setattr(f"wfnb.dask.{place}.PATIENCE", 0.05)
    client = Client(a=Worker())
    client.silent = True
    with pytest.raises(ConfigurationError, match=r"'tcp://scheduler:1' does not answer within 0.05 s"):
        preflight.check(DaskRoster(client), store, GRAPH)


def test_workers_without_wfnb_are_told_how_to_get_it(preflight: Preflight, store: MemoryStore) -> None:
    with pytest.raises(ConfigurationError, match=r"package is missing: No module named 'wfnb'.*install"):
        preflight.check(DaskRoster(Client(a=Worker(ModuleNotFoundError("No module named 'wfnb'")))), store, GRAPH)


# -- modules -----------------------------------------------------------------------------------------------------------


def test_a_module_that_a_worker_lacks_is_named_with_the_node(preflight: Preflight, store: MemoryStore) -> None:
    client = Client(a=Worker(), b=Worker(lacks=("xgboost", "torch")))
    with pytest.raises(ConfigurationError, match=r"worker 'b': node 'one' .*uses 'xgboost', which is not installed"):
        preflight.check(DaskRoster(client), store, GRAPH, using(GRAPH, one="numpy xgboost"))


def test_only_workers_that_a_step_may_run_on_need_its_modules(preflight: Preflight, store: MemoryStore) -> None:
    graph = lower(on_gpu.graph)
    client = Client(plain=Worker(lacks=("torch",)), gpu=Worker(offers={"GPU": 2}))
    preflight.check(DaskRoster(client), store, graph, using(graph, heavy="torch"))
    with pytest.raises(ConfigurationError, match=r"worker 'plain': node 'one'"):
        preflight.check(DaskRoster(client), store, graph, using(graph, one="torch"))


def test_modules_are_looked_for_without_importing_them() -> None:
    answer = look("memory://", ["json", "no_such_module_anywhere", "antigravity"])
    assert answer.missing == {"no_such_module_anywhere"}
    import sys

    assert "antigravity" not in sys.modules


# -- versions ----------------------------------------------------------------------------------------------------------


def other(name: str, version: str) -> Check:
    return replace(HERE, versions={**HERE.versions, name: version})


def test_another_major_version_of_what_values_travel_in_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"worker 'w': it has pydantic 99\.0.*this process pydantic"):
        check(other("pydantic", "99.0"))


@pytest.mark.parametrize(("name", "version"), [("numpy", "99.0"), ("distributed", "2001.1.0"), ("msgpack", "1.99")])
def test_other_differences_are_warned_of(name: str, version: str) -> None:
    with pytest.warns(wf.VersionWarning, match=rf"worker 'w': it has {name} {version}") as told:
        check(other(name, version))
    assert [one.filename for one in told] == [__file__]


def test_another_major_version_of_a_library_that_the_code_uses_is_refused(
    preflight: Preflight, store: MemoryStore
) -> None:
    with pytest.raises(ConfigurationError, match=r"numpy 99\.0"):
        preflight.check(DaskRoster(Client(w=Worker(other("numpy", "99.0")))), store, GRAPH, using(GRAPH, one="numpy"))


def test_a_package_that_only_one_side_has_is_no_difference() -> None:
    check(replace(HERE, versions={}))


def test_another_patch_level_is_no_difference() -> None:
    check(other("numpy", ".".join([*HERE.versions["numpy"].split(".")[:2], "999"])))


# -- all at once -------------------------------------------------------------------------------------------------------


def test_a_step_that_no_worker_can_run_is_named(preflight: Preflight, store: MemoryStore) -> None:
    with pytest.raises(ConfigurationError, match=r"step 'heavy' .*asks for \{'GPU': 1.*none of the 1 workers offers"):
        preflight.check(DaskRoster(Client(a=Worker(offers={"GPU": 0.5}))), store, lower(on_gpu.graph))


def test_everything_wrong_is_in_one_error_and_workers_alike_are_named_once(
    preflight: Preflight, store: MemoryStore
) -> None:
    graph = lower(on_gpu.graph)
    odd = replace(other("cloudpickle", "99.1"), identity="another")
    client = Client(a=Worker(odd), b=Worker(odd, lacks=("torch",)), c=Worker(odd))
    with pytest.raises(ConfigurationError, match="nothing was started") as refused:
        preflight.check(DaskRoster(client), store, graph, using(graph, one="torch"))
    lines = str(refused.value).splitlines()
    assert lines[0] == "the cluster cannot run workflow 'on_gpu'; nothing was started:"
    begins = [
        "worker 'a' and 2 more: it sees",
        "worker 'a' and 2 more: it has cloudpickle",
        "step 'heavy'",
        "worker 'b'",
    ]
    assert len(lines) == 1 + len(begins)
    assert all(line.startswith(f"  - {begin}") for line, begin in zip(lines[1:], begins, strict=True))
