"""A value told in a few words: its type, size and beginning, so that a picture need not carry it. Pure; no imports.

Arrays and frames are known by what they can do, so that numpy and pandas are not imported for it.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Sized
from itertools import islice
from typing import Any, TypeAlias

Preview: TypeAlias = dict[str, Any]
"""What `preview` returns, ready for JSON."""

ROWS, COLUMNS = 5, 12
"""A table's beginning has at most so many rows and columns."""
CELL, TEXT = 60, 400
"""A cell's text, and a value's, have at most so many characters."""


class _Repr(reprlib.Repr):
    """Texts that are long enough to tell values apart and short enough to read."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 8
        self.maxstring = self.maxother = 200
        self.maxlevel = 4

    # The library's own sort all keys first.
    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}" if x else "{}"
        parts = [f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}" for key in islice(x, self.maxdict)]
        return "{" + ", ".join([*parts, "..."] if len(x) > self.maxdict else parts) + "}"

    def repr_set(self, x: set[Any], level: int) -> str:
        if not x:
            return "set()"
        parts = [self.repr1(item, level - 1) for item in islice(x, self.maxset)] if level > 0 else ["..."]
        return "{" + ", ".join([*parts, "..."] if len(x) > self.maxset else parts) + "}"

    def repr_frozenset(self, x: frozenset[Any], level: int) -> str:
        return f"frozenset({self.repr_set(set(islice(x, self.maxset + 1)), level)})"


_SHORT = _Repr()


def preview(value: Any) -> Preview:
    """Return what a picture shows of a value: ``type``, ``text`` and, where known, ``shape``, ``dtype`` and ``bytes``.

    A frame also has ``table`` with its first rows: ``{"columns": [...], "rows": [[...], ...]}``. Costs little whatever
    the value's size, and never raises: what a value cannot say of itself is left out.
    """
    found: Preview = {"type": type(value).__qualname__, "text": ""}
    try:
        _describe(value, found)
    except Exception as error:  # noqa: BLE001  a value's own code may do anything
        found["text"] = f"cannot be shown: {type(error).__name__}"
    return found


def _describe(value: Any, found: Preview) -> None:
    if isinstance(value, type):
        found["text"] = repr(value)
    elif _is_frame(value):
        _frame(value, found)
    elif _is_array(value):
        _array(value, found)
    else:
        found["text"] = _cut(_SHORT.repr(value), TEXT)
        if isinstance(value, (str, bytes, bytearray, memoryview)):
            found["bytes"] = len(value) if not isinstance(value, str) else sys.getsizeof(value)
        if isinstance(value, Sized) and not isinstance(value, str):
            found["shape"] = [len(value)]


def _is_frame(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("columns", "head", "iloc", "dtypes"))


def _is_array(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("shape", "dtype", "ndim", "__getitem__"))


def _frame(value: Any, found: Preview) -> None:
    found["shape"] = [int(n) for n in value.shape]
    found["bytes"] = int(value.memory_usage(deep=False).sum())
    names = list(value.columns[:COLUMNS])
    head = value.iloc[:ROWS, : len(names)]
    rows = [[_cell(head.iloc[row, column]) for column in range(len(names))] for row in range(len(head))]
    found["table"] = {"columns": [_cut(str(name), CELL) for name in names], "rows": rows}


def _array(value: Any, found: Preview) -> None:
    found["shape"] = [int(n) for n in value.shape]
    found["dtype"] = str(value.dtype)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        found["bytes"] = nbytes
    corner = value.iloc[:ROWS] if hasattr(value, "iloc") else value[tuple(slice(0, 6) for _ in value.shape)]
    if hasattr(corner, "tolist"):
        text = _SHORT.repr(corner.tolist())
        cut = any(n > 6 for n in found["shape"])
        found["text"] = _cut(f"{text} ..." if cut else text, TEXT)
    else:
        found["text"] = _cut(repr(corner), TEXT)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return _cut(value, CELL) if isinstance(value, str) else value
    if isinstance(value, float):
        # JSON has no word for them.
        return value if value - value == 0 else str(value)
    item = getattr(value, "item", None)
    if callable(item):
        plain = item()
        if isinstance(plain, (bool, int, float, str)):
            return _cell(plain)
    return _cut(str(value), CELL)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
