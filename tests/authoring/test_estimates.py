"""Promises of resource estimates: asked once, with what is known, and heeded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import wfnb as wf
from wfnb.authoring.estimates import with_estimates
from wfnb.model.errors import DefinitionError


class Render(wf.Node):
    """Draws frames."""

    def estimate_resources(self, inputs: Mapping[str, Any]) -> Mapping[str, float]:
        return {"GPU": inputs["cards"]} if "cards" in inputs else {}

    def execute(self, frame: int, cards: int = 1) -> int:
        return frame * cards


render = Render()


@wf.node
def cards_there() -> int:
    return 4


def test_an_estimate_from_inputs_and_constants_becomes_the_steps_resources() -> None:
    @wf.workflow
    def film(cards: int) -> list[int]:
        return render.map([1, 2], cards=cards)

    (step,) = with_estimates(film.graph, {"cards": 3}).steps
    assert dict(step.node.policy.resources) == {"GPU": 3}


def test_an_estimate_is_not_given_values_that_come_later() -> None:
    @wf.workflow
    def film() -> int:
        return render(1, cards=cards_there())

    steps = with_estimates(film.graph, {}).steps
    assert dict(steps[1].node.policy.resources) == {}


def test_an_estimate_never_lowers_what_the_node_asks_for_itself() -> None:
    @wf.workflow
    def film() -> int:
        return render.options(resources={"GPU": 2, "disk": 1})(1, cards=1)

    (step,) = with_estimates(film.graph, {}).steps
    assert dict(step.node.policy.resources) == {"GPU": 2, "disk": 1}


def test_an_estimate_that_fails_is_a_problem_of_its_step() -> None:
    class Broken(Render):
        def estimate_resources(self, inputs: Mapping[str, Any]) -> Mapping[str, float]:
            return {"GPU": 1 / inputs["frame"]}

    broken = Broken()

    @wf.workflow
    def film() -> int:
        return broken(0)

    with pytest.raises(DefinitionError, match="estimate_resources of node 'Broken' failed: ZeroDivisionError"):
        with_estimates(film.graph, {})
