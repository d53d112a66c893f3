// Graphs, pictures and a canvas for tests of what lays them out and draws them.

import { readShape, type Doc, type Step } from "../src/format";
import { layout } from "../src/layout";
import { Model, type Graph } from "../src/model";
import { boundsOf, type Picture } from "../src/paint";
import { readTheme, type Theme } from "../src/theme";
import { stateOf, type Standing } from "./panels";

/** Returns numbers from 0 to 1 that are the same each time. Source: Numerical Recipes' linear congruence. */
export function dice(seed: number): () => number {
  let value = seed;
  return () => {
    value = (Math.imul(value, 1664525) + 1013904223) >>> 0;
    return value / 2 ** 32;
  };
}

export interface Box {
  parent?: number;
  frame?: boolean;
  stretch?: boolean;
  width?: number;
  height?: number;
}

/** Returns a graph of boxes, each before those inside of it. */
export function graphOf(boxes: Box[], arrows: [from: number, to: number][]): Graph {
  return {
    n: boxes.length,
    width: Float64Array.from(boxes, (box) => box.width ?? 100),
    height: Float64Array.from(boxes, (box) => box.height ?? 40),
    parent: Int32Array.from(boxes, (box) => box.parent ?? -1),
    frame: Uint8Array.from(boxes, (box) => Number(box.frame ?? false)),
    stretch: Uint8Array.from(boxes, (box) => Number(box.stretch ?? false)),
    edges: Int32Array.from(arrows.flat()),
  };
}

/** Returns boxes and arrows of chance: frames in frames, and arrows from boxes to later ones. */
export function chanceGraph(n: number, seed: number): Graph {
  const chance = dice(seed);
  const boxes: Box[] = [];
  const open: number[] = [];
  for (let box = 0; box < n; box++) {
    while (open.length && chance() < 0.3) open.pop();
    const frame = open.length < 3 && chance() < 0.2;
    boxes.push({ parent: open.at(-1) ?? -1, frame, width: 60 + 100 * chance(), height: 30 + 40 * chance() });
    if (frame) open.push(box);
  }
  const holds = (frame: number, box: number): boolean =>
    box >= 0 && (box === frame || holds(frame, boxes[box]!.parent!));
  const arrows: [number, number][] = [];
  for (let arrow = 0; arrow < 1.5 * n; arrow++) {
    const to = Math.floor(n * chance());
    const from = Math.floor(to * chance());
    if (from !== to && !holds(from, to) && !holds(to, from)) arrows.push([from, to]);
  }
  return graphOf(boxes, arrows);
}

export type PlainStep = Partial<Step> & { id: string };

/** Returns the model of a run. */
export function modelOf(steps: PlainStep[], standings: Standing[] = []): Model {
  const shape = readShape({ workflow: "report", run: "r-1", steps } satisfies Doc["shape"]);
  return new Model(shape, stateOf({}, steps.map((_, step) => standings[step] ?? {})));
}

/** Returns the picture of a run as it is drawn. */
export function pictureOf(steps: PlainStep[], standings: Standing[] = []): Picture {
  const model = modelOf(steps, standings);
  const scene = model.scene();
  const made = layout(scene.graph, "right");
  const codes = Uint8Array.from(scene.nodes, (node) => model.code(node));
  return { model, scene, layout: made, bounds: boundsOf(made), codes, cells: new Map() };
}

/** Returns the light theme, in which nothing moves by itself. */
export function stillTheme(): Theme {
  return { ...readTheme(document.body), moves: false };
}

/** Something that was drawn: a method of the canvas with what it was given, and the style at that time. */
export interface Drawn {
  method: string;
  given: unknown[];
  font: string;
  fillStyle: string;
  strokeStyle: string;
}

/** A canvas that keeps what is drawn on it; a letter is as wide as half its height. */
export class FakeCanvas {
  readonly drawn: Drawn[] = [];
  readonly context: CanvasRenderingContext2D;

  constructor() {
    const { drawn } = this;
    const style: Record<string, unknown> = { font: "10px none", fillStyle: "", strokeStyle: "" };
    this.context = new Proxy(style, {
      get(_, name: string) {
        if (name in style) return style[name];
        if (name === "measureText") {
          return (text: string) => ({ width: text.length * 0.5 * Number(/([\d.]+)px/.exec(String(style.font))![1]) });
        }
        if (name === "createImageData") {
          return (width: number, height: number) => ({ data: new Uint8ClampedArray(4 * width * height) });
        }
        return (...given: unknown[]) => {
          const { font, fillStyle, strokeStyle } = style as Record<string, string>;
          drawn.push({ method: name, given, font: font!, fillStyle: fillStyle!, strokeStyle: strokeStyle! });
        };
      },
      set(_, name: string, value: unknown) {
        style[name] = value;
        return true;
      },
    }) as unknown as CanvasRenderingContext2D;
  }

  of(method: string): Drawn[] {
    return this.drawn.filter((one) => one.method === method);
  }
}
