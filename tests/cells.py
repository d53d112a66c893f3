"""A notebook of cells with sources, and a workflow of five steps, for tests of what is told about edited code."""

from __future__ import annotations

import linecache
import textwrap
import uuid
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from wfnb.session import SESSION

_NUMBERS = count()


class Cells:
    """A notebook whose cells have sources, as IPython's do."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "wf": wf}

    def __call__(self, text: str) -> None:
        text = textwrap.dedent(text)
        name = f"<explained {next(_NUMBERS)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), self.names)

    def run(self, *args: Any, flow: str = "flow", ok: bool = True, **options: Any) -> Any:
        run = self.names[flow].options(view=False, **options).submit(*args)
        if ok:
            run.result(30)
        else:
            with pytest.raises(wf.RunError):
                run.result(30)
        return run


def alone(patch: pytest.MonkeyPatch, folder: Path, store: str = "") -> str:
    """Give the session an empty store, in memory unless one is named, and let it compute in this process.

    Args:
        patch: undoes it after the test.
        folder: for the user's data.
        store: the store's URL.

    Returns:
        The store's URL.
    """
    store = store or f"memory://{uuid.uuid4().hex}"
    patch.setenv("WFNB_DATA_DIR", str(folder / "data"))
    for name in ("WFNB_STORE", "WFNB_CLUSTER", "WFNB_SECRET_KEY"):
        patch.delenv(name, raising=False)
    patch.setattr(SESSION, "_store", None)
    patch.setattr(SESSION._clusters, "_configured", None)
    wf.configure(store=store, cluster="inline")
    return store


START = """
SCALE = 2

def clean(x):
    return x * SCALE

@wf.node
def load(n: int) -> list:
    return list(range(n))

@wf.node(cache=True)
def train(x):
    return clean(x)

@wf.node
def best(xs):
    return max(xs)

@wf.node
def publish(x):
    raise ValueError("no")

@wf.workflow
def flow(n: int = 3):
    return publish(best(train.map(load(n))))

@wf.workflow
def known(n: int = 3):
    return train.map(list(range(4)))
"""
GOOD = """
    @wf.node
    def publish(x):
        return x
"""
