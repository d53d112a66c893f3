"""Owns the reading of bytecode: which globals code looks up, and its normal form. Imports the standard library only.

The normal form is what two versions of a function have in common when only positions, comments, formatting or
docstrings differ. Where lines end decides much of what the compiler does: which jumps it joins or turns round, which
blocks it repeats, which instructions it merges, which swaps it saves. So the form is the flow of control: names and
constants stand for their indices, an instruction is followed by what runs next wherever that lies, and stretches of
code that go on alike are one. It belongs to one minor version of Python.
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
_BACKWARD = frozenset(op for op, name in enumerate(opname) if "BACKWARD" in name)
_PLAIN_NAMES = tuple(name.removesuffix("_CHECK") if name == "LOAD_FAST_CHECK" else name for name in opname)
_ALWAYS = frozenset(op for op in _JUMPS if opname[op].startswith(("JUMP_FORWARD", "JUMP_BACKWARD")))
_TESTS = {
    op: ("NONE" if name.endswith("NONE") else "BOOL", "_NOT_" not in name and "_FALSE" not in name, "_OR_POP" in name)
    for op, name in enumerate(opname)
    if op in _JUMPS and "_IF_" in name
}
"""Jumps on a condition: what it asks, the answer that jumps, whether the jump leaves the value where it is."""
_ENDS = frozenset(opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE") if name in opmap)
_PAIRS = (
    {
        op: (opmap[name[: len(name) // 2]], opmap[name[len(name) // 2 + 1 :]])
        for op, name in enumerate(opname)
        if name.count("_FAST") == 2
    }
    if sys.version_info >= (3, 13)
    else {}
)
"""Instructions of Python 3.13 that stand for two, joined only when both are on one line."""
_RETURN_CONST, _RETURN_VALUE = opmap.get("RETURN_CONST"), opmap["RETURN_VALUE"]
_SWAP, _STORE_FAST, _POP_TOP = opmap["SWAP"], opmap["STORE_FAST"], opmap["POP_TOP"]
_QUIET = frozenset(op for pair in _PAIRS.values() for op in pair)
"""Instructions that never raise, and lie among those that one handler is for or outside them as they are joined."""
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


def optional_imports(code: types.CodeType) -> set[str]:
    """Return the modules that a code object and the code in it import inside a `try`: those may be missing."""
    found: set[str] = set()
    if code.co_exceptiontable and _IMPORT in code.co_code[::2]:
        guarded = [(start, end) for start, end, _, _ in _exception_table(code.co_exceptiontable)]
        for at, (op, arg) in enumerate(instructions(code)):
            if op == _IMPORT and any(start <= at < end for start, end in guarded):
                found.add(code.co_names[arg])
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= optional_imports(const)
    return found


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


class _Flow:
    """The flow of control through one code object, whatever order its blocks are in.

    Args:
        code: the code object.
        units: its code units.
        steps: its instructions, without those that do nothing.
        units_of: the unit each of them is at.
    """

    def __init__(
        self, code: types.CodeType, units: list[tuple[int, int]], steps: list[tuple[int, int]], units_of: list[int]
    ) -> None:
        self.steps = steps
        self.place = place = [0] * (len(units) + 1)  # of a unit, in the steps; a dropped one stands for the next kept
        index = 0
        for at in range(len(units) + 1):
            while index < len(steps) and units_of[index] < at:
                index += 1
            place[at] = index
        self.targets = {
            index: place[self._target(units, units_of[index])] for index, (op, _) in enumerate(steps) if op in _JUMPS
        }
        self.handlers: dict[int, tuple[int, int]] = {}
        for start, end, target, depth in _exception_table(code.co_exceptiontable):
            self.handlers.update(dict.fromkeys(range(place[start], place[end]), (place[target], depth)))
        self.dropped = {index for index, (op, _) in enumerate(steps) if op in _ALWAYS}
        self.entered = {*self.targets.values(), *(target for target, _ in self.handlers.values())}
        self._forget_stores()
        if any(op == _SWAP for op, _ in steps):
            self._carry_out_swaps()
            self._forget_stores()

    def _target(self, units: list[tuple[int, int]], at: int) -> int:
        op, arg = units[at]
        at += 1
        while at < len(units) and units[at][0] == _CACHE and sys.version_info >= (3, 12):
            at += 1
        return at - arg if op in _BACKWARD else at + arg

    def _forget_stores(self) -> None:
        """Drop a value that is stored where the next one is stored at once, as the compiler does on one line."""
        steps = self.steps
        for at in range(1, len(steps)):
            if steps[at][0] == _STORE_FAST and steps[at] == steps[at - 1] and at not in self.entered:
                steps[at - 1] = (_POP_TOP, 0)

    def _carry_out_swaps(self) -> None:
        """Exchange two stores in place of the values they store, as the compiler does for stores on one line."""
        steps = self.steps
        for last, (op, _) in enumerate(steps):
            if op != _SWAP:
                continue
            at = last
            while at >= 0 and (at in self.dropped or steps[at][0] in (_SWAP, _STORE_FAST, _POP_TOP)):
                if steps[at][0] == _SWAP and at not in self.dropped and not self._carry_out(at):
                    break
                if at in self.entered:
                    break
                at -= 1

    def _carry_out(self, at: int) -> bool:
        steps, after = self.steps, list[int]()
        for index in range(at + 1, len(steps)):
            if index in self.entered or len(after) == steps[at][1]:
                break
            if index in self.dropped and steps[index][0] == _SWAP:
                continue
            if steps[index][0] not in (_STORE_FAST, _POP_TOP):
                break
            after.append(index)
        if len(after) < steps[at][1] or not after:
            return False
        first, last = after[0], after[-1]
        stored = [steps[index] for index in after if steps[index][0] == _STORE_FAST]
        if any(steps[end][0] == _STORE_FAST and stored.count(steps[end]) > 1 for end in (first, last)):
            return False  # the order of stores to one name counts
        steps[first], steps[last] = steps[last], steps[first]
        self.dropped.add(at)
        return True

    def _next(self, at: int) -> int:
        """Return the first step that does something from one on, or -1 when jumps lead round for ever."""
        seen = 0
        while at in self.dropped:
            at = self.targets.get(at, at + 1)
            seen += 1
            if seen > len(self.steps):
                return -1
        return at if at < len(self.steps) else -1

    def _answer(self, at: int, answer: bool) -> tuple[bool, int]:
        """Return whether a condition's value is taken off the stack for an answer, and the step that follows."""
        while True:
            _, jumps, leaves = _TESTS[self.steps[at][0]]
            to = self._next(self.targets[at] if answer == jumps else at + 1)
            if not (leaves and answer == jumps):
                return True, to
            if to < 0 or _TESTS.get(self.steps[to][0], ("",))[0] != "BOOL":
                return False, to
            at = to  # the same value is asked again, with the same answer

    def _after(self, at: int) -> tuple[bytes, tuple[int, ...]]:
        """Return the steps that may follow one, and a note on them."""
        op = self.steps[at][0]
        if op in _TESTS:
            (taken, yes), (dropped, no) = self._answer(at, True), self._answer(at, False)
            return b"%d%d" % (taken, dropped), (yes, no)
        if op in _ENDS:
            return b"", ()
        if op in _JUMPS:
            return b"", (self._next(at + 1), self._next(self.targets[at]))
        return b"", (self._next(at + 1),)

    def _stretch(self, at: int, labels: list[bytes]) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
        """Return what is done from a step on up to a fork or an end, and the steps that this leads to."""
        done: list[bytes] = []
        leads: list[int] = []
        seen: dict[int, int] = {}
        handler: tuple[int, int] | None = None
        while at >= 0 and at not in seen:
            seen[at] = len(seen)
            if self.steps[at][0] not in _QUIET and (now := self.handlers.get(at)) != handler:
                handler = now
                done.append(b"try" if now is None else b"try %d" % now[1])
                if now is not None:
                    leads.append(self._next(now[0]))
            note, follow = self._after(at)
            done.append(labels[at] + note)
            if len(follow) != 1:
                return tuple(done), (*leads, *follow)
            at = follow[0]
        done.append(b"again %d" % seen.get(at, -1))
        return tuple(done), tuple(leads)

    def rows(self, labels: list[bytes]) -> list[bytes]:
        """Return the graph as bytes, the same for every graph that does the same in the same order."""
        first = self._next(0)
        found: dict[int, tuple[tuple[bytes, ...], tuple[int, ...]]] = {}
        todo = [first]
        while todo:
            at = todo.pop()
            if at not in found:
                found[at] = self._stretch(at, labels)
                todo += found[at][1]
        # Stretches are told apart by what they do, then by what they lead to, until that tells no more apart.
        known: dict[Any, int] = {}
        kinds = {at: known.setdefault(done, len(known)) for at, (done, _) in found.items()}
        count = 0
        while count < len(known):
            count, known = len(known), {}
            kinds = {
                at: known.setdefault((kinds[at], *[kinds[to] for to in leads]), len(known))
                for at, (_, leads) in found.items()
            }
        numbers = {kinds[first]: 0}
        queue = [first]
        words: dict[bytes, int] = {}
        stretches = []
        for at in queue:
            done, leads = found[at]
            for to in leads:
                if kinds[to] not in numbers:
                    numbers[kinds[to]] = len(numbers)
                    queue.append(to)
            spelled = [words.setdefault(word, len(words)) for word in done]
            stretches.append(repr((spelled, [numbers[kinds[to]] for to in leads])).encode())
        return [*words, *stretches]


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
        steps: list[tuple[int, int]] = []
        units_of: list[int] = []
        chain: list[str] = []
        consts: list[Any] = []
        for at, (op, arg) in enumerate(units):
            if op in (_CACHE, _EXTENDED, _NOP):
                continue
            if op in _NAMED:
                name = code.co_names[arg >> _NAME_SHIFT.get(op, 0)]
                if op == _STORE_NAME and name in _BODY_NOISE and steps and steps[-1][0] == _LOAD_CONST:
                    steps.pop()  # a class body's docstring, qualname and position
                    units_of.pop()
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
            parts: tuple[tuple[int, int], ...] = ((op, arg),)
            if op in _PAIRS:
                parts = ((_PAIRS[op][0], arg >> 4), (_PAIRS[op][1], arg & 15))
            elif op == _RETURN_CONST:
                parts = ((_LOAD_CONST, arg), (_RETURN_VALUE, 0))
            steps += parts
            units_of += [at] * len(parts)
        self._end(chain)
        flow = _Flow(code, units, steps, units_of)
        rows = flow.rows([self._label(op, arg) for op, arg in flow.steps])
        # Docstrings have a flag of their own since 3.13.
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~0x4000000)
        rows.append(repr((shape, code.co_varnames, code.co_cellvars, code.co_freevars)).encode())
        # Sorted, as the order of blocks depends on lines too.
        return Code(hash_chunks(rows), tuple(sorted(self.reads)), tuple(sorted(self.imports)), frozenset(self.names))

    def _end(self, chain: list[str]) -> None:
        if chain:
            self.reads[tuple(chain)] = None

    def _label(self, op: int, arg: int) -> bytes:
        """Return what an instruction does, apart from where it leads."""
        name = _PLAIN_NAMES[op]
        if op in _TESTS:
            return _TESTS[op][0].encode()
        if op in _JUMPS:
            return name.encode()
        if op in _CONST:
            return name.encode() + b"=" + self._constant(self.code.co_consts[arg])
        if op in _NAMED:
            shift = _NAME_SHIFT.get(op, 0)
            return f"{name}.{arg & ((1 << shift) - 1)}.{self.code.co_names[arg >> shift]}".encode()
        return f"{name}:{arg}".encode()

    def _constant(self, value: Any) -> bytes:
        if isinstance(value, types.CodeType):
            inner = Normaliser(value, self.token)
            digest = inner.run().digest
            self.reads.update(inner.reads)
            self.imports.update(inner.imports)
            self.names |= inner.names
            return b"code" + digest
        return self.token(value)
