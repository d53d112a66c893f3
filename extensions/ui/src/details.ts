// The drawer beside a picture: all that is known of a task, a step, or several steps that share a node of the picture.

import type { Choice, Context } from "./api";
import {
  STATUSES, viewOf, type Attempt, type Details, type Preview, type RunError, type Status, type StepView,
} from "./format";
import { logLine } from "./logs";
import { attrs, badge, button, el, messageOf, say, Sign } from "./panel";
import { latestOf } from "./spans";
import { rowText } from "./table";
import { bytes, duration, grouped, MARKS, rate, stateText } from "./words";

type Child = Node | string | false | null | undefined;
type Fact = [name: string, text: string];
type Task = [address: string, status: string];

/** Milliseconds between two questions about the same task. */
const PAUSE = 1_000;
/** How many tasks, or steps, are offered to be opened. */
const OFFERED = 40;
/** Tasks in these come first, those of all others newest first. */
const URGENT = ["failed", "retrying", "running", "cancelled"];
/** The parts of the body that come from details, in their order. */
const PARTS = ["why", "attempts", "inputs", "output", "resources", "diff", "code", "logs"] as const;

/** The drawer with the details of what is chosen; hidden while nothing is. */
export class DetailsPanel {
  readonly element = el("div", "drawer");
  readonly #context: Context;
  readonly #closed: () => void;
  readonly #sign = new Sign(16);
  readonly #title = el("span", "title");
  readonly #body = el("div", "detail");
  /** Parts of the body by name, with what each was drawn from: one is drawn again only when that changes. */
  readonly #sections = new Map<string, { element: HTMLElement; key: string }>();
  #choice: Choice | null = null;
  #details: Details | null = null;
  #trouble = "";
  /** How the task stood when its details were last asked for. */
  #asked = "";
  #askedAt = -Infinity;
  #timer = 0;
  /** Counts what was shown, so that a late answer is not taken for what is shown now. */
  #turn = 0;

  constructor(context: Context, closed: () => void) {
    this.#context = context;
    this.#closed = closed;
    this.element.hidden = true;
    attrs(this.element, { role: "region", "aria-label": "details" });
    attrs(this.#body, { tabindex: 0 });
    const close = button("✕", "close (Escape)", () => this.close());
    this.element.append(el("div", "row", this.#sign.element, this.#title, close), this.#body);
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      this.close();
    });
  }

  get open(): boolean {
    return !this.element.hidden;
  }

  show(choice: Choice): void {
    // Rows of the logs may be of steps that have not come here yet.
    const next = { address: choice.address, steps: choice.steps.filter((step) => step >= 0) };
    const last = this.#choice;
    this.element.hidden = false;
    if (last && last.address === next.address && last.steps.join() === next.steps.join()) return;
    const focused = this.element.contains(document.activeElement);
    this.#forget();
    this.#choice = next;
    this.#body.scrollTop = 0;
    this.update();
    // What was pressed in here may be gone now; without the focus, Escape would not close the drawer any more.
    if (focused && !this.element.contains(document.activeElement)) this.focus();
  }

  close(): void {
    if (!this.open) return;
    this.element.hidden = true;
    this.#forget();
    this.#closed();
  }

  focus(): void {
    this.#body.focus({ preventScroll: true });
  }

  update(): void {
    if (!this.#choice) return;
    this.#draw(this.#choice);
    this.#ask(this.#choice);
  }

  destroy(): void {
    this.#forget();
  }

  #forget(): void {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#turn++;
    this.#choice = null;
    this.#details = null;
    this.#trouble = "";
    this.#asked = "";
    this.#askedAt = -Infinity;
  }

  /** Returns the address of the one task that is chosen, or "" where it is more than one. */
  #taskOf({ address, steps }: Choice): string {
    const step = this.#context.shape.steps[steps[0] ?? -1];
    if (address || steps.length !== 1 || !step) return address;
    return step.construct || step.fanOut || step.many ? "" : step.id;
  }

  /** Asks for the details of the task that is chosen whenever it stands differently, but not all the time. */
  #ask(choice: Choice): void {
    const { channel, shape, state } = this.#context;
    const address = this.#taskOf(choice);
    if (!address || !shape.run) return;
    const saved = this.#context.document?.details?.[address];
    if (saved && !this.#details) {
      this.#details = saved;
      this.#draw(choice);
    }
    const step = choice.steps[0];
    const stands = step === undefined ? [] : [state.status(step), state.counts(step).join(), state.attempts(step)];
    const asked = [...stands, state.head.status].join(" ");
    if (!channel || asked === this.#asked || this.#timer) return;
    const wait = this.#askedAt + PAUSE - performance.now();
    if (wait > 0) {
      this.#timer = window.setTimeout(() => {
        this.#timer = 0;
        this.#ask(choice);
      }, wait);
      return;
    }
    this.#asked = asked;
    this.#askedAt = performance.now();
    const turn = this.#turn;
    const taken = (trouble: string, details = this.#details) => {
      if (turn !== this.#turn) return;
      this.#trouble = trouble;
      this.#details = details;
      this.#draw(choice);
    };
    channel.request({ type: "details", address }).then(
      (answer) => taken("", answer.details ?? null),
      (error: unknown) => taken(messageOf(error)),
    );
  }

  #draw(choice: Choice): void {
    const { shape, state } = this.#context;
    const { address, steps } = choice;
    const details = this.#details;
    const only = steps.length === 1 ? steps[0]! : -1;
    const step = shape.steps[only] ? viewOf(shape, state, only) : null;
    const name = address || step?.id || `${steps.length} steps`;
    const status = details?.status ?? (address && step?.many ? this.#statusOf(choice) : step?.status) ?? "pending";
    const mark = !shape.run && step?.mark;
    say(this.#title, name);
    this.#sign.set(mark && mark !== "new" ? (MARKS[mark]?.status ?? status) : mark || status);
    attrs(this.element, { "aria-label": `details of ${name}` });

    this.#drawFacts(choice, step, status);
    this.#section("error", this.#trouble, () => [
      this.#trouble && el("div", "soft", `Nothing more can be read now: ${this.#trouble}`),
    ]);
    const failure = status === "completed" ? null : details?.attempts.filter((attempt) => attempt.error).at(-1)?.error;
    this.#section("failure", failure, () => [failure && errorBox({ address: "", ...failure }, "", true)]);
    if (details) this.#drawDetails(details);
    else for (const part of PARTS) this.#section(part, null, () => []);

    const task = this.#taskOf(choice);
    const tasks = task || !shape.run ? [] : this.#tasksOf(steps);
    // Only a fan-out by itself has elements that a number alone names.
    const fanOut = step?.fanOut && !/\[\]|\.\*/.test(step.id) ? step.id : "";
    const several = step?.many ?? true;
    // Apart from the tasks, which come and go while somebody types.
    const headed = several && (fanOut || tasks.length > 0);
    this.#section("element", headed, () => [headed && heading("tasks"), headed && fanOut && this.#elementRow(fanOut)]);
    this.#section("tasks", [several, tasks], () => {
      if (!several || !tasks.length) return [];
      const chips = tasks.map(([one, stands]) => chip(one, stands, () => this.#openTask(one)));
      return [el("div", "chips", ...chips)];
    });
    this.#drawLinks(steps, step);
  }

  #drawFacts(choice: Choice, step: StepView | null, status: Status): void {
    const { run } = this.#context.shape;
    const task = this.#taskOf(choice);
    const stands = (): string => {
      if (this.#details && task) return this.#details.status;
      if (!step) return "";
      if (choice.address) return status;
      return step.many ? stateText(step) : rowText(step);
    };
    const said = run ? stands() : "";
    const facts = factsOf(step, this.#details, !!run, !!task);
    this.#section("facts", [said, facts], () => [el("div", "", said), factRow(facts)]);
  }

  #drawDetails({ why, attempts, inputs, output, resources, diff, code, logs }: Details): void {
    const { started } = this.#context.state.head;
    const used = Object.entries<unknown>(resources ?? {});
    const drawn: Record<(typeof PARTS)[number], [key: unknown, children: () => Child[]]> = {
      why: [why, () => [why && heading("why"), why]],
      attempts: [attempts, () => (attempts.length ? [heading("attempts"), attemptTable(attempts)] : [])],
      inputs: [inputs, () => {
        const previews = inputs.map(([name, value]) => preview(name, value));
        return previews.length ? [heading("inputs"), ...previews] : [];
      }],
      output: [output, () => (output ? [heading("output"), preview("", output)] : [])],
      resources: [used, () => {
        const facts = used.map(([name, value]): Fact => [name, resourceText(name, value)]);
        return facts.length ? [heading("resources"), factTable(facts)] : [];
      }],
      diff: [diff, () => [diff && folded("diff", "what changed in the code", true, diffBox(diff))]],
      code: [[code, !diff], () => [code && folded("code", "code", !diff, el("pre", "", code))]],
      logs: [logs, () => {
        if (!logs?.length) return [];
        const lines = logs.map((row) => logLine(row, started));
        return [folded("logs", `logs (${grouped(logs.length)})`, true, el("div", "log mono", ...lines))];
      }],
    };
    for (const part of PARTS) this.#section(part, ...drawn[part]);
  }

  /** Draws the ways on: to each of several steps, to the logs of one. */
  #drawLinks(steps: number[], step: StepView | null): void {
    const { shape, state } = this.#context;
    const links = this.#section("go", [steps, shape.run], () => {
      const chips = steps.slice(0, OFFERED).map((number) =>
        chip(shape.steps[number]?.name ?? "", state.status(number), () => {
          this.#context.open({ address: "", steps: [number] });
        }),
      );
      const logs = step && !step.construct && shape.run
        ? button("Logs of this step", "show its rows in Logs", () => this.#context.logs(step.number))
        : null;
      return [steps.length > 1 && el("div", "chips", ...chips), logs && el("div", "chips", logs)];
    });
    links.style.marginTop = "10px";
  }

  /** Draws a part of the body, if what it is drawn from has changed; what was folded or unfolded stays so. */
  #section(name: string, from: unknown, children: () => Child[]): HTMLElement {
    let section = this.#sections.get(name);
    if (!section) {
      section = { element: attrs(el("section"), { "data-part": name }), key: "" };
      this.#sections.set(name, section);
      this.#body.append(section.element);
    }
    const { element } = section;
    const key = `${this.#turn} ${JSON.stringify(from ?? null)}`;
    if (section.key === key) return element;
    section.key = key;
    const open = new Map([...element.querySelectorAll("details")].map((box) => [box.dataset.name, box.open]));
    element.replaceChildren(...children().filter((child): child is Node | string => !!child));
    for (const box of element.querySelectorAll("details")) box.open = open.get(box.dataset.name) ?? box.open;
    return element;
  }

  /** Returns the status of the chosen task as its newest span tells it. */
  #statusOf({ address, steps }: Choice): Status {
    const { shape, source } = this.#context;
    const span = source.spans ? latestOf(shape, source.spans, new Set(steps)).get(address) : undefined;
    return (span === undefined ? undefined : STATUSES[source.spans!.status[span]!]) ?? "pending";
  }

  /** Returns tasks of some steps and of the steps in them, the most urgent first. */
  #tasksOf(steps: number[]): Task[] {
    const { shape, source } = this.#context;
    const within = new Set(steps);
    shape.steps.forEach((step, number) => {
      const group = shape.index.get(step.group);
      if (group !== undefined && within.has(group)) within.add(number);
    });
    const tasks: Task[] = [];
    if (source.spans) {
      for (const [address, span] of latestOf(shape, source.spans, within)) {
        tasks.push([address, STATUSES[source.spans.status[span]!] ?? "pending"]);
      }
    }
    const known = new Set(tasks.map(([address]) => address));
    for (const [address, { status }] of Object.entries(this.#context.document?.details ?? {})) {
      if (known.has(address)) continue;
      if (steps.some((step) => address.startsWith(`${shape.steps[step]?.id}[`))) tasks.push([address, status]);
    }
    return tasks.reverse().sort((one, other) => urgency(one[1]) - urgency(other[1])).slice(0, OFFERED);
  }

  #elementRow(id: string): HTMLElement {
    const number = attrs(el("input"), {
      type: "number", min: 0, placeholder: "element", "aria-label": "number of an element",
    });
    number.style.width = "90px";
    const show = () => {
      if (number.value) this.#openTask(`${id}[${Math.max(0, Math.floor(Number(number.value)))}]`);
    };
    number.addEventListener("keydown", (event) => {
      if (event.key === "Enter") show();
    });
    const row = el("div", "row", number, button("Show", "show this element", show));
    row.style.margin = "4px 0";
    return row;
  }

  #openTask(address: string): void {
    this.#context.open({ address, steps: this.#choice?.steps ?? [] });
  }
}

function urgency(status: string): number {
  const place = URGENT.indexOf(status);
  return place < 0 ? URGENT.length : place;
}

/** Returns what can be told in a word or two of a step, or of one task of it. */
function factsOf(step: StepView | null, details: Details | null, run: boolean, task: boolean): Fact[] {
  const facts: Fact[] = [];
  const put = (name: string, text: string | null | undefined) => {
    if (text) facts.push([name, text]);
  };
  put("node", step?.node || details?.node);
  if (step?.construct) put("kind", step.kind);
  put("written at", details?.where || step?.where);
  if (!step) return facts;
  if (run && !task) {
    put(step.many ? "a task" : "took", step.mean === null ? "" : duration(step.mean));
    put("took", step.started === null || step.ended === null ? "" : duration(step.ended - step.started));
    put("workers", step.workers ? grouped(step.workers) : "");
    put("attempts", step.attempts ? grouped(step.attempts) : "");
  }
  if (step.status === "running") put("doing", step.message);
  put("run again", step.reset);
  const mark = run ? undefined : MARKS[step.mark];
  put("when run", mark && mark.text + (step.why ? `: ${step.why}` : ""));
  put("uses", step.uses.join(", "));
  return facts;
}

function chip(name: string, status: string, pressed: () => void): HTMLButtonElement {
  const made = button("", `${name}: ${status}`, pressed);
  made.append(badge(status, 12), name);
  return made;
}

function heading(text: string): HTMLElement {
  return el("h4", "", text);
}

function folded(name: string, title: string, open: boolean, ...children: Child[]): HTMLDetailsElement {
  const made = el("details", "", el("summary", "", title), ...children);
  made.dataset.name = name;
  made.open = open;
  return made;
}

function factRow(facts: Fact[]): HTMLElement | null {
  if (!facts.length) return null;
  const parts = facts.map(([name, text]) => el("span", "", el("span", "soft", `${name} `), text));
  return el("div", "told", ...parts);
}

function factTable(facts: Fact[]): HTMLElement | null {
  if (!facts.length) return null;
  const rows = facts.map(([name, text]) => el("tr", "", el("th", "", name), el("td", "", text)));
  return el("table", "", el("tbody", "", ...rows));
}

/** Returns a table that scrolls sideways by itself. */
function wideTable(heads: string[], rows: HTMLElement[]): HTMLElement {
  const head = el("tr", "", ...heads.map((name) => el("th", "", name)));
  return el("div", "over", el("table", "", el("thead", "", head), el("tbody", "", ...rows)));
}

/** Returns a resource in the unit that its name tells. */
function resourceText(name: string, value: unknown): string {
  if (typeof value === "number") {
    if (/bytes|memory|size/.test(name)) return bytes(value);
    if (/seconds|_s$|time/.test(name)) return duration(value);
    if (/rate/.test(name)) return rate(value);
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function attemptTable(attempts: Attempt[]): HTMLElement {
  const rows = attempts.map(({ attempt, status, worker, start, end, stopped, error }) => {
    return el(
      "tr", "",
      el("td", "n", String(attempt)),
      el("td", "whole", badge(status, 12), ` ${status}`),
      el("td", "n", end === null ? "" : duration(end - start)),
      el("td", "whole", worker.replace(/^\w+:\/\//, "")),
      el("td", "", error ? `${error.type}: ${error.message}` : stopped),
    );
  });
  return wideTable(["", "state", "took", "worker", ""], rows);
}

function preview(name: string, value: Preview): HTMLElement {
  const { type, shape, dtype, tier, table, text } = value;
  const size = shape && (shape.length ? shape.map(grouped).join(" × ") : "scalar");
  const told = [type, size, dtype, value.bytes !== undefined && bytes(value.bytes), tier].filter(Boolean);
  const box = el("div", "", el("div", "", name && el("b", "", `${name} `), el("span", "soft", told.join(" · "))));
  if (table) {
    const rows = table.rows.map((row) => el("tr", "", ...row.map(tableCell)));
    box.append(wideTable(table.columns.map(String), rows));
  } else if (text) {
    box.append(el("pre", "", text));
  }
  return box;
}

function tableCell(value: unknown): HTMLElement {
  return el("td", typeof value === "number" ? "n" : "", value === null ? "" : String(value));
}

function diffBox(diff: string): HTMLElement {
  const lines = diff.replace(/\n$/, "").split("\n").map((line) => {
    const kind = /^\+(?!\+\+)/.test(line) ? "add" : /^-(?!--)/.test(line) ? "del" : "";
    return el("span", kind, line || " ");
  });
  return el("pre", "", ...lines);
}

/** Returns an error with where it came from, its traceback, and what to do about it. */
export function errorBox({ address, type, message, traceback }: RunError, on: string, open = false): HTMLElement {
  return el(
    "div", "err",
    el("div", "", address && el("b", "", `${address} `), el("code", "", type ? `${type}: ${message}` : message)),
    traceback && folded("traceback", "traceback", open, el("pre", "", traceback.trimEnd())),
    on && wayOn(on),
  );
}

/** Returns a sentence on what to do next; the call that it begins with is set as code. */
export function wayOn(text: string): HTMLElement {
  const end = text.indexOf(") ") + 1;
  if (!end) return el("div", "soft", text);
  return el("div", "soft", el("code", "", text.slice(0, end)), text.slice(end));
}
