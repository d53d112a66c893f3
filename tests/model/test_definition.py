"""A definition says what it is or what is wrong with it: every problem at once, each with its path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfnb.model.definition import STEP_TYPES, Definition, field_names, json_schema, validated
from wfnb.model.document import DEEPEST, MOST, Document, path_text
from wfnb.model.errors import DefinitionError

LOG = {"type": "log", "params": {"message": "a"}}


def problems(data: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        validated(Document(data))
    return [str(one) for one in caught.value.problems]


def steps(*found: Any) -> dict[str, Any]:
    return {"name": "w", "steps": list(found)}


def test_every_kind_of_step_is_read() -> None:
    data = {
        "name": "orders",
        "version": "1.0.0",
        "tags": ["a"],
        "order": "data",
        "concurrency": {"*": 4, "gpu": 1},
        "inputs": {"path": "string", "n": {"type": "integer", "default": 3}},
        "outputs": {"mean": "{{ mean }}"},
        "steps": [
            LOG,
            {"stepType": "node", **LOG, "id": "x", "name": "X", "when": "{{ a }}", "retry": {"attempts": 2}},
            {**LOG, "retry": {"backoff": {"type": "exponential", "delay": 2000, "factor": 2, "max": 9, "jitter": 0.1}}},
            {**LOG, "timeout": 5, "cache": True, "checkpoint": False, "priority": 3, "resources": {"GPU": 1}},
            {**LOG, "priority": "high", "continueOnError": True, "validate": False, "version": "2"},
            {"stepType": "map", "type": "log", "over": {"message": [1]}},
            {"stepType": "expand", "type": "log", "over": {"message": "{{ a }}"}, "params": {"level": "info"}},
            {"stepType": "sequential", "steps": [LOG], "output": 1},
            {"stepType": "parallel", "mode": "first", "steps": [LOG, [LOG, LOG], {"steps": [LOG], "output": 1}]},
            {"stepType": "loop", "over": [1], "as": "row", "parallel": True, "maxConcurrency": 2, "steps": [LOG]},
            {"stepType": "loop", "while": "{{ a }}", "init": 1, "maxIterations": 3, "steps": [LOG]},
            {"stepType": "loop", "until": {"steps": [LOG], "output": "{{ a }}"}, "steps": [LOG]},
            {"stepType": "loop", "times": 3, "steps": [LOG]},
            {"stepType": "switch", "value": 1, "cases": [{"when": 1, "steps": [LOG]}], "default": [LOG]},
            {"stepType": "switch", "cases": [{"when": "{{ a }}"}], "default": {"steps": [LOG], "output": 1}},
            {"stepType": "try", "steps": [LOG], "catch": [LOG], "finally": [LOG]},
            {"stepType": "try", "steps": [LOG], "catch": [{"on": ["OSError"], "steps": [LOG]}, {"steps": [LOG]}]},
            {"stepType": "try", "steps": [LOG], "catch": {"steps": [LOG], "output": 1}},
            {"stepType": "stream", "source": LOG, "steps": [LOG], "batchSize": 2, "bufferSize": 3, "as": "row"},
            {"stepType": "dynamic", "type": "plan", "params": {}},
            {"stepType": "workflow", "workflow": "other", "version": "1", "inputs": {"a": "{{ b }}"}},
        ],
    }
    found = validated(Document(data))
    assert {type(one) for one in found.steps} == set(STEP_TYPES.values())
    assert validated(Document(snaked(data))) == found


def snaked(data: Any) -> Any:
    """Return data with the names of fields in snake_case."""
    if isinstance(data, list):
        return [snaked(one) for one in data]
    if not isinstance(data, dict):
        return data
    return {
        "".join(f"_{c.lower()}" if c.isupper() and k[0].islower() else c for c in k): snaked(v) for k, v in data.items()
    }


def test_an_unknown_field_is_told_with_its_path_and_the_nearest_known_one() -> None:
    switch = {"stepType": "switch", "cases": [{"when": 1, "steps": [LOG, {**LOG, "id": "b", "retrys": 3}]}]}
    assert problems(steps(LOG, LOG, switch)) == [
        "step 'b' (steps[2].cases[0].steps[1].retrys): there is no field 'retrys'. Did you mean 'retry'?"
    ]


def test_every_problem_is_told_at_once() -> None:
    found = problems(
        {
            "nmae": "x",
            "order": "dta",
            "concurrency": 0,
            "steps": [
                {**LOG, "retry": {"attempts": -1, "backof": {}}, "timeout": "3", "cache": "yes", "priority": "hi"},
                {"stepType": "parralel", "steps": []},
                5,
                {"a": 1},
                {"stepType": "loop", "while": 3},
                {"stepType": "parallel", "steps": [LOG, [{**LOG, "foo": 1}], {"steps": [{"typ": "x"}]}]},
                {"stepType": "try", "steps": [], "catch": [{"on": ["A"], "steps": [{"type": 1}]}]},
                {"stepType": "stream", "source": {"stepType": "node"}, "batchSize": 0},
            ],
        }
    )
    places = [
        "the field 'name' is missing",
        "(nmae): there is no field 'nmae'. Did you mean 'name'?",
        "(order): 'order' cannot be 'dta'. Give 'sequence' or 'data'",
        "(concurrency): 'concurrency' cannot be 0. It should be greater than or equal to 1 or a mapping",
        "(steps[0].retry.attempts): 'attempts' cannot be -1",
        "(steps[0].retry.backof): there is no field 'backof'. Did you mean 'backoff'?",
        "(steps[0].timeout): 'timeout' cannot be '3'. Give a number",
        "(steps[0].cache): 'cache' cannot be 'yes'. Give true or false",
        "(steps[0].priority): 'priority' cannot be 'hi'. Give 'critical', 'high', 'normal' or 'low' or a whole number",
        "(steps[1]): there is no stepType 'parralel'. Did you mean 'parallel'?",
        "(steps[2]): 'item 2' cannot be 5. Give a mapping",
        "(steps[3]): a step does not say what it is (it has 'a')",
        "(steps[4].while): 'while' cannot be 3",
        "(steps[4]): the field 'steps' is missing. Add steps: ...",
        "(steps[5].steps[1][0].foo): there is no field 'foo'",
        "(steps[5].steps[2].steps[0]): a step does not say what it is (it has 'typ')",
        "(steps[6].catch[0].steps[0].type): 'type' cannot be 1. Give a text",
        "(steps[7].source): the field 'type' is missing",
        "(steps[7].batchSize): 'batchSize' cannot be 0",
    ]
    for place in places:
        assert any(place in one for one in found), (place, found)
    assert len(found) == len(places)


def test_a_newer_form_than_is_known_is_told_before_anything_else() -> None:
    found = problems({"wfnb": 2, "what": "ever"})
    assert found == [
        "workflow (wfnb): it is written in version 2 of the form, and this wfnb knows versions up to 1. "
        "Update wfnb: pip install -U wfnb"
    ]


def test_a_version_that_is_a_number_is_to_be_put_in_quotes() -> None:
    assert problems({"name": "x", "version": 1.0}) == [
        'workflow (version): the version 1.0 is a number. Put it in quotes: "1.0"'
    ]


@pytest.mark.parametrize("data", [[], "text", None, 3])
def test_a_definition_is_a_mapping(data: Any) -> None:
    assert "a definition is a mapping" in problems(data)[0]


def test_what_json_cannot_hold_is_refused_with_its_path() -> None:
    found = problems(steps({"type": "log", "params": {"message": {1}, "level": float("nan")}}, {3: 4}))
    assert any("{1} cannot be in a definition" in one and "steps[0].params.message" in one for one in found)
    assert any("nan cannot be in a definition" in one and "steps[0].params.level" in one for one in found)
    assert any("the key 3 is no text" in one for one in found)


def test_a_definition_made_in_python_may_hold_anything() -> None:
    thing = object()
    found = validated(Document(steps({"type": "log", "params": {"message": thing}}), plain=False))
    assert found.steps[0].params["message"] is thing


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(DEEPEST + 1):
        deep = [deep]
    assert "nested more than" in problems(steps({"type": "log", "params": {"message": deep}}))[0]
    around: list[Any] = []
    around.append(around)
    assert "nested more than" in problems(steps({"type": "log", "params": {"message": around}}))[0]
    nested: Any = LOG
    for _ in range(30):
        nested = {"stepType": "parallel", "steps": [[nested]]}
    assert validated(Document(steps(nested))).name == "w"


def test_size_is_bounded_also_for_values_behind_aliases() -> None:
    bomb: Any = "x"
    for _ in range(20):
        bomb = [bomb] * 10
    assert f"more than {MOST:,} values" in problems(steps({"type": "log", "params": {"message": bomb}}))[0]


def test_a_path_is_written_as_people_write_it() -> None:
    assert path_text(("steps", 0, "params", "a b", "c-d")) == "steps[0].params['a b'].c-d"


def test_editors_get_a_json_schema_of_every_field() -> None:
    schema = json_schema()
    json.dumps(schema)
    assert set(schema["properties"]) == set(field_names(Definition))
    told = [one for one in schema["properties"].values() if "description" not in one]
    assert told == []
    for model in STEP_TYPES.values():
        properties = schema["$defs"][model.__name__]["properties"]
        assert set(properties) == set(field_names(model))
        assert all("description" in one for name, one in properties.items() if name != "stepType")
        assert schema["$defs"][model.__name__]["additionalProperties"] is False


# -- made up ---------------------------------------------------------------------------------------------------------

words = st.sampled_from(
    [name for model in STEP_TYPES.values() for name in field_names(model)] + ["name", "when", "on", "attempts", "nope"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats(allow_nan=True)
    | st.sampled_from([*STEP_TYPES, "log", "{{ a }}", "", "x y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=25,
)


@settings(deadline=None, max_examples=300)
@given(values)
def test_any_data_is_a_definition_or_told_with_a_path(data: Any) -> None:
    for whole in (data, {"name": "w", "steps": data}, steps(data)):
        try:
            assert isinstance(validated(Document(whole)), Definition)
            continue
        except DefinitionError as error:
            told = error.problems
        assert told
        missing = [one for one in told if "missing" in one.message or "is a mapping" in one.message]
        assert all(one.where or one in missing for one in told), told
