"""Arrays and frames are told apart by what they hold, and are the same again when they come back from a store."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from wfnb.authoring.fingerprint import hash_value
from wfnb.store.codec import Codec


class Tagged(np.ndarray):
    """An array with a note that travels with it."""

    note: int

    def __reduce__(self) -> Any:
        return _tagged, (np.asarray(self), self.note)


def _tagged(values: Any, note: int) -> Tagged:
    made = np.asarray(values).view(Tagged)
    made.note = note
    return made


class Frame(pd.DataFrame):  # type: ignore[misc]
    """A frame with a note, as pandas documents it for classes of one's own."""

    _metadata: ClassVar[list[str]] = ["note"]

    @property
    def _constructor(self) -> type[Frame]:
        return Frame


def noted(note: int) -> Frame:
    made = Frame({"a": [1]})
    made.note = note
    return made


def with_attrs(**attrs: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs.update(attrs)
    return frame


PAIRS = [
    (np.zeros(2, "i4"), np.zeros(2, "u4")),
    (np.array([1], ">i4"), np.array([1 << 24], "<i4")),
    (np.ones((2, 3)), np.ones((3, 2))),
    (np.array([[1, 2], [3, 4]]), np.array([[1, 3], [2, 4]])),
    (np.asfortranarray(np.ones((2, 3))), np.ones((2, 3))),
    (np.array([0.0]), np.array([-0.0])),
    (np.array(1), np.array([1])),
    (np.int64(1), np.array(1)),
    (np.int64(1), 1),
    (np.zeros(1, "M8[s]"), np.zeros(1, "M8[ms]")),
    (np.zeros(1, [("a", "i4")]), np.zeros(1, [("b", "i4")])),
    (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 3], mask=[0, 1])),
    (np.ma.array([1], fill_value=3), np.ma.array([1], fill_value=4)),
    (np.array([1, "a"], object), np.array([True, "a"], object)),
    (np.array(["a"]), np.array(["a"], "U5")),
    (np.arange(10)[::2], np.arange(10)[::-2]),
    (_tagged([1], 1), _tagged([1], 2)),
    (_tagged([1], 1), np.array([1])),
    (with_attrs(unit="m"), with_attrs(unit="s")),
    (pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False), pd.DataFrame({"a": [1]})),
    (noted(1), noted(2)),
    (noted(1), pd.DataFrame({"a": [1]})),
    (pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"b": [2], "a": [1]})),
    (pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame([[2, 1]], columns=["a", "a"])),
    (pd.Series([None, "a"], dtype=object), pd.Series([float("nan"), "a"], dtype=object)),
    (pd.Index([1], name="a"), pd.Index([1], name="b")),
    (pd.RangeIndex(3), pd.Index([0, 1, 2])),
    (pd.date_range("2020", periods=2), pd.DatetimeIndex(["2020-01-01", "2020-01-02"])),
    (pd.date_range("2020", periods=2, tz="UTC"), pd.date_range("2020", periods=2, tz="Europe/Berlin")),
    (pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])[:1], pd.MultiIndex.from_tuples([(1, "a")])),
    (pd.MultiIndex.from_tuples([(1, "a")], names=["x", "y"]), pd.MultiIndex.from_tuples([(1, "a")], names=["x", "z"])),
    (pd.MultiIndex.from_tuples([(1, "a"), (1, "b")]), pd.MultiIndex.from_tuples([(1, "b"), (1, "a")])),
    (pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["b", "a"])),
    (pd.Categorical(["a"], ["a", "b"], ordered=True), pd.Categorical(["a"], ["a", "b"])),
    (pd.interval_range(0, 2), pd.interval_range(0, 2, closed="left")),
    (pd.period_range("2020", periods=2, freq="D"), pd.period_range("2020", periods=2, freq="M")),
    (pd.arrays.SparseArray([0, 1]), pd.arrays.SparseArray([0, 2])),
    (pd.array([True, None], dtype="boolean"), pd.array([True, False], dtype="boolean")),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{n}" for n in range(len(PAIRS))])
def test_values_that_differ_are_told_apart_and_come_back_the_same(one: Any, other: Any) -> None:
    assert hash_value(one) != hash_value(other)
    for value in (one, other):
        assert hash_value(value) is not None
        codec = Codec(b"x" * 32)
        (back,) = codec.decode_pack(codec.pack([codec.encode(value)]))
        assert hash_value(back) == hash_value(value)


def test_a_view_is_what_it_shows() -> None:
    whole = np.arange(12).reshape(3, 4)
    assert hash_value(whole[:, ::2]) == hash_value(whole[:, ::2].copy())
    assert hash_value(pd.DataFrame(whole)[[0, 2]]) == hash_value(pd.DataFrame(whole)[[0, 2]].copy())
