"""What a thread prints and logs goes to its bundle, and everybody else's output where it always went."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable

import pytest

from wfnb.dask.output import TASK_LOGGER, captured


class Heard:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def write(self, stream: str, text: str) -> None:
        self.said.append((stream, text))

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.said)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_both_streams_are_told_apart(heard: Heard) -> None:
    with captured(heard):
        print("out", end="")
        print("err", end="", file=sys.stderr)
        sys.stdout.writelines(["a", "b"])
    assert heard.said == [("stdout", "out"), ("stderr", "err"), ("stdout", "a"), ("stdout", "b")]


def test_other_threads_write_where_they_always_did(heard: Heard, capsys: pytest.CaptureFixture[str]) -> None:
    with captured(heard):
        in_thread(lambda: print("elsewhere"))
        print("here")
    assert heard.text == "here\n"
    assert capsys.readouterr().out == "elsewhere\n"


def test_two_bundles_at_once_hear_only_themselves(heard: Heard) -> None:
    other, meet = Heard(), threading.Barrier(2)

    def bundle(sink: Heard, text: str) -> None:
        with captured(sink):
            meet.wait(5)
            print(text, end="")
            meet.wait(5)

    thread = threading.Thread(target=bundle, args=(other, "other"))
    thread.start()
    bundle(heard, "mine")
    thread.join()
    assert (heard.text, other.text) == ("mine", "other")


def test_logging_is_caught_by_level_from_info_up(heard: Heard) -> None:
    with captured(heard):
        logging.getLogger("mine").debug("no")
        logging.getLogger("mine").info("yes")
        logging.getLogger(TASK_LOGGER).debug("detail")
    assert heard.said == [("info", "mine: yes\n"), ("debug", "wfnb.task: detail\n")]


def test_a_logged_exception_comes_with_its_traceback(heard: Heard) -> None:
    with captured(heard):
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logging.getLogger("mine").exception("failed")
    assert heard.said[0][0] == "error"
    assert "ZeroDivisionError" in heard.text


def test_everything_is_put_back_also_after_an_error(heard: Heard) -> None:
    root = logging.getLogger()
    before = (sys.stdout, sys.stderr, root.level, list(root.handlers))
    with pytest.raises(ValueError, match="no"), captured(heard):
        raise ValueError("no")
    assert (sys.stdout, sys.stderr, root.level, list(root.handlers)) == before


def test_a_stream_somebody_else_put_in_place_meanwhile_stays(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with captured(heard):
        sys.stdout = mine
    assert sys.stdout is mine


def test_a_bundle_inside_another_hears_its_own_part(heard: Heard) -> None:
    inner = Heard()
    with captured(heard):
        print("a", end="")
        with captured(inner):
            print("b", end="")
        print("c", end="")
    assert (heard.text, inner.text) == ("ac", "b")


def test_a_stream_keeps_its_other_abilities(heard: Heard) -> None:
    encoding = sys.stdout.encoding
    with captured(heard):
        assert sys.stdout.encoding == encoding
        assert sys.stdout.writable()
        sys.stdout.flush()
        assert print("x", end="", flush=True) is None
    assert heard.text == "x"
