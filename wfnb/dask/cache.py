"""Answers from earlier runs: the keys of tasks, and the values the store knows under them. Imports store and model.

A task's key is a hash of its node's code and of the values of its parameters; how the step is written, where it runs
and what the context says do not count. Keys are looked up ahead of the task at hand, many at once, because a store on
the network takes as long for one as for hundreds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from wfnb.authoring.fingerprint import hash_value
from wfnb.dask.program import Program, Runner
from wfnb.dask.values import Values
from wfnb.engine.bundles import Segment
from wfnb.model.errors import StoreError, StoreUnavailable
from wfnb.model.expr import Local, steps_of, walk
from wfnb.store.base import Frame, Memo, Store
from wfnb.store.codec import MISSING, Codec

AHEAD = 256
"""Elements looked up at once."""
PATIENCE = 0.05
"""Seconds of hashing after which no more elements are added to a look-up."""
ROOM = 64 * 1024 * 1024
"""Bytes of packs loaded ahead of the tasks they answer."""

Place: TypeAlias = tuple[int, int]
"""A task in a bundle: the step's number and the element."""


class Cache:
    """What one bundle asks of earlier runs.

    Args:
        store: where values are kept.
        codec: decodes them.
        program: the run's program.
        epoch: the driver's epoch.
        values: the values the bundle has at hand.
        runner: gives a step of the bundle ready to run.

    Attributes:
        origin: where the last answer was found, or None when there was none.
    """

    def __init__(
        self,
        store: Store,
        codec: Codec,
        program: Program,
        epoch: int,
        values: Values,
        runner: Callable[[int], Runner],
    ) -> None:
        self._runner = runner
        self._store = store
        self._codec = codec
        self._program = program
        self._epoch = epoch
        self._values = values
        self._segment: Segment | None = None
        self._upto = 0
        self._keys: dict[Place, str] = {}
        self._memos: dict[Place, Memo] = {}
        self._loaded: dict[Place, Any] = {}
        self._names: dict[int, dict[int | str, str]] = {}
        self._defaults: dict[int, dict[str, str | None]] = {}
        self._shared: dict[tuple[int, str], str | None] = {}
        self._last: tuple[tuple[str, str], list[Frame]] | None = None
        self.origin: Memo | None = None

    def answer(
        self, index: int, element: int, segment: Segment, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[str, Any]:
        """Return a task's key ("" when it has none) and its value, or MISSING when that is not known.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        place = (index, element)
        if segment is not self._segment or element >= self._upto:
            self._look_ahead(segment, element)
        key = self._keys.pop(place, None)
        if key is None:
            # It uses what was not known when the look-up was made: the value of a task before it in this bundle.
            key = self._key(index, self._runner(index), args, kwargs)
            if key and (memo := self._store.recall([key]).get(key)):
                self._memos[place] = memo
        self.origin = self._memos.pop(place, None)
        if place in self._loaded:
            return key, self._loaded.pop(place)
        return key, MISSING if self.origin is None else self._load_one(self.origin)

    def known(self, index: int, elements: Iterable[int]) -> dict[int, Memo | None]:
        """Return where the store has the values of a step's tasks, by element; without loading any.

        Left out are tasks whose arguments are not at hand, or have no content that can be compared.
        """
        runner = self._runner(index)
        found: dict[int, str] = {}
        for element in elements:
            try:
                args = [get(self._values, element) for get in runner.args]
                kwargs = {name: get(self._values, element) for name, get in runner.kwargs}
            except Exception:  # noqa: BLE001, S112  not there yet, or the task will fail with it
                continue
            found[element] = self._key(index, runner, args, kwargs)
        memos = self._store.recall(list(dict.fromkeys(key for key in found.values() if key))) if found else {}
        return {element: memos.get(key) for element, key in found.items() if key}

    # -- looking ahead -------------------------------------------------------------------------------------------

    def _look_ahead(self, segment: Segment, lo: int) -> None:
        """Find the keys of an element and of those after it, through all steps of a segment, and what is known."""
        for left in (self._keys, self._memos, self._loaded):
            left.clear()
        hi = min(lo + AHEAD, segment.hi)
        for at, index in enumerate(segment.steps):
            runner = self._runner(index)
            if not runner.digest:
                continue
            found: dict[Place, str] = {}
            until = time.monotonic() + PATIENCE
            for element in range(lo, hi):
                try:
                    args = [get(self._values, element) for get in runner.args]
                    kwargs = {name: get(self._values, element) for name, get in runner.kwargs}
                except Exception:  # noqa: BLE001, S112  not there yet, or the task will fail with it
                    continue
                found[index, element] = self._key(index, runner, args, kwargs)
                if time.monotonic() > until:
                    hi = element + 1
                    break
            self._keys.update(found)
            keys = [key for key in dict.fromkeys(found.values()) if key]
            memos = self._store.recall(keys) if keys else {}
            self._load({place: memos[key] for place, key in found.items() if key in memos})
            if at + 1 < len(segment.steps):
                # So that the keys of the steps after this one can be told as well.
                cells = self._values.cells.setdefault(index, {})
                cells.update({n: value for (step, n), value in self._loaded.items() if step == index})
        self._segment, self._upto = segment, hi

    def _load(self, wanted: Mapping[Place, Memo]) -> None:
        """Load the values of memos pack by pack, as long as there is room; what is left is loaded when it is used."""
        packs: dict[tuple[str, str], list[tuple[Place, Memo]]] = {}
        for place, memo in wanted.items():
            packs.setdefault((memo.run_id, memo.pack), []).append((place, memo))
        room = ROOM
        for pack, memos in packs.items():
            if room <= 0:
                self._memos.update(memos)
                continue
            frames = self._frames(pack)
            room -= sum(map(len, frames))
            offsets = [memo.offset for _, memo in memos]
            first = min(offsets)
            values = self._decoded(frames, first, max(offsets) + 1)
            taken: set[int] = set()
            for place, memo in memos:
                self._memos[place] = memo
                # Where one of them will not do, each is tried by itself; and no two tasks get the very same object.
                if values is not None and memo.offset not in taken:
                    self._loaded[place] = values[memo.offset - first]
                    taken.add(memo.offset)

    def _load_one(self, memo: Memo) -> Any:
        values = self._decoded(self._frames((memo.run_id, memo.pack)), memo.offset, memo.offset + 1)
        return values[0] if values else MISSING

    def _frames(self, pack: tuple[str, str]) -> list[Frame]:
        """Return a pack's frames, none when it is gone or cannot be had; the last one is kept for the next value."""
        if self._last is None or self._last[0] != pack:
            run_id, key = pack
            try:
                frames = self._store.load(run_id, [key]).get(key, [])
            except StoreUnavailable:
                raise
            except StoreError:
                frames = []
            self._last = (pack, frames)
        return self._last[1]

    def _decoded(self, frames: list[Frame], start: int, stop: int) -> list[Any] | None:
        """Return some values of a pack, or None when they are refused; a task that runs again beats one that fails."""
        if not frames:
            return None
        try:
            values = self._codec.decode_pack(frames, start, stop)
        except Exception:  # noqa: BLE001  forged, damaged, or of a class that this process does not have
            return None
        return values if len(values) == stop - start else None

    # -- keys ----------------------------------------------------------------------------------------------------

    def _key(self, index: int, runner: Runner, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the key of a task, or "" when an argument has no content that can be compared."""
        names = self._names.get(index) or self._named(index, runner)
        hashes = dict(self._defaults[index])
        iterated = runner.iterated
        given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        for at, value in given:
            name = names[at]
            if name in runner.step.node.ports.contexts:
                continue
            if not iterated or at in iterated:
                hashes[name] = _hash(value)
            else:
                hashes[name] = self._constant(index, runner, at, name, value)
        return _joined(runner.digest, hashes.items())

    def _named(self, index: int, runner: Runner) -> dict[int | str, str]:
        """Return which parameter each argument of a step is for, so that ``f(1)`` and ``f(x=1)`` are one call."""
        ports = runner.step.node.ports
        given: dict[int | str, str] = {at: f"#{at}" for at in range(len(runner.args))}
        given.update({name: name for name, _ in runner.kwargs})
        bound, _ = ports.bind(range(len(runner.args)), dict.fromkeys(name for name, _ in runner.kwargs))
        for argument in bound:
            if argument.name not in (ports.rest, ports.others):
                given[argument.at] = argument.name
            elif isinstance(argument.at, str):
                given[argument.at] = f"**{argument.at}"
        self._defaults[index] = {
            name: _hash(parameter.default)
            for name, parameter in ports.parameters.items()
            if parameter.default is not parameter.empty and name not in given.values()
        }
        self._names[index] = given
        return given

    def _constant(self, index: int, runner: Runner, at: int | str, name: str, value: Any) -> str | None:
        """Return the hash of an argument that is the same for every element: a large one must not be hashed each time.

        What is computed once and stored is the same in every bundle under one driver; what is not stored may have been
        made anew.
        """
        used = steps_of(runner.step.argument(at))
        if not any(isinstance(part, Local) for part in walk(runner.step.argument(at))) and all(
            self._program.keeps(self._program.number[step]) for step in used if step in self._program.number
        ):
            known = self._program.hashes
            if (self._epoch, index, name) not in known:
                known[self._epoch, index, name] = _hash(value)
            return known[self._epoch, index, name]
        if (index, name) not in self._shared:
            self._shared[index, name] = _hash(value)
        return self._shared[index, name]


def _hash(value: Any) -> str | None:
    try:
        return hash_value(value)
    except Exception:  # noqa: BLE001  whatever a value's own methods raise: it cannot be compared
        return None


def _joined(digest: str, hashes: Iterable[tuple[str, str | None]]) -> str:
    rows = [digest]
    for name, value in sorted(hashes):
        if value is None:
            return ""
        rows += (name, value)
    return hashlib.blake2b("\0".join(rows).encode(), digest_size=20).hexdigest()
