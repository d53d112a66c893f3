// The extension for JupyterLab and Notebook 7: a container of module federation, and the renderer in it.

import { beforeAll, beforeEach, expect, test, vi } from "vitest";
import { Feed, type Channel } from "../src/api";
import { publish } from "../src/page";
import { encodeShape, encodeState, makeDocument } from "./make";

interface Renderer {
  node: HTMLElement;
  renderModel(model: object): Promise<void>;
  dispose(): void;
}
interface Container {
  init(scope: object): void;
  get(name: string): Promise<() => { default: { rank: number; rendererFactory: { createRenderer(): Renderer } } }>;
}

const MIME = "application/vnd.wfnb.run+json";
const WIDGET = "application/vnd.jupyter.widget-view+json";

class LuminoWidget {
  readonly node = document.createElement("div");
  addClass(name: string): void {
    this.node.classList.add(name);
  }
  dispose(): void {
    this.node.remove();
  }
}

let container: Container;
let renderer: Renderer;

beforeAll(async () => {
  await import("../../lab/src/index");
  container = (window as unknown as { _JUPYTERLAB: Record<string, Container> })._JUPYTERLAB.wfnb!;
  const version = (loaded: boolean, found: unknown) => ({ loaded, get: async () => () => found });
  container.init({ "@lumino/widgets": { "1.0.0": version(false, {}), "2.5.0": version(true, { Widget: LuminoWidget }) } });
});

beforeEach(async () => {
  const module = (await container.get("./mimeExtension"))();
  renderer = module.default.rendererFactory.createRenderer();
  document.body.append(renderer.node);
  return () => renderer.dispose();
});

function output(doc: object, more: object = {}): { data: Record<string, unknown>; setData: ReturnType<typeof vi.fn> } {
  return { data: { [MIME]: doc, ...more }, setData: vi.fn() };
}

function widget(last = ""): { feed: Feed; opened: number; channel: Channel; open(): () => void; last(): string } {
  const feed = new Feed();
  feed.put("shape", encodeShape({ workflow: "living", run: "run-9", steps: [{ id: "a" }] }));
  feed.put("state", encodeState({ status: "running" }, [{ status: "running" }]));
  const made = {
    feed, opened: 0, last: () => last,
    channel: { live: true, request: () => Promise.reject(new Error("no")), command: () => Promise.reject(new Error("no")) },
    open: () => {
      made.opened++;
      return () => made.opened--;
    },
  };
  return made;
}

test("it has one module, and comes before Jupyter's widgets", async () => {
  const module = (await container.get("./mimeExtension"))();
  expect(module.default.rank).toBeLessThan(-10);
  await expect(container.get("./other")).rejects.toThrow("no module ./other");
});

test("a document is drawn without a kernel", async () => {
  await renderer.renderModel(output(makeDocument("small")));
  expect(renderer.node.querySelectorAll("[role=tab]")).toHaveLength(4);
  expect(renderer.node.querySelector("[aria-label=Pause]")).toBeNull();
});

test("a picture follows its widget when that comes, and the document when it goes", async () => {
  await renderer.renderModel(output({ ...makeDocument("small"), key: "k1" }));
  const made = widget();
  const end = publish("k1", made);
  expect(renderer.node.textContent).toContain("living");
  expect(renderer.node.querySelector("[aria-label=Pause]")).not.toBeNull();
  expect(made.opened).toBe(1);
  end();
  expect(renderer.node.textContent).not.toContain("living");
  expect(made.opened).toBe(0);
});

test("another document of the same widget leaves the picture as it is", async () => {
  const end = publish("k2", widget());
  await renderer.renderModel(output({ ...makeDocument("small"), key: "k2" }));
  const shown = renderer.node.querySelector(".wfnb-ui");
  await renderer.renderModel(output({ ...makeDocument("map", 10), key: "k2" }));
  expect(renderer.node.querySelector(".wfnb-ui")).toBe(shown);
  end();
});

test("an output that still has the widget is replaced by the last one, others are not", async () => {
  const last = { [MIME]: { format: 1 }, "text/plain": "the end" };
  const end = publish("k3", widget(JSON.stringify(last)));
  const kept = output({ ...makeDocument("small"), key: "k3" }, { [WIDGET]: {} });
  await renderer.renderModel(kept);
  expect(kept.setData).toHaveBeenCalledWith({ data: last });
  renderer.dispose();
  const final = output({ ...makeDocument("small"), key: "k3" });
  await renderer.renderModel(final);
  expect(final.setData).not.toHaveBeenCalled();
  end();
});

test("a document that is packed is laid out and drawn", async () => {
  const doc = makeDocument("small");
  const stream = new Blob([JSON.stringify(doc)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const packed = btoa(String.fromCharCode(...bytes));
  await renderer.renderModel(output({ format: 1, text: "", view: "run", packed }));
  await vi.waitFor(() => expect(renderer.node.querySelectorAll("[role=tab]")).toHaveLength(4));
  expect(renderer.node.textContent).toContain(doc.shape!.workflow);
});

test("nothing is left behind", async () => {
  const made = widget();
  const end = publish("k4", made);
  await renderer.renderModel(output({ ...makeDocument("small"), key: "k4" }));
  renderer.dispose();
  expect(made.opened).toBe(0);
  expect(renderer.node.querySelector(".wfnb-ui")).toBeNull();
  end();
});
