"""How a task is run: retries, back-off, timeout, checkpoint, resources, priority. Imports errors only.

Which errors are retried, and which are caught, is said by types or by their names, and decided here for both.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from wfnb.model.errors import ConfigurationError, did_you_mean

PriorityName: TypeAlias = Literal["critical", "high", "normal", "low"]
PRIORITIES: dict[str, int] = {"critical": 1, "high": 5, "normal": 10, "low": 20}


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait before every retry.

    Args:
        delay: seconds to wait.
        jitter: the share of the wait drawn at random and added, 0 to 1.
    """

    delay: float = 0.0
    jitter: float = 0.0

    def wait(self, retry: int) -> float:  # noqa: ARG002 - as every backoff is asked
        """Return the seconds to wait before retry number `retry` (1 for the first)."""
        return self.delay * (1 + self.jitter * random.random())


@dataclass(frozen=True, slots=True)
class Exponential:
    """A wait that grows by a factor with each retry: `delay`, `delay * factor`, `delay * factor²`, ...

    Args:
        delay: seconds before the first retry.
        factor: what each next wait is multiplied by.
        maximum: the longest wait in seconds.
        jitter: the share of the wait drawn at random and added, 0 to 1.
    """

    delay: float = 1.0
    factor: float = 2.0
    maximum: float = 3600.0
    jitter: float = 0.0

    def wait(self, retry: int) -> float:
        """Return the seconds to wait before retry number `retry` (1 for the first)."""
        return float(min(self.delay * self.factor ** (retry - 1), self.maximum) * (1 + self.jitter * random.random()))


Backoff: TypeAlias = Fixed | Exponential

# -- which errors ----------------------------------------------------------------------------------------------------

ErrorKind: TypeAlias = type[BaseException] | str
"""A type of error, or its name with or without its module: "ValueError", "requests.exceptions.Timeout", "Timeout"."""


def kinds_of(error: BaseException) -> tuple[str, ...]:
    """Return the names of an error's type and of all its bases, nearest first.

    Each is "module.Name", those of Python itself without the module.

    >>> kinds_of(FileNotFoundError("a.csv"))
    ('FileNotFoundError', 'OSError', 'Exception', 'BaseException')
    """
    return tuple(
        one.__qualname__ if one.__module__ == "builtins" else f"{one.__module__}.{one.__qualname__}"
        for one in type(error).__mro__
        if one is not object
    )


def named(kinds: tuple[str, ...], on: tuple[str, ...]) -> bool:
    """Return whether one of the names is that of an error's type or of one of its bases.

    >>> named(("requests.exceptions.Timeout", "OSError"), ("Timeout",))
    True

    Args:
        kinds: the names of the type and its bases, as `kinds_of` gives them.
        on: names, each with its module, with the end of it, or without; none at all stands for every error.
    """
    return not on or any(_fits(kind, name.removeprefix("builtins.")) for name in on for kind in kinds)


def _fits(kind: str, name: str) -> bool:
    return kind == name or kind.endswith(f".{name}")


def matches(error: BaseException, on: tuple[ErrorKind, ...]) -> bool:
    """Return whether an error is of one of the kinds; of no kinds at all stands for every error.

    Args:
        error: the error.
        on: types, which are asked by `isinstance`, and names; see `named`.
    """
    if isinstance(error, tuple(kind for kind in on if isinstance(kind, type))):
        return True
    names = tuple(kind for kind in on if isinstance(kind, str))
    return named(kinds_of(error), names) if names or not on else False


# -- the policy ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """How the tasks of a node are run.

    Args:
        retries: how often a failed task is tried again; 0 means one call in all.
        backoff: how long to wait before each retry.
        retry_on: the types of errors that are retried, or their names; any other fails at once.
        timeout: seconds one attempt may take, or None.
        cache: whether a known fingerprint is answered from the store.
        checkpoint: whether the value is kept in the store; when not, a resume computes it again.
        resources: what a worker must offer, such as ``{"GPU": 1}``.
        priority: 1 (first) to 20 (last); see `PRIORITIES`.
        validate: whether inputs and outputs are checked against their annotations at run time.
    """

    retries: int = 0
    backoff: Backoff = Fixed()
    retry_on: tuple[ErrorKind, ...] = (Exception,)
    timeout: float | None = None
    cache: bool = False
    checkpoint: bool = True
    resources: Mapping[str, float] = field(default_factory=dict)
    priority: int = PRIORITIES["normal"]
    validate: bool = True

    def next_wait(self, error: BaseException, calls: int) -> float | None:
        """Return the seconds to wait before a task is called again, or None when it is not.

        Args:
            error: what its last call raised.
            calls: how often it was called.
        """
        if calls > self.retries or not matches(error, self.retry_on):
            return None
        return self.backoff.wait(calls)


# -- options as a person writes them ---------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _retries(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("give a whole number, 0 or more")
    return value


def _backoff(value: Any) -> Backoff:
    if not isinstance(value, (Fixed, Exponential)):
        raise ValueError("give wf.Fixed(seconds) or wf.Exponential(seconds)")
    for part in ("delay", "jitter", "factor", "maximum"):
        number = getattr(value, part, 0)
        if not _is_number(number) or number < 0:
            raise ValueError(f"its '{part}' must be a number, 0 or more")
    return value


_TYPE_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def _is_kind(value: Any) -> bool:
    if isinstance(value, str):
        return _TYPE_NAME.fullmatch(value) is not None
    return isinstance(value, type) and issubclass(value, BaseException)


def _retry_on(value: Any) -> tuple[ErrorKind, ...]:
    kinds = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not kinds or not all(_is_kind(kind) for kind in kinds):
        raise ValueError('give an error type or several, such as (OSError, "requests.exceptions.Timeout")')
    return kinds


def _timeout(value: Any) -> float | None:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is not None and (not _is_number(seconds) or seconds <= 0):
        raise ValueError("give seconds, more than 0, or None")
    return seconds


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("give True or False")
    return value


def _resources(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and _is_number(amount) and amount > 0 for name, amount in value.items()
    ):
        raise ValueError('give amounts by name, such as {"GPU": 1}')
    return dict(value)


def priority_of(value: Any) -> int:
    """Return a priority as a number.

    Args:
        value: a name of `PRIORITIES`, or a whole number from 1 (first) to 20 (last).

    Raises:
        ValueError: it is neither; says what to give instead.
    """
    if isinstance(value, str):
        if value not in PRIORITIES:
            raise ValueError(did_you_mean(value, PRIORITIES))
        return PRIORITIES[value]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 20:
        raise ValueError("give 'critical', 'high', 'normal', 'low' or a whole number from 1 to 20")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "retries": _retries,
    "backoff": _backoff,
    "retry_on": _retry_on,
    "timeout": _timeout,
    "cache": _flag,
    "checkpoint": _flag,
    "resources": _resources,
    "priority": priority_of,
    "validate": _flag,
}
POLICY_OPTIONS = frozenset(_READERS)
"""The names of the options that make a policy."""


def policy_with(policy: Policy, options: Mapping[str, Any], *, owner: str) -> Policy:
    """Return the policy with options changed, each checked.

    Args:
        policy: where to start from.
        options: values by field of `Policy`; a priority may be a name, a timeout a timedelta.
        owner: whose options they are, for the error, such as "node 'load'".

    Raises:
        ConfigurationError: an option is unknown or its value will not do.
    """
    changed = {}
    for name, value in options.items():
        if name not in _READERS:
            raise ConfigurationError(f"{owner} has no option '{name}'. {did_you_mean(name, _READERS)}")
        try:
            changed[name] = _READERS[name](value)
        except ValueError as error:
            raise ConfigurationError(f"option '{name}' of {owner} cannot be {value!r}: {error}") from None
    return replace(policy, **changed) if changed else policy
