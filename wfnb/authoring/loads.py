"""`wf.load` and `wf.loads`: workflows from files, texts and dicts. Imports graphs, reading and workflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from wfnb.authoring.graphs import graph_of
from wfnb.authoring.reading import LONGEST, read_text
from wfnb.authoring.resolving import KnownByName
from wfnb.authoring.workflow import Workflow
from wfnb.model.errors import ConfigurationError


def load(path: str | FilePath, *, registry: KnownByName | None = None) -> Workflow[..., Any]:
    """Return the workflow that a file holds, in YAML or (``.json``) JSON.

    Args:
        path: the file.
        registry: what knows nodes and workflows by name; by default what this process has registered.

    Raises:
        ConfigurationError: the file cannot be read.
        DefinitionError: it is no workflow that could run; lists every problem with its path and line.
    """
    file = FilePath(path)
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"the definition '{path}' cannot be read: {said}") from None
    document = read_text(text.removeprefix("\ufeff"), file.name)
    return Workflow.from_graph(graph_of(document, registry=registry))


def loads(definition: str | Mapping[str, Any], *, registry: KnownByName | None = None) -> Workflow[..., Any]:
    """Return the workflow that a text in YAML or JSON holds, or a dict.

    Args:
        definition: the text or the dict.
        registry: what knows nodes and workflows by name; by default what this process has registered.

    Raises:
        ConfigurationError: it is neither a text nor a dict.
        DefinitionError: it is no workflow that could run; lists every problem with its path and line.
    """
    return Workflow.from_graph(graph_of(definition, registry=registry))
