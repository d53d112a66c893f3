"""Runs a notebook with no browser and prints what its cells give. Imports nbformat and nbclient, not wfnb.

``python notebooks/run_demo.py PATH`` leaves the file as it is; with ``--save`` its outputs are written back, fit to be
committed: whole, small, and with no path of this machine.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import sysconfig
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

INDENT = "    "
ROOT = Path(__file__).resolve().parents[1]
MOST_PICTURE, MOST_FILE = 100_000, 300_000
"""Characters a picture and a saved notebook have at most."""


def text_of(output: nbformat.NotebookNode) -> str:
    """Return an output as text: its stream, its plain form or its error; pictures only as plain text."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return str(output.get("data", {}).get("text/plain", ""))


def show(cell: nbformat.NotebookNode) -> None:
    """Print one cell: prose as its headings, code indented, then what it gave."""
    if cell.cell_type == "markdown":
        headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
        for heading in headings:
            print(f"\n── {heading} " + "─" * max(0, 100 - len(heading)))
        return
    if cell.cell_type != "code" or not cell.source.strip():
        return
    count = cell.execution_count or " "
    print(f"\n[{count}]")
    print(textwrap.indent(cell.source.strip(), INDENT))
    given = "".join(f"{text_of(output).rstrip()}\n" for output in cell.outputs if text_of(output).strip())
    if given:
        print(textwrap.indent(given, "  → ", lambda line: bool(line.strip())), end="")


def execute(notebook: nbformat.NotebookNode) -> str:
    """Run a notebook in place; return why it failed, or "".

    Its runs are kept in a folder that is removed in the end, so that nothing is left on this machine.
    """
    with tempfile.TemporaryDirectory(prefix="wfnb-demo-", ignore_cleanup_errors=True) as folder:
        env = {name: value for name, value in os.environ.items() if name not in ("WFNB_STORE", "WFNB_CLUSTER")}
        client = NotebookClient(
            notebook,
            timeout=300,
            # The environment this runs in, whatever kernel the notebook was saved with.
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],
        )
        try:
            client.execute(env={**env, "WFNB_DATA_DIR": f"{folder}/data", "WFNB_CLUSTER_IDLE": "1"})
        except CellExecutionError as error:
            return str(error)
    return ""


def without_paths(value: Any) -> Any:
    """Return an output with paths of this machine made relative."""
    if isinstance(value, str):
        for folder in (str(ROOT), sysconfig.get_path("purelib"), str(Path.home())):
            value = value.replace(folder + os.sep, "")
        return re.sub(r"/tmp/ipykernel_\d+/\d+\.py", "<cell>", value)
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    return {key: without_paths(item) for key, item in value.items()} if isinstance(value, dict) else value


def save(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook that was run; raises ValueError when it is too big to be committed."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = [nbformat.from_dict(without_paths(output)) for output in cell.outputs]
        for output in cell.outputs:
            for kind, data in output.get("data", {}).items():
                if kind.startswith("image/") and len(data) > MOST_PICTURE:
                    raise ValueError(f"cell [{cell.execution_count}] gives a picture of {len(data):,} characters")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    text = nbformat.writes(notebook) + "\n"
    if len(text) > MOST_FILE:
        raise ValueError(f"the notebook would have {len(text):,} characters, {MOST_FILE:,} are allowed")
    path.write_text(text, encoding="utf-8")


def main() -> int:
    """Run the notebook named on the command line; return the process's exit status."""
    parser = argparse.ArgumentParser(description="Run a notebook with no browser and print what its cells give.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--save", action="store_true", help="write the outputs back into the notebook")
    options = parser.parse_args()
    path: Path = options.path
    if not path.is_file():
        print(f"there is no notebook at {path}", file=sys.stderr)
        return 1
    notebook = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    failed = execute(notebook)
    for cell in notebook.cells:
        show(cell)
    if failed:
        print(f"\n{path} failed:\n{failed}", file=sys.stderr)
        return 1
    print(f"\nran {path} in {time.perf_counter() - began:.1f} s.", end=" ")
    if options.save:
        save(notebook, path)
        print("Its outputs are saved.")
        return 0
    jupyter = Path(sys.executable).parent / "jupyter"
    shown = jupyter.relative_to(Path.cwd()) if jupyter.is_relative_to(Path.cwd()) else jupyter
    print(f"Open it with its live pictures:\n\n  {shown} lab {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
