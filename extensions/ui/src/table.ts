// The table of steps: a row a step, of which only those in sight are in the page.

import type { Context } from "./api";
import { viewOf, type StepView } from "./format";
import { attrs, el, say, Sign } from "./panel";
import { Bar, barWhole } from "./progress";
import { duration, grouped, MARKS, outline, stateText, sum } from "./words";

/** The height of a row, as style.ts has it. */
const ROW = 28;
/** How many rows are kept beyond either edge, so that scrolling shows no gap. */
const MARGIN = 4;
/** What is taken as in sight while the page has not been laid out. */
const UNKNOWN_HEIGHT = 600;
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

let made = 0;

/** The steps of a run with how they stand, or of a workflow with what a run would do with each. */
export class Table {
  readonly element = el("div", "fill");
  readonly tools = el("div", "tools");
  readonly #context: Context;
  readonly #marks: boolean;
  readonly #scroller = el("div", "scroll steps");
  readonly #body = el("div");
  readonly #resized: ResizeObserver | null = null;
  /** What ids of rows begin with: several tables may be in a page. */
  readonly #prefix = `wfnb-steps-${++made}-`;
  /** Lines in the page, by their place in the table. */
  readonly #lines = new Map<number, Line>();
  readonly #spare: Line[] = [];
  #entries: Entry[] = [];
  #found: Entry[] = [];
  #shape: Context["shape"] | null = null;
  #failedHelpers = -1;
  #query = "";
  #chosen = -1;

  constructor(context: Context, marks = false) {
    this.#context = context;
    this.#marks = marks;
    const heads = (marks ? COLUMNS_OF_MARKS : COLUMNS).map((name, column) =>
      attrs(el("div", columnClass(column), name), { role: "columnheader" }),
    );
    this.#body.style.position = "relative";
    attrs(this.#body, { role: "rowgroup" });
    attrs(this.#scroller, { role: "table", tabindex: 0, "aria-label": "steps" });
    this.#scroller.append(attrs(el("div", "head", ...heads), { role: "row" }), this.#body);
    this.element.append(this.#scroller);
    this.#scroller.addEventListener("scroll", () => this.#draw());
    this.#scroller.addEventListener("keydown", (event) => this.#pressed(event));
    this.#body.addEventListener("click", (event) => {
      const line = (event.target as Element).closest<HTMLElement>("[data-row]");
      if (line) this.#choose(Number(line.dataset.row), true);
    });
    if (typeof ResizeObserver === "function") {
      this.#resized = new ResizeObserver(() => this.#draw());
      this.#resized.observe(this.#scroller);
    }
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
    this.#draw();
  }

  /** Shows only the steps that match, by id, node or status; returns how many do. */
  find(text: string): string {
    this.#query = text.trim().toLowerCase();
    this.#filter();
    this.#draw();
    return this.#query ? `${grouped(this.#found.length)} of ${grouped(this.#entries.length)}` : "";
  }

  focus(): void {
    this.#scroller.focus({ preventScroll: true });
  }

  destroy(): void {
    this.#resized?.disconnect();
  }

  #filter(): void {
    const { shape, state } = this.#context;
    this.#found = this.#entries.filter(([, , number]) => {
      if (!this.#query) return true;
      const { id, node, mark } = shape.steps[number]!;
      return `${id} ${node} ${mark || state.status(number)}`.toLowerCase().includes(this.#query);
    });
    this.#body.style.height = `${ROW * this.#found.length}px`;
    attrs(this.#scroller, { "aria-rowcount": this.#found.length + 1 });
    this.#point();
  }

  #draw(): void {
    const { scrollTop, clientHeight } = this.#scroller;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - MARGIN);
    const bottom = scrollTop + (clientHeight || UNKNOWN_HEIGHT);
    const end = Math.min(this.#found.length, Math.ceil(bottom / ROW) + MARGIN);
    for (const [place, line] of this.#lines) {
      if (place >= first && place < end) continue;
      line.element.remove();
      this.#lines.delete(place);
      this.#spare.push(line);
    }
    for (let place = first; place < end; place++) this.#fill(this.#lineAt(place), this.#found[place]!);
  }

  #lineAt(place: number): Line {
    const shown = this.#lines.get(place);
    if (shown) return shown;
    const line = this.#spare.pop() ?? newLine();
    this.#lines.set(place, line);
    line.element.style.top = `${ROW * place}px`;
    attrs(line.element, { "data-row": place, id: this.#prefix + place, "aria-rowindex": place + 2 });
    this.#body.append(line.element);
    return line;
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
    line.element.classList.toggle("on", number === this.#chosen);
  }

  #choose(place: number, open: boolean): void {
    const entry = this.#found[place];
    if (!entry) return;
    this.#chosen = entry[2];
    const top = ROW * place;
    const { scrollTop, clientHeight } = this.#scroller;
    const below = top + 2 * ROW - clientHeight; // the head covers the height of one row
    if (top < scrollTop) this.#scroller.scrollTop = top;
    else if (below > scrollTop) this.#scroller.scrollTop = below;
    this.#draw();
    this.#point();
    if (open) this.#context.open({ address: "", steps: [this.#chosen] });
  }

  /** Tells assistive technology which row is the chosen one; ids go by place, so a filter changes it. */
  #point(): void {
    const place = this.#placeOfChosen();
    if (place < 0) this.#scroller.removeAttribute("aria-activedescendant");
    else attrs(this.#scroller, { "aria-activedescendant": this.#prefix + place });
  }

  #placeOfChosen(): number {
    return this.#found.findIndex(([, , number]) => number === this.#chosen);
  }

  #pressed(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.#placeOfChosen();
    const last = this.#found.length - 1;
    const page = Math.max(1, Math.floor(this.#scroller.clientHeight / ROW) - 2);
    const targets: Record<string, number> = {
      ArrowUp: at - 1, ArrowDown: at + 1, PageUp: at - page, PageDown: at + page, Home: 0, End: last,
    };
    const target = targets[event.key];
    if (target !== undefined) this.#choose(Math.min(last, Math.max(0, target)), false);
    else if (event.key === "Enter" && at >= 0) this.#choose(at, true);
    else return;
    event.preventDefault();
    event.stopPropagation();
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
  return { element: attrs(el("div", "line", ...cells), { role: "row" }), cells, sign, bar, said };
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
