"""Measures wfnb beside what a person would otherwise use, and says which promises of speed it keeps.

    make bench                                   # everything, about twenty minutes on two cores
    make bench ARGS="--only wide chain --runs 3 --peers joblib redun"
    make bench ARGS="--full"                     # a map of 1,000,000 too
    make bench ARGS="--save docs/figures"        # a copy of the results to commit

How to read the figures:

* All on one machine in one sitting. Contestants take turns, round by round, each in a process of its own that lives
  through the whole contest, so that a busy moment hits all of them; while one is measured the others are stopped. The
  first round warms up and does not count. Shown are median, fastest and slowest run; less is better everywhere.
  "x ideal" is the time beside that of the work alone spread over two workers.
* What takes less than a second is done again and again, for 1.5 seconds in each round: the first of these calls finds
  the processor's memory cold and does not count, the median of the others does.
* All run the functions of `functions.py`, and every value is compared with what it must be before its time counts.
* wfnb's time begins with the call of a workflow and ends with its value in the caller's hands. What is needed to define
  workflows, pipelines, drivers and modules is in nobody's time; in wfnb's is what it looks at to see that nothing of
  it has changed.
* Slow contestants have less to do (column n), so that a run takes a few seconds. Their costs do not fall with n.
* What a contestant keeps is told below its name in the results: it is not the same for all. `-` marks those that keep
  nothing: they are here to show what keeping costs.
* A contestant that cannot be installed, fails, or gives another value is shown with the reason.

Peers get environments of their own under `.venv-bench`, made when first wanted (a few minutes once).
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks import contestants, report, targets, workloads
from benchmarks.contest import ROOT, Contest, Result, environment

RESULTS = Path(__file__).parent / "results"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="measured runs of each contestant at most (3)")
    parser.add_argument("--only", nargs="+", metavar="WORKLOAD", choices=list(workloads.BY_NAME),
                        help=f"only these: {', '.join(workloads.BY_NAME)}")  # fmt: skip
    parser.add_argument("--peers", nargs="*", metavar="NAME",
                        help="only the peers whose names begin so; none: wfnb alone")  # fmt: skip
    parser.add_argument("--full", action="store_true", help="what takes minutes too")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write the results there as well")
    return parser.parse_args()


def chosen_entries(peers: list[str] | None) -> list[contestants.Entry]:
    """Return wfnb and the peers whose names or modules begin as wanted; all when nothing is wanted."""
    if peers is None:
        return list(contestants.ALL)
    starts = tuple(peer.lower() for peer in peers)
    for start in starts:
        if not any(entry.name.lower().startswith(start) for entry in contestants.ALL):
            raise SystemExit(f"no contestant begins with '{start}': {', '.join(e.name for e in contestants.ALL)}")
    return [entry for entry in contestants.ALL if entry.ours or entry.name.lower().startswith(starts or ("-",))]


def chosen_workloads(only: list[str] | None, full: bool) -> list[workloads.Workload]:
    """Return the workloads that are wanted; those that take minutes only when they are asked for."""
    return [one for one in workloads.ALL if (one.name in only if only else full or not one.full)]


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() or "unknown"


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # contestants are ended, figures kept, in any case
    entries, wanted = chosen_entries(options.peers), chosen_workloads(options.only, options.full)
    began = time.monotonic()
    where = {
        "date": time.strftime("%Y-%m-%d"),
        "wfnb": f"{version('wfnb')} ({_commit()})",
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
    }
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    print(report.LEGEND)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with environment(folder) as env:
            contest = Contest(entries, folder, env, lambda news: print(f"  ! {news}", file=sys.stderr, flush=True))
            try:
                for workload in wanted:
                    print(report.heading(workload.name), flush=True)
                    results += (found := contest.run(workload, options.runs))
                    for row in report.rows(found):
                        print(report.line(row), flush=True)
            except KeyboardInterrupt:
                where["interrupted"] = "yes: workloads are missing"
            finally:
                contest.close()
    made = report.rows(results)
    figures = report.figures(made)
    told = targets.check(figures)
    names = list(dict.fromkeys(row.contestant for row in made))
    print("\nVersions, and what each keeps of a step:")
    for name in names:
        known = ", ".join(f"{package} {found}" for package, found in contest.versions.get(name, {}).items())
        print(f"  {name:22}{known:50} {contestants.BY_NAME[name].keeps or 'nothing'}")
    for text in (*report.lacking(names, [one.name for one in wanted]), *targets.dask_ratios(figures)):
        print(f"  {text}")
    print("\nTargets:")
    for target in told:
        if target["value"] is not None or not options.only:
            print(report.target_line(target))
    for place in (RESULTS, options.save):
        if place is not None:
            files = report.write(place, where, results, contest.versions, told)
            print(f"written: {', '.join(os.path.relpath(file) for file in files)}")
    print(f"took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
