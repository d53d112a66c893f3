import { expect, test } from "vitest";
import { readShape } from "../src/format";
import { Nest, after, before, shortName } from "../src/nest";
import { makeDocument } from "./make";
import type { PlainStep } from "./graphs";

const nestOf = (steps: PlainStep[], failed: string[] = []) =>
  new Nest(readShape({ steps }).steps, (step) => failed.includes(step.id));
const shown = (nest: Nest) => nest.shown.map((step) => step.id);

const FAN_OUT: PlainStep[] = [
  { id: "load" },
  { id: "work.items", helper: true, uses: ["load"] },
  { id: "work", fanOut: true, uses: ["work.items"] },
  { id: "report", uses: ["work"] },
];

test("what the engine put there is left out, and what used it uses what that uses", () => {
  const nest = nestOf(FAN_OUT);
  expect(shown(nest)).toEqual(["load", "work", "report"]);
  expect(nest.uses.get("work")).toEqual(["load"]);
  expect(nest.uses.get("report")).toEqual(["work"]);
});

test("a helper that failed is shown, and used as it is", () => {
  const nest = nestOf(FAN_OUT, ["work.items"]);
  expect(shown(nest)).toEqual(["load", "work.items", "work", "report"]);
  expect(nest.uses.get("work")).toEqual(["work.items"]);
});

test("a helper of a construct stays out of sight even when it failed", () => {
  const steps = [{ id: "tune", construct: true }, { id: "tune.next", group: "tune", helper: true }];
  expect(shown(nestOf(steps, ["tune.next"]))).toEqual(["tune"]);
});

test("a part of a step that is used is the step", () => {
  const nest = nestOf([{ id: "split" }, { id: "fit", uses: ["split.train.x", "split.test", "nowhere"] }]);
  expect(nest.uses.get("fit")).toEqual(["split"]);
});

test("a step waits for what it comes after and what its condition uses", () => {
  const nest = nestOf([
    { id: "a" }, { id: "b" }, { id: "c" }, { id: "d.when", helper: true, uses: ["b"], after: ["c"] },
    { id: "d", after: ["a"] },
  ]);
  expect(nest.uses.get("d")).toEqual(["a", "b", "c"]);
});

test("constructs with steps in them frame those, and so do groups that are no steps", () => {
  const nest = nestOf([
    { id: "tune", construct: true }, { id: "tune.*/fit", group: "tune" }, { id: "empty", construct: true },
    { id: "team/north/clean", group: "team/north" },
  ]);
  expect([...nest.framed]).toEqual(["tune", "team/north", "team"]);
  expect(shown(nest)).toEqual(["tune.*/fit", "empty", "team/north/clean"]);
});

test("the bodies of a switch and a try are frames of their own, those of others are not", () => {
  const nest = nestOf([
    { id: "route", kind: "switch", construct: true }, { id: "route.case_0/a", group: "route", arm: "case_0" },
    { id: "guard", kind: "try", construct: true }, { id: "guard.body/b", group: "guard", arm: "body" },
    { id: "tune", kind: "loop", construct: true }, { id: "tune.*/c", group: "tune", arm: "*" },
  ]);
  expect(nest.shown.map((step) => nest.frameOf(step))).toEqual(["route.case_0", "guard.body", "tune"]);
});

test("what is inside of a construct is used from outside as the construct", () => {
  const nest = nestOf([
    { id: "load" },
    { id: "tune", kind: "loop", construct: true, uses: ["load"] },
    { id: "tune.*/fit", group: "tune", arm: "*", uses: ["tune.*.state"] },
    { id: "tune.*.state", group: "tune", helper: true, uses: ["load"] },
    { id: "report", uses: ["tune.*.state"] },
  ]);
  expect(nest.uses.get("report")).toEqual(["tune"]);
  expect(nest.uses.get("tune.*/fit")).toEqual(["load"]);
});

test("however deep a step is inside of a construct, it does not use that construct", () => {
  const nest = nestOf([
    { id: "load" },
    { id: "tune", kind: "loop", construct: true },
    { id: "tune.*.state", group: "tune", helper: true, uses: ["load"] },
    { id: "tune.*/inner", group: "tune", construct: true },
    { id: "tune.*/inner/fit", group: "tune.*/inner", uses: ["tune.*.state"] },
  ]);
  expect(nest.uses.get("tune.*/inner/fit")).toEqual(["load"]);
});

test("a construct uses what its own helpers use, but not those of its bodies", () => {
  const nest = nestOf([
    { id: "a" }, { id: "b" }, { id: "route", kind: "switch", construct: true },
    { id: "route.test", group: "route", helper: true, uses: ["a"] },
    { id: "route.case_0.join", group: "route", arm: "case_0", helper: true, uses: ["b"] },
  ]);
  expect(nest.uses.get("route")).toEqual(["a"]);
});

test("an item goes from step to step: what is used through another is no arrow of its own", () => {
  const each = { group: "sites", arm: "[]" };
  const nest = nestOf([
    { id: "load" }, { id: "sites", kind: "each", construct: true, uses: ["load"] },
    { id: "sites[]/fetch", uses: ["load"], ...each }, { id: "sites[]/parse", uses: ["load", "sites[]/fetch"], ...each },
  ]);
  expect(nest.uses.get("sites[]/parse")).toEqual(["sites[]/fetch"]);
});

test("a loop asks first, does, and asks again after", () => {
  const inside = { group: "tune", arm: "*" };
  const nest = nestOf([
    { id: "tune", kind: "loop", construct: true },
    { id: "tune.*.while/more", ...inside },
    { id: "tune.*/fit", ...inside },
    { id: "tune.*/score", uses: ["tune.*/fit"], ...inside },
    { id: "tune.*.until/good", ...inside },
  ]);
  expect(nest.uses.get("tune.*.while/more")).toEqual([]);
  expect(nest.uses.get("tune.*/fit")).toEqual(["tune.*.while/more"]);
  expect(nest.uses.get("tune.*/score")).toEqual(["tune.*/fit"]);
  expect(nest.uses.get("tune.*.until/good")).toEqual(["tune.*/score"]);
});

test("what a dynamic workflow makes comes after its plan", () => {
  const nest = nestOf([
    { id: "grow", kind: "dynamic", construct: true }, { id: "grow.plan", group: "grow" },
    { id: "grow/a", group: "grow" }, { id: "grow/b", group: "grow", uses: ["grow/a"] },
  ]);
  expect(nest.uses.get("grow.plan")).toEqual([]);
  expect(nest.uses.get("grow/a")).toEqual(["grow.plan"]);
  expect(nest.uses.get("grow/b")).toEqual(["grow/a"]);
});

test("helpers that use each other in a circle come to an end", () => {
  const nest = nestOf([
    { id: "a.1", helper: true, uses: ["a.2"] }, { id: "a.2", helper: true, uses: ["a.1"] }, { id: "b", uses: ["a.1"] },
  ]);
  expect(nest.uses.get("b")).toEqual([]);
});

const KINDS = ["small", "layered", "wide", "nested", "marks"] as const;

test.each(KINDS)("in a %s run, all that is used is shown or framed", (kind) => {
  const nest = nestOf(makeDocument(kind, 150).shape!.steps!);
  const there = new Set([...shown(nest), ...nest.framed]);
  for (const step of nest.shown) {
    for (const used of nest.uses.get(step.id)!) expect(there).toContain(used);
  }
});

test.each([
  [{ id: "load", name: "load" }, "load"], [{ id: "tune.*/fit", name: "fit", group: "tune" }, "fit"],
  [{ id: "tune.*/fit", group: "tune" }, "fit"], [{ id: "grow.plan", group: "grow" }, "plan"],
  [{ id: "other", group: "tune" }, "other"], [{ id: "tune", group: "tune" }, "tune"],
])("the short name of %j is %s", (step, name) => {
  expect(shortName(readShape({ steps: [step] }).steps[0]!)).toBe(name);
});

test("a text is cut at the last of a sign", () => {
  expect([before("a/b/c", "/"), after("a/b/c", "/")]).toEqual(["a/b", "c"]);
  expect([before("abc", "/"), after("abc", "/")]).toEqual(["", "abc"]);
});
