"""What type checkers must see of the public API. Never run: mypy and pyright read it, see test_typing.py.

A line that must be refused carries an ignore, which both hold to be an error when it is not needed.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

from wfnb.authoring.node import FunctionNode, node
from wfnb.authoring.workflow import workflow
from wfnb.model.node import Context, Node
from wfnb.model.policy import Exponential, Fixed


@node
def load(path: str, sep: str = ",") -> list[int]:
    return [len(path + sep)]


@node(retries=3, backoff=Exponential(2.0), timeout=timedelta(minutes=1), cache=True, priority="high", tags=["ml"])
def train(rows: list[int], depth: int, *, rate: float = 0.1) -> float:
    return len(rows) * depth * rate


@node(checkpoint=False, resources={"GPU": 1}, priority=3, version="2", name="get", retry_on=(OSError,), validate=False)
async def fetch(url: str) -> bytes:
    return url.encode()


@node()
def report(rows: list[int], ctx: Context | None = None) -> None:
    if ctx is not None:
        ctx.progress(1.0, str(rows))


class Scale(Node):
    """A class node."""

    def execute(self, x: float) -> float:
        return 2 * x


# -- a node keeps its function's signature

assert_type(load("a"), list[int])
assert_type(load("a", sep=";"), list[int])
assert_type(train([1], 2, rate=0.5), float)
fetched: Coroutine[Any, Any, bytes] = fetch("u")
assert_type(load.function("a"), list[int])
plain = node(len)
_: FunctionNode[..., int] = plain

load(3)  # type: ignore[arg-type]
load()  # type: ignore[call-arg]
load("a", sap=";")  # type: ignore[call-arg]
train([1], "deep")  # type: ignore[arg-type]
report([1])

# -- fan-outs are lists of what the node returns

assert_type(load.map(["a", "b"]), list[list[int]])
assert_type(train.map([[1]], depth=2), list[float])
assert_type(train.expand(rows=[[1]], depth=[1, 2]), list[float])

# -- options keep the signature, and are checked

assert_type(train.options(retries=2, id="fit", backoff=Fixed(1.0))([1], 2), float)
load.options(retires=2)  # type: ignore[call-arg]
load.options(retries="2")  # type: ignore[arg-type]
load.options(priority="hihg")  # type: ignore[arg-type]
node(retires=2)  # type: ignore[call-overload]

# -- class nodes

scale = Scale()
assert_type(scale.options(retries=1), Scale)
scale(2.0)

# -- workflows


@workflow
def pipeline(path: str, depths: list[int] = [1]) -> float:  # noqa: B006
    rows = load(path)
    scores = train.map(rows, depth=2)
    assert_type(scores, list[float])
    return scores[0]


@workflow(name="outer", version="1.0", tags=["daily"])
def outer(path: str) -> tuple[float, str]:
    return pipeline(path, depths=[2]), path


assert_type(pipeline("a"), float)
assert_type(outer("a"), tuple[float, str])
assert_type(pipeline.options(priority="low", on_error="continue", view=False)("a"), float)
pipeline.submit("a", depths=[1])

pipeline(3)  # type: ignore[arg-type]
pipeline.submit()  # type: ignore[call-arg]
pipeline.submit(pth="a")  # type: ignore[call-arg]
pipeline.options(on_error="ignore")  # type: ignore[arg-type]
workflow(versoin="1")  # type: ignore[call-overload]
