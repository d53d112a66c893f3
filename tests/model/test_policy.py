"""What a policy says of retries, and which errors it says it of."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from wfnb.model import policy
from wfnb.model.errors import ConfigurationError, TaskTimeout
from wfnb.model.policy import Exponential, Fixed, Policy, kinds_of, matches, named, policy_with


class Outer:
    class Timeout(OSError):
        """As libraries have them."""


Timeout = type("Timeout", (OSError,), {"__module__": "requests.exceptions"})


def with_retry_on(value: Any) -> Policy:
    return policy_with(Policy(), {"retry_on": value}, owner="node 'load'")


# -- waits -----------------------------------------------------------------------------------------------------------


def test_two_retries_are_three_calls_and_exponential_from_two_seconds_waits_two_and_four() -> None:
    twice = Policy(retries=2, backoff=Exponential(2.0))
    assert [twice.next_wait(ValueError(), calls) for calls in (1, 2, 3)] == [2.0, 4.0, None]


def test_no_retries_are_one_call() -> None:
    assert Policy().next_wait(ValueError(), 1) is None


def test_a_fixed_wait_is_the_same_before_every_retry() -> None:
    assert [Fixed(0.5).wait(retry) for retry in (1, 2, 9)] == [0.5, 0.5, 0.5]


def test_an_exponential_wait_doubles_and_is_never_longer_than_its_maximum() -> None:
    assert [Exponential(2.0).wait(retry) for retry in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert Exponential(2.0, factor=10, maximum=30).wait(3) == 30.0


@pytest.mark.parametrize("backoff", [Fixed(2.0, jitter=0.5), Exponential(2.0, jitter=0.5)])
def test_jitter_only_adds_to_a_wait(backoff: Any) -> None:
    waits = [backoff.wait(1) for _ in range(50)]
    assert all(2.0 <= wait <= 3.0 for wait in waits)
    assert len(set(waits)) > 1


# -- which errors ----------------------------------------------------------------------------------------------------


def test_an_error_of_another_kind_is_not_retried() -> None:
    assert Policy(retries=1, retry_on=(OSError,)).next_wait(ValueError(), 1) is None
    assert Policy(retries=1, retry_on=("OSError",)).next_wait(ValueError(), 1) is None


def test_a_type_is_asked_by_isinstance_and_so_its_bases_count() -> None:
    assert matches(FileNotFoundError(), (OSError,))
    assert not matches(KeyboardInterrupt(), (Exception,))


def test_a_name_is_that_of_the_type_or_of_one_of_its_bases() -> None:
    assert matches(FileNotFoundError(), ("OSError",))
    assert matches(TaskTimeout("late"), ("TimeoutError",))
    assert not matches(FileNotFoundError(), ("TimeoutError",))


@pytest.mark.parametrize("name", ["Timeout", "exceptions.Timeout", "requests.exceptions.Timeout", "OSError"])
def test_a_name_fits_with_its_module_or_without(name: str) -> None:
    assert matches(Timeout("late"), (name,))


@pytest.mark.parametrize("name", ["imeout", "httpx.Timeout", "TimeoutError", "requests.Timeout"])
def test_a_name_of_another_module_or_half_a_name_does_not_fit(name: str) -> None:
    assert not matches(Timeout("late"), (name,))


def test_the_name_of_a_class_in_a_class_fits_with_the_outer_one_or_without() -> None:
    assert matches(Outer.Timeout(), ("Outer.Timeout",))
    assert matches(Outer.Timeout(), ("Timeout",))


def test_a_name_of_python_itself_may_have_its_module() -> None:
    assert matches(ValueError(), ("builtins.ValueError",))


def test_types_and_names_may_be_mixed() -> None:
    assert matches(ValueError(), (OSError, "ValueError"))
    assert matches(OSError(), (OSError, "ValueError"))
    assert not matches(KeyError(), (OSError, "ValueError"))


def test_no_names_at_all_stand_for_every_error() -> None:
    assert named(("ValueError",), ())
    assert matches(ValueError(), ())


def test_the_kinds_of_an_error_are_its_type_and_bases_nearest_first() -> None:
    assert kinds_of(Timeout()) == ("requests.exceptions.Timeout", "OSError", "Exception", "BaseException")
    assert kinds_of(Outer.Timeout())[0] == f"{__name__}.Outer.Timeout"


def test_the_examples_in_the_module_are_true() -> None:
    assert doctest.testmod(policy).failed == 0


# -- as a person writes it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (OSError, (OSError,)),
        ("OSError", ("OSError",)),
        ([OSError, "requests.exceptions.Timeout"], (OSError, "requests.exceptions.Timeout")),
    ],
)
def test_retry_on_takes_types_and_names_one_or_several(given: Any, kept: Any) -> None:
    assert with_retry_on(given).retry_on == kept


@pytest.mark.parametrize("given", [(), "", "not a name", "a..b", 3, int, OSError()])
def test_retry_on_refuses_what_is_neither_a_type_of_error_nor_a_name(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"option 'retry_on' of node 'load' .* give an error type"):
        with_retry_on(given)
