"""The page of a stress run: what the account did through a crash, tick by tick, and what had to hold.

What was found last is kept as JSON beside the page, so that the report of every market home has its timeline without living
through it again. Not here: the run itself (``replay.stress``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.intervals import iso, utc
from hydra_core.home import Home
from hydra_core.lake.files import write_atomic
from hydra_core.report.page import write_page
from hydra_core.report.sections import Section, Table, Tile, html

if TYPE_CHECKING:
    from hydra_core.replay.stress import StressRun

PAGE: Final = "stress.html"
"""Name of the page where none is given: it lies beside the market homes, and what was found beside it."""
MARKS: Final = 8
"""Events that a plot names; the table has all of them."""


def write_stress(path: Path, market: str, runs: Sequence[StressRun], synthetic: bool) -> Path:
    """Write the page, and keep what was found beside it; returns the page's path."""
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
    found = {"market": market, "page": path.name, "runs": [run.to_json() for run in runs]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path.with_suffix(".json"), json.dumps(found, allow_nan=False).encode())
    return write_page(
        path, [_section(run) for run in runs], tiles, market=market, subtitle=subtitle, synthetic=synthetic
    )


def stress_sections(home: Home) -> list[Section]:
    """The timelines of the crash that was lived through last, as a section of a home's report; none where none was.

    Raises
    ------
    DataCorrupt : the file beside the homes is no such finding
    """
    path = (home.root / PAGE).with_suffix(".json")
    if not path.exists():
        return []
    try:
        return [_told(json.loads(path.read_text()))]
    except (ValueError, KeyError, TypeError) as error:
        raise DataCorrupt(f"{path} is no stress finding: {error}", "Delete it and run `hydra stress` again") from error


def _told(found: Mapping[str, Any]) -> Section:
    """What was found, without the curves that are on its own page."""
    runs = found["runs"]
    lines = [
        (run["entered"], run["side"], run["balance"], run["lowest_equity"], run["final_equity"],
         "held" if run["holds"] else "failed")
        for run in runs
    ]  # fmt: skip
    timelines = [
        Table(
            ("time", "what happened"),
            [(event["time"][11:19], event["what"]) for event in run["events"]],
            f"{run['side']} at {run['entered']}",
        )
        for run in runs
    ]
    text = (
        f"Positions forced on at the allowed size in {found['market']} and left to the real guard, desk and kill switches. "
        f"Curves and verdicts are on a page of their own, {found['page']}."
    )
    columns = ("forced on", "side", "before", "lowest", "at the end", "what had to hold")
    return Section("stress", "Through a crash", text, (), [Table(columns, lines, "equity, USDT"), *timelines])


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
