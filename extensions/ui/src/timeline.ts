// The timeline: every attempt as a bar, by worker, by step, or a row a task, with the critical path.

import type { Answer, Context } from "./api";
import { HEAD, drawChart, rowOf, spanAt, topsOf, type Chart } from "./chart";
import { STATUSES, addressOf, decodeSpans, type Shape, type Spans } from "./format";
import { attrs, badge, button, el, say } from "./panel";
import {
  Causes, NONE, byStart, endOf, joinSpans, lanesOf, renumbered, sameAttempt, tasksOf, type Arrangement, type Lanes,
} from "./spans";
import type { Theme } from "./theme";
import { duration, grouped, isOver } from "./words";

/** Milliseconds between two questions for all spans. */
const PAUSE = 5000;
const NAMES: Record<Arrangement, string> = { worker: "By worker", step: "By step", waterfall: "Waterfall" };
const ARRANGEMENTS: readonly Arrangement[] = ["worker", "step", "waterfall"];

export class Timeline {
  readonly element = el("div", "fill column");
  readonly tools = el("div", "tools");
  readonly #context: Context;
  readonly #scroll = el("div", "scroll");
  readonly #canvas = el("canvas");
  readonly #spacer = el("div");
  readonly #tip = el("div", "tip");
  readonly #legend = el("div", "row legend soft");
  readonly #critical = attrs(el("input"), { type: "checkbox" });
  readonly #buttons = new Map<Arrangement, HTMLButtonElement>();
  readonly #resized: ResizeObserver | null = null;
  #theme: Theme;
  #how: Arrangement = "worker";
  /** What is drawn; what came by itself, the newest; and all there were when they were asked for. */
  #spans: Spans | null = null;
  #newest: Spans | null = null;
  #all: Spans | null = null;
  /** The shape whose numbers the spans have: a newer one comes before the spans that have its numbers. */
  #shape: Shape;
  #asked = -Infinity;
  #isShown = false;
  #lanes: Lanes | null = null;
  #tops = new Float64Array(1);
  #causes: Causes | null = null;
  #path: number[] = [];
  /** Bits of the statuses there are, and the end of the last span. */
  #statuses = 0;
  #end = 0;
  #now = 0;
  /** The seconds that are seen when all is. */
  #whole = 1;
  #range: { from: number; to: number } | null = null;
  #selected = NONE;
  #hovered = NONE;
  /** Where the pointer is on the canvas. */
  #pointed: [x: number, y: number] | null = null;
  #wanted = "";
  #matching: Uint8Array | null = null;
  #frame = 0;
  #isOver = false;

  constructor(context: Context, theme: Theme) {
    this.#context = context;
    this.#theme = theme;
    this.#shape = context.shape;
    const group = attrs(el("div", "group"), { role: "group", "aria-label": "arrange" });
    for (const how of ARRANGEMENTS) {
      const title = how === "waterfall" ? "a row for each task" : `a row for each ${how}`;
      const choice = button(NAMES[how], title, () => this.arrange(how));
      this.#buttons.set(how, choice);
      group.append(choice);
    }
    this.#critical.checked = true;
    this.#critical.addEventListener("change", () => this.#redraw());
    const critical = el("label", "", this.#critical, "critical path");
    critical.title = "the attempts that decided how long the run took, each with what it waited for";
    this.tools.append(
      group,
      critical,
      button("−", "zoom out (-)", () => this.zoom(1 / 1.5)),
      button("+", "zoom in (+)", () => this.zoom(1.5)),
      button("Fit", "see all of it (0)", () => this.fit()),
    );
    this.#canvas.style.cssText = "display:block;position:sticky;top:0;cursor:grab";
    attrs(this.#canvas, { "aria-hidden": true });
    attrs(this.#scroll, {
      tabindex: 0,
      role: "group",
      "aria-label": "timeline",
      "aria-description":
        "arrows move, + and - zoom, 0 shows all, n and p go from attempt to attempt, Enter shows details",
    });
    this.#tip.hidden = true;
    this.#scroll.append(this.#canvas, this.#spacer);
    const main = el("div", "", this.#scroll, this.#tip);
    main.style.cssText = "position:relative;flex:1;min-height:0";
    this.element.append(main, this.#legend);
    this.#listen();
    if (typeof ResizeObserver === "function") {
      this.#resized = new ResizeObserver(() => this.#redraw());
      this.#resized.observe(this.#scroll);
    }
    this.arrange("worker");
  }

  // -- what is shown --------------------------------------------------------------------------------------------------

  update(): void {
    const { source, state, channel } = this.#context;
    const { spans } = source;
    const over = isOver(state.head.status);
    this.#now = spans ? Math.max(0, this.#context.now() - spans.since) : 0;
    if (spans === this.#newest && this.#shape.steps.length) {
      if (!over) this.#redraw();
      return;
    }
    const { shape } = this.#context;
    if (shape !== this.#shape) {
      if (this.#all) this.#all = renumbered(this.#all, this.#shape, shape);
      if (this.#spans) this.#spans = renumbered(this.#spans, this.#shape, shape);
      this.#shape = shape;
    }
    this.#newest = spans;
    this.#arrange((spans && this.#all && joinSpans(this.#all, spans)) || spans);
    const more = spans !== null && (spans.from > 0 || spans.more > 0);
    if (more && this.#isShown && channel && (over || performance.now() - this.#asked > PAUSE)) this.#askForAll();
  }

  /** Takes note that it is seen, or no more. */
  show(shown: boolean): void {
    this.#isShown = shown;
    if (shown && this.#newest && this.#newest.from > 0 && !this.#all && this.#context.channel) this.#askForAll();
  }

  setTheme(theme: Theme): void {
    this.#theme = theme;
    this.#legend.dataset.of = "";
    this.#redraw();
  }

  /** Finds tasks by address or step; returns how many there are. */
  find(text: string): string {
    this.#wanted = text.trim().toLowerCase();
    const count = this.#match();
    this.#redraw();
    return this.#matching ? `${grouped(count)} found` : "";
  }

  focus(): void {
    this.#scroll.focus({ preventScroll: true });
  }

  destroy(): void {
    this.#isOver = true;
    cancelAnimationFrame(this.#frame);
    this.#resized?.disconnect();
  }

  arrange(how: Arrangement): void {
    this.#how = how;
    for (const [one, choice] of this.#buttons) attrs(choice, { "aria-pressed": one === how });
    this.#scroll.scrollTop = 0;
    this.#arrange(this.#spans);
  }

  fit(): void {
    this.#range = null;
    this.#redraw();
  }

  /** Zooms about a share of what is seen. */
  zoom(factor: number, about = 0.5): void {
    const [from, to] = this.#seen();
    const long = Math.min(Math.max((to - from) / factor, 1e-5), this.#whole * 2);
    if (long >= this.#whole && factor < 1) {
      this.fit();
      return;
    }
    this.#see(from + (to - from) * about - long * about, long);
  }

  /** Draws at once and returns the milliseconds it took. */
  drawNow(): number {
    const began = performance.now();
    this.#draw();
    return performance.now() - began;
  }

  // -- data -----------------------------------------------------------------------------------------------------------

  #askForAll(): void {
    this.#asked = performance.now();
    const taken = ({ buffers }: Answer) => {
      const all = buffers[0] && decodeSpans(buffers[0]);
      if (!all || this.#isOver) return;
      this.#all = all;
      this.#arrange((this.#newest && joinSpans(all, this.#newest)) ?? all);
    };
    // Without an answer the newest are there still.
    this.#context.channel!.request({ type: "spans" }).then(taken, () => {});
  }

  /** Puts spans in rows, in place of those there were. */
  #arrange(spans: Spans | null): void {
    // Those that run are the last, so an attempt's place changes when others end.
    const last = this.#spans;
    if (last && this.#selected >= 0) this.#selected = spans ? sameAttempt(last, this.#selected, spans) : NONE;
    this.#spans = spans;
    this.#hovered = NONE;
    if (!spans) {
      this.#redraw();
      return;
    }
    const order = byStart(spans);
    const { task, before } = tasksOf(spans, order);
    this.#lanes = lanesOf(spans, this.#how, order, task);
    this.#causes = new Causes(this.#shape, spans, before);
    this.#path = this.#causes.path(this.#now);
    this.#tops = topsOf(this.#lanes) as Float64Array<ArrayBuffer>;
    this.#statuses = this.#end = 0;
    for (let span = 0; span < spans.n; span++) {
      this.#statuses |= 1 << spans.status[span]!;
      if (spans.end[span]! > this.#end) this.#end = spans.end[span]!;
    }
    this.#match();
    this.#redraw();
  }

  #match(): number {
    const spans = this.#spans;
    const shape = this.#shape;
    this.#matching = null;
    if (!this.#wanted || !spans) return 0;
    this.#matching = new Uint8Array(spans.n);
    let count = 0;
    const steps = shape.steps.map((step) => step.id.toLowerCase().includes(this.#wanted));
    for (let span = 0; span < spans.n; span++) {
      const found = steps[spans.step[span]!] || addressOf(shape, spans, span).toLowerCase().includes(this.#wanted);
      this.#matching[span] = found ? 1 : 0;
      if (found) count++;
    }
    return count;
  }

  // -- drawing --------------------------------------------------------------------------------------------------------

  #seen(): [from: number, to: number] {
    return this.#range ? [this.#range.from, this.#range.to] : [0, this.#whole];
  }

  #see(from: number, long: number): void {
    const start = Math.min(Math.max(from, -0.25 * long), this.#whole - 0.75 * long);
    this.#range = { from: start, to: start + long };
    this.#redraw();
  }

  #label(row: number): string {
    const key = this.#lanes!.keys[row]!;
    if (this.#how === "worker") return workerName(this.#context.state.head.names[key], key);
    return this.#how === "step" ? (this.#shape.steps[key]?.id ?? "") : addressOf(this.#shape, this.#spans!, key);
  }

  get #gutter(): number {
    return Math.min(190, Math.max(84, this.#scroll.clientWidth * 0.2));
  }

  #redraw(): void {
    if (this.#frame || this.#isOver) return;
    this.#frame = requestAnimationFrame(() => {
      // What lies under the pointer may have moved.
      if (this.#pointed) this.#hover(...this.#pointed);
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw(): void {
    const { clientWidth: width, clientHeight: height } = this.#scroll;
    const ctx = this.#canvas.getContext("2d", { alpha: false });
    if (!ctx || !width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== across || this.#canvas.height !== down) {
      [this.#canvas.width, this.#canvas.height] = [across, down];
      Object.assign(this.#canvas.style, { width: `${width}px`, height: `${height}px` });
    }
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = this.#theme.ground;
    ctx.fillRect(0, 0, width, height);
    const over = isOver(this.#context.state.head.status);
    if (over) {
      this.#whole = Math.max(this.#now, this.#end, 0.001);
    } else if (this.#now > this.#whole * 0.98 || this.#now < this.#whole / 2) {
      // It grows in leaps, so that nothing creeps.
      this.#whole = Math.max(1, this.#now * 1.25);
    }
    const rest = `${Math.max(0, Math.round(HEAD + this.#tops[this.#tops.length - 1]! + 4 - height))}px`;
    if (this.#spacer.style.height !== rest) this.#spacer.style.height = rest;
    const chart = this.#chart;
    if (chart?.spans.n) {
      drawChart(ctx, chart, ratio);
      this.#explain(chart);
      return;
    }
    ctx.fillStyle = this.#theme.soft;
    ctx.font = "13px system-ui,sans-serif";
    ctx.fillText(over ? "No attempts were recorded." : "Nothing has begun yet.", 12, 40);
  }

  get #chart(): Chart | null {
    const [spans, lanes] = [this.#spans, this.#lanes];
    if (!spans || !lanes) return null;
    const { clientWidth: width, clientHeight: height, scrollTop: scroll } = this.#scroll;
    const [from, to] = this.#seen();
    return {
      spans, lanes, from, to, width, height, scroll,
      tops: this.#tops,
      theme: this.#theme,
      now: this.#now,
      live: !isOver(this.#context.state.head.status),
      gutter: this.#gutter,
      selected: this.#selected,
      hovered: this.#hovered,
      matching: this.#matching,
      path: this.#critical.checked ? this.#path : [],
      causes: this.#how === "waterfall" ? this.#causes : null,
      label: (row) => this.#label(row),
      caption: (span) => this.#caption(span),
    };
  }

  /** Returns what a bar says beside what its row says. */
  #caption(span: number): string {
    const spans = this.#spans!;
    const took = duration(endOf(spans.end[span]!, this.#now) - spans.start[span]!);
    const again = spans.attempt[span]! > 1 ? ` · attempt ${spans.attempt[span]}` : "";
    if (this.#how === "waterfall") return took + again;
    const address = addressOf(this.#shape, spans, span);
    if (this.#how === "worker") return address + again;
    const id = this.#shape.steps[spans.step[span]!]?.id ?? "";
    if (address === id) return took + again;
    return (address.startsWith(id) ? address.slice(id.length) : address) + again;
  }

  /** Says which colours and signs there are, and what is left out. */
  #explain({ spans, path }: Chart): void {
    const hidden = Math.max(spans.more, spans.from);
    const took = path.reduce((all, span) => all + endOf(spans.end[span]!, this.#now) - spans.start[span]!, 0);
    const marked = path.length ? `critical path: ${attempts(path.length)}, ${duration(took)}` : "";
    const key = [this.#statuses, marked, hidden, spans.n, this.#how].join();
    if (this.#legend.dataset.of === key) return;
    this.#legend.dataset.of = key;
    const sample = (style: string): HTMLElement => {
      const made = el("i");
      made.style.cssText = `display:inline-block;width:16px;${style}`;
      return made;
    };
    const part = (sign: Element, text: string) => el("span", "", sign, text);
    const parts = STATUSES.filter((_, code) => this.#statuses & (1 << code)).map((one) => part(badge(one, 12), one));
    if (this.#how === "waterfall") {
      parts.push(
        part(sample("border-top:2px dotted"), "waits for a worker"),
        part(sample("border-top:2px solid"), "for its next attempt"),
      );
    }
    if (marked) parts.push(part(sample("height:10px;border:2px solid var(--wf-ink);border-radius:2px"), marked));
    const count = hidden ? `the newest ${grouped(spans.n)} of ${attempts(spans.n + hidden)}` : attempts(spans.n);
    parts.push(el("span", "end num", count));
    this.#legend.replaceChildren(...parts);
  }

  // -- pointing -------------------------------------------------------------------------------------------------------

  #hover(x: number, y: number): void {
    const chart = this.#chart;
    const span = chart ? spanAt(chart, x, y) : NONE;
    this.#canvas.style.cursor = span >= 0 ? "pointer" : "grab";
    this.#tip.hidden = span < 0;
    if (span >= 0) {
      say(this.#tip, this.#told(span));
      const [width, height] = [this.#scroll.clientWidth, this.#scroll.clientHeight];
      const { offsetWidth: across, offsetHeight: down } = this.#tip;
      this.#tip.style.left = `${Math.max(2, Math.min(x + 12, width - across - 4))}px`;
      this.#tip.style.top = `${y + 16 + down < height ? y + 16 : Math.max(0, y - down - 10)}px`;
    }
    if (span === this.#hovered) return;
    this.#hovered = span;
    this.#redraw();
  }

  /** Returns all there is to say of a span, a line each; the first is its address. */
  #told(span: number): string {
    const spans = this.#spans!;
    const shape = this.#shape;
    const { names } = this.#context.state.head;
    const worker = spans.worker[span]!;
    const status = STATUSES[spans.status[span]!]!;
    const took = duration(endOf(spans.end[span]!, this.#now) - spans.start[span]!);
    const again = spans.attempt[span]! > 1 ? ` · attempt ${spans.attempt[span]}` : "";
    const began = duration(Math.max(0, spans.start[span]!));
    const lines = [
      addressOf(shape, spans, span),
      `${status} · ${took}${again}`,
      `began ${began} into the run, on ${workerName(names[worker], worker)}`,
    ];
    const cause = this.#causes!.of(span);
    const waited = cause < 0 ? 0 : spans.start[span]! - spans.end[cause]!;
    if (waited > 0.001) {
      const isRetry = this.#causes!.before[span] === cause;
      lines.push(`waited ${duration(waited)} after ${isRetry ? "the attempt before" : addressOf(shape, spans, cause)}`);
    }
    if (this.#critical.checked && this.#path.includes(span)) lines.push("on the critical path");
    return lines.join("\n");
  }

  #select(span: number, open: boolean): void {
    this.#selected = span;
    this.#redraw();
    const spans = this.#spans;
    if (span < 0 || !spans) return;
    const lines = this.#told(span).split("\n");
    attrs(this.#scroll, { "aria-label": `timeline: ${lines.slice(0, 2).join(", ")}` });
    if (!open) return;
    const step = this.#context.shape.index.get(this.#shape.steps[spans.step[span]!]?.id ?? "");
    if (step !== undefined) this.#context.open({ address: lines[0]!, steps: [step] });
  }

  /** Selects the next attempt in time, or the one before, and brings it into sight. */
  #turn(by: number): void {
    const spans = this.#spans;
    if (!spans?.n) return;
    const order = byStart(spans);
    const at = this.#selected < 0 ? (by > 0 ? -1 : spans.n) : order.indexOf(this.#selected);
    const span = order[Math.min(spans.n - 1, Math.max(0, at + by))]!;
    const [from, to] = this.#seen();
    const start = spans.start[span]!;
    if (start < from || start > to) this.#see(start - (to - from) / 3, to - from);
    const [top] = rowOf({ lanes: this.#lanes!, tops: this.#tops }, span);
    const { scrollTop, clientHeight } = this.#scroll;
    if (top < scrollTop || top > scrollTop + clientHeight - HEAD - 24) this.#scroll.scrollTop = top - clientHeight / 2;
    this.#select(span, false);
  }

  /** Does what a key asks for; returns whether it does anything here. */
  #key(event: KeyboardEvent): boolean {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const [from, to] = this.#seen();
    const key = event.key.toLowerCase();
    const across = key === "arrowleft" || key === "a" ? -1 : key === "arrowright" || key === "d" ? 1 : 0;
    const down = key === "arrowup" || key === "w" ? -1 : key === "arrowdown" || key === "s" ? 1 : 0;
    if (across) this.#see(from + (across * (to - from)) / 8, to - from);
    else if (down) this.#scroll.scrollTop += down * 48;
    else if (key === "+" || key === "=") this.zoom(1.5);
    else if (key === "-" || key === "_") this.zoom(1 / 1.5);
    else if (key === "0") this.fit();
    else if (key === "n") this.#turn(1);
    else if (key === "p") this.#turn(-1);
    else if (key === "enter" && this.#selected >= 0) this.#select(this.#selected, true);
    else if (key === "escape" && this.#selected >= 0) this.#select(NONE, false);
    else return false;
    return true;
  }

  #listen(): void {
    const canvas = this.#canvas;
    let pressed: { x: number; y: number; top: number; from: number; moved: boolean } | null = null;
    const place = (event: MouseEvent): [number, number] => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const leave = () => {
      this.#pointed = null;
      this.#tip.hidden = true;
      this.#hovered = NONE;
      this.#redraw();
    };
    const room = () => this.#scroll.clientWidth - this.#gutter - 10;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const { clientX: x, clientY: y } = event;
      pressed = { x, y, top: this.#scroll.scrollTop, from: this.#seen()[0], moved: false };
      canvas.setPointerCapture(event.pointerId);
      this.focus();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!pressed) {
        this.#pointed = place(event);
        this.#hover(...this.#pointed);
        return;
      }
      const [x, y] = [event.clientX - pressed.x, event.clientY - pressed.y];
      if (!pressed.moved && Math.hypot(x, y) < 4) return;
      if (!pressed.moved) leave();
      pressed.moved = true;
      canvas.style.cursor = "grabbing";
      const [from, to] = this.#seen();
      if (this.#range) this.#see(pressed.from - (x * (to - from)) / room(), to - from);
      this.#scroll.scrollTop = pressed.top - y;
    });
    canvas.addEventListener("pointerup", (event) => {
      const clicked = pressed !== null && !pressed.moved;
      pressed = null;
      canvas.style.cursor = "grab";
      const chart = this.#chart;
      if (clicked && chart) this.#select(spanAt(chart, ...place(event)), true);
    });
    canvas.addEventListener("pointercancel", () => {
      pressed = null;
    });
    canvas.addEventListener("pointerleave", leave);
    canvas.addEventListener(
      "wheel",
      (event) => {
        const [from, to] = this.#seen();
        const unit = event.deltaMode === 1 ? 16 : 1;
        const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
        if (event.ctrlKey || event.metaKey) {
          const about = Math.min(1, Math.max(0, (place(event)[0] - this.#gutter) / room()));
          this.zoom(Math.exp((-event.deltaY * unit) / 240), about);
        } else if (this.#range && (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))) {
          this.#see(from + (sideways * unit * (to - from)) / room(), to - from);
        } else {
          return;
        }
        event.preventDefault();
      },
      { passive: false },
    );
    this.#scroll.addEventListener("scroll", () => this.#redraw());
    this.#scroll.addEventListener("keydown", (event) => {
      if (event.target !== this.#scroll || !this.#key(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
}

function attempts(count: number): string {
  return count === 1 ? "1 attempt" : `${grouped(count)} attempts`;
}

/** Returns what a worker is called: the end of its address tells it from the others. */
function workerName(name: string | undefined, number: number): string {
  if (!name) return `worker ${number + 1}`;
  return /^\d+$/.test(name) ? `worker ${name}` : name.replace(/^\w+:\/\//, "");
}
