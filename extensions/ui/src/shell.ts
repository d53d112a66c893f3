// The frame around a picture: what it is of, how far it is, its buttons, its panels, and the drawer with details.

import type { Channel, Choice, Context, Part, Source, View } from "./api";
import type { DagLeft } from "./dag";
import { DagPanel } from "./dagpanel";
import { DetailsPanel, errorBox, wayOn } from "./details";
import { NO_STATE, type Doc, type Shape, type State } from "./format";
import { Logs } from "./logs";
import { leave, left } from "./page";
import { attrs, badge, button, el, messageOf, say, Sign } from "./panel";
import { Progress } from "./progress";
import { CSS } from "./style";
import { Table } from "./table";
import { cssVars, readTheme, watchTheme, type Theme } from "./theme";
import { Timeline } from "./timeline";
import { MARKS, elapsed, grouped, isOver } from "./words";

/** What a picture is shown with. */
export interface Options {
  view: View;
  channel?: Channel;
  document?: Doc;
}

/** One of the shell's panels. */
interface Panel {
  readonly element: HTMLElement;
  readonly tools: HTMLElement;
  update(): void;
  show?(shown: boolean): void;
  find?(text: string, turn: number): string;
  focus?(): void;
  setTheme?(theme: Theme): void;
  destroy?(): void;
}

type Tab = "dag" | "timeline" | "logs" | "steps";

/** How a person left the picture of a run. */
interface Left {
  tab: Tab | null;
  height: number;
  dag: DagLeft | null;
}

const NO_SHAPE: Shape = { workflow: "", run: "", steps: [], index: new Map() };
/** Narrower than so many pixels, buttons have no words. */
const NARROW = 640;
/** Heights of the panels in pixels: they fit what there is to see once, and stay. A workflow has no long details. */
const LOWEST = 320;
const LOWEST_WORKFLOW = 180;
const HIGHEST = 480;
/** Milliseconds after which a command that changed nothing is forgotten. */
const FORGET = 15_000;

const TITLES: Record<Tab, string> = { dag: "DAG", timeline: "Timeline", logs: "Logs", steps: "Steps" };
const FINDS: Record<Tab, string> = {
  dag: "Find a step", timeline: "Find a task", logs: "Filter the rows", steps: "Filter the steps",
};
const TABS: Partial<Record<View, Tab[]>> = {
  run: ["dag", "timeline", "logs", "steps"], dag: ["dag"], timeline: ["timeline"], workflow: ["dag", "steps"],
};
/** Commands: name, sign, word, and what it does. */
const COMMANDS = [
  ["pause", "‖", "Pause", "start no more tasks; those that run finish"],
  ["resume", "▶", "Resume", "let it go on"],
  ["cancel", "⊘", "Cancel", "stop it, and the tasks that run; finished ones are kept"],
  ["retry", "↻", "Retry", "run the failed tasks again, with today's code; finished ones are kept"],
] as const;
const UNDER_WAY: Record<string, string> = {
  pause: "pausing…", resume: "resuming…", cancel: "cancelling…", retry: "starting again…",
};

/** Returns whether a command does anything to a run in this status. */
function isOffered(command: string, status: string, asked: string): boolean {
  switch (command) {
    case "pause":
      return status === "running" && !asked;
    case "resume":
      return (status === "paused" && asked !== "cancel") || status === "interrupted" || status === "cancelled";
    case "cancel":
      return (!isOver(status) || status === "interrupted") && asked !== "cancel";
    default:
      return status === "failed";
  }
}

let views = 0;

/** Shows a run or a workflow in an element; returns what takes it away again. */
export function mount(root: HTMLElement, source: Source, options: Options): () => void {
  const shell = new Shell(root, source, options);
  return () => shell.destroy();
}

class Shell implements Context {
  readonly #root = el("div", "wfnb-ui");
  readonly #sign = new Sign(16);
  readonly #name = el("b", "name");
  readonly #status = el("span");
  readonly #run = el("span", "mono soft");
  readonly #clock = el("span", "soft end num");
  readonly #commands = new Map<string, HTMLButtonElement>();
  readonly #told = attrs(el("span", "soft"), { role: "status" });
  readonly #progress = new Progress();
  readonly #marks = el("div", "row facts soft");
  readonly #tabList = attrs(el("div", "tablist"), { role: "tablist" });
  readonly #tools = el("div", "tools end");
  readonly #find = attrs(el("input", "find"), { type: "search" });
  readonly #found = attrs(el("span", "soft num"), { role: "status" });
  readonly #body = el("div", "body");
  readonly #below = el("div");
  readonly #panels = new Map<Tab, Panel>();
  readonly #tabs = new Map<Tab, HTMLButtonElement>();
  readonly #details: DetailsPanel;
  readonly #ends: (() => void)[] = [];
  readonly #prefix = `wfnb-view-${++views}-`;
  #theme: Theme;
  #tab: Tab | null = null;
  #shownBelow = "";
  #frame = 0;
  #isOver = false;
  #height = 0;
  /** When the state came that is shown. */
  #stated = performance.now();
  /** The command that is under way, and the status it is to change. */
  #pending: { command: string; status: string } | null = null;
  /** What had the focus before the drawer opened. */
  #before: HTMLElement | null = null;

  constructor(root: HTMLElement, readonly source: Source, readonly options: Options) {
    this.#theme = readTheme(root);
    this.#details = new DetailsPanel(this, () => this.#before?.focus({ preventScroll: true }));
    this.#build();
    this.#setTheme(this.#theme);
    root.replaceChildren(this.#root);
    this.#narrow();
    const before = left<Left>(this.#key);
    const tabs = TABS[options.view] ?? [];
    const first = before?.tab && tabs.includes(before.tab) ? before.tab : tabs[0];
    if (before) this.#setHeight(before.height);
    if (before?.dag && tabs.includes("dag")) this.#dag().left = before.dag;
    if (first) this.#choose(first);
    this.#draw();
    this.#ends.push(
      watchTheme(root, (theme) => this.#setTheme(theme)),
      source.onChange((part) => this.#changed(part)),
    );
    if (typeof ResizeObserver === "function") {
      const resized = new ResizeObserver(() => this.#narrow());
      resized.observe(this.#root);
      this.#ends.push(() => resized.disconnect());
    }
    // The clock goes on between updates.
    const clock = setInterval(() => {
      if (this.#isLive) this.#redraw();
    }, 1000);
    this.#ends.push(() => clearInterval(clock));
  }

  // -- what panels ask ------------------------------------------------------------------------------------------------

  get channel(): Channel | undefined {
    return this.options.channel;
  }

  get document(): Doc | undefined {
    return this.options.document;
  }

  get shape(): Shape {
    return this.source.shape ?? NO_SHAPE;
  }

  get state(): State {
    return this.source.state ?? NO_STATE;
  }

  get reading(): boolean {
    return this.#details.open;
  }

  get #isLive(): boolean {
    return (this.channel?.live ?? false) && !isOver(this.state.head.status);
  }

  now(): number {
    const { head } = this.state;
    if (head.ended !== null && isOver(head.status)) return head.ended;
    return head.now + (this.#isLive ? (performance.now() - this.#stated) / 1000 : 0);
  }

  open(choice: Choice): void {
    const active = document.activeElement;
    if (active instanceof HTMLElement && this.#body.contains(active) && !this.#details.element.contains(active)) {
      this.#before = active;
    }
    this.#details.show(choice);
  }

  logs(step: number): void {
    this.#details.close();
    this.#choose("logs");
    (this.#panels.get("logs") as Logs).only(step);
  }

  destroy(): void {
    const dag = this.#panels.get("dag") as DagPanel | undefined;
    leave(this.#key, { tab: this.#tab, height: this.#height, dag: dag?.left ?? null } satisfies Left);
    this.#isOver = true;
    cancelAnimationFrame(this.#frame);
    for (const end of this.#ends) end();
    for (const panel of this.#panels.values()) panel.destroy?.();
    this.#details.destroy();
    this.#root.remove();
  }

  /** Names what is shown, so that the next picture of the same looks the same. */
  get #key(): string {
    return this.shape.run && `${this.options.view} ${this.shape.run}`;
  }

  // -- building -------------------------------------------------------------------------------------------------------

  #build(): void {
    const { view } = this.options;
    const tools = el("div", "tools");
    for (const [command, sign, word, does] of this.channel && view !== "workflow" ? COMMANDS : []) {
      const made = button("", does, () => this.#command(command));
      made.append(attrs(el("span", "", sign), { "aria-hidden": true }), el("span", "wide", ` ${word}`));
      attrs(made, { "aria-label": word });
      this.#commands.set(command, made);
      tools.append(made);
    }
    const title = el("div", "base", this.#name, this.#status, this.#run);
    const head = el("div", "row", this.#sign.element, title, this.#told, this.#clock, tools);
    const hasProgress = view === "run" || view === "progress";
    this.#root.append(el("style", "", CSS), head);
    if (view === "workflow") this.#root.append(this.#marks);
    else if (hasProgress) this.#root.append(this.#progress.element);
    const tabs = TABS[view] ?? [];
    if (tabs.length) this.#root.append(this.#bar(tabs), this.#body);
    this.#root.append(this.#below);
    this.#body.append(this.#details.element);
    this.#root.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys stay out
    this.#root.addEventListener("keydown", (event) => this.#pressed(event));
    // Escape closes the drawer before it does anything to the picture behind it.
    this.#root.addEventListener("keydown", (event) => this.#escape(event), true);
  }

  #bar(tabs: Tab[]): HTMLElement {
    for (const tab of tabs) {
      const made = button(TITLES[tab], TITLES[tab], () => this.#choose(tab));
      made.removeAttribute("title");
      attrs(made, { role: "tab", id: this.#prefix + tab, "aria-controls": `${this.#prefix}body` });
      this.#tabs.set(tab, made);
      if (tabs.length > 1) this.#tabList.append(made);
    }
    this.#tabList.addEventListener("keydown", (event) => {
      const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
      if (!by || !this.#tab) return;
      const next = tabs[(tabs.indexOf(this.#tab) + by + tabs.length) % tabs.length]!;
      this.#choose(next);
      this.#tabs.get(next)!.focus();
      event.preventDefault();
    });
    this.#find.addEventListener("input", () => this.#search(0));
    this.#find.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        this.#search(event.shiftKey ? -1 : 1);
      } else if (event.key === "Escape") {
        this.#find.value = "";
        this.#search(0);
        this.#panel?.focus?.();
      } else {
        return;
      }
      event.preventDefault();
    });
    attrs(this.#body, { id: `${this.#prefix}body`, role: tabs.length > 1 ? "tabpanel" : "group" });
    this.#body.style.height = `${this.options.view === "workflow" ? LOWEST_WORKFLOW : LOWEST}px`;
    return el("div", "row tabs", this.#tabList, this.#tools, this.#found, this.#find);
  }

  #dag(): DagPanel {
    let panel = this.#panels.get("dag") as DagPanel | undefined;
    if (!panel) {
      panel = new DagPanel(this, this.#theme, this.#find);
      panel.element.hidden = true;
      this.#put("dag", panel);
    }
    return panel;
  }

  #put(tab: Tab, panel: Panel): void {
    this.#panels.set(tab, panel);
    this.#body.insertBefore(panel.element, this.#details.element);
  }

  #made(tab: Tab): Panel {
    const known = this.#panels.get(tab);
    if (known) return known;
    if (tab === "dag") return this.#dag();
    const panel =
      tab === "timeline" ? new Timeline(this, this.#theme)
      : tab === "logs" ? new Logs(this)
      : new Table(this, this.options.view === "workflow");
    this.#put(tab, panel);
    return panel;
  }

  get #panel(): Panel | undefined {
    return this.#tab ? this.#panels.get(this.#tab) : undefined;
  }

  #choose(tab: Tab): void {
    if (tab === this.#tab) return;
    const last = this.#panel;
    if (last) {
      last.show?.(false);
      last.element.hidden = true;
    }
    this.#tab = tab;
    const panel = this.#made(tab);
    panel.element.hidden = false;
    this.#tools.replaceChildren(panel.tools);
    for (const [one, made] of this.#tabs) {
      attrs(made, { "aria-selected": one === tab, tabindex: one === tab ? 0 : -1 });
    }
    attrs(this.#body, { "aria-labelledby": this.#prefix + tab });
    attrs(this.#find, { placeholder: FINDS[tab], "aria-label": FINDS[tab] });
    panel.show?.(true);
    panel.update();
    this.#find.value = "";
    this.#search(0);
  }

  #search(turn: number): void {
    say(this.#found, this.#panel?.find?.(this.#find.value, turn) ?? "");
  }

  // -- drawing --------------------------------------------------------------------------------------------------------

  #changed(part: Part): void {
    if (part === "state") this.#stated = performance.now();
    this.#redraw();
  }

  #redraw(): void {
    if (this.#frame || this.#isOver) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw(): void {
    const { shape } = this;
    const { head } = this.state;
    const isPlan = !shape.run;
    this.#sign.element.hidden = isPlan;
    this.#sign.set(head.status);
    say(this.#name, shape.workflow || "workflow");
    say(this.#status, isPlan ? "" : head.status);
    say(this.#run, shape.run);
    const again = head.drivers > 1 ? ` · taken up ${head.drivers} times` : "";
    const steps = shape.steps.filter((step) => !step.helper).length;
    const count = steps === 1 ? "1 step" : `${grouped(steps)} steps`;
    say(this.#clock, isPlan ? count : elapsed(head, this.now()) + again);
    this.#offer();
    if (isPlan) this.#countMarks();
    else this.#progress.set(head);
    this.#panel?.update();
    if (!this.#height && shape.steps.length) {
      const dag = this.#panels.get("dag") as DagPanel | undefined;
      const lowest = isPlan ? LOWEST_WORKFLOW : LOWEST;
      this.#setHeight(Math.min(HIGHEST, Math.max(lowest, dag ? dag.wished + 24 : HIGHEST)));
    }
    this.#details.update();
    this.#sayBelow();
  }

  #setHeight(height: number): void {
    this.#height = Math.round(height);
    if (this.#height) this.#body.style.height = `${this.#height}px`;
  }

  /** Enables the commands that do anything now. */
  #offer(): void {
    const { status, asked } = this.state.head;
    const reached = this.channel?.live ?? false;
    if (this.#pending && this.#pending.status !== status) {
      this.#pending = null;
      say(this.#told, "");
    }
    for (const [command, , word, does] of COMMANDS) {
      const made = this.#commands.get(command);
      if (!made) continue;
      made.disabled = !reached || !isOffered(command, status, asked) || this.#pending?.command === command;
      const title = reached ? `${word}: ${does}` : "the run cannot be reached from here";
      if (made.title !== title) made.title = title;
    }
  }

  #command(command: string): void {
    const pending = { command, status: this.state.head.status };
    this.#pending = pending;
    say(this.#told, UNDER_WAY[command]!);
    this.#offer();
    const done = (text: string) => {
      if (this.#pending === pending) this.#pending = null;
      say(this.#told, text);
      this.#offer();
    };
    this.channel!.command(command).then(
      () => {
        setTimeout(() => {
          if (this.#pending === pending) done("");
        }, FORGET);
      },
      (error: unknown) => done(`could not ${command}: ${messageOf(error)}`),
    );
  }

  /** Says how many steps a run would do what with. */
  #countMarks(): void {
    const counts = new Map<string, number>();
    for (const { mark, construct } of this.shape.steps) {
      if (mark && !construct) counts.set(mark, (counts.get(mark) ?? 0) + 1);
    }
    const key = [...counts].join();
    if (this.#marks.dataset.key === key) return;
    this.#marks.dataset.key = key;
    const parts = Object.entries(MARKS).flatMap(([mark, { status, text }]) => {
      const count = counts.get(mark);
      return count ? [el("span", "", badge(mark === "new" ? mark : status, 12), `${grouped(count)} ${text}`)] : [];
    });
    this.#marks.replaceChildren(...parts);
  }

  /** Says what went wrong, and how to go on. */
  #sayBelow(): void {
    const { error, on, again } = this.state.head;
    const key = JSON.stringify([error, on, again]);
    if (key === this.#shownBelow) return;
    this.#shownBelow = key;
    const unfolded = this.#below.querySelector("details")?.open ?? false;
    const parts: HTMLElement[] = [];
    if (again) parts.push(el("div", "soft", again));
    if (error) parts.push(errorBox(error, on, unfolded));
    else if (on) parts.push(wayOn(on));
    this.#below.replaceChildren(...parts);
  }

  #setTheme(theme: Theme): void {
    this.#theme = theme;
    for (const [name, value] of Object.entries(cssVars(theme))) this.#root.style.setProperty(name, value);
    this.#root.style.colorScheme = theme.dark ? "dark" : "light";
    for (const panel of this.#panels.values()) panel.setTheme?.(theme);
  }

  #narrow(): void {
    const { clientWidth: width } = this.#root;
    this.#root.classList.toggle("narrow", width > 0 && width < NARROW);
  }

  #escape(event: KeyboardEvent): void {
    if (event.key !== "Escape" || !this.#details.open || event.target === this.#find) return;
    this.#details.close();
    event.preventDefault();
    event.stopPropagation();
  }

  #pressed(event: KeyboardEvent): void {
    const typing = (event.target as HTMLElement).matches("input, select, textarea");
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key === "/" && plain && !typing && this.#tab) {
      this.#find.focus();
      this.#find.select();
      event.preventDefault();
    }
    // What is meant for the picture does not reach the notebook's command mode.
    if (plain) event.stopPropagation();
  }
}
