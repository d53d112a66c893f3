// The timeline as a panel: its data, keys, pointer and legend.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HEAD } from "../src/chart";
import { decodeSpans, readShape, type Head, type Spans } from "../src/format";
import { Timeline } from "../src/timeline";
import { FakeCanvas, stillTheme } from "./graphs";
import { SINCE, encodeSpans, type Attempted } from "./make";
import { FakeChannel, FakeContext, press, settled, textsOf } from "./panels";

const STEPS = [{ id: "load" }, { id: "train", kind: "map", fanOut: true, uses: ["load"] }];
const ROWS: Attempted[] = [
  { start: 0, end: 2, step: 0 },
  { start: 2, end: 5, step: 1, element: 0, status: "failed" },
  { start: 2, end: 4, step: 1, element: 1, worker: 1 },
  { start: 6, end: 10, step: 1, element: 0, attempt: 2 },
];
const OVER: Partial<Head> = { status: "completed", now: SINCE + 10, ended: SINCE + 10, names: ["tcp://a:1", "7"] };
const RUNNING: Partial<Head> = { status: "running", now: SINCE + 8, names: ["tcp://a:1", "7"] };
const WIDTH = 800;

let timeline: Timeline;
let context: FakeContext;
let canvas: FakeCanvas;

function spansOf(rows: Attempted[], more: { from?: number; more?: number } = {}): Spans {
  return decodeSpans(encodeSpans(rows, [], more))!;
}

function show(rows: Attempted[] = ROWS, head = OVER, more: { from?: number; more?: number } = {}): void {
  context = new FakeContext({ steps: STEPS }, [], head);
  context.spans = spansOf(rows, more);
  begin();
}

function begin(): void {
  timeline = new Timeline(context, stillTheme());
  document.body.append(timeline.element);
  timeline.show(true);
  timeline.update();
}

function texts(): string[] {
  canvas.drawn.length = 0;
  timeline.drawNow();
  return canvas.of("fillText").map(({ given }) => String(given[0]));
}

const scroll = () => timeline.element.querySelector<HTMLElement>(".scroll")!;
const tip = () => timeline.element.querySelector<HTMLElement>(".tip")!;
const legend = () => textsOf(timeline.element, ".legend > span");
const label = () => scroll().getAttribute("aria-label");

/** Returns where a moment is on the screen when all of a run of so many seconds is seen. */
const across = (time: number, whole = 10) => 160 + (time * (WIDTH - 170)) / whole;

function point(kind: string, x: number, y: number, more: MouseEventInit = {}): void {
  const target = timeline.element.querySelector("canvas")!;
  target.dispatchEvent(new MouseEvent(kind, { clientX: x, clientY: y, bubbles: true, button: 0, ...more }));
}

function click(x: number, y: number): void {
  point("pointerdown", x, y);
  point("pointerup", x, y);
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("Path2D", class {});
  canvas = new FakeCanvas();
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(canvas.context as never);
  vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(WIDTH);
  vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(300);
  HTMLElement.prototype.setPointerCapture = () => {};
});

afterEach(() => {
  timeline.destroy();
  timeline.element.remove();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test("rows are workers, steps or tasks, and bars say what their rows do not", () => {
  show();
  expect(texts()).toEqual(expect.arrayContaining(["a:1", "worker 7", "load", "train[0]", "train[0] · attempt 2"]));
  timeline.arrange("step");
  expect(texts()).toEqual(expect.arrayContaining(["load", "train", "[0] · attempt 2"]));
  timeline.arrange("waterfall");
  expect(texts()).toEqual(expect.arrayContaining(["load", "train[0]", "train[1]", "4 s · attempt 2"]));
  expect(textsOf(timeline.tools, "[aria-pressed=true]")).toEqual(["Waterfall"]);
});

test("the legend says which statuses there are, what the critical path took, and how many attempts", () => {
  show();
  texts();
  expect(legend()).toEqual(["completed", "failed", "critical path: 3 attempts, 9 s", "4 attempts"]);
  timeline.tools.querySelector("input")!.checked = false;
  texts();
  expect(legend()).toEqual(["completed", "failed", "4 attempts"]);
});

test.each([
  ["completed", "No attempts were recorded."],
  ["running", "Nothing has begun yet."],
] as const)("of a run that is %s, a timeline without attempts says so", (status, said) => {
  show([], { status });
  expect(texts()).toContain(said);
});

test("what is sought is counted, by step and by address", () => {
  show();
  expect(timeline.find("train")).toBe("3 found");
  expect(timeline.find(" TRAIN[0] ")).toBe("2 found");
  expect(timeline.find("nothing")).toBe("0 found");
  expect(timeline.find("")).toBe("");
});

// -- keys -------------------------------------------------------------------------------------------------------------

test("n and p go from attempt to attempt in order of time, and stay at the ends", () => {
  show([...ROWS].reverse());
  const said: (string | null)[] = [];
  for (const key of ["n", "n", "n", "n", "n", "p"]) {
    press(scroll(), key);
    said.push(label());
  }
  expect(said).toEqual([
    "timeline: load, completed · 2 s",
    "timeline: train[1], completed · 2 s",
    "timeline: train[0], failed · 3 s",
    "timeline: train[0], completed · 4 s · attempt 2",
    "timeline: train[0], completed · 4 s · attempt 2",
    "timeline: train[0], failed · 3 s",
  ]);
});

test("Enter opens the details of what is selected, Escape lets it go", () => {
  show();
  expect(press(scroll(), "Enter").defaultPrevented).toBe(false);
  press(scroll(), "n");
  press(scroll(), "n");
  press(scroll(), "Enter");
  expect(context.opened).toEqual([{ address: "train[0]", steps: [1] }]);
  expect(press(scroll(), "Escape").defaultPrevented).toBe(true);
  expect(press(scroll(), "Escape").defaultPrevented).toBe(false);
});

test("keys that do something stay here, all others go on", () => {
  show();
  const heard: string[] = [];
  const hear = (event: Event) => heard.push((event as KeyboardEvent).key);
  document.body.addEventListener("keydown", hear);
  for (const key of ["ArrowLeft", "d", "w", "+", "-", "0", "n"]) {
    expect(press(scroll(), key).defaultPrevented).toBe(true);
  }
  for (const key of ["x", "Tab", "F5"]) expect(press(scroll(), key).defaultPrevented).toBe(false);
  expect(press(scroll(), "a", { ctrlKey: true }).defaultPrevented).toBe(false);
  document.body.removeEventListener("keydown", hear);
  expect(heard).toEqual(["x", "Tab", "F5", "a"]);
});

test("plus and minus zoom about the middle, and zero shows all again", () => {
  show();
  const marks = () => texts().filter((text) => /^[\d.]+ s$/.test(text));
  expect(marks()).toContain("10 s");
  for (let at = 0; at < 6; at++) press(scroll(), "+");
  const near = texts();
  expect(near).toContain("5.0 s");
  expect(near).not.toContain("10 s");
  press(scroll(), "0");
  expect(marks()).toContain("10 s");
});

// -- pointer ----------------------------------------------------------------------------------------------------------

test("under the pointer, an attempt tells what it was and what it waited for", () => {
  show();
  texts();
  point("pointermove", across(8), HEAD + 12);
  expect(tip().hidden).toBe(false);
  expect(tip().textContent!.split("\n")).toEqual([
    "train[0]", "completed · 4 s · attempt 2", "began 6 s into the run, on a:1",
    "waited 1 s after the attempt before", "on the critical path",
  ]);
  point("pointerleave", 0, 0);
  expect(tip().hidden).toBe(true);
});

test("a click opens an attempt, a drag does not", () => {
  show();
  texts();
  click(across(1), HEAD + 12);
  point("pointerdown", across(3), HEAD + 12);
  point("pointermove", across(3) + 40, HEAD + 12);
  point("pointerup", across(3) + 40, HEAD + 12);
  expect(context.opened).toEqual([{ address: "load", steps: [0] }]);
});

test("the wheel zooms with Ctrl only, so that a page can be scrolled past", () => {
  show();
  texts();
  const wheel = (ctrlKey: boolean): boolean => {
    // The imitation of a browser knows no keys of a wheel.
    const event = new Event("wheel", { bubbles: true, cancelable: true });
    const more = { deltaX: 0, deltaY: -200, deltaMode: 0, clientX: across(1), clientY: 40, ctrlKey, shiftKey: false };
    scroll().querySelector("canvas")!.dispatchEvent(Object.assign(event, { metaKey: false }, more));
    return event.defaultPrevented;
  };
  expect(wheel(false)).toBe(false);
  expect(texts()).toContain("10 s");
  expect(wheel(true)).toBe(true);
  expect(texts()).not.toContain("10 s");
});

// -- while it runs ----------------------------------------------------------------------------------------------------

const LIVE: Attempted[] = [
  { start: 0, end: 2, step: 0 },
  { start: 2, step: 1, element: 0 },
  { start: 3, step: 1, element: 1 },
];

test("what is selected stays selected when others end before it", () => {
  show(LIVE, RUNNING);
  for (let at = 0; at < 2; at++) press(scroll(), "n");
  expect(label()).toContain("train[0]");
  const [load, one, other] = LIVE;
  context.spans = spansOf([load!, { ...other!, end: 7 }, one!]);
  timeline.update();
  press(scroll(), "Enter");
  expect(context.opened.at(-1)!.address).toBe("train[0]");
});

test("what lies under the pointer is told as it is now", () => {
  show(LIVE, RUNNING);
  texts();
  point("pointermove", across(3, 10), HEAD + 20);
  expect(tip().textContent).toContain("train[0]\nrunning · 6 s");
  context.spans = spansOf([LIVE[0]!, { ...LIVE[1]!, end: 7 }, LIVE[2]!]);
  timeline.update();
  vi.advanceTimersByTime(50);
  expect(tip().textContent).toContain("train[0]\ncompleted · 5 s");
});

test("steps that come in the middle do not change whose attempts are shown", () => {
  show(LIVE, RUNNING);
  for (let at = 0; at < 2; at++) press(scroll(), "n");
  timeline.arrange("step");
  context.shape = readShape({ steps: [STEPS[0]!, { id: "clean" }, STEPS[1]!] });
  timeline.update();
  expect(texts()).toContain("train");
  press(scroll(), "Enter");
  expect(context.opened.at(-1)).toEqual({ address: "train[0]", steps: [2] });
  context.spans = spansOf(LIVE.map((row) => ({ ...row, step: 2 * row.step })));
  timeline.update();
  expect(texts()).toContain("train");
  press(scroll(), "Enter");
  expect(context.opened.at(-1)).toEqual({ address: "train[0]", steps: [2] });
});

test("the axis grows in leaps, not with each second", () => {
  show(LIVE, RUNNING);
  const markAt = (now: number): number => {
    context.state.head.now = SINCE + now;
    timeline.update();
    texts();
    return Number(canvas.of("fillText").find(({ given }) => given[0] === "6 s")!.given[1]);
  };
  const first = markAt(8);
  expect(markAt(9)).toBe(first);
  expect(markAt(9.7)).toBe(first);
  expect(markAt(11)).toBeLessThan(first);
});

// -- all attempts -----------------------------------------------------------------------------------------------------

const MANY: Attempted[] = Array.from({ length: 20 }, (_, element) => ({
  start: element / 2, end: element / 2 + 0.4, step: 1, element,
}));

test("of a long run all attempts are asked for, and newer ones go on after them", async () => {
  context = new FakeContext({ steps: STEPS }, [], OVER);
  context.spans = spansOf(MANY.slice(15), { from: 15, more: 15 });
  const channel = new FakeChannel(() => ({ buffers: [encodeSpans(MANY)] }));
  context.channel = channel;
  begin();
  texts();
  expect(legend().at(-1)).toBe("the newest 5 of 20 attempts");
  await settled();
  texts();
  expect(legend().at(-1)).toBe("20 attempts");
  expect(channel.asked).toEqual([{ type: "spans" }]);
  context.spans = spansOf([...MANY.slice(16), { start: 10, end: 11, step: 1, element: 20 }], { from: 16, more: 16 });
  timeline.update();
  texts();
  expect(legend().at(-1)).toBe("21 attempts");
});

test("all attempts keep their steps when one comes before those", async () => {
  context = new FakeContext({ steps: STEPS }, [], OVER);
  context.spans = spansOf(MANY.slice(15), { from: 15, more: 15 });
  context.channel = new FakeChannel(() => ({ buffers: [encodeSpans(MANY)] }));
  begin();
  await settled();
  timeline.arrange("step");
  context.shape = readShape({ steps: [STEPS[0]!, { id: "clean" }, STEPS[1]!] });
  context.spans = spansOf(MANY.slice(15).map((row) => ({ ...row, step: 2 })), { from: 15, more: 15 });
  timeline.update();
  const named = texts();
  expect(named).toContain("train");
  expect(named).not.toContain("clean");
});

test("without an answer the newest stay", async () => {
  context = new FakeContext({ steps: STEPS }, [], OVER);
  context.spans = spansOf(MANY.slice(15), { from: 15, more: 15 });
  context.channel = new FakeChannel(() => Promise.reject(new Error("nobody is there")));
  begin();
  await settled();
  texts();
  expect(legend().at(-1)).toBe("the newest 5 of 20 attempts");
});

test("an answer that comes too late changes nothing", async () => {
  show(MANY.slice(15), OVER, { from: 15, more: 15 });
  context.channel = new FakeChannel(() => ({ buffers: [encodeSpans(MANY)] }));
  timeline.show(true);
  timeline.destroy();
  await settled();
  texts();
  expect(legend().at(-1)).toBe("the newest 5 of 20 attempts");
});
