from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import environments, report, targets
from benchmarks.__main__ import chosen_entries, chosen_workloads
from benchmarks.contest import MARK, Contest, Failed, Player, Result, environment
from benchmarks.contestants import ALL, BY_NAME, DASK, INLINE, PLAIN, REDIS, SQLITE, Entry
from benchmarks.workloads import BY_NAME as WORKLOADS
from benchmarks.workloads import digest

RESULTS = [
    Result("wide", SQLITE, 10_000, [0.3, 0.1, 0.2]),
    Result("wide", DASK, 2_000, [4.0, 4.4, 4.2]),
    Result("wide", "redun", 100, [], "pip could not install redun"),
    Result("even", SQLITE, 200, [WORKLOADS["even"].ideal(200) / 0.96]),
    Result("even", REDIS, 200, [WORKLOADS["even"].ideal(200) / 0.97]),
]


def test_a_figure_is_the_median_by_task_with_fastest_and_slowest_and_the_ratio_to_wfnb():
    ours, dask, *_ = report.rows(RESULTS)
    assert (ours.median, ours.low, ours.high, ours.ratio) == pytest.approx((20, 10, 30, 1))
    assert (dask.median, dask.ratio) == pytest.approx((2100, 105))


def test_a_contestant_that_failed_is_shown_with_the_reason():
    row = report.rows(RESULTS)[2]
    assert row.median is None
    assert "failed: pip could not install redun" in report.line(row)
    assert "pip could not install redun" in report.markdown({}, [row], [])


def test_a_target_is_met_missed_or_not_measured():
    told = {one["target"]: one for one in targets.check(report.figures(report.rows(RESULTS)))}
    assert told["map of 10,000, SQLite"]["met"] is True
    assert told["map of 10,000, SQLite: times faster than client.map"]["value"] == pytest.approx(105)
    assert told["efficiency, 200 tasks of 100 ms ± 50 %"]["value"] == pytest.approx(0.96)
    assert told["chain of 1,000, the slower store"]["met"] is None
    slow = report.rows([Result("wide", SQLITE, 10_000, [1.0])])
    assert {one["target"]: one for one in targets.check(report.figures(slow))}["map of 10,000, SQLite"]["met"] is False


def test_the_nearest_durable_peer_is_named():
    results = [Result("chain", name, 1_000, [0.1]) for name in (SQLITE, REDIS)]
    results += [Result("chain", "joblib.Memory", 1_000, [0.2]), Result("chain", "DBOS", 500, [9.0])]
    results += [Result("chain", "pipefunc, memory", 300, [0.001])]  # keeps nothing
    (told,) = [
        one for one in targets.check(report.figures(report.rows(results))) if one["target"].startswith("chain: ahead")
    ]
    assert (told["met"], told["note"]) == (True, "joblib.Memory")
    assert told["value"] == pytest.approx(2)


def test_results_are_written_as_json_markdown_and_a_plot(tmp_path):
    told = targets.check(report.figures(report.rows(RESULTS)))
    files = report.write(tmp_path, {"cores": 2}, RESULTS, {SQLITE: {"wfnb": "1"}}, told)
    assert [file.suffix for file in files] == [".json", ".md", ".svg"]
    document = json.loads(files[0].read_text())
    assert document["results"][0]["seconds"] == [0.3, 0.1, 0.2]
    assert document["contestants"][SQLITE]["versions"] == {"wfnb": "1"}
    assert len(document["targets"]) == len(targets.ALL_TARGETS)
    assert "map of 10,000 no-ops" in files[1].read_text()


def test_every_workload_of_every_contestant_exists_and_what_one_lacks_is_not_among_them():
    for entry in ALL:
        source = (Path(environments.__file__).parent / "contestants" / f"{entry.module}.py").read_text()
        for name in entry.sizes:
            method = WORKLOADS[name].method
            assert method in ("cold", "cold_warm", "cold-warm", "import_") or f"def {method}(" in source, (entry, name)
        assert not set(entry.lacks) & set(entry.sizes)
        assert set(entry.lacks) <= set(WORKLOADS)


def test_lists_are_equal_whatever_holds_them():
    numpy = pytest.importorskip("numpy")
    assert digest([0, 1, 2]) == digest(range(3)) == digest((0, 1, 2)) == digest(numpy.arange(3)) != digest([0, 1])


def test_peers_are_chosen_by_how_their_names_begin():
    assert {entry.name for entry in chosen_entries(["joblib.m"])} >= {SQLITE, "joblib.Memory"}
    assert all(entry.ours for entry in chosen_entries([]))
    with pytest.raises(SystemExit, match="no contestant begins with 'luigi'"):
        chosen_entries(["luigi"])
    assert "wide-1m" not in {one.name for one in chosen_workloads(None, full=False)}
    assert [one.name for one in chosen_workloads(["wide-1m"], full=False)] == ["wide-1m"]


def test_contestants_take_turns_and_their_values_are_checked(tmp_path):
    news: list[str] = []
    with environment(tmp_path) as env:
        entries = [BY_NAME[PLAIN], BY_NAME[INLINE]]
        contest = Contest(entries, tmp_path, env, news.append)
        try:
            results = contest.run(WORKLOADS["diamond"], 2)
            marks = {player.env[MARK] for player in contest.players.values()}
        finally:
            contest.close()
    assert not news
    assert [(one.contestant, len(one.seconds)) for one in results] == [(PLAIN, 2), (INLINE, 2)]
    assert contest.versions[INLINE].keys() == {"wfnb"}
    for process in psutil.process_iter():
        try:
            assert process.environ().get(MARK) not in marks
        except psutil.Error:
            continue


def test_a_contestant_that_cannot_do_it_or_gives_another_value_is_told_of(tmp_path):
    news: list[str] = []
    with environment(tmp_path) as env:
        contest = Contest([BY_NAME[PLAIN]], tmp_path, env, news.append)
        try:
            player = contest._player(BY_NAME[PLAIN])
            with pytest.raises(Failed, match="has no attribute 'dag'"):
                player.measure(WORKLOADS["dag"], 10)
            with pytest.raises(Failed, match="not the one that the others have"):
                player.measure(dataclasses.replace(WORKLOADS["chain"], answer=lambda n: n + 1), 5)
            (result,) = contest.run(dataclasses.replace(WORKLOADS["chain"], answer=lambda n: n + 1), 1)
        finally:
            contest.close()
    assert (result.seconds, result.failed) == ([], "its value is not the one that the others have")
    assert news == ["chain: plain Python failed: its value is not the one that the others have"]


def test_a_contestant_whose_process_ends_is_told_of_with_its_last_words(tmp_path):
    player = Player(Entry("broken", "nobody", {}), tmp_path, {"PYTHONPATH": str(Path.cwd())})
    with pytest.raises(Failed, match=r"No module named 'benchmarks\.contestants\.nobody'"):
        player.measure(WORKLOADS["wide"], 1)
    player.close()


def test_an_environment_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(environments.venv, "create", lambda folder, **how: folder.mkdir())

    def pip(command, **how):
        return subprocess.CompletedProcess(command, 1, "", "no such thing")

    monkeypatch.setattr(environments.subprocess, "run", pip)
    with pytest.raises(RuntimeError, match="pip could not install nothing-such: no such thing"):
        environments.interpreter("nobody", ("nothing-such",))
    assert environments.interpreter("ours", ()) == sys.executable
