// A report: one file that carries its data and this script, and asks nobody.

import { documentSource, type View } from "../../ui/src/api";
import type { Doc } from "../../ui/src/format";
import { mountAny } from "../../ui/src/index";

const data = document.getElementById("wfnb-run");
const root = document.getElementById("wfnb");
if (data && root) {
  const saved = JSON.parse(data.textContent ?? "{}") as Doc;
  root.replaceChildren();
  mountAny(root, documentSource(saved), { view: (saved.view as View) || "run", document: saved });
}
