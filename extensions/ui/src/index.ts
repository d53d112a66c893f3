// The way in: whatever there is to show, shown in an element.

import type { Channel, Feed, View } from "./api";
import type { Doc } from "./format";
import { mountRuns } from "./runs";
import { mount } from "./shell";

export { documentSource, Feed, type Source } from "./api";
export { mount } from "./shell";

/** Shows a run, a workflow or a table of runs; returns what takes it away again. */
export function mountAny(
  root: HTMLElement, feed: Feed, options: { view: View; channel?: Channel; document?: Doc },
): () => void {
  if (options.view !== "runs") return mount(root, feed, options);
  const table = document.createElement("div");
  const below = document.createElement("div");
  root.append(table, below);
  let unmount: (() => void) | null = null;
  const showRun = () => {
    // The run that was chosen comes by the same way as the table.
    if (feed.shape?.run && !unmount) unmount = mount(below, feed, { ...options, view: "run" });
  };
  const end = feed.onChange(showRun);
  const { channel } = options;
  const unmountTable = mountRuns(table, feed, channel ? { channel } : {});
  showRun();
  return () => {
    end();
    unmountTable();
    unmount?.();
    table.remove();
    below.remove();
  };
}
