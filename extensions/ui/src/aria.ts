// The canvas as a tree for those who cannot see it: one item for every node that is visible.

import { attrs, el, say } from "./panel";

/** A node as the tree tells it. */
export interface TreeRow {
  key: string;
  name: string;
  said: string;
  level: number;
  openable: boolean;
  open: boolean;
}

/** What the tree is about. */
export interface TreeOwner {
  /** The key of the node that is selected, or "". */
  readonly selected: string;
  visible(): TreeRow[];
  select(key: string): void;
}

let trees = 0;
/** Items are written in portions, so that 10,000 of them never hold up a frame. */
const PORTION = 400;
/** Milliseconds between two looks while a run goes on. */
const PAUSE = 1000;

export class Tree {
  readonly #items = el("div", "unseen");
  readonly #prefix = `wfnb-tree-${++trees}-`;
  readonly #made: HTMLElement[] = [];
  readonly #places = new Map<string, number>();
  #rows: TreeRow[] = [];
  #timer = 0;
  #written = -Infinity;

  /** @param host - The element that has the focus and shows the canvas. */
  constructor(readonly host: HTMLElement, readonly owner: TreeOwner, label: string) {
    attrs(host, { role: "tree", tabindex: 0, "aria-label": label });
    attrs(this.#items, { role: "presentation" });
    host.append(this.#items);
    this.#items.addEventListener("click", (event) => {
      const at = this.#made.indexOf(event.target as HTMLElement);
      if (at >= 0) this.owner.select(this.#rows[at]!.key);
    });
  }

  /** Writes the tree anew: at once when nodes have come or gone, else soon. */
  changed(now: boolean): void {
    if (now) {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#write();
    } else if (!this.#timer) {
      const wait = Math.max(0, this.#written + PAUSE - performance.now());
      this.#timer = window.setTimeout(() => this.#write(), wait);
    }
  }

  /** Makes the selected node the active one. */
  focus(): void {
    for (const item of this.#items.querySelectorAll("[aria-selected=true]")) attrs(item, { "aria-selected": false });
    const at = this.#places.get(this.owner.selected);
    if (at === undefined) {
      this.host.removeAttribute("aria-activedescendant");
      return;
    }
    this.#writeItem(at);
    const item = this.#made[at]!;
    attrs(item, { "aria-selected": true });
    attrs(this.host, { "aria-activedescendant": item.id });
  }

  #write(): void {
    this.#rows = this.owner.visible();
    this.#places.clear();
    this.#rows.forEach((row, at) => this.#places.set(row.key, at));
    while (this.#made.length > this.#rows.length) this.#made.pop()!.remove();
    let at = 0;
    const portion = () => {
      for (const end = Math.min(at + PORTION, this.#rows.length); at < end; at++) this.#writeItem(at);
      this.#timer = at < this.#rows.length ? window.setTimeout(portion, 30) : 0;
      this.#written = performance.now();
    };
    portion();
    this.focus();
  }

  #writeItem(at: number): void {
    while (this.#made.length <= at) {
      const item = attrs(el("div"), {
        role: "treeitem", id: this.#prefix + this.#made.length, "aria-selected": false,
      });
      this.#made.push(item);
      this.#items.append(item);
    }
    const row = this.#rows[at]!;
    const item = this.#made[at]!;
    say(item, `${row.name}, ${row.said}`);
    attrs(item, { "aria-level": row.level });
    if (row.openable) attrs(item, { "aria-expanded": row.open });
    else item.removeAttribute("aria-expanded");
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#items.remove();
  }
}
