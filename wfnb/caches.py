"""`wf.cache`: what `cache=True` knows, as a table, and how it is forgotten. Imports session, store.

Runs answer each other from the values they keep. What is listed here leads to a value of the run that made it or was
answered with it last; it is forgotten with that run, or by `clear`, and the values themselves go with their runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from html import escape

from wfnb.model.errors import ConfigurationError, did_you_mean
from wfnb.retention import older_than_days
from wfnb.session import SESSION
from wfnb.store.base import Remembered
from wfnb.views.table import lines, table
from wfnb.views.words import seconds, size

_HEAD = ("node", "values", "size", "last used", "run")
_UNNAMED = "(not recorded)"
_BATCH = 5_000
_DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class CachedNode:
    """What is known of one node.

    Args:
        node: the node's name, "" where an older wfnb did not record it.
        values: how many values.
        nbytes: their size in bytes, about.
        used: when one of them was made or used last, seconds since the epoch.
        run_id: the run that did so.
    """

    node: str
    values: int
    nbytes: int
    used: float
    run_id: str


class Cache:
    """The answers that ``cache=True`` gives, in the configured store; shows as a table, one row a node.

    >>> wf.cache                                                                                     # doctest: +SKIP
    node   values    size  last used  run
    train      12  1.2 MB  3 min ago  pipeline-20300102-101500-a1b2c3
    """

    def __iter__(self) -> Iterator[CachedNode]:
        """Go through the nodes of which values are known, those used last first."""
        found: dict[str, CachedNode] = {}
        for memo in SESSION.store().memos():
            known = found.get(memo.node)
            found[memo.node] = _with(known, memo)
        return iter(sorted(found.values(), key=lambda one: (-one.used, one.node)))

    @property
    def nbytes(self) -> int:
        """How many bytes the values take that are known, about."""
        return sum(memo.nbytes for memo in SESSION.store().memos())

    def clear(self, node: str | None = None, older_than: float | timedelta | None = None) -> int:
        """Forget values, so that their tasks run the next time; return how many were forgotten.

        Runs keep their values: this frees next to no space, `wf.prune` does.

        Args:
            node: only values of the node with this name.
            older_than: only values not made or used in the last so many days; a number, or a timedelta.

        Raises:
            ConfigurationError: no value of such a node is known, or the age is none.
        """
        days = older_than_days(older_than)
        before = None if days is None else time.time() - days * _DAY
        store = SESSION.store()
        keys: list[str] = []
        names: set[str] = set()
        for memo in store.memos():
            names.add(memo.node)
            if (node is None or memo.node == node) and (before is None or memo.time < before):
                keys.append(memo.key)
        if node is not None and node not in names:
            raise ConfigurationError(
                f"the cache knows no value of a node '{node}'. {did_you_mean(node, sorted(names - {''}))}"
            )
        keys = list(dict.fromkeys(keys))
        return sum(store.forget(keys[start : start + _BATCH]) for start in range(0, len(keys), _BATCH))

    def _repr_html_(self) -> str:
        rows = self._rows()
        if not rows:
            return f"<p>{escape(self._empty())}</p>"
        return table(_HEAD, rows)

    def __repr__(self) -> str:
        rows = self._rows()
        return lines(_HEAD, rows) if rows else self._empty()

    def _rows(self) -> list[tuple[str, ...]]:
        now = time.time()
        return [
            (one.node or _UNNAMED, f"{one.values:,}", size(one.nbytes), _ago(now - one.used), one.run_id)
            for one in self
        ]

    def _empty(self) -> str:
        return f"nothing is known in the store {SESSION.store().place}: no node with cache=True has run"


def _with(known: CachedNode | None, memo: Remembered) -> CachedNode:
    if known is None:
        return CachedNode(memo.node, 1, memo.nbytes, memo.time, memo.run_id)
    used, run_id = max((known.used, known.run_id), (memo.time, memo.run_id))
    return CachedNode(memo.node, known.values + 1, known.nbytes + memo.nbytes, used, run_id)


def _ago(age: float) -> str:
    if age >= 2 * _DAY:
        return f"{int(age // _DAY)} days ago" if age < 20_000 * _DAY else ""
    return f"{seconds(int(age))} ago" if age >= 1 else "just now"


cache = Cache()
"""What ``cache=True`` knows; see `Cache`."""
