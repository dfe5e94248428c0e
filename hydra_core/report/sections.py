"""The report's sections: tables and plots of an account's session, its decisions, the data and the models.

Plots are plotly figures as HTML fragments; no text from outside is put into one unescaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np

from hydra_core.domain.intervals import iso, utc
from hydra_core.home import Home
from hydra_core.ledger.records import STRATEGY, BookedFill, EquityPoint
from hydra_core.ledger.store import Ledger
from hydra_core.report.account import AccountView
from hydra_core.report.research import Research
from hydra_core.settings import Settings

ALL: Final = 1_000_000
VOTES_READ: Final = 400
"""Decisions whose votes are counted, spread evenly over the session: reading every one would take minutes."""


@dataclass(frozen=True)
class Table:
    """A table of a section."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    text: str = ""
    plots: Sequence[Any] = field(default_factory=tuple)
    tables: Sequence[Table] = field(default_factory=tuple)


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page."""

    name: str
    value: str
    tone: str = ""


def tiles(view: AccountView, decided: int, ledger: Ledger, research: Research) -> list[Tile]:
    """What a reader wants first."""
    fills = ledger.fills(view.account, limit=ALL)
    missed = sum(span.points for span in ledger.missed(view.account, STRATEGY))
    share = decided / (decided + missed) if decided + missed else 0.0
    made = [
        Tile("equity", f"{view.equity:,.2f} USDT"),
        Tile("net return", f"{view.net_return:+.2%}", "good" if view.net_return >= 0 else "bad"),
        Tile("fills", f"{len(fills):,}"),
        Tile("fees", f"{view.fees:,.2f} USDT"),
        Tile("decisions", f"{decided:,}"),
        Tile("grid decided", f"{share:.1%}"),
        Tile("champions", str(len(research.champions))),
    ]
    return made


def account_sections(ledger: Ledger, view: AccountView) -> list[Section]:
    """The session on paper: worth, exposure, pairs, decisions, votes."""
    curve = ledger.equity_curve(view.account, limit=ALL)
    fills = list(reversed(ledger.fills(view.account, limit=ALL)))
    return [
        _worth(curve, fills, ledger, view),
        _pairs(fills, view),
        _decisions(ledger, view),
    ]


def research_sections(home: Home, research: Research, settings: Settings) -> list[Section]:
    """The models: gates, figures, calibration, lock-box."""
    tables: list[Table] = []
    plots: list[Any] = []
    for candidate in research.candidates:
        rows = [
            (
                gate["name"],
                "passed" if gate["passed"] else "failed",
                gate.get("value"),
                gate.get("limit"),
                gate.get("note", ""),
            )
            for gate in candidate["gates"]
        ]
        title = (
            f"{candidate['kind']} {candidate['version'][:12]}: {'promoted' if candidate['passed'] else 'not promoted'}"
        )
        tables.append(Table(("gate", "verdict", "value", "limit", "meaning"), rows, title))
        tables += [
            Table(tuple(lines[0]), [tuple(line.values()) for line in lines], f"{candidate['kind']}: {name}")
            for name, lines in candidate.get("further", {}).items()
        ]
    for name, points in research.curves.items():
        plots.append(_line(name, [utc(int(ts)) for ts in points["ts"]], {name: points["value"]}, "USDT"))
    if research.calibration:
        plots.append(_calibration(research.calibration))
    if research.drift:
        tables.append(_drift(research.drift))
    text = research.why_flat or "Every candidate's gates, and who holds which seat."
    made = [Section("models", "Models and gates", text, plots, tables)]
    return [*made, _origins(research.origins)] if research.origins else made


def _drift(told: Mapping[str, Any]) -> Table:
    """What the forecaster champion reads, newest days against its training window."""
    rows = [
        (one["name"], one["word"], one["index"], one["usual"], one["known_before"], one["known"])
        for one in sorted(told["features"], key=lambda one: -(one["index"] or 0.0))
    ]
    title = f"drift of what forecaster {told['champion'][:12]} reads, until {iso(told['until_ms'])}: {told['verdict']}"
    columns = ("feature", "word", "stability index", "largest while training", "known then", "known now")
    return Table(columns, rows, title)


def _origins(told: Mapping[str, Any]) -> Section:
    """Where the forecaster's lock-box profit came from, and what other days and costs would have made of it."""
    parts, paths = told["attribution"], told["paths"]
    plots = [
        _waterfall("profit by layer, USDT", parts["layers"]),
        _bars("profit by pair, USDT", list(parts["pairs"]), list(parts["pairs"].values())),
        _bars("profit by regime, USDT", list(parts["regimes"]), list(parts["regimes"].values())),
    ]
    rows = [
        (pair, parts["pairs"][pair], costs["trades"], costs["fees"], costs["funding"])
        for pair, costs in parts["pair_costs"].items()
    ]
    tables = [
        Table(("layer", "USDT"), [*parts["layers"].items(), ("net", parts["net"])], "by layer"),
        Table(("pair", "net", "round trips", "fees", "funding"), rows, "by pair"),
    ]
    if stress := told.get("stress"):  # validations of an older version have none
        tables.append(Table(("costs", "net return"), list(stress.items()), "under dearer costs, as information"))
    if by := told.get("conditions"):
        tables.append(Table(("what", "traded by"), [(line["what"], line["traded by"]) for line in by], "traded by"))
    text = (
        f"The forecaster on the lock-box with {told['capital']:,.0f} USDT, the other seats approving. Each layer's share is "
        "what switching it on added to those before it; a regime is the one a pair was most probably in when the bar began."
    )
    if paths:
        plots.append(_histogram("net return of resampled histories", paths["net_return"]))
        plots.append(_histogram("deepest fall of resampled histories", paths["drawdown"]))
        tables.append(Table(("figure", "share"), list(paths["summary"].items()), "resampled histories"))
        least, most = paths["cost_factor"]
        text += (
            f" The histories are {len(paths['net_return'])} strings of blocks of {paths['block_days']} days, drawn with "
            f"replacement, each with costs of {least:g} to {most:g} times the assumed and a delay of "
            f"{' or '.join(str(bars) for bars in paths['delays'])} bars."
        )
    return Section("origins", "Where the profit came from", text, plots, tables)


def _worth(curve: Sequence[EquityPoint], fills: Sequence[BookedFill], ledger: Ledger, view: AccountView) -> Section:
    if not curve:
        return Section("worth", "Worth", "No equity has been booked yet.")
    times = [utc(point.ts_ms) for point in curve]
    equity = np.array([float(point.equity) for point in curve])
    drawdown = equity / np.maximum.accumulate(equity) - 1
    plots = [
        _line("equity", times, {"equity": equity.tolist()}, "USDT"),
        _line("drawdown", times, {"drawdown": drawdown.tolist()}, "share of the peak", fill=True),
    ]
    if fills:
        steps, sizes = _exposure(fills)
        plots.append(_line("exposure by pair", steps, sizes, "USDT at the fill price", stepped=True))
    flows = [
        ("realised", view.realised),
        ("fees", -view.fees),
        ("funding", view.funding),
        ("unrealised", view.unrealised),
    ]
    return Section("worth", "Worth and exposure", "", plots, [Table(("flow", "USDT"), flows)])


def _exposure(fills: Sequence[BookedFill]) -> tuple[list[datetime], dict[str, list[float]]]:
    """Signed notional held after each fill, by pair."""
    held: dict[str, float] = {}
    times: list[datetime] = []
    curves: dict[str, list[float]] = {one.fill.pair: [] for one in fills}
    for one in fills:
        held[one.fill.pair] = float(one.position_after * one.fill.price)
        times.append(utc(one.fill.event_ms))
        for pair, values in curves.items():
            values.append(held.get(pair, 0.0))
    return times, curves


def _pairs(fills: Sequence[BookedFill], view: AccountView) -> Section:
    profit: dict[str, float] = {}
    fees: dict[str, float] = {}
    count: Counter[str] = Counter()
    for one in fills:
        pair = one.fill.pair
        profit[pair] = profit.get(pair, 0.0) + float(one.realised)
        fees[pair] = fees.get(pair, 0.0) + float(one.fill.fee)
        count[pair] += 1
    open_profit: dict[str, float] = {line.pair: line.profit for line in view.positions}
    pairs = sorted({*profit, *open_profit})
    if not pairs:
        return Section("pairs", "Profit by pair", "No order was filled.")
    net = {pair: profit.get(pair, 0.0) - fees.get(pair, 0.0) + open_profit.get(pair, 0.0) for pair in pairs}
    rows = [
        (pair, count[pair], profit.get(pair, 0.0), fees.get(pair, 0.0), open_profit.get(pair, 0.0), net[pair])
        for pair in pairs
    ]
    table = Table(("pair", "fills", "realised", "fees", "unrealised", "net"), rows)
    newest = [
        (iso(one.fill.event_ms), one.fill.pair, "buy" if one.fill.side > 0 else "sell", float(one.fill.quantity),
         float(one.fill.price), float(one.realised), one.fill.reason)
        for one in reversed(fills[-40:])
    ]  # fmt: skip
    return Section(
        "pairs",
        "Profit by pair",
        "",
        [_bars("net profit by pair, USDT", pairs, [net[pair] for pair in pairs])],
        [table, Table(("time", "pair", "side", "quantity", "price", "realised", "why"), newest, "newest fills")],
    )


def _decisions(ledger: Ledger, view: AccountView) -> Section:
    lines = ledger.decisions(view.account, limit=ALL)
    if not lines:
        return Section("decisions", "Decisions", "Nothing has been decided yet.")
    outcomes: Counter[str] = Counter()
    for line in lines:
        outcomes.update(dict(line.outcomes))
    votes: dict[str, Counter[str]] = {}
    step = max(1, len(lines) // VOTES_READ)
    for line in lines[::step]:
        record = ledger.decision(line.account, line.strategy, line.cycle_ms)
        for pair in record.decision.pairs if record is not None else ():
            for vote in pair.votes:
                votes.setdefault(vote.seat, Counter())[vote.choice.value] += 1
    latency = np.array([line.latency_ms for line in lines])
    missed = sum(span.points for span in ledger.missed(view.account, STRATEGY))
    facts = [
        ("grid points decided", len(lines)),
        ("grid points missed", missed),
        ("latency, median (ms)", float(np.median(latency))),
        ("latency, 99th percentile (ms)", float(np.percentile(latency, 99))),
        ("first", iso(lines[-1].cycle_ms)),
        ("last", iso(lines[0].cycle_ms)),
    ]
    seats = [(seat, counts["approve"], counts["reject"], counts["abstain"]) for seat, counts in sorted(votes.items())]
    tables = [
        Table(("", ""), facts),
        Table(("outcome", "pairs x cycles"), outcomes.most_common(), "what was decided"),
        Table(("seat", "approve", "reject", "abstain"), seats, f"votes on proposals (every {step}. decision read)"),
    ]
    names = [name for name, _ in outcomes.most_common()]
    plot = _bars("outcomes over pairs and cycles", names, [outcomes[name] for name in names])
    return Section("decisions", "Decisions and votes", "", [plot], tables)


def _line(
    title: str,
    x: Sequence[datetime],
    series: Mapping[str, Sequence[float]],
    unit: str,
    *,
    fill: bool = False,
    stepped: bool = False,
) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, values in series.items():
        shape = {"shape": "hv"} if stepped else {}
        figure.add_trace(
            go.Scatter(x=list(x), y=list(values), name=name, mode="lines", line=shape, fill="tozeroy" if fill else None)
        )
    figure.update_layout(yaxis_title=unit, showlegend=len(series) > 1)
    return html(figure, title)


def _bars(title: str, names: Sequence[str], values: Sequence[float]) -> Any:
    import plotly.graph_objects as go

    return html(go.Figure(go.Bar(x=list(names), y=list(values))), title)


def _waterfall(title: str, steps: Mapping[str, float]) -> Any:
    """Steps one upon the other, and their sum."""
    import plotly.graph_objects as go

    names = [name.split(":")[0] for name in steps]
    measures = ["relative"] * len(names) + ["total"]
    figure = go.Figure(go.Waterfall(x=[*names, "net"], y=[*steps.values(), 0.0], measure=measures))
    return html(figure, title)


def _histogram(title: str, values: Sequence[float]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure(go.Histogram(x=list(values), nbinsx=40))
    for share in (0.05, 0.5, 0.95):
        figure.add_vline(x=float(np.quantile(values, share)), line={"dash": "dot", "color": "#667085"})
    figure.update_layout(xaxis_tickformat=".1%", yaxis_title="paths")
    return html(figure, title)


def _calibration(points: Mapping[str, Sequence[float]]) -> Any:
    """Said probability against what came true; the diagonal is honesty."""
    import plotly.graph_objects as go

    figure = go.Figure()
    ends = [min(points["said"]), max(points["said"])]
    figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", name="honest", line={"dash": "dot", "color": "#98a2b3"}))
    figure.add_trace(
        go.Scatter(x=list(points["said"]), y=list(points["came"]), mode="lines+markers", name="forecaster")
    )
    figure.update_layout(xaxis_title="said probability of winning net of costs", yaxis_title="share that won")
    return html(figure, "calibration")


def html(figure: Any, title: str) -> Any:
    """A figure as a fragment of a page."""
    from markupsafe import Markup

    figure.update_layout(
        title={"text": title, "font": {"size": 14}},
        height=300,
        margin={"l": 60, "r": 20, "t": 40, "b": 40},
        template="plotly_white",
    )
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False))
