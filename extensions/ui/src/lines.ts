// Long tables: rows of one height, of which only those in sight are in the page, chosen by click or by keys.

import { attrs, el } from "./panel";

/** The height of a row, as style.ts has it. */
export const ROW = 28;
/** How many rows are kept beyond either edge, so that scrolling shows no gap, and how many there are at the most. */
const MARGIN = 4;
const MOST = 200;
/** What is taken as in sight while the page has not been laid out. */
const UNKNOWN_HEIGHT = 600;

/** What is in the rows of a table; rows are named by their places. */
export interface Filling<Line> {
  /** Returns the elements of a row, which will show one thing after another. */
  make(): Line;
  fill(line: Line, place: number): void;
  /** Returns the place of the row that is chosen, or -1. */
  chosen(): number;
  choose(place: number): void;
  open(place: number): void;
}

let made = 0;

/** The rows of a table under its head, in a frame that scrolls. */
export class Lines<Line extends { readonly element: HTMLElement }> {
  readonly element = el("div", "scroll steps");
  readonly #filling: Filling<Line>;
  readonly #body = el("div");
  readonly #resized: ResizeObserver | null = null;
  /** What ids of rows begin with: several tables may be in a page. */
  readonly #prefix = `wfnb-rows-${++made}-`;
  /** Lines in the page, by their place in the table. */
  readonly #lines = new Map<number, Line>();
  readonly #spare: Line[] = [];
  #count = 0;

  constructor(role: "table" | "grid", label: string, heads: HTMLElement[], filling: Filling<Line>) {
    this.#filling = filling;
    for (const head of heads) attrs(head, { role: "columnheader" });
    this.#body.style.position = "relative";
    attrs(this.#body, { role: "rowgroup" });
    attrs(this.element, { role, tabindex: 0, "aria-label": label });
    this.element.append(attrs(el("div", "head", ...heads), { role: "row" }), this.#body);
    this.element.addEventListener("scroll", () => this.draw());
    this.#body.addEventListener("click", (event) => {
      const line = (event.target as Element).closest<HTMLElement>("[data-row]");
      if (line) this.choose(Number(line.dataset.row), true);
    });
    if (typeof ResizeObserver === "function") {
      this.#resized = new ResizeObserver(() => this.draw());
      this.#resized.observe(this.element);
    }
  }

  /** How many rows there are; they are drawn when told. */
  set count(count: number) {
    this.#count = count;
    this.#body.style.height = `${ROW * count}px`;
    attrs(this.element, { "aria-rowcount": count + 1 });
  }

  focus(): void {
    this.element.focus({ preventScroll: true });
  }

  destroy(): void {
    this.#resized?.disconnect();
  }

  draw(): void {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - MARGIN);
    const inSight = Math.ceil((scrollTop + (clientHeight || UNKNOWN_HEIGHT)) / ROW) + MARGIN;
    const end = Math.min(this.#count, inSight, first + MOST);
    for (const [place, line] of this.#lines) {
      if (place >= first && place < end) continue;
      line.element.remove();
      this.#lines.delete(place);
      this.#spare.push(line);
    }
    const chosen = this.#filling.chosen();
    for (let place = first; place < end; place++) {
      const line = this.#lineAt(place);
      this.#filling.fill(line, place);
      line.element.classList.toggle("on", place === chosen);
    }
    if (this.#lines.has(chosen)) attrs(this.element, { "aria-activedescendant": this.#prefix + chosen });
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** Chooses a row and brings it into sight. */
  choose(place: number, open = false): void {
    if (place < 0 || place >= this.#count) return;
    this.#filling.choose(place);
    const top = ROW * place;
    const below = top + 2 * ROW - this.element.clientHeight; // the head covers the height of one row
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (below > this.element.scrollTop) this.element.scrollTop = below;
    this.draw();
    if (open) this.#filling.open(place);
  }

  /** Does what a key means for the rows, and returns whether it means anything. */
  pressed({ key }: KeyboardEvent): boolean {
    const at = this.#filling.chosen();
    if (key === "Enter" && at >= 0) {
      this.choose(at, true);
      return true;
    }
    const last = this.#count - 1;
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 2);
    const targets: Record<string, number> = {
      ArrowUp: at - 1, ArrowDown: at + 1, PageUp: at - page, PageDown: at + page, Home: 0, End: last,
    };
    const target = targets[key];
    if (target === undefined) return false;
    this.choose(Math.min(last, Math.max(0, target)));
    return true;
  }

  #lineAt(place: number): Line {
    const shown = this.#lines.get(place);
    if (shown) return shown;
    const line = this.#spare.pop() ?? this.#filling.make();
    this.#lines.set(place, line);
    line.element.style.top = `${ROW * place}px`;
    attrs(line.element, { role: "row", "data-row": place, id: this.#prefix + place, "aria-rowindex": place + 2 });
    this.#body.append(line.element);
    return line;
  }
}
