import { expect, test } from "vitest";
import { groupBy, spread } from "../src/spread";

const layersOf = (...layers: number[][]) => {
  const places = layers.flat();
  const layer = new Map(layers.flatMap((inside, at) => inside.map((place) => [place, at])));
  return groupBy(layers.length, places, (place) => layer.get(place)!, (place) => place);
};
const inLayer = ({ start, items }: ReturnType<typeof groupBy>, layer: number) => [
  ...items.subarray(start[layer], start[layer + 1]),
];

test("items come in bunches by their key, in their order, and a bunch may be empty", () => {
  const bunches = groupBy(3, [5, 8, 1, 9], (item) => (item > 6 ? 2 : 0), (item) => 10 * item);
  expect([...bunches.start]).toEqual([0, 2, 2, 4]);
  expect([...bunches.items]).toEqual([50, 10, 80, 90]);
});

test("boxes of a layer keep 16 pixels between them", () => {
  const sizes = Float64Array.of(40, 60, 20, 30);
  const layers = layersOf([0], [1, 2, 3]);
  const middle = spread(layers, [0, 1, 0, 2, 0, 3], sizes, 4);
  const order = inLayer(layers, 1);
  for (let at = 1; at < order.length; at++) {
    const [one, next] = [order[at - 1]!, order[at]!];
    const gap = middle[next]! - sizes[next]! / 2 - (middle[one]! + sizes[one]! / 2);
    expect(gap).toBeGreaterThanOrEqual(16 - 1e-9);
  }
});

test("two arrows that cross are uncrossed", () => {
  const layers = layersOf([0, 1], [2, 3]);
  spread(layers, [0, 3, 1, 2], new Float64Array(4).fill(20), 4);
  const [first, second] = [inLayer(layers, 0), inLayer(layers, 1)];
  expect(first.indexOf(0) < first.indexOf(1)).toBe(second.indexOf(3) < second.indexOf(2));
});

test("places that follow each other one by one lie on one line", () => {
  const layers = layersOf([0, 4], [1], [2], [3]);
  const middle = spread(layers, [0, 1, 1, 2, 2, 3], new Float64Array(5).fill(20), 5);
  expect(new Set([middle[0], middle[1], middle[2], middle[3]]).size).toBe(1);
});

test("what joins two others stands between them", () => {
  const middle = spread(layersOf([0, 1], [2]), [0, 2, 1, 2], Float64Array.of(20, 20, 20), 3);
  expect(middle[2]).toBeCloseTo((middle[0]! + middle[1]!) / 2);
});

test("the same places are spread in the same way each time", () => {
  const links = [0, 2, 0, 3, 1, 3, 1, 4, 2, 5, 4, 5];
  const once = () => [...spread(layersOf([0, 1], [2, 3, 4], [5]), [...links], new Float64Array(6).fill(30), 6)];
  expect(once()).toEqual(once());
});
