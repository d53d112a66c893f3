// Attempts as rows and lanes.

import { expect, test } from "vitest";
import { decodeSpans, readShape, type Spans } from "../src/format";
import { byStart, endOf, joinSpans, lanesOf, latestOf, lowerBound, stepOfAddress, tasksOf } from "../src/spans";
import { dice, encodeSpans, type Attempted } from "./make";

function spansOf(rows: Attempted[], instances: string[] = []): Spans {
  return decodeSpans(encodeSpans(rows, instances))!;
}

function someSpans(n: number, seed: number): Spans {
  const chance = dice(seed);
  return spansOf(Array.from({ length: n }, (_, element) => {
    const start = chance() * 10;
    const end = chance() < 0.05 ? {} : { end: start + chance() };
    return { start, ...end, step: Math.floor(chance() * 5), element, worker: Math.floor(chance() * 3) };
  }));
}

test.each([1, 2, 3, 4, 5])("what is in one lane never overlaps, in order of time (seed %i)", (seed) => {
  const spans = someSpans(300, seed);
  for (const how of ["worker", "step"] as const) {
    const lanes = lanesOf(spans, how);
    expect([...lanes.order].sort((a, b) => a - b)).toEqual([...Array(300).keys()]);
    for (let lane = 0; lane + 1 < lanes.starts.length; lane++) {
      let last = -Infinity;
      for (let at = lanes.starts[lane]!; at < lanes.starts[lane + 1]!; at++) {
        const span = lanes.order[at]!;
        expect(lanes.lane[span]).toBe(lane);
        expect(spans.start[span]!).toBeGreaterThanOrEqual(last - 1e-6);
        last = endOf(spans.end[span]!, Infinity);
        expect(lanes.reach[at]).toBe(last);
      }
    }
  }
});

test("a waterfall has a row for each task, its attempts in it", () => {
  const spans = spansOf([
    { start: 0, end: 1, step: 0, element: 1 },
    { start: 0, end: 1, step: 0, element: 0, status: "failed" },
    { start: 2, end: 3, step: 0, element: 0, attempt: 2 },
  ]);
  const lanes = lanesOf(spans, "waterfall");
  expect(lanes.rows).toHaveLength(3);
  expect(lanes.lane[1]).toBe(lanes.lane[2]);
  expect(lanes.lane[0]).not.toBe(lanes.lane[1]);
});

test("an attempt knows the one before it at the same task", () => {
  const spans = spansOf([
    { start: 0, end: 1, step: 0, element: 4 },
    { start: 5, end: 6, step: 0, element: 4, attempt: 2 },
    { start: 1, end: 2, step: 0, element: 5 },
  ]);
  const { before, count } = tasksOf(spans, byStart(spans));
  expect([...before]).toEqual([-1, 0, -1]);
  expect(count).toBe(2);
});

test("newer spans go on where those that were asked for end, or take the place of the last of them", () => {
  const rows = (from: number, n: number): Attempted[] =>
    Array.from({ length: n }, (_, at) => ({ start: from + at, end: from + at + 0.5, step: 0, element: from + at }));
  const all = spansOf(rows(0, 10));
  const newer = { ...spansOf(rows(8, 4)), from: 8, more: 8 };
  const joined = joinSpans(all, newer)!;
  expect(joined.n).toBe(12);
  expect([...joined.element]).toEqual([...Array(12).keys()]);
  expect(joined.from).toBe(0);
});

test("with a gap between them there is nothing to join", () => {
  const all = spansOf([{ start: 0, end: 1, step: 0 }]);
  expect(joinSpans(all, { ...spansOf([{ start: 9, end: 10, step: 0 }]), from: 5 })).toBeNull();
});

test("instances keep their names when spans are joined", () => {
  const all = spansOf([{ start: 0, end: 1, step: 0, instance: 0 }, { start: 1, end: 2, step: 0, instance: 1 }], ["a.0", "a.1"]);
  const newer = { ...spansOf([{ start: 2, end: 3, step: 0, instance: 0 }], ["a.2"]), from: 2 };
  const joined = joinSpans(all, newer)!;
  expect([...joined.instance].map((place) => joined.instances[place])).toEqual(["a.0", "a.1", "a.2"]);
});

test("an address leads to its step, whatever iteration or element it is of", () => {
  const shape = readShape({ steps: [{ id: "load" }, { id: "each[]/train" }, { id: "refine.*/fit" }, { id: "map" }] });
  expect(["load", "each[3]/train", "refine.12/fit", "map[7]", "nothing"].map((one) => stepOfAddress(shape, one))).toEqual(
    [0, 1, 2, 3, -1],
  );
});

test("of a task's attempts the last one tells how it is", () => {
  const shape = readShape({ steps: [{ id: "map", fanOut: true }] });
  const spans = spansOf([
    { start: 0, end: 1, step: 0, element: 2, status: "failed" },
    { start: 2, end: 3, step: 0, element: 2, attempt: 2 },
  ]);
  expect([...latestOf(shape, spans, new Set([0]))]).toEqual([["map[2]", 1]]);
});

test("a place among sorted values is found", () => {
  expect([0, 1, 1.5, 9].map((value) => lowerBound([1, 2, 3], value))).toEqual([0, 0, 1, 3]);
});
