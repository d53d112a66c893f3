"""What the tests of the language share: where calls are noted, and journals that end early."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.language.nodes import FOLDER
from wfnb.engine.addresses import address_of
from wfnb.model.events import STATUS_NAMES, Outcomes, decode_event
from wfnb.store import memory
from wfnb.store.memory import MemoryStore

FULL = bool(os.environ.get("WFNB_FULL"))
"""Whether the long versions of the tests run."""


def folder() -> Path:
    """Return the folder where calls are noted."""
    return Path(os.environ[FOLDER])


def calls(run_id: str) -> Counter[str]:
    """Return how often each address was called in a run."""
    file = folder() / run_id
    return Counter(line.split()[0] for line in file.read_text().splitlines()) if file.exists() else Counter()


def forget_calls(run_id: str) -> None:
    """Forget what was called in a run."""
    (folder() / run_id).unlink(missing_ok=True)


# -- journals that end early -------------------------------------------------------------------------------------------


@dataclass
class Moments:
    """What each run's journal and packs were after each write: the states in which a driver may die."""

    by_run: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)


@contextmanager
def remembering() -> Iterator[Moments]:
    """Remember what the store `memory://language` holds after each write."""
    moments = Moments()
    append = MemoryStore.append

    def spy(self: MemoryStore, run_id: str, entries: Any, **more: Any) -> int:
        position = append(self, run_id, entries, **more)
        if entries and self.name == "language":
            with self._place.changed:
                run = self._place.runs[run_id]
                moments.by_run.setdefault(run_id, []).append((len(run.journal), dict(run.packs)))
        return position

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryStore, "append", spy)
        yield moments


_NUMBERS = count()


def cut_at(store: MemoryStore, run_id: str, moment: tuple[int, dict[str, Any]]) -> MemoryStore:
    """Return a new store that holds a run as it was at one moment, its driver gone."""
    name = f"cut-{next(_NUMBERS)}"
    length, packs = moment
    whole = store._place.runs[run_id]
    journal = whole.journal[:length]
    place = memory._PLACES[name] = memory._Place()
    place.runs[run_id] = memory._Run(
        replace(whole.record, status="running"),
        list(journal),
        {entry.key: entry.position for entry in journal},
        dict(packs),
        epoch=max(whole.epoch, 1),
    )
    return MemoryStore(f"memory://{name}")


def drop(store: MemoryStore) -> None:
    """Forget a store in memory."""
    memory._PLACES.pop(store.name, None)


_FAN_OUT = re.compile(r"(?:^|/)(?:out|in|low|deep)(?:\.source)?$")


def outcomes(run: wf.Run) -> list[tuple[str, int, str]]:
    """Return every recorded outcome of a run of the table as (address, attempt, status), in the journal's order."""
    found = []
    for entry in run.store.read(run.id):
        event = decode_event(entry.data, skip=b"LR")
        if isinstance(event, Outcomes):
            for column in event.columns:
                for place, status in enumerate(column.status):
                    address = address_of(column.step, column.lo + place, fan_out=bool(_FAN_OUT.search(column.step)))
                    found.append((address, column.attempt, STATUS_NAMES[status]))
    return found


def acknowledged(run: wf.Run) -> set[str]:
    """Return the addresses of the tasks whose values a run's journal holds."""
    return {address for address, _, status in outcomes(run) if status in ("completed", "cached")}


def failures(run: wf.Run) -> set[str]:
    """Return the addresses of the tasks that a run's journal says have failed."""
    return {address for address, _, status in outcomes(run) if status == "failed"}
