// The look of all panels. Colours are variables that the theme sets; sizes are never under 11 pixels.

/** The style sheet; everything it names lies inside of the class `wfnb-ui`. */
export const CSS = `
.wfnb-ui{font:13px/1.5 system-ui,sans-serif;color:var(--wf-ink);background:var(--wf-ground);text-align:left;position:relative;padding:4px 2px;box-sizing:border-box;min-width:0}
.wfnb-ui *{box-sizing:border-box}
.wfnb-ui [hidden]{display:none!important}
.wfnb-ui .row{display:flex;align-items:center;gap:4px 8px;flex-wrap:wrap}
.wfnb-ui .base{display:flex;align-items:baseline;gap:0 8px;flex-wrap:wrap;min-width:0}
.wfnb-ui b{font-weight:600}.wfnb-ui .name{font-size:15px;overflow-wrap:anywhere}
.wfnb-ui .soft{color:var(--wf-soft)}
.wfnb-ui .mono,.wfnb-ui code,.wfnb-ui pre{font:12px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace;color:inherit;background:none;padding:0;margin:0}
.wfnb-ui .end{margin-left:auto}
.wfnb-ui .num{font-variant-numeric:tabular-nums}
.wfnb-ui .sign{display:inline-flex;vertical-align:-2px;flex:none}
.wfnb-ui .badge path{fill:none;stroke:var(--wf-ground);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.wfnb-ui button,.wfnb-ui input,.wfnb-ui select{font:12px/1.4 system-ui,sans-serif;color:inherit;background:var(--wf-ground);border:1px solid var(--wf-line);border-radius:6px;padding:3px 9px;margin:0;height:26px;box-shadow:none;width:auto;min-width:0}
.wfnb-ui button{cursor:pointer;white-space:nowrap}
.wfnb-ui button:hover:not(:disabled){background:color-mix(in srgb,var(--wf-ink) 8%,var(--wf-ground))}
.wfnb-ui button:disabled{opacity:.45;cursor:default}
.wfnb-ui button.link{border:0;padding:0 2px;height:auto;text-decoration:underline;background:none}
.wfnb-ui :focus-visible{outline:2px solid var(--wf-ink);outline-offset:1px}
.wfnb-ui .body :focus-visible{outline-offset:-2px}
.wfnb-ui label{display:inline-flex;align-items:center;gap:4px;font-size:12px;margin:0}
.wfnb-ui input[type=checkbox]{height:auto;margin:0;accent-color:var(--wf-running)}
.wfnb-ui .bar{display:flex;height:8px;border-radius:4px;overflow:hidden;background:color-mix(in srgb,var(--wf-line) 70%,var(--wf-ground))}
.wfnb-ui .bar i{flex:none;min-width:2px}
.wfnb-ui .bar.whole{margin:6px 0 4px}
.wfnb-ui .facts{gap:0 12px;min-height:20px}.wfnb-ui .facts>span{display:inline-flex;align-items:center;gap:5px}
.wfnb-ui .tabs{border-bottom:1px solid var(--wf-line);margin-top:8px;padding-bottom:6px;min-height:33px}
.wfnb-ui .tablist{display:flex;gap:2px;align-self:flex-end;margin-bottom:-7px}
.wfnb-ui [role=tab]{border:0;border-bottom:2px solid transparent;border-radius:6px 6px 0 0;color:var(--wf-soft);background:none;height:30px}
.wfnb-ui [role=tab][aria-selected=true]{color:var(--wf-ink);border-bottom-color:var(--wf-ink);font-weight:600}
.wfnb-ui.narrow .tablist{flex:0 0 100%;margin:0;border-bottom:1px solid var(--wf-line)}.wfnb-ui.narrow .tablist:empty{display:none}
.wfnb-ui.narrow .tabs{gap:6px 8px}.wfnb-ui.narrow .tabs .tools{margin-left:0}.wfnb-ui.narrow .tabs .find{flex:1 1 120px}
.wfnb-ui .tools{display:flex;gap:4px;align-items:center;flex-wrap:wrap}
.wfnb-ui .group{display:inline-flex}.wfnb-ui .group button{border-radius:0;margin-left:-1px}
.wfnb-ui .group button:first-child{border-radius:6px 0 0 6px}.wfnb-ui .group button:last-child{border-radius:0 6px 6px 0}
.wfnb-ui [aria-pressed=true]{background:color-mix(in srgb,var(--wf-ink) 14%,var(--wf-ground))!important;border-color:var(--wf-soft)}
.wfnb-ui .find{width:150px}
.wfnb-ui .body{position:relative;overflow:hidden;resize:vertical;min-height:180px;border-bottom:1px solid var(--wf-line)}
.wfnb-ui .pane,.wfnb-ui .fill{position:absolute;inset:0}
.wfnb-ui .scroll{position:absolute;inset:0;overflow:auto;overscroll-behavior:auto}
.wfnb-ui .column{display:flex;flex-direction:column}
.wfnb-ui .drawer{position:absolute;inset:0 0 0 auto;width:min(440px,58%);background:var(--wf-ground);border-left:1px solid var(--wf-line);box-shadow:-6px 0 16px -10px #0006;display:flex;flex-direction:column;z-index:2}
.wfnb-ui.narrow .drawer{width:100%;border-left:0;box-shadow:none}
.wfnb-ui.narrow .wide{display:none}
.wfnb-ui .drawer>.row{padding:6px 8px 6px 12px;border-bottom:1px solid var(--wf-line);flex-wrap:nowrap}
.wfnb-ui .drawer .title{overflow-wrap:anywhere;min-width:0;flex:1;font-weight:600}
.wfnb-ui .detail{overflow:auto;padding:8px 12px 16px;flex:1;min-height:0;overflow-wrap:anywhere}.wfnb-ui .detail th,.wfnb-ui td.n,.wfnb-ui td.whole{white-space:nowrap}
.wfnb-ui .told{display:flex;flex-wrap:wrap;gap:0 12px}
.wfnb-ui h4{font-size:12px;font-weight:600;color:var(--wf-soft);margin:12px 0 3px;line-height:1.4}
.wfnb-ui summary{cursor:pointer;color:var(--wf-soft);font-size:12px;font-weight:600}
.wfnb-ui details{margin-top:10px}
.wfnb-ui pre{white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;margin:3px 0;padding:6px 8px;border-radius:6px;background:color-mix(in srgb,var(--wf-line) 22%,var(--wf-ground))}
.wfnb-ui pre .add{background:color-mix(in srgb,var(--wf-cached) 22%,transparent)}.wfnb-ui pre .del{background:color-mix(in srgb,var(--wf-failed) 22%,transparent)}
.wfnb-ui pre span{display:block}
.wfnb-ui .err>div>code{white-space:pre-wrap;display:inline-block;vertical-align:top;max-width:100%;max-height:11em;overflow:auto}
.wfnb-ui .err{border-left:3px solid var(--wf-failed);padding:4px 12px;margin:8px 0;overflow-wrap:anywhere}
.wfnb-ui table{border-collapse:collapse;font-size:12px;color:inherit;margin:2px 0;display:table;width:auto}
.wfnb-ui td,.wfnb-ui th{text-align:left;padding:2px 12px 2px 0;border:0;border-bottom:1px solid var(--wf-line);background:none;color:inherit;vertical-align:top;font-weight:400;max-width:none}
.wfnb-ui th{color:var(--wf-soft);font-weight:600}.wfnb-ui tr:nth-child(n){background:none}
.wfnb-ui .over{overflow-x:auto}
.wfnb-ui .chips{display:flex;flex-wrap:wrap;gap:4px}
.wfnb-ui .chips button{display:inline-flex;align-items:center;gap:5px}
.wfnb-ui .steps{font-size:12px}
.wfnb-ui .steps [role=row]{display:grid;grid-template-columns:minmax(120px,1.3fr) minmax(80px,.8fr) minmax(170px,1.8fr) 76px 84px 62px;gap:0 12px;align-items:center;height:28px;padding:0 8px 0 4px;border-bottom:1px solid color-mix(in srgb,var(--wf-line) 50%,transparent);white-space:nowrap}
.wfnb-ui.narrow .steps [role=row]{grid-template-columns:minmax(100px,1fr) minmax(150px,1.4fr) 64px}
.wfnb-ui .steps [role=row]>*{overflow:hidden;text-overflow:ellipsis}
.wfnb-ui .steps .head{position:sticky;top:0;background:var(--wf-ground);color:var(--wf-soft);font-weight:600;z-index:1}
.wfnb-ui .steps .line{position:absolute;left:0;right:0;cursor:pointer}
.wfnb-ui .steps .line:hover{background:color-mix(in srgb,var(--wf-ink) 5%,transparent)}
.wfnb-ui .steps .on{background:color-mix(in srgb,var(--wf-ink) 11%,transparent)!important}
.wfnb-ui .n{text-align:right;font-variant-numeric:tabular-nums}
.wfnb-ui .state{display:flex;align-items:center;gap:6px}.wfnb-ui .state .bar{width:56px;height:6px;flex:none}.wfnb-ui .state .said{overflow:hidden;text-overflow:ellipsis}
.wfnb-ui .log{padding:4px 0}
.wfnb-ui .log>div{display:grid;grid-template-columns:66px minmax(80px,150px) 1fr;gap:0 10px;padding:1px 8px 1px 6px;border-left:3px solid transparent}
.wfnb-ui.narrow .log>div{grid-template-columns:66px 1fr}.wfnb-ui.narrow .log .text{grid-column:1/3}
.wfnb-ui .log .text{white-space:pre-wrap;overflow-wrap:anywhere;min-width:0}
.wfnb-ui .log .who{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;color:var(--wf-soft);text-align:left;border:0;background:none;padding:0;font:inherit;height:auto;align-self:start}
.wfnb-ui .log .warn{border-left-color:var(--wf-retrying)}.wfnb-ui .log .bad{border-left-color:var(--wf-failed)}
.wfnb-ui .empty{padding:24px 12px;text-align:center;color:var(--wf-soft)}
.wfnb-ui .tip{position:absolute;z-index:3;pointer-events:none;background:var(--wf-ground);border:1px solid var(--wf-line);border-radius:6px;padding:4px 8px;font-size:12px;white-space:pre-line;max-width:320px;box-shadow:0 2px 8px #0003;overflow-wrap:anywhere}
.wfnb-ui .tip::first-line{font-weight:600}
.wfnb-ui .legend{font-size:12px;padding:3px 4px;gap:2px 12px;border-top:1px solid var(--wf-line);min-height:26px}.wfnb-ui .legend span{display:inline-flex;align-items:center;gap:5px}
.wfnb-ui .unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media (prefers-reduced-motion:no-preference){.wfnb-ui .bar i{transition:width .25s}}
`;
