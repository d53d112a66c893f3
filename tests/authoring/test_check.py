"""Every problem is found while the workflow is written down, all at once, each with its step, place and cure."""

from __future__ import annotations

import doctest
import enum
import numbers
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, Protocol, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pydantic import Field

from wfnb.authoring import check
from wfnb.authoring.check import compatible, yielded
from wfnb.authoring.node import FunctionNode, node
from wfnb.authoring.workflow import workflow
from wfnb.model.errors import DefinitionError, Problem
from wfnb.model.node import Context


@node
def load(path: str) -> pd.DataFrame: ...  # type: ignore[empty-body]


@node
def train(df: pd.DataFrame, depth: int, rate: float = 0.1) -> float:
    return depth * rate


@node
def numbers_of(n: int) -> list[int]:
    return list(range(n))


@node
def names_of(n: int) -> list[str]:
    return [str(n)]


@node
def double(x: int) -> int:
    return 2 * x


@node
def anything(x, y=None):  # type: ignore[no-untyped-def]
    return x


def problems(body: Callable[[], Any]) -> list[Problem]:
    try:
        workflow(body).validate()
    except DefinitionError as error:
        return list(error.problems)
    return []


def only(body: Callable[[], Any]) -> str:
    found = problems(body)
    assert len(found) == 1, found
    assert found[0].where.startswith("test_check.py, line ")
    assert found[0].step
    assert found[0].cure
    return f"{found[0].message}. {found[0].cure}"


# -- calls -----------------------------------------------------------------------------------------------------------


def test_a_missing_parameter_is_named() -> None:
    assert "node 'train' cannot be called like this: 'depth' is missing. Pass depth=" in only(lambda: train(load("a")))  # type: ignore[call-arg]


def test_an_unexpected_parameter_names_the_nearest() -> None:
    assert "no parameter 'dept'. Did you mean 'depth'?" in only(lambda: train(load("a"), 1, dept=2))  # type: ignore[call-arg]


def test_too_many_positional_arguments_are_counted() -> None:
    assert "it takes at most 1 positional argument, and is given 2" in only(lambda: load("a", "b"))  # type: ignore[call-arg]


def test_a_parameter_given_twice_is_named() -> None:
    assert "'path' is given twice" in only(lambda: load("a", path="b"))  # type: ignore[misc]


def test_all_problems_are_listed_at_once_and_tracing_goes_on_after_each() -> None:
    def body() -> Any:
        df = load(pth=3)  # type: ignore[call-arg]
        model = train(df, "deep")  # type: ignore[arg-type]
        return double(model["x"], 4)  # type: ignore[index, call-arg]

    assert [problem.step for problem in problems(body)] == ["load", "load", "train", "double"]


def test_nothing_is_started_says_the_error() -> None:
    @workflow
    def flow() -> Any:
        return load(3)  # type: ignore[arg-type]

    with pytest.raises(DefinitionError, match="workflow 'flow' has 1 problem; nothing was started:\n  - step 'load'"):
        flow.validate()


# -- types -----------------------------------------------------------------------------------------------------------


def test_a_literal_of_the_wrong_type_is_named_with_its_annotation() -> None:
    assert only(lambda: load(3)).startswith("'path' = 3 (int), but its annotation says str.")  # type: ignore[arg-type]


def test_a_port_of_an_unrelated_type_is_named_with_both_annotations() -> None:
    text = only(lambda: double(load("a")))  # type: ignore[arg-type]
    assert "'x' gets 'load', which is annotated DataFrame, but its own annotation says int" in text


def test_a_part_of_a_value_is_checked_too() -> None:
    assert "'x' gets 'names_of[0]', which is annotated str" in only(lambda: double(names_of(1)[0]))  # type: ignore[arg-type]


def test_a_list_of_references_for_a_number_is_a_problem() -> None:
    assert "(list), but its annotation says int" in only(lambda: double([double(1)]))  # type: ignore[arg-type]


def test_types_are_not_checked_for_a_node_without_validation() -> None:
    assert problems(lambda: double.options(validate=False)("x")) == []  # type: ignore[arg-type]


def test_a_node_without_annotations_takes_anything() -> None:
    assert problems(lambda: anything(load("a"), y=anything(3))) == []


class Base: ...


class Derived(Base): ...


class Sized(Protocol):
    def __len__(self) -> int: ...


class Row(TypedDict):
    name: str


class Colour(enum.Enum):
    RED = 1


T = TypeVar("T")
UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (int, int),
        (int, float),
        (float, int),
        (bool, int),
        (np.int64, int),
        (np.float32, float),
        (int, np.int64),
        (int, numbers.Real),
        (float, complex),
        (Derived, Base),
        (Base, Derived),
        (list, Sequence),
        (list[int], Sequence[int]),
        (list[int], list),
        (list[bool], list[int]),
        (list[int], Iterable[float]),
        (tuple[int, str], tuple[int, str]),
        (tuple[int, ...], Sequence[int]),
        (dict[str, int], Mapping[str, float]),
        (Row, dict),
        (dict, Row),
        (int | None, int),
        (int, Optional[str | int]),  # noqa: UP045
        (Literal["a", "b"], str),
        (str, Literal["a", "b"]),
        (UserId, int),
        (int, UserId),
        (Annotated[int, Field(gt=0)], int),
        (npt.NDArray[np.float64], np.ndarray),
        (np.ndarray, npt.NDArray[np.int64]),
        (list[int], npt.ArrayLike),
        (pd.DataFrame, Sized),
        (pd.Series, Any),
        (object, str),
        (T, int),
        (int, T),
        (list[T], list[int]),  # type: ignore[valid-type]
        (Callable[[int], int], Callable),
        (type[int], type),
        (None, int | None),
        (Colour, Colour),
        ("Unknown", int),
        (Iterator[int], Iterable[int]),
        (list[Any], list[int]),
        (bytearray, bytes),
        (np.bool_, bool),
        (Hashable, Collection),
    ],
)
def test_what_may_fit_is_never_a_false_alarm(given: Any, wanted: Any) -> None:
    assert compatible(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (str, int),
        (int, str),
        (str, Path),
        (pd.DataFrame, pd.Series),
        (list[int], int),
        (int, list[int]),
        (list[int], list[str]),
        (dict[str, int], dict[str, str]),
        (tuple[int, str], tuple[int, int]),
        (tuple[int, str], tuple[int, str, int]),
        (int | None, str),
        (Literal[1], str),
        (UserId, str),
        (None, int),
        (Base, Colour),
    ],
)
def test_what_cannot_fit_is_found(given: Any, wanted: Any) -> None:
    assert not compatible(given, wanted)


def test_the_examples_in_the_module_hold() -> None:
    assert doctest.testmod(check).failed == 0


# -- fan-outs --------------------------------------------------------------------------------------------------------


def test_the_elements_of_an_annotated_list_are_checked_against_the_parameter() -> None:
    assert problems(lambda: double.map(numbers_of(3))) == []
    assert "'x' gets each element of 'names_of', which is annotated str" in only(lambda: double.map(names_of(3)))


def test_the_elements_of_a_literal_list_are_checked() -> None:
    assert "'x' = 'b' (str) at [1], but its annotation says int" in only(lambda: double.map([1, "b"]))


def test_a_fan_out_has_the_annotation_of_a_list() -> None:
    assert problems(lambda: double.map(double.map([1, 2]))) == []
    assert "annotated list[int], but its own annotation says int" in only(lambda: double(double.map([1, 2])))  # type: ignore[arg-type]


def test_lists_of_references_are_mapped() -> None:
    assert problems(lambda: double.map([double(1), 2])) == []
    assert "'load', annotated DataFrame at [0]" in only(lambda: double.map([load("a")]))


def test_map_over_different_lengths_names_them() -> None:
    text = only(lambda: anything.map([1, 2], [3]))
    assert "map needs lists of one length: 'x' has 2, 'y' has 1" in text


def test_map_over_text_is_a_problem() -> None:
    assert "map would iterate over the single characters of 'abc' (str)" in only(lambda: load.map("abc"))


def test_map_over_a_number_is_a_problem() -> None:
    assert "map cannot iterate over 3 (int)" in only(lambda: anything.map(3))
    assert "map cannot iterate over 'double', which is annotated int" in only(lambda: anything.map(double(1)))


def test_map_without_an_iterable_is_a_problem() -> None:
    assert "map has nothing to iterate over" in only(lambda: anything.map(x=[1]))


def test_expand_takes_lists_fan_outs_and_references_annotated_as_lists() -> None:
    @workflow
    def flow() -> Any:
        return [
            double.expand(x=[1, 2]),
            double.expand(x=numbers_of(2)),
            double.expand(x=double.map([1])),
            anything.expand(x=(1, 2), y=anything(3)),
        ]

    found = [step.over for step in flow.graph.steps if step.kind == "expand"]
    assert found == [("x",), ("x",), ("x",), ("x",)]


def test_expand_keeps_a_list_for_a_parameter_that_wants_one() -> None:
    @node
    def fit(xs: Sequence[int], rate: float) -> float:
        return sum(xs) * rate

    @workflow
    def flow() -> Any:
        return fit.expand(xs=[1, 2], rate=[0.1, 0.2])

    assert flow.graph.step("fit").over == ("rate",)


def test_expand_without_a_list_is_a_problem() -> None:
    assert "expand has nothing to expand" in only(lambda: double.expand(x=1))


# -- nodes -----------------------------------------------------------------------------------------------------------


def test_a_generator_function_is_a_problem() -> None:
    def rows() -> Iterator[int]:
        yield 1

    assert "generator function: what it yields cannot be kept or sent. Return a list" in only(lambda: node(rows)())


def test_two_context_parameters_are_a_problem() -> None:
    def asks(a: Context, b: Context) -> None: ...

    made: FunctionNode[..., None] = node(asks)
    assert "asks for its context more than once, as 'a' and 'b'" in only(lambda: made())


@pytest.mark.parametrize(
    ("annotation", "item"),
    [(Iterator[int], int), (Iterable[str], str), (list[int], Any), (Iterator, Any), (Any, Any), (None, Any)],
)
def test_what_a_generator_yields_is_read_from_its_annotation(annotation: Any, item: Any) -> None:
    assert yielded(annotation) is item
