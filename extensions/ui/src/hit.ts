// What of a picture is at a place on the screen. Pure: no canvas, no page.

import { NEAR, type Camera } from "./camera";
import { cellAt } from "./cells";
import { CELLS_TOP } from "./model";
import type { Picture } from "./paint";

/** The box at a place (-1 for none), the element in it (-1 for none), and whether it is the sign that opens. */
export interface Hit {
  box: number;
  element: number;
  opener: boolean;
}

/** Half the side of the square in which the sign that opens is hit, and the scale below which it is not there. */
const REACH = 12;
const LEAST = 0.3;

/** Returns what is at a place on the screen; of boxes inside of each other, the innermost. */
export function hitAt({ layout, scene, model, cells }: Picture, camera: Camera, screenX: number, screenY: number): Hit {
  const { scale } = camera;
  const [x, y] = [(screenX - camera.x) / scale, (screenY - camera.y) / scale];
  const slack = Math.max(0, 3 / scale - 20); // from afar, boxes are smaller than a finger
  for (let box = scene.graph.n - 1; box >= 0; box--) {
    const [w, h] = [layout.w[box]!, layout.h[box]!];
    const [inX, inY] = [x - layout.x[box]!, y - layout.y[box]!];
    if (inX < -slack || inY < -slack || inX > w + slack || inY > h + slack) continue;
    const isFrame = scene.graph.frame[box] === 1;
    const openerX = w - (isFrame ? 15 : 17);
    const openerY = isFrame ? 13 : scale >= NEAR ? 17 : 22;
    const near = Math.abs(inX - openerX) < REACH && Math.abs(inY - openerY) < REACH && scale > LEAST;
    const own = cells.get(box);
    return {
      box,
      opener: near && model.openable(scene.nodes[box]!),
      element: own ? cellAt(own, [12, CELLS_TOP, w - 24, h - CELLS_TOP - 24], inX, inY) : -1,
    };
  }
  return { box: -1, element: -1, opener: false };
}
