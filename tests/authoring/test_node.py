"""A decorated function stays a function, and says at once when an option will not do."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from datetime import timedelta
from typing import Any, Optional, cast

import cloudpickle
import pytest

from wfnb.authoring.node import FunctionNode, node
from wfnb.model.errors import ConfigurationError
from wfnb.model.node import CURRENT_TRACE, Context, Node, NodeOptions, PolicyOptions
from wfnb.model.policy import POLICY_OPTIONS, PRIORITIES, Exponential, Fixed, Policy


@node
def load(path: str, sep: str = ",") -> str:
    """Read a file.

    Slowly.
    """
    return f"{path}{sep}"


@node
def where(x: int, ctx: Context) -> tuple[int, str, int]:
    return x, ctx.address, ctx.attempt


# -- a function stays a function -------------------------------------------------------------------------------------


def test_a_node_called_outside_a_workflow_just_runs() -> None:
    assert load("a") == "a,"
    assert load("a", sep=";") == "a;"


def test_a_node_called_outside_a_workflow_does_not_check_types() -> None:
    assert load(3) == "3,"  # type: ignore[arg-type]


def test_a_node_keeps_the_functions_name_docstring_and_signature() -> None:
    assert (load.__name__, load.__qualname__, load.__module__) == ("load", "load", __name__)
    assert inspect.getdoc(load) == "Read a file.\n\nSlowly."
    assert inspect.signature(load) == inspect.signature(load.__wrapped__)


def test_a_node_knows_its_name_and_the_first_line_of_its_docstring() -> None:
    assert (load.info.name, load.info.description) == ("load", "Read a file.")


def test_a_nodes_repr_shows_its_signature() -> None:
    assert repr(node(math.hypot)).startswith("<node 'hypot")
    assert repr(load) == "<node 'load(path: 'str', sep: 'str' = ',') -> 'str''>"


def test_the_function_itself_can_be_called() -> None:
    assert load.function("a") == "a,"


def test_an_asynchronous_node_called_outside_a_workflow_returns_the_coroutine() -> None:
    @node
    async def fetch(x: int) -> int:
        return x + 1

    assert asyncio.run(fetch(1)) == 2


def test_a_lambda_a_builtin_and_a_partial_can_be_nodes() -> None:
    assert node(lambda x: x + 1)(1) == 2
    assert node(lambda x: x).info.name == "lambda"
    assert node(math.sqrt)(4.0) == 2.0
    assert node(functools.partial(load.function, sep="|"))("a") == "a|"


def test_an_error_in_the_function_passes_through() -> None:
    @node
    def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        fail()


def test_nothing_is_traced_outside_a_workflow() -> None:
    assert CURRENT_TRACE.get() is None


# -- context ---------------------------------------------------------------------------------------------------------


def test_the_context_is_given_to_the_parameter_annotated_with_it() -> None:
    assert where(1) == (1, "", 1)  # type: ignore[call-arg]


def test_a_context_that_is_passed_is_used() -> None:
    assert where(1, Context(address="here")) == (1, "here", 1)
    assert where(1, ctx=Context(attempt=2)) == (1, "", 2)


def test_a_context_in_front_is_passed_over_by_positional_arguments() -> None:
    def body(ctx: Context, x: int, y: int = 0) -> tuple[str, int, int]:
        return ctx.run_id, x, y

    assert node(body)(5, 6) == ("", 5, 6)  # type: ignore[arg-type]
    assert node(body)(Context(run_id="r"), 5) == ("r", 5, 0)


@pytest.mark.parametrize("annotation", [Context, Context | None, Optional[Context], "Context", "wf.Context | None"])  # noqa: UP045
def test_the_context_is_found_however_it_is_annotated(annotation: Any) -> None:
    def body(ctx: Any = None) -> Any:
        return ctx

    body.__annotations__["ctx"] = annotation
    assert isinstance(node(body)(), Context)


def test_none_in_the_place_of_the_context_is_kept() -> None:
    def body(x: int, ctx: Context | None = None) -> tuple[int, bool]:
        return x, ctx is None

    assert node(body)(1, None) == (1, True)
    assert node(body)(1, ctx=None) == (1, True)
    assert node(body)(1) == (1, False)


def test_a_keyword_only_context_is_given() -> None:
    def body(*xs: int, ctx: Context) -> tuple[int, ...]:
        assert isinstance(ctx, Context)
        return xs

    assert node(body)(1, 2, 3) == (1, 2, 3)  # type: ignore[call-arg]


def test_progress_is_kept_between_nothing_and_all() -> None:
    said: list[tuple[float, str]] = []
    context = Context(sink=lambda fraction, message: said.append((fraction, message)))
    context.progress(1.5, "over")
    context.progress(-1)
    assert said == [(1.0, "over"), (0.0, "")]


# -- map and expand --------------------------------------------------------------------------------------------------


@node
def power(base: int, exponent: int = 2, *, add: int = 0) -> int:
    return int(base**exponent) + add


def test_map_outside_a_workflow_zips_positional_and_repeats_keyword_arguments() -> None:
    assert power.map([1, 2, 3]) == [1, 4, 9]
    assert power.map([1, 2], [3, 2], add=1) == [2, 5]
    assert power.map(iter([2])) == [4]


def test_map_over_different_lengths_names_them() -> None:
    with pytest.raises(ValueError, match=r"'power.map' needs lists of one length: 'base' has 2, 'exponent' has 1"):
        power.map([1, 2], [3])


def test_map_over_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to iterate over"):
        power.map(add=1)


def test_map_over_text_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"'load.map' is given the text 'abc'"):
        load.map("abc")


def test_map_over_a_number_is_an_error() -> None:
    with pytest.raises(TypeError, match="cannot iterate over 3"):
        power.map(3)


def test_expand_outside_a_workflow_is_the_product_with_the_last_list_fastest() -> None:
    assert power.expand(base=[2, 3], exponent=(1, 2)) == [2, 4, 3, 9]
    assert power.expand(base=range(2), add=1) == [1, 2]


def test_expand_keeps_a_list_for_a_parameter_that_wants_a_list() -> None:
    @node
    def scaled(xs: list[int], factor: int) -> list[int]:
        return [x * factor for x in xs]

    assert scaled.expand(xs=[1, 2], factor=[1, 10]) == [[1, 2], [10, 20]]


def test_expand_without_a_list_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to expand"):
        power.expand(base=2)


# -- options ---------------------------------------------------------------------------------------------------------


def test_a_decorator_with_options_makes_a_policy() -> None:
    @node(
        retries=3,
        backoff=Exponential(2.0),
        timeout=timedelta(minutes=1),
        cache=True,
        checkpoint=False,
        resources={"GPU": 1},
        priority="high",
        version="2",
        tags=["ml"],
        name="fit",
        retry_on=(OSError,),
        validate=False,
    )
    def train() -> int:
        return 1

    assert train() == 1
    assert train.policy == Policy(
        retries=3,
        backoff=Exponential(2.0),
        retry_on=(OSError,),
        timeout=60.0,
        cache=True,
        checkpoint=False,
        resources={"GPU": 1},
        priority=PRIORITIES["high"],
        validate=False,
    )
    assert (train.info.name, train.info.version, train.info.tags) == ("fit", "2", ("ml",))


def test_options_make_a_new_node_and_leave_the_old_one() -> None:
    changed = load.options(retries=2, id="first", retry_on=OSError)
    assert (changed.policy.retries, changed.step_id, changed.policy.retry_on) == (2, "first", (OSError,))
    assert (load.policy, load.step_id) == (Policy(), "")
    assert changed("a") == "a,"
    assert isinstance(changed, FunctionNode)


def test_options_add_to_earlier_options() -> None:
    assert load.options(retries=2).options(cache=True).policy == Policy(retries=2, cache=True)


def test_every_policy_option_is_a_field_of_the_policy() -> None:
    assert set(PolicyOptions.__annotations__) == POLICY_OPTIONS == set(Policy.__dataclass_fields__)
    assert set(NodeOptions.__annotations__) > POLICY_OPTIONS


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retries": -1}, "option 'retries' of node 'f' cannot be -1"),
        ({"retries": True}, "option 'retries' of node 'f' cannot be True"),
        ({"priority": "hihg"}, "Did you mean 'high'"),
        ({"priority": 0}, "1 to 20"),
        ({"timeout": 0}, "more than 0"),
        ({"timeout": math.nan}, "option 'timeout'"),
        ({"backoff": 2}, r"give wf.Fixed\(seconds\)"),
        ({"backoff": Fixed(-1)}, "'delay' must be a number"),
        ({"cache": "yes"}, "give True or False"),
        ({"resources": {"GPU": 0}}, "give amounts by name"),
        ({"resources": ["GPU"]}, "give amounts by name"),
        ({"retry_on": 3}, "give an error type"),
        ({"retry_on": ()}, "give an error type"),
        ({"tags": "ml"}, "give a list of texts"),
        ({"name": ""}, "option 'name' of node 'f'"),
        ({"version": 2}, "option 'version' of node 'f' cannot be 2"),
        ({"id": "a/b"}, "option 'id' of node 'f' cannot be 'a/b'"),
        ({"retires": 3}, "node 'f' has no option 'retires'. Did you mean 'retries'?"),
    ],
)
def test_an_option_that_will_not_do_is_named_at_the_decoration(options: dict[str, Any], says: str) -> None:
    def f() -> None: ...

    with pytest.raises(ConfigurationError, match=says):
        node(**options)(f)


def test_only_functions_can_be_decorated() -> None:
    for wrong in (3, int):
        with pytest.raises(ConfigurationError, match="write it above a def"):
            node(cast(Any, wrong))
    with pytest.raises(ConfigurationError, match="'load' is a node already"):
        node(load)


# -- class nodes -----------------------------------------------------------------------------------------------------


class Scale(Node):
    """Multiply."""

    class Params(Node.Params):
        factor: float = 2.0

    def execute(self, x: float) -> float:
        return x * float(self.params.factor)


def test_a_class_node_called_outside_a_workflow_runs() -> None:
    assert Scale()(2) == 4.0
    assert Scale(factor=3).map([1, 2]) == [3.0, 6.0]
    assert Scale().options(retries=1).policy.retries == 1


def test_a_setting_that_will_not_do_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'factr' is unknown. Did you mean 'factor'\?"):
        Scale(factr=3)
    with pytest.raises(ConfigurationError, match="node 'Scale' cannot be made like this: 'factor'"):
        Scale(factor="x")


# -- travelling ------------------------------------------------------------------------------------------------------


def test_a_node_survives_pickling() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(load.options(retries=2, id="one")))
    assert again("a") == "a,"
    assert (again.policy.retries, again.step_id, again.info) == (2, "one", load.info)


def test_a_node_takes_the_meaning_of_its_quoted_annotations_along() -> None:
    names: dict[str, Any] = {"Decimal": __import__("decimal").Decimal, "Context": Context}
    exec("def f(x: 'Decimal', ctx: 'Context') -> 'Decimal': return x", names)
    again = cloudpickle.loads(cloudpickle.dumps(node(names["f"])))
    assert again.ports.annotations == {"x": names["Decimal"], "return": names["Decimal"]}
    assert again.ports.context == "ctx"


def test_a_class_node_survives_pickling() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(Scale(factor=5)))
    assert again(2) == 10.0
