// The widget: anywidget calls `initialize` once for a model and `render` for every view of it.

import { Feed, type Part, type View } from "../../ui/src/api";
import { publish } from "../../ui/src/page";
import type { Bytes } from "../../ui/src/format";
import { mountAny } from "../../ui/src/index";
import { ModelChannel, type Model } from "./channel";

const PARTS: readonly Part[] = ["shape", "state", "spans", "rows"];

/** Fills a feed from a model, now and whenever that changes; returns what ends it. */
function follow(model: Model, feed: Feed): () => void {
  const heard = PARTS.map((part): [string, () => void] => [
    `change:${part}`,
    () => feed.put(part, model.get(part) as Bytes | undefined),
  ]);
  heard.push(["change:live", () => feed.tell("state")]);
  for (const part of PARTS) feed.put(part, model.get(part) as Bytes | undefined);
  for (const [name, called] of heard) model.on(name, called);
  return () => {
    for (const [name, called] of heard) model.off(name, called);
  };
}

/** Lets pictures of the same run that were saved without the widget ask it, as long as this page has it. */
function initialize({ model }: { model: Model }): () => void {
  const feed = new Feed();
  const end = follow(model, feed);
  const channel = new ModelChannel(model);
  let withdraw = () => {};
  const name = () => {
    withdraw();
    const key = model.get("key");
    withdraw = typeof key === "string" && key ? publish(key, { feed, channel }) : () => {};
  };
  model.on("change:key", name);
  name();
  return () => {
    model.off("change:key", name);
    withdraw();
    end();
    channel.close();
  };
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const feed = new Feed();
  const end = follow(model, feed);
  const channel = new ModelChannel(model);
  const unmount = mountAny(el, feed, { view: (model.get("view") as View) || "run", channel });
  model.send({ type: "open" });
  return () => {
    end();
    unmount();
    channel.close();
    try {
      model.send({ type: "close" });
    } catch {
      // the kernel went first
    }
  };
}

export default { initialize, render };
