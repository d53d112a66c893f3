"""A real JupyterLab (and Notebook 7, which the same server has) in a real browser: notebooks are opened, run, seen."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]
START = 90.0
"""Seconds a server may take to start."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
    "--js-flags=--expose-gc",
)

THEMES = {False: "JupyterLab Light", True: "JupyterLab Dark"}

Front = Literal["lab", "notebook"]


def browser_path() -> str | None:
    """Return the browser this machine has: ``CHROMIUM`` says which, else the usual names are looked for."""
    return os.environ.get("CHROMIUM") or next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Lab:
    """A Jupyter server.

    Args:
        folder: where its notebooks, settings and runs are.
        dark: whether it has its dark theme.
    """

    def __init__(self, folder: Path, *, dark: bool = False) -> None:
        self.folder = folder
        self.token = secrets.token_hex(8)
        self.port = _free_port()
        extensions = folder / "share" / "labextensions"
        extensions.mkdir(parents=True)
        (extensions / "wfnb").symlink_to(ROOT / "wfnb" / "labextension")
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        own = {
            name: str(folder / name.lower())
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        }
        quiet = folder / "settings" / "@jupyterlab" / "apputils-extension"
        quiet.mkdir(parents=True)
        (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        (quiet / "themes.jupyterlab-settings").write_text(json.dumps({"theme": THEMES[dark]}))
        own |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws")}
        self.store = f"sqlite:///{folder}/runs.db"
        environment = {
            **os.environ, **own,
            "JUPYTER_PATH": str(folder / "share"),
            "WFNB_STORE": self.store,
            "WFNB_DATA_DIR": str(folder / "data"),
            "WFNB_CLUSTER_IDLE": "20",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        environment.pop("WFNB_CLUSTER", None)
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
            f"--port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
            "--LabApp.news_url=",
            f"--ServerApp.root_dir={self.notebooks}", "--LabApp.collaborative=False",
        ]  # fmt: skip
        self._log = open(folder / "lab.log", "wb")  # noqa: SIM115  as long as the process
        self._process = subprocess.Popen(
            command, env=environment, cwd=self.notebooks, stdout=self._log, stderr=self._log, start_new_session=True
        )
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + START
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"the Jupyter server did not start:\n{(self.folder / 'lab.log').read_text()[-3000:]}")

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def write(self, name: str, cells: Sequence[str], outputs: Any = None) -> Path:
        """Write a notebook of code cells; return its path."""
        notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = self.notebooks / name
        nbformat.write(notebook, path)
        return path

    def close(self) -> None:
        """End it, with its kernels."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        self._log.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def browser(folder: Path, *, dark: bool = False, width: int = 1280, height: int = 1000) -> Iterator[BrowserContext]:
    """A browser with a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder),
            executable_path=browser_path(),
            headless=True,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            args=list(_FLAGS),
        )
        try:
            yield context
        finally:
            context.close()


class Notebook:
    """A notebook that is open in a page.

    Args:
        lab: the server.
        page: the page.
        name: the notebook's file.
        front: JupyterLab or Notebook 7.
    """

    def __init__(self, lab: Lab, page: Page, name: str, front: Front = "lab") -> None:
        self.lab = lab
        self.page = page
        self.name = name
        self.front = front
        self.errors: list[str] = []
        # Jupyter's own are not what is tested: ours come from the widget (a blob) or the extension (wfnb).
        page.on("pageerror", lambda error: self._failed(error.stack or str(error)))

    def _failed(self, stack: str) -> None:
        if "blob:" in stack or "wfnb" in stack:
            self.errors.append(stack)

    def open(self, *, idle: bool = True) -> Notebook:
        """Go there, or load it again; wait until its kernel is there, and idle."""
        place = f"lab/tree/{self.name}" if self.front == "lab" else f"notebooks/{self.name}"
        self.page.goto(f"{self.lab.url}/{place}?token={self.lab.token}&reset", timeout=60_000)
        self.page.wait_for_function(f"() => {_PANEL}?.sessionContext?.session?.kernel", timeout=60_000)
        if idle:
            self.wait_idle()
        return self

    def wait_idle(self, seconds: float = 60) -> None:
        """Wait until the kernel has nothing to do."""
        script = f"() => {_PANEL}.sessionContext.session?.kernel?.status === 'idle'"
        self.page.wait_for_function(script, timeout=1000 * seconds)

    def run(self, cell: int, *, wait: bool = True) -> None:
        """Run a cell; wait until it has ended."""
        script = f"""([cell]) => {{
            const panel = {_PANEL}; panel.content.activeCellIndex = cell;
            window.ran = jupyterapp.commands.execute("notebook:run-cell");
        }}"""
        self.page.evaluate(script, [cell])
        if wait:
            self.page.evaluate("() => window.ran")

    def run_all(self) -> None:
        """Run all cells; do not wait."""
        self.page.evaluate("() => { window.ran = jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def save(self) -> nbformat.NotebookNode:
        """Save it, and return what was saved."""
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        return nbformat.read(self.lab.notebooks / self.name, 4)

    def text(self, cell: int) -> str:
        """Return what a cell has put out as text, errors with it."""
        script = f"""([cell]) => {_PANEL}.content.widgets[cell].model.outputs.toJSON().map((one) =>
            one.text ?? one.data?.["text/plain"] ?? (one.ename ? one.ename + ": " + one.evalue : "")
        ).flat().join("")"""
        return str(self.page.evaluate(script, [cell]))

    def cell(self, number: int) -> Any:
        """Return a cell, to look for what is in it."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def ui(self, cell: int) -> Any:
        """Return the picture that a cell shows."""
        return self.cell(cell).locator(".wfnb-ui")

    def kill_kernel(self) -> None:
        """End the kernel for good."""
        self.page.evaluate(f"() => {_PANEL}.sessionContext.shutdown()")


_PANEL = "window.jupyterapp?.shell?.currentWidget"
