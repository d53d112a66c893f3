import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Answer } from "../src/api";
import { DetailsPanel, errorBox, wayOn } from "../src/details";
import type { Details } from "../src/format";
import { FakeChannel, FakeContext, press, settled, spansOf, stateOf, textsOf, type Standing } from "./panels";

const STEPS = [
  { id: "load", node: "load", where: "cell 1, line 2" },
  { id: "features", node: "features", kind: "map", fanOut: true, many: true, uses: ["load"] },
  { id: "tune", kind: "loop", construct: true, many: true },
  { id: "tune.*/fit", name: "fit", node: "fit", group: "tune", many: true },
];
const STANDINGS: Standing[] = [
  { status: "completed", mean: 1.2, workers: 1, attempts: 1 },
  { status: "failed", width: 4, counts: { completed: 3, failed: 1 }, mean: 0.5, workers: 2, attempts: 5 },
  { status: "running", counts: { running: 1 } },
  { status: "running", counts: { running: 1 } },
];

const detailsOf = (more: Partial<Details> = {}): Details => ({
  address: "load", node: "load", status: "completed", where: "cell 1, line 2", attempts: [], inputs: [], output: null,
  code: "", diff: "", why: "", resources: {}, logs: [], ...more,
});

function panelOf(context = new FakeContext({ steps: STEPS }, STANDINGS)) {
  const closed = vi.fn();
  const panel = new DetailsPanel(context, closed);
  document.body.replaceChildren(panel.element);
  const part = (name: string) => panel.element.querySelector<HTMLElement>(`[data-part=${name}]`)!;
  return { panel, context, closed, part };
}

/** Returns a panel that shows one task, of which these details are known. */
async function showing(details: Details, status: "running" | "completed" = "running") {
  const made = panelOf();
  made.context.state = stateOf({ status, started: 100 }, STANDINGS);
  made.context.channel = new FakeChannel(() => ({ details }));
  made.panel.show({ address: details.address, steps: [0] });
  await settled();
  return made;
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("the drawer is hidden until something is shown", () => {
  const { panel } = panelOf();
  expect(panel.open).toBe(false);
  panel.show({ address: "", steps: [0] });
  expect(panel.open).toBe(true);
});

test("of a step of several tasks the drawer tells how they stand, and what is known of all", () => {
  const { panel, part } = panelOf();
  panel.show({ address: "", steps: [1] });
  expect(textsOf(panel.element, ".title")).toEqual(["features"]);
  expect(part("facts").firstElementChild!.textContent).toBe("3/4 · 1 failed");
  expect(textsOf(part("facts"), ".told > span")).toEqual(
    ["node features", "a task 0.50 s", "workers 2", "attempts 5", "uses load"],
  );
});

test("Escape and the cross close it, and tell whoever opened it", () => {
  const { panel, closed } = panelOf();
  panel.show({ address: "", steps: [1] });
  expect(press(panel.element, "Escape").defaultPrevented).toBe(true);
  expect(panel.open).toBe(false);
  panel.show({ address: "", steps: [1] });
  panel.element.querySelector("button")!.click();
  panel.close();
  expect(closed).toHaveBeenCalledTimes(2);
});

test("details of a task are asked for when it is shown", async () => {
  const { context, part } = await showing(detailsOf({ why: "code of load changed", code: "def load(): ..." }));
  expect((context.channel as FakeChannel).asked).toEqual([{ type: "details", address: "load" }]);
  expect(part("why").textContent).toBe("whycode of load changed");
  expect(textsOf(part("code"), "pre")).toEqual(["def load(): ..."]);
});

test("a step of one task is that task, a step of several is none", () => {
  const { panel, context } = panelOf();
  const channel = (context.channel = new FakeChannel(() => ({})));
  panel.show({ address: "", steps: [1] });
  panel.show({ address: "", steps: [2] });
  expect(channel.asked).toEqual([]);
  panel.show({ address: "", steps: [0] });
  expect(channel.asked).toEqual([{ type: "details", address: "load" }]);
});

test("details are asked for again once the task stands differently, at most once a second", async () => {
  const { panel, context } = await showing(detailsOf());
  const { asked } = context.channel as FakeChannel;
  panel.update();
  expect(asked).toHaveLength(1);
  context.state = stateOf({}, [{ ...STANDINGS[0], attempts: 2 }]);
  panel.update();
  panel.update();
  await vi.advanceTimersByTimeAsync(990);
  expect(asked).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(20);
  expect(asked).toHaveLength(2);
});

test("an answer that comes after another task was chosen is not shown", async () => {
  const { panel, context, part } = panelOf();
  const answers: ((answer: Partial<Answer>) => void)[] = [];
  context.channel = new FakeChannel(() => new Promise((answer) => answers.push(answer)));
  panel.show({ address: "features[0]", steps: [1] });
  panel.show({ address: "features[1]", steps: [1] });
  answers[1]!({ details: detailsOf({ why: "the second" }) });
  await settled();
  answers[0]!({ details: detailsOf({ why: "the first" }) });
  await settled();
  expect(part("why").textContent).toContain("the second");
});

test("what goes wrong is told below what is known anyway", async () => {
  const { panel, context, part } = panelOf();
  context.channel = new FakeChannel(() => Promise.reject(new Error("the kernel does not answer")));
  panel.show({ address: "", steps: [0] });
  await settled();
  expect(part("error").textContent).toBe("Nothing more can be read now: the kernel does not answer");
  expect(part("facts").textContent).toContain("cell 1, line 2");
});

test("details that were saved are shown without anybody to ask", () => {
  const { panel, context, part } = panelOf();
  context.document = { format: 1, shape: {}, details: { load: detailsOf({ why: "its input changed" }) } };
  panel.show({ address: "", steps: [0] });
  expect(part("why").textContent).toContain("its input changed");
});

test("a task of a step that is not known yet is shown all the same", async () => {
  const { panel, context, part } = panelOf();
  context.channel = new FakeChannel(() => ({ details: detailsOf({ address: "late[3]", why: "new" }) }));
  panel.show({ address: "late[3]", steps: [-1] });
  await settled();
  expect(textsOf(panel.element, ".title")).toEqual(["late[3]"]);
  expect(part("why").textContent).toContain("new");
});

test("the failure shown is that of the last attempt that failed, unless the task came through", async () => {
  const error = (message: string) => ({ type: "ValueError", message, traceback: "Traceback\n" });
  const attempts = [1, 2].map((attempt) => ({
    attempt, status: "failed" as const, worker: "tcp://10.0.0.1:4001", start: 10, end: 11.5, stopped: "",
    error: error(`attempt ${attempt}`),
  }));
  const failed = await showing(detailsOf({ status: "failed", attempts }));
  expect(textsOf(failed.part("failure"), "code")).toEqual(["ValueError: attempt 2"]);
  expect(textsOf(failed.part("attempts"), "tbody tr:first-child td")).toEqual([
    "1", " failed", "1.5 s", "10.0.0.1:4001", "ValueError: attempt 1",
  ]);
  const completed = await showing(detailsOf({ status: "completed", attempts }));
  expect(completed.part("failure").childElementCount).toBe(0);
});

test("a value is told by its type, size and place, and drawn as a table where it is one", async () => {
  const { part } = await showing(detailsOf({
    inputs: [
      ["part", {
        type: "ndarray", text: "[[0.1 0.5]]", shape: [1200, 64], dtype: "float64", bytes: 614_400, tier: "store",
      }],
      ["sold", {
        type: "DataFrame", text: "not shown",
        table: { columns: ["city", "sold"], rows: [["Lima", null], ["Lyon", 12]] },
      }],
    ],
    output: { type: "float64", text: "", shape: [] },
  }));
  expect(textsOf(part("inputs"), ".soft")).toEqual(["ndarray · 1,200 × 64 · float64 · 614 kB · store", "DataFrame"]);
  expect(textsOf(part("inputs"), "pre")).toEqual(["[[0.1 0.5]]"]);
  expect(textsOf(part("inputs"), "td")).toEqual(["Lima", "", "Lyon", "12"]);
  expect(part("output").textContent).toBe("outputfloat64 · scalar");
});

test("resources are told in the units that their names tell", async () => {
  const resources = { cpus: 2, peak_memory_bytes: 1.4e9, cpu_seconds: 1.1, rate: 12 };
  const { part } = await showing(detailsOf({ resources }));
  expect(textsOf(part("resources"), "td")).toEqual(["2", "1.4 GB", "1.1 s", "12 tasks/s"]);
});

test("a change of the code is drawn line by line, and then the code is folded", async () => {
  const { part } = await showing(detailsOf({ diff: "--- a\n+++ b\n-old\n+new\n same\n", code: "new\nsame" }));
  const lines = [...part("diff").querySelectorAll("span")].map((line) => [line.className, line.textContent]);
  expect(lines).toEqual([["", "--- a"], ["", "+++ b"], ["del", "-old"], ["add", "+new"], ["", " same"]]);
  expect(part("code").querySelector("details")!.open).toBe(false);
});

test("what was folded or unfolded stays so when something else arrives", async () => {
  const details = detailsOf({ code: "one" });
  const { panel, context, part } = await showing(details);
  part("code").querySelector("details")!.open = false;
  details.code = "two";
  context.state = stateOf({ status: "completed" }, STANDINGS);
  panel.update();
  await vi.advanceTimersByTimeAsync(1_100);
  expect(textsOf(part("code"), "pre")).toEqual(["two"]);
  expect(part("code").querySelector("details")!.open).toBe(false);
});

test("tasks of a step are offered, the failed first, then those that run, then the newest", () => {
  const { panel, context, part } = panelOf();
  context.spans = spansOf([
    [1, 0, "completed"], [1, 1, "failed"], [1, 2, "running"], [1, 3, "completed"], [0, 0, "completed"],
  ]);
  panel.show({ address: "", steps: [1] });
  expect(textsOf(part("tasks"), "button")).toEqual(["features[1]", "features[2]", "features[3]", "features[0]"]);
  part("tasks").querySelector("button")!.click();
  expect(context.opened).toEqual([{ address: "features[1]", steps: [1] }]);
});

test("the focus stays in the drawer when one goes from a step to its task", () => {
  const { panel, context, part } = panelOf();
  context.spans = spansOf([[1, 0, "failed"]]);
  context.open = (choice) => panel.show(choice);
  panel.show({ address: "", steps: [1] });
  const task = part("tasks").querySelector("button")!;
  task.focus();
  task.click();
  expect(textsOf(panel.element, ".title")).toEqual(["features[0]"]);
  expect(panel.element.contains(document.activeElement)).toBe(true);
});

test("tasks of what is inside of a construct are offered too", () => {
  const { panel, context, part } = panelOf();
  context.spans = spansOf([[3, 0, "running"]]);
  panel.show({ address: "", steps: [2] });
  expect(textsOf(part("tasks"), "button")).toEqual(["tune.*/fit"]);
});

test("an element of a fan-out can be opened by its number, which stays while tasks go on", () => {
  const { panel, context, part } = panelOf();
  panel.show({ address: "", steps: [1] });
  part("element").querySelector("input")!.value = "3";
  context.spans = spansOf([[1, 2, "running"]]);
  panel.update();
  part("element").querySelector("input")!.value += "7";
  press(part("element").querySelector("input")!, "Enter");
  expect(context.opened).toEqual([{ address: "features[37]", steps: [1] }]);
});

test("several steps that share a node of the picture are offered one by one", () => {
  const { panel, context, part } = panelOf();
  panel.show({ address: "", steps: [0, 3] });
  expect(textsOf(panel.element, ".title")).toEqual(["2 steps"]);
  expect(textsOf(part("go"), "button")).toEqual(["load", "fit"]);
  part("go").querySelectorAll("button")[1]!.click();
  expect(context.opened).toEqual([{ address: "", steps: [3] }]);
});

test("from a step one goes on to its logs", () => {
  const { panel, context, part } = panelOf();
  panel.show({ address: "", steps: [1] });
  part("go").querySelector("button")!.click();
  expect(context.logged).toEqual([1]);
});

test("a step of a workflow that has not run tells what a run would do with it", () => {
  const steps = [{ id: "clean", mark: "stale", why: "code of clean changed" }];
  const { panel, part } = panelOf(new FakeContext({ run: "", steps }));
  panel.show({ address: "", steps: [0] });
  expect(textsOf(part("facts"), ".told > span")).toEqual(["when run stale: code of clean changed"]);
  expect(part("go").childElementCount).toBe(0);
});

test("an error tells where it came from, and what to do about it", () => {
  const error = { address: "features[3]", type: "ValueError", message: "no rows", traceback: "Traceback\n  line\n\n" };
  const box = errorBox(error, "run.retry() runs the failed tasks again");
  expect(textsOf(box, "b")).toEqual(["features[3] "]);
  expect(textsOf(box, "code")).toEqual(["ValueError: no rows", "run.retry()"]);
  expect(textsOf(box, "pre")).toEqual(["Traceback\n  line"]);
  expect(box.querySelector("details")!.open).toBe(false);
});

test("a way on without a call has no code", () => {
  expect(textsOf(wayOn("start the cluster"), "code")).toEqual([]);
  expect(wayOn("start the cluster").textContent).toBe("start the cluster");
});
