"""Draws line charts in SVG, side by side, readable on a light and a dark page."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 340, 200, 56, 40, 44, 24

# Panels side by side.
ROW = 2
COLORS = ["#d1495b", "#6c7a89", "#2e86ab", "#3f8f4f", "#b07d2b"]
STYLE = """text { font: 11px sans-serif; fill: #57606a } .title { font-weight: bold; font-size: 12px }
.grid { stroke: #8c959f; stroke-opacity: .25 } .axis { stroke: #8c959f } polyline { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #adbac7 } }"""


@dataclass
class Panel:
    """`series` is {name: [y, ...]}, with one y for each label of `ticks`. y is logarithmic; the labels of x have equal steps."""

    title: str
    x: str
    ticks: list[str]
    series: dict[str, list[float | None]]


def svg(panels: list[Panel], y: str):
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    color = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    across, down = LEFT + WIDTH + GAP, TOP + HEIGHT + BOTTOM
    width, height = ROW * across, math.ceil(len(panels) / ROW) * down
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 20}" role="img">',
        f"<style>{STYLE}</style>",
    ]
    for i, panel in enumerate(panels):
        x, top = i % ROW * across + LEFT, i // ROW * down + TOP
        parts.append(f'<g transform="translate({x} {top})">{draw(panel, color)}</g>')
    at, bottom = LEFT, height + 8
    for name in names:
        parts.append(f'<rect x="{at}" y="{bottom - 4}" width="18" height="3" fill="{color[name]}"/>')
        parts.append(f'<text x="{at + 24}" y="{bottom}">{escape(name)}</text>')
        at += 40 + 7 * len(name)
    parts.append(f'<text x="{width - GAP}" y="{bottom}" text-anchor="end">{escape(y)}</text></svg>')
    return "\n".join(parts) + "\n"


def draw(panel, color):
    values = [value for line in panel.series.values() for value in line if value]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    if low == high:
        high *= 10
    along = lambda i: i * WIDTH / max(len(panel.ticks) - 1, 1)
    up = lambda value: HEIGHT * (1 - math.log(value / low) / math.log(high / low))
    parts = [f'<text class="title" x="0" y="-14">{escape(panel.title)}</text>']
    decade = low
    while decade <= high * 1.001:
        for step in (1, 2, 5):
            if (value := decade * step) <= high * 1.001:
                parts.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>')
                parts.append(f'<text x="-6" y="{up(value) + 4:.1f}" text-anchor="end">{value:g}</text>' if value < 1e5 else "")
        decade *= 10
    for i, tick in enumerate(panel.ticks):
        parts.append(f'<text x="{along(i):.1f}" y="{HEIGHT + 16}" text-anchor="middle">{escape(tick)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT + 32}" text-anchor="middle">{escape(panel.x)}</text>')
    parts.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>')
    for name, line in panel.series.items():
        points = [f"{along(i):.1f},{up(value):.1f}" for i, value in enumerate(line) if value]
        parts.append(f'<polyline points="{" ".join(points)}" stroke="{color[name]}"/>')
        parts += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.5" fill="{color[name]}"/>' for p in points]
    return "\n".join(parts)
