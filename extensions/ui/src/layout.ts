// A layered layout with nested frames. Frames are laid out inside first and then stand as one box among their
// neighbours, so that a frame never runs through a stranger. Everything runs along the main axis, layer by layer, and
// is spread over the cross axis; left-to-right and top-down are the same with the axes exchanged.

import type { Graph } from "./model";
import { groupBy, spread } from "./spread";

/** Pixels inside of a frame, above its first box for the title, and around the whole. */
const PAD = 14;
const TITLE = 24;
const MARGIN = 10;
const LAYER_GAP = { right: 52, down: 36 };
/** A gap between layers grows with the slope of the arrows through it, up to so much. */
const WIDEST_GAP = 220;
const SLOPE = 0.16;
/** Above so many boxes that join nothing, they stand in rows. */
const LOOSE = 6;
const LOOSE_GAP = 16;
const BELOW = 32;
/** At most so many places where arrows pass layers; longer arrows then go straight. */
const MOST_WAYS = 40_000;
const WAY_SIZE = 6;
/** Above so many boxes only one direction is tried. */
const MOST_BOTH = 400;

export type Direction = "right" | "down";

/** Where everything is, in pixels from the top left. */
export interface Layout {
  direction: Direction;
  width: number;
  height: number;
  x: Float64Array;
  y: Float64Array;
  w: Float64Array;
  h: Float64Array;
  /** The points of the arrows (x, y, x, y, ...); those of arrow a are number `starts[a]` up to `starts[a + 1]`. */
  points: Float64Array;
  starts: Int32Array;
}

/** Returns the layout of a graph: in the direction asked for, else in the one that fits the room better. */
export function layout(graph: Graph, direction: Direction | null = null, width = 980, height = 520): Layout {
  if (direction !== null) return new Whole(graph, direction).layout();
  const right = new Whole(graph, "right").layout();
  const fit = (one: Layout) => Math.min(1, width / one.width, height / one.height);
  if (fit(right) === 1 || graph.n > MOST_BOTH) return right;
  const down = new Whole(graph, "down").layout();
  return fit(down) > 1.15 * fit(right) ? down : right;
}

const NONE: number[] = [];

/** All levels of a graph, one inside the other. A level is a frame's inside; level 0 is the top, box b's is b + 1. */
class Whole {
  readonly #right: boolean;
  /** By box: its length along the main axis and its breadth across; its place within its level, then in all. */
  readonly #long: Float64Array;
  readonly #broad: Float64Array;
  readonly #main: Float64Array;
  readonly #cross: Float64Array;
  /** By box: where its layer begins and ends, NaN where it is in none. */
  readonly #layerStart: Float64Array;
  readonly #layerEnd: Float64Array;
  readonly #boxes: number[][];
  readonly #depth: Int32Array;
  /** Parts of arrows, each within one level: from and to (-1: from or to the frame's rim), and the ways it takes. */
  readonly #from: number[] = [];
  readonly #to: number[] = [];
  readonly #parts: number[][];
  /** By part: begin, end and cross place of each layer it passes. */
  readonly #ways: number[][] = [];

  constructor(readonly graph: Graph, readonly direction: Direction) {
    const { n } = graph;
    this.#right = direction === "right";
    this.#long = Float64Array.from(this.#right ? graph.width : graph.height);
    this.#broad = Float64Array.from(this.#right ? graph.height : graph.width);
    this.#main = new Float64Array(n);
    this.#cross = new Float64Array(n);
    this.#layerStart = new Float64Array(n);
    this.#layerEnd = new Float64Array(n);
    this.#depth = new Int32Array(n);
    this.#boxes = Array.from({ length: n + 1 }, () => NONE);
    this.#parts = Array.from({ length: n + 1 }, () => NONE);
    for (let box = 0; box < n; box++) {
      const parent = graph.parent[box]!;
      this.#depth[box] = parent < 0 ? 0 : this.#depth[parent]! + 1;
      push(this.#boxes, parent + 1, box);
    }
  }

  layout(): Layout {
    const { n, frame, edges, parent } = this.graph;
    const known = new Map<number, number>();
    /** Returns the part of an arrow within a level; arrows that share a part share its way. */
    const part = (level: number, from: number, to: number): number => {
      const key = (from + 1) * (n + 1) + to + 1;
      let found = known.get(key);
      if (found === undefined) {
        found = this.#from.length;
        known.set(key, found);
        this.#from.push(from);
        this.#to.push(to);
        this.#ways.push(NONE);
        push(this.#parts, level, found);
      }
      return found;
    };
    const arrows: number[][] = [];
    for (let at = 0; at < edges.length; at += 2) arrows.push(this.#partsOf(edges[at]!, edges[at + 1]!, part));
    // Boxes come after the frames they are in: backwards is from the inside out.
    const inset = new Float64Array(2 * n);
    for (let box = n - 1; box >= 0; box--) {
      if (!frame[box]) continue;
      const [long, broad] = this.#place(box + 1);
      const short = Math.max(0, this.graph.width[box]! - (this.#right ? long : broad) - 2 * PAD);
      inset[2 * box] = this.#right ? PAD + short / 2 : TITLE;
      inset[2 * box + 1] = this.#right ? TITLE : PAD + short / 2;
      this.#long[box] = long + (this.#right ? 2 * PAD + short : PAD + TITLE);
      this.#broad[box] = broad + (this.#right ? PAD + TITLE : 2 * PAD + short);
    }
    const [long, broad] = this.#place(0);
    // Where each level begins; boxes are put there from the outside in.
    const origin = new Float64Array(2 * (n + 1));
    origin[0] = origin[1] = MARGIN;
    for (let box = 0; box < n; box++) {
      const level = parent[box]! + 1;
      this.#main[box]! += origin[2 * level]!;
      this.#cross[box]! += origin[2 * level + 1]!;
      origin[2 * box + 2] = this.#main[box]! + inset[2 * box]!;
      origin[2 * box + 3] = this.#cross[box]! + inset[2 * box + 1]!;
    }
    return this.#drawn(long + 2 * MARGIN, broad + 2 * MARGIN, arrows, origin);
  }

  /** Returns the parts of an arrow: out of the frames it begins in, over, and into those it ends in. */
  #partsOf(from: number, to: number, part: (level: number, from: number, to: number) => number): number[] {
    const { parent } = this.graph;
    const left: number[] = [];
    const entered: number[] = [];
    let [a, b] = [from, to];
    while (parent[a] !== parent[b]) {
      if ((this.#depth[a] ?? 0) >= (this.#depth[b] ?? 0)) {
        left.push(a);
        a = parent[a]!;
      } else {
        entered.push(b);
        b = parent[b]!;
      }
    }
    if (a === b) return NONE;
    const found = left.map((box) => part(parent[box]! + 1, box, -1));
    found.push(part(parent[a]! + 1, a, b));
    for (const box of entered.reverse()) found.push(part(parent[box]! + 1, -1, box));
    return found;
  }

  /** Lays out a level and returns its length and breadth. */
  #place(level: number): [number, number] {
    const boxes = this.#boxes[level]!;
    const parts = this.#parts[level]!;
    if (!boxes.length) return [0, 0];
    const joined = new Set<number>();
    for (const part of parts) joined.add(this.#from[part]!).add(this.#to[part]!);
    const loose = boxes.filter((box) => !joined.has(box));
    if (loose.length <= LOOSE) return new Level(this, boxes, parts).place();
    const others = boxes.filter((box) => joined.has(box));
    const [long, broad] = others.length ? new Level(this, others, parts).place() : [0, 0];
    const [rowsLong, rowsBroad] = this.#inRows(loose, broad ? broad + BELOW : 0);
    return [Math.max(long, rowsLong), rowsBroad];
  }

  /** Puts boxes that join nothing in rows and columns. */
  #inRows(boxes: number[], from: number): [number, number] {
    let width = 0;
    let height = 0;
    for (const box of boxes) {
      width = Math.max(width, (this.#right ? this.#long : this.#broad)[box]!);
      height = Math.max(height, (this.#right ? this.#broad : this.#long)[box]!);
    }
    width += LOOSE_GAP;
    height += LOOSE_GAP;
    const columns = Math.max(1, Math.ceil(Math.sqrt((1.6 * boxes.length * height) / width)));
    const rows = Math.ceil(boxes.length / columns);
    boxes.forEach((box, at) => {
      const x = (at % columns) * width;
      const y = Math.floor(at / columns) * height;
      this.#layerStart[box] = this.#layerEnd[box] = NaN;
      this.#main[box] = this.#right ? x : y;
      this.#cross[box] = from + (this.#right ? y : x);
    });
    const [across, down] = [columns * width - LOOSE_GAP, rows * height - LOOSE_GAP];
    return this.#right ? [across, from + down] : [down, from + across];
  }

  /** Returns a box's length and breadth. */
  size(box: number): [number, number] {
    return [this.#long[box]!, this.#broad[box]!];
  }

  /** Returns where a part of an arrow leads from and to. */
  ends(part: number): [number, number] {
    return [this.#from[part]!, this.#to[part]!];
  }

  get gap(): number {
    return LAYER_GAP[this.direction];
  }

  /** Puts a box into its layer: at its middle there, with its middle across. */
  put(box: number, layerStart: number, layerLong: number, middle: number): void {
    if (this.graph.stretch[box]) this.#long[box] = layerLong;
    this.#layerStart[box] = layerStart;
    this.#layerEnd[box] = layerStart + layerLong;
    this.#main[box] = layerStart + (layerLong - this.#long[box]!) / 2;
    this.#cross[box] = middle - this.#broad[box]! / 2;
  }

  /** Leads a part of an arrow straight through a layer. */
  pass(part: number, start: number, end: number, middle: number): void {
    const ways = this.#ways[part]!;
    if (ways === NONE) this.#ways[part] = [start, end, middle];
    else ways.push(start, end, middle);
  }

  #drawn(long: number, broad: number, arrows: number[][], origin: Float64Array): Layout {
    const { n, edges, parent } = this.graph;
    const starts = new Int32Array(arrows.length + 1);
    const points: number[] = [];
    arrows.forEach((parts, at) => {
      if (parts.length) this.#lead(edges[2 * at]!, edges[2 * at + 1]!, parts, parent, origin, points);
      starts[at + 1] = points.length / 2;
    });
    const flat = Float64Array.from(points);
    if (!this.#right) {
      for (let at = 0; at < flat.length; at += 2) [flat[at], flat[at + 1]] = [flat[at + 1]!, flat[at]!];
    }
    const either = (right: Float64Array, down: Float64Array) => (this.#right ? right : down).slice(0, n);
    return {
      direction: this.direction,
      width: this.#right ? long : broad,
      height: this.#right ? broad : long,
      x: either(this.#main, this.#cross),
      y: either(this.#cross, this.#main),
      w: either(this.#long, this.#broad),
      h: either(this.#broad, this.#long),
      points: flat,
      starts,
    };
  }

  /** Writes the points of one arrow: level with its source to the end of that one's layer, along its ways, and in. */
  #lead(
    from: number, to: number, parts: number[], parent: Int32Array, origin: Float64Array, points: number[],
  ): void {
    let cross = this.#cross[from]! + this.#broad[from]! / 2;
    const aim = this.#cross[to]! + this.#broad[to]! / 2;
    points.push(this.#main[from]! + this.#long[from]!, cross);
    for (const part of parts) {
      const source = this.#from[part]!;
      const inside = source >= 0 ? source : this.#to[part]!;
      const level = parent[inside]! + 1;
      const [main0, cross0] = [origin[2 * level]!, origin[2 * level + 1]!];
      if (source >= 0 && this.#layerEnd[source]! > this.#main[source]! - main0 + this.#long[source]! + 1) {
        points.push(main0 + this.#layerEnd[source]!, cross);
      }
      const ways = this.#ways[part]!;
      for (let at = 0; at < ways.length; at += 3) {
        cross = cross0 + ways[at + 2]!;
        points.push(main0 + ways[at]!, cross, main0 + ways[at + 1]!, cross);
      }
      if (this.#to[part] === to && this.#layerStart[to]! < this.#main[to]! - main0 - 1) {
        points.push(main0 + this.#layerStart[to]!, aim);
      }
    }
    points.push(this.#main[to]!, aim);
  }
}

/** One level: boxes in layers, and arrows that lead from layer to layer. */
class Level {
  readonly #from: Int32Array;
  readonly #to: Int32Array;
  readonly #layer: Int32Array;
  readonly #layers: number;

  constructor(readonly whole: Whole, readonly boxes: number[], readonly parts: number[]) {
    const places = new Map(boxes.map((box, place) => [box, place]));
    this.#from = new Int32Array(parts.length);
    this.#to = new Int32Array(parts.length);
    parts.forEach((part, at) => {
      const [from, to] = whole.ends(part);
      this.#from[at] = from < 0 ? -1 : places.get(from)!;
      this.#to[at] = to < 0 ? -1 : places.get(to)!;
    });
    this.#layer = this.#layered();
    this.#layers = this.#layer.reduce((most, layer) => Math.max(most, layer), 0) + 1;
  }

  /** Returns each box's layer: one after the last it needs; what needs nothing stands right before its first user. */
  #layered(): Int32Array {
    const n = this.boxes.length;
    const inner = [...this.#from.keys()].filter((at) => this.#from[at]! >= 0 && this.#to[at]! >= 0);
    const users = groupBy(n, inner, (at) => this.#from[at]!, (at) => this.#to[at]!);
    const open = new Int32Array(n);
    for (const at of inner) open[this.#to[at]!]!++;
    const needs = open.slice();
    const layer = new Int32Array(n);
    const done = new Uint8Array(n);
    const ready: number[] = [];
    for (let place = 0; place < n; place++) if (!open[place]) ready.push(place);
    for (let next = 0, rest = 0, count = 0; count < n; ) {
      if (next === ready.length) {
        // A ring, which only a wrong definition has: it is cut anywhere.
        while (done[rest]) rest++;
        ready.push(rest);
      }
      const place = ready[next++]!;
      if (done[place]) continue;
      done[place] = 1;
      count++;
      for (let at = users.start[place]!; at < users.start[place + 1]!; at++) {
        const user = users.items[at]!;
        if (done[user]) continue;
        layer[user] = Math.max(layer[user]!, layer[place]! + 1);
        if (--open[user]! === 0) ready.push(user);
      }
    }
    for (let place = 0; place < n; place++) {
      const [start, end] = [users.start[place]!, users.start[place + 1]!];
      if (needs[place] || start === end) continue;
      let first = Infinity;
      for (let at = start; at < end; at++) first = Math.min(first, layer[users.items[at]!]!);
      layer[place] = Math.max(0, first - 1);
    }
    return layer;
  }

  /** Places the boxes and leads the arrows; returns length and breadth. */
  place(): [number, number] {
    const boxes = this.boxes.length;
    const [firstWay, endWay, ways] = this.#passed();
    const places = boxes + ways;
    const layer = new Int32Array(places);
    layer.set(this.#layer);
    const sizes = new Float64Array(places).fill(WAY_SIZE);
    for (let place = 0; place < boxes; place++) sizes[place] = this.whole.size(this.boxes[place]!)[1];
    const links: number[] = [];
    const wayAt = new Int32Array(this.parts.length);
    let next = boxes;
    this.parts.forEach((_, at) => {
      wayAt[at] = next;
      let last = this.#from[at]!;
      for (let through = firstWay[at]!; through < endWay[at]!; through++) {
        layer[next] = through;
        if (last >= 0) links.push(last, next);
        last = next++;
      }
      const to = this.#to[at]!;
      if (last >= 0 && to >= 0 && layer[last]! < this.#layer[to]!) links.push(last, to);
    });
    const layers = groupBy(this.#layers, [...layer.keys()], (place) => layer[place]!, (place) => place);
    const middle = spread(layers, links, sizes, boxes);
    return this.#set(middle, sizes, links, layer, wayAt, firstWay, endWay);
  }

  /** Returns, by part, the first layer it passes and the end of them, and how many there are in all. */
  #passed(): [Int32Array, Int32Array, number] {
    const first = new Int32Array(this.parts.length);
    const end = new Int32Array(this.parts.length);
    let count = 0;
    this.parts.forEach((_, at) => {
      first[at] = this.#from[at]! < 0 ? 0 : this.#layer[this.#from[at]!]! + 1;
      end[at] = this.#to[at]! < 0 ? this.#layers : this.#layer[this.#to[at]!]!;
      count += Math.max(0, end[at]! - first[at]!);
    });
    if (count <= MOST_WAYS) return [first, end, count];
    const longest = Math.max(1, Math.floor(MOST_WAYS / this.parts.length));
    count = 0;
    this.parts.forEach((_, at) => {
      if (end[at]! - first[at]! > longest) end[at] = first[at]!;
      count += Math.max(0, end[at]! - first[at]!);
    });
    return [first, end, count];
  }

  #set(
    middle: Float64Array, sizes: Float64Array, links: number[], layer: Int32Array, wayAt: Int32Array,
    firstWay: Int32Array, endWay: Int32Array,
  ): [number, number] {
    let low = Infinity;
    let high = -Infinity;
    for (let place = 0; place < middle.length; place++) {
      low = Math.min(low, middle[place]! - sizes[place]! / 2);
      high = Math.max(high, middle[place]! + sizes[place]! / 2);
    }
    const long = new Float64Array(this.#layers);
    this.boxes.forEach((box, place) => {
      const at = layer[place]!;
      long[at] = Math.max(long[at]!, this.whole.size(box)[0]);
    });
    const gap = new Float64Array(this.#layers).fill(this.whole.gap);
    for (let at = 0; at < links.length; at += 2) {
      const rise = Math.abs(middle[links[at]!]! - middle[links[at + 1]!]!);
      const from = layer[links[at]!]!;
      gap[from] = Math.max(gap[from]!, Math.min(WIDEST_GAP, SLOPE * rise));
    }
    const start = new Float64Array(this.#layers);
    let length = 0;
    for (let at = 0; at < this.#layers; at++) {
      start[at] = length;
      length += long[at]! + gap[at]!;
    }
    this.boxes.forEach((box, place) => {
      const at = layer[place]!;
      this.whole.put(box, start[at]!, long[at]!, middle[place]! - low);
    });
    this.parts.forEach((part, at) => {
      for (let through = firstWay[at]!, way = wayAt[at]!; through < endWay[at]!; through++, way++) {
        this.whole.pass(part, start[through]!, start[through]! + long[through]!, middle[way]! - low);
      }
    });
    return [Math.max(0, length - gap[this.#layers - 1]!), high - low];
  }
}

function push(lists: number[][], at: number, value: number): void {
  const list = lists[at]!;
  if (list === NONE) lists[at] = [value];
  else list.push(value);
}
