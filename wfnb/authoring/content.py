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
            if not type(value).__module__.startswith("numpy"):
                return None  # a class of its own says itself what it is made of, as pickle sees it
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
            head = [token(type(value)), _notes(value, token), token(value.columns), token(value.index)]
            return b"frame" + hash_chunks([*head, *columns])
        if isinstance(value, pandas.Series):
            data = _column(value.array, pandas, token)
            head = [token(type(value)), _notes(value, token), token(value.name), token(value.index)]
            return b"series" + hash_chunks([*head, data])
        if isinstance(value, pandas.MultiIndex):
            levels = [_column(level.array, pandas, token) for level in value.levels]
            codes = [_array(numpy.asarray(one), numpy, token) for one in value.codes]
            return b"levels" + hash_chunks([token(list(value.names)), *levels, *codes])
        if isinstance(value, pandas.RangeIndex):
            return b"rangeindex" + hash_chunks([token(value.name), repr(value).encode()])
        if isinstance(value, pandas.Index):
            head = [token(type(value)), token(value.name), str(getattr(value, "freqstr", None)).encode()]
            return b"index" + hash_chunks([*head, _column(value.array, pandas, token)])
        if isinstance(value, pandas.api.extensions.ExtensionArray):
            return b"column" + _column(value, pandas, token)
        if value is pandas.NA or value is pandas.NaT:
            return b"na" + type(value).__name__.encode()
    if torch is not None and hasattr(torch, "Tensor") and isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        raw = plain.reshape(-1).view(torch.uint8).numpy()  # numpy does not know every dtype
        facts = (str(value.dtype), tuple(value.shape), value.requires_grad, value.device.type)
        return b"tensor" + hash_chunks([token(type(value)), repr(facts).encode(), token(raw)])
    return None


def _notes(value: Any, token: Callable[[Any], bytes]) -> bytes:
    """Hash what a frame or series holds beside its data."""
    more = {name: getattr(value, name, None) for name in value._metadata if name != "_name"}
    return hash_chunks([token(dict(value.attrs)), repr(value.flags.allows_duplicate_labels).encode(), token(more)])


def _array(value: Any, numpy: Any, token: Callable[[Any], bytes]) -> bytes:
    kind = type(value)
    shape = repr((kind.__name__, value.shape, value.dtype.descr if value.dtype.names else value.dtype.str)).encode()
    if isinstance(value, numpy.ma.MaskedArray):
        mask = _array(numpy.ma.getmaskarray(value), numpy, token)
        fill = _array(numpy.asarray(value.fill_value), numpy, token)
        return b"masked" + hash_chunks([shape, mask, fill, _array(numpy.asarray(value.data), numpy, token)])
    if value.dtype.hasobject:
        return b"objects" + hash_chunks([shape, token(value.ravel().tolist())])
    if value.flags.f_contiguous and not value.flags.c_contiguous:
        value, shape = value.T, b"fortran" + shape
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
