// Attempts as rows and lanes of a timeline, and what each of them waited for. Pure: typed arrays in and out.

import { addressOf, type Shape, type Spans } from "./format";

/** A row has at most so many lanes; what runs beside more of its kind shares one. */
const MOST_LANES = 48;
export const NONE = -1;
/** Seconds by which two attempts may overlap and still follow each other: clocks are not that fine. */
const SLACK = 1e-6;

export type Arrangement = "worker" | "step" | "waterfall";

/** Spans in rows, each of some lanes. */
export interface Lanes {
  /** Spans by lane; those of lane l are at `starts[l]` up to `starts[l + 1]`, in order of time. */
  order: Uint32Array;
  starts: Uint32Array;
  /** By place in `order`, the latest end of any in the lane up to there. */
  reach: Float64Array;
  /** By row, its first lane; one more at the end. */
  rows: Uint32Array;
  /** By row, what it is about: a worker, a step, or for a waterfall a span of the task. */
  keys: Uint32Array;
  /** By span, its lane. */
  lane: Uint32Array;
}

/** Returns spans in order of their start. */
export function byStart({ n, start }: Spans): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, span) => span);
  let sorted = true;
  for (let span = 1; span < n && sorted; span++) sorted = start[span]! >= start[span - 1]!;
  return sorted ? order : order.sort((a, b) => start[a]! - start[b]! || a - b);
}

/** Returns a number for each task, and by span the attempt before it at the same task. */
export function tasksOf(spans: Spans, order: Uint32Array): { task: Uint32Array; before: Int32Array; count: number } {
  const { n, step, element, instance } = spans;
  let [mostStep, mostElement] = [0, 0];
  for (let span = 0; span < n; span++) {
    if (step[span]! > mostStep) mostStep = step[span]!;
    if (element[span]! > mostElement) mostElement = element[span]!;
  }
  const task = new Uint32Array(n);
  const before = new Int32Array(n).fill(NONE);
  const known = new Map<number, number>();
  const last: number[] = [];
  for (const span of order) {
    const own = instance[span]! < spans.instances.length;
    const key = (own ? mostStep + 1 + instance[span]! : step[span]!) * (mostElement + 1) + element[span]!;
    let number = known.get(key);
    if (number === undefined) known.set(key, (number = known.size));
    else before[span] = last[number]!;
    last[number] = span;
    task[span] = number;
  }
  return { task, before, count: known.size };
}

/** Returns spans in rows, in as few lanes as what ran at the same time needs. */
export function lanesOf(
  spans: Spans, how: Arrangement, order = byStart(spans), task = tasksOf(spans, order).task,
): Lanes {
  const { n, start, end } = spans;
  const isWaterfall = how === "waterfall";
  const key: ArrayLike<number> = how === "worker" ? spans.worker : how === "step" ? spans.step : task;
  let most = 0;
  for (let span = 0; span < n; span++) if (key[span]! > most) most = key[span]!;
  const rowOf = new Int32Array(n ? most + 1 : 0).fill(NONE);
  for (let span = 0; span < n; span++) rowOf[key[span]!] = 0;
  let rowCount = 0;
  for (let at = 0; at < rowOf.length; at++) if (rowOf[at] === 0) rowOf[at] = rowCount++;
  const keys = new Uint32Array(rowCount);
  rowOf.forEach((row, at) => {
    if (row >= 0) keys[row] = at;
  });
  const laneInRow = new Uint32Array(n);
  const laneCounts = new Uint32Array(rowCount).fill(isWaterfall ? 1 : 0);
  if (isWaterfall) {
    // A row is a task: its first attempt stands for it.
    for (let at = n - 1; at >= 0; at--) keys[task[order[at]!]!] = order[at]!;
  } else {
    const ends: number[][] = [];
    for (const span of order) {
      const row = rowOf[key[span]!]!;
      const lanes = (ends[row] ??= []);
      let [lane, soonest] = [0, 0];
      for (; lane < lanes.length && lanes[lane]! > start[span]! + SLACK; lane++) {
        if (lanes[lane]! < lanes[soonest]!) soonest = lane;
      }
      if (lane === MOST_LANES) lane = soonest;
      lanes[lane] = endOf(end[span]!, Infinity);
      laneInRow[span] = lane;
      laneCounts[row] = lanes.length;
    }
  }
  const rows = new Uint32Array(rowCount + 1);
  for (let row = 0; row < rowCount; row++) rows[row + 1] = rows[row]! + laneCounts[row]!;
  const lane = new Uint32Array(n);
  const starts = new Uint32Array(rows[rowCount]! + 1);
  for (let span = 0; span < n; span++) {
    lane[span] = rows[rowOf[key[span]!]!]! + laneInRow[span]!;
    starts[lane[span]! + 1]!++;
  }
  for (let at = 1; at < starts.length; at++) starts[at]! += starts[at - 1]!;
  const next = starts.slice();
  const inLanes = new Uint32Array(n);
  const reach = new Float64Array(n);
  for (const span of order) {
    const at = next[lane[span]!]!++;
    inLanes[at] = span;
    const own = endOf(end[span]!, Infinity);
    reach[at] = at > starts[lane[span]!]! ? Math.max(reach[at - 1]!, own) : own;
  }
  return { order: inLanes, starts, reach, rows, keys, lane };
}

/** Returns when a span ended, or now while it runs. */
export function endOf(end: number, now: number): number {
  return Number.isNaN(end) ? now : end;
}

/** Returns the first place in sorted values that is not below one. */
export function lowerBound(values: ArrayLike<number>, value: number, from = 0, to = values.length): number {
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (values[middle]! < value) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** Constructs whose bodies wait for what is in the same construct. */
const ORDERED = new Set(["loop", "try", "sequential"]);
const MOST_LOOKED = 500;

/** What attempts waited for: the attempt before, or the last to end of what their step uses. */
export class Causes {
  readonly #byStep = new Map<number, number[]>();
  readonly #inGroup = new Map<string, number[]>();
  readonly #ends = new Map<number, [spans: Uint32Array, ends: Float64Array]>();
  readonly #needs = new Map<number, number[]>();

  /** @param before - By span, the attempt before it at the same task. */
  constructor(readonly shape: Shape, readonly spans: Spans, readonly before: Int32Array) {
    for (let span = 0; span < spans.n; span++) push(this.#byStep, spans.step[span]!, span);
    shape.steps.forEach((step, number) => push(this.#inGroup, step.group, number));
  }

  /** Returns the attempt whose end let a span begin, or NONE. */
  of(span: number): number {
    const { start, end, step } = this.spans;
    let cause = this.before[span]!;
    if (cause >= 0 && Number.isNaN(end[cause]!)) cause = NONE;
    for (const needed of this.#neededBy(step[span]!)) {
      const [ended, ends] = this.#ended(needed);
      let at = lowerBound(ends, start[span]! + SLACK) - 1;
      if (at < 0) continue;
      for (let earlier = at; earlier >= 0 && earlier > at - MOST_LOOKED; earlier--) {
        if (this.#isAlike(span, ended[earlier]!)) {
          at = earlier;
          break;
        }
      }
      const found = ended[at]!;
      if (found !== span && (cause < 0 || end[found]! > end[cause]!)) cause = found;
    }
    return cause;
  }

  /** Returns the critical path: from the last attempt to end back to what began with nothing to wait for. */
  path(now: number): number[] {
    const { n, start, end } = this.spans;
    let last = NONE;
    for (let span = 0; span < n; span++) {
      if (last < 0) last = span;
      const [own, most] = [endOf(end[span]!, now), endOf(end[last]!, now)];
      if (own > most || (own === most && start[span]! < start[last]!)) last = span;
    }
    const path: number[] = [];
    const seen = new Set<number>();
    for (let span = last; span >= 0 && !seen.has(span); span = this.of(span)) {
      seen.add(span);
      path.push(span);
    }
    return path.reverse();
  }

  /** Whether two spans of one construct are of the same item; of what turns, of the same whole, for turns follow. */
  #isAlike(a: number, b: number): boolean {
    const { step, element, instance, instances } = this.spans;
    const [one, other] = [this.shape.steps[step[a]!], this.shape.steps[step[b]!]];
    if (!one?.group || one.group !== other?.group) return true;
    const [first, second] = [instances[instance[a]!] ?? one.id, instances[instance[b]!] ?? other.id];
    const [inArray, alsoInArray] = [first.includes("[]"), second.includes("[]")];
    if (inArray && alsoInArray && element[a] !== element[b]) return false;
    const kind = this.shape.steps[this.shape.index.get(one.group) ?? NONE]?.kind ?? "";
    if (ORDERED.has(kind)) return around(first) === around(second);
    return inArray || alsoInArray || folder(first) === folder(second);
  }

  /** Returns the steps that one waits for, those its construct waits for among them. */
  #neededBy(number: number): number[] {
    const known = this.#needs.get(number);
    if (known) return known;
    const found: number[] = [];
    this.#needs.set(number, found); // a ring ends here
    const { steps, index } = this.shape;
    const step = steps[number];
    if (!step) return found;
    const needed = new Set<number>();
    for (const id of [...step.uses, ...step.after]) {
      const used = index.get(id);
      if (used !== undefined) needed.add(used);
    }
    const group = step.group ? index.get(step.group) : undefined;
    if (group !== undefined) {
      if (ORDERED.has(steps[group]!.kind)) needed.add(group);
      for (const used of this.#neededBy(group)) needed.add(used);
    }
    found.push(...needed);
    return found;
  }

  /** Returns the spans of a step, or of all in a construct, that have ended, in order of their end. */
  #ended(number: number): [Uint32Array, Float64Array] {
    const known = this.#ends.get(number);
    if (known) return known;
    const { end } = this.spans;
    const spans: number[] = [];
    const add = (at: number): void => {
      for (const span of this.#byStep.get(at) ?? []) if (!Number.isNaN(end[span]!)) spans.push(span);
      const step = this.shape.steps[at];
      if (step?.construct) this.#inGroup.get(step.id)?.forEach(add);
    };
    add(number);
    const sorted = Uint32Array.from(spans).sort((a, b) => end[a]! - end[b]!);
    const found: [Uint32Array, Float64Array] = [sorted, Float64Array.from(sorted, (span) => end[span]!)];
    this.#ends.set(number, found);
    return found;
  }
}

function push<K>(lists: Map<K, number[]>, key: K, value: number): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

function folder(id: string): string {
  return id.slice(0, Math.max(0, id.lastIndexOf("/")));
}

/** Returns the construct that a step or a decision is of: `tune` of `tune.2/fit` and of `tune.2.until`. */
function around(id: string): string {
  return id.replace(/[/.][^/.]*$/, "").replace(/\.\d+$/, "");
}

const COLUMNS = ["start", "end", "step", "element", "instance", "attempt", "worker", "status"] as const;
type Column = Float64Array | Uint32Array | Uint16Array | Uint8Array;

/** Returns all spans, made of those that were asked for and newer ones; null when there is a gap between them. */
export function joinSpans(old: Spans, newer: Spans): Spans | null {
  const kept = newer.from - old.from;
  if (kept < 0 || kept > old.n) return null;
  const n = kept + newer.n;
  const shift = newer.since === old.since ? 0 : old.since - newer.since;
  const joined: Record<string, Column> = {};
  for (const name of COLUMNS) {
    const [before, after] = [old[name], newer[name]];
    const column = new (after.constructor as new (length: number) => Column)(n);
    column.set(before.subarray(0, kept));
    if (shift && (name === "start" || name === "end")) for (let at = 0; at < kept; at++) column[at]! += shift;
    column.set(after, kept);
    joined[name] = column;
  }
  const places = new Map(newer.instances.map((id, at) => [id, at]));
  const instances = [...newer.instances];
  const instance = joined.instance!;
  for (let at = 0; at < kept; at++) {
    const id = old.instances[old.instance[at]!];
    if (id === undefined) continue;
    let place = places.get(id);
    if (place === undefined) places.set(id, (place = instances.push(id) - 1));
    instance[at] = place;
  }
  return { ...newer, ...joined, n, from: old.from, more: old.more, instances } as Spans;
}

/** Returns spans with the numbers that their steps have in a newer shape. */
export function renumbered(spans: Spans, old: Shape, newer: Shape): Spans {
  const step = spans.step.map((number) => newer.index.get(old.steps[number]?.id ?? "") ?? number);
  return { ...spans, step };
}

/** Returns the place that an attempt has among other spans, or NONE. */
export function sameAttempt(old: Spans, span: number, spans: Spans): number {
  const instance = old.instances[old.instance[span]!];
  const start = old.start[span]! + old.since - spans.since;
  let found = NONE;
  for (let at = 0; at < spans.n; at++) {
    if (spans.step[at] !== old.step[span] || spans.element[at] !== old.element[span]) continue;
    if (spans.attempt[at] !== old.attempt[span] || spans.instances[spans.instance[at]!] !== instance) continue;
    // A run that was taken up again may count attempts anew.
    if (found < 0 || Math.abs(spans.start[at]! - start) < Math.abs(spans.start[found]! - start)) found = at;
  }
  return found;
}

/** Returns the number of the step that an address is of, or -1. */
export function stepOfAddress(shape: Shape, address: string): number {
  const template = (text: string) => text.replace(/\[\d+\]/g, "[]").replace(/\.\d+(?=\/|$)/g, ".*");
  const whole = address.replace(/\[\d*\]$/, "");
  for (const id of [address, whole, template(address), template(whole)]) {
    const found = shape.index.get(id);
    if (found !== undefined) return found;
  }
  return NONE;
}

/** Returns the last attempt at each task of some steps, by address. */
export function latestOf(shape: Shape, spans: Spans, steps: Set<number>): Map<string, number> {
  const found = new Map<string, number>();
  for (let span = 0; span < spans.n; span++) {
    if (!steps.has(spans.step[span]!)) continue;
    const address = addressOf(shape, spans, span);
    const known = found.get(address);
    if (known === undefined || spans.attempt[span]! >= spans.attempt[known]!) found.set(address, span);
  }
  return found;
}
