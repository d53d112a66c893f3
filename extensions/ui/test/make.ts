// Whole runs made up for tests, pages and measurements: as documents, and as the bytes that Python sends.

import { documentSource, type Feed } from "../src/api";
import { COUNTED, STATUSES, type Doc, type Head, type Status } from "../src/format";
import { sum } from "../src/words";
import { dice, type PlainStep } from "./graphs";
import type { Standing } from "./panels";

export { dice };

/** When every made run began, in seconds since the epoch. */
export const SINCE = 1_790_000_000;

export type Kind = "small" | "map" | "layered" | "wide" | "nested" | "marks";

/** How a step stands, with what only some tests need. */
export interface Recorded extends Standing {
  unused?: "" | "skipped" | "not taken" | "not needed" | "not begun";
  times?: number;
}

/** An attempt; `start` and `end` are seconds after `SINCE`, and one without an end runs. */
export interface Attempted {
  start: number;
  end?: number;
  step: number;
  element?: number;
  /** The place of its instance among the ids; without one it is of the step itself. */
  instance?: number;
  attempt?: number;
  worker?: number;
  status?: Status;
}

const UNUSED = ["", "skipped", "not taken", "not needed", "not begun"];
const UNKNOWN = 0xffffffff;
const RECORD = 96;

/** Returns a shape as it travels. */
export function encodeShape(shape: Doc["shape"]): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(shape));
}

/** Returns a state as it travels; counts are those of all steps together, unless the head has its own. */
export function encodeState(head: Partial<Head>, steps: readonly Recorded[]): Uint8Array {
  const body = new DataView(new ArrayBuffer(RECORD * steps.length));
  steps.forEach((step, number) => {
    const at = RECORD * number;
    body.setUint8(at, STATUSES.indexOf(step.status ?? "pending"));
    body.setUint8(at + 1, UNUSED.indexOf(step.unused ?? ""));
    body.setUint16(at + 2, step.workers ?? 0, true);
    body.setUint32(at + 4, step.width ?? UNKNOWN, true);
    COUNTED.forEach((status, place) => body.setUint32(at + 8 + 4 * place, step.counts?.[status] ?? 0, true));
    body.setUint32(at + 40, step.attempts ?? 0, true);
    body.setUint32(at + 44, step.times ?? UNKNOWN, true);
    [step.started, step.ended, step.mean, step.progress].forEach((value, place) => {
      body.setFloat64(at + 48 + 8 * place, value ?? NaN, true);
    });
  });
  const counts = COUNTED.map((status) => sum(steps.map((step) => step.counts?.[status] ?? 0)));
  const whole: Partial<Head> = {
    status: "running", created: SINCE - 1, started: SINCE, now: SINCE + 60, drivers: 1, workers: 2, rate: 12.5, eta: 42,
    total: sum(counts), counts, names: ["tcp://10.0.0.1:4001", "tcp://10.0.0.2:4001"], ...head,
  };
  return withHeader(whole, new Uint8Array(body.buffer));
}

/** Returns spans as they travel. */
export function encodeSpans(
  spans: readonly Attempted[], instances: readonly string[] = [], more: { from?: number; more?: number } = {},
): Uint8Array {
  const columns = [
    Float64Array.from(spans, (span) => span.start),
    Float64Array.from(spans, (span) => span.end ?? NaN),
    Uint32Array.from(spans, (span) => span.step),
    Uint32Array.from(spans, (span) => span.element ?? 0),
    Uint32Array.from(spans, (span) => span.instance ?? UNKNOWN),
    Uint16Array.from(spans, (span) => span.attempt ?? 1),
    Uint16Array.from(spans, (span) => span.worker ?? 0),
    Uint8Array.from(spans, ({ end, status }) => {
      return STATUSES.indexOf(status ?? (end === undefined ? "running" : "completed"));
    }),
  ];
  const body = new Uint8Array(sum(columns.map((column) => column.byteLength)));
  let at = 0;
  for (const column of columns) {
    body.set(new Uint8Array(column.buffer), at);
    at += column.byteLength;
  }
  return withHeader({ n: spans.length, since: SINCE, instances, ...more }, body);
}

function withHeader(head: object, body: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(head));
  const length = text.length + (-(4 + text.length) & 7);
  const bytes = new Uint8Array(4 + length + body.length).fill(32);
  new DataView(bytes.buffer).setUint32(0, length, true);
  bytes.set(text, 4);
  bytes.set(body, 4 + length);
  return bytes;
}

/** Returns bytes as text, the way a document has them. */
export function toBase64(bytes: Uint8Array): string {
  const portions: string[] = [];
  for (let at = 0; at < bytes.length; at += 0x8000) {
    portions.push(String.fromCharCode(...bytes.subarray(at, at + 0x8000)));
  }
  return btoa(portions.join(""));
}

/** Returns a made run as it is drawn from. */
export function made(kind: Kind, n = 0): Feed {
  return documentSource(makeDocument(kind, n));
}

/** Returns a made run of about `n` steps, or of `n` elements for a map; the same each time. */
export function makeDocument(kind: Kind, n = 0): Doc {
  const run = new Made();
  if (kind === "small" || kind === "marks") report(run, kind === "marks");
  else if (kind === "map") fanOut(run, n);
  else if (kind === "layered") layered(run, n);
  else if (kind === "wide") wide(run, n);
  else nested(run, n);
  const { steps, standings, spans, taken } = run;
  const workflow = `${kind}_${n}`;
  if (kind === "marks") return { format: 1, shape: { workflow, run: "", steps }, text: workflow };
  return {
    format: 1,
    shape: { workflow, run: "r-20261123-7f3a", steps },
    state: toBase64(encodeState({ steps: taken }, standings)),
    spans: toBase64(encodeSpans(spans)),
    logs: [["load", 1, SINCE + 2, "stdout", "read 1,200 rows\n"]],
    details: {},
    text: workflow,
  };
}

/** A run that is put together step by step. */
class Made {
  readonly steps: PlainStep[] = [];
  readonly standings: Recorded[] = [];
  readonly spans: Attempted[] = [];
  readonly taken: Head["steps"] = {};
  readonly chance = dice(11);
  /** When each worker is free. */
  readonly #free = [0, 0];

  /** Adds a step; its node and its name are its id unless they are given. */
  add(step: PlainStep, standing: Recorded = {}): string {
    this.steps.push({ node: step.id, kind: "task", name: step.id, ...step });
    this.standings.push(standing);
    return step.id;
  }

  /** Adds a task that stands as if a run was at `share` of all tasks, of which it has `at` behind it. */
  task(step: PlainStep, at: number, share = 0.6): string {
    if (at > share + 0.02) return this.add(step, { status: "pending", counts: { pending: 1 } });
    if (at > share) return this.ran(step, "running");
    const luck = this.chance();
    return this.ran(step, luck < 0.02 ? "failed" : luck < 0.2 ? "cached" : "completed");
  }

  /** Adds a task that has begun, and its attempt. */
  ran(step: PlainStep, status: "running" | "completed" | "cached" | "failed" | "retrying"): string {
    const took = 0.2 + 3 * this.chance();
    const worker = this.#free[0]! <= this.#free[1]! ? 0 : 1;
    const start = this.#free[worker]!;
    const attempt = status === "retrying" ? 2 : 1;
    const standing: Recorded = {
      status, counts: { [status]: 1 }, started: SINCE + start, workers: 1, attempts: attempt, width: 1,
    };
    const span: Attempted = { start, step: this.steps.length, attempt, worker, status };
    if (status !== "running" && status !== "retrying") {
      standing.ended = SINCE + start + took;
      span.end = start + took;
    }
    if (status === "completed") standing.mean = took;
    if (status !== "cached") {
      this.spans.push(span);
      this.#free[worker] = start + took;
    }
    return this.add(step, standing);
  }
}

/** A workflow that has one of everything; with marks, before it ran. */
function report(run: Made, marked: boolean): void {
  const mark = (name: string, why = ""): Partial<PlainStep> => (marked ? { mark: name, why } : {});
  run.ran({ id: "load", ...mark("unchanged") }, "completed");
  run.ran({ id: "clean", uses: ["load"], ...mark("stale", "code of clean changed") }, "cached");
  run.add(
    { id: "features", kind: "map", fanOut: true, many: true, uses: ["clean"], ...mark("stale", "uses clean") },
    {
      status: "running", width: 400, workers: 2, attempts: 296, mean: 0.4, started: SINCE + 4,
      counts: { completed: 230, cached: 40, running: 8, retrying: 3, failed: 4, pending: 115 },
    },
  );
  for (let pass = 1; pass <= 6; pass++) {
    const step = { id: `smooth_${pass}`, node: "smooth", uses: [pass > 1 ? `smooth_${pass - 1}` : "clean"] };
    run.ran(step, pass < 5 ? "completed" : "failed");
  }
  const construct = (id: string, kind: string, uses: string[], standing: Recorded, more: Partial<PlainStep> = {}) =>
    run.add({ id, node: "", kind, construct: true, many: true, uses, ...more }, standing);
  construct("tune", "loop", ["features"], { status: "running", times: 3, counts: { completed: 5, running: 1 } });
  const inLoop = { group: "tune", arm: "*", many: true };
  run.add(
    { id: "tune.*/fit", name: "fit", node: "fit", uses: ["features"], ...inLoop, ...mark("new") },
    { status: "running", workers: 1, attempts: 5, mean: 1.1, counts: { completed: 4, running: 1 } },
  );
  run.add(
    { id: "tune.*/score", name: "score", node: "score", uses: ["tune.*/fit"], ...inLoop, ...mark("new") },
    { status: "completed", attempts: 4, mean: 0.3, counts: { completed: 4 } },
  );
  const body = (construct: string, arm: string, name: string): PlainStep => ({
    id: `${construct}.${arm}/${name}`, name, node: name, group: construct, arm,
  });
  run.taken[run.steps.length] = { taken: ["case_0"] };
  const labels: [string, string][] = [["case_0", "score > 0.9"], ["default", "else"]];
  construct("route", "switch", ["tune"], { status: "running", counts: { running: 1 }, width: 2 }, { labels });
  run.ran({ ...body("route", "case_0", "publish"), ...mark("cached") }, "running");
  run.add({ ...body("route", "default", "review"), ...mark("skipped") }, { unused: "not taken" });
  run.taken[run.steps.length] = { taken: ["body"] };
  construct("guard", "try", ["route"], { status: "retrying", counts: { retrying: 1 } });
  run.ran({ ...body("guard", "body", "send"), ...mark("unknown") }, "retrying");
  run.add(body("guard", "catch_0", "notify"));
  run.add(body("guard", "finally", "close"));
  run.add({ id: "report", uses: ["guard", "smooth_6"] }, { counts: { pending: 1 } });
}

/** A map over `n` items, more than half done. */
function fanOut(run: Made, n: number): void {
  run.ran({ id: "load" }, "completed");
  const begun = { completed: Math.floor(0.6 * n), running: Math.min(8, n), failed: Math.floor(0.002 * n) };
  const pending = Math.max(0, n - sum(Object.values(begun)));
  run.add(
    { id: "work", kind: "map", fanOut: true, many: true, uses: ["load"] },
    { status: "running", width: n, counts: { ...begun, pending }, workers: 2, mean: 0.8, started: SINCE + 3 },
  );
  run.add({ id: "mean", uses: ["work"] }, { counts: { pending: 1 } });
}

/** Layers of steps, each of which uses a few that stand near in the layer before. */
function layered(run: Made, n: number): void {
  const across = Math.max(4, Math.round(Math.sqrt(n)));
  for (let number = 0; number < n; number++) {
    const first = number - (number % across) - across;
    const uses = new Set<string>();
    for (let used = 0; first >= 0 && used < 1 + Math.floor(2 * run.chance()); used++) {
      const near = (number % across) + Math.round(4 * (run.chance() - 0.5));
      uses.add(`step_${first + Math.min(across - 1, Math.max(0, near))}`);
    }
    run.task({ id: `step_${number}`, uses: [...uses] }, number / n);
  }
}

/** One step, `n` that use it, and one that uses them all. */
function wide(run: Made, n: number): void {
  run.ran({ id: "load" }, "completed");
  const uses = Array.from({ length: n }, (_, number) => {
    return run.task({ id: `work_${number}`, uses: ["load"] }, number / n);
  });
  run.add({ id: "merge", uses }, { counts: { pending: 1 } });
}

/** Workflows in workflows, four deep: four steps each, and two parts that use the last of them. */
function nested(run: Made, n: number): void {
  const part = (id: string, group: string, uses: string[], depth: number): void => {
    const name = id.split("/").at(-1)!;
    const status = run.steps.length / n < 0.6 ? "completed" : "pending";
    run.add({ id, name, node: "", kind: "workflow", group, uses, construct: true, many: true }, { status });
    const own = (number: number) => `${id}/step_${number}`;
    for (let number = 0; number < 4; number++) {
      const used = number === 0 ? uses : [own(number === 3 ? 2 : 0)];
      const step = { id: own(number), name: `step_${number}`, node: `step_${number}`, group: id, uses: used };
      run.task(step, run.steps.length / n);
    }
    for (let inner = 0; inner < 2 && depth < 4; inner++) {
      if (run.steps.length < n) part(`${id}/part_${inner}`, id, [own(3)], depth + 1);
    }
  };
  for (let stage = 0; run.steps.length < n; stage++) {
    part(`stage_${stage}`, "", stage ? [`stage_${stage - 1}`] : [], 1);
  }
}
