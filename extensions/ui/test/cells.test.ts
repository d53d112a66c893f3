import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cellAt, drawCells, guessCells, makeCells, type Cells } from "../src/cells";
import { COUNTED, STATUSES, type Status } from "../src/format";
import { FakeCanvas, stillTheme } from "./graphs";

const code = (status: Status) => STATUSES.indexOf(status);
const countsOf = (counts: Partial<Record<Status, number>>) => COUNTED.map((status) => counts[status] ?? 0);
const AREA = [10, 20, 280, 140] as const;
const ALL = [0, 0, 1000, 1000] as const;
const theme = stillTheme();

let images: FakeCanvas[] = [];

beforeEach(() => {
  images = [];
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation((() => {
    images.push(new FakeCanvas());
    return images.at(-1)!.context;
  }) as never);
});
afterEach(() => vi.restoreAllMocks());

function draw(cells: Cells, scale: number, seen: readonly [number, number, number, number] = ALL) {
  const canvas = new FakeCanvas();
  const signs: [status: string, x: number, y: number][] = [];
  drawCells(canvas.context, theme, cells, AREA, scale, seen, (status, _, x, y) => signs.push([status, x, y]));
  return { canvas, signs };
}

test("cells know which elements failed, and not more of them than can be told apart", () => {
  const status = new Uint8Array(10).fill(code("completed"));
  status[3] = status[7] = code("failed");
  expect(makeCells(4, status, true)).toMatchObject({ step: 4, width: 10, failed: [3, 7] });
  expect(makeCells(4, new Uint8Array(50_000).fill(code("failed")), true).failed).toHaveLength(2000);
});

test("while only counts are known, cells are in order of state, and what is not counted is pending", () => {
  const cells = guessCells(0, countsOf({ completed: 2, running: 1, failed: 1 }), 6);
  expect(cells.known).toBe(false);
  expect([...cells.status].map((byte) => STATUSES[byte])).toEqual([
    "completed", "completed", "running", "failed", "pending", "pending",
  ]);
});

test("while the width is not known, there is a cell for every element that was counted", () => {
  expect(guessCells(0, countsOf({ completed: 2, pending: 3 }), null).width).toBe(5);
});

test.each([1, 2, 7, 60, 999, 5000])("each of %i elements is found where it is drawn, and nothing beside them", (n) => {
  const cells = makeCells(0, new Uint8Array(n), false);
  const { canvas } = draw(cells, 200); // so near that cells are drawn one by one
  const rectangles = canvas.of("fillRect").map(({ given }) => given as [number, number, number, number]);
  expect(rectangles).toHaveLength(n);
  rectangles.forEach(([x, y, w, h], element) => {
    expect(cellAt(cells, AREA, x + w / 2, y + h / 2)).toBe(element);
    expect(x + w <= AREA[0] + AREA[2] + 0.01 && y + h <= AREA[1] + AREA[3] + 0.01).toBe(true);
  });
  for (const [x, y] of [[5, 30], [30, 15], [295, 30], [30, 165]]) expect(cellAt(cells, AREA, x!, y!)).toBe(-1);
});

test("a fan-out without elements has no cells", () => {
  const cells = makeCells(0, new Uint8Array(0), true);
  expect(cellAt(cells, AREA, 50, 50)).toBe(-1);
  expect(draw(cells, 1).canvas.drawn).toEqual([]);
});

test("only the cells that are seen are drawn", () => {
  const cells = makeCells(0, new Uint8Array(60), false);
  const { canvas } = draw(cells, 2, [10, 20, 28, 38]);
  expect(canvas.of("fillRect")).toHaveLength(1);
});

test("near, elements have the signs of their states; cells in order of state are no elements and have none", () => {
  const status = Uint8Array.of(code("completed"), code("failed"), code("running"));
  expect(draw(makeCells(0, status, true), 2).signs.map(([name]) => name)).toEqual(["completed", "failed", "running"]);
  expect(draw(makeCells(0, status, false), 2).signs).toEqual([]);
});

test("small cells are one image, with a pixel an element in the colour of its state", () => {
  const cells = makeCells(0, Uint8Array.of(code("failed"), code("pending")), true);
  const { canvas } = draw(cells, 0.3);
  expect(canvas.of("drawImage")).toHaveLength(1);
  const image = images[0]!.of("putImageData")[0]!.given[0] as { data: Uint8ClampedArray };
  const hex = (at: number) =>
    `#${[...image.data.slice(at, at + 3)].map((one) => one.toString(16).padStart(2, "0")).join("")}`;
  expect(hex(0)).toBe(theme.colours.failed!.toLowerCase());
  expect(hex(4)).toBe(theme.line.toLowerCase());
});

test("the image is made once, and again in another theme", () => {
  const cells = makeCells(0, new Uint8Array(5000), true);
  const canvas = new FakeCanvas();
  const drawIn = (one: typeof theme) => drawCells(canvas.context, one, cells, AREA, 0.3, ALL, () => {});
  drawIn(theme);
  drawIn(theme);
  expect(images).toHaveLength(1);
  drawIn({ ...theme, line: "#000000" });
  expect(images).toHaveLength(2);
});

test("one that failed among 100,000 is drawn large enough to be seen", () => {
  const status = new Uint8Array(100_000).fill(code("completed"));
  status[54_321] = code("failed");
  const { canvas } = draw(makeCells(0, status, true), 1);
  const [rim, own] = canvas.of("fillRect");
  expect(own).toMatchObject({ fillStyle: theme.colours.failed });
  expect(own!.given[2]).toBeGreaterThanOrEqual(2.5);
  expect(rim).toMatchObject({ fillStyle: theme.ground });
});
