"""The page of a stress run: what the account did through a crash, tick by tick, and what had to hold.

Not here: the run itself (``replay.stress``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hydra_core.domain.intervals import iso, utc
from hydra_core.report.page import write_page
from hydra_core.report.sections import Section, Table, Tile, html

if TYPE_CHECKING:
    from hydra_core.replay.stress import StressRun

MARKS: Final = 8
"""Events that a plot names; the table has all of them."""


def write_stress(path: Path, market: str, runs: Sequence[StressRun], synthetic: bool) -> Path:
    """Write the page; returns its path."""
    first, last = min(run.entered_ms for run in runs), max(run.final.ts_ms for run in runs)
    holds = all(run.holds for run in runs)
    worst = min(run.lowest / run.balance - 1 for run in runs)
    tiles = [
        Tile("everything held", "yes" if holds else "no", "good" if holds else "bad"),
        Tile("runs", str(len(runs))),
        Tile("lowest equity", f"{worst:+.2%}", "bad" if worst < 0 else ""),
        Tile("flat at the end", f"{sum(not run.final.positions for run in runs)} of {len(runs)}"),
    ]
    subtitle = f"forced positions through {iso(first)} to {iso(last)}, traded by the real guard, desk and kill switches"
    return write_page(
        path, [_section(run) for run in runs], tiles, market=market, subtitle=subtitle, synthetic=synthetic
    )


def _section(run: StressRun) -> Section:
    side = "long" if run.side > 0 else "short"
    at = iso(run.entered_ms)[11:16]
    verdicts = [(one.name, "held" if one.holds else "failed", one.found) for one in run.verdicts]
    events = [(iso(event.ts_ms)[11:19], event.what) for event in run.events]
    text = (
        f"{len(run.forced)} positions {side} at {iso(run.entered_ms)}, as large as the exposure limits leave standing; equity "
        f"{run.balance:,.2f} before, {run.lowest:,.2f} at worst, {run.final.equity:,.2f} at the end."
    )
    return Section(
        f"{side}-{at.replace(':', '')}",
        f"{side.capitalize()} at {at} UTC",
        text,
        [_worth(run), _exposure(run), _market(run)],
        [
            Table(("what has to hold", "verdict", "found"), verdicts),
            Table(("time", "what happened"), events, "timeline"),
        ],
    )


def _worth(run: StressRun) -> Any:
    import plotly.graph_objects as go

    times = [utc(one.ts_ms) for one in run.samples]
    figure = go.Figure(go.Scatter(x=times, y=[one.equity for one in run.samples], name="equity", line={"shape": "hv"}))
    equity = {one.ts_ms: one.equity for one in run.samples}
    told = [event for event in run.events if event.what.startswith(("kill switch", "mode"))][:MARKS]
    figure.add_trace(
        go.Scatter(
            x=[utc(event.ts_ms) for event in told],
            y=[equity.get(event.ts_ms) for event in told],
            text=[event.what.split(":")[0] for event in told],
            mode="markers",
            marker={"color": "#b42318", "size": 9},
            name="switches",
        )
    )
    figure.update_layout(yaxis_title="USDT", showlegend=True)
    return html(figure, "equity, marked tick by tick")


def _exposure(run: StressRun) -> Any:
    import plotly.graph_objects as go

    times = [utc(one.ts_ms) for one in run.samples]
    figure = go.Figure()
    for name, values in (("held", [s.gross for s in run.samples]), ("permitted", [s.cap for s in run.samples])):
        figure.add_trace(go.Scatter(x=times, y=values, name=name, line={"shape": "hv"}))
    figure.update_layout(yaxis_title="USDT", showlegend=True)
    return html(figure, "gross exposure against its cap")


def _market(run: StressRun) -> Any:
    import plotly.graph_objects as go

    times = [utc(one.ts_ms) for one in run.samples]
    figure = go.Figure()
    for pair, values in run.prices.items():
        figure.add_trace(go.Scatter(x=times, y=[100 * value for value in values], name=pair))
    figure.update_layout(yaxis_title="mark, 100 at the start", showlegend=True)
    return html(figure, "the market")
