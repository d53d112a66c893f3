// The elements of an open fan-out: one cell each, from one byte each.

import { COUNTED, STATUSES } from "./format";
import { rgb, type Theme } from "./theme";

/** The elements of one fan-out, as they are drawn. */
export interface Cells {
  /** The number of its step. */
  step: number;
  width: number;
  /** Places in `STATUSES`, one an element. */
  status: Uint8Array;
  /** Whether each cell is the element at its place; else they are in order of state. */
  known: boolean;
  /** The first elements that failed: they are seen from afar. */
  failed: number[];
  /** One pixel an element, and what it was drawn for. */
  image: HTMLCanvasElement | null;
  drawn: { theme: Theme; columns: number } | null;
}

/** A rectangle: left, top, width, height. */
type Area = readonly [number, number, number, number];
/** Draws the sign of a status about a place. */
type DrawSign = (colour: string, sign: string, x: number, y: number, scale: number) => void;

const FAILED = STATUSES.indexOf("failed");
const MOST_FAILED = 2000;
/** The longest side of a cell, in pixels of the layout. */
const SIDE = 18;
/** Pixels on the screen from which cells are drawn one by one, and from which they have a sign. */
const APART = 8;
const SIGNED = 15;
/** Below so many pixels, what failed is drawn larger than it is. */
const TINY = 2.5;

/** Returns the cells of elements. */
export function makeCells(step: number, status: Uint8Array, known: boolean): Cells {
  const failed: number[] = [];
  for (let at = status.indexOf(FAILED); at >= 0 && failed.length < MOST_FAILED; at = status.indexOf(FAILED, at + 1)) {
    failed.push(at);
  }
  return { step, width: status.length, status, known, failed, image: null, drawn: null };
}

/** Returns cells in order of state, for as long as only counts are known. */
export function guessCells(step: number, counts: ArrayLike<number>, width: number | null): Cells {
  let seen = 0;
  for (let at = 0; at < counts.length; at++) seen += counts[at]!;
  const status = new Uint8Array(Math.max(seen, width ?? 0));
  let at = 0;
  COUNTED.forEach((name, which) => {
    status.fill(STATUSES.indexOf(name), at, at + counts[which]!);
    at += counts[which]!;
  });
  return makeCells(step, status, false);
}

/** Returns how many columns there are, and the side of a cell, so that all fit. */
function grid(count: number, width: number, height: number): [columns: number, side: number] {
  if (count < 1) return [1, 1];
  let columns = Math.max(1, Math.ceil(Math.sqrt((count * width) / height)));
  while (Math.ceil(count / columns) * (width / columns) > height + 0.01) columns++;
  const side = width / columns;
  return side > SIDE ? [Math.max(1, Math.floor(width / SIDE)), SIDE] : [columns, side];
}

/** Returns the element at a place, or -1. */
export function cellAt(cells: Cells, [left, top, width, height]: Area, x: number, y: number): number {
  const [columns, side] = grid(cells.width, width, height);
  const column = Math.floor((x - left) / side);
  const row = Math.floor((y - top) / side);
  const element = row * columns + column;
  return column >= 0 && column < columns && row >= 0 && element < cells.width ? element : -1;
}

/**
 * Draws cells into an area.
 *
 * @param scale - Pixels of the screen for one of the layout.
 * @param seen - What of the layout is on the screen: left, top, right, bottom.
 */
export function drawCells(
  ctx: CanvasRenderingContext2D, theme: Theme, cells: Cells, [left, top, width, height]: Area, scale: number,
  seen: Area, sign: DrawSign,
): void {
  if (!cells.width) return;
  const [columns, side] = grid(cells.width, width, height);
  const rows = Math.ceil(cells.width / columns);
  const pixels = side * scale;
  if (pixels < APART) {
    const image = imageOf(cells, theme, columns, rows);
    if (image) {
      ctx.imageSmoothingEnabled = pixels < 1.5;
      ctx.drawImage(image, left, top, columns * side, rows * side);
    }
    if (pixels < TINY) drawFailed(ctx, theme, cells, left, top, columns, side, scale);
    return;
  }
  const firstColumn = Math.max(0, Math.floor((seen[0] - left) / side));
  const firstRow = Math.max(0, Math.floor((seen[1] - top) / side));
  const endColumn = Math.min(columns, Math.ceil((seen[2] - left) / side));
  const endRow = Math.min(rows, Math.ceil((seen[3] - top) / side));
  const gap = Math.min(2, side * 0.14);
  const signed = cells.known && pixels >= SIGNED;
  for (let row = firstRow; row < endRow; row++) {
    for (let column = firstColumn; column < endColumn; column++) {
      const element = row * columns + column;
      if (element >= cells.width) break;
      const status = STATUSES[cells.status[element]!] ?? "pending";
      const [x, y] = [left + column * side, top + row * side];
      if (signed) {
        sign(status, status, x + side / 2, y + side / 2, (side / 2 - gap) / 8);
      } else {
        ctx.fillStyle = isQuiet(status) ? theme.line : theme.colours[status]!;
        ctx.fillRect(x, y, side - gap, side - gap);
      }
    }
  }
}

/** Draws what failed, with a rim, so that one among 100,000 is seen. */
function drawFailed(
  ctx: CanvasRenderingContext2D, theme: Theme, cells: Cells, left: number, top: number, columns: number, side: number,
  scale: number,
): void {
  const size = Math.max(side, TINY / scale);
  for (const [colour, rim] of [[theme.ground, 0.75 / scale], [theme.colours.failed!, 0]] as const) {
    ctx.fillStyle = colour;
    for (const element of cells.failed) {
      const x = left + (element % columns) * side - rim;
      const y = top + Math.floor(element / columns) * side - rim;
      ctx.fillRect(x, y, size + 2 * rim, size + 2 * rim);
    }
  }
}

function isQuiet(status: string): boolean {
  return status === "pending" || status === "skipped";
}

/** Returns the cells as an image of one pixel an element, drawn when it has changed. */
function imageOf(cells: Cells, theme: Theme, columns: number, rows: number): HTMLCanvasElement | null {
  if (cells.image && cells.drawn?.theme === theme && cells.drawn.columns === columns) return cells.image;
  const canvas = cells.image ?? document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const ctx = canvas.getContext("2d");
  if (!ctx) return null;
  const image = ctx.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const palette = STATUSES.map((status) => {
    const [red, green, blue] = rgb(isQuiet(status) ? theme.line : theme.colours[status]!) ?? [0, 0, 0];
    return (255 << 24) | (blue! << 16) | (green! << 8) | red!;
  });
  for (let element = 0; element < cells.width; element++) pixels[element] = palette[cells.status[element]!]!;
  ctx.putImageData(image, 0, 0);
  cells.image = canvas;
  cells.drawn = { theme, columns };
  return canvas;
}
