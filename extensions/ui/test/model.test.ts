import { expect, test } from "vitest";
import { NO_STATE, readShape, type Head } from "../src/format";
import { CELLS_TOP, Model, clip, type Scene } from "../src/model";
import { modelOf, type PlainStep } from "./graphs";
import { made, type Kind } from "./make";
import { stateOf, type Standing } from "./panels";

const at = (model: Model, key: string) => model.byKey.get(key)!;
const keysOf = (model: Model, { nodes }: Scene = model.scene()) => [...nodes].map((node) => model.nodes[node]!.key);
/** Returns the arrows of what is shown, as keys. */
const arrowsOf = (model: Model) => {
  const scene = model.scene();
  const keys = keysOf(model, scene);
  const arrows = [];
  const { edges } = scene.graph;
  for (let edge = 0; edge < edges.length; edge += 2) arrows.push(`${keys[edges[edge]!]} > ${keys[edges[edge + 1]!]}`);
  return arrows.sort();
};
const boxOf = (model: Model, key: string) => {
  const { graph, nodes } = model.scene();
  const box = [...nodes].indexOf(at(model, key));
  return { width: graph.width[box]!, height: graph.height[box]!, frame: graph.frame[box], stretch: graph.stretch[box] };
};
const unrun = (steps: PlainStep[]) => new Model(readShape({ workflow: "report", steps }));
const row = (n: number, step: (number: number) => Partial<PlainStep>): PlainStep[] =>
  Array.from({ length: n }, (_, number) => ({ id: `s${number}`, ...step(number) }));

const LOOP: PlainStep[] = [
  { id: "load" },
  { id: "tune", kind: "loop", construct: true, many: true, uses: ["load"] },
  { id: "tune.*/fit", name: "fit", node: "fit", group: "tune", arm: "*", many: true, uses: ["load"] },
  { id: "tune.*/score", name: "score", node: "score", group: "tune", arm: "*", many: true, uses: ["tune.*/fit"] },
  { id: "report", uses: ["tune"] },
];
const SWITCH: PlainStep[] = [
  { id: "load" },
  { id: "route", kind: "switch", construct: true, uses: ["load"], labels: [["case_0", "score > 0.9"]] },
  { id: "route.case_0/publish", name: "publish", group: "route", arm: "case_0" },
  { id: "route.default/review", name: "review", group: "route", arm: "default" },
];

// -- the tree ----------------------------------------------------------------------------------------------------

test("steps are nodes, constructs frames around theirs, and bodies frames in those", () => {
  const model = unrun([...LOOP, ...SWITCH.slice(1)]);
  expect(model.nodes.map(({ key, kind }) => [key, kind])).toEqual([
    ["load", "step"], ["tune", "group"], ["tune.*/fit", "step"], ["tune.*/score", "step"], ["report", "step"],
    ["route", "group"], ["route.case_0", "arm"], ["route.case_0/publish", "step"], ["route.default", "arm"],
    ["route.default/review", "step"],
  ]);
  expect(model.roots.map((root) => model.nodes[root]!.key)).toEqual(["load", "tune", "report", "route"]);
  const body = { name: "score > 0.9", parent: at(model, "route"), step: -1 };
  expect(model.nodes[at(model, "route.case_0")]).toMatchObject(body);
  expect(model.nodes[at(model, "route.default")]!.name).toBe("default");
});

test("a group that is no step is a frame that stands for all steps in it", () => {
  const model = unrun([{ id: "team/north/a", group: "team/north" }, { id: "team/b", group: "team" }]);
  expect(model.nodes[at(model, "team")]).toMatchObject({ name: "team", kind: "group", step: -1, steps: [0, 1] });
  expect(model.nodes[at(model, "team/north")]).toMatchObject({ name: "north", parent: at(model, "team"), steps: [0] });
});

test("five steps of one node in a row become one box, four do not", () => {
  const chain = (n: number) => unrun(row(n, (number) => ({ node: "smooth", uses: number ? [`s${number - 1}`] : [] })));
  expect(keysOf(chain(4))).toEqual(["s0", "s1", "s2", "s3"]);
  const model = chain(5);
  expect(keysOf(model)).toEqual(["s0 ×"]);
  const fold = { kind: "fold", name: "smooth ×5", steps: [0, 1, 2, 3, 4], step: -1 };
  expect(model.nodes[at(model, "s0 ×")]).toMatchObject(fold);
  model.toggle(at(model, "s0 ×"));
  expect(keysOf(model)).toEqual(["s0 ×", "s0", "s1", "s2", "s3", "s4"]);
});

test("a row of steps inside of a construct becomes one box there", () => {
  const steps = row(5, (number) => ({ node: "smooth", group: "sub", uses: number ? [`s${number - 1}`] : [] }));
  const model = unrun([{ id: "sub", kind: "workflow", construct: true }, ...steps, { id: "report" }]);
  expect(keysOf(model)).toEqual(["sub", "s0 ×", "report"]);
  expect(model.nodes[at(model, "s0 ×")]!.parent).toBe(at(model, "sub"));
});

test.each<[string, (number: number) => Partial<PlainStep>]>([
  ["other nodes", (number) => ({ node: `n${number}` })], ["no node", () => ({ node: "" })],
  ["other kinds", (number) => ({ node: "a", kind: `k${number}` })],
])("steps in a row of %s stay boxes", (_, more) => {
  const steps = row(6, (number) => ({ uses: number ? [`s${number - 1}`] : [], ...more(number) }));
  expect(keysOf(unrun(steps))).toHaveLength(6);
});

test("a row ends where a step is used twice", () => {
  const steps = row(8, (number) => ({ node: "smooth", uses: number ? [`s${number - 1}`] : [] }));
  const model = unrun([...steps, { id: "side", uses: ["s5"] }]);
  expect(keysOf(model)).toEqual(["s0 ×", "s6", "s7", "side"]);
});

test("many steps of one node side by side become one box, a few do not", () => {
  const side = (n: number) => unrun([{ id: "load" }, ...row(n, () => ({ node: "work", uses: ["load"] }))]);
  expect(keysOf(side(59))).toHaveLength(60);
  expect(keysOf(side(60))).toEqual(["load", "s0 ×"]);
});

test("of many siblings, only those in one layer become one box", () => {
  const steps = row(64, (number) => ({ node: "work", uses: number < 32 ? [] : [`s${number - 32}`] }));
  const model = unrun(steps);
  expect(model.nodes.filter(({ kind }) => kind === "fold").map(({ key, steps: of }) => [key, of.length])).toEqual([
    ["s0 ×", 32], ["s32 ×", 32],
  ]);
  expect(arrowsOf(model)).toEqual(["s0 × > s32 ×"]);
});

test.each<[Kind, number]>([["small", 0], ["layered", 400], ["wide", 400], ["nested", 400], ["map", 50], ["marks", 0]])(
  "in a %s run every step is shown once, and parents and children agree", (kind, n) => {
    const { shape, state } = made(kind, n);
    const model = new Model(shape!, state ?? NO_STATE);
    const seen: number[] = [];
    const walk = (node: number, parent: number) => {
      expect(model.nodes[node]!.parent).toBe(parent);
      seen.push(node);
      for (const child of model.nodes[node]!.children) walk(child, node);
    };
    for (const root of model.roots) walk(root, -1);
    expect(seen.sort((a, b) => a - b)).toEqual(model.nodes.map((_, node) => node));
    const steps = model.nodes.flatMap(({ step }) => (step < 0 ? [] : [step])).sort((a, b) => a - b);
    expect(steps).toEqual(shape!.steps.map((_, step) => step));
  },
);

// -- what comes while it runs ------------------------------------------------------------------------------------

test("how a run stands changes no node; steps that come, and helpers that fail, do", () => {
  const shape = readShape({ steps: [{ id: "a" }, { id: "a.when", helper: true }] });
  const model = new Model(shape);
  expect(model.update(shape, stateOf({}, [{ status: "running" }, { status: "running" }]))).toBe(false);
  expect(model.status(at(model, "a"))).toBe("running");
  expect(model.update(shape, stateOf({}, [{}, { status: "failed" }]))).toBe(true);
  expect(keysOf(model)).toEqual(["a", "a.when"]);
  expect(model.update(shape, stateOf({}, [{}, { status: "failed" }]))).toBe(false);
  expect(model.update(readShape({ steps: [{ id: "a" }, { id: "b" }] }), stateOf({}, [{}, {}]))).toBe(true);
  expect(keysOf(model)).toEqual(["a", "b"]);
});

test("what was opened and closed stays so when steps come", () => {
  const model = unrun(LOOP);
  model.toggle(at(model, "tune"));
  model.update(readShape({ steps: [...LOOP, { id: "later" }] }), NO_STATE);
  expect(keysOf(model)).toEqual(["load", "tune", "report", "later"]);
});

test("boxes keep their size while the run goes on", () => {
  const model = modelOf([...LOOP, { id: "work", fanOut: true, many: true }]);
  const before = model.scene().graph;
  const later: Standing[] = LOOP.map(() => ({ status: "running", counts: { completed: 12345, failed: 678 } }));
  later.push({ width: 99_999_999, status: "running", counts: { completed: 9 } });
  model.update(model.shape, stateOf({}, later));
  const after = model.scene().graph;
  expect([...after.width]).toEqual([...before.width]);
  expect([...after.height]).toEqual([...before.height]);
});

test("an open fan-out keeps its size when more becomes known of it", () => {
  const model = modelOf([{ id: "work", fanOut: true, many: true }]);
  model.toggle(0);
  const before = boxOf(model, "work");
  model.update(model.shape, stateOf({}, [{ width: 100_000 }]));
  expect(boxOf(model, "work")).toEqual(before);
});

// -- opening -----------------------------------------------------------------------------------------------------

test("groups are open at first while the picture stays small", () => {
  expect(unrun(LOOP).isOpen(1)).toBe(true);
  const large = unrun([
    { id: "big", kind: "workflow", construct: true }, ...row(50, (number) => ({ node: `n${number}`, group: "big" })),
  ]);
  expect(keysOf(large)).toEqual(["big"]);
});

test("fan-outs with elements open, tasks and bodies do not", () => {
  const steps = [{ id: "a" }, { id: "b", fanOut: true }, { id: "c", fanOut: true }, ...SWITCH];
  const model = modelOf(steps, [{}, {}, { width: 0 }]);
  expect(["a", "b", "c", "route", "route.case_0"].map((key) => model.openable(at(model, key)))).toEqual([
    false, true, false, true, false,
  ]);
  expect(model.isOpen(at(model, "route.case_0"))).toBe(true);
});

test("a group of one step opens", () => {
  const model = unrun([{ id: "sub", construct: true }, { id: "sub/a", group: "sub" }]);
  expect(model.openable(at(model, "sub"))).toBe(true);
});

test("all groups open and close together; only closing touches fan-outs", () => {
  const model = modelOf([...LOOP, { id: "work", fanOut: true }]);
  model.openAll(false);
  expect(keysOf(model)).toEqual(["load", "tune", "report", "work"]);
  model.toggle(at(model, "work"));
  model.openAll(true);
  expect([model.isOpen(at(model, "tune")), model.isOpen(at(model, "work"))]).toEqual([true, true]);
  model.openAll(false);
  expect([model.isOpen(at(model, "tune")), model.isOpen(at(model, "work"))]).toEqual([false, false]);
});

test("a node is revealed by opening everything around it", () => {
  const model = unrun([
    { id: "outer", construct: true }, { id: "outer/inner", group: "outer", construct: true },
    { id: "outer/inner/step", group: "outer/inner" },
  ]);
  model.openAll(false);
  expect(keysOf(model)).toEqual(["outer"]);
  model.reveal(at(model, "outer/inner/step"));
  expect(keysOf(model)).toEqual(["outer", "outer/inner", "outer/inner/step"]);
});

test("what was opened can be handed to another model", () => {
  const steps = [...LOOP, { id: "work", fanOut: true }];
  const [one, other] = [modelOf(steps), modelOf(steps)];
  one.toggle(at(one, "tune"));
  one.toggle(at(one, "work"));
  other.opened = one.opened;
  expect(keysOf(other)).toEqual(keysOf(one));
  expect(boxOf(other, "work")).toEqual(boxOf(one, "work"));
});

// -- boxes and arrows --------------------------------------------------------------------------------------------

test("boxes come each before those inside of it", () => {
  const model = unrun([...LOOP, ...SWITCH.slice(1)]);
  const { graph, ends } = model.scene();
  for (let box = 0; box < graph.n; box++) {
    const parent = graph.parent[box]!;
    expect(parent).toBeLessThan(box);
    if (parent >= 0) expect(ends[box]).toBeLessThanOrEqual(ends[parent]!);
  }
  expect(boxOf(model, "route")).toMatchObject({ frame: 1, stretch: 0 });
  expect(boxOf(model, "route.case_0")).toMatchObject({ frame: 1, stretch: 1 });
  expect(boxOf(model, "load")).toMatchObject({ frame: 0, stretch: 0 });
});

test("what a closed group uses and is used by is the group's", () => {
  const model = unrun([...LOOP, { id: "check", uses: ["tune.*/score"] }]);
  model.openAll(false);
  expect(arrowsOf(model)).toEqual(["load > tune", "tune > check", "tune > report"]);
});

test("what a loop waits for leads to its frame, and no arrow goes around inside", () => {
  expect(arrowsOf(unrun(LOOP))).toEqual(["load > tune", "tune > report", "tune.*/fit > tune.*/score"]);
});

test("an arrow leads into a workflow's frame, to the step that uses it", () => {
  const steps: PlainStep[] = [
    { id: "load" }, { id: "sub", kind: "workflow", construct: true }, { id: "sub/a", group: "sub", uses: ["load"] },
    { id: "sub/b", group: "sub", uses: ["sub/a"] },
  ];
  expect(arrowsOf(unrun(steps))).toEqual(["load > sub/a", "sub/a > sub/b"]);
});

test("what only a loop's first step uses leads to the loop's frame, of a parallel construct to the step", () => {
  const steps = (kind: string): PlainStep[] => [
    { id: "load" }, { id: "group", kind, construct: true }, { id: "group/a", group: "group", uses: ["load"] },
  ];
  expect(arrowsOf(unrun(steps("loop")))).toEqual(["load > group"]);
  expect(arrowsOf(unrun(steps("parallel")))).toEqual(["load > group/a"]);
});

test("where several steps of a construct use one thing, one arrow leads to its frame", () => {
  const steps = (kind: string): PlainStep[] => [
    { id: "load" }, { id: "group", kind, construct: true }, { id: "group/a", group: "group", uses: ["load"] },
    { id: "group/b", group: "group", uses: ["load"] },
  ];
  expect(arrowsOf(unrun(steps("parallel")))).toEqual(["load > group"]);
  expect(arrowsOf(unrun(steps("workflow")))).toEqual(["load > group/a", "load > group/b"]);
});

test("many arrows out of one open box of several steps are drawn as one", () => {
  const steps = row(61, () => ({ node: "work" }));
  const uses = (n: number) => ({ id: "merge", uses: steps.slice(0, n).map((step) => step.id) });
  for (const [n, arrows] of [[3, 3], [4, 1]] as const) {
    const model = unrun([...steps, uses(n)]);
    model.toggle(at(model, "s0 ×"));
    expect(arrowsOf(model)).toHaveLength(arrows);
  }
});

const KINDS: Kind[] = ["small", "nested", "layered", "wide"];

test.each(KINDS)("in a %s run no arrow joins a frame to what is in it", (kind) => {
  const { shape, state } = made(kind, 300);
  const model = new Model(shape!, state!);
  for (const open of [null, true, false]) {
    if (open !== null) model.openAll(open);
    const { graph, ends } = model.scene();
    for (let edge = 0; edge < graph.edges.length; edge += 2) {
      const [from, to] = [graph.edges[edge]!, graph.edges[edge + 1]!];
      expect(from === to || (from < to && to < ends[from]!) || (to < from && from < ends[to]!)).toBe(false);
    }
  }
});

test("boxes have room for their name, and no more than 250 pixels", () => {
  const widths = ["a", "a_name_of_20_letters", "M".repeat(90)].map((id) => boxOf(unrun([{ id }]), id).width);
  expect(widths[0]).toBeLessThan(widths[1]!);
  expect(widths[1]).toBeLessThan(widths[2]!);
  expect(widths[2]).toBe(250);
});

test("a box is higher where it has a bar", () => {
  expect(boxOf(unrun([{ id: "a" }]), "a").height).toBe(46);
  expect(boxOf(unrun([{ id: "a", many: true }]), "a").height).toBe(56);
});

test("a frame has room for its name and for what it is", () => {
  const width = (id: string, kind: string) => {
    const model = unrun([{ id, kind, construct: true }, { id: `${id}/a`, group: id }]);
    return boxOf(model, id).width;
  };
  expect(width("tune_for_long", "workflow")).toBeGreaterThan(width("tune", "workflow"));
  expect(width("tune", "loop")).toBeGreaterThan(width("tune", "workflow"));
});

test.each([[100, 220, 186], [400, 402, 284], [1000, 368, 266], [20_000, 664, 434]])(
  "the cells of %i elements are as large as they can be: %i × %i pixels", (elements, width, height) => {
    const model = modelOf([{ id: "work", fanOut: true }], [{ width: elements }]);
    model.toggle(0);
    expect(boxOf(model, "work")).toMatchObject({ width, height });
  },
);

test("an open fan-out has room for its cells, up to a limit", () => {
  const heights = [1, 100, 2_000, 100_000, 10_000_000].map((width) => {
    const model = modelOf([{ id: "work", fanOut: true }], [{ width }]);
    model.toggle(0);
    return boxOf(model, "work").height;
  });
  expect(heights).toEqual([...heights].sort((a, b) => a - b));
  expect(heights[0]).toBeGreaterThan(CELLS_TOP);
  expect(heights.at(-1)).toBe(CELLS_TOP + 360 + 24);
});

// -- one node ----------------------------------------------------------------------------------------------------

const CHAIN = row(5, (number) => ({ node: "smooth", uses: number ? [`s${number - 1}`] : [] }));
const fold = (statuses: Standing[]) => {
  const model = modelOf(CHAIN, statuses);
  return { model, node: at(model, "s0 ×") };
};

test.each<[string[], string]>([
  [["completed", "completed", "failed", "running", "pending"], "failed"],
  [["completed", "retrying", "running", "pending", "pending"], "retrying"],
  [["completed", "completed", "running", "pending", "pending"], "running"],
  [["completed", "cancelled", "skipped", "pending", "pending"], "cancelled"],
  [["completed", "completed", "skipped", "pending", "pending"], "skipped"],
  [["completed", "completed", "pending", "pending", "pending"], "running"],
  [["pending", "pending", "pending", "pending", "pending"], "pending"],
  [["cached", "cached", "cached", "cached", "cached"], "cached"],
  [["completed", "cached", "cached", "cached", "cached"], "completed"],
])("several steps that are %j are together %s", (statuses, together) => {
  const { model, node } = fold(statuses.map((status) => ({ status: status as Standing["status"] & string })));
  expect(model.status(node)).toBe(together);
});

test("several steps count together, and have a width once all of theirs are known", () => {
  const { model, node } = fold(row(5, () => ({})).map(() => ({ counts: { completed: 2, failed: 1 }, width: 4 })));
  expect(model.counts(node)).toEqual([10, 0, 0, 0, 5, 0, 0, 0]);
  expect(model.width(node)).toBe(20);
  expect(model.said(node)).toBe("10/20 · 5 failed");
  expect(fold([{ width: 4 }]).model.width(node)).toBeNull();
});

test("before a run, several steps are told by their number", () => {
  const model = unrun(CHAIN);
  expect(model.said(at(model, "s0 ×"))).toBe("5 steps");
});

test("a body that was begun is told so; one that was not, by why", () => {
  const head: Partial<Head> = { steps: { 1: { taken: ["case_0"] } } };
  const shape = readShape({ steps: SWITCH });
  const state = stateOf(head, [{}, { status: "running" }, { status: "running" }, {}]);
  state.data!.setUint8(3 * 96 + 1, 2);
  const model = new Model(shape, state);
  const [taken, other] = [at(model, "route.case_0"), at(model, "route.default")];
  expect([model.taken(taken), model.unused(taken), model.said(taken)]).toEqual([true, "", "taken"]);
  expect([model.taken(other), model.unused(other), model.said(other)]).toEqual([false, "not taken", "not taken"]);
});

test("a construct that never began says why for its bodies too", () => {
  const state = stateOf({}, SWITCH.map(() => ({})));
  state.data!.setUint8(1 * 96 + 1, 1);
  const model = new Model(readShape({ steps: SWITCH }), state);
  expect(model.said(at(model, "route.case_0"))).toBe("skipped");
});

test("a workflow that has not run shows what a run would do with each step", () => {
  const model = unrun([
    { id: "a", mark: "new" }, { id: "b", mark: "stale", why: "code changed" }, { id: "c", mark: "later" }, { id: "d" },
  ]);
  const nodes = [0, 1, 2, 3];
  expect(nodes.map((node) => model.face(node).colour)).toEqual(["running", "retrying", "pending", "pending"]);
  expect(nodes.map((node) => model.face(node).sign)).toEqual(["new", "retrying", "pending", "pending"]);
  expect(nodes.map((node) => model.said(node))).toEqual(["new", "stale · code changed", "pending", "pending"]);
});

test("a construct's word is told where its name does not say it", () => {
  const model = unrun([
    { id: "loop", name: "loop", kind: "loop", construct: true }, { id: "tune", kind: "loop", construct: true },
    { id: "sub", kind: "workflow", construct: true },
  ]);
  expect(["loop", "tune", "sub"].map((key) => model.word(at(model, key)))).toEqual(["", "loop", ""]);
});

test("a step has a bar when it may have more than one task", () => {
  const model = unrun([{ id: "a" }, { id: "b", many: true }, { id: "c", fanOut: true }, { id: "d", construct: true }]);
  expect([0, 1, 2, 3].map((node) => model.wide(node))).toEqual([false, true, true, true]);
});

test("a long name is told by its beginning and its end", () => {
  expect(clip("a_name_of_24_letters_all")).toBe("a_name_of_24_letters_all");
  expect(clip("a_name_that_is_somewhat_too_long")).toBe("a_name_that_i…t_too_long");
});
