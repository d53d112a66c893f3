// The logs of a run: what its tasks wrote, newest last, asked for bit by bit while somebody looks.

import type { Context } from "./api";
import type { LogRow } from "./format";
import { attrs, button, el, messageOf, say } from "./panel";
import { stepOfAddress } from "./spans";
import { grouped, isOver } from "./words";

/** How many rows are kept, and how many of those are in the page. */
const KEPT = 20_000;
const SHOWN = 2_000;
/** Milliseconds between two questions for new rows, and after one that failed. */
const PAUSE = 1_000;
const PAUSE_AFTER_ERROR = 5 * PAUSE;
/** How many pixels above the end still count as at the end. */
const NEAR_END = 24;
/** How many steps there are to choose from: a longer list helps nobody, the filter does. */
const CHOICES = 2_000;
const ALL_STEPS = -1;
const BAD = new Set(["error", "critical", "exception"]);
const WARNING = new Set(["stderr", "warning", "warn"]);

/** What was printed and logged, by all tasks or those of one step. */
export class Logs {
  readonly element = el("div", "fill");
  readonly tools = el("div", "tools");
  readonly #context: Context;
  readonly #scroller = el("div", "scroll");
  readonly #list = el("div", "log mono");
  readonly #empty = el("div", "empty");
  readonly #select = el("select");
  readonly #follow: HTMLButtonElement;
  #rows: LogRow[];
  /** The number of the first row that was not asked for yet. */
  #next = 0;
  /** How many of the kept rows have been looked at for the page. */
  #looked = 0;
  #query = "";
  #step = ALL_STEPS;
  /** How many steps have been looked at for the list to choose from. */
  #listed = 0;
  #following = true;
  #shown = false;
  #asking = false;
  #timer = 0;
  #trouble = "";
  /** Whether the run is over and all its rows are here. */
  #complete = false;

  constructor(context: Context) {
    this.#context = context;
    this.#rows = [...(context.document?.logs ?? [])];
    attrs(this.#select, { "aria-label": "step" });
    this.#select.style.maxWidth = "170px";
    this.#select.append(option("all steps", ALL_STEPS));
    this.#select.addEventListener("change", () => {
      this.#step = Number(this.#select.value);
      this.#restart();
    });
    this.#follow = button("Follow", "stay at the end as rows come", () => {
      this.#following = !this.#following;
      this.#toEnd();
    });
    this.tools.append(this.#select, this.#follow);
    attrs(this.#scroller, { tabindex: 0, role: "log", "aria-label": "logs", "aria-live": "off" });
    this.#scroller.append(this.#list, this.#empty);
    this.element.append(this.#scroller);
    this.#scroller.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
      this.#following = scrollTop + clientHeight >= scrollHeight - NEAR_END;
      attrs(this.#follow, { "aria-pressed": this.#following });
    });
    this.#list.addEventListener("click", (event) => {
      const { address } = (event.target as HTMLElement).dataset;
      if (address) context.open({ address, steps: [stepOfAddress(context.shape, address)] });
    });
    this.#toEnd();
  }

  show(shown: boolean): void {
    this.#shown = shown;
    if (!shown) return;
    void this.#ask();
    this.#toEnd();
  }

  update(): void {
    const { shape, state } = this.#context;
    for (; this.#listed < Math.min(shape.steps.length, CHOICES); this.#listed++) {
      const step = shape.steps[this.#listed]!;
      if (!step.construct && !step.helper) this.#select.append(option(step.id, this.#listed));
    }
    if (!isOver(state.head.status)) this.#complete = false; // a failed run may be taken up again
    void this.#ask();
    this.#draw();
  }

  /** Shows only the rows that match, by address, stream or text; returns how many are shown. */
  find(text: string): string {
    const query = text.trim().toLowerCase();
    if (query !== this.#query) {
      this.#query = query;
      this.#restart();
    }
    return query ? `${grouped(this.#list.childElementCount)} rows` : "";
  }

  focus(): void {
    this.#scroller.focus({ preventScroll: true });
  }

  /** Shows only the rows of one step. */
  only(step: number): void {
    this.update();
    this.#step = step;
    this.#select.value = String(step);
    this.#restart();
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#shown = false;
  }

  /** Asks for the rows after those that are here, and goes on asking while the panel is shown. */
  async #ask(): Promise<void> {
    const { channel } = this.#context;
    if (!channel || !this.#shown || this.#asking || this.#timer || this.#complete) return;
    const over = isOver(this.#context.state.head.status);
    let pause = PAUSE;
    this.#asking = true;
    try {
      const answer = await channel.request({ type: "logs", after: this.#next, address: null });
      const more = this.#take(answer.rows ?? [], answer.next ?? this.#next);
      this.#trouble = "";
      this.#complete = over && !more;
      if (more) pause = 0;
    } catch (error) {
      this.#trouble = messageOf(error);
      pause = PAUSE_AFTER_ERROR;
    }
    this.#asking = false;
    if (!this.#shown) return;
    this.#draw();
    if (this.#complete) return;
    this.#timer = window.setTimeout(() => {
      this.#timer = 0;
      void this.#ask();
    }, pause);
  }

  /** Takes in rows, and returns whether there may be more at once. */
  #take(rows: LogRow[], next: number): boolean {
    if (this.#next === 0 && rows.length) {
      this.#rows = []; // those saved with the picture come again, with all others
      this.#restart();
    }
    const more = next > this.#next && rows.length > 0;
    this.#next = Math.max(next, this.#next);
    for (const row of rows) this.#rows.push(row);
    return more;
  }

  #restart(): void {
    this.#looked = 0;
    this.#list.replaceChildren();
    this.#draw();
    this.#toEnd();
  }

  #matches([address, , , stream, text]: LogRow): boolean {
    if (this.#step >= 0 && stepOfAddress(this.#context.shape, address) !== this.#step) return false;
    return !this.#query || `${address} ${stream} ${text}`.toLowerCase().includes(this.#query);
  }

  #draw(): void {
    const extra = this.#rows.length - KEPT;
    if (extra > 0) {
      this.#rows = this.#rows.slice(extra);
      this.#looked = Math.max(0, this.#looked - extra);
    }
    const found = this.#rows.slice(this.#looked).filter((row) => this.#matches(row)).slice(-SHOWN);
    this.#looked = this.#rows.length;
    const { started } = this.#context.state.head;
    this.#list.append(...found.map((row) => logLine(row, started)));
    this.#trim();
    const none = this.#query || this.#step >= 0 ? "No row matches." : "Nothing was printed or logged yet.";
    const nothing = this.#list.childElementCount ? "" : none;
    say(this.#empty, this.#trouble ? `The logs cannot be read: ${this.#trouble}` : nothing);
    this.#empty.hidden = !this.#empty.textContent;
    if (this.#following && found.length) this.#toEnd();
  }

  /** Takes the oldest rows out of the page, without moving those that are being read. */
  #trim(): void {
    const extra = this.#list.childElementCount - SHOWN;
    // Somebody who reads further up keeps the rows there for as long as the page can bear them.
    if (extra <= (this.#following ? 0 : SHOWN)) return;
    const height = this.#list.offsetHeight;
    for (let row = 0; row < extra; row++) this.#list.firstElementChild?.remove();
    if (!this.#following) this.#scroller.scrollTop -= height - this.#list.offsetHeight;
  }

  #toEnd(): void {
    attrs(this.#follow, { "aria-pressed": this.#following });
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}

function option(text: string, step: number): HTMLOptionElement {
  const made = el("option", "", text);
  made.value = String(step);
  return made;
}

/** Returns a row of the logs: when, who, and what it wrote; the name of who can be pressed. */
export function logLine([address, attempt, time, stream, text]: LogRow, started: number | null): HTMLElement {
  const level = stream.toLowerCase();
  const kind = BAD.has(level) ? "bad" : WARNING.has(level) ? "warn" : "";
  const when = el("span", "soft num", clock(time, started));
  when.title = new Date(time * 1000).toLocaleString();
  const who = el("button", "who", attempt > 1 ? `${address} #${attempt}` : address);
  who.type = "button";
  who.title = `${address}, attempt ${attempt}, ${stream}`;
  who.dataset.address = address;
  const prefix = kind && level !== "stderr" ? `${stream.toUpperCase()} ` : ""; // colour alone does not tell a level
  return el("div", kind, when, who, el("span", "text", prefix + text.replace(/\n$/, "")));
}

/** Returns the time since the start of the run, or of day where that is not known. */
function clock(time: number, started: number | null): string {
  if (started === null) return new Date(time * 1000).toTimeString().slice(0, 8);
  // Rounded before it is taken apart: 59.96 s are a minute, not 60.0 s.
  const tenths = Math.round(Math.max(0, time - started) * 10);
  const hours = Math.floor(tenths / 36_000);
  const minutes = String(Math.floor(tenths / 600) % 60).padStart(2, "0");
  const seconds = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${minutes}:${seconds}` : `${minutes}:${seconds}`;
}
