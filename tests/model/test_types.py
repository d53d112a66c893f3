"""A value is checked against an annotation as a type checker would, without converting, without a false alarm."""

from __future__ import annotations

import collections
import doctest
import enum
import fractions
import functools
import time
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
)

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field

from wfnb.model import types
from wfnb.model.types import LOOKED_AT, annotations_of, checker, describe, is_listlike, show

T = TypeVar("T")
P = ParamSpec("P")
UserId = NewType("UserId", int)


class Model(BaseModel):
    x: int


@dataclass
class Data:
    x: int


class Row(TypedDict):
    name: str


class Spot(NamedTuple):
    x: int


class Box(Generic[T]): ...


class Colour(enum.Enum):
    RED = 1


class Quacks(Protocol):
    def quack(self) -> None: ...


FITS = [
    (int, 1),
    (int, True),
    (int, np.int64(1)),
    (float, 1.5),
    (float, 1),
    (float, np.float32(1)),
    (float, fractions.Fraction(1, 2)),
    (complex, 1),
    (complex, np.float64(1)),
    (bool, True),
    (bool, np.bool_(True)),
    (str, "a"),
    (str, np.str_("a")),
    (None, None),
    (type(None), None),
    (object, 1),
    (Any, 1),
    (Optional[int], None),  # noqa: UP045
    (int | str, "a"),
    (int | None, 3),
    (Literal["a", 1], "a"),
    (Literal[Colour.RED], Colour.RED),
    (list, [1, "a"]),
    (list[int], []),
    (list[int], [1, 2]),
    (list[Any], [1, "a"]),
    (list[list[int]], [[1], []]),
    (dict[str, int], {"a": 1}),
    (Mapping[str, Any], {"a": object()}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (tuple, (1, "a")),
    (set[int], {1}),
    (frozenset[str], frozenset("ab")),
    (Sequence[int], (1, 2)),
    (Sequence[int], range(3)),
    (Iterable[int], [1]),
    (Iterable[int], iter([1])),
    (Iterator[int], iter([1])),
    (collections.deque[int], collections.deque([1])),
    (collections.OrderedDict[str, int], collections.OrderedDict(a=1)),
    (abc.Collection[str], ["a"]),
    (Callable[[int], int], len),
    (Callable[..., Any], print),
    (abc.Callable, print),
    (type[int], int),
    (Model, Model(x=1)),
    (Data, Data(1)),
    (Row, {"name": "a"}),
    (Spot, Spot(1)),
    (Box[int], Box()),
    (Colour, Colour.RED),
    (UserId, 3),
    (Quacks, 1),
    (np.ndarray, np.arange(3)),
    (npt.NDArray[np.float64], np.zeros(2)),
    (npt.ArrayLike, [1, 2]),
    (pd.DataFrame, pd.DataFrame()),
    (pd.Series, pd.Series([1])),
    (Annotated[int, "metres"], 3),
    (Annotated[int, Field(gt=0)], 3),
    (Annotated[float, Field(gt=0)], np.float32(3)),
    (Annotated[pd.DataFrame, Field(description="rows")], pd.DataFrame()),
    (T, 1),
    (list[T], [1, "a"]),  # type: ignore[valid-type]
    ("NotKnown", 1),
    (ForwardRef("NotKnown"), 1),
    (list["NotKnown"], [1]),  # type: ignore[name-defined]  # noqa: F821
    (P, 1),
]

MISFITS = [
    (int, "x", "'x' (str)"),
    (int, 1.5, "1.5 (float)"),
    (float, "1", "'1' (str)"),
    (float, 1j, "1j (complex)"),
    (bool, 1, "1 (int)"),
    (str, 3, "3 (int)"),
    (str, None, "None (NoneType)"),
    (None, 0, "0 (int)"),
    (int | None, "x", "'x' (str)"),
    (Literal["a", "b"], "c", "'c' (str)"),
    (Literal[1], "1", "'1' (str)"),
    (list, (1,), "(1,) (tuple)"),
    (list[int], [1, "x"], "[1, 'x'] (list) with [1] = 'x' (str)"),
    (list[list[int]], [[1], [2, "x"]], "[[1], [2, 'x']] (list) with [1][1] = 'x' (str)"),
    (list[int] | None, ["x"], "['x'] (list) with [0] = 'x' (str)"),
    (dict[str, int], {"a": "x"}, "{'a': 'x'} (dict) with ['a'] = 'x' (str)"),
    (dict[str, int], {1: 1}, "{1: 1} (dict) with key = 1 (int)"),
    (dict[str, list[int]], {"a": ["x"]}, "{'a': ['x']} (dict) with ['a'][0] = 'x' (str)"),
    (tuple[int, str], (1, 2), "(1, 2) (tuple) with [1] = 2 (int)"),
    (tuple[int, str], (1,), "(1,) (tuple) of 1 elements"),
    (tuple[int, ...], (1, "x"), "(1, 'x') (tuple) with [1] = 'x' (str)"),
    (set[int], {"x"}, "{'x'} (set) with element = 'x' (str)"),
    (Sequence[int], 3, "3 (int)"),
    (Callable[[int], int], 3, "3 (int)"),
    (type[int], 3, "3 (int)"),
    (Model, {"x": 1}, "{'x': 1} (dict)"),
    (Row, [1], "[1] (list)"),
    (Box[int], 3, "3 (int)"),
    (UserId, "x", "'x' (str)"),
    (npt.NDArray[np.float64], [1.0], "[1.0] (list)"),
    (pd.DataFrame, [1], "[1] (list)"),
    (Annotated[int, Field(gt=0)], -1, "-1 (int): Input should be greater than 0"),
    (Annotated[int, "metres"], "x", "'x' (str)"),
    (list[Annotated[int, Field(lt=5)]], [1, 7], "[1, 7] (list) with [1] = 7 (int): Input should be less than 5"),
]


@pytest.mark.parametrize(("annotation", "value"), FITS, ids=lambda part: describe(part)[:40])
def test_a_fitting_value_passes(annotation: Any, value: Any) -> None:
    check = checker(annotation)
    assert check is None or check(value) is None


@pytest.mark.parametrize(("annotation", "value", "text"), MISFITS, ids=lambda part: describe(part)[:40])
def test_a_value_that_does_not_fit_is_shown_with_the_place_inside_it(annotation: Any, value: Any, text: str) -> None:
    check = checker(annotation)
    assert check is not None
    assert check(value) == text


@pytest.mark.parametrize("annotation", [Any, object, T, "NotKnown", ForwardRef("X"), Quacks, int | Any, P])
def test_what_says_nothing_is_not_checked(annotation: Any) -> None:
    assert checker(annotation) is None


def test_only_the_first_elements_of_a_large_container_are_looked_at() -> None:
    check = checker(list[int])
    assert check is not None
    assert check([*range(LOOKED_AT), "x"]) is None
    assert check([*range(LOOKED_AT - 1), "x"]) is not None


def test_an_iterator_is_not_used_up_by_its_check() -> None:
    check, values = checker(Iterable[int]), iter(["x"])
    assert check is not None
    assert check(values) is None
    assert next(values) == "x"


def test_a_check_never_raises() -> None:
    class Refuses(type):
        def __instancecheck__(cls, instance: object) -> bool:
            raise RuntimeError("no")

    class Odd(metaclass=Refuses): ...

    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    def validate(value: int) -> int:
        raise KeyError("no")

    assert checker(Odd) is None
    check = checker(int)
    assert check is not None
    assert str(check(Shy())).endswith(" (Shy)")
    annotated = checker(Annotated[int, AfterValidator(validate)])
    assert annotated is not None
    assert annotated(1) is None


def test_an_annotation_that_cannot_be_hashed_is_understood() -> None:
    check = checker(Annotated[int, ["a", "list"]])
    assert check is not None
    assert check("x") == "'x' (str)"


@given(st.lists(st.integers() | st.floats() | st.text() | st.none() | st.lists(st.integers())))
def test_a_list_fits_exactly_when_each_element_does(values: list[Any]) -> None:
    whole, one = checker(list[int | str]), checker(int | str)
    assert whole is not None
    assert one is not None
    assert (whole(values) is None) == all(one(value) is None for value in values[:LOOKED_AT])


def test_a_check_of_a_number_costs_well_under_ten_microseconds() -> None:
    check = checker(float)
    assert check is not None
    started = time.perf_counter()
    for _ in range(10_000):
        check(1.5)
    assert (time.perf_counter() - started) / 10_000 < 10e-6


# -- words -----------------------------------------------------------------------------------------------------------


def test_a_long_value_is_shortened() -> None:
    assert len(show("x" * 1000)) <= 60 + len(" (str)")
    assert show(pd.DataFrame({"a": range(100)})).endswith(" (DataFrame)")
    assert "\n" not in show(pd.DataFrame({"a": range(100)}))


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (None, "None"),
        (list[int], "list[int]"),
        (dict[str, list[float]], "dict[str, list[float]]"),
        (Optional[int], "int | None"),  # noqa: UP045
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[int, Field(gt=0)], "int"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Callable[[int], str], "Callable[..., str]"),
        (pd.DataFrame, "DataFrame"),
        ("Later", "Later"),
    ],
)
def test_an_annotation_is_described_as_its_author_would_write_it(annotation: Any, text: str) -> None:
    assert describe(annotation) == text


@pytest.mark.parametrize("annotation", [list, list[int], tuple[int, ...], Sequence[int], list[int] | None, Iterable])
def test_what_asks_for_a_sequence_is_listlike(annotation: Any) -> None:
    assert is_listlike(annotation)


@pytest.mark.parametrize("annotation", [int, str, dict, np.ndarray, Any, None, set[int]])
def test_what_does_not_ask_for_a_sequence_is_not_listlike(annotation: Any) -> None:
    assert not is_listlike(annotation)


# -- annotations of callables ----------------------------------------------------------------------------------------


def test_strings_are_resolved_and_unknown_names_stay() -> None:
    def body(a: int, b: Missing, c: Model) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert annotations_of(body) == {"a": int, "b": "Missing", "c": Model, "return": type(None)}


def test_names_of_an_enclosing_function_are_resolved() -> None:
    class Local: ...

    def body(a: Local) -> None:
        Local()

    assert annotations_of(body)["a"] is Local


def test_annotations_are_found_under_partials_methods_wrappers_and_calls() -> None:
    class Thing:
        def method(self, a: int) -> str:
            return ""

        def __call__(self, b: float) -> str:
            return ""

    @functools.wraps(Thing.method)
    def wrapper(*args: Any) -> Any: ...

    assert annotations_of(Thing().method) == {"a": int, "return": str}
    assert annotations_of(functools.partial(Thing().method, 1)) == {"a": int, "return": str}
    assert annotations_of(wrapper) == {"a": int, "return": str}
    assert annotations_of(Thing()) == {"b": float, "return": str}
    assert annotations_of(len) == {}


def test_the_examples_in_the_module_hold() -> None:
    assert doctest.testmod(types).failed == 0
