"""What templates may do with values: limits, operators, filters, tests, functions and methods. Imports errors only.

Everything here that makes something larger than what it is given pays for it first, out of a `Budget`.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import reprlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jinja2 import StrictUndefined, Undefined
from jinja2.tests import TESTS as _JINJA_TESTS

from wfnb.model.errors import WfnbError, did_you_mean

UNITS = 5_000_000
"""How many characters and elements one evaluation may make."""
MOST_BITS = 100_000
DEEPEST = 250
"""How deep an expression or what is written out may be nested."""


class TemplateError(WfnbError):
    """A template cannot be read or evaluated, or asks for what templates may not do."""


# -- limits ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Budget:
    """What is left of what one evaluation may make, and the names it may use.

    Args:
        names: values by name.
        left: how many characters and elements may still be made.
    """

    names: Mapping[str, Any]
    left: int = UNITS

    def pay(self, units: int) -> None:
        """Take from what is left; raises TemplateError when it is not enough."""
        self.left -= units
        if self.left < 0:
            raise TemplateError(f"it makes more than {UNITS:,} characters or elements: make a node for it")


_BRACES: dict[Any, Any] = {list: "[]", tuple: "()", dict: "{}", set: "{}"}
_FORBIDDEN = frozenset((
    "mro", "gi_frame", "gi_code", "gi_yieldfrom", "cr_frame", "cr_code", "cr_await", "cr_origin", "ag_frame",
    "ag_code", "ag_await", "f_back", "f_builtins", "f_code", "f_globals", "f_lasti", "f_locals", "f_trace",
    "tb_frame", "tb_next", "co_code", "func_globals", "func_code", "func_closure", "func_defaults", "im_class",
    "im_func", "im_self",
))  # fmt: skip


def check_attribute(name: str) -> None:
    """Raise TemplateError when templates may not ask for an attribute of that name."""
    if name.startswith("_") or name in _FORBIDDEN:
        raise TemplateError(f"attribute '{name}' may not be used in a template: make a node that returns what you need")


def plain(value: Any) -> Any:
    """Return a value that may leave a template; raises jinja2's UndefinedError for one that is not there."""
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    return list(value) if isinstance(value, range) else value


def text_of(value: Any, budget: Budget | None = None) -> str:
    """Return a value as text, as ``str`` gives it, at a bounded cost."""
    if type(value) is str:
        made = value
        if budget is not None:
            budget.pay(len(made))
        return made
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    return "".join(_written(value, budget or Budget({}), 0, str))


def _written(value: Any, budget: Budget, depth: int, leaf: Callable[[Any], str]) -> Iterator[str]:
    if depth > DEEPEST:
        raise TemplateError("it writes out something nested too deep: make a node for it")
    kind = type(value)
    if kind in (list, tuple, set, frozenset, dict):
        budget.pay(1)
        if not value:
            yield repr(value)
            return
        start, end = _BRACES.get(kind, ("frozenset({", "})"))
        yield start
        for place, item in enumerate(value):
            yield ", " if place else ""
            yield from _written(item, budget, depth + 1, repr)
            if kind is dict:
                yield ": "
                yield from _written(value[item], budget, depth + 1, repr)
        yield ",)" if kind is tuple and len(value) == 1 else end
        return
    text = leaf(value)
    budget.pay(len(text) + 1)
    yield text


def attribute(value: Any, name: str) -> Any:
    """Return what ``value.name`` means in a template: a mapping's item, else an attribute that is no method."""
    check_attribute(name)
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        return StrictUndefined(hint=f"there is no '{name}' in it. {did_you_mean(name, list(value)[:100])}", name=name)
    if isinstance(value, (type, types.ModuleType, types.FunctionType, types.MethodType, types.CodeType)):
        raise TemplateError(
            f"'{name}' of {type(value).__name__} may not be used: make a node that returns what you need"
        )
    try:
        found = getattr(value, name)
    except AttributeError:
        return StrictUndefined(hint=f"{type(value).__name__} has no attribute '{name}'", name=name)
    if isinstance(found, _CALLABLES):
        raise TemplateError(
            f"'{name}' of {type(value).__name__} is a method: use a filter, or make a node that calls it"
        )
    return found


_CALLABLES = (types.MethodType, types.BuiltinMethodType, types.FunctionType, types.MethodWrapperType, type)


# -- operators -------------------------------------------------------------------------------------------------------


def size(value: Any) -> int:
    """Return how many characters or elements a value has."""
    return len(value) if isinstance(value, (str, bytes, bytearray, list, tuple, dict, set, frozenset)) else 1


def _weight(value: Any) -> int:
    """Return what one more copy of a sequence costs."""
    if isinstance(value, (list, tuple)):
        if any(isinstance(one, (list, tuple, dict, set, frozenset)) for one in value):
            raise TemplateError("a list of lists cannot be multiplied in a template: make a node for it")
        return sum(len(one) if isinstance(one, (str, bytes)) else 1 for one in value)
    return len(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int)


def add(left: Any, right: Any, budget: Budget) -> Any:
    """Return ``left + right``, paid for."""
    if isinstance(left, Sequence):
        budget.pay(size(left) + size(right))
    return left + right


def multiply(left: Any, right: Any, budget: Budget) -> Any:
    """Return ``left * right``, paid for."""
    if _is_int(left) and _is_int(right):
        _check_bits(int(left).bit_length() + int(right).bit_length())
    for one, count in ((left, right), (right, left)):
        if _is_int(count) and hasattr(type(one), "__len__") and not hasattr(one, "__array_ufunc__"):
            budget.pay(max(0, int(count)) * _weight(one))
    return left * right


def power(left: Any, right: Any, budget: Budget) -> Any:  # noqa: ARG001 - as every operator is called
    """Return ``left ** right``, when the result is not too large a number."""
    if _is_int(left) and _is_int(right):
        _check_bits(int(left).bit_length() * abs(int(right)))
    elif not isinstance(left, (int, float, complex)) and _is_int(right) and abs(right) > 1_000:
        raise TemplateError("a power is too large: make a node for it")
    return left**right


def shift(left: Any, right: Any, budget: Budget) -> Any:  # noqa: ARG001 - as every operator is called
    """Return ``left << right``, when the result is not too large a number."""
    if _is_int(left) and _is_int(right):
        _check_bits(int(left).bit_length() + max(0, int(right)))
    return left << right


def _check_bits(bits: int) -> None:
    if bits > MOST_BITS:
        raise TemplateError(f"a number would have more than {MOST_BITS:,} bits: make a node for it")


_STAR = re.compile(r"%[^%a-zA-Z]*\*")


def modulo(left: Any, right: Any, budget: Budget) -> Any:
    """Return ``left % right``; a text is a format, whose widths are paid for."""
    if isinstance(left, (bytes, bytearray)):
        raise TemplateError("bytes cannot be formatted in a template")
    if not isinstance(left, str):
        return left % right
    widths = re.findall(r"\d+", left)
    if _STAR.search(left) or any(len(width) > 4 for width in widths):
        raise TemplateError("a width in a format is too large: give at most 9999")
    budget.pay(sum(map(int, widths)) + 20 * left.count("%"))
    given = right if isinstance(right, (tuple, dict)) else (right,)
    values = given.values() if isinstance(given, dict) else given
    shown = [text_of(one, budget) for one in values if isinstance(one, (str, list, tuple, set, frozenset, dict))]
    budget.pay(len(left) + max(map(len, shown), default=0) * left.count("%"))
    return left % given


# -- filters ---------------------------------------------------------------------------------------------------------


def _items(value: Any, budget: Budget) -> Iterator[Any]:
    """Yield what an iterable holds, each paid for."""
    if not isinstance(value, (Iterable, Sequence)) and not hasattr(value, "__getitem__"):
        raise TemplateError(f"{type(value).__name__} is no list")
    for one in value:
        budget.pay(1)
        yield one


def _by(path: Any) -> Callable[[Any], Any]:
    """Return what gets an attribute, a dotted path or an item of a value."""
    if path is None:
        return plain
    steps = path.split(".") if isinstance(path, str) else [path]

    def get(value: Any) -> Any:
        for step in steps:
            named = isinstance(step, str) and not step.isdigit()
            value = attribute(value, step) if named else plain(value)[int(step)]
        return plain(value)

    return get


def _default(_: Budget, value: Any, default: Any = "", boolean: bool = False) -> Any:
    return default if isinstance(value, Undefined) or (boolean and not value) else value


def _map(budget: Budget, value: Any, name: Any = None, *args: Any, attribute: Any = None) -> list[Any]:
    if attribute is not None:
        get = _by(attribute)
        return [get(one) for one in _items(value, budget)]
    if name not in FILTERS or name in _HIGHER:
        raise TemplateError(f"'map' cannot apply '{name}': name a filter, or write attribute='...'")
    return [FILTERS[name](budget, one, *args) for one in _items(value, budget)]


def _selects(wanted: bool, by_attribute: bool) -> Callable[..., list[Any]]:
    def select(budget: Budget, value: Any, *args: Any) -> list[Any]:
        get = _by(None)
        if by_attribute:
            if not args:
                raise TemplateError("name the attribute that is looked at")
            get, args = _by(args[0]), args[1:]
        name, rest = (args[0], args[1:]) if args else ("", ())
        if name and name not in TESTS:
            raise TemplateError(f"there is no test '{name}' in templates. {did_you_mean(str(name), TESTS)}")
        if not name:
            return [one for one in _items(value, budget) if bool(get(one)) == wanted]
        return [one for one in _items(value, budget) if apply_test(str(name), get(one), rest, {}, budget) == wanted]

    return select


def _sort(budget: Budget, value: Any, reverse: bool = False, attribute: Any = None) -> list[Any]:
    return sorted(_items(value, budget), key=_by(attribute), reverse=reverse)


def _unique(budget: Budget, value: Any, attribute: Any = None) -> list[Any]:
    get = _by(attribute)
    found: dict[Any, Any] = {}
    for one in _items(value, budget):
        found.setdefault(_spread(get(one)), one)
    return list(found.values())


def _spread(key: Any) -> Any:
    """Return what stands for a key in a dict: not a large number, as anybody can find thousands with one hash."""
    if type(key) is int and not -_LARGE < key < _LARGE:
        return str(key)
    return tuple(map(_spread, key)) if type(key) is tuple else key


_LARGE = 2**60


def _sum(budget: Budget, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    get, total = _by(attribute), start
    for one in _items(value, budget):
        total = add(total, get(one), budget)
    return total


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(budget: Budget, value: Any, *more: Any, attribute: Any = None) -> Any:
        items = list(_items((value, *more) if more else value, budget))
        if not items:
            raise TemplateError("there is nothing to choose from: the list is empty")
        return choose(items, key=_by(attribute))

    return extreme


def _end(place: int) -> Callable[[Budget, Any], Any]:
    def end(budget: Budget, value: Any) -> Any:
        items = value if isinstance(value, (str, list, tuple)) else list(_items(value, budget))
        return items[place] if items else StrictUndefined(hint="the list is empty")

    return end


def _join(budget: Budget, value: Any, separator: Any = "", attribute: Any = None) -> str:
    get, glue = _by(attribute), text_of(separator)
    texts = []
    for one in _items(value, budget):
        budget.pay(len(glue))
        texts.append(text_of(get(one), budget))
    return glue.join(texts)


def _replace(budget: Budget, value: Any, old: str, new: str, count: int | None = None) -> str:
    text = text_of(value, budget)
    most = text.count(old) if count is None or count < 0 else min(count, text.count(old))
    budget.pay(most * len(new))
    return text.replace(old, new, most)


def _split(budget: Budget, value: Any, *args: Any) -> list[str]:
    text = text_of(value, budget)
    budget.pay(len(text))
    return text.split(*args)


def _round(_: Budget, value: Any, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > 300:
        raise TemplateError("a number cannot be rounded to more than 300 digits")
    if method == "common":
        return round(value, precision)
    if method not in ("ceil", "floor"):
        raise TemplateError("'round' goes by 'common', 'ceil' or 'floor'")
    scale = 10**precision
    return (math.ceil if method == "ceil" else math.floor)(value * scale) / scale


def _number(kind: Callable[..., Any]) -> Callable[..., Any]:
    def number(_: Budget, value: Any, default: Any = None, base: int = 10) -> Any:
        try:
            return kind(value, base) if kind is int and isinstance(value, str) and base != 10 else kind(value)
        except (TypeError, ValueError):
            if kind is int and isinstance(value, str):
                try:
                    return int(float(value))
                except (ValueError, OverflowError):
                    pass
            if default is None:
                raise TemplateError(f"{short(value)} is no number") from None
            return default

    return number


def _tojson(budget: Budget, value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 8:
        raise TemplateError("'tojson' indents by 0 to 8")
    chunks = []
    for chunk in json.JSONEncoder(indent=indent, ensure_ascii=False).iterencode(value):
        budget.pay(len(chunk))
        chunks.append(chunk)
    return "".join(chunks)


def _format(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(value, str):
        raise TemplateError("'format' is for a text such as '%.2f'")
    return modulo(value, pay_for(kwargs or args, budget), budget)


def _truncate(budget: Budget, value: Any, length: int = 255, end: str = "...") -> str:
    text = text_of(value, budget)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def _dictsort(budget: Budget, value: Any, by: str = "key", reverse: bool = False) -> list[Any]:
    at = {"key": 0, "value": 1}[by]
    return sorted(_items(value.items(), budget), key=lambda pair: pair[at], reverse=reverse)


def _batch(budget: Budget, value: Any, size: int) -> list[list[Any]]:
    items = list(_items(value, budget))
    return [items[at : at + size] for at in range(0, len(items), max(1, size))]


def _of_text(change: Callable[[str], Any]) -> Callable[[Budget, Any], Any]:
    def changed(budget: Budget, value: Any) -> Any:
        text = text_of(value, budget)
        budget.pay(2 * len(text))  # a character in capitals may be three
        return change(text)

    return changed


def _listed(budget: Budget, value: Any) -> list[Any]:
    return list(_items(value, budget))


def _reverse(budget: Budget, value: Any) -> Any:
    return text_of(value, budget)[::-1] if isinstance(value, str) else list(_items(value, budget))[::-1]


def _length(_: Budget, value: Any) -> int:
    return len(value)


FILTERS: dict[str, Callable[..., Any]] = {
    "abs": lambda _, value: abs(value),
    "batch": _batch,
    "bool": lambda _, value: bool(value),
    "capitalize": _of_text(str.capitalize),
    "count": _length,
    "d": _default,
    "default": _default,
    "dictsort": _dictsort,
    "first": _end(0),
    "float": _number(float),
    "format": _format,
    "int": _number(int),
    "items": lambda budget, value: list(_items(value.items(), budget)),
    "join": _join,
    "keys": lambda budget, value: list(_items(value.keys(), budget)),
    "last": _end(-1),
    "length": _length,
    "list": _listed,
    "lower": _of_text(str.lower),
    "map": _map,
    "max": _extreme(max),
    "min": _extreme(min),
    "reject": _selects(False, False),
    "rejectattr": _selects(False, True),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "select": _selects(True, False),
    "selectattr": _selects(True, True),
    "sort": _sort,
    "split": _split,
    "string": lambda budget, value: text_of(value, budget),
    "sum": _sum,
    "title": _of_text(str.title),
    "tojson": _tojson,
    "trim": _of_text(str.strip),
    "truncate": _truncate,
    "unique": _unique,
    "upper": _of_text(str.upper),
    "urlencode": _of_text(lambda text: quote(text, safe="/")),
    "values": lambda budget, value: list(_items(value.values(), budget)),
    "wordcount": _of_text(lambda text: len(text.split())),
}
"""The filters of templates; each is given the budget, the value, and its arguments."""
_HIGHER = ("map", "select", "reject", "selectattr", "rejectattr", "default", "d")

_TEST_NAMES = (
    "defined undefined none boolean true false integer float number string mapping sequence iterable even odd "
    "divisibleby eq equalto ne lt lessthan le gt greaterthan ge in sameas"
)
_KNOWN_TESTS: dict[str, Any] = dict(_JINJA_TESTS)
TESTS: dict[str, Callable[..., Any]] = {
    name: _KNOWN_TESTS[name] for name in (*_TEST_NAMES.split(), "==", "!=", ">", ">=", "<", "<=")
}
TESTS |= {"lower": lambda value: isinstance(value, str) and value.islower()}
TESTS |= {"upper": lambda value: isinstance(value, str) and value.isupper()}
"""What may stand behind ``is``."""


short = reprlib.repr


def pay_for(value: Any, budget: Budget) -> Any:
    """Return a value, having paid for all that is in it: what holds one list many times is as long as it looks."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, list | tuple | set | frozenset):
            budget.pay(len(one) + 1)
            todo.extend(part for part in one if isinstance(part, list | tuple | dict))
        elif isinstance(one, dict):
            budget.pay(2 * len(one) + 1)
            todo.extend(part for pair in one.items() for part in pair if isinstance(part, list | tuple | dict))
    return value


def contains(holder: Any, value: Any, budget: Budget) -> bool:
    """Return whether a value is in another; a list is looked through from its start."""
    if not isinstance(holder, Mapping | set | frozenset) and hasattr(holder, "__len__"):
        budget.pay(len(holder))
    return value in holder


def apply_test(name: str, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any], budget: Budget) -> bool:
    """Return what stands behind ``is`` says of a value."""
    if name == "in" and len(args) == 1:
        return contains(args[0], value, budget)
    return bool(TESTS[name](value, *args, **kwargs))


def _range(budget: Budget, *args: int) -> list[int]:
    made = range(*args)
    budget.pay(len(made))
    return list(made)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": FILTERS["abs"],
    "and_": lambda _, left, right: left & right,
    "bool": FILTERS["bool"],
    "float": FILTERS["float"],
    "int": FILTERS["int"],
    "invert": lambda _, value: ~value,
    "len": _length,
    "list": _listed,
    "lshift": lambda budget, left, right: shift(left, right, budget),
    "matmul": lambda _, left, right: left @ right,
    "max": FILTERS["max"],
    "min": FILTERS["min"],
    "or_": lambda _, left, right: left | right,
    "range": _range,
    "round": _round,
    "rshift": lambda _, left, right: left >> right,
    "str": FILTERS["string"],
    "sum": _sum,
    "xor": lambda _, left, right: left ^ right,
}
"""The functions of templates; each is given the budget and its arguments."""


def _method(name: str) -> Callable[..., Any]:
    """Return the method of that name, of a value that it does not change; what it makes is no larger than the value."""

    def call(budget: Budget, value: Any, *args: Any) -> Any:
        if hasattr(value, "__len__"):
            budget.pay(3 * len(value))
        made = getattr(value, name)(*args)
        return list(made) if name in ("keys", "values", "items") else made

    return call


def _methods(names: str) -> dict[str, Callable[..., Any]]:
    return {name: _method(name) for name in names.split()}


METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    str: {
        **_methods(
            "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace "
            "isupper lower lstrip removeprefix removesuffix rfind rsplit rstrip split splitlines startswith strip "
            "swapcase title upper"
        ),
        "join": lambda budget, value, items: _join(budget, items, value),
        "replace": _replace,
    },
    Mapping: _methods("get items keys values"),
    list: _methods("count index"),
    tuple: _methods("count index"),
    dt.date: _methods("isoformat weekday isoweekday"),
    dt.datetime: _methods("date time timestamp"),
    dt.time: _methods("isoformat"),
    dt.timedelta: _methods("total_seconds"),
}
"""The methods that can be called in a template, by type."""
METHOD_NAMES = frozenset(name for names in METHODS.values() for name in names)
