// The live table of runs: found by words and by status, sorted by any column; one that is chosen is opened.

import type { Channel, Part } from "./api";
import { STATUSES, type RunRow } from "./format";
import { Lines, ROW } from "./lines";
import { attrs, badge, button, el, messageOf, say } from "./panel";
import { Bar, barWhole } from "./progress";
import { CSS } from "./style";
import { cssVars, readTheme, watchTheme, type Theme } from "./theme";
import { countsText, duration, grouped, isOver } from "./words";

/** The runs there are, and who tells when they have changed. */
export interface RunsSource {
  readonly rows: RunRow[];
  /** Calls back after a change, with the part that changed where there are others; returns what ends that. */
  onChange(changed: (part?: Part) => void): () => void;
}

export interface RunsOptions {
  /** Whom to ask to open a run; without it they can only be looked at. */
  channel?: Channel;
  /** Called once the kernel shows a run, with its id. */
  onOpen?: (id: string) => void;
}

const MOST_HEIGHT = 400;
const NARROW = 640;

// The table shares its look with that of the steps; a second class makes these rules win wherever the sheets lie.
const RUNS_CSS = `
.wfnb-ui .runs-body{min-height:88px}
.wfnb-ui .runs-body .empty{padding-top:46px}
.wfnb-ui .steps.runs [role=row]{grid-template-columns:1.3fr 1.2fr 1fr 132px 84px 1fr}
.wfnb-ui.narrow .steps.runs [role=row]{grid-template-columns:96px 1fr 1fr 1fr}
.wfnb-ui .runs .head button{border:0;padding:0;height:auto;background:none;font:inherit}
.wfnb-ui .runs [aria-sort=ascending] button::after{content:" ↑"}
.wfnb-ui .runs [aria-sort=descending] button::after{content:" ↓"}
.wfnb-ui .runs [aria-selected=true]{box-shadow:inset 3px 0 var(--wf-ink)}
.wfnb-ui .runs .badge{flex:none}
.wfnb-ui .runs .soft{overflow:hidden;text-overflow:ellipsis}
.wfnb-ui .runs .state.num{padding-left:10px}
.wfnb-ui:not(.narrow) .runs-tools{flex-wrap:nowrap;white-space:nowrap;align-items:baseline}
`;

interface Column {
  name: string;
  kind: string;
  /** Returns what rows are sorted by. */
  key(row: RunRow): string | number;
  /** Returns what a cell holds. */
  cell(row: RunRow): (Node | string)[];
}

const COLUMNS: Column[] = [
  {
    name: "status", kind: "state", key: (row) => row.status,
    cell: ({ status, error }) => [badge(status), status, softly(error)],
  },
  {
    name: "workflow", kind: "", key: (row) => row.workflow.toLowerCase(),
    cell: ({ workflow, tags }) => [`${workflow} `, softly(tags.join(" · "))],
  },
  { name: "run", kind: "", key: (row) => row.id, cell: (row) => [el("code", "", row.id)] },
  {
    name: "created", kind: "wide num", key: (row) => row.created ?? -1,
    cell: ({ created }) => [created === null ? "" : clock(created)],
  },
  { name: "took", kind: "wide n", key: (row) => row.elapsed ?? -1, cell: (row) => [tookText(row)] },
  { name: "done", kind: "state num", key: (row) => row.done / wholeOf(row), cell: progress },
];
const CREATED = 3;

/** The elements of one row, and what they were made from. */
interface Line {
  element: HTMLElement;
  from: string;
}

/** Shows the runs of a source in an element until the function that it returns is called. */
export function mountRuns(root: HTMLElement, source: RunsSource, options: RunsOptions = {}): () => void {
  const table = new RunsTable(root, source, options);
  return () => table.destroy();
}

/** Returns the runs in which every word is found: in the workflow, id, tags or status. */
export function findRuns(rows: RunRow[], text: string): RunRow[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return rows;
  return rows.filter(({ workflow, id, tags, status }) => {
    const all = [workflow, id, ...tags, status].join("\n").toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

/** Returns runs sorted by a column, equal ones newest first. */
export function sortRuns(rows: RunRow[], column: number, descending: boolean): RunRow[] {
  const { key } = COLUMNS[column]!;
  const up = descending ? -1 : 1;
  return rows
    .map((row) => ({ row, value: key(row), created: row.created ?? -1 }))
    .sort((one, other) => {
      if (one.value === other.value) return other.created - one.created;
      return one.value < other.value ? -up : up;
    })
    .map(({ row }) => row);
}

class RunsTable {
  readonly #element = el("div", "wfnb-ui");
  readonly #source: RunsSource;
  readonly #options: RunsOptions;
  readonly #chips: HTMLElement[];
  readonly #heads: HTMLElement[];
  readonly #note = attrs(el("div", "soft"), { role: "status" });
  readonly #count = attrs(el("span", "soft num end"), { role: "status" });
  readonly #find = attrs(el("input", "find"), {
    type: "search", placeholder: "Filter the runs", "aria-label": "Filter the runs",
  });
  readonly #frame = el("div", "body runs-body");
  readonly #empty = el("div", "empty");
  readonly #lines: Lines<Line>;
  readonly #ends: (() => void)[] = [];
  /** The statuses to show; none means all. */
  readonly #statuses = new Set<string>();
  #found: RunRow[] = [];
  #column = CREATED;
  #descending = true;
  #chosen = "";
  #opened = "";
  /** Counts what was opened, so that a late answer does not undo a newer choice. */
  #turn = 0;

  constructor(root: HTMLElement, source: RunsSource, options: RunsOptions) {
    this.#source = source;
    this.#options = options;
    this.#heads = COLUMNS.map(({ name, kind }, column) => {
      return el("div", kind, button(name, `sort by ${name}`, () => this.#sortBy(column)));
    });
    this.#chips = STATUSES.map((status) => {
      const chip = button(" ", `only runs that are ${status}; several add up`, () => {
        if (!this.#statuses.delete(status)) this.#statuses.add(status);
        this.#update();
      });
      chip.removeAttribute("aria-label"); // its text names it
      chip.replaceChildren(badge(status, 12), el("span"));
      return chip;
    });
    this.#lines = new Lines("grid", "runs", this.#heads, {
      make: newLine,
      fill: (line, place) => this.#fill(line, this.#found[place]!),
      chosen: () => this.#placeOf(this.#chosen),
      choose: (place) => {
        this.#chosen = this.#found[place]!.id;
      },
      open: () => void this.#open(this.#chosen),
    });
    this.#lines.element.classList.add("runs");
    this.#frame.append(this.#empty, this.#lines.element);
    this.#find.addEventListener("input", () => this.#update());
    const tools = el("div", "row tabs runs-tools", el("div", "chips", ...this.#chips), this.#count, this.#find);
    this.#element.append(el("style", "", CSS + RUNS_CSS), tools, this.#frame, this.#note);
    this.#element.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys stay out of here
    this.#element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (this.#pressed(event)) event.preventDefault();
      event.stopPropagation();
    });
    root.replaceChildren(this.#element);
    this.#dress(readTheme(root));
    this.#ends.push(
      watchTheme(root, (theme) => this.#dress(theme)),
      source.onChange((part) => {
        if (!part || part === "rows") this.#update();
      }),
    );
    if (typeof ResizeObserver === "function") {
      const resized = new ResizeObserver(() => {
        const width = this.#element.clientWidth;
        this.#element.classList.toggle("narrow", width > 0 && width < NARROW);
      });
      resized.observe(this.#element);
      this.#ends.push(() => resized.disconnect());
    }
    this.#update();
  }

  destroy(): void {
    this.#turn++;
    for (const end of this.#ends) end();
    this.#lines.destroy();
    this.#element.remove();
  }

  #dress(theme: Theme): void {
    for (const [name, value] of Object.entries(cssVars(theme))) this.#element.style.setProperty(name, value);
    this.#element.style.colorScheme = theme.dark ? "dark" : "light";
  }

  /** Does what a key means, and returns whether it means anything. */
  #pressed(event: KeyboardEvent): boolean {
    const { key, target } = event;
    const typing = target === this.#find;
    if (key === "Escape") {
      this.#find.value = "";
      this.#statuses.clear();
      this.#update();
      this.#lines.focus();
    } else if (typing && (key === "ArrowDown" || key === "Enter")) {
      this.#lines.focus();
      this.#lines.choose(0);
    } else if (key === "/" && !typing) {
      this.#find.select();
      this.#find.focus();
    } else {
      return target === this.#lines.element && this.#lines.pressed(event);
    }
    return true;
  }

  #sortBy(column: number): void {
    // Names go up from A at first, figures down from the largest.
    this.#descending = column === this.#column ? !this.#descending : column >= CREATED;
    this.#column = column;
    this.#lines.element.scrollTop = 0;
    this.#update();
  }

  #placeOf(id: string | undefined): number {
    return this.#found.findIndex((row) => row.id === id);
  }

  async #open(id: string): Promise<void> {
    const { channel, onOpen } = this.#options;
    const turn = ++this.#turn;
    let trouble = "";
    say(this.#note, `opening ${id}…`);
    try {
      if (!channel) throw new Error("the kernel cannot be reached from here");
      const answer = await channel.request({ type: "open", run: id });
      if (!answer.ok) trouble = answer.error || "refused";
    } catch (error) {
      trouble = messageOf(error);
    }
    if (turn !== this.#turn) return;
    say(this.#note, trouble && `could not open ${id}: ${trouble}`);
    if (trouble) return;
    this.#opened = id;
    this.#lines.draw();
    onOpen?.(id);
  }

  /** Finds and sorts anew; the run at the top of what is in sight stays there, unless nobody has scrolled. */
  #update(): void {
    const { rows } = this.#source;
    const { element } = this.#lines;
    const { scrollTop } = element;
    const topmost = scrollTop > 0 ? this.#found[Math.floor(scrollTop / ROW)]?.id : undefined;
    const matching = findRuns(rows, this.#find.value);
    const wanted = this.#statuses.size ? matching.filter((row) => this.#statuses.has(row.status)) : matching;
    this.#found = sortRuns(wanted, this.#column, this.#descending);
    this.#say(rows, matching);
    this.#lines.count = this.#found.length;
    if (!this.#frame.style.height && rows.length) {
      // From here on whoever looks sizes it.
      this.#frame.style.height = `${Math.min(MOST_HEIGHT, ROW * (rows.length + 1) + 12)}px`;
    }
    const place = this.#placeOf(topmost);
    if (place >= 0) element.scrollTop = ROW * place + (scrollTop % ROW);
    this.#lines.draw();
  }

  /** Tells what there is beside the rows: statuses with their counts, how many runs, the way they are sorted. */
  #say(rows: RunRow[], matching: RunRow[]): void {
    const present = new Set(rows.map((row) => row.status));
    STATUSES.forEach((status, at) => {
      const chip = this.#chips[at]!;
      const pressed = this.#statuses.has(status);
      chip.hidden = !pressed && !present.has(status);
      say(chip.lastElementChild!, `${grouped(matching.filter((row) => row.status === status).length)} ${status}`);
      attrs(chip, { "aria-pressed": pressed });
    });
    const { length } = this.#found;
    const all = `${grouped(rows.length)} ${rows.length === 1 ? "run" : "runs"}`;
    say(this.#count, length < rows.length ? `${grouped(length)} of ${all}` : all);
    say(this.#empty, rows.length ? "No run matches." : "There are no runs yet.");
    this.#empty.hidden = length > 0;
    this.#heads.forEach((head, column) => {
      const order = this.#descending ? "descending" : "ascending";
      attrs(head, { "aria-sort": column === this.#column ? order : "none" });
    });
  }

  #fill(line: Line, row: RunRow): void {
    attrs(line.element, { "aria-selected": row.id === this.#opened });
    // What runs took changes all the time, what is seen of it does not.
    const from = JSON.stringify([{ ...row, elapsed: null }, tookText(row)]);
    if (line.from === from) return;
    line.from = from;
    COLUMNS.forEach(({ cell }, column) => line.element.children[column]!.replaceChildren(...cell(row)));
  }
}

function newLine(): Line {
  const cells = COLUMNS.map(({ kind }) => attrs(el("div", kind), { role: "gridcell" }));
  return { element: el("div", "line", ...cells), from: "" };
}

function softly(text: string): HTMLElement {
  const made = el("span", "soft", text);
  made.title = text;
  return made;
}

function wholeOf({ done, total, status }: RunRow): number {
  return isOver(status) ? Math.max(total ?? done, 1) : barWhole([done], total);
}

function progress(row: RunRow): (Node | string)[] {
  const { done, total, status } = row;
  if (!done && !total) return [];
  const bar = new Bar();
  bar.set([done], wholeOf(row));
  const text = total === null && isOver(status) ? grouped(done) : countsText([done], total);
  return [bar.element, el("span", "said", text)];
}

function tookText({ elapsed, status }: RunRow): string {
  if (elapsed === null) return "";
  return duration(isOver(status) ? elapsed : Math.floor(elapsed));
}

/** Returns a moment as `2026-11-23 08:05:09`, in the time of who looks: Swedes write it like that. */
function clock(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString("sv-SE");
}
