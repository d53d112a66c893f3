"""The workloads: the same functions and shapes for every contestant."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import wfnb as wf

WIDE, CHAIN, LAYERS, LAYER, PARENTS = 10_000, 1_000, 10, 100, 3
LONG, LONG_SECONDS = 64, 0.5


def same(x: int) -> int:
    return x


def increment(x: int) -> int:
    return x + 1


def add(a: int, b: int, c: int) -> int:
    return a + b + c


def nap(x: int) -> int:
    time.sleep(LONG_SECONDS)
    return x


def parents(seed: int = 7) -> list[list[tuple[int, ...]]]:
    """Each element's three parents in the layer before, layer by layer."""
    rng = random.Random(seed)
    return [[tuple(rng.sample(range(LAYER), PARENTS)) for _ in range(LAYER)] for _ in range(LAYERS - 1)]


# -- plain Python --------------------------------------------------------------------------------------------------


def plain_wide() -> list[int]:
    return [same(x) for x in range(WIDE)]


def plain_chain() -> int:
    x = 0
    for _ in range(CHAIN):
        x = increment(x)
    return x


def plain_layers() -> list[int]:
    row = [same(1) for _ in range(LAYER)]
    for layer in parents():
        row = [add(*(row[i] for i in of)) for of in layer]
    return row


def plain_diamond() -> int:
    a = increment(0)
    return add(increment(a), increment(a), increment(a))


# -- wfnb ----------------------------------------------------------------------------------------------------------

same_node, increment_node, add_node, nap_node = wf.node(same), wf.node(increment), wf.node(add), wf.node(nap)


@wf.workflow
def wide(xs: list) -> list:
    return same_node.map(xs)


@wf.workflow
def chain(x: int = 0) -> int:
    for _ in range(CHAIN):
        x = increment_node(x)
    return x


@wf.workflow
def layers() -> list:
    row = [same_node(1) for _ in range(LAYER)]
    for layer in parents():
        row = [add_node(*(row[i] for i in of)) for of in layer]
    return row


@wf.workflow
def diamond(x: int = 0) -> int:
    a = increment_node(x)
    return add_node(increment_node(a), increment_node(a), increment_node(a))


@wf.workflow
def naps(xs: list) -> list:
    return nap_node.map(xs)


def ours(store: str) -> dict[str, Callable[[], Any]]:
    """The workloads by name, run by wfnb on its local cluster with every step kept in a store."""
    on = {"store": store, "cluster": "local", "view": False}
    xs = list(range(WIDE))
    return {
        "wide map": lambda: wide.options(**on)(xs),
        "chain": lambda: chain.options(**on)(),
        "layers": lambda: layers.options(**on)(),
        "diamond": lambda: diamond.options(**on)(),
        "long tasks": lambda: naps.options(**on)(list(range(LONG))),
    }


# -- Dask by hand --------------------------------------------------------------------------------------------------


def dask_wide(client: Any) -> list[int]:
    return client.gather(client.map(same, range(WIDE), pure=False))


def dask_chain(client: Any) -> int:
    x = client.submit(increment, 0, pure=False)
    for _ in range(CHAIN - 1):
        x = client.submit(increment, x, pure=False)
    return x.result()


def dask_layers(client: Any) -> list[int]:
    import dask

    row = [dask.delayed(same, pure=False)(1) for _ in range(LAYER)]
    for layer in parents():
        row = [dask.delayed(add, pure=False)(*(row[i] for i in of)) for of in layer]
    return list(dask.compute(*row, scheduler=client))


def dask_diamond(client: Any) -> int:
    a = client.submit(increment, 0, pure=False)
    return client.submit(add, *(client.submit(increment, a, pure=False) for _ in range(3)), pure=False).result()


def dask_long(client: Any) -> list[int]:
    return client.gather(client.map(nap, range(LONG), pure=False))
