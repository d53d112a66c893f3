import { test } from "vitest";
import { Dag } from "../src/dag";
import { readShape } from "../src/format";
import { stillTheme } from "./graphs";
import { stateOf } from "./panels";
test("x", () => {
  document.body.innerHTML = `<div id="host"></div>`; const host = document.querySelector<HTMLElement>("#host")!;
  Object.defineProperties(host, { clientWidth: { value: 800 }, clientHeight: { value: 400 } });
  const S: any[] = [{ id: "load" }, { id: "features", uses: ["load"] }, { id: "report", uses: ["features"] }];
  const dag = new Dag(host, stillTheme()); dag.update(readShape({ steps: S }), stateOf({}, S.map(() => ({}))));
  dag.select("report"); dag.camera = { scale: 1, x: 3, y: 4 };
  console.log(dag.camera, dag.boxOf("report"));
  const M: any[] = [{ id: "load" }, { id: "features", uses: ["load"] }, { id: "early", name: "a_name_that_takes_room" }, { id: "late", uses: ["features", "early"] }, { id: "report", uses: ["late"] }];
  dag.update(readShape({ steps: M }), stateOf({}, M.map(() => ({}))));
  console.log(dag.camera, dag.boxOf("report"), dag.selected);
});
