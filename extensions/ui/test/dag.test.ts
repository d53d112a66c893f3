import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Cells } from "../src/cells";
import { Dag, type DagOptions } from "../src/dag";
import { STATUSES, readShape, type Status } from "../src/format";
import type { Row } from "../src/row";
import { stillTheme, type PlainStep } from "./graphs";
import { press, settled, stateOf, type Standing } from "./panels";

const STEPS: PlainStep[] = [
  { id: "load" },
  { id: "tune", kind: "loop", node: "", construct: true, many: true, uses: ["load"] },
  { id: "tune.*/fit", name: "fit", group: "tune", arm: "*", many: true, uses: ["load"] },
  { id: "tune.*/score", name: "score", group: "tune", arm: "*", many: true, uses: ["tune.*/fit"] },
  { id: "features", kind: "map", fanOut: true, many: true, uses: ["tune"] },
  { id: "report", uses: ["features"] },
];
const STANDINGS: Standing[] = [
  { status: "completed", counts: { completed: 1 } },
  { status: "completed", counts: { completed: 6 } },
  {}, {},
  { status: "running", width: 30, counts: { completed: 10, running: 2, failed: 1 } },
  {},
];

let host: HTMLElement;
let dags: Dag[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  document.body.innerHTML = `<button id="before"></button><div id="host" tabindex="0"></div>`;
  host = document.querySelector("#host")!;
  Object.defineProperties(host, { clientWidth: { value: 800 }, clientHeight: { value: 400 } });
});
afterEach(() => {
  for (const dag of dags) dag.destroy();
  dags = [];
  vi.useRealTimers();
});

const shapeOf = (steps: PlainStep[]) => readShape({ workflow: "report", run: "r-1", steps });
const standing = (steps: PlainStep[], standings: Standing[]) => stateOf({}, steps.map((_, at) => standings[at] ?? {}));

function show(options: DagOptions = {}, steps = STEPS, standings = STANDINGS): Dag {
  const dag = new Dag(host, stillTheme(), options);
  dags.push(dag);
  dag.update(shapeOf(steps), standing(steps, standings));
  return dag;
}
const keysOf = (dag: Dag) => dag.visible().map((row) => row.key);

// -- keys ------------------------------------------------------------------------------------------------------------

test("Tab goes through every node, each frame before what is inside, and leaves past the last", () => {
  const dag = show();
  const gone: string[] = [];
  while (press(host, "Tab").defaultPrevented) gone.push(dag.selected);
  expect(gone).toEqual(["load", "tune", "tune.*/fit", "tune.*/score", "features", "report"]);
  expect(gone).toEqual(keysOf(dag));
});

test("Shift+Tab comes in at the last node, and leaves before the first", () => {
  const dag = show();
  const gone: string[] = [];
  while (press(host, "Tab", { shiftKey: true }).defaultPrevented) gone.push(dag.selected);
  expect(gone).toEqual(keysOf(dag).reverse());
});

test.each([false, true])("after Escape, Tab leaves the picture, with Shift: %s", (shiftKey) => {
  const dag = show();
  press(host, "Tab");
  press(host, "Tab");
  press(host, "Escape");
  if (shiftKey) press(host, "Shift", { shiftKey });
  expect(press(host, "Tab", { shiftKey }).defaultPrevented).toBe(false);
  expect(dag.selected).toBe("");
});

test("Tab leaves after Escape although nothing was selected", () => {
  show();
  press(host, "Escape");
  expect(press(host, "Tab").defaultPrevented).toBe(false);
});

test("Tab goes through the nodes again once something is selected, or another key was pressed", () => {
  const dag = show();
  press(host, "Escape");
  dag.select("tune");
  expect(press(host, "Tab").defaultPrevented).toBe(true);
  expect(dag.selected).toBe("tune.*/fit");
  press(host, "Escape");
  press(host, "0");
  expect(press(host, "Tab").defaultPrevented).toBe(true);
});

test("keys that do something here do not fall through to the page around", () => {
  show();
  const heard = vi.fn();
  document.body.addEventListener("keydown", heard);
  for (const key of ["ArrowLeft", "w", "+", "-", "0", "/"]) expect(press(host, key).defaultPrevented).toBe(true);
  for (const key of ["x", "F5"]) expect(press(host, key).defaultPrevented).toBe(false);
  document.body.removeEventListener("keydown", heard);
  expect(heard).not.toHaveBeenCalled();
});

test("keys with Ctrl, Alt or the command key are the browser's", () => {
  const dag = show();
  const { camera } = dag;
  for (const more of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }]) {
    expect(press(host, "+", more).defaultPrevented).toBe(false);
  }
  expect(dag.camera).toEqual(camera);
});

test("arrows and WASD pan, plus and minus zoom about the middle, 0 shows all", () => {
  const dag = show();
  const whole = dag.camera;
  press(host, "ArrowRight");
  press(host, "w");
  expect(dag.camera).toEqual({ ...whole, x: whole.x - 60, y: whole.y + 60 });
  press(host, "+");
  expect(dag.camera.scale).toBeCloseTo(1.25 * whole.scale);
  press(host, "0");
  expect(dag.camera).toEqual(whole);
});

test("the slash asks for the search", () => {
  const onSearch = vi.fn();
  show({ onSearch });
  press(host, "/");
  expect(onSearch).toHaveBeenCalledOnce();
});

test("Enter opens and closes what has something inside, and enters what has not", () => {
  const onEnter = vi.fn<(row: Row) => void>();
  const dag = show({ onEnter });
  dag.select("tune");
  press(host, "Enter");
  expect(keysOf(dag)).toEqual(["load", "tune", "features", "report"]);
  press(host, " ");
  expect(keysOf(dag)).toContain("tune.*/fit");
  expect(onEnter).not.toHaveBeenCalled();
  dag.select("report");
  press(host, "Enter");
  expect(onEnter.mock.calls.map(([row]) => row.key)).toEqual(["report"]);
});

// -- what stays where it is ------------------------------------------------------------------------------------------

test("nothing moves while a run goes on", () => {
  const shape = shapeOf(STEPS);
  const dag = new Dag(host, stillTheme());
  dags.push(dag);
  const places = () => keysOf(dag).map((key) => dag.boxOf(key));
  dag.update(shape, standing(STEPS, []));
  const before = places();
  dag.update(shape, standing(STEPS, STANDINGS));
  expect(places()).toEqual(before);
});

test("what is opened or closed stays under the pointer", () => {
  const dag = show();
  dag.camera = { scale: 2, x: -100, y: -50 };
  const { x, y } = dag.boxOf("tune")!;
  dag.toggle("tune");
  const after = dag.boxOf("tune")!;
  expect([after.x, after.y]).toEqual([expect.closeTo(x), expect.closeTo(y)]);
});

test("what is selected stays where it is when steps come", () => {
  const dag = show();
  dag.select("report");
  dag.camera = { scale: 1, x: 3, y: 4 };
  const before = dag.boxOf("report")!;
  const place = (key: string) => dag.boxOf(key)!.x - dag.boxOf("load")!.x;
  const wide = { id: "early", name: "a_name_that_takes_room" };
  const more = [...STEPS.slice(0, -1), wide, { id: "late", uses: ["features", "early"] }];
  const old = place("report");
  dag.update(shapeOf([...more, { id: "report", uses: ["late"] }]), standing([...more, { id: "" }], STANDINGS));
  expect(place("report")).toBeGreaterThan(old + 50);
  expect(dag.boxOf("report")).toMatchObject({ x: expect.closeTo(before.x), y: expect.closeTo(before.y) });
});

test("a picture that shows all goes on to do so when steps come", () => {
  const dag = show();
  const late = Array.from({ length: 8 }, (_, at) => ({ id: `late${at}`, node: `late_${at}`, uses: ["report"] }));
  const more = [...STEPS, ...late];
  dag.update(shapeOf(more), standing(more, STANDINGS));
  for (const key of keysOf(dag)) {
    const { x, y, w, h } = dag.boxOf(key)!;
    expect(x >= 0 && y >= 0 && x + w <= 800 && y + h <= 400).toBe(true);
  }
});

test("toggling what is hidden in something closed leaves the camera as it is", () => {
  const steps: PlainStep[] = [
    { id: "outer", kind: "workflow", construct: true, node: "" },
    { id: "outer/inner", name: "inner", kind: "loop", construct: true, node: "", group: "outer" },
    { id: "outer/inner.*/fit", name: "fit", group: "outer/inner", arm: "*" },
    { id: "end", uses: ["outer"] },
  ];
  const dag = show({}, steps, []);
  dag.toggle("outer");
  expect(keysOf(dag)).not.toContain("outer/inner");
  dag.camera = { scale: 1, x: 5, y: 6 };
  for (let times = 0; times < 2; times++) {
    dag.toggle("outer/inner");
    expect(dag.camera).toEqual({ scale: 1, x: 5, y: 6 });
  }
});

// -- where things are ------------------------------------------------------------------------------------------------

test("a node's place is in pixels of the host, and moves with the camera", () => {
  const dag = show();
  dag.camera = { scale: 1, x: 0, y: 0 };
  const { x, y, w, h } = dag.boxOf("load")!;
  dag.camera = { scale: 2, x: 30, y: -10 };
  expect(dag.boxOf("load")).toEqual({ x: 2 * x + 30, y: 2 * y - 10, w: 2 * w, h: 2 * h });
});

test("a node that is not shown has no place", () => {
  const dag = show();
  expect(dag.boxOf("nothing")).toBeNull();
  expect(dag.boxOf("")).toBeNull();
  dag.toggle("tune");
  expect(dag.boxOf("tune.*/fit")).toBeNull();
  expect(new Dag(host, stillTheme()).boxOf("load")).toBeNull();
});

test("what is selected comes into sight", () => {
  const dag = show();
  dag.camera = { scale: 1, x: -5000, y: 0 };
  dag.select("report");
  const { x, y, w, h } = dag.boxOf("report")!;
  expect(x >= 0 && y >= 0 && x + w <= 800 && y + h <= 400).toBe(true);
});

// -- search ----------------------------------------------------------------------------------------------------------

test("a search finds names without regard to case, and goes round", () => {
  const dag = show();
  expect(dag.search("  FEAT ")).toEqual({ count: 1, at: 1 });
  expect(dag.selected).toBe("features");
  const { count } = dag.search("tune");
  expect(count).toBe(3);
  const gone = [dag.selected];
  for (let at = 0; at < count; at++) {
    dag.turn(1);
    gone.push(dag.selected);
  }
  expect(gone).toEqual(["tune", "tune.*/fit", "tune.*/score", "tune"]);
  expect(dag.turn(-1)).toEqual({ count: 3, at: 3 });
});

test("a search that finds nothing says so and leaves what is selected", () => {
  const dag = show();
  dag.select("load");
  expect(dag.search("nothing like it")).toEqual({ count: 0, at: 0 });
  expect(dag.search("")).toEqual({ count: 0, at: 0 });
  expect(dag.selected).toBe("load");
});

test("what is found inside of something closed is opened up", () => {
  const dag = show();
  dag.toggle("tune");
  dag.search("score");
  expect(keysOf(dag)).toContain("tune.*/score");
  expect(dag.selected).toBe("tune.*/score");
});

test("a search goes on to the same nodes when steps come before them", () => {
  const dag = show();
  dag.search("report");
  const more = [{ id: "first" }, { id: "second", uses: ["first"] }, ...STEPS];
  dag.update(shapeOf(more), standing(more, []));
  dag.select("");
  expect(dag.turn(1)).toEqual({ count: 1, at: 1 });
  expect(dag.selected).toBe("report");
});

test("a search outlives the nodes it has found", () => {
  const dag = show();
  dag.search("report");
  dag.update(shapeOf([{ id: "load" }]), standing([{ id: "load" }], []));
  expect(keysOf(dag)).toEqual(["load"]);
  expect(dag.turn(1).count).toBe(1);
  expect(dag.selected).toBe("");
});

// -- the elements of a fan-out ---------------------------------------------------------------------------------------

const bytes = (...statuses: Status[]) => Uint8Array.from(statuses, (status) => STATUSES.indexOf(status));
const cellsOf = (dag: Dag): Cells => {
  const row = dag.visible().find(({ key }) => key === "features")!;
  return row.drawn.cells.get(row.box)!;
};

test("an open fan-out asks for its elements, and shows them in order of state until they are there", async () => {
  const status = bytes(...Array.from({ length: 30 }, (_, at): Status => (at % 2 ? "completed" : "pending")));
  const cells = vi.fn(async () => status);
  const dag = show({ cells });
  expect(cells).not.toHaveBeenCalled();
  dag.toggle("features");
  expect(cellsOf(dag)).toMatchObject({ known: false, width: 30 });
  vi.runAllTimers();
  await settled();
  expect(cells).toHaveBeenCalledExactlyOnceWith(4);
  expect(cellsOf(dag)).toMatchObject({ known: true, status });
});

test("elements are asked for once a second at most, however often the state changes", async () => {
  const cells = vi.fn(async () => new Uint8Array(30));
  const shape = shapeOf(STEPS);
  const dag = new Dag(host, stillTheme(), { cells });
  dags.push(dag);
  dag.update(shape, standing(STEPS, STANDINGS));
  dag.toggle("features");
  vi.advanceTimersByTime(0);
  await settled();
  for (let at = 0; at < 20; at++) dag.update(shape, standing(STEPS, STANDINGS));
  vi.advanceTimersByTime(900);
  await settled();
  expect(cells).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(200);
  await settled();
  expect(cells).toHaveBeenCalledTimes(2);
});

test("steps that come before a fan-out do not give it another's elements", async () => {
  const fan = (id: string): PlainStep => ({ id, kind: "map", fanOut: true, many: true });
  const width: Standing = { width: 4, counts: { pending: 4 } };
  const steps = [fan("features"), fan("other")];
  const dag = show({ cells: async () => bytes("completed", "completed", "failed", "failed") }, steps, [width, width]);
  for (const key of ["features", "other"]) dag.toggle(key);
  vi.runAllTimers();
  await settled();
  expect(cellsOf(dag).known).toBe(true);
  dag.update(shapeOf([fan("early"), ...steps]), standing([fan("early"), ...steps], [width, width, width]));
  expect(cellsOf(dag)).toMatchObject({ step: 1, known: false });
});

test("an answer about a step that has another number by now is not taken for the one that has it", async () => {
  const fan = (id: string): PlainStep => ({ id, kind: "map", fanOut: true, many: true });
  const width: Standing = { width: 4, counts: { pending: 4 } };
  const answers: ((status: Uint8Array) => void)[] = [];
  const dag = show({ cells: () => new Promise((resolve) => answers.push(resolve)) }, [fan("other")], [width]);
  dag.toggle("other");
  vi.runAllTimers();
  dag.update(shapeOf([fan("features"), fan("other")]), standing([{ id: "" }, { id: "" }], [width, width]));
  dag.toggle("features");
  answers[0]!(bytes("failed", "failed", "failed", "failed"));
  await settled();
  expect(cellsOf(dag)).toMatchObject({ step: 0, known: false });
});

test("where nobody answers, elements stay in order of state", async () => {
  const dag = show({ cells: () => Promise.reject(new Error("no kernel")) });
  dag.toggle("features");
  vi.runAllTimers();
  await settled();
  expect(cellsOf(dag)).toMatchObject({ known: false, width: 30 });
});

// -- coming and going ------------------------------------------------------------------------------------------------

test("another picture takes up what was open, selected and seen", () => {
  const dag = show();
  dag.toggle("tune");
  dag.select("report");
  dag.camera = { scale: 1.5, x: 7, y: 8 };
  const { left } = dag;
  dag.destroy();
  const next = new Dag(host, stillTheme());
  dags.push(next);
  next.left = left;
  next.update(shapeOf(STEPS), standing(STEPS, STANDINGS));
  expect(keysOf(next)).toEqual(["load", "tune", "features", "report"]);
  expect(next.selected).toBe("report");
  expect(next.camera).toEqual({ scale: 1.5, x: 7, y: 8 });
});

test("JupyterLab is told to keep its own keys to itself", () => {
  show();
  expect(host.dataset.lmSuppressShortcuts).toBe("true");
});

test("nothing is left behind, and keys are heard no more", () => {
  const dag = show();
  dag.destroy();
  expect(host.querySelector("canvas")).toBeNull();
  expect(press(host, "Tab").defaultPrevented).toBe(false);
});
