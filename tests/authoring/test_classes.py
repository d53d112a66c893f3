"""Classes are told apart by all that can be seen of them."""

# ruff: noqa: E501 - pairs of sources are compared more easily on one line each

from __future__ import annotations

from typing import Any

import pytest

from wfnb.authoring.fingerprint import Fingerprint, fingerprint

HEAD = "import abc, enum, functools, typing\nfrom dataclasses import dataclass\nfrom pydantic import BaseModel, Field, PrivateAttr\n"


def run(source: str) -> Fingerprint:
    """The fingerprint of a function `work` that reads a class `C`."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(f"{HEAD}{source}\ndef work():\n    return C", "<cell>", "exec", dont_inherit=True), names)
    return fingerprint(names["work"])


EDITS = [
    ("class C(enum.Enum):\n  A = 1\n  B = 2", "B = 2", "B = 2\n  D = 2"),
    ("class C(enum.Enum):\n  A = 1\n  B = 2", "A = 1\n  B = 2", "B = 2\n  A = 1"),
    ("class C(enum.Enum):\n  A = 1", "enum.Enum", "enum.IntEnum"),
    ("class C(enum.Enum):\n  A = 1\n  @classmethod\n  def _missing_(cls, v): return cls.A", "cls.A", "None"),
    ("class C(enum.Enum):\n  A = 1\n  def __format__(self, s): return 'x'", "'x'", "'y'"),
    ("class C(enum.Enum):\n  A = 1\n  def __repr__(self): return 'x'", "'x'", "'y'"),
    ("class C(enum.Enum):\n  A = 1\n  def __hash__(self): return 1", "return 1", "return 2"),
    ("class C(enum.Enum):\n  A = 1\n  def __call__(self): return 1", "return 1", "return 2"),
    ("class C(enum.Enum):\n  A = 1\n  def __new__(cls, v):\n    o = object.__new__(cls); o._value_ = v; o.k = 10\n    return o", "k = 10", "k = 20"),
    ("class C(enum.Enum):\n  A = 1\nC.A.more = 1", "more = 1", "more = 2"),
    ("class C(enum.Flag, boundary=enum.STRICT):\n  A = 1", "STRICT", "KEEP"),
    ("class C:\n  def __hash__(self): return 1", "return 1", "return 2"),
    ("class C:\n  def __eq__(self, o): return True", "return True", "return True\n  __hash__ = object.__hash__"),
    ("class C:\n  __slots__ = ('a',)", "'a'", "'b'"),
    ("class C:\n  def __init_subclass__(cls): cls.k = 14", "14", "24"),
    ("class C:\n  def __class_getitem__(cls, i): return 17", "17", "27"),
    ("class M(type):\n  def __call__(cls): return 1\nclass C(metaclass=M): pass", "return 1", "return 2"),
    ("class C(abc.ABC): pass\nclass D: k = 1\nC.register(D)", "C.register(D)", ""),
    ("class C(abc.ABC): pass\nclass D: k = 1\nC.register(D)", "k = 1", "k = 2"),
    ("T = typing.TypeVar('T')\nclass B(typing.Generic[T]): pass\nclass C(B[int]): pass", "B[int]", "B[str]"),
    ("T = typing.TypeVar('T', bound=int)\nclass C(typing.Generic[T]): pass", "bound=int", "bound=str"),
    ("class A: x = 1\nclass B: x = 2\nclass C(A, B): pass", "C(A, B)", "C(B, A)"),
    ("class A:\n  def m(self): return 1\nclass C(A):\n  def m(self): return super().m()", "return 1", "return 2"),
    ("class D:\n  def __init__(self, k): self.k = k\n  def __get__(self, o, t): return self.k\nclass C:\n  p = D(1)", "D(1)", "D(2)"),
    ("class C:\n  def g(self, a): return a\n  h = functools.partialmethod(g, 1)", "(g, 1)", "(g, 2)"),
    ("@dataclass\nclass C:\n  a: int = 1\n  b: int = 1", "a: int = 1\n  b: int = 1", "b: int = 1\n  a: int = 1"),
    ("@dataclass\nclass C:\n  a: int = 1", "@dataclass\n", "@dataclass(order=True)\n"),
    ("class C(BaseModel):\n  _k: int = PrivateAttr(default=1)", "default=1", "default=2"),
    ("class C(BaseModel):\n  k: int = Field(1, validation_alias='a')", "'a'", "'b'"),
    ("class C(BaseModel):\n  k: int = Field(1, exclude=True)", "exclude=True", "exclude=False"),
    ("class C(BaseModel):\n  model_config = {'extra': 'allow'}", "'allow'", "'forbid'"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "old", "new"), EDITS)
def test_an_edit_of_a_class_is_told(source: str, old: str, new: str) -> None:
    assert old in source
    first, again, second = run(source), run(source), run(source.replace(old, new))
    assert first.warnings == second.warnings == ()
    assert first.digest == again.digest
    assert first.digest != second.digest


def test_the_name_of_a_class_counts() -> None:
    assert run("C = type('A', (), {})").digest != run("C = type('B', (), {})").digest
