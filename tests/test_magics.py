"""A cell is a node, and runs are looked after in words: the magics in a real shell."""

from __future__ import annotations

import asyncio
import doctest
import inspect
import sys
import traceback
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from wfnb import magics
from wfnb.authoring.capture import load_code, pack_code, place
from wfnb.authoring.fingerprint import fingerprint
from wfnb.authoring.registry import REGISTRY
from wfnb.authoring.workflow import Workflow
from wfnb.magics import CellError, Header, load_ipython_extension, read_header
from wfnb.model.errors import RunNotFound
from wfnb.model.node import Node
from wfnb.model.policy import Exponential, Fixed


class Shell:
    """A shell to run cells in."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.names: dict[str, Any] = shell.user_ns
        self.shown = ""

    def run(self, cell: str) -> Any:
        """Run a cell that must succeed; return the value of its last line."""
        result = self._run(cell)
        result.raise_error()
        return result.result

    def fail(self, cell: str) -> Any:
        """Run a cell that must fail; return its error."""
        result = self._run(cell)
        assert result.error_in_exec is not None, f"it did not fail: {cell}"
        return result.error_in_exec

    def _run(self, cell: str) -> Any:
        with capture_output() as captured:
            result = self.shell.run_cell(cell, store_history=True)
        self.shown = captured.stdout + captured.stderr
        return result


@pytest.fixture
def shell() -> Iterator[Shell]:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # IPython's own, while it starts
        made = InteractiveShell.instance(config=config)
    load_ipython_extension(made)
    try:
        with REGISTRY.kept_apart():
            yield Shell(made)
    finally:
        made.restore_sys_module_state()
        InteractiveShell.clear_instance()


# -- the first line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "inputs"),
    [
        ("f", ""),
        ("f a", "a"),
        ("f a b c", "a, b, c"),
        ("f a, b,c", "a, b, c"),
        ("f df: pd.DataFrame", "df: pd.DataFrame"),
        ("f df: pd.DataFrame limit: int = 10 seed=3", "df: pd.DataFrame, limit: int = 10, seed=3"),
        ("f kind: Literal['a b', 'c'] x", "kind: Literal['a b', 'c'], x"),
        ("f x: int | None = None y=1", "x: int | None = None, y=1"),
        ("f x = a if b else c y=1", "x = a if b else c, y=1"),
        ("f key=lambda x: -x  y=1", "key=lambda x: -x, y=1"),
        ("f path='a --b -> c' x=1", "path='a --b -> c', x=1"),
        ("f make: Callable[[int], str] x: dict[str, list[int]]", "make: Callable[[int], str], x: dict[str, list[int]]"),
        ("f a, *, b", "a, *, b"),
    ],
)
def test_inputs_stand_apart_by_spaces_or_commas_with_annotations_and_defaults(line: str, inputs: str) -> None:
    commas = read_header(line).inputs
    assert "".join(commas.split()) == "".join(inputs.split())


@pytest.mark.parametrize(
    ("out", "outs", "as_dict"),
    [
        ("", (), False),
        ("-> rows", (("rows", ""),), False),
        ("->rows", (("rows", ""),), False),
        ("-> rows: list[int]", (("rows", "list[int]"),), False),
        ("-> rows, total", (("rows", ""), ("total", "")), False),
        ("-> (rows, total)", (("rows", ""), ("total", "")), False),
        ("-> rows total: int", (("rows", ""), ("total", "int")), False),
        ("-> {rows, total}", (("rows", ""), ("total", "")), True),
    ],
)
def test_what_comes_after_the_arrow_names_the_value(out: str, outs: Any, as_dict: bool) -> None:
    assert read_header(f"f x {out} --cache") == Header("f", "x", outs, as_dict, "--cache")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "the node has no name"),
        ("-> rows", "the node has no name"),
        ("--cache", "the node has no name"),
        ("my.node x", "a node cannot be called 'my.node'"),
        ("class x", "a node cannot be called 'class'"),
        ("f x:", "the inputs of node 'f', 'x:', cannot be read"),
        ("f x (", "the inputs of node 'f'"),
        ("f x x y=", "the inputs of node 'f'"),
        ("f x ->", "has nothing after '->'"),
        ("f x -> a.b", "'-> a.b' names no variable"),
        ("f x -> a=3", "'-> a=3' names no variable"),
        ("f x -> *a", r"'-> \*a' names no variable"),
    ],
)
def test_a_first_line_that_cannot_be_read_says_how_to_write_it(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_header(line)
    assert "-> rows" in str(caught.value)


def test_the_examples_in_the_module_are_true() -> None:
    assert doctest.testmod(magics).failed == 0


# -- a cell is a node ------------------------------------------------------------------------------------------------


def test_a_cell_becomes_a_node_under_its_name_in_the_notebook_and_the_registry(shell: Shell) -> None:
    assert shell.run("%%node clean rows limit: int = 10 -> kept\nkept = [one for one in rows if one < limit]") is None
    clean = shell.names["clean"]
    assert isinstance(clean, Node)
    assert REGISTRY.node("clean") is clean
    assert clean([5, 20]) == [5]
    assert clean([5, 20], limit=30) == [5, 20]
    assert repr(clean) == "<node 'clean(rows, limit: int = 10)'>"
    assert shell.shown == ""


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("%%node f x\nx + 1", 3),
        ("%%node f x\ny = x + 1\ny * 2", 6),
        ("%%node f x\ny = x\n", None),
        ("%%node f x\nif x:\n    return 'early'\n'late'", "early"),
        ("%%node f x -> y\ny = x + 1\n'not this'", 3),
        ("%%node f x -> y, z\ny = z = x", (2, 2)),
        ("%%node f x -> {y, z}\ny = z = x", {"y": 2, "z": 2}),
        ("%%node f x -> x\n# as it is", 2),
        ("%%node f x\n# nothing", None),
        ("%%node f x\n'''Says it.'''\nx", 2),
    ],
)
def test_its_value_is_the_variable_after_the_arrow_or_the_last_line(shell: Shell, cell: str, value: Any) -> None:
    shell.run(cell)
    assert shell.names["f"](2) == value


def test_it_sees_the_notebooks_names_as_they_are_when_it_runs(shell: Shell) -> None:
    shell.run("rate = 2\n\ndef double(x):\n    return x * rate")
    shell.run("%%node price x\ndouble(x) + rate")
    assert shell.names["price"](1) == 4
    shell.run("rate = 10")
    assert shell.names["price"](1) == 20
    assert "x" not in shell.names


def test_nothing_in_its_first_line_is_filled_in_by_the_notebook(shell: Shell) -> None:
    shell.run("limit = 3")
    shell.run("%%node f x={'limit': 1} y='$limit'\nx, y")
    assert shell.names["f"]() == ({"limit": 1}, "$limit")


def test_its_docstring_describes_it(shell: Shell) -> None:
    shell.run("%%node f x\n'''Doubles it.'''\nx * 2")
    assert shell.names["f"].info.description == "Doubles it."


def test_a_cell_that_awaits_is_an_asynchronous_node(shell: Shell) -> None:
    shell.run("%%node f x\nimport asyncio\nawait asyncio.sleep(0)\nx + 1")
    assert shell.names["f"].ports.asynchronous
    assert asyncio.run(shell.names["f"](1)) == 2


def test_a_cell_that_awaits_in_a_function_of_its_own_is_not(shell: Shell) -> None:
    shell.run("%%node f x\nasync def inner():\n    await nothing\nx")
    assert shell.names["f"](1) == 1


def test_a_cell_that_yields_is_a_generator_node(shell: Shell) -> None:
    shell.run("%%node f n\nfor i in range(n):\n    yield i")
    assert list(shell.names["f"](3)) == [0, 1, 2]
    assert shell.names["f"].ports.generator


def test_annotations_are_those_of_the_node(shell: Shell) -> None:
    shell.run("%%node f xs: list[int] -> total: int, rest\ntotal = sum(xs)\nrest = xs[1:]")
    assert shell.names["f"].ports.annotations == {"xs": list[int], "return": tuple[int, Any]}


def test_several_values_can_be_unpacked_in_a_workflow(shell: Shell) -> None:
    shell.run("%%node f x -> a, b\na = b = x")
    f = shell.names["f"]

    def flow(x: int) -> Any:
        a, b = f(x)
        return [a, b]

    assert [step.id for step in Workflow("flow", flow).graph.steps] == ["f"]


def test_the_options_are_those_of_a_node(shell: Shell) -> None:
    shell.run(
        "%%node f x --retries 3 --backoff exponential:2 --retry-on ValueError --retry-on requests.Timeout --timeout 30 "
        "--cache --no-checkpoint --no-validate --resources GPU=2 --resources disk --priority high --version 2 "
        "--tags ml\nx"
    )
    policy, info = shell.names["f"].policy, shell.names["f"].info
    assert (policy.retries, policy.backoff, policy.timeout) == (3, Exponential(2.0), 30.0)
    assert policy.retry_on == ("ValueError", "requests.Timeout")
    assert (policy.cache, policy.checkpoint, policy.validate) == (True, False, False)
    assert policy.resources == {"GPU": 2, "disk": 1}
    assert (policy.priority, info.version, info.tags) == (5, "2", ("ml",))
    shell.run("%%node f x --backoff 2 --priority 3\nx")
    assert (shell.names["f"].policy.backoff, shell.names["f"].policy.priority) == (Fixed(2.0), 3)


def test_running_the_cell_again_replaces_the_node_without_a_word(shell: Shell) -> None:
    for _ in range(2):
        shell.run("%%node f x\nx")
    assert REGISTRY.node("f") is shell.names["f"]
    assert shell.shown == ""


def test_its_fingerprint_goes_by_what_it_does(shell: Shell) -> None:
    def digest(cell: str) -> str | None:
        shell.run(cell)
        return fingerprint(shell.names["f"]).digest

    shell.run("rate = 2")
    first = digest("%%node f x --cache\nx * rate")
    assert first is not None
    assert digest("%%node f x --cache\n# the price\nx * rate") == first
    assert digest("%%node f x --cache\nx * rate + 1") != first
    shell.run("rate = 3")
    assert digest("%%node f x --cache\nx * rate") != first


def test_it_travels_to_workers(shell: Shell) -> None:
    shell.run("import math\noffset = 1")
    shell.run("%%node f x -> y\ny = math.floor(x) + offset")
    assert load_code(pack_code(shell.names["f"]))(2.5) == 3


# -- when something is wrong -----------------------------------------------------------------------------------------


def test_a_traceback_shows_the_line_of_the_cell(shell: Shell) -> None:
    shell.run("1")
    shell.run("%%node f x\ny = 0\n\nx / y")
    try:
        shell.names["f"](1)
    except ZeroDivisionError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
    assert (last.lineno, last.line, last.name) == (4, "x / y", "f")
    assert place(last.filename, 4) == "cell In[2], line 4"


def test_its_source_is_shown_as_the_def_it_stands_for(shell: Shell) -> None:
    shell.run("%%node f x: int -> y --cache\n\nif x:\n    y = 1\nelse:\n    y = 2\n")
    assert inspect.getsource(shell.names["f"].function).rstrip() == (
        "def f(x: int):  # %%node\n\n    if x:\n        y = 1\n    else:\n        y = 2"
    )


@pytest.mark.parametrize("sign", ["", "f", "r", "b"])
def test_texts_over_several_lines_stay_as_they_are(shell: Shell, sign: str) -> None:
    text = sign + "'''one\n  two\n\nthree\x0c four'''"
    shell.run(f"%%node f x\ny = ({text},\n{text})\ny")
    assert shell.names["f"](1) == (eval(text), eval(text))


def test_a_variable_that_was_not_set_is_told_at_the_last_line(shell: Shell) -> None:
    shell.run("%%node f x -> y\nif x:\n    y = 1\n")
    try:
        shell.names["f"](0)
    except UnboundLocalError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
    assert last.lineno == 3


def test_a_syntax_error_points_at_the_line_of_the_cell_without_a_traceback(shell: Shell) -> None:
    error = shell.fail("%%node f x\ny = 1\nz = = 3\n")
    assert isinstance(error, CellError)
    assert isinstance(error.__cause__, SyntaxError)
    assert (error.__cause__.lineno, error.__cause__.text) == (3, "z = = 3\n")
    assert "Cell In[1], line 3" in shell.shown
    assert "z = = 3" in shell.shown
    assert "SyntaxError: invalid syntax" in shell.shown
    assert "wfnb" not in shell.shown
    assert "f" not in shell.names


@pytest.mark.parametrize("cell", ["%%node f x\n  y = 1\n y", "%%node f x\nfrom math import *", "%%node f x\nbreak"])
def test_whatever_python_refuses_is_told_as_python_tells_it(shell: Shell, cell: str) -> None:
    assert isinstance(shell.fail(cell), CellError)
    assert "Error: " in shell.shown
    assert "line 2" in shell.shown or "line 3" in shell.shown
    assert "magics.py" not in shell.shown


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%node f x --retires 3\nx", "%%node has no '--retires'. Did you mean '--retries'?"),
        ("%%node f --cache x\nx", "%%node has no 'x'. Inputs come before the options"),
        ("%%node f x --retries many\nx", "argument --retries: invalid int value: 'many'"),
        ("%%node f x --backoff soon:2\nx", "argument --backoff: invalid"),
        ("%%node f x --retries -1\nx", "option 'retries' of node 'f' cannot be -1: give a whole number, 0 or more"),
        ("%%node f x --priority hihg\nx", "Did you mean 'high'?"),
        ("%%node f x --version '1\nx", "cannot be read: No closing quotation"),
        ("%%node f x: Frame\nx", "the first line of node 'f' cannot be evaluated: NameError: name 'Frame'"),
        ("%%node f x -> rosw\nrows = x", "'rosw' is the value of node 'f', and nothing in its cell sets it. Did you"),
        ("%%node\nx", "the node has no name"),
    ],
)
def test_a_cell_that_cannot_be_a_node_says_why_in_one_line(shell: Shell, cell: str, said: str) -> None:
    assert type(shell.fail(cell)) is UsageError
    assert shell.shown.startswith("UsageError: ")
    assert said in shell.shown
    assert len(shell.shown.splitlines()) == 1
    assert "f" not in shell.names


# -- runs ------------------------------------------------------------------------------------------------------------


class FakeRun:
    """A run that notes what is done to it."""

    def __init__(self, run_id: str, done: list[Any]) -> None:
        self.id, self.done = run_id, done

    def pause(self) -> None:
        self.done.append(("pause", self.id))

    def cancel(self) -> None:
        self.done.append(("cancel", self.id))

    def retry(self) -> FakeRun:
        self.done.append(("retry", self.id))
        return self


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of the session, which is a stand-in that knows the run 'r1'."""
    asked: list[Any] = []

    def get_run(run_id: str) -> FakeRun:
        if run_id != "r1":
            raise RunNotFound(f"no run '{run_id}' in the store")
        return FakeRun(run_id, asked)

    def resume(run_id: str) -> FakeRun:
        run = get_run(run_id)
        asked.append(("resume", run_id))
        return run

    def runs(workflow: str | None, status: Any, limit: int) -> list[str]:
        asked.append(("runs", workflow, status, limit))
        return ["r1"]

    session = types.ModuleType("wfnb.session")
    vars(session).update(get_run=get_run, resume=resume, runs=runs)
    monkeypatch.setitem(sys.modules, "wfnb.session", session)
    return asked


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("%wfnb runs", ("runs", None, None, 100)),
        ("%wfnb runs --status failed --workflow orders --limit 5", ("runs", "orders", ["failed"], 5)),
        ("%wfnb runs --status failed,running", ("runs", None, ["failed", "running"], 100)),
        ("%wfnb pause r1", ("pause", "r1")),
        ("%wfnb cancel r1", ("cancel", "r1")),
        ("%wfnb retry r1", ("retry", "r1")),
        ("%wfnb resume r1", ("resume", "r1")),
    ],
)
def test_a_word_asks_the_session(shell: Shell, done: list[Any], line: str, asked: Any) -> None:
    shell.run(line)
    assert done == [asked]


@pytest.mark.parametrize("word", ["show", "resume", "retry", "pause", "cancel"])
def test_what_is_done_to_a_run_gives_the_run(shell: Shell, done: list[Any], word: str) -> None:
    assert shell.run(f"%wfnb {word} r1").id == "r1"


def test_a_runs_id_may_be_a_value_of_the_notebook(shell: Shell, done: list[Any]) -> None:
    shell.run("which = 'r1'")
    assert shell.run("%wfnb show {which}").id == "r1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%wfnb rnus", "%wfnb has no 'rnus'. Did you mean 'runs'?"),
        ("%wfnb show", "%wfnb show is not told which run: write %wfnb show RUN_ID; %wfnb runs lists them"),
        ("%wfnb cancel r1 r2", "%wfnb cancel is given 2 runs"),
        ("%wfnb runs --statsu failed", "%wfnb runs has no '--statsu'. Did you mean '--status'?"),
        ("%wfnb runs --status faild", "no run has the status 'faild'. Did you mean 'failed'?"),
        ("%wfnb runs --limit 0", "give a number, 1 or more"),
        ("%wfnb help me", "%wfnb help takes nothing more, and is given 'me'"),
    ],
)
def test_a_word_that_is_not_known_is_told_with_the_nearest_one(
    shell: Shell, done: list[Any], line: str, said: str
) -> None:
    assert type(shell.fail(line)) is UsageError
    assert said in shell.shown
    assert done == []


def test_an_error_of_wfnb_keeps_its_type_and_is_shown_without_a_traceback(shell: Shell, done: list[Any]) -> None:
    assert type(shell.fail("%wfnb show r2")) is RunNotFound
    assert shell.shown.strip() == "RunNotFound: no run 'r2' in the store"


@pytest.mark.parametrize("line", ["%wfnb", "%wfnb help"])
def test_help_lists_every_word(shell: Shell, line: str) -> None:
    shown = repr(shell.run(line))
    words = ("runs", "show RUN_ID", "resume", "retry", "pause", "cancel", "nodes")
    assert all(f"%wfnb {word}" in shown for word in words)


def test_the_nodes_are_listed_with_what_they_do(shell: Shell) -> None:
    shell.run("%%node f x --version 2\n'''Doubles <it>.'''\nx")
    listed = shell.run("%wfnb nodes")
    assert ("f", "2", "Doubles <it>.") in listed
    assert ("log", "", "Write a message to the task's log.") in listed
    assert "Doubles &lt;it&gt;." in listed._repr_html_()
    assert repr(listed).splitlines()[0].split() == ["node", "version", "what", "it", "does"]


def test_the_help_of_a_cell_magic_names_its_options(shell: Shell) -> None:
    assert "--retry-on" in str(magics.WfnbMagics.node.__doc__)
    assert "NAME INPUT ... [-> OUT]" in str(magics.WfnbMagics.node.__doc__)
