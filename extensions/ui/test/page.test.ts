// What the pictures of one page share.

import { afterEach, expect, test } from "vitest";
import { Feed, type Channel } from "../src/api";
import { leave, left, living, onLiving, publish, type Living } from "../src/page";

const ends: (() => void)[] = [];

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

function widget(): Living {
  return { feed: new Feed(), channel: { live: true } as Channel, open: () => () => {}, last: () => "" };
}

test("a widget is found by its key as long as it is there, the newest first", () => {
  const [one, other] = [widget(), widget()];
  const endOne = publish("key", one);
  const endOther = publish("key", other);
  expect(living("key")).toBe(other);
  endOther();
  expect(living("key")).toBe(one);
  endOne();
  expect(living("key")).toBeUndefined();
});

test("who wants to know is told when widgets come and go, and no longer than that", () => {
  let told = 0;
  const end = onLiving(() => told++);
  publish("other", widget())();
  expect(told).toBe(2);
  end();
  publish("other", widget())();
  expect(told).toBe(2);
});

test("how a picture was left is kept by its key, and not without one", () => {
  leave("run-1", { tab: "logs" });
  leave("", { tab: "dag" });
  expect(left("run-1")).toEqual({ tab: "logs" });
  expect(left("")).toBeUndefined();
});
