// A MIME renderer for JupyterLab and Notebook 7: draws a run as it was saved, and live while the page has its widget.
// Prebuilt without webpack: this file is the container that module federation asks for.

import { documentSource, type View } from "../../ui/src/api";
import { unpacked, type Doc } from "../../ui/src/format";
import { mountAny } from "../../ui/src/index";
import { living, onLiving, type Living } from "../../ui/src/page";

const MIME = "application/vnd.wfnb.run+json";
const NAME = "wfnb";
/** Before Jupyter's widgets, which have -10: those are an error where the kernel is gone, this is the last state. */
const RANK = -20;

/** The packages that JupyterLab shares, by name and version. */
type Scope = Record<string, Record<string, { get(): Promise<() => unknown>; loaded?: unknown }>>;

/** What is used of Lumino's widget. */
interface Widget {
  readonly node: HTMLElement;
  addClass(name: string): void;
  dispose(): void;
}
type WidgetClass = new () => Widget;

let shared: Scope = {};

/** Returns a package that JupyterLab shares: the version that is loaded already, else the newest. */
async function share<T>(name: string): Promise<T> {
  const versions = Object.entries(shared[name] ?? {}).sort(([a], [b]) => newer(a, b));
  const found = versions.find(([, one]) => one.loaded) ?? versions[0];
  if (!found) throw new Error(`${NAME}: this JupyterLab does not share ${name}`);
  return (await found[1].get())() as T;
}

/** Sorts versions, newest first. */
function newer(a: string, b: string): number {
  const numbers = (version: string) => version.split(/[.-]/).map((part) => parseInt(part, 10) || 0);
  const [one, other] = [numbers(a), numbers(b)];
  for (let at = 0; at < 3; at++) {
    if (one[at] !== other[at]) return (other[at] ?? 0) - (one[at] ?? 0);
  }
  return 0;
}

/** Draws a document; returns what takes it away. While the page has its widget, that tells how the run stands now. */
function draw(node: HTMLElement, given: Doc): () => void {
  const view = (given.view as View) || "run";
  let saved = given;
  let isOver = false;
  let shown: { living: Living | undefined; end: () => void } | null = null;
  const show = () => {
    const found = saved.key ? living(saved.key) : undefined;
    if (isOver || (shown && shown.living === found)) return;
    if (!found && saved.packed) {
      // It is drawn when it is laid out, unless the widget comes first.
      void unpacked(saved).then((doc) => {
        saved = doc;
        show();
      });
      return;
    }
    shown?.end();
    const feed = found?.feed ?? documentSource(saved);
    const options = { view, document: saved };
    const unmount = mountAny(node, feed, found ? { ...options, channel: found.channel } : options);
    const close = found?.open();
    const end = () => {
      unmount();
      close?.();
    };
    shown = { living: found, end };
  };
  show();
  const end = onLiving(show);
  return () => {
    isOver = true;
    end();
    shown?.end();
  };
}

function extension(Base: WidgetClass): unknown {
  class SavedRun extends Base {
    #end: (() => void) | null = null;

    constructor() {
      super();
      this.addClass("wfnb-saved");
    }

    async renderModel(model: { data: Record<string, unknown> }): Promise<void> {
      this.#end?.();
      const data = model.data[MIME];
      this.#end = draw(this.node, (typeof data === "string" ? JSON.parse(data) : data) as Doc);
    }

    override dispose(): void {
      this.#end?.();
      this.#end = null;
      super.dispose();
    }
  }
  return {
    id: `${NAME}:run`,
    description: "Draws a run of a workflow.",
    rank: RANK,
    dataType: "json",
    rendererFactory: { safe: true, mimeTypes: [MIME], defaultRank: RANK, createRenderer: () => new SavedRun() },
  };
}

const page = window as unknown as { _JUPYTERLAB?: Record<string, unknown> };
(page._JUPYTERLAB ??= {})[NAME] = {
  init(scope: Scope): void {
    shared = scope;
  },
  async get(name: string): Promise<() => unknown> {
    if (name !== "./mimeExtension") throw new Error(`${NAME} has no module ${name}`);
    const { Widget } = await share<{ Widget: WidgetClass }>("@lumino/widgets");
    const module = { __esModule: true, default: extension(Widget) };
    return () => module;
  },
};
