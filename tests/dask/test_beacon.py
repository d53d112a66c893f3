"""What a process is at can be read while the process itself cannot answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wfnb.dask.beacon import NAME, Beacon, Busy, name_of, read

ONE, TWO = name_of("run", "b1.1"), name_of("run", "b1.2")


@pytest.fixture
def beacon(tmp_path: Path) -> Beacon:
    return Beacon(tmp_path)


def test_bundles_are_told_apart_by_their_run_and_their_id() -> None:
    assert len({name_of("a", "b1.1"), name_of("a", "b1.2"), name_of("b", "b1.1"), name_of("ab", "1.1")}) == 4
    assert name_of("a", "b1.1") == name_of("a", "b1.1")


def test_what_is_said_is_read_by_name(beacon: Beacon, tmp_path: Path) -> None:
    beacon.say(beacon.take(), ONE, 3, 7, 2, 1000.5, 0.0)
    beacon.say(beacon.take(), TWO, 4, 0, 1, 1001.5, 1010.0)
    assert read(tmp_path) == {ONE: Busy(3, 7, 2, 1000.5, 0.0), TWO: Busy(4, 0, 1, 1001.5, 1010.0)}


def test_the_last_that_a_bundle_said_counts_until_it_is_over(beacon: Beacon, tmp_path: Path) -> None:
    place = beacon.take()
    beacon.say(place, ONE, 3, 7, 1, 1000.0, 0.0)
    beacon.say(place, ONE, 3, 8, 1, 1001.0, 0.0)
    assert read(tmp_path) == {ONE: Busy(3, 8, 1, 1001.0, 0.0)}
    beacon.free(place)
    assert read(tmp_path) == {}


def test_who_finds_no_place_is_silent_and_harms_nobody(beacon: Beacon, tmp_path: Path) -> None:
    places = []
    while (place := beacon.take()) >= 0:
        places.append(place)
    assert len(set(places)) == len(places) > 1
    beacon.say(places[0], ONE, 1, 1, 1, 1.0, 0.0)
    beacon.say(-1, TWO, 2, 2, 1, 1.0, 0.0)
    beacon.free(-1)
    assert list(read(tmp_path)) == [ONE]
    assert beacon.take() == -1
    beacon.free(places[1])
    assert beacon.take() == places[1]


def test_nothing_is_read_where_no_bundle_ever_ran_or_the_file_is_cut(tmp_path: Path) -> None:
    assert read(tmp_path) == {}
    Beacon(tmp_path)
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-5])
    assert read(tmp_path) == {}


def test_another_process_reads_it(beacon: Beacon, tmp_path: Path) -> None:
    beacon.say(beacon.take(), ONE, 3, 7, 2, 1000.5, 0.0)
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from pathlib import Path; from wfnb.dask.beacon import *; print(read(Path({str(tmp_path)!r})))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.strip() == str({ONE: Busy(3, 7, 2, 1000.5, 0.0)})
    assert beacon.pid == os.getpid()
