"""Who only looks waits less for a store that is away, and nobody is made to wait longer."""

from __future__ import annotations

import threading

from wfnb.store.patience import patience, shortest


def test_without_a_block_calls_wait_as_long_as_they_would() -> None:
    assert shortest(60.0) == 60.0


def test_in_a_block_calls_wait_no_longer_than_it_says() -> None:
    with patience(2.0):
        assert (shortest(60.0), shortest(1.0)) == (2.0, 1.0)
    assert shortest(60.0) == 60.0


def test_a_block_inside_another_only_makes_it_shorter() -> None:
    with patience(2.0):
        with patience(30.0):
            assert shortest(60.0) == 2.0
        with patience(0.5):
            assert shortest(60.0) == 0.5
        assert shortest(60.0) == 2.0


def test_other_threads_wait_as_before() -> None:
    found: list[float] = []
    with patience(2.0):
        thread = threading.Thread(target=lambda: found.append(shortest(60.0)))
        thread.start()
        thread.join()
    assert found == [60.0]
