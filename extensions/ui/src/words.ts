// The words and figures every panel uses for the same facts; wfnb/views/words.py has the same for pictures from Python.

import { COUNTED, type Head, type Shape, type State, type StepView, type Step } from "./format";

/** What a run would do with a step: its word, its sign, and the status whose colour it has. */
export const MARKS: Record<string, { text: string; glyph: string; status: string }> = {
  new: { text: "new", glyph: "＋", status: "running" },
  stale: { text: "stale", glyph: "↻", status: "retrying" },
  cached: { text: "cached", glyph: "≡", status: "cached" },
  unchanged: { text: "runs again, unchanged", glyph: "=", status: "pending" },
  unknown: { text: "not known yet", glyph: "○", status: "pending" },
  skipped: { text: "skipped", glyph: "»", status: "skipped" },
};

const OVER = new Set(["completed", "failed", "cancelled", "interrupted"]);

/** Returns whether nothing more happens to a run in this status unless somebody takes it up again. */
export function isOver(status: string): boolean {
  return OVER.has(status);
}

/** Returns a whole number with its thousands apart. */
export function grouped(value: number): string {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

export function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let at = 0; at < values.length; at++) total += values[at]!;
  return total;
}

/** Returns how many of the tasks counted have a value. */
export function doneOf(counts: ArrayLike<number>): number {
  return (counts[0] ?? 0) + (counts[1] ?? 0);
}

/** Returns a number of seconds for people: `30 µs`, `4 ms`, `0.42 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (seconds <= 0) return "0 s";
  if (seconds < 95e-6) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (seconds < 0.0095) return `${(seconds * 1e3).toFixed(seconds < 95e-5 ? 1 : 0)} ms`;
  if (seconds < 9.95 && !Number.isInteger(seconds)) return `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

/** Returns a number of bytes for people: `12 bytes`, `3.4 kB`, `120 MB`. */
export function bytes(count: number): string {
  if (count < 1000) return count === 1 ? "1 byte" : `${count} bytes`;
  let value = count;
  for (const unit of ["kB", "MB", "GB"]) {
    value /= 1000;
    if (value < 999.5) return `${value.toFixed(value < 9.95 ? 1 : 0)} ${unit}`;
  }
  return `${(count / 1e12).toFixed(1)} TB`;
}

/** Returns tasks a second for people. */
export function rate(value: number): string {
  if (value >= 10) return `${grouped(value)} tasks/s`;
  return value >= 0.5 ? `${value.toFixed(1)} tasks/s` : `${(value * 60).toFixed(1)} tasks/min`;
}

/** Returns how long a run took, or has taken so far in whole seconds; "" before there is anything to say. */
export function elapsed(head: Head, now = head.now): string {
  if (head.started === null) return "";
  const over = isOver(head.status);
  const seconds = Math.max(0, (head.ended ?? now) - head.started);
  if (seconds < 1 && !over) return "";
  return duration(over ? seconds : Math.floor(seconds));
}

/** Returns how far a fan-out is: `37/100 · 2 failed`. */
export function countsText(counts: number[], width: number | null): string {
  const done = grouped(doneOf(counts));
  const parts = [width === null ? `${done} so far` : `${done}/${grouped(width)}`];
  for (const status of ["failed", "retrying", "skipped", "cancelled", "cached"] as const) {
    const count = counts[COUNTED.indexOf(status)];
    if (count) parts.push(status === "cached" && count === width ? "all cached" : `${grouped(count)} ${status}`);
  }
  return parts.join(" · ");
}

/** Returns what a construct is, with how often it turned: `loop ×5`, `each ×100`, `try`. */
export function constructText(view: { kind: string; times: number | null }): string {
  const word = view.kind === "sequential" ? "in order" : view.kind === "workflow" ? "" : view.kind;
  return view.times === null ? word : `${word} ×${grouped(view.times)}`;
}

/** Returns what one of a construct's bodies is called: what it is for where that is known, else `case 2`. */
export function armText(construct: Step | undefined, arm: string): string {
  const known = construct?.labels.find(([name]) => name === arm)?.[1];
  const at = arm.indexOf("_");
  const name = at < 0 ? arm : arm.slice(0, at);
  const number = at < 0 ? "" : arm.slice(at + 1);
  if (known !== undefined) return name === "case" || name === "default" ? known : `${name} ${known}`;
  if (name === "case") return `case ${Number(number || 0) + 1}`;
  return number ? `${name} ${Number(number) + 1}` : name;
}

/** Returns a step's state in a few words: `completed 0.42 s`, `37/100 · 2 failed`, `running 40%`. */
export function stateText(view: StepView): string {
  if (view.unused) return view.unused;
  if (view.construct) {
    const parts = [constructText(view)].filter(Boolean);
    if (view.kind === "switch") parts.push(...view.taken.map((arm) => `${armText(view, arm)} taken`));
    parts.push(...view.taken.filter((arm) => arm.startsWith("catch")).map((arm) => armText(view, arm)));
    parts.push(sum(view.counts) ? countsText(view.counts, view.width) : view.status);
    return parts.join(" · ");
  }
  if (view.fanOut || (view.many && view.width !== 1)) {
    if (view.width === 0) return view.status === "completed" ? "empty" : view.status;
    return view.width === null && !sum(view.counts) ? "pending" : countsText(view.counts, view.width);
  }
  if (view.status === "running" && view.progress !== null) return `running ${Math.round(view.progress * 100)}%`;
  if (view.status === "completed" && view.mean !== null) return `completed ${duration(view.mean)}`;
  if (view.attempts > 1 && view.status === "failed") return `failed · ${view.attempts} attempts`;
  return view.status;
}

/** Returns the steps of a list as rows of depth, name there, and number; what the engine put there is left out. */
export function outline(shape: Shape, state: State): [depth: number, name: string, step: number][] {
  const depths = new Map<string, number>();
  const rows: [number, string, number][] = [];
  shape.steps.forEach((step, number) => {
    if (step.helper && state.status(number) !== "failed") return;
    const depth = (depths.get(step.group) ?? -1) + 1;
    if (step.construct) depths.set(step.id, depth);
    let name = step.id;
    if (depth && step.id.startsWith(step.group)) {
      const rest = step.id.slice(step.group.length).replace(/^\[\]/, "").replace(/^\.\*/, "").replace(/^[./]+/, "");
      name = rest || step.id;
    }
    rows.push([depth, name, number]);
  });
  return rows;
}

/** Returns a run's figures, most wanted first: tasks, failures, running, rate, time left, workers. */
export function facts(head: Head): string[] {
  const done = doneOf(head.counts);
  const over = isOver(head.status);
  const known = head.total === null ? "" : ` of ${grouped(head.total)}`;
  const tasks = (head.total ?? done) === 1 ? "task" : "tasks";
  const found = [`${grouped(done)}${known} ${tasks}${known || over ? "" : " so far"}`];
  for (const status of ["failed", "running", "retrying", "skipped", "cancelled", "cached"] as const) {
    const count = head.counts[COUNTED.indexOf(status)];
    if (count) found.push(`${grouped(count)} ${status}`);
  }
  if (head.status === "running") {
    if (head.rate !== null) found.push(rate(head.rate));
    if (head.eta !== null) {
      const left = duration(Math.max(1, Math.round(head.eta)));
      found.push(head.etaIsFloor ? `at least ${left} left` : `about ${left} left`);
    }
  }
  if (head.waiting) found.push(`waiting: ${head.waiting}`);
  if (head.asked === "cancel") found.push("cancelling");
  if (head.status === "paused" && head.counts[2]) found.push("those finish, none starts");
  if (head.workers > 1) found.push(`${head.workers} workers`);
  if (head.bytes !== null) found.push(`${bytes(head.bytes)} stored`);
  if (head.away) found.push(`not as it is now but as last seen: ${head.away}`);
  return found;
}

/** Returns how many tasks a bar over the run stands for; where more may come, it is not full. */
export function wholeOf(head: Head): number {
  const seen = sum(head.counts);
  if (head.total !== null) return Math.max(head.total, seen - (head.counts[7] ?? 0), 1);
  return Math.max(1, isOver(head.status) ? seen : seen + 1 + Math.floor(seen / 4));
}
