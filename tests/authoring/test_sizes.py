"""What nodes capture and is too big to travel with their code."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from wfnb.authoring import sizes
from wfnb.authoring.capture import load_code
from wfnb.authoring.sizes import LIMIT, CapturedSize, captured_sizes, pack_within
from wfnb.model.errors import CaptureError, ConfigurationError


class Cells:
    """A notebook: cells that run one after another in `__main__`."""

    def __init__(self) -> None:
        self.ns: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, "In": [""]}

    def __call__(self, source: str) -> None:
        source = textwrap.dedent(source).strip() + "\n"
        self.ns["In"].append(source)
        exec(compile(source, f"<ipython-input-{len(self.ns['In']) - 1}-abc>", "exec", dont_inherit=True), self.ns)

    def __getitem__(self, name: str) -> Any:
        return self.ns[name]


@pytest.fixture
def cell() -> Cells:
    return Cells()


TWO = """
    import numpy as np

    table = np.zeros(3_000_000)
    small = np.zeros(10)
    text = "x" * 12_000_000

    def helper():
        return table

    def work():
        return helper(), small, text
"""


def test_big_captured_variables_are_listed_biggest_first(cell: Cells) -> None:
    cell(TWO)
    found = captured_sizes(cell["work"])
    assert [(s.node, s.variable, s.kind, round(s.size / 1e6)) for s in found] == [
        ("work", "table", "global", 24),
        ("work", "text", "global", 12),
    ]
    assert str(found[0]) == (
        "node 'work' captures the global 'table' (numpy.ndarray, 24 MB), which travels with the code of 'helper' in "
        "cell In[1], line 7 (defined in cell In[1], line 3): pass it as an input, so that it travels once"
    )


def test_small_captures_give_no_report(cell: Cells) -> None:
    cell("G = [1, 2]\n\ndef work():\n    return G, work")
    assert captured_sizes([cell["work"]]) == ()


def test_a_big_setting_of_a_class_node_is_listed(cell: Cells) -> None:
    cell("""
        from wfnb.model.node import Node

        class Label(Node):
            class Params(Node.Params):
                text: str

            def execute(self):
                return self.params.text

        label = Label(text="x" * 11_000_000)
    """)
    (size,) = captured_sizes((cell["label"],))
    assert isinstance(size, CapturedSize)
    assert (size.node, size.variable, size.kind) == ("Label", "text", "attribute")


def test_all_that_is_too_big_is_refused_in_one_error_with_the_cure(cell: Cells) -> None:
    cell(TWO)
    with pytest.raises(CaptureError, match="2 things cannot travel") as refused:
        pack_within([cell["work"]], [cell["work"]])
    assert (refused.value.node, refused.value.variable) == ("work", "table")
    lines = str(refused.value).splitlines()
    assert [("'table'" in line, "'text'" in line) for line in lines[1:]] == [(True, False), (False, True)]
    assert "cell In[1], line 7" in lines[1]
    assert "pass it as an input" in lines[1]
    assert "load it inside the node" in lines[1]
    assert f"The limit is 10 MB ({LIMIT})" in lines[1]


def test_what_cannot_be_pickled_and_what_is_too_big_are_told_together(cell: Cells) -> None:
    cell("import threading\nLOCK = threading.Lock()\nLATER = (n for n in ())\nBIG = b'x' * 11_000_000")
    cell("def locked():\n    return LOCK, LATER\n\ndef big():\n    return BIG")
    nodes = [cell["locked"], cell["big"]]
    with pytest.raises(CaptureError, match="things cannot travel") as refused:
        pack_within(nodes, nodes)
    lines = str(refused.value).splitlines()
    for name in ("'LOCK'", "'LATER'", "'BIG'"):
        assert any(name in line for line in lines), name
    assert "cannot pickle 'generator'" in next(line for line in lines if "'LATER'" in line)


def test_the_limit_is_moved_by_the_environment(cell: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    cell("DATA = b'x' * 2_000_000\n\ndef work():\n    return len(DATA)")
    assert load_code(pack_within(cell["work"], cell["work"]))() == 2_000_000
    monkeypatch.setenv(LIMIT, "1.5")
    with pytest.raises(CaptureError, match=r"'DATA' \(bytes, 2 MB\).*The limit is 1.5 MB"):
        pack_within(cell["work"], cell["work"])


@pytest.mark.parametrize("text", ["much", "-1", "0", "nan"])
def test_a_limit_that_is_no_number_is_refused(cell: Cells, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    cell("def work():\n    return 1")
    monkeypatch.setenv(LIMIT, text)
    with pytest.raises(ConfigurationError, match=f"{LIMIT} is '{text}'"):
        pack_within(cell["work"], cell["work"])


def test_code_that_is_small_is_not_searched(cell: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    cell("def work():\n    return 1")
    monkeypatch.setattr(sizes, "captured_sizes", lambda *_, **__: pytest.fail("it was searched"))
    pack_within(cell["work"], cell["work"])
