"""How a node is called: one life cycle for direct calls and workers. Imports context, errors, ports and types.

`validate_input` → `prepare` → `execute` → `validate_output` → `cleanup` (always, also after an error). A node that
overrides none of the hooks costs about a microsecond beyond its checks.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import CoroutineType
from typing import Any, Protocol

from wfnb.model.context import Context
from wfnb.model.errors import TypeMismatch
from wfnb.model.ports import Ports
from wfnb.model.types import Checker, describe


class LifeCycle(Protocol):
    """What is asked of a node to call it; `wfnb.model.node.Node` is the one."""

    hooks: frozenset[str]

    @property
    def ports(self) -> Ports:
        """What its body takes and returns."""

    @property
    def body(self) -> Any:
        """The callable that does the work."""

    @property
    def node_call(self) -> NodeCall:
        """The node made ready to be called."""

    @property
    def title(self) -> str:
        """Its name for messages."""

    @property
    def checks(self) -> bool:
        """Whether values are checked against annotations."""

    def fresh(self) -> LifeCycle:
        """Return a copy for one attempt."""

    def validate_input(self, inputs: Mapping[str, Any]) -> None:
        """Raise when the inputs will not do."""

    def prepare(self, context: Context) -> None:
        """Get ready."""

    def validate_output(self, value: Any) -> None:
        """Raise when the value will not do."""

    def cleanup(self) -> None:
        """Close what `prepare` opened."""


def call_node(node: LifeCycle, args: Sequence[Any], kwargs: Mapping[str, Any], context: Context) -> Any:
    """Call a node once and return its value; see `NodeCall`, which this makes once a node."""
    return node.node_call(args, kwargs, context)


COROUTINES: dict[int, Callable[[], Any]] = {}
"""How to cancel the coroutine a thread is running, by the thread's identifier: it hears nothing else while it waits."""


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end and return its value, also from a thread whose event loop is busy."""
    # Here because a node that is not asynchronous should not pay for importing it.
    import asyncio
    import contextvars
    from concurrent.futures import ThreadPoolExecutor

    async def main() -> Any:
        task, thread = asyncio.current_task(), threading.get_ident()
        assert task is not None  # noqa: S101  this is one
        COROUTINES[thread] = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
        try:
            return await coroutine
        finally:
            del COROUTINES[thread]

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    with ThreadPoolExecutor(1, thread_name_prefix="wfnb-async") as pool:
        return pool.submit(contextvars.copy_context().run, asyncio.run, main()).result()


class NodeCall:
    """A node made ready to be called many times: everything that can be known before is worked out once.

    Args:
        node: the node; its policy says whether values are checked.
    """

    __slots__ = ("_args", "_checkers", "_context_at", "_function", "_hooked", "_kwargs", "_node", "_rest", "_returned")

    def __init__(self, node: LifeCycle) -> None:
        ports = node.ports
        checkers = ports.checkers if node.checks else {}
        self._node = node
        self._function: Callable[..., Any] = node.body
        self._hooked = bool(node.hooks)
        self._context_at = ports.context_at
        self._checkers = {name: check for name, check in checkers.items() if name != "return"}
        self._args: tuple[tuple[str, Checker | None], ...] = tuple((n, checkers.get(n)) for n in ports.positional)
        self._rest: tuple[str, Checker | None] = (ports.rest, checkers.get(ports.rest))
        self._kwargs = {name: self._checkers[name] for name in ports.keywords if name in self._checkers}
        self._returned = checkers.get("return")

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any], context: Context) -> Any:
        """Call the node once and return its value; an asynchronous body is run to its end.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            context: given to the parameter annotated `Context`, when there is one and the arguments bring none.

        Raises:
            TypeMismatch: a value does not fit its annotation; and whatever the node raises.
        """
        if self._hooked:
            return self._whole_life(args, kwargs, context)
        if self._checkers:
            self._check_inputs(args, kwargs)
        ports = self._node.ports
        if ports.context:
            args, kwargs = ports.with_context(args, kwargs, context)
        value = self._function(*args, **kwargs)
        if type(value) is CoroutineType:
            value = run_coroutine(value)
        if self._returned is not None:
            self._check_output(value)
        return value

    def _whole_life(self, args: Sequence[Any], kwargs: Mapping[str, Any], context: Context) -> Any:
        node = self._node.fresh()  # tasks that share a worker must not share what prepare() opens
        ports = node.ports
        try:
            self._check_inputs(args, kwargs)
            if "validate_input" in node.hooks:
                node.validate_input(self._by_name(args, kwargs))
            node.prepare(context)
            args, kwargs = ports.with_context(args, kwargs, context)
            value = node.body(*args, **kwargs)
            if type(value) is CoroutineType:
                value = run_coroutine(value)
            self._check_output(value)
            node.validate_output(value)
        except BaseException as error:
            try:
                node.cleanup()
            except Exception as second:  # noqa: BLE001 - what went wrong first is what has to be mended
                error.add_note(f"then cleanup() of node '{node.title}' failed: {type(second).__name__}: {second}")
            raise
        node.cleanup()
        return value

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs by parameter, defaults filled in, in the order of the parameters."""
        ports = self._node.ports
        given = ports.by_name(args, kwargs)
        whole = {name: p.default for name, p in ports.parameters.items() if p.default is not p.empty} | given
        # In the order of the parameters; then what none of them names.
        return {name: whole[name] for name in ports.parameters if name in whole} | given

    def _check_inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        at = self._context_at
        if 0 <= at < len(args) and self._node.ports.given_context(args, {}):
            args = (*args[:at], *args[at + 1 :])
        for (name, check), value in zip(self._args, args, strict=False):
            if check is not None and (text := check(value)) is not None:
                raise self._mismatch(name, text)
        name, check = self._rest
        if check is not None and len(args) > len(self._args):
            for value in args[len(self._args) :]:
                if (text := check(value)) is not None:
                    raise self._mismatch(name, text)
        if not kwargs:
            return
        others = self._checkers.get(self._node.ports.others)
        for name, value in kwargs.items():
            check = self._kwargs.get(name)
            if check is None and others is not None and name not in self._node.ports.parameters:
                check = others
            if check is not None and (text := check(value)) is not None:
                raise self._mismatch(name, text)

    def _mismatch(self, name: str, text: str) -> TypeMismatch:
        ports, node = self._node.ports, self._node.title
        wanted = describe(ports.annotations.get(name, ports.annotations.get(ports.others)))
        return TypeMismatch(f"node '{node}' got '{name}' = {text}; its annotation says {wanted}", node=node, port=name)

    def _check_output(self, value: Any) -> None:
        if self._returned is not None and (text := self._returned(value)) is not None:
            node, wanted = self._node.title, describe(self._node.ports.returns)
            raise TypeMismatch(f"node '{node}' returned {text}; its annotation says {wanted}", node=node, port="return")
