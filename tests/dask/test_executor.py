"""Executors send bundles, keep what they left, and say when one ended."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import wfnb as wf
from tests.dask.bench import Bench
from wfnb.dask.executor import DaskExecutor, InlineExecutor
from wfnb.dask.work import Held, Need, Sealed
from wfnb.engine.bundles import Segment


@wf.node
def double(x: int) -> int:
    return 2 * x


@wf.node
def total(xs: list[int]) -> int:
    return sum(xs)


@wf.workflow
def flow(xs: list[int]) -> int:
    return total(double.map(xs))


class Inline:
    """An inline executor, and what it said."""

    def __init__(self) -> None:
        self.executor = InlineExecutor()
        self.ended: list[tuple[str, str]] = []

    def submit(self, orders: Any, held: list[str] | None = None) -> None:
        self.executor.submit(
            orders.bundle,
            "node",
            orders.pack(),
            held or [],
            priority=10,
            resources={},
            done=lambda bundle, why, _: self.ended.append((bundle, why)),
        )


@pytest.fixture
def inline() -> Inline:
    return Inline()


def test_a_bundle_run_in_this_thread_has_ended_when_it_is_sent(inline: Inline) -> None:
    bench = Bench(flow, xs=[1, 2])
    inline.submit(bench.orders(Segment((0,), 0, 2), keep=[0]))
    assert inline.ended == [("b1.1", "")]
    assert bench.values() == {("double", 0): 2, ("double", 1): 4}


def test_what_a_bundle_left_is_given_to_the_next_until_it_is_dropped(inline: Inline) -> None:
    bench = Bench(flow, xs=[1, 2])
    inline.submit(bench.orders(Segment((0,), 0, 2), keep=[0]))
    assert inline.executor.holds("b1.1")
    needs = [Need(0, 0, 2, "", 0, 0, 0, 0)]
    inline.submit(bench.orders(Segment((1,), 0, 1), bundle="b1.2", needs=needs, widths={0: 2}), ["b1.1"])
    assert bench.values()["total", 0] == 6
    inline.executor.drop("b1.1")
    inline.executor.drop("b1.1")
    assert not inline.executor.holds("b1.1")


def test_a_bundle_that_cannot_record_ends_with_the_reason(inline: Inline) -> None:
    bench = Bench(flow, xs=[1, 2])
    bench.store.release("run", bench.epoch)
    bench.store.acquire("run", "another", 60)
    inline.submit(bench.orders(Segment((0,), 0, 2)))
    ((bundle, why),) = inline.ended
    assert bundle == "b1.1"
    assert why.startswith("StaleEpoch: ")
    assert not inline.executor.holds("b1.1")


def test_orders_and_what_is_left_say_nothing_of_their_content_and_survive_pickling() -> None:
    orders = Bench(flow, xs=[1]).orders(Segment((0,), 0, 1, attempt=2, base=1))
    sealed = pickle.loads(pickle.dumps(orders.pack()))
    assert isinstance(sealed, Sealed)
    assert sealed.open() == orders
    assert "secret" not in repr(sealed)
    held = pickle.loads(pickle.dumps(Held({0: {1: "x"}}, 1000)))
    assert held.cells == {0: {1: "x"}}


def test_what_is_left_tells_dask_how_much_memory_it_takes() -> None:
    from dask.sizeof import sizeof

    assert sizeof(Held({}, 1_000_000)) >= 1_000_000


class Sent:
    """A Dask future that ends when the test says so."""

    status = "pending"

    def __init__(self, key: str) -> None:
        self.key = key
        self.told: list[Callable[[Any], None]] = []

    def add_done_callback(self, tell: Callable[[Any], None]) -> None:
        self.told.append(tell)

    def end(self, status: str) -> None:
        self.status = status
        for tell in self.told:
            tell(self)


class Silent:
    """A client of a cluster that takes tasks and answers nothing."""

    status = "running"
    scheduler = SimpleNamespace(ncores=None, identity=None)
    _run = None

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def submit(self, *_: Any, key: str, **__: Any) -> Sent:
        self.sent.append(Sent(key))
        return self.sent[-1]

    def sync(self, *_: Any, callback_timeout: float, **__: Any) -> Any:
        assert callback_timeout > 0
        raise TimeoutError("timed out")


def dask(*bundles: str) -> tuple[DaskExecutor, list[Sent], list[tuple[str, str, int]]]:
    """An executor that has sent bundles, what it has sent, and how they ended so far."""
    client, ended = Silent(), list[tuple[str, str, int]]()
    executor = DaskExecutor(client)
    for bundle in bundles:
        executor.submit(
            bundle,
            "node",
            Sealed(b""),
            [],
            priority=10,
            resources={},
            done=lambda *told: ended.append(told),
            worker="w",
        )
    return executor, client.sent, ended


def test_the_death_of_a_worker_is_told_of_the_bundles_it_had_and_once() -> None:
    executor, sent, ended = dask("b1.1", "b1.2")
    executor.lost([sent[0].key, "another's"])
    assert ended == [("b1.1", "its worker died", 1)]
    sent[0].end("cancelled")
    sent[1].end("finished")
    executor.lost([sent[1].key])  # what it left is lost with a worker later: the bundle itself has ended
    assert ended == [("b1.1", "its worker died", 1), ("b1.2", "", 0)]


def test_a_cluster_that_answers_nothing_holds_up_nobody() -> None:
    executor, _, _ = dask("b1.1")
    assert executor.threads() == 1, "as far as is known"
    executor.close("run")
