"""Values of every kind arrive as what they are, through every store, in this process and another."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.integration.support import Kernel, took
from wfnb.store.urls import open_store

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

pytestmark = [pytest.mark.timeout(60)]
MEGABYTE = 1024 * 1024


@pytest.fixture
def used(unset: None, client: Any, store: str) -> str:
    """wfnb configured for the shared cluster and a store of each kind, whose URL this is."""
    wf.configure(store=store, cluster=client)
    return store


@dataclasses.dataclass
class Point:
    x: float
    where: datetime.date


@wf.node
def make(kind: str) -> Any:
    match kind:
        case "array":
            return np.arange(12.0).reshape(3, 4)
        case "fortran":
            return np.asfortranarray(np.arange(12).reshape(3, 4))
        case "objects":
            return np.array([{"a": 1}, None], dtype=object)
        case "scalar":
            return np.float32(1.5)
        case "frame":
            dates = pd.date_range("2020-01-01", periods=3, tz="UTC")
            return pd.DataFrame(
                {"n": [1, 2, 3], "text": ["a", None, "c"], "when": dates, "kind": pd.Categorical(list("xyx"))}
            )
        case "series":
            return pd.Series([1.0, np.nan], index=["a", "b"], name="s")
        case "table":
            return pa.table({"n": [1, 2, None], "text": ["a", "b", "c"]})
        case "point":
            return Point(1.5, datetime.date(2020, 1, 2))
        case "decimal":
            return {"price": decimal.Decimal("1.10"), "tags": {"a", "b"}, 3: (1, 2)}
        case _:
            return lambda x: x + len(kind)


KINDS = ["array", "fortran", "objects", "scalar", "frame", "series", "table", "point", "decimal"]


@wf.node
def through(value: Any) -> Any:
    return value


@wf.workflow
def journey(kind: str) -> Any:
    return through(make(kind))


@wf.workflow
def journeys(kinds: list[str]) -> list[Any]:
    return through.map(make.map(kinds))


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(found, expected)
    elif isinstance(expected, pa.Table):
        assert found.equals(expected)
    else:
        assert found == expected


def test_values_of_every_kind_arrive_as_they_are(used: str) -> None:
    run = journeys.submit(KINDS)
    for index, (kind, found) in enumerate(zip(KINDS, run.result(30), strict=True)):
        assert_same(found, make(kind))
        assert_same(run[f"make[{index}]"].output, make(kind))


def test_a_function_is_a_value(used: str) -> None:
    assert journey.submit("seven!!").result(20)(1) == 8


def test_inputs_of_every_kind_arrive_as_they_are(used: str) -> None:
    @wf.workflow
    def pass_on(values: list[Any]) -> list[Any]:
        return through.map(values)

    values = [make(kind) for kind in KINDS]
    for found, expected in zip(pass_on.submit(values).result(30), values, strict=True):
        assert_same(found, expected)


@wf.node
def big(megabytes: int) -> Any:
    array = np.zeros((megabytes, MEGABYTE // 8))
    array[:, -1] = np.arange(megabytes)
    return array


@wf.node
def last_column(array: Any) -> Any:
    return array[:, -1]


@wf.workflow
def large(megabytes: int) -> list[Any]:
    array = big(megabytes)
    return [array, last_column(array)]


@pytest.mark.timeout(90)
def test_an_array_of_100_megabytes_goes_through_every_store_and_is_read_by_another_process(
    used: str, tmp_path: Path
) -> None:
    run = large.submit(100)
    with took(0, 40):
        array, column = run.result(60)
    assert array.shape == (100, MEGABYTE // 8)
    np.testing.assert_array_equal(array[:, -1], np.arange(100))
    np.testing.assert_array_equal(column, np.arange(100))
    script = tmp_path / "other.py"
    script.write_text(f"""
import wfnb as wf
wf.configure(store={used!r})
array = wf.get_run({run.id!r})["big"].output
print(array.shape, array.sum())
""")
    with Kernel(script) as kernel:
        assert kernel.line() == f"(100, {MEGABYTE // 8}) {float(sum(range(100)))}"
    open_store(used).delete(run.id)


@wf.node
def change(array: Any) -> float:
    array = array.copy() if not array.flags.writeable else array
    array += 1
    return float(array.sum())


@wf.node
def ones() -> Any:
    return np.ones(300_000)


@wf.workflow
def changing() -> list[Any]:
    array = ones()
    return [change(array), array]


def test_what_is_stored_is_the_value_as_it_was_when_its_task_ended(used: str) -> None:
    _, array = changing.submit().result(20)
    assert array.sum() == 300_000


def test_a_forged_value_is_refused(used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = journey.submit("point")
    run.result(20)
    monkeypatch.setenv("WFNB_SECRET_KEY", "somebody else's")
    with pytest.raises(wf.StoreError, match=r"secret key|signed|signature"):
        _ = wf.get_run(run.id)["make"].output
