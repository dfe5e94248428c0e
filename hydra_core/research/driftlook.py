"""Looking at drift: the champion's features and word over the newest bars of the lake, none of which it was trained on.

The training window's quantiles are those sealed with the champion; one sealed without them is held against the dataset that
its card names, where that is still at hand. Not here: what is made of the figures (``drift``), features (``alpha.features``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from hydra_core.alpha import labels
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.artifact import SealedForecaster, to_forecast
from hydra_core.alpha.models import FORECASTER
from hydra_core.alpha.registry import Card
from hydra_core.domain.errors import DataCorrupt, InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import Panel
from hydra_core.lake.panel import load_panel
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import open_dataset
from hydra_core.research.drift import (
    JOURNAL,
    RECENT_BARS,
    Drift,
    FeatureDrift,
    LossTurn,
    feature_drift,
    horizon_losses,
    loss_turns,
    references_of,
)
from hydra_core.research.pipeline import newest_close
from hydra_core.research.trials import Journal
from hydra_core.statistics.shift import Reference

LOSS_DAYS: Final = 120
"""Newest days whose losses are looked at, at most."""
LEAST_DAYS: Final = 7
"""Days since the newest bar it was trained on before anything is held against anything: a day of a feature is one value."""


def look(bench: Bench, until_ms: int | None = None) -> Drift | None:
    """Look at the forecaster champion's drift and write it into the home's ``studies/drift.jsonl``.

    Parameters
    ----------
    until_ms : close of the newest bar to look at, market time; None: the newest of the lake

    Returns
    -------
    Drift or None : None where nobody holds the seat

    Raises
    ------
    ArtifactInvalid : the champion's folder was altered
    InputMissing : the lake holds no candles at all
    """
    champion = bench.registry.champion(FORECASTER)
    if champion is None:
        return None
    seen = _look(bench, champion, newest_close(bench) if until_ms is None else until_ms)
    Journal(bench.home.studies / JOURNAL).add(f"{champion}/{seen.until_ms}", seen.to_json())
    return seen


def _look(bench: Bench, champion: str, until_ms: int) -> Drift:
    folder, card = bench.registry.path(FORECASTER, champion), bench.registry.card(FORECASTER, champion)
    model = artifact.load(folder, champion)
    references, held_against = _references(bench, card, folder)
    first_ms = max(card.trained_until_ms, until_ms - LOSS_DAYS * DAY_MS)
    days = (until_ms - first_ms) / DAY_MS
    recent_ms = max(first_ms, until_ms - RECENT_BARS * FORECAST_INTERVAL.ms)
    if days < LEAST_DAYS:
        early = f"{max(days, 0):.1f} days since the newest bar it was trained on, {LEAST_DAYS} are needed"
        return Drift(champion, early, recent_ms, until_ms)
    try:
        panel = load_panel(bench.lake, bench.pairs, first_ms - (model.lookback + 1) * FORECAST_INTERVAL.ms, until_ms)
        rows = len(panel) - int(np.searchsorted(panel.ts, first_ms))
        features, losses_from_ms, loss, turns = _read(model, panel, rows, references)
    except InputMissing as error:
        return Drift(champion, held_against, recent_ms, until_ms, note=f"nothing to look at: {error}")
    note = "" if references else f"{held_against}: nobody can tell whether its features are what they were"
    return Drift(champion, held_against, recent_ms, until_ms, features, losses_from_ms, loss, turns, note)


def _read(
    model: SealedForecaster, panel: Panel, rows: int, references: Mapping[str, Reference]
) -> tuple[tuple[FeatureDrift, ...], int, float | None, tuple[LossTurn, ...]]:
    """Every feature of the newest days, and the losses of all ``rows``."""
    there = model.features.available(panel.inputs)
    columns = there.compute(panel, rows + model.reach)
    recent = columns[-RECENT_BARS:].astype(np.float64)
    place = {name: number for number, name in enumerate(there.names)}
    features = tuple(
        feature_drift(name, references.get(name), recent[-rows:, :, place[name]] if name in place else None)
        for name in model.features.names
    )
    starts = panel.ts[len(panel) - rows :: model.horizon_bars]
    if len(there) < len(model.features):
        return features, int(starts[0]), None, ()  # without one of its inputs it has no word
    raw = model.raw(columns, np.arange(model.reach, model.reach + rows))
    said = to_forecast(raw, labels.volatility_scale(panel)[-rows:], model.calibration, model.horizon_bars)
    came = labels.scaled_return(panel, model.horizon_bars)[-rows:]
    losses = horizon_losses(said.z, came, model.horizon_bars)
    loss = float(np.nanmean(losses)) if np.isfinite(losses).any() else None
    return features, int(starts[0]), loss, loss_turns(losses, starts)


def _references(bench: Bench, card: Card, folder: Path) -> tuple[dict[str, Reference], str]:
    """What the champion's features were like while it was trained, and where that is from."""
    sealed = artifact.references(folder)
    if sealed:
        return sealed, "the quantiles sealed with it"
    version = card.data_hashes.get("dataset", "")
    try:
        dataset = open_dataset(bench.datasets, version)
    except (InputMissing, DataCorrupt) as error:
        return {}, f"it was sealed without its training window's quantiles ({error})"
    return references_of(dataset), f"dataset {version[:12]}, which its card names"
