"""Text becomes data without surprises, or is refused with its line."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfnb.authoring.reading import LONGEST, read_text
from wfnb.authoring.yaml_text import dump
from wfnb.model.errors import DefinitionError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: [a]", {"on": ["a"]}),
        ("a: yes", {"a": "yes"}),
        ("a: true", {"a": True}),
        ("a: 12:30:45", {"a": "12:30:45"}),
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("a: 012", {"a": 12}),
        ("a: 0x1f", {"a": 31}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: .inf", {"a": ".inf"}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: '1'", {"a": "1"}),
        ("a: !!str 1", {"a": "1"}),
        ("1: a", {"1": "a"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ('{"a": 1.0, "b": "\\ud83d\\ude00"}', {"a": 1.0, "b": "😀"}),
        ("{a: 1}", {"a": 1}),
        ("a: 1.0.0", {"a": "1.0.0"}),
        ("=: =", {"=": "="}),
    ],
)
def test_yaml_is_read_as_its_version_1_2(text: str, value: Any) -> None:
    found = read_text(text).data
    assert found == value
    assert repr(found) == repr(value)


def test_the_line_of_a_value_is_known() -> None:
    found = read_text("name: x\nsteps:\n  - type: a\n    params:\n      x: 1\n", "flow.yaml")
    assert found.where(("steps", 0, "params", "x")) == "steps[0].params.x, flow.yaml, line 5"
    assert found.where(("steps", 0, "params", "y")) == "steps[0].params.y, flow.yaml, line 4"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is nothing in it"),
        ("# only a note", "there is nothing in it"),
        ("a: [", "line 2.*this is no YAML"),
        ("a: 1\na: 2", "line 2.*the key 'a' is there twice"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("- " * 5_000, "nested more than"),
        ("[" * 100_000, "nested more than"),
        ("{a: " * 50_000, "nested more than"),
        ('{"a":' * 50_000, "nested too deep"),
        ("a: !!python/object/apply:os.system [ls]", "the tag .* is not allowed"),
        ("a: !!python/name:os.system", "the tag .* is not allowed"),
        ("a: !x 1", "the tag '!x' is not allowed"),
        ("a: !!set {b}", "the tag .* is not allowed"),
        ("a: !!binary aGk=", "the tag .* is not allowed"),
        ("a: &a {b: 1}\nc: {<<: *a}", "merged keys"),
        ("--- 1\n--- 2", "more than one document"),
        ("a: *b", "the alias '\\*b' stands for nothing|this is no YAML"),
        ("a: &a [*a]", "stands for nothing"),
        ("? [a]\n: b", "a key is no text"),
        ("a: \x00", "this is no YAML"),
        ("a: " + "9" * 5_000, "4300 digits"),
        ('{"a": ' + "9" * 5_000 + "}", "4300 digits"),
        ("x" * (LONGEST + 1), "the text is too long"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        read_text(text)


def test_a_json_file_must_be_json() -> None:
    with pytest.raises(DefinitionError, match=r"line 2.*no JSON"):
        read_text('{"a": 1,\n b: 2}', "flow.json")


def test_many_values_are_read_in_time() -> None:
    begun = time.perf_counter()
    assert len(read_text("a:\n" + "- {b: 1, c: [x, y]}\n" * 20_000).data["a"]) == 20_000
    assert time.perf_counter() - begun < 20


data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(
        ["1e3", "0o17", "on", "yes", "~", "null", "12:30", "=", "<<", "a: b", "{{ x }}\n", " x\n\ny", "\ta\nb"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3)
    ),
    max_leaves=15,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "on", "1", "<"]), data, min_size=1))
def test_what_is_written_is_read_as_the_same(value: dict[str, Any]) -> None:
    for text in (dump(value), json.dumps(value)):
        assert repr(read_text(text).data) == repr(value)


@settings(deadline=None, max_examples=300)
@given(st.text("ab:-[]{}&*!|>'\"#%@`,? \n1.~<", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_text(text)
        return
    except DefinitionError as error:
        told = error.problems
    assert told
