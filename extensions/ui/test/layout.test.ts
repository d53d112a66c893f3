import { describe, expect, test } from "vitest";
import { layout, type Layout } from "../src/layout";
import type { Graph } from "../src/model";
import { chanceGraph, graphOf } from "./graphs";

const SEEDS = Array.from({ length: 25 }, (_, seed) => seed + 1);

const isInside = (at: Layout, box: number, frame: number) =>
  at.x[box]! >= at.x[frame]! && at.x[box]! + at.w[box]! <= at.x[frame]! + at.w[frame]! &&
  at.y[box]! >= at.y[frame]! && at.y[box]! + at.h[box]! <= at.y[frame]! + at.h[frame]!;
const isApart = (at: Layout, a: number, b: number) =>
  at.x[a]! + at.w[a]! <= at.x[b]! || at.x[b]! + at.w[b]! <= at.x[a]! ||
  at.y[a]! + at.h[a]! <= at.y[b]! || at.y[b]! + at.h[b]! <= at.y[a]!;
const holds = ({ parent }: Graph, frame: number, box: number): boolean =>
  box >= 0 && (parent[box] === frame || holds({ parent } as Graph, frame, parent[box]!));
const pointsOf = (at: Layout, arrow: number) => [
  ...at.points.subarray(2 * at.starts[arrow]!, 2 * at.starts[arrow + 1]!),
];

test("a graph without boxes has the size of its margins", () => {
  const at = layout(graphOf([], []));
  expect([at.width, at.height, at.x.length]).toEqual([20, 20, 0]);
});

test("a chain runs to the right, on one line", () => {
  const at = layout(graphOf([{}, {}, {}], [[0, 1], [1, 2]]));
  expect(at.direction).toBe("right");
  expect([...at.x]).toEqual([10, 162, 314]);
  expect(new Set(at.y).size).toBe(1);
});

test("top-down is left-to-right with the axes exchanged", () => {
  const boxes = [{}, {}, {}, {}].map(() => ({ width: 70, height: 70 }));
  const arrows: [number, number][] = [[0, 1], [0, 2], [1, 3], [2, 3]];
  const [right, down] = [layout(graphOf(boxes, arrows), "right"), layout(graphOf(boxes, arrows), "down")];
  expect([...down.x]).toEqual([...right.y]);
  expect(down.y[3]).toBeGreaterThan(down.y[1]!);
});

test("a chain that is too long for the room runs down", () => {
  const boxes = Array.from({ length: 12 }, () => ({}));
  const arrows = boxes.slice(1).map((_, at): [number, number] => [at, at + 1]);
  expect(layout(graphOf(boxes, arrows), null, 500, 900).direction).toBe("down");
  expect(layout(graphOf(boxes, arrows), null, 4000, 900).direction).toBe("right");
});

test("many boxes that join nothing stand in rows", () => {
  const at = layout(graphOf(Array.from({ length: 30 }, () => ({})), []));
  expect(new Set(at.x).size).toBeGreaterThan(2);
  expect(new Set(at.y).size).toBeGreaterThan(2);
});

test("what needs nothing stands right before what needs it first", () => {
  const at = layout(graphOf([{}, {}, {}, {}], [[0, 1], [1, 2], [3, 2]]), "right");
  expect(at.x[3]).toBe(at.x[1]);
});

test("a ring, which only a wrong definition has, is cut and laid out", () => {
  const at = layout(graphOf([{}, {}, {}], [[0, 1], [1, 2], [2, 0]]));
  expect([...at.x, ...at.y].every(Number.isFinite)).toBe(true);
});

test("an arrow over a layer goes around the box that stands there", () => {
  const graph = graphOf([{}, {}, {}], [[0, 1], [1, 2], [0, 2]]);
  const at = layout(graph, "right");
  const points = pointsOf(at, 2);
  for (let point = 0; point < points.length; point += 2) {
    const [x, y] = [points[point]!, points[point + 1]!];
    const through = x >= at.x[1]! && x <= at.x[1]! + at.w[1]!;
    if (through) expect(y < at.y[1]! || y > at.y[1]! + at.h[1]!).toBe(true);
  }
});

test("bodies beside each other are equally long", () => {
  const boxes = [
    { frame: true }, { parent: 0, frame: true, stretch: true }, { parent: 0, frame: true, stretch: true },
    { parent: 1 }, { parent: 1 }, { parent: 2 },
  ];
  // Boxes stand before those inside of them; the two bodies differ by a box.
  const order = [0, 1, 3, 4, 2, 5];
  const place = new Map(order.map((box, at) => [box, at]));
  const sorted = order.map((box) => {
    const { parent, ...more } = boxes[box]! as { parent?: number };
    return { ...more, parent: parent === undefined ? -1 : place.get(parent)! };
  });
  const at = layout(graphOf(sorted, [[place.get(3)!, place.get(4)!]]), "right");
  expect(at.w[place.get(1)!]).toBe(at.w[place.get(2)!]);
});

test("a frame is wide enough for its title", () => {
  const at = layout(graphOf([{ frame: true, width: 300 }, { parent: 0, width: 50 }], []), "right");
  expect(at.w[0]).toBeGreaterThanOrEqual(300);
  expect(isInside(at, 1, 0)).toBe(true);
});

describe.each(["right", "down"] as const)("of graphs of chance, laid out %s,", (direction) => {
  const graphs = SEEDS.map((seed) => chanceGraph(10 + 3 * seed, seed));

  test("every box lies inside of its frame, and nothing else does", () => {
    for (const graph of graphs) {
      const at = layout(graph, direction);
      for (let a = 0; a < graph.n; a++) {
        if (graph.parent[a]! >= 0) expect(isInside(at, a, graph.parent[a]!)).toBe(true);
        for (let b = 0; b < a; b++) {
          if (!holds(graph, b, a) && !holds(graph, a, b)) expect(isApart(at, a, b)).toBe(true);
        }
      }
    }
  });

  test("everything lies inside of the whole", () => {
    for (const graph of graphs) {
      const at = layout(graph, direction);
      for (let box = 0; box < graph.n; box++) {
        expect(at.x[box]! >= 0 && at.x[box]! + at.w[box]! <= at.width).toBe(true);
        expect(at.y[box]! >= 0 && at.y[box]! + at.h[box]! <= at.height).toBe(true);
      }
    }
  });

  test("every arrow leads from the rim of its source to the rim of its target", () => {
    for (const graph of graphs) {
      const at = layout(graph, direction);
      for (let arrow = 0; arrow < graph.edges.length / 2; arrow++) {
        const [from, to] = [graph.edges[2 * arrow]!, graph.edges[2 * arrow + 1]!];
        const points = pointsOf(at, arrow);
        const ends = [points.slice(0, 2), points.slice(-2)];
        const [x, y, w, h] = [at.x, at.y, at.w, at.h];
        const wanted =
          direction === "right"
            ? [[x[from]! + w[from]!, y[from]! + h[from]! / 2], [x[to]!, y[to]! + h[to]! / 2]]
            : [[x[from]! + w[from]! / 2, y[from]! + h[from]!], [x[to]! + w[to]! / 2, y[to]!]];
        wanted.flat().forEach((value, place) => expect(ends.flat()[place]).toBeCloseTo(value, 6));
      }
    }
  });

  test("the layout is the same each time", () => {
    for (const graph of graphs) expect(layout(graph, direction)).toEqual(layout(graph, direction));
  });
});

test("10,000 boxes whose arrows pass many layers have places too", () => {
  const n = 10_000;
  const arrows: [number, number][] = [];
  for (let box = 1; box < n; box++) arrows.push([Math.max(0, box - 100), box], [box % 100, box]);
  const graph = graphOf(Array.from({ length: n }, () => ({})), arrows.filter(([from, to]) => from !== to));
  const at = layout(graph);
  expect([...at.x, ...at.y, ...at.points].every(Number.isFinite)).toBe(true);
  expect(at.starts.at(-1)).toBe(at.points.length / 2);
});
