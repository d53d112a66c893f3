"""Leases are renewed from the time that this is first due, for as long as somebody has them."""

from __future__ import annotations

import threading

from wfnb.dask.leases import Leases


class Holder:
    def __init__(self) -> None:
        self.asked = threading.Event()
        self.thread = ""

    def keep_lease(self) -> None:
        self.thread = threading.current_thread().name
        self.asked.set()


def test_who_has_a_lease_renews_it_when_that_is_due() -> None:
    leases, holders = Leases(every=0.01), [Holder() for _ in range(5)]
    for holder in holders:
        leases.add(holder)
    for holder in holders:
        assert holder.asked.wait(30)
        assert holder.thread == "wfnb-lease"


def test_who_comes_after_all_others_are_through_is_looked_after_too() -> None:
    leases = Leases(every=0.001)
    for _ in range(20):
        holder = Holder()
        leases.add(holder)
        assert holder.asked.wait(30)


def test_who_is_gone_is_passed_over() -> None:
    leases, last = Leases(every=0.05), Holder()
    leases.add(Holder())
    leases.add(last)
    assert last.asked.wait(30)


def test_a_holder_that_takes_long_holds_up_no_other() -> None:
    class Slow(Holder):
        def keep_lease(self) -> None:
            super().keep_lease()
            go.wait(60)

    go, leases, slow, other = threading.Event(), Leases(every=0.01), Slow(), Holder()
    leases.add(slow)
    leases.add(other)
    assert other.asked.wait(30)
    assert slow.asked.is_set()
    go.set()
