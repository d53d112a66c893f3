"""The constants in a workflow that may change in place: what holds some is one run's alone. Imports expr and node."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from wfnb.model.expr import Const
from wfnb.model.node import Node

_LASTING = {str, int, bool, bytes, float, complex, type(None), decimal.Decimal}
_LASTING |= {datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone}


def lasts(value: Any) -> bool:
    """Return whether a value, and all that is in it, is sure to stay as it is.

    >>> lasts((1, "a")), lasts(([],))
    (True, False)
    """
    if type(value) in (tuple, frozenset):
        return all(map(lasts, value))
    return type(value) in _LASTING or isinstance(value, enum.Enum | pathlib.PurePath)


def changeable(part: Any) -> Iterator[Const]:
    """Yield the constants in a graph, or a part of one, whose content may change in place."""
    todo = [part]
    while todo:
        one = todo.pop()
        kind: Any = type(one)
        if kind is Const:
            if not lasts(one.value):
                yield one
        elif kind is tuple:
            todo += one
        elif (parts := parts_of(kind)) is not None:
            todo += parts(one)


@cache
def parts_of(kind: type) -> Callable[[Any], tuple[Any, ...]] | None:
    """Return what takes a record of a workflow apart, or None for what is no such record."""
    if not is_dataclass(kind) or issubclass(kind, Node):
        return None
    names = [one.name for one in fields(kind)]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple([getattr(record, name) for name in names])
