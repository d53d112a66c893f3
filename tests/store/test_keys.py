"""The secret is made once and kept to its owner."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from wfnb.model.errors import ConfigurationError
from wfnb.store import keys


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("WFNB_SECRET_KEY", raising=False)
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def _put_key(results: multiprocessing.Queue[bytes]) -> None:
    results.put(keys.secret_key())


def test_the_environment_gives_the_secret(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("WFNB_SECRET_KEY", "shared ü")
    assert keys.secret_key() == "shared ü".encode()
    assert not folder.exists()


def test_the_secret_is_made_once_and_readable_by_its_owner_only(folder: Path) -> None:
    secret = keys.secret_key()
    path = folder / "secret.key"
    assert path.read_bytes() == secret == keys.secret_key()
    assert len(secret) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["secret.key"]


def test_processes_that_make_the_secret_at_once_agree() -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[bytes] = context.Queue()
    workers = [context.Process(target=_put_key, args=(results,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert len({results.get(timeout=60) for _ in workers}) == 1
    for worker in workers:
        worker.join(60)


def test_a_secret_is_made_where_there_are_no_hard_links(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert keys.secret_key() == (folder / "secret.key").read_bytes()


def test_a_damaged_secret_is_reported(folder: Path) -> None:
    folder.mkdir()
    (folder / "secret.key").write_text("short")
    with pytest.raises(ConfigurationError, match=r"secret\.key' holds 5 characters.*WFNB_SECRET_KEY"):
        keys.secret_key()


def test_a_folder_that_cannot_be_made_is_reported(folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(ConfigurationError, match="WFNB_DATA_DIR"):
        keys.secret_key()


def test_the_data_folder_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WFNB_DATA_DIR", "here")
    assert keys.data_dir() == tmp_path / "here"
