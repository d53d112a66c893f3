"""What travels to workers: user code by value, and errors that name what cannot."""

from __future__ import annotations

import functools
import importlib
import io
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

from wfnb.authoring import capture
from wfnb.authoring.capture import load_code, pack_code
from wfnb.authoring.fingerprint import fingerprint
from wfnb.authoring.usercode import is_user_module
from wfnb.model.errors import CaptureError

WORKER = """
import pickle, sys
import cloudpickle
from wfnb.authoring.capture import load_code
function, *args = load_code(sys.stdin.buffer.read())
sys.stdout.buffer.write(cloudpickle.dumps(function(*args)))
"""


def on_worker(cwd: Path, function: Any, *args: Any, env: dict[str, str] | None = None) -> Any:
    """Run a function in another process, in another directory, and bring its value back."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=pack_code((function, *args)),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)


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


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a local module and import it."""
    home = tmp_path / "project"
    home.mkdir()
    monkeypatch.syspath_prepend(str(home))
    names: list[str] = []

    def write(name: str, source: str) -> ModuleType:
        path = home / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source).strip() + "\n")
        names.append(name)
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)
        sys.modules.pop(name.partition(".")[0], None)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere"
    path.mkdir()
    return path


def test_a_notebook_function_and_its_helpers_run_on_a_worker(cell: Cells, elsewhere: Path) -> None:
    cell("def double(x):\n    return 2 * x\n\nG = 10\n\ndef work(x):\n    return double(x) + G")
    assert on_worker(elsewhere, cell["work"], 4) == 18


def test_a_local_module_reaches_a_worker_that_cannot_import_it(cell: Cells, local: Any, elsewhere: Path) -> None:
    local("helpers_a", "K = 3\n\ndef clean(x):\n    return _inner(x)\n\ndef _inner(x):\n    return x + K\n")
    cell("import helpers_a\nfrom helpers_a import clean\n\ndef work(x):\n    return clean(x), helpers_a.clean(x)")
    assert on_worker(elsewhere, cell["work"], 1) == (4, 4)


def test_an_edited_local_module_wins_over_the_old_one_on_the_worker(cell: Cells, local: Any, elsewhere: Path) -> None:
    (elsewhere / "helpers_b.py").write_text("def clean(x):\n    return 'old'\n")
    local("helpers_b", "def clean(x):\n    return 'new'\n")
    cell("import helpers_b\n\ndef work(x):\n    return helpers_b.clean(x)")
    assert on_worker(elsewhere, cell["work"], 1, env={"PYTHONPATH": str(elsewhere)}) == "new"


def test_local_modules_travel_through_other_local_modules(cell: Cells, local: Any, elsewhere: Path) -> None:
    local("helpers_c", "def base(x):\n    return x * 3\n")
    local("helpers_d", "import helpers_c\n\ndef clean(x):\n    return helpers_c.base(x)\n")
    cell("from helpers_d import clean\n\ndef work(x):\n    return clean(x)")
    assert on_worker(elsewhere, cell["work"], 2) == 6


def test_a_function_of_a_local_module_travels_as_the_node_itself(local: Any, elsewhere: Path) -> None:
    module = local("helpers_e", "import math\n\ndef work(x):\n    return math.sqrt(x)\n")
    assert on_worker(elsewhere, module.work, 9) == 3.0


def test_a_submodule_of_a_local_package_travels(cell: Cells, local: Any, elsewhere: Path) -> None:
    local("mypkg_f.__init__", "")
    sys.modules.pop("mypkg_f.__init__")
    local("mypkg_f.sub", "def clean(x):\n    return x + 1\n")
    cell("import mypkg_f.sub\n\ndef work(x):\n    return mypkg_f.sub.clean(x)")
    assert on_worker(elsewhere, cell["work"], 2) == 3


def test_modules_that_call_each_other_travel(cell: Cells, local: Any, elsewhere: Path) -> None:
    local(
        "helpers_h",
        "import sys\n\ndef odd(n):\n    return n != 0 and other().even(n - 1)\n\ndef other():\n    return G\n",
    )
    local("helpers_g", "import helpers_h\n\ndef even(n):\n    return n == 0 or helpers_h.odd(n - 1)\n")
    sys.modules["helpers_h"].G = sys.modules["helpers_g"]  # type: ignore[attr-defined]
    cell("import helpers_g\n\ndef work(n):\n    return helpers_g.even(n)")
    assert on_worker(elsewhere, cell["work"], 10) is True


def test_a_local_module_leaves_out_what_cannot_travel_and_no_node_names(
    cell: Cells, local: Any, elsewhere: Path
) -> None:
    local("helpers_i", "import threading\n_LOCK = threading.Lock()\n\ndef clean(x):\n    return x + 1\n")
    cell("import helpers_i\n\ndef work(x):\n    return helpers_i.clean(x)")
    assert on_worker(elsewhere, cell["work"], 1) == 2


def test_a_left_out_name_says_so_when_it_is_used_after_all(cell: Cells, local: Any) -> None:
    local("helpers_j", "import threading\n_LOCK = threading.Lock()\n\ndef clean(x):\n    return x + 1\n")
    cell("import helpers_j\n\ndef work(name):\n    return getattr(helpers_j, name)")
    work = load_code(pack_code(cell["work"]))
    assert work("clean")(1) == 2
    with pytest.raises(CaptureError, match=r"'helpers_j._LOCK' \(a lock\) did not travel"):
        work("_LOCK")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        work("nothing")


def test_a_name_of_a_local_module_that_the_node_reads_and_cannot_travel_is_an_error(cell: Cells, local: Any) -> None:
    local(
        "helpers_k",
        """
        import threading
        _LOCK = threading.Lock()

        def clean(x):
            with _LOCK:
                return x
    """,
    )
    cell("import helpers_k\n\ndef work(x):\n    return helpers_k.clean(x)")
    with pytest.raises(
        CaptureError, match=r"global '_LOCK' .*'_thread.lock'.*'clean' in helpers_k.py, line 4"
    ) as caught:
        pack_code(cell["work"])
    assert "defined in helpers_k.py, line 2" in str(caught.value)


def test_a_local_module_imported_inside_a_function_reaches_a_worker(cell: Cells, local: Any, elsewhere: Path) -> None:
    (elsewhere / "helpers_q.py").write_text("def clean(x):\n    return 'old'\n")
    local("helpers_r", "def add(x):\n    return x + 1\n")
    local("helpers_q", "def clean(x):\n    from helpers_r import add\n    return add(x)\n")
    cell("def work(x):\n    import json\n    import helpers_q\n    return json.dumps(helpers_q.clean(x))")
    assert on_worker(elsewhere, cell["work"], 1, env={"PYTHONPATH": str(elsewhere)}) == "2"


def test_a_submodule_imported_inside_a_function_reaches_a_worker(cell: Cells, local: Any, elsewhere: Path) -> None:
    local("mypkg_s.__init__", "")
    sys.modules.pop("mypkg_s.__init__")
    local("mypkg_s.sub", "def clean(x):\n    return x + 1\n")
    cell("""
        def work(x):
            from mypkg_s import sub
            import mypkg_s.sub as other

            return sub.clean(x), other.clean(x)
    """)
    assert on_worker(elsewhere, cell["work"], 1) == (2, 2)


def test_code_that_came_by_value_goes_on_by_value_with_the_same_fingerprint(
    cell: Cells, local: Any, elsewhere: Path
) -> None:
    local("helpers_u", "def clean(x):\n    return x + 1\n")
    cell("import helpers_u\n\ndef work(x):\n    return helpers_u.clean(x)")
    here = fingerprint(cell["work"])
    first = pack_code(cell["work"])
    del sys.modules["helpers_u"]
    moved = load_code(first)
    assert fingerprint(moved) == here
    assert on_worker(elsewhere, moved, 1) == 2


def test_code_loaded_where_it_was_packed_leaves_the_modules_there_alone(cell: Cells, local: Any) -> None:
    module = local("helpers_t", "def clean(x):\n    return x\n")
    cell("def work():\n    import helpers_t\n    return helpers_t")
    assert load_code(pack_code(cell["work"]))() is module


def test_instances_of_notebook_classes_come_back_as_instances_of_the_class(cell: Cells, elsewhere: Path) -> None:
    cell("class Model:\n    def __init__(self, k):\n        self.k = k\n\ndef fit(k):\n    return Model(k)")
    back = on_worker(elsewhere, cell["fit"], 7)
    assert isinstance(back, cell["Model"])
    assert back.k == 7


def test_instances_of_local_module_classes_come_back_as_instances_of_the_class(
    cell: Cells, local: Any, elsewhere: Path
) -> None:
    module = local("helpers_l", "class Model:\n    k = 2\n\ndef fit():\n    return Model()\n")
    assert isinstance(on_worker(elsewhere, module.fit), module.Model)


def test_dataclasses_enums_and_pydantic_models_of_a_notebook_travel_and_come_back(cell: Cells, elsewhere: Path) -> None:
    cell("""
        import dataclasses, enum
        from pydantic import BaseModel

        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int
            y: int = 2

        class Colour(enum.Enum):
            RED = 1

        class Config(BaseModel):
            depth: int = 3

        def work():
            assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2}
            return Point(1), Colour.RED, Config(depth="4")
    """)
    point, colour, config = on_worker(elsewhere, cell["work"])
    assert point == cell["Point"](1)
    assert colour is cell["Colour"].RED
    assert config == cell["Config"](depth=4)


def test_a_class_node_of_a_notebook_travels_with_its_params(cell: Cells, elsewhere: Path) -> None:
    cell("""
        from wfnb.model.node import Node

        class Scale(Node):
            class Params(Node.Params):
                factor: float = 2.0

            def execute(self, x):
                return x * self.params.factor

        double = Scale(factor=4.0)

        def call(node, x):
            return node.execute(x)
    """)
    assert on_worker(elsewhere, cell["call"], cell["double"], 2) == 8.0


def test_a_cached_helper_of_a_notebook_travels(cell: Cells, elsewhere: Path) -> None:
    cell("""
        import functools

        @functools.lru_cache(maxsize=7)
        def slow(x):
            return x * 2

        def work(x):
            return slow(x)
    """)
    assert on_worker(elsewhere, cell["work"], 4) == 8
    assert load_code(pack_code(cell["slow"])).cache_parameters()["maxsize"] == 7


def test_a_class_with_a_cached_property_travels(cell: Cells, elsewhere: Path) -> None:
    cell("""
        import functools

        class Table:
            made = 0

            @functools.cached_property
            def size(self):
                Table.made += 1
                return 4

        def work(x):
            table = Table()
            return x + table.size + table.size + 10 * Table.made
    """)
    assert on_worker(elsewhere, cell["work"], 1) == 19


def test_packing_leaves_the_registry_of_modules_as_it_was(cell: Cells, local: Any) -> None:
    kept = local("helpers_m", "def clean(x):\n    return x\n")
    local("helpers_n", "from helpers_m import clean\n\ndef more(x):\n    return clean(x)\n")
    cell("""
        import helpers_n, threading
        LOCK = threading.Lock()

        def work(x):
            return helpers_n.more(x)

        def bad():
            return work, LOCK
    """)
    cloudpickle.register_pickle_by_value(kept)
    try:
        pack_code(cell["work"])
        with pytest.raises(CaptureError):
            pack_code(cell["bad"])
        assert cloudpickle.list_registry_pickle_by_value() == {"helpers_m"}
    finally:
        cloudpickle.unregister_pickle_by_value(kept)


def test_user_modules_are_told_from_installed_ones(local: Any) -> None:
    import json

    import pydantic

    module = local("helpers_o", "")
    assert [is_user_module(m) for m in (module, sys.modules[__name__])] == [True, True]
    assert [is_user_module(m) for m in (json, pydantic, capture, sys, sys.modules["__main__"])] == [False] * 5


# -- what cannot travel ------------------------------------------------------------------------------------------------


def fails(cell: Cells, name: str = "work") -> CaptureError:
    with pytest.raises(CaptureError) as caught:
        pack_code(cell[name], node=name)
    return caught.value


def test_a_captured_lock_is_named_with_its_cell_and_the_cure(cell: Cells) -> None:
    cell("import threading\nLOCK = threading.Lock()")
    cell("def work(x):\n    with LOCK:\n        return x")
    error = fails(cell)
    assert (error.node, error.variable) == ("work", "LOCK")
    assert str(error) == (
        "node 'work' cannot travel to a worker: the global 'LOCK' is a value of type '_thread.lock', which cannot be "
        "pickled (cannot pickle '_thread.lock' object). It is captured by 'work' in cell In[2], line 1, and defined in "
        "cell In[1], line 2. To mend it, create it inside the node, or pass it as an input"
    )


def test_a_lock_in_a_container_of_a_helper_is_named_by_its_path(cell: Cells) -> None:
    cell("""
        import threading

        class Holder:
            def __init__(self):
                self.lock = threading.Lock()

        config = {"a": 1, "tools": [1, Holder()]}

        def helper():
            return config

        def work():
            return helper()
    """)
    error = fails(cell)
    assert error.variable == "config['tools'][1].lock"
    assert "the global 'config' holds at 'config['tools'][1].lock' a value" in str(error)
    assert "captured by 'helper' in cell In[1], line 9, and defined in cell In[1], line 7" in str(error)


@pytest.mark.parametrize(
    ("value", "kind", "cure"),
    [
        ("(i for i in range(3))", "generator", "make it a list"),
        ("open(__import__('os').devnull)", "TextIOWrapper", "pass its path"),
        ("__import__('socket').socket()", "socket", "create it inside the node"),
        ("__import__('threading').Thread()", "_thread", "create it inside the node"),
        ("__import__('sqlite3').connect(':memory:')", "sqlite3.Connection", "create it inside the node"),
        ("__import__('concurrent.futures').futures.ThreadPoolExecutor(1)", "", "create it inside the node"),
    ],
)
def test_things_that_live_in_one_process_are_named(cell: Cells, value: str, kind: str, cure: str) -> None:
    cell(f"thing = {value}\n\ndef work():\n    return thing")
    error = fails(cell)
    assert error.variable.partition(".")[0] == "thing"
    assert kind in str(error)
    assert cure in str(error)
    if hasattr(cell["thing"], "close"):
        cell["thing"].close()


def test_a_dask_client_is_refused_before_it_is_pickled(cell: Cells) -> None:
    from distributed import Client

    cell.ns["client"] = Client.__new__(Client)
    cell("def work():\n    return client.ncores()")
    assert "wfnb submits the work of a node itself" in str(fails(cell))


def test_a_closed_over_variable_and_a_default_are_named(cell: Cells) -> None:
    cell("""
        import threading

        def make(lock):
            def work():
                return lock
            return work

        closed = make(threading.Lock())

        def default(x, guard=threading.Lock()):
            return x
    """)
    assert "the closed-over variable 'lock' is" in str(fails(cell, "closed"))
    assert "the default of parameter 'guard' is" in str(fails(cell, "default"))


def test_a_class_attribute_that_cannot_travel_is_named_with_its_class(cell: Cells) -> None:
    cell("import threading\n\nclass Model:\n    lock = threading.Lock()\n\ndef work():\n    return Model()")
    error = fails(cell)
    assert error.variable == "Model.lock"


def test_a_setting_of_a_class_node_is_named(cell: Cells) -> None:
    cell("""
        import threading
        from typing import Any
        from wfnb.model.node import Node

        class Guarded(Node):
            class Params(Node.Params):
                lock: Any = None

            def execute(self, x):
                return x

        guarded = Guarded(lock=threading.Lock())
    """)
    with pytest.raises(CaptureError) as caught:
        pack_code([cell["guarded"]])
    assert caught.value.node == "Guarded"
    assert caught.value.variable == "params.lock"


def test_the_node_at_fault_is_named_among_others(cell: Cells) -> None:
    cell("import threading\nLOCK = threading.Lock()\n\ndef good():\n    return 1\n\ndef bad():\n    return LOCK")
    with pytest.raises(CaptureError, match="node 'bad'"):
        pack_code({"steps": [cell["good"], cell["bad"]]})


def test_a_value_whose_own_pickling_raises_is_named(cell: Cells) -> None:
    cell("""
        class Odd:
            def __reduce__(self):
                raise RuntimeError('not me')

        odd = Odd()

        def work():
            return odd
    """)
    error = fails(cell)
    assert error.variable == "odd"
    assert "(not me)" in str(error)


def test_a_capture_error_survives_pickling(cell: Cells) -> None:
    cell("import threading\nLOCK = threading.Lock()\n\ndef work():\n    return LOCK")
    error = pickle.loads(pickle.dumps(fails(cell)))
    assert (error.node, error.variable) == ("work", "LOCK")


def test_standard_output_travels_as_the_workers_own(cell: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    cell("import sys\nout = sys.stdout\n\ndef work():\n    return out")
    assert load_code(pack_code(cell["work"]))() is sys.stdout


def test_two_threads_can_pack_at_once(cell: Cells, local: Any) -> None:
    local("helpers_p", "def clean(x):\n    return x\n")
    cell("import helpers_p\n\ndef work(x):\n    return helpers_p.clean(x)")
    packed: list[bytes] = []
    threads = [threading.Thread(target=lambda: packed.append(pack_code(cell["work"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [load_code(data)(3) for data in packed] == [3] * 8
    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_packing_an_ordinary_notebook_takes_under_a_tenth_of_a_second(cell: Cells) -> None:
    body = "".join(
        f"def step_{i}(x):\n    return helper_{i}(x)\n\ndef helper_{i}(x):\n    return x + {i}\n" for i in range(50)
    )
    cell(body)
    nodes = [cell[f"step_{i}"] for i in range(50)]
    best = min(_timed(functools.partial(pack_code, nodes)) for _ in range(3))
    assert best < 0.1


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
