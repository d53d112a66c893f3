// What tests of panels need around one: a run of a few steps, a channel that answers what a test says, keys.

import type { Answer, Channel, Choice, Context, Message, Source } from "../src/api";
import { COUNTED, readShape, State, STATUSES, type Doc, type Head, type Spans, type Status } from "../src/format";

export interface Standing {
  status?: Status;
  counts?: Partial<Record<Status, number>>;
  workers?: number;
  width?: number;
  attempts?: number;
  started?: number;
  ended?: number;
  mean?: number;
  progress?: number;
}

/** Returns how a run stands, step for step. */
export function stateOf(head: Partial<Head>, standings: Standing[]): State {
  const data = new DataView(new ArrayBuffer(96 * standings.length));
  standings.forEach((standing, step) => {
    const at = 96 * step;
    data.setUint8(at, STATUSES.indexOf(standing.status ?? "pending"));
    data.setUint16(at + 2, standing.workers ?? 0, true);
    data.setUint32(at + 4, standing.width ?? 0xffffffff, true);
    COUNTED.forEach((status, place) => data.setUint32(at + 8 + 4 * place, standing.counts?.[status] ?? 0, true));
    data.setUint32(at + 40, standing.attempts ?? 0, true);
    data.setUint32(at + 44, 0xffffffff, true);
    const { started, ended, mean, progress } = standing;
    [started, ended, mean, progress].forEach((value, place) => {
      data.setFloat64(at + 48 + 8 * place, value ?? NaN, true);
    });
  });
  const none: Head = {
    status: "running", created: null, started: null, ended: null, now: 0, asked: "", waiting: "", away: "", bytes: null, drivers: 1,
    workers: 1, rate: null, eta: null, etaIsFloor: false, total: null, counts: COUNTED.map(() => 0), error: null,
    again: "", on: "", names: [], steps: {},
  };
  return new State({ ...none, ...head }, data);
}

/** Returns spans from their step, element and status; each is a first attempt that took a second. */
export function spansOf(spans: [step: number, element: number, status: Status][]): Spans {
  const n = spans.length;
  return {
    n, since: 0, instances: [], from: 0, more: 0,
    start: new Float64Array(n), end: new Float64Array(n).fill(1),
    step: Uint32Array.from(spans, ([step]) => step),
    element: Uint32Array.from(spans, ([, element]) => element),
    instance: new Uint32Array(n).fill(0xffffffff),
    attempt: new Uint16Array(n).fill(1), worker: new Uint16Array(n),
    status: Uint8Array.from(spans, ([, , status]) => STATUSES.indexOf(status)),
  };
}

/** A context that keeps what panels ask of it. */
export class FakeContext implements Context {
  shape: Context["shape"];
  state: State;
  spans: Spans | null = null;
  channel: Channel | undefined;
  document: Doc | undefined;
  reading = false;
  readonly opened: Choice[] = [];
  readonly logged: unknown[] = [];

  constructor(shape: Parameters<typeof readShape>[0], standings: Standing[] = [], head: Partial<Head> = {}) {
    this.shape = readShape({ workflow: "report", run: "r-1", ...shape });
    this.state = stateOf(head, this.shape.steps.map((_, number) => standings[number] ?? {}));
  }

  get source(): Source {
    return { shape: this.shape, state: this.state, spans: this.spans, onChange: () => () => {} };
  }

  now(): number {
    return this.state.head.now;
  }

  open(choice: Choice): void {
    this.opened.push(choice);
  }

  logs(step: unknown): void {
    this.logged.push(step);
  }
}

/** A channel that answers as a test says, and keeps what it was asked. */
export class FakeChannel implements Channel {
  readonly live = true;
  readonly asked: Message[] = [];

  constructor(readonly answer: (message: Message) => Partial<Answer> | Promise<Partial<Answer>>) {}

  async request(message: Message): Promise<Answer> {
    this.asked.push(message);
    return { ok: true, buffers: [], ...(await this.answer(message)) };
  }

  command(name: string): Promise<Answer> {
    return this.request({ type: "command", name });
  }
}

/** Waits until what was promised has been taken in. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

export function press(element: Element, key: string, more: KeyboardEventInit = {}): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  element.dispatchEvent(event);
  return event;
}

export function type(input: HTMLInputElement, text: string): void {
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

export function textsOf(root: ParentNode, selector: string): string[] {
  return [...root.querySelectorAll(selector)].map((element) => element.textContent ?? "");
}
