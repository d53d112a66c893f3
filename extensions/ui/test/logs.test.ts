import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { LogRow } from "../src/format";
import { logLine, Logs } from "../src/logs";
import { FakeChannel, FakeContext, stateOf, textsOf } from "./panels";

const STEPS = [{ id: "load" }, { id: "features", fanOut: true, many: true }, { id: "tune", construct: true }];
const row = (text: string, address = "load", stream = "stdout"): LogRow => [address, 1, 100, stream, text];
const textsIn = (logs: Logs) => textsOf(logs.element, ".text");

/** Returns logs whose channel has so many rows, of which it gives at most `atOnce`. */
function following(rows: LogRow[], atOnce = 100, status: "running" | "completed" = "running") {
  const context = new FakeContext({ steps: STEPS }, [], { status, started: 90 });
  const channel = new FakeChannel((message) => {
    const after = message.type === "logs" ? message.after : 0;
    const found = rows.slice(after, after + atOnce);
    return { rows: found, next: after + found.length };
  });
  context.channel = channel;
  const logs = new Logs(context);
  document.body.replaceChildren(logs.element, logs.tools);
  logs.update();
  return { logs, channel, context, rows };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("rows that were saved are shown without anybody to ask", () => {
  const context = new FakeContext({ steps: STEPS });
  context.document = { format: 1, shape: {}, logs: [row("one\n"), row("two\n")] };
  const logs = new Logs(context);
  logs.update();
  expect(textsIn(logs)).toEqual(["one", "two"]);
});

test("nothing is asked before the panel is shown", async () => {
  const { logs, channel } = following([row("one")]);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(channel.asked).toEqual([]);
  logs.show(true);
  await vi.advanceTimersByTimeAsync(0);
  expect(textsIn(logs)).toEqual(["one"]);
});

test("rows are asked for from the last one on, at once while there are more, then every second", async () => {
  const { logs, channel, rows } = following([row("one"), row("two"), row("three")], 2);
  logs.show(true);
  await vi.advanceTimersByTimeAsync(10);
  expect(textsIn(logs)).toEqual(["one", "two", "three"]);
  expect(channel.asked.map((message) => message.type === "logs" && message.after)).toEqual([0, 2, 3]);
  rows.push(row("four"));
  await vi.advanceTimersByTimeAsync(900);
  expect(channel.asked).toHaveLength(3);
  await vi.advanceTimersByTimeAsync(100);
  expect(textsIn(logs)).toEqual(["one", "two", "three", "four"]);
});

test("rows of the channel take the place of those that were saved", async () => {
  const { logs, context } = following([row("saved"), row("later")]);
  context.document = { format: 1, shape: {}, logs: [row("saved")] };
  const fresh = new Logs(context);
  fresh.show(true);
  await vi.advanceTimersByTimeAsync(10);
  expect(textsIn(fresh)).toEqual(["saved", "later"]);
  logs.destroy();
});

test("of a run that is over nothing is asked once all is here, until it goes on", async () => {
  const { logs, channel, context, rows } = following([row("one")], 100, "completed");
  logs.show(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(channel.asked).toHaveLength(2);
  context.state = stateOf({ status: "running" }, []);
  rows.push(row("two"));
  logs.update();
  await vi.advanceTimersByTimeAsync(0);
  expect(textsIn(logs)).toEqual(["one", "two"]);
});

test.each(["show", "destroy"] as const)("a panel asks no more after %s(false)", async (end) => {
  const { logs, channel } = following([]);
  logs.show(true);
  await vi.advanceTimersByTimeAsync(0);
  logs[end](false as never);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(channel.asked).toHaveLength(1);
});

test("what goes wrong is told, and asked again after a while", async () => {
  const context = new FakeContext({ steps: STEPS });
  let fails = true;
  context.channel = new FakeChannel(() => {
    if (fails) throw new Error("the kernel does not answer");
    return { rows: [row("one")], next: 1 };
  });
  const logs = new Logs(context);
  logs.show(true);
  await vi.advanceTimersByTimeAsync(0);
  expect(textsOf(logs.element, ".empty")).toEqual(["The logs cannot be read: the kernel does not answer"]);
  fails = false;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(textsIn(logs)).toEqual(["one"]);
  expect(logs.element.querySelector<HTMLElement>(".empty")!.hidden).toBe(true);
});

test("a search keeps the rows whose address, stream or text has it, and tells how many", async () => {
  const { logs, rows } = following([row("Epoch 1"), row("done", "features[3]"), row("odd", "load", "stderr")]);
  logs.show(true);
  await vi.advanceTimersByTimeAsync(10);
  expect(logs.find("epoch ")).toBe("1 rows");
  expect(textsIn(logs)).toEqual(["Epoch 1"]);
  logs.find("features[3]");
  expect(textsIn(logs)).toEqual(["done"]);
  logs.find("stderr");
  expect(textsIn(logs)).toEqual(["odd"]);
  rows.push(row("more", "load", "stderr"), row("hidden"));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(textsIn(logs)).toEqual(["odd", "more"]);
  logs.find("no such row");
  expect(textsOf(logs.element, ".empty")).toEqual(["No row matches."]);
  expect(logs.find("")).toBe("");
  expect(textsIn(logs)).toHaveLength(5);
});

test("the rows of one step are those of all its tasks", async () => {
  const { logs } = following([row("one"), row("two", "features[0]"), row("three", "features[12]")]);
  logs.show(true);
  await vi.advanceTimersByTimeAsync(10);
  logs.only(1);
  expect(textsIn(logs)).toEqual(["two", "three"]);
  const select = logs.tools.querySelector("select")!;
  expect(select.value).toBe("1");
  select.value = "-1";
  select.dispatchEvent(new Event("change"));
  expect(textsIn(logs)).toHaveLength(3);
});

test("steps can be chosen, but not those that run nothing", () => {
  const { logs } = following([]);
  expect(textsOf(logs.tools, "option")).toEqual(["all steps", "load", "features"]);
});

test("the page holds the newest 2,000 rows", async () => {
  const rows = Array.from({ length: 5_000 }, (_, number) => row(`row ${number}`));
  const { logs } = following(rows, 500);
  logs.show(true);
  await vi.advanceTimersByTimeAsync(10);
  const texts = textsIn(logs);
  expect(texts).toHaveLength(2_000);
  expect([texts[0], texts.at(-1)]).toEqual(["row 3000", "row 4999"]);
});

test("a click on who wrote a row opens that task", async () => {
  const { logs, context } = following([row("one", "features[7]")]);
  logs.show(true);
  await vi.advanceTimersByTimeAsync(10);
  logs.element.querySelector<HTMLElement>(".who")!.click();
  expect(context.opened).toEqual([{ address: "features[7]", steps: [1] }]);
});

test("Follow can be pressed and released", () => {
  const { logs } = following([]);
  const follow = logs.tools.querySelector("button")!;
  expect(follow.getAttribute("aria-pressed")).toBe("true");
  follow.click();
  expect(follow.getAttribute("aria-pressed")).toBe("false");
});

test("before anything was written the panel says so", () => {
  const { logs } = following([]);
  expect(textsOf(logs.element, ".empty")).toEqual(["Nothing was printed or logged yet."]);
});

test.each([
  ["stdout", "", "text"],
  ["stderr", "warn", "text"],
  ["warning", "warn", "WARNING text"],
  ["Error", "bad", "ERROR text"],
])("a row of the stream %s has the class '%s' and says '%s'", (stream, kind, text) => {
  const line = logLine(["load", 1, 100, stream, "text\n"], 90);
  expect(line.className).toBe(kind);
  expect(textsOf(line, ".text")).toEqual([text]);
});

test.each([
  [0, "00:00.0"], [33.64, "00:33.6"], [59.96, "01:00.0"], [600.5, "10:00.5"], [3_599.97, "1:00:00.0"],
  [7_265.2, "2:01:05.2"], [-3, "00:00.0"],
])("%d seconds after the start of the run are %s", (seconds, text) => {
  expect(textsOf(logLine(["load", 1, 1_000 + seconds, "stdout", ""], 1_000), ".num")).toEqual([text]);
});

test("an attempt after the first is told with the address", () => {
  expect(textsOf(logLine(["load", 2, 0, "stdout", ""], 0), ".who")).toEqual(["load #2"]);
});
