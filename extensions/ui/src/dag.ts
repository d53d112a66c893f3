// The DAG: a canvas that is panned and zoomed, whose groups and fan-outs open, and in which steps are found.

import { between, centred, onScreen, showing, wholeOf, zoomed, type Camera, type ScreenBox } from "./camera";
import { guessCells, makeCells, type Cells } from "./cells";
import { STATUSES, type Shape, type State } from "./format";
import { hitAt, type Hit } from "./hit";
import { layout, type Direction } from "./layout";
import { Minimap } from "./minimap";
import { Model } from "./model";
import { Painter, boundsOf, type Picture } from "./paint";
import { Row } from "./row";
import type { Theme } from "./theme";

/** Whom the DAG tells, and what it asks for. */
export interface DagOptions {
  onSelect?(row: Row | null): void;
  onHover?(row: Row | null, x: number, y: number): void;
  /** A box was opened that does not open into others. */
  onEnter?(row: Row): void;
  /** Nodes have come or gone. */
  onChange?(): void;
  onSearch?(): void;
  /** Returns a status byte for each element of a step. */
  cells?(step: number): Promise<Uint8Array>;
}

/** How a person left the picture. */
export interface DagLeft {
  opened: [string, boolean][];
  camera: Camera | null;
  selected: string;
}

/** Milliseconds that a smooth move of the camera takes. */
const MOVE = 180;
/** Milliseconds between two questions for the cells of one step. */
const CELLS_PAUSE = 1000;
/** Pixels that a key pans. */
const PAN = 60;
const PANS: Record<string, [number, number]> = {
  arrowleft: [PAN, 0], a: [PAN, 0], arrowright: [-PAN, 0], d: [-PAN, 0],
  arrowup: [0, PAN], w: [0, PAN], arrowdown: [0, -PAN], s: [0, -PAN],
};

/** The picture of a workflow in an element, which has its keys and its pointer. */
export class Dag {
  readonly #host: HTMLElement;
  readonly #options: DagOptions;
  readonly #canvas: HTMLCanvasElement;
  readonly #painter: Painter | null;
  readonly #minimap: Minimap;
  readonly #ended = new AbortController();
  readonly #resized: ResizeObserver | null = null;
  #theme: Theme;
  #picture: Picture | null = null;
  /** Chosen once: a picture that turned while steps come would be another. */
  #direction: Direction | null = null;
  #camera: Camera = { scale: 1, x: 0, y: 0 };
  /** Whether the whole is to be seen, whatever comes. */
  #fitted = true;
  #selected = "";
  #selectedElement = -1;
  #hovered = -1;
  /** Keys of what a search has found. */
  #found: string[] = [];
  #foundAt = -1;
  #foundBoxes: Set<number> | null = null;
  /** Whether Escape was pressed last: then Tab leaves the picture, else 10,000 nodes would keep the keyboard. */
  #escaped = false;
  #frame = 0;
  #isOver = false;
  /** By step, when its cells were asked for last; infinity while an answer is awaited. */
  readonly #asked = new Map<number, number>();
  #left: DagLeft | null = null;

  constructor(host: HTMLElement, theme: Theme, options: DagOptions = {}) {
    this.#host = host;
    this.#options = options;
    this.#theme = theme;
    this.#canvas = host.ownerDocument.createElement("canvas");
    this.#canvas.style.cssText = "display:block;position:absolute;inset:0;width:100%;height:100%;cursor:grab";
    this.#canvas.setAttribute("aria-hidden", "true");
    if (getComputedStyle(host).position === "static") host.style.position = "relative";
    host.style.overflow = "hidden";
    host.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys stay out
    host.append(this.#canvas);
    const ctx = this.#canvas.getContext("2d", { alpha: false });
    this.#painter = ctx && new Painter(ctx, theme);
    this.#minimap = new Minimap(host, (x, y) => {
      this.#see(centred(this.#camera, x, y, host.clientWidth, host.clientHeight));
    });
    this.#listen();
    if (typeof ResizeObserver === "function") {
      this.#resized = new ResizeObserver(() => {
        if (this.#fitted) this.#move(this.#whole(), false);
        else this.#redraw();
      });
      this.#resized.observe(host);
    }
  }

  // -- what is shown --------------------------------------------------------------------------------------------------

  /** Takes in how the run stands, and the steps that have come. */
  update(shape: Shape, state: State): void {
    if (!this.#picture) {
      const model = new Model(shape, state);
      if (this.#left) model.opened = this.#left.opened;
      this.#build(model);
      this.fit(false);
      if (this.#left?.camera) this.camera = this.#left.camera;
      if (this.#left?.selected) this.#selected = this.#left.selected;
      return;
    }
    const { model, cells } = this.#picture;
    const { steps } = model.shape;
    // Once the model has taken in new steps, nodes and steps have other numbers than the picture knows.
    const place = this.boxOf(this.#selected);
    if (!model.update(shape, state)) {
      this.#restate();
      return;
    }
    for (const [box, { step }] of cells) if (steps[step]?.id !== shape.steps[step]?.id) cells.delete(box);
    const fitted = this.#fitted;
    this.#rebuild(this.#selected, place);
    if (fitted) this.fit();
  }

  setTheme(theme: Theme): void {
    this.#theme = theme;
    if (this.#painter) this.#painter.theme = theme;
    this.#minimap.stale();
    this.#redraw();
  }

  /** How the picture is left, to be taken up by another; set before the first update. */
  get left(): DagLeft {
    const camera = this.#fitted ? null : this.camera;
    return { opened: this.#picture?.model.opened ?? [], camera, selected: this.#selected };
  }

  set left(left: DagLeft) {
    this.#left = left;
  }

  /** Returns every box, each frame before those inside of it. */
  visible(): Row[] {
    const picture = this.#picture;
    return picture ? Array.from(picture.scene.nodes, (_, box) => new Row(picture, box)) : [];
  }

  get selected(): string {
    return this.#selected;
  }

  /** Selects a node, or none for ""; `show` brings it into sight. */
  select(key: string, show = true): void {
    const box = this.#boxOf(key);
    this.#selected = box < 0 ? "" : key;
    this.#selectedElement = -1;
    if (box >= 0 && show) this.#reveal(box);
    this.#options.onSelect?.(box < 0 ? null : new Row(this.#picture!, box));
    this.#redraw();
  }

  /** Opens or closes a node. */
  toggle(key: string): void {
    const picture = this.#picture;
    const node = picture?.model.byKey.get(key);
    if (!picture || node === undefined || !picture.model.openable(node)) return;
    const fitted = this.#fitted;
    picture.model.toggle(node);
    this.#rebuild(key);
    if (fitted && this.#whole().scale >= 0.5) this.fit();
    else if (picture.model.isOpen(node)) this.#reveal(this.#boxOf(key));
  }

  /** Opens or closes all groups. */
  openAll(open: boolean): void {
    this.#picture?.model.openAll(open);
    this.#rebuild();
    this.fit();
  }

  /** Shows everything, and keeps doing so until somebody moves. */
  fit(smooth = true): void {
    this.#fitted = true;
    this.#move(this.#whole(), smooth);
  }

  /** Zooms about a place on the screen. */
  zoom(factor: number, x = this.#host.clientWidth / 2, y = this.#host.clientHeight / 2): void {
    this.#fitted = false;
    this.#move(zoomed(this.#camera, factor, x, y), true);
  }

  /** Returns the height in which everything fits at its full size, in pixels. */
  get wishedHeight(): number {
    const whole = this.#picture?.layout;
    return whole ? Math.ceil(whole.height * Math.min(1, this.#host.clientWidth / whole.width || 1)) : 0;
  }

  /** Returns where a node is, in pixels of the host; null when it is not shown. */
  boxOf(key: string): ScreenBox | null {
    const box = this.#boxOf(key);
    return box < 0 ? null : onScreen(this.#camera, this.#picture!.layout, box);
  }

  get camera(): Camera {
    return { ...this.#camera };
  }

  set camera(camera: Camera) {
    this.#see({ ...camera });
  }

  // -- search ---------------------------------------------------------------------------------------------------------

  /** Finds nodes by name, step id or node; selects the first. */
  search(text: string): { count: number; at: number } {
    const wanted = text.trim().toLowerCase();
    this.#foundAt = -1;
    this.#found = [];
    if (wanted && this.#picture) {
      const { model } = this.#picture;
      for (const at of model.nodes) {
        const step = model.shape.steps[at.step];
        const named = `${at.name}\n${step?.id ?? ""}\n${step?.node ?? ""}`.toLowerCase();
        if (named.includes(wanted)) this.#found.push(at.key);
      }
    }
    this.#markFound(wanted !== "");
    this.#redraw();
    return this.turn(1);
  }

  /** Goes to the next that was found, or the one before. */
  turn(by: number): { count: number; at: number } {
    const count = this.#found.length;
    if (!count || !this.#picture) return { count, at: 0 };
    this.#foundAt = (this.#foundAt + by + count) % count;
    const { model } = this.#picture;
    const key = this.#found[this.#foundAt]!;
    const node = model.byKey.get(key);
    if (node !== undefined && this.#boxOf(key) < 0) {
      model.reveal(node);
      this.#rebuild();
    }
    this.select(key);
    return { count, at: this.#foundAt + 1 };
  }

  #markFound(searching: boolean): void {
    const picture = this.#picture;
    this.#foundBoxes = searching && picture ? new Set() : null;
    if (!this.#foundBoxes || !picture) return;
    const boxes = new Map(Array.from(picture.scene.nodes, (node, box) => [node, box]));
    for (const key of this.#found) {
      // One that is hidden marks the closed one it is in.
      let node = picture.model.byKey.get(key) ?? -1;
      while (node >= 0 && !boxes.has(node)) node = picture.model.nodes[node]!.parent;
      if (node >= 0) this.#foundBoxes.add(boxes.get(node)!);
    }
  }

  // -- keys -----------------------------------------------------------------------------------------------------------

  /** Does what a key asks for; returns whether it does anything here. */
  handleKey(event: KeyboardEvent): boolean {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const key = event.key.toLowerCase();
    const leaves = this.#escaped && !this.#selected;
    if (key !== "tab" && key !== "shift") this.#escaped = key === "escape";
    const pan = PANS[key];
    if (pan) this.#pan(pan[0], pan[1]);
    else if (key === "+" || key === "=") this.zoom(1.25);
    else if (key === "-" || key === "_") this.zoom(0.8);
    else if (key === "0") this.fit();
    else if (key === "/") this.#options.onSearch?.();
    else if (key === "tab") return !leaves && this.#tab(event.shiftKey ? -1 : 1);
    else if ((key === "enter" || key === " ") && this.#selected) this.#enter();
    else if (key === "i" && this.#selected) this.#inform();
    else if (key === "escape" && (this.#selected || this.#foundBoxes)) {
      this.#found = [];
      this.#markFound(false);
      this.select("");
    } else return false;
    return true;
  }

  /** Selects the next box or the one before; returns false past the last and the first. */
  #tab(by: number): boolean {
    const count = this.#picture?.scene.graph.n ?? 0;
    const box = this.#boxOf(this.#selected) + (this.#selected || by > 0 ? by : count);
    if (box < 0 || box >= count) return false;
    this.select(this.#picture!.model.nodes[this.#picture!.scene.nodes[box]!]!.key);
    return true;
  }

  #enter(): void {
    const box = this.#boxOf(this.#selected);
    if (box < 0) return;
    const row = new Row(this.#picture!, box, this.#selectedElement);
    if (row.openable && this.#selectedElement < 0) this.toggle(row.key);
    else this.#options.onEnter?.(row);
  }

  /** Opens the details of what is selected, also of what opens into others. */
  #inform(): void {
    const box = this.#boxOf(this.#selected);
    if (box >= 0) this.#options.onEnter?.(new Row(this.#picture!, box, this.#selectedElement));
  }

  // -- building -------------------------------------------------------------------------------------------------------

  #build(model: Model): void {
    const scene = model.scene();
    const room = [this.#host.clientWidth || 980, Math.max(480, this.#host.clientHeight)] as const;
    const made = layout(scene.graph, this.#direction, ...room);
    if (scene.graph.n > 1) this.#direction ??= made.direction;
    const known = [...(this.#picture?.cells.values() ?? [])];
    const cells = new Map<number, Cells>();
    scene.nodes.forEach((node, box) => {
      if (!model.isOpen(node) || !model.hasCells(node)) return;
      const { step } = model.nodes[node]!;
      const before = known.find((one) => one.step === step);
      cells.set(box, before ?? guessCells(step, model.counts(node), model.width(node)));
    });
    const codes = new Uint8Array(scene.graph.n);
    this.#picture = { model, scene, layout: made, bounds: boundsOf(made), codes, cells };
    this.#restate();
  }

  /** Lays out anew; what a key names stays where it was on the screen. */
  #rebuild(key = this.#selected, before = this.boxOf(key)): void {
    this.#build(this.#picture!.model);
    const now = this.boxOf(key);
    if (before && now) {
      this.#see({ ...this.#camera, x: this.#camera.x + before.x - now.x, y: this.#camera.y + before.y - now.y });
    }
    if (!now) this.#selected = "";
    this.#hovered = -1;
    this.#markFound(this.#foundBoxes !== null);
    this.#options.onChange?.();
    this.#redraw();
  }

  /** Takes in how the run stands: nothing moves. */
  #restate(): void {
    const { model, scene, codes, cells } = this.#picture!;
    for (let box = 0; box < codes.length; box++) {
      codes[box] = (STATUSES as readonly string[]).indexOf(model.face(scene.nodes[box]!).colour);
    }
    for (const [box, one] of cells) {
      const node = scene.nodes[box]!;
      if (!one.known) cells.set(box, guessCells(one.step, model.counts(node), model.width(node)));
      this.#askForCells(one.step);
    }
    this.#minimap.stale();
    this.#redraw();
  }

  #askForCells(step: number): void {
    const { cells } = this.#options;
    const asked = this.#asked.get(step) ?? -Infinity;
    if (!cells || asked === Infinity) return;
    this.#asked.set(step, Infinity);
    const wait = Math.max(0, asked + CELLS_PAUSE - performance.now());
    setTimeout(async () => {
      // Without an answer they stay in order of state.
      const id = this.#stepId(step);
      const status = this.#isOver ? null : await cells(step).catch(() => null);
      this.#asked.set(step, performance.now());
      if (!status || !this.#picture || this.#stepId(step) !== id) return;
      for (const [box, one] of this.#picture.cells) {
        if (one.step !== step) continue;
        const made = makeCells(step, status, true);
        made.image = one.image;
        this.#picture.cells.set(box, made);
      }
      this.#redraw();
    }, wait);
  }

  #stepId(step: number): string | undefined {
    return this.#picture?.model.shape.steps[step]?.id;
  }

  #boxOf(key: string): number {
    const node = key ? this.#picture?.model.byKey.get(key) : undefined;
    return node === undefined ? -1 : this.#picture!.scene.nodes.indexOf(node);
  }

  // -- drawing --------------------------------------------------------------------------------------------------------

  #redraw(): void {
    if (this.#frame || this.#isOver) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  /** Draws at once and returns the milliseconds it took. */
  drawNow(): number {
    const began = performance.now();
    this.#draw();
    return performance.now() - began;
  }

  #draw(): void {
    const [width, height] = [this.#host.clientWidth, this.#host.clientHeight];
    if (!this.#painter || !this.#picture || !width || !height) return;
    const ratio = this.#host.ownerDocument.defaultView?.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== across) this.#canvas.width = across;
    if (this.#canvas.height !== down) this.#canvas.height = down;
    const marked = { selected: this.#boxOf(this.#selected), hovered: this.#hovered, found: this.#foundBoxes };
    this.#painter.paint(this.#picture, this.#camera, width, height, ratio, marked);
    this.#minimap.draw(this.#picture, this.#camera, this.#theme, width, height, ratio);
  }

  // -- the camera -----------------------------------------------------------------------------------------------------

  /** Returns the camera that sees everything. */
  #whole(): Camera {
    const [width, height] = [this.#host.clientWidth, this.#host.clientHeight];
    return this.#picture && width && height ? wholeOf(this.#picture.layout, width, height) : this.#camera;
  }

  /** Moves the camera, smoothly where that is wanted; another move ends this one. */
  #move(to: Camera, smooth: boolean): void {
    const from = this.#camera;
    if (!smooth || !this.#theme.moves || !this.#picture) {
      this.#camera = to;
      this.#redraw();
      return;
    }
    const began = performance.now();
    let last = from;
    const step = () => {
      if (this.#camera !== last || this.#isOver) return;
      const time = Math.min(1, (performance.now() - began) / MOVE);
      last = between(from, to, time);
      this.#camera = last;
      this.#redraw();
      if (time < 1) requestAnimationFrame(step);
    };
    step();
  }

  /** Moves the camera as a person said. */
  #see(camera: Camera): void {
    this.#fitted = false;
    this.#camera = camera;
    this.#redraw();
  }

  #pan(x: number, y: number): void {
    this.#see({ ...this.#camera, x: this.#camera.x + x, y: this.#camera.y + y });
  }

  /** Brings a box into sight, near enough to be read. */
  #reveal(box: number): void {
    if (box < 0) return;
    const [width, height] = [this.#host.clientWidth, this.#host.clientHeight];
    const to = showing(this.#camera, this.#picture!.layout, box, width, height);
    if (!to) return;
    this.#fitted = false;
    this.#move(to, true);
  }

  // -- the pointer ----------------------------------------------------------------------------------------------------

  #at(x: number, y: number): Hit {
    return this.#picture ? hitAt(this.#picture, this.#camera, x, y) : { box: -1, element: -1, opener: false };
  }

  #listen(): void {
    const { signal } = this.#ended;
    const canvas = this.#canvas;
    let pressed: { x: number; y: number; moved: boolean } | null = null;
    const place = (event: MouseEvent): [number, number] => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const on = <K extends keyof HTMLElementEventMap>(name: K, heard: (event: HTMLElementEventMap[K]) => void) =>
      canvas.addEventListener(name, heard, { signal, passive: false });
    on("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.#host.focus({ preventScroll: true });
      pressed = { x: event.clientX, y: event.clientY, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    on("pointermove", (event) => {
      if (!pressed) {
        this.#hover(...place(event));
        return;
      }
      const [x, y] = [event.clientX - pressed.x, event.clientY - pressed.y];
      if (!pressed.moved && Math.hypot(x, y) < 4) return;
      pressed = { x: event.clientX, y: event.clientY, moved: true };
      canvas.style.cursor = "grabbing";
      this.#pan(x, y);
    });
    on("pointerup", (event) => {
      const clicked = pressed !== null && !pressed.moved;
      pressed = null;
      canvas.style.cursor = "grab";
      if (clicked) this.#click(...place(event));
    });
    on("pointercancel", () => {
      pressed = null;
    });
    on("pointerleave", () => {
      this.#hovered = -1;
      this.#options.onHover?.(null, 0, 0);
      this.#redraw();
    });
    on("dblclick", (event) => {
      const { box, opener } = this.#at(...place(event));
      if (box >= 0 && !opener) this.#enter();
    });
    on("wheel", (event) => this.#wheel(event, place(event)));
    this.#host.addEventListener(
      "keydown",
      (event) => {
        if (event.target !== this.#host && event.target !== canvas) return;
        if (this.handleKey(event)) event.preventDefault();
        event.stopPropagation();
      },
      { signal },
    );
  }

  #hover(x: number, y: number): void {
    const { box, element, opener } = this.#at(x, y);
    const isFrame = this.#picture?.scene.graph.frame[box] === 1;
    this.#canvas.style.cursor = opener ? "pointer" : box >= 0 && !isFrame ? "default" : "grab";
    this.#options.onHover?.(box < 0 ? null : new Row(this.#picture!, box, element), x, y);
    const hovered = isFrame ? -1 : box;
    if (hovered === this.#hovered) return;
    this.#hovered = hovered;
    this.#redraw();
  }

  #click(x: number, y: number): void {
    const { box, element, opener } = this.#at(x, y);
    if (box < 0) {
      this.select("", false);
      return;
    }
    const row = new Row(this.#picture!, box, element);
    if (opener) {
      this.toggle(row.key);
      return;
    }
    this.#selected = row.key;
    this.#selectedElement = element;
    this.#options.onSelect?.(row);
    this.#redraw();
  }

  /** Zooms with Ctrl, as a pinch says it; pans only a picture somebody is in, so that the page can be scrolled. */
  #wheel(event: WheelEvent, [x, y]: [number, number]): void {
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (event.ctrlKey || event.metaKey) {
      this.#see(zoomed(this.#camera, Math.exp((-event.deltaY * unit) / 240), x, y));
    } else {
      const active = this.#host.ownerDocument.activeElement;
      if (this.#fitted || !this.#host.contains(active)) return;
      this.#pan(-event.deltaX * unit, -event.deltaY * unit);
    }
    event.preventDefault();
  }

  /** Takes everything away again. */
  destroy(): void {
    this.#isOver = true;
    this.#ended.abort();
    this.#resized?.disconnect();
    cancelAnimationFrame(this.#frame);
    this.#minimap.destroy();
    this.#canvas.remove();
  }
}
