"""Charts as the report's template draws them: what is shown, and where on the drawing it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from expertise_graph.core import shorten

# A chart fits beside a narrow table, and on a telephone without scrolling once it is scaled.
WIDTH, HEIGHT = 460, 220

# Space for the labels of the axes: "100 %" on the left, two lines of text below.
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 34

# Beyond this many, the numbers along the horizontal axis would overlap; then the ends and the middle stay.
_MOST_TICKS = 6

# Bars begin right of their names, which have space for so many characters; one bar takes so much height.
_NAMES, _NAME_LENGTH, _BAR_STEP = 232, 34, 26


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
        given: the lines; those without points are left out.
        across: what the horizontal axis shows.
        percent: whether values are fractions from 0 to 1, written in per cent; else numbers from 0 upwards.
    """

    title: str
    given: Sequence[ChartLine]
    across: str
    percent: bool = True
    width: int = field(default=WIDTH, init=False)
    height: int = field(default=HEIGHT, init=False)

    @property
    def lines(self) -> list[ChartLine]:
        """The lines that have points."""
        return [line for line in self.given if line.points]

    @property
    def top(self) -> float:
        """The value at the upper end of the vertical axis."""
        return 1.0 if self.percent else max([1e-9, *(y for line in self.lines for _, y in line.points)])

    def places(self, line: ChartLine) -> list[tuple[str, str]]:
        """Return where the points of a line lie."""
        return [(f"{self._x(x):.1f}", f"{self._y(y):.1f}") for x, y in line.points]

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield height and label of the horizontal lines of the grid."""
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            value = share * self.top
            yield f"{self._y(value):.1f}", f"{100 * value:.0f} %" if self.percent else f"{value:.2g}"

    def ticks(self) -> Iterator[tuple[str, str]]:
        """Yield place and label of the numbers along the horizontal axis."""
        values = self._across
        if len(values) > _MOST_TICKS:
            values = [values[0], values[len(values) // 2], values[-1]]
        for value in values:
            yield f"{self._x(value):.1f}", f"{value:,.0f}"

    @property
    def left(self) -> int:
        """Where the grid begins."""
        return _LEFT

    @property
    def right(self) -> int:
        """Where the grid ends."""
        return WIDTH - _RIGHT

    @property
    def _across(self) -> list[float]:
        return sorted({x for line in self.lines for x, _ in line.points})

    def _x(self, value: float) -> float:
        first, last = self._across[0], self._across[-1]
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - first) / max(last - first, 1e-9)

    def _y(self, value: float) -> float:
        share = min(max(value / self.top, 0.0), 1.0)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Horizontal bars with intervals.

    Attributes:
        title: read out in place of the drawing.
        bars: name, value and both ends of its interval, from 0 to 1.
    """

    title: str
    bars: Sequence[tuple[str, float, float, float]]
    width: int = field(default=WIDTH, init=False)
    names: int = field(default=_NAMES, init=False)

    @property
    def height(self) -> int:
        """Of the drawing."""
        return 16 + _BAR_STEP * len(self.bars)

    def places(self) -> Iterator[tuple[int, str, str, str, str]]:
        """Yield the top of each bar, its name, its length, and where its interval begins and ends."""
        scale = WIDTH - _NAMES - 8
        for k, (name, value, low, high) in enumerate(self.bars):
            first, last = (f"{_NAMES + scale * end:.1f}" for end in (low, high))
            yield (
                8 + _BAR_STEP * k,
                shorten(name, _NAME_LENGTH),
                f"{max(1.0, scale * value):.1f}",
                first,
                last,
            )
