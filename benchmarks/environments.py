"""An environment for each peer, made when it is first wanted: a venv with what the peer needs and nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".venv-bench"

_VERSIONS = """
import importlib.metadata as m, json, sys
print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))
"""


@cache
def interpreter(name: str, needs: tuple[str, ...]) -> str:
    """Return the Python of an environment, made unless it is there as it is wanted.

    Args:
        name: the environment's folder.
        needs: what pip installs into it; nothing means: what runs this.

    Raises:
        RuntimeError: it could not be made; says what pip said last.
    """
    if not needs:
        return sys.executable
    folder = FOLDER / name
    python, stamp = folder / "bin" / "python", folder / "needs.json"
    wanted = json.dumps([sys.version_info[:2], needs])
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"making the environment of {name} in {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needs]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pip could not install {' '.join(needs)}: {done.stderr.strip()[-300:]}")
        stamp.write_text(wanted)
    return str(python)


def versions(python: str, packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of packages as an interpreter finds them; raises RuntimeError when one is missing."""
    done = subprocess.run([python, "-c", _VERSIONS, *packages], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    found: dict[str, str] = json.loads(done.stdout)
    return found
