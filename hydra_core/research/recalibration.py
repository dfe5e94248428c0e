"""A forecaster champion's calibration renewed on the weeks since: the same weights under a new version, seated when it passes.

What a forecast is worth changes sooner than weights are learnt anew: where a signal has faded or turned, four weeks of bars
that the weights never saw say so. The renewed calibration is fitted on those, judged on the two weeks after them beside the one
in force, and only then sealed: a new folder with the same parts, never a change of the old one. Its age is that of its weights,
so renewing makes no champion younger. Every try is written into the trial ledger.

Not here: retraining (``forecasters``), the slopes that research walks forward (``alpha.forecaster.refit``), limits (``gates``).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hydra_core.alpha import labels
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.artifact import SealedForecaster, to_forecast
from hydra_core.alpha.forecaster.calibration import Calibration, fit_calibration
from hydra_core.alpha.models import FORECASTER, Forecast
from hydra_core.alpha.registry import RENEWS, write_card
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, iso
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.lake.panel import load_panel
from hydra_core.research.audit import record
from hydra_core.research.bench import Bench
from hydra_core.research.books import trade_forecast
from hydra_core.research.bootstrap import mean_interval
from hydra_core.research.dataset import EMBARGO_BARS
from hydra_core.research.evaluation import reliability
from hydra_core.research.folds import Span
from hydra_core.research.gates import GateVerdict, RecalibrationEvidence, passed, recalibration_gates, why_refused
from hydra_core.research.trials import Journal, trial_ledger
from hydra_core.statistics.conformal import conformal_width

FIT_DAYS: Final = 28
"""Newest days before the judged ones that a calibration is fitted on, at most; at least a quarter of them."""
JUDGED_DAYS: Final = 14
LEVEL: Final = 0.9
"""Of the interval of what is won: its lower end is a one-sided test at 5 %."""
JOURNAL: Final = "recalibrations.jsonl"
VALIDATION: Final = "validation.json"


@dataclass(frozen=True)
class Recalibration:
    """One try.

    Parameters
    ----------
    champion : version in the seat before
    version : the renewed one's; empty where it was not sealed
    why : in plain words
    gates : empty where nothing could be judged
    slope_before, slope_after : what is left of a raw forecast by either calibration
    """

    champion: str
    version: str
    why: str
    gates: tuple[GateVerdict, ...] = ()
    slope_before: float = 0.0
    slope_after: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {**asdict(self), "gates": [gate.to_json() for gate in self.gates]}


@dataclass(frozen=True, eq=False)
class _Weeks:
    """The champion's word on the weeks that its weights never saw, and what came of it."""

    panel: Panel
    horizon: int
    raw: Floats
    fit: Ints
    judged: Span

    @property
    def sigma(self) -> Floats:
        return labels.volatility_scale(self.panel)

    @property
    def days(self) -> Ints:
        return np.asarray((self.panel.close_ms - 1) // DAY_MS, np.int64)


def recalibrate(bench: Bench, until_ms: int, *, act: bool = True, max_age_days: float = np.inf) -> Recalibration | None:
    """Renew the forecaster champion's calibration and seat the new version when it passes its gates.

    Parameters
    ----------
    until_ms : close of the newest bar to look at, market time; what the lake holds of it is used
    act : seal and seat; False: only tell
    max_age_days : days since its weights took the seat after which they are not renewed any more

    Returns
    -------
    Recalibration or None : None where nobody holds the seat

    Raises
    ------
    ArtifactInvalid : the champion's folder was altered
    """
    champion = bench.registry.champion(FORECASTER)
    if champion is None:
        return None
    found = _tried(bench, champion, until_ms, act, max_age_days)
    Journal(bench.home.studies / JOURNAL).add(f"{champion}/{until_ms}/{act}", found.to_json())
    return found


def _tried(bench: Bench, champion: str, until_ms: int, act: bool, max_age_days: float) -> Recalibration:
    since = bench.registry.weights_since_ms(FORECASTER, champion)
    if since is not None and until_ms - since > max_age_days * DAY_MS:
        return Recalibration(champion, "", f"its weights are seated since {iso(since)}: retrain them")
    model = artifact.load(bench.registry.path(FORECASTER, champion), champion)
    before = model.calibration
    try:
        weeks = _weeks(bench, model, bench.registry.card(FORECASTER, champion).trained_until_ms, until_ms)
        study = f"recalibration-{bench.registry.origin(FORECASTER, champion)[:12]}"
        number = len([row for row in trial_ledger(bench.home.studies).records() if row["study"] == study])
        tried = {"study": study, "number": number, "parameters": {"champion": champion, "until_ms": until_ms}}
        trial_ledger(bench.home.studies).add(f"{study}/{champion[:12]}/{until_ms}", tried)
        after, width = _fitted(bench, weeks)
        gates = tuple(recalibration_gates(_evidence(bench, champion, weeks, before, after)))
    except InputMissing as error:
        return Recalibration(champion, "", f"nothing to renew it by: {error}")
    slopes = {"slope_before": before.slope, "slope_after": after.slope}
    if not passed(gates):
        return Recalibration(champion, "", f"the calibration in force stays: {why_refused(gates)}", gates, **slopes)
    why = f"slope {before.slope:.2f} -> {after.slope:.2f} on the weeks until {iso(until_ms)}"
    if not act:
        return Recalibration(champion, "", f"would be renewed: {why}", gates, **slopes)
    version = _sealed(bench, champion, weeks, after, width, why)
    told = _validation(bench, champion, version, gates, slopes)
    bench.registry.attach(FORECASTER, version, VALIDATION, json.dumps(told, indent=1).encode())
    bench.registry.promote(FORECASTER, version, {"reason": f"calibration renewed: {why}", **told}, at_ms=until_ms)
    return Recalibration(champion, version, f"renewed: {why}", gates, **slopes)


def _weeks(bench: Bench, model: SealedForecaster, trained_until_ms: int, until_ms: int) -> _Weeks:
    bar, day = FORECAST_INTERVAL.ms, DAY_MS // FORECAST_INTERVAL.ms
    first_ms = max(trained_until_ms, until_ms - (FIT_DAYS + JUDGED_DAYS) * DAY_MS)
    panel = load_panel(bench.lake, bench.pairs, first_ms - (model.lookback + 1) * bar, until_ms)
    known = int(np.searchsorted(panel.ts, first_ms))
    judged = Span(len(panel) - JUDGED_DAYS * day, len(panel))
    fit = np.arange(known, judged.start - model.horizon_bars - 1 - EMBARGO_BARS)
    if fit.size < FIT_DAYS * day // 4:
        raise InputMissing(
            f"{max(fit.size, 0) / day:.1f} days before the last {JUDGED_DAYS} that the weights never saw, "
            f"{FIT_DAYS / 4:g} are needed"
        )
    rows = len(panel) - known
    raw = np.full((len(panel), len(panel.pairs)), np.nan)
    columns = model.features.compute(panel, rows + model.reach)
    raw[known:] = model.raw(columns, np.arange(model.reach, model.reach + rows))
    return _Weeks(panel, model.horizon_bars, raw, fit, judged)


def _fitted(bench: Bench, weeks: _Weeks) -> tuple[Calibration, float]:
    """The renewed calibration and half width of its intervals, of the weeks before the judged ones."""
    rows, horizon = weeks.fit, weeks.horizon
    scale = weeks.sigma * np.sqrt(horizon)
    long, short = (excursion / scale for excursion in labels.adverse_excursion(weeks.panel, horizon))
    realised = labels.scaled_return(weeks.panel, horizon)[rows]
    made = fit_calibration(
        weeks.raw[rows], realised, long[rows], short[rows], scale[rows], weeks.days[rows], bench.limits.round_trip
    )
    return made, conformal_width(np.abs(realised - made.expected(weeks.raw[rows])))


def _evidence(
    bench: Bench, champion: str, weeks: _Weeks, before: Calibration, after: Calibration
) -> RecalibrationEvidence:
    rows, horizon = slice(weeks.judged.start, weeks.judged.end), weeks.horizon
    limits = bench.at_horizon(horizon).limits
    raw, came = weeks.raw[rows], np.clip(labels.scaled_return(weeks.panel, horizon)[rows], -4.0, 4.0)
    won = (came - before.expected(raw)) ** 2 - (came - after.expected(raw)) ** 2
    known = np.isfinite(won).any(axis=1)
    _, group = np.unique(weeks.days[rows][known], return_inverse=True)
    by_day = np.bincount(group, np.nanmean(won[known], axis=1)) / np.bincount(group)

    def forecast(calibration: Calibration) -> Forecast:
        return to_forecast(weeks.raw, weeks.sigma, calibration, horizon)

    conditions = bench.conditions(weeks.panel)
    old, new = (
        trade_forecast(weeks.panel, forecast(each), limits, weeks.judged, conditions=conditions)
        for each in (before, after)
    )
    registry = bench.registry
    file = registry.path(FORECASTER, champion) / VALIDATION
    clean = not record.refusal(registry, FORECASTER, registry.origin(FORECASTER, champion))
    return RecalibrationEvidence(
        won=mean_interval(by_day, mean_block=2.0, level=LEVEL),
        reliability=reliability(
            forecast(after).rows(rows),
            labels.forward_return(weeks.panel, horizon)[rows],
            limits.round_trip,
            weeks.days[rows],
            limits.decision.confidence_threshold,
        ),
        mean_daily=float(new.daily.mean()),
        champion_daily=float(old.daily.mean()),
        weights_passed=clean and file.exists() and bool(json.loads(file.read_text()).get("passed")),
    )


def _sealed(bench: Bench, champion: str, weeks: _Weeks, after: Calibration, width: float, why: str) -> str:
    """The champion's parts with the renewed calibration, under a version of their own."""
    registry = bench.registry
    source, card = registry.path(FORECASTER, champion), registry.card(FORECASTER, champion)
    settings = {**card.settings, RENEWS: registry.origin(FORECASTER, champion), "calibration_of": champion}
    note = f"calibration renewed from {champion[:12]}: {why}"
    renewed = card.model_copy(
        update={
            "version": "",
            "settings": settings,
            "data_hashes": {**card.data_hashes, "recalibrated_on": weeks.panel.content_hash()},
            "notes": (*(line for line in card.notes if not line.startswith("calibration renewed")), note),
        }
    )
    with tempfile.TemporaryDirectory(prefix=".artifact-", dir=bench.home.path) as name:
        folder = Path(name) / "renewed"
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(VALIDATION, record.FILE, "report.html"))
        artifact.renew(folder, after, width)
        write_card(folder, renewed)
        return registry.save(FORECASTER, folder)


def _validation(
    bench: Bench, champion: str, version: str, gates: tuple[GateVerdict, ...], slopes: dict[str, float]
) -> dict[str, Any]:
    """The weights' own validation, which the new version is still held to, with what the renewal passed."""
    told: dict[str, Any] = json.loads((bench.registry.path(FORECASTER, champion) / VALIDATION).read_text())
    own = [gate.to_json() for gate in (replace(gate, name=f"renewal: {gate.name}") for gate in gates)]
    kept = [gate for gate in told.get("gates", []) if not str(gate["name"]).startswith("renewal: ")]
    return {**told, "version": version, "gates": [*kept, *own], "metrics": {**told.get("metrics", {}), **slopes}}
