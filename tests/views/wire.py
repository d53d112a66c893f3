"""Reads what pictures travel as, by the layout that the renderer goes by."""

from __future__ import annotations

import json
import struct
from typing import Any

STATUSES = (
    "pending", "running", "retrying", "completed", "cached", "failed", "skipped", "cancelled",
    "queued", "paused", "interrupted",
)  # fmt: skip
UNKNOWN = 0xFFFFFFFF


def header(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a piece's header and the rest."""
    (length,) = struct.unpack_from("<I", data)
    assert (4 + length) % 8 == 0
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def records(data: bytes) -> list[dict[str, Any]]:
    """Return a state's records."""
    _, body = header(data)
    assert len(body) % 96 == 0
    found = []
    for at in range(0, len(body), 96):
        status, unused, workers = struct.unpack_from("<BBH", body, at)
        width, *counts = struct.unpack_from("<9I", body, at + 4)
        attempts, times = struct.unpack_from("<2I", body, at + 40)
        started, ended, mean, progress = struct.unpack_from("<4d", body, at + 48)
        found.append(
            {
                "status": STATUSES[status],
                "unused": unused,
                "workers": workers,
                "width": None if width == UNKNOWN else width,
                "counts": counts,
                "attempts": attempts,
                "times": None if times == UNKNOWN else times,
                "started": started,
                "ended": ended,
                "mean": mean,
                "progress": progress,
            }
        )
    return found


def spans(data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the header of some spans, and the spans."""
    head, body = header(data)
    n, at = head["n"], 0
    columns: dict[str, tuple[Any, ...]] = {}
    for name, kind, size in [
        ("start", "d", 8), ("end", "d", 8), ("step", "I", 4), ("element", "I", 4), ("instance", "I", 4),
        ("attempt", "H", 2), ("worker", "H", 2), ("status", "B", 1),
    ]:  # fmt: skip
        columns[name] = struct.unpack_from(f"<{n}{kind}", body, at)
        at += n * size
    assert at == len(body)
    rows = [{name: column[row] for name, column in columns.items()} for row in range(n)]
    for row in rows:
        row["status"] = STATUSES[row["status"]]
    return head, rows
