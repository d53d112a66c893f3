import { expect, test } from "vitest";
import { viewOf } from "../src/format";
import { rowText, Table } from "../src/table";
import { FakeContext, press, stateOf, textsOf, type Standing } from "./panels";

const STEPS = [
  { id: "load", node: "load" },
  { id: "tune", kind: "loop", construct: true, many: true },
  { id: "tune.*/fit", node: "fit", group: "tune", many: true },
  { id: "report", node: "report" },
];
const STANDINGS: Standing[] = [
  { status: "completed", mean: 1.2, started: 10, ended: 11.2, workers: 1, attempts: 1 },
  { status: "running", counts: { completed: 5, running: 1 } },
  { status: "running", counts: { completed: 5, running: 1 }, workers: 2 },
  {},
];

function tableOf(context: FakeContext, marks = false): { table: Table; grid: HTMLElement } {
  const table = new Table(context, marks);
  document.body.replaceChildren(table.element);
  table.update();
  const grid = table.element.querySelector<HTMLElement>("[role=table]")!;
  Object.defineProperty(grid, "clientHeight", { value: 400 });
  return { table, grid };
}

const small = () => new FakeContext({ steps: STEPS }, STANDINGS);
const namesIn = (grid: Element) => textsOf(grid, ".line > :first-child");

test("every step has a row, in order, with its name in its group and what is known of it", () => {
  const { grid } = tableOf(small());
  const rows = [...grid.querySelectorAll(".line")].map((row) => [...row.children].map((cell) => cell.textContent));
  expect(rows).toEqual([
    ["load", "load", "completed", "1.2 s", "1.2 s", "1"],
    ["tune", "", "loop · 5 so far", "", "", ""],
    ["fit", "fit", "5 so far", "", "", "2"],
    ["report", "report", "pending", "", "", ""],
  ]);
});

test("a row is set in by the depth of its step", () => {
  const { grid } = tableOf(small());
  const names = [...grid.querySelectorAll<HTMLElement>(".line > :first-child")];
  expect(names.map((name) => name.style.paddingLeft)).toEqual(["0px", "0px", "16px", "0px"]);
});

test("a bar is shown only for what has several tasks, some of which are known", () => {
  const { grid } = tableOf(small());
  const bars = [...grid.querySelectorAll<HTMLElement>(".bar")];
  expect(bars.map((bar) => bar.hidden)).toEqual([true, false, false, true]);
});

test("a step of the engine's own has a row once it has failed", () => {
  const context = new FakeContext({ steps: [{ id: "load" }, { id: "gather", helper: true }] });
  const { table, grid } = tableOf(context);
  expect(namesIn(grid)).toEqual(["load"]);
  context.state = stateOf({}, [{}, { status: "failed" }]);
  table.update();
  expect(namesIn(grid)).toEqual(["load", "gather"]);
});

test("only the rows in sight are in the page, and the table is as high as all of them", () => {
  const steps = Array.from({ length: 10_000 }, (_, number) => ({ id: `step_${number}` }));
  const { grid } = tableOf(new FakeContext({ steps }));
  expect(grid.querySelectorAll(".line").length).toBeLessThan(60);
  expect(grid.querySelector<HTMLElement>("[role=rowgroup]")!.style.height).toBe("280000px");
  expect(grid.getAttribute("aria-rowcount")).toBe("10001");
  grid.scrollTop = 5_000 * 28;
  grid.dispatchEvent(new Event("scroll"));
  expect(namesIn(grid)).toContain("step_5000");
  expect(namesIn(grid)).not.toContain("step_0");
});

test("a search keeps the steps whose id, node or status has the text, and tells how many", () => {
  const { table, grid } = tableOf(small());
  expect(table.find(" FIT ")).toBe("1 of 4");
  expect(namesIn(grid)).toEqual(["fit"]);
  expect(table.find("running")).toBe("2 of 4");
  expect(table.find("")).toBe("");
  expect(namesIn(grid)).toHaveLength(4);
});

test("a click on a row opens the details of its step", () => {
  const context = small();
  const { grid } = tableOf(context);
  grid.querySelectorAll<HTMLElement>(".line .said")[2]!.click();
  expect(context.opened).toEqual([{ address: "", steps: [2] }]);
  expect(grid.querySelectorAll(".on")).toHaveLength(1);
});

test("arrows choose a row without opening it, and Enter opens it", () => {
  const context = small();
  const { grid } = tableOf(context);
  press(grid, "ArrowDown");
  press(grid, "ArrowDown");
  expect(context.opened).toEqual([]);
  expect(textsOf(grid, ".on > :first-child")).toEqual(["tune"]);
  press(grid, "Enter");
  expect(context.opened).toEqual([{ address: "", steps: [1] }]);
  press(grid, "End");
  press(grid, "ArrowDown");
  expect(textsOf(grid, ".on > :first-child")).toEqual(["report"]);
  press(grid, "Home");
  expect(textsOf(grid, ".on > :first-child")).toEqual(["load"]);
});

test("keys that mean something here go no further, those with a modifier do", () => {
  const { grid } = tableOf(small());
  const heard: string[] = [];
  document.body.addEventListener("keydown", (event) => heard.push(event.key));
  expect(press(grid, "ArrowDown").defaultPrevented).toBe(true);
  expect(press(grid, "ArrowDown", { ctrlKey: true }).defaultPrevented).toBe(false);
  press(grid, "x");
  expect(heard).toEqual(["ArrowDown", "x"]);
});

test("the chosen row is named to assistive technology, also when a search gives it another place or none", () => {
  const { table, grid } = tableOf(small());
  const pointed = () => document.getElementById(grid.getAttribute("aria-activedescendant") ?? "");
  press(grid, "End");
  expect(pointed()?.firstElementChild?.textContent).toBe("report");
  table.find("report");
  expect(pointed()?.firstElementChild?.textContent).toBe("report");
  table.find("load");
  expect(grid.hasAttribute("aria-activedescendant")).toBe(false);
});

test("a workflow that has not run shows what a run would do with each step, and why", () => {
  const steps = [
    { id: "load", mark: "cached" },
    { id: "clean", mark: "stale", why: "code of clean changed" },
    { id: "fan", mark: "" },
    { id: "tune", kind: "loop", construct: true },
  ];
  const { grid } = tableOf(new FakeContext({ run: "", steps }), true);
  expect(textsOf(grid, ".said")).toEqual(["cached", "stale: code of clean changed", "not known yet", "loop"]);
  expect(textsOf(grid, "[role=columnheader]").filter(Boolean)).toEqual(["step", "node", "when run"]);
});

test.each([
  [{ status: "completed", mean: 2, attempts: 1 }, "", "completed"],
  [{ status: "completed", attempts: 3 }, "", "completed · 3 attempts"],
  [{ status: "running", progress: 0.4, attempts: 2 }, "epoch 4", "running 40% · 2 attempts · epoch 4"],
  [{ status: "failed", attempts: 1 }, "epoch 4", "failed"],
] as [Standing, string, string][])("of a step with %o and the message '%s' a row says: %s", (standing, message, text) => {
  const context = new FakeContext({ steps: [{ id: "fit" }] }, [standing], { steps: { "0": { message } } });
  expect(rowText(viewOf(context.shape, context.state, 0))).toBe(text);
});
