"""What kernels and hosts tell each other. Imports the engine's plan, the store and events."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wfnb.engine.plan import Plan
from wfnb.model.events import RunStarted
from wfnb.store.base import Frames, RunRecord, Store
from wfnb.store.codec import Codec
from wfnb.store.rules import size_of

HOST = "wfnb.dask.host"
"""The module of a host's process."""
METADATA = "wfnb-host"
"""Where the scheduler keeps the newest host's name, how many runs it drives, whether another comes at its end, and
which run it cannot drive, and why, if that was the last it was asked; and how many kernels are at its door."""
MOST_SENT = 1 << 20
"""Bytes of a new run that a kernel hands to a host; one with larger inputs it writes to the store itself."""
TASK = "task"
"""The key of the pack that holds what a driver needs to know."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a driver needs to know of the run it takes up.

    Args:
        run_id: the run.
        plan: the plan of the lowered graph stored under `started.code`.
        started: the event that says how it is taken up; its time is filled in.
        secret: signs and verifies what is stored.
        estimates: seconds a task takes by label, as measured before.
    """

    run_id: str
    plan: Plan
    started: RunStarted
    secret: bytes
    estimates: dict[str, float]


@dataclass(slots=True)
class Birth:
    """A run that is not in its store yet: whoever drives it first makes it there, in one write with its beginning.

    Args:
        record: its record.
        packs: what is kept with it.
        made: whether it is in the store meanwhile.
    """

    record: RunRecord
    packs: Mapping[str, Frames]
    made: bool = False

    def light(self) -> Birth | None:
        """Return it as it can be sent to a host, or None when it is too much for that."""
        if sum(map(size_of, self.packs.values())) > MOST_SENT:
            return None
        return Birth(self.record, {key: [bytes(frame) for frame in frames] for key, frames in self.packs.items()})

    def create(self, store: Store) -> None:
        """Make the run without a driver, unless it was made; raises `RunExists` when another has its id."""
        if not self.made:
            store.create(self.record, packs=self.packs)
            self.made = True


def task_pack(task: Task) -> list[Any]:
    """Return what a driver needs to know as a pack; the secret is not in it."""
    return Codec(task.secret).encode_pack([replace(task, secret=b"")])


def topic(host: str) -> str:
    """Return the topic under which a host of that name is asked to drive."""
    return f"wfnb-drive:{host}"


def settings(address: str, security: Any = None, door: Path | None = None) -> str:
    """Return the line that a host reads first: which scheduler it serves, how it is connected to, where it answers."""
    packed = base64.b64encode(pickle.dumps(security)).decode() if security is not None else ""
    return json.dumps({"address": address, "security": packed, "door": str(door or "")}) + "\n"
