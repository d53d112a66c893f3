"""Runs a copy of a notebook with no browser and prints what its cells give. Imports nbformat and nbclient, not wfnb."""

from __future__ import annotations

import sys
import tempfile
import textwrap
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

INDENT = "    "


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


def main() -> int:
    """Run the notebook named on the command line; return the process's exit status."""
    path = Path(sys.argv[1])
    if not path.is_file():
        print(f"there is no notebook at {path}", file=sys.stderr)
        return 1
    notebook = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    failed = ""
    with tempfile.TemporaryDirectory(prefix="wfnb-demo-") as folder:
        client = NotebookClient(
            notebook,
            timeout=300,
            # The environment this runs in, whatever kernel the notebook was saved with.
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],
        )
        try:
            client.execute()
        except CellExecutionError as error:
            failed = str(error)
    for cell in notebook.cells:
        show(cell)
    if failed:
        print(f"\n{path} failed:\n{failed}", file=sys.stderr)
        return 1
    jupyter = Path(sys.executable).parent / "jupyter"
    shown = jupyter.relative_to(Path.cwd()) if jupyter.is_relative_to(Path.cwd()) else jupyter
    print(f"\nran {path} in {time.perf_counter() - began:.1f} s. Open it with its live pictures:\n")
    print(f"  {shown} lab {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
