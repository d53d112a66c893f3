// A node of the picture as the tree, the hover text and the shell tell it.

import { STATUSES, type Status } from "./format";
import type { Cells } from "./cells";
import type { Model, ModelNode, Scene } from "./model";
import { grouped } from "./words";

/** Where a row finds what it tells. */
export interface Drawn {
  readonly model: Model;
  readonly scene: Scene;
  /** The cells of open fan-outs, by box. */
  readonly cells: Map<number, Cells>;
}

/** A box, or one element in an open fan-out. */
export class Row {
  readonly #node: number;

  /**
   * @param box - The box's place in the scene.
   * @param element - The element in it, or -1.
   */
  constructor(readonly drawn: Drawn, readonly box: number, readonly element = -1) {
    this.#node = drawn.scene.nodes[box]!;
  }

  get #at(): ModelNode {
    return this.drawn.model.nodes[this.#node]!;
  }

  get #cells(): Cells | undefined {
    return this.element < 0 ? undefined : this.drawn.cells.get(this.box);
  }

  get key(): string {
    return this.#at.key;
  }

  get name(): string {
    return this.#cells?.known ? `${this.#at.name}[${this.element}]` : this.#at.name;
  }

  get said(): string {
    const cells = this.#cells;
    if (!cells) return this.drawn.model.said(this.#node);
    return cells.known ? this.status : `one of ${grouped(cells.width)} elements, in order of state`;
  }

  get status(): Status {
    const cells = this.#cells;
    return cells?.known ? STATUSES[cells.status[this.element]!]! : this.drawn.model.status(this.#node);
  }

  /** How deep it lies, 1 at the top. */
  get level(): number {
    let level = 1;
    for (let at = this.#at.parent; at >= 0; at = this.drawn.model.nodes[at]!.parent) level++;
    return level;
  }

  get openable(): boolean {
    return this.drawn.model.openable(this.#node);
  }

  get open(): boolean {
    return this.drawn.model.isOpen(this.#node) && this.#at.kind !== "arm";
  }

  /** The number of its step, -1 where it stands for none or several. */
  get step(): number {
    return this.#at.step;
  }

  /** The numbers of the steps it stands for. */
  get steps(): number[] {
    return this.#at.steps;
  }
}
