"""URLs lead to stores."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from wfnb.model.errors import ConfigurationError, MissingDependency
from wfnb.store import urls
from wfnb.store.memory import MemoryStore
from wfnb.store.redis import RedisStore
from wfnb.store.sqlite import SQLiteStore


@pytest.mark.parametrize(
    ("url", "adapter"),
    [
        ("memory://urls", MemoryStore),
        ("sqlite:////tmp/never-made.db", SQLiteStore),
        ("redis://localhost:1/0", RedisStore),
        ("rediss://localhost:1/0", RedisStore),
        ("unix:///tmp/never-made.sock?db=2", RedisStore),
    ],
)
def test_a_url_opens_the_store_of_its_scheme(url: str, adapter: type) -> None:
    assert type(urls.open_store(url)) is adapter


def test_one_url_opens_one_object() -> None:
    assert urls.open_store("redis://localhost:1/0") is urls.open_store("redis://localhost:1/0")


def test_a_relative_path_means_the_folder_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert urls.open_store("sqlite:///x.db").url == f"sqlite:///{tmp_path}/{name}/x.db"


def test_a_store_is_returned_as_it_is() -> None:
    store = MemoryStore("memory://as-it-is")
    assert urls.open_store(store) is store


def test_anything_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a value of type 'int'"):
        urls.open_store(5)  # type: ignore[arg-type]


def test_an_unknown_scheme_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"'reddis'; did you mean 'redis'\? .*memory, redis, .*sqlite"):
        urls.open_store("reddis://localhost")


@pytest.mark.parametrize("text", ["wfnb.db", "", "localhost:6379"])
def test_a_text_without_a_scheme_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must start with its kind"):
        urls.open_store(text)


def test_other_packages_add_schemes_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("elsewhere", f"{__name__}:open_elsewhere", urls.GROUP)
    monkeypatch.setattr(urls, "entry_points", lambda group: EntryPoints([point] if group == urls.GROUP else []))
    assert urls.open_store("elsewhere://x") == MemoryStore("memory://elsewhere")
    with pytest.raises(ConfigurationError, match="'elswhere'; did you mean 'elsewhere'"):
        urls.open_store("elswhere://x")


def open_elsewhere(url: str) -> MemoryStore:
    assert url == "elsewhere://x"
    return MemoryStore("memory://elsewhere")


def test_the_default_is_a_file_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WFNB_STORE", raising=False)
    monkeypatch.setenv("WFNB_DATA_DIR", str(tmp_path))
    assert urls.default_url() == f"sqlite:///{tmp_path}/wfnb.db"
    monkeypatch.delenv("WFNB_DATA_DIR")
    assert urls.default_url().endswith("/wfnb/wfnb.db")


def test_the_environment_names_another_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFNB_STORE", "redis://here:1/0")
    assert urls.default_url() == "redis://here:1/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:pass@host:1/0", "redis://me:***@host:1/0"),
        ("redis://:pass@host", "redis://:***@host"),
        ("redis://me:p:a/s@s@host:1/0", "redis://me:***@host:1/0"),
        ("redis://host:1/0?password=pass&db=1", "redis://host:1/0?password=***&db=1"),
        ("rediss://host?ssl_keyfile_password=pass", "rediss://host?ssl_keyfile_password=***"),
        ("redis://host:1/0", "redis://host:1/0"),
        ("sqlite:////home/me/a@b.db", "sqlite:////home/me/a@b.db"),
        ("me:pass@host", "me:***@host"),
    ],
)
def test_redact_hides_passwords(url: str, shown: str) -> None:
    assert urls.redact(url) == shown


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("memory://urls", "memory://urls"),
        ("sqlite:////tmp/never-made.db", "sqlite:////tmp/never-made.db"),
        ("redis://me:hidden@localhost:1/0", "redis://me:***@localhost:1/0"),
        ("rediss://:hidden@localhost:1/0", "rediss://:***@localhost:1/0"),
        ("redis://localhost:1/0?password=hidden", "redis://localhost:1/0?password=***"),
        ("unix:///tmp/never-made.sock?db=2&password=hidden", "unix:///tmp/never-made.sock?db=2&password=***"),
    ],
)
def test_the_place_of_a_store_is_its_url_without_the_password(url: str, place: str) -> None:
    store = urls.open_store(url)
    assert (store.url, store.place) == (url, place)
    assert pickle.loads(pickle.dumps(store)).place == place
    assert "hidden" not in repr(store)


def test_without_redis_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "wfnb.store.redis")
    monkeypatch.delitem(sys.modules, "wfnb.store.redis_link")
    with pytest.raises(MissingDependency, match=r'pip install "wfnb\[redis\]"') as caught:
        urls.open_store("redis://nowhere:1/9")
    assert (caught.value.package, caught.value.extra) == ("redis", "redis")


def test_redis_and_numpy_are_imported_only_when_used() -> None:
    code = (
        "import sys, wfnb.store.urls, wfnb.store.codec, wfnb.store.keys\n"
        "wfnb.store.urls.open_store('memory://')\n"
        "wfnb.store.codec.Codec(b'k').encode_pack([1, {'a': (1, 2)}])\n"
        "print([name for name in ('redis', 'numpy', 'pandas', 'distributed', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
