// What the browser measures; run.mjs calls it and prints it. Times are milliseconds.

import type { Context } from "../src/api";
import { Dag } from "../src/dag";
import { readShape, STATUSES, type Shape, type Spans, type State } from "../src/format";
import { layout } from "../src/layout";
import { Model } from "../src/model";
import { readTheme } from "../src/theme";
import { Timeline } from "../src/timeline";
import { dice, type PlainStep } from "../test/graphs";
import { stateOf, type Standing } from "../test/panels";

interface Run {
  shape: Shape;
  state: State;
}

/** Times of many frames: of drawing alone, and from frame to frame. */
export interface Frames {
  draw: number[];
  frame: number[];
}

const runOf = (steps: PlainStep[], standings: Standing[]): Run => ({
  shape: readShape({ workflow: "bench", run: "r-1", steps }),
  state: stateOf({ status: "running" }, standings),
});

/** Returns steps of `n` different nodes in layers, each using one to three of the layer before. */
function layered(n: number): Run {
  const chance = dice(5);
  const breadth = Math.round(Math.sqrt(n));
  const steps: PlainStep[] = [];
  const standings: Standing[] = [];
  for (let step = 0; step < n; step++) {
    const first = Math.floor(step / breadth) * breadth;
    const uses = new Set<string>();
    for (let use = 0; first && use < 1 + 2 * chance(); use++) {
      const near = first - breadth + (step % breadth) + Math.floor((chance() - 0.5) * 6);
      uses.add(`s${Math.min(first - 1, Math.max(first - breadth, near))}`);
    }
    steps.push({ id: `s${step}`, name: `step_${step}`, node: `node_${step}`, uses: [...uses] });
    const done = chance() < 0.02 ? "failed" : "completed";
    const status = step < 0.6 * n ? done : step < 0.62 * n ? "running" : "pending";
    standings.push({ status, counts: { [status]: 1 }, mean: 1.5 });
  }
  return runOf(steps, standings);
}

/** Returns a map over `n` elements between two other steps. */
function mapped(n: number): Run {
  const counts = { completed: 0.6 * n, cached: 0.05 * n, failed: 0.003 * n, running: 16 };
  return runOf(
    [
      { id: "load" },
      { id: "work", kind: "map", fanOut: true, many: true, uses: ["load"] },
      { id: "report", uses: ["work"] },
    ],
    [{ status: "completed", counts: { completed: 1 } }, { status: "running", width: n, counts }, {}],
  );
}

/** Returns `n` attempts at the tasks of 100 steps, on `workers` workers without much of a pause. */
function spansOf(n: number, workers: number): Spans {
  const chance = dice(3);
  const free = new Float64Array(workers);
  const spans: Spans = {
    n, since: 0, instances: [], from: 0, more: 0,
    start: new Float64Array(n), end: new Float64Array(n), step: new Uint32Array(n), element: new Uint32Array(n),
    instance: new Uint32Array(n).fill(0xffffffff), attempt: new Uint16Array(n).fill(1), worker: new Uint16Array(n),
    status: new Uint8Array(n),
  };
  for (let span = 0; span < n; span++) {
    const worker = span % workers;
    const start = free[worker]! + 0.01 * chance();
    const end = start + 0.01 + 0.05 * chance();
    free[worker] = end;
    spans.start[span] = start;
    spans.end[span] = end;
    spans.step[span] = span % 100;
    spans.element[span] = span;
    spans.worker[span] = worker;
    const status = chance() < 0.003 ? "failed" : chance() < 0.1 ? "cached" : "completed";
    spans.status[span] = STATUSES.indexOf(status);
  }
  return spans;
}

const host = (): HTMLElement => document.querySelector<HTMLElement>("#host")!;
const nextFrame = (): Promise<number> => new Promise(requestAnimationFrame);

/** Does something in each of `count` frames; it returns how long it drew. */
async function frames(count: number, draw: (at: number) => number): Promise<Frames> {
  const found: Frames = { draw: [], frame: [] };
  let last = await nextFrame();
  for (let at = 0; at < count; at++) {
    found.draw.push(draw(at));
    const now = await nextFrame();
    found.frame.push(now - last);
    last = now;
  }
  return found;
}

let dag: Dag;
let shown: Run;
let timeline: Timeline;

function show(run: Run, cells?: (step: number) => Promise<Uint8Array>): void {
  shown = run;
  dag = new Dag(host(), { ...readTheme(host()), moves: false }, cells ? { cells } : {});
  dag.update(run.shape, run.state);
  dag.drawNow();
}

function boxesInSight(): number {
  const { clientWidth: width, clientHeight: height } = host();
  const places = dag.visible().map(({ key }) => dag.boxOf(key)!);
  return places.filter(({ x, y, w, h }) => x < width && y < height && x + w > 0 && y + h > 0).length;
}

const bench = {
  /** Lays out nodes, for the first time in this page. */
  layout(n: number): number {
    const { shape, state } = layered(n);
    const { graph } = new Model(shape, state).scene();
    if (graph.n !== n) throw new Error(`${graph.n} of ${n} nodes are shown`);
    const began = performance.now();
    layout(graph);
    return performance.now() - began;
  },

  /** Shows nodes for the first time: from the document until the screen has them. */
  async firstPaint(n: number): Promise<number> {
    const run = layered(n);
    const began = performance.now();
    show(run);
    await nextFrame();
    await nextFrame(); // the next begins once the one with the picture is out
    return performance.now() - began;
  },

  /** Pans across a node, which stays in sight; also returns how many boxes are in sight at the end. */
  async pan(key: string, scale: number): Promise<Frames & { seen: number }> {
    dag.camera = { scale, x: 0, y: 0 };
    const { x, y, w, h } = dag.boxOf(key)!;
    const [left, top] = [host().clientWidth / 2 - x - w / 2, host().clientHeight / 2 - y - h / 2];
    const look = (at: number) => {
      dag.camera = { scale, x: left + 180 - 6 * at, y: top + 30 - at };
      return dag.drawNow();
    };
    look(0);
    return { ...(await frames(60, look)), seen: boxesInSight() };
  },

  /** Takes in a new state and draws it; the mean of ten. */
  update(): number {
    const began = performance.now();
    for (let at = 0; at < 10; at++) {
      dag.update(shown.shape, shown.state);
      dag.drawNow();
    }
    return (performance.now() - began) / 10;
  },

  /** Shows a map, closed. */
  showMap(n: number): void {
    const chance = dice(7);
    const [completed, cached, failed, running] = (["completed", "cached", "failed", "running"] as const).map((status) =>
      STATUSES.indexOf(status),
    );
    const status = new Uint8Array(n);
    for (let element = 0; element < 0.6 * n; element++) {
      status[element] = chance() < 0.003 ? failed! : chance() < 0.1 ? cached! : completed!;
    }
    status.fill(running!, 0.6 * n, 0.605 * n);
    show(mapped(n), async () => status);
  },

  /** Opens the map: until its elements, asked for and answered, are on the screen. */
  async openMap(): Promise<number> {
    const began = performance.now();
    dag.toggle("work");
    const row = dag.visible().find(({ key }) => key === "work")!;
    while (!row.drawn.cells.get(row.box)?.known) {
      dag.drawNow();
      await new Promise((wait) => setTimeout(wait));
    }
    dag.drawNow();
    await nextFrame();
    return performance.now() - began;
  },

  /** Shows a timeline; returns the milliseconds until it is drawn. */
  showTimeline(n: number, workers = 16): number {
    const steps = Array.from({ length: 100 }, (_, step): PlainStep => ({
      id: `step_${step}`, kind: "map", fanOut: true, many: true, uses: step ? [`step_${step - 1}`] : [],
    }));
    const { shape, state } = runOf(steps, steps.map(() => ({ status: "completed" })));
    const spans = spansOf(n, workers);
    const end = spans.end.reduce((last, at) => Math.max(last, at), 0);
    const source = { shape, state, spans, onChange: () => () => {} };
    const context: Context = {
      source, shape, state, channel: undefined, document: undefined, reading: false, now: () => end,
      open: () => {}, logs: () => {},
    };
    const began = performance.now();
    timeline = new Timeline(context, readTheme(host()));
    const { element } = timeline;
    element.style.cssText = "position:absolute;inset:0;display:flex;flex-direction:column";
    const scroll = element.querySelector<HTMLElement>(".scroll")!;
    scroll.style.cssText = "position:absolute;inset:0;overflow:auto";
    host().append(element);
    timeline.show(true);
    timeline.update();
    timeline.drawNow();
    return performance.now() - began;
  },

  /** Zooms in and out and shows all again, frame by frame. */
  zoomTimeline(how: "worker" | "step" | "waterfall"): Promise<Frames> {
    timeline.arrange(how);
    timeline.drawNow();
    return frames(40, (at) => {
      if (at % 10 === 9) timeline.fit();
      else timeline.zoom(at < 30 ? 1.3 : 0.8, 0.3 + (at % 5) * 0.1);
      return timeline.drawNow();
    });
  },
};

export type Bench = typeof bench;
Object.assign(window, { bench });
