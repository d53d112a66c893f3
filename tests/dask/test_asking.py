"""Whoever is asked and does not answer, the answer or an error comes in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from wfnb.dask.asking import ask, begin, threads_of, workers_of

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:.*dashboard.*")]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of a small cluster in this process."""
    from distributed import Client

    with Client(
        n_workers=1, threads_per_worker=3, processes=False, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        yield client


def test_workers_and_their_threads_are_told_by_address(client: Any) -> None:
    ((address, threads),) = threads_of(client).items()
    assert threads == 3
    assert workers_of(client)[address]["nthreads"] == 3


def test_who_never_answers_is_not_waited_for(client: Any) -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        ask(client, asyncio.Event().wait, within=0.1)
    assert time.monotonic() - start < 10


def test_what_is_asked_gets_its_arguments(client: Any) -> None:
    async def joined(first: str, second: str) -> str:
        return first + second

    assert ask(client, joined, "a", second="b") == "ab"
    assert begin(client, joined, "a", second="b").result(10) == "ab"


def test_an_answer_that_is_begun_to_be_asked_for_is_not_waited_for_either(client: Any) -> None:
    asked = begin(client, asyncio.Event().wait, within=0.1)
    with pytest.raises(TimeoutError):
        asked.result(10)
