"""Fingerprints tell apart what differs, and nothing else."""

# ruff: noqa: E501 - pairs of sources are compared more easily on one line each

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
import textwrap
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wfnb.authoring.fingerprint import Fingerprint, explain, fingerprint, hash_value, parts


class Cells:
    """A notebook: cells that run one after another in `__main__`, each with a file name of its own."""

    def __init__(self) -> None:
        self.ns: dict[str, Any] = {"__name__": "__main__"}
        self.count = 0

    def __call__(self, source: str, *, skip_lines: int = 0) -> None:
        self.count += 1
        source = "\n" * skip_lines + textwrap.dedent(source).strip() + "\n"
        exec(compile(source, f"<ipython-input-{self.count}>", "exec", dont_inherit=True), self.ns)


def run(source: str, name: str = "work", **options: Any) -> Fingerprint:
    """Return the fingerprint of one function of a fresh notebook."""
    cell = Cells()
    cell(source, **options)
    return fingerprint(cell.ns[name])


def same(one: str, other: str, name: str = "work") -> None:
    first, second = run(one, name), run(other, name)
    assert first.digest is not None
    assert explain(first.parts, second.parts) == ()
    assert first.digest == second.digest


def differs(one: str, other: str, why: str, name: str = "work") -> None:
    first, second = run(one, name), run(other, name)
    assert None not in (first.digest, second.digest)
    assert first.digest != second.digest
    assert why in explain(first.parts, second.parts)


# -- what is no change -------------------------------------------------------------------------------------------------

WORK = """
import numpy as np
K = {"a": 1, "b": {3, 1, 2}}

def clean(rows, *, limit=3):
    return [row for row in rows if row and row < limit or K["a"] in {1, "x", 2.5}]

class Model:
    depth = 2

    def fit(self, rows):
        try:
            return clean(rows)
        except (ValueError, TypeError):
            return None

def work(rows):
    for i in range(3):
        if not rows or (i > 2 and len(rows) > 4):
            continue
    return Model().fit(rows), np.mean(rows), (lambda x: x + 1)(3)
"""


def test_the_same_cell_run_again_at_other_lines_is_no_change() -> None:
    cell = Cells()
    cell(WORK)
    first = fingerprint(cell.ns["work"])
    cell(WORK, skip_lines=17)
    assert fingerprint(cell.ns["work"]) == first


def test_comments_docstrings_and_formatting_are_no_change() -> None:
    edited = '''
        import numpy as np
        K = {"a": 1, "b": {3, 1, 2}}

        def clean(rows, *, limit=3):
            """Return the clean rows."""
            # a comment
            return [
                row
                for row in rows
                if row and row < limit
                or K[
                    "a"
                ] in {1, "x", 2.5}
            ]

        class Model:
            "A model."
            depth = 2
            def fit(self, rows):
                """Fit it."""
                try:

                    return clean(
                        rows,
                    )
                except (
                    ValueError,
                    TypeError,
                ):
                    return None

        def work(rows):
            'Docstring.'
            for i in range(3):
                if (
                    not rows
                    or (
                        i > 2
                        and len(rows) > 4
                    )
                ):
                    continue
            return (
                Model()
                .fit(rows),
                np
                .mean(rows),
                (
                    lambda x:
                    x + 1
                )(3),
            )
    '''
    same(WORK, edited)


@pytest.mark.parametrize("module", ["json.decoder", "argparse", "dataclasses", "textwrap", "statistics", "shutil"])
def test_code_laid_out_anew_is_no_change(module: str) -> None:
    source = Path(__import__(module, fromlist=["x"]).__file__).read_text()
    spread = ast.unparse(ast.parse(source))
    for one, other in zip(_functions(source), _functions(spread), strict=True):
        assert _own(one) == _own(other), one.__qualname__


def _own(function: Any) -> list[str]:
    return [value for name, value in fingerprint(function).parts.items() if name.startswith("function ")]


def _functions(source: str) -> list[Any]:
    """Return every function of a source text, as functions without a scope."""
    found: list[Any] = []

    def visit(code: Any) -> None:
        for const in code.co_consts:
            if hasattr(const, "co_code"):
                if const.co_flags & 3 == 3 and not const.co_freevars:
                    found.append(type(visit)(const, {"__name__": "__main__"}))
                visit(const)

    visit(compile(source, "x.py", "exec", dont_inherit=True))
    return found


def test_another_process_with_another_hash_seed_gives_the_same_fingerprint(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom wfnb.authoring.fingerprint import fingerprint\n"
        "ns = {'__name__': '__main__'}\n"
        "exec(compile(sys.stdin.read(), '<ipython-input-9>', 'exec'), ns)\n"
        "print(fingerprint(ns['work']).digest)\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, str(script)],
            input="\n\n" + WORK,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=tmp_path,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for seed in ("0", "1", "2", "random")
    }
    assert digests == {run(WORK).digest}


def test_annotations_of_functions_are_no_change() -> None:
    same("def work(x):\n    return x", "def work(x: int) -> int:\n    return x")


def test_a_global_that_is_not_read_is_no_change() -> None:
    same("G = 1\ndef work(x):\n    return x.G", "G = 2\ndef work(x):\n    return x.G")


def test_a_local_name_that_hides_a_global_is_no_change() -> None:
    same("G = 1\ndef work():\n    G = 5\n    return G", "G = 2\ndef work():\n    G = 5\n    return G")


def test_the_order_of_sets_is_no_change_and_that_of_dicts_is() -> None:
    differs(
        "G = {'a': 1, 'b': 2}\ndef work():\n    return G",
        "G = {'b': 2, 'a': 1}\ndef work():\n    return G",
        "global 'G' changed",
    )
    same("G = {'x', 'y', 8}\ndef work():\n    return G", "G = {8, 'y', 'x'}\ndef work():\n    return G")


# -- what is a change --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("def work(x):\n    return x + 1", "def work(x):\n    return x + 2", "function 'work' changed"),
        ("def work(x):\n    return x + 1", "def work(x):\n    return x - 1", "function 'work' changed"),
        ("def work(x):\n    return x.a", "def work(x):\n    return x.b", "function 'work' changed"),
        ("def work(x):\n    return 1", "def work(x):\n    return True", "function 'work' changed"),
        ("def work(x):\n    return 0.0", "def work(x):\n    return -0.0", "function 'work' changed"),
        ("def work(x, y):\n    return x", "def work(y, x):\n    return x", "function 'work' changed"),
        ("def work(x, y=1):\n    return x", "def work(x, y=2):\n    return x", "default 'y' changed"),
        ("def work(*, y=1):\n    return y", "def work(*, y=2):\n    return y", "default 'y' changed"),
        ("G = 1\ndef work():\n    return G", "G = 2\ndef work():\n    return G", "global 'G' changed"),
        ("G = [1, {'a': (2,)}]\ndef work():\n    return G", "G = [1, {'a': [2]}]\ndef work():\n    return G", "global 'G' changed"),
        ("G = 1\ndef work():\n    return [G for _ in 'ab']", "G = 2\ndef work():\n    return [G for _ in 'ab']", "global 'G' changed"),
        ("def work(x):\n    return [i + 1 for i in x]", "def work(x):\n    return [i + 2 for i in x]", "function 'work' changed"),
        ("def work(x):\n    def inner():\n        return 1\n    return inner()", "def work(x):\n    def inner():\n        return 2\n    return inner()", "function 'work' changed"),
        ("def work(x):\n    return len(x)", "len = max\ndef work(x):\n    return len(x)", "function 'work' changed"),
        ("def work(x):\n    try:\n        x()\n    except ValueError:\n        pass", "def work(x):\n    try:\n        x()\n    except KeyError:\n        pass", "function 'work' changed"),
        ("def work(x):\n    while x > 1:\n        x -= 1\n    return x", "def work(x):\n    if x > 1:\n        x -= 1\n    return x", "function 'work' changed"),
        ("def help(x):\n    return x + 1\ndef work(x):\n    return help(x)", "def help(x):\n    return x + 2\ndef work(x):\n    return help(x)", "helper 'help' changed"),
        ("D = 1\ndef deep():\n    return D\ndef mid():\n    return deep()\ndef work():\n    return mid()", "D = 2\ndef deep():\n    return D\ndef mid():\n    return deep()\ndef work():\n    return mid()", "global 'D' changed"),
    ],
)  # fmt: skip
def test_an_edit_is_told_and_named(one: str, other: str, why: str) -> None:
    differs(one, other, why)


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("def work(a=[]):\n    return a\nwork.__defaults__[0].append(1)", "append(1)", "append(2)"),
        ("def work(*, a=[]):\n    return a\nwork.__kwdefaults__['a'].append(1)", "append(1)", "append(2)"),
        ("def work():\n    return work.__rate__\nwork.__rate__ = 1", "__rate__ = 1", "__rate__ = 2"),
        ("def help():\n    return 1\nhelp.__name__ = 'a'\ndef work():\n    return help.__name__", "'a'", "'b'"),
        ("def help():\n    'one'\ndef work():\n    return help.__doc__", "one", "two"),
        ("class C:\n    'one'\nimport inspect\ndef work():\n    return inspect.getdoc(C)", "one", "two"),
        ("def help(x: int): pass\nimport typing\ndef work():\n    return typing.get_type_hints(help)", "x: int", "x: str"),
        ("T = {'a': lambda x: x + 1, 'b': lambda x: x - 1}\ndef work(x):\n    return T['a'](x)", "x + 1", "x + 2"),
        ("T = [lambda x: x + 1, lambda x: x - 1]\ndef work(x):\n    return T[0](x)", "lambda x: x + 1, lambda x: x - 1", "lambda x: x - 1, lambda x: x + 1"),
        ("T = [(lambda k: lambda x: x + k)(i) for i in (1, 2)]\ndef work(x):\n    return T[0](x)", "(1, 2)", "(2, 1)"),
        ("T = [lambda x: x + i for i in (1, 2)]\ndef work(x):\n    return T[0](x)", "(1, 2)", "(1, 3)"),
        ("def make():\n    def work():\n        return k\n    if 0:\n        k = 1\n    return work\nwork = make()", "if 0", "if 1"),
        ("import math, cmath\ndef make(m):\n    def work():\n        return m.pi\n    return work\nwork = make(math)", "make(math)", "make(cmath)"),
        ("class O:\n    def __init__(self, v):\n        self.v = v\nX = {O(1), O(2)}\ndef work():\n    return X", "O(2)", "O(3)"),
        ("class O:\n    def __init__(self, v):\n        self.v = v\n    def m(self):\n        return self.v\nX = O(1).m\ndef work():\n    return X()", "O(1)", "O(2)"),
        ("class O:\n    def __call__(self):\n        return 1\nX = O()\ndef work():\n    return X()", "return 1", "return 2"),
        ("class O:\n    __slots__ = ('a',)\nX = O()\nX.a = 1\ndef work():\n    return X", "X.a = 1", "X.a = 2"),
        ("class S(str): pass\nX = S('a')\ndef work():\n    return X", "S('a')", "'a'"),
        ("X = float('nan')\ndef work():\n    return X", "nan", "inf"),
        ("X = 10 ** 400\ndef work():\n    return X", "400", "400 + 1"),
        ("X = {1: 'a'}\ndef work():\n    return X", "{1:", "{True:"),
        ("def work():\n    return (1, 2)", "(1, 2)", "(1.0, 2)"),
        ("def work():\n    return (1, 2)", "(1, 2)", "(True, 2)"),
        ("def work(x):\n    return x in {1, 2}", "{1, 2}", "{True, 2}"),
        ("def work(x):\n    return f'{x:.2f}'", ".2f", ".3f"),
        ("def work(x):\n    return f'{x!r}'", "!r", "!s"),
        ("from collections import deque\nX = deque([1], maxlen=2)\ndef work():\n    return X", "maxlen=2", "maxlen=3"),
        ("X = range(0, 10, 2)\ndef work():\n    return X", "10, 2", "10, 3"),
        ("X = iter([1, 2])\ndef work():\n    return next(X)", "iter([1, 2])", "iter([1, 2]); next(X)"),
    ],
)  # fmt: skip
def test_what_is_hard_to_see_is_told_apart(source: str, old: str, new: str) -> None:
    assert old in source
    first, again, second = run(source), run(source), run(source.replace(old, new))
    assert None not in (first.digest, second.digest)
    assert first.digest == again.digest
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("globals()['X']", "globals"),
        ("eval('X')", "eval"),
        ("exec('X')", "exec"),
        ("work.__globals__['X']", "__globals__"),
    ],
)
def test_code_that_may_read_anything_gives_no_digest_and_says_so(body: str, name: str) -> None:
    found = run(f"X = 1\ndef work():\n    return {body}")
    assert found.digest is None
    assert found.warnings[0].startswith(f"the function 'work' uses '{name}', which may read any variable there is")


def test_methods_that_are_called_so_are_no_such_thing() -> None:
    assert run("def work(frame, model):\n    return frame.eval('a + b'), model.exec()").digest is not None
    assert run("def eval(x):\n    return x\ndef work(x):\n    return eval(x)").digest is not None


def test_wrappers_of_wrappers_are_seen_through() -> None:
    source = (
        "import functools\ndef deco(k):\n    def d(fn):\n        @functools.wraps(fn)\n        def w(*a):\n            return fn(*a) + k\n"
        "        return w\n    return d\n@deco(1)\n@deco(2)\ndef work(x):\n    return x * 3"
    )
    edits = [
        ("deco(1)", "deco(5)"),
        ("deco(2)", "deco(5)"),
        ("x * 3", "x * 4"),
        ("+ k", "- k"),
        ("@deco(1)\n@deco(2)", "@deco(2)\n@deco(1)"),
    ]
    digests = {run(source).digest, *(run(source.replace(old, new)).digest for old, new in edits)}
    assert len(digests) == 1 + len(edits)
    assert None not in digests


def test_the_libraries_that_code_needs_are_listed() -> None:
    found = run(
        "import json, math\nimport numpy as np, pandas as pd\nfrom typing import Any\n"
        "def help(x: 'Any', y: list[pd.DataFrame]):\n    return np.sum(x)\n"
        "def work(x):\n    import cloudpickle\n    try:\n        import redis\n    except ImportError:\n        pass\n"
        "    import no_such_module\n    return help(x), math.pi"
    )
    assert found.libraries == {"cloudpickle", "numpy", "pandas"}


def test_two_lambdas_on_one_line_differ() -> None:
    cell = Cells()
    cell("a, b = lambda x: x + 1, lambda x: x + 2")
    assert fingerprint(cell.ns["a"]).digest != fingerprint(cell.ns["b"]).digest


def test_a_closure_with_another_value_differs_and_names_the_variable() -> None:
    cell = Cells()
    cell("def make(k):\n    def work(x):\n        return x * k\n    return work\n\na, b, c = make(2), make(3), make(2)")
    a, b, c = (fingerprint(cell.ns[name]) for name in "abc")
    assert a == c
    assert explain(a.parts, b.parts) == ("closure 'k' changed",)


def test_a_decorated_helper_is_seen_through_its_decorator() -> None:
    source = """
        import functools

        def twice(function):
            @functools.wraps(function)
            def wrapper(*args):
                function(*args)
                return function(*args){tail}
            return wrapper

        @twice
        def help(x):
            return x + {k}

        def work(x):
            return help(x)
    """
    differs(source.format(k=1, tail=""), source.format(k=2, tail=""), "helper 'help (2)' changed")
    differs(source.format(k=1, tail=""), source.format(k=1, tail=" or 1"), "helper 'help' changed")


def test_a_cached_helper_is_seen_through_its_cache() -> None:
    source = "import functools\n@functools.lru_cache\ndef help(x):\n    return x + {}\ndef work(x):\n    return help(x)"
    differs(source.format(1), source.format(2), "helper 'help' changed")


def test_mutual_recursion_ends_and_tells_edits() -> None:
    source = """
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != {} and even(n - 1)

        work = even
    """
    differs(source.format(0), source.format(1), "helper 'odd' changed")
    same(source.format(0), source.format(0))


def test_a_function_that_calls_itself_is_one_part() -> None:
    assert set(run("def work(n):\n    return n and work(n - 1)").parts) == {"python", "function work"}


def test_partials_are_told_apart_by_function_and_arguments() -> None:
    source = "import functools\ndef help(a, b):\n    return a {} b\nf = functools.partial(help, {})\ndef work(x):\n    return f(x)"
    differs(source.format("+", 1), source.format("+", 2), "global 'f' changed")
    differs(source.format("+", 1), source.format("-", 1), "helper 'help' changed")


def test_a_partial_can_be_a_node() -> None:
    cell = Cells()
    cell(
        "import functools\ndef help(a, b):\n    return a + b\np, q = functools.partial(help, 1), functools.partial(help, 2)"
    )
    p, q = fingerprint(cell.ns["p"]), fingerprint(cell.ns["q"])
    assert None not in (p.digest, q.digest)
    assert p.digest != q.digest


CLASS = """
import functools

class Base:
    def shared(self):
        return {base}

class Model(Base):
    depth = {depth}

    def __init__(self, k={default}):
        self.k = k

    def fit(self, x):
        return x + {method}

    @property
    def size(self):
        return {prop}

    @staticmethod
    def plain(x):
        return {static}

    @classmethod
    def make(cls):
        return cls({klass})

    @functools.cached_property
    def late(self):
        return {cached}

model = Model({state})

def work(x):
    return model.fit(x){own}
"""
VALUES = dict.fromkeys(("base", "depth", "default", "method", "prop", "static", "klass", "cached", "state"), "1")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("base", "method 'Base.shared' changed"),
        ("depth", "attribute 'Model.depth' changed"),
        ("default", "default 'Model.__init__.k' changed"),
        ("method", "method 'Model.fit' changed"),
        ("prop", "method 'Model.size' changed"),
        ("static", "method 'Model.plain' changed"),
        ("klass", "method 'Model.make' changed"),
        ("cached", "method 'Model.late' changed"),
        ("state", "global 'model' changed"),
    ],
)
def test_every_piece_of_a_class_counts(key: str, why: str) -> None:
    differs(CLASS.format(**VALUES, own=""), CLASS.format(**{**VALUES, key: "2"}, own=""), why)


def test_super_and_class_cells_are_no_trouble() -> None:
    source = "class A:\n    def f(self):\n        return super().__hash__() + {}\ndef work():\n    return A().f()"
    differs(source.format(1), source.format(2), "method 'A.f' changed")
    same(source.format(1), source.format(1))


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("@dataclasses.dataclass\nclass C:\n    x: int = 1", "@dataclasses.dataclass\nclass C:\n    x: int = 2", "class 'C' changed"),
        ("@dataclasses.dataclass\nclass C:\n    x: int = 1", "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int = 1", "class 'C' changed"),
        ("@dataclasses.dataclass\nclass C:\n    x: int = 1", "@dataclasses.dataclass\nclass C:\n    x: float = 1", "class 'C' changed"),
        ("class C(enum.Enum):\n    A = 1", "class C(enum.Enum):\n    A = 2", "class 'C' changed"),
        ("class C(pydantic.BaseModel):\n    x: int = 1", "class C(pydantic.BaseModel):\n    x: int = 2", "class 'C' changed"),
        ("class C(pydantic.BaseModel):\n    x: int = 1", "class C(pydantic.BaseModel):\n    x: str = 1", "class 'C' changed"),
        ("class C(pydantic.BaseModel):\n    x: int = pydantic.Field(1, gt=0)", "class C(pydantic.BaseModel):\n    x: int = pydantic.Field(1, gt=-1)", "class 'C' changed"),
        (
            "class C(pydantic.BaseModel):\n    x: int = 1\n    @pydantic.field_validator('x')\n    @classmethod\n    def v(cls, x):\n        return x",
            "class C(pydantic.BaseModel):\n    x: int = 1\n    @pydantic.field_validator('x')\n    @classmethod\n    def v(cls, x):\n        return x + 1",
            "method 'C.v' changed",
        ),
        ("class C(typing.NamedTuple):\n    x: int = 1", "class C(typing.NamedTuple):\n    x: int = 2", "default 'C.__new__.x' changed"),
    ],
)  # fmt: skip
def test_declared_classes_are_told_apart(one: str, other: str, why: str) -> None:
    head, tail = "import dataclasses, enum, pydantic, typing\n", "\ndef work():\n    return C"
    differs(head + one + tail, head + other + tail, why)
    same(head + one + tail, head + one + tail)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("np.arange(3)", "np.arange(4)"),
        ("np.arange(3)", "np.arange(3.0)"),
        ("np.arange(4)", "np.arange(4).reshape(2, 2)"),
        ("np.array(['a', 1], dtype=object)", "np.array(['a', '1'], dtype=object)"),
        ("np.array(['2020-01-01'], dtype='M8[D]')", "np.array(['2020-01-02'], dtype='M8[D]')"),
        ("np.float32(1)", "np.float64(1)"),
        ("np.zeros((0, 2))", "np.zeros((2, 0))"),
        ("np.ma.array([1, 2], mask=[0, 1])", "np.ma.array([1, 2], mask=[1, 0])"),
        ("pd.DataFrame({'a': [1]})", "pd.DataFrame({'b': [1]})"),
        ("pd.DataFrame({'a': ['x', 'y']})", "pd.DataFrame({'a': ['x', 'z']})"),
        ("pd.DataFrame({'a': [1, 2]})", "pd.DataFrame({'a': [1, 2]}, index=[1, 2])"),
        ("pd.Series([1, '1'])", "pd.Series([1, 1], dtype=object)"),
        ("pd.Series([1, None], dtype='Int64')", "pd.Series([1, 0], dtype='Int64')"),
        ("pd.Series([1.0, None])", "pd.Series([1.0, 0.0])"),
        ("pd.Series(['a', 'b'], dtype='category')", "pd.Series(['b', 'a'], dtype='category')"),
        ("pd.Series([1], name='a')", "pd.Series([1], name='b')"),
        ("pd.to_datetime(['2020-01-01'])", "pd.to_datetime(['2020-01-01']).tz_localize('UTC')"),
        ("pd.MultiIndex.from_tuples([(1, 'a')])", "pd.MultiIndex.from_tuples([(1, 'b')])"),
        ("pd.Timestamp('2020-01-01')", "pd.Timestamp('2020-01-02')"),
        ("pd.NA", "pd.NaT"),
        ("__import__('decimal').Decimal('1.0')", "__import__('decimal').Decimal('1.00')"),
        ("__import__('datetime').date(2020, 1, 1)", "__import__('datetime').date(2020, 1, 2)"),
        ("__import__('pathlib').PurePosixPath('a')", "__import__('pathlib').PurePosixPath('b')"),
        ("__import__('re').compile('a')", "__import__('re').compile('b')"),
        ("__import__('collections').Counter('aab')", "__import__('collections').Counter('abb')"),
        ("np.random.default_rng(1)", "np.random.default_rng(2)"),
        ("['ab', 'c'] * 20", "['a', 'bc'] * 20"),
        ("max", "min"),
        ("[].append", "[1].append"),
    ],
)
def test_constants_are_told_apart_by_content(one: str, other: str) -> None:
    source = "import numpy as np, pandas as pd\nG = {}\ndef work():\n    return G"
    first, again, second = run(source.format(one)), run(source.format(one)), run(source.format(other))
    assert first.warnings == second.warnings == ()
    assert first.digest == again.digest
    assert first.digest != second.digest
    values = eval(one), eval(other)
    assert hash_value(values[0]) == hash_value(eval(one)) is not None
    assert hash_value(values[0]) != hash_value(values[1]) is not None


def test_libraries_count_by_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from wfnb.authoring import fingerprint as module

    source = "import numpy as np\ndef work(x):\n    return np.linalg.norm(x)"
    old = run(source)
    assert old.parts["library numpy"] == np.__version__
    module._version.cache_clear()
    monkeypatch.setattr(np, "__version__", "99.0")
    try:
        assert explain(old.parts, run(source).parts) == ("library 'numpy' changed",)
    finally:
        module._version.cache_clear()


# -- local modules -----------------------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = ["fp_helpers", "fp_more"]

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        sys.modules.pop(name, None)

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "use",
    [
        "import fp_helpers\ndef work(x):\n    return fp_helpers.clean(x)",
        "from fp_helpers import clean\ndef work(x):\n    return clean(x)",
        "def work(x):\n    import fp_helpers\n    return fp_helpers.clean(x)",
        "def work(x):\n    from fp_helpers import clean\n    return clean(x)",
        "def work(x):\n    from fp_helpers import clean as c\n    return c(x)",
        "import fp_helpers\ndef work(x):\n    h = fp_helpers\n    return h.clean(x)",
        "import fp_more\ndef work(x):\n    return fp_more.fp_helpers.clean(x)",
    ],
)
def test_an_edited_function_of_a_local_module_is_told(local: Any, use: str) -> None:
    local("fp_more", "import fp_helpers\n")
    local("fp_helpers", "def clean(x):\n    return x + 1\n")
    sys.modules.pop("fp_more", None)
    old = run(use)
    local("fp_helpers", "# moved down\n\ndef clean(x):\n    return x + 1\n")
    sys.modules.pop("fp_more", None)
    assert run(use) == old
    local("fp_helpers", "def clean(x):\n    return x + 2\n")
    sys.modules.pop("fp_more", None)
    assert "helper 'clean' changed" in explain(old.parts, run(use).parts)


def test_what_a_node_does_not_use_of_a_local_module_is_no_change(local: Any) -> None:
    use = "import fp_helpers\ndef work(x):\n    return fp_helpers.clean(x)"
    local("fp_helpers", "def clean(x):\n    return x\n\ndef other():\n    return 1\n")
    old = run(use)
    local("fp_helpers", "def clean(x):\n    return x\n\ndef other():\n    return 2\n")
    assert run(use) == old


def test_helpers_of_one_name_in_two_modules_are_two_parts(local: Any) -> None:
    use = "import fp_helpers, fp_more\ndef work(x):\n    return fp_helpers.clean(x) + fp_more.clean(x)"
    local("fp_helpers", "def clean(x):\n    return 1\n")
    local("fp_more", "def clean(x):\n    return 2\n")
    one = run(use)
    local("fp_helpers", "def clean(x):\n    return 2\n")
    local("fp_more", "def clean(x):\n    return 1\n")
    assert run(use).digest != one.digest


def test_a_local_module_that_cannot_be_imported_gives_no_digest(local: Any) -> None:
    local("fp_helpers", "raise RuntimeError('broken')\n")
    found = run("def work(x):\n    import fp_helpers\n    return fp_helpers.clean(x)")
    assert found.digest is None
    assert "the import of 'fp_helpers' inside a function cannot be fingerprinted: RuntimeError" in found.warnings[0]


# -- nodes -------------------------------------------------------------------------------------------------------------

NODE = """
from wfnb.model.node import Node

class Scale(Node):
    "Multiply."
    version = "{version}"
    tags = ("{tag}",)

    class Params(Node.Params):
        factor: float = 2.0

    def execute(self, x):
        return x * self.params.factor + {k}

work = Scale(factor={factor})

def uses(x):
    return work.execute(x)
"""
NODE_VALUES = {"version": "1", "tag": "a", "k": 1, "factor": 1.0}


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("version", "2", "version changed"),
        ("k", 2, "method 'Scale.execute' changed"),
        ("factor", 2.0, "param 'factor' changed"),
    ],
)
def test_a_class_node_counts_its_code_version_and_settings(key: str, value: Any, why: str) -> None:
    differs(NODE.format(**NODE_VALUES), NODE.format(**{**NODE_VALUES, key: value}), why)
    used = run(NODE.format(**NODE_VALUES), "uses"), run(NODE.format(**{**NODE_VALUES, key: value}), "uses")
    assert used[0].digest != used[1].digest


def test_labels_of_a_class_node_are_no_change() -> None:
    same(NODE.format(**NODE_VALUES), NODE.format(**{**NODE_VALUES, "tag": "b"}))


def test_a_function_node_counts_its_function_and_version() -> None:
    source = """
        import wfnb.authoring.node as wf

        @wf.node(version="{}")
        def help(x):
            return x + {}

        @wf.node
        def work(x):
            return help(x)
    """
    differs(source.format(1, 1), source.format(1, 2), "helper 'help' changed")
    assert run(source.format(1, 1)).digest != run(source.format(2, 1)).digest
    assert "version changed" in explain(run(source.format(1, 1), "help").parts, run(source.format(2, 1), "help").parts)


# -- what cannot be told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "__import__('threading').Lock()",
        "__import__('sqlite3').connect(':memory:')",
        "(i for i in range(3))",
        "open(__import__('os').devnull)",
        "{'deep': [__import__('threading').Lock()]}",
        "__import__('weakref').ref(set())",
    ],
)
def test_a_capture_without_content_gives_no_digest_and_a_warning_that_names_it(value: str) -> None:
    cell = Cells()
    cell(f"conn = {value}\ndef help():\n    return conn\ndef work():\n    return help()")
    found = fingerprint(cell.ns["work"])
    assert found.digest is None
    assert found.parts["global conn"] == ""
    assert found.warnings[0].startswith("the global 'conn' cannot be fingerprinted: a value of type '")
    assert hash_value(cell.ns["conn"]) is None
    if hasattr(cell.ns["conn"], "close"):
        cell.ns["conn"].close()


def test_a_value_that_holds_itself_has_a_hash() -> None:
    loops: list[list[Any]] = [[1], [1], [2]]
    for loop in loops:
        loop.append(loop)
    assert hash_value(loops[0]) == hash_value(loops[1]) != hash_value(loops[2])


def test_objects_that_all_know_each_other_end_without_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfnb.authoring.fingerprint._MOST", 10_000)
    tangle: list[list[Any]] = [[] for _ in range(30)]
    for one in tangle:
        one.extend(tangle)
    assert hash_value(tangle) is None


def test_a_value_nested_too_deeply_has_no_hash() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert hash_value(deep) is None


# -- values ------------------------------------------------------------------------------------------------------------


def test_values_of_other_types_have_other_hashes() -> None:
    values = [1, True, 1.0, "1", b"1", bytearray(b"1"), (1,), [1], {1}, frozenset({1}), {1: 1}, OrderedDict({1: 1}), None, 1j, range(1), ..., "", [], (), b""]  # fmt: skip
    assert len({hash_value(value) for value in values}) == len(values)


def test_the_order_of_a_dict_counts_as_that_of_a_list_does() -> None:
    assert hash_value({"a": 1, "b": 2}) != hash_value({"b": 2, "a": 1})
    assert hash_value([1, 2]) != hash_value([2, 1])
    assert hash_value(OrderedDict(a=1, b=2)) != hash_value(OrderedDict(b=2, a=1))


def test_instances_are_told_apart_by_class_and_state() -> None:
    cell = Cells()
    cell(
        "class A:\n    def __init__(self, k):\n        self.k = k\n\nclass B(A):\n    pass\n\na, b, c, d = A(1), A(1), A(2), B(1)"
    )
    a, b, c, d = (hash_value(cell.ns[name]) for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_functions_as_values_are_told_apart_by_code() -> None:
    cell = Cells()
    cell("f, g, h = lambda: 1, lambda: 1, lambda: 2")
    f, g, h = (hash_value([cell.ns[name]]) for name in "fgh")
    assert f == g != h


def test_parts_are_named_for_people() -> None:
    names = set(run(WORK).parts)
    assert {"function work", "class Model", "method Model.fit", "attribute Model.depth", "helper clean"} <= names
    assert {"global K", "default clean.limit", "library numpy", "python"} <= names
    cell = Cells()
    cell(WORK)
    assert parts(cell.ns["work"]) == dict(run(WORK).parts)


def test_an_explanation_tells_what_is_new_gone_and_changed() -> None:
    old, new = {"helper a": "1", "global G": "1", "version": "1"}, {"helper b": "1", "global G": "", "version": "1"}
    assert explain(old, new) == ("global 'G' changed", "helper 'a' is no longer used", "helper 'b' is new")
    assert explain(new, new) == ("global 'G' cannot be compared",)


def test_a_typical_node_takes_under_two_milliseconds() -> None:
    cell = Cells()
    cell(WORK)
    work = cell.ns["work"]
    best = min(_timed(functools.partial(fingerprint, work)) for _ in range(20))
    assert best < 0.002


def test_a_frame_of_a_million_numbers_takes_under_a_tenth_of_a_second() -> None:
    frame = pd.DataFrame(np.arange(1_000_000.0).reshape(-1, 10))
    assert min(_timed(functools.partial(hash_value, frame)) for _ in range(3)) < 0.1


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
