"""How long a cancel takes, by what runs: `python -m benchmarks.cancel [how ...]` prints seconds and what ended it.

Each is cancelled while 40 short tasks run beside it, on a local cluster of two workers with a thread each; the time is
from `run.cancel()` until `run.result()` says so.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import wfnb as wf
from wfnb.dask.local import LocalCluster


@wf.node
def hold(how: str, path: str, ctx: wf.Context) -> str:
    Path(path).touch()
    if how == "token":
        while not ctx.cancelled:
            time.sleep(0.01)
    elif how == "loop":
        while True:
            pass
    elif how == "sleep":
        time.sleep(60)
    elif how == "command":
        subprocess.run(["sleep", "60"], check=True)
    elif how == "numpy":
        import numpy as np

        np.linalg.svd(np.random.default_rng(0).random((4000, 4000)))
    elif how == "power":
        return str(3 ** (3**19) % 7)
    elif how == "regex":
        re.match(r"(a+)+$", "a" * 45 + "b")
    return how


@wf.node
def short(i: int) -> int:
    time.sleep(0.05)
    return i


@wf.workflow
def flow(how: str, path: str, n: list[int]) -> list[Any]:
    return [hold(how, path), short.map(n)]


def main() -> None:
    from distributed import Client

    with tempfile.TemporaryDirectory() as folder:
        wf.configure(store=f"sqlite:///{folder}/runs.db")
        cluster = LocalCluster(workers=2, threads=1)
        with contextlib.closing(cluster), Client(cluster.wait(), set_as_default=False) as client:
            wf.configure(cluster=client)
            for how in sys.argv[1:] or ["token", "loop", "sleep", "command", "numpy", "power", "regex"]:
                begun = Path(folder) / how
                run = flow.submit(how, str(begun), list(range(40)))
                while not begun.exists():
                    time.sleep(0.01)
                time.sleep(2.0)  # it is well inside of what it does
                start = time.monotonic()
                run.cancel()
                with contextlib.suppress(wf.RunCancelled):
                    run.result(60)
                took = time.monotonic() - start
                print(f"{how:10} {took:5.2f} s  {run['hold'].attempts[-1].stopped}")
                client.wait_for_workers(2, timeout=60)


if __name__ == "__main__":
    main()
