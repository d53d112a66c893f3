"""Nodes and workflows are found by name, and a name that means two things says so."""

from __future__ import annotations

import gc
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import wfnb.authoring.registry as module
from wfnb.authoring.node import FunctionNode, node
from wfnb.authoring.registry import REGISTRY, NameWarning, PluginWarning, register
from wfnb.authoring.workflow import Workflow
from wfnb.model.builtin import Call, Log
from wfnb.model.errors import ConfigurationError
from wfnb.model.node import Node, Params

VALUE = 3


@node
def load(path: str) -> str:
    return path


class Scale(Node):
    class Params(Params):
        factor: float = 2.0

    def execute(self, x: float) -> float:
        return float(x * self.params.factor)


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [])
    with REGISTRY.kept_apart():
        yield


def made(function: str = "load", *, of: str = "helpers", version: str = "", **options: Any) -> FunctionNode[..., Any]:
    """A new node of a function written in some module; not registered yet."""
    scope: dict[str, Any] = {"__name__": of}
    code = compile(f"\n\ndef {function}(x):\n    return x\n", f"/home/me/{of}.py", "exec")
    exec(code, scope)
    return FunctionNode(scope[function])._with_options({"version": version, **options})


def offer(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    found = [EntryPoint(name, value, "wfnb.nodes") for name, value in points.items()]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda *, group: [one for one in found if one.group == group]
    )


# -- by name ---------------------------------------------------------------------------------------------------------


def test_a_node_is_found_by_its_name() -> None:
    REGISTRY.add_node(load)
    assert REGISTRY.node("load") is load


def test_a_decorated_function_is_registered_by_the_decorator() -> None:
    @node(version="3")
    def clean(x: int) -> int:
        return x

    assert REGISTRY.node("clean@3") is clean


def test_a_workflow_is_registered_when_it_is_made() -> None:
    flow = Workflow("flow", lambda x: x)
    assert REGISTRY.workflow("flow") is flow


def test_a_node_may_be_registered_under_another_name() -> None:
    REGISTRY.add_node(load, "read")
    assert REGISTRY.node("read") is load
    assert "load" not in REGISTRY.node_names()


def test_a_class_of_nodes_is_registered_by_a_decorator() -> None:
    assert register(Scale) is Scale
    assert REGISTRY.node("Scale") is Scale
    assert register(name="scale")(Scale) is Scale
    assert REGISTRY.node("scale") is Scale


def test_a_node_made_from_a_class_is_registered_under_a_name_of_its_own() -> None:
    treble = register(Scale(factor=3), name="treble")
    assert REGISTRY.node("treble") is treble


@pytest.mark.parametrize("thing", [len, lambda x: x, 3, int])
def test_what_is_no_node_is_not_registered(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"which is no node: write @wf\.node"):
        register(thing)


def test_a_lambda_is_not_registered_unless_it_has_a_name() -> None:
    REGISTRY.add_node(node(lambda x: x))
    assert "lambda" not in REGISTRY.node_names()
    REGISTRY.add_node(node(lambda x: x, name="same"))
    assert "same" in REGISTRY.node_names()


def test_the_built_in_nodes_are_there_without_being_registered() -> None:
    names = {"batch", "call", "delay", "fail", "get", "log", "set", "stop", "transform"}
    assert names <= set(REGISTRY.node_names())
    assert isinstance(REGISTRY.node("log"), Log)


def test_a_built_in_node_finds_nodes_by_name_in_the_registry() -> None:
    REGISTRY.add_node(load)
    assert Call()("load", {"path": "a.csv"}) == "a.csv"


def test_an_unknown_name_is_told_with_the_nearest_known_one() -> None:
    REGISTRY.add_node(load)
    with pytest.raises(ConfigurationError, match=r"no node is called 'laod'. Did you mean 'load'\? .*@wf\.node"):
        REGISTRY.node("laod")


def test_a_workflow_is_found_by_its_name_and_version() -> None:
    one, two = Workflow("flow", lambda x: x, version="1"), Workflow("flow", lambda x: x, version="2")
    REGISTRY.add_workflow(one)
    REGISTRY.add_workflow(two)
    assert REGISTRY.workflow("flow") is two
    assert REGISTRY.workflow("flow@1") is REGISTRY.workflow("flow", "1") is one
    assert REGISTRY.workflow_names() == ("flow",)
    with pytest.raises(ConfigurationError, match=r"no workflow is called 'flwo'. Did you mean 'flow'\?"):
        REGISTRY.workflow("flwo")


def test_nodes_and_workflows_have_names_apart() -> None:
    REGISTRY.add_node(load)
    with pytest.raises(ConfigurationError, match="no workflow is called 'load'"):
        REGISTRY.workflow("load")


# -- versions --------------------------------------------------------------------------------------------------------


def test_versions_keep_apart_and_the_bare_name_is_the_one_registered_last() -> None:
    one, two = made(version="1"), made(version="2", of="others")
    REGISTRY.add_node(two)
    REGISTRY.add_node(one)
    assert REGISTRY.node("load") is one
    assert REGISTRY.node("load@2") is REGISTRY.node("load", "2") is two


def test_an_unknown_version_is_told_with_the_known_ones() -> None:
    REGISTRY.add_node(made(version="1.0"))
    with pytest.raises(ConfigurationError, match=r"node 'load' has no version '3'. Known: '1\.0'"):
        REGISTRY.node("load@3")


def test_two_different_versions_at_once_are_refused() -> None:
    REGISTRY.add_node(made(version="1"))
    with pytest.raises(ConfigurationError, match="give one of them"):
        REGISTRY.node("load@1", "2")


# -- the same name twice ---------------------------------------------------------------------------------------------


def test_running_a_cell_again_replaces_a_node_quietly() -> None:
    REGISTRY.add_node(made(of="__main__"))
    again = made(of="__main__")
    REGISTRY.add_node(again)
    assert REGISTRY.node("load") is again


def test_another_function_of_the_same_name_wins_and_says_so_when_the_name_is_asked_for() -> None:
    REGISTRY.add_node(made(of="helpers"))
    other = made(of="tools")
    REGISTRY.add_node(other)
    with pytest.warns(
        NameWarning,
        match=r"node 'load' is defined twice: in helpers\.py, line 3 and in tools\.py, line 3, which is the one used\. "
        r"'helpers:load' means the other one",
    ):
        assert REGISTRY.node("load") is other


def test_a_name_that_means_two_things_is_told_once() -> None:
    REGISTRY.add_node(made(of="helpers"))
    REGISTRY.add_node(made(of="tools"))
    with pytest.warns(NameWarning):
        REGISTRY.node("load")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        REGISTRY.node("load")


def test_functions_side_by_side_that_are_given_one_name_say_so_at_once() -> None:
    REGISTRY.add_node(made("first", name="load"))
    with pytest.warns(NameWarning, match="node 'load' is defined twice"):
        REGISTRY.add_node(made("second", name="load"))


def test_registering_under_a_name_that_is_taken_says_so_at_once() -> None:
    REGISTRY.add_node(made())
    with pytest.warns(NameWarning, match="node 'load' is defined twice"):
        REGISTRY.add_node(made(of="tools"), "load")


def test_a_node_called_as_a_built_in_one_wins_and_says_so() -> None:
    mine = made("log")
    REGISTRY.add_node(mine)
    with pytest.warns(NameWarning, match=r"'log' is defined twice: in wfnb itself and in helpers\.py, line 3"):
        assert REGISTRY.node("log") is mine
    assert isinstance(REGISTRY.node("wfnb.model.builtin:Log"), type)


def test_a_node_that_was_replaced_is_let_go_of() -> None:
    first = made(of="__main__")
    kept = weakref.ref(first.function)
    REGISTRY.add_node(first)
    REGISTRY.add_node(made(of="__main__"))
    del first
    gc.collect()
    assert kept() is None


# -- by the path of a module -----------------------------------------------------------------------------------------


def test_a_path_imports_the_module_and_takes_the_node_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wfnb_pathed.py").write_text("from wfnb.authoring.node import node\n@node\ndef inc(x): return x + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "wfnb_pathed" not in sys.modules
    found = REGISTRY.node("wfnb_pathed:inc")
    assert isinstance(found, Node)
    assert found(1) == 2


def test_only_a_path_with_a_colon_imports_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wfnb_dotted.py").write_text("raise SystemError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"no node is called 'wfnb_dotted\.inc'"):
        REGISTRY.node("wfnb_dotted.inc")
    with pytest.raises(ConfigurationError, match="'wfnb_dotted' cannot be imported: SystemError: imported") as caught:
        REGISTRY.node("wfnb_dotted:inc")
    assert isinstance(caught.value.__cause__, SystemError)


def test_a_path_to_nothing_is_told_with_the_nearest_node() -> None:
    with pytest.raises(ConfigurationError, match=rf"'{__name__}' has no node 'laod'. Did you mean 'load'\?"):
        REGISTRY.node(f"{__name__}:laod")


def test_a_path_to_what_is_no_node_says_what_it_is() -> None:
    with pytest.raises(ConfigurationError, match=rf"'{__name__}:VALUE' is no node but a int\. Write @wf\.node"):
        REGISTRY.node(f"{__name__}:VALUE")
    with pytest.raises(ConfigurationError, match=r"is no workflow but a FunctionNode\. Write @wf\.workflow"):
        REGISTRY.workflow(f"{__name__}:load")


def test_a_path_may_ask_for_a_version() -> None:
    assert REGISTRY.node(f"{__name__}:load") is load
    with pytest.raises(ConfigurationError, match="has no version '2', only ''"):
        REGISTRY.node(f"{__name__}:load@2")


# -- what packages offer ---------------------------------------------------------------------------------------------


def test_an_entry_point_is_loaded_when_its_name_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, scale=f"{__name__}:Scale", gone="wfnb_no_such_module:node")
    assert REGISTRY.node_names()[-4:] == ("scale", "set", "stop", "transform")
    assert REGISTRY.node("scale") is Scale


def test_a_broken_entry_point_is_told_by_name_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, gone="wfnb_no_such_module:node", number=f"{__name__}:VALUE", scale=f"{__name__}:Scale")
    with pytest.raises(
        ConfigurationError,
        match=r"no node is called 'gone'.* The entry point 'gone' cannot be loaded: 'wfnb_no_such_module:node' gives "
        "ModuleNotFoundError",
    ):
        REGISTRY.node("gone")
    with pytest.raises(ConfigurationError, match=r"The entry point 'number' cannot be loaded: .* is no node but a int"):
        REGISTRY.node("nothing")
    assert REGISTRY.node("scale") is Scale


def test_an_entry_point_may_be_a_module_that_registers_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, gone="wfnb_no_such_module", acme="wfnb_acme")

    def load_point(point: EntryPoint) -> Any:
        if point.name != "acme":
            raise ModuleNotFoundError("No module named 'wfnb_no_such_module'")
        REGISTRY.add_node(made("send", of="wfnb_acme"))
        return types.ModuleType("wfnb_acme")

    monkeypatch.setattr(EntryPoint, "load", load_point)
    with pytest.warns(PluginWarning, match=r"the entry point 'gone' in 'wfnb\.nodes' cannot be loaded"):
        assert isinstance(REGISTRY.node("send"), FunctionNode)
    assert REGISTRY.user_nodes() == {}


def test_a_node_registered_here_goes_before_one_that_a_package_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, load="wfnb_no_such_module:load")
    REGISTRY.add_node(load)
    assert REGISTRY.node("load") is load


# -- for workers -----------------------------------------------------------------------------------------------------


def test_the_nodes_of_the_user_are_those_registered_here(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, scale=f"{__name__}:Scale")
    assert REGISTRY.node("scale") is Scale
    old, new = made(version="1"), made(version="2")
    REGISTRY.add_node(new)
    REGISTRY.add_node(old)
    REGISTRY.add_node(load)
    assert REGISTRY.user_nodes() == {"load@2": new, "load@1": old, "load": load}


def test_another_process_takes_the_nodes_in_as_they_were() -> None:
    old, new = made(version="1"), made(version="2")
    sent = {"load@2": new, "load@1": old, "log": made("log")}
    REGISTRY.take_in(sent)
    assert REGISTRY.user_nodes() == sent
    assert REGISTRY.node("load") is old
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert REGISTRY.node("log") is sent["log"]


def test_many_threads_may_register_and_look_up_at_once() -> None:
    problems: list[Exception] = []

    def work(number: int) -> None:
        try:
            for round_ in range(50):
                one = made(f"n{number}_{round_}")
                REGISTRY.add_node(one)
                assert REGISTRY.node(one.title) is one
                REGISTRY.node_names()
                REGISTRY.user_nodes()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(REGISTRY.user_nodes()) == 200


def test_the_module_knows_no_decorator_and_so_can_be_used_by_it() -> None:
    assert not hasattr(module, "node")
