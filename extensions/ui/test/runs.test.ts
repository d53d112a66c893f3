import { afterEach, expect, test, vi } from "vitest";
import type { Answer, Part } from "../src/api";
import type { RunRow } from "../src/format";
import { findRuns, mountRuns, sortRuns, type RunsOptions } from "../src/runs";
import { FakeChannel, press, settled, textsOf, type } from "./panels";

const run = (id: string, more: Partial<RunRow> = {}): RunRow => ({
  id, workflow: "report", status: "completed", created: 1_000, elapsed: 2, done: 4, total: 4, tags: [], error: "",
  ...more,
});
const RUNS = [
  run("r-1", { created: 1_001, elapsed: 30, tags: ["nightly"] }),
  run("r-2", { created: 1_002, workflow: "Train", status: "failed", error: "ValueError: no rows", done: 3 }),
  run("r-3", { created: 1_003, workflow: "train", status: "running", elapsed: 5.7, done: 2, total: null }),
  run("r-4", { created: 1_004, status: "queued", elapsed: null, done: 0, total: null, tags: ["nightly", "v2"] }),
];

let unmount = () => {};
afterEach(() => unmount());

function tableOf(rows = RUNS, options: RunsOptions = {}) {
  const told = new Set<(part?: Part) => void>();
  const source = {
    rows,
    onChange(changed: (part?: Part) => void) {
      told.add(changed);
      return () => told.delete(changed);
    },
  };
  const root = document.createElement("div");
  document.body.replaceChildren(root);
  unmount = mountRuns(root, source, options);
  const grid = root.querySelector<HTMLElement>("[role=grid]")!;
  Object.defineProperty(grid, "clientHeight", { value: 400, configurable: true });
  return {
    root, grid, source, told,
    find: root.querySelector<HTMLInputElement>("input[type=search]")!,
    change: (changed: RunRow[], part?: Part) => {
      source.rows = changed;
      for (const tell of told) tell(part);
    },
    ids: () => textsOf(grid, ".line > :nth-child(3)"),
    lines: () => [...grid.querySelectorAll<HTMLElement>(".line")],
    chip: (status: string) => {
      const chips = [...root.querySelectorAll<HTMLElement>(".chips button")];
      return chips.find((chip) => chip.textContent!.endsWith(status))!;
    },
  };
}

const many = (n: number) => Array.from({ length: n }, (_, number) => run(`r-${number}`, { created: number }));

test.each([
  ["", ["r-1", "r-2", "r-3", "r-4"]],
  ["train", ["r-2", "r-3"]],
  ["TRAIN failed", ["r-2"]],
  ["nightly report", ["r-1", "r-4"]],
  ["  r-3 ", ["r-3"]],
  ["nightly failed", []],
])("the words '%s' find %o", (words, ids) => {
  expect(findRuns(RUNS, words).map((row) => row.id)).toEqual(ids);
});

test("a word is not found across two fields", () => {
  expect(findRuns([run("b", { workflow: "a" })], "ab")).toEqual([]);
});

test("runs that are equal in a column are sorted newest first, whichever way the column goes", () => {
  const ids = (descending: boolean) => sortRuns(RUNS, 1, descending).map((row) => row.id);
  expect(ids(false)).toEqual(["r-4", "r-1", "r-3", "r-2"]);
  expect(ids(true)).toEqual(["r-3", "r-2", "r-4", "r-1"]);
});

test("runs are sorted by the share of their tasks that are done", () => {
  expect(sortRuns(RUNS, 5, true).map((row) => row.id)).toEqual(["r-1", "r-3", "r-2", "r-4"]);
});

test("a run that has not begun took least", () => {
  expect(sortRuns(RUNS, 4, false)[0]!.id).toBe("r-4");
});

test("every run has a row, the newest first", () => {
  const { grid, ids } = tableOf();
  expect(ids()).toEqual(["r-4", "r-3", "r-2", "r-1"]);
  expect(textsOf(grid, ".line > :first-child")).toEqual([
    "queued", "running", "failedValueError: no rows", "completed",
  ]);
  expect(textsOf(grid, ".line > :nth-child(2)").map((text) => text.trim())).toEqual([
    "report nightly · v2", "train", "Train", "report nightly",
  ]);
  expect(textsOf(grid, ".line > :nth-child(5)")).toEqual(["", "5 s", "2 s", "30 s"]);
  expect(textsOf(grid, ".line > :nth-child(6)")).toEqual(["", "2 so far", "3/4", "4/4"]);
});

test("the day and time of a run are those of who looks", () => {
  const created = new Date(2026, 10, 3, 8, 5, 9).getTime() / 1000;
  const { grid } = tableOf([run("r-1", { created }), run("r-2", { created: null })]);
  expect(textsOf(grid, ".line > :nth-child(4)")).toEqual(["2026-11-03 08:05:09", ""]);
});

test("of 10,000 runs at most 200 are in the page, wherever one scrolls, and however high the table is", () => {
  const { grid, lines, ids } = tableOf(many(10_000));
  expect(lines().length).toBeLessThan(40);
  Object.defineProperty(grid, "clientHeight", { value: 100_000, configurable: true });
  for (const top of [0, 50_000, 9_990 * 28]) {
    grid.scrollTop = top;
    grid.dispatchEvent(new Event("scroll"));
    expect(lines().length).toBeLessThanOrEqual(200);
  }
  expect(ids()).toContain("r-0");
  expect(grid.getAttribute("aria-rowcount")).toBe("10001");
});

test("the filter keeps the runs in which all words are found, and tells how many", () => {
  const { root, find, ids } = tableOf();
  type(find, "nightly");
  expect(ids()).toEqual(["r-4", "r-1"]);
  expect(textsOf(root, ".num.end")).toEqual(["2 of 4 runs"]);
  type(find, "nightly train");
  expect(textsOf(root, ".empty")).toEqual(["No run matches."]);
});

test("a chip tells how many of the runs found are in a status, and keeps those when pressed", () => {
  const { root, find, chip, ids } = tableOf();
  expect(textsOf(root, ".chips button:not([hidden])")).toEqual(["1 running", "1 completed", "1 failed", "1 queued"]);
  chip("failed").click();
  expect(ids()).toEqual(["r-2"]);
  chip("running").click();
  expect(ids()).toEqual(["r-3", "r-2"]);
  expect(chip("running").getAttribute("aria-pressed")).toBe("true");
  chip("failed").click();
  expect(ids()).toEqual(["r-3"]);
  type(find, "nightly");
  expect(chip("running").textContent).toBe("0 running");
});

test("a chip that is in use keeps its place in the page while runs change", () => {
  const { root, chip, change } = tableOf(RUNS.slice(0, 2));
  const failed = chip("failed");
  failed.focus();
  failed.click();
  change(RUNS);
  expect(document.activeElement).toBe(failed);
  change([RUNS[0]!]);
  expect(textsOf(root, ".chips button:not([hidden])")).toEqual(["1 completed", "0 failed"]);
});

test("a press on a column's name sorts by it, another press the other way round", () => {
  const { grid, ids } = tableOf();
  const head = (name: string) => {
    return [...grid.querySelectorAll<HTMLElement>("[role=columnheader]")].find((one) => one.textContent === name)!;
  };
  expect(head("created").getAttribute("aria-sort")).toBe("descending");
  head("took").querySelector("button")!.click();
  expect(ids()).toEqual(["r-1", "r-3", "r-2", "r-4"]);
  head("took").querySelector("button")!.click();
  expect(ids()).toEqual(["r-4", "r-2", "r-3", "r-1"]);
  expect(head("took").getAttribute("aria-sort")).toBe("ascending");
  expect(head("created").getAttribute("aria-sort")).toBe("none");
  head("status").querySelector("button")!.click();
  expect(ids()).toEqual(["r-1", "r-2", "r-4", "r-3"]);
});

test("a click on a run has the kernel show it, and then tells so", async () => {
  const channel = new FakeChannel(() => ({}));
  const onOpen = vi.fn();
  const { lines, grid } = tableOf(RUNS, { channel, onOpen });
  lines()[1]!.click();
  expect(channel.asked).toEqual([{ type: "open", run: "r-3" }]);
  expect(onOpen).not.toHaveBeenCalled();
  await settled();
  expect(onOpen).toHaveBeenCalledExactlyOnceWith("r-3");
  expect(textsOf(grid, "[aria-selected=true] > :nth-child(3)")).toEqual(["r-3"]);
});

test.each([
  ["an answer that refuses", () => ({ ok: false, error: "there is no run 'r-4'" })],
  ["a question that fails", () => Promise.reject(new Error("there is no run 'r-4'"))],
])("%s is told, and nothing is opened", async (_, answer) => {
  const onOpen = vi.fn();
  const { root, lines } = tableOf(RUNS, { channel: new FakeChannel(answer), onOpen });
  lines()[0]!.click();
  await settled();
  expect(onOpen).not.toHaveBeenCalled();
  expect(root.textContent).toContain("could not open r-4: there is no run 'r-4'");
});

test("of two runs chosen soon after each other only the second is told", async () => {
  const answers: ((answer: Partial<Answer>) => void)[] = [];
  const onOpen = vi.fn();
  const channel = new FakeChannel(() => new Promise((answer) => answers.push(answer)));
  const { lines } = tableOf(RUNS, { channel, onOpen });
  lines()[0]!.click();
  lines()[1]!.click();
  answers[1]!({});
  answers[0]!({});
  await settled();
  expect(onOpen).toHaveBeenCalledExactlyOnceWith("r-3");
});

test("without anybody to ask, runs can be looked at only", () => {
  const { root, lines } = tableOf();
  lines()[0]!.click();
  expect(root.textContent).toContain("could not open r-4: the kernel cannot be reached from here");
});

test("arrows choose a run without opening it, and Enter opens it", () => {
  const channel = new FakeChannel(() => ({}));
  const { grid } = tableOf(RUNS, { channel });
  const pointed = () => document.getElementById(grid.getAttribute("aria-activedescendant") ?? "");
  press(grid, "ArrowDown");
  press(grid, "ArrowDown");
  expect(pointed()!.children[2]!.textContent).toBe("r-3");
  press(grid, "ArrowUp");
  press(grid, "ArrowUp");
  expect(pointed()!.children[2]!.textContent).toBe("r-4");
  press(grid, "End");
  expect(channel.asked).toEqual([]);
  press(grid, "Enter");
  expect(channel.asked).toEqual([{ type: "open", run: "r-1" }]);
});

test("Enter on a column's name is left to the button that it is", () => {
  const channel = new FakeChannel(() => ({}));
  const { grid } = tableOf(RUNS, { channel });
  press(grid, "ArrowDown");
  expect(press(grid.querySelector("[role=columnheader] button")!, "Enter").defaultPrevented).toBe(false);
  expect(channel.asked).toEqual([]);
});

test("a slash goes to the filter, an arrow from there into the table, Escape takes filter and chips away", () => {
  const { grid, find, chip, ids } = tableOf();
  press(grid, "/");
  expect(document.activeElement).toBe(find);
  expect(press(find, "/").defaultPrevented).toBe(false);
  chip("completed").click();
  type(find, "nightly");
  press(find, "ArrowDown");
  expect(document.activeElement).toBe(grid);
  expect(textsOf(grid, ".on > :nth-child(3)")).toEqual(["r-1"]);
  press(grid, "Escape");
  expect(find.value).toBe("");
  expect(ids()).toHaveLength(4);
});

test("keys go no further than the table, those with a modifier do", () => {
  const { grid } = tableOf();
  const heard: string[] = [];
  const hear = (event: KeyboardEvent) => heard.push(event.key);
  document.body.addEventListener("keydown", hear);
  press(grid, "ArrowDown");
  press(grid, "d");
  press(grid, "s", { ctrlKey: true });
  document.body.removeEventListener("keydown", hear);
  expect(heard).toEqual(["s"]);
});

test("the chosen run stays chosen wherever a change puts it", () => {
  const { grid, change } = tableOf();
  press(grid, "ArrowDown");
  change([...RUNS, run("r-5", { created: 1_005 })]);
  expect(textsOf(grid, ".on > :nth-child(3)")).toEqual(["r-4"]);
});

test("what is in sight stays there when newer runs come above it", () => {
  const { grid, change } = tableOf(many(1_000));
  grid.scrollTop = 280 + 5;
  change([...many(1_000), run("new", { created: 5_000 })]);
  expect(grid.scrollTop).toBe(308 + 5);
});

test("changes of other parts of the same source are passed over", () => {
  const { change, ids } = tableOf();
  change([], "state");
  expect(ids()).toHaveLength(4);
  change([], "rows");
  expect(ids()).toHaveLength(0);
});

test("rows and cells have the roles of a grid, and rows know their place", () => {
  const { grid } = tableOf();
  expect(grid.querySelectorAll("[role=row] > [role=columnheader]")).toHaveLength(6);
  expect(grid.querySelectorAll("[role=rowgroup] > [role=row] > [role=gridcell]")).toHaveLength(24);
  const places = [...grid.querySelectorAll(".line")].map((line) => line.getAttribute("aria-rowindex"));
  expect(places).toEqual(["2", "3", "4", "5"]);
});

test("a run that ended before all its tasks were known has what it did, and nothing to come", () => {
  const { grid } = tableOf([run("r-1", { status: "failed", done: 1_800, total: null })]);
  expect(textsOf(grid, ".line > :nth-child(6)")).toEqual(["1,800"]);
  expect(grid.querySelector<HTMLElement>(".bar i")!.style.width).toBe("100.00%");
});

test("without any run the table says so", () => {
  const { root } = tableOf([]);
  expect(textsOf(root, ".empty")).toEqual(["There are no runs yet."]);
  expect(root.querySelector<HTMLElement>(".empty")!.hidden).toBe(false);
});

test("what is taken away listens no more", async () => {
  const onOpen = vi.fn();
  const { root, told, lines } = tableOf(RUNS, { channel: new FakeChannel(() => ({})), onOpen });
  lines()[0]!.click();
  unmount();
  await settled();
  expect(told.size).toBe(0);
  expect(root.childElementCount).toBe(0);
  expect(onOpen).not.toHaveBeenCalled();
});
