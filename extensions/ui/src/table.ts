// The table of steps: a row a step, of which only those in sight are in the page.

import type { Context } from "./api";
import { viewOf, type StepView } from "./format";
import { Lines } from "./lines";
import { attrs, el, say, Sign } from "./panel";
import { Bar, barWhole } from "./progress";
import { duration, grouped, MARKS, outline, stateText, sum } from "./words";

const COLUMNS = ["step", "node", "state", "a task", "took", "workers"];
const COLUMNS_OF_MARKS = ["step", "node", "when run", "", "", ""];

/** A step as the outline has it. */
type Entry = [depth: number, name: string, number: number];

/** The elements of one row, which shows one step after another. */
interface Line {
  element: HTMLElement;
  cells: HTMLElement[];
  sign: Sign;
  bar: Bar;
  said: HTMLElement;
}

/** The steps of a run with how they stand, or of a workflow with what a run would do with each. */
export class Table {
  readonly element = el("div", "fill");
  readonly tools = el("div", "tools");
  readonly #context: Context;
  readonly #marks: boolean;
  readonly #lines: Lines<Line>;
  #entries: Entry[] = [];
  #found: Entry[] = [];
  #shape: Context["shape"] | null = null;
  #failedHelpers = -1;
  #query = "";
  #chosen = -1;

  constructor(context: Context, marks = false) {
    this.#context = context;
    this.#marks = marks;
    const heads = (marks ? COLUMNS_OF_MARKS : COLUMNS).map((name, column) => el("div", columnClass(column), name));
    this.#lines = new Lines("table", "steps", heads, {
      make: newLine,
      fill: (line, place) => this.#fill(line, this.#found[place]!),
      chosen: () => this.#found.findIndex(([, , number]) => number === this.#chosen),
      choose: (place) => {
        this.#chosen = this.#found[place]![2];
      },
      open: () => context.open({ address: "", steps: [this.#chosen] }),
    });
    this.element.append(this.#lines.element);
    this.#lines.element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.#lines.pressed(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  update(): void {
    const { shape, state } = this.#context;
    // A helper has a row only once it has failed, so the outline depends on more than the shape.
    const failedHelpers = shape.steps.filter((step, number) => step.helper && state.status(number) === "failed").length;
    if (this.#shape !== shape || this.#failedHelpers !== failedHelpers) {
      this.#shape = shape;
      this.#failedHelpers = failedHelpers;
      this.#entries = outline(shape, state);
      this.#filter();
    }
    this.#lines.draw();
  }

  /** Shows only the steps that match, by id, node or status; returns how many do. */
  find(text: string): string {
    this.#query = text.trim().toLowerCase();
    this.#filter();
    this.#lines.draw();
    return this.#query ? `${grouped(this.#found.length)} of ${grouped(this.#entries.length)}` : "";
  }

  focus(): void {
    this.#lines.focus();
  }

  destroy(): void {
    this.#lines.destroy();
  }

  #filter(): void {
    const { shape, state } = this.#context;
    this.#found = this.#entries.filter(([, , number]) => {
      if (!this.#query) return true;
      const { id, node, mark } = shape.steps[number]!;
      return `${id} ${node} ${mark || state.status(number)}`.toLowerCase().includes(this.#query);
    });
    this.#lines.count = this.#found.length;
  }

  #fill(line: Line, [depth, name, number]: Entry): void {
    const step = viewOf(this.#context.shape, this.#context.state, number);
    const [title, node] = line.cells as [HTMLElement, HTMLElement];
    say(title, name);
    title.style.paddingLeft = `${16 * depth}px`;
    if (title.title !== step.id) title.title = step.id;
    say(node, step.node);
    if (this.#marks) fillMark(line, step);
    else fillState(line, step);
  }
}

function columnClass(column: number): string {
  const number = column > 2 ? "n" : "";
  return column === 1 || column > 3 ? `${number} wide` : number;
}

function newLine(): Line {
  const sign = new Sign();
  const bar = new Bar();
  const said = el("span", "said");
  const cells = COLUMNS.map((_, column) => {
    if (column === 2) return el("div", "state", sign.element, bar.element, said);
    return el("div", columnClass(column) + (column === 1 ? " soft" : ""));
  });
  for (const cell of cells) attrs(cell, { role: "cell" });
  return { element: el("div", "line", ...cells), cells, sign, bar, said };
}

function fillState(line: Line, step: StepView): void {
  const [mean, took, workers] = line.cells.slice(3) as [HTMLElement, HTMLElement, HTMLElement];
  const stacked = step.many && !step.unused && sum(step.counts) > 0;
  line.sign.set(step.status);
  say(line.said, rowText(step));
  line.bar.element.hidden = !stacked;
  if (stacked) line.bar.set(step.counts, barWhole(step.counts, step.width));
  say(mean, step.mean === null ? "" : duration(step.mean));
  say(took, step.ended === null || step.started === null ? "" : duration(step.ended - step.started));
  say(workers, step.workers ? grouped(step.workers) : "");
}

function fillMark(line: Line, step: StepView): void {
  const mark = MARKS[step.mark || "unknown"]!;
  const why = step.why ? `: ${step.why}` : "";
  line.sign.set(step.mark === "new" ? "new" : mark.status);
  say(line.said, step.construct && !step.mark ? step.kind : mark.text + why);
  line.bar.element.hidden = true;
}

/** Returns how a step stands in the words of a row, which has columns of its own for times. */
export function rowText(step: StepView): string {
  if (step.many || step.unused) return stateText(step);
  const running = step.status === "running";
  const progress = running && step.progress !== null ? ` ${Math.round(step.progress * 100)}%` : "";
  const attempts = step.attempts > 1 ? ` · ${step.attempts} attempts` : "";
  const message = running && step.message ? ` · ${step.message}` : "";
  return step.status + progress + attempts + message;
}
