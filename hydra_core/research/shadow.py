"""Whether a champion is still worth what it was promoted for, and how a challenger would have done beside it.

Both are asked for their word on the bars since the champion took its seat, bars that neither was trained on, and both are
traded on paper by the same decision step: the challenger's run is a shadow of the account's, with positions that nobody
holds. Sealed models say the same of the same bars at any time, so nothing has to run beside the live window for it.

A champion whose live skill has left its interval is demoted: the upper end of what it shows now lies below the lower end of
what its validation promised. Nothing takes its place but what passes the gates.

Not here: the gates (``gates``), who is promoted (``pipeline``), live decisions (``hydra_core.window``).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from hydra_core.alpha import labels
from hydra_core.alpha.crowd import evaluate_crowd
from hydra_core.alpha.forecaster.artifact import SealedForecaster
from hydra_core.alpha.models import CROWD, FORECASTER, POLICY, Forecast, load_artifact
from hydra_core.alpha.policy.band import lanes
from hydra_core.alpha.policy.observation import policy_inputs
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.lake.panel import load_panel
from hydra_core.research.bench import Bench
from hydra_core.research.books import Book, aligned, trade_forecast
from hydra_core.research.bootstrap import Interval, mean_interval
from hydra_core.research.evaluation import UNKNOWN, rise_skill, skill
from hydra_core.research.folds import Span
from hydra_core.research.policies import LEVEL, paired
from hydra_core.research.trials import Journal

WATCHED: Final = (FORECASTER, CROWD, POLICY)
"""Kinds whose skill can be told from bars; a policy's is told on the forecasts that it times live, the seated forecaster's."""
_PROMISED: Final = {FORECASTER: "correlation", CROWD: "ratio", POLICY: "gain_bp_a_day"}
"""Kind -> the figure of its validation that it is held to."""
_MEASURES: Final = {
    FORECASTER: "correlation",
    CROWD: "PR-AUC over volatility alone",
    POLICY: "gain over the no-trade band, bp a day",
}
JOURNAL: Final = "watch.jsonl"
MIN_DAYS: Final = 7
"""Days since it took the seat before a champion is judged."""
STAYS: Final = "stays"
EARLY: Final = "too early"
DEMOTED: Final = "demoted"
WOULD_GO: Final = "left its interval"


@dataclass(frozen=True)
class Watch:
    """One look at a seat.

    Parameters
    ----------
    champion, challenger : versions; no challenger: empty
    from_ms, until_ms : live bars looked at, market time
    measure : what ``live`` and ``promised`` are of
    live, promised : with their intervals; None where there was too little to tell
    word : one of the constants above
    shadow : the challenger's live skill on the same bars; ``lead`` its mean daily return less the champion's, with its interval
    daily : mean daily net return of each, traded alike
    inside : share of returns inside each forecaster's intervals, of which nine of ten were promised
    rises : log-loss skill of each forecaster's chance of a rise over even odds
    """

    kind: str
    champion: str
    challenger: str
    from_ms: int
    until_ms: int
    measure: str
    live: Interval | None
    promised: Interval | None
    word: str
    why: str
    shadow: Interval | None = None
    lead: Interval | None = None
    daily: dict[str, float] = field(default_factory=dict)
    inside: dict[str, float] = field(default_factory=dict)
    rises: dict[str, float] = field(default_factory=dict)

    @property
    def gone(self) -> bool:
        """Whether the live skill has left its interval."""
        return self.word in (DEMOTED, WOULD_GO)

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return asdict(self)


def left_interval(live: Interval, promised: Interval) -> bool:
    """Whether what is shown lies below what was promised, both errors allowed for."""
    return live.high < promised.low


def watch(bench: Bench, kind: str, until_ms: int, *, act: bool = True) -> Watch | None:
    """Look at one seat and, with ``act``, empty it when its holder's live skill has left its interval.

    Parameters
    ----------
    kind : one of :data:`WATCHED`
    until_ms : close of the newest bar to look at, market time; what the lake holds of it is used

    Returns
    -------
    Watch or None : None where nobody holds the seat. The look is written into the home's ``studies/watch.jsonl``

    Raises
    ------
    ArtifactInvalid : the champion's folder was altered
    """
    champion = bench.registry.champion(kind)
    if champion is None:
        return None
    seen = _look(bench, kind, champion, until_ms)
    if seen.word == WOULD_GO and act:
        bench.registry.demote(kind, seen.why, at_ms=until_ms)
        seen = Watch(**{**seen.__dict__, "word": DEMOTED})
    Journal(bench.home.studies / JOURNAL).add(f"{kind}/{champion}/{until_ms}/{seen.word}", seen.to_json())
    return seen


def seated_since(bench: Bench, kind: str, version: str) -> int:
    """Market time at which a champion took its seat (the last time, if it did so repeatedly)."""
    rows = [row for row in bench.registry.history(kind) if row["version"] == version]
    return int(rows[-1]["at_ms"]) if rows else 0


def challenger_of(bench: Bench, kind: str, champion: str) -> str:
    """The newest sealed model of a kind that does not hold the seat; empty where there is none."""
    others = [card.version for card in bench.registry.list(kind) if card.version != champion]
    return others[-1] if others else ""


def promise(bench: Bench, kind: str, version: str) -> Interval | None:
    """What a model's validation said it is worth; None where none is attached."""
    file = bench.registry.path(kind, version) / "validation.json"
    if not file.exists():
        return None
    told = json.loads(file.read_text())["metrics"]
    name = _PROMISED[kind]
    try:
        return Interval(float(told[name]), float(told[f"{name}_low"]), float(told[f"{name}_high"]))
    except KeyError:
        return None


def _look(bench: Bench, kind: str, champion: str, until_ms: int) -> Watch:
    since = seated_since(bench, kind, champion)
    promised, challenger = promise(bench, kind, champion), challenger_of(bench, kind, champion)
    measure = _MEASURES[kind]

    def said(word: str, why: str, **more: Any) -> Watch:
        told = {"live": None, **more}
        return Watch(
            kind, champion, challenger, since, until_ms, measure, promised=promised, word=word, why=why, **told
        )

    days = (until_ms - since) / DAY_MS
    if days < MIN_DAYS:
        return said(EARLY, f"{max(days, 0):.1f} days in its seat, {MIN_DAYS} are needed")
    first_ms = since - MAX_LOOKBACK_BARS * FORECAST_INTERVAL.ms
    try:
        panel = load_panel(bench.lake, bench.pairs, first_ms, until_ms)
        span = Span(int(np.searchsorted(panel.ts, since)), len(panel))
        words = _JUDGES[kind](bench, panel, span, champion, challenger)
    except InputMissing as error:
        return said(EARLY, f"nothing to judge it by: {error}")
    live = words["live"]
    if promised is None:
        return said(STAYS, "its validation promised nothing that it could be held against", **words)
    if left_interval(live, promised):
        why = (
            f"live {measure} {live.value:.3f} ({live.low:.3f} to {live.high:.3f}) lies below the promised "
            f"{promised.value:.3f} ({promised.low:.3f} to {promised.high:.3f})"
        )
        return said(WOULD_GO, why, **words)
    return said(STAYS, f"live {measure} {live.value:.3f} ({live.low:.3f} to {live.high:.3f})", **words)


def _judge_forecaster(bench: Bench, panel: Panel, span: Span, champion: str, challenger: str) -> dict[str, Any]:
    books, shown, inside, rises = {}, {}, {}, {}
    conditions = bench.conditions(panel)
    for name, version in (("champion", champion), ("challenger", challenger)):
        model = _opened(bench, FORECASTER, version)
        if model is None:
            continue
        forecast = model.forecast(panel, len(span))
        shown[name] = _forecast_skill(panel, span, forecast, model.horizon_bars)
        if isinstance(model, SealedForecaster):
            inside[name], rises[name] = _inside(panel, span, model), _rise_skill(panel, span, model)
        limits = bench.at_horizon(model.horizon_bars).limits
        books[name] = trade_forecast(panel, _spread(forecast, len(panel), span), limits, span, conditions=conditions)
    return {
        "live": shown["champion"],
        "shadow": shown.get("challenger"),
        "lead": _lead(books),
        "daily": {name: float(book.daily.mean()) for name, book in books.items()},
        "inside": {name: share for name, share in inside.items() if math.isfinite(share)},
        "rises": {name: value for name, value in rises.items() if math.isfinite(value)},
    }


def _inside(panel: Panel, span: Span, model: SealedForecaster) -> float:
    """Share of returns that came to lie inside the forecaster's intervals; NaN where it has none."""
    low, high = model.interval(panel, len(span))
    came = labels.forward_return(panel, model.horizon_bars)[span.start : span.end]
    known = np.isfinite(low) & np.isfinite(came)
    return float(((low <= came) & (came <= high))[known].mean()) if known.any() else math.nan


def _rise_skill(panel: Panel, span: Span, model: SealedForecaster) -> float:
    """Log-loss skill of the forecaster's chance of a rise; NaN where it has none, or the span too few days."""
    chance = model.chance(panel, len(span))
    if chance is None or not np.isfinite(chance).any():
        return math.nan
    rows = slice(span.start, span.end)
    seen = rise_skill(chance, labels.scaled_return(panel, model.horizon_bars)[rows], _days(panel, rows))
    return math.nan if seen is UNKNOWN else seen.value


def _judge_crowd(bench: Bench, panel: Panel, span: Span, champion: str, challenger: str) -> dict[str, Any]:
    shown = {}
    for name, version in (("champion", champion), ("challenger", challenger)):
        model = _opened(bench, CROWD, version)
        if model is None:
            continue
        usual = float(bench.registry.card(CROWD, version).settings["base_rate"])
        seen = evaluate_crowd(model, panel, span.rows(), usual, bench.training.seed)
        shown[name] = Interval(seen.ratio, seen.ratio_low, seen.ratio_high)
    return {"live": shown["champion"], "shadow": shown.get("challenger")}


def _judge_policy(bench: Bench, panel: Panel, span: Span, champion: str, challenger: str) -> dict[str, Any]:
    """Each policy beside its own band on the same forecasts: the seated forecaster's, or those that the champion learnt on."""
    whose = bench.registry.champion(FORECASTER)
    learnt_on = str(bench.registry.card(POLICY, champion).settings.get("forecaster", ""))
    forecaster = _opened(bench, FORECASTER, whose or learnt_on)
    if forecaster is None:
        raise InputMissing("no forecaster's word to time", "Seat a forecaster")
    forecast = forecaster.forecast(panel, len(span))
    seen = policy_inputs(panel, forecast, bench.limits.round_trip * 1e4, len(span))
    book = lanes(panel, seen, bench.limits.side_cost, bench.conditions(panel).paid)
    shown, daily = {}, {}
    for name, version in (("champion", champion), ("challenger", challenger)):
        policy = _opened(bench, POLICY, version)
        if policy is None:
            continue
        _, daily[name], beside, _ = paired(book, policy.target, policy.band)
        gain = mean_interval(daily[name] - beside, mean_block=2.0, level=LEVEL)
        shown[name] = Interval(*(1e4 * part for part in (gain.value, gain.low, gain.high)))
    lead = mean_interval(daily["challenger"] - daily["champion"]) if len(daily) > 1 else None
    return {
        "live": shown["champion"],
        "shadow": shown.get("challenger"),
        "lead": lead,
        "daily": {name: float(values.mean()) for name, values in daily.items()},
    }


_JUDGES: Final = {FORECASTER: _judge_forecaster, CROWD: _judge_crowd, POLICY: _judge_policy}


def _opened(bench: Bench, kind: str, version: str) -> Any:
    """A sealed model; None for no version, and for a challenger whose folder cannot be used."""
    if not version:
        return None
    try:
        return load_artifact(kind, bench.registry.path(kind, version), version)
    except ArtifactInvalid:
        if version == bench.registry.champion(kind):
            raise
        return None


def _forecast_skill(panel: Panel, span: Span, forecast: Forecast, horizon: int) -> Interval:
    rows = slice(span.start, span.end)
    sigma = labels.volatility_scale(panel)[rows] * math.sqrt(horizon)
    return skill(forecast.z, labels.scaled_return(panel, horizon)[rows], sigma, _days(panel, rows), horizon).correlation


def _days(panel: Panel, rows: slice) -> Ints:
    return np.asarray((panel.close_ms[rows] - 1) // DAY_MS, np.int64)


def _spread(forecast: Forecast, total: int, span: Span) -> Forecast:
    """The forecast of a span's rows as one of all rows."""
    out = Forecast.unknown(total, forecast.confidence.shape[1])
    for name in ("expected_return", "confidence", "adverse_excursion", "volatility"):
        values: Floats = getattr(out, name)
        values[span.start : span.end] = getattr(forecast, name)
    return out


def _lead(books: dict[str, Book]) -> Interval | None:
    if len(books) < 2:
        return None
    both = aligned([books["challenger"], books["champion"]])
    return mean_interval(both[:, 0] - both[:, 1]) if len(both) > 2 else None
