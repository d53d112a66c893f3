"""The memory store keeps the contract, and its own promises."""

from __future__ import annotations

import multiprocessing
import pickle
import uuid
from multiprocessing.connection import Connection

import pytest

from wfnb.model.errors import ConfigurationError
from wfnb.store.memory import MemoryStore
from wfnb.testing.store import StoreConformance, record


class TestMemoryStore(StoreConformance):
    shared = False

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(f"memory://{uuid.uuid4().hex}")


def _send_identity(store: MemoryStore, end: Connection) -> None:
    end.send((store.identity(), store.find()))
    end.close()


def test_stores_of_one_name_are_one_place() -> None:
    MemoryStore("memory://one").create(record("shared"))
    assert MemoryStore("memory://one").get("shared").id == "shared"
    assert MemoryStore("memory://one") == MemoryStore("memory://one")


def test_stores_of_two_names_are_two_places() -> None:
    assert MemoryStore("memory://two") != MemoryStore("memory://three")
    assert MemoryStore("memory://two").identity() != MemoryStore("memory://three").identity()


def test_a_pickled_store_finds_its_place_again() -> None:
    store = MemoryStore("memory://pickled")
    store.create(record("kept"))
    assert pickle.loads(pickle.dumps(store)).get("kept").id == "kept"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_another_process_sees_another_place(method: str) -> None:
    store = MemoryStore("memory://elsewhere")
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=_send_identity, args=(store, there))  # type: ignore[attr-defined]
    process.start()
    assert here.poll(60)
    identity, _ = here.recv()
    process.join(60)
    assert identity != store.identity()


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        MemoryStore("sqlite:///x.db")
