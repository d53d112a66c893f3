// Small means to build panels with: elements, buttons, signs of a status.

import { GLYPHS } from "./theme";

/** Returns a new element with a class and children; null and false are left out. */
export function el<T extends keyof HTMLElementTagNameMap>(
  tag: T, name = "", ...children: (Node | string | null | undefined | false)[]
): HTMLElementTagNameMap[T] {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children.filter((child): child is Node | string => !!child));
  return element;
}

/** Sets attributes where they differ, and returns the element. */
export function attrs<T extends Element>(element: T, values: Record<string, string | number | boolean>): T {
  for (const [name, value] of Object.entries(values)) {
    const text = String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
  return element;
}

/** Returns a button; its title is read to those who cannot see a sign. */
export function button(text: string, title: string, pressed: (event: MouseEvent) => void): HTMLButtonElement {
  const made = el("button", "", text);
  made.type = "button";
  made.title = title;
  if (text.length < 3) made.setAttribute("aria-label", title);
  made.addEventListener("click", pressed);
  return made;
}

/** Sets an element's text where it differs. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

const SVG = "http://www.w3.org/2000/svg";

/** Returns the sign of a status, drawn: a font's own idea of a tick differs on every machine. */
export function badge(status: string, size = 14): SVGSVGElement {
  const sign = attrs(document.createElementNS(SVG, "svg"), {
    width: size, height: size, viewBox: "-8 -8 16 16", class: "badge", "aria-hidden": "true",
  });
  const glyph = GLYPHS[status];
  const colour = `var(--wf-${status})`;
  const circle = attrs(document.createElementNS(SVG, "circle"), { r: glyph ? 8 : 6.8 });
  sign.append(circle);
  if (glyph) {
    circle.style.fill = colour;
    sign.append(attrs(document.createElementNS(SVG, "path"), { d: glyph }));
  } else {
    circle.style.cssText = `fill:none;stroke:${colour};stroke-width:1.5`;
  }
  return sign;
}

/** A sign that follows a status. */
export class Sign {
  readonly element = el("span", "sign");
  #shown = "";

  constructor(readonly size = 14) {}

  set(status: string): void {
    if (status === this.#shown) return;
    this.#shown = status;
    this.element.replaceChildren(badge(status, this.size));
  }
}

/** Returns what went wrong, in words. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
