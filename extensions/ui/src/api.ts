// What a picture is drawn from, and whom it may ask: by a widget, by a document, and later by a server.

import {
  decodeShape, decodeSpans, decodeState, fromBase64, readShape,
  type Bytes, type Details, type Doc, type LogRow, type RunRow, type Shape, type Spans, type State,
} from "./format";

export type Part = "shape" | "state" | "spans" | "rows";

/** A run as far as it is known; each part alone is whole. */
export interface Source {
  readonly shape: Shape | null;
  readonly state: State | null;
  readonly spans: Spans | null;
  /** Calls back with what has changed; returns what ends that. */
  onChange(changed: (part: Part) => void): () => void;
}

/** A question to the kernel. */
export type Message =
  | { type: "command"; name: string }
  | { type: "cells"; step: number }
  | { type: "spans" }
  | { type: "details"; address: string }
  | { type: "logs"; after: number; address: string | null }
  | { type: "open"; run: string };

export interface Answer {
  ok: boolean;
  error?: string;
  buffers: Bytes[];
  instance?: string;
  width?: number;
  details?: Details;
  rows?: LogRow[];
  next?: number;
}

/** A way to the kernel, or to whoever else answers. */
export interface Channel {
  /** Whether commands reach a run. */
  readonly live: boolean;
  /** Asks; fails with what went wrong. */
  request(message: Message): Promise<Answer>;
  command(name: string): Promise<Answer>;
}

export type View = "run" | "dag" | "progress" | "timeline" | "workflow" | "runs";

/** What is chosen in one panel and shown in another: a task by its address, or steps by their numbers. */
export interface Choice {
  address: string;
  steps: number[];
}

/** What the panels of one picture share. */
export interface Context {
  readonly source: Source;
  readonly channel: Channel | undefined;
  readonly document: Doc | undefined;
  readonly shape: Shape;
  readonly state: State;
  /** Whether a question is under way whose answer changes what is drawn. */
  reading: boolean;
  /** Returns the time in the run, seconds since the epoch: it goes on between two updates. */
  now(): number;
  /** Opens the details of what is chosen. */
  open(choice: Choice): void;
  /** Shows the logs of a step, by its number. */
  logs(step: number): void;
}

/** A source that is filled piece by piece. */
export class Feed implements Source {
  shape: Shape | null = null;
  state: State | null = null;
  spans: Spans | null = null;
  rows: RunRow[] = [];
  #told = new Set<(part: Part) => void>();

  /** Takes in a part as it came over the wire; an empty one is passed over. */
  put(part: Part, data: Bytes | null | undefined): void {
    if (!data) return;
    if (part === "shape") this.shape = decodeShape(data);
    else if (part === "state") this.state = decodeState(data);
    else if (part === "spans") this.spans = decodeSpans(data);
    else this.rows = JSON.parse(new TextDecoder().decode(data)) as RunRow[];
    this.tell(part);
  }

  tell(part: Part): void {
    for (const told of [...this.#told]) told(part);
  }

  onChange(changed: (part: Part) => void): () => void {
    this.#told.add(changed);
    return () => this.#told.delete(changed);
  }
}

/** Returns what a document holds, which never changes. */
export function documentSource(doc: Doc): Feed {
  const feed = new Feed();
  feed.shape = readShape(doc.shape ?? {});
  if (doc.state) feed.state = decodeState(fromBase64(doc.state));
  if (doc.spans) feed.spans = decodeSpans(fromBase64(doc.spans));
  feed.rows = doc.rows ?? [];
  return feed;
}
