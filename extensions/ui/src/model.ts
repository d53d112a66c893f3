// What a picture shows of a workflow: a tree of nodes that open and close, and the boxes and arrows of what is open.
// Pure: no canvas, no page.

import { COUNTED, NO_STATE, STATUSES, viewOf, type Shape, type State, type Status, type Step } from "./format";
import { Nest, WITH_ARMS, after, before, shortName } from "./nest";
import { groupBy } from "./spread";
import { MARKS, armText, constructText, countsText, grouped, stateText, sum } from "./words";

/** So many steps of one node in a row become one box. */
const CHAIN = 5;
/** Above so many siblings, those of one node that stand side by side become one box. */
const ROOMY = 60;
/** Groups are open at first while no more boxes than this are shown. */
const AT_FIRST = 40;

const PLAIN = new Set(["workflow", "sequential"]);
/** Constructs whose last steps are what others wait for, whichever of them it will be. */
const UNSURE = new Set(["switch", "try", "loop", "dynamic"]);

const HEIGHT = 46;
const TALL = 56;
/** Pixels above the cells of an open fan-out. */
export const CELLS_TOP = 50;
const CHARACTERS = 24;

/** One node of the tree. */
export interface ModelNode {
  key: string;
  /** A step; a construct or group; one body of a switch or try; several steps as one. */
  kind: "step" | "group" | "arm" | "fold";
  /** The number of its step, or -1. */
  step: number;
  /** The numbers of the steps it stands for. */
  steps: number[];
  name: string;
  /** The place of what it is in, or -1. */
  parent: number;
  children: number[];
  /** The places of what it uses. */
  uses: number[];
}

/** Boxes to lay out, each before those inside of it. */
export interface Graph {
  n: number;
  width: Float64Array;
  height: Float64Array;
  parent: Int32Array;
  /** Whether it is a frame around others. */
  frame: Uint8Array;
  /** Whether it is as long as the frames beside it. */
  stretch: Uint8Array;
  /** Pairs: from, to. */
  edges: Int32Array;
}

export interface Scene {
  graph: Graph;
  /** By box, its node. */
  nodes: Int32Array;
  /** By box, one past the last box inside of it. */
  ends: Int32Array;
}

/** The tree of a workflow, with what is open in it. */
export class Model {
  nodes: ModelNode[] = [];
  roots: number[] = [];
  readonly byKey = new Map<string, number>();
  readonly #open = new Map<string, boolean>();
  readonly #sizes = new Map<string, [number, number]>();
  /** The size of open fan-outs, kept from when they were opened: nothing jumps when more is known. */
  readonly #cellSizes = new Map<string, [number, number]>();
  #helpers: number[] = [];
  #failed = "";

  constructor(public shape: Shape, public state: State = NO_STATE) {
    this.#build();
  }

  /** Takes in how the run stands; returns whether nodes have come or gone. */
  update(shape: Shape, state: State): boolean {
    const same = shape === this.shape;
    this.shape = shape;
    this.state = state;
    if (same && this.#failedHelpers() === this.#failed) return false;
    this.#build();
    return true;
  }

  // -- opening ------------------------------------------------------------------------------------------------------

  openable(node: number): boolean {
    const at = this.nodes[node]!;
    return at.kind !== "arm" && (at.children.length > 0 || this.hasCells(node));
  }

  /** Returns whether it is a fan-out that opens into its elements. */
  hasCells(node: number): boolean {
    const at = this.nodes[node]!;
    const step = this.shape.steps[at.step];
    if (at.kind !== "step" || !step || step.construct || !step.fanOut) return false;
    return this.state.width(at.step) !== 0;
  }

  isOpen(node: number): boolean {
    const at = this.nodes[node]!;
    return at.kind === "arm" || (this.#open.get(at.key) ?? false);
  }

  toggle(node: number): void {
    const at = this.nodes[node]!;
    const open = !this.isOpen(node);
    this.#open.set(at.key, open);
    if (open && this.hasCells(node)) this.#cellSizes.set(at.key, cellsSize(this.state.width(at.step)));
  }

  /** Opens everything around a node. */
  reveal(node: number): void {
    for (let at = this.nodes[node]!.parent; at >= 0; at = this.nodes[at]!.parent) {
      this.#open.set(this.nodes[at]!.key, true);
    }
  }

  /** Opens or closes all groups; closing closes fan-outs too. */
  openAll(open: boolean): void {
    this.nodes.forEach((at, node) => {
      if (at.children.length && at.kind !== "arm") this.#open.set(at.key, open);
      else if (!open && this.isOpen(node)) this.#open.set(at.key, false);
    });
  }

  /** Returns the keys of what was opened and closed, to be handed to another model of the same workflow. */
  get opened(): [string, boolean][] {
    return [...this.#open];
  }

  set opened(keys: Iterable<[string, boolean]>) {
    for (const [key, open] of keys) {
      this.#open.set(key, open);
      const node = this.byKey.get(key);
      if (open && node !== undefined && this.hasCells(node)) {
        this.#cellSizes.set(key, cellsSize(this.state.width(this.nodes[node]!.step)));
      }
    }
  }

  // -- one node -----------------------------------------------------------------------------------------------------

  status(node: number): Status {
    return STATUSES[this.code(node)]!;
  }

  code(node: number): number {
    const at = this.nodes[node]!;
    if (at.step >= 0) return this.state.code(at.step);
    return at.kind === "arm" ? 0 : codeOfAll(at.steps, this.state);
  }

  /** Returns why it never began, or "". */
  unused(node: number): string {
    const at = this.nodes[node]!;
    if (at.step >= 0) return this.state.unused(at.step);
    if (at.kind !== "arm") return "";
    const around = this.state.unused(this.nodes[at.parent]!.step);
    if (around) return around;
    if (this.taken(node) || !at.children.length) return "";
    return at.children.every((child) => this.unused(child)) ? this.unused(at.children[0]!) : "";
  }

  /** Returns whether a body of a switch or a try was begun. */
  taken(node: number): boolean {
    const at = this.nodes[node]!;
    return at.kind === "arm" && this.state.taken(this.nodes[at.parent]!.step).includes(after(at.key, "."));
  }

  counts(node: number): number[] {
    const at = this.nodes[node]!;
    if (at.step >= 0) return this.state.counts(at.step);
    const total = COUNTED.map(() => 0);
    for (const step of at.steps) {
      for (let which = 0; which < total.length; which++) total[which]! += this.state.count(step, which);
    }
    return total;
  }

  width(node: number): number | null {
    const at = this.nodes[node]!;
    if (at.step >= 0) return this.state.width(at.step);
    let total = 0;
    for (const step of at.steps) {
      const width = this.state.width(step);
      if (width === null) return null;
      total += width;
    }
    return total;
  }

  /** Returns whether it may have more than one task, so that it has a bar. */
  wide(node: number): boolean {
    const step = this.shape.steps[this.nodes[node]!.step];
    return !step || step.fanOut || step.construct || step.many;
  }

  /** Returns the status whose colour, and the one whose sign it has. */
  face(node: number): { colour: string; sign: string } {
    const mark = MARKS[this.shape.steps[this.nodes[node]!.step]?.mark ?? ""];
    if (mark && !this.state.size) return { colour: mark.status, sign: mark.text === "new" ? "new" : mark.status };
    const status = this.status(node);
    return { colour: status, sign: status };
  }

  /** Returns its state in a few words. */
  said(node: number): string {
    const at = this.nodes[node]!;
    const step = this.shape.steps[at.step];
    const mark = MARKS[step?.mark ?? ""];
    if (step && mark && !this.state.size) return step.why ? `${mark.text} · ${step.why}` : mark.text;
    if (step) {
      const view = viewOf(this.shape, this.state, at.step);
      return step.construct && !sum(view.counts) && !this.state.size ? constructText(view) : stateText(view);
    }
    if (at.kind === "arm") return this.unused(node) || (this.taken(node) ? "taken" : "");
    return this.state.size ? countsText(this.counts(node), this.width(node)) : `${grouped(at.steps.length)} steps`;
  }

  /** Returns what a construct is, where its name does not say so already. */
  word(node: number): string {
    const at = this.nodes[node]!;
    const step = this.shape.steps[at.step];
    if (!step) return "";
    const word = constructText({ kind: step.kind, times: this.state.times(at.step) });
    return at.name === step.kind && word.startsWith(at.name) ? word.slice(at.name.length).trim() : word;
  }

  // -- boxes and arrows ---------------------------------------------------------------------------------------------

  /** Returns what is to be laid out: the nodes that no closed one hides, and the arrows between them. */
  scene(): Scene {
    const nodes: number[] = [];
    const ends: number[] = [];
    const parents: number[] = [];
    // The box that shows a node: its own, or that of the closed one it is in.
    const boxOf = new Int32Array(this.nodes.length).fill(-1);
    const hide = (node: number, box: number) => {
      boxOf[node] = box;
      for (const child of this.nodes[node]!.children) hide(child, box);
    };
    const put = (node: number, parent: number) => {
      const box = nodes.length;
      nodes.push(node);
      parents.push(parent);
      ends.push(0);
      boxOf[node] = box;
      const { children } = this.nodes[node]!;
      for (const child of children) {
        if (this.isOpen(node)) put(child, box);
        else hide(child, box);
      }
      ends[box] = nodes.length;
    };
    for (const root of this.roots) put(root, -1);
    const n = nodes.length;
    const graph: Graph = {
      n,
      width: new Float64Array(n),
      height: new Float64Array(n),
      parent: Int32Array.from(parents),
      frame: new Uint8Array(n),
      stretch: new Uint8Array(n),
      edges: new Int32Array(0),
    };
    nodes.forEach((node, box) => {
      const at = this.nodes[node]!;
      const framed = this.isOpen(node) && at.children.length > 0;
      graph.frame[box] = Number(framed);
      graph.stretch[box] = Number(at.kind === "arm");
      const [width, height] = this.#size(node, framed);
      graph.width[box] = width;
      graph.height[box] = height;
    });
    graph.edges = this.#arrows(nodes, ends, boxOf, graph);
    return { graph, nodes: Int32Array.from(nodes), ends: Int32Array.from(ends) };
  }

  /**
   * Returns the arrows between boxes. One that would lead into a frame from outside ends at the frame instead, where
   * the frame as a whole waits for it: that is where several of its steps use the same thing.
   */
  #arrows(nodes: number[], ends: number[], boxOf: Int32Array, graph: Graph): Int32Array {
    const n = nodes.length;
    const wanted = new Set<number>();
    this.nodes.forEach((at, node) => {
      const to = boxOf[node]!;
      for (const used of at.uses) {
        const from = boxOf[used]!;
        if (from !== to && !contains(ends, from, to) && !contains(ends, to, from)) wanted.add(from * n + to);
      }
    });
    /** Returns the frames around `box`, innermost first, that `other` is not in. */
    const around = (other: number, box: number): number[] => {
      const found: number[] = [];
      for (let at = graph.parent[box]!; at >= 0 && at !== other && !contains(ends, at, other); at = graph.parent[at]!) {
        found.push(at);
      }
      return found;
    };
    const isFold = (box: number) => this.nodes[nodes[box]!]!.kind === "fold";
    const into = new Map<number, number>(); // how many arrows from a box lead into a frame
    const outOf = new Map<number, number>(); // how many arrows from a fold lead to a box
    const more = (counts: Map<number, number>, key: number) => counts.set(key, (counts.get(key) ?? 0) + 1);
    for (const arrow of wanted) {
      const [from, to] = [Math.floor(arrow / n), arrow % n];
      if (!graph.frame[to]) for (const frame of around(from, to)) more(into, from * n + frame);
      for (const frame of around(to, from)) if (isFold(frame)) more(outOf, frame * n + to);
    }
    const waits = (from: number, frame: number): boolean => {
      if (wanted.has(from * n + frame)) return true;
      const count = into.get(from * n + frame) ?? 0;
      if (isFold(frame)) return count > 1;
      const step = this.shape.steps[this.nodes[nodes[frame]!]!.step];
      return count > 0 && step !== undefined && !PLAIN.has(step.kind) && (count > 1 || UNSURE.has(step.kind));
    };
    const drawn = new Set<number>();
    for (const arrow of wanted) {
      let [from, to] = [Math.floor(arrow / n), arrow % n];
      const target = around(from, to).filter((frame) => waits(from, frame)).at(-1);
      const source = around(to, from).filter((frame) => isFold(frame) && (outOf.get(frame * n + to) ?? 0) > 3).at(-1);
      to = target ?? to;
      from = source ?? from;
      drawn.add(from * n + to);
    }
    return Int32Array.from([...drawn].flatMap((arrow) => [Math.floor(arrow / n), arrow % n]));
  }

  /** Returns a box's size: room for its name and the longest it may say, so that it stays as the run goes on. */
  #size(node: number, framed: boolean): [number, number] {
    const at = this.nodes[node]!;
    const form = framed ? "frame" : this.isOpen(node) ? "cells" : "box";
    const key = `${form} ${at.key}`;
    const known = this.#sizes.get(key);
    if (known) return known;
    const name = textWidth(clip(at.name), framed ? 13 : 15);
    let size: [number, number];
    if (framed) {
      size = [70 + name + textWidth(this.word(node), 12), 0];
    } else {
      const sign = this.openable(node) ? 20 : 0;
      const width = Math.max(132, 46 + sign + name, 50 + sign + textWidth(this.#longest(node), 12.2));
      size = [Math.round(Math.min(250, width)), this.wide(node) ? TALL : HEIGHT];
      if (form === "cells") {
        const [across, down] = this.#cellSizes.get(at.key) ?? cellsSize(this.width(node));
        size = [Math.max(size[0], across + 24), CELLS_TOP + down + 24];
      }
    }
    this.#sizes.set(key, size);
    return size;
  }

  #longest(node: number): string {
    const step: Step | undefined = this.shape.steps[this.nodes[node]!.step];
    if (step?.mark && !this.state.size) return this.said(node);
    if (step?.construct) return `${step.kind} ×100 · 100/100`;
    if (!this.wide(node)) return "completed 10.5 s";
    const width = this.width(node);
    if (width === null) return "100/100 · 10 failed";
    return `${grouped(width)}/${grouped(width)} · ${grouped(Math.max(1, width / 10))} failed`;
  }

  // -- building -----------------------------------------------------------------------------------------------------

  #failedHelpers(): string {
    return this.#helpers.filter((step) => this.state.status(step) === "failed").join();
  }

  #build(): void {
    const { steps, index } = this.shape;
    this.#helpers = steps.flatMap((step, at) => (step.helper && !step.construct && !index.has(step.group) ? [at] : []));
    this.#failed = this.#failedHelpers();
    const nest = new Nest(steps, (step) => this.state.status(index.get(step.id)!) === "failed");
    this.nodes = [];
    this.roots = [];
    this.byKey.clear();
    const add = (key: string, kind: ModelNode["kind"], step: number, name: string, parent: number): number => {
      const place = this.nodes.length;
      this.nodes.push({ key, kind, step, steps: step < 0 ? [] : [step], name, parent, children: [], uses: [] });
      this.byKey.set(key, place);
      (parent < 0 ? this.roots : this.nodes[parent]!.children).push(place);
      return place;
    };
    /** Returns the node of a frame, made with those around it when it is first asked for; -1 at the top. */
    const frame = (id: string): number => {
      if (!id) return -1;
      const known = this.byKey.get(id);
      if (known !== undefined) return known;
      const own = nest.all.get(id);
      if (own) return add(id, "group", index.get(id)!, shortName(own), frame(nest.frameOf(own)));
      const construct = nest.all.get(before(id, "."));
      if (construct && WITH_ARMS.has(construct.kind)) {
        return add(id, "arm", -1, armText(construct, after(id, ".")), frame(construct.id));
      }
      return add(id, "group", -1, after(id, "/"), frame(before(id, "/")));
    };
    for (const step of nest.shown) {
      add(step.id, "step", index.get(step.id)!, step.helper ? step.id : shortName(step), frame(nest.frameOf(step)));
    }
    for (const [id, uses] of nest.uses) {
      const node = this.byKey.get(id);
      if (node !== undefined) this.nodes[node]!.uses = uses.flatMap((used) => this.byKey.get(used) ?? []);
    }
    this.#fold(chains(this.nodes, steps));
    for (const siblings of bySiblings(this.nodes)) {
      if (siblings.length > ROOMY) this.#fold(alike(this.nodes, siblings, steps));
    }
    this.#gather();
    this.#openSome();
  }

  /** Puts nodes that belong together into one of their own. */
  #fold(bunches: number[][]): void {
    for (const bunch of bunches) {
      const first = this.nodes[bunch[0]!]!;
      const place = this.nodes.length;
      const steps = bunch.flatMap((node) => this.nodes[node]!.steps);
      const title = this.shape.steps[steps[0]!]?.node || first.name;
      const key = `${first.key} ×`;
      const { parent } = first;
      const name = `${title} ×${grouped(steps.length)}`;
      this.nodes.push({ key, kind: "fold", step: -1, steps, name, parent, children: bunch, uses: [] });
      this.byKey.set(key, place);
      for (const node of bunch) this.nodes[node]!.parent = place;
      const others = new Set(bunch.slice(1));
      const replaced = (places: number[]) =>
        places.filter((node) => !others.has(node)).map((node) => (node === bunch[0] ? place : node));
      if (parent < 0) this.roots = replaced(this.roots);
      else this.nodes[parent]!.children = replaced(this.nodes[parent]!.children);
    }
  }

  /** Gives groups that are no steps the steps they stand for. */
  #gather(): void {
    const steps = (at: ModelNode): number[] =>
      at.step >= 0 ? [at.step] : at.children.flatMap((child) => steps(this.nodes[child]!));
    for (const at of this.nodes) if (at.kind === "group" && at.step < 0) at.steps = steps(at);
  }

  /** Opens groups, outermost first, as long as the picture stays small; what was opened by hand stays. */
  #openSome(): void {
    let level = this.roots;
    let shown = level.length;
    while (level.length) {
      const next: number[] = [];
      for (const node of level) {
        const { kind, key, children } = this.nodes[node]!;
        if (kind === "group" && children.length && !this.#open.has(key)) {
          this.#open.set(key, shown + children.length <= AT_FIRST);
        }
        if (this.isOpen(node)) {
          shown += children.length;
          next.push(...children);
        }
      }
      level = next;
    }
  }
}

function bySiblings(nodes: ModelNode[]): number[][] {
  const places = nodes.map((_, place) => place);
  const { start, items } = groupBy(nodes.length + 1, places, (place) => nodes[place]!.parent + 1, (place) => place);
  return Array.from({ length: nodes.length + 1 }, (_, at) => [...items.subarray(start[at], start[at + 1])]);
}

/** Returns runs of steps of one node that follow each other and nothing else. */
function chains(nodes: ModelNode[], steps: Step[]): number[][] {
  const users = new Int32Array(nodes.length);
  for (const at of nodes) for (const used of at.uses) users[used]!++;
  const chainOf = new Map<number, number[]>();
  nodes.forEach((at, place) => {
    if (at.kind !== "step") return;
    const step = steps[at.step]!;
    const only = at.uses.length === 1 ? at.uses[0]! : -1;
    const previous = nodes[only];
    const old = previous?.kind === "step" ? steps[previous.step] : undefined;
    const follows =
      old && previous && users[only] === 1 && step.node && old.node === step.node && old.kind === step.kind &&
      previous.parent === at.parent && !old.construct;
    const chain = (follows && chainOf.get(only)) || [];
    chain.push(place);
    chainOf.set(place, chain);
  });
  return [...new Set(chainOf.values())].filter((chain) => chain.length >= CHAIN);
}

/** Returns bunches of siblings of one node that stand in one layer. */
function alike(nodes: ModelNode[], siblings: number[], steps: Step[]): number[][] {
  const rootOf = new Map<number, number>();
  const mark = (place: number, root: number) => {
    rootOf.set(place, root);
    for (const child of nodes[place]!.children) mark(child, root);
  };
  for (const sibling of siblings) mark(sibling, sibling);
  const layers = new Map<number, number>();
  const bunches = new Map<string, number[]>();
  const first = (place: number) => nodes[place]!.steps[0] ?? nodes[place]!.step;
  for (const sibling of [...siblings].sort((a, b) => first(a) - first(b))) {
    let layer = 0;
    const look = (place: number) => {
      for (const used of nodes[place]!.uses) {
        const root = rootOf.get(used);
        if (root !== undefined && root !== sibling) layer = Math.max(layer, layers.get(root) ?? 0);
      }
      nodes[place]!.children.forEach(look);
    };
    look(sibling);
    layers.set(sibling, layer + 1);
    const step = steps[first(sibling)];
    const at = nodes[sibling]!;
    const kind = [step?.node || at.key, step?.kind, layer, at.kind === "group"].join("\n");
    const bunch = bunches.get(kind);
    if (bunch) bunch.push(sibling);
    else bunches.set(kind, [sibling]);
  }
  return [...bunches.values()].filter((bunch) => bunch.length > 1);
}

/** Returns one status byte for several steps. */
function codeOfAll(steps: number[], state: State): number {
  let seen = 0;
  for (const step of steps) seen |= 1 << state.code(step);
  for (const code of [5, 2, 1, 7, 6]) if (seen & (1 << code)) return code; // what matters most comes first
  const [pending, onlyCached] = [1, 1 << 4];
  if (seen & pending) return seen === pending ? 0 : 1;
  return seen === onlyCached ? 4 : 3;
}

/** Returns whether a box lies inside of a frame. */
function contains(ends: ArrayLike<number>, frame: number, box: number): boolean {
  return frame < box && box < ends[frame]!;
}

/** Returns the pixels that the cells of so many elements take. */
function cellsSize(width: number | null): [number, number] {
  if (width === null) return [280, 140];
  const side = width <= 400 ? 14 : width <= 4000 ? 8 : 5;
  const columns = Math.max(1, Math.ceil(Math.sqrt(width * 1.8)));
  const across = Math.min(640, Math.max(140, columns * side));
  const rows = Math.ceil(width / Math.max(1, Math.floor(across / side)));
  return [across, Math.min(360, Math.max(side, rows * side))];
}

/** Returns about how wide a text is, in pixels; measuring each takes too long. */
function textWidth(text: string, size: number): number {
  let width = 0;
  for (const sign of text) {
    if ("iljtf.,:;'|![]() ".includes(sign)) width += 0.3;
    else width += "mwMW".includes(sign) || sign > "\u2e80" ? 0.92 : 0.58;
  }
  return width * size;
}

/** Returns a name short enough for a box: its beginning and its end. */
export function clip(name: string): string {
  return name.length <= CHARACTERS ? name : `${name.slice(0, 13)}…${name.slice(-10)}`;
}
