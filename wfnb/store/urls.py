"""Owns the way from a URL to a store: schemes, the default place, hiding passwords. Imports model and the adapters."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from wfnb.model.errors import ConfigurationError
from wfnb.store.base import Store
from wfnb.store.keys import data_dir
from wfnb.store.rules import redact

__all__ = ["GROUP", "default_url", "open_store", "redact"]

GROUP = "wfnb.stores"
"""The entry-point group of other packages' adapters: a URL scheme as name, a callable that takes the URL."""


def _memory(url: str) -> Store:
    from wfnb.store.memory import MemoryStore

    return MemoryStore(url)


def _sqlite(url: str) -> Store:
    from wfnb.store.sqlite import SQLiteStore

    return SQLiteStore(url)


def _redis(url: str) -> Store:
    from wfnb.store.redis import RedisStore

    return RedisStore(url)


_BUILT_IN: dict[str, Callable[[str], Store]] = {
    "memory": _memory,
    "redis": _redis,
    "rediss": _redis,
    "sqlite": _sqlite,
    "unix": _redis,
}
_open: dict[tuple[int, str], Store] = {}
_lock = threading.Lock()


def open_store(store: str | Store) -> Store:
    """Return the store at a URL; the same URL gives the same object as long as this process lives.

    Args:
        store: a URL such as ``sqlite:////home/me/wfnb.db``, ``redis://host:6379/0`` or ``memory://``; a store is
            returned as it is.

    Raises:
        ConfigurationError: the URL is wrong or its scheme unknown.
        MissingDependency: the adapter's package is not installed.
    """
    if not isinstance(store, str):
        if isinstance(store, Store):
            return store
        raise ConfigurationError(
            f"a store is a URL such as '{default_url()}' or an object that keeps the store contract, not a value of "
            f"type '{type(store).__qualname__}'"
        )
    scheme, separator, _ = store.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise ConfigurationError(
            f"'{redact(store)}' is no URL of a store: it must start with its kind, such as 'sqlite:///wfnb.db' for a "
            "file or 'redis://localhost:6379/0'"
        )
    # A relative path means another file after the working directory has changed.
    key = (os.getpid(), f"{os.getcwd()}|{store}" if scheme == "sqlite" else store)
    with _lock:
        if key not in _open:
            _open[key] = _adapter(scheme)(store)
        return _open[key]


def default_url() -> str:
    """Return the URL of the store used when none is named: ``WFNB_STORE``, else ``wfnb.db`` in the data folder."""
    return os.environ.get("WFNB_STORE") or f"sqlite:///{data_dir() / 'wfnb.db'}"


def _adapter(scheme: str) -> Callable[[str], Store]:
    if scheme in _BUILT_IN:
        return _BUILT_IN[scheme]
    found: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
    if scheme in found:
        adapter: Callable[[str], Store] = found[scheme].load()
        return adapter
    known = sorted({*_BUILT_IN, *found})
    nearest = difflib.get_close_matches(scheme, known, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else "."
    raise ConfigurationError(
        f"no store has the URL scheme '{scheme}'{hint} Known are: {', '.join(known)}; other packages add theirs by the "
        f"entry-point group '{GROUP}'"
    )
