"""A kernel with a Dask client of its own beside wfnb's: says when both are connected, and ends when it is told to."""

from __future__ import annotations

import sys

from distributed import Client

import wfnb as wf


def main() -> None:
    store, address = sys.argv[1:]
    client = Client(address, set_as_default=False, timeout=1)
    wf.configure(store=store, cluster=address)
    print(len(wf.cluster().workers), flush=True)
    sys.stdin.readline()
    print(client.status, flush=True)


if __name__ == "__main__":
    main()
