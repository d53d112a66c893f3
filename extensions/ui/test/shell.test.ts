// The frame around a picture: its buttons, tabs and keys, and what it hands on to the next one.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Feed, type Answer, type Channel, type Message, type View } from "../src/api";
import type { Head } from "../src/format";
import { mount } from "../src/shell";
import { encodeShape, encodeState, makeDocument } from "./make";

/** A channel that keeps what it is asked. */
class Line implements Channel {
  live = true;
  readonly commands: string[] = [];
  fails = "";

  request(_: Message): Promise<Answer> {
    return Promise.reject(new Error("nobody is there"));
  }

  command(name: string): Promise<Answer> {
    this.commands.push(name);
    return this.fails ? Promise.reject(new Error(this.fails)) : Promise.resolve({ ok: true, buffers: [] });
  }
}

const STEPS = [{ id: "load" }, { id: "train", uses: ["load"] }];
let root: HTMLElement;
let line: Line;
let feed: Feed;
let unmount: () => void;

function state(head: Partial<Head>): void {
  feed.put("state", encodeState(head, STEPS.map(() => ({ status: "running" }))));
}

function show(view: View = "run", head: Partial<Head> = { status: "running" }, run = "run-1"): void {
  feed = new Feed();
  feed.put("shape", encodeShape({ workflow: "flow", run, steps: STEPS }));
  state(head);
  unmount = mount(root, feed, { view, channel: line });
}

/** Lets drawing that was asked for come. */
async function drawn(): Promise<void> {
  await vi.advanceTimersByTimeAsync(50);
}

function button(name: string): HTMLButtonElement {
  return [...root.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === name)!;
}

function offered(): string[] {
  return ["Pause", "Resume", "Cancel", "Retry"].filter((name) => !button(name).disabled);
}

beforeEach(() => {
  vi.useFakeTimers();
  root = document.createElement("div");
  document.body.append(root);
  line = new Line();
  unmount = () => {};
});

afterEach(() => {
  unmount();
  root.remove();
  vi.useRealTimers();
});

test.each<[Partial<Head>, string[]]>([
  [{ status: "queued" }, ["Cancel"]],
  [{ status: "running" }, ["Pause", "Cancel"]],
  [{ status: "running", asked: "cancel" }, []],
  [{ status: "paused" }, ["Resume", "Cancel"]],
  [{ status: "failed" }, ["Retry"]],
  [{ status: "interrupted" }, ["Resume", "Cancel"]],
  [{ status: "cancelled" }, ["Resume"]],
  [{ status: "completed" }, []],
])("of a run that is %o, %o are offered", (head, names) => {
  show("run", head);
  expect(offered()).toEqual(names);
});

test("nothing is offered where the run cannot be reached", () => {
  line.live = false;
  show();
  expect(offered()).toEqual([]);
  expect(button("Pause").title).toBe("the run cannot be reached from here");
});

test("a button sends its command once, says that it is under way, and is free again when the run has changed", async () => {
  show();
  button("Pause").click();
  button("Pause").click();
  expect(line.commands).toEqual(["pause"]);
  expect(root.textContent).toContain("pausing…");
  state({ status: "paused" });
  await drawn();
  expect(root.textContent).not.toContain("pausing…");
  expect(offered()).toEqual(["Resume", "Cancel"]);
});

test("a command that fails says why, and may be tried again", async () => {
  show();
  line.fails = "the store is away";
  button("Cancel").click();
  await drawn();
  expect(root.textContent).toContain("could not cancel: the store is away");
  expect(offered()).toContain("Cancel");
});

test("a picture without a channel has no buttons", () => {
  feed = new Feed();
  feed.put("shape", encodeShape({ workflow: "flow", run: "run-2", steps: STEPS }));
  unmount = mount(root, feed, { view: "run" });
  expect(button("Pause")).toBeUndefined();
});

test("head, figures and error follow the state", async () => {
  show();
  state({
    status: "failed", counts: [1, 0, 0, 0, 1, 0, 0, 0], total: 2, on: "run.retry() tries again",
    error: { address: "train", type: "ValueError", message: "no", traceback: "" },
  });
  await drawn();
  for (const said of ["flow", "failed", "1 of 2 tasks", "1 failed", "train", "ValueError: no", "run.retry()"]) {
    expect(root.textContent).toContain(said);
  }
});

test("arrows go from tab to tab and round", () => {
  show();
  const tabs = [...root.querySelectorAll<HTMLElement>("[role=tab]")];
  const chosen = () => tabs.find((tab) => tab.getAttribute("aria-selected") === "true")!.textContent;
  expect(tabs.map((tab) => tab.textContent)).toEqual(["DAG", "Timeline", "Logs", "Steps"]);
  const list = root.querySelector("[role=tablist]")!;
  const press = (key: string) => list.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  press("ArrowRight");
  expect(chosen()).toBe("Timeline");
  press("ArrowLeft");
  press("ArrowLeft");
  expect(chosen()).toBe("Steps");
});

test("the slash goes to the search, and plain keys do not leave the picture", () => {
  show();
  const left: string[] = [];
  const heard = (event: Event) => left.push((event as KeyboardEvent).key);
  document.body.addEventListener("keydown", heard);
  const body = root.querySelector(".body")!;
  for (const key of ["/", "b", "d"]) body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  body.dispatchEvent(new KeyboardEvent("keydown", { key: "s", ctrlKey: true, bubbles: true }));
  document.body.removeEventListener("keydown", heard);
  expect(document.activeElement).toBe(root.querySelector("input[type=search]"));
  expect(left).toEqual(["s"]);
});

test("the next picture of a run begins where the last was left", () => {
  show();
  root.querySelectorAll<HTMLElement>("[role=tab]")[2]!.click();
  unmount();
  show();
  expect(root.querySelector("[aria-selected=true]")!.textContent).toBe("Logs");
  unmount();
  show("run", { status: "running" }, "another");
  expect(root.querySelector("[aria-selected=true]")!.textContent).toBe("DAG");
});

test("a workflow that has not run says how many steps a run would do what with", () => {
  const doc = makeDocument("marks");
  feed = new Feed();
  feed.put("shape", encodeShape({ ...doc.shape!, run: "" }));
  unmount = mount(root, feed, { view: "workflow" });
  expect(root.querySelector(".facts")!.textContent).toMatch(/\d+ (new|stale|cached)/);
  expect([...root.querySelectorAll("[role=tab]")].map((tab) => tab.textContent)).toEqual(["DAG", "Steps"]);
});

test("nothing is left behind", () => {
  show();
  unmount();
  expect(root.childElementCount).toBe(0);
});
