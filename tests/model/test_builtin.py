"""What the built-in nodes do, and what a `catch` and `fail` make of errors."""

from __future__ import annotations

import logging
import math
import pickle
import time
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

from wfnb.model import builtin
from wfnb.model.builtin import (
    BUILTINS,
    Batch,
    BuiltIn,
    Call,
    Delay,
    Fail,
    Get,
    Log,
    Set,
    Stop,
    Transform,
    find_nodes_with,
    prepared,
    variable_name,
)
from wfnb.model.caught import CaughtError, error_type
from wfnb.model.context import Context
from wfnb.model.errors import ConfigurationError, TaskTimeout, TypeMismatch
from wfnb.model.lifecycle import call_node
from wfnb.model.node import Node
from wfnb.model.policy import kinds_of, matches

FALSY = [0, 0.0, "", False, None, [], {}]


class Scale(Node):
    class Params(Node.Params):
        factor: float = 2.0

    def execute(self, x: list[float], plus: float = 0.0) -> list[float]:
        return [one * self.params.factor + plus for one in x]


class Total(Node):
    async def execute(self, x: list[float]) -> float:
        return sum(x)


class Where(Node):
    def execute(self, ctx: Context) -> str:
        return ctx.address


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    before = builtin._find
    find_nodes_with({"scale": Scale, "treble": Scale(factor=3.0), "where": Where(), **BUILTINS}.__getitem__)
    yield
    find_nodes_with(before)


def context(**facts: Any) -> tuple[Context, list[tuple[float, str]]]:
    told: list[tuple[float, str]] = []
    return Context(sink=lambda fraction, message: told.append((fraction, message)), **facts), told


# -- all of them -----------------------------------------------------------------------------------------------------


def test_the_built_in_nodes_have_the_names_definitions_know_them_by() -> None:
    assert list(BUILTINS) == ["log", "delay", "set", "get", "fail", "stop", "transform", "batch", "call"]
    assert all(one.info.name == one.title == name for name, one in BUILTINS.items())
    assert BuiltIn.__subclasses__() == [type(one) for one in BUILTINS.values()]


@pytest.mark.parametrize("name", BUILTINS)
def test_a_built_in_node_describes_itself_and_what_it_takes(name: str) -> None:
    one = BUILTINS[name]
    doc = type(one).__doc__ or ""
    assert one.info.description.endswith(".")
    assert all(f"{port}:" in doc for port in one.ports.parameters if (name, port) != ("get", "value"))
    assert set(one.ports.parameters) <= set(one.ports.annotations)


@pytest.mark.parametrize("name", BUILTINS)
def test_a_built_in_node_travels(name: str) -> None:
    assert type(cloudpickle.loads(cloudpickle.dumps(BUILTINS[name]))) is type(BUILTINS[name])
    assert cloudpickle.loads(cloudpickle.dumps(BUILTINS[name])).info == BUILTINS[name].info


# -- log and delay ---------------------------------------------------------------------------------------------------


def test_log_writes_to_the_tasks_log_and_gives_the_message_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "wfnb.task"):
        assert Log()("at 50 %d") == "at 50 %d"
        assert Log()({"a": 1}, level="WARNING") == {"a": 1}
    assert [(one.levelname, one.message) for one in caplog.records] == [("INFO", "at 50 %d"), ("WARNING", "{'a': 1}")]


def test_log_refuses_a_level_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"node 'log' has no level 'warn'\. Did you mean 'warning'\?"):
        Log()("x", level="warn")


def test_delay_sleeps_in_pieces_so_that_it_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    assert Delay()(1000) is None
    assert math.isclose(sum(slept), 1.0)
    assert max(slept) <= 0.05


@pytest.mark.parametrize("milliseconds", [-1, math.inf, math.nan])
def test_delay_refuses_what_is_no_time(milliseconds: float) -> None:
    with pytest.raises(ValueError, match="give a number, 0 or more"):
        Delay()(milliseconds)


def test_delay_wants_a_number() -> None:
    with pytest.raises(TypeMismatch, match="'milliseconds' = 'soon'"):
        Delay()("soon")


# -- set, get and stop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", FALSY)
def test_values_that_count_as_false_go_through_unchanged(value: Any) -> None:
    assert Set()("name", value) is value
    assert Get()("name", 7, value) is value
    assert Stop()(value) is value
    assert Log()(value) is value
    assert Transform()([value, value], map="item") == [value, value]
    assert Transform()([1], map="item", names={"x": value}) == [1]


@pytest.mark.parametrize("name", ["", "two words", "2nd", "a.b", "{{ x }}"])
def test_a_variables_name_must_be_one(name: str) -> None:
    with pytest.raises(ConfigurationError, match="a variable cannot be called"):
        Set()(name, 1)
    with pytest.raises(ConfigurationError, match="a variable cannot be called"):
        Get()(name)


def test_the_name_of_a_variable_can_be_checked_before_the_run() -> None:
    assert variable_name("größe") == "größe"
    with pytest.raises(ConfigurationError, match="cannot be called 3: give a name of letters, digits and _"):
        variable_name(3)


def test_get_gives_the_default_where_there_is_no_value() -> None:
    assert Get()("name", 7) == 7


# -- fail ------------------------------------------------------------------------------------------------------------


def test_fail_raises_a_runtime_error_with_the_message() -> None:
    with pytest.raises(RuntimeError, match=r"^no rows$") as caught:
        Fail()("no rows")
    assert type(caught.value) is RuntimeError


@pytest.mark.parametrize("name", ["ValueError", "KeyError", "OSError", "UnicodeDecodeError", "TimeoutError"])
def test_fail_raises_errors_of_python_by_their_names(name: str) -> None:
    with pytest.raises(Exception, match=r"^no 'rows'$") as caught:
        Fail()("no 'rows'", name)
    assert matches(caught.value, (name,))
    assert isinstance(caught.value, getattr(__builtins__, name, None) or __builtins__[name])  # type: ignore[index]


def test_fail_raises_errors_of_wfnb_by_their_names() -> None:
    with pytest.raises(TaskTimeout, match=r"^late$"):
        Fail()("late", "TaskTimeout")


def test_fail_makes_a_type_of_any_other_name() -> None:
    with pytest.raises(Exception, match=r"^no rows$") as caught:
        Fail()("no rows", "EmptyTable")
    assert type(caught.value).__qualname__ == "EmptyTable"
    assert matches(caught.value, ("EmptyTable",))
    with pytest.raises(Exception, match=r"^late$") as caught:
        Fail()("late", "requests.exceptions.Timeout")
    assert type(caught.value).__qualname__ == "Timeout"
    assert kinds_of(caught.value)[0] == "requests.exceptions.Timeout"


@pytest.mark.parametrize("name", ["ValueError", "KeyError", "UnicodeDecodeError", "CaptureError", "Mine", "a.b.Mine"])
def test_errors_made_from_a_name_survive_pickling_with_their_type_text_and_notes(name: str) -> None:
    error = error_type(name)("no 'rows'")
    error.add_note("in the test")
    for again in (pickle.loads(pickle.dumps(error)), cloudpickle.loads(cloudpickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == "no 'rows'"
        assert again.__notes__ == ["in the test"]


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "", "no name"])
def test_fail_refuses_what_would_end_the_process_and_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"a step cannot fail with '{name}'"):
        Fail()("x", name)


def test_fail_raises_what_was_caught_again() -> None:
    error = CaughtError("KeyError", "'a'", "load[3]", 2)
    with pytest.raises(KeyError) as caught:
        Fail()(error=error)
    assert str(caught.value) == "'a'"
    with pytest.raises(KeyError, match=r"^more$"):
        Fail()("more", error=error)


def test_fail_wants_the_error_of_a_catch() -> None:
    with pytest.raises(TypeMismatch, match="'error' = 'KeyError'"):
        call_node(Fail(), (), {"error": "KeyError"}, Context())


def test_a_caught_error_looks_like_json_and_survives_pickling() -> None:
    error = CaughtError("ValueError", 'no "rows"', "load[3]", 2)
    assert str(error) == '{"type": "ValueError", "message": "no \\"rows\\"", "address": "load[3]", "attempts": 2}'
    assert pickle.loads(pickle.dumps(error)) == error


# -- transform -------------------------------------------------------------------------------------------------------


ORDERS = [{"id": 1, "price": 30}, {"id": 2, "price": 0}, {"id": 3, "price": 20}]


def test_transform_changes_each_item_by_an_expression() -> None:
    assert Transform()(ORDERS, map="item.price * 2") == [60, 0, 40]
    assert Transform()(ORDERS, map="{'n': index, 'of': item['id']}") == [{"n": n, "of": n + 1} for n in range(3)]


def test_transform_keeps_the_items_for_which_an_expression_is_true() -> None:
    assert Transform()([3, 0, 2], filter="item") == [3, 2]
    assert Transform()(ORDERS, filter="index > 0 and item.price > 0") == [ORDERS[2]]


def test_transform_sorts_by_an_expression_and_leaves_equals_in_order() -> None:
    assert Transform()(ORDERS, sort="item.price") == [ORDERS[1], ORDERS[2], ORDERS[0]]
    assert Transform()(ORDERS, sort="item.price > 0", reverse=True) == [ORDERS[0], ORDERS[2], ORDERS[1]]


def test_transform_folds_items_into_one_value() -> None:
    assert Transform()(ORDERS, reduce="acc + item.price", initial=0) == 50
    assert Transform()([1, 2, 3], reduce="acc * 10 + item") == 123
    assert Transform()([7, 8], reduce="acc + [index]", initial=[]) == [0, 1]
    assert Transform()([], reduce="acc + item", initial=None) is None


def test_transform_filters_before_it_maps_sorts_and_folds() -> None:
    doing = {"filter": "item > 1", "map": "item * 10", "sort": "-item"}
    assert Transform()([1, 2, 3], **doing) == [30, 20]
    assert Transform()([1, 2, 3], **doing, reduce="acc - item") == 10


def test_transform_counts_the_items_that_are_left() -> None:
    assert Transform()([5, 6, 7], filter="item > 5", map="index") == [0, 1]


def test_transform_may_use_names_it_is_given_and_braces_around_the_expression() -> None:
    assert Transform()([1, 2], map="item * rate", names={"rate": 3}) == [3, 6]
    assert Transform()([1, 2], map="{{ item + 1 }}") == [2, 3]


def test_transform_of_nothing_is_nothing() -> None:
    assert Transform()([], map="item", filter="item", sort="item") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "given nothing to do"),
        ({"map": "item", "reverse": True}, "'reverse' without 'sort'"),
        ({"map": "item", "initial": 0}, "'initial' without 'reduce'"),
        ({"reduce": "acc"}, "cannot reduce an empty list: give 'initial'"),
    ],
)
def test_transform_says_what_is_missing(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Transform()([], **arguments)


@pytest.mark.parametrize("items", ["text", {"a": 1}, 3, None])
def test_transform_wants_a_list(items: Any) -> None:
    with pytest.raises(TypeError, match="node 'transform' needs a list as 'items'"):
        Transform()(items, map="item")


# -- batch and call --------------------------------------------------------------------------------------------------


def test_batch_runs_a_list_through_a_node_in_pieces_and_says_how_far_it_is() -> None:
    ctx, told = context()
    assert call_node(Batch(), ([1, 2, 3, 4, 5], 2, Scale()), {}, ctx) == [2, 4, 6, 8, 10]
    assert told == [(0.4, "2 of 5"), (0.8, "4 of 5"), (1.0, "5 of 5")]


def test_batch_finds_a_node_by_its_name_and_hands_it_its_settings_and_arguments() -> None:
    assert Batch()(range(3), 2, "treble", {"plus": 1}) == [1, 4, 7]
    assert Batch()(range(3), 2, "scale", {"factor": 5, "plus": 1}) == [1, 6, 11]


def test_batch_keeps_what_is_no_list_as_one_item_a_batch() -> None:
    assert Batch()([1, 2, 3], 2, Total()) == [3, 3]
    assert Batch()([], 2, Total()) == []


@pytest.mark.parametrize("size", [0, -1])
def test_batch_wants_at_least_one_item_at_a_time(size: int) -> None:
    with pytest.raises(ValueError, match="give a whole number, 1 or more"):
        Batch()([1], size, Total())


def test_call_calls_a_node_by_its_name_with_the_task_as_its_own() -> None:
    ctx, _ = context(address="call[2]")
    assert call_node(Call(), ("where",), {}, ctx) == "call[2]"
    assert Call()("treble", {"x": [1.0]}) == [3.0]
    assert Call()("call", {"node": "log", "params": {"message": 0}}) == 0


def test_what_is_called_must_be_a_node_or_the_name_of_one() -> None:
    with pytest.raises(ConfigurationError, match="3 is no node: give a node, or the name of a registered one"):
        Call()(3)
    with pytest.raises(ConfigurationError, match="node 'Scale' cannot be made like this: 'factor'"):
        Call()("scale", {"factor": "big"})


def test_without_a_registry_the_built_in_nodes_are_known() -> None:
    find_nodes_with(builtin._builtin)
    assert Call()("log", {"message": 1}) == 1
    with pytest.raises(ConfigurationError, match=r"no node is called 'lug'. Did you mean 'log'\?"):
        Call()("lug")


def test_a_class_of_nodes_is_made_with_the_arguments_that_are_its_settings() -> None:
    node, arguments = prepared(Scale, {"factor": 4, "x": [1]})
    assert isinstance(node, Scale)
    assert (node.params.factor, arguments) == (4, {"x": [1]})
