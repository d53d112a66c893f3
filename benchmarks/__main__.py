"""Runs every workload with every contestant, alternating, and prints medians and ratios; also as JSON.

    python -m benchmarks [--runs 5] [--only "wide map" ...] [--no-long]

Durable and traced means: every task's value and record acknowledged by the store before it counts. Dask by hand keeps
nothing. One machine, one run, two clusters of the same shape; each contestant warms up once before it is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import workloads as w

UNITS = {"wide map": w.WIDE, "chain": w.CHAIN, "layers": w.LAYERS * w.LAYER, "diamond": 1, "long tasks": 1}
UNIT_NAMES = {"wide map": "µs/element", "chain": "µs/step", "layers": "µs/step", "diamond": "ms", "long tasks": "s"}
SCALE = {"µs/element": 1e6, "µs/step": 1e6, "ms": 1e3, "s": 1.0}

_COLD = """
import time; began = time.perf_counter()
import wfnb as wf
imported = time.perf_counter() - began
import sys
loaded = sorted({"dask", "redis", "pandas", "numpy", "anywidget"} & set(sys.modules))
@wf.node
def one(x: int) -> int: return x + 1
@wf.workflow
def flow(x: int = 1) -> int: return one(one(x))
value = flow.options(view=False)()
import json; print(json.dumps({"import": imported, "first": time.perf_counter() - began, "loaded": loaded}))
"""


SETTLE = 0.5
"""Seconds between two measurements: what one leaves to be cleaned up must not be charged to the next."""


def timed(call: Callable[[], Any]) -> float:
    gc.collect()
    time.sleep(SETTLE)
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(contestants: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Time each contestant `runs` times, one after the other and round again, so that a busy moment hits them all."""
    expected = {name: call() for name, call in contestants.items()}
    values = [list(value) if isinstance(value, list) else value for value in expected.values()]
    assert all(value == values[0] for value in values), f"the contestants disagree: {list(expected)}"
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, call in contestants.items():
            times[name].append(timed(call))
    return times


def cold(runs: int, folder: str) -> dict[str, list[float]]:
    """Time `import wfnb` and the first run of a fresh process, with no cluster running."""
    times: dict[str, list[float]] = {"import wfnb": [], "first run from a cold process": []}
    for number in range(runs):
        environment = {**os.environ, "WFNB_STORE": f"sqlite:///{folder}/cold{number}.db"}
        done = subprocess.run(
            [sys.executable, "-c", _COLD], capture_output=True, text=True, check=True, env=environment
        )
        facts = json.loads(done.stdout)
        assert not facts["loaded"], f"import wfnb loads {facts['loaded']}"
        times["import wfnb"].append(facts["import"])
        times["first run from a cold process"].append(facts["first"])
    return times


@contextlib.contextmanager
def redis_url() -> Iterator[str | None]:
    """Give the URL of a redis-server of our own, or None where the machine has none."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.servers import find_redis_server, redis_server

    if find_redis_server() is None:
        yield None
        return
    with redis_server() as server:
        yield server.url


def show(workload: str, times: dict[str, list[float]], rows: list[dict[str, Any]]) -> None:
    unit = UNIT_NAMES[workload]
    per = SCALE[unit] / UNITS[workload]
    reference = next((name for name in times if name.startswith("dask")), None)
    base = statistics.median(times[reference]) if reference else None
    for name, taken in times.items():
        median = statistics.median(taken)
        ratio = base / median if base and name != reference else None
        rows.append(
            {"workload": workload, "contestant": name, "unit": unit, "median": median * per, "min": min(taken) * per,
             "max": max(taken) * per, "runs": len(taken), "times faster than dask": ratio}
        )  # fmt: skip
        shown = f"{ratio:9.1f} x" if ratio else " " * 11
        print(f"{workload:12}{name:34}{median * per:12.2f} {unit:11}{min(taken) * per:10.2f}"
              f"{max(taken) * per:10.2f}{shown}", flush=True)  # fmt: skip


def contest(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    from distributed import Client, LocalCluster

    from wfnb.dask.local import default_shape

    rows: list[dict[str, Any]] = []
    processes, threads = default_shape()
    print(f"{'workload':12}{'contestant':34}{'median':>12} {'':11}{'min':>10}{'max':>10}{'than dask':>11}")
    with (
        redis_url() as redis,
        LocalCluster(processes, threads_per_worker=threads, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        stores = {"wfnb, SQLite": f"sqlite:///{folder}/bench.db"} | ({"wfnb, Redis": redis} if redis else {})
        kept = {name: w.ours(url) for name, url in stores.items()}
        raw: dict[str, tuple[str, Callable[[Any], Any], Callable[[], Any] | None]] = {
            "wide map": ("dask client.map", w.dask_wide, w.plain_wide),
            "chain": ("dask client.submit", w.dask_chain, w.plain_chain),
            "layers": ("dask.delayed", w.dask_layers, w.plain_layers),
            "diamond": ("dask client.submit", w.dask_diamond, w.plain_diamond),
            "long tasks": ("dask client.map", w.dask_long, None),
        }
        for workload, (name, call, plain) in raw.items():
            if (options.only and workload not in options.only) or (workload == "long tasks" and options.no_long):
                continue
            contestants: dict[str, Callable[[], Any]] = {who: calls[workload] for who, calls in kept.items()}
            contestants[name] = lambda call=call: call(client)
            if plain is not None:
                contestants["plain Python, nothing kept"] = plain
            show(workload, measure(contestants, options.runs), rows)
    result: dict[str, Any] = {"rows": rows}
    if not options.only:
        for name, taken in cold(options.runs, folder).items():
            result[name] = {"median": statistics.median(taken), "min": min(taken), "max": max(taken)}
            print(f"{name:46}{statistics.median(taken):12.3f} {'s':11}{min(taken):10.3f}{max(taken):10.3f}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure wfnb beside Dask by hand.")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each contestant")
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(UNITS), help="only these workloads")
    parser.add_argument("--no-long", action="store_true", help="leave out 64 tasks of half a second (3 min)")
    options = parser.parse_args()
    where = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "wfnb": version("wfnb"),
        "distributed": version("distributed"),
        "load before": os.getloadavg()[0],
    }
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    with tempfile.TemporaryDirectory() as folder:
        result = {"where": where, **contest(options, folder)}
    target = Path(__file__).parent / "results" / "latest.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1))
    print(f"written to {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
