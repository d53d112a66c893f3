"""What a fan-out can iterate over: how long it is, and how its elements are reached. Imports nothing of wfnb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_INDEXED = (list, tuple, range)
_TEXT = (str, bytes, bytearray)


def length_of(value: Any) -> int:
    """Return how many elements a fan-out over the value has.

    Raises:
        TypeError: it has no length, or iterating over it would surprise (a text, a table).
    """
    if isinstance(value, _TEXT):
        raise TypeError(f"a {type(value).__name__} is one value, not a list of its parts")
    if getattr(value, "ndim", 1) != 1 and not hasattr(value, "__array_interface__"):
        raise TypeError(f"a {type(value).__name__} has rows and columns: pass a list of what to map over")
    if not hasattr(value, "__len__"):
        raise TypeError(f"a {type(value).__name__} has no length: make a list of it")
    return len(value)


def as_sequence(value: Any) -> Sequence[Any]:
    """Return the value as something whose elements are reached by position."""
    if isinstance(value, _INDEXED) or hasattr(value, "__array_interface__"):
        sequence: Sequence[Any] = value
        return sequence
    return list(value)
