// The DAG as one of the shell's panels: its tools, its tree for screen readers, its hover text.

import { Tree } from "./aria";
import type { Context } from "./api";
import { Dag, type DagLeft } from "./dag";
import type { Shape } from "./format";
import { attrs, button, el, say } from "./panel";
import type { Row } from "./row";
import type { Theme } from "./theme";
import { grouped } from "./words";

/** Milliseconds in which a click may become a double click, which opens a group instead of its details. */
const DOUBLE = 250;

export class DagPanel {
  readonly element = el("div", "fill");
  readonly tools = el("div", "tools");
  readonly #context: Context;
  readonly #host = el("div", "fill");
  readonly #tip = el("div", "tip");
  readonly #dag: Dag;
  readonly #tree: Tree;
  #shape: Shape | null = null;
  #searched = "";
  #timer = 0;
  /** Whether a selection comes of keys or a search: then nothing opens by itself. */
  #byKey = false;

  constructor(context: Context, theme: Theme, find: HTMLInputElement) {
    this.#context = context;
    this.#tip.hidden = true;
    this.#host.style.outlineOffset = "-2px";
    this.#dag = new Dag(this.#host, theme, {
      onSelect: (row) => {
        this.#tree.focus();
        clearTimeout(this.#timer);
        if (!row || (this.#byKey && !context.reading)) return;
        if (row.openable && row.element < 0) this.#timer = window.setTimeout(() => this.#open(row), DOUBLE);
        else this.#open(row);
      },
      onEnter: (row) => this.#open(row),
      onChange: () => {
        clearTimeout(this.#timer);
        this.#tree.changed(true);
      },
      onSearch: () => find.focus(),
      onHover: (row, x, y) => this.#hover(row, x, y),
      cells: async (step) => {
        const answer = await context.channel?.request({ type: "cells", step });
        const data = answer?.buffers[0];
        if (!data) throw new Error("there is nobody to ask");
        return ArrayBuffer.isView(data)
          ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
          : new Uint8Array(data);
      },
    });
    this.#tree = new Tree(this.#host, this.#dag, "steps");
    const keys = "Tab goes from step to step, Enter opens, i shows details, arrows move, + and - zoom, 0 shows all";
    attrs(this.#host, { "aria-description": keys });
    this.tools.append(
      button("−", "zoom out (-)", () => this.#dag.zoom(0.8)),
      button("+", "zoom in (+)", () => this.#dag.zoom(1.25)),
      button("Fit", "see all of it (0)", () => this.#dag.fit()),
      button("Open all", "open every group", () => this.#dag.openAll(true)),
      button("Close all", "close every group", () => this.#dag.openAll(false)),
    );
    this.element.append(this.#host, this.#tip);
    this.element.addEventListener(
      "keydown",
      () => {
        this.#byKey = true;
        setTimeout(() => {
          this.#byKey = false;
        });
      },
      true,
    );
  }

  /** The height in which everything fits, in pixels. */
  get wished(): number {
    return this.#dag.wishedHeight;
  }

  get left(): DagLeft {
    return this.#dag.left;
  }

  set left(left: DagLeft) {
    this.#dag.left = left;
  }

  update(): void {
    const { shape, state } = this.#context;
    if (!shape.steps.length) return;
    this.#dag.update(shape, state);
    this.#tree.changed(this.#shape !== shape);
    this.#shape = shape;
  }

  setTheme(theme: Theme): void {
    this.#dag.setTheme(theme);
  }

  /** Finds steps; `turn` goes to the next or the one before. */
  find(text: string, turn = 0): string {
    this.#byKey = true;
    const { count, at } = text === this.#searched && turn ? this.#dag.turn(turn) : this.#dag.search(text);
    this.#byKey = false;
    this.#searched = text;
    if (!text.trim()) return "";
    return count ? `${grouped(at)} of ${grouped(count)}` : "none";
  }

  focus(): void {
    this.#host.focus({ preventScroll: true });
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#tree.destroy();
    this.#dag.destroy();
  }

  #open(row: Row): void {
    const step = this.#context.shape.steps[row.step];
    const isElement = step?.fanOut && row.element >= 0 && row.name.endsWith("]");
    const steps = row.step >= 0 ? [row.step] : row.steps;
    if (steps.length) this.#context.open({ address: isElement ? `${step.id}[${row.element}]` : "", steps });
  }

  #hover(row: Row | null, x: number, y: number): void {
    this.#tip.hidden = !row;
    if (!row) return;
    const { shape } = this.#context;
    const step = shape.steps[row.step];
    const lines = [row.name, row.said];
    if (step?.node) lines.push(`node ${step.node}${step.where ? `, ${step.where}` : ""}`);
    if (step?.why && !shape.run) lines.push(step.why);
    if (row.openable) lines.push(row.open ? "double click closes it" : "double click opens it");
    say(this.#tip, lines.join("\n"));
    const { clientWidth: width, clientHeight: height } = this.element;
    const { offsetWidth: across, offsetHeight: down } = this.#tip;
    this.#tip.style.left = `${Math.max(2, Math.min(x + 14, width - across - 4))}px`;
    this.#tip.style.top = `${y + 18 + down < height ? y + 18 : Math.max(0, y - down - 10)}px`;
  }
}
