// The look of all panels.

import { expect, test } from "vitest";
import { CSS } from "../src/style";

test("no text is under 11 px", () => {
  const sizes = [...CSS.matchAll(/font(?:-size)?:[^;}]*?(\d+(?:\.\d+)?)px/g)].map(([, size]) => Number(size));
  expect(sizes.length).toBeGreaterThan(3);
  expect(Math.min(...sizes)).toBeGreaterThanOrEqual(11);
});

test("what moves by itself does so only where that is wanted", () => {
  const moving = CSS.split("\n").filter((line) => /transition|animation/.test(line));
  for (const line of moving) expect(line).toContain("prefers-reduced-motion:no-preference");
});
