"""A script with a cluster of its own that ends while its run goes on."""

from __future__ import annotations

import sys
import time

from distributed import Client, LocalCluster

import wfnb as wf


@wf.node
def nap(i: int) -> int:
    time.sleep(0.2)
    return i


@wf.workflow
def naps(numbers: list[int]) -> list[int]:
    return nap.map(numbers)


def main() -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster, Client(cluster):
        wf.configure(store=sys.argv[1])
        run = naps.submit(list(range(100)))
        while not run.snapshot().done:
            time.sleep(0.05)
        print(run.id, flush=True)


if __name__ == "__main__":
    main()
