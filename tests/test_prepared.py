"""What is made of a workflow is made once, and anew when anything it is made of has changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from wfnb.model.graph import Graph
from wfnb.prepared import Prepared, Preparing

FACTOR = 2
NUMBERS = [1, 2, 3]


@wf.node
def scaled(x: int) -> int:
    return x * FACTOR


@wf.node
def kept(x: Any) -> Any:
    return x


@wf.node
def total(xs: list) -> int:
    return sum(xs)


@wf.workflow
def mapped() -> int:
    return total(scaled.map(NUMBERS))


@wf.workflow
def fixed() -> int:
    return total(scaled.map((1, 2)))


@wf.workflow
def plain(x: int, y: float = 0.5) -> Any:
    return scaled(x) + y


class Ready:
    """One way to prepare, with inputs and secret filled in."""

    def __init__(self) -> None:
        self._preparing = Preparing()

    def of(self, graph: Graph, secret: bytes = b"secret") -> Prepared:
        return self._preparing.of(graph, {}, secret)


def test_a_workflow_of_the_same_steps_is_prepared_once() -> None:
    ready = Ready()
    assert ready.of(fixed.graph) is ready.of(fixed.graph)
    assert ready.of(plain.graph) is ready.of(plain.graph)


def test_a_global_that_a_node_uses_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready()
    first = ready.of(plain.graph)
    monkeypatch.setitem(globals(), "FACTOR", 3)
    second = ready.of(plain.graph)
    assert first.code != second.code
    assert first.prints != second.prints


def test_a_list_that_was_changed_in_place_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "NUMBERS", [1, 2, 3])
    ready = Ready()
    first = ready.of(mapped.graph)
    globals()["NUMBERS"].append(4)
    assert ready.of(mapped.graph).prints != first.prints


def test_a_workflow_with_a_list_of_its_own_is_prepared_for_each_run() -> None:
    ready, graph = Ready(), mapped.graph
    assert ready.of(graph) is not ready.of(graph), "a node may change it"


def test_a_workflow_whose_steps_find_nodes_by_name_is_prepared_for_each_run() -> None:
    @wf.workflow
    def by_name(x: int) -> Any:
        return wf.nodes.call("kept", {"x": x})

    ready = Ready()
    assert ready.of(by_name.graph) is not ready.of(by_name.graph), "nobody knows their code"


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0.0, -0.0), ("a", b"a"), (None, 0)])
def test_constants_that_are_equal_but_not_the_same_are_told_apart(one: Any, other: Any) -> None:
    given: list[Any] = [one]

    @wf.workflow
    def constant() -> Any:
        return kept(given[0])

    ready = Ready()
    first = ready.of(constant.graph)
    given[0] = other
    assert ready.of(constant.graph) is not first


def test_another_secret_signs_anew() -> None:
    ready = Ready()
    assert ready.of(plain.graph).code != ready.of(plain.graph, b"another").code


def test_what_depends_on_a_runs_inputs_is_made_for_each() -> None:
    class Big(wf.Node):
        def execute(self, size: int) -> int:
            return size

        def estimate_resources(self, inputs: Mapping[str, Any]) -> dict[str, float]:
            return {"memory": float(inputs["size"])}

    big = Big()

    @wf.workflow
    def sized(size: int) -> int:
        return big(size)

    preparing = Preparing()
    graph = sized.graph
    resources = [preparing.of(graph, {"size": size}, b"").lowered.steps[0].node.policy.resources for size in (1, 2)]
    assert resources == [{"memory": 1.0}, {"memory": 2.0}]


def test_what_has_no_fingerprint_is_made_each_time() -> None:
    handle = open(__file__)  # noqa: SIM115  what cannot be compared

    @wf.node
    def told(x: int) -> int:
        return x if handle else 0

    @wf.workflow
    def opaque(x: int) -> int:
        return told(x)

    try:
        with pytest.raises(wf.CaptureError):
            Ready().of(opaque.graph)
    finally:
        handle.close()


# -- each run begins with what was written, whatever one before it has done to that ------------------------------------


@pytest.fixture
def twice(tmp_path: Path) -> Callable[..., list[Any]]:
    def run(flow: Any, *args: Any) -> list[Any]:
        options = flow.options(store=f"sqlite:///{tmp_path}/runs.db", cluster="inline", view=False)
        return [options(*args) for _ in range(3)]

    return run


@wf.node
def added(xs: list[int], x: int) -> list[int]:
    xs.append(x)
    return xs


def test_a_list_that_a_node_has_changed_is_the_next_runs_as_it_was_written(twice: Callable[..., list[Any]]) -> None:
    @wf.workflow
    def flow() -> list[int]:
        return added([], 1)

    assert twice(flow) == [[1], [1], [1]]


def test_a_value_may_be_changed_by_who_got_it() -> None:
    @wf.workflow
    def flow(x: int) -> Any:
        return {"x": kept(x), "tags": ["a"]}

    options = flow.options(store="memory://changed", cluster="inline", view=False)
    options(1)["tags"].append("b")
    run = options.submit(1)
    run.result()["tags"].append("b")
    assert run.result() == options(1) == {"x": 1, "tags": ["a"]}


def test_what_a_nodes_code_changes_is_the_next_runs_as_it_was(twice: Callable[..., list[Any]]) -> None:
    generator, seen = random.Random(5), set()

    @wf.node
    def drawn(x: int, before: list[int] = []) -> tuple[int, bool, int]:  # noqa: B006
        again = x in seen
        seen.add(x)
        before.append(x)
        return generator.randrange(10**9), again, len(before)

    class Counting(wf.Node):
        count = 0

        def execute(self, x: int) -> int:
            self.count += 1
            return self.count

    counting = Counting()

    @wf.workflow
    def flow(x: int) -> Any:
        return drawn(x), counting(x)

    first, *others = twice(flow, 1)
    assert others == [first, first]
    assert first[0][1:] == (False, 1)
    assert first[1] == 1
