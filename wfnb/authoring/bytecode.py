"""Owns the reading of bytecode: which globals code looks up, and its normal form. Imports the standard library only.

The normal form is what two versions of a function have in common when only positions, comments, formatting or
docstrings differ: names and constants stand for their indices, jumps for their targets, no-operations are dropped.
It belongs to one minor version of Python.
"""

from __future__ import annotations

import struct
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from opcode import EXTENDED_ARG, hasconst, hasjabs, hasjrel, hasname, opmap, opname
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer


_LENGTH = struct.Struct("<Q").pack


def hash_chunks(chunks: Iterable[Buffer]) -> bytes:
    """Return the hash of chunks of bytes, told apart by their lengths."""
    digest = blake2b(digest_size=20)
    for chunk in chunks:
        digest.update(_LENGTH(len(chunk) if type(chunk) is bytes else memoryview(chunk).nbytes))
        digest.update(chunk)
    return digest.digest()


_GLOBALS = frozenset(opmap[name] for name in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS") if name in opmap)
_LOAD_GLOBAL = opmap["LOAD_GLOBAL"]


def instructions(code: types.CodeType) -> Iterator[tuple[int, int]]:
    """Yield every opcode of a code object with its argument, one a code unit, prefixes and caches folded in as 0."""
    raw, extended = code.co_code, 0
    for at in range(0, len(raw), 2):
        op, arg = raw[at], raw[at + 1] | extended
        extended = arg << 8 if op == EXTENDED_ARG else 0
        yield op, arg


def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the names that a code object and the code inside it look up as globals, in the order they are met."""
    found: dict[str, None] = {}
    for op, arg in instructions(code):
        if op in _GLOBALS:
            # The lowest bit of LOAD_GLOBAL's argument says whether a call follows.
            found[code.co_names[arg >> 1 if op == _LOAD_GLOBAL else arg]] = None
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found.update(dict.fromkeys(global_names(const)))
    return tuple(found)


_CACHE, _NOP, _EXTENDED = opmap["CACHE"], opmap["NOP"], opmap["EXTENDED_ARG"]
_NAMED, _CONST = frozenset(hasname), frozenset(hasconst)
_JUMPS = frozenset((*hasjrel, *hasjabs))
_PLAIN_NAMES = tuple(
    name.replace("_NO_INTERRUPT", "").replace("_BACKWARD", "").replace("_FORWARD", "") for name in opname
)
_BACKWARD = frozenset(op for op, name in enumerate(opname) if "BACKWARD" in name)
_PAIRS = (
    {
        op: (name[: len(name) // 2], name[len(name) // 2 + 1 :])
        for op, name in enumerate(opname)
        if name.count("_FAST") == 2
    }
    if sys.version_info >= (3, 13)
    else {}
)
"""Instructions of Python 3.13 that stand for two, joined only when both are on one line."""
_NAME_SHIFT = {opmap["LOAD_GLOBAL"]: 1}
if sys.version_info >= (3, 12):
    _NAME_SHIFT |= {opmap["LOAD_ATTR"]: 1, opmap["LOAD_SUPER_ATTR"]: 2}
_ATTRIBUTES = frozenset(opmap[name] for name in ("LOAD_ATTR", "LOAD_METHOD") if name in opmap)
_IMPORT, _STORE_NAME, _LOAD_CONST = opmap["IMPORT_NAME"], opmap["STORE_NAME"], opmap["LOAD_CONST"]
_BODY_NOISE = frozenset(("__doc__", "__qualname__", "__firstlineno__", "__static_attributes__"))


def imports_of(code: types.CodeType) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    """Return the imports inside a code object and the code in it, as (module, level, names)."""
    found: dict[tuple[str, int, tuple[str, ...]], None] = {}
    if _IMPORT in code.co_code[::2]:  # nearly always not: a look at the bytes is enough
        consts: list[Any] = []
        for op, arg in instructions(code):
            if op == _LOAD_CONST:
                consts.append(code.co_consts[arg])
            elif op == _IMPORT and len(consts) >= 2 and isinstance(consts[-2], int):
                found[code.co_names[arg], consts[-2], consts[-1] or ()] = None
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found.update(dict.fromkeys(imports_of(const)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Code:
    """A code object in normal form, and what it reads from outside.

    Args:
        digest: the hash of the normal form.
        reads: the globals it reads, each with the attributes taken from it at once: ``("np", "linalg", "norm")``.
        imports: the modules it imports, as (module, level, names).
        names: every name it uses, for attributes of modules it imports.
    """

    digest: bytes
    reads: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[str, int, tuple[str, ...]], ...]
    names: frozenset[str]


def _exception_table(raw: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start, end, target, depth and flag) in code units; CPython's exception_handling_notes says the form."""
    stream = iter(raw)

    def number(first: int) -> int:
        value = first & 63
        while first & 64:
            first = next(stream)
            value = value << 6 | first & 63
        return value

    for first in stream:
        start, length, target, depth = number(first), number(next(stream)), number(next(stream)), number(next(stream))
        yield start, start + length, target, depth


class Normaliser:
    """Brings one code object, and the code inside it, to normal form.

    Args:
        code: the code object.
        token: hashes a constant.
    """

    def __init__(self, code: types.CodeType, token: Callable[[Any], bytes]) -> None:
        self.code = code
        self.token = token
        self.reads: dict[tuple[str, ...], None] = {}
        self.imports: dict[tuple[str, int, tuple[str, ...]], None] = {}
        self.names: set[str] = set(code.co_names)

    def run(self) -> Code:
        """Return the normal form."""
        code = self.code
        units = list(instructions(code))
        kept: list[tuple[int, int, int]] = []  # (unit, op, arg)
        chain: list[str] = []
        consts: list[Any] = []
        for at, (op, arg) in enumerate(units):
            if op in (_CACHE, _EXTENDED, _NOP):
                continue
            if op in _NAMED:
                name = code.co_names[arg >> _NAME_SHIFT.get(op, 0)]
                if op == _STORE_NAME and name in _BODY_NOISE and kept and kept[-1][1] == _LOAD_CONST:
                    kept.pop()  # a class body's docstring, qualname and position
                    continue
                if op in _GLOBALS:
                    self._end(chain)
                    chain = [name]
                elif op in _ATTRIBUTES and chain:
                    chain.append(name)
                else:
                    self._end(chain)
                    chain = []
                if op == _IMPORT and len(consts) >= 2 and isinstance(consts[-2], int):
                    self.imports[name, consts[-2], consts[-1] or ()] = None
            else:
                self._end(chain)
                chain = []
                if op == _LOAD_CONST:
                    consts.append(code.co_consts[arg])
            kept.append((at, op, arg))
        self._end(chain)
        return self._close(units, kept)

    def _end(self, chain: list[str]) -> None:
        if chain:
            self.reads[tuple(chain)] = None

    def _close(self, units: list[tuple[int, int]], kept: list[tuple[int, int, int]]) -> Code:
        code = self.code
        place, index = [0] * (len(units) + 1), 0
        for at in range(len(units)):
            place[at] = index  # a dropped unit stands for the next one kept
            if index < len(kept) and kept[index][0] == at:
                index += 1
        place[len(units)] = index
        rows: list[bytes] = []
        for at, op, arg in kept:
            name = _PLAIN_NAMES[op]
            if op in _JUMPS:
                rows.append(f"{name}>{place[self._target(units, at)]}".encode())
            elif op in _CONST:
                rows.append(name.encode() + b"=" + self._constant(code.co_consts[arg]))
            elif op in _NAMED:
                shift = _NAME_SHIFT.get(op, 0)
                rows.append(f"{name}.{arg & ((1 << shift) - 1)}.{code.co_names[arg >> shift]}".encode())
            elif op in _PAIRS:
                first, second = _PAIRS[op]
                rows += (f"{first}:{arg >> 4}".encode(), f"{second}:{arg & 15}".encode())
            else:
                rows.append(f"{name}:{arg}".encode())
        for start, end, target, depth in _exception_table(code.co_exceptiontable):
            if place[start] != place[end]:
                rows.append(f"try {place[start]} {place[end]} {place[target]} {depth}".encode())
        # Docstrings have a flag of their own since 3.13.
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~0x4000000)
        rows.append(repr((shape, code.co_varnames, code.co_cellvars, code.co_freevars)).encode())
        return Code(hash_chunks(rows), tuple(self.reads), tuple(self.imports), frozenset(self.names))

    def _target(self, units: list[tuple[int, int]], at: int) -> int:
        """Return the unit a jump ends at, through jumps to jumps: whether those are joined depends on line numbers."""
        for _ in range(len(units)):
            op, arg = units[at]
            at += 1
            while at < len(units) and units[at][0] == _CACHE and sys.version_info >= (3, 12):
                at += 1
            at += -arg if op in _BACKWARD else arg
            follow = at
            while follow < len(units) and units[follow][0] in (_NOP, _EXTENDED, _CACHE):
                follow += 1
            if follow == len(units) or _PLAIN_NAMES[units[follow][0]] != "JUMP":
                return at
            at = follow
        return at

    def _constant(self, value: Any) -> bytes:
        if isinstance(value, types.CodeType):
            inner = Normaliser(value, self.token)
            digest = inner.run().digest
            self.reads.update(inner.reads)
            self.imports.update(inner.imports)
            self.names |= inner.names
            return b"code" + digest
        return self.token(value)
