"""A node is called the same way everywhere: hooks in order, values checked, the context given, coroutines awaited."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle
import pytest
from pydantic import Field

from wfnb.authoring.node import node
from wfnb.model.errors import TypeMismatch
from wfnb.model.lifecycle import call_node
from wfnb.model.node import Context, Node

CONTEXT = Context(run_id="r", address="a[3]")


class Recording(Node):
    """Notes every hook; fails in the one it is told to."""

    class Params(Node.Params):
        said: list[str] = Field(default_factory=list)
        fail: tuple[str, ...] = ()

    opened = False

    def _say(self, hook: str) -> None:
        self.params.said.append(hook)
        if hook in self.params.fail:
            raise RuntimeError(hook)

    def validate_input(self, inputs: Mapping[str, Any]) -> None:
        self._say(f"validate_input {dict(inputs)}")

    def prepare(self, context: Context) -> None:
        assert not self.opened, "two attempts share what prepare() opens"
        self.opened = True
        self._say(f"prepare {context.address}")

    def execute(self, x: int, y: int = 2, *rest: int, **more: int) -> int:
        self._say("execute")
        return x + y

    def validate_output(self, value: Any) -> None:
        self._say(f"validate_output {value}")

    def cleanup(self) -> None:
        self._say("cleanup")


ORDER = ["validate_input {'x': 1, 'y': 2}", "prepare a[3]", "execute", "validate_output 3", "cleanup"]


def test_the_hooks_run_in_order() -> None:
    recording = Recording()
    assert call_node(recording, (1,), {}, CONTEXT) == 3
    assert recording.params.said == ORDER


@pytest.mark.parametrize("at", range(4))
def test_cleanup_runs_also_after_a_failure_anywhere(at: int) -> None:
    recording = Recording(fail=(ORDER[at],))
    with pytest.raises(RuntimeError, match=ORDER[at].split()[0]):
        call_node(recording, (1,), {}, CONTEXT)
    assert recording.params.said == [*ORDER[: at + 1], "cleanup"]


def test_the_first_error_is_kept_when_cleanup_fails_too() -> None:
    recording = Recording(fail=("execute", "cleanup"))
    with pytest.raises(RuntimeError, match="execute") as caught:
        call_node(recording, (1,), {}, CONTEXT)
    assert caught.value.__notes__ == ["then cleanup() of node 'Recording' failed: RuntimeError: cleanup"]


def test_an_error_of_cleanup_alone_is_raised() -> None:
    with pytest.raises(RuntimeError, match="cleanup"):
        call_node(Recording(fail=("cleanup",)), (1,), {}, CONTEXT)


def test_each_attempt_has_its_own_state() -> None:
    recording = Recording()
    assert [call_node(recording, (n,), {}, CONTEXT) for n in range(3)] == [2, 3, 4]
    assert not recording.opened


def test_inputs_are_validated_by_name_with_defaults_and_the_rest() -> None:
    recording = Recording()
    call_node(recording, (1, 5, 6, 7), {"z": 8}, CONTEXT)
    assert recording.params.said[0] == "validate_input {'x': 1, 'y': 5, 'rest': (6, 7), 'z': 8}"


def test_the_hooks_of_a_class_from_a_notebook_run_on_a_worker_too() -> None:
    class Local(Node):
        def prepare(self, context: Context) -> None:
            self.address = context.address

        def execute(self, x: int) -> str:
            return f"{x} {self.address}"

    again = cloudpickle.loads(cloudpickle.dumps(Local()))  # a local class travels by value, as one of a notebook does
    assert call_node(again, (1,), {}, CONTEXT) == "1 a[3]"


# -- context ---------------------------------------------------------------------------------------------------------


def test_the_context_of_the_task_is_given() -> None:
    @node
    def body(x: int, ctx: Context) -> str:
        return f"{x} {ctx.address}"

    assert call_node(body, (1,), {}, CONTEXT) == "1 a[3]"
    assert call_node(body, (), {"x": 1}, CONTEXT) == "1 a[3]"


def test_a_context_in_front_is_given() -> None:
    @node
    def body(ctx: Context, x: int) -> str:
        return f"{x} {ctx.address}"

    assert call_node(body, (1,), {}, CONTEXT) == "1 a[3]"
    assert call_node(body, (Context(address="mine"), 1), {}, CONTEXT) == "1 mine"
    with pytest.raises(TypeMismatch, match="'x' = 'q'"):
        call_node(body, (Context(), "q"), {}, CONTEXT)


def test_a_class_node_may_ask_for_the_context() -> None:
    class Body(Node):
        def execute(self, x: int, ctx: Context) -> str:
            return f"{x} {ctx.address}"

    assert call_node(Body(), (1,), {}, CONTEXT) == "1 a[3]"


# -- checks ----------------------------------------------------------------------------------------------------------


@node
def train(df: dict[str, int], depth: int, *more: int, rate: float = 0.1, **others: str) -> float:
    return depth * rate if depth >= 0 else "bad"  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        (({}, "x"), {}, "node 'train' got 'depth' = 'x' (str); its annotation says int"),
        (({},), {"depth": "x"}, "node 'train' got 'depth' = 'x' (str); its annotation says int"),
        (
            ({"a": "x"}, 1),
            {},
            "node 'train' got 'df' = {'a': 'x'} (dict) with ['a'] = 'x' (str); its annotation says dict[str, int]",
        ),
        (({}, 1, 2, "x"), {}, "node 'train' got 'more' = 'x' (str); its annotation says int"),
        (({}, 1), {"rate": "x"}, "node 'train' got 'rate' = 'x' (str); its annotation says float"),
        (({}, 1), {"other": 1}, "node 'train' got 'other' = 1 (int); its annotation says str"),
        (({}, -1), {}, "node 'train' returned 'bad' (str); its annotation says float"),
    ],
)
def test_a_value_that_does_not_fit_is_named(args: tuple[Any, ...], kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeMismatch) as caught:
        call_node(train, args, kwargs, CONTEXT)
    assert str(caught.value) == says
    assert isinstance(caught.value, TypeError)
    assert caught.value.node == "train"


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(TypeMismatch) as caught:
        call_node(train, ({}, "x" * 1000), {}, CONTEXT)
    assert len(str(caught.value)) < 150


def test_a_node_without_validation_checks_nothing() -> None:
    assert call_node(train.options(validate=False), ({}, -1), {}, CONTEXT) == "bad"


def test_a_class_node_is_checked_too() -> None:
    class Body(Node):
        def execute(self, x: int) -> str:
            return "a" if x else 3  # type: ignore[return-value]

    assert call_node(Body(), (1,), {}, CONTEXT) == "a"
    with pytest.raises(TypeMismatch, match="node 'Body' got 'x' = 'q'"):
        call_node(Body(), ("q",), {}, CONTEXT)
    with pytest.raises(TypeMismatch, match="node 'Body' returned 3"):
        call_node(Body(), (0,), {}, CONTEXT)


# -- coroutines ------------------------------------------------------------------------------------------------------


@node
async def fetch(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


def test_an_asynchronous_body_is_run_to_its_end() -> None:
    assert call_node(fetch, (1,), {}, CONTEXT) == 2


def test_an_asynchronous_body_runs_also_where_a_loop_is_running() -> None:
    async def main() -> tuple[int, int]:
        before = threading.active_count()
        value = call_node(fetch, (1,), {}, CONTEXT)
        return value, threading.active_count() - before

    assert asyncio.run(main()) == (2, 0)


def test_an_asynchronous_bodys_value_is_checked() -> None:
    @node
    async def wrong() -> int:
        return "x"  # type: ignore[return-value]

    with pytest.raises(TypeMismatch, match="returned 'x'"):
        call_node(wrong, (), {}, CONTEXT)


def test_an_asynchronous_class_node_runs() -> None:
    class Body(Node):
        async def execute(self, x: int) -> int:
            return x + 1

        def cleanup(self) -> None: ...

    assert call_node(Body(), (1,), {}, CONTEXT) == 2
    assert Body()(1) == 2


# -- cost ------------------------------------------------------------------------------------------------------------


def test_a_call_costs_microseconds() -> None:
    def seconds(call: Callable[[], Any]) -> float:
        started = time.perf_counter()
        for _ in range(5_000):
            call()
        return (time.perf_counter() - started) / 5_000

    inc = node(lambda x: x + 1)
    assert min(seconds(lambda: call_node(inc, (1,), {}, CONTEXT)) for _ in range(3)) < 20e-6
