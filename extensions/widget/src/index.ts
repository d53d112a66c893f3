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
  for (const name of ["live", "last"]) heard.push([`change:${name}`, () => feed.tell("state")]);
  for (const part of PARTS) feed.put(part, model.get(part) as Bytes | undefined);
  for (const [name, called] of heard) model.on(name, called);
  return () => {
    for (const [name, called] of heard) model.off(name, called);
  };
}

/** Tells the kernel that somebody looks; returns what tells it that nobody does any more. */
function open(model: Model): () => void {
  model.send({ type: "open" });
  let isOpen = true;
  const close = () => {
    if (!isOpen) return;
    isOpen = false;
    removeEventListener("pagehide", close);
    try {
      model.send({ type: "close" });
    } catch {
      // the kernel went first
    }
  };
  addEventListener("pagehide", close); // a page that is left says so too
  return close;
}

/** Lets the extension's pictures of the same run be live, as long as this page has the widget. */
function initialize({ model }: { model: Model }): () => void {
  const feed = new Feed();
  const end = follow(model, feed);
  const channel = new ModelChannel(model);
  const withdraw = publish(String(model.get("key")), {
    feed, channel, open: () => open(model), last: () => String(model.get("last") ?? ""),
  });
  return () => {
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
  const close = open(model);
  return () => {
    end();
    unmount();
    channel.close();
    close();
  };
}

export default { initialize, render };
