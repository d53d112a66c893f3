"""Who takes part, with what, and what each keeps of a step. The modules beside this one do the work.

Sizes are smaller where a contestant takes long, so that a run takes a few seconds at most; figures are for a task, so
they compare all the same. `lacks` says why a contestant is not in a workload that one would expect it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """A contestant.

    Args:
        name: what tables call it.
        module: its module in this package.
        sizes: the workloads it takes part in, with its size where that is smaller than the workload's, else 0.
        keeps: what it keeps of each step, where, and when; empty for nothing.
        variant: what its module is told.
        needs: what pip installs into its environment; nothing for contestants in ours.
        packages: the packages whose versions are told.
        imports: the module that a user imports.
        lacks: why it takes no part in a workload.
        ours: whether it is wfnb.
    """

    name: str
    module: str
    sizes: Mapping[str, int]
    keeps: str = ""
    variant: str = ""
    needs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    imports: str = ""
    lacks: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False


def _all(names: str, **sizes: int) -> dict[str, int]:
    return dict.fromkeys(names.split(), 0) | {name.replace("_", "-"): size for name, size in sizes.items()}


_OURS = "wide wide-100k wide-1m chain layers diamond loop flows resume arrays kept-arrays dag even mixed"
_KEPT = "every value and the record of its attempt, acknowledged by the store before it counts"
_JOBLIB = ("joblib>=1.5", "numpy>=2")
_PIPEFUNC = ("pipefunc>=0.93", "numpy>=2")

SQLITE, REDIS, INLINE = "wfnb, SQLite", "wfnb, Redis", "wfnb inline, SQLite"
INLINE_REDIS, DASK, DASK_INF = "wfnb inline, Redis", "Dask", "Dask, saturation inf"
RAW_SQLITE, RAW_REDIS, PLAIN = "sqlite3 INSERT", "redis-py SET", "plain Python"

ALL = (
    Entry(SQLITE, "wfnb", _all(_OURS + " cold cold-warm import"), f"{_KEPT} (a file, WAL, synchronous=NORMAL)",
          "sqlite", packages=("wfnb", "dask", "distributed"), imports="wfnb", ours=True),
    Entry(REDIS, "wfnb", _all(_OURS), f"{_KEPT} (in the memory of a Redis server on this machine)", "redis",
          packages=("redis",), ours=True),
    Entry(INLINE, "wfnb", _all("diamond cold"), f"{_KEPT} (a file); steps run in the caller's process",
          "sqlite inline", packages=("wfnb",), ours=True),
    Entry(INLINE_REDIS, "wfnb", _all("diamond"), f"{_KEPT} (a Redis server); steps run in the caller's process",
          "redis inline", packages=("wfnb",), ours=True),
    Entry(PLAIN, "plain", _all("wide wide-100k chain layers diamond loop flows arrays")),
    Entry(DASK, "dask", _all("chain layers diamond flows arrays dag even mixed cold import", wide=2_000, loop=200),
          packages=("distributed",), imports="distributed"),
    Entry(DASK_INF, "dask", _all("", wide=2_000), variant="inf", packages=("distributed",)),
    Entry(RAW_SQLITE, "stores", _all("kept-arrays"), "each array's bytes, a commit each", "sqlite"),
    Entry(RAW_REDIS, "stores", _all("kept-arrays"), "each array's bytes, a command each", "redis", packages=("redis",)),
    Entry("joblib.Memory", "joblib", _all("diamond kept-arrays cold import", wide=2_000, chain=1_000, layers=1_000,
                                          loop=1_000, resume=2_000),
          "value and arguments, a folder of files each, without fsync; no record of the run", "memory",
          needs=_JOBLIB, packages=("joblib",), imports="joblib",
          lacks={"flows": "it has functions, not workflows", "dag": "it runs one call after the other"}),
    Entry("joblib.Parallel", "joblib", _all("wide wide-100k even mixed"), "", "parallel", needs=_JOBLIB,
          packages=("joblib",), lacks={"chain": "it maps, and nothing else", "dag": "it maps, and nothing else"}),
    Entry("pipefunc, files", "pipefunc", _all("diamond kept-arrays cold import", wide=5_000, chain=200, layers=300,
                                              resume=5_000),
          "value, a file each, without fsync; no record of attempts", "file_array",
          needs=_PIPEFUNC, packages=("pipefunc",), imports="pipefunc",
          lacks={"loop": "its DAGs have no loops", "flows": "its pipelines run one at a time"}),
    Entry("pipefunc, memory", "pipefunc", _all("wide diamond", chain=200, layers=300), "", "dict",
          needs=_PIPEFUNC, packages=("pipefunc",)),
    Entry("Hamilton, cache", "hamilton", _all("diamond cold import", wide=500, chain=200, layers=1_000, resume=500),
          "value as a pickle file, and its key in SQLite; logs in memory", needs=("sf-hamilton>=1.90",),
          packages=("sf-hamilton",), imports="hamilton.driver",
          lacks={"loop": "its DAGs have no loops", "flows": "its drivers run one at a time"}),
    Entry("Prefect on Dask", "prefect", _all("diamond cold import", wide=20, chain=20, flows=5, resume=20, loop=10),
          "value and key as files, states of runs in the server's SQLite",
          # Newer fastapi lacks an argument that Prefect 3.8 gives it.
          needs=("prefect>=3.8", "prefect-dask>=0.3.7", "fastapi>=0.139,<0.140"),
          packages=("prefect", "prefect-dask", "distributed"), imports="prefect",
          lacks={"layers": "two layers take half a minute"}),
    Entry("redun", "redun", _all("diamond cold import", wide=100, chain=100, layers=200, flows=20, resume=100, loop=50),
          "value, call and lineage in SQLite", needs=("redun>=0.44",), packages=("redun",), imports="redun"),
    Entry("DBOS", "dbos", _all("diamond cold import", wide=500, chain=500, layers=1_000, flows=100, resume=500,
                               loop=500),
          "value of each step, and each workflow's state, in SQLite", needs=("dbos>=3.4",), packages=("dbos",),
          imports="dbos"),
)  # fmt: skip
BY_NAME = {entry.name: entry for entry in ALL}
