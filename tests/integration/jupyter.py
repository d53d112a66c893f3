"""A real ipykernel, started and talked to as Jupyter does: cells, what they show, the stop button, restarts, death."""

from __future__ import annotations

import os
import queue
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

START_TIMEOUT = 60.0
"""Seconds a kernel may take to start."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Cell:
    """One cell that was run.

    Args:
        source: its code.

    Attributes:
        out: what it printed.
        err: what it wrote to standard error.
        shown: what it displayed, by MIME type; an update of a display takes the place of what it updates.
        error: the name and text of the error it ended with, or None.
        traceback: that error as the notebook shows it.
        next: the source of the cell it put after itself, or "".
        over: whether the kernel is through with it.
    """

    source: str
    out: str = ""
    err: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
    error: tuple[str, str] | None = None
    traceback: str = ""
    next: str = ""
    over: bool = False

    @property
    def text(self) -> str:
        """What it displayed, as plain text."""
        return "\n".join(str(bundle.get("text/plain", "")) for bundle in self.shown)


class Jupyter:
    """A kernel, and the front end that talks to it.

    Args:
        folder: where it runs.
        env: variables of its environment besides this process's.
    """

    def __init__(self, folder: Path, **env: str) -> None:
        self._manager = KernelManager(kernel_name="python3")
        self._cells: dict[str, Cell] = {}
        self._displays: dict[str, dict[str, Any]] = {}
        self._idle: set[str] = set()
        self._replied: set[str] = set()
        environment = {**os.environ, "IPYTHONDIR": str(folder / ".ipython"), "WFNB_CLUSTER_IDLE": "5", **env}
        self._manager.start_kernel(cwd=str(folder), env=environment, extra_arguments=["--log-level=CRITICAL"])
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=START_TIMEOUT)
        self.pid = int(self.run("import os; print(os.getpid())").out)

    # -- cells ---------------------------------------------------------------------------------------------------

    def send(self, source: str) -> Cell:
        """Begin to run a cell, or queue it behind the one that runs."""
        cell = Cell(source)
        self._cells[self._client.execute(source, allow_stdin=False)] = cell
        return cell

    def run(self, source: str, timeout: float = 60.0) -> Cell:
        """Run a cell to its end; an error it ends with is this test's."""
        cell = self.wait(self.send(source), timeout)
        assert cell.error is None, f"the cell failed:\n{source}\n{cell.traceback}"
        return cell

    def wait(self, cell: Cell, timeout: float = 60.0) -> Cell:
        """Wait until a cell is over."""
        self.until(lambda: cell.over, timeout, f"the cell is over:\n{cell.source}")
        return cell

    def until(self, true: Callable[[], Any], timeout: float = 20.0, what: str = "") -> Any:
        """Take in what the kernel says until something is true, and return it."""
        deadline = time.monotonic() + timeout
        while not (found := true()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout} s: {what or true}")
            self.listen()
        return found

    def listen(self, seconds: float = 0.05) -> None:
        """Take in what the kernel says, for some time at most when it says nothing."""
        for channel in (self._client.get_shell_msg, self._client.get_iopub_msg):
            while True:
                try:
                    self._take(channel(timeout=seconds if channel == self._client.get_iopub_msg else 0.001))
                except queue.Empty:
                    break

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        parent = message["parent_header"].get("msg_id", "")
        if kind == "update_display_data":
            # A front end goes by the display, whichever cell the update comes from.
            display = self._displays[content["transient"]["display_id"]]
            display.clear()
            display.update(content["data"])
            return
        cell = self._cells.get(parent)
        if cell is None:
            return
        if kind == "stream":
            if content["name"] == "stdout":
                cell.out += content["text"]
            else:
                cell.err += content["text"]
        elif kind in ("display_data", "execute_result"):
            cell.shown.append(dict(content["data"]))
            self._displays[content.get("transient", {}).get("display_id", "")] = cell.shown[-1]
        elif kind == "error":
            cell.error = (content["ename"], content["evalue"])
            cell.traceback = _COLOURS.sub("", "\n".join(content["traceback"]))
        elif kind == "execute_reply":
            self._replied.add(parent)
            cell.next = next((p["text"] for p in content.get("payload", ()) if p["source"] == "set_next_input"), "")
            if content["status"] == "aborted":
                self._idle.add(parent)
        elif kind == "status" and content["execution_state"] == "idle":
            self._idle.add(parent)
        cell.over = parent in self._idle and parent in self._replied

    # -- the kernel ----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Press the stop button: SIGINT to the kernel's whole process group."""
        self._manager.interrupt_kernel()

    def stopped(self, source: str) -> Cell:
        """Run a cell that waits for a run, press the stop button, and return the cell, which the button has ended."""
        cell = self.send(f"print('waiting', flush=True)\n{source}")
        self.until(lambda: cell.out, what="the cell is busy")
        time.sleep(0.5)  # it is its next line that is stopped
        self.stop()
        self.wait(cell, 10)
        assert cell.error is not None, f"the stop button did not end the cell:\n{source}"
        return cell

    def restart(self) -> None:
        """Restart the kernel, as its menu does; it need not be alive."""
        self._manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=START_TIMEOUT)
        self.pid = int(self.run("import os; print(os.getpid())").out)

    def kill(self) -> None:
        """End the kernel at once, as a crash would."""
        os.kill(self.pid, 9)

    def close(self) -> None:
        """End the kernel."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()

    def __enter__(self) -> Jupyter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
