"""A reference records what can wait, and refuses what cannot with the construct to use instead."""

from __future__ import annotations

import copy
import operator
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from wfnb.authoring.ref import Ref, lift
from wfnb.authoring.trace import Trace
from wfnb.model.errors import DefinitionError, ReferenceMisuse
from wfnb.model.expr import Const, Container, Input, StepValue, evaluate


def ref(annotation: Any = Any, step: str = "load") -> Any:
    return Ref(StepValue(step), annotation, Trace("pipeline"))


def _ref(step: str, trace: Trace) -> Any:
    return Ref(StepValue(step), Any, trace)


def value_of(found: Any, **steps: Any) -> Any:
    return evaluate(lift(found, found._owner), steps, {})


# -- recorded --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "op",
    [
        operator.add,
        operator.sub,
        operator.mul,
        operator.truediv,
        operator.floordiv,
        operator.mod,
        operator.pow,
        operator.lt,
        operator.le,
        operator.gt,
        operator.ge,
        operator.eq,
        operator.ne,
        operator.and_,
        operator.or_,
        operator.xor,
        operator.lshift,
        operator.rshift,
    ],
)
def test_an_operator_gives_on_the_worker_what_it_gives_on_values(op: Callable[[Any, Any], Any]) -> None:
    assert value_of(op(ref(), 3), load=7) == op(7, 3)
    assert value_of(op(7, ref()), load=3) == op(7, 3)
    both = ref()
    assert value_of(op(both, both), load=2) == op(2, 2)


@pytest.mark.parametrize("op", [operator.neg, operator.pos, operator.invert, abs])
def test_a_unary_operator_gives_on_the_worker_what_it_gives_on_values(op: Callable[[Any], Any]) -> None:
    assert value_of(op(ref()), load=-7) == op(-7)


@given(a=st.integers(-9, 9), b=st.integers(-9, 9), c=st.integers(-9, 9))
def test_a_whole_formula_gives_what_it_gives_on_values(a: int, b: int, c: int) -> None:
    trace = Trace("pipeline")
    x, y, z = (_ref(name, trace) for name in "abc")
    formula = 2 * (x + y) - z * x + abs(-y)
    assert value_of(formula, a=a, b=b, c=c) == 2 * (a + b) - c * a + abs(-b)


def test_items_and_attributes_are_recorded() -> None:
    assert value_of(ref()["k"][0].real, load={"k": [5]}) == 5
    assert value_of(ref()[1:3], load=[0, 1, 2, 3]) == [1, 2]


def test_a_reference_can_be_a_key() -> None:
    trace = Trace("pipeline")
    table, key = Ref(StepValue("table"), Any, trace), Ref(StepValue("key"), Any, trace)
    assert value_of(table[key], table={"a": 1}, key="a") == 1


def test_an_array_on_the_left_leaves_the_operator_to_the_reference() -> None:
    assert list(value_of(np.array([1, 2]) + ref(), load=1)) == [2, 3]
    assert list(value_of(np.array([1, 2]) >= ref(), load=2)) == [False, True]
    assert value_of(np.float64(3) / ref(), load=2) == 1.5
    assert list(value_of(pd.Series([1, 2]) * ref(), load=2)) == [2, 4]
    assert isinstance(pd.DataFrame({"a": [1]}) > ref(), Ref)


def test_text_joined_with_a_reference_is_recorded() -> None:
    assert value_of("a" + ref(), load="b") == "ab"


def test_augmented_assignment_makes_a_new_reference() -> None:
    first = x = ref()
    x += 1
    assert x is not first
    assert value_of(x, load=1) == 2


def test_a_repr_shows_where_the_value_comes_from() -> None:
    assert repr(ref()["k"]) == "<reference 'load['k']'>"
    assert repr((ref() + 1) * 2) == "<reference '(load + 1) * 2'>"
    assert repr(-ref().x) == "<reference '-load.x'>"


def test_a_copy_of_a_reference_is_the_reference() -> None:
    x = ref()
    assert copy.copy(x) is x
    assert copy.deepcopy([x])[0] is x


def test_private_attributes_are_not_recorded() -> None:
    assert not hasattr(ref(), "_repr_html_")


# -- annotations follow ----------------------------------------------------------------------------------------------


class Point(BaseModel):
    x: int


@dataclass
class Pair:
    left: str


class Row(TypedDict):
    name: str


@pytest.mark.parametrize(
    ("annotation", "take", "becomes"),
    [
        (list[int], lambda r: r[0], int),
        (list[int], lambda r: r[1:], list[int]),
        (dict[str, float], lambda r: r["a"], float),
        (tuple[int, str], lambda r: r[1], str),
        (tuple[int, ...], lambda r: r[7], int),
        (Point, lambda r: r.x, int),
        (Pair, lambda r: r.left, str),
        (Row, lambda r: r["name"], str),
        (Any, lambda r: r["a"], Any),
        (int, lambda r: r + 1, Any),
        (pd.DataFrame, lambda r: r["a"], Any),
    ],
)
def test_an_item_or_attribute_has_the_annotation_of_its_place(
    annotation: Any, take: Callable[[Any], Any], becomes: Any
) -> None:
    assert take(ref(annotation))._annotation == becomes


# -- unpacking -------------------------------------------------------------------------------------------------------


def test_a_tuple_of_fixed_length_can_be_unpacked() -> None:
    left, right = ref(tuple[int, str])
    assert (value_of(left, load=(1, "a")), value_of(right, load=(1, "a"))) == (1, "a")
    assert (left._annotation, right._annotation) == (int, str)


def test_unpacking_the_wrong_number_is_pythons_own_error() -> None:
    with pytest.raises(ValueError, match="too many values"):
        _a, _b = ref(tuple[int, str, int])


def test_a_container_of_references_is_taken_apart_without_building_it() -> None:
    trace = Trace("pipeline")
    pair = Ref(Container("tuple", (StepValue("a"), Const(1))), Any, trace)
    left, right = pair
    assert (left._expr, right._expr, pair[-1]._expr) == (StepValue("a"), Const(1), Const(1))
    table = Ref(Container("dict", (Const("k"), StepValue("b"))), Any, trace)
    assert table["k"]._expr == StepValue("b")


# -- refused ---------------------------------------------------------------------------------------------------------


def _set_item(r: Any) -> None:
    r["a"] = 1


def _del_item(r: Any) -> None:
    del r["a"]


def _set_attribute(r: Any) -> None:
    r.a = 1


def _with(r: Any) -> None:
    with r:
        pass


def _unpack_call(r: Any) -> None:
    print(*r)


async def _awaited(r: Any) -> None:
    await r


@pytest.mark.parametrize(
    ("use", "names"),
    [
        (bool, "wf.switch"),
        (lambda r: 1 if r > 2 else 0, "wf.switch"),
        (lambda r: r and 1, "& and |"),
        (lambda r: not r, "wf.switch"),
        (lambda r: 0 < r < 5, "(a < b) & (b < c)"),
        (lambda r: r in [1, 2], "wf.switch"),
        (lambda r: max(r, 2), "wf.switch"),
        (list, "node.map(ref) or wf.each"),
        (lambda r: [x for x in r], "node.map(ref) or wf.each"),  # noqa: C416
        (_unpack_call, "wf.each"),
        (len, "a node (@wf.node) that returns len(value)"),
        (int, "a node (@wf.node) that returns int(value)"),
        (float, "a node (@wf.node) that returns float(value)"),
        (complex, "a node"),
        (round, "a node"),
        (lambda r: 1 in r, "a node"),
        (lambda r: f"{r}", "a node (@wf.node) that makes the text"),
        (lambda r: f"{r:.2f}", "a node"),
        (lambda r: "%s" % r, "a node"),  # noqa: UP031
        (str, "a node"),
        (Path, "a node"),
        (range, "a node"),
        (lambda r: [1][r], "a node"),
        (lambda r: r.head(), "a node (@wf.node) that calls it"),
        (lambda r: r(1, x=2), "a node"),
        (lambda r: {r}, "a list"),
        (lambda r: {r: 1}, "a list"),
        (np.sqrt, "a node (@wf.node) that returns np.sqrt(value)"),
        (np.mean, "a node (@wf.node) that returns np.mean(value)"),
        (np.asarray, "a node (@wf.node) that makes the array"),
        (pd.DataFrame, "a node"),
        (pickle.dumps, "a plain list, tuple or dict"),
        (_set_item, "a node"),
        (_del_item, "a node"),
        (_set_attribute, "a node"),
        (_with, "a node"),
        (lambda r: divmod(r, 2), "// and %"),
        (reversed, "a node"),
        (next, "wf.each"),
        (lambda r: _awaited(r).send(None), "Leave 'await' out"),
    ],
)
def test_what_needs_the_value_at_once_names_what_to_use_instead(use: Callable[[Any], Any], names: str) -> None:
    with pytest.raises(ReferenceMisuse, match=re.escape(names)) as caught:
        use(ref())
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, DefinitionError)


def test_a_misuse_names_the_reference_the_workflow_and_the_line() -> None:
    with pytest.raises(ReferenceMisuse) as caught:
        assert ref()["ok"] > 3
    (problem,) = caught.value.problems
    assert caught.value.workflow == "pipeline"
    assert "the reference 'load['ok'] > 3' has no truth value" in problem.message
    assert problem.step == "load"
    line = test_a_misuse_names_the_reference_the_workflow_and_the_line.__code__.co_firstlineno + 2
    assert problem.where == f"test_ref.py, line {line}"


def test_a_misuse_inside_a_library_names_the_users_line() -> None:
    with pytest.raises(ReferenceMisuse) as caught:
        np.mean(ref())
    assert caught.value.problems[0].where.startswith("test_ref.py, line ")


# -- values into expressions -----------------------------------------------------------------------------------------


def test_plain_values_are_kept_as_they_are() -> None:
    trace = Trace("pipeline")
    for value in (1, "a", None, [1, [2]], {"a": (1, 2)}, {1, 2}, np.arange(3)):
        lifted = lift(value, trace)
        assert isinstance(lifted, Const)
        assert lifted.value is value


def test_references_inside_plain_containers_are_found_at_any_depth() -> None:
    trace = Trace("pipeline")
    x = _ref("x", trace)
    value = {"a": [1, (x, 2)], "b": {"c": x + 1}}
    assert evaluate(lift(value, trace), {"x": 5}, {}) == {"a": [1, (5, 2)], "b": {"c": 6}}


json = st.recursive(st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.tuples(inner))


@given(json)
def test_a_container_with_references_gives_the_container_with_their_values(value: Any) -> None:
    trace = Trace("pipeline")
    x = Ref(Input("x"), Any, trace)

    def replaced(part: Any, by: Any) -> Any:
        if isinstance(part, (list, tuple)):
            return type(part)(replaced(item, by) for item in part)
        return by if isinstance(part, int) else part

    assert evaluate(lift(replaced(value, x), trace), {}, {"x": 9}) == replaced(value, 9)
