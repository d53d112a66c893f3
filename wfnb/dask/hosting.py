"""What kernels and hosts tell each other. Imports the engine's plan, the store and events."""

from __future__ import annotations

import base64
import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wfnb.engine.plan import Plan
from wfnb.model.events import RunStarted
from wfnb.store.codec import Codec

HOST = "wfnb.dask.host"
"""The module of a host's process."""
METADATA = "wfnb-host"
"""Where the scheduler keeps the newest host's name, how many runs it drives, whether another comes at its end, and
which run it cannot drive, and why, if that was the last it was asked; and how many kernels are at its door."""
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
