"""Small pictures of a validation for people: equity and drawdown, calibration, the table of gates. Drawing only."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from hydra_core.domain.intervals import utc
from hydra_core.research.books import Book
from hydra_core.research.evaluation import Reliability
from hydra_core.research.gates import GateVerdict

POINTS: Final = 400
"""Points drawn of a line."""


def equity_picture(books: Mapping[str, Book], lockbox_ms: int) -> bytes:
    """Equity (relative to its start) and drawdown of the first book, the others beside it; PNG below 50 kB."""
    figure = _figure(7.0, 3.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for index, (name, book) in enumerate(books.items()):
        step = max(1, book.ts.size // POINTS)
        moments = [utc(int(ts)) for ts in book.ts[::step]]
        relative = book.equity / book.equity[0]
        upper.plot(moments, relative[::step], linewidth=1.4 if index == 0 else 0.8, label=name)
        if index == 0:
            fall = relative / np.maximum.accumulate(relative) - 1
            lower.fill_between(moments, 100 * fall[::step], 0, alpha=0.5)
    for axes in (upper, lower):
        axes.axvline(utc(lockbox_ms), color="grey", linestyle=":", linewidth=1)
        axes.grid(alpha=0.3)
    upper.set_title("equity, net of costs; dotted: the lock-box begins", fontsize=9, loc="left")
    upper.legend(fontsize=7)
    lower.set_ylabel("drawdown %", fontsize=7)
    figure.autofmt_xdate(rotation=20)
    return _png(figure)


def calibration_picture(seen: Reliability) -> bytes:
    """Share won against confidence; PNG below 50 kB."""
    figure = _figure(3.4, 3.2)
    axes = figure.subplots()
    axes.plot([0.3, 1.0], [0.3, 1.0], color="grey", linewidth=0.8)
    axes.plot(seen.confidence, seen.won, marker="o", markersize=4, linewidth=1.2)
    axes.set_xlabel("confidence", fontsize=8)
    axes.set_ylabel("share won net of costs", fontsize=8)
    axes.set_title("calibration in the lock-box", fontsize=9, loc="left")
    axes.grid(alpha=0.3)
    return _png(figure)


def gates_picture(gates: Sequence[GateVerdict]) -> bytes:
    """The gates as a table; PNG below 50 kB."""
    rows = [
        [
            gate.name,
            "-" if gate.value is None else f"{gate.value:.4g}",
            "-" if gate.limit is None else f"{gate.limit:.4g}",
        ]
        for gate in gates
    ]
    figure = _figure(4.6, 0.4 + 0.23 * len(rows))
    axes = figure.subplots()
    axes.axis("off")
    table = axes.table(rows, colLabels=["gate", "measured", "limit"], loc="center", cellLoc="left")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for index, gate in enumerate(gates, 1):
        for column in range(3):
            table[index, column].set_facecolor("#e3f4e3" if gate.passed else "#f8dede")
    return _png(figure)


def attribution_picture(told: Mapping[str, Any]) -> bytes:
    """Profit by layer, one step on the other, and by pair and regime; PNG below 50 kB.

    Parameters
    ----------
    told : as ``engine.attribution.Attribution.to_json``
    """
    figure = _figure(7.0, 5.4)
    upper, lower, last = figure.subplots(3, 1, height_ratios=(6, 8, 4))
    names = [name.split(":")[0] for name in told["layers"]]
    steps = np.array(list(told["layers"].values()))
    upper.barh(names, steps, left=np.cumsum(steps) - steps, color=_tones(steps))
    upper.axvline(told["net"], color="grey", linestyle=":", linewidth=1)
    upper.set_title("lock-box profit by layer, USDT; dotted: what is left", fontsize=9, loc="left")
    for axes, part in ((lower, "pairs"), (last, "regimes")):
        values = np.array(list(told[part].values()))
        axes.barh(list(told[part]), values, color=_tones(values))
        axes.set_title(f"by {part.removesuffix('s')}, USDT", fontsize=9, loc="left")
    for axes in (upper, lower, last):
        axes.invert_yaxis()
        axes.tick_params(labelsize=7)
        axes.grid(axis="x", alpha=0.3)
    return _png(figure)


def paths_picture(told: Mapping[str, Any]) -> bytes:
    """Net return and drawdown of resampled histories under drawn costs, as histograms; PNG below 50 kB.

    Parameters
    ----------
    told : ``paths`` of ``research.origins``
    """
    figure = _figure(7.0, 2.6)
    for axes, part, title in zip(
        figure.subplots(1, 2), ("net_return", "drawdown"), ("net return, %", "deepest fall, %"), strict=True
    ):
        values = 100 * np.array(told[part])
        axes.hist(values, bins=30, color="#7a9cc6")
        for share, style in ((0.05, ":"), (0.5, "-"), (0.95, ":")):
            axes.axvline(float(np.quantile(values, share)), color="black", linestyle=style, linewidth=1)
        axes.set_title(f"{title} of {values.size} paths; lines: 5, 50, 95 %", fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
    return _png(figure)


def _tones(values: Any) -> list[str]:
    return ["#5a9e6f" if value >= 0 else "#c2564b" for value in values]


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
