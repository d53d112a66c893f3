"""Promises of a run in other tools' formats."""

from __future__ import annotations

import json

from tests.views.samples import half_way, routed, run, step
from wfnb.views.export import chrome_trace, mermaid


def test_mermaid_has_a_box_for_each_step_and_an_arrow_for_each_use() -> None:
    text = mermaid(half_way())
    assert text.startswith("flowchart LR\n")
    for part in ('s0["✓ load<br/>completed 0.42 s"]', "s0 --> s1", "s1 --> s2", "class s0 completed"):
        assert part in text


def test_mermaid_has_a_subgraph_for_each_construct() -> None:
    text = mermaid(routed())
    assert text.count("subgraph") == text.count("\n  end") + text.count("\n    end")
    assert "subgraph" in text


def test_signs_that_mean_something_to_mermaid_are_written_out() -> None:
    text = mermaid(run(step('a"<b>')))
    assert "a#quot;&lt;b&gt;" in text


ROWS = {
    "address": ["load", "train[0]", "train[1]", "train[2]"],
    "node": ["load", "train", "train", "train"],
    "status": ["completed", "failed", "completed", "running"],
    "attempt": [1, 1, 2, 1],
    "worker": ["w1", "w1", "w1", "w2"],
    "start": [10.0, 11.0, 11.5, 12.0],
    "end": [11.0, 12.0, 12.5, None],
}


def test_a_chrome_trace_has_a_complete_event_for_each_attempt() -> None:
    made = json.loads(json.dumps(chrome_trace(ROWS)))
    events = [event for event in made["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in events] == ["load", "train[0]", "train[1]", "train[2]"]
    assert events[0] | {} == events[0]
    assert (events[0]["ts"], events[0]["dur"]) == (0.0, 1e6)
    assert events[2]["args"] == {"status": "completed", "attempt": 2}


def test_what_overlaps_on_a_worker_is_in_threads_of_its_own() -> None:
    events = [event for event in chrome_trace(ROWS)["traceEvents"] if event["ph"] == "X"]
    assert [(event["pid"], event["tid"]) for event in events] == [(1, 1), (1, 1), (1, 2), (2, 1)]


def test_workers_have_names_and_an_empty_trace_is_one() -> None:
    names = [event["args"]["name"] for event in chrome_trace(ROWS)["traceEvents"] if event["ph"] == "M"]
    assert names == ["worker w1", "worker w2"]
    assert chrome_trace({name: [] for name in ROWS})["traceEvents"] == []
