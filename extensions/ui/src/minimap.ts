// A small picture of the whole, with the part that is seen; a press moves there.

import type { Camera } from "./camera";
import type { Cells } from "./cells";
import { STATUSES } from "./format";
import type { Layout } from "./layout";
import type { Scene } from "./model";
import type { Theme } from "./theme";

/** What there is to draw. */
export interface Drawing {
  layout: Layout;
  scene: Scene;
  /** By box, the place of its status in `STATUSES`. */
  codes: Uint8Array;
  cells: Map<number, Cells>;
}

const WIDEST = 168;
const HIGHEST = 104;
const PAD = 5;
/** Milliseconds between two drawings of the whole. */
const PAUSE = 500;
/** In smaller pictures it would be in the way. */
const LEAST = { width: 420, height: 220 };

/** The whole in a corner of an element; hidden while all of it is seen anyway. */
export class Minimap {
  readonly #canvas: HTMLCanvasElement;
  /** The whole, without the part that is seen. */
  readonly #whole: HTMLCanvasElement;
  #scale = 1;
  #isStale = true;
  #drawn = 0;
  #layout: Layout | null = null;

  /** @param go - Moves what is seen to a point of the layout. */
  constructor(host: HTMLElement, go: (x: number, y: number) => void) {
    this.#canvas = host.ownerDocument.createElement("canvas");
    this.#whole = host.ownerDocument.createElement("canvas");
    this.#canvas.style.cssText =
      "position:absolute;right:8px;bottom:8px;display:none;border-radius:6px;cursor:crosshair";
    this.#canvas.setAttribute("aria-hidden", "true");
    host.append(this.#canvas);
    const moved = (event: PointerEvent) => {
      if (!(event.buttons & 1)) return;
      const box = this.#canvas.getBoundingClientRect();
      go((event.clientX - box.left - PAD) / this.#scale, (event.clientY - box.top - PAD) / this.#scale);
    };
    this.#canvas.addEventListener("pointerdown", (event) => {
      this.#canvas.setPointerCapture(event.pointerId);
      moved(event);
    });
    this.#canvas.addEventListener("pointermove", moved);
  }

  /** Takes note that states have changed. */
  stale(): void {
    this.#isStale = true;
  }

  /** Draws what a camera sees of the whole. */
  draw(drawing: Drawing, camera: Camera, theme: Theme, width: number, height: number, ratio: number): void {
    const { layout } = drawing;
    const [left, top] = [-camera.x / camera.scale, -camera.y / camera.scale];
    const [across, down] = [width / camera.scale, height / camera.scale];
    const all = left <= 20 && top <= 20 && left + across >= layout.width - 20 && top + down >= layout.height - 20;
    if (all || width < LEAST.width || height < LEAST.height) {
      this.#canvas.style.display = "none";
      return;
    }
    this.#scale = Math.min((WIDEST - 2 * PAD) / layout.width, (HIGHEST - 2 * PAD) / layout.height);
    const own = {
      width: Math.max(30, layout.width * this.#scale + 2 * PAD),
      height: Math.max(20, layout.height * this.#scale + 2 * PAD),
    };
    const now = performance.now();
    if (this.#layout !== layout || (this.#isStale && now - this.#drawn > PAUSE)) {
      this.#drawWhole(drawing, theme, own.width, own.height, ratio);
      this.#layout = layout;
      this.#isStale = false;
      this.#drawn = now;
    }
    Object.assign(this.#canvas.style, { display: "block", width: `${own.width}px`, height: `${own.height}px` });
    this.#canvas.width = this.#whole.width;
    this.#canvas.height = this.#whole.height;
    const ctx = this.#canvas.getContext("2d");
    if (!ctx || !this.#whole.width) return;
    ctx.drawImage(this.#whole, 0, 0);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    const x = Math.max(1, PAD + left * this.#scale);
    const y = Math.max(1, PAD + top * this.#scale);
    const right = Math.min(own.width - 1, PAD + (left + across) * this.#scale);
    const bottom = Math.min(own.height - 1, PAD + (top + down) * this.#scale);
    ctx.strokeStyle = ctx.fillStyle = theme.ink;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    ctx.roundRect(x, y, Math.max(3, right - x), Math.max(3, bottom - y), 2);
    ctx.globalAlpha = 0.08;
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.stroke();
  }

  #drawWhole(drawing: Drawing, theme: Theme, width: number, height: number, ratio: number): void {
    const { layout, scene, codes, cells } = drawing;
    this.#whole.width = Math.round(width * ratio);
    this.#whole.height = Math.round(height * ratio);
    const ctx = this.#whole.getContext("2d");
    if (!ctx) return;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = theme.ground;
    ctx.fillRect(0, 0, width, height);
    ctx.strokeStyle = theme.line;
    ctx.beginPath();
    ctx.roundRect(0.5, 0.5, width - 1, height - 1, 6);
    ctx.stroke();
    const scale = this.#scale;
    for (let box = 0; box < scene.graph.n; box++) {
      const [x, y] = [PAD + layout.x[box]! * scale, PAD + layout.y[box]! * scale];
      const [w, h] = [Math.max(1, layout.w[box]! * scale), Math.max(1, layout.h[box]! * scale)];
      if (scene.graph.frame[box]) {
        ctx.strokeRect(x, y, w, h);
        continue;
      }
      ctx.fillStyle = theme.colours[STATUSES[codes[box]!]!]!;
      ctx.fillRect(x, y, w, h);
      const image = cells.get(box)?.image;
      if (image) ctx.drawImage(image, x + 1, y + 1, w - 2, h - 2);
    }
  }

  destroy(): void {
    this.#canvas.remove();
  }
}
