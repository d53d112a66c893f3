"""The text of a template is the expression that means it, and the other way round."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfnb.model import schemas, templates
from wfnb.model.expr import (
    Apply,
    Const,
    Container,
    Expr,
    Input,
    Local,
    RunFact,
    StepValue,
    Text,
    Var,
    evaluate,
)
from wfnb.model.filters import TemplateError
from wfnb.model.scope import Scope
from wfnb.model.templates import Writer, escaped, literal, parse, parse_value

ITEM, INDEX, OUTER = Local("each", "item"), Local("each", "index"), Local("outer", "item")
LOAD = StepValue("load")


def scope() -> Scope:
    around = Scope(steps={"load", "load-data", "a", "b", "a-b", "input"}, inputs=("path", "n", "v"), variables={"v"})
    return around.inner("outer", {"item": OUTER, "index": Local("outer", "index")}).inner(
        "each", {"item": ITEM, "index": INDEX, "error": Local("each", "error")}
    )


def read(text: str) -> tuple[Expr, list[str]]:
    told: list[str] = []
    parsed = parse(text, scope(), lambda message, cure: told.append(f"{message}. {cure}"))
    return parsed.expr, told


def field(base: Expr, name: str) -> Expr:
    return Apply("field", (base, Const(name)))


def test_the_examples_in_the_modules_hold() -> None:
    assert doctest.testmod(templates).failed == 0
    assert doctest.testmod(schemas).failed == 0


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ("plain", Const("plain")),
        ("{ % }} {% raw %}", Const("{ % }} {% raw %}")),
        ("{{ input.path }}", Input("path")),
        ("{{ input['path'] }}", Input("path")),
        ("{{$input.path}}", Input("path")),
        ("{{ var.v }}", Var("v")),
        ("{{ $var.v }}", Var("v")),
        ("{{ run.id }}", RunFact("id")),
        ("{{ load }}", LOAD),
        ("{{ $load }}", LOAD),
        ("{{ steps['load'] }}", LOAD),
        ("{{ steps['input'] }}", StepValue("input")),
        ("{{ load.x.y }}", field(field(LOAD, "x"), "y")),
        ("{{ load['x'][0] }}", Apply("getitem", (Apply("getitem", (LOAD, Const("x"))), Const(0)))),
        ("{{ load[-1] }}", Apply("getitem", (LOAD, Const(-1)))),
        ("{{ load[1:] }}", Apply("getitem", (LOAD, Const(slice(1, None))))),
        ("{{ load[n] }}", Apply("getitem", (LOAD, Input("n")))),
        ("{{ load + 1 }}", Apply("+", (LOAD, Const(1)))),
        ("{{ n >= 2 }}", Apply(">=", (Input("n"), Const(2)))),
        ("{{ -load }}", Apply("neg", (LOAD,))),
        ("{{ abs(load) }}", Apply("abs", (LOAD,))),
        ("{{ and_(load, n) }}", Apply("&", (LOAD, Input("n")))),
        ("{{ [load, 1] }}", Container("list", (LOAD, Const(1)))),
        ("{{ (load,) }}", Container("tuple", (LOAD,))),
        ("{{ {'k': load} }}", Container("dict", (Const("k"), LOAD))),
        ("{{ [1, (2, 'x')] }}", Const([1, (2, "x")])),
        ("{{ -1 }}", Const(-1)),
        ("{{ none }}", Const(None)),
        ("{{ item }}", ITEM),
        ("{{ $item.x }}", field(ITEM, "x")),
        ("{{ index }}", INDEX),
        ("{{ outer.item }}", OUTER),
        ("{{ error.message }}", field(Local("each", "error"), "message")),
        ("{{ v }}", Var("v")),
        ("{{ n }}", Input("n")),
        ("{{ load-data }}", StepValue("load-data")),
        ("{{ load-data.x }}", field(StepValue("load-data"), "x")),
        ("{{ $load-data-1 }}", Apply("-", (StepValue("load-data"), Const(1)))),
        ("{{ $a-b }}", StepValue("a-b")),
        ("{{ steps['a-b'] }}", StepValue("a-b")),
        ("{{ a - b }}", Apply("-", (StepValue("a"), StepValue("b")))),
        ("{{ load-1 }}", Apply("-", (LOAD, Const(1)))),
        ("\n{{ load }}\n", LOAD),
        ("{{ '{{' }} x", Const("{{ x")),
        ("{{ '$5 a-b' }}", Const("$5 a-b")),
        ("{% raw %}{{ x }}{% endraw %}", Const("{{ x }}")),
        ("{{ load }}!", Text("{{ load }}!", (("load", LOAD),))),
        ("{{ $load * 2 }}", Text("{{ load * 2 }}", (("load", LOAD),))),
        ("{{ load | length }}", Text("{{ load | length }}", (("load", LOAD),))),
        (
            "Hi {{ input.path }} {{ $load-data }}",
            Text(
                "Hi {{ input.path }} {{ load-data }}",
                (("input", Container("dict", (Const("path"), Input("path")))), ("load-data", StepValue("load-data"))),
            ),
        ),
    ],
)
def test_a_text_is_read_as_the_expression_it_means(text: str, expr: Expr) -> None:
    assert read(text) == (expr, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ lod }}", "name 'lod' is unknown. Did you mean 'load'?"),
        ("{{ input.pth }}", "input 'pth' is unknown. Did you mean 'path'?"),
        ("a {{ input.pth }}", "input 'pth' is unknown. Did you mean 'path'?"),
        ("{{ var.w }}", "variable 'w' is used before anything sets it. Known: 'v'"),
        ("{{ run.name }}", "fact of the run 'name' is unknown. Known: 'id'"),
        ("{{ run }}", "'run' is no value by itself. Write run.id"),
        ("{{ var }}", "'var' is no value by itself. Write var.name"),
        ("{{ steps.lod }}", "step 'lod' is unknown. Did you mean 'load'?"),
        ("{{ outer }}", "'outer' has no value in its own body. Write outer.item"),
        ("{{ outer.itm }}", "what 'outer' gives its steps, 'itm' is unknown. Did you mean 'item'?"),
        ("{{ error.mesage }}", "field of an error 'mesage' is unknown. Did you mean 'message'?"),
        ("{{ a-b }}", "'a-b' can be read as a step and as a difference. Write 'a - b' for the difference"),
        ("{{ lod-data }}", "'lod-data' is unknown. Did you mean 'load-data'?"),
        ("{{ load.__class__ }}", "attribute '__class__' may not be used in a template"),
        ("{{ load", "cannot be read"),
        ("{{ load | no }}", "there is no filter 'no' in templates"),
        ("{% for x in load %}{{ x }}{% endfor %}", "'{% for %}' may not be used in a template"),
    ],
)
def test_what_means_nothing_is_told_with_its_cure(text: str, told: str) -> None:
    found = read(text)[1]
    assert len(found) == 1
    assert told in found[0]


def test_an_unknown_name_is_told_once_however_often_it_is_used() -> None:
    assert len(read("{{ lod }} {{ lod.x }}")[1]) == 1


def test_a_step_that_comes_later_is_told_as_such() -> None:
    told: list[str] = []
    parse("{{ next }}", Scope(later={"next"}), lambda message, _: told.append(message))
    assert told == ["step 'next' comes later"]


def test_templates_in_lists_and_mappings_are_read() -> None:
    found = parse_value({"a": ["{{ load }}", 1], "b": "x"}, scope(), lambda *_: None)
    assert found == Container("dict", (Const("a"), Container("list", (LOAD, Const(1))), Const("b"), Const("x")))
    assert parse_value({"a": [1, "x"]}, scope(), lambda *_: None) == Const({"a": [1, "x"]})


# -- round trips -----------------------------------------------------------------------------------------------------

constants = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
literals = st.recursive(
    constants,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
leaves = st.sampled_from(
    [
        LOAD,
        StepValue("load-data"),
        StepValue("a-b"),
        StepValue("input"),
        Input("n"),
        Var("v"),
        ITEM,
        OUTER,
        RunFact("id"),
    ]
)


def _branches(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    operand = inner | st.builds(Const, st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=3))
    ops = st.sampled_from(["+", "-", "/", "//", "<", "<=", "==", "!=", "&", "|", "^", ">>", "@"])
    binary = st.builds(lambda op, left, right: Apply(op, (left, right)), ops, inner, operand)
    unary = st.builds(lambda op, one: Apply(op, (one,)), st.sampled_from(["neg", "pos", "abs", "invert"]), inner)
    items = st.builds(
        lambda one, key: Apply("getitem", (one, Const(key))), inner, st.integers(-3, 3) | st.text(max_size=3)
    )
    fields = st.builds(field, inner, st.sampled_from(["x", "items", "not", "größe"]))
    lists = st.builds(lambda one, more: Container("list", (one, *more)), inner, st.lists(operand, max_size=2))
    return binary | unary | items | fields | lists


@given(st.recursive(leaves, _branches, max_leaves=8))
def test_what_is_written_is_read_as_the_same_expression(expr: Expr) -> None:
    text = Writer(scope()).template(expr)
    assert read(text) == (expr, []), text


@given(literals)
def test_a_literal_is_read_as_the_value_it_was(value: Any) -> None:
    found, told = read("{{ " + literal(value) + " }}")
    assert told == []
    assert isinstance(found, Const)
    assert found.value == value
    assert repr(found.value) == repr(value)


@given(st.text() | st.text("{}% rawend'\"\\\r\n#$", max_size=30))
def test_an_escaped_text_stands_for_the_text(text: str) -> None:
    assert read(escaped(text)) == (Const(text), [])


@settings(deadline=None)
@given(st.text("{}%#$ab01.'\"()[]|-+*/~,:=<>! \n\\", max_size=60))
def test_any_text_is_read_or_told_to_be_wrong(text: str) -> None:
    found, told = read(text)
    assert isinstance(found, Const) or told or found is not None


@pytest.mark.parametrize("value", [{1, 2}, b"x", object(), float("nan"), 1j])
def test_what_no_template_can_hold_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TemplateError, match="cannot be written in a definition"):
        literal(value)


def test_a_template_gives_what_its_expression_gives() -> None:
    expr = read("{{ load.x[0] + n }}")[0]
    assert evaluate(expr, {"load": {"x": [3]}}, {"n": 4}) == 7
    text = read("{{ load.x | length }} of {{ n }} in {{ load-data }}")[0]
    assert evaluate(text, {"load": {"x": [3]}, "load-data": "s"}, {"n": 4}) == "1 of 4 in s"


def test_a_template_in_another_expression_is_written_in_parentheses() -> None:
    length = read("{{ load | length }}")[0]
    assert Writer(scope()).template(Apply("==", (length, Const(1)))) == "{{ (load | length) == 1 }}"
    mixed = read("a{{ n }}")[0]
    assert Writer(scope()).template(Apply("==", (mixed, Const("a1")))) == "{{ ('a' ~ (n)) == 'a1' }}"


def test_a_thousand_names_with_dashes_are_read_in_time() -> None:
    many = Scope(steps={f"step-{n}" for n in range(20_000)})
    for n in range(300):
        assert parse(f"{{{{ step-{n}.x }}}}", many, lambda *_: None).expr == field(StepValue(f"step-{n}"), "x")
