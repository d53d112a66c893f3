"""Somebody's own Dask cluster: prints the scheduler's address, and ends when standard input does.

With the argument "threads" its workers are threads of this process, which no nanny looks after.
"""

from __future__ import annotations

import sys
from typing import Any

from distributed import LocalCluster


def main() -> None:
    kind: dict[str, Any] = {"processes": False, "protocol": "tcp"} if sys.argv[1:] == ["threads"] else {}
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50, **kind
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
