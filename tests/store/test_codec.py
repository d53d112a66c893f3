"""Values come back as what they were, and forged ones are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import math
import pickle
import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wfnb.model.errors import CaptureError, StoreError, ValueRefused
from wfnb.store.base import Frame
from wfnb.store.codec import MISSING, SCALARS, Codec, Encoded, size_of

CODEC = Codec(b"secret")


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    pass


@dataclasses.dataclass
class Point:
    x: float
    y: Any


class Unloadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("no_such_module",)


class Marked:
    """Leaves a trace when it is unpickled."""

    loaded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _mark, ()


def _mark() -> None:
    Marked.loaded = True


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal with the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        if one.dtype.hasobject:
            return bool(one.dtype == other.dtype and np.array_equal(one, other))
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(map(repr, one)) == list(map(repr, other)) and all(map(same, one.values(), other.values()))
    if isinstance(one, (float, np.inexact)):
        return one.tobytes() == other.tobytes() if isinstance(one, np.inexact) else repr(one) == repr(other)
    if isinstance(one, (pd.DataFrame, pd.Series)):
        return bool(one.equals(other))
    return bool(one == other)


def through(values: list[Any]) -> list[Any]:
    """Return the values as they come back from a store that gives bytes."""
    return CODEC.decode_pack([bytes(frame) for frame in CODEC.encode_pack(values)])


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
json_like = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
anything = st.recursive(
    scalars | st.binary() | st.complex_numbers(allow_nan=False) | st.just(Colour.RED) | st.builds(Name, st.text()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=10,
)
plain_dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="=")
    | hnp.integer_dtypes(endianness=">")
    | hnp.floating_dtypes()
    | hnp.complex_number_dtypes()
    | hnp.datetime64_dtypes()
    | hnp.timedelta64_dtypes()
    | hnp.unicode_string_dtypes(min_len=1)
    | hnp.byte_string_dtypes(min_len=1)
)


# -- round trips


@given(st.lists(scalars))
def test_scalars_come_back_with_their_types(values: list[Any]) -> None:
    assert same(through(values), values)


@given(st.lists(json_like))
def test_json_like_values_come_back_with_their_types(values: list[Any]) -> None:
    assert same(through(values), values)


@given(st.lists(anything, max_size=6))
def test_any_mixture_comes_back_with_its_types(values: list[Any]) -> None:
    assert same(through(values), values)


@given(hnp.arrays(plain_dtypes, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_plain_arrays_come_back(array: np.ndarray[Any, Any]) -> None:
    for value in (array, np.asfortranarray(array), array[..., ::2] if array.ndim else array, array.T):
        assert same(through([value, 1]), [value, 1])


@given(hnp.arrays(hnp.array_dtypes(max_size=3), hnp.array_shapes(max_side=3)))
def test_structured_arrays_come_back(array: np.ndarray[Any, Any]) -> None:
    assert same(through([array])[0], array)


@given(hnp.from_dtype(np.dtype("f8")) | hnp.from_dtype(np.dtype("M8[ns]")) | hnp.from_dtype(np.dtype("u2")))
def test_numpy_scalars_come_back(value: Any) -> None:
    back = through([value])[0]
    assert type(back) is type(value)
    assert back.dtype == value.dtype
    assert back.tobytes() == value.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        *(None, 0, "", [], {}, False, 0.0, -0.0, b"", (), set(), frozenset(), math.nan, math.inf, -math.inf),
        *(10**30, 10**5_000, -(2**63), "\ud800", "\ud800\udc00", "\x00", "é✓🎉", [["\ud800"]], {"": {"": []}}),
        *(
            (1, 2),
            {1: 2},
            {(1,): 2},
            {"a": (1,)},
            [b"x"],
            Colour.RED,
            [Colour.RED],
            {Name("k"): 1},
            Name("x"),
            {True: 1},
        ),
        *(bytearray(b"ab"), OrderedDict(a=1), Point(1.0, (2,)), complex(1, 2), range(3), slice(1), ..., int, print),
        *(
            np.float64(1.5),
            np.int8(-1),
            np.bool_(True),
            np.str_("a"),
            np.bytes_(b"a"),
            np.float16(1),
        ),
        *(np.datetime64("2020-01-01", "D"), np.timedelta64(5, "ms"), np.complex64(1j), np.longdouble("0.1")),
        *(np.zeros((0, 3)), np.array(5), np.array("x"), np.array([], dtype="U5"), np.array(["a", None], dtype=object)),
        *(np.zeros(3, dtype=[("a", "i4"), ("b", "f8", (2,)), (("title", "c"), "M8[s]")]), np.array(["", ""])),
        *(np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "i8")], align=True)), np.arange(6).reshape(2, 3)[:, ::-1]),
        *(np.zeros(2, dtype="V3"), np.ma.masked_array([1, 2], [True, False]).data, np.arange(3).astype(">i4")),
        [1] * 20_000,
        {str(number): number for number in range(20_000)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_special_value_comes_back_with_its_type(value: Any) -> None:
    for back in (through([value])[0], through([1, value, b"x"])[1], CODEC.loads(CODEC.dumps(value))):
        assert same(back, value) or (value != value and type(back) is type(value))


def test_a_deeply_nested_list_comes_back() -> None:
    value: list[Any] = []
    for _ in range(200):
        value = [value]
    assert through([value]) == [value]


def test_a_list_that_holds_itself_comes_back() -> None:
    value: list[Any] = [1]
    value.append(value)
    back = through([value])[0]
    assert back[1] is back


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": range(10_000), "b": np.linspace(0, 1, 10_000), "c": ["x", None] * 5_000}),
        pd.DataFrame(),
        pd.Series(range(5), index=pd.date_range("2020", periods=5), name="s"),
        pd.DataFrame({"c": pd.Categorical(["a", "b"]), "t": pd.to_datetime(["2020", "2021"], utc=True)}),
    ],
    ids=["columns", "empty", "series", "types"],
)
def test_pandas_objects_come_back_and_can_be_written_to(frame: Any) -> None:
    back = through([frame])[0]
    assert same(back, frame)
    if len(back):
        back.iloc[0] = back.iloc[-1]


def test_arrow_tables_come_back() -> None:
    table = pa.table({"a": list(range(10_000)), "s": ["x"] * 10_000})
    assert through([table])[0] == table


def test_what_a_notebook_defines_comes_back_in_a_process_without_it() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("class Mine:\n    x = 5\ndef double(x): return 2 * x", scope)
    scope["Mine"].__module__ = "__main__"
    value, double = through([scope["Mine"](), scope["double"]])
    assert type(value).x == 5
    assert double(4) == 8


# -- forms


@pytest.mark.parametrize("values", [[], [1, "a", None], [{"a": [1, 2.5, None]}, [], {}]])
def test_json_like_packs_are_one_frame_of_readable_text(values: list[Any]) -> None:
    (frame,) = CODEC.encode_pack(values)
    assert bytes(frame[:2]) == b"J["
    assert b"\\u" not in bytes(frame)


def test_values_are_encoded_now_and_packed_later() -> None:
    value = [1, 2]
    encoded = CODEC.encode(value)
    value.append(3)
    assert isinstance(encoded, Encoded)
    assert encoded.size == len(b"[1,2]")
    assert CODEC.decode_pack(CODEC.pack([encoded, 5, MISSING, CODEC.encode((1,))])) == [[1, 2], 5, MISSING, (1,)]


def test_packing_a_value_that_is_not_encoded_is_refused() -> None:
    with pytest.raises(TypeError, match="type 'tuple' must be encoded"):
        CODEC.pack([(1,)])  # type: ignore[list-item]


def test_a_hole_stays_a_hole() -> None:
    back = through([MISSING, None, MISSING, 0])
    assert back[0] is MISSING
    assert back[1] is None
    assert back[2] is MISSING
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
    assert not MISSING


def test_big_arrays_travel_without_a_copy() -> None:
    array = np.zeros(1_000_000)
    _, frame = CODEC.encode_pack([array])
    array[5] = 7
    assert CODEC.decode_pack([_, bytes(frame)])[0][5] == 7


def test_a_snapshot_does_not_see_later_changes() -> None:
    for value in (np.zeros(1_000_000), pd.Series(np.zeros(1_000_000))):
        encoded = CODEC.encode(value, snapshot=True)
        value[5] = 7
        assert CODEC.decode_pack(CODEC.pack([encoded]))[0][5] == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_arrays_can_be_written_to_whatever_the_store_gives(kind: type, size: int) -> None:
    array = np.arange(size)
    frames = [kind(bytes(frame)) for frame in CODEC.encode_pack([array, {"x": (array,)}])]
    for back in (CODEC.decode_pack(frames)[0], CODEC.decode_pack(frames)[1]["x"][0]):
        assert back.flags.writeable
        assert np.array_equal(back, array)


def test_a_writable_frame_becomes_the_arrays_memory() -> None:
    frames: list[Frame] = [bytearray(frame) for frame in CODEC.encode_pack([np.zeros(100_000)])]
    back = CODEC.decode_pack(frames)[0]
    back[0] = 1
    assert bytes(frames[1][:8]) == np.float64(1).tobytes()


def test_arrays_keep_their_order_in_memory() -> None:
    assert through([np.asfortranarray(np.zeros((200, 300)))])[0].flags.f_contiguous
    assert through([np.zeros((200, 300))])[0].flags.c_contiguous


def test_part_of_a_pack_is_decoded_alone() -> None:
    for values in ([1, 2, 3, 4], [(1,), (2,), (3,), (4,)], [np.zeros(10_000), b"2", b"3", MISSING]):
        frames = CODEC.encode_pack(values)
        assert CODEC.decode_pack(frames, 1, 3) == CODEC.decode_pack(frames)[1:3]
        assert len(CODEC.decode_pack(frames, 2)) == 2


def test_size_of_counts_all_frames() -> None:
    assert size_of([b"ab", bytearray(3), memoryview(b"abcd")]) == 9
    assert size_of(CODEC.encode_pack([np.zeros(1_000)])) > 8_000


def test_scalars_are_the_exact_types() -> None:
    assert {type(None), bool, int, float, str} == SCALARS


# -- refusals


def test_a_pickle_signed_with_another_secret_is_refused_before_it_is_loaded() -> None:
    frames = Codec(b"other").encode_pack([Marked()])
    with pytest.raises(ValueRefused, match="WFNB_SECRET_KEY"):
        CODEC.decode_pack(frames)
    assert not Marked.loaded


def test_a_forged_pickle_is_refused_before_it_is_loaded() -> None:
    body = pickle.dumps(Marked())
    for signature in (b"", b"\0" * 32, b"\0" * 44):
        with pytest.raises(ValueRefused, match="WFNB_SECRET_KEY"):
            CODEC.decode_pack(CODEC.pack([Encoded("p", (signature, body))]))
    with pytest.raises(ValueRefused, match="WFNB_SECRET_KEY"):
        CODEC.decode_pack(CODEC.pack([Encoded("p", (body,))]))
    assert not Marked.loaded


@pytest.mark.parametrize("change", ["shorter", "longer", "dropped", "added", "swapped"])
def test_buffers_that_are_not_those_that_were_signed_are_refused(change: str) -> None:
    encoded = CODEC.encode((np.zeros(10), np.zeros(20)))
    head, body, one, two = encoded.parts
    parts = {
        "shorter": (head, body, one, two[:-8]),
        "longer": (head, body, one, bytes(two) + b"12345678"),
        "dropped": (head, body, one),
        "added": (head, body, one, two, b""),
        "swapped": (head, body, two, one),
    }[change]
    with pytest.raises(ValueRefused, match="not those that were signed"):
        CODEC.decode_pack(CODEC.pack([Encoded("p", parts)]))


@given(st.data())
def test_a_damaged_pack_is_refused_or_gives_values(data: st.DataObject) -> None:
    frames = [bytearray(frame) for frame in CODEC.encode_pack([np.arange(5), (1, 2), {"a": 1}, MISSING, b"x" * 20_000])]
    frame = data.draw(st.sampled_from(frames))
    place = data.draw(st.integers(0, len(frame) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "drop"])):
        case "flip":
            frame[place] ^= data.draw(st.integers(1, 255))
        case "cut":
            del frame[place:]
        case "drop":
            frames.pop()
    with contextlib.suppress(ValueRefused):  # and nothing else
        assert len(CODEC.decode_pack(frames)) <= 5


@pytest.mark.parametrize(
    "frames",
    [[], [b""], [b"?"], [b"J"], [b"J{}"], [b"J[1"], [b"J[]", b"x"], [b"J\xff"], [b"M"], [b"M\x01"], [b"M\x91\x01"]],
    ids=repr,
)
def test_what_is_no_pack_is_refused(frames: list[Frame]) -> None:
    with pytest.raises(ValueRefused, match="damaged"):
        CODEC.decode_pack(frames)


def test_an_array_of_objects_in_raw_form_is_refused() -> None:
    for descr in ('"|O"', '[["a", "|O"]]', '"O8"'):
        head = f'[{descr}, [1], "C"]'.encode()
        with pytest.raises(ValueRefused):
            CODEC.decode_pack(CODEC.pack([Encoded("a", (head, b"12345678"))]))


def test_a_value_that_cannot_be_pickled_is_named_with_what_to_do() -> None:
    for value in (threading.Lock(), [threading.Lock()], (number for number in ())):
        with pytest.raises(CaptureError, match=r"type '[\w.]+' cannot be stored.*checkpoint=False"):
            CODEC.encode(value)


def test_a_signed_pickle_that_cannot_be_loaded_here_says_why() -> None:
    with pytest.raises(StoreError, match="No module named 'no_such_module'"):
        CODEC.decode_pack(CODEC.encode_pack([Unloadable()]))


def test_one_value_as_bytes_is_refused_when_damaged() -> None:
    data = CODEC.dumps(Point(1, 2))
    assert CODEC.loads(data) == Point(1, 2)
    for bad in (b"", b"\x01", data[:-1], b"\x90", Codec(b"x").dumps((1,))):
        with pytest.raises(ValueRefused):
            CODEC.loads(bad)


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(CODEC)


# -- speed


def test_a_thousand_ints_take_microseconds() -> None:
    values = list(range(1_000))
    frames = CODEC.encode_pack(values)

    def best(call: Any) -> float:
        times = []
        for _ in range(50):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        return min(times)

    # Ten times what is measured on two slow cores: a guard against quadratic or per-value work.
    assert best(lambda: CODEC.encode_pack(values)) < 1e-3
    assert best(lambda: CODEC.decode_pack(frames)) < 1e-3
