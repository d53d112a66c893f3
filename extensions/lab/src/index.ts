// A MIME renderer for JupyterLab and Notebook 7: draws a run as it was saved, and live while the page has its widget.
// Prebuilt without webpack: this file is the container that module federation asks for.

import { documentSource, type View } from "../../ui/src/api";
import { unpacked, type Doc } from "../../ui/src/format";
import { mountAny } from "../../ui/src/index";
import { living, onLiving, type Living } from "../../ui/src/page";

const MIME = "application/vnd.wfnb.run+json";
const WIDGET = "application/vnd.jupyter.widget-view+json";
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

/** What is used of an output. */
interface OutputModel {
  readonly data: Record<string, unknown>;
  setData(change: { data: Record<string, unknown> }): void;
}

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

/** The picture in one output. While the page has the document's widget, that tells how the run stands now. */
class Drawn {
  readonly #node: HTMLElement;
  readonly #keep: (bundle: Record<string, unknown>) => void;
  #doc: Doc;
  #shown: { living: Living | undefined; end: () => void } | null = null;
  #isOver = false;
  readonly #ends: (() => void)[] = [];

  /** @param keep - Takes the output's place in the notebook, where this page was not there when the run ended. */
  constructor(node: HTMLElement, doc: Doc, keep: (bundle: Record<string, unknown>) => void) {
    this.#node = node;
    this.#doc = doc;
    this.#keep = keep;
    this.#ends.push(onLiving(() => this.#draw()));
    this.#draw();
  }

  /** Takes another document; what follows the same widget goes on as a person has left it. */
  update(doc: Doc): void {
    const same = doc.key === this.#doc.key && this.#shown?.living !== undefined;
    this.#doc = doc;
    if (same) return;
    this.#shown?.end();
    this.#shown = null;
    this.#draw();
  }

  end(): void {
    this.#isOver = true;
    for (const end of this.#ends) end();
    this.#shown?.end();
  }

  #draw(): void {
    const doc = this.#doc;
    const found = doc.key ? living(doc.key) : undefined;
    if (this.#isOver || (this.#shown && this.#shown.living === found)) return;
    if (!found && doc.packed) {
      // It is drawn when it is laid out, unless the widget comes first.
      void unpacked(doc).then((laid) => {
        if (this.#doc !== doc) return;
        this.#doc = laid;
        this.#draw();
      });
      return;
    }
    this.#shown?.end();
    const options = { view: (doc.view as View) || "run", document: doc };
    const feed = found?.feed ?? documentSource(doc);
    const unmount = mountAny(this.#node, feed, found ? { ...options, channel: found.channel } : options);
    const close = found?.open();
    const kept = () => {
      const last = found?.last();
      if (last) this.#keep(JSON.parse(last) as Record<string, unknown>);
    };
    const unhear = found?.feed.onChange(kept);
    const end = () => {
      unhear?.();
      unmount();
      close?.();
    };
    this.#shown = { living: found, end };
    kept();
  }
}

function extension(Base: WidgetClass): unknown {
  class SavedRun extends Base {
    #drawn: Drawn | null = null;

    constructor() {
      super();
      this.addClass("wfnb-saved");
    }

    async renderModel(model: OutputModel): Promise<void> {
      const data = model.data[MIME];
      const doc = (typeof data === "string" ? JSON.parse(data) : data) as Doc;
      if (this.#drawn) {
        this.#drawn.update(doc);
        return;
      }
      this.#drawn = new Drawn(this.node, doc, (bundle) => {
        // Only an output that still has the widget is not the last one.
        if (WIDGET in model.data) model.setData({ data: bundle });
      });
    }

    override dispose(): void {
      this.#drawn?.end();
      this.#drawn = null;
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
