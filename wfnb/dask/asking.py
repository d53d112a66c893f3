"""Questions to a scheduler and its workers that end in time, whoever is silent. Imports nothing of wfnb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

CALL_TIMEOUT = 5.0
"""Seconds the scheduler, or a worker's nanny, has for an answer."""


def ask(client: Any, call: Callable[..., Any], *args: Any, within: float = CALL_TIMEOUT, **kwargs: Any) -> Any:
    """Call a coroutine function of a Dask client and return its answer.

    Args:
        client: the client, not an asynchronous one.
        call: what to call, such as an operation of ``client.scheduler``.
        args: its arguments.
        within: seconds it may take.
        kwargs: more arguments.

    Raises:
        TimeoutError: no answer came in time; like all that a lost connection raises, an OSError.
    """
    return client.sync(call, *args, callback_timeout=within, **kwargs)


def begin(
    client: Any, call: Callable[..., Any], *args: Any, within: float = CALL_TIMEOUT, **kwargs: Any
) -> Future[Any]:
    """Call a coroutine function of a Dask client, as `ask` does, and return at once; its answer comes to the future."""
    import asyncio  # Dask is loaded, and so is it

    async def answer() -> Any:
        return await asyncio.wait_for(call(*args, **kwargs), within)

    return asyncio.run_coroutine_threadsafe(answer(), client.loop.asyncio_loop)


def threads_of(client: Any, within: float = CALL_TIMEOUT) -> Mapping[str, int]:
    """Return how many threads each worker of a cluster has, by its address; raises OSError."""
    found: Mapping[str, int] = ask(client, client.scheduler.ncores, workers=None, within=within)
    return found


def workers_of(client: Any, within: float = CALL_TIMEOUT) -> Mapping[str, Mapping[str, Any]]:
    """Return what the scheduler knows of each worker of a cluster, by its address; raises OSError."""
    found: Mapping[str, Mapping[str, Any]] = ask(client, client.scheduler.identity, n_workers=-1, within=within)[
        "workers"
    ]
    return found
