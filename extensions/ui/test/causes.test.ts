// What attempts waited for inside of constructs.

import { expect, test } from "vitest";
import { readShape, type Spans } from "../src/format";
import { Causes, byStart, tasksOf } from "../src/spans";

type Row = [step: number, instance: string, start: number, end: number];

/** Returns spans of tasks that have no elements; an instance of "" is the step itself. */
function spansOf(rows: Row[]): Spans {
  const instances = [...new Set(rows.map(([, instance]) => instance).filter(Boolean))];
  const place = (instance: string) => (instance ? instances.indexOf(instance) : 0xffffffff);
  const n = rows.length;
  return {
    n, instances, since: 0, from: 0, more: 0,
    start: Float64Array.from(rows, ([, , start]) => start),
    end: Float64Array.from(rows, ([, , , end]) => end),
    step: Uint32Array.from(rows, ([step]) => step),
    element: new Uint32Array(n),
    instance: Uint32Array.from(rows, ([, instance]) => place(instance)),
    attempt: new Uint16Array(n).fill(1),
    worker: new Uint16Array(n),
    status: new Uint8Array(n).fill(3),
  };
}

function pathOf(steps: object[], rows: Row[]): number[] {
  const shape = readShape({ workflow: "w", run: "r", steps: steps as { id: string }[] });
  const spans = spansOf(rows);
  return new Causes(shape, spans, tasksOf(spans, byStart(spans)).before).path(100);
}

test("the critical path of a loop goes through its turns, one after the other", () => {
  const steps = [
    { id: "load" },
    { id: "tune", kind: "loop", construct: true, many: true, uses: ["load"] },
    { id: "tune.init", group: "tune", helper: true, uses: ["load"] },
    { id: "tune.*/fit", group: "tune", arm: "*", uses: ["tune.init"] },
    { id: "tune.*.until", group: "tune", arm: "*", helper: true, uses: ["tune.*/fit"] },
  ];
  const rows: Row[] = [[0, "", 0, 1], [2, "", 1, 1.1]];
  for (let turn = 0; turn < 3; turn++) {
    rows.push([3, `tune.${turn}/fit`, 1.2 + turn, 2 + turn], [4, `tune.${turn}.until`, 2.05 + turn, 2.1 + turn]);
  }
  expect(pathOf(steps, rows)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

test("items of an each wait for the steps of the same item only", () => {
  const steps = [
    { id: "all", kind: "each", construct: true, many: true },
    { id: "all[]/clean", group: "all", arm: "[]" },
    { id: "all[]/fit", group: "all", arm: "[]", uses: ["all[]/clean"] },
  ];
  const rows: Row[] = [
    [1, "all[0]/clean", 0, 1], [1, "all[1]/clean", 0, 3], [2, "all[0]/fit", 4, 9], [2, "all[1]/fit", 4, 5],
  ];
  expect(pathOf(steps, rows)).toEqual([0, 2]);
});
