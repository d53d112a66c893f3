import { expect, test } from "vitest";
import { Feed, documentSource, type Part } from "../src/api";
import {
  COUNTED, NO_STATE, STATUSES, addressOf, decodeShape, decodeSpans, decodeState, fromBase64, readShape, viewOf,
} from "../src/format";
import { SINCE, encodeShape, encodeSpans, encodeState, makeDocument, toBase64 } from "./make";

// -- as Python writes it -----------------------------------------------------------------------------------------

/** Two steps, written by wfnb/views/snapshot.py: one of which everything is known, and one of which nothing is. */
const STATE =
  "dAAAAHsic3RhdHVzIjoicnVubmluZyIsIm5vdyI6MTc5MDAwMDA2MC41LCJuYW1lcyI6WyJ3w7Zya2VyIl0sInN0ZXBzIjp7IjAiOnsibWVzc2Fn" +
  "ZSI6IsOpdMOpIiwidGFrZW4iOlsiY2FzZV8wIl19fX0gICAgAQMHAJABAADmAAAAKAAAAAgAAAADAAAABAAAAAUAAAAGAAAAaAAAACgBAAAJAAAA" +
  "AABQ4E6s2kEAAKDgTqzaQQAAAAAAAOg/AAAAAAAA4D8AAAAAAAAAAAAAAAAAAAAAAAAAAP////8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" +
  "AAAAAAAAAAD/////AAAAAAAA+H8AAAAAAAD4fwAAAAAAAPh/AAAAAAAA+H8AAAAAAAAAAAAAAAAAAAAA";
/** Three attempts, written by the same. */
const SPANS =
  "TAAAAHsibiI6Mywic2luY2UiOjE3OTAwMDAwMDAuMCwiaW5zdGFuY2VzIjpbInR1bmUuNC9maXQiXSwiZnJvbSI6MiwibW9yZSI6Mn0gICAAAAAA" +
  "AADgPwAAAAAAAPA/AAAAAAAAAkAAAAAAAAD4PwAAAAAAAAhAAAAAAAAA+H8AAAAAAQAAAAIAAAAAAAAABwAAAAAAAAD//////////wAAAAABAAIA" +
  "AQAAAAEAAAADBQE=";

test("everything that Python writes of a step is read where it lies", () => {
  const state = decodeState(fromBase64(STATE))!;
  expect(state.size).toBe(2);
  expect(state.head).toMatchObject({ status: "running", now: SINCE + 60.5, names: ["wörker"] });
  expect([state.status(0), state.unused(0)]).toEqual(["running", "not needed"]);
  expect([state.workers(0), state.width(0)]).toEqual([7, 400]);
  expect(state.counts(0)).toEqual([230, 40, 8, 3, 4, 5, 6, 104]);
  expect([state.attempts(0), state.times(0), state.mean(0), state.progress(0)]).toEqual([296, 9, 0.75, 0.5]);
  expect([state.started(0), state.ended(0)]).toEqual([SINCE + 1.25, SINCE + 2.5]);
  expect(state.taken(0)).toEqual(["case_0"]);
});

test("what Python does not know of a step is null", () => {
  const state = decodeState(fromBase64(STATE))!;
  expect([state.status(1), state.unused(1), state.attempts(1), state.taken(1)]).toEqual(["pending", "", 0, []]);
  expect([state.width(1), state.times(1), state.started(1), state.ended(1)]).toEqual([null, null, null, null]);
  expect([state.mean(1), state.progress(1)]).toEqual([null, null]);
});

test("spans that Python writes are read column for column", () => {
  const spans = decodeSpans(fromBase64(SPANS))!;
  expect(spans).toMatchObject({ n: 3, since: SINCE, instances: ["tune.4/fit"], from: 2, more: 2 });
  expect([...spans.start]).toEqual([0.5, 1, 2.25]);
  expect([...spans.end]).toEqual([1.5, 3, NaN]);
  expect([...spans.step]).toEqual([0, 1, 2]);
  expect([...spans.element]).toEqual([0, 7, 0]);
  expect([...spans.attempt]).toEqual([1, 2, 1]);
  expect([...spans.worker]).toEqual([0, 1, 0]);
  expect([...spans.status].map((code) => STATUSES[code])).toEqual(["completed", "failed", "running"]);
});

// -- shapes ------------------------------------------------------------------------------------------------------

test("what a shape leaves out is filled in", () => {
  const { steps } = readShape({ steps: [{ id: "load", uses: ["source"] }] });
  expect(steps[0]).toEqual({
    id: "load", name: "load", node: "", kind: "task", group: "", uses: ["source"], after: [], arm: "", helper: false,
    construct: false, fanOut: false, many: false, where: "", labels: [], mark: "", why: "",
  });
});

test("a shape finds the number of a step by its id", () => {
  const shape = decodeShape(encodeShape({ workflow: "été", run: "r-1", steps: [{ id: "a" }, { id: "b" }] }))!;
  expect([shape.workflow, shape.run]).toEqual(["été", "r-1"]);
  expect([shape.index.get("a"), shape.index.get("b"), shape.index.get("c")]).toEqual([0, 1, undefined]);
});

test("no bytes are no shape, no state and no spans", () => {
  const none = new Uint8Array();
  expect([decodeShape(none), decodeState(none), decodeSpans(none)]).toEqual([null, null, null]);
});

// -- states ------------------------------------------------------------------------------------------------------

test.each(STATUSES.map((status) => [status]))("a step that is %s is read as that", (status) => {
  expect(decodeState(encodeState({}, [{ status }]))!.status(0)).toBe(status);
});

test.each(COUNTED.map((status, place) => [status, place] as const))("counts of %s are at place %i", (status, place) => {
  const state = decodeState(encodeState({}, [{}, { counts: { [status]: 4_000_000_000 } }]))!;
  expect(state.count(1, place)).toBe(4_000_000_000);
  expect(state.counts(1).filter(Boolean)).toEqual([4_000_000_000]);
  expect(state.counts(0)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
});

test("steps that a state does not have yet are pending, and nothing else is known of them", () => {
  const state = decodeState(encodeState({}, [{ status: "running" }]))!;
  for (const [of, step] of [[state, 1], [state, 7], [NO_STATE, 0]] as const) {
    expect([of.status(step), of.unused(step), of.workers(step), of.attempts(step)]).toEqual(["pending", "", 0, 0]);
    expect([of.width(step), of.times(step), of.started(step), of.progress(step)]).toEqual([null, null, null, null]);
    expect(of.counts(step)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  }
});

test("a header of any length leaves the records where they are", () => {
  for (const again of ["", "a", "ab", "abc", "é", "漢字", "🜚", "abcdefgh"]) {
    const state = decodeState(encodeState({ again }, [{ width: 17 }, { width: 0 }]))!;
    expect([state.head.again, state.size, state.width(0), state.width(1)]).toEqual([again, 2, 17, 0]);
  }
});

test("what a head leaves out is as before a run began", () => {
  const text = new TextEncoder().encode(`{"status":"queued"} `);
  const bytes = new Uint8Array([text.length, 0, 0, 0, ...text]);
  const { head } = decodeState(bytes)!;
  expect(head).toEqual({ ...NO_STATE.head, status: "queued" });
  expect(head).toMatchObject({ started: null, ended: null, total: null, error: null, names: [], steps: {} });
  expect(head.counts).toEqual(COUNTED.map(() => 0));
});

test("a view of a step has what it is and how it stands", () => {
  const shape = readShape({ steps: [{ id: "a" }, { id: "b", kind: "switch", construct: true }] });
  const head = { steps: { 1: { message: "half", reset: "edited", taken: ["case_1"] } } };
  const state = decodeState(encodeState(head, [{}, { status: "running", counts: { running: 2 }, times: 3 }]))!;
  expect(viewOf(shape, state, 1)).toMatchObject({
    id: "b", kind: "switch", construct: true, number: 1, status: "running", counts: [0, 0, 2, 0, 0, 0, 0, 0], times: 3,
    width: null, message: "half", reset: "edited", taken: ["case_1"],
  });
  expect(viewOf(shape, state, 0)).toMatchObject({ number: 0, message: "", reset: "", taken: [] });
});

// -- spans -------------------------------------------------------------------------------------------------------

test("spans are read wherever in a buffer they lie", () => {
  const bytes = encodeSpans([{ start: 1, end: 2, step: 3, element: 4 }], ["a"], { from: 7, more: 9 });
  for (let offset = 0; offset < 9; offset++) {
    const buffer = new Uint8Array(offset + bytes.length);
    buffer.set(bytes, offset);
    const spans = decodeSpans(new DataView(buffer.buffer, offset))!;
    expect([spans.start[0], spans.end[0], spans.step[0], spans.element[0]]).toEqual([1, 2, 3, 4]);
    expect([spans.from, spans.more]).toEqual([7, 9]);
  }
});

test("an attempt has the address of its task: of its instance, and of its element where there are several", () => {
  const shape = readShape({
    steps: [{ id: "load" }, { id: "work", fanOut: true }, { id: "tune.*/fit" }, { id: "tune.*/each", fanOut: true }],
  });
  const instances = ["tune.4/fit", "tune.4/each", "sites[]/parse"];
  const rows = [
    { step: 0 }, { step: 1, element: 12 }, { step: 2, instance: 0 }, { step: 3, instance: 1, element: 5 },
    { step: 2, instance: 2, element: 3 }, { step: 9 },
  ];
  const spans = decodeSpans(encodeSpans(rows.map((row) => ({ start: 0, ...row })), instances))!;
  expect(rows.map((_, span) => addressOf(shape, spans, span))).toEqual([
    "load", "work[12]", "tune.4/fit", "tune.4/each[5]", "sites[3]/parse", "",
  ]);
});

// -- sources -----------------------------------------------------------------------------------------------------

test("a feed takes in each part alone, and tells which has changed", () => {
  const feed = new Feed();
  const told: Part[] = [];
  const end = feed.onChange((part) => told.push(part));
  feed.put("state", encodeState({ status: "paused" }, []));
  feed.put("shape", encodeShape({ steps: [{ id: "a" }] }));
  feed.put("spans", encodeSpans([{ start: 0, step: 0 }]));
  feed.put("rows", new TextEncoder().encode(`[{"id":"r-1"}]`));
  expect(told).toEqual(["state", "shape", "spans", "rows"]);
  expect([feed.state?.head.status, feed.shape?.steps.length, feed.spans?.n]).toEqual(["paused", 1, 1]);
  expect(feed.rows.map((row) => row.id)).toEqual(["r-1"]);
  end();
  feed.tell("state");
  expect(told).toHaveLength(4);
});

test("a part that has not come changes nothing", () => {
  const feed = new Feed();
  feed.onChange(() => expect.unreachable());
  feed.put("state", null);
  feed.put("spans", undefined);
  expect(feed.state).toBeNull();
});

test("one who stops listening while others are told takes nothing from them", () => {
  const feed = new Feed();
  const told: string[] = [];
  const end = feed.onChange(() => {
    told.push("first");
    end();
  });
  feed.onChange(() => told.push("second"));
  feed.tell("state");
  expect(told).toEqual(["first", "second"]);
});

test("a document is read as it was written", () => {
  const source = documentSource(makeDocument("small"));
  expect(source.shape!.workflow).toBe("small_0");
  expect(source.state!.size).toBe(source.shape!.steps.length);
  expect(source.spans!.since).toBe(SINCE);
  const bare = documentSource({ format: 1, shape: {} });
  expect([bare.shape!.steps, bare.state, bare.spans, bare.rows]).toEqual([[], null, null, []]);
});

test("bytes come through base 64 as they were", () => {
  const bytes = Uint8Array.from({ length: 70_001 }, (_, at) => (at * 31) & 255);
  expect(fromBase64(toBase64(bytes))).toEqual(bytes);
});
