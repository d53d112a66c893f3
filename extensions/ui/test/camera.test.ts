import { expect, test } from "vitest";
import { between, centred, NEAR, onScreen, showing, wholeOf, zoomed, type Camera } from "../src/camera";
import { layout } from "../src/layout";
import { graphOf } from "./graphs";

const chain = (n: number) => {
  const boxes = Array.from({ length: n }, () => ({}));
  return layout(graphOf(boxes, boxes.slice(1).map((_, at) => [at, at + 1])), "right");
};

test("the whole is in the middle, and small pictures are not enlarged", () => {
  const at = chain(2);
  const camera = wholeOf(at, 1000, 500);
  expect(camera.scale).toBe(1);
  expect(camera.x).toBe((1000 - at.width) / 2);
  expect(camera.y).toBe((500 - at.height) / 2);
});

test("the whole fits the room", () => {
  const at = chain(30);
  const { scale, x } = wholeOf(at, 1000, 500);
  expect(x).toBeCloseTo(0);
  expect(at.width * scale).toBeCloseTo(1000);
});

test("where the whole would be a thread, the picture begins where the workflow does", () => {
  const at = chain(2000);
  const camera = wholeOf(at, 1000, 500);
  const first = onScreen(camera, at, 0);
  expect(camera.scale).toBeGreaterThan(0.02);
  expect(first.x >= 0 && first.x + first.w <= 1000).toBe(true);
});

test("what is under the pointer stays there while zooming, as far as zooming goes", () => {
  const from: Camera = { scale: 1, x: 30, y: -20 };
  const to = zoomed(from, 1.5, 200, 100);
  expect(to.scale).toBe(1.5);
  expect((200 - to.x) / to.scale).toBeCloseTo((200 - from.x) / from.scale);
  expect((100 - to.y) / to.scale).toBeCloseTo((100 - from.y) / from.scale);
  expect(zoomed(from, 1e9, 0, 0).scale).toBe(6);
  expect(zoomed(from, 1e-9, 0, 0).scale).toBe(5e-4);
});

test("a point is brought to the middle", () => {
  expect(centred({ scale: 2, x: 0, y: 0 }, 100, 50, 800, 600)).toEqual({ scale: 2, x: 200, y: 200 });
});

test("a box that is in sight and can be read stays where it is", () => {
  expect(showing({ scale: 1, x: 0, y: 0 }, chain(3), 1, 800, 400)).toBeNull();
});

test("a box out of sight, or too small to be read, is brought near into the middle", () => {
  const at = chain(30);
  for (const [camera, box] of [[{ scale: 1, x: 0, y: 0 }, 29], [{ scale: 0.2, x: 0, y: 0 }, 3]] as const) {
    const to = showing(camera, at, box, 800, 400)!;
    const { x, y, w, h } = onScreen(to, at, box);
    expect(to.scale).toBe(Math.max(camera.scale, NEAR));
    expect([x + w / 2, y + h / 2].map(Math.round)).toEqual([400, 200]);
  }
});

test("a box larger than the room is shown as a whole", () => {
  const at = layout(graphOf([{ width: 3000, height: 100 }], []), "right");
  const { w } = onScreen(showing({ scale: 1, x: 0, y: 0 }, at, 0, 800, 400)!, at, 0);
  expect(w).toBeLessThan(800);
});

test("a move begins and ends exactly, and keeps a point that stays", () => {
  const from: Camera = { scale: 1, x: 0, y: 0 };
  const to = zoomed(from, 3, 200, 100);
  expect(between(from, to, 0)).toEqual(from);
  expect(between(from, to, 1)).toBe(to);
  for (const time of [0.2, 0.5, 0.9]) {
    const { scale, x, y } = between(from, to, time);
    expect((200 - x) / scale).toBeCloseTo(200);
    expect((100 - y) / scale).toBeCloseTo(100);
  }
});
