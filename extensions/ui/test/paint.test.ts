import { beforeEach, expect, test, vi } from "vitest";
import type { Camera } from "../src/camera";
import { guessCells } from "../src/cells";
import { COUNTED } from "../src/format";
import { boundsOf, Painter, type Marked, type Picture } from "../src/paint";
import { dice, FakeCanvas, pictureOf, stillTheme, type PlainStep } from "./graphs";

const theme = stillTheme();
const NONE: Marked = { selected: -1, hovered: -1, found: null };
const STEPS: PlainStep[] = [
  { id: "load" },
  { id: "features", kind: "map", fanOut: true, many: true, uses: ["load"] },
  { id: "report_of_all_the_things_that_were_found", uses: ["features"] },
];
const STANDINGS = [
  { status: "completed", counts: { completed: 1 }, mean: 1.5 },
  { status: "running", width: 40, counts: { completed: 10, running: 2, failed: 1 } },
  { status: "pending", counts: { pending: 1 } },
] as const;

beforeEach(() => {
  vi.stubGlobal("Path2D", class {});
  return () => vi.unstubAllGlobals();
});

function paint(picture: Picture, camera: Partial<Camera> = {}, marked: Partial<Marked> = {}): FakeCanvas {
  const canvas = new FakeCanvas();
  const painter = new Painter(canvas.context, theme);
  painter.paint(picture, { scale: 1, x: 0, y: 0, ...camera }, 800, 400, 1, { ...NONE, ...marked });
  return canvas;
}
const textsOf = (canvas: FakeCanvas) => canvas.of("fillText").map(({ given }) => String(given[0]));

test("an arrow's bounds hold all of its points", () => {
  const { layout } = pictureOf(STEPS);
  const bounds = boundsOf(layout);
  for (let arrow = 0; arrow < layout.starts.length - 1; arrow++) {
    const [left, top, right, bottom] = bounds.subarray(4 * arrow);
    for (let point = layout.starts[arrow]!; point < layout.starts[arrow + 1]!; point++) {
      const [x, y] = [layout.points[2 * point]!, layout.points[2 * point + 1]!];
      expect(x >= left! && x <= right! && y >= top! && y <= bottom!).toBe(true);
    }
  }
});

test("near, a box says its name and its state", () => {
  const texts = textsOf(paint(pictureOf(STEPS, [...STANDINGS])));
  expect(texts).toContain("load");
  expect(texts).toContain("features");
  expect(texts.some((text) => text.includes("1 failed"))).toBe(true);
});

test("a long name is cut in its middle, so that its end is read too", () => {
  const texts = textsOf(paint(pictureOf(STEPS)));
  expect(texts.find((text) => text.startsWith("report"))).toMatch(/…/);
});

test("no text on the screen is smaller than 11 pixels, at any scale", () => {
  const picture = pictureOf(STEPS, [...STANDINGS]);
  for (let scale = 0.005; scale < 6; scale *= 1.07) {
    for (const { font } of paint(picture, { scale }).of("fillText")) {
      expect(Number(/([\d.]+)px/.exec(font)![1]) * scale).toBeGreaterThanOrEqual(11 - 0.1);
    }
  }
});

test("far, boxes are colours without text", () => {
  const canvas = paint(pictureOf(STEPS, [...STANDINGS]), { scale: 0.3 });
  expect(canvas.of("fillText")).toEqual([]);
  expect(canvas.of("fillRect").some(({ fillStyle }) => fillStyle === theme.colours.completed)).toBe(true);
});

test("what is out of sight is not drawn", () => {
  expect(textsOf(paint(pictureOf(STEPS, [...STANDINGS]), { x: -5000 }))).toEqual([]);
});

test("what waits has a dashed rim, and what runs a whole one", () => {
  const dashed = (canvas: FakeCanvas) => canvas.of("setLineDash").filter(({ given }) => (given[0] as []).length).length;
  expect(dashed(paint(pictureOf([{ id: "a" }], [{ status: "pending" }])))).toBe(1);
  expect(dashed(paint(pictureOf([{ id: "a" }], [{ status: "running" }])))).toBe(0);
});

test("arrows are stronger where the way was gone, strongest at what is selected", () => {
  const colours = (marked: Partial<Marked>) => {
    const canvas = paint(pictureOf(STEPS.slice(0, 2), [...STANDINGS]), {}, marked);
    const lines = canvas.of("stroke").map(({ strokeStyle }) => strokeStyle);
    return new Set(lines.slice(0, 1));
  };
  expect(colours({})).toEqual(new Set([theme.soft]));
  expect(colours({ selected: 1 })).toEqual(new Set([theme.ink]));
});

test("a bar gives every state that is there two pixels and keeps to its room: 1 failed of 100,000 is seen", () => {
  const counts = { completed: 99_000, failed: 1, running: 1, cached: 900 };
  const picture = pictureOf(STEPS.slice(0, 2), [{}, { status: "running", width: 100_000, counts }]);
  const own = new Set(["completed", "failed", "running", "cached"].map((status) => theme.colours[status]));
  const parts = paint(picture).of("fillRect").filter(({ fillStyle, given }) => own.has(fillStyle) && given[3] === 5);
  expect(parts.map(({ fillStyle }) => fillStyle)).toEqual(
    COUNTED.filter((status) => status in counts).map((status) => theme.colours[status]),
  );
  const { layout } = picture;
  for (const { given } of parts) {
    const [x, , width] = given as number[];
    expect(width).toBeGreaterThanOrEqual(2);
    expect(x! + width!).toBeLessThanOrEqual(layout.x[1]! + layout.w[1]! - 12 + 1e-6);
  }
});

test("what a search has found has a rim", () => {
  const rims = (found: Set<number> | null) => {
    const lines = paint(pictureOf(STEPS), {}, { found }).of("stroke");
    return lines.filter(({ strokeStyle }) => strokeStyle === theme.colours.retrying).length;
  };
  expect(rims(null)).toBe(0);
  expect(rims(new Set([0, 2]))).toBe(2);
});

test("the elements of an open fan-out are drawn in its box", () => {
  const picture = pictureOf(STEPS.slice(0, 2), [...STANDINGS]);
  const before = paint(picture).of("fillRect").length;
  picture.layout.h[1] = 200;
  picture.cells.set(1, guessCells(1, picture.model.counts(1), 40));
  expect(paint(picture).of("fillRect")).toHaveLength(before + 40);
});

test("lines far outside of the screen are cut to what is seen", () => {
  const chance = dice(3);
  const steps: PlainStep[] = [{ id: "first" }];
  for (let step = 1; step < 400; step++) {
    const used = step < 2 || chance() < 0.5 ? "first" : `s${step - 1}`;
    steps.push({ id: `s${step}`, node: `n${step}`, uses: [used] });
  }
  const picture = pictureOf(steps);
  const middle = picture.layout.y[0]!;
  for (const { given } of paint(picture, { scale: 6, y: -6 * middle }).of("lineTo")) {
    const [x, y] = given as number[];
    expect(Math.abs(x!) < 20_000 && Math.abs(y! - middle) < 20_000).toBe(true);
  }
});
