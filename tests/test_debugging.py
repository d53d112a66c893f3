"""A task again in this process: its real inputs, its function as it is here, and the cell that holds both."""

from __future__ import annotations

import asyncio
import linecache
import re
import sys
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wfnb as wf
from tests.cells import alone
from wfnb.authoring.registry import REGISTRY
from wfnb.authoring.workflow import LATEST
from wfnb.run import Run

pytestmark = pytest.mark.timeout(30)


class Main:
    """The module that cells are run in, in place of this process's own."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")

    def cell(self, source: str) -> None:
        """Run a cell."""
        name = f"<wfnb-test-{uuid.uuid4().hex}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), vars(self.module))

    def __getitem__(self, name: str) -> Any:
        return vars(self.module)[name]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session that computes in this process, with an empty memory store."""
    return alone(monkeypatch, tmp_path)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    made = Main()
    monkeypatch.setitem(sys.modules, "__main__", made.module)
    latest = dict(LATEST)
    with REGISTRY.kept_apart():
        yield made
    LATEST.clear()
    LATEST.update(latest)


def failed(run: Run) -> Run:
    with pytest.raises(wf.StepFailed):
        run.result(10)
    return run


SIMPLE = """
import wfnb as wf

@wf.node
def load(n: int) -> list[int]:
    return list(range(n))

@wf.node(retries=0)
def invert(x: int, scale: int = 6) -> float:
    half = scale / 2
    return half / x

@wf.node
def total(numbers: list[float]) -> float:
    return sum(numbers)

@wf.workflow
def inverses(n: int) -> float:
    return total(invert.map(load(n), scale=8))
"""


# -- the cell ----------------------------------------------------------------------------------------------------------


def test_the_cell_runs_the_task_again_with_its_real_inputs_and_retry_uses_what_was_edited_in_it(main: Main) -> None:
    main.cell(SIMPLE)
    run = failed(main["inverses"].submit(3))
    source = run.debug("invert[0]")
    assert source is not None
    assert re.match(rf"# step 'invert\[0\]' \(.*, line 19\) of run '{run.id}' failed: ZeroDivisionError: ", source)
    assert "@wf.node(retries=0)\ndef invert(x: int, scale: int = 6) -> float:\n    half" in source
    with pytest.raises(ZeroDivisionError):
        main.cell(source)
    assert main["inputs_of_invert_0"] == {"x": 0, "scale": 8}
    main.cell(source.replace("half / x", "half / (x or 1)"))
    assert run.retry().result(10) == 4.0 + 4.0 + 2.0
    # Those before it are of edited code now, too, and run again; what they use is not.
    assert len(run["load"].attempts) == 1


def test_without_an_address_it_is_the_task_that_failed(main: Main) -> None:
    main.cell(SIMPLE)
    run = failed(main["inverses"].submit(2))
    assert run.debug() == run.debug("invert[0]")
    fine = main["inverses"].submit(0)
    fine.result(10)
    with pytest.raises(LookupError, match=r"no task of run .* has failed"):
        fine.debug()


def test_variables_of_the_user_are_left_alone(main: Main) -> None:
    main.cell(SIMPLE)
    run = failed(main["inverses"].submit(2))
    main.cell("run = inputs = 'mine'; inputs_of_invert_0 = 'mine too'")
    source = run.debug("invert[0]")
    assert source is not None
    with pytest.raises(ZeroDivisionError):
        main.cell(source)
    assert (main["run"], main["inputs"], main["inputs_of_invert_0"]) == ("mine", "mine", "mine too")
    assert main["inputs_of_invert_0_"] == {"x": 0, "scale": 8}


def test_the_cell_names_the_run_by_the_variable_that_holds_it(main: Main) -> None:
    main.cell(SIMPLE)
    vars(main.module)["mine"] = failed(main["inverses"].submit(2))
    source = main["mine"].debug("invert[0]")
    assert "inputs_of_invert_0 = mine['invert[0]'].inputs" in source
    assert "mine.retry()" in source


def test_names_the_kernel_has_not_are_told(main: Main) -> None:
    main.cell(SIMPLE.replace("half / x", "divide(half, x)") + "\ndef divide(a, b):\n    return a / b\n")
    run = failed(main["inverses"].submit(2))
    assert "run the cells that define it" not in str(run.debug("invert[0]"))
    del main.module.divide
    assert "It uses 'divide': run the cells that define it first" in str(run.debug("invert[0]"))


@pytest.mark.parametrize(
    "made",
    [
        "def f(x):\n    return 1 / x\nother = wf.node(f)",
        "@wf.node\ndef f(x):\n    return 1 / x\nother = f.options(name='g')",
    ],
)
def test_a_node_that_is_made_of_the_function_by_a_call_is_to_be_made_again(main: Main, made: str) -> None:
    main.cell(f"import wfnb as wf\n{made}\n\n@wf.workflow\ndef flow(x: int):\n    return other(x)\n")
    source = str(failed(main["flow"].submit(0)).debug())
    assert "made of it by a call: run the cell of that again, too" in source
    with pytest.raises(ZeroDivisionError):
        main.cell(source)


CALLS = {
    "positional only": ("def f(a, /, b):\n    return a / b", "f(1, b=0)", "f(inputs_of_f['a'], inputs_of_f['b'])"),
    "both": (
        "def f(a, /, *, b):\n    return a / b",
        "f(1, b=0)",
        "f(inputs_of_f['a'], **{name: inputs_of_f[name] for name in ['b']})",
    ),
    "any number": ("def f(*numbers):\n    return 1 / sum(numbers)", "f(1, -1)", "f(*inputs_of_f['numbers'])"),
    "keywords": ("def f(a, **more):\n    return a / more['b']", "f(1, b=0)", "f(**inputs_of_f)"),
    "context": ("def f(a, ctx: wf.Context):\n    return ctx.attempt / a", "f(0)", "f(**inputs_of_f)"),
    "defaults": ("def f(a, b=0):\n    return a / b", "f(1)", "f(**inputs_of_f)"),
}


@pytest.mark.parametrize("kind", CALLS)
def test_the_cell_calls_functions_of_every_shape(main: Main, kind: str) -> None:
    function, call, text = CALLS[kind]
    main.cell(f"import wfnb as wf\n\n@wf.node\n{function}\n\n@wf.workflow\ndef flow():\n    return {call}\n")
    run = failed(main["flow"].submit())
    source = str(run.debug("f"))
    assert text in source
    with pytest.raises(ZeroDivisionError):
        main.cell(source)
    with pytest.raises(ZeroDivisionError):
        run["f"].reproduce()


def test_an_asynchronous_node_is_awaited_in_a_notebook_and_run_in_a_script(main: Main) -> None:
    main.cell("""
import wfnb as wf

@wf.node
async def f(a: int) -> float:
    return 1 / a

@wf.workflow
def flow(a: int) -> float:
    return f(a)
""")
    run = failed(main["flow"].submit(0))
    source = str(run.debug("f"))
    assert "asyncio.run(f(**inputs_of_f))" in source
    with pytest.raises(ZeroDivisionError):
        main.cell(source)

    async def cell() -> None:
        run["f"].reproduce()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(cell())


def test_a_class_node_is_made_with_its_settings(main: Main) -> None:
    main.cell("""
import wfnb as wf

class Divide(wf.Node):
    class Params(wf.Params):
        by: float = 1.0

    def prepare(self, context):
        self.address = context.address

    def execute(self, x: float) -> float:
        return x / self.params.by

@wf.workflow
def flow(x: float) -> float:
    return Divide(by=0)(x)
""")
    run = failed(main["flow"].submit(1.0))
    source = str(run.debug("Divide"))
    assert "class Divide(wf.Node):" in source
    assert "Divide(by=0.0)(**inputs_of_Divide)" in source
    with pytest.raises(ZeroDivisionError):
        main.cell(source)
    main.cell(source.replace("x / self.params.by", "x / (self.params.by or 4.0)"))
    assert run.retry().result(10) == 0.25


WRITTEN_ELSEWHERE = {
    "lambda": ("f = wf.node(name='f')(lambda x: 1 / x)", "f(x)", "is a lambda"),
    "method": (
        "class Model:\n    def f(self, x):\n        return 1 / x\nf = wf.node(Model().f)",
        "f(x)",
        "a method or an inner function, 'Model.f'",
    ),
    "closure": (
        "def make(n):\n    @wf.node\n    def f(x):\n        return n / x\n    return f\nf = make(1)",
        "f(x)",
        "made inside another function .* and has 'n' from there",
    ),
    "built in": ("f = wf.node(name='f')(__import__('math').sqrt)", "f(x - 1)", "no Python function or class of yours"),
}


@pytest.mark.parametrize("kind", WRITTEN_ELSEWHERE)
def test_what_no_cell_can_hold_is_said_and_called_with_its_real_inputs_all_the_same(main: Main, kind: str) -> None:
    made, call, why = WRITTEN_ELSEWHERE[kind]
    main.cell(f"import wfnb as wf\n{made}\n\n@wf.workflow\ndef flow(x: int):\n    return {call}\n")
    run = failed(main["flow"].submit(0))
    source = str(run.debug("f"))
    flat = " ".join(source.replace("\n# ", " ").split())
    assert re.search(why, flat), flat
    with pytest.raises((ZeroDivisionError, ValueError)):
        main.cell(source)


# -- its inputs --------------------------------------------------------------------------------------------------------

BODIES = """
import wfnb as wf

@wf.node
def numbers(n: int) -> list[int]:
    return list(range(n))

@wf.node
def check(x: float, limit: float = 3.0) -> float:
    if x >= limit:
        raise ValueError(f"{x} is too much")
    return x + 1

@wf.node
def tell(error: str, also: float) -> None:
    raise RuntimeError(error)

@wf.workflow
def loops(x: float) -> float:
    return wf.loop(check, init=x, times=5)

@wf.workflow
def eaches(n: int) -> list[float]:
    return wf.each(numbers(n), lambda x: check(check(x), limit=2.0))

@wf.workflow
def attempts(x: float) -> float:
    return wf.attempt(lambda: check(x), catch=lambda err: tell(err.message, check(0.0)))

@wf.workflow
def within(n: int) -> list[float]:
    return wf.each(numbers(n), lambda x: wf.loop(lambda carried: check(carried), init=x, times=3))

@wf.node
def planned(x: float):
    @wf.workflow
    def plan():
        return check(check(x))
    return plan

@wf.workflow
def dynamics(x: float) -> float:
    return wf.dynamic(planned, x)

@wf.node
def rows(n: int):
    yield from range(n)

@wf.workflow
def streams(n: int) -> list[float]:
    return wf.stream(rows(n), check)
"""


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        ("loops.submit(0.0)", {"x": 3.0}),
        ("eaches.submit(2)", {"x": 2.0, "limit": 2.0}),
        ("attempts.submit(9.0)", {"error": "9.0 is too much", "also": 1.0}),
        ("within.submit(2)", {"x": 3.0}),
        ("dynamics.submit(2.5)", {"x": 3.5}),
        ("streams.submit(9)", {"x": 3.0}),
    ],
    ids=lambda value: value.partition(".")[0] if isinstance(value, str) else "",
)
def test_the_inputs_of_tasks_in_constructs_are_the_real_ones(main: Main, call: str, inputs: dict[str, Any]) -> None:
    main.cell(BODIES)
    run = failed(eval(call, vars(main.module)))
    address = run.snapshot().error.address  # type: ignore[union-attr]
    assert run[address].inputs == inputs
    assert wf.get_run(run.id)[address].inputs == inputs
    kind = type(run[address].error)
    with pytest.raises(kind):
        main.cell(str(run.debug()))
    with pytest.raises(kind):
        run[address].reproduce()


def test_a_task_that_was_not_come_to_has_no_inputs_and_says_so(main: Main) -> None:
    main.cell(SIMPLE)
    run = failed(main["inverses"].submit(2))
    with pytest.raises(LookupError, match="has no value"):
        run["total"].reproduce()


# -- reproducing -------------------------------------------------------------------------------------------------------


def test_reproduce_raises_the_real_error_with_the_functions_own_frame_last_and_writes_nothing(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    main.cell(SIMPLE)
    run = failed(main["inverses"].submit(2))
    before = run.events()
    with pytest.raises(ZeroDivisionError) as raised:
        run["invert[0]"].reproduce()
    frame = raised.traceback[-1].frame
    assert frame.code.name == "invert"
    assert frame.f_locals == {"x": 0, "scale": 8, "half": 4.0}
    assert run.events() == before
    said = capsys.readouterr().out
    assert "task 'invert[0]' is called here, and nothing of it is recorded" in said
    assert "node 'invert' as it is in this process" in said


def test_reproduce_calls_the_function_as_it_is_now_and_returns_its_value(main: Main) -> None:
    main.cell(SIMPLE)
    run = failed(main["inverses"].submit(2))
    main.cell("@wf.node\ndef invert(x: int, scale: int) -> float:\n    return 1.0 * scale")
    assert run["invert[0]"].reproduce() == 8.0
    assert run["invert[0]"].status == "failed"


def test_reproduce_tells_the_function_about_its_task(main: Main) -> None:
    main.cell("""
import wfnb as wf

@wf.node(retries=1)
def f(x: int, ctx: wf.Context) -> list[object]:
    if x == 0:
        raise ValueError(ctx.run_id, ctx.address, ctx.attempt)
    return [ctx.run_id, ctx.address, ctx.attempt]

@wf.workflow
def flow(xs: list[int]) -> list[list[object]]:
    return f.map(xs)
""")
    run = failed(main["flow"].options(on_error="continue").submit([1, 0]))
    assert run["f[0]"].reproduce() == [run.id, "f[0]", 1]
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        run["f[1]"].reproduce()
    assert raised.value.args == (run.id, "f[1]", 2)


def test_a_process_without_the_workflow_uses_what_has_the_name_and_else_what_was_kept(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main.cell(SIMPLE)
    run = failed(main["inverses"].submit(2))
    monkeypatch.setattr("wfnb.debugging.LATEST", {})
    other = wf.get_run(run.id)
    main.cell("@wf.node\ndef invert(x: int, scale: int) -> float:\n    return 1.5")
    assert other["invert[0]"].reproduce() == 1.5
    assert "as its name means it in this process" in capsys.readouterr().out
    assert "once the workflow's cell was run too" in str(other.debug("invert[0]"))
    del main.module.invert
    with pytest.raises(ZeroDivisionError):
        other["invert[0]"].reproduce()
    assert "as it was kept with the run" in capsys.readouterr().out
    assert "def invert(x: int, scale: int = 6)" in str(other.debug("invert[0]"))


def test_a_step_that_was_planned_while_the_run_went_on_is_planned_again_with_the_function_of_its_cell(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    main.cell(SIMPLE)
    main.cell("""
@wf.node
def planner(n: int):
    @wf.workflow
    def inner():
        return invert(n)
    return inner

@wf.workflow
def planned(n: int):
    return wf.dynamic(planner, n)
""")
    run = failed(main["planned"].submit(0))
    source = str(run.debug())
    assert "has no step" not in source
    assert "# Its step was planned while the run went on: retry plans it again" in source
    with pytest.raises(ZeroDivisionError):
        run["planner/invert"].reproduce()
    assert "as it is in this process" in capsys.readouterr().out
    main.cell("@wf.node\ndef invert(x: int, scale: int = 6) -> float:\n    return 1.5")
    assert run.retry().result(10) == 1.5


def test_a_workflow_that_cannot_be_written_down_any_more_is_told(main: Main) -> None:
    main.cell(SIMPLE)
    run = failed(main["inverses"].submit(2))
    main.cell("@wf.workflow\ndef inverses(n: int) -> float:\n    return missing(n)")
    source = str(run.debug("invert[0]"))
    assert "# workflow 'inverses' as it is here cannot be written down: NameError: name 'missing'" in source
    main.cell("@wf.workflow\ndef inverses(n: int) -> float:\n    return load(n)")
    assert "# workflow 'inverses' as it is here has no step 'invert'" in str(run.debug("invert[0]"))
