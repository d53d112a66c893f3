"""`wf.switch`, `wf.loop`, `wf.each` and the other constructs in a workflow's function. Imports model, bodies and check.

Each calls its bodies with references, once, to write their steps down; how often a body is run is decided in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import GenericAlias
from typing import Any, Literal, TypeAlias, TypeVar, Unpack, cast, overload

from wfnb.authoring.bodies import BodyWritten, Writing, joined, tracing
from wfnb.authoring.check import element_of, yielded
from wfnb.authoring.options import CATCH_CURE, STEP_OPTIONS, ConstructOptions, error_names, read_options, shown
from wfnb.authoring.ref import Ref, lift
from wfnb.model.caught import CaughtError
from wfnb.model.expr import Const, Expr, StepValue
from wfnb.model.graph import Body, Case, Catch, Dynamic, Each, Loop, Parallel, Sequential, Stream, Switch, Try
from wfnb.model.node import Node
from wfnb.model.policy import POLICY_OPTIONS
from wfnb.model.types import show

T = TypeVar("T")
R = TypeVar("R")

Plain: TypeAlias = Callable[[], Any]
"""A body that is given nothing."""
ErrorTypes: TypeAlias = "type[BaseException] | str | tuple[type[BaseException] | str, ...]"
"""Which errors a catch is for."""


# -- one of several --------------------------------------------------------------------------------------------------


@overload
def switch(
    value: Any, cases: Mapping[Any, Plain], *, default: Plain | None = None, **options: Unpack[ConstructOptions]
) -> Any: ...
@overload
def switch(
    value: Sequence[tuple[Any, Plain]], *, default: Plain | None = None, **options: Unpack[ConstructOptions]
) -> Any: ...
def switch(value: Any, cases: Any = None, *, default: Any = None, **options: Any) -> Any:
    """Run one of several bodies: the case that equals a value, or the first whose condition is true.

    ::

        wf.switch(kind, {"csv": lambda: parse_csv(raw), "json": lambda: parse_json(raw)}, default=lambda: reject(raw))
        wf.switch([(score > 0.8, lambda: accept(x)), (score > 0.5, lambda: review(x))], default=lambda: reject(x))

    Args:
        value: what the cases are compared with; or a list of (condition, body), without `cases`.
        cases: bodies by the value they are for.
        default: what is run when none fits; without it, that is an error of the run.
        options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.

    Returns:
        The value of the body that is run.
    """
    this = Writing("switch", options)
    found: list[BodyWritten] = []
    made: list[Case] = []
    pairs = _cases(this, value, cases)
    for when, body in pairs:
        expr = this.lift(when) if cases is None else Const(when)
        found.append(this.body(body, f"the case {len(made) + 1}" if cases is None else f"the case {show(when)}"))
        made.append(Case(expr, found[-1].body, condition=cases is None))
    if default is not None:
        found.append(this.body(default, "default="))
    last = found[-1].body if default is not None else None
    return this.step(Switch(tuple(made), None if cases is None else this.lift(value), last), *joined(found))


def _cases(this: Writing, value: Any, cases: Any) -> list[tuple[Any, Any]]:
    pairs: list[tuple[Any, Any]] = []
    if cases is None and isinstance(value, (list, tuple)):
        if all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            pairs = list(value)
        else:
            this.problem("is given a list of other things than pairs", "Write it as [(condition, body), ...]")
            return []
    elif isinstance(cases, Mapping):
        pairs = list(cases.items())
    elif isinstance(cases, (list, tuple)):
        this.problem(
            "is given a value and a list of cases",
            "With a value, write the cases as {value: body}; with conditions, leave the value out",
        )
        return []
    else:
        this.problem(
            "is given no cases" if cases is None else f"is given {shown(cases)} as its cases",
            "Write wf.switch(value, {value: body, ...}) or wf.switch([(condition, body), ...])",
        )
        return []
    if not pairs:
        this.problem("has no case", "Give at least one, or leave the switch out")
    return pairs


# -- again and again -------------------------------------------------------------------------------------------------


@overload
def loop(
    body: Callable[[T], T],
    *,
    init: T | None = None,
    until: Callable[[T], Any] | Callable[[T, int], Any] | None = None,
    while_: Callable[[T], Any] | Callable[[T, int], Any] | None = None,
    times: int | None = None,
    max_iterations: int = 1000,
    **options: Unpack[ConstructOptions],
) -> T: ...
@overload
def loop(
    body: Callable[[T, int], T],
    *,
    init: T | None = None,
    until: Callable[[T], Any] | Callable[[T, int], Any] | None = None,
    while_: Callable[[T], Any] | Callable[[T, int], Any] | None = None,
    times: int | None = None,
    max_iterations: int = 1000,
    **options: Unpack[ConstructOptions],
) -> T: ...
@overload
def loop(
    body: Plain,
    *,
    init: Any = None,
    until: Callable[..., Any] | None = None,
    while_: Callable[..., Any] | None = None,
    times: int | None = None,
    max_iterations: int = 1000,
    **options: Unpack[ConstructOptions],
) -> Any: ...
def loop(
    body: Any,
    *,
    init: Any = None,
    until: Any = None,
    while_: Any = None,
    times: Any = None,
    max_iterations: int = 1000,
    **options: Any,
) -> Any:
    """Run a body again and again, handing a value on; say with one of `until`, `while_` and `times` how long.

    ::

        wf.loop(improve, init=model, until=lambda model: error(model) < 0.01, max_iterations=50)

    Args:
        body: called with the value handed on, and with the iteration (from 0) when it needs two arguments.
        init: the value handed on at first.
        until: looked at after each iteration, called with the value it gave; true ends the loop.
        while_: looked at before each iteration, called with the value handed on; false ends the loop.
        times: how many iterations.
        max_iterations: after how many iterations the loop fails, when `until` or `while_` has not ended it.
        options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.

    Returns:
        The value handed on last.
    """
    this = Writing("loop", options)
    given = [name for name, part in (("until=", until), ("while_=", while_), ("times=", times)) if part is not None]
    if len(given) != 1:
        said = f"is given {' and '.join(given)}" if given else "is not told when to end"
        this.problem(said, "Give exactly one of until=, while_= and times=")
    if times is not None and type(times) is not Ref and (isinstance(times, bool) or not isinstance(times, int)):
        this.problem(f"cannot have times={shown(times)}", "Give a whole number or a reference")
        times = 0
    if isinstance(times, int) and times < 0:
        this.problem(f"cannot have times={times}", "Give a whole number, 0 or more, or a reference")
    name = this.item_name(body)
    carried = {"item": Any, "index": int}
    main = this.body(body, "its body", carried, item=name)
    construct = Loop(
        main.body,
        this.lift(init),
        name,
        None if while_ is None else this.body(while_, "while_=", carried, item=name).body,
        None if until is None else this.body(until, "until=", carried, item=name).body,
        None if times is None else this.lift(times),
        this.count("max_iterations", max_iterations) or 1000,
    )
    before = BodyWritten(Body(), Any if type(init) is not Ref else init._annotation)
    return this.step(construct, *joined([main] if until is not None else [main, before]))


@overload
def each(
    over: Iterable[T],
    body: Callable[[T], R],
    *,
    parallel: bool = True,
    max_concurrency: int | None = None,
    max_iterations: int | None = None,
    **options: Unpack[ConstructOptions],
) -> list[R]: ...
@overload
def each(
    over: Iterable[T],
    body: Callable[[T, int], R],
    *,
    parallel: bool = True,
    max_concurrency: int | None = None,
    max_iterations: int | None = None,
    **options: Unpack[ConstructOptions],
) -> list[R]: ...
def each(
    over: Any,
    body: Any,
    *,
    parallel: bool = True,
    max_concurrency: int | None = None,
    max_iterations: int | None = None,
    **options: Any,
) -> Any:
    """Run a body of several steps for each item of a list.

    ::

        wf.each(files, lambda file: store(clean(load(file))), max_concurrency=4)

    Args:
        over: the list.
        body: called with the item, and with its place in the list when it needs two arguments.
        parallel: whether items need not wait for each other; when not, each begins when the one before is over.
        max_concurrency: how many items may be begun and not over.
        max_iterations: how many items there may be; with more the run fails before any body begins.
        options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.

    Returns:
        The list of the bodies' values, in the order of the items.
    """
    this = Writing("each", options)
    over = this.trace.iterable(over, this.called)
    name = this.item_name(body)
    written = this.body(body, "its body", {"item": _item_type(over), "index": int}, item=name)
    construct = Each(
        this.lift(over),
        written.body,
        name,
        parallel,
        this.count("max_concurrency", max_concurrency),
        this.count("max_iterations", max_iterations),
    )
    return this.step(construct, _list_of(written.annotation))


def _item_type(over: Any) -> Any:
    """Return the type of a list's items, or `typing.Any`."""
    if type(over) is Ref:
        return element_of(over._annotation)
    if type(over) is range:
        return int
    kinds = {type(item) for item in over} if type(over) in (list, tuple) else set()
    return kinds.pop() if len(kinds) == 1 and Ref not in kinds else Any


def _list_of(annotation: Any) -> Any:
    return GenericAlias(list, (annotation,))


# -- errors ----------------------------------------------------------------------------------------------------------


@overload
def attempt(body: Callable[[], R], *, finally_: Callable[[], Any], **options: Unpack[ConstructOptions]) -> R: ...
@overload
def attempt(
    body: Plain,
    *,
    catch: Callable[[CaughtError], Any],
    finally_: Plain | None = None,
    **options: Unpack[ConstructOptions],
) -> Any: ...
@overload
def attempt(
    body: Plain,
    *,
    catch: Plain | Mapping[ErrorTypes, Callable[[CaughtError], Any] | Plain],
    finally_: Plain | None = None,
    **options: Unpack[ConstructOptions],
) -> Any: ...
def attempt(body: Any, *, catch: Any = None, finally_: Any = None, **options: Any) -> Any:
    """Run a body, another one when a step of it fails, and a last one whatever happened.

    ::

        wf.attempt(lambda: publish(r), catch=lambda error: alert(error.message), finally_=lambda: cleanup())
        wf.attempt(lambda: fetch(url), catch={(OSError, TimeoutError): lambda error: cached(url)})

    Args:
        body: what is tried.
        catch: what is done about an error; or bodies by the types they are for, the first that fits is run. Called
            with the error, which has `type`, `message`, `address` and `attempts`.
        finally_: what is done last, also when the run fails elsewhere or is cancelled; its value is dropped.
        options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.

    Returns:
        The value of the body, or of the catch that was run.
    """
    this = Writing("attempt", options, stem="try")
    if catch is None and finally_ is None:
        this.problem("is not told what to do about an error", "Give catch= or finally_=, or leave it out")
    found = [this.body(body, "its body")]
    catches: list[Catch] = []
    bodies: list[tuple[Any, Any]] = [] if catch is None else [((), catch)]
    if isinstance(catch, Mapping):
        bodies = list(catch.items())
        if not bodies:
            this.problem("is given an empty catch=", "Write catch={ErrorType: body}, or one body for every error")
    for kinds, function in bodies:
        found.append(this.body(function, "catch=", {"error": CaughtError}))
        try:
            names = error_names(kinds)
        except ValueError as error:
            this.problem(str(error), CATCH_CURE)
            names = ()
        catches.append(Catch(found[-1].body, names))
    last = None if finally_ is None else this.body(finally_, "finally_=").body
    return this.step(Try(found[0].body, tuple(catches), last), *joined(found))


# -- side by side, one after the other -------------------------------------------------------------------------------


@overload
def parallel(
    *branches: Plain,
    max_concurrency: int | None = None,
    first: Literal[False] = False,
    **options: Unpack[ConstructOptions],
) -> list[Any]: ...
@overload
def parallel(
    *branches: Callable[[], R],
    max_concurrency: int | None = None,
    first: Literal[True],
    **options: Unpack[ConstructOptions],
) -> R: ...
def parallel(*branches: Any, max_concurrency: int | None = None, first: bool = False, **options: Any) -> Any:
    """Run several bodies at once.

    ::

        left, right = wf.parallel(lambda: count(rows), lambda: mean(rows))
        fastest = wf.parallel(lambda: ask(mirror_1), lambda: ask(mirror_2), first=True)

    Args:
        branches: the bodies.
        max_concurrency: how many may be begun and not over.
        first: whether the first that is over gives the value, and ends the others.
        options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.

    Returns:
        The list of their values, in the order they are written; with `first` the value of the first that is over.
    """
    this = Writing("parallel", options)
    if first and not branches:
        this.problem("has no branch to be the first", "Give at least one")
    # What is inside is seen after it, so ids are those around it; with `first`, only the branches' among themselves.
    lot = this.trace.body(this.id, this.called) if first else this.trace
    found = [this.body(branch, f"branch {n}", lot=lot) for n, branch in enumerate(branches, 1)]
    construct = Parallel(tuple(one.body for one in found), this.count("max_concurrency", max_concurrency), first)
    annotation, length = joined(found)
    return this.step(construct, annotation, length) if first else this.step(construct, _list_of(annotation), len(found))


def sequential(body: Callable[[], R], **options: Unpack[ConstructOptions]) -> R:
    """Run the steps of a body one after the other, in the order they are written, whatever they use.

    Args:
        body: the body.
        options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.

    Returns:
        The body's value.
    """
    this = Writing("sequential", options)
    found = this.body(body, "its body", lot=this.trace)
    return cast(R, this.step(Sequential(found.body), found.annotation, found.length))


# -- streams and plans -----------------------------------------------------------------------------------------------


def stream(
    source: Any,
    *stages: Callable[..., Any],
    batch: int = 1,
    buffer: int = 10,
    **options: Unpack[ConstructOptions],
) -> list[Any]:
    """Take items from a generator one by one, and each through the stages while the generator goes on.

    ::

        wf.stream(read_rows(path), clean, enrich, batch=100, buffer=10)

    Args:
        source: a call of a node whose function is a generator.
        stages: what is done with each item, one after the other: nodes, workflows or lambdas that are given the value
            of the one before; the first also the item's place when it needs two arguments.
        batch: how many items are taken at a time.
        buffer: how many batches may be taken and not over; then the generator waits.
        options: `id`, `name`, `when`, `continue_on_error`, and options of `wf.node` for the steps inside.

    Returns:
        The list of what the last stage gave, in the order of the items.
    """
    this = Writing("stream", dict(options))
    step = this.trace.taken(source)
    first = stages[0] if stages else None
    name = this.item_name(first)
    kind = Any if step is None else yielded(step.node.ports.returns)
    given = {"item": kind, "index": int}
    found = this.body(first, "a stage", given, item=name, then=stages[1:])
    size, most = this.count("batch", batch) or 1, this.count("buffer", buffer) or 1
    if step is None:
        this.problem(
            "does not begin with a call of a generator",
            "Write wf.stream(read_rows(path), stage, ...), where read_rows is a node whose function yields; "
            "for the items of a list use wf.each",
        )
        return cast(list[Any], Ref(Const(None), Any, this.trace))
    return cast(list[Any], this.step(Stream(step, found.body, size, most, name), _list_of(found.annotation)))


def dynamic(node: Node, /, *args: Any, **kwargs: Any) -> Any:
    """Run the steps that a node decides on: it returns a workflow or a definition, which is run in its place.

    Args:
        node: the node that plans.
        args: what it is given by position.
        kwargs: what it is given by name. What it has no parameter for may be an option: `id`, `name`, `when`,
            `continue_on_error` and options of `wf.node`.

    Returns:
        The value of the workflow it returns.
    """
    trace = tracing("wf.dynamic")
    if not isinstance(node, Node) or node.ports.generator:
        trace.complain(f"wf.dynamic is given {shown(node)}", "Give a node (@wf.node) that returns a workflow")
        return Ref(Const(None), Any, trace)
    names = node.ports.parameters
    options = {
        key: value for key, value in kwargs.items() if key not in names and key in (*STEP_OPTIONS, *POLICY_OPTIONS)
    }
    _, told = read_options(options, "wf.dynamic")
    policy = {key: value for key, value in options.items() if key in (*POLICY_OPTIONS, "id")}
    planner = node.options(**policy) if policy else node
    rest = {key: value for key, value in kwargs.items() if key not in options}
    step = trace.step_of(planner, "task", args, rest)
    when: Expr | None = lift(told["when"], trace) if "when" in told else step.when
    trace.steps.append(
        replace(
            step,
            construct=Dynamic(),
            when=when,
            continue_on_error=told.get("continue_on_error", step.continue_on_error),
            title=told.get("name", ""),
        )
    )
    return Ref(StepValue(step.id), Any, trace)
