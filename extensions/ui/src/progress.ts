// How far a run is: a bar stacked by status, and its figures.

import { COUNTED, type Head } from "./format";
import { attrs, badge, el } from "./panel";
import { doneOf, facts, grouped, sum, wholeOf } from "./words";

/** A bar stacked by status, which only grows and shrinks: parts stay in their order. */
export class Bar {
  readonly element = el("div", "bar");
  readonly #parts = new Map<string, HTMLElement>();

  /** Shows counts (in the order of `COUNTED`; pending is what stays empty) of so many tasks. */
  set(counts: ArrayLike<number>, whole: number): void {
    for (let at = 0; at < COUNTED.length - 1; at++) {
      const status = COUNTED[at]!;
      const count = counts[at];
      let part = this.#parts.get(status);
      if (!count) {
        part?.remove();
        this.#parts.delete(status);
        continue;
      }
      if (!part) {
        part = el("i");
        part.style.background = `var(--wf-${status})`;
        this.#parts.set(status, part);
        const next = COUNTED.slice(at + 1).map((later) => this.#parts.get(later)).find(Boolean);
        this.element.insertBefore(part, next ?? null);
      }
      const width = `${((100 * count) / whole).toFixed(2)}%`;
      if (part.style.width !== width) part.style.width = width;
      const title = `${grouped(count)} ${status}`;
      if (part.title !== title) part.title = title;
    }
  }
}

/** The bar and the figures of a run. */
export class Progress {
  readonly element: HTMLElement;
  readonly #bar = new Bar();
  readonly #facts = el("div", "row facts soft num");
  #said = "";

  constructor() {
    this.#bar.element.classList.add("whole");
    attrs(this.#bar.element, { role: "progressbar", "aria-label": "tasks done", "aria-valuemin": 0 });
    this.element = el("div", "", this.#bar.element, this.#facts);
  }

  set(head: Head): void {
    const whole = wholeOf(head);
    this.#bar.set(head.counts, whole);
    const told = facts(head);
    attrs(this.#bar.element, { "aria-valuetext": told.slice(0, 2).join(", ") });
    if (head.total !== null) attrs(this.#bar.element, { "aria-valuenow": doneOf(head.counts), "aria-valuemax": whole });
    const said = told.join("\n");
    if (said === this.#said) return;
    this.#said = said;
    this.#facts.replaceChildren(...told.map(fact));
  }
}

/** Returns one figure, with a sign where it is of a status. */
function fact(text: string): HTMLElement {
  const word = /^[\d,]+ (\w+)$/.exec(text)?.[1] ?? "";
  return el("span", "", (COUNTED as readonly string[]).includes(word) && badge(word, 12), text);
}

/** Returns how many tasks a step's bar stands for; where more may come, it is not full. */
export function barWhole(counts: ArrayLike<number>, width: number | null): number {
  return Math.max(width ?? 1.25 * sum(counts), sum(counts), 1);
}
