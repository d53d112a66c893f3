"""Code that reaches what can change is loaded anew for each run; other code need not be."""

from __future__ import annotations

import collections
import math
import random
import types
from collections.abc import Callable
from typing import Any

import pytest

import wfnb as wf
from wfnb.authoring.stateless import leaves_nothing

FACTOR = 2
NAMES = ("a", ("b", None))


def foreign(function: Callable[..., Any], **space: Any) -> Callable[..., Any]:
    """Return a function as one that was sent is: its module does not know it, and its globals are its own."""
    made = types.FunctionType(function.__code__, {**space, "__builtins__": __builtins__}, "sent")
    made.__module__, made.__qualname__ = "somewhere", "sent"
    made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return made


def scaled(x: int, by: int = 2) -> float:
    return math.sqrt(x) * FACTOR * by + len(NAMES)


def drawn(x: int) -> float:
    return x * generator.random()  # type: ignore[name-defined]  # noqa: F821


def listed(x: int, xs: list[int] = []) -> list[int]:  # noqa: B006
    return [*xs, x]


def counted(x: int) -> int:
    global FACTOR
    FACTOR += x
    return FACTOR


def marked(x: int) -> int:
    marked.last = x  # type: ignore[attr-defined]
    return x


def helped(x: int) -> Any:
    return helper(x)  # type: ignore[name-defined]  # noqa: F821


class Own:
    pass


Own.__module__ = "somewhere"


def test_constants_modules_and_functions_that_reach_nothing_else_may_be_used_again() -> None:
    assert leaves_nothing(wf.node(foreign(scaled, math=math, FACTOR=2, NAMES=NAMES)))
    helper = foreign(scaled, math=math, FACTOR=2, NAMES=NAMES)
    assert leaves_nothing(wf.node(foreign(helped, helper=helper)))
    assert leaves_nothing(wf.node(foreign(helped, helper=wf.node(helper))))
    assert leaves_nothing(wf.node(foreign(helped, helper=collections.OrderedDict)))
    assert leaves_nothing(wf.node(foreign(helped, helper=math.sqrt)))


@pytest.mark.parametrize(
    "function",
    [
        foreign(drawn, generator=random.Random(5)),
        foreign(listed),
        foreign(counted, FACTOR=1),
        foreign(marked),
        foreign(helped, helper=foreign(listed)),
        foreign(helped, helper=Own),
        foreign(helped, helper=Own()),
        foreign(helped, helper={}),
        foreign(helped, helper=([],)),
    ],
)
def test_what_reaches_things_that_can_change_may_not(function: Callable[..., Any]) -> None:
    assert not leaves_nothing(wf.node(function))


def test_variables_around_a_function_count_too() -> None:
    def around(thing: Any) -> Callable[[int], Any]:
        def inner(x: int) -> Any:
            return thing, x

        inner.__module__, inner.__qualname__ = "somewhere", "inner"
        return inner

    assert leaves_nothing(wf.node(around(1)))
    assert not leaves_nothing(wf.node(around([])))


def test_a_node_of_a_class_of_the_users_may_keep_something() -> None:
    class Kept(wf.Node):
        def execute(self, x: int) -> int:
            return x

    assert not leaves_nothing(Kept())
    assert leaves_nothing(wf.nodes.delay)
