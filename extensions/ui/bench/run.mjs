// Measures the pictures at their largest in a browser, and prints a table: node ui/bench/run.mjs
// The browser is $CHROMIUM, /usr/bin/chromium, or chromium or google-chrome on PATH.

import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const NODES = 10_000;
const MANY = 100_000;
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

/** Returns the value that a share of the values does not exceed. */
const quantile = (values, share) => [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))];

const rows = [];
const note = (what, value, unit, most = null) => rows.push({ what, value, unit, most });
/** Notes the slow ones of many frames, by the time from frame to frame, and what drawing takes of it. */
const noteFrames = (what, { draw, frame }, most = null) => {
  note(`${what}, 95 % of frames`, quantile(frame, 0.95), "ms", most);
  note("  of which drawing, 95 %", quantile(draw, 0.95), "ms");
};

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

  let page = await fresh();
  note(`layout of ${NODES.toLocaleString("en")} nodes`, await page.evaluate((n) => bench.layout(n), NODES), "ms", 200);
  await page.close();

  page = await fresh();
  note("  first paint", await page.evaluate((n) => bench.firstPaint(n), NODES), "ms", 1000);
  noteFrames("  pan, zoomed in", await page.evaluate(() => bench.pan(1)), 50);
  for (const scale of [0.5, 0.26, 0.1, 0.03, 0.01]) {
    noteFrames(`  pan at ${scale}`, await page.evaluate((at) => bench.pan(at), scale));
  }
  note("  a new state, drawn", await page.evaluate(() => bench.update()), "ms");
  note("  heap", await heap(page), "MB");
  await page.close();

  page = await fresh();
  await page.evaluate((n) => bench.showMap(n), MANY);
  note(`opening a map of ${MANY.toLocaleString("en")}`, await page.evaluate(() => bench.openMap()), "ms", 1000);
  note("  heap", await heap(page), "MB", 60);
  for (const scale of [0.3, 1, 4]) noteFrames(`  pan at ${scale}`, await page.evaluate((at) => bench.pan(at), scale));
  await page.close();

  page = await fresh();
  note(`timeline of ${MANY.toLocaleString("en")}`, await page.evaluate((n) => bench.showTimeline(n), MANY), "ms");
  for (const how of ["worker", "step", "waterfall"]) {
    noteFrames(`  zoom, by ${how}`, await page.evaluate((one) => bench.zoomTimeline(one), how), 150);
  }
  note("  heap", await heap(page), "MB");
  await page.close();

  console.log(`Chromium ${browser.version()}, ${cpus().length} cores (${cpus()[0].model}), drawn by the processor`);
} finally {
  await browser.close();
}

for (const { what, value, unit, most } of rows) {
  const target = most === null ? "" : `  < ${most} ${unit}${value < most ? "" : "  MISSED"}`;
  console.log(`${what.padEnd(44)}${value.toFixed(1).padStart(9)} ${unit}${target}`);
}
if (rows.some(({ value, most }) => most !== null && value >= most)) process.exitCode = 1;
