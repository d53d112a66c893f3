"""``python -m tests.chaos --seeds 200 --from 0``: carry out schedules of kills and print what was seen.

The exit status is 1 when something did not hold; the seed is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.chaos.runner import CHECKS, MOMENTS, Play, Seen, suite
from tests.chaos.schedules import ALL, CASES, FLOWS, TARGETS, schedule

EACH = 25
"""Schedules that share a folder and, where it survives them, a cluster."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=ALL, help="how many schedules (default %(default)s: all cases)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one's seed (default %(default)s)")
    parser.add_argument("--within", type=int, default=0, help="seconds after which it gives up (default: never)")
    parser.add_argument("--keep", action="store_true", help="keep the folders, with each schedule's story")
    parser.add_argument("--show", action="store_true", help="only print the schedules")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    if options.show:
        print(*(f"{seed:5} {schedule(seed)}" for seed in seeds), sep="\n")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("it was ended"))  # so that what was started is ended
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"VIOLATION: not over after {options.within} s"))
    signal.alarm(options.within)
    seen: list[Seen] = []
    left: list[str] = []
    began = time.monotonic()
    try:
        for start in range(0, len(seeds), EACH):
            with suite(keep=options.keep) as place:
                if options.keep:
                    print(f"in {place.folder}")
                for seed in seeds[start : start + EACH]:
                    seen.append(Play(schedule(seed), place).play())
                    tell(seen[-1])
                left += place.over()
    finally:  # also of those that were carried out before it was ended
        for text in left:
            print(f"VIOLATION: at the end: {text}")
        print(table(seen, left, time.monotonic() - began), flush=True)
    return 1 if left or any(one.violations for one in seen) else 0


def tell(one: Seen) -> None:
    """Say what was seen of a schedule."""
    print(f"{one.schedule.seed:5} {one.seconds:5.1f} s  {one.schedule}", flush=True)
    for error in one.refused:
        print(f"      a kernel was told: {error[:200]}")
    for violation in one.violations:
        print(f"      VIOLATION: {violation}\n      again: python -m tests.chaos --seeds 1 --from {one.schedule.seed}")


def table(seen: list[Seen], left: list[str], seconds: float) -> str:
    """Return the counts."""

    def summed(name: str) -> Counter[Any]:
        return sum((getattr(one, name) for one in seen), Counter())

    def listed(counts: Iterable[str], names: tuple[str, ...] = ()) -> str:
        count = Counter(counts)
        return ", ".join(f"{name} {count[name]}" for name in names or sorted(count)) or "none"

    kills, wrong = summed("kills"), [one for one in seen if one.violations]
    struck = list(kills.elements())
    planned = [one.schedule for one in seen]
    cases = {(tuple(sorted(kill.target for kill in one.kills)), one.flow, one.store) for one in planned}
    rows = {
        "schedules": f"{len(seen)} ({listed((one.flow for one in planned), FLOWS)})",
        "stores": listed(one.store for one in planned),
        "drivers": listed(f"in the {one.driver}" for one in planned),
        "targets alone and pairs": f"{len({case for case, _, _ in cases})} of {len(CASES)}; "
        f"with workflows {len({(case, flow) for case, flow, _ in cases})} of {len(CASES) * len(FLOWS)}; "
        f"with stores {len({(case, store) for case, _, store in cases})}; with both {len(cases)}",
        "kills that hit": f"{len(struck)} ({listed((target for target, _ in struck), TARGETS)})",
        **{f"  {when}": listed((one for one, at in struck if at == when), TARGETS) for when in MOMENTS},
        "kills that hit nothing": listed(summed("missed").elements()),
        "schedules hit while tasks ran": f"{sum(any(at == MOMENTS[1] for _, at in one.kills) for one in seen)}",
        "kernels": f"{sum(one.kernels for one in seen)}",
        "resumed by a kernel": f"{sum(one.resumes for one in seen)}",
        "errors kernels were told": listed(error.partition(":")[0] for one in seen for error in one.refused),
        "attempts recorded": f"{sum(one.tasks for one in seen)}",
        "bodies begun": f"{sum(one.bodies for one in seen)}",
        "  again, not acknowledged before": f"{sum(one.again for one in seen) - summed('wrong')[CHECKS[1]]}",
        "seen as interrupted after": f"{max((one.notice for one in seen), default=0.0):.1f} s at most",
        "seconds a schedule": f"{statistics.median([one.seconds for one in seen] or [0]):.1f} (of all: {seconds:.0f})",
        **{check: f"{summed('wrong')[check]}" for check in CHECKS},
        "left or lost at the end": f"{len(left)}",
        "violations": f"in {len(wrong)} schedules" + "".join(f", seed {one.schedule.seed}" for one in wrong),
    }
    return "\n".join(f"{name:36}{value}" for name, value in rows.items())


if __name__ == "__main__":
    raise SystemExit(main())
