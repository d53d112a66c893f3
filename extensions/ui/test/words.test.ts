import { expect, test } from "vitest";
import { NO_STATE, readShape, viewOf, type Head } from "../src/format";
import {
  armText, bytes, constructText, countsText, doneOf, duration, elapsed, facts, grouped, isOver, outline, rate,
  stateText, sum, wholeOf,
} from "../src/words";
import type { PlainStep } from "./graphs";
import { stateOf, type Standing } from "./panels";

const headOf = (head: Partial<Head>): Head => ({ ...NO_STATE.head, ...head });
const countsOf = (counts: Standing["counts"]) => stateOf({}, [{ counts: counts! }]).counts(0);

// -- figures -----------------------------------------------------------------------------------------------------

test.each([
  [-1, "0 s"], [0, "0 s"], [1e-9, "1 µs"], [3e-5, "30 µs"], [94e-6, "94 µs"], [95e-6, "0.1 ms"], [4.2e-4, "0.4 ms"],
  [4e-3, "4 ms"], [9.4e-3, "9 ms"], [0.01, "0.01 s"], [0.42, "0.42 s"], [0.996, "1.0 s"], [1, "1 s"], [1.25, "1.3 s"],
  [9.9, "9.9 s"], [9.96, "10 s"], [12.4, "12 s"], [59.4, "59 s"], [59.6, "1 min"], [185, "3 min 5 s"], [3600, "1 h"],
  [7800, "2 h 10 min"], [90_000, "25 h"],
])("%s seconds are told as %s", (seconds, text) => expect(duration(seconds)).toBe(text));

test.each([
  [0, "0 bytes"], [1, "1 byte"], [999, "999 bytes"], [1000, "1.0 kB"], [3400, "3.4 kB"], [120_000, "120 kB"],
  [999_600, "1.0 MB"], [120e6, "120 MB"], [2e9, "2.0 GB"], [1.5e12, "1.5 TB"],
])("%s bytes are told as %s", (count, text) => expect(bytes(count)).toBe(text));

test.each([
  [0, "0.0 tasks/min"], [0.2, "12.0 tasks/min"], [0.5, "0.5 tasks/s"], [3.5, "3.5 tasks/s"], [10, "10 tasks/s"],
  [1240.4, "1,240 tasks/s"],
])("%s tasks a second are told as %s", (value, text) => expect(rate(value)).toBe(text));

test.each([[0, "0"], [999, "999"], [1000, "1,000"], [1234567, "1,234,567"], [12.6, "13"]])(
  "%s is written %s", (value, text) => expect(grouped(value)).toBe(text),
);

test("what is done is what has a value, computed or cached", () => {
  const counts = countsOf({ completed: 3, cached: 2, failed: 7, running: 1 });
  expect([doneOf(counts), sum(counts)]).toEqual([5, 13]);
  expect([doneOf([]), sum([])]).toEqual([0, 0]);
});

// -- runs --------------------------------------------------------------------------------------------------------

test("a run is over when nothing more happens to it by itself", () => {
  const over = ["completed", "failed", "cancelled", "interrupted"];
  for (const status of over) expect(isOver(status)).toBe(true);
  for (const status of ["pending", "queued", "running", "paused", "retrying"]) expect(isOver(status)).toBe(false);
});

test("the time a run takes goes on in whole seconds, and is exact once it is over", () => {
  expect(elapsed(headOf({ status: "pending" }))).toBe("");
  expect(elapsed(headOf({ status: "running", started: 100, now: 100.7 }))).toBe("");
  expect(elapsed(headOf({ status: "running", started: 100, now: 101 }))).toBe("1 s");
  expect(elapsed(headOf({ status: "running", started: 100, now: 103.9 }))).toBe("3 s");
  expect(elapsed(headOf({ status: "running", started: 100, now: 103.9 }), 165)).toBe("1 min 5 s");
  expect(elapsed(headOf({ status: "completed", started: 100, ended: 100.25, now: 900 }))).toBe("0.25 s");
  expect(elapsed(headOf({ status: "failed", started: 100, ended: 99, now: 900 }))).toBe("0 s");
});

test("a run's figures come with the most wanted first", () => {
  const head = headOf({
    status: "running", total: 1200, rate: 12.6, eta: 41.7, workers: 4,
    counts: countsOf({ completed: 300, cached: 40, running: 8, retrying: 2, failed: 5, skipped: 3, cancelled: 1 }),
  });
  expect(facts(head)).toEqual([
    "340 of 1,200 tasks", "5 failed", "8 running", "2 retrying", "3 skipped", "1 cancelled", "40 cached", "13 tasks/s",
    "about 42 s left", "4 workers",
  ]);
  expect(facts({ ...head, etaIsFloor: true, eta: 0.2 })).toContain("at least 1 s left");
});

test("how many tasks there will be is told only where it is known", () => {
  expect(facts(headOf({ status: "running", counts: countsOf({ completed: 3 }) }))).toEqual(["3 tasks so far"]);
  expect(facts(headOf({ status: "completed", counts: countsOf({ completed: 3 }) }))).toEqual(["3 tasks"]);
  expect(facts(headOf({ status: "completed", total: 1, counts: countsOf({ completed: 1 }) }))).toEqual(["1 of 1 task"]);
});

test("the rate and the time left are of runs that run", () => {
  const head = headOf({ status: "paused", total: 9, rate: 3, eta: 20, counts: countsOf({ completed: 3, running: 2 }) });
  expect(facts(head)).toEqual(["3 of 9 tasks", "2 running", "those finish, none starts"]);
});

test("what a run waits for, what it was asked, and how old a picture is are told", () => {
  const head = headOf({ status: "running", total: 2, waiting: "no worker", asked: "cancel", away: "its host is gone" });
  expect(facts(head).slice(1)).toEqual([
    "waiting: no worker", "cancelling", "not as it is now but as last seen: its host is gone",
  ]);
});

test("a bar is full only when nothing more can come", () => {
  const counts = countsOf({ completed: 40, running: 4, pending: 6 });
  expect(wholeOf(headOf({ status: "running", total: 60, counts }))).toBe(60);
  expect(wholeOf(headOf({ status: "running", total: 10, counts }))).toBe(44);
  expect(wholeOf(headOf({ status: "completed", counts }))).toBe(50);
  expect(wholeOf(headOf({ status: "running", counts }))).toBe(63);
  expect(wholeOf(headOf({ status: "completed", total: 0 }))).toBe(1);
});

// -- steps -------------------------------------------------------------------------------------------------------

function told(step: Partial<PlainStep>, standing: Standing, more: Partial<ReturnType<typeof viewOf>> = {}): string {
  const shape = readShape({ steps: [{ id: "step", ...step }] });
  return stateText({ ...viewOf(shape, stateOf({}, [standing]), 0), ...more });
}

test.each<[Standing, string]>([
  [{}, "pending"], [{ status: "running" }, "running"], [{ status: "running", progress: 0.404 }, "running 40%"],
  [{ status: "completed" }, "completed"], [{ status: "completed", mean: 0.42 }, "completed 0.42 s"],
  [{ status: "failed", attempts: 1 }, "failed"], [{ status: "failed", attempts: 2 }, "failed · 2 attempts"],
  [{ status: "cached", mean: 2 }, "cached"],
])("a task of %j is told as %s", (standing, text) => expect(told({}, standing)).toBe(text));

test.each<[Standing, string]>([
  [{}, "pending"], [{ width: 0, status: "completed" }, "empty"], [{ width: 0 }, "pending"],
  [{ width: 100, counts: { completed: 37, failed: 2 } }, "37/100 · 2 failed"],
  [{ counts: { completed: 1234, running: 3 } }, "1,234 so far"],
  [{ width: 40, counts: { cached: 40 } }, "40/40 · all cached"],
  [{ width: 40, counts: { cached: 30, retrying: 1, skipped: 2, cancelled: 3 } },
    "30/40 · 1 retrying · 2 skipped · 3 cancelled · 30 cached"],
])("a fan-out of %j is told as %s", (standing, text) => {
  expect(told({ kind: "map", fanOut: true, many: true }, standing)).toBe(text);
});

test("a step that may have several tasks and has one is told as a task", () => {
  expect(told({ many: true }, { width: 1, status: "completed", mean: 2 })).toBe("completed 2 s");
  expect(told({ many: true }, { width: 2, counts: { completed: 1 } })).toBe("1/2");
});

test("a step that never began is told by why", () => {
  expect(told({ fanOut: true }, {}, { unused: "not taken" })).toBe("not taken");
});

test("a construct is told by what it is, what was taken, and how far it is", () => {
  const route = { kind: "switch", construct: true, labels: [["case_0", "score > 0.9"]] as [string, string][] };
  expect(told(route, { status: "running" }, { taken: ["case_0", "default"] })).toBe(
    "switch · score > 0.9 taken · default taken · running",
  );
  expect(told({ kind: "try", construct: true }, { status: "running" }, { taken: ["body", "catch_0"] })).toBe(
    "try · catch 1 · running",
  );
  expect(told({ kind: "loop", construct: true }, { counts: { completed: 5, failed: 1 } }, { times: 3 })).toBe(
    "loop ×3 · 5 so far · 1 failed",
  );
  expect(told({ kind: "workflow", construct: true }, { status: "cached" })).toBe("cached");
});

test("counts are told against how many there are, once that is known", () => {
  expect(countsText(countsOf({ completed: 2, cached: 1 }), null)).toBe("3 so far · 1 cached");
  expect(countsText(countsOf({ completed: 2, cached: 1 }), 1000)).toBe("3/1,000 · 1 cached");
});

test("a construct's word says how often it turned", () => {
  expect(constructText({ kind: "each", times: 1200 })).toBe("each ×1,200");
  expect(constructText({ kind: "sequential", times: null })).toBe("in order");
  expect(constructText({ kind: "workflow", times: null })).toBe("");
  expect(constructText({ kind: "loop", times: 0 })).toBe("loop ×0");
});

test.each([
  ["case_0", "score > 0.9"], ["default", "else"], ["catch_0", "catch ValueError"], ["case_2", "case 3"],
  ["case", "case 1"], ["catch_1", "catch 2"], ["body", "body"], ["finally", "finally"],
])("the body %s is called %s", (arm, text) => {
  const labels: [string, string][] = [["case_0", "score > 0.9"], ["default", "else"], ["catch_0", "ValueError"]];
  expect(armText(readShape({ steps: [{ id: "route", labels }] }).steps[0], arm)).toBe(text);
});

// -- lists -------------------------------------------------------------------------------------------------------

const rowsOf = (steps: PlainStep[], standings: Standing[] = []) =>
  outline(readShape({ steps }), stateOf({}, steps.map((_, at) => standings[at] ?? {})));

test("a list has steps under their constructs, by their path in it", () => {
  const rows = rowsOf([
    { id: "load" },
    { id: "tune", construct: true },
    { id: "tune.*/fit", group: "tune" },
    { id: "tune.*/route", group: "tune", construct: true },
    { id: "tune.*/route.case_0/publish", group: "tune.*/route" },
    { id: "sites", construct: true },
    { id: "sites[]/parse", group: "sites" },
    { id: "team/clean", group: "team" },
    { id: "other", group: "tune" },
  ]);
  expect(rows).toEqual([
    [0, "load", 0], [0, "tune", 1], [1, "fit", 2], [1, "route", 3], [2, "case_0/publish", 4], [0, "sites", 5],
    [1, "parse", 6], [0, "team/clean", 7], [1, "other", 8],
  ]);
});

test("what the engine put there is listed only when it failed", () => {
  const steps = [{ id: "load" }, { id: "load.when", helper: true }, { id: "load.join", helper: true }];
  expect(rowsOf(steps, [{}, { status: "completed" }, { status: "failed" }]).map(([, name]) => name)).toEqual([
    "load", "load.join",
  ]);
});
