"""A class of a notebook stays one class for its values, however often its cell is run and whichever kernel runs it."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from wfnb.authoring.capture import pack_code
from wfnb.model.classes import loads, loads_code, today
from wfnb.model.types import checker
from wfnb.store.codec import Codec

KINDS = {
    "plain": "class Thing:\n    def __init__(self, x): self.x = x\n",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass Thing:\n    x: int\n",
    "slots": "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass Thing:\n    x: int\n",
    "abstract": "import abc\nclass Thing(abc.ABC):\n    def __init__(self, x): self.x = x\n",
    "enum": "import enum\nclass Thing(enum.Enum):\n    ONE = 1\n    x = property(lambda self: self.value)\n",
    "named tuple": "import typing\nclass Thing(typing.NamedTuple):\n    x: int\n",
    "pydantic": (
        "import pydantic\nclass Thing(pydantic.BaseModel):\n    x: int\n"
        "    def __init__(self, x): super().__init__(x=x)\n"
    ),
    "error": "class Thing(Exception):\n    def __init__(self, x): super().__init__(x); self.x = x\n",
}


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Runs a cell of a notebook, whose variables it returns."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)

    def run(source: str) -> dict[str, Any]:
        exec(source, vars(module))
        return vars(module)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_value_is_of_the_class_as_its_cell_has_made_it_last(cell: Any, kind: str) -> None:
    names = cell(KINDS[kind])
    before = names["Thing"]
    stored = Codec(b"s" * 32).dumps(before(1))
    names = cell(KINDS[kind])
    assert names["Thing"] is not before
    loaded = Codec(b"s" * 32).loads(stored)
    assert type(loaded) is names["Thing"]
    assert loaded.x == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_made_before_the_cell_was_run_again_goes_out_as_one_of_the_class_as_it_is(cell: Any, kind: str) -> None:
    names = cell(KINDS[kind])
    value = names["Thing"](1)
    names = cell(KINDS[kind])
    assert type(Codec(b"s" * 32).loads(Codec(b"s" * 32).dumps(value))) is names["Thing"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_annotation_means_the_class_of_its_name(cell: Any, kind: str) -> None:
    before = cell(KINDS[kind])["Thing"]
    now = cell(KINDS[kind])["Thing"]
    for annotation, value in [(before, now(1)), (now, before(1)), (list[before], [now(1)])]:
        check = checker(annotation)
        assert check is not None
        assert check(value) is None
        assert check("text") is not None
    other = cell("class Other:\n    pass")["Other"]
    check = checker(before)
    assert check is not None
    assert check(other()) is not None


def test_a_worker_takes_stored_values_to_be_of_the_class_that_came_with_the_code(cell: Any) -> None:
    source = KINDS["dataclass"]
    stored = Codec(b"s" * 32).dumps(cell(source)["Thing"](1))
    names = cell(source + "\ndef make():\n    return Thing\n")
    code = pack_code(names["make"])
    del sys.modules["__main__"].Thing  # type: ignore[attr-defined]  # as on a worker
    make, classes = loads_code(code)
    assert classes == {("__main__", "Thing"): make()}
    assert type(Codec(b"s" * 32, classes).loads(stored)) is make()
    assert type(Codec(b"s" * 32, {}).loads(stored)) is not make()


def test_a_class_keeps_what_it_is_when_values_of_an_older_one_are_loaded(cell: Any) -> None:
    source = "class Thing:\n    kind = {0}\n    def told(self): return {0}\n"
    packed = pack_code(cell(source.format(1))["Thing"]())
    now = cell(source.format(2))["Thing"]
    value = loads(packed)
    assert (type(value), now.kind, value.told()) == (now, 2, 2)


def test_a_class_that_was_extended_under_its_own_name_is_still_its_own_base(cell: Any) -> None:
    before = cell("class Thing:\n    pass")["Thing"]
    now = cell("class Thing(Thing):\n    pass")["Thing"]
    assert today(before) is before
    assert isinstance(loads(pack_code(now())), now)


def test_classes_without_a_name_of_their_own_are_left_alone(cell: Any) -> None:
    make = cell("def make():\n    class Thing:\n        pass\n    return Thing")["make"]
    one, other = make(), make()
    cell("class Thing:\n    pass")
    assert today(one) is one
    assert type(loads(pack_code(other()))) is other
    assert today(dict) is dict
    assert loads(pickle.dumps({"x": 1})) == {"x": 1}


@pytest.mark.parametrize("thing", [None, ..., NotImplemented], ids=str)
def test_classes_that_python_tells_in_its_own_way_travel(thing: Any) -> None:
    kind = type(thing)
    assert loads_code(pack_code([kind, kind]))[0] == [kind, kind]
    assert Codec(b"s" * 32).loads(Codec(b"s" * 32).dumps({"kind": kind, "annotation": int | kind})) == {
        "kind": kind,
        "annotation": int | kind,
    }


def test_a_name_that_means_something_else_now_is_not_taken(cell: Any) -> None:
    names = cell("class Thing:\n    pass")
    packed = pack_code(names["Thing"]())
    was = names["Thing"]
    cell("Thing = 7")
    assert today(was) is was
    assert type(loads(packed)).__name__ == "Thing"
    cell("import enum\nclass Thing(enum.Enum):\n    A = 1")
    assert not isinstance(loads(packed), sys.modules["__main__"].Thing)
