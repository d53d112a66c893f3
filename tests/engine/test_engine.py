"""Promises of the engine: whatever the order of events and wherever a driver dies, a run ends right."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.simulation import World
from wfnb.engine.engine import MAX_LOST, Abort, Anew, BundleEnded, Capacity, Dispatch, Drop, End, Engine, Tick
from wfnb.engine.lower import lower
from wfnb.engine.plan import Plan, known_widths, make_plan
from wfnb.model.errors import DefinitionError
from wfnb.model.events import (
    COMPLETED,
    FAILED,
    Column,
    Command,
    ErrorRecord,
    Outcomes,
    Running,
    RunStarted,
    decode_event,
)
from wfnb.model.expr import Apply, Const, Container, StepValue
from wfnb.model.graph import Graph, Step
from wfnb.model.node import Node
from wfnb.model.policy import Policy


class Work(Node):
    def execute(self, *args: object, **kwargs: object) -> object:
        return args, kwargs


def named(name: str, **policy: object) -> Node:
    node = Work()
    node.info = replace(node.info, name=name)
    node.policy = Policy(**policy)  # type: ignore[arg-type]
    return node


def task(step_id: str, *needs: str, **policy: object) -> Step:
    return Step(step_id, named(step_id, **policy), args=tuple(StepValue(need) for need in needs))


def over(step_id: str, source: object, *needs: str, kind: str = "map", **policy: object) -> Step:
    first = StepValue(source) if isinstance(source, str) else Const(source)
    args = (first, *(StepValue(need) for need in needs))
    return Step(step_id, named(step_id, **policy), kind, args, over=(0,))  # type: ignore[arg-type]


def graph(*steps: Step) -> Graph:
    return Graph("g", "1", (), steps, StepValue(steps[-1].id) if steps else Const(None))


def plan(*steps: Step) -> Plan:
    return make_plan(lower(graph(*steps)))


def world(*steps: Step, **facts: object) -> World:
    whole = lower(graph(*steps))
    return World(make_plan(whole), known_widths(whole, {}), **facts)  # type: ignore[arg-type]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any small workflow: tasks, maps over constants, over tasks' lists and over maps, and products, with failures."""
    steps: list[Step] = []
    lists: dict[str, int] = {}
    fans: list[str] = []
    fails: dict[tuple[str, int], int] = {}
    for number in range(draw(st.integers(1, 8))):
        step_id = f"s{number}"
        known = [step.id for step in steps]
        needs = draw(st.lists(st.sampled_from(known), max_size=2, unique=True)) if known else []
        keeps = draw(st.booleans())
        kind = draw(st.sampled_from(["task", "task", "const", "list", "aligned", "product"]))
        tasks = [step.id for step in steps if not step.over]
        if kind == "const":
            steps.append(over(step_id, list(range(draw(st.integers(0, 6)))), *needs, checkpoint=keeps))
        elif kind == "list" and tasks:
            source = draw(st.sampled_from(tasks))
            lists.setdefault(source, draw(st.integers(0, 5)))
            steps.append(over(step_id, source, *needs, checkpoint=keeps))
        elif kind == "aligned" and fans:
            steps.append(over(step_id, draw(st.sampled_from(fans)), *needs, checkpoint=keeps))
        elif kind == "product" and fans:
            steps.append(over(step_id, draw(st.sampled_from(fans)), *needs, kind="expand"))
        else:
            steps.append(task(step_id, *needs, checkpoint=keeps))
        if steps[-1].over:
            fans.append(step_id)
        if draw(st.integers(0, 3)) == 0:
            fails[step_id, draw(st.integers(0, 3))] = draw(st.integers(1, 3))
    seconds = {step.id: draw(st.sampled_from([1e-6, 0.04, 1.0])) for step in steps}
    return world(*steps, lists=lists, fails=fails, seconds=seconds)


def final_values(this: World) -> dict[tuple[int, int], object]:
    """The values by the definition alone, in the order of the steps."""
    fresh = World(this.plan, this.widths, this.lists)
    for step in this.plan.templates:
        for element in range(fresh.width(step.index)):
            fresh.values[step.index, element] = fresh.value(step.index, element)
    return fresh.values


def kept(this: World, values: dict[tuple[int, int], object]) -> dict[tuple[int, int], object]:
    """The values that outlive a driver; those that do not went into them."""
    return {place: value for place, value in values.items() if this.plan.templates[place[0]].keeps}


def completed(this: World) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for data in this.journal:
        event = decode_event(data)
        if isinstance(event, Outcomes):
            for column in event.columns:
                for place, status in enumerate(column.status):
                    if status == COMPLETED:
                        found.add((column.step, column.lo + place))
    return found


@given(worlds(), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_run_ends_with_the_right_value_whatever_the_order_in_which_bundles_end(this: World, seed: int) -> None:
    end = this.drive(this.start(), random.Random(seed), lose=0.2, hand_back=0.3)
    assert end == End("completed")
    assert kept(this, this.values) == kept(this, final_values(this))


@given(worlds(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_a_run_cut_at_every_prefix_of_its_journal_resumes_to_the_same_value_and_repeats_nothing_acknowledged(
    this: World, seed: int
) -> None:
    this.drive(this.start(), random.Random(seed))
    whole = list(this.journal)
    unkept = {step.id for step in this.plan.templates if not step.keeps}
    for cut in range(1, len(whole)):
        again = World(this.plan, this.widths, this.lists, this.fails, this.seconds, journal=whole[:cut], epoch=1)
        # A cut journal knows nothing of what came after it: what it acknowledges is found by the definition.
        again.values.update(
            {
                (again.plan.templates[index].index, element): value
                for (index, element), value in final_values(this).items()
                if (again.plan.templates[index].id, element) in completed(again)
            }
        )
        acknowledged = {done for done in completed(again) if done[0] not in unkept}
        end = again.drive(again.start(), random.Random(seed + cut))
        assert end == End("completed")
        called = {(again.plan.templates[index].id, element) for index, element, _ in again.calls}
        assert not called & acknowledged
        assert kept(again, again.values) == kept(again, final_values(this))


@given(worlds(), st.integers(0, 2**32), st.lists(st.integers(1, 6), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_a_run_killed_again_and_again_gets_there_and_counts_each_attempt_once(
    this: World, seed: int, kills: list[int]
) -> None:
    rng = random.Random(seed)
    for more in kills:
        end = this.drive(this.start(), rng, stop_after=len(this.journal) + more + 1, lose=0.1, hand_back=0.2)
        if end:
            break
    else:
        end = this.drive(this.start(), rng)
    assert end == End("completed")
    assert kept(this, this.values) == kept(this, final_values(this))
    attempts = [
        (column.step, column.lo + place, column.attempt)
        for data in this.journal
        if isinstance(event := decode_event(data), Outcomes)
        for column in event.columns
        if this.plan.templates[int(column.step[1:])].keeps
        for place in range(len(column.status))
    ]
    assert len(attempts) == len(set(attempts))


def test_nothing_is_dispatched_before_the_run_is_recorded_as_started() -> None:
    assert Engine(plan(task("a"))).handle(Capacity(2)) == []


def test_a_workflow_without_steps_is_completed_at_once() -> None:
    this = world()
    this.start()
    assert this.pending == [End("completed")]


def test_a_map_over_nothing_is_completed_and_its_followers_run() -> None:
    this = world(over("m", []), task("t", "m"))
    engine = this.start()
    assert this.drive(engine, random.Random(1)) == End("completed")
    assert this.calls == [(1, 0, 1)]


def test_a_chain_of_unknown_duration_travels_as_one_bundle() -> None:
    this = world(task("a"), task("b", "a"), task("c", "b"))
    this.start()
    (dispatch,) = this.pending
    assert isinstance(dispatch, Dispatch)
    assert [segment.steps for segment in dispatch.bundle.segments] == [(0,), (1,), (2,)]
    assert dispatch.bundle.keep == frozenset()


def test_tasks_that_can_only_follow_each_other_are_a_line() -> None:
    names = "abcdef"
    chain = [task(one, *names[max(at - 1, 0) : at]) for at, one in enumerate(names)]
    engine = Engine(plan(*chain), estimates={f"{name} ": 0.06 for name in names})
    (dispatch,) = engine.handle(Capacity(2), RunStarted(1.0, "d", "code"))
    assert isinstance(dispatch, Dispatch)
    assert [segment.steps for segment in dispatch.bundle.segments] == [(0,), (1,), (2,)]
    assert dispatch.bundle.line


def test_a_task_that_others_could_run_beside_makes_no_line() -> None:
    steps = [task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c")]
    engine = Engine(plan(*steps), estimates={f"{name} ": 0.15 for name in "abcd"})
    (dispatch,) = engine.handle(Capacity(2), RunStarted(1.0, "d", "code"))
    assert isinstance(dispatch, Dispatch)
    assert len(dispatch.bundle.segments) == 1
    assert not dispatch.bundle.line


def test_branches_of_unknown_duration_travel_apart() -> None:
    this = world(task("a"), task("b"), task("c", "a", "b"))
    this.start()
    assert [command.bundle.segments[0].steps for command in this.pending] == [(0,), (1,)]  # type: ignore[union-attr]


def test_a_diamond_of_tiny_steps_travels_as_one_bundle_once_they_have_been_measured() -> None:
    steps = [task("a"), task("b", "a"), task("c", "a"), task("d", "a"), task("e", "b", "c", "d")]
    engine = Engine(plan(*steps), estimates={f"{name} ": 1e-4 for name in "abcde"})
    (dispatch,) = engine.handle(Capacity(2), RunStarted(1.0, "d", "code"))
    assert isinstance(dispatch, Dispatch)
    assert len(dispatch.bundle.segments) == 5


def test_long_tasks_travel_alone_once_they_have_been_measured() -> None:
    engine = Engine(plan(over("m", list(range(64)))), estimates={"m ": 0.5})
    sizes = [
        command.bundle.segments[0].hi - command.bundle.segments[0].lo
        for command in engine.handle(Capacity(2), RunStarted(1.0, "d", "code", {"m": 64}))
        if isinstance(command, Dispatch)
    ]
    assert sizes == [1, 1, 1, 1]


def test_a_wide_map_of_tiny_elements_is_shared_between_the_workers_in_few_bundles() -> None:
    this = world(over("m", list(range(10_000))))
    this.start()
    sizes = [command.bundle.segments[0].hi - command.bundle.segments[0].lo for command in this.pending]  # type: ignore[union-attr]
    assert sizes == [2500] * 4


def test_a_map_of_a_map_goes_through_both_steps_element_by_element() -> None:
    this = world(over("m", [1, 2, 3, 4]), over("n", "m"))
    this.start()
    assert {command.bundle.segments[0].steps for command in this.pending} == {(0, 1)}  # type: ignore[union-attr]


def test_what_a_worker_hands_back_is_sent_again_at_once() -> None:
    this = world(over("m", list(range(8))))
    engine = Engine(this.plan)
    first, *_ = engine.handle(Capacity(1), RunStarted(1.0, "d", "c", {"m": 8}))
    assert isinstance(first, Dispatch)
    commands = engine.handle(Running(first.bundle.id, "w", "m", 0, 1, 1.0, yielded=True))
    assert commands == []  # the slots are still taken
    commands = engine.handle(BundleEnded(first.bundle.id))
    assert isinstance(commands[0], Dispatch)


def test_what_a_bundle_has_made_stays_on_its_worker_for_what_it_hands_back() -> None:
    engine = Engine(plan(task("a"), task("b", "a"), task("c", "b")))
    (first,) = engine.handle(Capacity(1), RunStarted(1.0, "d", "c"))
    assert isinstance(first, Dispatch)
    assert first.bundle.keep == frozenset()
    done = Column("a", 0, 1, bytes((COMPLETED,)), bytes(8), bytes(8), pack="p")
    (second,) = engine.handle(Outcomes(first.bundle.id, "w", (done,)), BundleEnded(first.bundle.id))
    assert isinstance(second, Dispatch)
    assert engine.held[first.bundle.id] >= {0}
    rest = [done._replace(step=one) for one in "bc"]
    commands = engine.handle(Outcomes(second.bundle.id, "w", tuple(rest)))
    assert Drop(first.bundle.id) in commands


@pytest.mark.parametrize("keeps", [True, False])
def test_a_run_is_taken_up_anew_when_values_that_are_needed_went_with_a_worker(keeps: bool) -> None:
    engine = Engine(plan(task("a", checkpoint=keeps), task("b", "a")))
    start = RunStarted(1.0, "d", "c")
    (first,) = engine.handle(Capacity(1), start)
    assert isinstance(first, Dispatch)
    done = Column("a", 0, 1, bytes((COMPLETED,)), bytes(8), bytes(8), pack="p" if keeps else "")
    commands = engine.handle(Outcomes(first.bundle.id, "w", (done,)), BundleEnded(first.bundle.id, "its worker died"))
    if not keeps:
        assert commands == [Anew()]
        assert engine.handle(Tick(2.0)) == []  # once is enough
        commands = engine.handle(replace(start, time=2.0, anew=True))
    second = next(command for command in commands if isinstance(command, Dispatch))
    assert [segment.steps for segment in second.bundle.segments] == ([(1,)] if keeps else [(0,), (1,)])


@pytest.mark.parametrize("asked", ["pause", "cancel"])
def test_what_was_asked_of_a_run_holds_when_it_is_taken_up_anew(asked: str) -> None:
    engine = Engine(plan(task("a", checkpoint=False), task("b", "a")))
    start = RunStarted(1.0, "d", "c")
    (first,) = engine.handle(Capacity(1), start)
    assert isinstance(first, Dispatch)
    done = Column("a", 0, 1, bytes((COMPLETED,)), bytes(8), bytes(8))
    engine.handle(Outcomes(first.bundle.id, "w", (done,)), BundleEnded(first.bundle.id, "its worker died"))
    commands = engine.handle(Command(asked, "me", 2.0), replace(start, time=3.0, anew=True))
    if asked == "cancel":
        assert commands == [End("cancelled")]
        return
    assert commands == []
    (second,) = engine.handle(Command("resume", "me", 4.0))
    assert isinstance(second, Dispatch)


def test_a_failed_task_is_tried_again_when_its_wait_is_over_and_not_before() -> None:
    this = world(task("a"), fails={("a", 0): 1})
    engine = this.start()
    (dispatch,) = this.pending
    assert isinstance(dispatch, Dispatch)
    (entry,) = this.run_bundle(dispatch.bundle, random.Random(0), stop=True)
    assert engine.handle(entry, BundleEnded(dispatch.bundle.id), Tick(this.clock)) == []
    assert engine.next_retry == pytest.approx(this.clock + 0.5)
    (again,) = engine.handle(Tick(this.clock + 0.6))
    assert isinstance(again, Dispatch)
    assert again.bundle.segments[0].attempt == 2


def test_a_failure_starts_nothing_new_and_names_its_address() -> None:
    this = world(over("m", [1, 2, 3]), task("t", "m"), fails={("m", 1): 9})
    end = this.drive(this.start(), random.Random(3))
    assert end == End("failed", "m[1]")


def test_with_on_error_continue_everything_that_does_not_depend_on_the_failure_is_finished() -> None:
    this = world(over("m", [1, 2, 3]), over("n", "m"), task("t", "n"), task("other"), fails={("m", 1): 9})
    end = this.drive(this.start(stop_on_error=False), random.Random(3), stop=False)
    assert end == End("failed", "m[1]")
    assert completed(this) == {("m", 0), ("m", 2), ("n", 0), ("n", 2), ("other", 0)}


def test_a_retry_runs_failed_tasks_again_with_fresh_retries_and_keeps_the_others() -> None:
    this = world(over("m", [1, 2, 3]), task("t", "m"), fails={("m", 1): 6})
    assert this.drive(this.start(), random.Random(3)) == End("failed", "m[1]")
    this.calls.clear()
    assert this.drive(this.start(retry=True), random.Random(4)) == End("completed")
    assert [attempt for index, element, attempt in this.calls if (index, element) == (0, 1)] == [5, 6, 7]


def test_a_reset_step_runs_again_and_what_is_kept_does_not() -> None:
    this = world(task("a"), task("b"), task("c", "a", "b"))
    this.drive(this.start(), random.Random(3))
    this.calls.clear()
    this.drive(this.start(reset={"b": "edited", "c": "follows b"}), random.Random(4))
    assert {index for index, _, _ in this.calls} == {1, 2}


def test_a_paused_run_starts_nothing_until_it_is_resumed() -> None:
    this = world(over("m", list(range(8))))
    engine = Engine(this.plan)
    first, *_ = engine.handle(Capacity(1), RunStarted(1.0, "d", "c", {"m": 8}))
    assert isinstance(first, Dispatch)
    assert engine.handle(Command("pause", "me", 1.0), BundleEnded(first.bundle.id)) == []
    (again,) = engine.handle(Command("resume", "me", 2.0))
    assert isinstance(again, Dispatch)


def test_a_cancel_aborts_what_is_in_flight_once_and_then_ends_the_run() -> None:
    engine = Engine(plan(task("a")))
    (dispatch,) = engine.handle(Capacity(1), RunStarted(1.0, "d", "c"))
    assert isinstance(dispatch, Dispatch)
    assert engine.handle(Command("cancel", "me", 1.0)) == [Abort(dispatch.bundle.id)]
    assert engine.handle(Command("cancel", "me", 1.0)) == []
    assert engine.handle(BundleEnded(dispatch.bundle.id)) == [End("cancelled")]


def test_values_on_workers_are_let_go_when_nobody_needs_them() -> None:
    this = world(task("a"), task("b"), task("c", "a", "b"))
    engine = this.start()
    bundles = [command.bundle for command in this.pending if isinstance(command, Dispatch)]
    commands = this.pending
    for bundle in bundles:
        for entry in this.run_bundle(bundle, random.Random(0), stop=True):
            commands = engine.handle(this.write(entry), BundleEnded(bundle.id))
    (last,) = commands
    assert isinstance(last, Dispatch)
    for entry in this.run_bundle(last.bundle, random.Random(0), stop=True):
        commands = engine.handle(this.write(entry), BundleEnded(last.bundle.id))
    assert {command.bundle for command in commands if isinstance(command, Drop)} == {b.id for b in bundles}


def test_a_run_gives_up_when_bundles_are_lost_over_and_over() -> None:
    this = world(task("a"))
    engine = this.start()
    commands = this.pending
    for _ in range(100):
        (command,) = commands
        if isinstance(command, End):
            break
        assert isinstance(command, Dispatch)
        commands = engine.handle(BundleEnded(command.bundle.id, "its worker died"))
    assert commands == [End("failed", "", "its worker died")]


def test_bundles_that_were_lost_by_no_fault_of_theirs_are_sent_again_for_ever() -> None:
    this = world(task("a"))
    engine = this.start()
    commands = this.pending
    for _ in range(3 * MAX_LOST):
        (command,) = commands
        assert isinstance(command, Dispatch)
        commands = engine.handle(BundleEnded(command.bundle.id, "its worker was ended", innocent=True))
    for _ in range(MAX_LOST):  # and they do not hide that others are lost over and over
        (command,) = commands
        assert isinstance(command, Dispatch)
        commands = engine.handle(BundleEnded(command.bundle.id, "its worker died"))
        if isinstance(commands[0], Dispatch):
            commands = engine.handle(BundleEnded(commands[0].bundle.id, "its worker was ended", innocent=True))
    assert commands == [End("failed", "", "its worker died")]


def test_a_task_bound_to_a_resource_does_not_hold_up_the_others() -> None:
    this = world(over("g", list(range(9)), resources={"GPU": 1}), over("m", list(range(4))))
    this.start()
    kinds = [bool(command.bundle.resources) for command in this.pending]  # type: ignore[union-attr]
    assert kinds.count(True) == 4
    assert kinds.count(False) == 4


def test_a_chain_of_ten_thousand_finished_steps_is_replayed_without_deep_recursion() -> None:
    steps = [task("s0"), *(task(f"s{n}", f"s{n - 1}") for n in range(1, 10_000))]
    this = world(*steps)
    this.drive(this.start(), random.Random(0))
    this.calls.clear()
    assert this.drive(this.start(), random.Random(0)) == End("completed")
    assert this.calls == []


def test_lists_of_different_length_are_refused_before_anything_runs() -> None:
    step = Step("m", named("m"), "map", (Const([1, 2]), Const([1])), over=(0, 1))
    with pytest.raises(DefinitionError, match=r"differ in length: '\[1, 2\]' has 2, '\[1\]' has 1"):
        known_widths(graph(step), {})


def test_a_list_computed_from_steps_becomes_a_step_of_its_own() -> None:
    source = Apply("getitem", (StepValue("a"), Const("files")))
    mapped = Step("m", named("m"), "map", (source,), over=(0,))
    lowered = lower(graph(task("a"), mapped))
    assert [step.id for step in lowered.steps] == ["a", "m.over", "m"]


def test_an_output_that_applies_operators_becomes_a_step_of_its_own_and_a_list_of_steps_does_not() -> None:
    plain = lower(replace(graph(task("a"), task("b")), output=Container("list", (StepValue("a"), StepValue("b")))))
    assert [step.id for step in plain.steps] == ["a", "b"]
    computed = lower(replace(graph(task("a")), output=Apply("+", (StepValue("a"), Const(1)))))
    assert [step.id for step in computed.steps] == ["a", "output"]


def test_a_retry_in_flight_is_not_given_back_when_the_bundle_of_the_first_attempt_ends() -> None:
    this = world(over("m", list(range(4))), fails={("m", 0): 1})
    engine = Engine(this.plan)
    first, *_ = (
        c.bundle for c in engine.handle(Capacity(1), RunStarted(1.0, "d", "c", {"m": 4})) if type(c) is Dispatch
    )
    this.values.clear()
    failed, *_ = this.run_bundle(first, random.Random(0), stop=False)
    column = failed.columns[0]._replace(errors={0: replace(failed.columns[0].errors[0], retry_in=0.0)})
    commands = engine.handle(Outcomes(first.id, "w", (column,)), Tick(2000.0), Capacity(4))
    again = next(c.bundle for c in commands if type(c) is Dispatch and c.bundle.segments[0].attempt == 2)
    dispatched = [c.bundle for c in engine.handle(BundleEnded(first.id)) if type(c) is Dispatch]
    assert again.segments[0].lo == 0
    assert not any(segment.lo == 0 for bundle in dispatched for segment in bundle.segments)


# -- cost ----------------------------------------------------------------------------------------------------------


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called (and generators gone on with): what work costs, without a clock."""
    count = 0

    def note(_frame: object, kind: str, _arg: object) -> None:
        nonlocal count
        count += kind in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def calls_to_end(this: Plan, widths: dict[str, int], seconds: dict[str, float], threads: int) -> int:
    """The calls of an engine that takes a plan to its end; bundles end in the order they were sent."""
    known = {step.label: seconds[step.id[0]] for step in this.templates if step.id[0] in seconds}
    engine = Engine(this, estimates=known)
    commands = engine.handle(Capacity(threads), RunStarted(0.0, "d", "c", widths))
    calls = at = 0
    while at < len(commands):
        command = commands[at]
        at += 1
        if not isinstance(command, Dispatch):
            continue
        bundle = command.bundle
        columns = []
        for segment in bundle.segments:
            n = segment.hi - segment.lo
            for index in segment.steps:
                step = this.templates[index]
                end = struct.pack("<d", seconds.get(step.id[0], 1.0)) * n
                done = bytes((COMPLETED,)) * n
                columns.append(Column(step.id, segment.lo, segment.attempt, done, bytes(8 * n), end, pack=bundle.id))
        ended = Outcomes(bundle.id, "w", tuple(columns)), BundleEnded(bundle.id)
        calls += calls_of(lambda ended=ended: commands.extend(engine.handle(*ended)))  # type: ignore[misc]
    assert commands[-1] == End("completed")
    return calls


def many(n: int, **policy: object) -> list[Step]:
    return [task(f"f{i}", **policy) for i in range(n)]


def gathered(n: int) -> Plan:
    steps = many(n)
    return plan(*steps, task("g", *(step.id for step in steps)))


@pytest.mark.parametrize(
    ("make", "seconds"),
    [
        pytest.param(lambda n: plan(over("m", list(range(n))), task("g", "m")), {"m": 1.0}, id="long elements"),
        pytest.param(gathered, {"f": 1.0}, id="long tasks with one user"),
        pytest.param(gathered, {"f": 1e-6, "g": 1e-6}, id="tiny tasks with one user"),
        pytest.param(lambda n: plan(*many(n), *many_others(n)), {"f": 1.0}, id="measured and unmeasured tasks"),
        pytest.param(lambda n: plan(*many(n, resources={"gpu": 1}), *many_others(n)), {}, id="tasks bound and not"),
        pytest.param(lambda n: plan(*chains(n)), {"a": 1.0, "b": 1.0, "c": 1.0}, id="chains of long tasks"),
    ],
)
def test_four_times_the_tasks_cost_about_four_times_the_decisions(
    make: Callable[[int], Plan], seconds: dict[str, float]
) -> None:
    few, more = (
        calls_to_end(this, {step.id: n for step in this.templates if step.many}, seconds, 4)
        for n in (200, 800)
        for this in (make(n),)
    )
    assert more < 6 * few


def many_others(n: int) -> list[Step]:
    return [task(f"h{i}") for i in range(n)]


def chains(n: int) -> list[Step]:
    return [
        step
        for i in range(n)
        for step in (task(f"a{i}"), task(f"b{i}", f"a{i}"), task(f"c{i}", f"b{i}", checkpoint=False))
    ]


def test_a_retry_of_many_failed_elements_costs_as_much_for_each() -> None:
    def retry(n: int) -> int:
        engine = Engine(plan(over("m", list(range(n)))))
        engine.state.estimates[engine.state.plan.templates[0].label] = 1e-6
        errors = {element: ErrorRecord("E", "m") for element in range(n)}
        column = Column("m", 0, 1, bytes((FAILED,)) * n, bytes(8 * n), bytes(8 * n), errors=errors)
        start = RunStarted(0.0, "d", "c", {"m": n}, on_error="continue")
        engine.replay([start, Outcomes("b0.1", "w", (column,))])
        return calls_of(lambda: engine.handle(Capacity(1), replace(start, retry=True)))

    assert retry(1600) < 6 * retry(400)


def test_a_fan_out_that_needs_a_step_aligned_and_whole_joins_it() -> None:
    this = world(over("m", [1]), over("t", "m", "m"), seconds={"m": 1e-6, "t": 1e-6})
    engine = Engine(this.plan, estimates={step.label: 1e-6 for step in this.plan.templates})
    (dispatch,) = engine.handle(Capacity(1), RunStarted(0.0, "d", "c", this.widths))
    assert isinstance(dispatch, Dispatch)
    assert [segment.steps for segment in dispatch.bundle.segments] == [(0,), (1,)]
