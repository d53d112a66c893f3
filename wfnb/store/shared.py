"""Packs of other runs: how a run names a value that another one keeps, and how it is loaded. Imports the contract only.

A fork uses values of the run it was forked from. It names them by ``/run/key``; a run's own keys never begin so.
"""

from __future__ import annotations

from collections.abc import Sequence

from wfnb.store.base import Frame, Store


def shared_key(run_id: str, key: str) -> str:
    """Return the key by which other runs name a pack of a run, or a pack that it names so itself."""
    return key if not key or key.startswith("/") else f"/{run_id}/{key}"


def previews_key(pack: str) -> str:
    """Return the key of the pack that tells of the big values in a pack, as JSON: previews by place."""
    return f"{pack}~"


def owner_of(key: str) -> str:
    """Return the run that keeps a pack of another's, "" for one that is a run's own."""
    return key[1:].partition("/")[0] if key.startswith("/") else ""


def load_packs(store: Store, run_id: str, keys: Sequence[str]) -> dict[str, list[Frame]]:
    """Return the packs that are there, by key, the run's own and those it shares; missing keys are left out."""
    places: dict[str, list[str]] = {}
    for key in keys:
        places.setdefault(owner_of(key) or run_id, []).append(key)
    found: dict[str, list[Frame]] = {}
    for owner, wanted in places.items():
        names = {key.removeprefix(f"/{owner}/"): key for key in wanted}
        found.update((names[name], frames) for name, frames in store.load(owner, list(names)).items())
    return found
