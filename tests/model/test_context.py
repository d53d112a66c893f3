"""What a task may know of itself, also where a function is called directly."""

from __future__ import annotations

import wfnb as wf


def test_a_function_that_is_called_directly_is_never_cancelled_and_may_report() -> None:
    context = wf.Context()
    assert not context.cancelled
    assert (context.run_id, context.address, context.attempt) == ("", "", 1)
    context.progress(0.5, "half")


def test_the_token_is_asked_each_time() -> None:
    answers = [False, True, True]
    context = wf.Context(token=lambda: answers.pop(0))
    assert [context.cancelled for _ in range(3)] == [False, True, True]


def test_progress_is_kept_between_none_and_all() -> None:
    said: list[tuple[float, str]] = []
    context = wf.Context(sink=lambda fraction, message: said.append((fraction, message)))
    for fraction in (-1, 0.25, 7):
        context.progress(fraction)
    context.progress(1, "done")
    assert said == [(0.0, ""), (0.25, ""), (1.0, ""), (1.0, "done")]
