// The live table of runs: found by words and by status, sorted by any column; one that is chosen is opened.

import type { Channel, Part } from "./api";
import { STATUSES, type RunRow } from "./format";
import { attrs, badge, button, el, messageOf, say, Sign } from "./panel";
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

/** The height of a row, as style.ts has it. */
const ROW = 28;
/** How many rows are kept beyond either edge, and how many are in the page at the most. */
const MARGIN = 4;
const MOST = 200;
/** What is taken as in sight while the page has not been laid out. */
const UNKNOWN_HEIGHT = 400;
const MOST_HEIGHT = 400;
const NARROW = 640;

const WIDTHS = "minmax(110px,1.3fr) minmax(110px,1.2fr) minmax(120px,1fr) 132px 84px minmax(140px,1fr)";
const NARROW_WIDTHS = "96px minmax(80px,1fr) minmax(80px,1fr) minmax(110px,1fr)";
// The table shares its look with that of the steps; a second class makes these rules win wherever the sheets lie.
const RUNS_CSS = `
.wfnb-ui .runs-body{min-height:88px}
.wfnb-ui .runs-body .empty{padding-top:46px}
.wfnb-ui .steps.runs [role=row]{grid-template-columns:${WIDTHS}}
.wfnb-ui.narrow .steps.runs [role=row]{grid-template-columns:${NARROW_WIDTHS}}
.wfnb-ui .runs .head button{border:0;padding:0;height:auto;background:none;font:inherit;color:inherit}
.wfnb-ui .runs [aria-sort$=ending]{color:var(--wf-ink)}
.wfnb-ui .runs [aria-sort=ascending] button::after{content:" ↑"}
.wfnb-ui .runs [aria-sort=descending] button::after{content:" ↓"}
.wfnb-ui .runs [aria-selected=true]{box-shadow:inset 3px 0 var(--wf-ink)}
.wfnb-ui .runs .said{flex:none}
.wfnb-ui .runs .error{overflow:hidden;text-overflow:ellipsis}
`;

interface Column {
  name: string;
  kind: string;
  /** Returns what rows are sorted by. */
  key(row: RunRow): string | number;
}

const COLUMNS: Column[] = [
  { name: "status", kind: "state", key: (row) => row.status },
  { name: "workflow", kind: "", key: (row) => row.workflow.toLowerCase() },
  { name: "run", kind: "", key: (row) => row.id },
  { name: "created", kind: "wide num", key: (row) => row.created ?? -1 },
  { name: "took", kind: "wide n", key: (row) => row.elapsed ?? -1 },
  { name: "done", kind: "state num", key: (row) => row.done / wholeOf(row) },
];
const [RUN, CREATED, TOOK] = [2, 3, 4] as const;

/** The elements of one row, which shows one run after another. */
interface Line {
  element: HTMLElement;
  cells: HTMLElement[];
  sign: Sign;
  said: HTMLElement;
  error: HTMLElement;
  workflow: HTMLElement;
  tags: HTMLElement;
  bar: Bar;
  counts: HTMLElement;
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
  const sign = descending ? -1 : 1;
  return rows
    .map((row) => ({ row, key: key(row), created: row.created ?? -1 }))
    .sort((one, other) => {
      if (one.key !== other.key) return one.key < other.key ? -sign : sign;
      return other.created - one.created;
    })
    .map(({ row }) => row);
}

function wholeOf({ done, total, status }: RunRow): number {
  return isOver(status) ? Math.max(total ?? done, 1) : barWhole([done], total);
}

let made = 0;

class RunsTable {
  readonly #element = el("div", "wfnb-ui");
  readonly #source: RunsSource;
  readonly #options: RunsOptions;
  readonly #chips = attrs(el("div", "chips"), { role: "group", "aria-label": "statuses" });
  readonly #chipOf = new Map<string, HTMLButtonElement>();
  readonly #heads: HTMLElement[];
  readonly #note = attrs(el("span", "soft"), { role: "status" });
  readonly #count = attrs(el("span", "soft num end"), { role: "status" });
  readonly #find = attrs(el("input", "find"), {
    type: "search", placeholder: "Filter the runs", "aria-label": "Filter the runs",
  });
  readonly #frame = el("div", "body runs-body");
  readonly #grid = attrs(el("div", "scroll steps runs"), { role: "grid", tabindex: 0, "aria-label": "runs" });
  readonly #body = attrs(el("div"), { role: "rowgroup" });
  readonly #empty = el("div", "empty");
  readonly #prefix = `wfnb-runs-${++made}-`;
  /** Lines in the page, by their place in the table. */
  readonly #lines = new Map<number, Line>();
  readonly #spare: Line[] = [];
  readonly #ends: (() => void)[] = [];
  #found: RunRow[] = [];
  readonly #statuses = new Set<string>();
  #column: number = CREATED;
  #descending = true;
  #chosen = "";
  #opened = "";
  /** Counts what was asked for, so that a late answer does not undo a newer choice. */
  #turn = 0;
  #sized = false;

  constructor(root: HTMLElement, source: RunsSource, options: RunsOptions) {
    this.#source = source;
    this.#options = options;
    this.#heads = COLUMNS.map(({ name, kind }, column) => {
      const head = el("div", kind, button(name, `sort by ${name}`, () => this.#sortBy(column)));
      return attrs(head, { role: "columnheader" });
    });
    this.#body.style.position = "relative";
    this.#grid.append(attrs(el("div", "head", ...this.#heads), { role: "row" }), this.#body);
    this.#frame.append(this.#empty, this.#grid);
    const tools = el("div", "row tabs", this.#chips, this.#note, this.#count, this.#find);
    this.#element.append(el("style", "", CSS + RUNS_CSS), tools, this.#frame);
    this.#element.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys stay out of here
    root.replaceChildren(this.#element);
    this.#listen();
    this.#dress(readTheme(root));
    this.#ends.push(
      watchTheme(root, (theme) => this.#dress(theme)),
      source.onChange((part) => {
        if (!part || part === "rows") this.#update();
      }),
    );
    this.#update();
  }

  destroy(): void {
    this.#turn++;
    for (const end of this.#ends) end();
    this.#element.remove();
  }

  #listen(): void {
    this.#grid.addEventListener("scroll", () => this.#draw());
    this.#body.addEventListener("click", (event) => {
      const line = (event.target as Element).closest<HTMLElement>("[data-row]");
      if (line) this.#choose(Number(line.dataset.row), true);
    });
    this.#find.addEventListener("input", () => this.#update());
    this.#element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (this.#pressed(event)) event.preventDefault();
      event.stopPropagation();
    });
    if (typeof ResizeObserver !== "function") return;
    const resized = new ResizeObserver(() => {
      const width = this.#element.clientWidth;
      this.#element.classList.toggle("narrow", width > 0 && width < NARROW);
      this.#draw();
    });
    resized.observe(this.#element);
    resized.observe(this.#grid);
    this.#ends.push(() => resized.disconnect());
  }

  #dress(theme: Theme): void {
    for (const [name, value] of Object.entries(cssVars(theme))) this.#element.style.setProperty(name, value);
    this.#element.style.colorScheme = theme.dark ? "dark" : "light";
  }

  /** Does what a key means, and returns whether it means anything. */
  #pressed({ key, target }: KeyboardEvent): boolean {
    const typing = target === this.#find;
    if (key === "Escape") {
      this.#find.value = "";
      this.#statuses.clear();
      this.#update();
      this.#grid.focus({ preventScroll: true });
      return true;
    }
    if (key === "/" && !typing) {
      this.#find.focus();
      this.#find.select();
      return true;
    }
    if (typing) {
      if (key !== "ArrowDown" && key !== "Enter") return false;
      this.#grid.focus({ preventScroll: true });
      this.#choose(0, false);
      return true;
    }
    if (!this.#grid.contains(target as Node)) return false;
    const at = this.#place();
    const last = this.#found.length - 1;
    const page = Math.max(1, Math.floor(this.#grid.clientHeight / ROW) - 2);
    const targets: Record<string, number> = {
      ArrowUp: at - 1, ArrowDown: at + 1, PageUp: at - page, PageDown: at + page, Home: 0, End: last,
    };
    const to = targets[key];
    if (to !== undefined) {
      this.#grid.focus({ preventScroll: true });
      this.#choose(Math.min(last, Math.max(0, to)), false);
      return true;
    }
    if (key !== "Enter" || target !== this.#grid || at < 0) return false;
    this.#choose(at, true);
    return true;
  }

  #sortBy(column: number): void {
    // Names go up from A at first, figures down from the largest.
    this.#descending = column === this.#column ? !this.#descending : column >= CREATED;
    this.#column = column;
    this.#grid.scrollTop = 0;
    this.#update();
  }

  #place(): number {
    return this.#found.findIndex((row) => row.id === this.#chosen);
  }

  #choose(place: number, open: boolean): void {
    const row = this.#found[place];
    if (!row) return;
    this.#chosen = row.id;
    const top = ROW * place;
    const below = top + 2 * ROW - this.#grid.clientHeight; // the head covers the height of one row
    if (top < this.#grid.scrollTop) this.#grid.scrollTop = top;
    else if (below > this.#grid.scrollTop) this.#grid.scrollTop = below;
    this.#draw();
    if (open) void this.#open(row.id);
  }

  async #open(id: string): Promise<void> {
    const { channel, onOpen } = this.#options;
    const turn = ++this.#turn;
    if (!channel) {
      say(this.#note, "runs cannot be opened from here");
      return;
    }
    say(this.#note, `opening ${id}…`);
    let trouble = "";
    try {
      const answer = await channel.request({ type: "open", run: id });
      if (!answer.ok) trouble = answer.error || "refused";
    } catch (error) {
      trouble = messageOf(error);
    }
    if (turn !== this.#turn) return;
    say(this.#note, trouble && `could not open ${id}: ${trouble}`);
    if (trouble) return;
    this.#opened = id;
    this.#draw();
    onOpen?.(id);
  }

  /** Finds and sorts anew. The run at the top of what is in sight stays there, unless that is the first. */
  #update(): void {
    const { rows } = this.#source;
    const { scrollTop } = this.#grid;
    const topmost = scrollTop > 0 ? this.#found[Math.floor(scrollTop / ROW)]?.id : undefined;
    const matching = findRuns(rows, this.#find.value);
    this.#drawChips(rows, matching);
    const wanted = this.#statuses.size ? matching.filter((row) => this.#statuses.has(row.status)) : matching;
    this.#found = sortRuns(wanted, this.#column, this.#descending);
    const { length } = this.#found;
    const runs = rows.length === 1 ? "run" : "runs";
    say(this.#count, (length < rows.length ? `${grouped(length)} of ` : "") + `${grouped(rows.length)} ${runs}`);
    say(this.#empty, rows.length ? "No run matches." : "There are no runs yet.");
    this.#empty.hidden = length > 0;
    this.#heads.forEach((head, column) => {
      const order = this.#descending ? "descending" : "ascending";
      attrs(head, { "aria-sort": column === this.#column ? order : "none" });
    });
    attrs(this.#grid, { "aria-rowcount": length + 1 });
    this.#body.style.height = `${ROW * length}px`;
    if (!this.#sized && length) {
      this.#sized = true; // from here on whoever looks sizes it
      this.#frame.style.height = `${Math.min(MOST_HEIGHT, ROW * (length + 1) + 12)}px`;
    }
    const place = topmost === undefined ? -1 : this.#found.findIndex((row) => row.id === topmost);
    if (place >= 0) this.#grid.scrollTop = ROW * place + (scrollTop % ROW);
    this.#draw();
  }

  #drawChips(rows: RunRow[], matching: RunRow[]): void {
    const present = new Set<string>(rows.map((row) => row.status));
    const counts = new Map<string, number>();
    for (const { status } of matching) counts.set(status, (counts.get(status) ?? 0) + 1);
    let place = 0;
    for (const status of STATUSES) {
      if (!present.has(status) && !this.#statuses.has(status)) {
        this.#chipOf.get(status)?.remove();
        continue;
      }
      const chip = this.#chip(status);
      say(chip.lastElementChild!, `${grouped(counts.get(status) ?? 0)} ${status}`);
      attrs(chip, { "aria-pressed": this.#statuses.has(status) });
      // A chip that is there already is left where it is: an element that is moved loses the focus.
      const there = this.#chips.children[place++] ?? null;
      if (there !== chip) this.#chips.insertBefore(chip, there);
    }
  }

  #chip(status: string): HTMLButtonElement {
    const known = this.#chipOf.get(status);
    if (known) return known;
    const chip = button("", `only runs that are ${status}; several add up`, () => {
      if (!this.#statuses.delete(status)) this.#statuses.add(status);
      this.#update();
    });
    chip.removeAttribute("aria-label"); // its text names it
    chip.append(badge(status, 12), el("span"));
    this.#chipOf.set(status, chip);
    return chip;
  }

  #draw(): void {
    const { scrollTop, clientHeight } = this.#grid;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - MARGIN);
    const inSight = Math.ceil((scrollTop + (clientHeight || UNKNOWN_HEIGHT)) / ROW) + MARGIN;
    const end = Math.min(this.#found.length, inSight, first + MOST);
    for (const [place, line] of this.#lines) {
      if (place >= first && place < end) continue;
      line.element.remove();
      this.#lines.delete(place);
      this.#spare.push(line);
    }
    for (let place = first; place < end; place++) this.#fill(this.#lineAt(place), this.#found[place]!);
    const chosen = this.#place();
    if (chosen >= first && chosen < end) attrs(this.#grid, { "aria-activedescendant": this.#prefix + chosen });
    else this.#grid.removeAttribute("aria-activedescendant");
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

  #fill(line: Line, row: RunRow): void {
    const { element, cells, bar } = line;
    line.sign.set(row.status);
    say(line.said, row.status);
    say(line.error, row.error);
    if (line.error.title !== row.error) line.error.title = row.error;
    say(line.workflow, row.workflow);
    const tags = row.tags.join(" · ");
    say(line.tags, tags);
    if (line.tags.title !== tags) line.tags.title = tags;
    say(cells[RUN]!, row.id);
    say(cells[CREATED]!, row.created === null ? "" : clock(row.created));
    say(cells[TOOK]!, row.elapsed === null ? "" : duration(isOver(row.status) ? row.elapsed : Math.floor(row.elapsed)));
    bar.set([row.done], wholeOf(row));
    bar.element.hidden = !row.done && !row.total;
    say(line.counts, bar.element.hidden ? "" : countsText([row.done], row.total));
    element.classList.toggle("on", row.id === this.#chosen);
    attrs(element, { "aria-selected": row.id === this.#opened });
  }
}

function newLine(): Line {
  const sign = new Sign();
  const bar = new Bar();
  const said = el("span", "said");
  const error = el("span", "soft error");
  const workflow = el("span");
  const tags = el("span", "soft");
  const counts = el("span", "said");
  const contents: (Node | string)[][] = [
    [sign.element, said, error], [workflow, " ", tags], [], [], [], [bar.element, counts],
  ];
  const cells = COLUMNS.map(({ kind }, column) => {
    return attrs(el("div", kind, ...contents[column]!), { role: "gridcell" });
  });
  cells[RUN]!.classList.add("mono");
  const element = attrs(el("div", "line", ...cells), { role: "row" });
  return { element, cells, sign, said, error, workflow, tags, bar, counts };
}

/** Returns a moment as `2026-11-23 08:05:09`, in the time of who looks. */
function clock(seconds: number): string {
  const time = new Date(seconds * 1000);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${day} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}
