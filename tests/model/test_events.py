"""What is written to the journal is what is read from it; what a reader does not know it skips."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfnb.model import events
from wfnb.model.events import (
    Column,
    Command,
    ErrorRecord,
    Event,
    Grown,
    Logs,
    Outcomes,
    RunEnded,
    Running,
    RunStarted,
    Waiting,
    decode_event,
    encode_event,
)

text = st.text(max_size=8)
numbers = st.integers(0, 2**40)
moments = st.floats(allow_nan=False, allow_infinity=False)
texts = st.dictionaries(text, text, max_size=3)
errors = st.builds(
    ErrorRecord,
    type=text,
    message=text,
    traceback=text,
    exception=st.binary(max_size=8),
    retry_in=st.none() | moments,
    kinds=st.lists(text, max_size=3).map(tuple),
)
columns = st.builds(
    Column,
    step=text,
    lo=numbers,
    attempt=st.integers(1, 9),
    status=st.binary(max_size=8),
    start=st.binary(max_size=8),
    end=st.binary(max_size=8),
    pack=text,
    offset=numbers,
    size=st.none() | numbers,
    errors=st.dictionaries(numbers, errors, max_size=2),
    origins=st.lists(st.tuples(numbers, text, text, numbers), max_size=2).map(tuple),
)
KINDS: dict[type, st.SearchStrategy[Any]] = {
    RunStarted: st.builds(
        RunStarted,
        time=moments,
        driver=text,
        code=text,
        widths=st.dictionaries(text, numbers, max_size=3),
        fingerprints=texts,
        reset=texts,
        retry=st.booleans(),
    ),
    Outcomes: st.builds(Outcomes, bundle=text, worker=text, columns=st.lists(columns, max_size=3).map(tuple)),
    Running: st.builds(
        Running,
        bundle=text,
        worker=text,
        step=text,
        index=numbers,
        attempt=st.integers(1, 9),
        start=moments,
        yielded=st.booleans(),
        progress=st.none() | moments,
        message=text,
    ),
    Waiting: st.builds(Waiting, time=moments, why=text),
    Logs: st.builds(
        Logs, rows=st.lists(st.tuples(text, st.integers(1, 9), moments, text, text), max_size=3).map(tuple)
    ),
    Command: st.builds(Command, name=text, by=text, time=moments),
    RunEnded: st.builds(RunEnded, time=moments, status=text, address=text, message=text, output=text),
    Grown: st.builds(Grown, step=text, code=text, plan=st.binary(max_size=8), shape=text),
}


@st.composite
def chains(draw: st.DrawFn) -> Outcomes:
    """Outcomes of many steps, most of them of one value each, one after the other in one pack."""
    found: list[Column] = []
    pack, offset = "p", draw(numbers)
    for _ in range(draw(st.integers(0, 40))):
        status, times = draw(st.binary(min_size=1, max_size=1)), draw(st.binary(min_size=16, max_size=16))
        found.append(Column(draw(text), 0, 1, status, times[:8], times[8:], pack, offset))
        offset += 1
        match draw(st.integers(0, 12)):
            case 0:
                found.append(draw(columns))
            case 1:
                offset += 1
            case 2:
                pack += "p"
            case 3:
                changes: list[dict[str, Any]] = [
                    {"lo": 1}, {"attempt": 2}, {"pack": ""}, {"size": 0}, {"errors": {0: ErrorRecord("t", "m", "t")}},
                    {"origins": ((0, "r", "p", 0),)}, {"start": b""}, {"status": b""},
                ]  # fmt: skip
                found[-1] = found[-1]._replace(**draw(st.sampled_from(changes)))
    return Outcomes("b", "w", tuple(found), draw(st.booleans()))


@given(chains())
def test_outcomes_of_many_steps_are_read_as_they_were_written(event: Outcomes) -> None:
    assert decode_event(encode_event(event)) == event


def test_a_step_of_a_chain_takes_few_bytes() -> None:
    chain = [Column(f"step-{n}", 0, 1, b"\2", bytes(8), bytes(8), "pack", n) for n in range(1_000)]
    assert len(encode_event(Outcomes("b", "w", tuple(chain)))) < 30 * 1_000


def test_every_kind_of_event_is_made_here() -> None:
    assert set(KINDS) == set(events._CODES)


@given(st.one_of(*KINDS.values()))
def test_an_event_read_is_the_event_written(event: Event) -> None:
    assert decode_event(encode_event(event)) == event


@given(st.one_of(*KINDS.values()))
def test_a_kind_that_is_not_wanted_is_skipped(event: Event) -> None:
    data = encode_event(event)
    assert decode_event(data, skip=data[:1]) is None


def test_a_kind_that_is_not_known_is_skipped() -> None:
    assert decode_event(b"?" + bytes(msgpack.packb((1, 2)))) is None
    assert decode_event(b"") is None


@pytest.mark.parametrize("kind", [cls for cls in KINDS if cls is not Outcomes])
def test_fields_of_a_later_version_are_ignored(kind: type) -> None:
    event = _plain(kind)
    data = encode_event(event)
    row = [*msgpack.unpackb(data[1:], strict_map_key=False), "new"]
    assert decode_event(data[:1] + bytes(msgpack.packb(row))) == event


def _plain(kind: type) -> Any:
    return {
        RunStarted: RunStarted(1.0, "d", "c"),
        Running: Running("b", "w", "s", 0, 1, 2.0),
        Logs: Logs((("a", 1, 2.0, "out", "text"),)),
        Command: Command("pause", "me", 1.0),
        RunEnded: RunEnded(1.0, "completed"),
        Grown: Grown("s", "code", b"plan", "{}"),
        Waiting: Waiting(1.0, "no workers"),
    }[kind]


def test_every_status_has_a_name() -> None:
    assert len(events.STATUS_NAMES) == 9
    assert len(set(events.STATUS_NAMES.values())) == 7, "two more are read as 'skipped' and 'failed'"
