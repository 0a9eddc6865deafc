"""Charts as inline SVG: lines and bars with a title that screen readers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 460, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 34
_COLOURS = ("var(--one)", "var(--two)", "var(--three)", "var(--four)")


@dataclass(frozen=True)
class Line:
    """Points of one line, with its name; `dashed` for what is predicted."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def line_chart(title: str, lines: Sequence[Line], *, across: str, unit: str = "%") -> str:
    """Return an SVG of lines; values in per cent are given as fractions.

    Args:
        title: read out in place of the picture.
        lines: those without points are left out.
        across: what the horizontal axis shows.
        unit: "%" for fractions from 0 to 1, "" for any numbers from 0 upwards.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return ""
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points]
    high = 1.0 if unit == "%" else max(*ys, 1e-9)
    frame = _Frame(min(xs), max(max(xs), min(xs) + 1e-9), high)
    parts = [frame.grid(unit), frame.ticks(sorted(set(xs)), across)]
    for colour, line in zip(_colours(len(drawn)), drawn, strict=True):
        places = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [
            f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3" fill="{colour}"/>'
            for x, y in line.points
        ]
    return _svg(title, "".join(parts)) + _legend([line.name for line in drawn])


def bar_chart(title: str, bars: Mapping[str, tuple[float, float, float]]) -> str:
    """Return an SVG of horizontal bars with intervals, for values (value, low, high) from 0 to 1."""
    step, width = 26, _WIDTH - 240
    rows = []
    for k, (name, (value, low, high)) in enumerate(bars.items()):
        y = 8 + step * k
        rows.append(
            f'<text x="226" y="{y + 12}" text-anchor="end">{escape(name[:40])}</text>'
            f'<rect x="232" y="{y}" width="{max(1.0, width * value):.1f}" height="16" fill="var(--one)"/>'
            f'<line x1="{232 + width * low:.1f}" x2="{232 + width * high:.1f}" y1="{y + 8}" y2="{y + 8}" '
            'stroke="var(--ink)" stroke-width="2"/>'
        )
    return _svg(title, "".join(rows), height=16 + step * len(bars))


@dataclass(frozen=True)
class _Frame:
    first: float
    last: float
    high: float

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * min(max(value, 0.0), self.high) / self.high

    def grid(self, unit: str) -> str:
        rows = []
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            y, value = self.y(share * self.high), share * self.high
            text = f"{100 * value:.0f} %" if unit == "%" else f"{value:.2g}"
            rows.append(
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            )
        return "".join(rows)

    def ticks(self, values: Sequence[float], across: str) -> str:
        shown = values if len(values) <= 6 else [values[0], values[len(values) // 2], values[-1]]
        marks = "".join(
            f'<text x="{self.x(v):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{v:,.0f}</text>'
            for v in shown
        )
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        return marks + f'<text x="{middle}" y="{_HEIGHT - 3}" text-anchor="middle">{escape(across)}</text>'


def _svg(title: str, body: str, height: int = _HEIGHT) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _legend(names: Sequence[str]) -> str:
    items = "".join(
        f'<li><span class="key" style="background:{colour}"></span>{escape(name)}</li>'
        for colour, name in zip(_colours(len(names)), names, strict=True)
    )
    return f'<ul class="legend">{items}</ul>'


def _colours(n: int) -> list[str]:
    return [_COLOURS[k % len(_COLOURS)] for k in range(n)]
