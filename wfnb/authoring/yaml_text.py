"""Writes definitions as YAML that `reading` reads as the same data. Imports yaml and reading."""

from __future__ import annotations

from typing import Any

import yaml  # type: ignore[import-untyped]

from wfnb.authoring.reading import is_plain_text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes without aliases, and quotes whatever would be read as something else than a text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: ARG002
        return super().increase_indent(flow, False)


def _text(dumper: Any, value: str) -> Any:
    lines = value.split("\n")
    block = len(lines) > 1 and lines[0] != "" and value[0] != " "
    block = block and all(line == line.rstrip() and line.isprintable() for line in lines)
    if block:
        style: str | None = "|"
    elif not value.isprintable():  # YAML folds line breaks of other scripts too
        style = '"'
    else:
        style = None if is_plain_text(value) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump(data: Any) -> str:
    """Return data as YAML."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
