"""The DAG of a run as inline SVG, and the colours of all views. Imports engine.facts and views.

No script, no font, no address of anything outside: it looks the same in a notebook, an export and a saved file.
"""

from __future__ import annotations

from html import escape

from wfnb.engine.facts import Counts, RunView
from wfnb.views.layout import Group, Item, Layout, Rect, Route, arrange
from wfnb.views.tiles import Frame, Tile, tile
from wfnb.views.words import ORDER, seconds, state_of, tally, word_of

_LIGHT = {
    "pending": "#8D9199", "running": "#0A42EA", "completed": "#133930", "cached": "#0C9CE4", "retrying": "#E4770A",
    "failed": "#B34200", "cancelled": "#500D64", "skipped": "#8D9199",
}  # fmt: skip
_DARK = {
    "pending": "#898B8E", "running": "#1B61AB", "completed": "#67FFB3", "cached": "#1B9EE0", "retrying": "#C89C16",
    "failed": "#AB470E", "cancelled": "#EBD6E9", "skipped": "#898B8E",
}  # fmt: skip


def _palette(colours: dict[str, str], ground: str, ink: str, soft: str, line: str, tint: str) -> str:
    own = f"--wf-ground:{ground};--wf-ink:{ink};--wf-soft:{soft};--wf-line:{line};--wf-tint:{tint};"
    return own + "".join(f"--wf-{name}:{colour};" for name, colour in colours.items())


_ON_LIGHT = _palette(_LIGHT, "#fff", "#1b1f24", "#57606a", "#c9ced6", "7%")
_ON_DARK = _palette(_DARK, "#111418", "#e8eaed", "#a3abb5", "#4a535d", "16%")

STYLE = (
    f".wfnb{{{_ON_LIGHT}}}"
    f"@media (prefers-color-scheme:dark){{.wfnb{{{_ON_DARK}}}}}"
    # Where the page says which theme it has, that counts and not the system's.
    f"[data-jp-theme-light=true] .wfnb,.vscode-light .wfnb{{{_ON_LIGHT}}}"
    f"[data-jp-theme-light=false] .wfnb,.vscode-dark .wfnb,.vscode-high-contrast .wfnb{{{_ON_DARK}}}"
    "[data-jp-theme-light] .wfnb{--wf-ground:var(--jp-layout-color0);--wf-ink:var(--jp-ui-font-color1)}"
    ".vscode-light .wfnb,.vscode-dark .wfnb,.vscode-high-contrast .wfnb"
    "{--wf-ground:var(--vscode-editor-background);--wf-ink:var(--vscode-editor-foreground)}"
    ".wfnb text{fill:var(--wf-ink);font:600 13px system-ui,sans-serif}"
    ".wfnb text.t{fill:var(--wf-soft);font-weight:400;font-size:11px}"
    # Arrows may run behind a frame's name: a rim in the ground's colour keeps it readable.
    ".wfnb text.n{paint-order:stroke;stroke:var(--wf-ground);stroke-width:4px;stroke-linejoin:round}"
    ".wfnb .e{fill:none;stroke:var(--wf-line);stroke-width:1.5}"
    ".wfnb .e.on{stroke:var(--wf-soft)}"
    ".wfnb .h{fill:var(--wf-line)}.wfnb .h.on{fill:var(--wf-soft)}"
    ".wfnb .f{fill:var(--wf-line);fill-opacity:.12;stroke:var(--wf-line)}"
    # One of several bodies: taken, or perhaps yet to be.
    ".wfnb .f.a{fill:var(--wf-ground);fill-opacity:.5;stroke-dasharray:4 3}"
    ".wfnb .f.a.on{stroke:var(--wf-soft);stroke-dasharray:none}"
    ".wfnb .k{fill:none;stroke:var(--wf-line)}"
    ".wfnb .s-failed.f{stroke:var(--c)}.wfnb .s-running.f{stroke:var(--c);stroke-opacity:.6}"
    ".wfnb .off{opacity:.5}"
    ".wfnb tspan.t{font-weight:400}"
    ".wfnb .b{stroke-width:1.5;stroke:var(--c);fill:color-mix(in srgb,var(--c) var(--wf-tint),var(--wf-ground))}"
    ".wfnb .s-pending .b,.wfnb .s-skipped .b{stroke-dasharray:4 3;fill:var(--wf-ground)}"
    ".wfnb .d{fill:var(--c)}.wfnb .s-pending>circle{fill:none;stroke:var(--c);stroke-width:1.5}"
    ".wfnb .g{fill:none;stroke:var(--wf-ground);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}"
    + "".join(f".wfnb .s-{name}{{--c:var(--wf-{name})}}" for name in _LIGHT)
)
"""The colours and shapes of every view, for one style element; everything it names lies inside the class ``wfnb``."""

# Drawn, not typed: a font's own idea of a tick differs on every machine. In a circle of radius 8 about the origin.
_SIGNS = {
    "running": "M-2-3.6L3.8 0L-2 3.6Z",
    "completed": "M-3.6.2L-1 2.8L3.6-2.6",
    "cached": "M-3.4-2.6H3.4M-3.4 0H3.4M-3.4 2.6H3.4",
    "retrying": "M3.2-2.4A4 4 0 1 0 4 .6M3.8-4.4V-2H1.4",
    "failed": "M-2.8-2.8L2.8 2.8M2.8-2.8L-2.8 2.8",
    "skipped": "M-3.6-3L-.6 0L-3.6 3M.6-3L3.6 0L.6 3",
    "cancelled": "M-3.6 0H3.6",
    "paused": "M-1.8-3V3M1.8-3V3",
    "interrupted": "M0-4V.6M0 3.6V3.8",
}
_RUN_STATUS = {"queued": "pending", "paused": "pending", "interrupted": "retrying"}

HEIGHT, TALL = 46.0, 56.0


def badge(status: str, x: float = 8, y: float = 8) -> str:
    """Return the sign of a status, a circle of 16 pixels about (x, y), as SVG."""
    sign = _SIGNS.get(status)
    colour = "skipped" if status == "paused" else _RUN_STATUS.get(status, status)
    mark = f'<path class="g" d="{sign}"/>' if sign else ""
    radius = 8 if sign else 7
    at = f' transform="translate({x:g} {y:g})"'
    return f'<g class="s-{colour}"{at}><circle class="d" r="{radius}"/>{mark}</g>'


def svg(view: RunView, *, standalone: bool = False) -> str:
    """Return the DAG of a run.

    Args:
        view: the run.
        standalone: whether it carries its own style, to stand in a file or page of its own.
    """
    tiling = tile(view.steps)
    if not tiling.tiles:
        return ""
    items = [Item(t.id, _width_of(t), TALL if _is_wide(t) else HEIGHT, t.group) for t in tiling.tiles]
    groups = [Group(frame.id, frame.parent, _title_width(frame), frame.body) for frame in tiling.frames]
    layout = arrange(items, tiling.edges, groups=groups)
    more = f"… and {tiling.left_out:,} more steps" if tiling.left_out else ""
    width, height = layout.width, layout.height + (20 if more else 0)
    count = sum(1 for step in view.steps if not step.helper)
    steps = "1 step" if count == 1 else f"{count:,} steps"
    label = f"{view.workflow or 'workflow'}: {steps}, {view.status}, {view.done:,} tasks done"
    everything: list[Tile | Frame] = [*tiling.tiles, *tiling.frames]
    done = {part.id for part in everything if part.status in ("completed", "cached")}
    off = {frame.id for frame in tiling.frames if frame.unused}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="wfnb" role="img" aria-label="{escape(label)}" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
    ]
    if standalone:
        parts.append(f"<style>{STYLE}</style>")
    parts += [_frame(frame, layout.frames[frame.id]) for frame in tiling.frames]
    parts.append(_arrows(layout, [r for r in layout.routes if r.source not in done], "e", "h"))
    parts.append(_arrows(layout, [r for r in layout.routes if r.source in done], "e on", "h on"))
    parts += [_title(frame, layout.frames[frame.id]) for frame in tiling.frames]
    parts += [_box(t, layout.boxes[t.id], off=t.group in off) for t in tiling.tiles]
    if more:
        parts.append(
            f'<text class="t" x="{layout.width / 2:.0f}" y="{height - 8:.0f}" text-anchor="middle">{more}</text>'
        )
    parts.append("</svg>")
    return "".join(parts)


def _is_wide(item: Tile) -> bool:
    step = item.step
    if step is None or step.fan_out:
        return True
    # A step of a body that is repeated shows how often; what is to run once at most is plain.
    return step.counts.total > 0 if step.construct else step.many and not step.unused


def _text_width(text: str, size: float) -> float:
    """Return about how wide a text is, in pixels; capitals and wide signs take more."""
    return sum(0.3 if c in "iljtf.,:;'|![]() " else 0.92 if c in "mwMW" or c > "\u2e80" else 0.58 for c in text) * size


def _width_of(item: Tile) -> float:
    """Return a box's width: room for its name and the longest it may say; it stays as the run goes on."""
    name = 44 + _text_width(_short(item.name), 13.5)
    said = "completed 10.5 s"
    if item.step is not None and item.step.construct:
        said = f"{word_of(item.step)} · completed"
    if _is_wide(item) and item.width is not None:
        said = f"{item.width:,}/{item.width:,} · {max(1, item.width // 10):,} failed"
    return float(round(min(240.0, max(132.0, name, 50 + _text_width(said, 11.5)))))


def _fitting(text: str, room: float) -> str:
    """Return a text cut to the room it has, at a whole part where that helps."""
    while _text_width(text, 11.5) > room:
        head, sign, _ = text.rpartition(" · ")
        if not sign:
            return text[: max(4, int(room / 6.4))] + "…"
        text = head
    return text


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:13] + "…" + name[-10:]


def _frame(frame: Frame, rect: Rect) -> str:
    place = f'x="{rect.x:.1f}" y="{rect.y:.1f}" width="{rect.width:.1f}" height="{rect.height:.1f}"'
    if frame.body:
        kind = "f a on" if frame.taken else "f a"
    else:
        kind = f"f s-{frame.status}" if frame.status in ("failed", "running") else "f"
    behind = ""
    if frame.step is not None and frame.step.kind in ("each", "stream", "loop"):
        # What is run many times lies on others of its kind.
        right, bottom = rect.x + rect.width, rect.y + rect.height
        behind = (
            f'<path class="k" d="M{rect.x + 12:.1f} {bottom + 3.5:.1f}H{right - 6.5:.1f}'
            f'A10 10 0 0 0 {right + 3.5:.1f} {bottom - 6.5:.1f}V{rect.y + 12:.1f}"/>'
        )
    return f'{behind}<rect class="{kind}{" off" if frame.unused else ""}" {place} rx="10"/>'


def _title_width(frame: Frame) -> float:
    return 50 + _text_width(_short(frame.name), 13) + _text_width(frame.word, 12)


def _title(frame: Frame, rect: Rect) -> str:
    name, word = escape(_short(frame.name)), escape(frame.word)
    x, y = rect.x + 12, rect.y + 16
    step = frame.step
    sign = ""
    if step is not None:
        sign = f'<g transform="translate({x + 6:.1f} {y - 4:.1f}) scale(.75)">{badge(frame.status, 0, 0)}</g>'
        x += 18
    hover = f"{frame.id}: {state_of(step)}" if step is not None else frame.id
    said = f'<tspan class="t" dx="6">{word}</tspan>' if word else ""
    soft = " t" if frame.body and not frame.taken else ""
    dim = ' class="off"' if frame.unused else ""
    return (
        f'<g{dim}>{sign}<text class="n{soft}" x="{x:.1f}" y="{y:.1f}" style="font-size:12px">'
        f"<title>{escape(hover)}</title>{name}{said}</text></g>"
    )


def _arrows(layout: Layout, routes: list[Route], line: str, head: str) -> str:
    if not routes:
        return ""
    right = layout.direction == "right"
    lines, heads = [], []
    for route in routes:
        *way, end = route.points
        # The line stops short of the tip, so that the tip is sharp.
        stop = end._replace(x=end.x - 5) if right else end._replace(y=end.y - 5)
        at = way[0]
        lines.append(f"M{at.x:.0f} {at.y:.1f}")
        for point in [*way[1:], stop]:
            if right:
                middle = (at.x + point.x) / 2
                lines.append(f"C{middle:.0f} {at.y:.1f} {middle:.0f} {point.y:.1f} {point.x:.0f} {point.y:.1f}")
            else:
                middle = (at.y + point.y) / 2
                lines.append(f"C{at.x:.1f} {middle:.0f} {point.x:.1f} {middle:.0f} {point.x:.1f} {point.y:.0f}")
            at = point
        shape = "l-7-4v8z" if right else "l-4-7h8z"
        heads.append(f"M{end.x:.1f} {end.y:.1f}{shape}")
    return f'<path class="{line}" d="{"".join(lines)}"/><path class="{head}" d="{"".join(heads)}"/>'


def _box(item: Tile, rect: Rect, *, off: bool = False) -> str:
    said = _said(item)
    hover = _hover(item, said)
    x, y = rect.x, rect.y
    bar = ""
    if _is_wide(item):
        bar = _bar(item.counts, item.width, x + 12, y + rect.height - 13, rect.width - 24)
    dim = " off" if off or (item.step is not None and item.step.unused) else ""
    return (
        f'<g class="s-{item.status}{dim}"><title>{escape(hover)}</title>'
        f'<rect class="b" x="{x:.1f}" y="{y:.1f}" width="{rect.width:.0f}" height="{rect.height:.0f}" rx="8"/>'
        f"{badge(item.status, x + 20, y + (21 if bar else rect.height / 2))}"
        f'<text x="{x + 36:.1f}" y="{y + 19:.1f}">{escape(_short(item.name))}</text>'
        f'<text class="t" x="{x + 36:.1f}" y="{y + 34:.1f}">{escape(_fitting(said, rect.width - 44))}</text>{bar}</g>'
    )


def _said(item: Tile) -> str:
    return state_of(item.step) if item.step is not None else tally(item.counts, item.width)


def _hover(item: Tile, said: str) -> str:
    if item.step is None:
        return f"{item.steps[0].id} … {item.steps[-1].id}: {said}"
    step = item.step
    lines = [f"{step.id}: {said}" if step.many or step.unused else f"{step.id}: {step.status}"]
    if step.node:
        lines.append(f"node {step.node}{f', {step.where}' if step.where else ''}")
    if step.mean is not None:
        lines.append(f"{seconds(step.mean)} a task" if step.many else f"took {seconds(step.mean)}")
    if step.message:
        lines.append(step.message)
    if step.reset:
        lines.append(f"run again: {step.reset}")
    return "\n".join(lines)


def _bar(counts: Counts, width: int | None, x: float, y: float, length: float) -> str:
    """Return a bar stacked by status; every status present has at least two pixels."""
    # Where more may come, the bar is not full.
    total = max(width if width is not None else 1.25 * counts.total, counts.total, 1)
    parts = [f'<rect x="{x:.1f}" y="{y:.1f}" width="{length:.1f}" height="5" rx="2.5" fill="var(--wf-line)"/>']
    at = x
    shown = [name for name in ORDER[:-1] if getattr(counts, name)]
    for place, name in enumerate(shown, 1):
        # What comes later has its two pixels too.
        most = x + length - at - 2.0 * (len(shown) - place)
        part = min(max(2.0, length * getattr(counts, name) / total), most)
        parts.append(f'<rect class="s-{name} d" x="{at:.1f}" y="{y:.1f}" width="{part:.1f}" height="5" rx="1.5"/>')
        at += part
    return "".join(parts)
