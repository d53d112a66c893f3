"""What is kept of a workflow's code for people, and what it tells of two versions."""

from __future__ import annotations

import linecache
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from wfnb.authoring import sources as module
from wfnb.authoring.prints import node_prints, step_arguments
from wfnb.authoring.sources import MOST_TEXT, Sources, pack_sources, sources_of, unpack_sources
from wfnb.engine.lower import lower

pytestmark = pytest.mark.filterwarnings("ignore::wfnb.NameWarning")

_NUMBERS = count()

CELL = """
    SCALE = 2

    class Model:
        rate = 1

        def fit(self):
            return self.rate

    def clean(x):
        return x * SCALE

    @wf.node
    def load(n: int = 3):
        return clean(n) + Model().fit()

    @wf.node(cache=True)
    def best(x, depth: int = 1, token: str = ""):
        return x

    @wf.workflow
    def flow(n: int):
        return best(load(n), 2, token="sesame")
"""


def sources(text: str) -> Sources:
    """The sources of a cell's workflow."""
    text = textwrap.dedent(text)
    name = f"<sources {next(_NUMBERS)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names: dict[str, Any] = {"__name__": "__main__", "wf": wf}
    exec(compile(text, name, "exec"), names)
    graph = lower(names["flow"].graph)
    return sources_of(graph, node_prints(graph), step_arguments(graph))


def told(step: str, old: str, new: str) -> list[str]:
    """What differs of a step when a cell is edited."""
    return [change.text for change in sources(CELL.replace(old, new)).changes(step, sources(CELL))]


def test_nothing_differs_when_only_comments_do() -> None:
    edited = CELL.replace("return x * SCALE", "# twice\n        return x * SCALE")
    assert sources(edited).changes("load", sources(CELL)) == ()
    assert sources(edited).summary("load", sources(CELL)) == ""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("return clean(n)", "return 1 + clean(n)", "function 'load' changed"),
        ("return x * SCALE", "return x + SCALE", "helper 'clean' changed"),
        ("SCALE = 2", "SCALE = 3", "global 'SCALE' changed"),
        ("rate = 1", "rate = 2", "attribute 'Model.rate' changed"),
        ("return self.rate", "return -self.rate", "method 'Model.fit' changed"),
        ("load(n: int = 3)", "load(n: int = 4)", "default 'n' changed"),
    ],
)
def test_what_was_edited_is_named(old: str, new: str, text: str) -> None:
    assert told("load", old, new) == [text]
    assert told("best", old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("load(n), 2,", "load(n), 5,", "argument 'depth' changed: 2 → 5"),
        ('token="sesame"', 'token="open"', "argument 'token' changed"),
        ("best(load(n)", "best(n", "argument 'x' changed"),
        (', token="sesame")', ")", "argument 'token' is gone"),
    ],
)
def test_what_a_step_is_given_is_told_by_parameter_and_no_secret_with_it(old: str, new: str, text: str) -> None:
    assert told("best", old, new) == [text]


def test_the_difference_of_a_helper_is_its_sources() -> None:
    (change,) = sources(CELL.replace("x * SCALE", "x - SCALE")).changes("load", sources(CELL))
    assert change.diff.splitlines() == [
        "--- helper clean (before)",
        "+++ helper clean (now)",
        "@@ -1,2 +1,2 @@",
        " def clean(x):",
        "-    return x * SCALE",
        "+    return x - SCALE",
    ]


def test_the_difference_of_a_small_value_is_its_text() -> None:
    (change,) = sources(CELL.replace("SCALE = 2", "SCALE = [1.5, 'a']")).changes("load", sources(CELL))
    assert change.diff.splitlines()[-2:] == ["-SCALE = 2", "+SCALE = [1.5, 'a']"]


@pytest.mark.parametrize("value", ["'x' * 500", "{1, 2}", "10 ** 5000"])
def test_other_values_are_named_and_not_shown(value: str) -> None:
    (change,) = sources(CELL.replace("SCALE = 2", f"SCALE = {value}")).changes("load", sources(CELL))
    assert change.text == "global 'SCALE' changed"
    assert [line for line in change.diff.splitlines() if line.startswith("+") and "now" not in line] == []


def test_a_value_with_a_secret_name_is_not_kept() -> None:
    text = (
        CELL.replace("SCALE = 2", "API_KEY = 'sesame'").replace("* SCALE", "* len(API_KEY)").replace('"sesame"', '""')
    )
    assert b"sesame" not in b"".join(repr(one).encode() for one in sources(text).texts)


def test_code_comes_before_values_and_a_summary_is_short() -> None:
    edited = CELL.replace("SCALE = 2", "SCALE = 3").replace("x * SCALE", "x + SCALE").replace("rate = 1", "rate = 2")
    found = sources(edited)
    assert [change.text.split()[0] for change in found.changes("load", sources(CELL))] == [
        "helper",
        "attribute",
        "global",
    ]
    assert found.summary("load", sources(CELL)) == "helper 'clean' changed, attribute 'Model.rate' changed and 1 more"


def test_a_step_that_is_new_or_unknown_has_no_changes() -> None:
    assert sources(CELL).changes("nothing", sources(CELL)) == ()


def test_the_inputs_a_step_uses_and_the_steps_that_ask_for_answers_are_listed() -> None:
    found = sources(CELL)
    assert found.inputs == {"load": ("n",)}
    assert found.cache == {"best": ""}


def test_why_a_step_cannot_be_answered_is_kept() -> None:
    text = CELL.replace("SCALE = 2", "import threading; SCALE = threading.Lock()").replace(
        "@wf.node\n", "@wf.node(cache=True)\n"
    )
    assert "'SCALE' cannot be fingerprinted" in sources(text).cache["load"]


def test_sources_survive_packing_and_equal_ones_are_equal_bytes() -> None:
    found = sources(CELL)
    assert unpack_sources(pack_sources(found)) == found
    assert pack_sources(sources(CELL)) == pack_sources(found)
    assert len(pack_sources(found)) < 3_000


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:20], lambda data: data[::-1]])
def test_damaged_sources_are_an_error_of_their_own(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack_sources(damage(pack_sources(sources(CELL))))


def test_long_sources_are_cut_and_many_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    long = CELL.replace("return x * SCALE", "\n        ".join(["x += 1"] * 5_000) + "\n        return x * SCALE")
    assert max(map(len, sources(long).texts[0].values())) == MOST_TEXT
    monkeypatch.setattr(module, "MOST", 100)
    assert sum(len(text) for texts in sources(CELL).texts for text in texts.values()) <= 100


def test_a_file_edited_since_it_was_imported_gives_no_wrong_source(tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    (tmp_path / "helpers_s.py").write_text("def clean(x):\n    return x\n")
    script.write_text(
        "import helpers_s, pathlib\n"
        "from wfnb.authoring.sources import _text\n"
        "print(_text('helper clean', helpers_s.clean))\n"
        "pathlib.Path(helpers_s.__file__).write_text('import math\\n\\n\\ndef other(x):\\n    return x\\n')\n"
        "print(repr(_text('helper clean', helpers_s.clean)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["def clean(x):", "    return x", "''"]
