"""Charts that the report's template draws: values, and where on the drawing they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# The part of the drawing, 460 x 220, that lines fill; the rest is for the labels of the axes.
LEFT, RIGHT, TOP, BOTTOM = 52, 446, 12, 186

# Beyond this many, the numbers along the horizontal axis would overlap; then the ends and the middle stay.
_MOST_TICKS = 6


@dataclass(frozen=True)
class ChartLine:
    """Points of one line, with its name; `dashed` for what is predicted."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Lines over a common horizontal axis.

    Attributes:
        title: read out in place of the drawing.
        lines: each with at least one point.
        across: what the horizontal axis shows.
        percent: whether values are fractions from 0 to 1, written in per cent; else numbers from 0 upwards.
    """

    title: str
    lines: Sequence[ChartLine]
    across: str
    percent: bool = True

    def grid(self) -> Iterator[tuple[float, str]]:
        """Yield height and label of the horizontal lines."""
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            value = share * self._top
            yield self.y(value), f"{100 * value:.0f} %" if self.percent else f"{value:.2g}"

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield place and label of the numbers along the horizontal axis."""
        values = self._across
        if len(values) > _MOST_TICKS:
            values = [values[0], values[len(values) // 2], values[-1]]
        return ((self.x(value), f"{value:,.0f}") for value in values)

    def x(self, value: float) -> float:
        """Return where a value of the horizontal axis lies."""
        first, last = self._across[0], self._across[-1]
        return LEFT + (RIGHT - LEFT) * (value - first) / max(last - first, 1e-9)

    def y(self, value: float) -> float:
        """Return the height, from above, of a value; values beyond the axis lie at its ends."""
        return BOTTOM - (BOTTOM - TOP) * min(max(value / self._top, 0.0), 1.0)

    @property
    def _top(self) -> float:
        return 1.0 if self.percent else max(1e-9, *(y for line in self.lines for _, y in line.points))

    @property
    def _across(self) -> list[float]:
        return sorted({x for line in self.lines for x, _ in line.points})


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Horizontal bars with intervals: name, value and both ends, from 0 to 1; `title` is read out."""

    title: str
    bars: Sequence[tuple[str, float, float, float]]
