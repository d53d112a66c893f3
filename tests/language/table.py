"""The table: each construct as a person writes it around a body, and what it makes of that body by `LANGUAGE.md`.

`write` is the construct around a body; `mean` says by hand what comes of it: the value or the failure, the addresses of
the tasks that are called, and of those that are called also when the run is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import wfnb as wf
from tests.language.nodes import (
    boom,
    both,
    caught,
    late,
    leaf,
    mark,
    never,
    pair,
    plan,
    some,
    up,
    wrap,
)

# -- what comes of a body ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failed:
    """A body failed: with an error of this type, at one of these addresses (several fail at once)."""

    kind: str
    at: frozenset[str]
    attempts: int = 1


class OneOf:
    """Equal to each of several values."""

    def __init__(self, values: frozenset[str]) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return other in self.values

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"one of {sorted(self.values)}"


Outcome = Any
"""A value, or Failed."""


@dataclass
class World:
    """What a run does, as told by hand.

    Args:
        fails: whether the leaf fails: always, for none, or for odd numbers.
        called: addresses that are called, or may be before the run ends.
        finallys: what is called in the end of each try that has begun, whatever happened, by the try's address.
        leaves: addresses of leaves.
    """

    fails: bool | str = False
    called: list[str] = field(default_factory=list)
    finallys: dict[str, list[str]] = field(default_factory=dict)
    leaves: set[str] = field(default_factory=set)

    def failing(self, x: int) -> bool:
        return x % 2 == 1 if self.fails == "odd" else bool(self.fails)

    def call(self, address: str) -> None:
        self.called.append(address)


Meaning = Callable[[str, Any], Outcome]
"""What a body is, called with the address it is at and what it is given."""
Body = Callable[[Any], Any]
"""A body as it is written, called with what it is given."""


@dataclass(frozen=True)
class Template:
    """One construct.

    Args:
        write: writes it: called with its id, what it is given and its body.
        mean: what it means: called with the world, where it is, its id, what it is given and what its body means.
    """

    write: Callable[[str, Any, Body], Any]
    mean: Callable[[World, str, str, int, Meaning], Outcome]


def all_of(*found: Outcome) -> Outcome:
    """What comes of bodies that run at once: their values, or the failure of one of those that fail."""
    failed = [one for one in found if isinstance(one, Failed)]
    if failed:
        return Failed(failed[0].kind, frozenset().union(*(one.at for one in failed)), failed[0].attempts)
    return list(found)


# -- the leaf ----------------------------------------------------------------------------------------------------------


def write_leaf(x: Any) -> Any:
    return leaf.options(id="leaf")(x)


def mean_leaf(world: World, at: str, x: int) -> Outcome:
    world.call(f"{at}leaf")
    world.leaves.add(f"{at}leaf")
    return Failed("ValueError", frozenset([f"{at}leaf"])) if world.failing(x) else 100 + x


# -- the constructs ----------------------------------------------------------------------------------------------------


def write_sequential(n: str, x: Any, body: Body) -> Any:
    return wf.sequential(lambda: body(up.options(id=f"{n}_up")(x)), id=n)


def mean_sequential(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    world.call(f"{at}{n}/{n}_up")
    return body(f"{at}{n}/", x + 1)


def write_parallel(n: str, x: Any, body: Body) -> Any:
    return wf.parallel(lambda: body(x), lambda: up.options(id=f"{n}_up")(x), id=n)


def mean_parallel(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    world.call(f"{at}{n}/{n}_up")
    return all_of(body(f"{at}{n}/", x), x + 1)


def write_first(n: str, x: Any, body: Body) -> Any:
    return wf.parallel(lambda: body(x), lambda: late.options(id=f"{n}_late")(x), first=True, max_concurrency=1, id=n)


def mean_first(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    found = body(f"{at}{n}/", x)
    if not isinstance(found, Failed):
        return found
    world.call(f"{at}{n}/{n}_late")
    return ["late", x]


def write_map(n: str, x: Any, body: Body) -> Any:
    if body is write_leaf:
        return leaf.options(id=n).map([x, x + 1])
    return wrap.options(id=n).map([body(x), x])


def mean_map(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    found = body(at, x)
    if isinstance(found, Failed):
        return found
    world.call(f"{at}{n}[0]")
    world.call(f"{at}{n}[1]")
    return [["wrap", found], ["wrap", x]]


def mean_map_of_leaves(world: World, at: str, n: str, x: int, _: Meaning) -> Outcome:
    world.call(f"{at}{n}[0]")
    world.call(f"{at}{n}[1]")
    world.leaves |= {f"{at}{n}[0]", f"{at}{n}[1]"}
    one, two = (
        Failed("ValueError", frozenset([f"{at}{n}[{k}]"])) if world.failing(x + k) else 100 + x + k for k in (0, 1)
    )
    return all_of(one, two)


def write_each(n: str, x: Any, body: Body) -> Any:
    return wf.each(pair.options(id=f"{n}_pair")(x), lambda item: body(item), id=n)


def mean_each(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    world.call(f"{at}{n}_pair")
    return all_of(body(f"{at}{n}[0]/", x), body(f"{at}{n}[1]/", x + 1))


def write_in_order(n: str, x: Any, body: Body) -> Any:
    return wf.each([x, x + 1], lambda item: body(item), parallel=False, id=n)


def mean_in_order(_: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    first = body(f"{at}{n}[0]/", x)
    return first if isinstance(first, Failed) else all_of(first, body(f"{at}{n}[1]/", x + 1))


def write_until(n: str, x: Any, body: Body) -> Any:
    join = both.options(id=f"{n}_both")
    return wf.loop(lambda c, k: join(c, body(x + k)), init=x, until=lambda c, k: k >= 1, id=n)


def write_while(n: str, x: Any, body: Body) -> Any:
    join = both.options(id=f"{n}_both")
    return wf.loop(lambda c, k: join(c, body(x + k)), init=x, while_=lambda c, k: k < 2, id=n)


def write_times(n: str, x: Any, body: Body) -> Any:
    join = both.options(id=f"{n}_both")
    return wf.loop(lambda c, k: join(c, body(x + k)), init=x, times=2, id=n)


def mean_loop(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    carried: Any = x
    for k in (0, 1):
        found = body(f"{at}{n}.{k}/", x + k)
        if isinstance(found, Failed):
            return found
        world.call(f"{at}{n}.{k}/{n}_both")
        carried = [carried, found]
    return carried


def write_switch(n: str, x: Any, body: Body) -> Any:
    return wf.switch(
        x % 2,
        {0: lambda: body(x), 7: lambda: never.options(id=f"{n}_never")()},
        default=lambda: body(x + 10),
        id=n,
    )


def mean_switch(_: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    return body(f"{at}{n}.case/", x) if x % 2 == 0 else body(f"{at}{n}.default/", x + 10)


def write_conditions(n: str, x: Any, body: Body) -> Any:
    return wf.switch(
        [
            (x > 1000, lambda: never.options(id=f"{n}_never")()),
            (x >= 0, lambda: body(x)),
            (x >= -1, lambda: never.options(id=f"{n}_never")()),
        ],
        id=n,
    )


def mean_conditions(_: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    return body(f"{at}{n}.case_1/", x)


def write_try(n: str, x: Any, body: Body) -> Any:
    return wf.attempt(
        lambda: body(x),
        catch={
            OSError: lambda error: never.options(id=f"{n}_never")(),
            ArithmeticError: lambda error: never.options(id=f"{n}_never")(),
            Exception: lambda error: caught.options(id=f"{n}_caught")(error.type, error.address, error.attempts),
        },
        id=n,
    )


def mean_try(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    found = body(f"{at}{n}.try/", x)
    if not isinstance(found, Failed):
        return found
    world.call(f"{at}{n}.catch_2/{n}_caught")
    return ["caught", found.kind, OneOf(found.at), found.attempts]


def write_catch(n: str, x: Any, body: Body) -> Any:
    return wf.attempt(lambda: boom.options(id=f"{n}_boom")(x), catch=lambda: body(x), id=n)


def mean_catch(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    world.call(f"{at}{n}.try/{n}_boom")
    return body(f"{at}{n}.catch/", x)


def write_before_finally(n: str, x: Any, body: Body) -> Any:
    return wf.attempt(lambda: body(x), finally_=lambda: mark.options(id=f"{n}_mark")(x), id=n)


def mean_before_finally(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    found = body(f"{at}{n}.try/", x)
    world.call(f"{at}{n}.finally/{n}_mark")
    world.finallys[f"{at}{n}"] = [f"{at}{n}.finally/{n}_mark"]
    return found


def write_finally(n: str, x: Any, body: Body) -> Any:
    return wf.attempt(lambda: up.options(id=f"{n}_up")(x), finally_=lambda: body(x), id=n)


def mean_finally(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    world.call(f"{at}{n}.try/{n}_up")
    before = len(world.called)
    found = body(f"{at}{n}.finally/", x)
    world.finallys[f"{at}{n}"] = world.called[before:]
    return found if isinstance(found, Failed) else x + 1


def write_stream(n: str, x: Any, body: Body) -> Any:
    return wf.stream(some(x), lambda item: body(item), batch=2, buffer=1, id=n)


def mean_stream(_: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    return all_of(*(body(f"{at}{n}[{k}]/", x + k) for k in (0, 1, 2)))


PLANS: dict[str, Body] = {}
"""Bodies that planners put into the workflows they plan."""
NEST: list[tuple[str, ...]] = [()]
"""The nest that is written down."""
IDS = ("out", "in", "low", "deep")
"""The ids of its constructs, from the outermost."""


def write_dynamic(n: str, x: Any, body: Body) -> Any:
    key = "|".join((*NEST[0], n))
    PLANS[key] = body
    return wf.dynamic(plan, key, x, id=n)


def planned(key: str, x: int) -> Any:
    if key not in PLANS:  # in another process
        *names, _ = key.split("|")
        write_nest(*names).validate()

    @wf.workflow(name="planned")
    def flow() -> Any:
        return PLANS[key](x)

    return flow


def mean_dynamic(world: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    world.call(f"{at}{n}.plan")
    return body(f"{at}{n}/", x)


def write_workflow(n: str, x: Any, body: Body) -> Any:
    @wf.workflow(name=n)
    def inner(y: int) -> Any:
        return body(y)

    return inner(x)


def mean_workflow(_: World, at: str, n: str, x: int, body: Meaning) -> Outcome:
    return body(f"{at}{n}/", x)


TABLE = {
    "sequential": Template(write_sequential, mean_sequential),
    "parallel": Template(write_parallel, mean_parallel),
    "first": Template(write_first, mean_first),
    "map": Template(write_map, mean_map),
    "each": Template(write_each, mean_each),
    "each in order": Template(write_in_order, mean_in_order),
    "loop until": Template(write_until, mean_loop),
    "loop while": Template(write_while, mean_loop),
    "loop times": Template(write_times, mean_loop),
    "switch": Template(write_switch, mean_switch),
    "conditions": Template(write_conditions, mean_conditions),
    "try": Template(write_try, mean_try),
    "catch": Template(write_catch, mean_catch),
    "before finally": Template(write_before_finally, mean_before_finally),
    "finally": Template(write_finally, mean_finally),
    "stream": Template(write_stream, mean_stream),
    "dynamic": Template(write_dynamic, mean_dynamic),
    "workflow": Template(write_workflow, mean_workflow),
}
INNERMOST = {**TABLE, "map": Template(write_map, mean_map_of_leaves)}
"""The same around a leaf: a map calls it once an element."""
GIVEN = 4
"""What the outer construct is given."""


def write_nest(*names: str) -> wf.Workflow[..., Any]:
    """Return the workflow of constructs in one another, the outermost first."""
    name = " of ".join(names).replace(" ", "_")

    def body(depth: int) -> Body:
        if depth == len(names):
            return write_leaf
        write = (INNERMOST if depth == len(names) - 1 else TABLE)[names[depth]].write
        return lambda x: write(IDS[depth], x, body(depth + 1))

    @wf.workflow(name=name)
    def flow(x: int) -> Any:
        NEST[0] = names
        return body(0)(x)

    return flow


def mean_nest(*names: str, fails: bool | str = False) -> tuple[Outcome, World]:
    """Return what the workflow of constructs in one another means."""
    world = World(fails)

    def body(depth: int) -> Meaning:
        if depth == len(names):
            return lambda at, x: mean_leaf(world, at, x)
        mean = (INNERMOST if depth == len(names) - 1 else TABLE)[names[depth]].mean
        return lambda at, x: mean(world, at, IDS[depth], x, body(depth + 1))

    return body(0)("", GIVEN), world
