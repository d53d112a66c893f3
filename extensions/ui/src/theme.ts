// Colours: the palettes, checked under simulated colour-blindness, on the ground that the page around has.

const LIGHT: Record<string, string> = {
  pending: "#8D9199", running: "#0A42EA", completed: "#133930", cached: "#0C9CE4", retrying: "#E4770A",
  failed: "#B34200", cancelled: "#500D64", skipped: "#8D9199",
};
const DARK: Record<string, string> = {
  pending: "#898B8E", running: "#1B61AB", completed: "#67FFB3", cached: "#1B9EE0", retrying: "#C89C16",
  failed: "#AB470E", cancelled: "#EBD6E9", skipped: "#898B8E",
};
/** Statuses of a run that no task has. */
const OF_RUNS: Record<string, string> = { queued: "pending", paused: "skipped", interrupted: "retrying" };

/** The signs of statuses as SVG paths, in a circle of radius 8 about the origin; those without one are a ring. */
export const GLYPHS: Record<string, string> = {
  running: "M-2-3.6L3.8 0L-2 3.6Z",
  completed: "M-3.6.2L-1 2.8L3.6-2.6",
  cached: "M-3.4-2.6H3.4M-3.4 0H3.4M-3.4 2.6H3.4",
  retrying: "M3.2-2.4A4 4 0 1 0 4 .6M3.8-4.4V-2H1.4",
  failed: "M-2.8-2.8L2.8 2.8M2.8-2.8L-2.8 2.8",
  skipped: "M-3.6-3L-.6 0L-3.6 3M.6-3L3.6 0L.6 3",
  cancelled: "M-3.6 0H3.6",
  paused: "M-1.8-3V3M1.8-3V3",
  interrupted: "M0-4V.6M0 3.6V3.8",
  new: "M-3.6 0H3.6M0-3.6V3.6",
};

export interface Theme {
  dark: boolean;
  ground: string;
  ink: string;
  soft: string;
  line: string;
  /** A status's colour. */
  colours: Record<string, string>;
  /** The ground of a box in that status. */
  tints: Record<string, string>;
  /** What is readable on that colour. */
  onColour: Record<string, string>;
  /** Whether things may move by themselves. */
  moves: boolean;
}

/** Returns red, green and blue of a CSS colour, or null when it is none that is understood, or transparent. */
export function rgb(colour: string): number[] | null {
  const text = colour.trim();
  const hex = /^#([0-9a-f]{3,8})$/i.exec(text)?.[1];
  if (hex) {
    const full = hex.length < 6 ? [...hex].map((sign) => sign + sign).join("") : hex;
    return [0, 2, 4].map((at) => parseInt(full.slice(at, at + 2), 16));
  }
  if (text === "white") return [255, 255, 255];
  if (text === "black") return [0, 0, 0];
  const parts = /^rgba?\(([^)]+)\)/.exec(text)?.[1]?.split(/[\s,/]+/).map(Number);
  return parts && parts.length >= 3 && parts[3] !== 0 ? parts.slice(0, 3) : null;
}

function mixed(colour: string, ground: string, share: number): string {
  const over = rgb(colour) ?? [0, 0, 0];
  const under = rgb(ground) ?? [255, 255, 255];
  return `rgb(${over.map((part, at) => Math.round(part * share + under[at]! * (1 - share))).join(",")})`;
}

/** Returns relative luminance, 0 to 1. Source: WCAG 2.1. */
function luminance(colour: string): number {
  const [red, green, blue] = (rgb(colour) ?? [255, 255, 255]).map((part) => {
    const share = part / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
}

/** Returns the theme of the page that an element is in: JupyterLab's, VS Code's, or the system's. */
export function readTheme(element: Element): Theme {
  const page = element.ownerDocument;
  const from = element.isConnected ? element : page.body;
  const style = getComputedStyle(from);
  const value = (name: string) => style.getPropertyValue(name).trim();
  const lab = from.closest("[data-jp-theme-light]");
  const classes = page.body?.className ?? "";
  let dark = matches("(prefers-color-scheme: dark)");
  let ground = "";
  let ink = "";
  if (lab || value("--jp-layout-color0")) {
    ground = value("--jp-layout-color0");
    ink = value("--jp-ui-font-color1");
    if (lab) dark = lab.getAttribute("data-jp-theme-light") === "false";
    else if (rgb(ground)) dark = luminance(ground) < 0.3;
  } else if (/\bvscode-(dark|light|high-contrast)/.test(classes)) {
    ground = value("--vscode-editor-background");
    ink = value("--vscode-editor-foreground");
    dark = !/vscode-(light|high-contrast-light)/.test(classes);
  }
  return themeOf(dark, ground, ink, !matches("(prefers-reduced-motion: reduce)"));
}

function themeOf(dark: boolean, pageGround: string, pageInk: string, moves: boolean): Theme {
  const palette = dark ? DARK : LIGHT;
  const ground = rgb(pageGround) ? pageGround : dark ? "#111418" : "#ffffff";
  const colours = { ...palette };
  for (const [status, like] of Object.entries(OF_RUNS)) colours[status] = palette[like]!;
  const tints: Record<string, string> = {};
  const onColour: Record<string, string> = {};
  for (const [status, colour] of Object.entries(colours)) {
    const quiet = ["pending", "skipped", "queued", "paused"].includes(status);
    tints[status] = quiet ? ground : mixed(colour, ground, dark ? 0.16 : 0.07);
    onColour[status] = luminance(colour) > 0.3 ? "#111418" : "#ffffff";
  }
  const ink = rgb(pageInk) ? mixed(pageInk, ground, alpha(pageInk)) : dark ? "#e8eaed" : "#1b1f24";
  return {
    dark, ground, ink, colours, tints, onColour, moves,
    soft: dark ? "#a3abb5" : "#57606a",
    line: dark ? "#4a535d" : "#c9ced6",
  };
}

/** Returns a theme as CSS variables. */
export function cssVars(theme: Theme): Record<string, string> {
  const found: Record<string, string> = {
    "--wf-ground": theme.ground,
    "--wf-ink": theme.ink,
    "--wf-soft": theme.soft,
    "--wf-line": theme.line,
    "--wf-tint": theme.dark ? "16%" : "7%",
  };
  for (const [status, colour] of Object.entries(theme.colours)) {
    found[`--wf-${status}`] = colour;
    found[`--wf-on-${status}`] = theme.onColour[status]!;
  }
  // What a run would do for the first time is marked like what runs.
  found["--wf-new"] = found["--wf-running"]!;
  found["--wf-on-new"] = found["--wf-on-running"]!;
  return found;
}

/** Calls back with the new theme whenever the page's changes; returns what ends that. */
export function watchTheme(element: Element, changed: (theme: Theme) => void): () => void {
  const look = () => changed(readTheme(element));
  const watch = new MutationObserver(look);
  const attributeFilter = ["class", "style", "data-jp-theme-light", "data-jp-theme-name", "data-vscode-theme-kind"];
  const page = element.ownerDocument;
  for (const target of [page.body, page.documentElement]) watch.observe(target, { attributes: true, attributeFilter });
  watch.observe(page.head, { childList: true }); // a theme's style sheet comes after its name
  const queries = ["(prefers-color-scheme: dark)", "(prefers-reduced-motion: reduce)"].map(query);
  for (const one of queries) one?.addEventListener("change", look);
  return () => {
    watch.disconnect();
    for (const one of queries) one?.removeEventListener("change", look);
  };
}

function alpha(colour: string): number {
  const found = /^rgba\([^)]*?([\d.]+)\s*\)$/.exec(colour.trim())?.[1];
  return found === undefined ? 1 : Number(found);
}

function query(text: string): MediaQueryList | undefined {
  return typeof matchMedia === "function" ? matchMedia(text) : undefined;
}

function matches(text: string): boolean {
  return query(text)?.matches ?? false;
}
