"""A template gives what it says, and nothing that is not listed, at a bounded cost."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfnb.model.sandbox import TemplateError, evaluate_text, expressions

NAMES = {
    "n": 3,
    "text": "Ada",
    "load": {"items": [1, 2], "kind": "csv", "rows": [{"x": 2}, {"x": 1}]},
    "day": dt.date(2026, 1, 2),
    "none": None,
    "load-data": 7,
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ n }}", 3),
        ("{{ text }}", "Ada"),
        ("\n{{ n }}\n", 3),
        ("n = {{ n }}", "n = 3"),
        (" {{ n }}", " 3"),
        ("{{ '1' }}", "1"),
        ("{{ '[1]' }}", "[1]"),
        ("{{ load.items }}", [1, 2]),
        ("{{ load['kind'] }}", "csv"),
        ("{{ load.items[-1] }}", 2),
        ("{{ load.items[:1] }}", [1]),
        ("{{ n * 2 + 1 }}", 7),
        ("{{ 'a' * n }}", "aaa"),
        ("{{ 2 ** n }}", 8),
        ("{{ n > 2 and text == 'Ada' }}", True),
        ("{{ 1 < n < 3 }}", False),
        ("{{ n in [1, 2, 3] }}", True),
        ("{{ 'few' if n < 5 else 'many' }}", "few"),
        ("{{ text ~ '-' ~ n }}", "Ada-3"),
        ("{{ text.upper() }}", "ADA"),
        ("{{ text | lower }} {{ text | length }}", "ada 3"),
        ("{{ load.rows | map(attribute='x') | sort | join(', ') }}", "1, 2"),
        ("{{ load.rows | selectattr('x', 'gt', 1) | list }}", [{"x": 2}]),
        ("{{ load.rows | sum(attribute='x') }}", 3),
        ("{{ load.missing | default('none') }}", "none"),
        ("{{ missing is defined }}", False),
        ("{{ '%.2f' | format(n) }}", "3.00"),
        ("{{ '%.1f%%' % n }}", "3.0%"),
        ("{{ load.items | tojson }}", "[1, 2]"),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ day.isoformat() }}", "2026-01-02"),
        ("{{ day.year }}", 2026),
        ("{{ (1, n) }}", (1, 3)),
        ("{{ {'a': n} }}", {"a": 3}),
        ("{{ load-data + 1 }}", 8),
        ("{{ none is none }}", True),
        ("{{ load.items }} and {{ none }}", "[1, 2] and None"),
        ("{{ '}}' }}{# a note #}{% raw %}{{ n }}{% endraw %}", "}}{{ n }}"),
        ("{{ '{{' }} n", "{{ n"),
        ("{{ and_(6, 3) }}", 2),
    ],
)
def test_a_template_gives_what_it_says(source: str, value: Any) -> None:
    found = evaluate_text(source, NAMES)
    assert found == value
    assert type(found) is type(value)


def test_a_value_that_is_one_template_stays_the_same_object() -> None:
    thing = object()
    assert evaluate_text("{{ x }}", {"x": thing}) is thing


ATTACKS = [
    # to Python's insides
    "{{ n.__class__ }}",
    "{{ n['__class__'] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ text._private }}",
    "{{ load.rows | map(attribute='__class__') }}",
    "{{ load.rows | map(attribute='x.__class__') }}",
    "{{ load.rows | sort(attribute='__class__') }}",
    "{{ load.rows | selectattr('__class__') }}",
    "{{ text | attr('__class__') }}",
    "{{ text.format }}",
    "{{ '{0.__class__}'.format(n) }}",
    "{{ '{0.__class__}'.format_map(load) }}",
    "{{ '{0.__class__}' | format(n) | attr('x') }}",
    "{{ function.__globals__ }}",
    "{{ function() }}",
    "{{ function }} {{ function.name }}",
    "{{ kind.mro() }}",
    "{{ kind.mro }}",
    "{{ kind.register }}",
    "{{ frame.f_globals }}",
    "{{ frame.f_back }}",
    "{{ error.tb_frame }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ lipsum.__globals__ }}",
    "{{ lipsum() }}",
    "{{ cycler('a') }}",
    "{{ namespace(a=1) }}",
    "{{ joiner() }}",
    "{{ dict(a=1) }}",
    "{{ config }}",
    "{{ __builtins__ }}",
    "{{ load.pop('kind') }}",
    "{{ load.update({'a': 1}) }}",
    "{{ load.rows.append(1) }}",
    "{{ load.rows.clear }}",
    "{{ text.encode() }}",
    "{{ text.maketrans() }}",
    "{{ day.strftime('%Y') }}",
    "{{ day.replace(year=1) }}",
    "{{ n.to_bytes(9) }}",
    "{{ thing.method() }}",
    "{{ thing.method }}",
    "{{ module.path }}",
    "{{ text.join(*load) }}",
    "{{ text.join(**load) }}",
    "{{ caller() }}",
    "{{ loop.index }}",
    "{{ super() }}",
    "{{ _('text') }}",
    # to files and definitions
    "{% include '/etc/passwd' %}{{ n }}",
    "{% import 'os' as os %}{{ n }}",
    "{% from 'os' import path %}{{ n }}",
    "{% extends 'base' %}{{ n }}",
    "{% block a %}{{ n }}{% endblock %}",
    "{% set x = 1 %}{{ x }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for i in range(9) %}{{ i }}{% endfor %}",
    "{% if n %}{{ n }}{% endif %}",
    "{% filter upper %}{{ n }}{% endfilter %}",
    "{% call x() %}{{ n }}{% endcall %}",
    "{% with a = 1 %}{{ a }}{% endwith %}",
    "{% autoescape true %}{{ n }}{% endautoescape %}",
    "{% trans %}{{ n }}{% endtrans %}",
    "{% do x %}{{ n }}",
    # to time and memory
    "{{ 'a' * 10 ** 10 }}",
    "{{ 10 ** 10 * 'a' }}",
    "{{ [0] * 10 ** 10 }}",
    "{{ (0,) * 10 ** 10 }}",
    "{{ 'a' * 1000 * 1000 * 1000 * 1000 }}",
    "{{ [[0] * 1000] * 1000 }}",
    "{{ ['a' * 100000] * 100000 }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ 2 ** -99999999999999999999 ** 99 }}",
    "{{ 10 ** 1000000 }}",
    "{{ 2.0 ** 99999 }}",
    "{{ lshift(1, 10 ** 10) }}",
    "{{ range(10 ** 9) }}",
    "{{ range(10 ** 9) | list }}",
    "{{ range(10 ** 9) | sum }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '%(a(b)c)9999999999d' % {'a(b)c': 1} }}",
    "{{ '%*d' % (10 ** 10, 1) }}",
    "{{ '%.*f' % (10 ** 10, 1) }}",
    "{{ '%9999999999d' | format(1) }}",
    "{{ 'a' | center(10 ** 10) }}",
    "{{ 'a'.center(10 ** 10) }}",
    "{{ 'a'.zfill(10 ** 10) }}",
    "{{ 'a'.ljust(10 ** 10) }}",
    "{{ 'a' | indent(10 ** 10) }}",
    "{{ '\t'.expandtabs(10 ** 10) }}",
    "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
    "{{ ('a' * 99999) | replace('', 'b' * 99999) }}",
    "{{ ('a' * 99999).join(['b'] * 99999) }}",
    "{{ ['b'] * 99999 | join('a' * 99999) }}",
    "{{ (['b'] * 99999) | join('a' * 99999) }}",
    "{{ 1 | round(10 ** 10) }}",
    "{{ 15 | round(-10 ** 10) }}",
    "{{ [1] | batch(10 ** 10, 0) }}",
    "{{ [1] | slice(10 ** 10) }}",
    "{{ 1 | tojson(10 ** 10) }}",
    "{{ ''.join(range(10 ** 9)) }}",
    "{{" + "(" * 50_000,
    "{{" + "(" * 10_000 + "1" + ")" * 10_000 + "}}",
    "{{" + "-" * 50_000 + "1}}",
    "{{" + "not " * 20_000 + "1}}",
    "{{ n" + ".a" * 40_000 + "}}",
    "{{ n" + "[0]" * 30_000 + "}}",
    "{{ n" + "|list" * 15_000 + "}}",
    "{{ 1" + " + 1" * 20_000 + "}}",
    "{{ 1" + " if 1 else 1" * 8_000 + "}}",
    "{{ n }}" * 14_000,
    "{{" * 50_000,
    "{{ n }}" + "{%" * 40_000,
    "{{ n }}" + "{% raw %}" * 10_000,
    "{{ n }}" + "{#" * 40_000,
    "{{ '" + "\\'" * 40_000,
    '{{ "' + '\\"' * 40_000,
    "{{ " + "a-" * 40_000 + "}}",
    "{{ " + "9" * 5_000 + " }}",
    "{{ 'x' }}" + "y" * 200_000,
]


class Thing:
    def method(self) -> str:
        return "reached"


@pytest.mark.parametrize("source", ATTACKS, ids=lambda source: source[:40])
def test_an_attack_is_refused_at_once(source: str) -> None:
    import sys

    names = {
        **NAMES,
        "function": test_a_value_that_is_one_template_stays_the_same_object,
        "kind": Thing,
        "thing": Thing(),
        "frame": sys._getframe(),
        "module": sys,
    }
    begun = time.perf_counter()
    with pytest.raises(TemplateError) as caught:
        evaluate_text(source, names)
    assert time.perf_counter() - begun < 5
    assert len(str(caught.value)) < 2_000


def test_nothing_that_is_given_is_changed() -> None:
    rows = [3, 1, 2]
    assert evaluate_text("{{ rows | sort | reverse }}", {"rows": rows}) == [3, 2, 1]
    assert rows == [3, 1, 2]


def test_an_unknown_name_is_told_with_the_nearest_known_one() -> None:
    with pytest.raises(TemplateError, match=r"'txet' is unknown\. Did you mean 'text'"):
        evaluate_text("Hello {{ txet }}", NAMES)


def test_an_unknown_key_is_told_with_the_nearest_known_one() -> None:
    with pytest.raises(TemplateError, match=r"no 'knd' in it\. Did you mean 'kind'"):
        evaluate_text("{{ load.knd }}", NAMES)


def test_an_error_of_an_operator_keeps_its_cause() -> None:
    with pytest.raises(TemplateError, match="ZeroDivisionError") as caught:
        evaluate_text("{{ n / 0 }}", NAMES)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_list_of_shared_lists_is_written_out_at_a_bounded_cost() -> None:
    shared: Any = ["x" * 100]
    for _ in range(8):
        shared = [shared] * 20
    for source in ("{{ x ~ '' }}", "{{ x | tojson }}", "{{ x | string }}", "{{ '%s' % (x,) }}", "a {{ x }}"):
        begun = time.perf_counter()
        with pytest.raises(TemplateError, match="makes more than"):
            evaluate_text(source, {"x": shared})
        assert time.perf_counter() - begun < 20


def test_what_stands_between_braces_is_found_around_strings_and_dicts() -> None:
    text = "a {{ '}}' }} {# {{ no }} #}{% raw %}{{ no }}{% endraw %}{{ {'a': {'b': 1}} }}{{ x"
    assert [text[start:end].strip() for start, end in expressions(text)] == ["'}}'", "{'a': {'b': 1}}", "x"]


@settings(deadline=None, max_examples=300)
@given(st.text("{}%#$ab01.'\"()[]|-+*/~,:=<>! \n\\", max_size=60))
def test_any_text_gives_a_value_or_a_template_error(text: str) -> None:
    with contextlib.suppress(TemplateError):
        evaluate_text(text, {"a": 1, "b": {"a": [1, 2]}})
