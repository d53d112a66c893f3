"""Evaluates templates that anybody may have written. Imports jinja2, filters and errors only.

Jinja2 reads a template; what it read is walked here, node by node, so that nothing is there but what is listed: names,
attributes and items, literals, operators, inline ``if``, tests, and the filters, functions and methods of `filters`.
There are no blocks, so no loops and no definitions. Attributes with an underscore, methods of objects and what leads to
frames or code are refused. An evaluation costs at most as many steps as the template is long, and each step that makes
something larger (a repeated text, a joined list, a power) pays for it first out of a `Budget`.

A text that is exactly one ``{{ }}`` keeps its value's type; line breaks around it do not count.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, TypeAlias

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, Undefined, nodes
from jinja2 import TemplateError as JinjaError

from wfnb.model.errors import did_you_mean
from wfnb.model.filters import (
    DEEPEST,
    FILTERS,
    FUNCTIONS,
    METHOD_NAMES,
    METHODS,
    TESTS,
    Budget,
    add,
    apply_test,
    attribute,
    check_attribute,
    contains,
    modulo,
    multiply,
    pay_for,
    plain,
    power,
    short,
    size,
    text_of,
)
from wfnb.model.filters import TemplateError as TemplateError

LONGEST = 100_000
"""The longest template, in characters."""
MOST_NODES = 5_000
DASH = "\u01c0"
"""Stands for the dash of a step's id in what jinja2 reads: a letter to jinja2, and in nobody's names."""

Part: TypeAlias = str | nodes.Expr


# -- reading ---------------------------------------------------------------------------------------------------------

# An unclosed string goes on to the end: every scan is done once, however a template is broken.
_STRING = r"'(?:[^'\\]|\\.)*(?:'|\\?\Z)|\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)"
_OPENING = re.compile(r"\{\{|\{#|\{%")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*-?%\}")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_INSIDE = re.compile(rf"{_STRING}|[-+]?\}}\}}|[(\[{{]|[)\]}}]", re.DOTALL)


def expressions(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of what stands between each ``{{`` and its ``}}``."""
    at = 0
    while found := _OPENING.search(text, at):
        if found[0] == "{#":
            end = text.find("#}", found.end())
            at = end + 2 if end >= 0 else len(text)
        elif found[0] == "{%":
            raw = _RAW.match(text, found.start())
            close = _END_RAW.search(text, raw.end()) if raw else None
            at = found.end() if raw is None else close.end() if close else len(text)
        else:
            start = found.end()
            stop, at = _end_of(text, start)
            yield start, stop


def _end_of(text: str, at: int) -> tuple[int, int]:
    depth = 0
    while found := _INSIDE.search(text, at):
        token = found[0]
        if token.endswith("}}") and depth == 0:
            return found.start(), found.end()
        if token.endswith("}}"):
            depth -= 1
            at = found.end() - 1  # one brace closes a dict, the other may be anything
            continue
        if token in ("(", "[", "{"):
            depth += 1
        elif token in (")", "]", "}"):
            depth = max(0, depth - 1)
        at = found.end()
    return len(text), len(text)


def edited(text: str, edit: Callable[[str], str]) -> str:
    """Return a template with what is outside of string literals in its expressions changed by `edit`."""
    made, last = [], 0
    for start, end in expressions(text):
        made.append(text[last:start])
        pieces = re.split(f"({_STRING})", text[start:end], flags=re.DOTALL)
        made += [piece if at % 2 else edit(piece) for at, piece in enumerate(pieces)]
        last = end
    return "".join([*made, text[last:]])


_ENVIRONMENT = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
_ALLOWED = frozenset((
    "Add", "And", "Compare", "Concat", "CondExpr", "Const", "Dict", "Div", "Filter", "FloorDiv", "Getattr",
    "Getitem", "Keyword", "List", "Mod", "Mul", "Name", "Neg", "Not", "Operand", "Or", "Output", "Pair", "Pos",
    "Pow", "Slice", "Sub", "Template", "TemplateData", "Test", "Tuple", "Call",
))  # fmt: skip
_BLOCKS = {
    "If": "if", "For": "for", "Macro": "macro", "CallBlock": "call", "FilterBlock": "filter", "Assign": "set",
    "AssignBlock": "set", "Include": "include", "Import": "import", "FromImport": "import", "Extends": "extends",
    "Block": "block", "With": "with", "ScopedEvalContextModifier": "autoescape",
}  # fmt: skip


def read(source: str) -> tuple[Part, ...]:
    """Return the parts of a template: its literal texts, and its expressions, each checked.

    Args:
        source: the text, in the spelling without ``$``, dashes in step ids replaced by `DASH`.

    Raises:
        TemplateError: it cannot be read, is too large, or uses what templates may not.
    """
    if len(source) > LONGEST:
        raise TemplateError(f"the template is too long: {len(source):,} characters, and {LONGEST:,} are allowed")
    try:
        tree = _ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"the template '{_short(source)}' cannot be read: {_said(error)}") from None
    except RecursionError:
        raise TemplateError(f"the template '{_short(source)}' is nested too deep") from None
    except Exception as error:  # noqa: BLE001 - a number or an escape that Python refuses
        raise TemplateError(f"the template '{_short(source)}' cannot be read: {error}") from None
    _check(tree, source)
    parts: list[Part] = []
    for output in tree.body:
        for node in output.nodes:  # type: ignore[attr-defined]
            if isinstance(node, nodes.TemplateData):
                if parts and isinstance(parts[-1], str):
                    parts[-1] += node.data
                elif node.data:
                    parts.append(node.data)
            else:
                parts.append(node)
    meant = [part for part in parts if not (isinstance(part, str) and not part.strip("\r\n"))]
    if len(meant) == 1 and not isinstance(meant[0], str):
        return (meant[0],)
    return tuple(parts)


def _check(tree: nodes.Template, source: str) -> None:
    todo: list[tuple[nodes.Node, int]] = [(tree, 0)]
    count = 0
    while todo:
        node, depth = todo.pop()
        count += 1
        kind = type(node).__name__
        if kind in _BLOCKS:
            raise TemplateError(
                f"'{{% {_BLOCKS[kind]} %}}' may not be used in a template: write {{{{ a if condition else b }}}}, use "
                "filters, or make a node"
            )
        if kind not in _ALLOWED:
            raise TemplateError(f"'{kind}' may not be used in a template: make a node for it")
        if count > MOST_NODES or depth > DEEPEST:
            raise TemplateError(f"the template '{_short(source)}' is too complicated: split it, or make a node for it")
        _check_node(node)
        todo += [(child, depth + 1) for child in node.iter_child_nodes()]


def _check_node(node: nodes.Node) -> None:
    match node:
        case nodes.Getattr(attr=name):
            check_attribute(name)
        case nodes.Name(name=name) if name.startswith("__"):
            check_attribute(name)
        case nodes.Filter(name=name):
            if name not in FILTERS:
                raise TemplateError(f"there is no filter '{name}' in templates. {did_you_mean(name, FILTERS)}")
        case nodes.Test(name=name):
            if name not in TESTS:
                raise TemplateError(f"there is no test '{name}' in templates. {did_you_mean(name, TESTS)}")
        case nodes.Call(node=nodes.Name(name=name)):
            if name not in FUNCTIONS:
                raise TemplateError(f"there is no function '{name}' in templates. {did_you_mean(name, FUNCTIONS)}")
        case nodes.Call(node=nodes.Getattr(attr=name)):
            if name not in METHOD_NAMES:
                raise TemplateError(f"method '{name}' may not be called in a template: use a filter, or make a node")
        case nodes.Call():
            raise TemplateError("only functions and methods can be called in a template: use a filter, or make a node")
    if isinstance(node, (nodes.Call, nodes.Filter, nodes.Test)) and (node.dyn_args or node.dyn_kwargs):
        raise TemplateError("'*' and '**' before an argument may not be used in a template: write the arguments out")


def _short(source: str) -> str:
    text = " ".join(source.replace(DASH, "-").split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0].replace(DASH, "-").rstrip(".")


# -- evaluating ------------------------------------------------------------------------------------------------------


def evaluate_text(source: str, names: Mapping[str, Any]) -> Any:
    """Return the value of a template.

    Args:
        source: the text, with ``{{ ... }}`` in it.
        names: the value of each name in it; an id with a dash is one name.

    Returns:
        The value itself when the text is exactly one template, else a text.

    Raises:
        TemplateError: it cannot be read or evaluated; names the template and what is wrong.
    """
    parts = _parts(source, tuple([name for name in names if "-" in name]))
    budget = Budget(names)
    try:
        if len(parts) == 1 and not isinstance(parts[0], str):
            return plain(evaluate_node(parts[0], budget))
        return "".join(
            [part if isinstance(part, str) else text_of(evaluate_node(part, budget), budget) for part in parts]
        )
    except TemplateError as error:
        raise TemplateError(f"template '{_short(source)}': {error}") from error.__cause__
    except JinjaError as error:
        raise TemplateError(f"template '{_short(source)}': {_said(error)}") from None
    except Exception as error:
        raise TemplateError(f"template '{_short(source)}': {type(error).__name__}: {error}") from error


@functools.lru_cache(maxsize=512)
def _parts(source: str, dashed: tuple[str, ...]) -> tuple[Part, ...]:
    return read(with_dashes(source, dashed))


_DASHED = re.compile(r"(?<![\w.])[^\W\d]\w*(?:-\w+)+")


def with_dashes(source: str, dashed: Container[str]) -> str:
    """Return a template with the dashes of these ids replaced by `DASH`, for jinja2 to read each as one name."""
    if "-" not in source or dashed == ():
        return source

    def changed(found: re.Match[str]) -> str:
        count = longest_id(found[0], dashed)
        return found[0].replace("-", DASH, count)

    return edited(source, lambda text: _DASHED.sub(changed, text) if "-" in text else text)


def longest_id(run: str, ids: Container[str]) -> int:
    """Return how many dashes the longest id has with which names joined by dashes begin, or 0 when there is none."""
    parts = run.split("-")
    return next(
        (count - 1 for count in range(min(len(parts), _MOST_DASHES), 1, -1) if "-".join(parts[:count]) in ids), 0
    )


_MOST_DASHES = 30


def evaluate_node(node: nodes.Expr, budget: Budget) -> Any:
    """Return the value of one expression of a template."""
    return _RULES[type(node)](node, budget)


def _name(node: Any, budget: Budget) -> Any:
    name = node.name.replace(DASH, "-")
    if name in budget.names:
        return budget.names[name]
    return StrictUndefined(hint=f"'{name}' is unknown. {did_you_mean(name, budget.names)}", name=name)


def _getattr(node: Any, budget: Budget) -> Any:
    return attribute(evaluate_node(node.node, budget), node.attr)


def _getitem(node: Any, budget: Budget) -> Any:
    value = evaluate_node(node.node, budget)
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if isinstance(node.arg, nodes.Slice):
        key: Any = slice(
            *[evaluate_node(p, budget) if p else None for p in (node.arg.start, node.arg.stop, node.arg.step)]
        )
        found = value[key]
        budget.pay(size(found))
        return found
    key = evaluate_node(node.arg, budget)
    if isinstance(value, type):
        raise TemplateError("a type has no items in a template")
    try:
        return value[key]
    except (KeyError, IndexError):
        known = list(value)[:100] if isinstance(value, Mapping) else ()
        cure = f". {did_you_mean(str(key), known)}" if known else ""
        return StrictUndefined(hint=f"there is no item {short(key)}{cure}", name=str(key))


def _same_cost(apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Budget], Any]:
    return lambda left, right, _: apply(left, right)


_BINARY: dict[type[nodes.Node], Callable[[Any, Any, Budget], Any]] = {
    nodes.Add: add,
    nodes.Sub: _same_cost(operator.sub),
    nodes.Mul: multiply,
    nodes.Div: _same_cost(operator.truediv),
    nodes.FloorDiv: _same_cost(operator.floordiv),
    nodes.Mod: modulo,
    nodes.Pow: power,
}
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
}


def _binary(node: Any, budget: Budget) -> Any:
    return _BINARY[type(node)](evaluate_node(node.left, budget), evaluate_node(node.right, budget), budget)


def _compare(node: Any, budget: Budget) -> Any:
    left = evaluate_node(node.expr, budget)
    result: Any = True
    for operand in node.ops:
        right = evaluate_node(operand.expr, budget)
        if operand.op in ("in", "notin"):
            result = contains(plain(right), plain(left), budget) == (operand.op == "in")
        else:
            one, other = pay_for(plain(left), budget), pay_for(plain(right), budget)
            result = _COMPARED[operand.op](one, other)
        if len(node.ops) > 1 and not result:
            break
        left = right
    return result


def _condition(node: Any, budget: Budget) -> Any:
    if evaluate_node(node.test, budget):
        return evaluate_node(node.expr1, budget)
    if node.expr2 is None:
        raise TemplateError("the condition of an 'if' without 'else' is false: add 'else' and a value")
    return evaluate_node(node.expr2, budget)


def _concat(node: Any, budget: Budget) -> str:
    return "".join([text_of(evaluate_node(one, budget), budget) for one in node.nodes])


def _arguments(node: Any, budget: Budget) -> tuple[list[Any], dict[str, Any]]:
    args = [plain(evaluate_node(one, budget)) for one in node.args]
    return args, {one.key: plain(evaluate_node(one.value, budget)) for one in node.kwargs}


def _filter(node: Any, budget: Budget) -> Any:
    value = evaluate_node(node.node, budget)
    args, kwargs = _arguments(node, budget)
    if node.name not in ("default", "d"):
        value = plain(value)
    return FILTERS[node.name](budget, value, *args, **kwargs)


def _test(node: Any, budget: Budget) -> bool:
    value = evaluate_node(node.node, budget)
    args, kwargs = _arguments(node, budget)
    if node.name not in ("defined", "undefined"):
        value = plain(value)
    return apply_test(node.name, value, args, kwargs, budget)


def _call(node: Any, budget: Budget) -> Any:
    args, kwargs = _arguments(node, budget)
    if isinstance(node.node, nodes.Name):
        return FUNCTIONS[node.node.name](budget, *args, **kwargs)
    value, name = plain(evaluate_node(node.node.node, budget)), node.node.attr
    method = next((found[name] for kind, found in METHODS.items() if isinstance(value, kind) and name in found), None)
    if method is None:
        raise TemplateError(f"{type(value).__name__} has no method '{name}' in templates: use a filter, or make a node")
    return method(budget, value, *args, **kwargs)


_RULES: dict[type[nodes.Node], Callable[[Any, Budget], Any]] = {
    nodes.Const: lambda node, _: node.value,
    nodes.TemplateData: lambda node, _: node.data,
    nodes.Name: _name,
    nodes.Getattr: _getattr,
    nodes.Getitem: _getitem,
    nodes.List: lambda node, budget: [plain(evaluate_node(one, budget)) for one in node.items],
    nodes.Tuple: lambda node, budget: tuple([plain(evaluate_node(one, budget)) for one in node.items]),
    nodes.Dict: lambda node, budget: {
        pay_for(plain(evaluate_node(pair.key, budget)), budget): plain(evaluate_node(pair.value, budget))
        for pair in node.items
    },
    nodes.Compare: _compare,
    nodes.And: lambda node, budget: evaluate_node(node.left, budget) and evaluate_node(node.right, budget),
    nodes.Or: lambda node, budget: evaluate_node(node.left, budget) or evaluate_node(node.right, budget),
    nodes.Not: lambda node, budget: not evaluate_node(node.node, budget),
    nodes.Neg: lambda node, budget: -evaluate_node(node.node, budget),
    nodes.Pos: lambda node, budget: +evaluate_node(node.node, budget),
    nodes.CondExpr: _condition,
    nodes.Concat: _concat,
    nodes.Filter: _filter,
    nodes.Test: _test,
    nodes.Call: _call,
    **dict.fromkeys(_BINARY, _binary),
}
