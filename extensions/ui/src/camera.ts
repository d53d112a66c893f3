// What of a picture is on the screen, and where it moves to. Pure: no canvas, no page.

import type { Layout } from "./layout";

/** What is seen: a point of the layout times `scale`, plus (x, y), is where it is on the screen. */
export interface Camera {
  x: number;
  y: number;
  scale: number;
}

/** A rectangle on the screen, in pixels. */
export interface ScreenBox {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** From this scale on boxes have all their text. */
export const NEAR = 0.9;

const LEAST = 5e-4;
const MOST = 6;
/** Fitting the whole does not go below this scale: then it begins where the workflow does. */
const LEAST_FIT = 0.02;
/** Pixels that a box brought into sight keeps from the rim, on both sides together. */
const RIM = 24;

/** Returns where a box is on the screen. */
export function onScreen({ scale, x, y }: Camera, at: Layout, box: number): ScreenBox {
  return { x: at.x[box]! * scale + x, y: at.y[box]! * scale + y, w: at.w[box]! * scale, h: at.h[box]! * scale };
}

/** Returns the camera that sees everything, in the middle and not enlarged. */
export function wholeOf(at: Layout, width: number, height: number): Camera {
  const scale = Math.min(1, width / at.width, height / at.height);
  if (scale >= LEAST_FIT) return { scale, x: (width - at.width * scale) / 2, y: (height - at.height * scale) / 2 };
  return beginningOf(at, width, height);
}

function beginningOf(at: Layout, width: number, height: number): Camera {
  const scale = Math.min(1, Math.max(width / at.width, height / at.height, LEAST_FIT));
  const place = (long: number, room: number, first: number) =>
    long * scale <= room
      ? (room - long * scale) / 2
      : Math.min(0, Math.max(room - long * scale, room / 2 - first * scale));
  return {
    scale,
    x: place(at.width, width, at.x[0]! + at.w[0]! / 2),
    y: place(at.height, height, at.y[0]! + at.h[0]! / 2),
  };
}

/** Returns the camera zoomed about a place on the screen, which stays where it is. */
export function zoomed(camera: Camera, factor: number, x: number, y: number): Camera {
  const scale = Math.min(MOST, Math.max(LEAST, camera.scale * factor));
  const by = scale / camera.scale;
  return { scale, x: x - (x - camera.x) * by, y: y - (y - camera.y) * by };
}

/** Returns the camera that has a point of the layout in the middle of the screen. */
export function centred({ scale }: Camera, x: number, y: number, width: number, height: number): Camera {
  return { scale, x: width / 2 - x * scale, y: height / 2 - y * scale };
}

/** Returns the camera that shows a box near enough to be read, or null when it is in sight like that already. */
export function showing(camera: Camera, at: Layout, box: number, width: number, height: number): Camera | null {
  const most = Math.min((width - RIM) / at.w[box]!, (height - RIM) / at.h[box]!);
  const scale = Math.min(most, Math.max(camera.scale, NEAR));
  const [left, top] = [at.x[box]! * scale, at.y[box]! * scale];
  const [right, bottom] = [left + at.w[box]! * scale, top + at.h[box]! * scale];
  const { x, y } = camera;
  const inSight = left + x >= 0 && top + y >= 0 && right + x <= width && bottom + y <= height;
  if (scale === camera.scale && inSight) return null;
  return { scale, x: width / 2 - (left + right) / 2, y: height / 2 - (top + bottom) / 2 };
}

/** Returns the camera on its way from one to another; `time` goes from 0 to 1. */
export function between(from: Camera, to: Camera, time: number): Camera {
  if (time >= 1) return to;
  const eased = 1 - (1 - time) ** 3;
  const scale = from.scale * (to.scale / from.scale) ** eased;
  // A point that stays while zooming stays all the way.
  const share = from.scale === to.scale ? eased : (scale - from.scale) / (to.scale - from.scale);
  return { scale, x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share };
}
