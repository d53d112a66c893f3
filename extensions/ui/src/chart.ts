// Draws a timeline: the axis, bars in their lanes, what they waited for, and the critical path.

import { STATUSES, type Spans } from "./format";
import { endOf, lowerBound, type Causes, type Lanes } from "./spans";
import { GLYPHS, type Theme } from "./theme";
import { duration } from "./words";

/** Height of the axis, in pixels. */
export const HEAD = 24;
const FONT = "system-ui,sans-serif";
/** Bars of so many pixels are drawn one by one; narrower ones are gathered. */
const APART = 2.5;
const FAILED = STATUSES.indexOf("failed");
const RUNNING = STATUSES.indexOf("running");
const LEAST_ROW = 24;

type Context = CanvasRenderingContext2D;
type X = (time: number) => number;

/** What is drawn, and how; times are seconds of the run. */
export interface Chart {
  spans: Spans;
  lanes: Lanes;
  /** By row, its top in pixels; one more at the end. */
  tops: Float64Array;
  theme: Theme;
  from: number;
  to: number;
  now: number;
  width: number;
  height: number;
  /** Pixels scrolled down. */
  scroll: number;
  /** Whether it goes on. */
  live: boolean;
  /** Width of the rows' names. */
  gutter: number;
  selected: number;
  hovered: number;
  /** By span, whether it was found; null when nothing is searched. */
  matching: Uint8Array | null;
  path: number[];
  /** Draws what bars waited for, where it is given. */
  causes: Causes | null;
  label(row: number): string;
  caption(span: number): string;
}

/** Returns the height of one lane among so many. */
function laneHeight(lanes: number): number {
  return lanes < 5 ? 18 : lanes < 13 ? 9 : lanes < 25 ? 6 : 4;
}

/** Returns the top of each row, and the end of the last. */
export function topsOf({ rows }: Lanes): Float64Array {
  const tops = new Float64Array(rows.length);
  for (let row = 0; row + 1 < rows.length; row++) {
    const lanes = rows[row + 1]! - rows[row]!;
    tops[row + 1] = tops[row]! + Math.max(LEAST_ROW, lanes * laneHeight(lanes) + 6);
  }
  return tops;
}

type Rows = Pick<Chart, "lanes" | "tops">;

/** Returns top and height of a lane's bars. */
function placeOf({ lanes: { rows }, tops }: Rows, lane: number): [top: number, height: number] {
  const row = lowerBound(rows, lane + 1) - 1;
  const count = rows[row + 1]! - rows[row]!;
  const height = laneHeight(count);
  const inset = (tops[row + 1]! - tops[row]! - count * height) / 2;
  return [tops[row]! + inset + (lane - rows[row]!) * height, height > 4 ? height - 2 : height - 0.5];
}

/** Returns top and height of a span's bar, from the top of the rows. */
export function rowOf(chart: Rows, span: number): [top: number, height: number] {
  return placeOf(chart, chart.lanes.lane[span]!);
}

function pixelsASecond({ from, to, width, gutter }: Chart): number {
  return Math.max(1, width - gutter - 10) / (to - from);
}

/** Returns the span at a place on the screen, or -1. */
export function spanAt(chart: Chart, x: number, y: number): number {
  const { spans, lanes, tops, gutter, from, now } = chart;
  const down = y - HEAD + chart.scroll;
  const row = lowerBound(tops, down + 1e-9) - 1;
  if (y < HEAD || x < gutter || row < 0 || row + 1 >= tops.length) return -1;
  const count = lanes.rows[row + 1]! - lanes.rows[row]!;
  const [top] = placeOf(chart, lanes.rows[row]!);
  const inRow = Math.min(count - 1, Math.max(0, Math.floor((down - top) / laneHeight(count))));
  const lane = lanes.rows[row]! + inRow;
  const pace = pixelsASecond(chart);
  const time = from + (x - gutter) / pace;
  const end = lanes.starts[lane + 1]!;
  let [nearest, distance] = [-1, 4 / pace];
  for (let at = lowerBound(lanes.reach, time - distance, lanes.starts[lane]!, end); at < end; at++) {
    const span = lanes.order[at]!;
    if (spans.start[span]! > time + distance) break;
    const own = Math.max(spans.start[span]! - time, time - endOf(spans.end[span]!, now), 0);
    const better = own < distance || (own === distance && (nearest < 0 || spans.status[span] === FAILED));
    if (better) [nearest, distance] = [span, own];
  }
  return nearest;
}

const paths = new Map<string, Path2D>();

/** Draws a chart on a cleared canvas. */
export function drawChart(ctx: Context, chart: Chart, ratio: number): void {
  const { spans, lanes, tops, theme, gutter, width, height, scroll, now } = chart;
  const pace = pixelsASecond(chart);
  const x: X = (time) => gutter + (time - chart.from) * pace;
  ctx.textBaseline = "middle";
  drawAxis(ctx, chart, x);
  ctx.save();
  clip(ctx, gutter, width, height);
  const firstRow = Math.max(0, lowerBound(tops, scroll + 1) - 1);
  let endRow = firstRow;
  for (; endRow + 1 < tops.length && tops[endRow]! < scroll + height - HEAD; endRow++) {
    for (let lane = lanes.rows[endRow]!; lane < lanes.rows[endRow + 1]!; lane++) drawLane(ctx, chart, lane, x, ratio);
  }
  drawPath(ctx, chart, x);
  for (const [span, colour] of [[chart.hovered, theme.soft], [chart.selected, theme.colours.running!]] as const) {
    if (span < 0) continue;
    const [top, tall] = rowOf(chart, span);
    const [left, right] = [x(spans.start[span]!), x(endOf(spans.end[span]!, now))];
    ctx.strokeStyle = colour;
    ctx.lineWidth = 2;
    ctx.strokeRect(left - 2, HEAD + top - scroll - 2, Math.max(3, right - left) + 3.5, tall + 4);
  }
  if (chart.live) {
    ctx.fillStyle = theme.colours.running!;
    ctx.fillRect(x(now), HEAD, 1, height);
  }
  ctx.restore();
  ctx.save();
  clip(ctx, 0, width, height);
  ctx.font = `12px ${FONT}`;
  for (let row = firstRow; row < endRow; row++) {
    const [top, bottom] = [HEAD + tops[row]! - scroll, HEAD + tops[row + 1]! - scroll];
    ctx.globalAlpha = 0.5;
    ctx.fillStyle = theme.line;
    ctx.fillRect(0, bottom - 0.5, width, 1);
    ctx.globalAlpha = 1;
    ctx.fillStyle = theme.ink;
    // A name stays in sight as long as its row is.
    ctx.fillText(fitted(ctx, chart.label(row), gutter - 12), 4, Math.min(Math.max(top, HEAD) + 12, bottom - 11));
  }
  ctx.restore();
}

function clip(ctx: Context, left: number, width: number, height: number): void {
  ctx.beginPath();
  ctx.rect(left, HEAD, width - left, height - HEAD);
  ctx.clip();
}

function drawAxis(ctx: Context, { theme, from, to, gutter, width, height }: Chart, x: X): void {
  const every = roundAbove(((to - from) / Math.max(1, width - gutter)) * 80);
  ctx.font = `11px ${FONT}`;
  for (let tick = Math.max(0, Math.ceil(from / every)); tick * every <= to; tick++) {
    const at = Math.round(x(tick * every));
    ctx.globalAlpha = 0.45;
    ctx.fillStyle = theme.line;
    ctx.fillRect(at, HEAD - 4, 1, height);
    ctx.globalAlpha = 1;
    ctx.fillStyle = theme.soft;
    const text = moment(tick * every, every);
    const wide = ctx.measureText(text).width;
    ctx.fillText(text, Math.max(gutter, Math.min(width - wide - 2, at - wide / 2)), 11);
  }
  ctx.fillStyle = theme.line;
  ctx.fillRect(0, HEAD - 0.5, width, 1);
}

/** Draws one lane: bars, or, where they are narrower than pixels, what is in each pixel. */
function drawLane(ctx: Context, chart: Chart, lane: number, x: X, ratio: number): void {
  const { order, starts, reach } = chart.lanes;
  const { start, end, status } = chart.spans;
  const { matching, theme, to, now, width } = chart;
  const [inRows, tall] = placeOf(chart, lane);
  const top = HEAD + inRows - chart.scroll;
  if (top > chart.height || top + tall < HEAD) return;
  const stop = starts[lane + 1]!;
  const pixel = 1 / ratio;
  // What has been gathered: from where, to where, and the status it is shown in (-1: not found).
  let [left, right, shown] = [0, -Infinity, -1];
  const flush = () => {
    if (right > left) {
      ctx.fillStyle = shown < 0 ? theme.line : theme.colours[STATUSES[shown]!]!;
      ctx.fillRect(left, top, right - left, tall);
    }
    right = -Infinity;
  };
  for (let at = lowerBound(reach, chart.from, starts[lane]!, stop); at < stop; at++) {
    const span = order[at]!;
    if (start[span]! > to) break;
    const begin = Math.max(-10, x(start[span]!));
    const finish = Math.min(width + 10, x(endOf(end[span]!, now)));
    const code = matching && !matching[span] ? -1 : status[span]!;
    if (finish - begin >= APART) {
      flush();
      if (chart.causes && tall > 10) drawWait(ctx, chart, span, x, top + tall / 2);
      drawBar(ctx, chart, span, code, begin, top, finish - begin, tall);
    } else if (begin - right < pixel && (code === shown || begin < left + pixel)) {
      right = Math.max(right, finish);
      // A failure is not lost among many that are well.
      if (code !== shown && (code === FAILED || (code === RUNNING && shown !== FAILED))) shown = code;
    } else {
      const before = right;
      flush();
      left = code === FAILED ? begin : Math.max(begin, before);
      right = Math.max(finish, left + (code === FAILED ? 1.5 : pixel));
      shown = code;
    }
  }
  flush();
}

function drawBar(
  ctx: Context, chart: Chart, span: number, code: number, x: number, y: number, width: number, height: number,
): void {
  const { theme } = chart;
  const status = STATUSES[code] ?? "";
  const radius = Math.min(3, width / 2);
  ctx.fillStyle = theme.colours[status] ?? theme.line;
  ctx.beginPath();
  // What runs has no end yet.
  const corners = Number.isNaN(chart.spans.end[span]!) ? [radius, 0, 0, radius] : radius;
  ctx.roundRect(x, y, Math.max(1.5, width - 0.75), height, corners);
  ctx.fill();
  const left = Math.max(x, chart.gutter);
  const room = x + width - left;
  if (height < 12 || room < 16 || !status) return;
  const ink = theme.onColour[status]!;
  const glyph = GLYPHS[status];
  if (glyph) {
    let path = paths.get(glyph);
    if (!path) paths.set(glyph, (path = new Path2D(glyph)));
    ctx.save();
    ctx.translate(left + 8.5, y + height / 2);
    ctx.strokeStyle = ink;
    ctx.lineWidth = 1.5;
    ctx.stroke(path);
    ctx.restore();
  }
  if (room < 44) return;
  ctx.fillStyle = ink;
  ctx.font = `11px ${FONT}`;
  ctx.fillText(fitted(ctx, chart.caption(span), room - 22), left + 17, y + height / 2 + 0.5);
}

/** Draws how long an attempt waited: for the attempt before it, or (dotted) for a worker. */
function drawWait(ctx: Context, { spans, causes, theme }: Chart, span: number, x: X, y: number): void {
  const cause = causes!.of(span);
  const isRetry = cause >= 0 && causes!.before[span] === cause;
  const left = Math.max(cause < 0 ? x(0) : x(spans.end[cause]!), -10);
  const right = x(spans.start[span]!) - 1;
  if (right - left <= 2) return;
  ctx.strokeStyle = theme.soft;
  ctx.lineWidth = 1.5;
  ctx.setLineDash(isRetry ? [] : [2, 3]);
  ctx.beginPath();
  ctx.moveTo(left, y);
  ctx.lineTo(right, y);
  ctx.stroke();
  ctx.setLineDash([]);
}

/** Marks the critical path: a frame around its bars, and lines from each to the next. */
function drawPath(ctx: Context, chart: Chart, x: X): void {
  const { spans, theme, height, scroll, now } = chart;
  ctx.beginPath();
  let last: { x: number; y: number } | null = null;
  for (const span of chart.path) {
    const [inRows, tall] = rowOf(chart, span);
    const top = HEAD + inRows - scroll;
    const left = x(spans.start[span]!);
    const right = Math.max(left + 2, x(endOf(spans.end[span]!, now)));
    if (last && Math.max(last.y, top) > 0 && Math.min(last.y, top) < height) {
      ctx.moveTo(last.x, last.y + (top >= last.y ? tall / 2 : 0));
      ctx.lineTo(last.x, top - 1.5);
      ctx.lineTo(left, top - 1.5);
    }
    if (top < height && top + tall > 0) ctx.rect(left - 1, top - 1.5, right - left + 1.5, tall + 3);
    last = { x: right + 0.5, y: top };
  }
  ctx.lineJoin = "round";
  // With a rim, for it lies on any colour.
  for (const [colour, width] of [[theme.ground, 4], [theme.ink, 1.75]] as const) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.stroke();
  }
}

/** Returns a round number of seconds, not less than one given. */
function roundAbove(least: number): number {
  const long = [30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400];
  if (least > 20) return long.find((step) => step >= least) ?? Math.ceil(least / 86_400) * 86_400;
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= least * 0.999)!;
}

/** Returns a moment of the run, as exact as the ticks need it. */
function moment(time: number, every: number): string {
  if (every >= 0.999 || !time) return duration(Math.round(time));
  const digits = Math.ceil(-Math.log10(every) - 0.001);
  return digits > 3 ? `${(time * 1e3).toFixed(digits - 3)} ms` : `${time.toFixed(digits)} s`;
}

/** Returns a text cut to the room it has: in its middle, for elements and workers differ at the end. */
function fitted(ctx: Context, text: string, room: number): string {
  if (ctx.measureText(text).width <= room) return text;
  const cut = (left: number): string => {
    const tail = left >> 1;
    return `${text.slice(0, left - tail)}…${text.slice(text.length - tail)}`;
  };
  let [least, most] = [0, text.length - 1];
  while (least < most) {
    const middle = (least + most + 1) >> 1;
    if (ctx.measureText(cut(middle)).width <= room) least = middle;
    else most = middle - 1;
  }
  return least > 2 ? cut(least) : "";
}
