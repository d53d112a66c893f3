"""Owns the encoded form of values: JSON text, raw arrays, signed pickles. Imports model, msgpack and cloudpickle.

A pack is a list of frames that holds a list of values. Its first byte says which of two forms it has:

* ``J``: one frame; after the tag, a JSON array. For packs in which every value is JSON-like: built of exactly None,
  bool, int, float, str, list and dict with str keys. (Two names for one list inside a value become two lists.)
* ``M``: after the tag, a msgpack list with one row a value: its kind and its parts. A part is its bytes when it is
  small, else the length of the next frame, so that big buffers travel as they are.

The kinds in a row: ``j`` JSON text; ``b`` bytes; ``a`` an array (dtype, shape and order; raw buffer); ``n`` a numpy
scalar (dtype, raw); ``p`` a pickle (signature and lengths; pickle; buffers); ``-`` no value. Only pickles can run code,
so only they are signed: the HMAC covers the pickle and the number, lengths and writability of its buffers.
"""

from __future__ import annotations

import functools
import hmac
import io
import json
import math
import pickle
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import cloudpickle
import msgpack

from wfnb.model.classes import Classes, loads, reduced, same, today
from wfnb.model.errors import CaptureError, StoreError, ValueRefused
from wfnb.store.base import Frame, Frames
from wfnb.store.rules import size_of

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MISSING", "SCALARS", "Codec", "Encoded", "Missing", "Packable", "size_of"]

SCALARS: Final = frozenset({type(None), bool, int, float, str})
"""The exact types of values that cannot change and that `Codec.pack` takes as they are."""

_INLINE = 16 * 1024  # parts up to this many bytes go into the header instead of a frame of their own
_JSON_ITEMS = 10_000  # above this many items pickle is much faster than JSON
_JSON_DEPTH = 40
_CONTAINERS = frozenset({list, dict})
_JSON_TYPES = SCALARS | _CONTAINERS
_STR_ONLY = frozenset({str})
_DOMAIN = b"wfnb/pickle/1\0"
_SIGNATURE = 32

_to_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder().decode


class Missing:
    """The type of `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""Stands in a pack where there is no value, such as a failed element's; compare with ``is``."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value in its encoded form, to be packed later.

    Args:
        kind: how it is encoded: "j", "b", "a", "n" or "p".
        parts: its bytes; an array's buffer is the array's own memory unless it was encoded as a snapshot.
    """

    kind: str
    parts: tuple[Frame, ...]

    @property
    def size(self) -> int:
        """The length of its parts, in bytes."""
        return size_of(self.parts)


Packable: TypeAlias = "Encoded | Missing | bool | int | float | str | None"


class Codec:
    """Turns values into frames and back.

    Args:
        secret: signs pickles; whoever loads them needs the same.
        classes: what classes of a notebook are taken to be that come with values; those of this process when None.
    """

    __slots__ = ("_classes", "_secret")

    def __init__(self, secret: bytes, classes: Classes | None = None) -> None:
        self._secret = secret
        self._classes = classes

    def encode(self, value: Any, *, snapshot: bool = False) -> Encoded:
        """Return the encoded form of a value.

        Args:
            value: any value that can be pickled.
            snapshot: copy the memory of arrays and the like. Without it they must not change until the pack is stored.

        Raises:
            CaptureError: the value cannot be pickled.
        """
        kind = type(value)
        if kind in SCALARS or (kind in _CONTAINERS and _json_items(value, 0) >= 0):
            try:
                return Encoded("j", (_to_json(value).encode(),))
            except ValueError:  # lone surrogates, or an int of more digits than text may have
                pass
        elif kind is bytes:
            return Encoded("b", (value,))
        elif "numpy" in sys.modules:
            plain = _encode_numpy(value)
            if plain is not None:
                return _snapshot(plain) if snapshot else plain
        encoded = self._pickle(value)
        return _snapshot(encoded) if snapshot else encoded

    def pack(self, items: Sequence[Packable]) -> list[Frame]:
        """Return the frames of a pack.

        Args:
            items: the values in order: encoded, or as they are when their exact type is in `SCALARS`, or `MISSING`.
        """
        plain = _scalars(items)
        if plain is not None:
            return plain
        encoded = [self._ready(item) for item in items]
        texts = [item.parts[0] for item in encoded if item is not None and item.kind == "j"]
        if len(texts) == len(encoded):
            return [b"J[" + b",".join(texts) + b"]"]
        frames: list[Frame] = [b""]
        rows: list[list[Any]] = []
        for item in encoded:
            if item is None:
                rows.append(["-"])
                continue
            row: list[Any] = [item.kind]
            for part in item.parts:
                if len(part) <= _INLINE:
                    row.append(part)
                else:
                    row.append(len(part))
                    frames.append(part)
            rows.append(row)
        frames[0] = b"M" + msgpack.packb(rows)
        return frames

    def encode_pack(self, values: Sequence[Any]) -> list[Frame]:
        """Return the frames of a pack that holds the values; the same as `pack` of `encode` of each.

        Raises:
            CaptureError: a value cannot be pickled.
        """
        plain = _scalars(values)
        return plain or self.pack(
            [value if type(value) in SCALARS or value is MISSING else self.encode(value) for value in values]
        )

    def decode_pack(self, frames: Frames, start: int = 0, stop: int | None = None) -> list[Any]:
        """Return the values of a pack, with `MISSING` where there is none.

        Arrays can be written to: a frame that can be written to (a bytearray) becomes the array's memory, any other is
        copied once.

        Args:
            frames: what `pack` gave, as bytes-like objects.
            start: the first value wanted; the others are not decoded where that saves work.
            stop: the place after the last value wanted, or None for the end.

        Raises:
            ValueRefused: the pack is damaged, or a pickle in it is not signed with this secret.
            StoreError: a signed pickle cannot be loaded here, such as when a package is missing.
        """
        if not frames or not len(frames[0]):
            raise _damaged("it is empty")
        head = memoryview(frames[0])
        tag = bytes(head[:1])
        if tag == b"J":
            try:
                values = _from_json(str(head[1:], "utf-8"))
            except (ValueError, RecursionError) as error:
                raise _damaged(f"its JSON cannot be read: {error}") from error
            if type(values) is not list or len(frames) > 1:
                raise _damaged("it is no JSON array in one frame")
            return values[start:stop] if start or stop is not None else values
        if tag != b"M":
            raise _damaged(f"its form {tag!r} is unknown; it may come from a newer wfnb")
        rows = _rows(head, frames)
        if start or stop is not None:
            rows = rows[start:stop]
        return [self._decode(kind, parts) for kind, parts in rows]

    def dumps(self, value: Any) -> bytes:
        """Return one value as one piece of bytes, such as an exception for a journal entry."""
        packed: bytes = msgpack.packb(self.encode_pack([value]))
        return packed

    def loads(self, data: Frame) -> Any:
        """Return the value that `dumps` was given; raises as `decode_pack` does."""
        try:
            frames = msgpack.unpackb(data)
        except ValueError as error:
            raise _damaged(f"its frames cannot be read: {error}") from error
        if type(frames) is not list or not all(type(frame) is bytes for frame in frames):
            raise _damaged("it holds no frames")
        values = self.decode_pack(frames)
        if len(values) != 1:
            raise _damaged(f"it holds {len(values)} values where one is expected")
        return values[0]

    def _ready(self, item: Packable) -> Encoded | None:
        if type(item) is Encoded:
            return item
        if item is MISSING:
            return None
        if type(item) in SCALARS:
            return self.encode(item)
        raise TypeError(f"a value of type '{type(item).__qualname__}' must be encoded before it is packed: use encode")

    def _pickle(self, value: Any) -> Encoded:
        buffers: list[pickle.PickleBuffer] = []
        body = _pickled(value, buffers, self._classes)
        views = [buffer.raw() for buffer in buffers]
        table = _table(len(body), views, [not view.readonly for view in views])
        return Encoded("p", (self._sign(table, body) + table, body, *views))

    def _sign(self, table: Frame, body: Frame) -> bytes:
        if len(body) <= _INLINE:
            return hmac.digest(self._secret, b"".join((_DOMAIN, table, body)), "sha256")
        digest = hmac.new(self._secret, _DOMAIN, "sha256")
        digest.update(table)
        digest.update(body)
        return digest.digest()

    def _decode(self, kind: str, parts: list[Frame]) -> Any:
        if kind == "p":
            return self._unpickle(parts)
        try:
            match kind, parts:
                case "-", []:
                    return MISSING
                case "j", [text]:
                    return _from_json(str(text, "utf-8"))
                case "b", [data]:
                    return bytes(data)
                case "a", [head, data]:
                    return _decode_array(head, data)
                case "n", [data]:
                    return _decode_scalar(data)
        except (ValueError, TypeError, RecursionError, SyntaxError) as error:
            raise _damaged(f"a value of kind '{kind}' cannot be read: {error}") from error
        raise _damaged(f"a value has {len(parts)} parts and the kind '{kind}'; it may come from a newer wfnb")

    def _unpickle(self, parts: list[Frame]) -> Any:
        if len(parts) < 2 or len(parts[0]) < _SIGNATURE:
            raise ValueRefused(
                "a stored pickle was refused: it carries no signature; only values that wfnb stored with the same "
                "WFNB_SECRET_KEY can be loaded"
            )
        head, body, *buffers = parts
        signature, table = bytes(head[:_SIGNATURE]), bytes(head[_SIGNATURE:])
        if not hmac.compare_digest(signature, self._sign(table, body)):
            raise ValueRefused(
                "a stored pickle was refused: its signature does not match, so it was stored with another secret or "
                "altered; set WFNB_SECRET_KEY to the secret of the machine that stored it (or copy its secret.key)"
            )
        writable = _writable(table, body, buffers)
        try:
            # The signature above covers it.
            fit = [_fit(buffer, write) for buffer, write in zip(buffers, writable, strict=True)]
            return loads(body, fit, self._classes)
        except Exception as error:
            raise StoreError(
                f"a stored value cannot be loaded here: {type(error).__name__}: {error}; install what it needs, in "
                "the versions it was stored with, or run its step again"
            ) from error


def _scalars(values: Sequence[Any]) -> list[Frame] | None:
    """Return the pack of nothing but scalars, in one go, or None."""
    if not SCALARS.issuperset(map(type, values)):
        return None
    try:
        return [b"J" + _to_json(values if type(values) is list else list(values)).encode()]
    except ValueError:  # see `Codec.encode`
        return None


def _damaged(why: str) -> ValueRefused:
    return ValueRefused(
        f"a stored value was refused as damaged: {why}; run its step again (WFNB_SECRET_KEY is not the cause)"
    )


def _json_items(value: Any, depth: int) -> int:
    """Return the number of items in a list or dict that is JSON-like and not too big, else a negative number."""
    count = len(value)
    if count > _JSON_ITEMS or depth > _JSON_DEPTH:
        return -1
    if type(value) is dict:
        if not _STR_ONLY.issuperset(map(type, value)):
            return -1
        value = value.values()
    kinds = set(map(type, value))
    if kinds <= SCALARS:
        return count
    if not kinds <= _JSON_TYPES:
        return -1
    for item in value:
        if type(item) in _CONTAINERS:
            inside = _json_items(item, depth + 1)
            if inside < 0:
                return -1
            count += inside
            if count > _JSON_ITEMS:
                return -1
    return count


def _snapshot(encoded: Encoded) -> Encoded:
    return Encoded(encoded.kind, tuple(map(bytes, encoded.parts)))


def _rows(head: memoryview, frames: Frames) -> list[tuple[str, list[Frame]]]:
    """Return each value's kind and parts, having checked that the frames are those the header names."""
    try:
        table = msgpack.unpackb(head[1:])
    except ValueError as error:
        raise _damaged(f"its header cannot be read: {error}") from error
    rows: list[tuple[str, list[Frame]]] = []
    place = 1
    if type(table) is not list:
        raise _damaged("its header is no list")
    for row in table:
        if type(row) is not list or not row or type(row[0]) is not str:
            raise _damaged("its header has a row without a kind")
        parts: list[Frame] = []
        for part in row[1:]:
            if type(part) is bytes:
                parts.append(part)
                continue
            if type(part) is not int or place >= len(frames) or len(frames[place]) != part:
                raise _damaged(f"its frame {place} is not what its header says")
            parts.append(frames[place])
            place += 1
        rows.append((row[0], parts))
    if place != len(frames):
        raise _damaged(f"it has {len(frames)} frames, its header names {place}")
    return rows


def _pickled(value: Any, buffers: list[pickle.PickleBuffer], classes: Classes | None) -> bytes:
    """Return the pickle of a value, with big buffers put in the list."""
    # pickle is ten times as fast as cloudpickle, but refers by name to what a notebook defines: other processes have
    # no such name.
    if not cloudpickle.list_registry_pickle_by_value():
        try:
            body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
            if b"__main__" not in body and b"__mp_main__" not in body:
                return body
        except Exception:  # noqa: BLE001, S110 - whatever it was, cloudpickle fails with it again or does better
            pass
        buffers.clear()
    try:
        file = io.BytesIO()
        _Pickler(file, buffers, classes).dump(value)
    except Exception as error:
        raise CaptureError(
            f"a value of type '{type(value).__module__}.{type(value).__qualname__}' cannot be stored: {error}; return "
            "something that can be pickled, such as a path or plain data, or set checkpoint=False on the node",
            node="",
        ) from error
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, buffers: list[pickle.PickleBuffer], classes: Classes | None) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        self._classes = classes

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, type):
            return super().reducer_override(obj)
        if (now := today(obj)) is not obj:
            return same, (now,)
        return reduced(obj, super().reducer_override(obj), self._classes)


def _table(body: int, buffers: Sequence[Frame], writable: Sequence[bool]) -> bytes:
    return struct.pack("<QI", body, len(buffers)) + b"".join(
        struct.pack("<Q?", len(buffer), write) for buffer, write in zip(buffers, writable, strict=True)
    )


def _writable(table: bytes, body: Frame, buffers: Sequence[Frame]) -> list[bool]:
    """Return which buffers were writable, having checked the lengths that were signed."""
    try:
        _, count = struct.unpack_from("<QI", table)
        marks = [mark for _, mark in struct.iter_unpack("<Q?", table[12:])]
    except struct.error as error:
        raise _damaged(f"its lengths cannot be read: {error}") from error
    if count != len(buffers) or len(marks) != count or _table(len(body), buffers, marks) != table:
        raise _damaged("its buffers are not those that were signed")
    return marks


def _fit(buffer: Frame, write: bool) -> Frame:
    view = memoryview(buffer)
    if write:
        return bytearray(view) if view.readonly else view
    return view.toreadonly()


@functools.cache
def _scalar_dtype(kind: type[Any]) -> str | None:
    """Return the dtype that names a type of numpy scalar, or None when it takes more than that."""
    import numpy as np

    if not issubclass(kind, (np.number, np.bool_)):
        return None
    dtype = np.dtype(kind)
    return dtype.str if dtype.isbuiltin == 1 and np.dtype(dtype.str).type is kind else None


def _plain_dtype(dtype: np.dtype[Any]) -> Any:
    """Return a dtype as JSON-like data, or None when that cannot say all of it."""
    import numpy as np

    if dtype.hasobject or not dtype.itemsize or dtype.metadata is not None:
        return None
    if dtype.isbuiltin == 1 and dtype.kind in "biufc":
        return dtype.str
    if dtype.kind in "biufcmMSU":
        return dtype.str if np.dtype(dtype.str) == dtype else None
    if dtype.kind != "V" or dtype.names is None or dtype.isalignedstruct:
        return None
    descr = dtype.descr
    try:
        same = _load_dtype(json.loads(json.dumps(descr))) == dtype
    except (TypeError, ValueError):
        return None
    return descr if same else None


def _load_dtype(descr: Any) -> np.dtype[Any]:
    import numpy as np

    if type(descr) is str and "O" not in descr:
        return np.dtype(descr)

    def row(item: Any) -> Any:
        name, inner, *shape = item
        return (tuple(name) if type(name) is list else name, form(inner), *map(tuple, shape))

    def form(item: Any) -> Any:
        return [row(field) for field in item] if type(item) is list else item

    dtype: np.dtype[Any] = np.dtype(form(descr))
    if dtype.hasobject:
        raise ValueError("an array of objects is never stored raw")
    return dtype


def _encode_numpy(value: Any) -> Encoded | None:
    """Return a numpy array or scalar in its raw form, or None when the value is no such thing."""
    import numpy as np

    if type(value) is np.ndarray:
        descr = _plain_dtype(value.dtype)
        if descr is None:
            return None
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        flat = value.ravel(order="F" if order == "F" else "C")  # copies only when it is not contiguous
        head = json.dumps([descr, value.shape, order]).encode()
        raw: Any = flat.view(np.uint8) if flat.size else b""
        return Encoded("a", (head, memoryview(raw)))
    if isinstance(value, np.generic):
        kind: Any = type(value)
        name = value.dtype.str if kind in (np.datetime64, np.timedelta64) else _scalar_dtype(kind)
        if name is not None:
            return Encoded("n", (name.encode() + b"\0" + value.tobytes(),))
    return None


def _decode_array(head: Frame, data: Frame) -> Any:
    import numpy as np

    descr, shape, order = json.loads(bytes(head))
    dtype = _load_dtype(descr)
    if order not in ("C", "F") or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"no array has the shape {shape} and the order {order!r}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and dtype '{dtype}' does not have {len(data)} bytes")
    if not len(data):
        return np.empty(shape, dtype, order=order)
    array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, buffer=data, order=order)
    return array if array.flags.writeable else array.copy(order="K")


def _decode_scalar(data: Frame) -> Any:
    import numpy as np

    name, separator, raw = bytes(data).partition(b"\0")
    dtype = np.dtype(name.decode())
    if not separator or dtype.hasobject or len(raw) != dtype.itemsize:
        raise ValueError("a numpy scalar has a wrong length")
    return np.frombuffer(raw, dtype)[0]
