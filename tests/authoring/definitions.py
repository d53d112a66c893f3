"""Nodes and made-up definitions for the tests of loading and writing them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

import wfnb as wf
from wfnb.authoring.registry import REGISTRY
from wfnb.model.errors import ConfigurationError, did_you_mean


@wf.node
def load(path: str, n: int = 1) -> dict[str, int]:
    return {path: n}


@wf.node
def add(x: int = 0, y: int = 0) -> int:
    return x + y


@wf.node
def keep(value: Any = None, **more: Any) -> Any:
    return value, more


@wf.node
def total(*xs: int) -> int:
    return sum(xs)


@wf.node(retries=2, timeout=5, priority="high")
def careful(x: int) -> int:
    return x


@wf.node
def rows(path: str) -> Iterator[int]:
    yield len(path)


@wf.node
def names(wanted: list[str], many: list[list[int]] | None = None) -> list[str]:
    return wanted


class Scale(wf.Node):
    class Params(wf.Params):
        factor: float = 2.0
        unit: str

    def execute(self, x: float) -> float:
        return x * self.params.factor


class Known:
    """Knows the nodes above, and workflows that a test adds."""

    def __init__(self, **workflows: Any) -> None:
        found = {one.title: one for one in (load, add, keep, total, careful, rows, names)}
        self.nodes: dict[str, Any] = {**found, "scale": Scale, "load-data": load.options(name="load-data")}
        self.workflows = workflows

    def node(self, name: str, version: str = "") -> Any:
        if name in self.nodes:
            return self.nodes[name]
        if name in ("set", "get", "log", "delay", "stop", "fail"):
            return REGISTRY.node(name)
        raise ConfigurationError(f"no node is called '{name}'. {did_you_mean(name, self.nodes)}")

    def workflow(self, name: str, version: str = "") -> Any:
        if name not in self.workflows:
            raise ConfigurationError(f"no workflow is called '{name}'. {did_you_mean(name, self.workflows)}")
        return self.workflows[name]

    def user_nodes(self) -> dict[str, Any]:
        return self.nodes


# -- made up ---------------------------------------------------------------------------------------------------------


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Return a definition that is right: references are made to what is seen."""
    maker = _Maker(draw)
    inputs = {"n": {"type": "integer", "default": 3}, "files": {"type": "array", "default": []}, "path": "string"}
    found = maker.steps(["input.n", "input.path", "run.id"], 0)
    made: dict[str, Any] = {"name": "made", "inputs": inputs, "steps": found}
    if draw(st.booleans()):
        made["outputs"] = maker.value(["input.n", *maker.ids(found)])
    if draw(st.booleans()):
        made |= {
            "order": "data",
            "version": "2",
            "tags": ["t"],
            "concurrency": draw(st.sampled_from([3, {"*": 2, "t": 1}])),
        }
    return made


class _Maker:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.count = 0

    def one_of(self, things: Any) -> Any:
        return self.draw(st.sampled_from(list(things)))

    def ids(self, steps: list[dict[str, Any]]) -> list[str]:
        return [f"steps['{one['id']}']" if self.one_of([True, False]) else f"${one['id']}" for one in steps]

    def steps(self, seen: list[str], depth: int) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for _ in range(self.draw(st.integers(0 if depth else 1, 3))):
            made.append(self.step([*seen, *self.ids(made)], depth))
        return made

    def body(self, seen: list[str], depth: int) -> dict[str, Any]:
        found = self.steps(seen, depth + 1)
        return {"steps": found, **({"output": self.value([*seen, *self.ids(found)])} if self.one_of([0, 0, 1]) else {})}

    def expression(self, seen: list[str]) -> str:
        one, other = self.one_of(seen), self.one_of([*seen, "1", "'a'", "[1, 2]", "none", "2.5"])
        forms = ["{0}", "{0}", "{0}.x", "{0}['a b']", "{0} + {1}", "{0} == {1}", "{0} | default({1})", "[{0}, {1}]"]
        return str(self.one_of([*forms, "{0} * {1}", "({0}, {1})", "not {0}", "-{0}"])).format(one, other)

    def value(self, seen: list[str]) -> Any:
        kind = self.one_of(["template", "template", "text", "constant", "list", "dict"])
        if kind == "template":
            return "{{ " + self.expression(seen) + " }}"
        if kind == "text":
            return f"a {{{{ {self.expression(seen)} }}}}{{% raw %}} {{{{ }}}}{{% endraw %}}"
        if kind == "constant":
            return self.one_of([None, True, 0, 1.5, "", "text", "on", [1, {"a": None}], {}])
        inner = [self.value(seen)] if self.one_of([True, False]) else []
        return inner if kind == "list" else {"k": inner}

    def condition(self, seen: list[str]) -> Any:
        return self.one_of([True, False, "{{ " + self.expression(seen) + " }}"])

    def step(self, seen: list[str], depth: int) -> dict[str, Any]:
        self.count += 1
        step: dict[str, Any] = {"id": f"s-{self.count}" if self.one_of([True, False]) else f"s{self.count}"}
        if self.one_of([0, 0, 1]):
            step["when"] = self.condition(seen)
        if self.one_of([0, 0, 1]):
            step |= self.policy()
        kinds = ["node", "node", "map", "set", "careful"]
        kinds += ["sequential", "parallel", "each", "loop", "switch", "try", "stream", "dynamic"] if depth < 3 else []
        return step | getattr(self, f"_{self.one_of(kinds)}")(step["id"], seen, depth)

    def policy(self) -> dict[str, Any]:
        backoff = self.one_of(
            [{"type": "exponential", "delay": 2000, "factor": 3}, {"delay": 5}, {"type": "fixed", "jitter": 0.5}]
        )
        every = {
            "retry": {"attempts": 2, "backoff": backoff, "on": ["OSError", "a.b.Error"]},
            "timeout": 1500,
            "cache": True,
            "checkpoint": False,
            "priority": self.one_of(["low", 3]),
            "resources": {"GPU": 1},
            "continueOnError": True,
            "name": "A name",
        }
        return {name: every[name] for name in self.draw(st.sets(st.sampled_from(sorted(every))))}

    def _node(self, _: str, seen: list[str], __: int) -> dict[str, Any]:
        return {"type": "keep", "params": {"value": self.value(seen), "other": self.value(seen)}}

    def _careful(self, _: str, __: list[str], ___: int) -> dict[str, Any]:
        return {"stepType": "node", "type": "careful", "params": {"x": 1}}

    def _map(self, _: str, seen: list[str], __: int) -> dict[str, Any]:
        kind = self.one_of(["map", "expand"])
        return {
            "stepType": kind,
            "type": "keep",
            "over": {"value": "{{ input.files }}"},
            "params": {"b": self.value(seen)},
        }

    def _set(self, _: str, seen: list[str], __: int) -> dict[str, Any]:
        return {"type": "set", "params": {"name": "v", "value": self.value(seen)}}

    def _sequential(self, _: str, seen: list[str], depth: int) -> dict[str, Any]:
        return {"stepType": "sequential", **self.body(seen, depth)}

    def _parallel(self, _: str, seen: list[str], depth: int) -> dict[str, Any]:
        branches: list[Any] = [self.step(seen, depth + 1), self.steps(seen, depth + 1), self.body(seen, depth)]
        return {"stepType": "parallel", "maxConcurrency": 2, "steps": branches, **self.one_of([{}, {"mode": "first"}])}

    def _inside(self, step: str, seen: list[str], name: str) -> list[str]:
        own = f"{step}.index" if "-" not in step else "index"
        return [one for one in seen if one not in ("item", "index")] + [name, "index", own]

    def _each(self, step: str, seen: list[str], depth: int) -> dict[str, Any]:
        name = self.one_of(["item", "row"])
        how = self.one_of([{}, {"parallel": True, "maxConcurrency": 2}, {"maxIterations": 9}])
        over = self.one_of([[1, 2], "{{ input.files }}"])
        return {"stepType": "loop", "over": over, "as": name, **how, **self.body(self._inside(step, seen, name), depth)}

    def _loop(self, step: str, seen: list[str], depth: int) -> dict[str, Any]:
        inside = self._inside(step, seen, "item")
        until = {"steps": self.steps(inside, depth + 1), "output": "{{ item }}"}
        how = self.one_of([{"times": 2}, {"while": self.condition(inside)}, {"until": until}])
        return {"stepType": "loop", "init": self.value(seen), **how, **self.body(inside, depth)}

    def _switch(self, _: str, seen: list[str], depth: int) -> dict[str, Any]:
        with_value = self.one_of([True, False])
        when = (
            self.one_of(["csv", 1, None, "{{ " + self.expression(seen) + " }}"]) if with_value else self.condition(seen)
        )
        cases = [{"when": when, **self.body(seen, depth)}]
        default = self.one_of([{}, {"default": self.steps(seen, depth + 1)}, {"default": self.body(seen, depth)}])
        return {"stepType": "switch", **({"value": self.value(seen)} if with_value else {}), "cases": cases, **default}

    def _try(self, _: str, seen: list[str], depth: int) -> dict[str, Any]:
        inside = [*seen, "error.message"]
        catch = self.one_of([self.steps(inside, depth + 1), [{"on": ["OSError"], **self.body(inside, depth)}]])
        return {"stepType": "try", **self.body(seen, depth), "catch": catch, "finally": self.steps(seen, depth + 1)}

    def _stream(self, step: str, seen: list[str], depth: int) -> dict[str, Any]:
        self.count += 1
        source = {"id": f"s{self.count}", "type": "rows", "params": {"path": "a"}}
        return {
            "stepType": "stream",
            "source": source,
            "batchSize": 5,
            **self.body(self._inside(step, seen, "item"), depth),
        }

    def _dynamic(self, _: str, seen: list[str], __: int) -> dict[str, Any]:
        return {"stepType": "dynamic", "type": "keep", "params": {"value": self.value(seen)}}
