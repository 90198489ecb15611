"""Draws the ratios to the best peer as an SVG picture: one bar a workload, longer is better.

The axis is logarithmic, with 1 ("as good as the best peer") as a line: a bar to the
right of it is workpool ahead, to the left a peer. Plain SVG, so that no library for
plots has to be there; the colours can be read on light and on dark pages.
"""

from __future__ import annotations

from html import escape
from math import log10

from benchmarks.comparison import Comparison

WIDTH, LEFT, RIGHT, ROW, TOP = 930, 470, 70, 22, 34
LEAST, MOST = 0.05, 50.0  # what is beyond is drawn at the edge, with its number
AHEAD, BEHIND, INK = "#2a9d62", "#d0663b", "#808080"


def picture(comparisons: list[Comparison]) -> str:
    """Give the picture as text."""
    bars = []
    for comparison in comparisons:
        ours = comparison.ours
        if ours is not None and ours.to_best is not None:
            workload = ours.series.workload
            bars.append((f"{workload.title}: {ours.series.library.kind}", ours.to_best))
    height = TOP + ROW * len(bars) + 12
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
    parts = [
        head + f'font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<text x="{LEFT}" y="14">times as good as the best peer</text>',
    ]
    for mark in (0.1, 0.3, 1, 3, 10, 30):
        x = place(mark)
        thick = 1.5 if mark == 1 else 0.5
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{height - 8}" '
            f'stroke="{INK}" stroke-width="{thick}"/>'
            f'<text x="{x:.1f}" y="{TOP - 7}" text-anchor="middle" font-size="10">{mark}x</text>'
        )
    for number, (label, ratio) in enumerate(bars):
        y = TOP + ROW * number
        x, one = place(ratio), place(1)
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{min(x, one):.1f}" y="{y + 4}" width="{max(1.5, abs(x - one)):.1f}" '
            f'height="{ROW - 9}" fill="{AHEAD if ratio >= 1 else BEHIND}"/>'
            f'<text x="{WIDTH - 4}" y="{y + 14}" text-anchor="end">{ratio:.2g}x</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def place(ratio: float) -> float:
    """Give where a ratio lies on the axis."""
    inside = min(max(ratio, LEAST), MOST)
    span = log10(MOST) - log10(LEAST)
    return LEFT + (WIDTH - LEFT - RIGHT) * (log10(inside) - log10(LEAST)) / span
