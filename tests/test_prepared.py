"""What is made of a workflow is made once, and anew when anything it is made of has changed."""

from __future__ import annotations

from collections.abc import Mapping
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
    assert ready.of(mapped.graph) is ready.of(mapped.graph)
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


def test_a_list_changed_in_place_is_noticed_also_where_the_steps_are_the_very_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), "NUMBERS", [1, 2, 3])
    ready, graph = Ready(), mapped.graph
    first = ready.of(graph)
    assert ready.of(graph) is first
    globals()["NUMBERS"].append(4)
    assert ready.of(graph) is not first


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
