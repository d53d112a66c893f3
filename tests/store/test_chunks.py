"""Packs are cut into parts and put together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfnb.store import chunks


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(min_value=1, max_value=30))
def test_parts_together_are_the_frames(frames: list[bytes], chunk_bytes: int) -> None:
    parts = list(chunks.split(frames, chunk_bytes))
    assert all(0 < len(part) <= chunk_bytes for part in parts)
    assert chunks.join([len(frame) for frame in frames], map(bytes, parts)) == frames


def test_a_big_frame_is_cut_without_a_copy() -> None:
    frame = bytearray(10_000_000)
    first = next(iter(chunks.split([frame], 4_000_000)))
    assert isinstance(first, memoryview)
    assert first.obj is frame


def test_small_frames_share_a_part() -> None:
    assert len(list(chunks.split([b"x" * 1_000] * 2_000, 4_000_000))) == 2


def test_parts_that_are_more_than_the_frames_are_noticed() -> None:
    with pytest.raises(EOFError, match="2 bytes too many"):
        chunks.join([5, 0, 2], [b"1234", b"56789"])


def test_big_frames_come_back_in_memory_of_their_own_that_can_be_written_to() -> None:
    frames = chunks.join([2_000_000, 3, 2_000_000], [b"a" * 4_000_003])
    assert all(not memoryview(frame).readonly for frame in frames)
    assert [len(frame) for frame in frames] == [2_000_000, 3, 2_000_000]


def test_missing_parts_are_noticed() -> None:
    with pytest.raises(EOFError, match="3 bytes of 10 are missing"):
        chunks.join([5, 5], [b"1234", b"567"])
