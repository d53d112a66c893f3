// The form in which a picture travels, and the only place that knows its offsets; wfnb/views/snapshot.py writes it.
// All numbers are little-endian; headers are JSON, padded to a multiple of 8 bytes.

/** The words that a status byte stands for. */
export const STATUSES = [
  "pending", "running", "retrying", "completed", "cached", "failed", "skipped", "cancelled", "queued", "paused",
  "interrupted",
] as const;
export type Status = (typeof STATUSES)[number];

/** What counts are about, in their order; a bar is stacked like this. */
export const COUNTED = [
  "completed", "cached", "running", "retrying", "failed", "skipped", "cancelled", "pending",
] as const satisfies readonly Status[];

const UNUSED = ["", "skipped", "not taken", "not needed", "not begun"] as const;

/** A step as it is written; empty fields are left out on the way and filled in here. */
export interface Step {
  id: string;
  /** Its name inside of its group. */
  name: string;
  node: string;
  kind: string;
  group: string;
  uses: string[];
  after: string[];
  /** Which of its group's bodies it is in. */
  arm: string;
  helper: boolean;
  construct: boolean;
  fanOut: boolean;
  many: boolean;
  where: string;
  labels: [string, string][];
  /** What a run would do with it, for a workflow that has not run. */
  mark: string;
  why: string;
}

export interface Shape {
  workflow: string;
  run: string;
  steps: Step[];
  /** A step's number by its id. */
  index: Map<string, number>;
}

type RawShape = { workflow?: string; run?: string; steps?: (Partial<Step> & { id: string })[] };

export interface RunError {
  address: string;
  type: string;
  message: string;
  traceback: string;
}

/** How a run stands as a whole; times are seconds since the epoch. */
export interface Head {
  status: Status;
  created: number | null;
  started: number | null;
  ended: number | null;
  now: number;
  asked: string;
  waiting: string;
  away: string;
  /** About how many bytes the store keeps of it. */
  bytes: number | null;
  drivers: number;
  workers: number;
  rate: number | null;
  eta: number | null;
  etaIsFloor: boolean;
  total: number | null;
  counts: number[];
  error: RunError | null;
  again: string;
  on: string;
  names: string[];
  steps: Record<string, { message?: string; reset?: string; taken?: string[] }>;
}

const NO_HEAD: Head = {
  status: "pending", created: null, started: null, ended: null, now: 0, asked: "", waiting: "", away: "", bytes: null, drivers: 0,
  workers: 0, rate: null, eta: null, etaIsFloor: false, total: null, counts: [0, 0, 0, 0, 0, 0, 0, 0], error: null,
  again: "", on: "", names: [], steps: {},
};

const RECORD = 96;
const UNKNOWN = 0xffffffff;

/** How every step stands: a header, and a record of 96 bytes a step that is read where it lies. */
export class State {
  readonly size: number;

  constructor(readonly head: Head, readonly data: DataView | null) {
    this.size = data === null ? 0 : Math.floor(data.byteLength / RECORD);
  }

  /** Returns the status byte of a step. */
  code(step: number): number {
    return this.#view(step)?.getUint8(step * RECORD) ?? 0;
  }

  status(step: number): Status {
    return STATUSES[this.code(step)] ?? "pending";
  }

  /** Returns why a step that never began has not run, or "". */
  unused(step: number): string {
    return UNUSED[this.#view(step)?.getUint8(step * RECORD + 1) ?? 0] ?? "";
  }

  workers(step: number): number {
    return this.#view(step)?.getUint16(step * RECORD + 2, true) ?? 0;
  }

  /** Returns how many tasks a step has, or null while that is not known. */
  width(step: number): number | null {
    return this.#integer(step, 4);
  }

  /** Returns how many of a step's tasks are in the status `COUNTED[which]`. */
  count(step: number, which: number): number {
    return this.#view(step)?.getUint32(step * RECORD + 8 + 4 * which, true) ?? 0;
  }

  counts(step: number): number[] {
    return COUNTED.map((_, which) => this.count(step, which));
  }

  attempts(step: number): number {
    return this.#view(step)?.getUint32(step * RECORD + 40, true) ?? 0;
  }

  /** Returns how many items or iterations a construct has had, or null. */
  times(step: number): number | null {
    return this.#integer(step, 44);
  }

  started(step: number): number | null {
    return this.#float(step, 48);
  }

  ended(step: number): number | null {
    return this.#float(step, 56);
  }

  /** Returns the mean seconds of a completed task, or null. */
  mean(step: number): number | null {
    return this.#float(step, 64);
  }

  progress(step: number): number | null {
    return this.#float(step, 72);
  }

  /** Returns the bodies of a switch or a try that were begun. */
  taken(step: number): string[] {
    return this.head.steps[step]?.taken ?? [];
  }

  #view(step: number): DataView | null {
    return step < this.size ? this.data : null;
  }

  #integer(step: number, at: number): number | null {
    const value = this.#view(step)?.getUint32(step * RECORD + at, true) ?? UNKNOWN;
    return value === UNKNOWN ? null : value;
  }

  #float(step: number, at: number): number | null {
    const value = this.#view(step)?.getFloat64(step * RECORD + at, true) ?? NaN;
    return Number.isNaN(value) ? null : value;
  }
}

/** A state in which nothing has begun. */
export const NO_STATE = new State(NO_HEAD, null);

/** Attempts at tasks, as columns; times are seconds after `since`. */
export interface Spans {
  n: number;
  since: number;
  /** Ids of instances of steps; `instance` holds places in it. */
  instances: string[];
  /** The place of the first of them among all there are. */
  from: number;
  /** How many there are besides these. */
  more: number;
  start: Float64Array;
  /** NaN while it runs. */
  end: Float64Array;
  step: Uint32Array;
  element: Uint32Array;
  instance: Uint32Array;
  attempt: Uint16Array;
  worker: Uint16Array;
  status: Uint8Array;
}

/** A step with how it stands. */
export interface StepView extends Step {
  number: number;
  status: Status;
  unused: string;
  workers: number;
  width: number | null;
  counts: number[];
  attempts: number;
  times: number | null;
  started: number | null;
  ended: number | null;
  mean: number | null;
  progress: number | null;
  message: string;
  reset: string;
  taken: string[];
}

/** A value told in a few words. */
export interface Preview {
  type: string;
  text: string;
  shape?: number[];
  dtype?: string;
  bytes?: number;
  tier?: string;
  table?: { columns: string[]; rows: unknown[][] };
}

export interface Attempt {
  attempt: number;
  status: Status;
  worker: string;
  start: number;
  end: number | null;
  stopped: string;
  error: { type: string; message: string; traceback: string } | null;
}

/** Something a task wrote: address, attempt, seconds since the epoch, stream, text. */
export type LogRow = [address: string, attempt: number, time: number, stream: string, text: string];

/** What is known of one task. */
export interface Details {
  address: string;
  node: string;
  status: Status;
  where: string;
  attempts: Attempt[];
  inputs: [string, Preview][];
  output: Preview | null;
  code: string;
  diff: string;
  why: string;
  resources: Record<string, number>;
  logs: LogRow[];
}

/** A row of the table of runs. */
export interface RunRow {
  id: string;
  workflow: string;
  status: Status;
  created: number | null;
  elapsed: number | null;
  done: number;
  total: number | null;
  tags: string[];
  error: string;
}

/** A picture as one document, drawn without a kernel; of the type `application/vnd.wfnb.run+json`. */
export interface Doc {
  format: number;
  view?: string;
  /** Names the widget that knows more, where the page still has it. */
  key?: string;
  /** All the rest, deflated: of large workflows. */
  packed?: string;
  shape?: RawShape;
  state?: string;
  spans?: string;
  logs?: LogRow[];
  details?: Record<string, Details>;
  rows?: RunRow[];
  text?: string;
}

/** What comes over the wire: anywidget gives views, a document bytes. */
export type Bytes = DataView | Uint8Array | ArrayBuffer;

function bytesOf(data: Bytes): Uint8Array {
  if (!ArrayBuffer.isView(data)) return new Uint8Array(data);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Returns the bytes of a base64 text. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

/** Returns a document with what is packed in it laid out. */
export async function unpacked(doc: Doc): Promise<Doc> {
  if (!doc.packed) return doc;
  const stream = new Blob([fromBase64(doc.packed)]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return { ...((await new Response(stream).json()) as Doc), view: doc.view, key: doc.key, packed: "" } as Doc;
}

/** Returns a shape with everything that was left out filled in. */
export function readShape(raw: RawShape): Shape {
  const steps = (raw.steps ?? []).map((step): Step => ({
    node: "", kind: "task", group: "", uses: [], after: [], arm: "", helper: false, construct: false, fanOut: false,
    many: false, where: "", labels: [], name: step.id, mark: "", why: "", ...step,
  }));
  const index = new Map(steps.map((step, number) => [step.id, number]));
  return { workflow: raw.workflow ?? "", run: raw.run ?? "", steps, index };
}

/** Returns the shape in some bytes, or null when there are none. */
export function decodeShape(data: Bytes): Shape | null {
  const bytes = bytesOf(data);
  return bytes.length ? readShape(JSON.parse(new TextDecoder().decode(bytes)) as RawShape) : null;
}

/** Returns the state in some bytes, or null when there are none. */
export function decodeState(data: Bytes): State | null {
  const bytes = bytesOf(data);
  if (bytes.length < 8) return null;
  const [head, at] = header<Partial<Head>>(bytes);
  return new State({ ...NO_HEAD, ...head }, new DataView(bytes.buffer, bytes.byteOffset + at, bytes.length - at));
}

/** Returns the spans in some bytes, or null when there are none; the columns are views into the bytes. */
export function decodeSpans(data: Bytes): Spans | null {
  const given = bytesOf(data);
  if (given.length < 8) return null;
  const bytes = given.byteOffset % 8 ? given.slice() : given; // a column begins at a multiple of its size
  const [head, at] = header<{ n: number; since: number; instances: string[]; from?: number; more?: number }>(bytes);
  const { n, since, instances } = head;
  const buffer = bytes.buffer as ArrayBuffer;
  const first = bytes.byteOffset + at;
  return {
    n,
    since,
    instances,
    from: head.from ?? 0,
    more: head.more ?? 0,
    start: new Float64Array(buffer, first, n),
    end: new Float64Array(buffer, first + 8 * n, n),
    step: new Uint32Array(buffer, first + 16 * n, n),
    element: new Uint32Array(buffer, first + 20 * n, n),
    instance: new Uint32Array(buffer, first + 24 * n, n),
    attempt: new Uint16Array(buffer, first + 28 * n, n),
    worker: new Uint16Array(buffer, first + 30 * n, n),
    status: new Uint8Array(buffer, first + 32 * n, n),
  };
}

function header<T>(bytes: Uint8Array): [T, number] {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const text = new TextDecoder().decode(bytes.subarray(4, 4 + length));
  return [JSON.parse(text) as T, (4 + length + 7) & -8];
}

/** Returns a step with how it stands. */
export function viewOf(shape: Shape, state: State, number: number): StepView {
  const more = state.head.steps[number];
  return {
    ...shape.steps[number]!,
    number,
    status: state.status(number),
    unused: state.unused(number),
    workers: state.workers(number),
    width: state.width(number),
    counts: state.counts(number),
    attempts: state.attempts(number),
    times: state.times(number),
    started: state.started(number),
    ended: state.ended(number),
    mean: state.mean(number),
    progress: state.progress(number),
    message: more?.message ?? "",
    reset: more?.reset ?? "",
    taken: more?.taken ?? [],
  };
}

/** Returns the address of the task that a span is an attempt at. */
export function addressOf(shape: Shape, spans: Spans, span: number): string {
  const step = shape.steps[spans.step[span]!];
  const id = spans.instances[spans.instance[span]!] ?? step?.id ?? "";
  if (!step?.fanOut && !id.includes("[]")) return id;
  const place = `[${spans.element[span]}]`;
  return id.includes("[]") ? id.replace("[]", place) : id + place;
}
