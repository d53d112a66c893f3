"""The state of one step as arrays over its elements, and where their values are. Pure; imports plan and model only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from wfnb.engine.plan import PlanStep
from wfnb.model.events import CACHED, COMPLETED, PASSED, TOLERATED

DONE = (COMPLETED, CACHED, PASSED, TOLERATED)
"""The statuses of elements that have a value."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a body fails.

    Args:
        type: the name of the error's type.
        kinds: the names of its type and of those it derives from.
        message: its text.
        address: the address of the task that failed.
        attempts: how many attempts were made.
        cancelled: whether it was stopped from outside, and nothing is wrong with it.
        told: whether no task's outcome tells of it, so that the run's end must.
    """

    type: str
    kinds: tuple[str, ...]
    message: str
    address: str
    attempts: int
    cancelled: bool = False
    told: bool = False


class Piece(NamedTuple):
    """Where the values of neighbouring elements are.

    Args:
        lo: the first element.
        hi: one past the last.
        pack: the key of the pack in the store, or "".
        offset: the first element's place in the pack.
        bundle: the bundle whose result may still hold them on a worker.
        step: the number of the step whose task made them: another one where a construct shows a body's value.
        at: the first element's number there.
    """

    lo: int
    hi: int
    pack: str
    offset: int
    bundle: str
    step: int
    at: int


@dataclass(slots=True)
class StepState:
    """The state of one step: arrays over its elements (a task has one).

    Args:
        plan: the step.
        users: the steps that need it, whole or aligned; grows.
        width: how many elements it has, or None while that is not known.
        status: one status byte an element.
        attempts: for elements tried before: the number of the next attempt, and how many do not count as retries.
        pieces: where values are, sorted by element, without overlap.
        ready: ranges of elements that could be dispatched; some may have been overtaken by events.
        errors: what elements failed with.
        known: the width that constants and inputs decide, or None.
        size: the number that came with a task's value, or None.
        gates: how many of the steps it needs whole are not complete.
        growing: whether more elements may come.
        done: how many elements have a value.
        cached: how many of them were known already.
        over: how many have a value, failed or were skipped.
        flying: how many are in flight.
        settled: whether nothing more will come of it.
    """

    plan: PlanStep
    users: list[int] = field(default_factory=list)
    width: int | None = None
    status: bytearray = field(default_factory=bytearray)
    attempts: dict[int, tuple[int, int]] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    ready: list[tuple[int, int]] = field(default_factory=list)
    errors: dict[int, Failure] = field(default_factory=dict)
    known: int | None = None
    size: int | None = None
    gates: int = 0
    growing: bool = False
    opened: bool = False
    closed: bool = False
    skipped: bool = False
    settled: bool = False
    done: int = 0
    cached: int = 0
    over: int = 0
    flying: int = 0

    @property
    def complete(self) -> bool:
        """Whether every element has a value."""
        return self.width is not None and self.done == self.width and self.opened and not self.growing

    def where(self, lo: int, hi: int) -> list[Piece]:
        """Return pieces that cover the elements from `lo` to `hi` that have a value, in order."""
        pieces = self.pieces
        at = max(bisect_right(pieces, lo, key=_first) - 1, 0)
        found = []
        while at < len(pieces) and (piece := pieces[at]).lo < hi:
            if piece.hi > lo:
                a, b = max(piece.lo, lo), min(piece.hi, hi)
                off = a - piece.lo
                found.append(Piece(a, b, piece.pack, piece.offset + off, piece.bundle, piece.step, piece.at + off))
            at += 1
        return found

    def keep(self, new: Piece) -> None:
        """Add a piece, in order, joined to the one before it where they are neighbours in one pack."""
        at = len(self.pieces)
        if at and self.pieces[-1].lo > new.lo:
            at = bisect_right(self.pieces, new.lo, key=_first)
        last = self.pieces[at - 1] if at else None
        if (
            last
            and (last.hi, last.pack, last.bundle, last.step) == (new.lo, new.pack, new.bundle, new.step)
            and last.offset + last.hi - last.lo == new.offset
            and last.at + last.hi - last.lo == new.at
        ):
            self.pieces[at - 1] = last._replace(hi=new.hi)
        else:
            self.pieces.insert(at, new)


def _first(piece: Piece) -> int:
    return piece.lo


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, those that touch as one.

    >>> joined([(4, 6), (0, 2), (2, 3), (5, 9)])
    [(0, 3), (4, 9)]
    """
    found: list[tuple[int, int]] = []
    for lo, hi in sorted(ranges):
        if found and lo <= found[-1][1]:
            found[-1] = found[-1][0], max(hi, found[-1][1])
        else:
            found.append((lo, hi))
    return found


def runs_of(status: bytearray, byte: int, lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of neighbouring elements that have a status, as (first, one past the last)."""
    if status.count(byte, lo, hi) == hi - lo:
        if hi > lo:
            yield lo, hi
        return
    at = status.find(byte, lo, hi)
    while at >= 0:
        end = at + 1
        while end < hi and status[end] == byte:
            end += 1
        yield at, end
        at = status.find(byte, end, hi)
