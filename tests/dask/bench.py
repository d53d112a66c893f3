"""A run without a driver: its store and its bundles, for tests of what happens on a worker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from wfnb.dask.program import INPUTS, Compiled, pack_program
from wfnb.dask.recorder import Recorder
from wfnb.dask.work import Held, Need, Orders
from wfnb.dask.worker import run_bundle
from wfnb.engine.bundles import Segment
from wfnb.engine.lower import lower
from wfnb.model.events import COMPLETED, FAILED, Column, Event, Logs, Outcomes, Running, decode_event
from wfnb.store.base import RunRecord
from wfnb.store.codec import Codec
from wfnb.store.memory import MemoryStore

SECRET = b"secret"


class Bench:
    """One run of a workflow in a memory store, driven by the test.

    Args:
        flow: the workflow.
        inputs: its inputs.
    """

    def __init__(self, flow: Any, **inputs: Any) -> None:
        self.store = MemoryStore(f"memory://{uuid.uuid4().hex}")
        self.graph = lower(flow.graph)
        self.inputs = inputs
        self.codec = Codec(SECRET)
        now = time.time()
        packs = {
            "code": pack_program(self.graph, SECRET),
            INPUTS: self.codec.encode_pack([inputs[spec.name] for spec in self.graph.inputs]),
        }
        self.store.create(RunRecord("run", "flow", "", "running", now, now), packs=packs)
        self.epoch = self.store.acquire("run", "test", 60).epoch

    def orders(
        self,
        *segments: Segment,
        bundle: str = "b1.1",
        needs: Sequence[Need] = (),
        widths: dict[int, int] | None = None,
        keep: Sequence[int] = (),
        spent: dict[int, list[int]] | None = None,
        stop_on_error: bool = False,
    ) -> Orders:
        return Orders(
            run_id="run",
            epoch=self.epoch,
            url=self.store.url,
            secret=SECRET,
            code="code",
            bundle=bundle,
            segments=segments,
            needs=tuple(needs),
            widths=widths or {},
            fan_outs=Compiled(self.graph).fan_outs,
            bindings={},
            after={},
            given={},
            keep=frozenset(keep),
            stop_on_error=stop_on_error,
            sheltered=False,
            spent=spent or {},
        )

    def recorder(self, orders: Orders, worker: str = "worker") -> Recorder:
        return Recorder(self.store, orders, worker)

    def run(self, orders: Orders, *held: Held) -> Held:
        return run_bundle(orders.pack(), *held)

    @property
    def events(self) -> list[Event]:
        return [event for entry in self.store.read("run") if (event := decode_event(entry.data)) is not None]

    @property
    def columns(self) -> list[Column]:
        return [column for event in self.events if isinstance(event, Outcomes) for column in event.columns]

    @property
    def marks(self) -> list[Running]:
        return [event for event in self.events if isinstance(event, Running)]

    @property
    def logs(self) -> list[tuple[Any, ...]]:
        return [row for event in self.events if isinstance(event, Logs) for row in event.rows]

    def with_status(self, status: int) -> list[tuple[str, int]]:
        """The tasks recorded with a status, in the order of the journal."""
        return [
            (column.step, column.lo + place)
            for column in self.columns
            for place, byte in enumerate(column.status)
            if byte == status
        ]

    @property
    def completed(self) -> list[tuple[str, int]]:
        return self.with_status(COMPLETED)

    @property
    def failed(self) -> list[tuple[str, int]]:
        return self.with_status(FAILED)

    def values(self) -> dict[tuple[str, int], Any]:
        """The kept values, by task."""
        found: dict[tuple[str, int], Any] = {}
        for column in self.columns:
            if column.pack:
                pack = self.store.load("run", [column.pack])[column.pack]
                stop = column.offset + len(column.status)
                for place, value in enumerate(self.codec.decode_pack(pack, column.offset, stop)):
                    found[column.step, column.lo + place] = value
        return found
