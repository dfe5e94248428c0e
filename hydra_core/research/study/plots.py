"""Two small pictures of a study: volatility with its regimes and changes, branching ratios with intervals. Drawing only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from hydra_core.domain.intervals import utc
from hydra_core.research.study.records import Course, Liquidations, MarketStudy, PairStudy, Unknown

POINTS: Final = 250
"""Points drawn of a line."""
COLOURS: Final = 32
SHADES: Final = {1: "#f5d9a8", 2: "#eba79f"}
"""Colours behind turbulent and extreme bars."""


def volatility_picture(study: MarketStudy) -> bytes | None:
    """Volatility of the last day by pair, shaded by regime, a line at each change; PNG below 50 kB, None without a course."""
    drawn = [(one, one.course) for one in study.pairs if isinstance(one.course, Course)]
    if not drawn:
        return None
    rows = -(-len(drawn) // 2)
    figure = _figure(7.6, 0.5 + 1.25 * rows)
    grid = figure.subplots(rows, 2, sharex=True, squeeze=False).reshape(-1)
    for axes, (one, course) in zip(grid, drawn, strict=False):
        _course(axes, one, course)
    for axes in grid[len(drawn) :]:
        axes.axis("off")
    figure.suptitle(
        "volatility of the last day, % a year; shaded: turbulent, extreme; lines: changes of level", fontsize=8
    )
    return _png(figure)


def _course(axes: Any, one: PairStudy, course: Course) -> None:
    step = max(1, course.close_ms.size // POINTS)
    moments = [utc(int(at)) for at in course.close_ms[::step]]
    axes.plot(moments, 100 * course.volatility[::step], linewidth=0.9)
    state = course.regime[::step]
    for number, colour in SHADES.items():
        shaded = state == number
        axes.fill_between(moments, 0, 1, where=shaded, transform=axes.get_xaxis_transform(), color=colour, linewidth=0)
    if not isinstance(one.changes, Unknown):
        for point in one.changes.points:
            if point.at_ms >= course.close_ms[0]:
                axes.axvline(utc(point.at_ms), color="black", linestyle=":", linewidth=1)
    axes.set_title(one.pair, fontsize=7, loc="left")
    axes.tick_params(labelsize=6)
    axes.tick_params(axis="x", rotation=20)


def branching_picture(study: MarketStudy) -> bytes | None:
    """Branching ratios of large moves and liquidations with 95 % intervals, and the radius of all; None without any."""
    labels: list[str] = []
    values: list[tuple[float, float, float]] = []
    for one in study.pairs:
        forced = one.liquidations.clustering if isinstance(one.liquidations, Liquidations) else None
        for what, part in (("moves", one.moves), ("liquidations", forced)):
            if part is not None and not isinstance(part, Unknown):
                labels.append(f"{one.pair} {what}")
                values.append(_span(part.branching.value, part.branching.low, part.branching.high))
    if not isinstance(study.cross, Unknown):
        radius = study.cross.radius
        labels.append("all pairs, spectral radius")
        values.append(_span(radius.value, radius.low, radius.high))
    return _intervals(labels, values) if labels else None


def _span(value: float, low: float | None, high: float | None) -> tuple[float, float, float]:
    return value, value if low is None else low, value if high is None else high


def _intervals(labels: Sequence[str], values: Sequence[tuple[float, float, float]]) -> bytes:
    figure = _figure(6.0, 0.8 + 0.2 * len(labels))
    axes = figure.subplots()
    middle, low, high = np.array(values).T
    places = np.arange(len(labels))
    # An interval by profile need not hold the Gaussian's symmetry, but it holds the estimate.
    reach = np.maximum([middle - low, high - middle], 0.0)
    axes.errorbar(middle, places, xerr=reach, fmt="o", markersize=3, linewidth=1)
    axes.axvline(1.0, color="grey", linestyle=":", linewidth=1)
    axes.set_yticks(places, labels, fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.invert_yaxis()
    axes.set_xlim(left=0.0)
    axes.set_title("branching ratio with 95 % interval; dotted: feeds itself for ever", fontsize=8, loc="left")
    axes.grid(axis="x", alpha=0.3)
    return _png(figure)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    from PIL import Image

    figure.canvas.draw()
    # Few colours are used: a palette of them takes a third of the bytes that the web UI has to keep in an event.
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB").quantize(COLOURS)
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()
