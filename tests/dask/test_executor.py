"""Executors send bundles, keep what they left, and say when one ended."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import wfnb as wf
from tests.dask.bench import Bench
from wfnb.dask.executor import InlineExecutor
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
