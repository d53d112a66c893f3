// The way from a widget to the kernel: questions with a number, and answers that carry it.

import type { Answer, Channel, Message } from "../../ui/src/api";
import type { Bytes } from "../../ui/src/format";

/** What anywidget hands to a widget, as far as it is used here. */
export interface Model {
  get(name: string): unknown;
  on(name: string, called: (...args: never[]) => void): void;
  off(name: string, called: (...args: never[]) => void): void;
  send(content: unknown): void;
}

/** Milliseconds after which another way is tried, where there is one. */
const SOON = 300;
/** Milliseconds after which nobody waits any more. */
const LATE = 10_000;

export class ModelChannel implements Channel {
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  /** Numbers begin somewhere, so that two pages that show one widget do not take each other's answers. */
  #next = Math.floor(Math.random() * 2 ** 40);

  readonly #received = (content: Partial<Answer> & { type?: string; id?: number }, buffers: Bytes[] = []): void => {
    if (content.type !== "answer" || content.id === undefined) return;
    this.#waiting.get(content.id)?.({ ...content, ok: content.ok ?? false, buffers });
  };

  /**
   * @param model - The widget's model.
   * @param rest - Asks in another way when the kernel does not answer soon, because it is busy.
   */
  constructor(readonly model: Model, readonly rest?: (message: Message & { id: number }) => Promise<Answer>) {
    model.on("msg:custom", this.#received);
  }

  get live(): boolean {
    return this.model.get("live") === true;
  }

  command(name: string): Promise<Answer> {
    return this.request({ type: "command", name });
  }

  request(message: Message): Promise<Answer> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(id);
      };
      const timer = setTimeout(() => {
        if (this.rest) {
          this.rest({ ...message, id }).then(resolve, reject).finally(done);
          return;
        }
        done();
        reject(new Error("the kernel does not answer: it is busy with a cell, or gone"));
      }, this.rest ? SOON : LATE);
      this.#waiting.set(id, (answer) => {
        done();
        if (answer.ok) resolve(answer);
        else reject(new Error(answer.error || "refused"));
      });
      this.model.send({ ...message, id });
    });
  }

  close(): void {
    this.model.off("msg:custom", this.#received);
    this.#waiting.clear();
  }
}
