"""How a task is run: retries, back-off, timeout, checkpoint, resources, priority. Frozen records; imports nothing of wfnb."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

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

    def wait(self, retry: int) -> float:
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


@dataclass(frozen=True, slots=True)
class Policy:
    """How the tasks of a node are run.

    Args:
        retries: how often a failed task is tried again; 0 means one call in all.
        backoff: how long to wait before each retry.
        retry_on: the error types that are retried; any other fails at once.
        timeout: seconds one attempt may take, or None.
        cache: whether a known fingerprint is answered from the store.
        checkpoint: whether the value is kept in the store; when not, a resume computes it again.
        resources: what a worker must offer, such as ``{"GPU": 1}``.
        priority: 1 (first) to 20 (last); see `PRIORITIES`.
        validate: whether inputs and outputs are checked against their annotations at run time.
    """

    retries: int = 0
    backoff: Backoff = Fixed()
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    timeout: float | None = None
    cache: bool = False
    checkpoint: bool = True
    resources: Mapping[str, float] = field(default_factory=dict)
    priority: int = PRIORITIES["normal"]
    validate: bool = True
