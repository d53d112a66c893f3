// Draws the boxes, frames and arrows of a picture on a canvas: in full when near, as colours when far.

import { NEAR, type Camera } from "./camera";
import { drawCells, type Cells } from "./cells";
import { COUNTED, STATUSES } from "./format";
import type { Layout } from "./layout";
import type { Drawing } from "./minimap";
import { CELLS_TOP, clip, type Model } from "./model";
import { GLYPHS, type Theme } from "./theme";
import { sum } from "./words";

/** A picture as it is drawn. */
export interface Picture extends Drawing {
  model: Model;
  /** By arrow: left, top, right, bottom. */
  bounds: Float64Array;
}

/** What a person points at: places of boxes, -1 for none. */
export interface Marked {
  selected: number;
  hovered: number;
  /** Boxes that a search has found. */
  found: Set<number> | null;
}

type Area = readonly [number, number, number, number];
interface Face {
  colour: string;
  sign: string;
}

const FONT = "system-ui,sans-serif";
/** Below this scale boxes are colours. */
const FAR = 0.36;
/** No text on the screen is smaller, in pixels. */
const SMALLEST = 11;
/** Of more arrows of a kind, some are drawn when far; an arrow's straight part is cut at so many pixels. */
const MOST_ARROWS = 700;
const CUT = 4000;
/** Constructs that run their body many times lie on others of their kind. */
const REPEATED = new Set(["each", "stream", "loop"]);
const MOST_TEXTS = 4000;
/** A bar's statuses but the last, pending, which is what stays empty; and the pixels that each has at least. */
const PARTS = COUNTED.length - 1;
const LEAST_PART = 2;

/** Returns, by arrow, the rectangle it is in. */
export function boundsOf(layout: Layout): Float64Array {
  const arrows = layout.starts.length - 1;
  const bounds = new Float64Array(4 * arrows);
  for (let arrow = 0; arrow < arrows; arrow++) {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let at = layout.starts[arrow]!; at < layout.starts[arrow + 1]!; at++) {
      const [x, y] = [layout.points[2 * at]!, layout.points[2 * at + 1]!];
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
    bounds.set([left, top, right, bottom], 4 * arrow);
  }
  return bounds;
}

function areaOf({ x, y, w, h }: Layout, box: number): [number, number, number, number] {
  return [x[box]!, y[box]!, w[box]!, h[box]!];
}

/** Draws pictures on one canvas. */
export class Painter {
  readonly #ctx: CanvasRenderingContext2D;
  #theme: Theme;
  /** Texts cut to their room, and the signs' paths. */
  readonly #texts = new Map<string, string>();
  readonly #paths = new Map<string, Path2D>();

  constructor(ctx: CanvasRenderingContext2D, theme: Theme) {
    this.#ctx = ctx;
    this.#theme = theme;
  }

  set theme(theme: Theme) {
    this.#theme = theme;
  }

  /** Draws what of a picture is on the screen. */
  paint(picture: Picture, camera: Camera, width: number, height: number, ratio: number, marked: Marked): void {
    const ctx = this.#ctx;
    const { scale } = camera;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = this.#theme.ground;
    ctx.fillRect(0, 0, width, height);
    ctx.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * camera.x, ratio * camera.y);
    const seen: Area = [
      -camera.x / scale, -camera.y / scale, (width - camera.x) / scale, (height - camera.y) / scale,
    ];
    const { layout, scene } = picture;
    const boxes: number[] = [];
    const frames: number[] = [];
    for (let box = 0; box < scene.graph.n; box++) {
      const [x, y, w, h] = areaOf(layout, box);
      if (x > seen[2] || y > seen[3] || x + w < seen[0] - 6 || y + h < seen[1] - 6) continue;
      (scene.graph.frame[box] ? frames : boxes).push(box);
    }
    for (const frame of frames) this.#frame(picture, frame, scale);
    this.#arrows(picture, seen, scale, marked);
    for (const frame of frames) this.#title(picture, frame, scale);
    if (scale < FAR) this.#farBoxes(picture, boxes, scale);
    else for (const box of boxes) this.#box(picture, box, scale);
    for (const [box, cells] of picture.cells) if (boxes.includes(box)) this.#cells(picture, box, cells, scale, seen);
    if (marked.found) this.#found(picture, marked.found, [...frames, ...boxes], scale);
    this.#outline(picture, marked.hovered, 1.5, this.#theme.soft, scale);
    this.#outline(picture, marked.selected, 2, this.#theme.ink, scale);
  }

  #rounded(x: number, y: number, w: number, h: number, radius: number): void {
    this.#ctx.beginPath();
    this.#ctx.roundRect(x, y, w, h, radius);
  }

  // -- frames ---------------------------------------------------------------------------------------------------------

  #frame({ model, layout, scene }: Picture, box: number, scale: number): void {
    const ctx = this.#ctx;
    const node = scene.nodes[box]!;
    const at = model.nodes[node]!;
    const { colours, ground, line, soft } = this.#theme;
    const [x, y, w, h] = areaOf(layout, box);
    const isArm = at.kind === "arm";
    ctx.lineWidth = Math.max(1, 0.8 / scale);
    const kind = model.shape.steps[at.step]?.kind ?? "";
    if (REPEATED.has(kind) || at.kind === "fold") this.#behind(x, y, w, h, 10);
    const strength = model.unused(node) ? 0.5 : 1;
    this.#rounded(x, y, w, h, 10);
    ctx.globalAlpha = strength * (isArm ? 0.5 : 0.12);
    ctx.fillStyle = isArm ? ground : line;
    ctx.fill();
    const status = at.kind === "group" ? model.status(node) : "";
    const taken = model.taken(node);
    ctx.globalAlpha = strength * (status === "running" ? 0.6 : 1);
    ctx.strokeStyle = status === "failed" || status === "running" ? colours[status]! : taken ? soft : line;
    if (isArm && !taken) ctx.setLineDash([4, 3]);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  }

  /** Draws the rim of another one that lies behind. */
  #behind(x: number, y: number, w: number, h: number, radius: number): void {
    const ctx = this.#ctx;
    const [right, bottom] = [x + w, y + h];
    ctx.strokeStyle = this.#theme.line;
    ctx.beginPath();
    ctx.moveTo(x + radius + 2, bottom + 3.5);
    ctx.lineTo(right - radius + 3.5, bottom + 3.5);
    ctx.arcTo(right + 3.5, bottom + 3.5, right + 3.5, bottom - radius + 3.5, radius);
    ctx.lineTo(right + 3.5, y + radius + 2);
    ctx.stroke();
  }

  #title({ model, layout, scene }: Picture, box: number, scale: number): void {
    if (24 * scale < SMALLEST) return;
    const ctx = this.#ctx;
    const { ground, ink, soft } = this.#theme;
    const node = scene.nodes[box]!;
    const at = model.nodes[node]!;
    const isArm = at.kind === "arm";
    const unused = model.unused(node);
    const size = Math.max(12, SMALLEST / scale);
    const [left, top, width] = areaOf(layout, box);
    let x = left + 12;
    const y = top + 13;
    const end = left + width - (isArm ? 8 : 28);
    ctx.globalAlpha = unused ? 0.5 : 1;
    if (!isArm) {
      this.#sign(model.face(node), x + 6, y, 0.75);
      x += 18;
    }
    const name = this.#fitting(clip(at.name), 600, size, end - x);
    ctx.textBaseline = "middle";
    // Arrows may run behind a name: a rim in the ground's colour keeps it readable.
    ctx.strokeStyle = ground;
    ctx.lineJoin = "round";
    ctx.lineWidth = 4;
    ctx.strokeText(name, x, y);
    ctx.fillStyle = isArm && !model.taken(node) ? soft : ink;
    ctx.fillText(name, x, y);
    x += ctx.measureText(name).width + 6;
    const word = isArm ? unused : model.word(node);
    if (word && end - x > 30) {
      const text = this.#fitting(word, 400, size, end - x);
      ctx.strokeText(text, x, y);
      ctx.fillStyle = soft;
      ctx.fillText(text, x, y);
      x += ctx.measureText(text).width + 10;
    }
    const room = Math.min(90, end - x);
    if (!isArm && room > 40 && sum(model.counts(node))) this.#bar(model, node, end - room, y - 2, room, 5, 2.5);
    ctx.globalAlpha = 1;
    ctx.textBaseline = "alphabetic";
    if (!isArm) this.#opener(left + width - 15, top + 13, true);
  }

  // -- arrows ---------------------------------------------------------------------------------------------------------

  #arrows({ layout, scene, bounds, codes }: Picture, seen: Area, scale: number, marked: Marked): void {
    const ctx = this.#ctx;
    const { line, soft, ink } = this.#theme;
    const { edges } = scene.graph;
    const straight = scale < 0.2;
    // Not yet gone, gone, and those of what is selected.
    const kinds: [number[], number[], number[]] = [[], [], []];
    for (let arrow = 0; arrow < layout.starts.length - 1; arrow++) {
      const at = 4 * arrow;
      if (bounds[at]! > seen[2] || bounds[at + 1]! > seen[3]) continue;
      if (bounds[at + 2]! < seen[0] || bounds[at + 3]! < seen[1]) continue;
      const from = edges[2 * arrow]!;
      const status = STATUSES[codes[from]!];
      if (from === marked.selected || edges[2 * arrow + 1] === marked.selected) kinds[2].push(arrow);
      else if (status === "completed" || status === "cached") kinds[1].push(arrow);
      else kinds[0].push(arrow);
    }
    ctx.lineJoin = "round";
    kinds.forEach((arrows, kind) => {
      const selected = kind === 2;
      const colour = [line, soft, ink][kind]!;
      ctx.strokeStyle = colour;
      ctx.lineWidth = Math.max(selected ? 2 : 1.5, (selected ? 1.5 : 0.7) / scale);
      // So many arrows would be one dark field.
      const dense = Math.max(0.25, Math.min(0.9, 4 * scale + 400 / (arrows.length + 1)));
      ctx.globalAlpha = !selected && straight ? dense : 1;
      const every = straight ? 1 : Math.ceil(arrows.length / MOST_ARROWS);
      // In portions: one path of very many parts is slow.
      for (let first = 0; first < arrows.length; first += 100 * every) {
        ctx.beginPath();
        for (let at = first; at < Math.min(arrows.length, first + 100 * every); at += every) {
          this.#line(layout, arrows[at]!, straight, seen, CUT / scale);
        }
        ctx.stroke();
      }
      ctx.globalAlpha = 1;
      if (scale < 0.3) return;
      ctx.fillStyle = colour;
      ctx.beginPath();
      const headed = new Set<number>();
      for (const arrow of arrows) {
        const to = edges[2 * arrow + 1]!;
        if (!headed.has(to)) this.#head(layout, arrow, seen);
        headed.add(to);
      }
      ctx.fill();
    });
  }

  #line(layout: Layout, arrow: number, straight: boolean, seen: Area, cut: number): void {
    const ctx = this.#ctx;
    const { points } = layout;
    const right = layout.direction === "right";
    const first = layout.starts[arrow]!;
    const last = layout.starts[arrow + 1]! - 1;
    if (last <= first) return;
    let [x, y] = [points[2 * first]!, points[2 * first + 1]!];
    ctx.moveTo(x, y);
    for (let at = first + 1; at <= last; at++) {
      let [nextX, nextY] = [points[2 * at]!, points[2 * at + 1]!];
      if (at === last && !straight) {
        // The line stops short of the tip, so that the tip is sharp.
        if (right) nextX -= 5;
        else nextY -= 5;
      }
      if (Math.abs(nextX - x) > cut || Math.abs(nextY - y) > cut) {
        this.#clipped(x, y, nextX, nextY, seen);
        ctx.moveTo(nextX, nextY);
      } else if (straight || (right ? y === nextY : x === nextX)) {
        ctx.lineTo(nextX, nextY);
      } else if (right) {
        const middle = (x + nextX) / 2;
        ctx.bezierCurveTo(middle, y, middle, nextY, nextX, nextY);
      } else {
        const middle = (y + nextY) / 2;
        ctx.bezierCurveTo(x, middle, nextX, middle, nextX, nextY);
      }
      [x, y] = [nextX, nextY];
    }
  }

  /** Draws the part of a line that is seen: canvases are slow with very long ones. Source: Liang and Barsky 1984. */
  #clipped(x: number, y: number, endX: number, endY: number, [left, top, right, bottom]: Area): void {
    const [across, down] = [endX - x, endY - y];
    let [from, to] = [0, 1];
    const sides = [[-across, x - left], [across, right - x], [-down, y - top], [down, bottom - y]] as const;
    for (const [pace, room] of sides) {
      if (pace === 0 && room < 0) return;
      if (pace < 0) from = Math.max(from, room / pace);
      else if (pace > 0) to = Math.min(to, room / pace);
    }
    if (from >= to) return;
    this.#ctx.moveTo(x + from * across, y + from * down);
    this.#ctx.lineTo(x + to * across, y + to * down);
  }

  #head(layout: Layout, arrow: number, seen: Area): void {
    const last = layout.starts[arrow + 1]! - 1;
    if (last <= layout.starts[arrow]!) return;
    const ctx = this.#ctx;
    const [x, y] = [layout.points[2 * last]!, layout.points[2 * last + 1]!];
    if (x < seen[0] || y < seen[1] || x - 8 > seen[2] || y - 8 > seen[3]) return;
    ctx.moveTo(x, y);
    if (layout.direction === "right") {
      ctx.lineTo(x - 7, y - 4);
      ctx.lineTo(x - 7, y + 4);
    } else {
      ctx.lineTo(x - 4, y - 7);
      ctx.lineTo(x + 4, y - 7);
    }
    ctx.closePath();
  }

  // -- boxes ----------------------------------------------------------------------------------------------------------

  #farBoxes({ model, layout, scene, codes }: Picture, boxes: number[], scale: number): void {
    const ctx = this.#ctx;
    const { colours, ground } = this.#theme;
    const least = 2 / scale;
    const rim = Math.max(1.5, 0.8 / scale);
    const byStatus: number[][] = STATUSES.map(() => []);
    const barred: number[] = [];
    for (const box of boxes) {
      if (layout.w[box]! * scale > 12 && model.wide(scene.nodes[box]!)) barred.push(box);
      else byStatus[codes[box]!]!.push(box);
    }
    byStatus.forEach((same, code) => {
      const status = STATUSES[code]!;
      const hollow = (status === "pending" || status === "skipped") && scale > 0.06;
      ctx.fillStyle = hollow ? ground : colours[status]!;
      ctx.strokeStyle = colours[status]!;
      ctx.lineWidth = rim;
      for (const box of same) {
        const [x, y, w, h] = areaOf(layout, box);
        const [width, height] = [Math.max(least, w), Math.max(least, h)];
        ctx.fillRect(x, y, width, height);
        if (hollow) ctx.strokeRect(x, y, width, height);
      }
    });
    for (const box of barred) {
      const [x, y, w, h] = areaOf(layout, box);
      this.#bar(model, scene.nodes[box]!, x, y, w, h, 0);
      ctx.strokeStyle = colours[STATUSES[codes[box]!]!]!;
      ctx.lineWidth = rim;
      ctx.strokeRect(x, y, w, h);
    }
    if (scale * 46 < 9) return;
    const size = Math.min(1.6, 6 / (8 * scale));
    for (const box of boxes) {
      const [x, y, w, h] = areaOf(layout, box);
      this.#sign(model.face(scene.nodes[box]!), x + w / 2, y + h / 2, size);
    }
  }

  #box({ model, layout, scene, cells }: Picture, box: number, scale: number): void {
    const ctx = this.#ctx;
    const { colours, tints, ground } = this.#theme;
    const node = scene.nodes[box]!;
    const at = model.nodes[node]!;
    const face = model.face(node);
    const [x, y, w, h] = areaOf(layout, box);
    const inUnused = model.nodes[at.parent]?.kind === "arm" && model.unused(at.parent) !== "";
    ctx.globalAlpha = inUnused || model.unused(node) ? 0.5 : 1;
    const hollow = face.colour === "pending" || face.colour === "skipped";
    ctx.lineWidth = 1.5;
    if (at.kind === "fold" || at.children.length) this.#behind(x, y, w, h, 8);
    this.#rounded(x, y, w, h, 8);
    ctx.fillStyle = hollow ? ground : tints[face.colour]!;
    ctx.fill();
    if (hollow) ctx.setLineDash([4, 3]);
    ctx.strokeStyle = colours[face.colour]!;
    ctx.lineWidth = 1.5;
    ctx.stroke();
    ctx.setLineDash([]);
    this.#inBox(model, node, face, [x, y, w, cells.has(box) ? CELLS_TOP + 6 : h], scale);
    if (model.wide(node)) this.#bar(model, node, x + 12, y + h - 13, w - 24, 5, 2.5);
    ctx.globalAlpha = 1;
  }

  /** Draws a box's sign and texts; when not near, only what can be read. */
  #inBox(model: Model, node: number, face: Face, [x, y, w, h]: Area, scale: number): void {
    const ctx = this.#ctx;
    const { ink, soft } = this.#theme;
    const { name } = model.nodes[node]!;
    const near = scale >= NEAR;
    const wide = model.wide(node);
    const middle = near ? (wide ? 21 : h / 2) : wide ? h / 2 - 4 : h / 2;
    const openable = model.openable(node);
    if (openable) this.#opener(x + w - 17, y + (near ? 17 : middle), model.isOpen(node));
    const end = x + w - (openable ? 28 : near ? 8 : 4 / scale);
    if (near) {
      this.#sign(face, x + 20, y + middle, 1);
      ctx.fillStyle = ink;
      ctx.fillText(this.#fitting(clip(name), 600, 13, end - x - 36), x + 36, y + 19);
      ctx.fillStyle = soft;
      const room = w - (openable && scale < 1 ? 64 : 44);
      ctx.fillText(this.#fitting(model.said(node), 400, Math.max(SMALLEST, SMALLEST / scale), room), x + 36, y + 34);
      return;
    }
    const radius = Math.min(8, 5.5 / scale);
    const centre = x + Math.max(0, 12 - (NEAR - scale) * 16) + radius;
    this.#sign(face, centre, y + middle, radius / 8);
    const size = Math.max(13, SMALLEST / scale);
    const left = centre + radius + 4 / scale;
    ctx.fillStyle = ink;
    ctx.fillText(this.#fitting(name, scale < 0.6 ? 500 : 600, size, end - left), left, y + middle + 0.36 * size);
  }

  /** Draws a bar stacked by status; every status present has at least two pixels. */
  #bar(model: Model, node: number, x: number, y: number, w: number, h: number, radius: number): void {
    const ctx = this.#ctx;
    const { colours, line } = this.#theme;
    const counts = model.counts(node);
    const seen = sum(counts);
    // Where more may come, the bar is not full.
    const whole = Math.max(model.width(node) ?? 1.25 * seen, seen, 1);
    ctx.fillStyle = line;
    this.#rounded(x, y, w, h, radius);
    ctx.fill();
    ctx.save();
    ctx.clip();
    let at = x;
    let later = counts.slice(0, PARTS).filter(Boolean).length;
    for (let which = 0; which < PARTS; which++) {
      const count = counts[which];
      if (!count) continue;
      later--;
      // What comes later keeps its pixels too: one that failed among 100,000 is what somebody looks for.
      const room = x + w - at - LEAST_PART * later;
      const part = Math.max(LEAST_PART, Math.min((w * count) / whole, room));
      ctx.fillStyle = colours[COUNTED[which]!]!;
      ctx.fillRect(at, y, part, h);
      at += part;
    }
    ctx.restore();
  }

  #sign({ colour, sign }: Face, x: number, y: number, scale: number): void {
    const ctx = this.#ctx;
    const { colours, ground, onColour } = this.#theme;
    const glyph = GLYPHS[sign];
    ctx.save();
    ctx.translate(x, y);
    ctx.scale(scale, scale);
    ctx.beginPath();
    ctx.arc(0, 0, glyph ? 8 : 7, 0, 7);
    ctx.fillStyle = glyph ? colours[colour]! : ground;
    ctx.fill();
    ctx.lineWidth = 1.5;
    if (glyph) {
      let path = this.#paths.get(glyph);
      if (!path) this.#paths.set(glyph, (path = new Path2D(glyph)));
      ctx.strokeStyle = onColour[colour]!;
      ctx.lineWidth = 1.8;
      ctx.lineCap = ctx.lineJoin = "round";
      ctx.stroke(path);
      ctx.lineCap = "butt";
    } else {
      ctx.strokeStyle = colours[colour]!;
      ctx.stroke();
    }
    ctx.restore();
  }

  /** Draws the sign that opens (+) or closes (-). */
  #opener(x: number, y: number, open: boolean): void {
    const ctx = this.#ctx;
    ctx.lineWidth = 1.2;
    ctx.strokeStyle = this.#theme.soft;
    ctx.fillStyle = this.#theme.ground;
    this.#rounded(x - 7, y - 7, 14, 14, 4);
    ctx.fill();
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x - 3.5, y);
    ctx.lineTo(x + 3.5, y);
    if (!open) {
      ctx.moveTo(x, y - 3.5);
      ctx.lineTo(x, y + 3.5);
    }
    ctx.stroke();
  }

  #cells({ layout }: Picture, box: number, cells: Cells, scale: number, seen: Area): void {
    const [x, y, w, h] = areaOf(layout, box);
    const area = [x + 12, y + CELLS_TOP, w - 24, h - CELLS_TOP - 24] as const;
    drawCells(this.#ctx, this.#theme, cells, area, scale, seen, (colour, sign, atX, atY, size) =>
      this.#sign({ colour, sign }, atX, atY, size),
    );
  }

  // -- marks ----------------------------------------------------------------------------------------------------------

  #found({ layout }: Picture, found: Set<number>, boxes: number[], scale: number): void {
    const ctx = this.#ctx;
    const rim = Math.max(6, 5 / scale);
    ctx.strokeStyle = this.#theme.colours.retrying!;
    ctx.lineWidth = Math.max(3, 2.5 / scale);
    for (const box of boxes) {
      if (!found.has(box)) continue;
      const [x, y, w, h] = areaOf(layout, box);
      this.#rounded(x - rim, y - rim, w + 2 * rim, h + 2 * rim, 8 + rim);
      ctx.stroke();
    }
  }

  #outline({ layout, scene }: Picture, box: number, width: number, colour: string, scale: number): void {
    if (box < 0 || box >= scene.graph.n) return;
    const rim = Math.max(3, 3 / scale);
    const [x, y, w, h] = areaOf(layout, box);
    this.#ctx.strokeStyle = colour;
    this.#ctx.lineWidth = Math.max(width, width / scale);
    this.#rounded(x - rim, y - rim, w + 2 * rim, h + 2 * rim, 8 + rim);
    this.#ctx.stroke();
  }

  // -- texts ----------------------------------------------------------------------------------------------------------

  /** Sets the font, and returns a text cut to the room it has. */
  #fitting(text: string, weight: number, size: number, room: number): string {
    const ctx = this.#ctx;
    ctx.font = `${weight} ${size.toFixed(1)}px ${FONT}`;
    const key = `${ctx.font}${Math.round(room)}${text}`;
    let found = this.#texts.get(key);
    if (found === undefined) {
      if (this.#texts.size > MOST_TEXTS) this.#texts.clear();
      found = this.#cut(text, room);
      this.#texts.set(key, found);
    }
    return found;
  }

  /** Returns a text cut at a whole part where that helps, else at a character. */
  #cut(text: string, room: number): string {
    const ctx = this.#ctx;
    let found = text;
    while (ctx.measureText(found).width > room) {
      const sign = found.lastIndexOf(" · ");
      if (sign >= 0) {
        found = found.slice(0, sign);
        continue;
      }
      let length = Math.floor((found.length * room) / ctx.measureText(found).width);
      while (length > 1 && ctx.measureText(`${found.slice(0, length)}…`).width > room) length--;
      return length > 1 ? `${found.slice(0, length)}…` : "";
    }
    return found;
  }
}
