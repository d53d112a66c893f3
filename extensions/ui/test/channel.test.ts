import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Answer, Message } from "../src/api";
import { ModelChannel, type Model } from "../../widget/src/channel";

/** A widget's model as anywidget hands it over, with what was sent kept. */
class FakeModel implements Model {
  readonly sent: (Message & { id: number })[] = [];
  readonly heard = new Set<(...args: never[]) => void>();
  live: unknown = true;

  get(name: string): unknown {
    return name === "live" ? this.live : undefined;
  }

  on(name: string, called: (...args: never[]) => void): void {
    expect(name).toBe("msg:custom");
    this.heard.add(called);
  }

  off(_: string, called: (...args: never[]) => void): void {
    this.heard.delete(called);
  }

  send(content: unknown): void {
    this.sent.push(content as Message & { id: number });
  }

  tell(content: unknown, buffers?: DataView[]): void {
    for (const called of [...this.heard]) (called as (...args: unknown[]) => void)(content, buffers);
  }

  /** Answers the question that was asked at this place. */
  answer(at: number, content: object, buffers?: DataView[]): void {
    this.tell({ type: "answer", id: this.sent[at]!.id, ok: true, ...content }, buffers);
  }
}

let model: FakeModel;

beforeEach(() => {
  vi.useFakeTimers();
  model = new FakeModel();
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

test("a question is sent as it is, with a number", async () => {
  const asked = new ModelChannel(model).request({ type: "details", address: "work[3]" });
  expect(model.sent).toEqual([{ type: "details", address: "work[3]", id: expect.any(Number) }]);
  model.answer(0, {});
  await asked;
});

test("an answer comes to its question, whatever the order, with its buffers", async () => {
  const channel = new ModelChannel(model);
  const [one, other] = [channel.request({ type: "cells", step: 1 }), channel.request({ type: "cells", step: 2 })];
  const buffer = new DataView(new ArrayBuffer(2));
  model.answer(1, { width: 2 }, [buffer]);
  model.answer(0, { width: 1 });
  expect(await one).toMatchObject({ ok: true, width: 1, buffers: [] });
  expect((await other).buffers).toEqual([buffer]);
});

test("a command is a question of its own kind", async () => {
  const asked = new ModelChannel(model).command("pause");
  expect(model.sent[0]).toMatchObject({ type: "command", name: "pause" });
  model.answer(0, {});
  expect((await asked).ok).toBe(true);
});

test("a refusal is told in its words", async () => {
  const channel = new ModelChannel(model);
  const asked = [channel.command("retry"), channel.command("retry")].map((promise) => promise.catch(String));
  model.answer(0, { ok: false, error: "nothing has failed" });
  model.answer(1, { ok: undefined });
  expect(await Promise.all(asked)).toEqual(["Error: nothing has failed", "Error: refused"]);
});

test("what is no answer, or another's, answers nothing", async () => {
  const channel = new ModelChannel(model);
  let answers = 0;
  const asked = channel.request({ type: "spans" }).finally(() => answers++);
  const { id } = model.sent[0]!;
  model.tell({ type: "news", id, ok: true });
  model.tell({ type: "answer", ok: true });
  model.tell({ type: "answer", id: id + 1, ok: true });
  await vi.advanceTimersByTimeAsync(1);
  expect(answers).toBe(0);
  model.answer(0, {});
  await asked;
});

test("a question that nobody answers fails after ten seconds", async () => {
  const asked = new ModelChannel(model).request({ type: "spans" }).catch(String);
  await vi.advanceTimersByTimeAsync(9_999);
  expect(vi.getTimerCount()).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(await asked).toMatch("the kernel does not answer");
  model.answer(0, {}); // it came too late, and harms nobody
});

test("another way is asked when the kernel is busy, with the same question", async () => {
  const rest = vi.fn(async (): Promise<Answer> => ({ ok: true, buffers: [], width: 9 }));
  const asked = new ModelChannel(model, rest).request({ type: "cells", step: 4 });
  await vi.advanceTimersByTimeAsync(299);
  expect(rest).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1);
  expect(rest).toHaveBeenCalledWith(model.sent[0]);
  expect((await asked).width).toBe(9);
});

test("a kernel that answers soon is not asked around", async () => {
  const rest = vi.fn(async (): Promise<Answer> => ({ ok: true, buffers: [] }));
  const asked = new ModelChannel(model, rest).command("resume");
  model.answer(0, {});
  await asked;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(rest).not.toHaveBeenCalled();
});

test("while the other way is asked, the kernel may still answer first", async () => {
  let answerRest = (_: Answer) => {};
  const rest = () => new Promise<Answer>((resolve) => (answerRest = resolve));
  const asked = new ModelChannel(model, rest).request({ type: "cells", step: 4 });
  await vi.advanceTimersByTimeAsync(300);
  model.answer(0, { width: 1 });
  answerRest({ ok: true, buffers: [], width: 2 });
  expect((await asked).width).toBe(1);
});

test("what fails on the other way fails here", async () => {
  const asked = new ModelChannel(model, () => Promise.reject(new Error("no server"))).command("pause").catch(String);
  await vi.advanceTimersByTimeAsync(300);
  expect(await asked).toBe("Error: no server");
});

test("commands reach a run only when the model says so", () => {
  const channel = new ModelChannel(model);
  expect(channel.live).toBe(true);
  for (const live of [false, undefined, 1]) {
    model.live = live;
    expect(channel.live).toBe(false);
  }
});

test("a channel that is closed hears nothing more", () => {
  const channel = new ModelChannel(model);
  expect(model.heard.size).toBe(1);
  channel.close();
  expect(model.heard.size).toBe(0);
});
