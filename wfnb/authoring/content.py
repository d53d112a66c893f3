"""Owns the hashing of bulk data by content: long lists, arrays, frames. Imports bytecode's hash only."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from typing import Any

from wfnb.authoring.bytecode import hash_chunks


def text_token(value: str) -> bytes:
    """Return the token of a string."""
    return b"s" + value.encode("utf-8", "surrogatepass")


def bulk_token(values: Any) -> bytes | None:
    """Return one token for a long list or tuple of strings, floats or ordinary ints, or None for any other."""
    if len(values) < 32:
        return None
    kinds = set(map(type, values))
    if kinds == {str}:
        return b"S" + hash_chunks([array("Q", map(len, values)), text_token("".join(values))])
    if kinds == {float}:
        return b"F" + hash_chunks([array("d", values)])
    if kinds == {int}:
        try:
            return b"I" + hash_chunks([array("q", values)])
        except OverflowError:
            return None
    return None


def data_token(value: Any, token: Callable[[Any], bytes]) -> bytes | None:
    """Return the token of an array or frame by its content, or None for any other value; imports no library."""
    numpy: Any = sys.modules.get("numpy")
    pandas: Any = sys.modules.get("pandas")
    torch: Any = sys.modules.get("torch")
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            return _array(value, numpy, token)
        if isinstance(value, numpy.generic):
            return b"scalar" + _array(numpy.asarray(value), numpy, token)
        if isinstance(value, numpy.dtype):
            return b"dtype" + hash_chunks([repr(value.descr if value.names else value.str).encode()])
        if isinstance(value, numpy.ufunc):
            return b"ufunc" + str(value.__name__).encode()
    if pandas is not None and hasattr(pandas, "DataFrame"):
        if isinstance(value, pandas.DataFrame):
            columns = [_column(value.iloc[:, place].array, pandas, token) for place in range(value.shape[1])]
            return b"frame" + hash_chunks([token(type(value)), token(value.columns), token(value.index), *columns])
        if isinstance(value, pandas.Series):
            data = _column(value.array, pandas, token)
            return b"series" + hash_chunks([token(type(value)), token(value.name), token(value.index), data])
        if isinstance(value, pandas.MultiIndex):
            levels = [_column(value.get_level_values(place).array, pandas, token) for place in range(value.nlevels)]
            return b"levels" + hash_chunks([token(list(value.names)), *levels])
        if isinstance(value, pandas.RangeIndex):
            return b"rangeindex" + hash_chunks([token(value.name), repr(value).encode()])
        if isinstance(value, pandas.Index):
            return b"index" + hash_chunks([token(type(value)), token(value.name), _column(value.array, pandas, token)])
        if isinstance(value, pandas.api.extensions.ExtensionArray):
            return b"column" + _column(value, pandas, token)
        if value is pandas.NA or value is pandas.NaT:
            return b"na" + type(value).__name__.encode()
    if torch is not None and hasattr(torch, "Tensor") and isinstance(value, torch.Tensor):
        return b"tensor" + hash_chunks([str(value.dtype).encode(), token(value.detach().cpu().numpy())])
    return None


def _array(value: Any, numpy: Any, token: Callable[[Any], bytes]) -> bytes:
    kind = type(value)
    shape = repr((kind.__name__, value.shape, value.dtype.descr if value.dtype.names else value.dtype.str)).encode()
    if isinstance(value, numpy.ma.MaskedArray):
        mask = _array(numpy.ma.getmaskarray(value), numpy, token)
        return b"masked" + hash_chunks([shape, mask, _array(value.filled(), numpy, token)])
    if value.dtype.hasobject:
        return b"objects" + hash_chunks([shape, token(value.ravel().tolist())])
    flat = numpy.ascontiguousarray(value).reshape(-1)
    # Dates and the like have no buffer of their own: look at the bytes.
    return b"array" + hash_chunks([shape, memoryview(flat.view(numpy.uint8)) if flat.size else b""])


def _column(value: Any, pandas: Any, token: Callable[[Any], bytes]) -> bytes:
    """Hash one pandas array by its type and content."""
    numpy = sys.modules["numpy"]
    kind = repr(value.dtype).encode()
    if isinstance(value, pandas.Categorical):
        return hash_chunks([kind, token(value.categories), token(value.codes), token(value.ordered)])
    plain = value.to_numpy() if type(value).__name__ in ("NumpyExtensionArray", "PandasArray") else None
    if plain is None and hasattr(value, "asi8"):
        plain = value.asi8  # dates, times and periods: their type says unit and zone
    if plain is not None:
        return hash_chunks([kind, _array(plain, numpy, token)])
    missing = numpy.asarray(value.isna())
    return hash_chunks([kind, token(missing), token(value[~missing].to_numpy(dtype=object).tolist())])
