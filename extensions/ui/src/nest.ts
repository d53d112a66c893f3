// How the steps of a shape hang together once the engine's own are left out: what is shown, in which frame, and what
// it uses.

import type { Step } from "./format";

/** Constructs whose bodies are frames of their own. */
export const WITH_ARMS = new Set(["switch", "try"]);

/** The steps that are shown, their frames, and what each uses of them. */
export class Nest {
  readonly all: Map<string, Step>;
  /** Ids of what frames others: constructs, and groups that the shape does not have. */
  readonly framed = new Set<string>();
  readonly shown: Step[];
  /** By step, the ids of shown steps and frames that it uses. */
  readonly uses = new Map<string, string[]>();
  readonly #inside = new Map<string, Map<string, Step>>();

  /** @param failed - Whether a helper failed, so that it is shown. */
  constructor(steps: Step[], readonly failed: (step: Step) => boolean) {
    this.all = new Map(steps.map((step) => [step.id, step]));
    const helpers = new Map<string, Step[]>();
    for (const step of steps) {
      if (!step.helper) {
        this.#members(step.group).set(step.id, step);
        continue;
      }
      const known = helpers.get(step.group);
      if (known) known.push(step);
      else helpers.set(step.group, [step]);
    }
    for (const step of steps) {
      let group = step.construct || this.#isFolded(step) ? "" : step.group;
      while (group && !this.framed.has(group)) {
        this.framed.add(group);
        group = this.all.get(group)?.group ?? before(group, "/");
      }
    }
    this.shown = steps.filter((step) => !this.framed.has(step.id) && !this.#isFolded(step));
    for (const step of steps) {
      const used = [...step.uses, ...step.after];
      const condition = this.all.get(`${step.id}.when`);
      if (condition) used.push(...condition.uses, ...condition.after);
      if (step.construct) {
        for (const helper of helpers.get(step.id) ?? []) if (!helper.arm) used.push(...helper.uses);
      }
      this.uses.set(step.id, [...new Set(used.flatMap((id) => this.#visible(id, step, 0)))]);
    }
    for (const step of steps) this.uses.set(step.id, this.#ordered(step));
  }

  /** Returns the id of the frame a step stands in: its construct's, or that of one of its bodies. */
  frameOf(step: Step): string {
    const group = this.all.get(step.group);
    return group && WITH_ARMS.has(group.kind) && step.arm ? `${group.id}.${step.arm}` : step.group;
  }

  #members(group: string): Map<string, Step> {
    let found = this.#inside.get(group);
    if (!found) this.#inside.set(group, (found = new Map()));
    return found;
  }

  /** Returns what a step uses, with what the order inside of its construct adds. */
  #ordered(step: Step): string[] {
    let uses = this.uses.get(step.id)!;
    if (step.arm === "[]" && uses.length > 1) {
      // What is used through another is no arrow of its own: an item goes from step to step.
      const through = new Set(uses.flatMap((id) => this.uses.get(id) ?? []));
      uses = uses.filter((id) => !through.has(id));
    }
    const group = this.all.get(step.group);
    if (!group || (group.kind !== "dynamic" && group.kind !== "loop") || step.helper) return uses;
    const members = this.#members(group.id);
    if (uses.some((id) => members.has(id))) return uses;
    if (group.kind === "dynamic") {
      const plan = `${group.id}.plan`;
      return members.has(plan) && step.id !== plan ? [...uses, plan] : uses;
    }
    // A loop asks, does, and asks again.
    const asks = `${group.id}.*.while/`;
    const asksAfter = `${group.id}.*.until/`;
    if (step.id.startsWith(asks)) return uses;
    const names = [...members.keys()];
    const first = step.id.startsWith(asksAfter)
      ? names.filter((id) => !id.startsWith(asksAfter))
      : names.filter((id) => id.startsWith(asks));
    const within = new Set(first.flatMap((id) => this.uses.get(id) ?? []));
    return [...uses, ...first.filter((id) => !within.has(id))];
  }

  /** Whether a step is the engine's own and not shown. */
  #isFolded(step: Step): boolean {
    return step.helper && (step.construct || this.all.has(step.group) || !this.failed(step));
  }

  /** Returns the shown steps and frames that stand for one that a step uses. */
  #visible(id: string, user: Step, depth: number): string[] {
    while (!this.all.has(id)) {
      if (!id.includes(".")) return [];
      id = before(id, ".");
    }
    let step = this.all.get(id)!;
    if (step.helper && step.construct) {
      id = before(id, ".");
      step = this.all.get(id) ?? step;
    }
    if (!this.#isFolded(step)) return [id];
    if (this.framed.has(step.group) && !this.#isInside(user, step.group)) return [step.group];
    return depth > 20 ? [] : step.uses.flatMap((used) => this.#visible(used, user, depth + 1));
  }

  #isInside(step: Step, frame: string): boolean {
    let group = step.construct ? step.id : step.group;
    while (group && group !== frame) group = this.all.get(group)?.group ?? "";
    return group === frame;
  }
}

/** Returns what stands before the last of a sign, "" where there is none. */
export function before(text: string, sign: string): string {
  return text.slice(0, Math.max(0, text.lastIndexOf(sign)));
}

/** Returns what stands after the last of a sign, all where there is none. */
export function after(text: string, sign: string): string {
  return text.slice(text.lastIndexOf(sign) + 1);
}

/** Returns what a step is called inside of its group. */
export function shortName(step: Step): string {
  if (step.name && step.name !== step.id) return step.name;
  if (!step.group) return step.id;
  const rest = step.id.startsWith(step.group) ? step.id.slice(step.group.length) : step.id;
  return after(rest, "/").replace(/^\.+/, "") || step.id;
}
