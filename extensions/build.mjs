// Builds what Python ships: the widget, the report's script, and the prebuilt extension for JupyterLab and Notebook 7.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { deflateRawSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const python = join(here, "..", "wfnb");
/** The widget travels with every widget and into saved notebooks. */
const MOST = 60 * 1024;

const bundled = async (entry, format, more = {}) => {
  const made = await build({
    entryPoints: [join(here, entry)], bundle: true, minify: true, write: false, format, target: "es2022",
    charset: "utf8", legalComments: "none", ...more,
  });
  return made.outputFiles[0].text;
};

const put = (path, text) => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  console.log(`${path.slice(python.length + 1)}  ${Buffer.byteLength(text).toLocaleString("en")} bytes`);
};

/** 85 signs that stand for themselves in a string and in a page: base 85 adds a quarter, base 64 a third. */
const SIGNS = Array.from({ length: 94 }, (_, at) => String.fromCharCode(33 + at))
  .filter((sign) => !"\"'`$&<\\/".includes(sign)).slice(0, 85).join("");

const base85 = (bytes) => {
  const padded = Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  let text = "";
  for (let at = 0; at < padded.length; at += 4) {
    let value = padded.readUInt32BE(at);
    let five = "";
    for (let sign = 0; sign < 5; sign++) {
      five = SIGNS[value % 85] + five;
      value = Math.floor(value / 85);
    }
    text += five;
  }
  return text;
};

/** Returns a module that inflates another and hands its entry points on; browsers have what it takes built in. */
const packed = (text) => {
  const body = deflateRawSync(text, { level: 9 });
  return `const signs="${SIGNS}",packed="${base85(body)}";
let found;
const load=()=>found??=(async()=>{
const place={};for(let at=0;at<85;at++)place[signs[at]]=at;
const words=new DataView(new ArrayBuffer(packed.length/5*4));
for(let at=0;at<packed.length;at+=5){
let value=0;for(let sign=at;sign<at+5;sign++)value=value*85+place[packed[sign]];
words.setUint32(at/5*4,value)}
const bytes=new Uint8Array(words.buffer,0,${body.length});
const text=await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
const url=URL.createObjectURL(new Blob([text],{type:"text/javascript"}));
try{return(await import(/* webpackIgnore: true */ url)).default}finally{URL.revokeObjectURL(url)}
})();
export default{
async initialize(given){return(await load()).initialize(given)},
async render(given){return(await load()).render(given)},
};
`;
};

const widget = await bundled("widget/src/index.ts", "esm");
console.log(`the widget before it is packed  ${Buffer.byteLength(widget).toLocaleString("en")} bytes`);
const small = packed(widget);
if (Buffer.byteLength(small) > MOST) {
  throw new Error(`widget.js has ${Buffer.byteLength(small)} bytes, more than the ${MOST} it may have`);
}
put(join(python, "views", "static", "widget.js"), small);

const report = await bundled("widget/src/report.ts", "iife");
put(join(python, "views", "static", "report.js"), report.replaceAll("</script", "<\\/script"));

const lab = await bundled("lab/src/index.ts", "iife");
const load = `static/remoteEntry.${createHash("sha256").update(lab).digest("hex").slice(0, 16)}.js`;
const extension = join(python, "labextension");
rmSync(extension, { recursive: true, force: true });
put(join(extension, load), lab);
const project = readFileSync(join(here, "..", "pyproject.toml"), "utf8");
const { version } = /^version = "(?<version>[^"]+)"/m.exec(project).groups;
const about = {
  name: "wfnb",
  version,
  description: "Draws runs of wfnb in notebooks",
  license: "BSD-3-Clause",
  jupyterlab: { mimeExtension: true, _build: { load, mimeExtension: "./mimeExtension" } },
};
put(join(extension, "package.json"), JSON.stringify(about, null, 2) + "\n");
