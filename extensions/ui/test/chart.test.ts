// The timeline's picture: where its bars lie, what is found there, and what is written and drawn.

import { beforeEach, expect, test, vi } from "vitest";
import { HEAD, drawChart, rowOf, spanAt, topsOf, type Chart } from "../src/chart";
import { decodeSpans, readShape } from "../src/format";
import { Causes, byStart, lanesOf, tasksOf, type Arrangement } from "../src/spans";
import { FakeCanvas, stillTheme } from "./graphs";
import { dice, encodeSpans, type Attempted } from "./make";

const theme = stillTheme();
const GUTTER = 100;
const WIDTH = 800;
const STEPS = Array.from({ length: 40 }, (_, step) => ({ id: `step_${step}` }));
const ROWS: Attempted[] = [
  { start: 0, end: 2, step: 0 },
  { start: 2, end: 4, step: 1, status: "failed", worker: 1 },
  { start: 5, end: 8, step: 1, attempt: 2, worker: 1 },
  { start: 8, end: 10, step: 2 },
];

/** Returns a chart of attempts in which a second has as many pixels as fit. */
function chartOf(rows: Attempted[], how: Arrangement = "worker", more: Partial<Chart> = {}): Chart {
  const spans = decodeSpans(encodeSpans(rows))!;
  const lanes = lanesOf(spans, how);
  const { before } = tasksOf(spans, byStart(spans));
  return {
    spans, lanes, theme, tops: topsOf(lanes), from: 0, to: 10, now: 10, live: false,
    width: WIDTH, height: 400, scroll: 0, gutter: GUTTER, selected: -1, hovered: -1, matching: null, path: [],
    causes: how === "waterfall" ? new Causes(readShape({ steps: STEPS }), spans, before) : null,
    label: (row) => `row ${row}`,
    caption: (span) => `bar ${span}`,
    ...more,
  };
}

function draw(chart: Chart, ratio = 1): FakeCanvas {
  const canvas = new FakeCanvas();
  drawChart(canvas.context, chart, ratio);
  return canvas;
}

/** Returns where a moment is on the screen. */
function across({ from, to }: Chart, time: number): number {
  return GUTTER + ((time - from) * (WIDTH - GUTTER - 10)) / (to - from);
}

function chanceRows(n: number, seed: number): Attempted[] {
  const chance = dice(seed);
  return Array.from({ length: n }, (_, element) => {
    const start = 9 * chance();
    const end = start + 0.1 + chance();
    return { start, end, step: Math.floor(40 * chance()), element, worker: Math.floor(3 * chance()) };
  });
}

const textsOf = (canvas: FakeCanvas) => canvas.of("fillText").map(({ given }) => String(given[0]));
const rectsIn = (canvas: FakeCanvas, colour: string) => canvas.of("fillRect").filter((one) => one.fillStyle === colour);

beforeEach(() => {
  vi.stubGlobal("Path2D", class {});
  return () => vi.unstubAllGlobals();
});

test.each([1, 4, 8, 20, 60])("a row in which %i run at once is high enough for them, and for its name", (n) => {
  const { lanes, tops } = chartOf(Array.from({ length: n }, (_, element) => ({ start: 0, end: 1, step: 0, element })));
  const places = [...lanes.order].map((span) => rowOf({ lanes, tops }, span));
  expect(tops[1]).toBeGreaterThanOrEqual(24);
  for (const [top, height] of places) {
    expect(top).toBeGreaterThanOrEqual(0);
    expect(top + height).toBeLessThanOrEqual(tops[1]!);
  }
});

test.each(["worker", "step", "waterfall"] as const)("under the pointer lies the bar that is drawn there, %s", (how) => {
  const chart = chartOf(chanceRows(60, 7), how, { height: 2000 });
  for (let span = 0; span < chart.spans.n; span++) {
    const [top, height] = rowOf(chart, span);
    const middle = across(chart, (chart.spans.start[span]! + chart.spans.end[span]!) / 2);
    expect(spanAt(chart, middle, HEAD + top + height / 2)).toBe(span);
  }
});

test("scrolled, the bar is found where it has gone", () => {
  const chart = chartOf(chanceRows(60, 7), "waterfall", { scroll: 100 });
  const span = chart.lanes.order[30]!;
  const [top, height] = rowOf(chart, span);
  const middle = across(chart, (chart.spans.start[span]! + chart.spans.end[span]!) / 2);
  expect(spanAt(chart, middle, HEAD + top + height / 2 - 100)).toBe(span);
});

test("nothing is found on the axis, on the names, below the rows, and between bars", () => {
  const chart = chartOf(ROWS);
  const middle = HEAD + 12;
  expect(spanAt(chart, across(chart, 1), HEAD - 2)).toBe(-1);
  expect(spanAt(chart, GUTTER - 2, middle)).toBe(-1);
  expect(spanAt(chart, across(chart, 1), 390)).toBe(-1);
  expect(spanAt(chart, across(chart, 5), middle)).toBe(-1);
});

test("a bar of less than a pixel is found from near by, and of two at one place the failed one", () => {
  const chart = chartOf([
    { start: 5, end: 5.0001, step: 0, element: 0 },
    { start: 5.0002, end: 5.0003, step: 0, element: 1, status: "failed" },
  ]);
  expect(spanAt(chart, across(chart, 5) - 3, HEAD + 12)).toBe(0);
  expect(spanAt(chart, across(chart, 5) - 8, HEAD + 12)).toBe(-1);
  const overlapping = chartOf(Array.from({ length: 60 }, (_, element) => ({
    start: 0, end: 10, step: 0, element, status: element === 50 ? "failed" : "completed",
  })));
  const [top] = rowOf(overlapping, 50);
  expect(spanAt(overlapping, across(overlapping, 5), HEAD + top + 1)).toBe(50);
});

test("what still runs reaches to now", () => {
  const chart = chartOf([{ start: 1, step: 0 }], "worker", { now: 6, live: true });
  expect(spanAt(chart, across(chart, 5.5), HEAD + 12)).toBe(0);
  expect(spanAt(chart, across(chart, 7), HEAD + 12)).toBe(-1);
});

test("no text is smaller than 11 pixels, and none is cut to nothing", () => {
  for (const how of ["worker", "step", "waterfall"] as const) {
    for (const { font, given } of draw(chartOf(chanceRows(100, 3), how)).of("fillText")) {
      expect(Number(/([\d.]+)px/.exec(font)![1])).toBeGreaterThanOrEqual(11);
      expect(given[0]).not.toBe("…");
    }
  }
});

test.each([
  [10, ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]],
  [0.01, ["0 s", "0.002 s", "0.004 s", "0.010 s"]],
  [0.001, ["0 s", "0.2 ms", "0.4 ms", "1.0 ms"]],
  [600, ["0 s", "2 min", "4 min", "6 min", "8 min", "10 min"]],
])("the axis of %d s is marked at round moments", (to, marks) => {
  const ticks = draw(chartOf(ROWS, "worker", { to })).of("fillText").filter(({ given }) => Number(given[2]) < HEAD);
  const texts = ticks.map(({ given }) => String(given[0]));
  for (const mark of marks) expect(texts).toContain(mark);
  const places = ticks.map(({ given }) => Number(given[1]));
  for (let at = 1; at < places.length; at++) expect(places[at]! - places[at - 1]!).toBeGreaterThan(40);
});

test("the axis has marks however close one looks", () => {
  for (let long = 1e-5; long < 1e8; long *= 2.7) {
    const texts = textsOf(draw(chartOf(ROWS, "worker", { from: 0, to: long, height: HEAD + 1 })));
    const ticks = texts.filter((text) => /\d/.test(text) && !/^(row|bar)/.test(text));
    expect(ticks.length).toBeGreaterThan(1);
    expect(ticks.length).toBeLessThan(12);
    expect(new Set(ticks).size).toBe(ticks.length);
  }
});

test("rows have their names, wide bars what they are; out of sight nothing is written", () => {
  const chart = chartOf(chanceRows(200, 5), "step");
  const texts = textsOf(draw(chart));
  const names = texts.filter((text) => text.startsWith("row"));
  expect(names[0]).toBe("row 0");
  expect(names.length).toBeLessThan(chart.tops.length - 1);
  expect(textsOf(draw(chartOf(ROWS)))).toContain("bar 0");
});

test("a row's name stays in sight while a part of its row is", () => {
  const rows = Array.from({ length: 60 }, (_, element) => ({ start: 0, end: 1, step: 0, element }));
  const name = draw(chartOf(rows, "worker", { scroll: 60 })).of("fillText").find(({ given }) => given[0] === "row 0")!;
  expect(Number(name.given[2])).toBe(HEAD + 12);
});

test("100,000 bars in one lane are as few as there are pixels, and a failed one among them is seen", () => {
  const rows: Attempted[] = Array.from({ length: 100_000 }, (_, element) => {
    const start = element / 10_000;
    return { start, end: start + 0.00009, step: 0, element, status: element === 70_007 ? "failed" : "completed" };
  });
  const canvas = draw(chartOf(rows));
  expect(canvas.of("fillRect").length).toBeLessThan(WIDTH);
  const [failed, ...others] = rectsIn(canvas, theme.colours.failed!);
  expect(others).toEqual([]);
  expect(Math.abs(Number(failed!.given[0]) - across(chartOf(ROWS), 7.0007))).toBeLessThan(2);
  expect(Number(failed!.given[2])).toBeGreaterThanOrEqual(1);
});

test("what was not found is grey and says nothing", () => {
  const matching = Uint8Array.from(ROWS, (_, span) => (span === 1 ? 1 : 0));
  const canvas = draw(chartOf(ROWS, "worker", { matching }));
  expect(textsOf(canvas).filter((text) => text.startsWith("bar"))).toEqual(["bar 1"]);
  const colours = canvas.of("fill").map(({ fillStyle }) => fillStyle).sort();
  expect(colours).toEqual([theme.colours.failed, theme.line, theme.line, theme.line].sort());
});

test("a waterfall shows what bars waited for, dotted for a worker and drawn out for the attempt before", () => {
  const dashes = draw(chartOf(ROWS, "waterfall")).of("setLineDash").map(({ given }) => (given[0] as number[]).length);
  expect(dashes.filter(Boolean)).toHaveLength(2);
  expect(draw(chartOf(ROWS)).of("setLineDash")).toEqual([]);
  const first = ROWS.slice(1, 3).map((row) => ({ ...row, start: row.start - 2, end: row.end! - 2 }));
  const retry = chartOf(first, "waterfall");
  const wait = draw(retry).of("moveTo");
  expect(wait.map(({ given }) => given[0])).toEqual([across(retry, 2)]);
});

test("the critical path is a frame around each of its bars, with a rim", () => {
  const canvas = draw(chartOf(ROWS, "worker", { path: [0, 1, 2, 3] }));
  const frames = canvas.of("rect").filter(({ given }) => Number(given[3]) < 100);
  expect(frames).toHaveLength(4);
  expect(canvas.of("stroke").slice(-2).map(({ strokeStyle }) => strokeStyle)).toEqual([theme.ground, theme.ink]);
});

test("what is chosen has a frame, and now a line while it goes on", () => {
  const canvas = draw(chartOf(ROWS, "worker", { selected: 2, hovered: 0, live: true, now: 9 }));
  expect(canvas.of("strokeRect")).toHaveLength(2);
  const now = rectsIn(canvas, theme.colours.running!);
  expect(now.map(({ given }) => given[0])).toEqual([across(chartOf(ROWS), 9)]);
  expect(rectsIn(draw(chartOf(ROWS)), theme.colours.running!)).toEqual([]);
});

test("each status has its own colour", () => {
  const statuses = ["completed", "cached", "failed", "retrying", "cancelled"] as const;
  const rows = statuses.map((status, at) => ({ start: 2 * at, end: 2 * at + 1.5, step: 0, element: at, status }));
  const colours = draw(chartOf(rows)).of("fill").map(({ fillStyle }) => fillStyle);
  expect(colours).toEqual(statuses.map((status) => theme.colours[status]));
});
