// What the pictures of one page share, whichever bundle they come from: the widgets that live there, and how a person
// left the picture of a run when another takes its place.

import type { Channel, Feed } from "./api";

/** A widget that pictures may ask. */
export interface Living {
  feed: Feed;
  channel: Channel;
  /** Takes note that somebody looks; returns what ends that. */
  open(): () => void;
  /** Returns the output as it is to be kept, as JSON; "" while the run goes on. The feed tells when that changes. */
  last(): string;
}

interface Page {
  living: Map<string, Living[]>;
  heard: Set<() => void>;
  left: Map<string, unknown>;
}

/** The one of this page: bundles are apart, and a symbol's name is all they have in common. */
function page(): Page {
  const found = globalThis as { [name: symbol]: Page | undefined };
  const name = Symbol.for("wfnb.page.1");
  return (found[name] ??= { living: new Map(), heard: new Set(), left: new Map() });
}

/** Makes a widget known under a key; returns what ends that. */
export function publish(key: string, living: Living): () => void {
  const all = page().living;
  all.set(key, [...(all.get(key) ?? []), living]);
  tell();
  return () => {
    const rest = (all.get(key) ?? []).filter((one) => one !== living);
    if (rest.length) all.set(key, rest);
    else all.delete(key);
    tell();
  };
}

/** Returns the newest widget that is known under a key. */
export function living(key: string): Living | undefined {
  return page().living.get(key)?.at(-1);
}

/** Calls back when widgets have come or gone; returns what ends that. */
export function onLiving(heard: () => void): () => void {
  page().heard.add(heard);
  return () => page().heard.delete(heard);
}

function tell(): void {
  for (const heard of [...page().heard]) heard();
}

/** Keeps how a person left a picture, for the next one of the same. */
export function leave(key: string, how: unknown): void {
  if (key) page().left.set(key, how);
}

/** Returns how a person left the last picture of the same, or undefined. */
export function left<T>(key: string): T | undefined {
  return page().left.get(key) as T | undefined;
}
