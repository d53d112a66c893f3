"""An expression says where a value comes from, and gives it when the steps have theirs."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfnb.model import expr
from wfnb.model.expr import (
    OPERATORS,
    Apply,
    Const,
    Container,
    Expr,
    Input,
    StepValue,
    evaluate,
    render,
    replaced,
    steps_of,
    walk,
)

NAMES = st.sampled_from("abc")
leaves = st.builds(Const, st.integers(-5, 5)) | st.builds(Input, NAMES) | st.builds(StepValue, NAMES)


def _branches(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    binary = st.builds(Apply, st.sampled_from(["+", "-", "*"]), st.tuples(inner, inner))
    unary = st.builds(Apply, st.sampled_from(["neg", "abs"]), st.tuples(inner))
    return binary | unary


numbers: st.SearchStrategy[Expr] = st.recursive(leaves, _branches, max_leaves=12)
values = st.fixed_dictionaries({name: st.integers(-5, 5) for name in "abc"})


def test_the_examples_in_the_module_hold() -> None:
    assert doctest.testmod(expr).failed == 0


@given(numbers, values, values)
def test_the_rendered_text_means_the_expression(tree: Expr, steps: dict[str, int], inputs: dict[str, int]) -> None:
    names = {**steps, "input": type("I", (), inputs)}
    assert eval(render(tree), names) == evaluate(tree, steps, inputs)


@given(numbers, values, values)
def test_only_the_steps_named_are_needed(tree: Expr, steps: dict[str, int], inputs: dict[str, int]) -> None:
    used = steps_of(tree)
    assert len(set(used)) == len(used)
    evaluate(tree, {name: steps[name] for name in used}, inputs)


@given(numbers, values, values, st.tuples(numbers, numbers, numbers))
def test_substituting_inputs_is_evaluating_with_their_values(
    tree: Expr, steps: dict[str, int], inputs: dict[str, int], given_: tuple[Expr, ...]
) -> None:
    known = dict(zip("abc", given_, strict=True))

    def leaf(part: Expr) -> Expr:
        match part:
            case Input(name):
                return known[name]
            case StepValue(step):
                return StepValue(f"p/{step}")
        return part

    outer = {name: evaluate(e, steps, inputs) for name, e in zip("abc", given_, strict=True)}
    prefixed = {f"p/{name}": value for name, value in steps.items()}
    assert evaluate(replaced(tree, leaf), {**steps, **prefixed}, inputs) == evaluate(tree, steps, outer)


def test_walk_yields_parents_first_and_everything() -> None:
    tree = Apply("+", (Container("list", (StepValue("a"),)), Const(1)))
    assert list(walk(tree)) == [tree, tree.args[0], StepValue("a"), Const(1)]


@pytest.mark.parametrize(
    ("kind", "items", "value"),
    [
        ("list", (Const(1), StepValue("a")), [1, 7]),
        ("tuple", (StepValue("a"),), (7,)),
        ("set", (StepValue("a"), Const(7)), {7}),
        ("dict", (Const("k"), StepValue("a")), {"k": 7}),
    ],
)
def test_a_container_is_built_of_its_items(kind: str, items: tuple[Expr, ...], value: Any) -> None:
    assert evaluate(Container(kind, items), {"a": 7}, {}) == value


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (Const("a"), "'a'"),
        (Const("x" * 100), "'" + "x" * 36 + "..."),
        (Input("path"), "input.path"),
        (Apply("getitem", (StepValue("load"), Const("k"))), "load['k']"),
        (Apply("getattr", (Apply("+", (StepValue("a"), Const(1))), Const("real"))), "(a + 1).real"),
        (Apply("abs", (StepValue("a"),)), "abs(a)"),
        (Apply("invert", (StepValue("a"),)), "~a"),
        (Container("tuple", (StepValue("a"),)), "(a,)"),
        (Container("dict", (Const("k"), StepValue("a"))), "{'k': a}"),
        (Container("set", (StepValue("a"),)), "{a}"),
        (Container("list", (StepValue("a"), Const(1))), "[a, 1]"),
    ],
)
def test_an_expression_is_shown_as_it_was_written(tree: Expr, text: str) -> None:
    assert render(tree) == text


def test_a_missing_step_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        evaluate(StepValue("gone"), {}, {})


def test_every_operator_can_be_shown() -> None:
    for op in OPERATORS:
        count = 1 if op in ("neg", "pos", "abs", "invert") else 2
        args: tuple[Expr, ...] = (StepValue("a"), Const("b"))[:count]
        assert "a" in render(Apply(op, args))
