"""A kernel: ``python -m tests.chaos.kernel submit|resume STORE RUN_ID FLOW DRIVER STAYS LOG LONG``.

It says on standard output, a line each: running, interrupted, refused (with the error), value (as JSON).
"""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
from typing import Any

import wfnb as wf
from tests.chaos.flows import FLOWS
from wfnb.model.errors import WfnbError


def resumed(run_id: str) -> Any:
    """Take a run up again, or watch it where somebody else was quicker."""
    try:
        return wf.resume(run_id)
    except wf.RunHasDriver:
        return wf.get_run(run_id)


def main() -> None:
    verb, store, run_id, flow, driver, stays, log, long = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1)  # where one that hangs is
    try:
        wf.configure(store=store, driver=driver)  # type: ignore[arg-type]
        run = (
            FLOWS[flow].workflow.options(run_id=run_id).submit(log, float(long))
            if verb == "submit"
            else resumed(run_id)
        )
        print("running", flush=True)
        while True:
            try:
                print("value", json.dumps(run.result()), flush=True)
                return
            except wf.RunInterrupted:
                print("interrupted", flush=True)
                if stays != "stays":
                    return
                run = resumed(run_id)
    except WfnbError as error:
        print("refused", f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
