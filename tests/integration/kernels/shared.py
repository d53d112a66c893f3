"""A kernel of its own: ``python shared.py STORE``; it uses the shared cluster and does what each line read says."""

from __future__ import annotations

import sys
import time

import wfnb as wf


@wf.node
def pause(i: int, seconds: float) -> int:
    time.sleep(seconds)
    return i


@wf.workflow
def pauses(numbers: list[int], seconds: float) -> list[int]:
    return pause.map(numbers, seconds=seconds)


def main() -> None:
    wf.configure(store=sys.argv[1])
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "cluster":
            print(wf.cluster().address, flush=True)
        elif verb == "submit":
            run = pauses.options(run_id=words[0]).submit(list(range(int(words[1]))), float(words[2]))
            print(run.status, flush=True)
        elif verb == "close":
            wf.cluster().close()
            print("closed", flush=True)
        elif verb == "adapt":
            wf.cluster().adapt(int(words[0]), int(words[1]))
            print("adapted", flush=True)
        elif verb == "workers":
            print(len(wf.cluster().workers), flush=True)
        elif verb == "result":
            try:
                print(wf.get_run(words[0]).result(60), flush=True)
            except wf.WfnbError as error:
                print(f"{type(error).__name__}: {error}", flush=True)
        elif verb == "sleep":
            time.sleep(float(words[0]))
            print("slept", flush=True)
        elif verb == "scale":
            wf.cluster().scale(int(words[0]))
            while len(wf.cluster().workers) != int(words[0]):
                time.sleep(0.05)
            print("scaled", flush=True)


if __name__ == "__main__":
    main()
