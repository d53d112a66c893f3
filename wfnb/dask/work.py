"""What travels between the driver and workers: a bundle's orders out, the values it leaves behind. Records only."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from wfnb.engine.bundles import Segment
from wfnb.engine.plan import Binding

_TASK = Segment((), 0, 1)[1:]


class Need(NamedTuple):
    """Values a bundle uses and does not make.

    Args:
        step: the step's number.
        lo: the first element.
        hi: one past the last.
        pack: the key of the pack in the store, or "".
        offset: the first element's place in the pack.
        held: which of the bundle's Dask dependencies may hold them, or -1.
        source: the number of the step whose task made them.
        at: the first element's number there.
    """

    step: int
    lo: int
    hi: int
    pack: str
    offset: int
    held: int
    source: int
    at: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known already of an attempt at a task, because its worker process did not live to tell.

    Args:
        step: the step's number.
        element: the element.
        attempt: the attempt.
        start: when it began, seconds since the epoch.
        end: when it ended.
        deaths: how many worker processes ended under it; 0: one was ended because its time was up.
    """

    step: int
    element: int
    attempt: int
    start: float
    end: float
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told to run.

    Args:
        run_id: the run.
        epoch: the driver's epoch.
        url: the store.
        secret: signs and verifies what is stored.
        code: the key of the run's code.
        bundle: the bundle's id.
        segments: what to run.
        needs: what else it uses.
        widths: how many elements each fan-out has that is used whole.
        fan_outs: which of the steps it runs and uses have elements.
        bindings: what the names of steps inside constructs are, by the steps' numbers.
        after: what of the bundle must have its value before a step begins that does not use it, by the steps' numbers:
            the step, and how many of its elements are in the bundle.
        given: on which decision a step begins that may not be wanted, by the steps' numbers: the step that decides, and
            what it must say.
        keep: steps whose values stay on the worker.
        stop_on_error: whether a failure ends the bundle.
        sheltered: whether a cancel of the run leaves it alone.
        verdicts: attempts that are not to be made, as it is known what comes of them.
        cautious: whether each task is said to run before it is called: a worker died, and nobody knows of what.
        spent: whose values nobody needs any more once all the steps here, the keys, have theirs, element by element.
        line: whether each task is all that can follow the one before.
    """

    run_id: str
    epoch: int
    url: str = field(repr=False)  # it may hold a password
    secret: bytes = field(repr=False)
    code: str
    bundle: str
    segments: tuple[Segment, ...]
    needs: tuple[Need, ...]
    widths: dict[int, int]
    fan_outs: frozenset[int]
    bindings: dict[int, Binding]
    after: dict[int, tuple[tuple[int, int], ...]]
    given: dict[int, tuple[int, bool]]
    keep: frozenset[int]
    stop_on_error: bool
    sheltered: bool
    verdicts: tuple[Verdict, ...] = ()
    cautious: bool = False
    spent: Mapping[int, Sequence[int]] = field(default_factory=dict)
    line: bool = False

    def pack(self) -> Sealed:
        """Return the orders as Dask should carry them."""
        return Sealed(pickle.dumps(replace(self, segments=_folded(self.segments)), 5))


def _folded(segments: Sequence[Segment]) -> Any:
    """Return segments in a short form: of a task that runs for the first time, as most do, the step alone."""
    return [one[0][0] if one[1:] == _TASK and len(one[0]) == 1 else tuple(one) for one in segments]


def _unfolded(folded: Any) -> tuple[Segment, ...]:
    return tuple([Segment((one,), *_TASK) if type(one) is int else Segment(*one) for one in folded])


class Sealed:
    """Bytes that Dask carries without looking inside, and that say nothing in a log."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self) -> Orders:
        """Return the orders."""
        orders: Orders = pickle.loads(self.data)  # noqa: S301  it came over Dask's own connection, as all code does
        return replace(orders, segments=_unfolded(orders.segments))

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, (self.data,)


class Held:
    """The values a bundle leaves on its worker for those who need them next.

    Args:
        cells: values by step's number and element.
        nbytes: about how much memory they take, for Dask to plan with.
    """

    __slots__ = ("cells", "nbytes")

    def __init__(self, cells: dict[int, dict[int, Any]], nbytes: int) -> None:
        self.cells = cells
        self.nbytes = nbytes

    def __sizeof__(self) -> int:
        return 64 + self.nbytes

    def __reduce__(self) -> tuple[Any, ...]:
        return Held, (self.cells, self.nbytes)
