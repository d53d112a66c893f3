"""What type checkers must see of constructs and of the builder, in a user's words. Never run; see test_typing.py."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import wfnb as wf


@wf.node
def load(path: str) -> list[int]:
    return [len(path)]


@wf.node
def clean(row: int) -> str:
    return str(row)


@wf.node
def score(text: str, place: int) -> float:
    return len(text) + place


@wf.node
def improve(model: float) -> float:
    return model / 2


@wf.node
def alert(message: str) -> None: ...


@wf.node
def cleanup() -> None: ...


@wf.node
def read_rows(path: str) -> Iterator[int]:
    yield len(path)


@wf.node
def plan(path: str) -> Any: ...


@wf.workflow(order="sequence", concurrency={"gpu": 1})
def flow(path: str, kind: str = "csv") -> float:
    rows = load(path)

    # -- a body for each item: its value's type is known
    texts = wf.each(rows, clean, max_concurrency=4)
    assert_type(texts, list[str])
    assert_type(wf.each(rows, lambda row: clean(row)), list[str])
    assert_type(wf.each(texts, score), list[float])
    assert_type(wf.each(texts, lambda text, place: score(text, place), parallel=False), list[float])
    wf.each(rows, score)  # type: ignore[arg-type]

    # -- a loop hands on one type
    model = wf.loop(improve, init=0.5, until=lambda value: value < 0.01, max_iterations=50)
    assert_type(model, float)
    wf.loop(lambda value: improve(value), init=0.5, times=3, id="thrice", retries=2)

    # -- one of several
    chosen = wf.switch(kind, {"csv": lambda: clean(1), "json": cleanup}, default=lambda: None, when=True)
    assert_type(chosen, Any)
    wf.switch([(model > 0.8, lambda: alert("good")), (model > 0.5, lambda: alert("fine"))])
    wf.switch(kind)  # type: ignore[arg-type]

    # -- errors
    assert_type(wf.attempt(lambda: clean(1), finally_=cleanup), str)
    wf.attempt(lambda: clean(1), catch=lambda error: alert(error.message))
    wf.attempt(
        lambda: clean(1), catch={(OSError, TimeoutError): lambda: alert("net"), "Odd": cleanup}, finally_=cleanup
    )
    wf.attempt(lambda: clean(1), catch=lambda error: alert(error.attempts))  # type: ignore[arg-type]

    # -- side by side
    left, right = wf.parallel(lambda: clean(1), lambda: improve(model), max_concurrency=1)
    assert_type(wf.parallel(lambda: clean(1), lambda: clean(2), first=True), str)
    assert_type(wf.sequential(lambda: improve(model)), float)

    # -- streams and plans
    assert_type(wf.stream(read_rows(path), clean, alert, batch=100, buffer=10), list[Any])
    wf.dynamic(plan, path)

    # -- a step may have a condition
    clean.options(when=model > 1, continue_on_error=True)(1)
    alert(f"{left}{right}")
    return model


# -- the builder: every method gives the workflow again

built = (
    wf.Workflow("orders", version="1.0.0", order="sequence", concurrency=4)
    .input("path", str)
    .input("kind", "string", default="csv")
    .then(load, path="{{ input.path }}", id="load", retries=2)
    .map(clean, {"row": "{{ load }}"})
    .expand(score, over={"text": ["a", "b"], "place": [1, 2]})
    .parallel(wf.step(clean, row=1), [wf.step(cleanup), cleanup], max_concurrency=2)
    .sequential(cleanup, cleanup)
    .switch("{{ input.kind }}", {"csv": wf.step(clean, row=1)}, default=cleanup)
    .switch([("{{ clean == 'a' }}", cleanup)])
    .each(
        wf.Steps().then(clean, row="{{ item }}").then(score, text="{{ clean }}", place="{{ index }}"), over="{{ load }}"
    )
    .loop(improve, init=0.5, until="{{ item < 0.1 }}", when="{{ input.kind == 'csv' }}")
    .attempt(cleanup, catch={OSError: alert}, finally_=cleanup)
    .stream(wf.step(read_rows, path="a"), clean, batch=10)
    .dynamic(plan, path="a")
    .workflow(flow, path="{{ input.path }}")
    .set(x=1, y="{{ var.x }}")
    .concurrency({"gpu": 1})
    .output({"loaded": "{{ load }}"})
)
assert_type(built, wf.Workflow[..., Any])
assert_type(flow("a"), float)
assert_type(wf.loads(built.to_yaml()), wf.Workflow[..., Any])
assert_type(built.to_dict(), dict[str, Any])
assert_type(wf.json_schema(), dict[str, Any])
wf.Workflow.from_graph(flow.graph).submit(path="a")

built.then(3)  # type: ignore[arg-type]
built.loop(cleanup, tmes=3)  # type: ignore[call-arg]
wf.Workflow("a", order="any")  # type: ignore[call-overload]
