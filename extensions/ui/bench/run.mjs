// Measures the pictures at their largest in a browser, and prints a table: node ui/bench/run.mjs
// The browser is $CHROMIUM, /usr/bin/chromium, or chromium or google-chrome on PATH.

import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { cpus, loadavg } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const NODES = 10_000;
const MANY = 100_000;
/** First times vary much: the middle one of so many, each in a page of its own, is told. */
const TIMES = 5;
/** Everything is drawn by the processor, so that numbers of machines with and without a graphics card compare. */
const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--enable-precise-memory-info", "--js-flags=--expose-gc",
];
const PAGE = `<!doctype html><style>body{margin:0}#host{width:100vw;height:100vh;position:relative}</style>
<div id="host" tabindex="0"></div>`;

const findBrowser = () => {
  const onPath = ["chromium", "google-chrome"].flatMap((name) =>
    (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, name)),
  );
  const found = [process.env.CHROMIUM, "/usr/bin/chromium", ...onPath].filter(Boolean).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error("there is no chromium: install it, or say where it is in CHROMIUM");
  return found;
};

const count = (n) => n.toLocaleString("en");

/** Returns the value that a share of the values does not exceed. */
const quantile = (values, share) => [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))];

const rows = [];
const note = (what, value, unit, most = null) => rows.push({ what, value, unit, most });
/** Notes the slow ones of many frames, by the time from frame to frame, and what drawing takes of it. */
const noteFrames = (what, { draw, frame }, most = null) => {
  note(`${what}, 95 % of frames`, quantile(frame, 0.95), "ms", most);
  note("  of which drawing, 95 %", quantile(draw, 0.95), "ms");
};

/** Measures panning across a node; a picture with nothing in sight would measure nothing. */
const notePan = async (page, key, scale, most = null) => {
  const found = await page.evaluate(([node, at]) => bench.pan(node, at), [key, scale]);
  if (!found.seen) throw new Error(`nothing is in sight at ${scale}`);
  noteFrames(`  pan at ${scale}, ${count(found.seen)} boxes in sight`, found, most);
};

/** What else the machine had to do: where that is much, times say little. */
const [busy] = loadavg();
const here = dirname(fileURLToPath(import.meta.url));
const made = await build({ entryPoints: [join(here, "page.ts")], bundle: true, write: false, format: "iife" });
const browser = await chromium.launch({ executablePath: findBrowser(), headless: true, args: ARGUMENTS });
try {
  /** Returns a page in which nothing has been done, so that each measurement is a first one. */
  const fresh = async () => {
    const page = await browser.newPage({ viewport: { width: 1000, height: 620 }, deviceScaleFactor: 2 });
    page.on("pageerror", (error) => {
      throw error;
    });
    await page.setContent(PAGE);
    await page.addScriptTag({ content: made.outputFiles[0].text });
    return page;
  };
  const heap = (page) =>
    page.evaluate(() => {
      gc();
      return performance.memory.usedJSHeapSize / 1e6;
    });

  /** Notes the middle one of several first times, and how far they lie apart; returns the last of the pages. */
  const noteFirst = async (what, most, prepare, measure, given) => {
    const found = [];
    let page = null;
    for (let time = 0; time < TIMES; time++) {
      await page?.close();
      page = await fresh();
      await page.evaluate(prepare, given);
      found.push(await page.evaluate(measure, given));
    }
    const [least, middle, last] = [0, 0.5, 1].map((share) => quantile(found, share));
    note(`${what}, ${TIMES} times: ${least.toFixed(0)} to ${last.toFixed(0)}`, middle, "ms", most);
    return page;
  };
  const nothing = () => {};

  let page = await noteFirst(`layout of ${count(NODES)} nodes`, 200, nothing, (n) => bench.layout(n), NODES);
  await page.close();

  page = await noteFirst("  first paint", 1000, nothing, (n) => bench.firstPaint(n), NODES);
  await notePan(page, `s${NODES / 2 + 50}`, 1, 50);
  for (const scale of [0.5, 0.26, 0.1, 0.03, 0.01]) await notePan(page, `s${NODES / 2 + 50}`, scale);
  note("  a new state, drawn", await page.evaluate(() => bench.update()), "ms");
  note("  heap", await heap(page), "MB");
  await page.close();

  const opening = `opening a map of ${count(MANY)}`;
  page = await noteFirst(opening, 1000, (n) => bench.showMap(n), () => bench.openMap(), MANY);
  note("  heap", await heap(page), "MB", 60);
  for (const scale of [0.3, 1, 4]) await notePan(page, "work", scale);
  await page.close();

  page = await noteFirst(`timeline of ${count(MANY)}`, null, nothing, (n) => bench.showTimeline(n), MANY);
  for (const how of ["worker", "step", "waterfall"]) {
    noteFrames(`  zoom, by ${how}`, await page.evaluate((one) => bench.zoomTimeline(one), how), 150);
  }
  note("  heap", await heap(page), "MB");
  await page.close();

  const load = `load ${busy.toFixed(1)} before, ${loadavg()[0].toFixed(1)} after`;
  const machine = `${cpus().length} cores (${cpus()[0].model}), ${load}`;
  console.log(`Chromium ${browser.version()}, drawn by the processor; ${machine}`);
} finally {
  await browser.close();
}

for (const { what, value, unit, most } of rows) {
  const target = most === null ? "" : `  < ${most} ${unit}${value < most ? "" : "  MISSED"}`;
  console.log(`${what.padEnd(58)}${value.toFixed(1).padStart(9)} ${unit}${target}`);
}
if (rows.some(({ value, most }) => most !== null && value >= most)) process.exitCode = 1;
